//! A desk at which tickets wait for each other: when they do, what the batch gives them, and whose offer
//! makes room for what is most urgent.
//!
//! The same three technicians as in `saga`, near, farther and farthest. **Not here:** that a batch is the
//! cheapest (`assignment`).

use fieldmesh_domain::{
    Aggregate, Command, EntityId,
    desk::{self, QUIET_MS, REVIEW_S, WINDOW_MS},
    escalation::{Act, Policy, Step},
    message::Answer,
    selection::{How, Mode},
    technician::Skill,
    ticket::{self, Order, Stage, Ticket},
    time::Millis,
};

use crate::{
    saga::hands,
    world::{self, Hand, World, customer, technician},
};

const BEST: u8 = 0;
const SECOND: u8 = 1;
const THIRD: u8 = 2;

impl World {
    /// Everything arrives that is on its way; what waits at the desk goes on waiting.
    pub(crate) fn arrive(&mut self) {
        while let Some((from, to)) = self.lanes.keys().next().copied() {
            self.deliver(from, to);
        }
    }

    /// A ticket of priority 3 is a request of the second customer with urgency 3.
    pub(crate) fn asks(&mut self, category: u16, priority: u8) -> EntityId {
        let ticket = self.request(1, category, priority);
        self.arrive();
        assert_eq!(self.tickets[&ticket].state.priority, priority);
        ticket
    }

    /// What waits has a timer that ends the wait, or another one soon.
    pub(crate) fn whoever_waits_is_answered_soon(&self) {
        let Some(board) = &self.desk.state.board else { return };
        if board.waiting.is_empty() {
            return;
        }
        assert_eq!(self.timers.get(&world::desk()), Some(&(board.generation, board.due)));
        for (ticket, waiting) in &board.waiting {
            assert!(!self.desk.state.given.contains_key(ticket), "{ticket} waits and is given");
            // A step that closes a batch may be late by as much as its timer is.
            let latest = match waiting.is_queued() {
                true => self.now.after_s(REVIEW_S).0,
                false => self.now.0.max(waiting.since.0 + WINDOW_MS),
            };
            assert!(board.due.0 <= latest, "{ticket}: {board:?}");
        }
    }

    /// Nothing that was accepted or pinned, or as urgent, was ever taken for another ticket.
    pub(crate) fn only_offers_gave_way(&self) {
        for (id, lived) in &self.tickets {
            let mut ticket = Ticket::default();
            for event in &lived.events {
                let gives_way =
                    matches!(event, ticket::Event::TakenBack { displaced_by: Some(_), .. });
                let may =
                    ticket.stage == Stage::Offered && !ticket.is_pinned() && ticket.priority > 1;
                assert!(!gives_way || may, "{id} was {ticket:?}");
                ticket.evolve(event);
            }
        }
    }

    fn how(&self, ticket: EntityId) -> How {
        let mut events = self.tickets[&ticket].events.iter().rev();
        let choice = events.find_map(|event| match event {
            ticket::Event::Offered { choice, .. } | ticket::Event::Unfilled { choice, .. } => {
                Some(choice)
            }
            _ => None,
        });
        choice.unwrap().how.clone().unwrap()
    }

    /// Those that wait for others, and not in the queue.
    fn waiting(&self) -> Vec<EntityId> {
        let waiting = self.desk.state.board.as_ref().unwrap().waiting.iter();
        waiting.filter(|(_, one)| !one.is_queued()).map(|(ticket, _)| *ticket).collect()
    }

    pub(crate) fn holder(&self, ticket: EntityId) -> Option<EntityId> {
        self.tickets[&ticket].state.technician
    }
}

fn skilled(lon_e6: i32, categories: &[u16]) -> Hand {
    let skills =
        categories.iter().map(|category| Skill { category: *category, level: 1, expires: None });
    Hand { capacity: 1, skills: skills.collect(), lon_e6 }
}

#[test]
fn one_for_whom_there_is_room_enough_is_answered_at_once() {
    let mut world = World::gathering(&hands(2));
    let ticket = world.asks(1, 3);
    assert_eq!(world.holder(ticket), Some(technician(BEST)));
    let how = world.how(ticket);
    assert_eq!((how.mode, how.eligible, how.room, how.competing), (Mode::AtOnce, 2, 2, 1));
    // The next one has half as much, and waits: a tenth of a second where nothing else comes.
    let next = world.asks(1, 3);
    assert_eq!((world.waiting(), world.holder(next)), (vec![next], None));
    assert_eq!(world.timers[&world::desk()].1, Millis(world.now.0 + QUIET_MS));
    world.deliver_all();
    assert_eq!(world.holder(next), Some(technician(SECOND)));
    let how = world.how(next);
    assert_eq!((how.mode, how.eligible, how.room, how.competing), (Mode::Batched, 1, 1, 2));
}

