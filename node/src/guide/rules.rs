//! What trigger rules say of a ticket that is opened.
//!
//! **Invariants:** every fact is in the range that rules count on, whatever the request says; a rule that fails
//! is counted and logged by its name and nothing else, as what it failed on may be the customer's. **Not
//! here:** what the ticket makes of it (`domain::ticket`), counting tickets (`history`).

use aws_lc_rs::digest::{SHA256, digest};
use fieldmesh_domain::{
    desk,
    selection::Part,
    technician::Skill,
    ticket::{Acted, Failed, Hold, Triage},
};
use fieldmesh_rules::{Action, CompiledRules, Facts, Inhibited, Outcome, evaluate};

use crate::documents::InForce;

/// Rules whose names a ticket keeps: more would not be read, and the event stays small.
const ACTED_MAX: usize = 32;
/// Who is told by one ticket, and webhooks that it calls.
const TOLD_MAX: usize = 32;

/// Asks the rules in force.
pub(crate) fn triage(rules: &InForce<CompiledRules>, facts: &Facts) -> Triage {
    let outcome = evaluate(&rules.content, facts);
    for failed in &outcome.failed {
        metrics::counter!("fieldmesh_rules_failed_total").increment(1);
        tracing::error!(rule = failed.rule, why = %failed.why, "a trigger rule failed");
    }
    metrics::counter!("fieldmesh_rules_evaluated_total").increment(1);
    told(rules.version, &outcome)
}

/// An outcome as a ticket keeps it.
pub(crate) fn told(version: u32, outcome: &Outcome) -> Triage {
    let acted = outcome.matched.iter().take(ACTED_MAX).map(|rule| {
        let own = outcome.actions.iter().filter(|caused| caused.rule == *rule);
        Acted { rule: rule.clone(), did: own.map(|caused| phrase(&caused.action)).collect() }
    });
    let failed = outcome.failed.iter().take(ACTED_MAX);
    let failed =
        failed.map(|failed| Failed { rule: failed.rule.clone(), why: failed.why.to_string() });
    let skills = outcome.skills().into_iter();
    let hold = outcome.hold();
    Triage {
        version,
        acted: acted.collect(),
        failed: failed.collect(),
        priority: outcome.priority(),
        skills: skills.map(|(category, level)| Skill::new(category, level)).collect(),
        parts: parts(outcome),
        keys: keys(outcome),
        inhibits_children: matches!(outcome.inhibits(), Some(Inhibited::Children)),
        hold: hold.map(|(minutes, reason)| Hold { minutes, reason: reason.to_owned() }),
        notify: names(outcome, |action| match action {
            Action::Notify { who } => Some(who),
            _ => None,
        }),
        webhooks: names(outcome, |action| match action {
            Action::Webhook { name } => Some(name),
            _ => None,
        }),
        policy: outcome.route().map(str::to_owned),
    }
}

/// Each once, in the order of the rules.
fn names(outcome: &Outcome, name: impl Fn(&Action<String>) -> Option<&String>) -> Vec<String> {
    let mut names = Vec::new();
    for caused in &outcome.actions {
        if let Some(name) = name(&caused.action)
            && !names.contains(name)
            && names.len() < TOLD_MAX
        {
            names.push(name.clone());
        }
    }
    names
}

fn parts(outcome: &Outcome) -> Vec<Part> {
    let parts = outcome.parts().into_iter();
    parts.map(|(number, count)| Part { number: number.to_owned(), count }).collect()
}

/// The same as another first: that is the closer bond.
fn keys(outcome: &Outcome) -> Vec<desk::Key> {
    let duplicate = outcome.duplicate_of().map(|(key, minutes)| desk::Key {
        hash: hash(key),
        bond: desk::Bond::Duplicate { window_s: minutes.saturating_mul(60) },
    });
    let group = outcome.group().map(|key| desk::Key { hash: hash(key), bond: desk::Bond::Group });
    let inhibit = match outcome.inhibits() {
        Some(Inhibited::Key(key)) => Some(desk::Key { hash: hash(key), bond: desk::Bond::Inhibit }),
        Some(Inhibited::Children) | None => None,
    };
    [duplicate, group, inhibit].into_iter().flatten().collect()
}

/// Keys are compared for the whole region: nobody may make one that meets another's.
fn hash(key: &str) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&digest(&SHA256, key.as_bytes()).as_ref()[..16]);
    hash
}

/// An action for people, without what is in its key.
fn phrase(action: &Action<String>) -> String {
    let name = action.kind().name();
    match action {
        Action::SetPriority(priority) => format!("{name} {priority}"),
        Action::RequireSkill { category, level } => format!("{name} {category} at level {level}"),
        Action::RequirePart { part, count } => format!("{name} {count} of {part}"),
        Action::GroupBy { .. } | Action::Inhibit(Inhibited::Key(_)) => format!("{name} a key"),
        Action::Deduplicate { window_minutes, .. } => {
            format!("{name} by a key, for {window_minutes} min")
        }
        Action::Hold { minutes, reason } => format!("{name} {minutes} min: {reason}"),
        Action::Inhibit(Inhibited::Children) => format!("{name} children"),
        Action::Notify { who: name_of }
        | Action::Webhook { name: name_of }
        | Action::Route { policy: name_of } => format!("{name} {name_of}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_rules::compile;

    use super::*;

    const RULES: &str = r#"version = 1
[[rule]]
name = "all"
when = 'true'
actions = [
    { set_priority = 2 },
    { require_skill = { category = 7, level = 3 } },
    { require_part = { part = "pump", count = 1 } },
    { require_part = { part = "pump", count = 2 } },
    { deduplicate = { key = '"a"', window_minutes = 5 } },
    { group_by = '"b"' },
    { inhibit = "children" },
    { hold = { minutes = 9, reason = "by day" } },
    { notify = "duty" },
    { notify = "duty" },
    { webhook = "room" },
    { route = "nearest" },
]
[[rule]]
name = "divides"
when = '1 / (ticket.category - ticket.category) == 1'
actions = [{ set_priority = 1 }]
"#;

    #[test]
    fn an_outcome_is_what_the_ticket_keeps() {
        let rules = InForce { version: 7, content: compile(RULES).unwrap() };
        let triage = triage(&rules, &Facts::default());
        assert_eq!((triage.version, triage.priority), (7, Some(2)));
        assert_eq!(triage.skills, [Skill::new(7, 3)]);
        assert_eq!(triage.parts, [Part { number: "pump".into(), count: 2 }]);
        let duplicate = desk::Bond::Duplicate { window_s: 300 };
        let bonds: Vec<_> = triage.keys.iter().map(|key| key.bond).collect();
        assert_eq!(bonds, [duplicate, desk::Bond::Group]);
        assert_ne!(triage.keys[0].hash, triage.keys[1].hash);
        assert!(triage.inhibits_children);
        assert_eq!(triage.hold, Some(Hold { minutes: 9, reason: "by day".into() }));
        assert_eq!((triage.notify, triage.webhooks), (vec!["duty".into()], vec!["room".into()]));
        assert_eq!(triage.policy.as_deref(), Some("nearest"));
        assert_eq!(triage.acted.len(), 1);
        assert!(triage.acted[0].did.contains(&"require_skill 7 at level 3".to_owned()));
        assert_eq!(triage.failed[0].rule, "divides");
        assert!(triage.failed[0].why.contains("divides by zero"));
    }
}
