//! Arbitrary documents of escalation policies, promises and silences: none panics, what is refused has an
//! error, and what is taken can be kept, tried and written again.
//!
//! The first byte chooses which of the three.

#![no_main]

use fieldmesh_actors_fuzz::{text, through_bytes};
use fieldmesh_domain::{Region, message::Location, ticket::Subject, time::Millis};
use fieldmesh_policy::{
    Answer, Person, Policies, Read, Refused, Responder, Silences, Situation, Targets, Ticket,
    read_policies, read_silences, read_targets, simulate,
};
use fieldmesh_rules::Severity;
use libfuzzer_sys::fuzz_target;

const TICKETS: [Ticket; 2] =
    [Ticket { priority: 1, category: 26, tier: 1 }, Ticket { priority: 5, category: 0, tier: 3 }];

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let text = text(data);
    match choice % 3 {
        0 => taken(read_policies(text, None)).iter().for_each(policies),
        1 => taken(read_targets(text)).iter().for_each(targets),
        _ => taken(read_silences(text)).iter().for_each(silences),
    }
});

fn taken<T>(read: Result<Read<T>, Refused>) -> Option<T> {
    match read {
        Ok(read) => Some(read.value),
        Err(refused) => {
            let is_error = |severity| severity == Severity::Error;
            assert!(refused.0.iter().any(|finding| is_error(finding.severity)));
            None
        }
    }
}

/// A day of somebody who never answers, somebody who declines and somebody who accepts too late.
fn policies(policies: &Policies) {
    let responder = |answer| Responder { distance_m: 900, answer };
    let answers =
        [Answer::Never, Answer::Declines { after_s: 5 }, Answer::Accepts { after_s: 900 }];
    let person = Person { name: "duty".into(), at_telling: 2, after_s: 60 };
    let situation = Situation {
        priority: 2,
        responders: answers.map(responder).to_vec(),
        people: vec![person],
        until_s: 86_400,
    };
    for entry in policies.entries.iter().take(4) {
        let policy = entry.policy(1);
        through_bytes(&policy);
        let moments = simulate(&policy, &situation);
        assert!(moments.is_sorted_by_key(|moment| moment.at_s));
    }
    for ticket in &TICKETS {
        policies.policy_of(ticket, Some("duty"), 1);
    }
}

fn targets(targets: &Targets) {
    for ticket in &TICKETS {
        targets.target_of(ticket, 1).iter().for_each(through_bytes);
    }
}

fn silences(silences: &Silences) {
    let again = read_silences(&silences.to_string()).expect("what was written");
    assert_eq!(&again.value, silences);
    let region: Region = "eu1".parse().expect("a region");
    for one in &silences.entries {
        let location = one.area.map_or(Location::default(), |area| area.middle);
        let category = one.categories.first().copied().unwrap_or_default();
        let priority = one.priorities.first().copied().unwrap_or(3);
        let customer = one.customers.first().copied();
        let subject = Subject { customer, category, priority, location };
        let region = one.regions.first().copied().unwrap_or(region);
        // It fits what it names, if not until another one's end.
        let found = silences.silence_of(&subject, region, one.from, 1).expect("it lasts");
        assert!(found.until >= one.until);
        let now = Millis(one.from.0 + 1000);
        assert_eq!(silences.with_ended(&one.name, now).is_none(), one.until <= now);
    }
}
