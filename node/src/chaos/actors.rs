//! Entities that fail, are slow or stand still on purpose.
//!
//! Which ones follows from their identifiers alone, so that it is the same ones while a fault lasts, whichever
//! node leads. **Invariants:** an entity fails once while a fault lasts, so that it is restarted and not parked;
//! what is slow or stands still is done later, and nothing is left out. **Not here:** when (`chaos`), what an
//! entity does (`journal::faulty`).

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fieldmesh_chaos::Fault;
use fieldmesh_domain::EntityId;

use super::Effects;

/// Entities that fail in a fault: more than are awake on a node.
const FAILED_MAX: usize = 100_000;

/// What is wanted of the entities of a node.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    failing: u64,
    stalled: u64,
    slow: u64,
    delay_ms: u64,
}

impl Wanted {
    /// Of faults that come together the strongest counts.
    pub(super) fn add(&mut self, fault: &Fault) {
        match *fault {
            Fault::FailingActors { percent } => self.failing = self.failing.max(percent),
            Fault::StalledActors { percent } => self.stalled = self.stalled.max(percent),
            Fault::SlowActors { percent, delay_ms } => {
                self.slow = self.slow.max(percent);
                self.delay_ms = self.delay_ms.max(delay_ms);
            }
            _ => {}
        }
    }
}

/// What befalls the entities of a node.
#[derive(Debug, Default)]
pub struct ActorFaults {
    failing: AtomicU64,
    stalled: AtomicU64,
    slow: AtomicU64,
    delay_ms: AtomicU64,
    failed: Mutex<BTreeSet<EntityId>>,
    /// Entities that failed, and steps that waited.
    pub(super) failures: Effects,
    pub(super) stalls: Effects,
    pub(super) delays: Effects,
}

/// Whether an entity is one of so many of a hundred.
fn is_of(entity: EntityId, percent: &AtomicU64) -> bool {
    let percent = percent.load(Ordering::Relaxed);
    let sum: u64 = entity.to_bytes().iter().copied().map(u64::from).sum();
    sum % 100 < percent
}

impl ActorFaults {
    /// Whether an entity is to fail now.
    pub fn fails(&self, entity: EntityId) -> bool {
        if !is_of(entity, &self.failing) {
            return false;
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let fails = failed.len() < FAILED_MAX && failed.insert(entity);
        if fails {
            self.failures.happened();
        }
        fails
    }

    /// Whether a step that an entity begins now has to wait. Asked once for each.
    pub fn holds_back(&self, entity: EntityId) -> bool {
        let (is_stalled, is_slow) = (self.is_stalled(entity), !self.delay(entity).is_zero());
        if is_stalled {
            self.stalls.happened();
        }
        if is_slow {
            self.delays.happened();
        }
        is_stalled || is_slow
    }

    /// Whether an entity is to stand still.
    pub fn is_stalled(&self, entity: EntityId) -> bool {
        is_of(entity, &self.stalled)
    }

    /// How much longer a step of an entity takes.
    pub fn delay(&self, entity: EntityId) -> Duration {
        if !is_of(entity, &self.slow) {
            return Duration::ZERO;
        }
        Duration::from_millis(self.delay_ms.load(Ordering::Relaxed))
    }

    pub(super) fn follow(&self, wanted: &Wanted) {
        self.failing.store(wanted.failing, Ordering::Relaxed);
        self.stalled.store(wanted.stalled, Ordering::Relaxed);
        self.slow.store(wanted.slow, Ordering::Relaxed);
        self.delay_ms.store(wanted.delay_ms, Ordering::Relaxed);
        if wanted.failing == 0 {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}
