//! The journal of one shard: seals what entities decide, commits it, and reads it back.
//!
//! Entries that reach the log hold only ciphertext and routing: events, snapshots, commands to other
//! entities and messages for devices are sealed here, by the leader, under the owner's data key.
//!
//! **Invariants:** a step is done only once it is on a quorum's disk and applied; a new data key is
//! used only after the commit that stores it. **Not here:** deciding (`domain`), applying
//! (`consensus::machine`).

mod commits;
mod digest;
pub mod faulty;
mod positions;
mod read;
mod write;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fieldmesh_actors::{
    commit::{Cause, Draft, Proposal, Settle, ShardId},
    seams::{
        Clock, Entropy, Journal, JournalError, Loaded, MailItem, OutboxItem, Pending, Queued,
        Replay, Rows, Serves, TimerPlace, TimerRows,
    },
};
use fieldmesh_domain::{EntityId, placement::PLACEMENT};

use commits::Commits;
pub use positions::{LoggedStep, LoggedSteps};
pub use read::{HistoryEntry, Record};

use crate::{
    cluster::Cluster,
    consensus::{Group, ProposeError},
    sealing::{Key, SealError},
    service::Service,
    steps::Steps,
    store::{StoreError, Table, keys::state},
};

/// A message is remembered for so long after its expiry: longer than any clock is wrong.
const REMEMBERED_S: u64 = 24 * 3600;
/// Unwrapped data keys in memory: 48 bytes each.
const CACHED_KEYS_MAX: usize = 16_384;

/// The journal of a shard that this node leads.
#[derive(Clone)]
pub struct ShardJournal {
    inner: Arc<Inner>,
}

struct Inner {
    group: Group,
    table: Arc<dyn Table>,
    known: Arc<Cluster>,
    service: Arc<Service>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    steps: Steps,
    keys: Mutex<BTreeMap<EntityId, Key>>,
    /// The next mail number of each recipient, once one was given in this term.
    mail_next: Mutex<BTreeMap<EntityId, u64>>,
    commits: Commits,
}

/// What a journal needs.
pub struct JournalOptions {
    pub group: Group,
    /// Where others are who are told something.
    pub known: Arc<Cluster>,
    pub service: Arc<Service>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub steps: Steps,
}

impl ShardJournal {
    pub fn new(options: JournalOptions) -> Self {
        let JournalOptions { group, known, service, clock, entropy, steps } = options;
        let table = group.table();
        let (keys, mail_next) = Default::default();
        let commits = Commits::new(group.group);
        Self {
            inner: Arc::new(Inner {
                group,
                table,
                known,
                service,
                clock,
                entropy,
                steps,
                keys,
                mail_next,
                commits,
            }),
        }
    }

    /// Everything that happened to an entity, oldest first.
    ///
    /// # Errors
    /// Damaged or erased data.
    pub fn history(&self, entity: EntityId) -> Result<Vec<HistoryEntry>, JournalError> {
        self.inner.history(entity, 0)
    }
}

impl ShardJournal {
    /// What happened to an entity from a version on, oldest first; the version must be one that a
    /// step ended at.
    ///
    /// # Errors
    /// Damaged or erased data.
    pub fn history_from(
        &self,
        entity: EntityId,
        version: u64,
    ) -> Result<Vec<HistoryEntry>, JournalError> {
        self.inner.history(entity, version)
    }

    /// At most so many steps of an entity from a version on, in a chain of their own: whether it
    /// leads to the entity's head is not checked.
    ///
    /// # Errors
    /// Damaged or erased data.
    pub fn history_page(
        &self,
        entity: EntityId,
        version: u64,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, JournalError> {
        self.inner.history_page(entity, version, limit)
    }
}

impl Journal for ShardJournal {
    fn has_room(&self) -> bool {
        self.inner.group.has_room()
    }

    fn load(&self, entity: EntityId) -> Result<Loaded, JournalError> {
        self.inner.load(entity)
    }

    fn serves(&self, entity: EntityId, cause: &Cause) -> Result<Serves, JournalError> {
        self.inner.serves(entity, cause)
    }

    fn redirect(
        &self,
        rows: Vec<(ShardId, u64)>,
        to: ShardId,
    ) -> Pending<Result<(), JournalError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let redirect = Proposal::Redirect { rows, to };
            inner.group.propose(&redirect).await.map(|_| ()).map_err(propose_error)
        })
    }

    fn submit(&self, draft: Draft) -> Pending<Result<Queued, JournalError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.submit(draft).await })
    }

    fn replay(&self, cause: &Cause) -> Result<Replay, JournalError> {
        self.inner.replay(cause)
    }

    fn settle(&self, mut settle: Settle) -> Pending<Result<(), JournalError>> {
        let inner = Arc::clone(&self.inner);
        settle.forget_before_s = (inner.clock.now_ms() / 1000).checked_sub(REMEMBERED_S);
        Box::pin(async move {
            inner.group.propose(&Proposal::Settle(settle)).await.map(|_| ()).map_err(propose_error)
        })
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

impl Inner {
    /// The owner's data key, if it has one that was not destroyed.
    fn key(&self, owner: EntityId) -> Result<Option<Key>, JournalError> {
        if let Some(key) = lock(&self.keys).get(&owner) {
            return Ok(Some(key.clone()));
        }
        let bytes = owner.to_bytes();
        let Some(wrapped) = self.table.get(&state::data_key(&bytes)).map_err(store_error)? else {
            return Ok(None);
        };
        let key = self.unwrap(&bytes, &wrapped).map_err(seal_error)?;
        self.remember(owner, key.clone());
        Ok(Some(key))
    }

    /// Whether nodes of several regions lead this group in turn, who have no region key in common.
    fn spans_regions(&self) -> bool {
        self.group.group == PLACEMENT
    }

    fn unwrap(&self, owner: &[u8; 16], wrapped: &[u8]) -> Result<Key, SealError> {
        if self.spans_regions()
            && let Ok(key) = Key::unwrap(&Key::shared(), owner, wrapped)
        {
            return Ok(key);
        }
        // What was written before the level `SHARED_KEYS` is under the key of its writer's region.
        Key::unwrap(self.service.region_key(), owner, wrapped)
    }

    fn remember(&self, owner: EntityId, key: Key) {
        let mut keys = lock(&self.keys);
        if keys.len() >= CACHED_KEYS_MAX {
            // Any victim does: a key is one read and one unwrap away.
            keys.pop_first();
        }
        keys.insert(owner, key);
    }

    fn existing_key(&self, owner: EntityId) -> Result<Key, JournalError> {
        self.key(owner)?.ok_or(JournalError::Erased { owner })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The maps behind these locks are caches: a panic leaves them usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn store_error(error: StoreError) -> JournalError {
    JournalError::Failed(error.to_string())
}

fn seal_error(error: SealError) -> JournalError {
    JournalError::Failed(error.to_string())
}

fn propose_error(error: ProposeError) -> JournalError {
    match error {
        ProposeError::NotLeader { .. } => JournalError::NotLeader,
        ProposeError::Unknown | ProposeError::Stopped(_) => JournalError::Unknown,
        ProposeError::Full => JournalError::Full,
        ProposeError::TooLarge { .. } => JournalError::Failed(error.to_string()),
    }
}
