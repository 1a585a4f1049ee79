//! What nodes tell each other of devices, in order and without answers: one stream to each node.
//!
//! A stream begins with all sessions of this node that the other one must know of. Where it breaks it is begun
//! anew. Mail that is lost so is sent again by the mailroom. Whoever leads a shard is told of its devices when
//! that is found out; because that may have been wrong, or more waited than may, each node also says now and
//! then how its sessions tally, and whoever was told something else asks again (anti-entropy: Demers et al.,
//! *Epidemic algorithms for replicated database maintenance*, 1987).
//!
//! **Invariant:** the node that leads a shard comes to know of each session for it, sooner or later.
//! **Not here:** what follows from a notice for a shard (`courier`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fieldmesh_actors::commit::ShardId;
use fieldmesh_domain::placement::{Home, TALLIES};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use super::{
    Abroad, NodeCourier, Notice, Place,
    moves::LOOK_EVERY,
    read,
    wire::{self, FRAME_BYTES_MAX, Opening, Tally},
    write,
};
use crate::{
    mesh::{Class, FrameError, Mesh, Receiving, Sending},
    store::rows,
};

/// Notices that may wait for one node: a message has about 2 KiB.
const WAITING_MAX: usize = 4096;
/// Between two attempts to reach a node that must be told something.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How often it is asked who leads a shard of which no replica here is fed: what a device that is connected here
/// may wait longer for its mail than others.
const FIND_EVERY: Duration = Duration::from_millis(500);
/// How long it is believed that the same one leads: a replica here may have been let go meanwhile, or be fed no more, and
/// without one a change may be missed.
const BELIEVED_FOR: Duration = Duration::from_secs(5);
/// Between two tallies. Two have to differ before a node is asked to tell again, so that what is on its way,
/// and a session that is about to end, comes first.
const TALLY_EVERY: Duration = Duration::from_secs(2);

/// Something for the task that tells a node.
enum Item {
    Notice(Notice),
    /// All sessions for a shard, whoever leads it; or for every shard that the node leads, as far as is known.
    Announce(Option<ShardId>),
}

/// The queues towards all other nodes.
pub(super) struct Notices {
    mesh: Option<Arc<Mesh>>,
    queues: Mutex<BTreeMap<u64, mpsc::Sender<Item>>>,
    /// Numbers the streams that come in.
    streams: AtomicU64,
}

impl Notices {
    pub(super) fn new(mesh: Option<Arc<Mesh>>) -> Self {
        Self { mesh, queues: Mutex::default(), streams: AtomicU64::new(0) }
    }

    /// The queue towards a node, and the other end of it the first time.
    fn queue(&self, node: u64) -> (mpsc::Sender<Item>, Option<mpsc::Receiver<Item>>) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = None;
        let items = queues.entry(node).or_insert_with(|| {
            let (items, end) = mpsc::channel(WAITING_MAX);
            waiting = Some(end);
            items
        });
        (items.clone(), waiting)
    }
}

impl NodeCourier {
    fn queue(&self, node: u64) -> mpsc::Sender<Item> {
        let (items, waiting) = self.notices.queue(node);
        if let (Some(waiting), Some(me)) = (waiting, self.me.upgrade()) {
            tokio::spawn(me.tell_node(node, waiting));
        }
        items
    }

    /// Queues a notice for another node; false where too much waits.
    pub(super) fn notify(&self, node: u64, notice: Notice) -> bool {
        self.queue(node).try_send(Item::Notice(notice)).is_ok()
    }

    /// Tells whoever leads a shard of the devices that are connected here, for as long as the node runs.
    pub async fn follow(self: Arc<Self>, shard: ShardId) {
        let mut leader = None;
        loop {
            leader = self.next_leader(shard, leader).await;
            if let Some(node) = leader.filter(|node| *node != self.number) {
                // Waits for a place: this one must not be lost.
                drop(self.queue(node).send(Item::Announce(Some(shard))).await);
            }
        }
    }

    /// Tells whoever leads this region's shards of the devices that are connected here, again.
    pub async fn announce_all(&self, own: &Home) {
        let leaders: BTreeSet<u64> =
            own.groups().filter_map(|shard| self.other_leader(shard)).collect();
        for node in leaders {
            drop(self.queue(node).send(Item::Announce(None)).await);
        }
    }

