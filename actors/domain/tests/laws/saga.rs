//! The dispatch of one ticket, step by step, with exactly what must follow.
//!
//! Three technicians of one skill and one capacity live ever farther away, so that it is known who
//! is the best, the second and the third.

use std::collections::BTreeMap;

use fieldmesh_domain::{
    Aggregate, Command, Effect, EntityId, IndexRow, MessageKind,
    message::{Answer, ConfirmationBody, OfferId, ReceiptBody, ReceiptStatus},
    selection::Exclusion,
    technician::{self, Phase, Skill},
    ticket::{self, Counted, Event, Stage, Ticket},
    time::Millis,
};

use crate::world::{self, Hand, SITE, World, customer, technician};

const BEST: u8 = 0;
const SECOND: u8 = 1;
const THIRD: u8 = 2;
/// Offers of priority 1 wait this long.
const OFFER_LIFE_S: u64 = 60;

pub(crate) fn hands(count: usize) -> Vec<Hand> {
    let skills = vec![Skill::new(1, 1)];
    let hands = [10_000, 20_000, 30_000];
    hands.map(|lon_e6| Hand { capacity: 1, skills: skills.clone(), lon_e6 })[..count].to_vec()
}

/// A ticket of priority 1 that everything has arrived for.
pub(crate) fn opened(technicians: usize) -> (World, EntityId) {
    let mut world = World::new(&hands(technicians));
    let ticket = world.request(0, 1, 1);
    world.deliver_all();
    (world, ticket)
}

fn first_offer(epoch: u32) -> OfferId {
    OfferId { epoch, seq: 0 }
}

fn asked<const N: usize>(numbers: [u8; N]) -> BTreeMap<EntityId, Exclusion> {
    numbers.map(|number| (technician(number), Exclusion::Asked)).into()
}

impl World {
    pub(crate) fn state(&self, ticket: EntityId) -> &Ticket {
        &self.tickets[&ticket].state
    }

    /// The stage, whom it is with, and the offer's epoch.
    pub(crate) fn stands(&self, ticket: EntityId) -> (Stage, Option<EntityId>, u32) {
        let Ticket { stage, technician, epoch, .. } = *self.state(ticket);
        (stage, technician, epoch)
    }

    fn offered(&self, ticket: EntityId, number: u8, epoch: u32) {
        let technician = technician(number);
        assert_eq!(self.stands(ticket), (Stage::Offered, Some(technician), epoch));
        let alert = self.alerts(technician).last().unwrap();
        assert_eq!((alert.ticket, alert.offer), (ticket, first_offer(epoch)));
        assert_eq!(alert.expires, self.state(ticket).due);
        assert_eq!(self.desk.state.given[&ticket], technician);
        let held = &self.technicians[&technician].state.holdings[&ticket];
        assert_eq!((held.offer, held.phase), (first_offer(epoch), Phase::Reserved));
    }

    pub(crate) fn says(&mut self, number: u8, ticket: EntityId, epoch: u32, answer: Answer) {
        self.answer(technician(number), ticket, first_offer(epoch), answer);
    }

    fn declines(&mut self, number: u8, ticket: EntityId, epoch: u32) {
        self.says(number, ticket, epoch, Answer::Decline { reason: "elsewhere".into() });
        self.deliver_all();
    }

    pub(crate) fn accepts(&mut self, number: u8, ticket: EntityId, epoch: u32) {
        self.says(number, ticket, epoch, Answer::Accept { eta_min: 20 });
    }

    /// Why each technician was not chosen, at the last offer or the last "nobody fits".
    fn excluded(&self, ticket: EntityId) -> BTreeMap<EntityId, Exclusion> {
        let mut choices = self.tickets[&ticket].events.iter().filter_map(|event| match event {
            Event::Offered { choice, .. } | Event::Unfilled { choice, .. } => Some(choice),
            _ => None,
        });
        choices.next_back().unwrap().excluded.iter().copied().collect()
    }

    pub(crate) fn receipts(&self, number: u8) -> Vec<ReceiptStatus> {
        let mail = self.mail.iter().filter(|mail| mail.to == technician(number));
        mail.filter(|mail| mail.kind == MessageKind::Receipt)
            .map(|mail| minicbor::decode::<ReceiptBody>(&mail.body).unwrap().status)
            .collect()
    }
}

#[test]
fn a_request_is_offered_to_the_best_technician() {
    let (world, ticket) = opened(3);
    world.offered(ticket, BEST, 1);
    assert_eq!(world.state(ticket).due, world.now.after_s(OFFER_LIFE_S));
    assert_eq!(world.timers[&ticket], (world.state(ticket).generation, world.state(ticket).due));
    assert_eq!(world.excluded(ticket), BTreeMap::new());
    let row = IndexRow::Ticket {
        id: ticket,
        state: Stage::Offered,
        priority: 1,
        opened_at: world.now,
        technician: Some(technician(BEST)),
        standing: None,
        counted: Some(Counted { category: 1, site: SITE }),
    };
    assert_eq!(world.index[&ticket], row);
}

