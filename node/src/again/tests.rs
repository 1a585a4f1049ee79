//! A desk with a long history: what is gone through for a choice, and what comes of it.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::cell::Cell;

use fieldmesh_domain::{
    EntityKind, desk::Summary, message::Location, selection::How, technician::Skill,
};
use minicbor::bytes::ByteVec;

use super::*;
use crate::journal::Record;

const MINUTE: u64 = 60_000;

fn id(kind: EntityKind, number: u32) -> EntityId {
    let mut bytes = [0; 10];
    bytes[6..].copy_from_slice(&number.to_be_bytes());
    EntityId::new(kind, "eu1".parse().unwrap(), bytes)
}

fn desk() -> EntityId {
    EntityId::desk("eu1".parse().unwrap())
}

/// A desk and all that happened to it.
#[derive(Default)]
struct Told {
    desk: Desk,
    history: Vec<HistoryEntry>,
    version: u64,
    chain: [u8; 32],
}

impl Told {
    fn step(&mut self, command: &Command, at_ms: u64) -> Vec<Event> {
        let ctx = Ctx { now: Millis(at_ms), id: desk(), rule_version: 1 };
        let events = self.desk.decide(command, &ctx).unwrap();
        if events.is_empty() {
            return events;
        }
        let record = Record {
            cause: Cause::Operator { command_id: [0; 16] },
            at_ms,
            rule_version: 1,
            previous: self.chain,
            events: events
                .iter()
                .map(|one| ByteVec::from(minicbor::to_vec(one).unwrap()))
                .collect(),
        };
        self.chain[..8].copy_from_slice(&(self.version + 1).to_be_bytes());
        self.history.push(HistoryEntry { version: self.version, chain: self.chain, record });
        events.iter().for_each(|event| self.desk.evolve(event));
        self.version += events.len() as u64;
        events
    }

    /// A ticket is given to somebody, and done.
    fn ticket(&mut self, number: u32, at_ms: u64) -> Answered {
        let (ticket, place) = (id(EntityKind::Ticket, number), Location::default());
        let need = Need::plain(1, 3, place, vec![]);
        let asked = Command::Match { ticket, need: need.clone(), question: 1, pace: None };
        let events = self.step(&asked, at_ms);
        let Some(Event::Chosen { technician, choice, .. }) = events.last() else {
            panic!("nobody was chosen: {events:?}")
        };
        let (choice, chosen) = (choice.clone(), Some(*technician));
        self.step(&Command::Done { ticket }, at_ms + 1);
        // The ticket's clock is another one.
        let (asked_at, answered_at) = (Millis(at_ms - 5_000), Millis(at_ms + 7_000));
        Answered { question: 1, need, choice, chosen, asked_at, answered_at }
    }
}

/// A ticket a minute, and technicians whose turn comes by fairness alone.
fn told(tickets: u32) -> (Told, Vec<Answered>) {
    let mut told = Told::default();
    for number in 0..3 {
        let skills = vec![Skill::new(1, 1)];
        let summary = Summary { on_shift: true, skills, capacity: 1, ..Summary::default() };
        told.step(&Command::Technician { id: id(EntityKind::Technician, number), summary }, 1);
    }
    let answers = (1..=tickets).map(|number| told.ticket(number, u64::from(number) * MINUTE));
    let answers = answers.collect();
    (told, answers)
}

/// Asks again until it is done; what it was, in how many asks, and how many steps were read.
fn explained(
    told: &Told,
    waypoints: &Waypoints,
    (number, answer): (u32, &Answered),
    pages: usize,
) -> (Vec<Verdict>, usize, usize) {
    let (read_steps, mut asks) = (Cell::new(0), 0);
    let read = |version| {
        let from = told.history.partition_point(|entry| entry.version < version);
        let page: Vec<HistoryEntry> = told.history[from..].iter().take(PAGE).cloned().collect();
        read_steps.set(read_steps.get() + page.len());
        Ok(page)
    };
    let course = Course { desk: desk(), waypoints, read };
    loop {
        asks += 1;
        assert!(asks < 1000, "it makes no progress");
        let left = Cell::new(pages);
        let goes_on = || left.replace(left.get().saturating_sub(1)) > 0;
        let answers = std::slice::from_ref(answer);
        match decide(id(EntityKind::Ticket, number), answers, &course, goes_on).unwrap() {
            Again::Decided(judged) => {
                let verdicts = judged.into_iter().map(|one| one.verdict).collect();
                return (verdicts, asks, read_steps.get());
            }
            Again::UnderWay(_) => {}
        }
    }
}

