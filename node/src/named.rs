//! Whom documents name, and whether another document has them: a policy that tells somebody who cannot be told
//! would end silently.
//!
//! **Invariants:** where no document of targets was ever written there is no webhook, and whoever names people is
//! warned: the policy may be written first. **Not here:** what a document may say (its reader), writing it (`web`).

use std::collections::BTreeSet;

use fieldmesh_domain::{escalation::Act, notifier::Recipient};
use fieldmesh_policy::{Policies, Recipients};
use fieldmesh_rules::{Action, RuleSet};

use crate::{documents::Known, notices::Targets};

/// Who can be told: before the first document of targets no webhook, and whichever person.
pub(crate) fn recipients(known: &Known) -> Recipients {
    let targets = known.webhooks.as_ref();
    targets.map_or_else(Recipients::default, |targets| recipients_of(&targets.content))
}

fn recipients_of(targets: &Targets) -> Recipients {
    let (mut people, mut webhooks) = (BTreeSet::new(), BTreeSet::new());
    for to in targets.0.keys() {
        match to {
            Recipient::Person(name) => people.insert(name.clone()),
            Recipient::Webhook(name) => webhooks.insert(name.clone()),
            Recipient::Subscribers => false,
        };
    }
    Recipients { people: Some(people), webhooks }
}

/// Why no person hears of some tickets that nobody takes, where that is so; without names, because whoever watches a
/// node from outside is told it.
pub(crate) fn silence(known: &Known) -> Option<&'static str> {
    let Some(policies) = &known.policies else {
        return Some(
            "no escalation policy is in force: nobody is told of a ticket that no technician takes",
        );
    };
    let now = known.webhooks.as_ref().map(|targets| recipients_of(&targets.content));
    // Without a document of them there is nobody.
    let nobody = || Recipients { people: Some(BTreeSet::new()), webhooks: BTreeSet::new() };
    let there = There { now: now.unwrap_or_else(nobody), before: None };
    let untold = untold_by_policies(&policies.content, &there);
    (!untold.is_empty()).then_some(
        "an escalation policy tells somebody who is not in the document of webhooks, and hears nothing",
    )
}

/// Those who are there, and those who were.
struct There {
    now: Recipients,
    /// None where everybody counts who is named.
    before: Option<Recipients>,
}

impl There {
    /// Whoever was not there before is not missing now.
    fn has(&self, is_person: bool, name: &str) -> bool {
        let names = |of: &Recipients| match is_person {
            true => of.people.as_ref().is_none_or(|people| people.contains(name)),
            false => of.webhooks.contains(name),
        };
        names(&self.now) || self.before.as_ref().is_some_and(|before| !names(before))
    }
}

/// What rules name that no other document in force has, for people.
pub(crate) fn unknown_to(rules: &RuleSet, known: &Known) -> Vec<String> {
    let there = There { now: recipients(known), before: None };
    let policies = known.policies.as_ref();
    untold(rules, &there)
        .into_iter()
        .chain(policies.into_iter().flat_map(|policies| unrouted(rules, &policies.content)))
        .collect()
}

/// Whom rules and policies in force tell and new targets lack, although the ones before had them.
pub(crate) fn lost_by(targets: &Targets, known: &Known) -> Vec<String> {
    let there = There {
        now: recipients_of(targets),
        before: known.webhooks.as_ref().map(|one| recipients_of(&one.content)),
    };
    let rules = known.rules.as_ref().map(|rules| untold(rules.content.set(), &there));
    let policies = known.policies.as_ref();
    let policies = policies.map(|policies| untold_by_policies(&policies.content, &there));
    rules.into_iter().chain(policies).flatten().collect()
}

/// Which rules in force route to a policy that new policies lack, although the ones before had it.
pub(crate) fn unrouted_by(policies: &Policies, known: &Known) -> Vec<String> {
    let (Some(rules), Some(before)) = (&known.rules, &known.policies) else { return vec![] };
    let was_there = unrouted(rules.content.set(), &before.content);
    let mut missing = unrouted(rules.content.set(), policies);
    missing.retain(|one| !was_there.contains(one));
    missing
}

