//! Everything that is wrong with a document, and what of it is surely not meant.
//!
//! **Invariants:** rules come back only where there are no errors; what is found does not depend on
//! anything but the text, and the roster where one is given. **Not here:** reading the document (`document`),
//! one expression (`expression`), rules that make no sense together (`lint/doubts`).

mod doubts;

use std::collections::BTreeMap;

use crate::{
    check::RULE_COST_MAX,
    compiled::{CompiledRule, SET_COST_MAX},
    document::{self, Draft, DraftRule, Source},
    expression::{Expression, Wanted, examine as examine_expression},
    finding::{Finding, Findings},
    rule::{ACTIONS_MAX, Action, RULES_MAX, RuleSet, fault},
};

/// Errors and warnings of a document, in its order. Of an expression that cannot be read there is
/// one error, of everything else each.
pub fn lint(text: &str) -> Vec<Finding> {
    examine(text).2
}

/// What the technicians of a region can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    pub region: String,
    /// The highest level of each category that somebody has.
    pub skills: BTreeMap<u16, u8>,
}

/// The same, and a warning where a rule asks for a skill that nobody there has.
pub fn lint_for(text: &str, roster: &Roster) -> Vec<Finding> {
    let (draft, _, mut found) = examine(text);
    let mut more = Findings::new(text);
    doubts::skills(&draft, roster, &mut more);
    found.extend(more.into_sorted());
    found.sort_by_key(|finding| (finding.place, finding.severity));
    found
}

pub(crate) fn examine(text: &str) -> (Draft, Vec<CompiledRule>, Vec<Finding>) {
    let mut findings = Findings::new(text);
    let draft = document::read(text, &mut findings);
    let rules = examine_draft(&draft, &mut findings);
    (draft, rules, findings.into_sorted())
}

/// The same for what was stored of a document: places are those within the expressions.
pub(crate) fn examine_set(set: &RuleSet) -> (Draft, Vec<CompiledRule>, Vec<Finding>) {
    let mut findings = Findings::new("");
    if set.rules.len() > RULES_MAX {
        let text = format!("{} rules, more than {RULES_MAX}; join some", set.rules.len());
        findings.error(0, None, text);
        return (Draft::default(), Vec::new(), findings.into_sorted());
    }
    for rule in &set.rules {
        if rule.actions.len() > ACTIONS_MAX {
            findings.error(
                0,
                Some(&rule.name),
                format!("more than {ACTIONS_MAX} actions; split it"),
            );
        }
        if let Some(text) = fault(rule) {
            findings.error(0, Some(&rule.name), text);
        }
    }
    let rules = document::from_set(&set.rules);
    let draft = Draft { version: set.version, rules, tests: Vec::new() };
    let rules = examine_draft(&draft, &mut findings);
    (draft, rules, findings.into_sorted())
}

/// As findings call it; none where it has no name.
fn label(rule: &DraftRule) -> Option<String> {
    (!rule.name.is_empty()).then(|| format!("rule `{}`", rule.name))
}

fn examine_draft(draft: &Draft, findings: &mut Findings<'_>) -> Vec<CompiledRule> {
    let mut compiled = Vec::new();
    let mut total: u64 = 0;
    for rule in &draft.rules {
        let within = label(rule);
        let within = within.as_deref();
        let Some(ready) = examine_rule(rule, within, findings) else {
            continue;
        };
        let cost = ready.cost();
        if cost > RULE_COST_MAX {
            let text = format!(
                "the rule can take {cost} steps, more than {RULE_COST_MAX}; shorten its lists, or \
                 look through less text"
            );
            findings.error_at(|document| rule.when.spot(document, 0), within, text);
        }
        let before = total;
        total = total.saturating_add(cost);
        if before <= SET_COST_MAX && total > SET_COST_MAX {
            let text = format!(
                "the rules up to this one can take {total} steps, more than {SET_COST_MAX}; \
                 shorten the lists, or look through less text"
            );
            findings.error_at(|document| rule.when.spot(document, 0), within, text);
        }
        compiled.push((rule, ready));
    }
    doubts::names(draft, findings);
    doubts::rules(&compiled, findings);
    compiled.into_iter().map(|(_, ready)| ready).collect()
}

/// None where there are errors.
fn examine_rule(
    rule: &DraftRule,
    within: Option<&str>,
    findings: &mut Findings<'_>,
) -> Option<CompiledRule> {
    let when = examine_source(&rule.when, Wanted::Condition, within, findings);
    let mut actions = Vec::new();
    for draft in &rule.actions {
        let mut key =
            |source: &Source| examine_source(source, Wanted::Key, within, findings).ok_or(());
        actions.push(draft.action.with_key(&mut key));
    }
    let actions = actions.into_iter().collect::<Result<Vec<Action<Expression>>, ()>>().ok()?;
    Some(CompiledRule { name: rule.name.clone(), when: when?, stop: rule.stop, actions })
}

fn examine_source(
    source: &Source,
    wanted: Wanted,
    within: Option<&str>,
    findings: &mut Findings<'_>,
) -> Option<Expression> {
    let examined = examine_expression(&source.text, wanted);
    for fault in examined.faults {
        findings.error_at(|document| source.spot(document, fault.offset), within, fault.text);
    }
    for doubt in examined.doubts {
        findings.warn_at(|document| source.spot(document, doubt.offset), within, doubt.text);
    }
    examined.expression
}
