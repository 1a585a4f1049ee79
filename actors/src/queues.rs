//! How much of what a shard bounds is in use, for whoever looks from outside.
//!
//! **Invariants:** a bound is the one by which the part that has the queue goes; only that part says how much it holds,
//! and whoever reads it waits for nobody. **Not here:** what happens at a bound (each part), showing it (`node`).

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{admission, mailroom, outbox, timers};

/// Something of a shard that has a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Asks from outside that are under way.
    Asks,
    /// Entities awake; above the bound only those are that are at work, and they are not counted.
    Awake,
    /// Rows for other entities that are held in memory; the table holds the rest.
    Outbox,
    /// Those of them that are under way.
    OutboxUnderWay,
    /// Timers held in memory; the table holds the rest.
    Timers,
    /// Timers that were fired and are not answered.
    TimersFired,
    /// Messages that were pushed to one device and are not acknowledged, of the device that has most.
    Mail,
}

impl Queue {
    pub const ALL: [Self; 7] = [
        Self::Asks,
        Self::Awake,
        Self::Outbox,
        Self::OutboxUnderWay,
        Self::Timers,
        Self::TimersFired,
        Self::Mail,
    ];

    /// As metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asks => "asks",
            Self::Awake => "entities_awake",
            Self::Outbox => "outbox",
            Self::OutboxUnderWay => "outbox_under_way",
            Self::Timers => "timers",
            Self::TimersFired => "timers_fired",
            Self::Mail => "mail",
        }
    }

    /// The most that a shard may hold, where so many entities may be awake.
    pub fn bound(self, awake_max: usize) -> usize {
        match self {
            Self::Asks => admission::SHARD_CREDITS,
            Self::Awake => awake_max,
            Self::Outbox => outbox::WINDOW_ROWS,
            Self::OutboxUnderWay => outbox::IN_FLIGHT_MAX,
            Self::Timers => timers::WHEEL_ROWS,
            Self::TimersFired => timers::IN_FLIGHT_MAX,
            Self::Mail => mailroom::WINDOW_ROWS,
        }
    }
}

/// What a shard holds now; asks are counted where they are let in.
#[derive(Debug, Default)]
pub struct Held([AtomicUsize; Queue::ALL.len()]);

impl Held {
    /// A part of the shard holds so much now.
    pub(crate) fn is(&self, queue: Queue, count: usize) {
        self.0[queue as usize].store(count, Ordering::Relaxed);
    }

    pub(crate) fn of(&self, queue: Queue) -> usize {
        self.0[queue as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_queue_has_a_place_a_name_and_a_bound_of_its_own() {
        let held = Held::default();
        for (at, queue) in Queue::ALL.into_iter().enumerate() {
            assert_eq!(queue as usize, at, "{queue:?}");
            held.is(queue, 10 + at);
        }
        for (at, queue) in Queue::ALL.into_iter().enumerate() {
            assert_eq!(held.of(queue), 10 + at);
            assert!(queue.bound(1) > 0);
            let of_its_name = Queue::ALL.iter().filter(|one| one.name() == queue.name());
            assert_eq!(of_its_name.count(), 1, "{}", queue.name());
        }
    }
}
