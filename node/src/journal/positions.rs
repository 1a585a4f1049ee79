//! Where the steps of entities stand in the log of their group.
//!
//! They are looked for in the log when somebody asks, so that nothing is written down for it when a step is taken.
//! **Invariant:** a step is told only where its very record stands in its entity's history: an entry that was refused
//! when it was applied took no effect. **Not here:** who asks, and what for (`web`).

use fieldmesh_actors::{
    commit::{Cause, Commit},
    seams::JournalError,
};
use fieldmesh_domain::EntityId;

use super::{ShardJournal, store_error};
use crate::{
    consensus::{LogId, positions::Logged},
    store::keys::state,
};

/// A step that took effect.
pub struct LoggedStep {
    pub id: LogId,
    pub entity: EntityId,
    /// The entity's version before it, and its events.
    pub version: u64,
    pub events: u32,
    /// The device's message that caused it, where one did.
    pub message: Option<[u8; 16]>,
    /// What devices are told by it: whom, and the number in its mailbox.
    pub mail: Vec<(EntityId, u64)>,
}

/// Steps of a group, as far as its log was looked at.
pub struct LoggedSteps {
    /// The last entry that is applied.
    pub applied: u64,
    /// The first and the last entry that were looked at.
    pub from: u64,
    pub until: u64,
    pub steps: Vec<LoggedStep>,
}

impl ShardJournal {
    /// The last entry that is applied here: what is read behind this has all up to it.
    ///
    /// # Errors
    /// A failed read.
    pub fn position(&self) -> Result<Option<LogId>, JournalError> {
        self.inner.group.position().map_err(store_error)
    }

    /// The steps behind an entry of the log; those that were purged are not among them. Blocks.
    ///
    /// # Errors
    /// A failed read.
    pub fn steps_behind(&self, after: u64) -> Result<LoggedSteps, JournalError> {
        let logged = self.inner.group.logged_behind(after).map_err(store_error)?;
        let Logged { applied, from, until, commits } = logged;
        let mut steps = Vec::new();
        for (id, commit) in commits {
            if self.took_effect(&commit)? {
                steps.push(step(id, &commit));
            }
        }
        Ok(LoggedSteps { applied: applied.map_or(0, |id| id.index), from, until, steps })
    }

    /// Each record is sealed with bytes of its own: one that was decided twice is another one.
    fn took_effect(&self, commit: &Commit) -> Result<bool, JournalError> {
        let key = state::events(&commit.entity.to_bytes(), commit.expected_version);
        let stored = self.inner.table.get(&key).map_err(store_error)?;
        Ok(commit.event_count > 0 && stored.is_some_and(|record| record == commit.record))
    }
}

fn step(id: LogId, commit: &Commit) -> LoggedStep {
    let message = match &commit.cause {
        Cause::Device { message_id, .. } => Some(*message_id),
        Cause::Outbox { .. } | Cause::Timer { .. } | Cause::Operator { .. } => None,
    };
    LoggedStep {
        id,
        entity: commit.entity,
        version: commit.expected_version,
        events: commit.event_count,
        message,
        mail: commit.mail.iter().map(|mail| (mail.to, mail.number)).collect(),
    }
}
