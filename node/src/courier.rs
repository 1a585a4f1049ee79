//! The ways between entities and devices: shards that run here or on other nodes, devices that are
//! connected here or there.
//!
//! A node that takes a device's connection tells the leader of the device's shard, again whenever
//! another node leads or the way there was interrupted; so a device notices nothing of that but time.
//!
//! **Invariants:** an ask that may have been written is repeated only where its cause makes that safe;
//! asks from outside enter only with a credit; a replica here that whoever leads does not feed is not believed for long.
//! **Not here:** sockets (`edge`, `mesh`), retries of outbox rows (`fieldmesh_actors::outbox`).

mod admission;
mod groups;
mod lists;
mod mail;
mod moves;
mod notices;
mod sessions;
mod slots;
mod sums;
mod ways;
pub mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak},
    time::Duration,
};

use fieldmesh_actors::{
    Answer, AskError, ShardHandle,
    admission::{Credit, RETRY_AFTER_MS},
    commit::{Cause, ShardId},
    seams::{Courier, Entropy, MailItem, OutboxItem, Pending},
};
use fieldmesh_domain::{Command, EntityId};
use tokio::{sync::watch, time::Instant};

use crate::{cluster::Cluster, consensus::Group, mesh::Mesh};
use admission::Far;
use notices::Notices;
pub use sessions::Session;
use sessions::{Abroad, Place, Sessions};
pub(crate) use slots::rows_of_slot;
use ways::Ways;
use wire::Notice;

/// Mail handed to a session and not yet sent; the mailroom's window is as large.
pub const SESSION_MAIL_MAX: usize = 64;
/// An ask waits so long for somebody to lead: an election and the start of a shard take less than two
/// seconds, and a device waits longer for its answer.
const LED_WITHIN: Duration = Duration::from_secs(4);

/// The node's own registry; ractor's is per process and is not used.
pub struct NodeCourier {
    me: Weak<Self>,
    /// This node's number.
    number: u64,
    shards: RwLock<BTreeMap<ShardId, ShardHandle>>,
    /// Tells that these are others.
    opened: watch::Sender<()>,
    /// The groups that run here, which know who leads.
    groups: RwLock<BTreeMap<ShardId, Group>>,
    /// For asks to shards that other nodes lead.
    abroad: RwLock<BTreeMap<ShardId, Far>>,
    sessions: RwLock<Sessions>,
    known: Arc<Cluster>,
    /// Who leads a shard of which no replica here is fed, as far as was found out.
    hints: RwLock<BTreeMap<ShardId, u64>>,
    ways: Option<Ways>,
    notices: Notices,
}

