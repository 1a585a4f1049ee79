//! What a history says of offers, on histories made of a ticket's own decisions.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use fieldmesh_actors::commit::Cause;
use fieldmesh_domain::{
    Ctx, EntityKind, TimerName,
    escalation::{Act, PRIORITIES, Policy, Role, Step},
    message::{Location, RequestBody},
    selection::{Candidate, Choice},
    ticket::{Command, Order, Party, Progress, Terms},
    time::Millis,
};

use super::*;
use crate::{
    journal::{HistoryEntry, Record},
    story::{TicketStory, opened_by, tell},
};

fn id(kind: EntityKind, number: u8) -> EntityId {
    EntityId::new(kind, "eu1".parse().unwrap(), [number; 10])
}

fn technician(number: u8) -> EntityId {
    id(EntityKind::Technician, number)
}

/// A ticket with its history, told a second after the other.
struct Told {
    ticket: Ticket,
    history: Vec<HistoryEntry>,
    now_ms: u64,
}

impl Told {
    fn opened(policy: Option<Policy>) -> Self {
        let mut told = Self { ticket: Ticket::default(), history: vec![], now_ms: 0 };
        let body = RequestBody {
            category: 1,
            subcategory: 1,
            impact: 2,
            urgency: 2,
            location: Location::default(),
            text: "it leaks".into(),
        };
        let terms =
            policy.map(|policy| Box::new(Terms { policy: Some(policy), ..Terms::default() }));
        let customer = id(EntityKind::Customer, 1);
        told.ask(&Command::Open {
            customer,
            message_id: [1; 16],
            body,
            tier: 2,
            triage: None,
            terms,
            wishes: None,
            background: None,
            counted: None,
        });
        told
    }

    /// At a second of its own.
    fn ask(&mut self, command: &Command) {
        self.now_ms += 1000;
        let ctx = Ctx { now: Millis(self.now_ms), id: id(EntityKind::Ticket, 1), rule_version: 1 };
        let events = self.ticket.decide(command, &ctx).unwrap();
        events.iter().for_each(|event| self.ticket.evolve(event));
        let events = events.iter().map(|event| minicbor::to_vec(event).unwrap().into()).collect();
        let record = Record {
            cause: Cause::Operator { command_id: [0; 16] },
            at_ms: self.now_ms,
            rule_version: 1,
            previous: [0; 32],
            events,
        };
        self.history.push(HistoryEntry { version: 0, record, chain: [0; 32] });
    }

    fn offer(&mut self, numbers: &[u8]) {
        let candidates = numbers.iter().map(|number| Candidate {
            technician: technician(*number),
            distance_m: 1,
            travel_s: 1,
            load_s: 0,
            over_qualification_s: 0,
            fairness_s: 0,
            preferred_s: None,
            lateness_s: None,
        });
        let choice = Choice { candidates: candidates.collect(), ..Choice::default() };
        let (technician, question) = (technician(numbers[0]), self.ticket.question);
        self.ask(&Command::Offer { technician, choice, question });
    }

    fn reach(&mut self, number: u8, offer: (u32, u32), reach: Reach) {
        let (technician, offer) = (technician(number), OfferId { epoch: offer.0, seq: offer.1 });
        self.ask(&Command::AlertReached { technician, offer, reach });
    }

    fn accept(&mut self, number: u8, offer: (u32, u32)) {
        let (technician, offer) = (technician(number), OfferId { epoch: offer.0, seq: offer.1 });
        self.ask(&Command::Accept { technician, offer, name: "Bo".into(), eta_min: 5 });
    }

    fn expire(&mut self) {
        let (name, generation) = (TimerName::Deadline, self.ticket.generation);
        self.ask(&Command::Timer { name, generation, marks: None });
    }

    fn order(&mut self, order: Order) {
        let (by, id) = (Party::Operator("ann".into()), [2; 16]);
        self.ask(&Command::Order { order, by, id, marks: None });
    }

    fn story(&self) -> TicketStory {
        tell(id(EntityKind::Ticket, 1), &self.history).unwrap()
    }

    /// Each offer in short: to whom, how far it came and since which second, how it ended.
    fn offers(&self) -> Vec<(String, DeliveryState, u64, Option<String>)> {
        let offers = self.story().offers.into_iter();
        offers.map(|one| (one.technician, one.state, one.since_ms / 1000, one.ended)).collect()
    }
}

fn is(
    number: u8,
    state: DeliveryState,
    since_s: u64,
    ended: Option<&str>,
) -> (String, DeliveryState, u64, Option<String>) {
    (technician(number).to_string(), state, since_s, ended.map(str::to_owned))
}

use DeliveryState::{Answered, Delivered, Queued, Seen, Sent};

