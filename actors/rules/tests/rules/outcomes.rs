//! Outcomes: the order of actions, stopping, failing without consequence for the others.

use fieldmesh_rules::{
    Action, Facts, Failure, Inhibited, Outcome, compile_set, evaluate, facts::FactError,
};

use super::{EXAMPLE, holds, rules, set_of};

fn document(rules: &[(&str, &str, bool, &str)]) -> String {
    let rule = |(name, when, stop, actions): &(&str, &str, bool, &str)| {
        format!(
            "[[rule]]\nname = \"{name}\"\nwhen = '{when}'\nstop = {stop}\nactions = [{actions}]\n"
        )
    };
    format!("version = 3\n{}", rules.iter().map(rule).collect::<String>())
}

fn outcome(document: &str, facts: &Facts) -> Outcome {
    evaluate(&rules(document), facts)
}

fn told(outcome: &Outcome) -> Vec<(&str, &str)> {
    outcome
        .actions
        .iter()
        .map(|caused| match &caused.action {
            Action::Notify { who } => (caused.rule.as_str(), who.as_str()),
            other => (caused.rule.as_str(), other.kind().name()),
        })
        .collect()
}

#[test]
fn all_that_match_act_in_order_until_one_stops() {
    let text = document(&[
        ("a", "true", false, "{ notify = \"1\" }, { notify = \"2\" }"),
        ("b", "ticket.category == 1", true, "{ notify = \"3\" }"),
        ("c", "ticket.category == 0", false, "{ notify = \"4\" }"),
        ("d", "ticket.category == 0", true, ""),
        ("e", "ticket.category >= 0", false, "{ notify = \"5\" }"),
    ]);
    let found = outcome(&text, &Facts::default());
    assert_eq!(told(&found), [("a", "1"), ("a", "2"), ("c", "4")]);
    assert_eq!(found.matched, ["a", "c", "d"]);
    assert_eq!((found.evaluated, found.stopped_by.as_deref()), (4, Some("d")));
    assert_eq!(found.version, 3);
}

#[test]
fn a_rule_that_fails_is_reported_and_does_nothing_else() {
    let text = document(&[
        ("zero", "1 / ticket.subcategory == 1", true, "{ notify = \"never\" }"),
        ("rest", "1 % ticket.subcategory == 1", true, "{ notify = \"never\" }"),
        (
            "wide",
            "(history.site.count_7d + 9223372036854775000) > 0",
            true,
            "{ notify = \"never\" }",
        ),
        (
            "key",
            "true",
            true,
            "{ notify = \"never\" }, { group_by = 'site.zone' }, { set_priority = 1 }",
        ),
        ("good", "ticket.category == 0", false, "{ route = \"default\" }"),
    ]);
    let facts = Facts {
        history: fieldmesh_rules::facts::HistoryFacts {
            site: fieldmesh_rules::facts::Counts { count_7d: 4000, ..Default::default() },
            ..Default::default()
        },
        ..Facts::default()
    };
    let found = outcome(&text, &facts);
    let failed: Vec<(&str, Failure)> =
        found.failed.iter().map(|failed| (failed.rule.as_str(), failed.why)).collect();
    assert_eq!(
        failed,
        [
            ("zero", Failure::DivisionByZero),
            ("rest", Failure::DivisionByZero),
            ("wide", Failure::Overflow),
            ("key", Failure::EmptyKey),
        ]
    );
    assert_eq!(told(&found), [("good", "route")]);
    assert_eq!(found.priority(), None, "the priority of the built-in rule holds");
    assert_eq!(found.stopped_by, None);
    assert_eq!(found.evaluated, 5);
}

#[test]
fn facts_out_of_their_range_fail_every_rule() {
    let mut facts = Facts::default();
    facts.ticket.text = "x".repeat(4097);
    assert_eq!(facts.check(), Err(FactError::Long { fact: "ticket.text", found: 4097, max: 4096 }));
    let found = holds("true", &facts);
    assert_eq!((found.failed[0].why, found.actions.len()), (Failure::Facts, 0));
    facts.ticket.text.clear();
    facts.now.hour = 24;
    assert!(facts.check().unwrap_err().to_string().starts_with("now.hour is 24, not 0 to 23;"));
}

#[test]
fn the_first_decides_and_skills_add_up() {
    let text = document(&[
        (
            "a",
            "true",
            false,
            "{ set_priority = 2 }, { route = \"x\" }, { require_skill = { category = 9, level = 1 } }",
        ),
        (
            "b",
            "ticket.category == 0",
            false,
            "{ set_priority = 1 }, { route = \"y\" }, { hold = { minutes = 5, reason = \"r\" } }, \
             { require_skill = { category = 9, level = 3 } }, \
             { require_skill = { category = 2, level = 1 } }, { inhibit = \"children\" }, \
             { inhibit = { key = '\"k\"' } }, { group_by = '\"g\"' }, \
             { deduplicate = { key = '\"d\" + string(ticket.category)', window_minutes = 7 } }",
        ),
    ]);
    let found = outcome(&text, &Facts::default());
    assert_eq!(found.priority(), Some(2));
    assert_eq!(found.route(), Some("x"));
    assert_eq!(found.skills(), [(2, 1), (9, 3)]);
    assert_eq!(found.hold(), Some((5, "r")));
    assert_eq!(found.inhibits(), Some(&Inhibited::Children));
    assert_eq!(found.group(), Some("g"));
    assert_eq!(found.duplicate_of(), Some(("d0", 7)));
}

#[test]
fn no_rules_say_nothing() {
    let found = evaluate(&compile_set(&Default::default()).unwrap(), &Facts::default());
    assert_eq!(found, Outcome::default());
}

#[test]
fn rules_are_evaluated_on_any_thread() {
    fn assert_shared<T: Send + Sync>(_: &T) {}
    assert_shared(&rules(EXAMPLE));
    assert_eq!(holds("true", &Facts::default()).version, set_of("true").version);
}
