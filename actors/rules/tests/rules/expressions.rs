//! Expressions: what is refused when they are saved, and at which column.

use fieldmesh_rules::Facts;

use super::{assert_one, errors_of, holds};

#[test]
fn unknown_names_are_refused_where_they_begin() {
    for (when, start, part) in [
        (
            "ticket.categry == 1",
            "1:1:",
            "no fact `ticket.categry`; did you mean `ticket.category`?",
        ),
        ("1 == 1 && tikcet.category == 1", "1:11:", "did you mean `ticket.category`?"),
        ("true &&\n  history.customer.count_2h > 1", "2:3:", "no fact `history.customer.count_2h`"),
        ("ticket == 1", "1:1:", "a group of facts; name one: ticket.category"),
        ("history.site > 1", "1:1:", "a group of facts"),
        ("foo > 1", "1:1:", "no fact `foo`"),
        ("region.name == \"x\"", "1:1:", "no fact `region.name`"),
        ("ticket.category.kind == 1", "1:1:", "no fact `ticket.category.kind`"),
        ("ticket[\"colour\"] == 1", "1:1:", "no fact `ticket.colour`"),
        ("ticket.text.contain(\"x\")", "1:13:", "no function `contain`; did you mean `contains`?"),
        ("sise(ticket.text) > 1", "1:1:", "no function `sise`; did you mean `size`?"),
        ("ticket.text.matches(\"(a+)+$\")", "1:13:", "regular expressions have no bound"),
        ("has(ticket.text)", "1:5:", "leave out `has`"),
        ("timestamp(\"x\") == 1", "1:1:", "see now.unix_ms"),
        ("\"x\".exists(ticket.text)", "1:5:", "`exists` is written LIST.exists(x, CONDITION)"),
    ] {
        assert_one(&errors_of(when), start, part);
    }
}

#[test]
fn wrong_types_are_refused() {
    for (when, start, part) in [
        ("ticket.category == \"26\"", "1:17:", "a whole number is compared with a text"),
        ("ticket.text > 1", "1:13:", "a text is compared with a whole number"),
        ("ticket.category", "1:1:", "a whole number where a condition should be"),
        ("ticket.category && true", "1:1:", "a whole number where a condition should be"),
        (
            "!ticket.text.contains(\"a\") || ticket.text",
            "1:31:",
            "a text where a condition should be",
        ),
        ("true < false", "1:6:", "conditions have no order"),
        ("ticket.text - \"a\" == \"b\"", "1:13:", "`-` between a text and a text"),
        ("-ticket.text == \"b\"", "1:1:", "`-` before a text"),
        ("1 in [1, \"a\"]", "1:10:", "a text in a list that begins with a whole number"),
        ("\"a\" in [1]", "1:5:", "looks for a text in a list of which each is a whole number"),
        ("\"a\" in ticket.text", "1:5:", "`in` looks into a list"),
        ("[1] == [1]", "1:5:", "lists are not compared"),
        ("1 in []", "1:6:", "an empty list"),
        ("1 in [[1]]", "1:7:", "a list in a list"),
        ("[1, 2][0] == 1", "1:1:", "an element may not be there"),
        ("(true ? 1 : \"a\") == 1", "1:13:", "a choice of a whole number or a text"),
        ("[1].map(x, x + 1) == [2]", "1:5:", "no function makes a list of a list"),
        ("size([1].filter(x, x > 1)) == 1", "1:10:", "no function makes a list of a list"),
        ("ticket.text.exists(x, true)", "1:13:", "asks for the elements of a text"),
        ("[1].exists(x, x.y == 1)", "1:15:", "the elements of a list have no fields"),
        ("[1].exists(ticket, ticket == 1)", "1:5:", "`ticket` has a meaning already"),
        ("[1].exists(region, region == 1)", "1:5:", "`region` has a meaning already"),
        ("[1].exists(x, [2].exists(x, x == 2))", "1:19:", "`x` has a meaning already"),
        ("1 / 0 == 1", "1:3:", "always fails here"),
        ("9223372036854775807 + 1 == 0", "1:21:", "always fails here"),
        ("string(\"a\") == \"a\"", "1:1:", "`string` of a text"),
        ("size(1) == 1", "1:1:", "`size` of a whole number"),
        ("1.lowerAscii() == \"\"", "1:3:", "`lowerAscii` of a whole number"),
    ] {
        assert_one(&errors_of(when), start, part);
    }
}

