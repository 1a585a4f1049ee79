//! The groups that run on this node: those that the placement group puts here, started and ended as
//! that changes.
//!
//! The placement group runs on every node and is started first, because it says where the others live.
//!
//! **Invariant:** a group that is taken from this node ends only when its leader says that this node is let
//! go, and so do its data on disk, but for its vote. **Not here:** who is wanted where
//! (`domain::placement`), changing a group (`replicas`), shards (`leading`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use fieldmesh_actors::{
    ShardOptions, Supervisor,
    commit::ShardId,
    seams::{Clock, Entropy, JournalError},
};
use fieldmesh_domain::{IndexRow, effect::RowKey, placement::PLACEMENT};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{
    cluster::Cluster,
    consensus::{
        group::{Group, GroupOptions},
        left,
        machine::RowObserver,
        service::Members,
    },
    courier::{
        NodeCourier,
        wire::{WANTED_MAX, Wanted},
    },
    journal::{JournalOptions, ShardJournal},
    leading::{self, Failing},
    mesh::Mesh,
    node::{NodeError, Timing},
    replicas,
    service::Service,
    steps::Steps,
    store::{
        Engine, StoreError, Table,
        health::Health,
        writer::{LogWriter, OnFatal},
    },
    trust::Trust,
};

/// How often it is tried again to start a group that could not be started, or to end one that is still
/// in use.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// A group is handed on in milliseconds; what takes longer is left to an election.
const HANDED_ON_WITHIN: Duration = Duration::from_secs(3);

/// What the groups of a node share.
pub(crate) struct HostingOptions {
    pub(crate) log: Arc<dyn Table>,
    pub(crate) writer: LogWriter,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) number: u64,
    pub(crate) timing: Timing,
    pub(crate) timing_across: Timing,
    pub(crate) awake_max: usize,
    pub(crate) service: Arc<Service>,
    pub(crate) courier: Arc<NodeCourier>,
    pub(crate) steps: Steps,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) known: Arc<Cluster>,
    pub(crate) mesh: Option<Arc<Mesh>>,
    pub(crate) peers: Arc<Members>,
    pub(crate) is_first: bool,
    pub(crate) on_fatal: OnFatal,
    pub(crate) root: Supervisor,
    pub(crate) fails: watch::Sender<Option<Failing>>,
}

/// The groups of a node.
pub(crate) struct Hosting {
    options: HostingOptions,
    running: RwLock<BTreeMap<ShardId, Running>>,
}

struct Running {
    group: Group,
    journal: ShardJournal,
    tasks: Vec<JoinHandle<()>>,
}

impl Hosting {
    /// Starts what belongs here by now.
    pub(crate) async fn start(options: HostingOptions) -> Result<Arc<Self>, NodeError> {
        let hosting = Arc::new(Self { options, running: RwLock::default() });
        // By what was told when this node joined, then by what is stored: nobody votes for a stranger.
        hosting.know_members();
        hosting.start_group(PLACEMENT).await?;
        hosting.know_members();
        for shard in hosting.wanted() {
            hosting.start_group(shard).await?;
        }
        Ok(hosting)
    }

    fn know_members(&self) {
        if let Some(mesh) = &self.options.mesh {
            mesh.set_members(&self.options.known.peers());
        }
    }

    /// Where the placement group says nothing yet, it is the first node's to have all groups.
    fn wanted(&self) -> BTreeSet<ShardId> {
        let HostingOptions { known, number, .. } = &self.options;
        let is_placed = |shard: &ShardId| match known.placed(*shard) {
            Some(placed) => placed.voters.contains(number) || placed.learners.contains(number),
            None => self.begins(*shard),
        };
        known.own_groups().filter(|shard| *shard != PLACEMENT).filter(is_placed).collect()
    }

    /// Whether a group begins on this node: a region's groups on its first one, the placement group on
    /// that of the first region.
    fn begins(&self, shard: ShardId) -> bool {
        let HostingOptions { known, is_first, .. } = &self.options;
        *is_first && (shard != PLACEMENT || known.own().index == 0)
    }

    /// How the node's disk does.
    pub(crate) fn health(&self) -> Health {
        *self.options.writer.disk().health().borrow()
    }

