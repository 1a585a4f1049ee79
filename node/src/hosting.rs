//! The groups that run on this node: those that the placement group puts here, started and ended as
//! that changes.
//!
//! The placement group runs on every node and is started first, because it says where the others live. Of
//! other regions' groups, which are here where their policy says so, this node has no keys: they have no
//! journal and no shard here.
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
    queues::Queue,
    seams::{Clock, Entropy, Guide, JournalError},
};
use fieldmesh_domain::{
    EntityId, EntityKind, IndexRow,
    effect::RowKey,
    placement::{PLACEMENT, Policy, Presence},
    time::Millis,
};
use futures_util::future::join_all;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{
    agreement::Agreement,
    auditor::{self, AuditorOptions, Audits},
    chaos::ActorFaults,
    cluster::Cluster,
    consensus::{
        group::{Group, GroupOptions},
        left,
        machine::{Observer, RowObserver},
        service::Members,
    },
    courier::{
        NodeCourier,
        wire::{Audited, Opened, OpenedWanted, WANTED_MAX, Wanted},
    },
    documents::Documents,
    guide::history::History,
    journal::{JournalOptions, ShardJournal, faulty::FaultyJournal},
    leading::{self, Failing},
    mesh::Mesh,
    node::{NodeError, Timing},
    open::OpenTickets,
    replicas,
    service::Service,
    slots,
    steps::Steps,
    store::{
        Batch, Engine, StoreError, Table,
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
    pub(crate) snapshot_every: u64,
    pub(crate) awake_max: usize,
    pub(crate) service: Arc<Service>,
    pub(crate) courier: Arc<NodeCourier>,
    pub(crate) steps: Steps,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) known: Arc<Cluster>,
    pub(crate) documents: Arc<Documents>,
    pub(crate) agreement: Arc<Agreement>,
    pub(crate) actor_faults: Arc<ActorFaults>,
    pub(crate) guide: Arc<dyn Guide>,
    pub(crate) history: Arc<History>,
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
    audits: Arc<Audits>,
}

struct Running {
    group: Group,
    /// Of what is served here.
    journal: Option<ShardJournal>,
    open: Arc<OpenTickets>,
    tasks: Vec<JoinHandle<()>>,
}

impl Hosting {
    /// Starts what belongs here by now.
    pub(crate) async fn start(options: HostingOptions) -> Result<Arc<Self>, NodeError> {
        let hosting =
            Arc::new(Self { options, running: RwLock::default(), audits: Arc::default() });
        // By what was told when this node joined, then by what is stored: nobody votes for a stranger.
        hosting.know_members();
        hosting.start_group(PLACEMENT).await?;
        hosting.know_members();
        let wanted = hosting.wanted();
        for shard in &wanted | &hosting.not_let_go()? {
            match hosting.start_group(shard).await {
                // Nobody waits for what is to be taken away anyway.
                Err(error) if !wanted.contains(&shard) => {
                    tracing::error!(shard, %error, "what is left of a group here cannot be started");
                }
                started => started?,
            }
        }
        Ok(hosting)
    }

    /// What is on disk, also where it is to live elsewhere by now: it goes on here until this node is let go, for
    /// nobody else may have it yet. Who was removed has nothing to go on with.
    fn not_let_go(&self) -> Result<BTreeSet<ShardId>, NodeError> {
        if self.is_gone() {
            return Ok(BTreeSet::new());
        }
        let held = self.held().map_err(NodeError::Log)?;
        Ok(held.into_iter().filter(|shard| *shard != PLACEMENT).collect())
    }

    /// The groups of which there is a log here, also where they do not run: whoever votes in one is among those.
    pub(crate) fn held(&self) -> Result<Vec<ShardId>, StoreError> {
        left::begun(&*self.options.log)
    }

    fn is_gone(&self) -> bool {
        let HostingOptions { known, number, .. } = &self.options;
        known.presence(*number) == Some(Presence::Gone)
    }

    fn know_members(&self) {
        if let Some(mesh) = &self.options.mesh {
            // First: whose connection is ended by the other dials again, and is told why.
            mesh.set_gone(self.options.known.gone());
            mesh.set_members(&self.options.known.peers());
        }
    }

    /// Where the placement group says nothing yet, it is the first node's to have all groups. The region's authority
    /// is on every node that was not removed: one that is away, or is leaving, runs too, and no node does without it.
    fn wanted(&self) -> BTreeSet<ShardId> {
        let HostingOptions { known, number, .. } = &self.options;
        let begun = known.own_groups().filter(|shard| self.begins(*shard));
        let authority = (!self.is_gone()).then(|| known.own().authority());
        let all = known.placed_on(*number).into_iter().chain(begun).chain(authority);
        all.filter(|shard| *shard != PLACEMENT).collect()
    }