#[test]
fn a_batch_does_not_give_the_first_what_the_second_needs_more() {
    let crew = [skilled(10_000, &[1, 2]), skilled(20_000, &[1]), skilled(90_000, &[1])];
    let mut world = World::gathering(&crew);
    // It takes the second one, so that the rest is scarce.
    world.order_next_to(SECOND);
    let first = world.asks(1, 3);
    let second = world.asks(2, 3);
    assert_eq!(world.waiting().len(), 2);
    world.deliver_all();
    // Greedy would have given the first one the nearest, and nobody to the second.
    assert_eq!(world.holder(first), Some(technician(THIRD)));
    assert_eq!(world.holder(second), Some(technician(BEST)));
    let rivals = world.how(first).rivals;
    assert_eq!(rivals.len(), 1);
    assert_eq!((rivals[0].ticket, rivals[0].technician), (second, technician(BEST)));
    world.all_agree();
}

impl World {
    /// A ticket that one technician is given.
    fn order_next_to(&mut self, number: u8) {
        let ticket = self.asks(1, 3);
        let to = Some(technician(number));
        self.order(ticket, Order::Reassign { to, reason: "so".into() });
        self.arrive();
        assert_eq!(self.holder(ticket), Some(technician(number)));
    }
}

/// A hundred kilometres to the one, twice as many to the other, who has a ticket there already.
#[test]
fn who_is_at_work_beside_it_is_nearer_than_who_lives_nearer() {
    let hand = |lon_e6| Hand { capacity: 2, skills: vec![Skill::new(1, 1)], lon_e6 };
    let mut world = World::gathering(&[hand(1_800_000), hand(900_000)]);
    world.order_next_to(BEST);
    let beside = world.asks(1, 3);
    world.deliver_all();
    assert_eq!(world.holder(beside), Some(technician(BEST)));
    assert_eq!(world.alerts(technician(BEST)).last().unwrap().distance_m, 0);
    world.all_agree();
}

#[test]
fn those_that_go_on_coming_wait_no_longer_than_two_seconds() {
    let mut world = World::gathering(&hands(1));
    let began = world.now;
    let first = world.asks(1, 3);
    for _ in 0..24 {
        world.now.0 += QUIET_MS - 1;
        let next = world.asks(1, 3);
        let due = world.timers[&world::desk()].1;
        assert!(due.0 <= (began.0 + WINDOW_MS).max(world.now.0), "{next}: {due:?}");
    }
    assert_eq!(world.waiting().len(), 25);
    world.deliver_all();
    assert_eq!(world.holder(first), Some(technician(BEST)), "of equally urgent ones the first");
}

#[test]
fn the_more_urgent_is_served_where_not_everybody_can_be() {
    let mut world = World::gathering(&hands(1));
    let tickets: Vec<EntityId> = [3, 2, 3].map(|priority| world.asks(1, priority)).into();
    world.deliver_all();
    assert_eq!(
        tickets.iter().map(|one| world.holder(*one)).collect::<Vec<_>>(),
        [None, Some(technician(BEST)), None]
    );
    assert_eq!(world.tickets[&tickets[0]].state.stage, Stage::Unfilled);
}

#[test]
fn what_waits_and_is_asked_again_is_the_same() {
    let mut world = World::gathering(&hands(1));
    let ticket = world.asks(1, 3);
    let board = world.desk.state.board.clone();
    // The ticket's own deadline comes first: it asks as it did.
    world.fire(ticket);
    world.arrive();
    let is_late = world.desk.state.board.clone().map(|board| board.waiting);
    assert_eq!(is_late, board.map(|board| board.waiting));
    // By then the batch should have been closed long ago, so it closes now.
    assert_eq!(world.timers[&world::desk()].1, world.now);
    world.deliver_all();
    assert_eq!(world.holder(ticket), Some(technician(BEST)));
}

