//! What rules promise, from the text of an operator to the outcome for a ticket.
//!
//! The example document is one of the inputs: what it says in its comments is what is tested here.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

#[path = "rules/arbitrary.rs"]
mod arbitrary;
#[path = "rules/documents.rs"]
mod documents;
#[path = "rules/doubts.rs"]
mod doubts;
#[path = "rules/expressions.rs"]
mod expressions;
#[path = "rules/hostile.rs"]
mod hostile;
#[path = "rules/laws.rs"]
mod laws;
#[path = "rules/limits.rs"]
mod limits;
#[path = "rules/outcomes.rs"]
mod outcomes;
#[path = "rules/past.rs"]
mod past;

use fieldmesh_rules::{
    Action, CompiledRules, Facts, Finding, Outcome, Rule, RuleSet, Severity, compile, compile_set,
    evaluate, lint,
};

const EXAMPLE: &str = include_str!("../examples/rules.toml");

/// A set of one rule that notifies somebody.
fn set_of(when: &str) -> RuleSet {
    let action = Action::Notify { who: "duty".to_owned() };
    let rule =
        Rule { name: "one".to_owned(), when: when.to_owned(), stop: false, actions: vec![action] };
    RuleSet { version: 2, rules: vec![rule] }
}

/// A document of one rule; `when` has no single quotes.
fn document_of(when: &str) -> String {
    format!(
        "version = 2\n[[rule]]\nname = \"one\"\nwhen = '{when}'\nactions = [{{ notify = \"duty\" }}]\n"
    )
}

/// Errors of one expression, as `line:column: text`.
fn errors_of(when: &str) -> Vec<String> {
    match compile_set(&set_of(when)) {
        Ok(_) => vec![],
        Err(fieldmesh_rules::CompileError::Findings(findings)) => {
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
            errors.map(|f| format!("{}:{}: {}", f.place.line, f.place.column, f.text)).collect()
        }
        Err(other) => vec![other.to_string()],
    }
}

fn findings(text: &str, severity: Severity) -> Vec<String> {
    let found: Vec<Finding> = lint(text);
    found.iter().filter(|f| f.severity == severity).map(ToString::to_string).collect()
}

fn rules(text: &str) -> CompiledRules {
    compile(text).unwrap()
}

/// What the expression says of the facts.
fn holds(when: &str, facts: &Facts) -> Outcome {
    evaluate(&compile_set(&set_of(when)).unwrap(), facts)
}

/// One message is in the list, and begins where it should.
fn assert_one(found: &[String], start: &str, part: &str) {
    let hit = found.iter().any(|text| text.starts_with(start) && text.contains(part));
    assert!(hit, "no finding at {start} with {part:?} in {found:#?}");
}
