//! Tries rules on past tickets, before they decide about new ones.
//!
//! **Invariants:** one pass over the tickets, in memory for the rules only; nothing else decides
//! than [`evaluate`]. **Not here:** where past tickets come from, how many days of them.

use std::collections::BTreeMap;

use crate::{
    compiled::CompiledRules,
    evaluate::{Failure, evaluate},
    facts::Facts,
};

/// What one rule would have done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleReport {
    pub rule: String,
    /// Tickets that its condition held for.
    pub matched: u64,
    /// Tickets after which it asked no later rule.
    pub stopped: u64,
    /// Tickets that it failed for, by the reason.
    pub failed: BTreeMap<String, u64>,
}

/// What the rules would have done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub tickets: u64,
    /// In the order of the rules; those that no ticket matched too.
    pub rules: Vec<RuleReport>,
    /// Tickets that no rule acts on.
    pub untouched: u64,
    /// Tickets by their priority before and now, where it is another: before is that of the old
    /// rules, or of the built-in rule if there are none.
    pub priorities: BTreeMap<(i64, i64), u64>,
    /// Tickets that take another route than with the old rules.
    pub rerouted: u64,
    /// Tickets for which one of the rules failed, now and with the old rules.
    pub failed: u64,
    pub failed_before: u64,
}

/// Counts what the rules would have done with each of the tickets.
pub fn backtest<'f>(
    rules: &CompiledRules,
    old: Option<&CompiledRules>,
    past: impl Iterator<Item = &'f Facts>,
) -> Report {
    let named =
        |rule: &crate::rule::Rule| RuleReport { rule: rule.name.clone(), ..RuleReport::default() };
    let mut report =
        Report { rules: rules.set().rules.iter().map(named).collect(), ..Report::default() };
    for facts in past {
        count(&mut report, rules, old, facts);
    }
    report
}

fn count(report: &mut Report, rules: &CompiledRules, old: Option<&CompiledRules>, facts: &Facts) {
    let now = evaluate(rules, facts);
    let before = old.map(|old| evaluate(old, facts)).unwrap_or_default();
    report.tickets += 1;
    report.untouched += u64::from(now.actions.is_empty());
    report.failed += u64::from(!now.failed.is_empty());
    report.failed_before += u64::from(!before.failed.is_empty());
    report.rerouted += u64::from(now.route() != before.route());
    let priority = |set: Option<u8>| set.map_or(facts.ticket.priority, i64::from);
    let change = (priority(before.priority()), priority(now.priority()));
    if change.0 != change.1 {
        *report.priorities.entry(change).or_default() += 1;
    }
    for rule in &mut report.rules {
        let matched = now.matched.contains(&rule.rule);
        rule.matched += u64::from(matched);
        rule.stopped += u64::from(now.stopped_by.as_ref() == Some(&rule.rule));
    }
    for failed in &now.failed {
        let named = report.rules.iter_mut().find(|rule| rule.rule == failed.rule);
        if let Some(rule) = named {
            let why: Failure = failed.why;
            *rule.failed.entry(why.to_string()).or_default() += 1;
        }
    }
}