#[test]
fn what_waits_and_ends_is_forgotten() {
    let mut world = World::gathering(&hands(1));
    let (held, cancelled, given) = (world.asks(1, 3), world.asks(1, 3), world.asks(1, 3));
    let until = world.now.after_s(60);
    world.order(held, Order::Hold { until, reason: "so".into() });
    world.order(cancelled, Order::Cancel { reason: "so".into() });
    let to = Some(technician(BEST));
    world.order(given, Order::Reassign { to, reason: "so".into() });
    world.arrive();
    assert_eq!(world.waiting(), []);
    world.deliver_all();
    world.all_agree();
    assert_eq!(world.holder(given), Some(technician(BEST)));
}

#[test]
fn priority_1_takes_an_offer_from_another_ticket() {
    let mut world = World::gathering(&hands(1));
    let other = world.asks(1, 3);
    world.deliver_all();
    assert_eq!(world.holder(other), Some(technician(BEST)));
    let urgent = world.asks(1, 1);
    // Both are with the desk by now: the one was taken back, and asked again.
    world.deliver_all();
    world.all_agree();
    assert_eq!((world.holder(urgent), world.holder(other)), (Some(technician(BEST)), None));
    assert_eq!(world.how(urgent).displaced, Some(other));
    assert_eq!(world.tickets[&other].state.stage, Stage::Unfilled);
    let notes = world.tickets[&other].state.asked.clone();
    assert_eq!(notes, [], "it was not the technician who refused");
    world.only_offers_gave_way();
}

#[test]
fn what_is_displaced_is_matched_anew_at_once() {
    let crew = [skilled(10_000, &[1, 2]), skilled(50_000, &[1])];
    let mut world = World::gathering(&crew);
    let other = world.asks(1, 3);
    world.deliver_all();
    assert_eq!(world.holder(other), Some(technician(BEST)));
    let began = world.now;
    let urgent = world.asks(2, 1);
    world.deliver_all();
    let both = (world.holder(urgent), world.holder(other));
    assert_eq!(both, (Some(technician(BEST)), Some(technician(SECOND))));
    assert!(world.now.0 - began.0 < 10, "{} ms", world.now.0 - began.0);
}

#[test]
fn what_is_accepted_or_pinned_or_as_urgent_does_not_give_way() {
    for kind in 0..3 {
        let mut world = World::gathering(&hands(1));
        let other = world.asks(1, if kind == 2 { 1 } else { 3 });
        world.deliver_all();
        match kind {
            0 => {
                let offer = world.alerts(technician(BEST))[0].offer;
                world.answer(technician(BEST), other, offer, Answer::Accept { eta_min: 9 });
            }
            1 => drop(world.order(other, Order::Pin)),
            _ => {}
        }
        world.arrive();
        let began = world.now;
        let urgent = world.asks(1, 1);
        world.deliver_all();
        world.all_agree();
        assert_eq!((world.holder(other), world.holder(urgent)), (Some(technician(BEST)), None));
        assert_eq!(world.tickets[&urgent].state.stage, Stage::Unfilled);
        assert!(world.now.0 - began.0 <= WINDOW_MS, "kind {kind}");
        world.only_offers_gave_way();
    }
}

#[test]
fn where_one_does_not_give_way_the_next_is_asked() {
    let mut world = World::gathering(&hands(2));
    let others = [world.asks(1, 3), world.asks(1, 3)];
    world.deliver_all();
    let offer = world.alerts(technician(BEST))[0].offer;
    world.answer(technician(BEST), others[0], offer, Answer::Accept { eta_min: 9 });
    world.arrive();
    let urgent = world.asks(1, 1);
    world.deliver_all();
    assert_eq!(world.holder(urgent), Some(technician(SECOND)));
    assert_eq!(world.how(urgent).displaced, Some(others[1]));
}

#[test]
fn what_does_not_give_way_says_so_and_no_time_is_lost() {
    let mut world = World::gathering(&hands(3));
    let others = [world.asks(1, 3), world.asks(1, 3), world.asks(1, 3)];
    world.deliver_all();
    for number in [BEST, SECOND] {
        let (ticket, offer) = world
            .alerts(technician(number))
            .last()
            .map(|alert| (alert.ticket, alert.offer))
            .unwrap();
        world.answer(technician(number), ticket, offer, Answer::Accept { eta_min: 9 });
    }
    world.arrive();
    let (began, open) = (world.now, world.alerts(technician(THIRD))[0].ticket);
    assert!(others.contains(&open));
    let urgent = world.asks(1, 1);
    world.deliver_all();
    world.all_agree();
    assert_eq!(world.holder(urgent), Some(technician(THIRD)));
    assert_eq!((world.how(urgent).displaced, world.now), (Some(open), began));
    world.only_offers_gave_way();
}

