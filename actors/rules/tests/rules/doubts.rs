//! Warnings: what refuses nothing and is surely not meant, and what looks like it and is.

use fieldmesh_rules::{Roster, Severity, compile, lint, lint_for};

use super::{assert_one, findings};

/// A document of rules, each `name | when | actions`, from line 3 on.
fn document(rules: &[(&str, &str, &str)]) -> String {
    let rule = |(name, when, rest): &(&str, &str, &str)| {
        format!("[[rule]]\nname = \"{name}\"\nwhen = '{when}'\n{rest}\n")
    };
    format!("version = 2\n{}", rules.iter().map(rule).collect::<String>())
}

fn warnings(rules: &[(&str, &str, &str)]) -> Vec<String> {
    let text = document(rules);
    assert!(compile(&text).is_ok(), "{:#?}", findings(&text, Severity::Error));
    findings(&text, Severity::Warning)
}

const TELL: &str = "actions = [{ notify = \"duty\" }]";

#[test]
fn conditions_with_one_answer_are_told() {
    for when in [
        "false",
        "ticket.impact > 3",
        "ticket.impact == 1 && ticket.impact == 2",
        "now.hour < 7 && now.hour >= 19",
        "ticket.category in [1, 2] && ticket.category in [3, 4]",
        "site.region == \"eu1\" && site.region == \"eu2\"",
        "ticket.urgency == 5 || now.month == 13",
        "1 == 2 && ticket.category == 1",
        "size(site.zone) > 64",
        "now.weekday in [0, 8]",
    ] {
        let found = warnings(&[("r", when, TELL)]);
        assert_one(&found, "3:8:", "never true");
    }
    for when in ["ticket.impact <= 3", "now.hour >= 0 || ticket.category == 1", "1 == 1"] {
        let found = warnings(&[("r", when, TELL)]);
        assert_one(&found, "3:8:", "always true");
    }
    let comparison = warnings(&[("r", "ticket.category == 1 && ticket.impact > 3", TELL)]);
    assert_one(&comparison, "4:47:", "the comparison is never true");
}

#[test]
fn conditions_that_have_two_answers_are_not() {
    for when in [
        "true",
        "ticket.impact == 3",
        "ticket.impact != 2",
        "now.hour < 7 || now.hour >= 19",
        "ticket.category in [1, 2] && ticket.category in [2, 3]",
        "!(ticket.impact == 1 && ticket.urgency == 2)",
        "[1, 2].all(x, ticket.impact != x)",
        "ticket.text.contains(\"a\") && !ticket.text.contains(\"b\")",
    ] {
        assert_eq!(warnings(&[("r", when, TELL)]), Vec::<String>::new(), "{when}");
    }
}

#[test]
fn rules_after_an_unconditional_stop_are_told() {
    let found = warnings(&[
        ("all", "true", "stop = true\nactions = [{ notify = \"duty\" }]"),
        ("rest", "ticket.category == 1", TELL),
    ]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_one(&found, "8:8:", "no ticket gets here, because rule `all` always stops");
}

#[test]
fn two_rules_of_one_name_are_refused() {
    let text =
        document(&[("r", "ticket.category == 1", TELL), ("r", "ticket.category == 2", TELL)]);
    assert_one(&findings(&text, Severity::Error), "7:8:", "rule 1 has this name too");
}

#[test]
fn a_priority_that_another_rule_sets_too_is_told_where_both_act() {
    let (one, two) = ("actions = [{ set_priority = 1 }]", "actions = [{ set_priority = 2 }]");
    let overlap = [("a", "ticket.category == 1", one), ("b", "customer.tier == 1", two)];
    assert_one(&warnings(&overlap), "7:8:", "rule `a` before it sets another priority");
    let always = [("a", "true", one), ("b", "customer.tier == 1", two)];
    assert_one(&warnings(&always), "7:8:", "its priority has no effect");
    for apart in [
        [("a", "customer.tier == 1", one), ("b", "customer.tier == 2", two)],
        [("a", "customer.tier <= 1", one), ("b", "customer.tier > 1", two)],
        [("a", "customer.tier in [1, 3]", one), ("b", "2 == customer.tier", two)],
        [("a", "site.region == \"x\"", one), ("b", "site.region in [\"y\", \"z\"]", two)],
        [("a", "customer.tier == 1", one), ("b", "ticket.category == 1", one)],
        [("a", "customer.tier == 1", one), ("b", "true", two)],
        [
            ("a", "customer.tier == 1", "stop = true\nactions = [{ set_priority = 1 }]"),
            ("b", "ticket.category == 1", two),
        ],
        [
            ("a", "customer.tier == 1 && (now.hour < 7 || now.hour > 19)", one),
            ("b", "now.hour >= 7 && now.hour <= 19", two),
        ],
    ] {
        assert_eq!(warnings(&apart), Vec::<String>::new());
    }
}

#[test]
fn actions_without_effect_are_told() {
    let actions = "actions = [{ set_priority = 1 }, { set_priority = 2 }, { notify = \"a\" }, \
                   { notify = \"b\" }, { notify = \"a\" }, \
                   { require_skill = { category = 1, level = 3 } }, \
                   { require_skill = { category = 1, level = 2 } }, \
                   { require_skill = { category = 1, level = 4 } }]";
    let found = warnings(&[("r", "ticket.category == 1", actions)]);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert_one(&found, "5:34:", "this `set_priority` has no effect");
    assert_one(&found, "5:92:", "this `notify` has no effect");
    assert_one(&found, "5:", "this `require_skill` has no effect");
    let nothing = warnings(&[("r", "ticket.category == 1", "actions = []")]);
    assert_one(&nothing, "3:8:", "it neither acts nor stops");
    let stops = [("r", "ticket.category == 1", "stop = true\nactions = []")];
    assert_eq!(warnings(&stops), Vec::<String>::new(), "stopping is an effect");
}

/// A roster makes a difference to nothing but what it lacks.
#[test]
fn skills_that_nobody_has_are_doubted() {
    let text = "version = 1\n[[rule]]\nname = \"a\"\nwhen = 'ticket.category == 7'\nactions = [\n\
                { require_skill = { category = 7, level = 3 } },\n\
                { require_skill = { category = 8, level = 1 } },\n]\n";
    let places = |skills: &[(u16, u8)]| -> Vec<(u32, bool)> {
        let skills = skills.iter().copied().collect();
        let roster = Roster { region: "eu1".to_owned(), skills };
        let found = lint_for(text, &roster);
        assert!(found.iter().all(|one| one.severity == Severity::Warning), "{found:?}");
        found.iter().map(|one| (one.place.line, one.text.contains("at most at"))).collect()
    };
    assert_eq!(places(&[(7, 3), (8, 1)]), []);
    assert_eq!(places(&[(7, 2), (8, 5)]), [(6, true)]);
    assert_eq!(places(&[]), [(6, false), (7, false)]);
    assert_eq!(lint(text), []);
}
