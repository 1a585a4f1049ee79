//! One Raft group on this node: start, propose, watch leadership, stop.
//!
//! **Invariant:** [`Group::propose`] returns an outcome only after the entry is on a quorum's disk
//! and applied here. **Not here:** what to do with leadership (`node`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use fieldmesh_actors::commit::{Proposal as Content, Settle, ShardId, Verdict};
use fieldmesh_domain::mutant::{Mutant, is_planted};
use openraft::{
    Config, SnapshotPolicy,
    errors::{ClientWriteError, Fatal},
    impls::{EmptyNode, ProgressResponder},
    metrics::WaitError,
    raft::WatchChangeHandle,
};
use openraft_rt::{AsyncRuntime as _, Instant as _, watch::WatchReceiver as _};
use tokio::{
    sync::{RwLock, watch},
    time::Instant,
};

use super::{
    LogId, Outcome, Proposal, Raft, Runtime, Types,
    backlog::Backlog,
    install, left,
    log_store::{self, End, LogStore},
    machine::{Machine, Observer},
    network::Peers,
    rest::Rest,
    service::Members,
};
use crate::{
    mesh::Mesh,
    store::{
        Batch, Engine, Role, StoreError, Table,
        health::{Health, Part},
        keys::{GroupId, state},
        rows,
        writer::{LogWriter, OnFatal},
    },
};

/// Entries between snapshots, where nothing else is configured: at about 2 KiB an entry the log of a group stays
/// near 100 MiB.
pub const SNAPSHOT_EVERY: u64 = 50_000;
/// Of those, the part that stays behind a snapshot, so that a follower that was briefly away needs no snapshot.
const KEPT_PART: u64 = 10;
/// Largest log entry: a commit above it is a bug of the proposer, and is refused before the log.
pub const ENTRY_BYTES_MAX: usize = 1 << 20;

/// A replica that no leader spoke to for so long is not fed: an election takes less, and whoever leads speaks several
/// times a second.
const FED_WITHIN: Duration = Duration::from_secs(5);

/// How a group is started.
pub struct GroupOptions {
    pub group: GroupId,
    /// The shard number that outbox rows carry.
    pub shard: ShardId,
    pub node: u64,
    /// Seeds election jitter.
    pub seed: u64,
    pub heartbeat: Duration,
    pub election_min: Duration,
    pub election_max: Duration,
    /// Entries of the log between two snapshots.
    pub snapshot_every: u64,
    /// A follower whose log is shorter than what it acknowledged is filled again. Otherwise whoever leads ends at the
    /// sight of it: that is how tests see what was lost.
    pub fills_forgetful: bool,
    /// Is shown the rows that the group's entities list.
    pub observer: Option<Observer>,
    /// Who votes in a fresh group, the same on each of them; nobody where the group has begun elsewhere.
    pub voters: BTreeSet<u64>,
    /// The way to the others, and where they ask; none where there are no others.
    pub peers: Option<(Arc<Mesh>, Arc<Members>)>,
}

/// Why a group did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the storage of group {group} cannot be used")]
    Store {
        group: GroupId,
        #[source]
        source: StoreError,
    },
    #[error("group {group} cannot start: {reason}")]
    Raft { group: GroupId, reason: String },
}

/// Entries that a voter may be behind when it is asked to lead: some milliseconds of work.
pub(super) const BEHIND_MAX: u64 = 1024;

/// Why another voter was not asked to lead, or does not.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotTransferred {
    #[error("this node does not lead the group")]
    NotLeader,
    #[error("node {0} does not vote in the group")]
    NoVoter(u64),
    #[error("node {0} leads the group already")]
    Leads(u64),
    #[error("node {to} is {behind} entries behind: wait until it has caught up")]
    Behind { to: u64, behind: u64 },
    #[error("node {0} did not come to lead the group")]
    NotTaken(u64),
    #[error("the group has stopped: {0}")]
    Stopped(String),
}

/// A snapshot that is being built may be of an earlier state: another is asked for after this time, so
/// often. A large state takes some seconds.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(1);
const SNAPSHOT_TRIES: u32 = 30;

