//! Several technicians are asked at the same time, and the first who accepts has the ticket.

use fieldmesh_domain::{
    Command, EntityId, MessageKind,
    escalation::{Act, Policy, Role, Step},
    message::{Answer, OfferId, ReceiptStatus},
    technician::Skill,
    ticket::{self, Order, Stage},
};

use crate::{
    orders::amend,
    world::{Hand, World, technician},
};

/// Three are asked at once, out of as many as the step has; then a person is told.
fn policy(technicians: u8) -> Policy {
    let offer = Act::Offer { technicians, radius_m: None, at_once: Some(3) };
    let tell = Act::Tell { role: Role::Lead, name: "lead".into() };
    let steps = [offer, tell, Act::Repeat { from: 0 }];
    let steps = steps.map(|act| Step { act, within_s: vec![60] });
    Policy { name: "p".into(), version: 1, steps: steps.into() }
}

pub(crate) fn asked(technicians: u8) -> (World, EntityId) {
    let four = [1_u32, 2, 3, 4].map(|place| Hand {
        capacity: 1,
        skills: vec![Skill::new(1, 1)],
        lon_e6: i32::try_from(place * 10_000).unwrap(),
    });
    let mut world = World::new(&four);
    world.policy = Some(policy(technicians));
    let ticket = world.request(0, 1, 1);
    world.deliver_all();
    (world, ticket)
}

impl World {
    /// Who holds an offer, with its position.
    fn offers(&self, ticket: EntityId) -> Vec<(EntityId, u32)> {
        let held = self.technicians.iter();
        let held = held.filter_map(|(id, lived)| Some((*id, lived.state.holdings.get(&ticket)?)));
        held.map(|(id, held)| (id, held.offer.seq)).collect()
    }

    fn says_under(&mut self, number: u8, ticket: EntityId, seq: u32, answer: Answer) {
        self.answer(technician(number), ticket, OfferId { epoch: 1, seq }, answer);
        self.deliver_all();
        self.all_agree();
    }
}

const ALL: [(u8, u32); 3] = [(0, 0), (1, 1), (2, 2)];

fn named(all: &[(u8, u32)]) -> Vec<(EntityId, u32)> {
    let mut named: Vec<_> = all.iter().map(|(number, seq)| (technician(*number), *seq)).collect();
    named.sort();
    named
}

fn accept() -> Answer {
    Answer::Accept { eta_min: 5 }
}

fn decline() -> Answer {
    Answer::Decline { reason: "elsewhere".into() }
}

#[test]
fn the_first_who_accepts_has_it_and_the_others_are_released() {
    for (number, seq) in ALL {
        let (mut world, ticket) = asked(4);
        world.all_agree();
        assert_eq!(world.offers(ticket), named(&ALL));
        world.says_under(number, ticket, seq, accept());
        assert_eq!(world.stands(ticket), (Stage::Accepted, Some(technician(number)), 1));
        assert_eq!(world.offers(ticket), named(&[(number, seq)]));
        // The others' devices show it no more, and the one that has it was not told that.
        for (other, _) in ALL {
            let told: &[_] = if other == number {
                &[ReceiptStatus::Received]
            } else {
                &[ReceiptStatus::NoLongerYours]
            };
            assert_eq!(world.receipts(other), told);
        }
        // Too late: it is somebody else's.
        for (late, seq) in ALL.into_iter().filter(|(late, _)| *late != number) {
            world.says_under(late, ticket, seq, accept());
            assert_eq!(world.receipts(late).last(), Some(&ReceiptStatus::NoLongerYours));
        }
        // It goes on under its own offer.
        world.says_under(number, ticket, seq, Answer::EnRoute);
        assert_eq!(world.stands(ticket).0, Stage::EnRoute);
        assert_eq!(
            world.confirmations(ticket).last().unwrap().technician,
            Some(technician(number))
        );
    }
}

#[test]
fn whoever_does_not_want_it_leaves_it_to_the_others() {
    let (mut world, ticket) = asked(4);
    world.says_under(1, ticket, 1, decline());
    assert_eq!(world.offers(ticket), named(&[(0, 0), (2, 2)]));
    world.says_under(0, ticket, 0, decline());
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(2)), 1));
    world.says_under(2, ticket, 2, decline());
    // The step asks four, and one is left.
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(3)), 2));
    assert_eq!(world.offers(ticket), named(&[(3, 0)]));
    assert_eq!(world.state(ticket).asked.len(), 3);
}

#[test]
fn those_who_say_nothing_are_asked_no_more_in_the_step() {
    let (mut world, ticket) = asked(3);
    world.fire(ticket);
    world.deliver_all();
    world.all_agree();
    let asked = &world.state(ticket).asked;
    assert_eq!(asked.len(), 3, "{asked:?}");
    // Their devices know when the offer ended.
    assert!(ALL.iter().all(|(number, _)| world.receipts(*number).is_empty()));
    assert_eq!(world.state(ticket).escalation.as_ref().unwrap().at.step, 1, "the lead is told");
}

#[test]
fn whatever_ends_the_offer_releases_all_of_them() {
    let reason = || "so".to_owned();
    let to = Some(technician(1));
    let until = asked(3).0.now.after_s(3600);
    for (order, left) in [
        (Order::Cancel { reason: reason() }, vec![]),
        (Order::Hold { until, reason: reason() }, vec![]),
        // One of them, under an offer of its own.
        (Order::Reassign { to, reason: reason() }, named(&[(1, 0)])),
    ] {
        let (mut world, ticket) = asked(3);
        world.order(ticket, order.clone());
        world.deliver_all();
        world.all_agree();
        assert_eq!(world.offers(ticket), left, "{order:?}");
    }
    // What only changes leaves them as they are.
    let (mut world, ticket) = asked(3);
    world.order(ticket, amend(Some("it leaks badly"), None));
    world.deliver_all();
    assert_eq!(world.offers(ticket), named(&ALL));
    for (number, _) in ALL {
        let notes = world.mail.iter().filter(|mail| mail.kind == MessageKind::Note);
        let told = notes.filter(|mail| mail.to == technician(number)).count();
        assert_eq!(told, 1, "whoever is asked works from what was amended");
    }
}

#[test]
fn whom_an_operator_means_has_it_alone() {
    for order in [Order::Pin, Order::Reassign { to: Some(technician(0)), reason: "so".into() }] {
        let (mut world, ticket) = asked(3);
        world.order(ticket, order);
        world.deliver_all();
        world.all_agree();
        assert_eq!(world.offers(ticket), named(&[(0, 0)]));
    }
}

#[test]
fn an_offer_that_others_have_too_makes_way_for_one_that_only_it_has() {
    let (mut world, ticket) = asked(3);
    world.policy = None;
    // The desk counts on nobody but the first, so it chooses the second, who is asked beside.
    let other = world.request(1, 1, 1);
    world.deliver_all();
    world.all_agree();
    assert_eq!(world.stands(other), (Stage::Offered, Some(technician(1)), 1));
    assert_eq!(world.offers(ticket), named(&[(0, 0), (2, 2)]));
}

#[test]
fn after_a_promotion_only_the_one_whom_the_ticket_counts_on_is_asked() {
    let (mut world, ticket) = asked(3);
    world.ask(ticket, Command::Ticket(ticket::Command::Reconcile { promotion: 1 }));
    world.deliver_all();
    assert_eq!(world.offers(ticket), named(&[(0, 0)]));
}
