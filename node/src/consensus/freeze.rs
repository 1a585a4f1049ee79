//! A group held still for a moment, so that its state can be frozen together with that of others.
//!
//! Groups tell each other things by numbered rows. States that were frozen at different moments do not
//! fit: a row that its sender has forgotten may not have reached its receiver, and a receiver may have
//! taken a number that its sender has not given yet. So all groups are held before the first is let go:
//! while one is held its leader proposes nothing, and what was proposed before is applied before its
//! state is frozen. Then there is a moment at which every group was as it was frozen.
//!
//! A leader alone cannot know that it still leads. That it held its group all along is therefore said
//! only by [`Held::release`], which commits an entry in the same term: whoever else came to lead did so
//! after that entry was proposed, and so after the last group was held.
//!
//! **Invariants:** a group is held for [`HELD_AT_MOST`], whatever becomes of who asked for it; a
//! frozen state holds every entry up to the one that it names, and none behind it that changes anything.
//! **Not here:** holding several together (`backup::holder`), what a frozen state is for.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fieldmesh_actors::commit::{Proposal as Content, Settle};
use tokio::{sync::OwnedRwLockWriteGuard, task::JoinHandle, time::timeout};

use super::{
    LogId,
    group::{Group, ProposeError},
    install,
};
use crate::store::{StoreError, Table};

/// Long enough to freeze some groups on a slow disk; devices and operators wait longer for an answer.
pub const HELD_AT_MOST: Duration = Duration::from_secs(3);

/// Why a group was not held, or not for long enough.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotHeld {
    #[error("group {group} is held for somebody else already")]
    Taken { group: u32 },
    #[error("group {group} was let go before all were frozen, because that took too long")]
    Lapsed { group: u32 },
    #[error("the leader of group {group} changed while it was frozen")]
    Deposed { group: u32 },
    #[error("nothing of group {group} has come here yet")]
    Empty { group: u32 },
    #[error("group {group} cannot be held: {source}")]
    Propose {
        group: u32,
        #[source]
        source: ProposeError,
    },
    #[error("group {group} cannot be frozen: {source}")]
    Store {
        group: u32,
        #[source]
        source: StoreError,
    },
}

/// A state as it was at one entry of the log.
#[derive(Clone)]
pub struct Frozen {
    pub group: u32,
    pub table: Arc<dyn Table>,
    pub term: u64,
    pub index: u64,
}

type Gate = Arc<Mutex<Option<OwnedRwLockWriteGuard<()>>>>;

/// A group that is held.
pub struct Held {
    pub frozen: Frozen,
    group: Group,
    /// The term in which it was held.
    term: u64,
    gate: Gate,
    lapse: JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lapse.abort();
    }
}

fn take(gate: &Gate) -> Option<OwnedRwLockWriteGuard<()>> {
    // Each change is one assignment.
    gate.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Group {
    /// Writes the state down as it is now, so that it need not be written while everybody waits.
    ///
    /// # Errors
    /// A disk that fails.
    pub async fn before_hold(&self) -> Result<(), NotHeld> {
        let group = self.group;
        self.table.sync().await.map_err(|source| NotHeld::Store { group, source })
    }

    /// Lets nothing be proposed from now on, waits for what was, and freezes the state.
    ///
    /// # Errors
    /// See [`NotHeld`]; the group goes on.
    pub async fn hold(&self) -> Result<Held, NotHeld> {
        let group = self.group;
        let closing = timeout(HELD_AT_MOST, Arc::clone(&self.gate).write_owned()).await;
        let closed = closing.map_err(|_| NotHeld::Taken { group })?;
        let gate: Gate = Arc::new(Mutex::new(Some(closed)));
        let lapse = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move {
                tokio::time::sleep(HELD_AT_MOST).await;
                drop(take(&gate));
            }
        });
        let frozen = self.freeze().await;
        let (frozen, term) = frozen.inspect_err(|_| {
            lapse.abort();
            drop(take(&gate));
        })?;
        Ok(Held { frozen, group: self.clone(), term, gate, lapse })
    }

    async fn freeze(&self) -> Result<(Frozen, u64), NotHeld> {
        let group = self.group;
        let store = |source| NotHeld::Store { group, source };
        // Behind everything that was proposed before the gate was closed.
        let last = self.last_word().await?;
        let table = self.table.checkpoint().map_err(store)?;
        let applied = install::found(&*table).map_err(store)?.applied.unwrap_or(last);
        let (term, index) = (applied.leader_id.term, applied.index);
        Ok((Frozen { group, table, term, index }, last.leader_id.term))
    }

    /// Commits an entry that changes nothing, past the gate.
    async fn last_word(&self) -> Result<LogId, NotHeld> {
        let group = self.group;
        let propose = |source| NotHeld::Propose { group, source };
        let nothing = Content::Settle(Settle::default());
        let proposed = self.submit_past_the_gate(&nothing).await.map_err(propose)?;
        let answered = timeout(HELD_AT_MOST, proposed).await;
        let (_, at) = answered.map_err(|_| NotHeld::Lapsed { group })?.map_err(propose)?;
        Ok(at)
    }
}

impl Held {
    /// Lets the group go. To be called once all groups are held that are to fit together.
    ///
    /// # Errors
    /// Where it was not held all along: then the frozen states do not fit.
    pub async fn release(self) -> Result<Frozen, NotHeld> {
        let group = self.frozen.group;
        let said = self.group.last_word().await;
        // Taken after the entry was committed: the gate was closed until now, or somebody opened it.
        let was_closed = take(&self.gate).is_some();
        if said?.leader_id.term != self.term {
            return Err(NotHeld::Deposed { group });
        }
        if !was_closed {
            return Err(NotHeld::Lapsed { group });
        }
        Ok(self.frozen.clone())
    }
}
