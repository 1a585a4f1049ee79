//! The wheel beside a table that is changed while it is read in portions.
//!
//! **Not here:** the product.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::VecDeque;

use fieldmesh_domain::EntityKind;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

fn timer(name: u8, generation: u32, due_ms: u64) -> TimerItem {
    let entity = EntityId::new(EntityKind::Ticket, "eu1".parse().unwrap(), [1; 10]);
    TimerItem { due_ms, entity, name, generation }
}

fn all(rows: &[TimerItem]) -> TimerRows {
    TimerRows { items: rows.to_vec(), next: None }
}

fn wheel(rows: &[TimerItem]) -> Wheel {
    let mut wheel = Wheel::new(100);
    wheel.read(all(rows));
    wheel
}

/// An entity that cannot write has the table read again each time that it says so.
#[test]
fn what_was_fired_is_not_fired_again_for_being_in_the_table() {
    let row = timer(1, 1, 10);
    let mut wheel = wheel(&[row]);
    assert_eq!(wheel.take(10), Some(row));
    wheel.begin_again();
    wheel.read(all(&[row]));
    assert_eq!(wheel.take(10), None, "it is under way");
    wheel.answered(row, Some(1010));
    wheel.begin_again();
    wheel.read(all(&[row]));
    assert_eq!(wheel.take(1009), None, "its second try is later");
    assert_eq!(wheel.take(1010), Some(row));
    wheel.answered(row, None);
    wheel.begin_again();
    wheel.read(all(&[row]));
    assert_eq!(wheel.take(1010), Some(row), "it is in the table after its answer");
}

#[test]
fn what_the_table_has_anew_counts() {
    let (old, new) = (timer(1, 1, 10), timer(1, 2, 20));
    let mut wheel = wheel(&[old]);
    assert_eq!(wheel.take(10), Some(old));
    wheel.begin_again();
    wheel.read(all(&[new]));
    wheel.answered(old, Some(1010));
    assert_eq!((wheel.take(20), wheel.take(u64::MAX)), (Some(new), None));
}

#[test]
fn the_table_is_read_on_when_what_was_read_has_fired_and_more_is_due() {
    let rows = [timer(1, 1, 10), timer(2, 1, 20), timer(3, 1, 30)];
    let mut wheel = Wheel::new(100);
    assert!(wheel.is_through(0), "nothing is known");
    wheel.read(TimerRows { items: vec![rows[0]], next: Some(rows[1].place()) });
    assert!(!wheel.is_through(25), "what is known fires first");
    assert_eq!(wheel.take(25), Some(rows[0]));
    assert!(!wheel.is_through(19), "nothing is due before that");
    assert_eq!(wheel.next_ms(), Some(20), "the table is looked into then");
    assert!(wheel.is_through(25));
    assert_eq!(wheel.unread(), Some(rows[1].place()));
    wheel.read(all(&rows[1..]));
    assert_eq!((wheel.take(25), wheel.take(25)), (Some(rows[1]), None));
    assert!(!wheel.is_through(u64::MAX), "all is known");
}

const NAMES: u8 = 12;
/// So few rows that the wheel turns timers out, and so few together that most reads are in portions.
const ROWS_MAX: usize = 6;
const PORTION: usize = 3;

/// A shard's timers: what is stored, what the wheel was not told yet, and what fires.
struct Model {
    wheel: Wheel,
    table: BTreeMap<u8, TimerItem>,
    untold: VecDeque<TimerChange>,
    /// Fired and not answered.
    asked: Vec<TimerItem>,
    /// Whose changes the wheel was told after it had read them, or never: it may fire what is over, which its entity
    /// refuses.
    in_doubt: BTreeSet<u8>,
    generation: u32,
    now_ms: u64,
}

impl Model {
    fn new() -> Self {
        Self {
            wheel: Wheel::new(ROWS_MAX),
            table: BTreeMap::new(),
            untold: VecDeque::new(),
            asked: Vec::new(),
            in_doubt: BTreeSet::new(),
            generation: 0,
            now_ms: 1,
        }
    }

    /// A step of an entity is applied, and the wheel is told of it later.
    fn change(&mut self, name: u8, due_ms: Option<u64>) {
        self.generation += 1;
        let generation = self.generation;
        match due_ms {
            Some(due_ms) => self.table.insert(name, timer(name, generation, due_ms)),
            None => self.table.remove(&name),
        };
        self.untold.push_back(TimerChange { name, generation, due_ms });
    }

