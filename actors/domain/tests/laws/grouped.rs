//! Tickets of one cause, step by step: how a child waits for its parent, and what it does without.

use std::collections::BTreeSet;

use fieldmesh_domain::{
    Command, EntityId, RejectionCode,
    message::Answer,
    notifier::What,
    ticket::{self, Event, Order, Parent, ParentWord, Stage},
};

use crate::{
    saga::opened,
    world::{World, customer, technician},
};

const HOUR_S: u64 = 3600;

/// A parent that the first of three technicians is offered, and a child of another customer.
fn grouped() -> (World, EntityId, EntityId) {
    let (mut world, parent) = opened(3);
    let child = world.request(1, 1, 1);
    world.deliver_all();
    world.carries_out(child, Order::Group { parent });
    (world, parent, child)
}

impl World {
    fn ends(&mut self, parent: EntityId, order: Order) {
        self.accepts(0, parent, 1);
        self.says(0, parent, 1, Answer::Completed { note: "new valve".into() });
        self.deliver_all();
        self.order(parent, order);
        self.deliver_all();
        self.all_agree();
    }

    fn children(&self, parent: EntityId) -> usize {
        self.state(parent).children.as_ref().map_or(0, |children| children.len())
    }
}

#[test]
fn a_child_is_with_nobody_and_asks_once_a_day() {
    let (mut world, parent, child) = grouped();
    assert_eq!(world.stands(child), (Stage::Grouped, None, 1));
    assert!(!world.desk.state.given.contains_key(&child));
    assert!(world.technicians[&technician(1)].state.holdings.is_empty());
    assert_eq!(world.children(parent), 1);
    for _ in 0..3 {
        assert_eq!(world.timers[&child].1, world.now.after_s(24 * HOUR_S));
        world.fire(child);
        assert_eq!(world.timers[&child].1, world.now.after_s(HOUR_S));
        world.deliver_all();
        assert_eq!(world.state(child).parent, Some(Parent { id: parent, has_answered: true }));
    }
    assert_eq!(world.children(parent), 1);
}

#[test]
fn a_childs_work_is_done_when_its_parent_closes() {
    let (mut world, parent, child) = grouped();
    world.ends(parent, Order::Confirm);
    assert_eq!(world.stands(parent).0, Stage::Closed);
    assert_eq!(world.stands(child), (Stage::Completed, None, 1));
    let told = world.confirmations(child);
    assert_eq!((told.len(), told[0].number), (1, 4));
    assert!(!told[0].text.contains(&parent.to_string()), "it is another customer's");
    // Its customer sees that it is not so.
    world.act(customer(1), child, fieldmesh_domain::message::Act::Object { reason: "no".into() });
    world.deliver_all();
    assert_eq!((world.stands(child).0, &world.state(child).parent), (Stage::Offered, &None));
}

#[test]
fn a_child_goes_on_alone_without_a_parent() {
    // Cancelled.
    let (mut world, parent, child) = grouped();
    world.carries_out(parent, Order::Cancel { reason: String::new() });
    assert_eq!(world.stands(child).0, Stage::Offered);
    // It never was.
    let (mut world, _, child) = grouped();
    world.carries_out(child, Order::Ungroup);
    let parent = EntityId::ticket_of(customer(0), [99; 16]);
    world.carries_out(child, Order::Group { parent });
    assert_eq!(world.stands(child).0, Stage::Grouped);
    assert_eq!(world.timers[&child].1, world.now.after_s(HOUR_S));
    world.fire(child);
    world.deliver_all();
    assert_eq!(world.stands(child).0, Stage::Offered);
    // It ended before the child asked.
    let (mut world, parent) = opened(2);
    let child = world.request(1, 1, 1);
    world.deliver_all();
    world.carries_out(parent, Order::Cancel { reason: String::new() });
    world.carries_out(child, Order::Group { parent });
    assert_eq!(world.stands(child).0, Stage::Offered);
}

/// Whoever asks meanwhile is one that waited before the work was done.
#[test]
fn a_child_waits_for_a_parent_whose_work_was_not_done_after_all() {
    let (mut world, parent, child) = grouped();
    world.ends(parent, Order::Object { reason: "it leaks".into() });
    assert_eq!((world.stands(parent).0, world.children(parent)), (Stage::Offered, 1));
    assert_eq!(world.stands(child).0, Stage::Grouped);
    let (_, holder, epoch) = world.stands(parent);
    let number = (0..3).find(|number| Some(technician(*number)) == holder).unwrap();
    world.accepts(number, parent, epoch);
    world.says(number, parent, epoch, Answer::Completed { note: "another valve".into() });
    world.deliver_all();
    assert_eq!(world.stands(parent).0, Stage::Completed);
    let asks = ticket::Command::ChildAsks { child };
    world.ask(parent, Command::Ticket(asks));
    let last = world.tickets[&parent].events.last();
    assert!(matches!(last, Some(Event::ChildAnswered { word: ParentWord::Lives, .. })), "{last:?}");
    world.deliver_all();
    world.carries_out(parent, Order::Confirm);
    assert_eq!(world.stands(child).0, Stage::Completed);
    world.replay_equals_live();
}

