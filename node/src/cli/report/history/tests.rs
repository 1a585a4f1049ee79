//! Histories of tickets are read as the server tells them.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::story::EventStory;

/// One event: milliseconds of the server, name, detail, technician.
type Told = (u64, &'static str, &'static str, &'static str);

pub(crate) fn story(priority: u8, events: &[Told]) -> TicketStory {
    let event = |(at_ms, event, detail, technician): &Told| EventStory {
        at_ms: *at_ms,
        event: (*event).into(),
        detail: (*detail).into(),
        technician: (!technician.is_empty()).then(|| (*technician).into()),
        epoch: None,
        message: None,
        rule_version: 1,
    };
    TicketStory {
        id: "tkt_eu1_x".into(),
        state: "completed".into(),
        priority,
        technician: None,
        policy: None,
        promises: None,
        events: events.iter().map(event).collect(),
        offers: vec![],
        confirmations: vec![],
        warning: None,
        chain: String::new(),
        position: None,
    }
}

/// A clock that shows a minute for each ten milliseconds.
pub(crate) fn clock(minutes: u64) -> LogClock {
    let mut clock = LogClock::default();
    for minute in 0..=minutes {
        clock.step(minute * 10, minute);
    }
    clock
}

fn spans(history: &History) -> Vec<(Wait, &str, u64, u64)> {
    let told = |span: &'_ Span| (span.wait, span.from, span.to);
    history
        .spans
        .iter()
        .map(|span| {
            let (wait, from, to) = told(span);
            (wait, span.technician.as_deref().unwrap_or(""), from, to)
        })
        .collect()
}

#[test]
fn time_is_where_the_ticket_was() {
    let story = story(
        3,
        &[
            (0, "opened", "by cus_eu1_a, category 7", ""),
            (0, "triaged", "priority 3", ""),
            (0, "matching", "", ""),
            (3, "offered", "to a, offer 1", "a"),
            (50, "offer_refused", "by a: Declined", "a"),
            (50, "matching", "", ""),
            (54, "offered", "to b, offer 2", "b"),
            (100, "accepted", "by b, in 30 min", "b"),
            (300, "progressed", "en_route", ""),
            (400, "progressed", "on_site", ""),
            (500, "progressed", "cannot_complete", ""),
            (500, "matching", "", ""),
            (502, "offered", "to c, offer 3", "c"),
            (510, "accepted", "by c, in 30 min", "c"),
            (520, "progressed", "en_route", ""),
            (530, "progressed", "on_site", ""),
            (600, "progressed", "completed", ""),
        ],
    );
    let history = read(&story, &clock(100));
    assert_eq!(
        spans(&history),
        [
            (Wait::Seeking, "", 0, 0),
            (Wait::Asked, "a", 0, 5),
            (Wait::Seeking, "", 5, 5),
            (Wait::Asked, "b", 5, 10),
            (Wait::Listed, "b", 10, 30),
            (Wait::Road, "b", 30, 40),
            (Wait::Site, "b", 40, 50),
            (Wait::Seeking, "", 50, 50),
            (Wait::Asked, "c", 50, 51),
            (Wait::Listed, "c", 51, 52),
            (Wait::Road, "c", 52, 53),
            (Wait::Site, "c", 53, 60),
        ]
        .map(|(wait, who, from, to)| (wait, who, from, to))
    );
    assert_eq!(history.to_offer_ms, Some(3));
    assert_eq!((history.accepted, history.arrived), (Some(10), Some(40)));
    assert_eq!(history.completed, Some(60));
    assert_eq!((history.offers, history.acceptances), (3, 2));
    assert_eq!((history.reassigned, history.handed_over), (2, 1));
    assert_eq!((history.declined, history.undone, history.doubly_held), (1, 1, 0));
}

#[test]
fn a_ticket_that_is_open_waits_until_the_end() {
    let events = [
        (0, "opened", "", ""),
        (0, "matching", "", ""),
        (1, "unfilled", "3 technicians excluded", ""),
        (40, "ordered", "reassign by the operator", ""),
        (40, "matching", "", ""),
        (60, "offered", "to a, offer 1", "a"),
        (70, "offer_expired", "", ""),
        (70, "matching", "", ""),
    ];
    let history = read(&story(1, &events), &clock(20));
    let expected =
        [(Wait::Seeking, "", 0, 6), (Wait::Asked, "a", 6, 7), (Wait::Seeking, "", 7, 20)];
    assert_eq!(spans(&history), expected);
    assert_eq!((history.unfilled, history.expired, history.is_ended()), (1, 1, false));
}

#[test]
fn a_second_holder_is_seen() {
    let events = [
        (0, "opened", "", ""),
        (0, "offered", "", "a"),
        (10, "accepted", "", "a"),
        (20, "offered", "", "b"),
        (30, "accepted", "", "b"),
        (40, "taken_back", "", "b"),
        (50, "offered", "", "a"),
        (60, "accepted", "", "a"),
        (70, "cancelled", "", ""),
    ];
    let history = read(&story(2, &events), &clock(20));
    assert_eq!(history.doubly_held, 1);
    assert_eq!((history.is_cancelled, history.completed), (true, None));
    assert_eq!(history.spans.last().map(|span| span.to), Some(7));
}