    fn tell(&mut self) {
        if let Some(change) = self.untold.pop_front() {
            self.wheel.changed(timer(0, 0, 0).entity, &[change]);
        }
    }

    /// An entity failed before it told anything of what it had written.
    fn lose(&mut self) {
        self.in_doubt.extend(self.untold.drain(..).map(|change| change.name));
        self.wheel.begin_again();
    }

    fn read(&mut self) {
        let Some(from) = self.wheel.unread() else { return };
        let mut rows: Vec<TimerItem> = self.table.values().copied().collect();
        rows.retain(|row| row.place() >= from);
        rows.sort();
        let next = rows.get(PORTION).map(TimerItem::place);
        rows.truncate(PORTION);
        let is_untold = |row: &&TimerItem| self.untold.iter().any(|one| one.name == row.name);
        self.in_doubt.extend(rows.iter().filter(is_untold).map(|row| row.name));
        self.wheel.read(TimerRows { items: rows, next });
    }

    fn fire(&mut self) {
        if self.wheel.is_through(self.now_ms) {
            self.read();
        }
        while let Some(fired) = self.wheel.take(self.now_ms) {
            assert!(fired.due_ms <= self.now_ms, "{fired:?} is not due at {}", self.now_ms);
            if !self.in_doubt.contains(&fired.name) {
                assert!(!self.asked.contains(&fired), "{fired:?} is under way");
                let is_stored = self.table.get(&fired.name) == Some(&fired);
                let is_untold = self.untold.iter().any(|change| change.name == fired.name);
                assert!(is_stored || is_untold, "{fired:?} was set anew, cancelled or answered");
            }
            self.asked.push(fired);
        }
    }

    /// The entity takes one that is stored yet, which consumes it, and refuses one that is not.
    fn answer(&mut self, at: usize, again: bool) {
        let fired = self.asked.swap_remove(at);
        if !again && self.table.get(&fired.name) == Some(&fired) {
            self.table.remove(&fired.name);
        }
        let again_ms = again.then(|| self.now_ms + 50);
        self.wheel.answered(fired, again_ms);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Set { name, in_ms } => self.change(name, Some(self.now_ms + in_ms)),
            Step::Cancel { name } => self.change(name, None),
            Step::Tell => self.tell(),
            Step::Answer { .. } if self.asked.is_empty() => {}
            Step::Answer { which, again } => self.answer(which.index(self.asked.len()), again),
            Step::Lose => self.lose(),
            Step::Pass { ms } => self.now_ms += ms,
            Step::Fire => self.fire(),
        }
    }

    /// Everybody has time: what is stored fires, and is consumed.
    fn comes_to_rest(&mut self) {
        self.now_ms += 1_000;
        // Each round reads a portion, or fires what is known.
        for _ in 0..100 {
            while !self.untold.is_empty() {
                self.tell();
            }
            self.fire();
            while !self.asked.is_empty() {
                self.answer(0, false);
            }
            self.now_ms += 1;
        }
    }
}

/// What happens next to a shard's timers.
#[derive(Debug, Clone)]
enum Step {
    Set { name: u8, in_ms: u64 },
    Cancel { name: u8 },
    Tell,
    Answer { which: Index, again: bool },
    Lose,
    Pass { ms: u64 },
    Fire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        50 => (0..NAMES, 0_u64..100).prop_map(|(name, in_ms)| Step::Set { name, in_ms }),
        10 => (0..NAMES).prop_map(|name| Step::Cancel { name }),
        30 => Just(Step::Tell),
        20 => (any::<Index>(), prop::bool::weighted(0.3))
            .prop_map(|(which, again)| Step::Answer { which, again }),
        1 => Just(Step::Lose),
        20 => (0_u64..30).prop_map(|ms| Step::Pass { ms }),
        30 => Just(Step::Fire),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// However reading, changing, firing and answering meet: no timer is lost, none that was set anew, cancelled or
    /// answered fires, and none twice at a time.
    #[test]
    fn a_change_counts_over_what_is_read_whenever_it_comes(
        stored in vec(0_u64..100, 0..usize::from(NAMES)),
        steps in vec(step(), 0..300),
    ) {
        let mut model = Model::new();
        // The table of a shard that opens.
        for (name, due_ms) in (0..).zip(stored) {
            model.change(name, Some(due_ms));
        }
        model.untold.clear();
        model.read();
        steps.iter().for_each(|step| model.step(step));
        model.comes_to_rest();
        assert!(model.table.is_empty(), "lost {:?}", model.table);
    }
}
