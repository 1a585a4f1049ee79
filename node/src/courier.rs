//! The ways between the parts of a node: shards that run here, and devices that are connected here.
//!
//! **Invariant:** a device has one session, the newest. **Not here:** sockets (`edge`), retries
//! (`fieldmesh_actors::outbox`).

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use fieldmesh_actors::{
    AskError, ShardHandle,
    commit::{Cause, ShardId},
    seams::{Courier, MailItem, OutboxItem, Pending},
};
use fieldmesh_domain::EntityId;
use tokio::sync::mpsc;

use crate::placement::ShardMap;

/// Mail handed to a session and not yet sent; the mailroom's window is as large.
pub const SESSION_MAIL_MAX: usize = 64;

/// The node's own registry; ractor's is per process and is not used.
pub struct NodeCourier {
    map: ShardMap,
    shards: RwLock<BTreeMap<ShardId, ShardHandle>>,
    sessions: RwLock<BTreeMap<EntityId, Session>>,
}

/// A connected device.
#[derive(Debug, Clone)]
pub struct Session {
    /// Tells this session from an earlier one of the same device.
    pub number: u64,
    pub mail: mpsc::Sender<MailItem>,
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl NodeCourier {
    pub fn new(map: ShardMap) -> Self {
        Self { map, shards: RwLock::default(), sessions: RwLock::default() }
    }

    pub fn map(&self) -> ShardMap {
        self.map
    }

    /// The shard that owns an entity, if it runs here.
    pub fn shard_for(&self, entity: EntityId) -> Option<ShardHandle> {
        self.shard(self.map.shard_of(entity))
    }

    pub fn shard(&self, shard: ShardId) -> Option<ShardHandle> {
        read(&self.shards).get(&shard).cloned()
    }

    /// Puts a shard into service; devices that are connected already are announced to it.
    pub fn open_shard(&self, shard: ShardId, handle: ShardHandle) {
        // In this order a device that connects meanwhile is announced twice rather than never.
        write(&self.shards).insert(shard, handle.clone());
        for device in read(&self.sessions).keys().filter(|id| self.map.shard_of(**id) == shard) {
            handle.attached(*device);
        }
    }

    pub fn close_shard(&self, shard: ShardId) -> Option<ShardHandle> {
        write(&self.shards).remove(&shard)
    }

    /// Whether every shard runs here.
    pub fn is_complete(&self) -> bool {
        let shards = read(&self.shards);
        self.map.shards().all(|shard| shards.contains_key(&shard))
    }

    /// Makes this the device's session; an older one is told by its closed channel.
    pub fn attach(&self, device: EntityId, session: Session) {
        // The shard is told under the lock, so that it hears of sessions in their order.
        let mut sessions = write(&self.sessions);
        sessions.insert(device, session);
        if let Some(shard) = self.shard_for(device) {
            shard.attached(device);
        }
    }

    /// Ends a session, unless a newer one took its place.
    pub fn detach(&self, device: EntityId, number: u64) {
        let mut sessions = write(&self.sessions);
        if sessions.get(&device).is_none_or(|session| session.number != number) {
            return;
        }
        sessions.remove(&device);
        if let Some(shard) = self.shard_for(device) {
            shard.detached(device);
        }
    }

    /// How many devices are connected.
    pub fn connected(&self) -> usize {
        read(&self.sessions).len()
    }
}

impl Courier for NodeCourier {
    fn tell(&self, from: ShardId, item: OutboxItem) -> Pending<Result<(), AskError>> {
        let shard = self.shard(item.shard);
        Box::pin(async move {
            let shard = shard.ok_or(AskError::NotLeader)?;
            let cause = Cause::Outbox { from, number: item.number };
            shard.ask(item.to, item.command, cause, None).await.map(|_| ())
        })
    }

    fn push(&self, mail: &MailItem) -> bool {
        let session = read(&self.sessions).get(&mail.to).cloned();
        session.is_some_and(|session| session.mail.try_send(mail.clone()).is_ok())
    }
}