    /// Whether a group begins on this node: a region's groups on its first one, the placement group on
    /// that of the first region. Not one that somebody else votes in already: a region may have begun again.
    fn begins(&self, shard: ShardId) -> bool {
        let HostingOptions { known, is_first, number, .. } = &self.options;
        let is_of_first = shard != PLACEMENT || known.own().index == 0;
        let is_others = known.placed(shard).is_some_and(|placed| placed.voters != [*number]);
        *is_first && is_of_first && !is_others
    }

    /// How the node's disk does.
    pub(crate) fn health(&self) -> Health {
        *self.options.writer.disk().health().borrow()
    }

    pub(crate) fn audits(&self) -> &Audits {
        &self.audits
    }

    /// What the auditor found in a shard that this node leads.
    pub(crate) fn audited(&self, shard: ShardId) -> Option<Audited> {
        self.audits.audited(shard, self.options.clock.now_ms())
    }

    pub(crate) fn courier(&self) -> &Arc<NodeCourier> {
        &self.options.courier
    }

    fn with<T>(&self, look: impl FnOnce(&BTreeMap<ShardId, Running>) -> T) -> T {
        // Each change is one insertion or removal.
        look(&self.running.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn journal(&self, shard: ShardId) -> Option<ShardJournal> {
        self.with(|running| running.get(&shard).and_then(|one| one.journal.clone()))
    }

    /// Those of all groups that are served here.
    pub(crate) fn journals(&self) -> Vec<ShardJournal> {
        self.with(|running| running.values().filter_map(|one| one.journal.clone()).collect())
    }

    pub(crate) fn groups(&self) -> Vec<Group> {
        self.with(|running| running.values().map(|one| one.group.clone()).collect())
    }

    /// Looks at each group, without handles of its own.
    pub(crate) fn each_group(&self, look: impl FnMut(&Group)) {
        self.with(|running| running.values().map(|one| &one.group).for_each(look));
    }

    /// Tells as metrics how full each queue is, in the shard led here in which it is fullest, and its bound.
    pub(crate) fn measure(&self) {
        let HostingOptions { courier, awake_max, .. } = &self.options;
        let groups = self.groups();
        let led: Vec<_> = groups.iter().filter_map(|one| courier.shard(one.group)).collect();
        for queue in Queue::ALL {
            let used = led.iter().map(|shard| shard.holds(queue)).max().unwrap_or(0);
            let (name, bound) = (queue.name(), queue.bound(*awake_max));
            metrics::gauge!("fieldmesh_queue_used", "queue" => name).set(used as f64);
            metrics::gauge!("fieldmesh_queue_bound", "queue" => name).set(bound as f64);
        }
    }

    /// A page of a list from a replica here; none without one. What a slot left behind in the shard is not
    /// its own any more.
    pub(crate) fn rows(&self, wanted: &Wanted) -> Option<Result<Vec<IndexRow>, JournalError>> {
        let Wanted { shard, kind, from, limit } = *wanted;
        let journal = self.journal(shard).filter(|_| self.options.courier.has_replica(shard))?;
        let first = from.map(|id| RowKey { kind, name: id.to_bytes().to_vec() });
        let (limit, known) = (limit.min(WANTED_MAX) as usize, self.options.known.known());
        let is_own = |row: &IndexRow| known.group_of(row.id()).is_none_or(|group| group == shard);
        let mut page = journal.rows_from(kind, first.as_ref(), limit);
        let mut found = Vec::new();
        loop {
            let rows = match page {
                Ok(rows) => rows,
                Err(error) => return Some(Err(error)),
            };
            let last = rows.last().map(IndexRow::key).filter(|_| rows.len() == limit);
            found.extend(rows.into_iter().filter(is_own).take(limit - found.len()));
            let Some(last) = last.filter(|_| found.len() < limit) else { return Some(Ok(found)) };
            page = journal.rows(kind, Some(&last), limit);
        }
    }

    /// The open tickets of a shard that has a replica here, behind one; none without a replica. What a slot left behind
    /// is among them.
    pub(crate) fn open_rows(
        &self,
        shard: ShardId,
        after: Option<EntityId>,
        limit: usize,
    ) -> Option<Result<Vec<IndexRow>, JournalError>> {
        let journal = self.journal(shard).filter(|_| self.options.courier.has_replica(shard))?;
        let open = self.with(|running| Some(Arc::clone(&running.get(&shard)?.open)))?;
        Some(open.rows(&journal, after, limit))
    }

    /// What was opened lately in a shard that has a replica here; none without one.
    pub(crate) fn opened(&self, wanted: &OpenedWanted) -> Option<Vec<Opened>> {
        self.journal(wanted.shard).filter(|_| self.options.courier.has_replica(wanted.shard))?;
        let known = self.options.known.known();
        let is_of = |ticket| known.group_of(ticket) == Some(wanted.shard);
        Some(self.options.history.page(wanted, is_of))
    }

    /// Follows the placement group for as long as the node runs.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut known = self.options.known.watch();
        loop {
            self.know_members();
            let here: BTreeSet<ShardId> = self.with(|running| running.keys().copied().collect());
            for shard in self.wanted().difference(&here) {
                if let Err(error) = self.start_group(*shard).await {
                    tracing::error!(shard, ?error, "a group that belongs here does not start");
                }
            }
            for shard in here.into_iter().filter(|shard| *shard != PLACEMENT) {
                if let Some(by) = self.has_left(shard).await {
                    self.end_group(shard, by).await;
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

    /// Whether a group is neither wanted here nor has this node, by which of its entries. It may be wanted here again by
    /// the time that its leader has answered.
    async fn has_left(&self, shard: ShardId) -> Option<u64> {
        let is_wanted = || self.wanted().contains(&shard);
        if is_wanted() {
            return None;
        }
        self.options.courier.let_go(shard).await.filter(|_| !is_wanted())
    }

    /// Removes what is on disk of groups that have let this node go, maybe while it did not run.
    async fn tidy_up(&self) -> Result<(), StoreError> {
        let HostingOptions { log, .. } = &self.options;
        for shard in self.held()? {
            let is_here = self.with(|running| running.contains_key(&shard));
            if !is_here && self.has_left(shard).await.is_some() {
                self.leave(shard).await?;
            }
        }
        left::unfinished(&**log)?.into_iter().try_for_each(|shard| self.finish_leaving(shard))
    }

    /// Removes a group's log, with what was still in the queue when it ended.
    async fn leave(&self, shard: ShardId) -> Result<(), StoreError> {
        self.options.writer.write(Batch::default()).await?;
        left::leave(shard, &*self.options.log).await
    }

    /// Removes the state of a group whose log is gone.
    fn finish_leaving(&self, shard: ShardId) -> Result<(), StoreError> {
        let HostingOptions { log, engine, .. } = &self.options;
        left::finish(shard, &**engine, &**log)?;
        tracing::info!(shard, "the data of a group that has left were removed");
        Ok(())
    }

    /// Ends a group that has left by one of its entries. Where the map here is an old one, it may have let this node in
    /// again since its leader answered, and counted on what is here: then that stays, and nothing is lost but a moment.
    async fn end_group(&self, shard: ShardId, by: u64) {
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
        if ended.group.has_since(by, self.options.number) {
            return;
        }
        if let Err(error) = self.leave(shard).await {
            // It is found there again.
            tracing::error!(shard, %error, "the log of a group that has left is not removed");
        }
        tracing::info!(shard, "the group has left this node");
    }

    async fn start_group(&self, shard: ShardId) -> Result<(), NodeError> {
        let HostingOptions { entropy, courier, known, number, .. } = &self.options;
        if left::unfinished(&*self.options.log).map_err(NodeError::Log)?.contains(&shard) {
            self.finish_leaving(shard).map_err(NodeError::Log)?;
        }
        let mut seed = [0; 8];
        entropy.fill(&mut seed);
        let open: Arc<OpenTickets> = Arc::default();
        let group = self.group(shard, u64::from_be_bytes(seed), &open).await?;
        courier.add_group(shard, group.clone());
        let mut tasks = vec![
            tokio::spawn(replicas::tend(group.clone(), Arc::clone(courier), *number)),
            tokio::spawn(replicas::abide(group.clone())),
        ];
        let journal = known.is_own(shard).then(|| {
            let journal = self.journal_on(&group);
            tasks.push(self.serve(&group, &journal));
            let carried = slots::carry(group.clone(), Arc::clone(courier), Arc::clone(entropy));
            tasks.push(tokio::spawn(carried));
            tasks.push(self.audit(&group, &journal, &open));
            journal
        });
        let running = Running { group, journal, open, tasks };
        self.running.write().unwrap_or_else(PoisonError::into_inner).insert(shard, running);
        Ok(())
    }

    fn journal_on(&self, group: &Group) -> ShardJournal {
        let HostingOptions { clock, entropy, known, service, steps, .. } = &self.options;
        ShardJournal::new(JournalOptions {
            group: group.clone(),
            known: Arc::clone(known),
            service: Arc::clone(service),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            steps: steps.clone(),
        })
    }

    /// Audits the group's tickets whenever this node leads it.
    fn audit(
        &self,
        group: &Group,
        journal: &ShardJournal,
        open: &Arc<OpenTickets>,
    ) -> JoinHandle<()> {
        let HostingOptions { clock, courier, entropy, documents, .. } = &self.options;
        tokio::spawn(auditor::audit(AuditorOptions {
            group: group.clone(),
            journal: journal.clone(),
            courier: Arc::clone(courier),
            documents: Arc::clone(documents),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            audits: Arc::clone(&self.audits),
            open: Arc::clone(open),
        }))
    }

    /// Runs the group's shard whenever this node leads it.
    fn serve(&self, group: &Group, journal: &ShardJournal) -> JoinHandle<()> {
        let HostingOptions { clock, courier, guide, awake_max, root, fails, actor_faults, .. } =
            &self.options;
        let faults = Arc::clone(actor_faults);
        let options = ShardOptions {
            shard: group.group,
            clock: Arc::clone(clock),
            journal: Arc::new(FaultyJournal::new(journal.clone(), faults)),
            courier: Arc::clone(courier) as _,
            guide: Arc::clone(guide),
            awake_max: *awake_max,
        };
        let (group, courier, root) = (group.clone(), Arc::clone(courier), root.clone());
        tokio::spawn(leading::lead(group, options, courier, root, fails.clone()))
    }

    /// A region's groups have its distances; the placement group, and those that are voted on in several
    /// regions, have those between regions. That of a group does not change while it runs.
    fn timing(&self, shard: ShardId) -> Timing {
        let HostingOptions { timing, timing_across, known, .. } = &self.options;
        let known = known.known();
        let is_across = match known.home_of(shard) {
            Some(home) => matches!(home.policy, Policy::Region(..)),
            None => known.homes.len() > 1,
        };
        if is_across { *timing_across } else { *timing }
    }

    /// Who hears what a group applies: whom to believe, who is where, what operators wrote and agreed; and of
    /// the region's shards which tickets were opened, whoever leads them.
    fn observer(&self, shard: ShardId, open: &Arc<OpenTickets>) -> Option<Observer> {
        let (trust, known) = (Arc::clone(&self.options.trust), Arc::clone(&self.options.known));
        let all = |show: RowObserver| Some(Observer { show, kind: None, filling: None });
        if shard == PLACEMENT {
            let documents = Arc::clone(&self.options.documents);
            let agreement = Arc::clone(&self.options.agreement);
            return all(Arc::new(move |rows: &[IndexRow]| {
                trust.applied(rows);
                known.applied(rows);
                documents.applied(rows);
                agreement.applied(rows);
            }));
        }
        if shard == known.own().authority() {
            return all(Arc::new(move |rows: &[IndexRow]| trust.applied(rows)));
        }
        let (history, clock) = (Arc::clone(&self.options.history), Arc::clone(&self.options.clock));
        let (open, filling) = (Arc::clone(open), Some(open.filling()));
        let show: RowObserver = Arc::new(move |rows: &[IndexRow]| {
            open.applied(rows);
            history.applied(rows, Millis(clock.now_ms()));
        });
        known.is_own(shard).then_some(Observer { show, kind: Some(EntityKind::Ticket), filling })
    }

    async fn group(
        &self,
        shard: ShardId,
        seed: u64,
        open: &Arc<OpenTickets>,
    ) -> Result<Group, NodeError> {
        let HostingOptions { number, engine, peers, .. } = &self.options;
        let Timing { heartbeat, mut election_min, mut election_max } = self.timing(shard);
        if !self.options.known.is_own(shard) {
            // Who has no keys stands only where nobody at home did.
            (election_min, election_max) = (election_max, election_max * 2);
        }
        let options = GroupOptions {
            group: shard,
            shard,
            node: *number,
            seed,
            heartbeat,
            election_min,
            election_max,
            snapshot_every: self.options.snapshot_every,
            // Whose directory is older than what a leader heard of it is refused before it follows (`crate::starts`).
            // What a node wrote within its last second may be forgotten unheard, and so may all that one of an older
            // release wrote, which says nothing: such a follower is filled, where whoever leads would otherwise end at
            // the sight of it.
            fills_forgetful: true,
            observer: self.observer(shard, open),
            voters: self.begins(shard).then_some(*number).into_iter().collect(),
            peers: self.options.mesh.clone().map(|mesh| (mesh, Arc::clone(peers))),
        };
        let (log, writer) = (Arc::clone(&self.options.log), self.options.writer.clone());
        let on_fatal = Arc::clone(&self.options.on_fatal);
        Ok(Group::start(options, &**engine, log, writer, on_fatal).await?)
    }

    /// Gives every group that this node leads to another voter, as far as there is one that is up to
    /// date: whoever asks then waits for milliseconds and not for an election. Whom the others want to end chooses
    /// nobody.
    pub(crate) async fn hand_on(&self) {
        if self.options.mesh.as_ref().is_some_and(|mesh| mesh.is_sent_away().is_some()) {
            return;
        }
        let groups = self.groups();
        let led = groups.iter().filter(|group| group.leading().borrow().is_some());
        // All at a time: one that nobody takes does not keep the others waiting.
        let handed = join_all(
            led.map(|group| replicas::hand_on(group, &self.options.courier, self.options.number)),
        );
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