#[test]
fn a_child_leaves() {
    for order in [Order::Ungroup, Order::Cancel { reason: String::new() }] {
        let (mut world, parent, child) = grouped();
        world.carries_out(child, order);
        assert_eq!(world.children(parent), 0);
        assert_ne!(world.stands(child).0, Stage::Grouped);
    }
}

#[test]
fn groups_are_flat_and_bounded() {
    let (mut world, parent, child) = grouped();
    let other = world.request(0, 1, 1);
    world.deliver_all();
    // Neither a parent nor a child has another parent.
    let refusals = [(parent, other), (child, other), (other, other), (other, customer(0))];
    for (of, parent) in refusals {
        let (code, _) = world.refusal(of, Order::Group { parent });
        let is_invalid = parent == of || parent == customer(0);
        let wanted = if is_invalid { RejectionCode::Invalid } else { RejectionCode::NotNow };
        assert_eq!(code, wanted, "{of} under {parent}");
    }
    world.carries_out(other, Order::Group { parent: child });
    assert_ne!(world.stands(other).0, Stage::Grouped, "its parent is grouped itself");
    for number in 1..=256_u16 {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let child = EntityId::ticket_of(customer(1), id);
        let command = ticket::Command::ChildAsks { child };
        world.ask(parent, Command::Ticket(command));
    }
    assert_eq!(world.children(parent), 256);
    let last = world.tickets[&parent].events.last();
    assert!(matches!(last, Some(Event::ChildAnswered { word: ParentWord::Gone, .. })), "{last:?}");
}

/// Ten of one cause are told of once, and their end once, however it comes.
#[test]
fn a_storm_is_told_of_when_it_begins_and_when_it_ends() {
    let child = |number: u8| EntityId::ticket_of(customer(1), [number; 16]);
    let ask = |world: &mut World, parent, number, leaves: bool| {
        let child = child(number);
        let command = match leaves {
            false => ticket::Command::ChildAsks { child },
            true => ticket::Command::ChildLeaves { child },
        };
        world.ask(parent, Command::Ticket(command));
    };
    let told = |world: &World| -> Vec<String> {
        let storms = world.told.iter().filter(|notice| notice.what == What::Storm);
        storms.map(|notice| notice.detail.split(':').next().unwrap().to_owned()).collect()
    };
    let begun = || {
        let (mut world, parent) = opened(3);
        (1..10).for_each(|number| ask(&mut world, parent, number, false));
        assert_eq!(told(&world), Vec::<String>::new());
        ask(&mut world, parent, 10, false);
        ask(&mut world, parent, 11, false);
        // Whoever asks again joins no second time.
        ask(&mut world, parent, 11, false);
        assert_eq!(told(&world), ["begins"]);
        (world, parent)
    };
    let cancel = || Command::Ticket(ticket::Command::Cancel);
    let (mut world, parent) = begun();
    world.ask(parent, cancel());
    assert_eq!(told(&world), ["begins", "ends with this one"]);
    // Its children go on alone, and say so.
    (2..12).for_each(|number| ask(&mut world, parent, number, true));
    assert_eq!(told(&world), ["begins", "ends with this one"], "it ends once");
    let (mut world, parent) = begun();
    ask(&mut world, parent, 11, true);
    assert_eq!(told(&world), ["begins"]);
    ask(&mut world, parent, 10, true);
    assert_eq!(told(&world), ["begins", "ends"]);
    ask(&mut world, parent, 12, false);
    assert_eq!(told(&world), ["begins", "ends", "begins"]);
    let storms = world.told.iter().filter(|notice| notice.what == What::Storm);
    let ids: BTreeSet<_> = storms.map(|notice| notice.id).collect();
    assert_eq!(ids.len(), 3, "each is another notice");
    // Few are no storm when they end.
    let (mut world, parent, _) = grouped();
    world.ask(parent, cancel());
    assert_eq!(told(&world), Vec::<String>::new());
}

#[test]
fn an_acceptance_that_crosses_the_grouping_is_taken_back() {
    let (mut world, parent) = opened(2);
    let child = world.request(1, 1, 1);
    world.deliver_all();
    world.accepts(1, child, 1);
    world.carries_out(child, Order::Group { parent });
    assert_eq!(world.stands(child), (Stage::Grouped, None, 1));
    assert!(world.technicians[&technician(1)].state.holdings.is_empty());
}
