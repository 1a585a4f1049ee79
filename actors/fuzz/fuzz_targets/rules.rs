//! Arbitrary documents and expressions of trigger rules: none panics or takes more steps than it may, what
//! is taken is stored and read again as the same, and decides without a failure that nobody foresaw.
//!
//! The first byte chooses: a document, or one rule's condition and key, so that CEL is reached without TOML.

#![no_main]

use fieldmesh_actors_fuzz::{text, through_bytes};
use fieldmesh_rules::{
    Action, CompileError, CompiledRules, Facts, Failure, Rule, RuleSet, SET_COST_MAX, Severity,
    check_tests, compile, compile_set, evaluate, lint,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let text = text(data);
    if choice & 1 == 0 {
        document(text);
    } else {
        expressions(text);
    }
});

fn document(text: &str) {
    let findings = lint(text);
    let has_errors = findings.iter().any(|finding| finding.severity == Severity::Error);
    match compile(text) {
        Ok(rules) => {
            assert!(!has_errors);
            decides(&rules);
            check_tests(&rules).iter().for_each(|test| through_bytes(&test.outcome));
            let stored = compile_set(rules.set()).expect("what was taken");
            assert_eq!((stored.set(), stored.cost()), (rules.set(), rules.cost()));
        }
        Err(CompileError::Findings(found)) => {
            assert!(has_errors);
            assert_eq!(found, findings);
        }
        Err(CompileError::Functions) => panic!("no document causes it"),
    }
}

/// The first line is the condition, the rest a key.
fn expressions(text: &str) {
    let (when, key) = text.split_once('\n').unwrap_or((text, "\"one\""));
    let (when, key) = (when.to_owned(), key.to_owned());
    let actions = vec![Action::GroupBy { key }];
    let rule = Rule { name: "any".into(), when, stop: false, actions };
    if let Ok(rules) = compile_set(&RuleSet { version: 2, rules: vec![rule] }) {
        decides(&rules);
    }
}

fn decides(rules: &CompiledRules) {
    assert!(rules.cost() <= SET_COST_MAX);
    through_bytes(rules.set());
    let mut busy = Facts::default();
    busy.ticket.text = "é€😀 smoke in the lift".into();
    busy.ticket.category = 26;
    busy.customer.tier = 1;
    busy.now.hour = 23;
    busy.history.site.count_10m = 12;
    busy.history.category.count_7d = 1 << 52;
    for facts in [Facts::default(), busy] {
        facts.check().expect("in the ranges of the schema");
        let outcome = evaluate(rules, &facts);
        through_bytes(&outcome);
        assert_eq!(outcome, evaluate(rules, &facts));
        let is_foreseen = |why: Failure| {
            matches!(why, Failure::DivisionByZero | Failure::Overflow | Failure::EmptyKey)
        };
        assert!(outcome.failed.iter().all(|failed| is_foreseen(failed.why)), "{outcome:?}");
    }
}
