//! Every limit: what is just within it is taken, one more is refused with the place.

use fieldmesh_rules::{
    ACTIONS_MAX, CHOICES_MAX, DOCUMENT_BYTES_MAX, EXPRESSION_BYTES_MAX, FINDINGS_MAX,
    KEY_BYTES_MAX, LEVEL_MAX, LIST_MAX, MINUTES_MAX, NAME_BYTES_MAX, NESTING_MAX, REASON_BYTES_MAX,
    RULE_COST_MAX, RULES_MAX, SET_COST_MAX, Severity, TESTS_MAX, TREE_DEPTH_MAX, WORDS_MAX,
    compile, compile_set, lint,
};

use super::{assert_one, document_of, errors_of, findings, set_of};

fn joined(count: usize, part: &str, between: &str) -> String {
    vec![part; count].join(between)
}

#[test]
fn bytes_of_an_expression() {
    let padded = |bytes: usize| format!("true{}", " ".repeat(bytes - 4));
    assert_eq!(errors_of(&padded(EXPRESSION_BYTES_MAX)), Vec::<String>::new());
    assert_one(&errors_of(&padded(EXPRESSION_BYTES_MAX + 1)), "1:1:", "has 4097 bytes");
}

#[test]
fn words_of_an_expression() {
    // Each part has three words, and one between them.
    let parts = WORDS_MAX / 4;
    assert_eq!(errors_of(&joined(parts, "1<2", "||")), Vec::<String>::new());
    let more = errors_of(&joined(parts + 1, "1<2", "||"));
    assert_one(&more, "1:641:", "more than 512 words");
}

#[test]
fn brackets_within_each_other() {
    let nested = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(errors_of(&nested(NESTING_MAX)), Vec::<String>::new());
    assert_one(&errors_of(&nested(NESTING_MAX + 1)), "1:17:", "more than 16 brackets");
}

#[test]
fn choices_after_each_other() {
    let choices = |count: usize| format!("{}true", "now.hour == 1 ? true : ".repeat(count));
    assert_eq!(errors_of(&choices(CHOICES_MAX)), Vec::<String>::new());
    assert_one(&errors_of(&choices(CHOICES_MAX + 1)), "1:383:", "more than 16 choices");
}

#[test]
fn depth_of_the_tree() {
    let sum = |parts: usize| format!("{} == 1", joined(parts, "1", "+"));
    assert_eq!(errors_of(&sum(TREE_DEPTH_MAX - 1)), Vec::<String>::new());
    let found = errors_of(&sum(TREE_DEPTH_MAX));
    assert_one(&found, "1:1:", "more than 64 operators within each other");
}

#[test]
fn elements_of_a_list() {
    let list = |count: usize| format!("ticket.category in [{}]", joined(count, "1", ","));
    assert_eq!(errors_of(&list(LIST_MAX)), Vec::<String>::new());
    assert_one(&errors_of(&list(LIST_MAX + 1)), "1:20:", "a list of 201 elements");
}

#[test]
fn a_made_text() {
    assert_eq!(errors_of("ticket.text + ticket.text == \"a\""), Vec::<String>::new());
    let found = errors_of("ticket.text + ticket.text + \"a\" == \"a\"");
    assert_one(&found, "1:27:", "a text of up to 8193 bytes");
}

#[test]
fn steps_of_a_rule_and_of_all() {
    let look = "ticket.text.lowerAscii().contains(\"a\")";
    let each = cost(look) + 1;
    let most = usize::try_from(RULE_COST_MAX / each).unwrap();
    assert_eq!(errors_of(&joined(most, look, "&&")), Vec::<String>::new());
    let found = errors_of(&joined(most + 2, look, "&&"));
    assert_one(&found, "1:1:", "more than 4000");
    assert!(found[0].contains("the rule can take"), "{found:#?}");

    let rule = |number: u64| {
        format!(
            "[[rule]]\nname = \"r{number}\"\nwhen = '{look}'\nactions = [{{ notify = \"{number}\" }}]\n"
        )
    };
    let document =
        |count: u64| format!("version = 2\n{}", (0..count).map(rule).collect::<String>());
    let heavy = joined(20, look, "&&");
    let of_heavy = |count: u64| document(count).replace(look, &heavy);
    let fit = SET_COST_MAX / cost(&heavy);
    assert_eq!(findings(&of_heavy(fit), Severity::Error), Vec::<String>::new());
    let found = findings(&of_heavy(fit + 3), Severity::Error);
    assert_eq!(found.len(), 1, "said once: {found:#?}");
    let line = 2 + 4 * fit + 2;
    assert_one(&found, &format!("{line}:9:"), "the rules up to this one can take");
}

fn cost(when: &str) -> u64 {
    compile_set(&set_of(when)).unwrap().cost()
}

#[test]
fn questions_multiply_the_cost() {
    let list = "[1,2,3,4,5,6,7,8,9]";
    let once = cost(&format!("{list}.exists(x, x == ticket.category)"));
    let twice = cost(&format!("{list}.exists(x, {list}.exists(y, x * y == ticket.category))"));
    assert!(twice > 8 * once, "{once} and {twice}");
    let found = errors_of(&format!(
        "{list}.exists(x, {list}.exists(y, {list}.exists(z, x * y * z == ticket.category)))"
    ));
    assert_one(&found, "1:1:", "steps, more than 4000");
}

