//! How far alerts come: forward, once each, and only while their offers are open.

use std::collections::BTreeMap;

use fieldmesh_domain::{
    Command, Ctx, EntityId,
    message::{Answer, OfferId, ReceiptStatus},
    ticket::{self, Event, Reach, Stage, Ticket},
    time::Millis,
};

use crate::{
    alone::some_ticket,
    parallel,
    saga::opened,
    world::{Lived, World, technician},
};

impl World {
    /// The device of a technician has acknowledged the alert of its offer.
    fn delivered(&mut self, number: u8, ticket: EntityId, offer: OfferId) {
        let (technician, reach) = (technician(number), Reach::Delivered);
        let command = ticket::Command::AlertReached { technician, offer, reach };
        self.ask(ticket, Command::Ticket(command));
    }

    /// What the ticket wrote down of it.
    fn reached(&self, ticket: EntityId) -> Vec<(EntityId, u32, Reach)> {
        let events = self.tickets[&ticket].events.iter();
        let reached = events.filter_map(|event| match event {
            Event::AlertReached { technician, offer, reach } => {
                Some((*technician, offer.epoch, *reach))
            }
            _ => None,
        });
        reached.collect()
    }
}

fn first(epoch: u32) -> OfferId {
    OfferId { epoch, seq: 0 }
}

#[test]
fn an_alert_is_delivered_then_seen_and_each_is_written_down_once() {
    let (mut world, ticket) = opened(2);
    for _ in 0..2 {
        world.delivered(0, ticket, first(1));
        world.says(0, ticket, 1, Answer::Seen);
        world.deliver_all();
    }
    let wanted = [(technician(0), 1, Reach::Delivered), (technician(0), 1, Reach::Seen)];
    assert_eq!(world.reached(ticket), wanted);
    assert_eq!(world.receipts(0), [ReceiptStatus::Received; 2]);
    // It is still offered, with the time that it had.
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(0)), 1));
    assert_eq!(world.timers[&ticket], (world.state(ticket).generation, world.state(ticket).due));
    world.accepts(0, ticket, 1);
    world.deliver_all();
    // Whoever has answered has seen it.
    world.says(0, ticket, 1, Answer::Seen);
    world.deliver_all();
    assert_eq!(world.reached(ticket), wanted);
    world.all_agree();
}

#[test]
fn what_is_seen_first_is_not_delivered_afterwards() {
    let (mut world, ticket) = opened(1);
    world.says(0, ticket, 1, Answer::Seen);
    world.deliver_all();
    world.delivered(0, ticket, first(1));
    assert_eq!(world.reached(ticket), [(technician(0), 1, Reach::Seen)]);
}

#[test]
fn an_offer_that_is_over_reaches_nobody_and_the_next_begins_anew() {
    let (mut world, ticket) = opened(2);
    world.delivered(0, ticket, first(1));
    world.fire(ticket);
    world.deliver_all();
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(1)), 2));
    world.delivered(0, ticket, first(1));
    world.delivered(0, ticket, first(2));
    world.says(0, ticket, 1, Answer::Seen);
    world.deliver_all();
    assert_eq!(world.receipts(0), [ReceiptStatus::NoLongerYours]);
    world.delivered(1, ticket, first(2));
    let delivered = |number, epoch| (technician(number), epoch, Reach::Delivered);
    assert_eq!(world.reached(ticket), [delivered(0, 1), delivered(1, 2)]);
}

#[test]
fn each_of_those_who_are_asked_at_once_is_told_apart() {
    let (mut world, ticket) = parallel::asked(4);
    for (number, seq) in [(2, 2), (0, 0)] {
        world.delivered(number, ticket, OfferId { epoch: 1, seq });
    }
    // By the offer of another one nothing is said of anybody.
    world.delivered(1, ticket, OfferId { epoch: 1, seq: 2 });
    world.answer(technician(2), ticket, OfferId { epoch: 1, seq: 2 }, Answer::Seen);
    world.deliver_all();
    let wanted = [
        (technician(2), 1, Reach::Delivered),
        (technician(0), 1, Reach::Delivered),
        (technician(2), 1, Reach::Seen),
    ];
    assert_eq!(world.reached(ticket), wanted);
    world.all_agree();
}

/// Whatever a ticket is told.
pub(crate) fn alerts_go_forward(commands: &[(ticket::Command, u64)]) {
    let mut lived = Lived::<Ticket>::default();
    let mut ctx = Ctx { now: Millis(0), id: some_ticket(), rule_version: 1 };
    let mut known = BTreeMap::new();
    for (command, pause_ms) in commands {
        ctx.now.0 += pause_ms;
        let (stage, count) = (lived.state.stage, lived.events.len());
        drop(lived.ask(command, &ctx));
        for event in &lived.events[count..] {
            match event {
                Event::Offered { .. } | Event::Assigned { .. } => known.clear(),
                Event::AlertReached { technician, offer, reach } => {
                    assert_eq!((stage, offer.epoch), (Stage::Offered, lived.state.epoch));
                    let before = known.insert(*technician, *reach);
                    assert!(before < Some(*reach), "{before:?}, then {reach:?}");
                }
                _ => {}
            }
        }
    }
    lived.replay_equals_live();
}
