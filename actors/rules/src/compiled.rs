//! Rules that can be evaluated.
//!
//! [`compile`] takes the document an operator writes, [`compile_set`] what was stored of one before:
//! a node that starts has only that. Both make the same checks.
//!
//! **Invariants:** what exists was linted without errors, and the cost of all its rules together is
//! within [`SET_COST_MAX`]. **Not here:** deciding (`evaluate`), what is looked for (`lint`).

use core::fmt;
use std::sync::Arc;

use cel::{Env, extensions};

use crate::{
    document::{Draft, Test},
    expression::Expression,
    finding::{Finding, Severity},
    lint::{examine, examine_set},
    rule::{Action, Rule, RuleSet},
};

/// Steps that all rules of a set may take for one ticket: 1 ms.
pub const SET_COST_MAX: u64 = 40_000;

/// Why a document gives no rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("{}", listed(.0))]
    Findings(Vec<Finding>),
    /// The standard functions contradict each other, which no document causes.
    #[error("the functions of rules could not be declared; report it with the version")]
    Functions,
}

/// Errors only: warnings refuse nothing.
fn listed(findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    let lines: Vec<String> = errors.map(ToString::to_string).collect();
    format!("the rules are refused, with {} error(s)\n{}", lines.len(), lines.join("\n"))
}

/// One rule with its expressions checked.
#[derive(Debug)]
pub(crate) struct CompiledRule {
    pub(crate) name: String,
    pub(crate) when: Expression,
    pub(crate) stop: bool,
    pub(crate) actions: Vec<Action<Expression>>,
}

impl CompiledRule {
    pub(crate) fn cost(&self) -> u64 {
        let keys = self.actions.iter().filter_map(Action::key);
        keys.fold(self.when.cost, |cost, key| cost.saturating_add(key.cost))
    }
}

/// A set of rules that was checked and can be evaluated on any thread.
pub struct CompiledRules {
    set: RuleSet,
    rules: Vec<CompiledRule>,
    tests: Vec<Test>,
    environment: Arc<Env>,
}

impl fmt::Debug for CompiledRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledRules").field("set", &self.set).finish_non_exhaustive()
    }
}

impl CompiledRules {
    pub fn version(&self) -> u32 {
        self.set.version
    }

    /// What is stored: enough for [`compile_set`].
    pub fn set(&self) -> &RuleSet {
        &self.set
    }

    /// The most steps that one evaluation can take.
    pub fn cost(&self) -> u64 {
        self.rules.iter().map(CompiledRule::cost).fold(0, u64::saturating_add)
    }

    pub(crate) fn compiled(&self) -> &[CompiledRule] {
        &self.rules
    }

    pub(crate) fn tests(&self) -> &[Test] {
        &self.tests
    }

    pub(crate) fn environment(&self) -> Arc<Env> {
        Arc::clone(&self.environment)
    }
}

/// # Errors
/// Everything that [`lint`](crate::lint) finds, if one of it is an error.
pub fn compile(text: &str) -> Result<CompiledRules, CompileError> {
    let (draft, rules, findings) = examine(text);
    finish(draft, rules, findings)
}

/// # Errors
/// Everything that is wrong; places are those within the expressions.
pub fn compile_set(set: &RuleSet) -> Result<CompiledRules, CompileError> {
    let (draft, rules, findings) = examine_set(set);
    finish(draft, rules, findings)
}

fn finish(
    draft: Draft,
    rules: Vec<CompiledRule>,
    findings: Vec<Finding>,
) -> Result<CompiledRules, CompileError> {
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(CompileError::Findings(findings));
    }
    let stored = draft.rules.into_iter().map(|rule| Rule {
        name: rule.name,
        when: rule.when.text,
        stop: rule.stop,
        actions: rule.actions.into_iter().map(|action| action.action_text()).collect(),
    });
    let set = RuleSet { version: draft.version, rules: stored.collect() };
    Ok(CompiledRules { set, rules, tests: draft.tests, environment: environment()? })
}

/// The standard functions and those on texts; the check lets only a few of them through.
fn environment() -> Result<Arc<Env>, CompileError> {
    let mut environment = Env::default().with_optional_support(false).with_stdlib();
    environment.add_extension(extensions::strings).map_err(|_| CompileError::Functions)?;
    Ok(Arc::new(environment))
}