    pub(crate) fn courier(&self) -> &Arc<NodeCourier> {
        &self.options.courier
    }

    fn with<T>(&self, look: impl FnOnce(&BTreeMap<ShardId, Running>) -> T) -> T {
        // Each change is one insertion or removal.
        look(&self.running.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn journal(&self, shard: ShardId) -> Option<ShardJournal> {
        self.with(|running| running.get(&shard).map(|one| one.journal.clone()))
    }

    pub(crate) fn journals(&self) -> Vec<ShardJournal> {
        self.with(|running| running.values().map(|one| one.journal.clone()).collect())
    }

    pub(crate) fn groups(&self) -> Vec<Group> {
        self.with(|running| running.values().map(|one| one.group.clone()).collect())
    }

    /// A page of a list from a replica here; none without one.
    pub(crate) fn rows(&self, wanted: &Wanted) -> Option<Result<Vec<IndexRow>, JournalError>> {
        let Wanted { shard, kind, from, limit } = *wanted;
        let from = from.map(|id| RowKey { kind, name: id.to_bytes().to_vec() });
        let journal = self.journal(shard).filter(|_| self.options.courier.has_replica(shard))?;
        Some(journal.rows_from(kind, from.as_ref(), limit.min(WANTED_MAX) as usize))
    }

    /// Follows the placement group for as long as the node runs.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut known = self.options.known.watch();
        loop {
            self.know_members();
            let here: BTreeSet<ShardId> = self.with(|running| running.keys().copied().collect());
            for shard in self.wanted().difference(&here) {
                if let Err(error) = self.start_group(*shard).await {
                    tracing::error!(shard, %error, "a group that belongs here does not start");
                }
            }
            let wanted = self.wanted();
            for shard in here.into_iter().filter(|shard| *shard != PLACEMENT) {
                if !wanted.contains(&shard) && self.options.courier.is_let_go(shard).await {
                    self.end_group(shard).await;
                }
            }
            if let Err(error) = self.tidy_up().await {
                tracing::error!(%error, "the data of groups that have left are not removed");
            }
            tokio::select! {
                changed = known.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY_EVERY) => {}
            }
        }
    }

    /// Removes what is on disk of groups that have let this node go, maybe while it did not run.
    async fn tidy_up(&self) -> Result<(), StoreError> {
        let HostingOptions { log, courier, .. } = &self.options;
        let wanted = self.wanted();
        for shard in left::begun(&**log)? {
            let is_here = self.with(|running| running.contains_key(&shard));
            if !is_here && !wanted.contains(&shard) && courier.is_let_go(shard).await {
                left::leave(shard, &**log).await?;
            }
        }
        left::unfinished(&**log)?.into_iter().try_for_each(|shard| self.finish_leaving(shard))
    }

    /// Removes the state of a group whose log is gone.
    fn finish_leaving(&self, shard: ShardId) -> Result<(), StoreError> {
        let HostingOptions { log, engine, .. } = &self.options;
        left::finish(shard, &**engine, &**log)?;
        tracing::info!(shard, "the data of a group that has left were removed");
        Ok(())
    }

    async fn end_group(&self, shard: ShardId) {
        let ended = self.running.write().unwrap_or_else(PoisonError::into_inner).remove(&shard);
        let Some(ended) = ended else { return };
        for task in &ended.tasks {
            task.abort();
        }
        if let Some(handle) = self.options.courier.close_shard(shard) {
            handle.stop().await;
        }
        self.options.courier.remove_group(shard);
        ended.group.stop().await;
        if let Err(error) = left::leave(shard, &*self.options.log).await {
            // It is found there again.
            tracing::error!(shard, %error, "the log of a group that has left is not removed");
        }
        tracing::info!(shard, "the group has left this node");
    }