/// Who answers for a shard.
enum Leader {
    Here(ShardHandle),
    There(u64),
    /// Nobody, as far as is known: an election, or a shard that is starting.
    Nobody,
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl NodeCourier {
    /// The courier of a node; alone where there is no mesh.
    pub fn new(number: u64, mesh: Option<Arc<Mesh>>, known: Arc<Cluster>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            number,
            shards: RwLock::default(),
            opened: watch::Sender::new(()),
            groups: RwLock::default(),
            abroad: RwLock::default(),
            sessions: RwLock::default(),
            known,
            hints: RwLock::default(),
            ways: mesh.clone().map(Ways::new),
            notices: Notices::new(mesh),
        })
    }

    pub fn known(&self) -> &Cluster {
        &self.known
    }

    /// A shard, if it runs here.
    pub fn shard(&self, shard: ShardId) -> Option<ShardHandle> {
        read(&self.shards).get(&shard).cloned()
    }

    /// An entity's shard, if it runs here.
    fn shard_of(&self, entity: EntityId) -> Option<ShardHandle> {
        self.shard(self.known.group_of(entity)?)
    }

    /// A group runs here: it knows who leads the shard.
    pub fn add_group(&self, shard: ShardId, group: Group) {
        write(&self.groups).insert(shard, group);
        // What was found out without it may be old by the time that it is not fed any more.
        write(&self.hints).remove(&shard);
    }

    /// A group does not run here any more; its shard must have ended.
    pub fn remove_group(&self, shard: ShardId) {
        write(&self.groups).remove(&shard);
    }

    /// The replica here, where the group is to have one: who was taken out of a group hears no more of
    /// it, and is not to be asked who leads.
    fn group(&self, shard: ShardId) -> Option<Group> {
        let is_let_go = self.known.placed(shard).is_some_and(|placed| {
            !placed.voters.contains(&self.number) && !placed.learners.contains(&self.number)
        });
        if is_let_go { None } else { self.running(shard) }
    }

    /// The replica here, maybe one that is about to leave, or that leads until it is relieved.
    fn running(&self, shard: ShardId) -> Option<Group> {
        read(&self.groups).get(&shard).cloned()
    }

    /// The same, where whoever leads feeds it. One that is not yet let into the group, or was taken out and does not know
    /// it, would name for ever who led once, or nobody.
    fn fed(&self, shard: ShardId) -> Option<Group> {
        self.group(shard).filter(Group::is_fed)
    }

    /// Whether a replica is here and is to hear of what is new.
    pub fn has_replica(&self, shard: ShardId) -> bool {
        self.group(shard).is_some()
    }

    /// Whether what a group decides comes here, where a replica is to be here.
    pub fn is_fed(&self, shard: ShardId) -> bool {
        self.group(shard).is_none_or(|group| group.is_fed())
    }

    /// The other node that leads a shard, as far as is known here.
    fn other_leader(&self, shard: ShardId) -> Option<u64> {
        let leader = match self.group(shard) {
            Some(group) if group.is_fed() => group.leader(),
            Some(unfed) => self.hinted(shard).or_else(|| unfed.leader()),
            None => self.guess(shard),
        };
        leader.filter(|leader| *leader != self.number && self.ways.is_some())
    }

    /// Whom to ask about a shard that has no replica here.
    fn guess(&self, shard: ShardId) -> Option<u64> {
        self.hinted(shard).or_else(|| self.known.placed(shard)?.voters.first().copied())
    }

    /// Who leads a shard of which no replica here is fed, as was found out last.
    fn hinted(&self, shard: ShardId) -> Option<u64> {
        read(&self.hints).get(&shard).copied()
    }

    /// A node that was asked does not lead: the one that it named may, or the next that votes.
    fn astray(&self, shard: ShardId, asked: u64, hint: Option<u64>) {
        if self.fed(shard).is_some() {
            return;
        }
        // Where this node led once, or is to vote, it is not to ask itself.
        let is_other = |node: &u64| *node != self.number;
        let mut voters = self.known.placed(shard).map_or_else(Vec::new, |placed| placed.voters);
        voters.retain(is_other);
        let next = voters.iter().position(|voter| *voter == asked).map_or(0, |at| at + 1);
        let next = voters.get(next).or(voters.first()).copied();
        if let Some(next) = hint.filter(is_other).or(next) {
            write(&self.hints).insert(shard, next);
        }
    }

    /// Who was asked may not lead any more.
    fn heed(&self, shard: ShardId, asked: u64, said: &Result<wire::Said, AskError>) {
        match said {
            Ok(wire::Said::NotLeader { hint }) => self.astray(shard, asked, *hint),
            Err(AskError::NotLeader) => self.astray(shard, asked, None),
            _ => {}
        }
    }

    fn leader(&self, shard: ShardId) -> Leader {
        match (self.shard(shard), self.other_leader(shard)) {
            (Some(handle), _) => Leader::Here(handle),
            (None, Some(node)) => Leader::There(node),
            (None, None) => Leader::Nobody,
        }
    }

    /// Whether a shard answers, here or elsewhere.
    pub fn is_led(&self, shard: ShardId) -> bool {
        !matches!(self.leader(shard), Leader::Nobody)
    }

    /// Whether every shard of this region answers. The placement group may be out of reach meanwhile.
    pub fn is_complete(&self) -> bool {
        self.known.own().groups().all(|shard| self.is_led(shard))
    }

    /// Asks an entity, wherever its shard is led. Waits for a leader where there is none at the moment.
    ///
    /// # Errors
    /// The entity's refusal, or why it could not be asked.
    pub async fn ask(
        &self,
        to: EntityId,
        command: Command,
        cause: Cause,
        credit: Credit,
    ) -> Result<Answer, AskError> {
        // However often it is asked, a device's message counts once, and an operator's command is made so
        // by its aggregate. Others have their own way of asking again.
        let is_once = !cause.is_internal();
        let until = Instant::now() + LED_WITHIN;
        let mut credit = Some(credit);
        loop {
            // Another shard may serve it by now.
            let shard = self.known.group_of(to).ok_or(AskError::NotLeader)?;
            let sight = self.sight(shard);
            let asked = match self.leader(shard) {
                Leader::Here(handle) => {
                    handle.ask(to, command.clone(), cause.clone(), credit.take()).await
                }
                Leader::There(node) => tokio::select! {
                    asked = self.ask_there(node, to, &command, &cause) => asked,
                    () = self.until_deposed(shard, node) => Err(AskError::Unknown),
                },
                Leader::Nobody => Err(AskError::NotLeader),
            };
            let is_open = match &asked {
                Err(AskError::NotLeader | AskError::Moved) => true,
                Err(AskError::Unknown) => is_once,
                _ => false,
            };
            if !is_open || Instant::now() >= until {
                return asked;
            }
            sight.changes().await;
        }
    }

    /// Asks an entity on behalf of an operator, or of this node itself, as nobody asked before.
    ///
    /// # Errors
    /// The entity's refusal, or why it could not be asked.
    pub async fn ask_anew(
        &self,
        to: EntityId,
        command: Command,
        entropy: &dyn Entropy,
    ) -> Result<Answer, AskError> {
        let mut command_id = [0; 16];
        entropy.fill(&mut command_id);
        let busy = AskError::Busy { retry_after_ms: RETRY_AFTER_MS };
        let credit = self.admit(to).ok_or(busy)?;
        self.ask(to, command, Cause::Operator { command_id }, credit).await
    }

    async fn ask_there(
        &self,
        node: u64,
        to: EntityId,
        command: &Command,
        cause: &Cause,
    ) -> Result<Answer, AskError> {
        let ways = self.ways.as_ref().ok_or(AskError::NotLeader)?;
        let shard = self.known.group_of(to).ok_or(AskError::NotLeader)?;
        let said = ways.ask(node, None, to, command, cause).await;
        self.heed(shard, node, &said);
        if let Ok(wire::Said::Busy { retry_after_ms }) = &said {
            self.far(shard, |far| far.is_busy(*retry_after_ms));
        }
        let said = said?;
        let (wire::Said::Done { applied, .. } | wire::Said::AlreadyDone { applied, .. }) = said
        else {
            return said.result();
        };
        // Whoever wrote through this node reads here what was written.
        if matches!(cause, Cause::Operator { .. })
            && let Some(group) = self.group(shard)
        {
            group.until_applied(applied).await;
        }
        said.result()
    }

    /// Answers another node for an entity whose shard is led here.
    pub async fn answer(&self, question: wire::Question) -> wire::Said {
        let wire::Question { to, command, cause, shard } = question;
        let Some(shard) = shard.or_else(|| self.known.group_of(to)) else {
            return wire::Said::NotLeader { hint: None };
        };
        let Some(handle) = self.starting(shard).await else {
            return wire::Said::NotLeader { hint: self.other_leader(shard) };
        };
        let taken = match &cause {
            Cause::Device { device, .. } => handle.credits.try_take_for(*device),
            _ => handle.credits.try_take(),
        };
        let credit = match taken {
            _ if cause.is_internal() => None,
            None => return wire::Said::Busy { retry_after_ms: RETRY_AFTER_MS },
            credit => credit,
        };
        let asked = handle.ask(to, command, cause, credit).await;
        let applied = self.running(shard).and_then(|group| group.readable()).unwrap_or(0);
        wire::Said::new(asked, applied, self.other_leader(shard))
    }
}

