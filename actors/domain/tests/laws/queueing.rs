//! The queue of a desk: whoever has room again goes to the ticket that comes first of those that it fits.
//!
//! **Not here:** batches of tickets that nobody was told of yet (`gathering`), which way is cheapest (`assignment`).

use std::collections::BTreeMap;

use fieldmesh_domain::{
    EntityId, EntityKind, TimerName,
    desk::{Command, Desk, Event, QUEUE_MAX, Summary, Waiting},
    message::{Amendment, Answer, Location},
    selection::{self, Fit, Need},
    technician::Skill,
    ticket::{self, Order, Stage},
    time::Millis,
};
use proptest::{collection::vec, prelude::*};

use crate::{
    saga::hands,
    world::{self, Lived, World, nth, technician},
};

const START: Millis = Millis(1_800_000_000_000);
/// Batches that close in a row: each serves somebody, or says when the next one is.
const CLOSES_MAX: usize = 100;

#[derive(Debug, Clone)]
enum Move {
    Ask {
        category: u16,
        priority: u8,
    },
    /// What somebody has is done.
    Finish(u8),
    /// Somebody does not want what it has, and the ticket asks for another one.
    Decline(u8),
    /// One of the queue asks again by itself, those who refused before too.
    Retry(u8),
    /// One of the queue needs nobody any more.
    Leave(u8),
    Shift {
        technician: u8,
        is_on: bool,
    },
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => (1_u16..=2, 1_u8..=5).prop_map(|(category, priority)| Move::Ask { category, priority }),
        4 => any::<u8>().prop_map(Move::Finish),
        2 => any::<u8>().prop_map(Move::Decline),
        1 => any::<u8>().prop_map(Move::Retry),
        1 => any::<u8>().prop_map(Move::Leave),
        2 => (any::<u8>(), any::<bool>())
            .prop_map(|(technician, is_on)| Move::Shift { technician, is_on }),
        4 => prop_oneof![0_u64..20, 0_u64..3_000].prop_map(Move::Wait),
    ];
    vec(one, 1..80)
}

/// Skills and capacity of each technician.
fn crew() -> impl Strategy<Value = Vec<(Vec<u16>, u16)>> {
    let skills = prop_oneof![Just(vec![1]), Just(vec![2]), Just(vec![1, 2])];
    vec((skills, 1_u16..=2), 1..4)
}

/// A desk, and what tickets ask it for.
struct Life {
    lived: Lived<Desk>,
    now: Millis,
    asked: BTreeMap<EntityId, (Need, u32)>,
    /// Whether a ticket gives its offer back when it is asked to.
    gives_way: bool,
}

fn rank(ticket: EntityId, need: &Need) -> (u8, Option<Millis>, EntityId) {
    (need.priority, need.opened_at, ticket)
}

impl Life {
    fn new(crew: &[(Vec<u16>, u16)], gives_way: bool) -> Self {
        let (lived, asked) = (Lived::default(), BTreeMap::new());
        let mut life = Self { lived, now: START, asked, gives_way };
        life.ask(&Command::Gather);
        for (number, (categories, capacity)) in (0..).zip(crew) {
            let skills = categories.iter().map(|category| Skill::new(*category, 1)).collect();
            let summary =
                Summary { on_shift: true, skills, capacity: *capacity, ..Summary::default() };
            life.ask(&Command::Technician { id: technician(number), summary });
        }
        life
    }

    fn ask(&mut self, command: &Command) {
        let ctx = fieldmesh_domain::Ctx { now: self.now, id: world::desk(), rule_version: 1 };
        let count = self.lived.events.len();
        self.lived.ask(command, &ctx).unwrap();
        let events = self.lived.events[count..].to_vec();
        for event in &events {
            if let Event::Chosen { ticket, technician, .. } = event {
                self.nobody_came_first(*ticket, *technician);
            }
        }
        let displaced = events.iter().find_map(|event| match event {
            Event::Displacing { displaced, .. } => Some(displaced.ticket),
            _ => None,
        });
        if let Some(ticket) = displaced.filter(|_| self.gives_way) {
            self.matched(ticket, |_| {});
        }
    }

    /// A ticket asks, with another question than before.
    fn matched(&mut self, ticket: EntityId, change: impl FnOnce(&mut Need)) {
        let (need, question) = self.asked.get_mut(&ticket).unwrap();
        change(need);
        *question += 1;
        let (need, question) = (need.clone(), *question);
        self.ask(&Command::Match { ticket, need, question, pace: None });
    }

    fn queue(&self) -> impl Iterator<Item = (&EntityId, &Waiting)> {
        let waiting = self.lived.state.board.iter().flat_map(|board| &board.waiting);
        waiting.filter(|(_, one)| one.is_queued())
    }

    fn fits(&self, technician: EntityId, need: &Need) -> bool {
        let summary = &self.lived.state.technicians[&technician].summary;
        let mut skills = summary.skills.iter();
        summary.on_shift
            && skills.any(|skill| skill.category == need.category)
            && !need.asked.contains(&technician)
    }