    async fn start_group(&self, shard: ShardId) -> Result<(), NodeError> {
        let HostingOptions { clock, entropy, courier, known, number, .. } = &self.options;
        if left::unfinished(&*self.options.log).map_err(NodeError::Log)?.contains(&shard) {
            self.finish_leaving(shard).map_err(NodeError::Log)?;
        }
        let mut seed = [0; 8];
        entropy.fill(&mut seed);
        let group = self.group(shard, u64::from_be_bytes(seed)).await?;
        courier.add_group(shard, group.clone());
        let journal = ShardJournal::new(JournalOptions {
            group: group.clone(),
            known: Arc::clone(known),
            service: Arc::clone(&self.options.service),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            steps: self.options.steps.clone(),
        });
        let options = ShardOptions {
            shard,
            clock: Arc::clone(clock),
            journal: Arc::new(journal.clone()),
            courier: Arc::clone(courier) as _,
            awake_max: self.options.awake_max,
        };
        let (root, fails) = (self.options.root.clone(), self.options.fails.clone());
        let leads = leading::lead(group.clone(), options, Arc::clone(courier), root, fails);
        let tasks = vec![
            tokio::spawn(leads),
            tokio::spawn(replicas::tend(group.clone(), Arc::clone(courier), *number)),
            tokio::spawn(replicas::abide(group.clone())),
        ];
        let running = Running { group, journal, tasks };
        self.running.write().unwrap_or_else(PoisonError::into_inner).insert(shard, running);
        Ok(())
    }

    /// A region's groups have its distances, the placement group may have those between regions. That of
    /// a group does not change while it runs.
    fn timing(&self, shard: ShardId) -> Timing {
        let HostingOptions { timing, timing_across, known, .. } = &self.options;
        let is_across = shard == PLACEMENT && known.known().homes.len() > 1;
        if is_across { *timing_across } else { *timing }
    }

    /// Who hears what a group applies: whom to believe, and who is where.
    fn observer(&self, shard: ShardId) -> Option<RowObserver> {
        let (trust, known) = (Arc::clone(&self.options.trust), Arc::clone(&self.options.known));
        if shard == PLACEMENT {
            return Some(Arc::new(move |rows: &[IndexRow]| {
                trust.applied(rows);
                known.applied(rows);
            }));
        }
        let is_own_authority = shard == known.own().authority();
        is_own_authority
            .then(|| Arc::new(move |rows: &[IndexRow]| trust.applied(rows)) as RowObserver)
    }

    async fn group(&self, shard: ShardId, seed: u64) -> Result<Group, NodeError> {
        let HostingOptions { number, engine, peers, .. } = &self.options;
        let Timing { heartbeat, election_min, election_max } = self.timing(shard);
        let options = GroupOptions {
            group: shard,
            shard,
            node: *number,
            seed,
            heartbeat,
            election_min,
            election_max,
            observer: self.observer(shard),
            voters: self.begins(shard).then_some(*number).into_iter().collect(),
            peers: self.options.mesh.clone().map(|mesh| (mesh, Arc::clone(peers))),
        };
        let (log, writer) = (Arc::clone(&self.options.log), self.options.writer.clone());
        let on_fatal = Arc::clone(&self.options.on_fatal);
        Ok(Group::start(options, &**engine, log, writer, on_fatal).await?)
    }

    /// Gives every group that this node leads to another voter, as far as there is one that is up to
    /// date: whoever asks then waits for milliseconds and not for an election.
    pub(crate) async fn hand_on(&self) {
        let handed = async {
            for group in self.groups().iter().filter(|group| group.leading().borrow().is_some()) {
                replicas::hand_on(group, &self.options.courier, self.options.number).await;
            }
        };
        if timeout(HANDED_ON_WITHIN, handed).await.is_err() {
            tracing::warn!("not every group was handed on in time: those are elected anew");
        }
    }

    /// Ends shards, then groups.
    pub(crate) async fn stop(&self) {
        let HostingOptions { courier, root, .. } = &self.options;
        let running =
            std::mem::take(&mut *self.running.write().unwrap_or_else(PoisonError::into_inner));
        // Whoever starts shards again goes before the shards.
        for task in running.values().flat_map(|one| &one.tasks) {
            task.abort();
        }
        for shard in running.keys() {
            if let Some(handle) = courier.close_shard(*shard) {
                handle.stop().await;
            }
        }
        for one in running.values() {
            one.group.stop().await;
        }
        root.stop();
    }
}
