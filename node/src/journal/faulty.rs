//! A journal under which entities fail, are slow or stand still on purpose.
//!
//! It is where every step of every entity passes, in the entity's own task. **Invariants:** what is written is
//! what would be written without it, later; a failing entity has handed nothing to the log. **Not here:** whom
//! it befalls, and when (`chaos`).

use std::{panic::resume_unwind, sync::Arc, time::Duration};

use fieldmesh_actors::{
    commit::{Cause, Draft, Settle, ShardId},
    seams::{
        Journal, JournalError, Loaded, MailItem, OutboxItem, Pending, Queued, Replay, Rows, Serves,
        TimerPlace, TimerRows,
    },
};
use fieldmesh_domain::EntityId;
use tokio::time::{Instant, sleep};

use crate::chaos::ActorFaults;

/// How often it is looked whether a step has waited long enough.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A journal to which entities come late, or not at all.
pub struct FaultyJournal<J> {
    inner: Arc<J>,
    faults: Arc<ActorFaults>,
}

impl<J> FaultyJournal<J> {
    pub fn new(inner: J, faults: Arc<ActorFaults>) -> Self {
        Self { inner: Arc::new(inner), faults }
    }
}

impl<J: Journal> Journal for FaultyJournal<J> {
    fn load(&self, entity: EntityId) -> Result<Loaded, JournalError> {
        self.inner.load(entity)
    }

    fn has_room(&self) -> bool {
        self.inner.has_room()
    }

    fn serves(&self, entity: EntityId, cause: &Cause) -> Result<Serves, JournalError> {
        self.inner.serves(entity, cause)
    }

    fn redirect(
        &self,
        rows: Vec<(ShardId, u64)>,
        to: ShardId,
    ) -> Pending<Result<(), JournalError>> {
        self.inner.redirect(rows, to)
    }

    fn submit(&self, draft: Draft) -> Pending<Result<Queued, JournalError>> {
        let entity = draft.entity;
        if self.faults.fails(entity) {
            // A panic, without what would be printed for each of thousands.
            resume_unwind(Box::new(format!("CHAOS: {entity} fails on purpose, by a lease")));
        }
        if !self.faults.holds_back(entity) {
            return self.inner.submit(draft);
        }
        let (inner, faults, began) =
            (Arc::clone(&self.inner), Arc::clone(&self.faults), Instant::now());
        Box::pin(async move {
            // Looked at again and again: the lease may end meanwhile.
            while faults.is_stalled(entity) || began.elapsed() < faults.delay(entity) {
                sleep(LOOK_EVERY).await;
            }
            inner.submit(draft).await
        })
    }

    fn replay(&self, cause: &Cause) -> Result<Replay, JournalError> {
        self.inner.replay(cause)
    }

    fn settle(&self, settle: Settle) -> Pending<Result<(), JournalError>> {
        self.inner.settle(settle)
    }

    fn outbox(&self, limit: usize) -> Result<Rows<OutboxItem>, JournalError> {
        self.inner.outbox(limit)
    }

    fn timers(&self, from: TimerPlace, limit: usize) -> Result<TimerRows, JournalError> {
        self.inner.timers(from, limit)
    }

    fn mail(&self, to: EntityId, limit: usize) -> Result<Rows<MailItem>, JournalError> {
        self.inner.mail(to, limit)
    }
}
