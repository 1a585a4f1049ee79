//! Runs the tests that are written in a document.
//!
//! **Invariants:** every difference is said, not only the first. **Not here:** reading them
//! (`document/cases`).

use core::fmt::Debug;

use crate::{
    compiled::CompiledRules,
    document::{Expectation, Test},
    evaluate::{Outcome, evaluate},
    finding::Place,
    rule::Action,
};

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestReport {
    pub name: String,
    pub place: Place,
    /// Where the outcome is not as expected; none if the test passed.
    pub differences: Vec<String>,
    pub outcome: Outcome,
}

impl TestReport {
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

/// In the order of the document.
pub fn check_tests(rules: &CompiledRules) -> Vec<TestReport> {
    rules.tests().iter().map(|test| run(rules, test)).collect()
}

fn run(rules: &CompiledRules, test: &Test) -> TestReport {
    let outcome = evaluate(rules, &test.facts);
    let differences = differences(test, &test.expect, &outcome);
    TestReport { name: test.name.clone(), place: test.place, differences, outcome }
}

fn differences(test: &Test, expect: &Expectation, outcome: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, expected: &dyn Debug, actual: &dyn Debug, same: bool| {
        if !same {
            found.push(format!("{what}: expected {expected:?}, got {actual:?}"));
        }
    };
    if let Some(expected) = expect.priority {
        let actual = outcome.priority().map_or(test.facts.ticket.priority, i64::from);
        compare("priority", &expected, &actual, i64::from(expected) == actual);
    }
    if let Some(expected) = &expect.rules {
        compare("rules", expected, &outcome.matched, *expected == outcome.matched);
    }
    if let Some(expected) = &expect.actions {
        let actual: Vec<&Action<String>> =
            outcome.actions.iter().map(|caused| &caused.action).collect();
        compare("actions", expected, &actual, expected.iter().eq(actual.iter().copied()));
    }
    let failed: Vec<&str> = outcome.failed.iter().map(|failed| failed.rule.as_str()).collect();
    compare("failed", &expect.failed, &failed, expect.failed.iter().eq(failed.iter().copied()));
    found
}
