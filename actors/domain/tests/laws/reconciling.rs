//! What differs when a region goes on from replicas that were not at the same point, and who gives way.
//!
//! A customer and its tickets are of one group, and so of one history. Registrations tell devices found
//! and lost only, which may be asked again of customers and technicians as it is. Between the others:
//!
//! | the ticket | the technician | what becomes of it |
//! |---|---|---|
//! | unknown | holds it | nobody answers: released at the deadline |
//! | opened anew since it was asked | holds it | asked again once it is offered to that technician |
//! | offered, at work | holds it by the same offer | the further of the two phases |
//! | offered, at work | knows nothing of it, or an earlier offer | holds it again, its device is alerted anew |
//! | offered, at work | cannot hold it | another one is sought, the customer hears so |
//! | offered | is unknown | the offer expires |
//! | at work | is unknown | at the deadline another one is sought, the customer hears so |
//! | at work | ended it, and the word is lost | holds it again: its device says once more how it ended |
//! | offered, at work | holds it by a later offer | the ticket takes the later offer's number |
//! | matching, unfilled | accepted a later offer | the ticket is the technician's |
//! | matching, unfilled | is reserved by a later offer | released |
//! | with another, ended | holds it | released |
//!
//! | the desk | the ticket or technician | what becomes of it |
//! |---|---|---|
//! | knows anything | is unknown | forgotten |
//! | gave it, or not | is with somebody | the ticket says who |
//! | answered a question that a ticket opened anew asks again | was given by that answer | the ticket says who |
//! | answered a question that the ticket has not asked yet | is matching | asks with a number above all |
//! | was not asked, or its answer is lost | is matching | is asked again |
//! | has another picture of a technician | is known | the technician says how it is |
//!
//! **Not here:** any histories at any points (`promoted`).

use fieldmesh_domain::{
    Command, EntityId,
    message::{Answer, ReceiptStatus},
    technician::{self, Phase, Technician},
    ticket::{self, Stage, Ticket},
};

use crate::{
    saga::{hands, opened},
    world::{self, Lived, World, customer, technician},
};

impl World {
    fn all_are_asked(&mut self) {
        self.reconcile(world::desk());
        let technicians = self.technicians.keys();
        let all: Vec<_> = technicians.chain(self.tickets.keys()).copied().collect();
        for id in all {
            self.reconcile(id);
        }
        self.deliver_all();
    }

    /// The customer's word survived, and arrives only now.
    fn opens_anew(&mut self, ticket: EntityId) {
        let is_opening = |(_, command): &&(EntityId, Command)| {
            matches!(command, Command::Ticket(ticket::Command::Open { .. }))
        };
        let (_, opening) = self.asked.iter().find(is_opening).cloned().unwrap();
        self.ask(ticket, opening);
    }

    fn phase(&self, number: u8, ticket: EntityId) -> Option<Phase> {
        let technician: &Technician = &self.technicians[&technician(number)].state;
        technician.holdings.get(&ticket).map(|held| held.phase)
    }

    fn numbers(&self, ticket: EntityId) -> Vec<u8> {
        self.confirmations(ticket).iter().map(|body| body.number).collect()
    }
}

#[test]
fn those_who_agree_bother_nobody() {
    let (mut world, ticket) = opened(2);
    world.accepts(0, ticket, 1);
    world.deliver_all();
    let (mail, before) = (world.mail.len(), world.tickets[&ticket].state.clone());
    world.all_are_asked();
    world.agrees_again();
    assert_eq!(world.mail.len(), mail, "no device hears of it");
    let after = &world.tickets[&ticket].state;
    assert_eq!((after.stage, after.epoch, after.due), (before.stage, before.epoch, before.due));
    // Asked again, nothing changes.
    let events = world.tickets[&ticket].events.len();
    world.all_are_asked();
    assert_eq!(world.tickets[&ticket].events.len(), events);
}

#[test]
fn a_technician_who_is_behind_goes_on_with_what_the_customer_was_told() {
    let (mut world, ticket) = opened(2);
    world.accepts(0, ticket, 1);
    world.says(0, ticket, 1, Answer::EnRoute);
    world.deliver_all();
    world.technicians = World::new(&hands(2)).technicians;
    world.all_are_asked();
    assert_eq!(world.stands(ticket), (Stage::EnRoute, Some(technician(0)), 1));
    assert_eq!(world.phase(0, ticket), Some(Phase::EnRoute));
    assert_eq!(world.numbers(ticket), [2], "the customer hears nothing new");
    assert_eq!(world.alerts(technician(0)).len(), 2, "its device is alerted anew");
    world.says(0, ticket, 1, Answer::Completed { note: String::new() });
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Completed);
}

#[test]
fn a_ticket_that_is_behind_learns_how_far_its_technician_is() {
    let (mut world, ticket) = opened(2);
    world.accepts(0, ticket, 1);
    world.says(0, ticket, 1, Answer::OnSite);
    world.lanes.clear();
    world.all_are_asked();
    world.agrees_again();
    assert_eq!(world.stands(ticket), (Stage::OnSite, Some(technician(0)), 1));
    assert_eq!(world.numbers(ticket), [2]);
    assert_eq!(world.confirmations(ticket)[0].eta_min, Some(20), "what it promised");
}