#[test]
fn a_decline_leads_to_the_next_best() {
    let (mut world, ticket) = opened(3);
    world.declines(BEST, ticket, 1);
    world.offered(ticket, SECOND, 2);
    assert_eq!(world.excluded(ticket), asked([BEST]));
    assert!(world.technicians[&technician(BEST)].state.holdings.is_empty());
    world.declines(SECOND, ticket, 2);
    world.offered(ticket, THIRD, 3);
}

#[test]
fn an_expired_offer_leads_to_the_next_best_and_is_withdrawn() {
    let (mut world, ticket) = opened(3);
    world.fire(ticket);
    world.deliver_all();
    world.offered(ticket, SECOND, 2);
    assert!(world.technicians[&technician(BEST)].state.holdings.is_empty());
    // Nothing was promised, so there is nothing to take back before the late answer.
    assert_eq!(world.receipts(BEST), []);
    world.accepts(BEST, ticket, 1);
    assert_eq!(world.receipts(BEST), [ReceiptStatus::NoLongerYours]);
    world.deliver_all();
    world.offered(ticket, SECOND, 2);
}

#[test]
fn an_acceptance_that_crosses_the_expiry_is_taken_back() {
    let (mut world, ticket) = opened(2);
    world.accepts(BEST, ticket, 1);
    world.fire(ticket);
    world.deliver_all();
    world.offered(ticket, SECOND, 2);
    assert!(world.technicians[&technician(BEST)].state.holdings.is_empty());
    let told = [ReceiptStatus::Received, ReceiptStatus::NoLongerYours];
    assert_eq!(world.receipts(BEST), told);
    world.accepts(SECOND, ticket, 2);
    world.deliver_all();
    assert_eq!(world.stands(ticket), (Stage::Accepted, Some(technician(SECOND)), 2));
    let confirmed = world.confirmations(ticket);
    assert_eq!(confirmed.len(), 1);
    assert_eq!(confirmed[0].technician, Some(technician(SECOND)));
}

#[test]
fn an_answer_counts_until_the_offer_ends_and_not_after() {
    for (late_ms, status) in [(0, ReceiptStatus::Received), (1, ReceiptStatus::NoLongerYours)] {
        let (mut world, ticket) = opened(1);
        world.now = Millis(world.state(ticket).due.0 + late_ms);
        world.accepts(BEST, ticket, 1);
        assert_eq!(world.receipts(BEST), [status]);
    }
}

#[test]
fn nobody_left_is_unfilled_and_retried_with_everybody() {
    let (mut world, ticket) = opened(2);
    world.declines(BEST, ticket, 1);
    world.declines(SECOND, ticket, 2);
    assert_eq!(world.stands(ticket), (Stage::Unfilled, None, 2));
    assert_eq!(world.excluded(ticket), asked([BEST, SECOND]));
    assert_eq!(world.state(ticket).due, world.now.after_s(5));
    world.fire(ticket);
    world.deliver_all();
    world.offered(ticket, BEST, 3);
    world.accepts(BEST, ticket, 3);
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Accepted);
}

#[test]
fn retries_slow_down_to_one_a_minute_and_end_when_somebody_comes() {
    let mut world = World::new(&hands(1));
    let shift = |world: &mut World, command| {
        world.ask(technician(BEST), Command::Technician(command));
        world.deliver_all();
    };
    shift(&mut world, technician::Command::GoOffShift);
    let ticket = world.request(0, 1, 1);
    world.deliver_all();
    for pause_s in [5, 10, 20, 40, 60, 60, 60] {
        assert_eq!(world.stands(ticket), (Stage::Unfilled, None, 0));
        let excluded = BTreeMap::from([(technician(BEST), Exclusion::OffShift)]);
        assert_eq!(world.excluded(ticket), excluded);
        assert_eq!(world.state(ticket).due, world.now.after_s(pause_s));
        world.fire(ticket);
        world.deliver_all();
    }
    shift(&mut world, technician::Command::GoOnShift);
    world.fire(ticket);
    world.deliver_all();
    world.offered(ticket, BEST, 1);
}

#[test]
fn a_desk_that_answers_late_gives_the_ticket_once() {
    let mut world = World::new(&hands(2));
    let ticket = world.request(0, 1, 1);
    world.deliver(customer(0), ticket);
    let desk = world::desk();
    // The question waits, and is asked again.
    world.fire(ticket);
    assert_eq!(world.lanes[&(ticket, desk)].len(), 2);
    world.deliver_all();
    world.offered(ticket, BEST, 1);
    assert_eq!(world.desk.state.technicians[&technician(SECOND)].load, 0);
    assert_eq!(world.desk.state.technicians[&technician(BEST)].assigned, 1);
}

