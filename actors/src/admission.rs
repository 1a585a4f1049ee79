//! Credits before mailboxes: ractor's mailboxes are unbounded, so what may enter them is not.
//!
//! A shard hands out [`SHARD_CREDITS`] credits for work that comes from outside, and an entity holds
//! at most [`ENTITY_MAILBOX_MAX`] of them. A credit returns when its ask is answered or dropped.

mod limit;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use fieldmesh_domain::{EntityId, EntityKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::limit::LIMIT_MAX;
use self::limit::{Limit, UnderWay};

/// Asks from devices and operators in one shard at a time. At a measured 10 ms an ask under load
/// this is 100,000 asks a second, and below the 4,096 entries that the log serves from memory.
pub const SHARD_CREDITS: usize = 1024;
/// Asks from outside waiting at one entity: more than one person's device can sensibly have in flight.
pub const ENTITY_MAILBOX_MAX: usize = 64;
/// What a caller is told to wait when there are no credits.
pub const RETRY_AFTER_MS: u32 = 200;

/// How long a row of a shard's outbox may take from which on customers wait: some ten milliseconds are usual, and a
/// quarter of a second where a majority is in another region.
const SLOW: Duration = Duration::from_millis(500);
/// Fewer rows under way are none that would have to be ended first.
const BACKLOG_MIN: usize = 64;
/// Of the last row in the mean, in percent: that of some fifty.
const WEIGHT: u64 = 4;

/// A shard's credits.
#[derive(Debug, Clone)]
pub struct Credits {
    all: Arc<Semaphore>,
    customers: Arc<Limit>,
    backlog: Backlog,
}

impl Default for Credits {
    fn default() -> Self {
        let all = Arc::new(Semaphore::new(SHARD_CREDITS));
        Self { all, customers: Arc::default(), backlog: Backlog::default() }
    }
}

impl Credits {
    /// A credit, or none when the shard is full.
    pub fn try_take(&self) -> Option<Credit> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Credit { _of_all: permit, of_customers: None })
    }

    /// A credit for what a device says, or none when the shard is full, or has enough to do for customers.
    pub fn try_take_for(&self, device: EntityId) -> Option<Credit> {
        if !is_likely_new(device) {
            return self.try_take();
        }
        if self.backlog.is_long() {
            return None;
        }
        let credit = self.try_take()?;
        Some(Credit { of_customers: Some(self.customers.try_take()?), ..credit })
    }

    /// How many are out.
    pub(crate) fn used(&self) -> usize {
        SHARD_CREDITS.saturating_sub(self.all.available_permits())
    }

    /// Where the shard says what it has left to do.
    pub(crate) fn backlog(&self) -> Backlog {
        self.backlog.clone()
    }
}

/// How long it takes by now until what an entity of a shard says is heard. Only what is heard counts: that somebody
/// cannot be reached is no reason to turn others away.
#[derive(Debug, Clone, Default)]
pub struct Backlog(Arc<Waits>);

#[derive(Debug, Default)]
struct Waits {
    rows: AtomicUsize,
    mean_us: AtomicU64,
}

impl Backlog {
    /// So many rows are under way or could be.
    pub(crate) fn is(&self, rows: usize) {
        self.0.rows.store(rows, Ordering::Relaxed);
    }

    /// A row was heard at its first attempt. Only the outbox says so, so that reading and writing need not be one
    /// step.
    pub(crate) fn heard_after(&self, wait: Duration) {
        let us = u64::try_from(wait.min(SLOW * 4).as_micros()).unwrap_or(u64::MAX);
        let before = self.0.mean_us.load(Ordering::Relaxed);
        let mean = (before * (100 - WEIGHT) + us * WEIGHT) / 100;
        self.0.mean_us.store(mean, Ordering::Relaxed);
    }

    fn is_long(&self) -> bool {
        let mean = Duration::from_micros(self.0.mean_us.load(Ordering::Relaxed));
        self.0.rows.load(Ordering::Relaxed) >= BACKLOG_MIN && mean >= SLOW
    }
}

