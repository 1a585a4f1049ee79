//! Decides what the rules say of one ticket.
//!
//! Rules are asked in their order. Where a condition holds, all actions of the rule act, and later
//! rules are asked too unless this one stops. A rule that fails (it divides by zero, leaves 64 bits,
//! makes an empty key) does nothing at all, not even stop: it is reported, and the others go on. So
//! whatever fails, there is an outcome, and what no action says is as without rules: the ticket
//! keeps the priority of the built-in rule and the default route.
//!
//! **Invariants:** the same rules and facts give the same outcome on every machine; actions are in
//! the order of rules, and within a rule in its own. **Not here:** doing the actions.

use cel::{
    Context, ExecutionError, Value,
    common::{
        types::{CelBool, CelInt, CelString},
        value::CowVal,
    },
    context::VariableResolver,
};
use minicbor::{Decode, Encode};

use crate::{
    compiled::{CompiledRule, CompiledRules},
    expression::{Expression, fact_index},
    facts::Facts,
    rule::{Action, ActionKind, Inhibited},
    schema::{Access, FACTS},
};

/// An action with the rule that caused it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Caused {
    #[n(0)]
    pub rule: String,
    #[n(1)]
    pub action: Action<String>,
}

/// Why a rule gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum Failure {
    #[n(0)]
    #[error("it divides by zero; compare the divisor with 0 first, joined by &&")]
    DivisionByZero,
    #[n(1)]
    #[error("a number leaves 64 bits; compute with smaller ones")]
    Overflow,
    #[n(2)]
    #[error(
        "a key is empty, which would join tickets that have nothing in common; begin it with a text"
    )]
    EmptyKey,
    #[n(3)]
    #[error("a fact is out of its range; correct what gathers the facts")]
    Facts,
    #[n(4)]
    #[error("it gives something that the check of rules excludes; report it with the rule")]
    Unforeseen,
}

/// A rule that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Failed {
    #[n(0)]
    pub rule: String,
    #[n(1)]
    pub why: Failure,
}

/// What the rules say of one ticket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Outcome {
    /// Of the rules.
    #[n(0)]
    pub version: u32,
    #[n(1)]
    pub actions: Vec<Caused>,
    #[n(2)]
    pub failed: Vec<Failed>,
    /// How many rules were asked.
    #[n(3)]
    pub evaluated: u32,
    /// The rule after which none was asked any more.
    #[n(4)]
    pub stopped_by: Option<String>,
    /// The rules whose condition held, with or without actions, in their order.
    #[n(5)]
    pub matched: Vec<String>,
}

impl Outcome {
    /// The action of this kind that decides.
    fn first(&self, kind: ActionKind) -> Option<&Action<String>> {
        self.actions.iter().map(|caused| &caused.action).find(|action| action.kind() == kind)
    }

    /// The priority that a rule set; none keeps that of the built-in rule.
    pub fn priority(&self) -> Option<u8> {
        match self.first(ActionKind::SetPriority) {
            Some(Action::SetPriority(priority)) => Some(*priority),
            _ => None,
        }
    }

    /// The policy that a rule chose; none keeps the default route.
    pub fn route(&self) -> Option<&str> {
        match self.first(ActionKind::Route) {
            Some(Action::Route { policy }) => Some(policy),
            _ => None,
        }
    }

    /// The key of the tickets that this one is worked on with.
    pub fn group(&self) -> Option<&str> {
        match self.first(ActionKind::GroupBy) {
            Some(Action::GroupBy { key }) => Some(key),
            _ => None,
        }
    }

    /// The key of the tickets that this one is the same as, and the minutes that it counts for.
    pub fn duplicate_of(&self) -> Option<(&str, u32)> {
        match self.first(ActionKind::Deduplicate) {
            Some(Action::Deduplicate { key, window_minutes }) => Some((key, *window_minutes)),
            _ => None,
        }
    }

    /// For how many minutes it waits, and why.
    pub fn hold(&self) -> Option<(u32, &str)> {
        match self.first(ActionKind::Hold) {
            Some(Action::Hold { minutes, reason }) => Some((*minutes, reason)),
            _ => None,
        }
    }