/// Why the log was not made shorter.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotCompacted {
    #[error("no snapshot was taken in time")]
    Late,
    #[error("the group has stopped: {0}")]
    Stopped(String),
}

/// Why a proposal has no outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    #[error("this node does not lead the group")]
    NotLeader { hint: Option<u64> },
    #[error("the leader changed under the proposal, which may or may not be committed")]
    Unknown,
    #[error("the entry has {bytes} bytes, at most {ENTRY_BYTES_MAX} are allowed")]
    TooLarge { bytes: usize },
    /// Nothing was written.
    #[error("the disk is full")]
    Full,
    #[error("the group has stopped: {0}")]
    Stopped(String),
}

/// How far a group's log was when this node left the group last, and the log that has to come as far again.
#[derive(Clone)]
struct Floor {
    floor: Option<LogId>,
    log: End,
}

impl Floor {
    fn is_reached(&self) -> bool {
        self.floor <= self.log.newest()
    }
}

/// A running group.
#[derive(Clone)]
pub struct Group {
    pub group: GroupId,
    pub(super) raft: Raft,
    pub(super) table: Arc<dyn Table>,
    pub(super) log: Arc<dyn Table>,
    pub(super) leading: watch::Receiver<Option<u64>>,
    health: watch::Receiver<Health>,
    floor: Floor,
    /// When it was started, or ended to lead.
    led_until: watch::Receiver<Instant>,
    on_fatal: OnFatal,
    /// Taken by who holds the group still: meanwhile nothing is proposed.
    pub(super) gate: Arc<RwLock<()>>,
    /// Whether it rests: what is done to it here wakes it.
    pub(super) rest: Arc<Rest>,
    /// Where its peers find it.
    members: Option<Arc<Members>>,
    /// End the watch on leadership, on what waits to be applied, and on the part of the disk, when the last handle goes.
    _watching: (Arc<WatchChangeHandle<Types>>, Arc<Backlog>, Arc<Part>),
}

impl Group {
    /// Opens the group's tables and starts it; a fresh group starts with this node as its voter.
    ///
    /// # Errors
    /// Damaged storage, by table and record; a group that openraft refuses.
    pub async fn start(
        options: GroupOptions,
        engine: &dyn Engine,
        log: Arc<dyn Table>,
        writer: LogWriter,
        on_fatal: OnFatal,
    ) -> Result<Self, StartError> {
        let group = options.group;
        let store = |source| StartError::Store { group, source };
        let raft_error = |error: String| StartError::Raft { group, reason: error };
        let table = engine.open(&state_table(group), Role::State).map_err(store)?;
        install::resume(group, engine, &*table).await.map_err(store)?;
        // What an earlier run of the group left in the queue is in the log before it is read.
        writer.write(Batch::default()).await.map_err(store)?;
        let part = writer.disk().part(format!("group {group}"));
        let (health, pulse) = (part.health(), part.pulse());
        let log_store = LogStore::open(group, Arc::clone(&log), writer).map_err(store)?;
        let floor = left::floor(group, &*log).map_err(store)?;
        let floor = Floor { floor, log: log_store.end() };
        let mut machine =
            Machine::open(options.shard, Arc::clone(&table), pulse.clone()).map_err(store)?;
        if let Some(observer) = options.observer.clone() {
            machine = machine.observed(observer).await.map_err(store)?;
        }
        let config = config(&options).validate().map_err(|error| raft_error(error.to_string()))?;
        let mesh = options.peers.as_ref().map(|(mesh, _)| Arc::clone(mesh));
        let peers = Peers { mesh, group, log: log_store.clone() };
        let started = Raft::new(options.node, Arc::new(config), peers, log_store, machine);
        let raft = match &options.peers {
            Some((_, members)) => {
                let beat = members.beat(options.heartbeat);
                Runtime::scope(options.seed, beat.scope(started)).await
            }
            None => Runtime::scope(options.seed, started).await,
        };
        let raft = raft.map_err(|error| raft_error(error.to_string()))?;
        // Until it is known how far its log is.
        raft.runtime_config().elect(floor.floor.is_none());
        let (leading, led_until, watching) =
            Runtime::scope(options.seed, async { watch_leading(&raft) }).await;
        let backlog = Backlog::watched_by(&part, &raft, pulse);
        let _watching = (Arc::new(watching), backlog, part);
        begin(&raft, &options, &floor).await.map_err(raft_error)?;
        Runtime::scope(options.seed, async { watch_over(group, &raft, Arc::clone(&on_fatal)) })
            .await;
        let rest = Arc::new(Rest::new(&raft, &options));
        let (gate, members) = (Arc::default(), options.peers.map(|(_, members)| members));
        if let Some(members) = &members {
            members.add(group, &raft, health.clone(), floor.floor, &rest);
        }
        tracing::info!(group, "group started");
        Ok(Self {
            group,
            raft,
            table,
            log,
            leading,
            health,
            floor,
            led_until,
            on_fatal,
            gate,
            rest,
            members,
            _watching,
        })
    }