    /// The law: nobody in the queue comes before whom a technician was given, and would have done with it.
    fn nobody_came_first(&self, chosen: EntityId, technician: EntityId) {
        let own = rank(chosen, &self.asked[&chosen].0);
        for (ticket, one) in self.queue() {
            let is_before = rank(*ticket, &one.need) < own;
            assert!(
                !is_before || !self.fits(technician, &one.need),
                "{technician} was given to {chosen}, {own:?}, before {ticket}, {one:?}"
            );
        }
    }

    /// Whoever is in the queue fits nobody with room.
    fn nobody_is_idle(&self) {
        for (ticket, one) in self.queue() {
            let mut all = self.lived.state.technicians.iter();
            let idle = all.find(|(id, known)| {
                known.load < known.summary.capacity && self.fits(**id, &one.need)
            });
            assert!(idle.is_none(), "{ticket} waits for {idle:?}");
        }
    }

    /// Batches close that are due.
    fn close(&mut self) {
        for _ in 0..CLOSES_MAX {
            let Some(board) = &self.lived.state.board else { return };
            if board.waiting.is_empty() || board.due > self.now {
                return;
            }
            let generation = board.generation;
            self.ask(&Command::Timer { name: TimerName::Batch, generation });
        }
        panic!("batches close without end");
    }

    /// Until nothing waits but for somebody to have room.
    fn settle(&mut self) {
        loop {
            self.close();
            let Some(board) = &self.lived.state.board else { return };
            if board.waiting.values().all(Waiting::is_queued) {
                return;
            }
            self.now = self.now.max(board.due);
        }
    }

    fn given(&self, number: u8) -> Option<(EntityId, EntityId)> {
        let given = self.lived.state.given.iter().map(|(ticket, by)| (*ticket, *by));
        nth(given.collect::<Vec<_>>().into_iter(), usize::from(number))
    }

    fn queued(&self, number: u8) -> Option<EntityId> {
        let queue = self.queue().map(|(ticket, _)| *ticket);
        nth(queue.collect::<Vec<_>>().into_iter(), usize::from(number))
    }

    fn opened(&mut self, category: u16, priority: u8) -> EntityId {
        let mut random = [0; 10];
        random[..4].copy_from_slice(&(self.asked.len() as u32).to_be_bytes());
        let ticket = EntityId::new(EntityKind::Ticket, world::desk().region(), random);
        let opened_at = Some(self.now);
        let need =
            Need { opened_at, ..Need::plain(category, priority, Location::default(), vec![]) };
        self.asked.insert(ticket, (need, 0));
        self.matched(ticket, |_| {});
        ticket
    }

    fn step(&mut self, step: &Move) {
        match *step {
            Move::Ask { category, priority } => {
                self.opened(category, priority);
            }
            Move::Finish(number) => {
                if let Some((ticket, _)) = self.given(number) {
                    self.ask(&Command::Done { ticket });
                }
            }
            Move::Decline(number) => {
                if let Some((ticket, by)) = self.given(number) {
                    self.matched(ticket, |need| need.asked.push(by));
                }
            }
            Move::Retry(number) => {
                if let Some(ticket) = self.queued(number) {
                    self.matched(ticket, |need| need.asked.clear());
                }
            }
            Move::Leave(number) => {
                if let Some(ticket) = self.queued(number) {
                    self.ask(&Command::Done { ticket });
                }
            }
            Move::Shift { technician: number, is_on } => {
                let count = self.lived.state.technicians.len();
                let id = technician((usize::from(number) % count) as u8);
                let summary = self.lived.state.technicians[&id].summary.clone();
                let summary = Summary { on_shift: is_on, ..summary };
                self.ask(&Command::Technician { id, summary });
            }
            Move::Wait(ms) => {
                self.now.0 += ms;
                self.close();
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::cases(3000))]

    #[test]
    fn who_has_room_again_goes_to_the_first_that_it_fits(
        (crew, moves) in (crew(), moves()),
        gives_way in any::<bool>(),
    ) {
        let mut life = Life::new(&crew, gives_way);
        for step in &moves {
            life.step(step);
        }
        life.settle();
        life.nobody_is_idle();
        life.lived.replay_equals_live();
    }
}

impl World {
    /// Whoever is in the queue fits nobody with room, or hears so in a moment.
    pub(crate) fn nobody_is_idle_for_long(&self) {
        let Some(board) = &self.desk.state.board else { return };
        for (ticket, one) in board.waiting.iter().filter(|(_, one)| one.is_queued()) {
            let fits = self.desk.state.technicians.iter().map(|(id, known)| Fit {
                id: *id,
                on_shift: known.summary.on_shift,
                skills: &known.summary.skills,
                home: known.summary.home,
                from: None,
                capacity: known.summary.capacity,
                load: known.load,
                assigned: known.assigned,
                circumstances: known.summary.circumstances.as_ref(),
                is_paced: false,
            });
            let choice = selection::choose(&one.need, fits, 1, self.now);
            let is_closing = board.due <= self.now;
            assert!(choice.candidates.is_empty() || is_closing, "{ticket}: {choice:?}");
        }
    }