/// Whether what a device says is likely to be new work: customers ask for it, and technicians end it. What it
/// says is not known before it is opened, and that is to be saved.
pub fn is_likely_new(device: EntityId) -> bool {
    device.kind() == EntityKind::Customer
}

/// The right to one ask; returns when dropped.
#[derive(Debug)]
pub struct Credit {
    _of_all: OwnedSemaphorePermit,
    of_customers: Option<UnderWay>,
}

impl Credit {
    /// What it was for is in the log, and answered: how long that took is what the next ones are told by. Whatever
    /// ends otherwise says nothing of it.
    pub(crate) fn answered(self) {
        if let Some(under_way) = self.of_customers {
            under_way.answered();
        }
    }
}

/// Counts the asks waiting at an entity: those from outside, and those from within, which are bounded where they
/// are sent and take no place from the others. A technician who is offered much at once is still heard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    outside: Arc<AtomicUsize>,
    within: Arc<AtomicUsize>,
}

impl Load {
    /// A place in the entity's mailbox for an ask from outside, or none when it is full. Only the shard calls
    /// this, so check and increment need not be one step.
    pub(crate) fn try_enter(&self) -> Option<Place> {
        let is_full = self.outside.load(Ordering::Acquire) >= ENTITY_MAILBOX_MAX;
        (!is_full).then(|| Place::among(&self.outside))
    }

    /// A place in the entity's mailbox for an ask from within.
    pub(crate) fn enter(&self) -> Place {
        Place::among(&self.within)
    }

    pub(crate) fn is_idle(&self) -> bool {
        [&self.outside, &self.within].iter().all(|count| count.load(Ordering::Acquire) == 0)
    }
}

/// A place in an entity's mailbox.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Place {
    fn among(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn what_comes_from_within_takes_no_place_from_who_asks_from_outside() {
        let load = Load::default();
        let within: Vec<_> = (0..1000).map(|_| load.enter()).collect();
        let outside: Vec<_> = (0..ENTITY_MAILBOX_MAX).map(|_| load.try_enter().unwrap()).collect();
        assert!(load.try_enter().is_none(), "they have a bound of their own");
        drop(outside);
        assert!(load.try_enter().is_some());
        assert!(!load.is_idle());
        drop(within);
        assert!(load.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn customers_wait_for_each_other_and_nobody_for_them() {
        let of = |kind| EntityId::new(kind, "eu1".parse().unwrap(), [1; 10]);
        let (customer, technician) = (of(EntityKind::Customer), of(EntityKind::Technician));
        let credits = Credits::default();
        let mut held: Vec<_> =
            (0..LIMIT_MAX).map(|_| credits.try_take_for(customer).unwrap()).collect();
        assert!(credits.try_take_for(customer).is_none());
        let others = SHARD_CREDITS - LIMIT_MAX;
        held.extend((0..others).map(|_| credits.try_take_for(technician).unwrap()));
        assert!(credits.try_take().is_none(), "there is a bound for all");
        assert_eq!(credits.used(), SHARD_CREDITS);
        held.clear();
        assert_eq!(credits.used(), 0);
    }

    #[test]
    fn customers_wait_while_it_takes_long_to_end_what_was_begun_and_only_then() {
        let of = |kind| EntityId::new(kind, "eu1".parse().unwrap(), [1; 10]);
        let (customer, technician) = (of(EntityKind::Customer), of(EntityKind::Technician));
        let credits = Credits::default();
        credits.backlog().is(10 * BACKLOG_MIN);
        assert!(credits.try_take_for(customer).is_some(), "nobody can be reached");
        (0..100).for_each(|_| credits.backlog().heard_after(SLOW * 2));
        assert!(credits.try_take_for(customer).is_none(), "what was begun is ended first");
        assert!(credits.try_take_for(technician).is_some(), "by technicians");
        credits.backlog().is(BACKLOG_MIN - 1);
        assert!(credits.try_take_for(customer).is_some(), "there is nothing left of it");
        credits.backlog().is(10 * BACKLOG_MIN);
        (0..100).for_each(|_| credits.backlog().heard_after(SLOW / 50));
        assert!(credits.try_take_for(customer).is_some());
    }
}