#[test]
fn each_state_is_told_with_the_time_at_which_it_began() {
    let mut told = Told::opened(None);
    told.offer(&[1]);
    assert_eq!(told.offers(), [is(1, Queued, 2, None)]);
    told.reach(1, (1, 0), Reach::Delivered);
    assert_eq!(told.offers(), [is(1, Delivered, 3, None)]);
    // Once more: it was delivered when it was.
    told.reach(1, (1, 0), Reach::Delivered);
    assert_eq!(told.offers(), [is(1, Delivered, 3, None)]);
    told.reach(1, (1, 0), Reach::Seen);
    assert_eq!(told.offers(), [is(1, Seen, 5, None)]);
    told.accept(1, (1, 0));
    assert_eq!(told.offers(), [is(1, Answered, 6, Some("accepted"))]);
    assert_eq!(opened_by(&told.history), Some(id(EntityKind::Customer, 1)));
}

#[test]
fn what_was_delivered_and_not_answered_is_told_apart_from_what_never_came() {
    let mut told = Told::opened(None);
    told.offer(&[1]);
    told.expire();
    told.offer(&[2]);
    told.reach(2, (2, 0), Reach::Delivered);
    told.expire();
    told.offer(&[3]);
    let (technician, offer) = (technician(3), OfferId { epoch: 3, seq: 0 });
    told.ask(&Command::Refused { technician, offer, reason: RefusalReason::NoDevice });
    told.offer(&[4]);
    told.order(Order::Cancel { reason: "so".into() });
    let wanted = [
        is(1, Queued, 2, Some("expired")),
        is(2, Delivered, 5, Some("expired")),
        is(3, Queued, 7, Some("no_device")),
        is(4, Queued, 9, Some("withdrawn")),
    ];
    assert_eq!(told.offers(), wanted);
}

#[test]
fn those_who_are_asked_at_once_each_have_their_own() {
    let offer = Act::Offer { technicians: 3, radius_m: None, at_once: Some(3) };
    let tell = Act::Tell { role: Role::Lead, name: "lead".into() };
    let steps = [offer, tell, Act::Repeat { from: 1 }];
    let steps = steps.map(|act| Step { act, within_s: vec![60; PRIORITIES] });
    let policy = Policy { name: "p".into(), version: 1, steps: steps.into() };
    let mut told = Told::opened(Some(policy));
    told.offer(&[1, 2, 3]);
    told.reach(3, (1, 2), Reach::Delivered);
    told.reach(2, (1, 1), Reach::Seen);
    told.accept(2, (1, 1));
    let positions: Vec<(u32, u32)> =
        told.story().offers.iter().map(|one| (one.epoch, one.position)).collect();
    assert_eq!(positions, [(1, 0), (1, 1), (1, 2)]);
    let wanted = [
        is(1, Queued, 2, Some("withdrawn")),
        is(2, Answered, 5, Some("accepted")),
        is(3, Delivered, 3, Some("withdrawn")),
    ];
    assert_eq!(told.offers(), wanted);
}

#[test]
fn only_an_open_offer_that_waits_was_sent() {
    let mut told = Told::opened(None);
    told.offer(&[1]);
    let story = || told.story().offers.remove(0);
    let mut offer = story();
    // The clocks of two nodes may differ.
    offer.was_sent(1500);
    assert_eq!((offer.state, offer.since_ms), (Sent, 2000));
    let mut offer = story();
    offer.was_sent(2500);
    offer.was_sent(9000);
    assert_eq!((offer.state, offer.since_ms), (Sent, 2500));
    told.expire();
    let mut offer = told.story().offers.remove(0);
    offer.was_sent(2500);
    assert_eq!((offer.state, offer.since_ms), (Queued, 2000));
}

#[test]
fn a_confirmation_waits_as_long_as_its_row_is_there() {
    let mut told = Told::opened(None);
    told.offer(&[1]);
    told.accept(1, (1, 0));
    let (technician, offer) = (technician(1), OfferId { epoch: 1, seq: 0 });
    let progress = Progress::Completed { note: "done".into() };
    told.ask(&Command::Progress { technician, offer, progress });
    let numbers = |all: &[ConfirmationStory]| {
        all.iter().map(|one| (one.number, one.made_ms, one.state)).collect::<Vec<_>>()
    };
    let confirmations = || told.story().confirmations;
    assert_eq!(numbers(&confirmations()), [(2, 3000, None), (4, 4000, None)]);
    let waiting = confirmations().remove(1).body;
    let mut known = confirmations();
    mark_waiting(&mut known, &[vec![1, 2, 3], waiting]);
    known.iter_mut().for_each(|one| one.left_mailbox(5000));
    assert_eq!(numbers(&known), [(2, 3000, Some(Delivered)), (4, 4000, Some(Queued))]);
    // After a week the row is gone, whether it arrived or not.
    let mut old = confirmations();
    old.iter_mut().for_each(|one| one.left_mailbox(MESSAGE_LIFE_S * 1000 + 3500));
    assert_eq!(numbers(&old), [(2, 3000, None), (4, 4000, Some(Delivered))]);
}