    fn accepts_next(&mut self, ticket: EntityId) {
        let alert = self.alerts(technician(0)).last().unwrap();
        assert_eq!(alert.ticket, ticket);
        let offer = alert.offer;
        self.answer(technician(0), ticket, offer, Answer::Accept { eta_min: 9 });
        self.arrive();
    }

    fn completes_last(&mut self, ticket: EntityId) {
        let offer = self.alerts(technician(0)).last().unwrap().offer;
        self.answer(technician(0), ticket, offer, Answer::Completed { note: "done".into() });
        self.deliver_all();
    }

    fn with_all_at_work(tickets: &[u8]) -> (Self, EntityId, Vec<EntityId>) {
        let mut world = Self::gathering(&hands(1));
        let first = world.asks(1, 3);
        world.deliver_all();
        world.accepts_next(first);
        // The offer is over by then, so that priority 1 does not ask for it.
        world.now = world.now.after_s(600);
        let waiting: Vec<EntityId> = tickets
            .iter()
            .map(|priority| {
                world.now = world.now.after_s(1);
                let ticket = world.asks(1, *priority);
                world.deliver_all();
                assert_eq!(world.state(ticket).stage, Stage::Unfilled);
                ticket
            })
            .collect();
        (world, first, waiting)
    }
}

#[test]
fn the_queue_is_served_in_its_order_and_at_once() {
    let (mut world, first, waiting) = World::with_all_at_work(&[3, 2, 3, 1]);
    let mut done = first;
    for next in [3, 1, 0, 2] {
        let began = world.now;
        world.completes_last(done);
        let next = waiting[next];
        assert_eq!(world.stands(next).1, Some(technician(0)), "{next}");
        assert_eq!(world.now, began, "nobody waited for a ticket to ask again");
        world.accepts_next(next);
        world.all_agree();
        done = next;
    }
    let asked = |ticket: &EntityId| {
        let events = world.tickets[ticket].events.iter();
        events.filter(|event| matches!(event, ticket::Event::MatchAsked { .. })).count()
    };
    assert_eq!(waiting.iter().map(asked).collect::<Vec<_>>(), [1; 4], "no question but the first");
}

#[test]
fn a_newcomer_does_not_come_before_the_queue() {
    let (mut world, first, waiting) = World::with_all_at_work(&[3]);
    let offer = world.alerts(technician(0)).last().unwrap().offer;
    world.answer(technician(0), first, offer, Answer::Completed { note: "done".into() });
    world.arrive();
    // The technician is free, and nobody was told of it yet.
    assert_eq!(world.stands(waiting[0]).1, None);
    world.now.0 += 1;
    let newcomer = world.asks(1, 3);
    world.deliver_all();
    let both = (world.stands(waiting[0]).1, world.stands(newcomer));
    assert_eq!((both.0, both.1.0), (Some(technician(0)), Stage::Unfilled));
    world.all_agree();
}

#[test]
fn what_is_changed_in_the_queue_counts_there() {
    let (mut world, first, waiting) = World::with_all_at_work(&[3, 3, 3]);
    let priority = Some(2);
    world.order(waiting[2], Order::Amend(Amendment { priority, ..Amendment::default() }));
    world.order(waiting[0], Order::Cancel { reason: "so".into() });
    world.deliver_all();
    world.completes_last(first);
    assert_eq!(world.stands(waiting[2]).1, Some(technician(0)));
    world.accepts_next(waiting[2]);
    world.completes_last(waiting[2]);
    assert_eq!(world.stands(waiting[1]).1, Some(technician(0)), "the other one is cancelled");
    world.all_agree();
}

/// They compete for those who have room, which nobody in the queue does.
#[test]
fn a_newcomer_that_there_is_room_for_does_not_wait_for_the_queue() {
    let mut life = Life::new(&[(vec![1], 2), (vec![1], 2)], false);
    for _ in 0..5 {
        let ticket = life.opened(1, 3);
        life.settle();
        life.matched(ticket, |need| need.asked.extend([technician(0), technician(1)]));
    }
    assert_eq!(life.queue().count(), 5);
    life.now = life.now.after_s(10);
    life.close();
    let newcomer = life.opened(1, 3);
    assert!(life.lived.state.given.contains_key(&newcomer));
    assert_eq!(life.queue().count(), 5);
    life.lived.replay_equals_live();
}

#[test]
fn the_queue_is_bounded_and_keeps_who_comes_first() {
    let mut life = Life::new(&[], false);
    let mut opened = Vec::new();
    for _ in 0..QUEUE_MAX + 10 {
        life.now.0 += 1;
        opened.push(life.opened(1, 3));
    }
    life.now.0 += 1;
    let urgent = life.opened(1, 2);
    assert_eq!(life.queue().count(), QUEUE_MAX);
    assert!(life.queue().any(|(ticket, _)| *ticket == urgent));
    let first = &opened[..QUEUE_MAX - 1];
    assert!(first.iter().all(|one| life.queue().any(|(ticket, _)| ticket == one)));
    life.lived.replay_equals_live();
}