    /// The term this node leads in, or none.
    pub fn leading(&self) -> watch::Receiver<Option<u64>> {
        self.leading.clone()
    }

    /// How the disk below does, and what the group has on it alone.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Whether anything can be written at all.
    pub fn has_room(&self) -> bool {
        *self.health.borrow() != Health::Full
    }

    /// Ends when the log here is as far as it was when this node left the group last; false where it has stopped.
    pub async fn until_whole(&self) -> bool {
        let floor = self.floor.clone();
        let wait = self.raft.wait(None);
        wait.metrics(move |_| floor.is_reached(), "what was here before").await.is_ok()
    }

    /// Whether nothing happens in the group, so that it sends and expects no heartbeats.
    pub fn is_at_rest(&self) -> bool {
        self.rest.is_at_rest()
    }

    /// Whether this node may ask for votes, which nobody may whose log is not whole.
    pub fn set_may_campaign(&self, may: bool) {
        self.raft.runtime_config().elect(may);
    }

    /// The applied state, for reads by the leader.
    pub fn table(&self) -> Arc<dyn Table> {
        Arc::clone(&self.table)
    }

    /// Commits and applies.
    ///
    /// # Errors
    /// [`ProposeError::Unknown`] says that the outcome is open: repeat only what is idempotent.
    pub async fn propose(&self, content: &Content) -> Result<Outcome, ProposeError> {
        self.submit(content).await?.await
    }

    /// Queues a proposal behind those that were queued before; what is returned ends when it is
    /// applied.
    ///
    /// # Errors
    /// Where it was not queued; its outcome then has the errors of [`Group::propose`].
    pub async fn submit(
        &self,
        content: &Content,
    ) -> Result<impl Future<Output = Result<Outcome, ProposeError>> + Send + 'static, ProposeError>
    {
        let open = self.gate.read().await;
        let proposed = self.submit_past_the_gate(content).await?;
        drop(open);
        Ok(async move { proposed.await.map(|(outcome, _)| outcome) })
    }