/// Keys.
impl NodeCourier {
    /// An issuing CA's key, sealed, from another node of this region that has it.
    pub async fn issuing_key(&self, fingerprint: [u8; 32]) -> Option<Vec<u8>> {
        for node in self.neighbours() {
            let asked = self.ways.as_ref()?.issuing_key(node, fingerprint).await;
            if asked.is_some() {
                return asked;
            }
        }
        None
    }

    /// The other nodes of this node's region.
    pub fn neighbours(&self) -> Vec<u64> {
        self.known.neighbours(self.number)
    }

    /// Whether a node is of this node's region.
    pub fn is_neighbour(&self, node: u64) -> bool {
        self.neighbours().contains(&node)
    }
}

/// Devices.
impl NodeCourier {
    /// Puts a shard into service; devices that are connected already are announced to it.
    pub fn open_shard(&self, shard: ShardId, handle: ShardHandle) {
        // In this order a device that connects meanwhile is announced twice rather than never.
        write(&self.shards).insert(shard, handle.clone());
        self.opened.send_replace(());
        let sessions = read(&self.sessions);
        for device in sessions.devices().filter(|id| self.known.group_of(*id) == Some(shard)) {
            handle.attached(device);
        }
    }

    pub fn close_shard(&self, shard: ShardId) -> Option<ShardHandle> {
        let closed = write(&self.shards).remove(&shard);
        self.opened.send_replace(());
        closed
    }