#[test]
fn a_choice_far_back_is_decided_again_and_what_was_gone_through_is_not_again() {
    let (told, answers) = told(40_000);
    let waypoints = Waypoints::default();
    let (first, late, early) = (39_000, &answers[38_999], &answers[19_999]);
    // Ten pages in one ask are too few; the next ask goes on.
    let (verdicts, asks, steps) = explained(&told, &waypoints, (first, late), 10);
    assert_eq!(verdicts, [Verdict::Same]);
    assert!(asks > 20, "{asks} asks");
    assert!(steps < told.history.len() + asks * PAGE, "{steps} steps");
    // Another one is found from the point before it.
    let (verdicts, _, steps) = explained(&told, &waypoints, (20_000, early), usize::MAX);
    assert_eq!(verdicts, [Verdict::Same]);
    assert!(steps < 20_000, "{steps} steps for one choice");
    // The same again is known.
    assert_eq!(explained(&told, &waypoints, (first, late), 10).2, 0);
}

#[test]
fn what_the_history_does_not_have_is_unknown_without_going_to_its_end() {
    let (told, answers) = told(20_000);
    let mut other = answers[99].clone();
    other.choice.how = Some(How {
        mode: fieldmesh_domain::selection::Mode::AtOnce,
        eligible: 9,
        room: 9,
        competing: 9,
        rivals: vec![],
        displaced: None,
        pace: None,
    });
    let (verdicts, _, steps) = explained(&told, &Waypoints::default(), (100, &other), usize::MAX);
    assert_eq!(verdicts, [Verdict::Unknown]);
    assert!(steps <= 2 * PAGE, "{steps} steps");
}

#[test]
fn everybody_who_was_out_of_the_question_is_told() {
    let (mut told, _) = told(0);
    for number in 3..903 {
        let skills = vec![Skill::new(1, 1)];
        let summary = Summary { skills, capacity: 1, ..Summary::default() };
        told.step(&Command::Technician { id: id(EntityKind::Technician, number), summary }, 2);
    }
    let answer = told.ticket(1, MINUTE);
    assert_eq!((answer.choice.excluded.len(), answer.choice.excluded_count), (512, 900));
    let read = |version| {
        let from = told.history.partition_point(|entry| entry.version < version);
        Ok(told.history[from..].iter().take(PAGE).cloned().collect())
    };
    let waypoints = Waypoints::default();
    let course = Course { desk: desk(), waypoints: &waypoints, read };
    for _ in 0..2 {
        let ticket = id(EntityKind::Ticket, 1);
        let found = decide(ticket, std::slice::from_ref(&answer), &course, || true).unwrap();
        let Again::Decided(judged) = found else { panic!("{found:?}") };
        assert_eq!(judged[0].verdict, Verdict::Same);
        let all = judged[0].excluded.as_deref().unwrap();
        assert_eq!(all.len(), 900);
        assert!(all.starts_with(&answer.choice.excluded));
    }
}

#[test]
fn another_history_is_gone_through_from_its_beginning() {
    let (first, answers) = told(30_000);
    let waypoints = Waypoints::default();
    explained(&first, &waypoints, (30_000, &answers[29_999]), usize::MAX);
    // The region began again: as long a history, with other hashes.
    let (mut second, answers) = told(30_000);
    for entry in &mut second.history {
        entry.chain[31] = 1;
        if entry.version > 0 {
            entry.record.previous[31] = 1;
        }
    }
    let found = explained(&second, &waypoints, (29_999, &answers[29_998]), usize::MAX);
    assert_eq!(found.0, [Verdict::Same]);
    assert!(found.2 > second.history.len(), "{} steps", found.2);
}

/// The release before did not say where the ticket is.
#[test]
fn a_choice_of_an_earlier_release_is_the_same_where_it_gives_the_ticket_to_the_same() {
    let mut told = told(0).0;
    told.step(&Command::Gather, 2);
    let mut answer = told.ticket(1, MINUTE);
    let chosen = answer.chosen;
    let other = Some(id(EntityKind::Technician, 9));
    for (written, verdict) in [(chosen, Verdict::Same), (other, Verdict::Differs { chosen })] {
        answer.chosen = written;
        let mut rewritten = 0;
        for entry in &mut told.history {
            for bytes in &mut entry.record.events {
                let mut event: Event = minicbor::decode(bytes).unwrap();
                if let Event::Chosen { technician, offer: Some(offer), .. } = &mut event {
                    offer.place = None;
                    *technician = written.unwrap();
                    rewritten += 1;
                    *bytes = minicbor::to_vec(&event).unwrap().into();
                }
            }
        }
        assert_eq!(rewritten, 1);
        let found = explained(&told, &Waypoints::default(), (1, &answer), usize::MAX);
        assert_eq!(found.0, [verdict]);
    }
}