    /// The same for who holds the gate; with the place in the log.
    pub(super) async fn submit_past_the_gate(
        &self,
        content: &Content,
    ) -> Result<
        impl Future<Output = Result<(Outcome, LogId), ProposeError>> + Send + 'static,
        ProposeError,
    > {
        if !self.has_room() {
            return Err(ProposeError::Full);
        }
        let bytes = rows::encode(content);
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes: bytes.len() });
        }
        self.wake().await;
        let (responder, outcome) = ProgressResponder::complete_only();
        let write = self.raft.write(Proposal(Bytes::from(bytes))).responder(responder);
        write.await.map_err(|error| self.stopped(&error))?;
        let group = self.clone();
        Ok(async move {
            if is_planted(Mutant::AckBeforeQuorum) {
                let applied = Outcome::Decided(Verdict::Applied { tells: Vec::new() });
                return Ok((applied, LogId::new_term_index(0, 0)));
            }
            match outcome.await {
                Ok(Ok(response)) => Ok((response.data, response.log_id)),
                Ok(Err(ClientWriteError::ForwardToLeader(to))) => {
                    Err(ProposeError::NotLeader { hint: to.leader_id })
                }
                Ok(Err(_)) => Err(ProposeError::Unknown),
                Err(_) => Err(group.dropped()),
            }
        })
    }

    /// What rested is awake, and openraft knows that there is a quorum: without, it takes nothing.
    pub(super) async fn wake(&self) {
        if self.rest.stir() && !self.has_lease() {
            self.read_index().await;
        }
    }

    /// Whether a quorum answered this node as leader so short a time ago that it may write.
    fn has_lease(&self) -> bool {
        let lease = Duration::from_millis(self.raft.config().election_timeout_max);
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.last_quorum_acked.is_some_and(|acked| acked.elapsed() < lease / 2)
    }

    /// Why a proposal was dropped without an outcome.
    fn dropped(&self) -> ProposeError {
        match &self.raft.metrics().borrow_watched().running_state {
            Ok(()) => ProposeError::Unknown,
            Err(error) => self.stopped(error),
        }
    }

    /// A group that failed does not come back by itself: its storage is in doubt, so the process
    /// ends and recovers from the log.
    fn stopped(&self, error: &Fatal<Types>) -> ProposeError {
        if !matches!(error, Fatal::Stopped) {
            failed(self.group, &self.on_fatal, error.to_string());
        }
        ProposeError::Stopped(error.to_string())
    }

    /// Waits until everything committed before is applied here.
    ///
    /// # Errors
    /// As [`Group::propose`].
    pub async fn barrier(&self) -> Result<(), ProposeError> {
        self.propose(&Content::Settle(Settle::default())).await.map(|_| ())
    }

    /// Takes a snapshot, as happens by itself after many entries; the log is then purged up to what is kept behind it.
    ///
    /// # Errors
    /// A group that has stopped; a state that takes too long.
    pub async fn compact(&self) -> Result<(), NotCompacted> {
        let stopped = |error: &Fatal<Types>| NotCompacted::Stopped(self.stopped(error).to_string());
        let upto = self.applied();
        let trigger = self.raft.trigger();
        for _ in 0..SNAPSHOT_TRIES {
            trigger.snapshot().await.map_err(|error| stopped(&error))?;
            let taken = self.raft.wait(Some(SNAPSHOT_WITHIN));
            let taken = taken.metrics(|now| now.snapshot.map(|id| id.index) >= upto, "snapshot");
            match taken.await {
                Ok(_) => return Ok(()),
                Err(WaitError::Timeout(..)) => {}
                Err(error @ WaitError::ShuttingDown) => {
                    return Err(NotCompacted::Stopped(error.to_string()));
                }
            }
        }
        Err(NotCompacted::Late)
    }

    /// The end of the log here, committed or not.
    pub fn last(&self) -> Option<LogId> {
        self.floor.log.newest()
    }

    /// The last entry that is applied here.
    pub fn applied(&self) -> Option<u64> {
        self.raft.metrics().borrow_watched().last_applied.map(|id| id.index)
    }

    /// The last entry that is no longer in the log.
    pub fn purged(&self) -> Option<u64> {
        self.raft.metrics().borrow_watched().purged.map(|id| id.index)
    }

    /// When another leader was heard here last, since this node was started.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.members.as_ref()?.heard(self.group)
    }

    /// Whether whoever leads feeds the replica here, as far as can be told so soon: this node leads itself, or heard another
    /// leader a moment ago. Who was taken out of a group is told no more of it, not even that it was: what it knows of the
    /// group stays as it is for ever.
    pub fn is_fed(&self) -> bool {
        let led_until = *self.led_until.borrow();
        let last = self.heard().map_or(led_until, |heard| heard.max(led_until));
        last.elapsed() < FED_WITHIN || self.led().is_some()
    }

    /// Stops the group; its storage stays as it is.
    pub async fn stop(&self) {
        if let Some(members) = &self.members {
            members.remove(self.group);
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(group = self.group, %error, "the group did not stop cleanly");
        }
    }
}