    /// Makes this the device's session; an older one is told by its closed channel.
    pub fn attach(&self, device: EntityId, session: Session) {
        self.attached(device, Place::Here(session));
    }

    fn attached(&self, device: EntityId, place: Place) {
        // The shard and other nodes are told under the lock, so that they hear of sessions in their order.
        let mut sessions = write(&self.sessions);
        let told = place.told(device);
        let replaced = sessions.attach(device, place);
        if let Some(shard) = self.shard_of(device) {
            shard.attached(device);
        }
        if let Some(told) = told {
            self.notice(device, |_| told);
        }
        drop(sessions);
        if let Some(Abroad { node, session, .. }) = replaced {
            self.notify(node, Notice::Replaced { device, session });
        }
    }

    /// Ends a session of this node, unless a newer one took its place.
    pub fn detach(&self, device: EntityId, number: u64) {
        if self.detached(device, None, number) {
            self.notice(device, |device| Notice::Detached { device, session: number });
        }
    }

    fn detached(&self, device: EntityId, node: Option<u64>, number: u64) -> bool {
        let mut sessions = write(&self.sessions);
        let is_it = sessions.detach(device, node, number);
        if is_it && let Some(shard) = self.shard_of(device) {
            shard.detached(device);
        }
        is_it
    }

    /// The devices that are connected to this node or, as those said, to others.
    pub fn connected_anywhere(&self) -> BTreeSet<EntityId> {
        read(&self.sessions).devices().collect()
    }

    /// A device has these messages.
    pub fn acknowledged(&self, device: EntityId, message_ids: Vec<[u8; 16]>) {
        match self.shard_of(device) {
            Some(shard) => shard.acknowledged(device, message_ids),
            None => self.notice(device, |device| {
                let message_ids = message_ids.iter().copied().map(Into::into).collect();
                Notice::Acknowledged { device, message_ids }
            }),
        }
    }

    /// Tells the node that leads the device's shard, where that is another.
    fn notice(&self, device: EntityId, notice: impl FnOnce(EntityId) -> Notice) {
        let leader = self.known.group_of(device).and_then(|shard| self.other_leader(shard));
        if let Some(node) = leader {
            self.notify(node, notice(device));
        }
    }

    /// How many devices are connected here.
    pub fn connected(&self) -> usize {
        read(&self.sessions).here().count()
    }
}

impl Courier for NodeCourier {
    fn tell(&self, from: ShardId, item: OutboxItem) -> Pending<Result<(), AskError>> {
        let OutboxItem { shard, number, to, command, .. } = item;
        let Some(command) = command else {
            let me = Weak::clone(&self.me);
            return Box::pin(async move {
                let me = me.upgrade().ok_or(AskError::NotLeader)?;
                me.tell_void(wire::Void { shard, from, number }).await
            });
        };
        let cause = Cause::Outbox { from, number };
        match (self.leader(shard), &self.ways) {
            (Leader::Here(handle), _) => {
                Box::pin(async move { handle.ask(to, command, cause, None).await.map(|_| ()) })
            }
            (Leader::There(node), Some(ways)) => {
                let (ways, me) = (ways.clone(), Weak::clone(&self.me));
                Box::pin(async move {
                    let said = ways.ask(node, Some(shard), to, &command, &cause).await;
                    if let Some(me) = me.upgrade() {
                        me.heed(shard, node, &said);
                    }
                    said?.result().map(|_| ())
                })
            }
            _ => Box::pin(async { Err(AskError::NotLeader) }),
        }
    }

    fn led_anew(&self, shard: ShardId) -> Pending<()> {
        self.until_led_anew(shard)
    }

    fn serving(&self, entity: EntityId) -> Option<ShardId> {
        self.known.group_of(entity)
    }

    fn push(&self, mail: &MailItem) -> bool {
        self.hand_over(mail)
    }

    fn passes(&self, device: EntityId) -> bool {
        self.may_pass(device)
    }

    fn delivered(&self, mail: &MailItem) -> Option<Pending<bool>> {
        self.tell_delivered(mail)
    }
}