    /// Ends when another node leads than `before`, or nobody. A replica here that is fed knows at once; without one,
    /// others are asked.
    async fn next_leader(&self, shard: ShardId, before: Option<u64>) -> Option<u64> {
        loop {
            let replica = self.fed(shard);
            let next = match &replica {
                Some(group) => match timeout(BELIEVED_FOR, group.next_leader(before)).await {
                    Ok(next) => next,
                    Err(_) => continue,
                },
                None => tokio::select! {
                    biased;
                    found = self.find_leader(shard) => Some(found).filter(|found| *found != before),
                    // It knows better, and sooner than whoever does not answer.
                    () = self.until_fed(shard) => continue,
                },
            };
            match next {
                Some(next) => return next,
                // Not changed; or the replica has ended, and the next look is without it.
                None => tokio::time::sleep(FIND_EVERY).await,
            }
        }
    }

    /// Ends when a replica here is fed; where none is here, not before one is.
    async fn until_fed(&self, shard: ShardId) {
        while self.fed(shard).is_none() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Sends what waits for a node, for as long as this node runs.
    async fn tell_node(self: Arc<Self>, node: u64, mut waiting: mpsc::Receiver<Item>) {
        let Some(mesh) = self.notices.mesh.clone() else { return };
        let mut next = waiting.recv().await;
        while let Some(item) = next.take() {
            if let Err(error) = self.tell_on(&mesh, node, item, &mut waiting).await {
                tracing::debug!(node, error, "notices for a node were interrupted");
            }
            tokio::time::sleep(AGAIN_AFTER).await;
            next = match self.leads(node) {
                true => Some(Item::Announce(None)),
                // It may lead without anybody here having heard of that: by tallies it finds what it was not told.
                false => timeout(BELIEVED_FOR, waiting.recv())
                    .await
                    .unwrap_or(Some(Item::Announce(None))),
            };
        }
    }

    /// Whether a node leads any shard, as far as is known here.
    fn leads(&self, node: u64) -> bool {
        self.known.own_groups().any(|shard| self.other_leader(shard) == Some(node))
    }

    async fn tell_on(
        &self,
        mesh: &Arc<Mesh>,
        node: u64,
        first: Item,
        waiting: &mut mpsc::Receiver<Item>,
    ) -> Result<(), String> {
        let failed = |error: FrameError| error.to_string();
        let opened = mesh.open(node, Class::Application).await;
        let (mut send, mut receive) = opened.map_err(|error| error.to_string())?;
        send.frame(&rows::encode(&Opening::Notices)).await.map_err(failed)?;
        self.tell_item(&mut send, node, Item::Announce(None)).await.map_err(failed)?;
        let mut next = Some(first);
        let mut tally = interval_at(Instant::now() + TALLY_EVERY, TALLY_EVERY);
        tally.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(item) = next {
            self.tell_item(&mut send, node, item).await.map_err(failed)?;
            next = loop {
                tokio::select! {
                    biased;
                    item = waiting.recv() => break item,
                    // Nothing is answered: this tells that the other side has gone.
                    ended = receive.frame(FRAME_BYTES_MAX) => {
                        return Err(ended.err().map_or("the stream ended".into(), failed));
                    }
                    _ = tally.tick(), if self.known.known().level() >= TALLIES => {
                        let Some(tallies) = self.tallies(waiting) else { continue };
                        send.frame(&rows::encode(&Notice::Tallies(tallies))).await.map_err(failed)?;
                    }
                }
            };
        }
        Ok(())
    }

    /// How the sessions here tally, for every shard of this region; none where the node was not yet told of
    /// all of them.
    fn tallies(&self, waiting: &mpsc::Receiver<Item>) -> Option<Vec<Tally>> {
        // Under the lock under which a session is noted and its notice queued.
        let sessions = read(&self.sessions);
        if !waiting.is_empty() {
            return None;
        }
        let tallies = sessions.tallies(None, |device| self.known.group_of(device));
        let of = |shard| tallies.get(&shard).copied().unwrap_or_else(|| Tally::none(shard));
        Some(self.known.own().groups().map(of).collect())
    }

    async fn tell_item(&self, send: &mut Sending, node: u64, item: Item) -> Result<(), FrameError> {
        let shard = match item {
            Item::Notice(notice) => return send.frame(&rows::encode(&notice)).await,
            Item::Announce(shard) => shard,
        };
        let mine: Vec<_> = {
            let sessions = read(&self.sessions);
            // Who leads was found out by whoever says which shard, and may look different by now.
            let is_meant = |device| {
                self.known.group_of(device).is_some_and(|of| match shard {
                    Some(shard) => shard == of,
                    None => self.other_leader(of) == Some(node),
                })
            };
            let mine = sessions.here().filter(|(device, _)| is_meant(*device));
            mine.map(|(device, session)| session.told(device)).collect()
        };
        for told in mine {
            send.frame(&rows::encode(&told)).await?;
        }
        Ok(())
    }

    /// Takes notices from another node until their stream ends.
    ///
    /// # Errors
    /// A stream that does not hold notices.
    pub async fn listen(&self, from: u64, receive: &mut Receiving) -> Result<(), String> {
        let stream = self.notices.streams.fetch_add(1, Ordering::Relaxed);
        let ended = self.take_notices(from, stream, receive).await;
        // The shards are told under the lock, so that they hear of sessions in their order.
        let mut sessions = write(&self.sessions);
        for device in sessions.forget(stream) {
            if let Some(shard) = self.shard_of(device) {
                shard.detached(device);
            }
        }
        ended
    }

    async fn take_notices(
        &self,
        node: u64,
        stream: u64,
        receive: &mut Receiving,
    ) -> Result<(), String> {
        let mut doubted = BTreeSet::new();
        loop {
            let frame = receive.frame(FRAME_BYTES_MAX).await.map_err(|error| error.to_string())?;
            let Some(frame) = frame else { return Ok(()) };
            match wire::decode(&frame).map_err(|error| error.to_string())? {
                Notice::Tallies(tallies) => doubted = self.compare(node, &tallies, &doubted),
                notice => self.take_notice(node, stream, notice),
            }
        }
    }

    /// Compares what a node has of the devices of the shards that are led here with what it said of them;
    /// returns those that differ for the first time. Those that differ again it is to tell again.
    fn compare(
        &self,
        node: u64,
        tallies: &[Tally],
        doubted: &BTreeSet<ShardId>,
    ) -> BTreeSet<ShardId> {
        // What a node says of itself comes by this stream alone, so that nothing of it changes meanwhile.
        let unlike =
            read(&self.sessions).unlike(node, tallies, |device| self.known.group_of(device));
        let led = unlike.into_iter().filter(|shard| self.shard(*shard).is_some());
        let (again, first): (BTreeSet<_>, BTreeSet<_>) =
            led.partition(|shard| doubted.contains(shard));
        if again.is_empty() {
            return first;
        }
        let is_meant = |device| self.known.group_of(device).is_some_and(|of| again.contains(&of));
        let mut sessions = write(&self.sessions);
        for device in sessions.disbelieve(node, is_meant) {
            if let Some(shard) = self.shard_of(device) {
                shard.detached(device);
            }
        }
        drop(sessions);
        metrics::counter!("fieldmesh_sessions_retold_total").increment(again.len() as u64);
        tracing::warn!(node, shards = ?again, "a node has other devices than it said: it is to say again");
        self.notify(node, Notice::Again(again.into_iter().collect()));
        first
    }

    fn take_notice(&self, node: u64, stream: u64, notice: Notice) {
        match notice {
            Notice::Attached { device, session, understands } => {
                let understands = understands.unwrap_or(0);
                let abroad = Abroad { node, session, stream, understands };
                self.attached(device, Place::There(abroad));
            }
            Notice::Detached { device, session } => {
                self.detached(device, Some(node), session);
            }
            Notice::Acknowledged { device, message_ids } => {
                if let Some(shard) = self.shard_of(device) {
                    let ids = message_ids.into_iter().map(Into::into).collect();
                    shard.acknowledged(device, ids);
                }
            }
            Notice::Mail(post) => {
                let device = post.to;
                // Under the lock: a session that begins now is told behind this.
                let sessions = read(&self.sessions);
                match sessions.place(device) {
                    // What does not fit is sent again by the mailroom.
                    Some(Place::Here(session)) => drop(session.mail.try_send(post.into())),
                    _ => drop(self.notify(node, Notice::Absent(device))),
                }
            }
            Notice::Replaced { device, session } => {
                self.detached(device, None, session);
            }
            Notice::Again(shards) => {
                // What does not fit is asked for by what tallies next.
                for shard in shards.into_iter().filter(|shard| self.known.is_own(*shard)) {
                    drop(self.queue(node).try_send(Item::Announce(Some(shard))));
                }
            }
            // Compared by whoever reads the stream.
            Notice::Tallies(_) => {}
            Notice::Absent(device) => {
                let mut sessions = write(&self.sessions);
                if sessions.absent(device, node)
                    && let Some(shard) = self.shard_of(device)
                {
                    shard.detached(device);
                }
            }
        }
    }
}
