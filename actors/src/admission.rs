//! Credits before mailboxes: ractor's mailboxes are unbounded, so what may enter them is not.
//!
//! A shard hands out [`SHARD_CREDITS`] credits for work that comes from outside, and an entity holds
//! at most [`ENTITY_MAILBOX_MAX`] asks. A credit returns when its ask is answered or dropped.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Asks from devices and operators in one shard at a time. At a measured 10 ms an ask under load
/// this is 100,000 asks a second, and below the 4,096 entries that the log serves from memory.
pub const SHARD_CREDITS: usize = 1024;
/// Asks waiting at one entity: more than one person's device can sensibly have in flight.
pub const ENTITY_MAILBOX_MAX: usize = 64;
/// What a caller is told to wait when there are no credits.
pub const RETRY_AFTER_MS: u32 = 200;

/// A shard's credits.
#[derive(Debug, Clone)]
pub struct Credits(Arc<Semaphore>);

impl Credits {
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// A credit, or none when the shard is full.
    pub fn try_take(&self) -> Option<Credit> {
        Arc::clone(&self.0).try_acquire_owned().ok().map(|permit| Credit { _permit: permit })
    }
}

/// The right to one ask; returns when dropped.
#[derive(Debug)]
pub struct Credit {
    _permit: OwnedSemaphorePermit,
}

/// Counts the asks waiting at an entity.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load(Arc<AtomicUsize>);

impl Load {
    /// A place in the entity's mailbox, or none when it is full. Only the shard calls this, so
    /// check and increment need not be one step.
    pub(crate) fn try_enter(&self) -> Option<Place> {
        if self.0.load(Ordering::Acquire) >= ENTITY_MAILBOX_MAX {
            return None;
        }
        Some(self.enter())
    }

    /// A place in the entity's mailbox, whatever waits there.
    pub(crate) fn enter(&self) -> Place {
        self.0.fetch_add(1, Ordering::AcqRel);
        Place(Self(Arc::clone(&self.0)))
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// A place in an entity's mailbox.
#[derive(Debug)]
pub(crate) struct Place(Load);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}