#[test]
fn keys_names_and_numbers() {
    let key = |text: &str| {
        format!(
            "version = 2\n[[rule]]\nname = \"r\"\nwhen = 'true'\nactions = [{{ group_by = '\"{text}\"' }}]\n"
        )
    };
    assert!(compile(&key(&"k".repeat(KEY_BYTES_MAX))).is_ok());
    let found = findings(&key(&"k".repeat(KEY_BYTES_MAX + 1)), Severity::Error);
    assert_one(&found, "5:26:", "a key of up to 257 bytes");

    let rule = |action: &str| document_of("true").replace("{ notify = \"duty\" }", action);
    let long = "n".repeat(NAME_BYTES_MAX);
    let reason = "r".repeat(REASON_BYTES_MAX);
    for (action, good) in [
        (format!("{{ notify = \"{long}\" }}"), true),
        (format!("{{ notify = \"{long}n\" }}"), false),
        (format!("{{ hold = {{ minutes = {MINUTES_MAX}, reason = \"{reason}\" }} }}"), true),
        (format!("{{ hold = {{ minutes = {}, reason = \"a\" }} }}", MINUTES_MAX + 1), false),
        (format!("{{ hold = {{ minutes = 1, reason = \"{reason}r\" }} }}"), false),
        ("{ hold = { minutes = 1, reason = \"a\\nb\" } }".to_owned(), false),
        (format!("{{ require_skill = {{ category = 65535, level = {LEVEL_MAX} }} }}"), true),
        ("{ require_skill = { category = 65536, level = 1 } }".to_owned(), false),
        (format!("{{ require_skill = {{ category = 1, level = {} }} }}", LEVEL_MAX + 1), false),
        ("{ require_part = { part = \"pump 7\", count = 65535 } }".to_owned(), true),
        ("{ require_part = { part = \"pump\", count = 0 } }".to_owned(), false),
        ("{ require_part = { part = \" pump\", count = 1 } }".to_owned(), false),
        (format!("{{ require_part = {{ part = \"{long}n\", count = 1 }} }}"), false),
        ("{ set_priority = 0 }".to_owned(), false),
        ("{ set_priority = 1.0 }".to_owned(), false),
        ("{ set_priority = 9223372036854775808 }".to_owned(), false),
    ] {
        assert_eq!(compile(&rule(&action)).is_ok(), good, "{action}");
    }
}

#[test]
fn rules_actions_tests_and_bytes_of_a_document() {
    let rules = |count: usize| {
        let rule = |n: usize| format!("[[rule]]\nname = \"r{n}\"\nwhen = 'true'\nactions = []\n");
        format!("version = 2\n{}", (0..count).map(rule).collect::<String>())
    };
    assert!(compile(&rules(RULES_MAX)).is_ok());
    let found = findings(&rules(RULES_MAX + 1), Severity::Error);
    assert_one(&found, "", "`rule` has 257 elements, more than 256");

    let tests = |count: usize| {
        let test = |n: usize| format!("[[test]]\nname = \"t{n}\"\nexpect.priority = 5\n");
        format!("version = 2\n{}", (0..count).map(test).collect::<String>())
    };
    assert!(compile(&tests(TESTS_MAX)).is_ok());
    assert_one(&findings(&tests(TESTS_MAX + 1), Severity::Error), "", "`test` has 257 elements");

    let actions = |count: usize| {
        let list = joined(count, "{ notify = \"a\" }", ", ");
        document_of("true").replace("{ notify = \"duty\" }", &list)
    };
    assert!(compile(&actions(ACTIONS_MAX)).is_ok());
    assert_one(&findings(&actions(ACTIONS_MAX + 1), Severity::Error), "5:11:", "17 elements");

    let bytes = |count: usize| format!("version = 2\n#{}", "x".repeat(count - 13));
    assert!(compile(&bytes(DOCUMENT_BYTES_MAX)).is_ok());
    let found = findings(&bytes(DOCUMENT_BYTES_MAX + 1), Severity::Error);
    assert_one(&found, "1:1:", "has 262145 bytes");
}

#[test]
fn findings_are_bounded_and_still_refuse() {
    let rule = |n: usize| format!("[[rule]]\nname = \"r{n}\"\nwhen = 'false'\nactions = []\n");
    let warned = (0..RULES_MAX).map(rule).collect::<String>();
    let text = format!("version = 2\n{warned}[[test]]\nname = \"t\"\nexpect.rules = [\"x\"]\n");
    assert!(lint(&text).len() <= FINDINGS_MAX + 1);
    assert!(compile(&text).is_err(), "the error found room");
}

#[test]
fn what_was_stored_is_checked_again() {
    let mut set = set_of("true");
    set.rules[0].actions = vec![fieldmesh_rules::Action::SetPriority(0)];
    assert!(compile_set(&set).is_err());
    let mut set = set_of("true");
    set.rules[0].name = "a b".to_owned();
    assert!(compile_set(&set).is_err());
    let mut set = set_of("true");
    set.rules = vec![set.rules[0].clone(); RULES_MAX + 1];
    assert!(compile_set(&set).is_err());
}
