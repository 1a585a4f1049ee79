//! The groups of this node that are frozen for a backup, until their rows are fetched.
//!
//! **Invariants:** one backup at a time: each frozen state keeps files on disk; one that nobody asks for
//! goes after [`IDLE_AT_MOST`]. **Not here:** why frozen states fit together (`consensus::freeze`), who may
//! ask (`web::backup`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::future::try_join_all;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    consensus::{
        Group,
        freeze::{Frozen, Held, NotHeld},
        transfer,
    },
    store::StoreError,
};

/// A backup that fetched nothing for so long has ended without saying so.
const IDLE_AT_MOST: Duration = Duration::from_secs(120);

/// Why a group is not frozen, or its rows are not there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HolderError {
    #[error("another backup is being taken: wait until it has ended")]
    Busy,
    #[error("nothing is frozen for this backup any more: take it again")]
    Gone,
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is frozen here.
#[derive(Default)]
pub struct Holder {
    now: Mutex<Option<Holding>>,
}

struct Holding {
    id: String,
    held: Vec<Held>,
    frozen: BTreeMap<u32, Frozen>,
    used: Instant,
}

impl Holding {
    /// Whether another backup still uses it.
    fn is_for_other(&self, id: &str) -> bool {
        self.id != id && self.used.elapsed() < IDLE_AT_MOST
    }
}

impl Holder {
    /// Holds groups, all or none, and freezes them.
    ///
    /// # Errors
    /// Another backup; a group that cannot be held.
    pub async fn hold(
        self: &Arc<Self>,
        id: &str,
        groups: &[Group],
    ) -> Result<Vec<Frozen>, HolderError> {
        let mut now = self.now.try_lock().map_err(|_| HolderError::Busy)?;
        if now.as_ref().is_some_and(|holding| holding.is_for_other(id)) {
            return Err(HolderError::Busy);
        }
        // What an earlier attempt of the same backup holds is let go first.
        *now = None;
        for group in groups {
            group.before_hold().await?;
        }
        let held = try_join_all(groups.iter().map(Group::hold)).await?;
        let frozen: Vec<Frozen> = held.iter().map(|held| held.frozen.clone()).collect();
        *now = Some(Holding {
            id: id.to_owned(),
            held,
            frozen: BTreeMap::new(),
            used: Instant::now(),
        });
        tokio::spawn(forget_idle(Arc::downgrade(self)));
        Ok(frozen)
    }

    /// Keeps states that nobody here leads, so that their rows can be fetched.
    ///
    /// # Errors
    /// Another backup.
    pub fn keep(
        self: &Arc<Self>,
        id: &str,
        states: impl IntoIterator<Item = Frozen>,
    ) -> Result<(), HolderError> {
        let mut now = self.now.try_lock().map_err(|_| HolderError::Busy)?;
        if now.as_ref().is_some_and(|holding| holding.is_for_other(id)) {
            return Err(HolderError::Busy);
        }
        let frozen = states.into_iter().map(|frozen| (frozen.group, frozen)).collect();
        *now = Some(Holding { id: id.to_owned(), held: vec![], frozen, used: Instant::now() });
        tokio::spawn(forget_idle(Arc::downgrade(self)));
        Ok(())
    }

    /// Lets the groups go; from now on their rows can be fetched.
    ///
    /// # Errors
    /// Where one was not held all along: nothing stays frozen then.
    pub async fn release(&self, id: &str) -> Result<(), HolderError> {
        let mut now = self.now.lock().await;
        let mut holding = now.take().filter(|holding| holding.id == id).ok_or(HolderError::Gone)?;
        let held = std::mem::take(&mut holding.held);
        let frozen = try_join_all(held.into_iter().map(Held::release)).await?;
        holding.frozen = frozen.into_iter().map(|frozen| (frozen.group, frozen)).collect();
        holding.used = Instant::now();
        *now = Some(holding);
        Ok(())
    }

    /// The rows of a frozen group behind a key, as a piece of a snapshot.
    ///
    /// # Errors
    /// Where it is not frozen any more, or cannot be read.
    pub async fn piece(&self, id: &str, group: u32, behind: &[u8]) -> Result<Vec<u8>, HolderError> {
        let mut now = self.now.lock().await;
        let holding = now.as_mut().filter(|now| now.id == id).ok_or(HolderError::Gone)?;
        holding.used = Instant::now();
        let frozen = holding.frozen.get(&group).ok_or(HolderError::Gone)?;
        Ok(transfer::piece_behind(&*frozen.table, behind)?)
    }

    /// Nothing stays frozen for this backup.
    pub async fn end(&self, id: &str) {
        let mut now = self.now.lock().await;
        if now.as_ref().is_some_and(|holding| holding.id == id) {
            *now = None;
        }
    }
}

/// Lets go what nobody asks for any more.
async fn forget_idle(holder: Weak<Holder>) {
    loop {
        tokio::time::sleep(IDLE_AT_MOST / 4).await;
        let Some(holder) = holder.upgrade() else { return };
        let mut now = holder.now.lock().await;
        match now.as_ref().map(|holding| holding.used.elapsed() >= IDLE_AT_MOST) {
            None => return,
            Some(true) => {
                tracing::warn!("a backup was not ended: what was frozen for it is let go");
                *now = None;
                return;
            }
            Some(false) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::store::{Engine, Role, simulated::Disk};

    /// Whoever fetches one node's groups for long asks the others for nothing, and finds theirs in the end.
    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_now_and_then_stays_frozen() {
        let holder = Arc::new(Holder::default());
        let table = Disk::default().open("state-1", Role::State).unwrap();
        let mut batch = crate::store::Batch::default();
        batch.put(b"a row".to_vec(), b"of it".to_vec());
        table.write(batch).unwrap();
        holder.keep("one", [Frozen { group: 1, table, term: 1, index: 1 }]).unwrap();
        for _ in 0..30 {
            tokio::time::sleep(IDLE_AT_MOST / 6).await;
            let nothing = holder.piece("one", 1, &[u8::MAX]).await.unwrap();
            assert_eq!(transfer::read_piece(&nothing).unwrap(), Ok(Vec::new()));
        }
        let all = holder.piece("one", 1, &[]).await.unwrap();
        assert_eq!(transfer::read_piece(&all).unwrap().unwrap().len(), 1);
        tokio::time::sleep(IDLE_AT_MOST * 2).await;
        assert!(matches!(holder.piece("one", 1, &[]).await, Err(HolderError::Gone)));
    }
}
