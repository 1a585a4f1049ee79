//! What integrations report, and what their customers make of it.

use fieldmesh_domain::{
    IndexRow,
    customer::{self, Cases, Customer, Spokesman},
    integration::{
        Command, Event, Facts, Integration, Kind, Label, Mapping, Profile, Reported, Severity,
    },
    ticket::Party,
};

use crate::{HASH, KEY, MESSAGE, NOON, PLACE, are_frozen, customer, request, ticket};

fn integration() -> fieldmesh_domain::EntityId {
    Integration::id_of("eu1".parse().unwrap(), &KEY)
}

fn profile() -> Profile {
    let severity = Severity { name: "bad".into(), impact: 1, urgency: 2 };
    let label = Label { name: "t".into(), value: "v".into(), category: 3, subcategory: 4 };
    let mapping = Mapping {
        category: 11,
        subcategory: 12,
        location: Some(PLACE),
        severities: vec![severity],
        labels: vec![label],
    };
    Profile { name: "mon".into(), kind: Kind::PagerDuty, customer: customer(), mapping }
}

fn reported() -> Reported {
    Reported {
        category: 11,
        subcategory: 12,
        impact: 1,
        urgency: 2,
        location: None,
        text: "hot".into(),
    }
}

fn by() -> Spokesman {
    Spokesman { id: integration(), name: "mon".into(), acknowledges: None }
}

#[test]
fn commands_and_events_of_an_integration() {
    let (by, kind, key, case) = (|| "op".to_owned(), Kind::Alertmanager, KEY, HASH);
    let labels = vec![("t".into(), "v".into())];
    let facts = Facts { severities: vec!["bad".into()], labels, text: "hot".into() };
    are_frozen(&[
        (
            "82008384636d6f6e01<cus>850b0c<place>81836362616401028184617461760304<key>626f70",
            Command::Register { profile: profile(), key, by: by() },
        ),
        ("820181626f70", Command::Revoke { by: by() }),
        (
            "820284<key>00<hash>83816362616481826174617663686f74",
            Command::Trigger { key, kind, case, facts },
        ),
        ("820383<key>00<hash>", Command::Resolve { key, kind, case }),
        ("820583<key>00<hash>", Command::Acknowledge { key, kind, case }),
    ]);
    are_frozen(&[
        (
            "82008484636d6f6e01<cus>850b0c<place>81836362616401028184617461760304<key>626f70<noon>",
            Event::Registered { profile: profile(), key, by: by(), at: NOON },
        ),
        ("820182626f70<noon>", Event::Revoked { by: by(), at: NOON }),
        (
            "820283<hash>860b0c0102f663686f74<noon>",
            Event::Triggered { case, reported: reported(), at: NOON },
        ),
        ("820382<hash><noon>", Event::Resolved { case, at: NOON }),
        ("820482<hash><noon>", Event::Acknowledged { case, at: NOON }),
    ]);
}

#[test]
fn states_and_rows() {
    let known =
        Integration { profile: Some(profile()), key: KEY, created_at: NOON, is_revoked: true };
    are_frozen(&[
        (
            "84f65820000000000000000000000000000000000000000000000000000000000000000000f4",
            Integration::default(),
        ),
        ("8484636d6f6e01<cus>850b0c<place>81836362616401028184617461760304<key><noon>f5", known),
    ]);
    let cases = Cases { count: 7, open: [(HASH.into(), ticket())].into() };
    are_frozen(&[(
        "8a0060820000008200f480f6f6f68207a1<hash><tkt>",
        Customer { cases: Some(cases), ..Customer::default() },
    )]);
    let (id, name, kind) = (integration(), "mon".to_owned(), Kind::PagerDuty);
    let (customer, created_at, is_revoked) = (customer(), NOON, false);
    are_frozen(&[(
        "8213865065753100086d08080808080808080808636d6f6e01<cus><noon>f4",
        IndexRow::Integration { id, name, kind, customer, created_at, is_revoked },
    )]);
    are_frozen(&[("820281636d6f6e", Party::Integration("mon".into()))]);
}

#[test]
fn of_its_customer() {
    are_frozen(&[
        (
            "82181e83825065753100086d08080808080808080808636d6f6e<hash>860b0c0102f663686f74",
            customer::Command::Report { by: by(), case: HASH, reported: reported() },
        ),
        (
            "82181f82825065753100086d08080808080808080808636d6f6e<hash>",
            customer::Command::Resolve { by: by(), case: HASH },
        ),
        (
            "82181f82835065753100086d08080808080808080808636d6f6ef5<hash>",
            customer::Command::Resolve {
                by: Spokesman { acknowledges: Some(true), ..by() },
                case: HASH,
            },
        ),
    ]);
    let (by, case, message_id, ticket) = (by(), HASH, MESSAGE, ticket());
    let body = request();
    are_frozen(&[
        (
            "82181e86825065753100086d08080808080808080808636d6f6e<hash><msg><tkt>860b0c0102<place>646c65616b<noon>",
            customer::Event::Reported { by: by.clone(), case, message_id, ticket, body, at: NOON },
        ),
        (
            "82181f84825065753100086d08080808080808080808636d6f6e<hash><tkt><noon>",
            customer::Event::Resolved { by, case, ticket, at: NOON },
        ),
    ]);
}
