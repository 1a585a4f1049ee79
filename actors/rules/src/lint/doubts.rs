//! What of a set of rules is surely not meant.
//!
//! **Invariants:** a warning is only given where no ticket proves it wrong: rules that may overlap
//! are said to, rules that act on different tickets are not. **Not here:** what refuses a document,
//! apart from names that stand for two things.

use std::collections::BTreeMap;

use super::{Roster, label};
use crate::{
    compiled::CompiledRule,
    document::{Draft, DraftRule},
    expression::Expression,
    finding::Findings,
    nearest::meant,
    overlap::Region,
    rule::Action,
    shape::Shape,
};

/// Names that stand for two rules, and names that stand for none.
pub(super) fn names(draft: &Draft, findings: &mut Findings<'_>) {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    let named = draft.rules.iter().enumerate().filter(|(_, rule)| !rule.name.is_empty());
    for (index, rule) in named {
        if let Some(other) = first.get(rule.name.as_str()) {
            let text = format!(
                "rule {} has this name too, so outcomes would not say which acted; use another",
                other + 1
            );
            findings.error(rule.at, label(rule).as_deref(), text);
        }
        first.entry(&rule.name).or_insert(index);
    }
    let mut tests: BTreeMap<&str, ()> = BTreeMap::new();
    for test in &draft.tests {
        let within = format!("test `{}`", test.name);
        if tests.insert(&test.name, ()).is_some() {
            let text = "another test has this name too; use another";
            findings.warn_at(|_| test.place, Some(&within), text);
        }
        let expected = test.expect.rules.iter().flatten().chain(&test.expect.failed);
        for name in expected.filter(|name| !first.contains_key(name.as_str())) {
            let meant = meant(name, first.keys().copied());
            let text = format!("there is no rule `{}`{meant}", name.escape_debug());
            findings.error_at(|_| test.place, Some(&within), text);
        }
    }
}

/// Skills that nobody of a roster has: tickets that need them would find nobody.
pub(super) fn skills(draft: &Draft, roster: &Roster, findings: &mut Findings<'_>) {
    for rule in &draft.rules {
        for draft in &rule.actions {
            let Action::RequireSkill { category, level } = &draft.action else { continue };
            let best = roster.skills.get(category).copied();
            if best.is_some_and(|best| best >= *level) {
                continue;
            }
            let at_most = best.map_or(String::new(), |best| format!(", at most at {best}"));
            let text = format!(
                "nobody of region {} has skill {category} at level {level}{at_most}, so that its tickets \
                 find nobody there; train somebody, or require less",
                roster.region
            );
            findings.warn(draft.at, label(rule).as_deref(), text);
        }
    }
}

/// A rule with what is known of when it acts.
struct Known<'a> {
    draft: &'a DraftRule,
    ready: &'a CompiledRule,
    region: Region,
    always: bool,
    never: bool,
}

pub(super) fn rules(compiled: &[(&DraftRule, CompiledRule)], findings: &mut Findings<'_>) {
    let rules: Vec<Known<'_>> = compiled
        .iter()
        .map(|(draft, ready)| {
            let region = Region::of(&ready.when.tree);
            let (may_hold, may_fail) = match ready.when.shape {
                Shape::Bool { may_hold, may_fail } => (may_hold, may_fail),
                _ => (true, true),
            };
            let never = !may_hold || region.is_empty();
            Known { draft, ready, region, always: !may_fail, never }
        })
        .collect();
    for (index, rule) in rules.iter().enumerate() {
        certain(rule, findings);
        reached(rule, &rules[..index], findings);
        priority(rule, &rules[..index], findings);
        effect(rule, findings);
    }
}

fn warn(rule: &Known<'_>, findings: &mut Findings<'_>, text: impl Into<String>) {
    findings.warn(rule.draft.at, label(rule.draft).as_deref(), text);
}

fn is_true(rule: &Known<'_>) -> bool {
    rule.draft.when.text.trim() == "true"
}

fn certain(rule: &Known<'_>, findings: &mut Findings<'_>) {
    if rule.never {
        warn(rule, findings, "the condition is never true; see which values the facts have");
    } else if rule.always && !is_true(rule) {
        warn(rule, findings, "the condition is always true; write `true` if that is meant");
    }
}

fn reached(rule: &Known<'_>, before: &[Known<'_>], findings: &mut Findings<'_>) {
    if let Some(stop) = before.iter().find(|earlier| earlier.always && earlier.draft.stop) {
        let name = &stop.draft.name;
        let text = format!("no ticket gets here, because rule `{name}` always stops; move it up");
        warn(rule, findings, text);
    }
}

fn priority_of(rule: &CompiledRule) -> Option<u8> {
    rule.actions.iter().find_map(|action| match action {
        Action::SetPriority(priority) => Some(*priority),
        _ => None,
    })
}

/// The first rule that sets a priority decides, so a later one that sets another for the same
/// tickets does nothing there. A last rule for all the others is how a default is written.
fn priority(rule: &Known<'_>, before: &[Known<'_>], findings: &mut Findings<'_>) {
    let Some(mine) = priority_of(rule.ready).filter(|_| !is_true(rule) && !rule.never) else {
        return;
    };
    let other = before.iter().find(|earlier| {
        !earlier.draft.stop
            && priority_of(earlier.ready).is_some_and(|theirs| theirs != mine)
            && !earlier.region.clone().both(&rule.region).is_empty()
    });
    let Some(other) = other else {
        return;
    };
    let name = &other.draft.name;
    let text = if other.always {
        format!("its priority has no effect, because rule `{name}` always sets one before")
    } else {
        format!(
            "rule `{name}` before it sets another priority, which holds where both act; exclude \
             those tickets, or let it stop"
        )
    };
    warn(rule, findings, text);
}

/// Actions that do nothing beside the others of their rule.
fn effect(rule: &Known<'_>, findings: &mut Findings<'_>) {
    let actions = &rule.ready.actions;
    if actions.is_empty() && !rule.draft.stop {
        warn(rule, findings, "it neither acts nor stops; give it an action, or leave it out");
    }
    let within = label(rule.draft);
    for (index, (action, draft)) in actions.iter().zip(&rule.draft.actions).enumerate() {
        let idle = actions[..index].iter().any(|earlier| covers(earlier, action));
        if idle {
            let kind = action.kind().name();
            let text = format!("this `{kind}` has no effect after an earlier one; leave it out");
            findings.warn(draft.at, within.as_deref(), text);
        }
    }
}

/// Whether the later action does nothing after the earlier one.
fn covers(earlier: &Action<Expression>, later: &Action<Expression>) -> bool {
    match (earlier, later) {
        (
            Action::RequireSkill { category, level },
            Action::RequireSkill { category: other, level: lower },
        ) => category == other && lower <= level,
        (
            Action::RequirePart { part, count },
            Action::RequirePart { part: other, count: fewer },
        ) => part == other && fewer <= count,
        (Action::Notify { who }, Action::Notify { who: other }) => who == other,
        (Action::Webhook { name }, Action::Webhook { name: other }) => name == other,
        _ => earlier.kind() == later.kind() && later.kind().first_decides(),
    }
}