fn unrouted(rules: &RuleSet, policies: &Policies) -> Vec<String> {
    let mut missing = BTreeSet::new();
    for rule in &rules.rules {
        for action in &rule.actions {
            if let Action::Route { policy } = action
                && policies.entry(policy).is_none()
            {
                missing
                    .insert(format!("rule {} routes to {policy}, which is no policy", rule.name));
            }
        }
    }
    missing.into_iter().collect()
}

fn untold(rules: &RuleSet, there: &There) -> Vec<String> {
    let mut missing = BTreeSet::new();
    for rule in &rules.rules {
        let name = &rule.name;
        for action in &rule.actions {
            match action {
                Action::Notify { who } if !there.has(true, who) => {
                    missing.insert(format!("rule {name} tells {who}, who is no person there"));
                }
                Action::Webhook { name: hook } if !there.has(false, hook) => {
                    missing.insert(format!("rule {name} calls {hook}, which is no webhook there"));
                }
                _ => {}
            }
        }
    }
    missing.into_iter().collect()
}

fn untold_by_policies(policies: &Policies, there: &There) -> Vec<String> {
    let mut missing = BTreeSet::new();
    for entry in &policies.entries {
        for step in &entry.steps {
            let Act::Tell { role, name } = &step.act else { continue };
            if !there.has(role.is_person(), name) {
                let (policy, role) = (&entry.name, role.name());
                missing
                    .insert(format!("policy {policy} tells the {role} {name}, who is not there"));
            }
        }
    }
    missing.into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    const RULES: &str = r#"
version = 1
[[rule]]
name = "outage"
when = 'ticket.priority == 1'
actions = [{ notify = "duty" }, { notify = "chief" }, { webhook = "room" }]
"#;
    const POLICIES: &str = r#"
[[policy]]
name = "night"
[[policy.step]]
offer = { technicians = 1 }
within = "1m"
[[policy.step]]
tell = { dispatcher = "duty" }
within = "1m"
[[policy.step]]
tell = { webhook = "siren" }
within = "1m"
[[policy.step]]
repeat = { from = 2 }
"#;

    #[test]
    fn who_is_told_is_there() {
        let targets = "[[person]]\nname = \"duty\"\nurl = \"https://a.example/\"\n\
                       [[webhook]]\nname = \"chief\"\nurl = \"https://b.example/\"\nevents = [\"*\"]\n";
        let now = recipients_of(&Targets::parse(targets).unwrap());
        let mut there = There { now, before: None };
        let rules = fieldmesh_rules::compile(RULES).unwrap();
        let missing = untold(rules.set(), &there);
        assert_eq!(missing.len(), 2, "a webhook is no person: {missing:?}");
        assert!(missing[0].contains("room") && missing[1].contains("chief"), "{missing:?}");
        let policies = fieldmesh_policy::read_policies(POLICIES, None).unwrap().value;
        let missing = untold_by_policies(&policies, &there);
        assert!(missing.len() == 1 && missing[0].contains("siren"), "{missing:?}");
        // Before there is a document, people are told by no other way, and webhooks by none.
        let none = There { now: recipients(&Known::default()), before: None };
        let missing = untold(rules.set(), &none);
        assert!(missing.len() == 1 && missing[0].contains("room"), "{missing:?}");
        // A node says so of itself as long as somebody is not there whom a policy tells.
        assert!(silence(&Known::default()).unwrap().contains("no escalation policy"));
        // Who was not there before either is not lost.
        there.before =
            Some(Recipients { people: Some(["chief".into()].into()), webhooks: [].into() });
        assert_eq!(untold_by_policies(&policies, &there), Vec::<String>::new());
        let missing = untold(rules.set(), &there);
        assert!(missing.len() == 1 && missing[0].contains("chief"), "{missing:?}");
    }
}
