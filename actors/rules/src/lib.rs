//! Trigger rules: what a ticket is worth and who is told, as an operator writes it in CEL.
//!
//! A document in TOML has rules in order, each a condition on facts with actions. [`lint`] says
//! everything that is wrong with it, [`compile`] makes rules of it, [`check_tests`] runs the tests
//! that are written in it, [`backtest`] tries it on past tickets, and [`evaluate`] decides. What no
//! rule says stays as it is without rules, and a rule that fails is reported while the others go on:
//! no rule can lose a ticket.
//!
//! CEL is cut down to what can be checked when a rule is saved: whole numbers, texts and conditions
//! on the facts of [`schema`], lists that are written out, a few functions. So what is saved cannot
//! loop, grow or panic, costs no more than was computed, and can only fail by dividing by zero, by
//! leaving 64 bits or by an empty key.
//!
//! **Invariants:** pure. No clock, no chance, no input or output, no threads; the same rules and
//! facts give the same outcome on every machine, because every decision is made in whole numbers and
//! in the order of the document. What is allowed of a document is bounded before it is parsed, so
//! that 256 KiB of stack are enough. **Not here:** gathering the facts, doing the actions, storing
//! the document.

mod check;
mod compiled;
mod document;
mod evaluate;
mod expression;
pub mod facts;
mod finding;
mod grammar;
mod lint;
mod nearest;
mod overlap;
mod past;
pub mod reading;
mod refused;
mod rule;
mod scan;
pub mod schema;
mod shape;
mod table;

pub use check::{LIST_MAX, MADE_TEXT_BYTES_MAX, RULE_COST_MAX, TREE_DEPTH_MAX};
pub use compiled::{CompileError, CompiledRules, SET_COST_MAX, compile, compile_set};
pub use document::{DOCUMENT_BYTES_MAX, TESTS_MAX};
pub use evaluate::{Caused, Failed, Failure, Outcome, evaluate};
pub use facts::Facts;
pub use finding::{FINDINGS_MAX, Finding, Place, Severity};
pub use grammar::CHOICES_MAX;
pub use lint::{Roster, lint, lint_for};
pub use past::{Report, RuleReport, backtest};
pub use rule::{
    ACTIONS_MAX, Action, ActionKind, Inhibited, KEY_BYTES_MAX, LEVEL_MAX, MINUTES_MAX,
    NAME_BYTES_MAX, PART_BYTES_MAX, PRIORITY_MAX, REASON_BYTES_MAX, RULES_MAX, Rule, RuleSet,
};
pub use scan::{EXPRESSION_BYTES_MAX, NESTING_MAX, WORDS_MAX};
pub use table::{TestReport, check_tests};