#[test]
fn a_ticket_that_waits_is_the_technicians_who_accepted_it() {
    let mut world = World::new(&hands(2));
    let ticket = world.request(0, 1, 1);
    world.deliver(customer(0), ticket);
    let (tickets, timers) = (world.tickets.clone(), world.timers.clone());
    world.deliver_all();
    world.accepts(0, ticket, 1);
    world.lanes.clear();
    (world.tickets, world.timers) = (tickets, timers);
    assert_eq!(world.stands(ticket), (Stage::Matching, None, 0));
    world.all_are_asked();
    world.all_agree();
    assert_eq!(world.stands(ticket), (Stage::Accepted, Some(technician(0)), 1));
    // Whatever was offered and lost, the next offer has a number of its own.
    world.says(0, ticket, 1, Answer::CannotComplete { reason: String::new() });
    world.deliver_all();
    let Ticket { epoch, technician: next, .. } = world.tickets[&ticket].state;
    assert!(epoch > 1 << 16 && next == Some(technician(1)), "{epoch}");
}

#[test]
fn what_is_lost_is_given_up_at_the_deadline() {
    let (mut world, ticket) = opened(1);
    world.accepts(0, ticket, 1);
    world.deliver_all();
    world.tickets.clear();
    world.timers.clear();
    world.customers = World::new(&hands(1)).customers;
    world.all_are_asked();
    assert_eq!(world.phase(0, ticket), Some(Phase::Committed), "it may be on its way");
    world.fire(technician(0));
    assert_eq!(world.phase(0, ticket), None);
    let told = [ReceiptStatus::Received, ReceiptStatus::NoLongerYours];
    assert_eq!(world.receipts(0), told);
}

/// The customer's word survives and the ticket does not: it is opened once more, and counts its offers from one.
#[test]
fn what_is_opened_anew_and_offered_to_who_holds_it_is_not_given_up() {
    for declined in [0, 1] {
        let (mut world, ticket) = opened(1);
        for _ in 0..declined {
            world.says(0, ticket, 1, Answer::Decline { reason: String::new() });
            world.deliver_all();
            world.fire(ticket);
            world.deliver_all();
        }
        let held = declined + 1;
        assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(0)), held));
        world.tickets.clear();
        world.timers.clear();
        world.all_are_asked();
        world.opens_anew(ticket);
        world.deliver(ticket, world::desk());
        world.deliver(world::desk(), ticket);
        // It accepts what it was offered before, and the new offer arrives only then.
        world.accepts(0, ticket, held);
        world.deliver_all();
        assert_eq!(world.stands(ticket), (Stage::Accepted, Some(technician(0)), held));
        world.fire(technician(0));
        world.agrees_again();
        assert_eq!(world.phase(0, ticket), Some(Phase::Committed));
    }
}

#[test]
fn a_customer_whose_technician_is_lost_hears_so_and_gets_another() {
    let (mut world, ticket) = opened(2);
    world.accepts(0, ticket, 1);
    world.deliver_all();
    world.technicians.insert(technician(0), Lived::default());
    world.all_are_asked();
    assert_eq!(world.stands(ticket).0, Stage::Accepted);
    assert_eq!(world.state(ticket).due, world.now.after_s(600), "it waits, but not for long");
    world.fire(ticket);
    world.deliver_all();
    assert_eq!(world.stands(ticket).1, Some(technician(1)));
    assert_eq!(world.numbers(ticket), [2, 3]);
}

/// It counts its questions from one again, and takes the answer to a lost one for its own; the desk has forgotten that
/// one and gives its own.
#[test]
fn a_desk_whose_lost_answer_was_taken_hears_who_has_the_ticket() {
    let mut world = World::new(&hands(1));
    let ticket = world.request(0, 1, 1);
    world.deliver(customer(0), ticket);
    world.deliver(ticket, world::desk());
    let lanes = core::mem::take(&mut world.lanes);
    world.tickets.clear();
    world.timers.clear();
    world.all_are_asked();
    world.lanes = lanes;
    world.opens_anew(ticket);
    world.deliver(world::desk(), ticket);
    world.deliver(ticket, technician(0));
    world.ask(technician(0), Command::Technician(technician::Command::GoOffShift));
    world.deliver(technician(0), world::desk());
    world.deliver_all();
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(0)), 1));
    world.agrees_again();
}

#[test]
fn a_desk_that_is_ahead_answers_again() {
    let (mut world, ticket) = opened(2);
    let tickets = world.tickets.clone();
    for epoch in 1..=2 {
        let number = u8::try_from(epoch).unwrap() - 1;
        world.says(number, ticket, epoch, Answer::Decline { reason: String::new() });
        world.deliver_all();
    }
    // The ticket knows only of its first offer; the desk has answered three questions.
    world.tickets = tickets;
    world.all_are_asked();
    world.all_agree();
    world.says(0, ticket, 1, Answer::Decline { reason: String::new() });
    world.deliver_all();
    assert_eq!(world.stands(ticket).1, Some(technician(1)), "it was answered");
}