#[test]
fn an_answer_to_an_earlier_question_is_not_taken() {
    let (mut world, ticket) = opened(2);
    let (desk, best) = (world::desk(), technician(BEST));
    // Declined, and asked again; the desk's first answer comes once more before its second.
    world.says(BEST, ticket, 1, Answer::Decline { reason: String::new() });
    world.deliver(best, ticket);
    assert_eq!(world.stands(ticket), (Stage::Matching, None, 1));
    let first = world.desk.events.last().unwrap().clone();
    let offer = world.desk.state.react(&first, desk).pop().unwrap();
    let Effect::Tell { to, command } = offer else { panic!("{offer:?}") };
    world.ask(to, command);
    assert_eq!(world.stands(ticket), (Stage::Matching, None, 1));
    world.deliver_all();
    world.offered(ticket, SECOND, 2);
}

#[test]
fn accepted_work_is_confirmed_done_and_closed() {
    let (mut world, ticket) = opened(1);
    world.accepts(BEST, ticket, 1);
    world.deliver_all();
    assert_eq!(world.state(ticket).due, world.now.after_s(20 * 60 + 3600));
    world.says(BEST, ticket, 1, Answer::EnRoute);
    world.says(BEST, ticket, 1, Answer::OnSite);
    world.says(BEST, ticket, 1, Answer::Completed { note: "new valve".into() });
    world.deliver_all();
    let confirmation = |number, eta_min, text: &str| ConfirmationBody {
        number,
        ticket,
        technician: Some(technician(BEST)),
        technician_name: "technician 0".into(),
        eta_min,
        text: text.into(),
    };
    let wanted = [confirmation(2, Some(20), ""), confirmation(4, None, "new valve")];
    assert_eq!(world.confirmations(ticket), wanted);
    assert_eq!(world.stands(ticket).0, Stage::Completed);
    assert!(world.technicians[&technician(BEST)].state.holdings.is_empty());
    assert!(world.desk.state.given.is_empty());
    assert_eq!(world.state(ticket).due, world.now.after_s(24 * 3600));
    world.fire(ticket);
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Closed);
    assert!(world.timers.is_empty());
    assert!(world.customers[&customer(0)].state.open.is_empty());
}

#[test]
fn work_that_cannot_be_done_goes_to_the_next_best() {
    let (mut world, ticket) = opened(2);
    world.accepts(BEST, ticket, 1);
    world.says(BEST, ticket, 1, Answer::CannotComplete { reason: "no part".into() });
    world.deliver_all();
    world.offered(ticket, SECOND, 2);
    let numbers: Vec<_> =
        world.confirmations(ticket).into_iter().map(|body| (body.number, body.text)).collect();
    assert_eq!(numbers, [(2, String::new()), (3, "no part".to_owned())]);
}

#[test]
fn overdue_work_is_noted_every_hour_and_stays_where_it_is() {
    let (mut world, ticket) = opened(1);
    world.accepts(BEST, ticket, 1);
    world.deliver_all();
    let marked = |world: &World| match &world.index[&ticket] {
        IndexRow::Ticket { standing, .. } => standing.and_then(|standing| standing.overdue_since),
        row => panic!("{row:?}"),
    };
    assert_eq!(marked(&world), None);
    let first = world.timers[&ticket].1;
    for _ in 0..3 {
        world.fire(ticket);
        assert_eq!(world.stands(ticket), (Stage::Accepted, Some(technician(BEST)), 1));
        let (due, at) = (world.now.after_s(3600), Some(world.now));
        assert_eq!(world.tickets[&ticket].events.last(), Some(&Event::Overdue { due, at }));
        assert_eq!(world.timers[&ticket], (world.state(ticket).generation, due));
        assert_eq!(marked(&world), Some(first), "lists say so from the first time on");
    }
    // Whatever is heard of it ends that, and it may be late again.
    world.says(BEST, ticket, 1, Answer::Eta { eta_min: 30 });
    world.deliver_all();
    assert_eq!(marked(&world), None);
    world.fire(ticket);
    assert_eq!(marked(&world), Some(world.now));
    world.says(BEST, ticket, 1, Answer::OnSite);
    world.deliver_all();
    assert_eq!(marked(&world), None);
}

#[test]
fn a_cancelled_ticket_frees_its_technician_who_is_told() {
    let (mut world, ticket) = opened(1);
    world.accepts(BEST, ticket, 1);
    world.deliver_all();
    world.ask(ticket, Command::Ticket(ticket::Command::Cancel));
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Cancelled);
    let told = [ReceiptStatus::Received, ReceiptStatus::NoLongerYours];
    assert_eq!(world.receipts(BEST), told);
    world.all_agree();
    assert!(world.timers.is_empty());
}
