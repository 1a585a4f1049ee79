//! A node: builds the parts in order, owns their order of ending.
//!
//! Everything that differs between a machine and the simulation comes in as [`NodeParts`]; from here
//! on both run the same code.
//!
//! **Invariant:** a shard's actors run only while this node leads its group, after everything
//! committed before was applied. **Not here:** files and command lines (`cli`), HTTPS (`web`).

use std::{sync::Arc, time::Duration};

use fieldmesh_actors::{
    Answer, AskError, Supervisor,
    commit::ShardId,
    seams::{Clock, Entropy, JournalError},
};
use fieldmesh_calendar::zone::Zone;
use fieldmesh_domain::{
    Command, EntityId, IndexRow, Rejection, RejectionCode,
    authority::{self, Authority, Deed, Note},
    placement::PLACEMENT,
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    absences,
    agreement::Agreement,
    audit::Audit,
    auditor::Audits,
    bucket::Rate,
    chaos::ActorFaults,
    cluster::Cluster,
    consensus::{
        group::{Group, StartError},
        rest::{self, Resting},
        service::Members,
    },
    contact,
    courier::{
        NodeCourier,
        wire::{Audited, Wanted},
    },
    departures,
    documents::Documents,
    edge::{self, Edge, EdgeOptions, Endpoint},
    guide::{NodeGuide, elsewhere, history::History, past::Past},
    hosting::{Hosting, HostingOptions},
    inspection,
    intake::Intake,
    journal::ShardJournal,
    leading::Failing,
    mesh::Mesh,
    peers::{KeyHolder, Peers},
    register::Register,
    service::{Service, ServiceError, ServiceSecrets},
    slots,
    starts::Memory,
    steps::Steps,
    store::{
        Engine, Role, StoreError, Table,
        health::{Health, Limits},
        writer::{LogWriter, OnFatal},
    },
    trust::Trust,
    unheard::Watch,
};

/// The placement group may be led in another region, which may be out of reach: so long it is waited for
/// when a node starts, which then serves by what it knew.
const PLACEMENT_PATIENCE: Duration = Duration::from_secs(10);

/// A node that has just joined believes nobody of its own region before it has the bundle.
const FIRST_PATIENCE: Duration = Duration::from_secs(60);

/// How often a node that starts looks whether it is ready.
const READY_POLL: Duration = Duration::from_millis(5);

/// How long the log's writer may take to end after its last group.
const WRITER_PATIENCE: Duration = Duration::from_secs(2);

/// Timing of the Raft groups.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub heartbeat: Duration,
    pub election_min: Duration,
    pub election_max: Duration,
}