#[test]
fn everything_wrong_is_found_not_only_the_first() {
    let found = errors_of("foo == 1 && bar == 2 && ticket.text > 3");
    assert_eq!(found.len(), 3, "{found:#?}");
    assert_one(&found, "1:1:", "`foo`");
    assert_one(&found, "1:13:", "`bar`");
    assert_one(&found, "1:37:", "a text is compared");
}

#[test]
fn what_is_no_expression_is_refused_at_the_word() {
    for (when, start, part) in [
        ("", "1:1:", "ends where a value should be"),
        ("1 ==", "1:5:", "ends where a value should be"),
        ("ticket.category = 26", "1:17:", "write `==`"),
        ("true & false", "1:6:", "write `&&`"),
        ("(true", "1:6:", "ends where `)` should be"),
        ("true)", "1:5:", "`)` after the end"),
        ("true true", "1:6:", "join the parts with && or ||"),
        ("ticket..text == \"\"", "1:8:", "a name after the dot"),
        ("1.5 > 1", "1:1:", "whole numbers only"),
        ("1e3 > 1", "1:1:", "whole numbers only"),
        (".5 > 1", "1:1:", "where a value should be"),
        ("1u == 1", "1:1:", "leave out the `u`"),
        ("b\"a\" == \"a\"", "1:1:", "leave out the `b`"),
        ("9223372036854775808 > 0", "1:1:", "not a whole number of 64 bits"),
        ("0xFFFFFFFFFFFFFFFF > 0", "1:1:", "not a whole number of 64 bits"),
        ("12abc > 0", "1:1:", "not a whole number of 64 bits"),
        ("{\"a\": 1}.a == 1", "1:1:", "neither maps nor messages"),
        ("!!true", "1:2:", "two signs after each other"),
        ("--1 == 1", "1:2:", "two signs after each other"),
        ("\"abc", "1:1:", "the text that begins here does not end"),
        ("\"a\nb\" == \"\"", "1:1:", "does not end"),
        ("\"a\\d\" == \"\"", "1:3:", "an unknown escape"),
        ("“a” == \"a\"", "1:1:", "does not begin a text"),
        ("é == 1", "1:1:", "has no meaning outside of a text"),
        ("true ? 1", "1:9:", "the `:` of a choice"),
        ("ticket.while == 1", "1:8:", "a word that CEL keeps for itself"),
        ("null == 1", "1:1:", "a word that CEL keeps for itself"),
        ("[1, ] == 1", "1:5:", "`]` where a value should be"),
    ] {
        assert_one(&errors_of(when), start, part);
    }
}

#[test]
fn what_only_the_parser_knows_has_a_place_too() {
    assert_one(&errors_of("1 == 1 && \"\\ud800\" == \"a\""), "1:11:", "");
    assert_one(&errors_of("[1].exists(1, true)"), "1:", "");
}

#[test]
fn what_is_allowed_means_what_it_says() {
    let mut facts = Facts::default();
    facts.ticket.text = "Fire in Straße 7".to_owned();
    facts.ticket.category = 26;
    facts.ticket.lon_e6 = -2_000_000;
    for (when, answer) in [
        ("ticket.category == 26", true),
        ("ticket[\"category\"] == 26", true),
        ("ticket.lon_e6 == -2000000 && -ticket.lon_e6 == 2000000", true),
        ("ticket.text.lowerAscii().startsWith(\"fire\")", true),
        ("ticket.text.upperAscii() == \"FIRE IN STRAßE 7\"", true),
        ("size(ticket.text) == 16 && ticket.text.size() == 16", true),
        ("\"cat\" + string(ticket.category) == \"cat26\"", true),
        ("[25, 26].exists(c, c == ticket.category)", true),
        ("[25, 26, 26].exists_one(c, c == ticket.category)", false),
        ("[25, 26].all(c, c <= ticket.category)", true),
        ("ticket.category in [1, 2, 3]", false),
        ("(ticket.category > 20 ? \"big\" : \"small\") == \"big\"", true),
        ("7 % 3 == 1 && -7 % 3 == -1 && -7 / 2 == -3", true),
        ("0x1A == ticket.category // a comment", true),
        ("r\"a\\b\" == \"a\\\\b\" && '''a'b''' == \"a'b\"", true),
        ("ticket.text < \"G\"", true),
        ("false && 1 / ticket.subcategory == 1", false),
        ("true || 1 / ticket.subcategory == 1", true),
        ("1 / ticket.subcategory == 1 || true", true),
    ] {
        let outcome = holds(when, &facts);
        assert_eq!(outcome.failed, vec![], "{when}");
        assert_eq!(!outcome.matched.is_empty(), answer, "{when}");
    }
}