/// Whoever is to say so once more is told nothing new, whatever it answered last, and whoever has it.
#[test]
fn what_does_not_give_way_says_so_once() {
    for by_another in [false, true] {
        let mut world = World::gathering(&hands(2));
        let others = [world.asks(1, 3), world.asks(1, 3)];
        world.deliver_all();
        let urgent = world.request(1, 1, 1);
        world.deliver(customer(1), urgent);
        world.deliver(urgent, world::desk());
        let Some(desk::Event::Displacing { displaced, .. }) = world.desk.events.last() else {
            panic!("{:?}", world.desk.events.last())
        };
        let ticket = displaced.ticket;
        let number =
            if (displaced.technician == technician(BEST)) == by_another { SECOND } else { BEST };
        let (technician, place) = (technician(number), None);
        let question = world.state(ticket).question + 1;
        let given = desk::Command::Given { ticket, technician, question, place };
        let before = world.desk.events.len();
        world.ask(world::desk(), Command::Desk(given.clone()));
        let next = world.desk.events[before..].iter().find_map(|event| match event {
            desk::Event::Displacing { displaced, .. } => Some(displaced.ticket),
            _ => None,
        });
        let other = others.into_iter().find(|other| *other != ticket);
        assert_eq!(next, other.filter(|_| !by_another));
        let count = world.desk.events.len();
        world.ask(world::desk(), Command::Desk(given));
        assert_eq!(world.desk.events.len(), count);
    }
}

#[test]
fn an_offer_of_long_ago_is_not_asked_back() {
    let mut world = World::gathering(&hands(1));
    let other = world.asks(1, 3);
    world.deliver_all();
    world.now = world.now.after_s(121);
    let urgent = world.asks(1, 1);
    assert_eq!(world.waiting(), [], "it was accepted, or its end is on its way");
    assert_eq!((world.holder(other), world.holder(urgent)), (Some(technician(BEST)), None));
}

/// Longer than offers wait where no policy says how long.
#[test]
fn an_offer_is_asked_back_as_long_as_its_policy_lets_it_wait() {
    let offers = Act::Offer { technicians: 3, radius_m: None, at_once: None };
    let steps = vec![
        Step { act: offers, within_s: vec![600] },
        Step { act: Act::Repeat { from: 0 }, within_s: vec![] },
    ];
    let policy = Some(Policy { name: "p".into(), version: 1, steps });
    let mut world = World { policy, ..World::gathering(&hands(1)) };
    let other = world.asks(1, 3);
    world.deliver_all();
    assert_eq!(world.holder(other), Some(technician(BEST)));
    world.now = world.now.after_s(500);
    let urgent = world.asks(1, 1);
    world.deliver_all();
    assert_eq!((world.holder(other), world.holder(urgent)), (None, Some(technician(BEST))));
    world.only_offers_gave_way();
}

#[test]
fn what_a_step_decided_is_decided_again_from_what_was_there() {
    let mut world = World::gathering(&hands(3));
    let tickets: Vec<EntityId> = (0..3).map(|_| world.asks(1, 3)).collect();
    let before = world.desk.state.clone();
    let (generation, due) = world.timers[&world::desk()];
    world.deliver_all();
    let name = fieldmesh_domain::TimerName::Batch;
    let ctx = fieldmesh_domain::Ctx { now: due, id: world::desk(), rule_version: 1 };
    let command = desk::Command::Timer { name, generation };
    let again = before.decide(&command, &ctx).unwrap();
    assert!(!again.is_empty());
    let known = &world.desk.events;
    assert!(known.windows(again.len()).any(|events| events == again), "{again:?}");
    let again = before.decide(&command, &ctx).unwrap();
    assert!(tickets.iter().any(|ticket| again.iter().any(|event| matches!(
        event,
        desk::Event::Chosen { ticket: chosen, .. } if chosen == ticket
    ))));
}

#[test]
fn a_promotion_leaves_a_desk_that_gathers() {
    let mut world = World::gathering(&hands(1));
    let ticket = world.asks(1, 3);
    world.ask(world::desk(), Command::Desk(desk::Command::Reconcile { promotion: 1 }));
    assert_eq!(world.waiting(), []);
    assert_eq!(world.tickets[&ticket].state.stage, Stage::Matching);
}