/// Everything a node is made of.
pub struct NodeParts {
    pub cluster: String,
    /// The node's number in the cluster.
    pub number: u64,
    pub timing: Timing,
    /// Of the placement group, where it spans regions.
    pub timing_across: Timing,
    pub resting: Resting,
    /// Entries of a group's log between two snapshots.
    pub snapshot_every: u64,
    pub awake_max: usize,
    /// When the disk is not well.
    pub disk: Limits,
    pub engine: Arc<dyn Engine>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub trust: Arc<Trust>,
    /// What is known of the other nodes.
    pub known: Arc<Cluster>,
    /// The way to them; none for a node that stays alone.
    pub mesh: Option<Arc<Mesh>>,
    /// How long this node may hear nothing of its region until it takes no devices.
    pub cut_off_after: Duration,
    /// When a node of the region that does not answer is away; none for never.
    pub away_after: Option<Duration>,
    /// A technician on shift whose device is not connected counts as unreachable after this; none is never.
    pub unheard_after: Option<Duration>,
    /// Of sites whose zone nobody said; none is UTC.
    pub zone: Option<Zone>,
    /// Whether the region's groups begin here: on its first node.
    pub is_first: bool,
    /// Where devices connect.
    pub endpoint: Endpoint,
    pub device_rate: Rate,
    /// Whenever it changes, all devices are sent away.
    pub dismissed: watch::Receiver<u64>,
    /// What befalls entities on purpose.
    pub actor_faults: Arc<ActorFaults>,
    /// Of chaos, by operators.
    pub agreement: Arc<Agreement>,
    pub on_fatal: OnFatal,
    pub audit: Audit,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("the log cannot be opened")]
    Log(#[source] StoreError),
    #[error(transparent)]
    Group(#[from] StartError),
    #[error("the service's keys cannot be used")]
    Service(#[from] ServiceError),
    #[error("the authority group does not run here")]
    NoAuthority,
    #[error("the supervision tree cannot start: {0}")]
    Supervisor(String),
    #[error("shard {shard} cannot start: {reason}")]
    Shard { shard: ShardId, reason: String },
}

/// A running node.
pub struct Node {
    pub courier: Arc<NodeCourier>,
    pub service: Arc<Service>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub steps: Steps,
    pub audit: Audit,
    pub region: String,
    pub trust: Arc<Trust>,
    pub register: Register,
    /// What is known of the other nodes.
    pub known: Arc<Cluster>,
    /// What operators wrote for dispatch.
    pub documents: Arc<Documents>,
    /// What they add to commands.
    pub(crate) guide: Arc<NodeGuide>,
    /// Of chaos, by operators.
    pub agreement: Arc<Agreement>,
    /// What rules are tried on.
    pub past: Past,
    /// Of sites whose zone nobody said.
    pub zone: Zone,
    /// The node's number in the cluster.
    pub number: u64,
    /// What other nodes of the region may ask for, once it is there.
    pub key_holder: KeyHolder,
    contact: contact::Contact,
    hosting: Arc<Hosting>,
    mesh: Option<Arc<Mesh>>,
    tasks: Vec<JoinHandle<()>>,
    endpoint: Endpoint,
    failing: watch::Receiver<Option<Failing>>,
    writer_ended: oneshot::Receiver<()>,
}

impl Node {
    /// Starts everything; devices may come on return, and are taken and answered once [`Node::ready`].
    ///
    /// # Errors
    /// Damaged storage, unusable keys.
    pub async fn start(parts: NodeParts, service: ServiceSecrets) -> Result<Self, NodeError> {
        let (clock, entropy) = (Arc::clone(&parts.clock), Arc::clone(&parts.entropy));
        let service = Arc::new(Service::new(service, clock.now_ms() / 1000)?);
        let steps = Steps::new(clock.now_ms());
        let documents = Documents::new();
        let Opened { hosting, groups, history, guide, failing, watching, writer_ended } =
            Opened::open(&parts, &service, &steps, &documents).await?;
        let courier = Arc::clone(hosting.courier());
        let authority = hosting.journal(parts.known.own().authority());
        let authority = authority.ok_or(NodeError::NoAuthority)?;
        let register = Register::new(authority, Arc::clone(&courier), Arc::clone(&parts.trust));
        let intake = intake(&parts, &service, &courier, &steps, &register);
        let (contact, keeps) = contact::keep(Arc::clone(&courier), parts.cut_off_after);
        let edge = Edge::new(EdgeOptions {
            endpoint: parts.endpoint.clone(),
            intake,
            trust: Arc::clone(&parts.trust),
            cluster: parts.cluster.clone(),
            known: Arc::clone(&parts.known),
            number: parts.number,
            contact: contact.clone(),
            rate: parts.device_rate,
            dismissed: parts.dismissed.clone(),
        });
        let mut tasks = vec![tokio::spawn(edge.run()), watching, keeps];
        let key_holder = KeyHolder::default();
        if let Some(mesh) = &parts.mesh {
            let (courier, key_holder) = (Arc::clone(&courier), Arc::clone(&key_holder));
            let hosting = Arc::clone(&hosting);
            let (members, resting) = (Arc::clone(&groups), parts.resting);
            tasks.push(tokio::spawn(rest::keep(members, Arc::clone(mesh), resting)));
            let peers = Arc::new(Peers { groups, courier, key_holder, hosting });
            tasks.push(tokio::spawn(Arc::clone(mesh).run(peers)));
        }
        tasks.push(tokio::spawn(Arc::clone(&hosting).keep()));
        let follow = |shard| tokio::spawn(Arc::clone(&courier).follow(shard));
        tasks.extend(parts.known.own_groups().map(follow));
        tasks.push(tokio::spawn(slots::follow(Arc::clone(&courier))));
        tasks.extend(tend(&parts, &courier, &hosting));
        tasks.extend(parts.mesh.is_some().then(|| {
            tokio::spawn(elsewhere::follow(Arc::clone(&courier), history, Arc::clone(&clock)))
        }));
        let NodeParts { endpoint, audit, trust, known, mesh, number, agreement, .. } = parts;
        Ok(Self {
            courier,
            service,
            clock,
            entropy,
            steps,
            audit,
            region: known.own().region.to_string(),
            trust,
            register,
            known,
            documents,
            guide,
            agreement,
            past: Past::default(),
            zone: parts.zone.unwrap_or_else(Zone::utc),
            number,
            key_holder,
            contact,
            hosting,
            mesh,
            tasks,
            endpoint,
            failing,
            writer_ended,
        })
    }

    /// Ends when every shard of the region answers, the replicas here have what their leaders had, and devices are taken.
    ///
    /// # Errors
    /// Where one fails again and again, as what is stored of it cannot be read.
    pub async fn ready(&self) -> Result<(), NodeError> {
        let placement = async {
            self.until(|| self.courier.is_led(PLACEMENT)).await?;
            for group in self.groups().iter().filter(|group| group.group == PLACEMENT) {
                self.until_current(group).await;
            }
            Ok::<(), NodeError>(())
        };
        let own = self.known.own().region;
        let knows_own = self.trust.authorities().iter().any(|ca| ca.authority.region() == own);
        let patience = match knows_own || self.known.placed(PLACEMENT).is_none() {
            true => PLACEMENT_PATIENCE,
            false => FIRST_PATIENCE,
        };
        if let Ok(known) = timeout(patience, placement).await {
            known?;
        } else {
            tracing::warn!("nobody leads the placement group: this node serves by what it knew");
        }
        self.until(|| self.courier.is_complete()).await?;
        // Another region may be out of reach: what is held for it is not waited for.
        let own = |group: &&Group| group.group != PLACEMENT && self.known.is_own(group.group);
        for group in self.groups().iter().filter(own) {
            self.until_current(group).await;
        }
        let authority = self.known.own().authority();
        self.until(|| *self.contact.borrow() || !self.courier.has_replica(authority)).await
    }

    async fn until(&self, is_so: impl Fn() -> bool) -> Result<(), NodeError> {
        while !is_so() {
            if let Some(Failing { shard, reason }) = self.failing.borrow().clone() {
                return Err(NodeError::Shard { shard, reason });
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }

    async fn until_current(&self, group: &Group) {
        // One that is let go meanwhile has nothing to wait for.
        while self.courier.has_replica(group.group) && !self.courier.catch_up(group.group).await {
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// Asks an entity on behalf of an operator.
    ///
    /// # Errors
    /// The entity's refusal, or why it cannot be asked now.
    pub async fn ask(&self, entity: EntityId, command: Command) -> Result<Answer, AskError> {
        if self.known.group_of(entity).is_none() {
            let detail = format!("the cluster has no region {}", entity.region()).into();
            return Err(AskError::Rejected(Rejection { code: RejectionCode::Unknown, detail }));
        }
        self.courier.ask_anew(entity, command, &*self.entropy).await
    }

    /// The journal that holds an entity, for reading: what this node's replica has applied.
    pub fn journal_of(&self, entity: EntityId) -> Option<ShardJournal> {
        self.journal(self.known.group_of(entity)?)
    }

    /// Tells as metrics what is looked at only when somebody asks.
    pub fn measure(&self) {
        self.mesh.iter().for_each(|mesh| mesh.measure());
        self.hosting.measure();
    }

    /// A page of a list, from the replica here or another node's; none where no such node answers.
    ///
    /// # Errors
    /// A replica here that cannot be read.
    pub async fn rows(&self, wanted: Wanted) -> Result<Option<Vec<IndexRow>>, JournalError> {
        match self.hosting.rows(&wanted) {
            Some(rows) => rows.map(Some),
            None => Ok(self.courier.rows(wanted).await),
        }
    }

    /// The open tickets of a shard behind one, from the replica here; none where there is no replica.
    pub fn open_rows(
        &self,
        shard: ShardId,
        after: Option<EntityId>,
        limit: usize,
    ) -> Option<Result<Vec<IndexRow>, JournalError>> {
        self.hosting.open_rows(shard, after, limit)
    }

    /// The journal of a group.
    pub fn journal(&self, shard: ShardId) -> Option<ShardJournal> {
        self.hosting.journal(shard)
    }

    /// The journals of all groups that this node has of its region, and of the placement group.
    pub fn journals(&self) -> Vec<ShardJournal> {
        self.hosting.journals()
    }

    /// The journal of the region's authority; its group is on every node of the region.
    pub fn authority(&self) -> Option<ShardJournal> {
        self.journal(self.known.own().authority())
    }

    /// What the auditor found in the shards that this node leads.
    pub fn audits(&self) -> &Audits {
        self.hosting.audits()
    }

    /// What the auditor found in a shard, whoever leads it.
    pub async fn audited(&self, shard: ShardId) -> Option<Audited> {
        match self.hosting.audited(shard) {
            None => self.courier.audited(shard).await,
            here => here,
        }
    }

    /// How the node's disk does.
    pub fn health(&self) -> Health {
        self.hosting.health()
    }

    /// The groups that run here.
    pub fn groups(&self) -> Vec<Group> {
        self.hosting.groups()
    }

    /// Looks at each of them, where it is looked so often that handles would cost more than the look. No group
    /// starts or ends meanwhile.
    pub fn each_group(&self, look: impl FnMut(&Group)) {
        self.hosting.each_group(look);
    }

    /// Lists what an operator, or nobody in particular, did that no registration tells of.
    ///
    /// # Errors
    /// Why it is not in the ledger.
    pub async fn note(&self, by: String, deed: Deed) -> Result<(), AskError> {
        let region = self.region.parse().map_err(|_| AskError::NotLeader)?;
        let note = authority::Command::Note(Note { registration: None, by, deed });
        self.ask(EntityId::authority(region), Command::Authority(note)).await.map(|_| ())
    }

    /// The latest time that the region's authority has recorded, Unix milliseconds.
    ///
    /// # Errors
    /// Why its record cannot be read.
    pub fn authority_high_water(&self) -> Result<u64, String> {
        let region = self.region.parse().map_err(|error| format!("the region: {error}"))?;
        let journal = self.authority().ok_or("the authority group does not run here")?;
        let state: Result<Authority, _> = journal.state(EntityId::authority(region));
        state.map(|authority| authority.high_water.0).map_err(|error| error.to_string())
    }

    /// How many entities are awake.
    pub async fn awake(&self) -> usize {
        let mut awake = 0;
        for shard in self.known.own_groups().filter_map(|shard| self.courier.shard(shard)) {
            awake += shard.census().await.map_or(0, |census| census.awake);
        }
        awake
    }

    /// Ends in order: devices first, then shards, then groups.
    pub async fn stop(self) {
        // While devices are still served: who leads next answers them at once.
        self.hosting.hand_on().await;
        edge::shut(&self.endpoint);
        // Whoever starts shards again goes before the shards.
        for task in &self.tasks {
            task.abort();
        }
        self.hosting.stop().await;
        if let Some(mesh) = &self.mesh {
            mesh.part().await;
            mesh.shut();
        }
        drop(self.hosting);
        if timeout(WRITER_PATIENCE, self.writer_ended).await.is_err() {
            tracing::warn!("the log writer did not end in time");
        }
    }
}

fn intake(
    parts: &NodeParts,
    service: &Arc<Service>,
    courier: &Arc<NodeCourier>,
    steps: &Steps,
    register: &Register,
) -> Arc<Intake> {
    Arc::new(Intake {
        service: Arc::clone(service),
        courier: Arc::clone(courier),
        clock: Arc::clone(&parts.clock),
        entropy: Arc::clone(&parts.entropy),
        steps: steps.clone(),
        audit: parts.audit.clone(),
        register: register.clone(),
    })
}

/// What looks after nodes and technicians of the region that are not heard, and whether this node still belongs to it.
fn tend(
    parts: &NodeParts,
    courier: &Arc<NodeCourier>,
    hosting: &Arc<Hosting>,
) -> Vec<JoinHandle<()>> {
    let random = || Arc::clone(&parts.entropy);
    let mut tasks = vec![tokio::spawn(contact::seek(Arc::clone(courier)))];
    tasks.extend(
        parts
            .away_after
            .map(|after| tokio::spawn(absences::tend(Arc::clone(courier), random(), after))),
    );
    let known = Arc::clone(&parts.known);
    tasks.push(tokio::spawn(departures::tend(Arc::clone(courier), known, random())));
    tasks.extend(parts.unheard_after.map(|after| {
        let (courier, hosting) = (Arc::clone(courier), Arc::clone(hosting));
        let (clock, entropy) = (Arc::clone(&parts.clock), random());
        tokio::spawn(Watch { courier, hosting, clock, entropy, after }.run())
    }));
    tasks
}

/// The storage with what runs on it.
struct Opened {
    hosting: Arc<Hosting>,
    groups: Arc<Members>,
    history: Arc<History>,
    guide: Arc<NodeGuide>,
    failing: watch::Receiver<Option<Failing>>,
    watching: JoinHandle<()>,
    writer_ended: oneshot::Receiver<()>,
}

impl Opened {
    async fn open(
        parts: &NodeParts,
        service: &Arc<Service>,
        steps: &Steps,
        documents: &Arc<Documents>,
    ) -> Result<Self, NodeError> {
        let engine = Arc::clone(&parts.engine);
        inspection::inspect(&*engine, &parts.known)?;
        let is_roomy = engine.room().is_none_or(|room| room >= parts.disk.room_min);
        engine.keep_reserve(is_roomy);
        let log = engine.open("log", Role::Log).map_err(NodeError::Log)?;
        let on_fatal = Arc::clone(&parts.on_fatal);
        let writer = LogWriter::new(Arc::clone(&log), Arc::clone(&engine), on_fatal);
        let (writer, task) = writer.map_err(NodeError::Log)?;
        let writer_ended = engine.spawn_writer(Box::pin(task));
        let watching = Arc::clone(writer.disk()).run(Arc::clone(&engine), parts.disk);
        let watching = tokio::spawn(watching);
        let mesh = parts.mesh.clone();
        let courier = NodeCourier::new(parts.number, mesh, Arc::clone(&parts.known));
        let root =
            Supervisor::start().await.map_err(|error| NodeError::Supervisor(error.to_string()))?;
        let (fails, failing) = watch::channel(None);
        let mut seed = [0; 8];
        parts.entropy.fill(&mut seed);
        let groups = Members::new(Arc::clone(&engine), u64::from_be_bytes(seed));
        let history = Arc::new(History::new(service.region_key()));
        let guide = Arc::new(NodeGuide::new(
            Arc::clone(documents),
            Arc::clone(&parts.known),
            parts.zone.clone().unwrap_or_else(Zone::utc),
            Arc::clone(&history),
            Arc::clone(&courier),
        ));
        remember(parts, &*log, &writer).await.map_err(NodeError::Log)?;
        let hosting = Hosting::start(HostingOptions {
            log,
            writer,
            engine,
            number: parts.number,
            timing: parts.timing,
            timing_across: parts.timing_across,
            snapshot_every: parts.snapshot_every,
            awake_max: parts.awake_max,
            service: Arc::clone(service),
            courier,
            steps: steps.clone(),
            clock: Arc::clone(&parts.clock),
            entropy: Arc::clone(&parts.entropy),
            trust: Arc::clone(&parts.trust),
            known: Arc::clone(&parts.known),
            documents: Arc::clone(documents),
            agreement: Arc::clone(&parts.agreement),
            actor_faults: Arc::clone(&parts.actor_faults),
            guide: Arc::<NodeGuide>::clone(&guide),
            history: Arc::clone(&history),
            mesh: parts.mesh.clone(),
            peers: Arc::clone(&groups),
            is_first: parts.is_first,
            on_fatal: Arc::clone(&parts.on_fatal),
            root,
            fails,
        });
        // What the mesh remembers of starts holds the log's writer.
        let hosting =
            hosting.await.inspect_err(|_| parts.mesh.iter().for_each(|mesh| mesh.shut()))?;
        Ok(Self { hosting, groups, history, guide, failing, watching, writer_ended })
    }
}

/// Writes this start down, before it is told to anybody.
async fn remember(
    parts: &NodeParts,
    log: &dyn Table,
    writer: &LogWriter,
) -> Result<(), StoreError> {
    if let Some(mesh) = &parts.mesh {
        mesh.remember(Memory::begin(log, writer.clone(), &*parts.entropy).await?);
    }
    Ok(())
}
