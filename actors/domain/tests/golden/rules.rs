//! What trigger rules said of a ticket: in commands, events and states.

use std::collections::BTreeMap;

use fieldmesh_domain::{
    desk::{self, Bond, Claimed, Claims, Desk, Key},
    selection::{Choice, Exclusion, Need, Part},
    technician::Skill,
    ticket::{Acted, Background, Command, Event, Failed, Hold, Ruled, Ticket, Triage},
    time::Millis,
};
use minicbor::bytes::ByteArray;

use crate::{MESSAGE, NOON, PLACE, are_frozen, customer, request, technician, ticket};

const KEY: Key = Key { hash: [5; 16], bond: Bond::Duplicate { window_s: 60 } };

fn keys() -> Vec<Key> {
    vec![KEY, Key { bond: Bond::Group, ..KEY }, Key { bond: Bond::Inhibit, ..KEY }]
}

/// The bytes of [`keys`].
const KEYS: &str = "8382<msg>820081183c82<msg>82018082<msg>820280";

fn frozen(text: &str) -> String {
    text.replace("<keys>", KEYS).replace(' ', "")
}

fn triage() -> Triage {
    Triage {
        version: 7,
        acted: vec![Acted { rule: "a".into(), did: vec!["b".into()] }],
        failed: vec![Failed { rule: "c".into(), why: "d".into() }],
        priority: Some(2),
        skills: vec![Skill::new(11, 4)],
        keys: keys(),
        inhibits_children: true,
        hold: Some(Hold { minutes: 9, reason: "e".into() }),
        notify: vec!["f".into()],
        webhooks: vec!["g".into()],
        policy: Some("h".into()),
        parts: vec![Part { number: "i".into(), count: 2 }],
    }
}

const TRIAGE: &str = "8c07 81826161816162 8182616361 64 02 81820b04 <keys> f5 82096165 816166 \
                      816167 6168 81826169 02";

#[test]
fn of_a_ticket() {
    let (message_id, body, tier) = (MESSAGE, request(), 2);
    let background =
        Background { open_tickets: 1, requests: [2, 3, 4, 5], site: PLACE, zone: None };
    let open = |triage: Option<Triage>, background| Command::Open {
        customer: customer(),
        message_id,
        body: body.clone(),
        tier,
        triage: triage.map(Box::new),
        wishes: None,
        terms: None,
        background,
        counted: None,
    };
    let head = "<cus><msg>860b0c0102<place>646c65616b02";
    let triaged = format!("820085{head}{TRIAGE}");
    let asked = format!("820088{head}f6f6f6 830184020304 05<place>");
    for (text, command) in [
        (triaged, open(Some(triage()), None)),
        (asked, open(None, Some(background))),
        ("821182<tkt>f5".to_owned(), Command::Compared { like: Some(ticket()), is_silent: true }),
        ("821182f6f4".to_owned(), Command::Compared { like: None, is_silent: false }),
    ] {
        are_frozen(&[(frozen(&text).as_str(), command)]);
    }
    let triage = Some(Box::new(triage()));
    for (text, event) in [
        (format!("82018202{TRIAGE}"), Event::Triaged { priority: 2, triage }),
        ("82181e81<noon>".to_owned(), Event::ParentSought { due: NOON }),
        ("82181f82<tkt>f5".to_owned(), Event::Compared { like: Some(ticket()), is_silent: true }),
    ] {
        are_frozen(&[(frozen(&text).as_str(), event)]);
    }
}

#[test]
fn what_a_ticket_keeps() {
    let triage = triage();
    let ruled = Ruled {
        version: 7,
        skills: triage.skills,
        keys: triage.keys,
        inhibits_children: true,
        hold: triage.hold,
        notify: triage.notify,
        webhooks: triage.webhooks,
        policy: triage.policy,
        compares: 1,
        is_compared: true,
        is_silent: true,
        because: "i".into(),
        parts: triage.parts,
    };
    let text = "9600f6f6f6000000f6608000000000f6f6f6f6f6f6f6 8d07 81820b04 <keys> f5 82096165 \
                816166 816167 6168 01 f5 f5 6169 81826169 02";
    are_frozen(&[(frozen(text).as_str(), Ticket { ruled: Some(ruled), ..Ticket::default() })]);
}

#[test]
fn of_a_desk() {
    let (ticket, keys) = (ticket(), keys());
    let claim = |priority, held_until| {
        let (keys, inhibits_children) = (keys.clone(), true);
        desk::Command::Claim { ticket, keys, inhibits_children, priority, held_until }
    };
    are_frozen(&[
        (frozen("820a83<tkt><keys>f5").as_str(), claim(None, None)),
        (frozen("820a85<tkt><keys>f502<noon>").as_str(), claim(Some(2), Some(NOON))),
        (
            frozen("820b82<tkt><keys>").as_str(),
            desk::Command::Unclaim { ticket, keys: keys.clone() },
        ),
    ]);
    let (inhibits_children, at, like, is_silent) = (true, NOON, Some(ticket), true);
    let compared = |priority, held_until| desk::Event::Compared {
        ticket,
        keys: keys.clone(),
        inhibits_children,
        at,
        like,
        is_silent,
        priority,
        held_until,
    };
    are_frozen(&[
        (frozen("820a86<tkt><keys>f5<noon><tkt>f5").as_str(), compared(None, None)),
        (
            frozen("820a88<tkt><keys>f5<noon><tkt>f502<noon>").as_str(),
            compared(Some(2), Some(NOON)),
        ),
    ]);
    are_frozen(&[(frozen("820b82<tkt><keys>").as_str(), desk::Event::Unclaimed { ticket, keys })]);
    let until = Millis(1);
    let claimed = Claimed {
        ticket,
        since: NOON,
        until,
        children: 2,
        inhibits_children: true,
        priority: None,
        held_until: None,
    };
    let urgent = Claimed { priority: Some(1), held_until: Some(NOON), ..claimed };
    are_frozen(&[("87<tkt><noon>0102f501<noon>", urgent)]);
    let joined = BTreeMap::from([(ByteArray::from(KEY.hash), claimed)]);
    let claims = Claims { joined, silenced: BTreeMap::new() };
    let text = "86a0a0a0f6f6 82a1<msg>85<tkt><noon>0102f5a0";
    are_frozen(&[(frozen(text).as_str(), Desk { claims: Some(claims), ..Desk::default() })]);
}

#[test]
fn required_skills() {
    let skills = Some(vec![Skill::new(11, 4)]);
    let need = Need { skills, ..Need::plain(11, 1, PLACE, vec![]) };
    are_frozen(&[("850b01<place>8081820b04", need)]);
    let parts = Some(vec![Part { number: "a".into(), count: 2 }]);
    let need = Need { parts, ..Need::plain(11, 1, PLACE, vec![]) };
    are_frozen(&[("8b0b01<place>80f6f6f6f6f6f6818261 6102".replace(' ', "").as_str(), need)]);
    are_frozen(&[("16", Exclusion::LacksPart)]);
    let skill = Skill::new(11, 4);
    let choice = Choice {
        excluded: vec![(technician(), Exclusion::LacksRequired)],
        excluded_count: 1,
        lacking: Some(vec![(technician(), skill)]),
        ..Choice::default()
    };
    are_frozen(&[("89808182<tec>080100f6f6f6f68182<tec>820b04", choice)]);
}