/// The term that this node leads in, and when it ended to lead, or now; for as long as the handle is there.
fn watch_leading(
    raft: &Raft,
) -> (watch::Receiver<Option<u64>>, watch::Receiver<Instant>, WatchChangeHandle<Types>) {
    let (tell, leading) = watch::channel(None);
    let (ended, led_until) = watch::channel(Instant::now());
    let lost = tell.clone();
    let watching = raft.on_leader_change(
        move |leader| {
            tell.send_replace(Some(leader.term));
            async {}
        },
        move |_| {
            ended.send_replace(Instant::now());
            lost.send_replace(None);
            async {}
        },
    );
    (leading, led_until, watching)
}

/// Founds a fresh group, or stands at once where nobody else votes.
async fn begin(raft: &Raft, options: &GroupOptions, floor: &Floor) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let fresh = !raft.is_initialized().await.map_err(|error| text(&error))?;
    let is_whole = floor.is_reached();
    raft.runtime_config().elect(is_whole);
    if fresh && options.voters.is_empty() {
        tracing::info!(group = options.group, "waiting to be let into the group");
    } else if fresh {
        let voters = options.voters.iter().map(|node| (*node, EmptyNode::default()));
        let voters: BTreeMap<u64, EmptyNode> = voters.collect();
        raft.initialize(voters).await.map_err(|error| text(&error))?;
    } else if is_whole && only_voter(raft) == Some(options.node) {
        // The only voter has nobody to wait for.
        raft.trigger().elect(false).await.map_err(|error| text(&error))?;
    }
    Ok(())
}

/// Who votes where nobody else does.
fn only_voter(raft: &Raft) -> Option<u64> {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let mut voters = metrics.membership_config.membership().voter_ids();
    let first = voters.next()?;
    voters.next().is_none().then_some(first)
}

fn failed(group: GroupId, on_fatal: &OnFatal, reason: String) {
    on_fatal(&StoreError::Write { table: format!("of group {group}"), reason });
}

/// Notices a group that failed: nobody proposes to a follower, so nobody else would.
fn watch_over(group: GroupId, raft: &Raft, on_fatal: OnFatal) {
    // This one seldom changes, and ends with the group; the other says why.
    let (mut server, all) = (raft.server_metrics(), raft.metrics());
    drop(Runtime::spawn(async move {
        while server.changed().await.is_ok() {}
        let ended = all.borrow_watched().running_state.clone();
        match ended {
            Err(Fatal::Stopped) => {}
            Err(error) => failed(group, &on_fatal, error.to_string()),
            Ok(()) => failed(group, &on_fatal, "it ended without saying why".into()),
        }
    }));
}

pub(super) fn state_table(group: GroupId) -> String {
    format!("state-{group}")
}

/// Reads what is stored of a group, before anything is opened for writing.
///
/// # Errors
/// Damaged storage, by table and record.
pub fn inspect(group: GroupId, engine: &dyn Engine, log: &dyn Table) -> Result<(), StartError> {
    let store = |source| StartError::Store { group, source };
    let state = engine.inspect(&state_table(group), Role::State).map_err(store)?;
    let (applied, installed) = match state {
        Some(table) => {
            look_through(&*table).map_err(store)?;
            let found = install::foresee(group, engine, &*table).map_err(store)?;
            (found.applied.map(|id| id.index), found.installed)
        }
        None => (None, None),
    };
    log_store::check(group, log, applied, installed).map_err(store)
}

/// Reads the rows without which a shard does not start: what is to be told, what is to be waited for, and what an
/// observer is shown.
fn look_through(table: &dyn Table) -> Result<(), StoreError> {
    const PAGE: usize = 1024;
    for (mut from, until) in [state::outbox_range(), state::timer_range(), state::indexes()] {
        while let Some((mut last, _)) = table.scan(&from, &until, PAGE)?.pop() {
            last.push(0);
            from = last;
        }
    }
    Ok(())
}

fn config(options: &GroupOptions) -> Config {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: format!("group-{}", options.group),
        heartbeat_interval: millis(options.heartbeat),
        election_timeout_min: millis(options.election_min),
        election_timeout_max: millis(options.election_max),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_every),
        allow_log_reversion: Some(options.fills_forgetful),
        max_in_snapshot_log_to_keep: options.snapshot_every / KEPT_PART,
        ..Config::default()
    }
}