    /// Which tickets stay silent while this one is open.
    pub fn inhibits(&self) -> Option<&Inhibited<String>> {
        match self.first(ActionKind::Inhibit) {
            Some(Action::Inhibit(inhibited)) => Some(inhibited),
            _ => None,
        }
    }

    /// The lowest level that a technician needs, for each category, in the order of categories.
    pub fn skills(&self) -> Vec<(u16, u8)> {
        let mut levels = std::collections::BTreeMap::new();
        for caused in &self.actions {
            if let Action::RequireSkill { category, level } = &caused.action {
                let highest = levels.entry(*category).or_insert(*level);
                *highest = (*highest).max(*level);
            }
        }
        levels.into_iter().collect()
    }

    /// How many of each part a technician needs, in the order of their numbers.
    pub fn parts(&self) -> Vec<(&str, u16)> {
        let mut counts = std::collections::BTreeMap::new();
        for caused in &self.actions {
            if let Action::RequirePart { part, count } = &caused.action {
                let highest = counts.entry(part.as_str()).or_insert(*count);
                *highest = (*highest).max(*count);
            }
        }
        counts.into_iter().collect()
    }
}

/// The facts as `cel` asks for them.
struct View<'f>(&'f Facts);

impl VariableResolver for View<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let fact = FACTS.get(fact_index(variable)?)?;
        Some(match &fact.access {
            Access::Int(read, _) => CowVal::owned(CelInt::from(read(self.0))),
            Access::Text(read, _) => CowVal::owned(CelString::from(read(self.0))),
        })
    }
}

/// Asks every rule in order, until one stops.
///
/// Facts out of their range fail every rule, as the bound on what a rule costs rests on them.
pub fn evaluate(rules: &CompiledRules, facts: &Facts) -> Outcome {
    let mut outcome = Outcome { version: rules.version(), ..Outcome::default() };
    let usable = facts.check().is_ok();
    let view = View(facts);
    let mut context = Context::with_env(rules.environment());
    context.set_variable_resolver(&view);
    for rule in rules.compiled() {
        outcome.evaluated += 1;
        let decided = if usable { decide(rule, &context) } else { Err(Failure::Facts) };
        match decided {
            Ok(None) => {}
            Ok(Some(actions)) => {
                outcome.matched.push(rule.name.clone());
                let caused = |action| Caused { rule: rule.name.clone(), action };
                outcome.actions.extend(actions.into_iter().map(caused));
                if rule.stop {
                    outcome.stopped_by = Some(rule.name.clone());
                    break;
                }
            }
            Err(why) => outcome.failed.push(Failed { rule: rule.name.clone(), why }),
        }
    }
    outcome
}

/// The actions of a rule whose condition holds: all of them, or the failure of one.
fn decide(
    rule: &CompiledRule,
    context: &Context<'_, '_>,
) -> Result<Option<Vec<Action<String>>>, Failure> {
    let holds = value(&rule.when, context)?;
    let holds = holds.downcast_ref::<CelBool>().ok_or(Failure::Unforeseen)?;
    if !*holds.inner() {
        return Ok(None);
    }
    let act = |action: &Action<Expression>| action.with_key(|key| key_of(key, context));
    rule.actions.iter().map(act).collect::<Result<Vec<_>, _>>().map(Some)
}

fn key_of(key: &Expression, context: &Context<'_, '_>) -> Result<String, Failure> {
    let value = value(key, context)?;
    let key = value.downcast_ref::<CelString<'_>>().ok_or(Failure::Unforeseen)?.inner();
    if key.is_empty() { Err(Failure::EmptyKey) } else { Ok(key.to_owned()) }
}

fn value<'e, 'v>(
    expression: &'e Expression,
    context: &'e Context<'_, 'v>,
) -> Result<CowVal<'e, 'v>, Failure> {
    Value::resolve_val(&expression.tree, context).map_err(|error| match error {
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            Failure::DivisionByZero
        }
        ExecutionError::Overflow(..) => Failure::Overflow,
        // Its text may have facts in it, and nothing of a customer is written to a log.
        _ => Failure::Unforeseen,
    })
}
