//! A node: builds the parts in order, owns their order of ending.
//!
//! Everything that differs between a machine and the simulation comes in as [`NodeParts`]; from here
//! on both run the same code.
//!
//! **Invariant:** a shard's actors run only while this node leads its group, after everything
//! committed before was applied. **Not here:** files and command lines (`cli`), HTTPS (`web`).

use std::{sync::Arc, time::Duration};

use fieldmesh_actors::{
    Answer, AskError, ShardOptions, Supervisor,
    commit::{Cause, ShardId},
    seams::{Clock, Entropy},
};
use fieldmesh_domain::{
    Command, EntityId, IndexRow,
    authority::{self, Authority, Deed, Note},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::{
    audit::Audit,
    bucket::Rate,
    consensus::{
        group::{self, Group, GroupOptions, StartError},
        machine::RowObserver,
    },
    courier::NodeCourier,
    edge::{self, Edge, EdgeOptions, Endpoint},
    intake::Intake,
    journal::{JournalOptions, ShardJournal},
    leading::{self, Failing},
    placement::{AUTHORITY, PLACEMENT, ShardMap},
    register::Register,
    service::{Service, ServiceError, ServiceSecrets},
    steps::Steps,
    store::{
        Engine, Role, StoreError, Table,
        writer::{self, LogWriter, OnFatal},
    },
    trust::Trust,
};

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
    pub region: String,
    /// The node's number in the cluster.
    pub number: u64,
    pub map: ShardMap,
    pub timing: Timing,
    pub awake_max: usize,
    pub engine: Arc<dyn Engine>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub trust: Arc<Trust>,
    /// Where devices connect.
    pub endpoint: Endpoint,
    pub device_rate: Rate,
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
    /// The node's number in the cluster.
    pub number: u64,
    journals: Vec<(ShardId, ShardJournal)>,
    groups: Vec<Group>,
    tasks: Vec<JoinHandle<()>>,
    endpoint: Endpoint,
    root: Supervisor,
    failing: watch::Receiver<Option<Failing>>,
    writer_ended: oneshot::Receiver<()>,
}

impl Node {
    /// Starts everything; devices may connect on return, and are answered once [`Node::ready`].
    ///
    /// # Errors
    /// Damaged storage, unusable keys.
    pub async fn start(parts: NodeParts, service: ServiceSecrets) -> Result<Self, NodeError> {
        let (clock, entropy, engine) =
            (Arc::clone(&parts.clock), Arc::clone(&parts.entropy), Arc::clone(&parts.engine));
        let (map, on_fatal) = (parts.map, Arc::clone(&parts.on_fatal));
        inspect(&*engine, map)?;
        let log = engine.open("log", Role::Log).map_err(NodeError::Log)?;
        let writer = LogWriter::new(Arc::clone(&log), Arc::clone(&engine), on_fatal);
        let (writer, task) = writer.map_err(NodeError::Log)?;
        let writer_ended = engine.spawn_writer(Box::pin(task));
        let steps = Steps::new(clock.now_ms());
        let service = Arc::new(Service::new(service, clock.now_ms() / 1000)?);
        let courier = Arc::new(NodeCourier::new(map));
        let root =
            Supervisor::start().await.map_err(|error| NodeError::Supervisor(error.to_string()))?;
        let (fails, failing) = watch::channel(None);
        let shared = Shared { log, writer, engine, map, service, courier, steps, root, fails };
        let mut running = Vec::new();
        for shard in map.shards() {
            running.push(shared.start_shard(shard, &parts).await?);
        }
        // What is left of `shared` goes now: the writer ends with the last group.
        let Shared { service, courier, steps, root, .. } = shared;
        let (mut groups, mut journals, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        for (shard, group, journal, task) in running {
            groups.push(group);
            journals.push((shard, journal));
            tasks.push(task);
        }
        let authority = journals.iter().find(|(shard, _)| *shard == AUTHORITY);
        let (_, authority) = authority.ok_or(NodeError::NoAuthority)?;
        let register = Register::new(authority.clone(), Arc::clone(&parts.trust));
        let intake = Arc::new(Intake {
            service: Arc::clone(&service),
            courier: Arc::clone(&courier),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            steps: steps.clone(),
            audit: parts.audit.clone(),
            register: register.clone(),
        });
        let edge = Edge::new(EdgeOptions {
            endpoint: parts.endpoint.clone(),
            intake,
            trust: Arc::clone(&parts.trust),
            cluster: parts.cluster,
            region: parts.region.clone(),
            rate: parts.device_rate,
        });
        tasks.push(tokio::spawn(edge.run()));
        let NodeParts { endpoint, region, audit, trust, .. } = parts;
        Ok(Self {
            courier,
            service,
            clock,
            entropy,
            steps,
            audit,
            region,
            trust,
            register,
            number: parts.number,
            journals,
            groups,
            tasks,
            endpoint,
            root,
            failing,
            writer_ended,
        })
    }

    /// Ends when every shard answers.
    ///
    /// # Errors
    /// Where one fails again and again, as what is stored of it cannot be read.
    pub async fn ready(&self) -> Result<(), NodeError> {
        const POLL: Duration = Duration::from_millis(5);
        while !self.courier.is_complete() {
            if let Some(Failing { shard, reason }) = self.failing.borrow().clone() {
                return Err(NodeError::Shard { shard, reason });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Asks an entity on behalf of an operator.
    ///
    /// # Errors
    /// The entity's refusal, or why it cannot be asked now.
    pub async fn ask(&self, entity: EntityId, command: Command) -> Result<Answer, AskError> {
        let shard = self.courier.shard_for(entity).ok_or(AskError::NotLeader)?;
        let mut command_id = [0; 16];
        self.entropy.fill(&mut command_id);
        let credit = shard.credits.try_take().ok_or(AskError::Busy {
            retry_after_ms: fieldmesh_actors::admission::RETRY_AFTER_MS,
        })?;
        shard.ask(entity, command, Cause::Operator { command_id }, Some(credit)).await
    }

    /// The journal that holds an entity, for reading.
    pub fn journal_of(&self, entity: EntityId) -> Option<&ShardJournal> {
        self.journal(self.courier.map().shard_of(entity))
    }

    /// The journal of a group.
    pub fn journal(&self, shard: ShardId) -> Option<&ShardJournal> {
        self.journals.iter().find(|(own, _)| *own == shard).map(|(_, journal)| journal)
    }

    pub fn journals(&self) -> impl Iterator<Item = &ShardJournal> {
        self.journals.iter().map(|(_, journal)| journal)
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
        let journal = self.journal(AUTHORITY).ok_or("the authority group does not run here")?;
        let state: Result<Authority, _> = journal.state(EntityId::authority(region));
        state.map(|authority| authority.high_water.0).map_err(|error| error.to_string())
    }

    /// How many entities are awake.
    pub async fn awake(&self) -> usize {
        let mut awake = 0;
        for shard in self.courier.map().shards().filter_map(|shard| self.courier.shard(shard)) {
            awake += shard.census().await.map_or(0, |census| census.awake);
        }
        awake
    }

    /// Ends in order: devices first, then shards, then groups.
    pub async fn stop(self) {
        edge::shut(&self.endpoint);
        // Whoever starts shards again goes before the shards.
        for task in &self.tasks {
            task.abort();
        }
        for shard in self.courier.map().shards() {
            if let Some(handle) = self.courier.close_shard(shard) {
                handle.stop().await;
            }
        }
        for group in &self.groups {
            group.stop().await;
        }
        self.root.stop();
        if tokio::time::timeout(WRITER_PATIENCE, self.writer_ended).await.is_err() {
            tracing::warn!("the log writer did not end in time");
        }
    }
}

/// Reads all that is stored before anything is opened for writing, so that a start that is refused
/// leaves it as it was.
fn inspect(engine: &dyn Engine, map: ShardMap) -> Result<(), NodeError> {
    let log = engine.inspect("log", Role::Log).map_err(NodeError::Log)?;
    writer::check(log.as_deref(), engine.mark()).map_err(NodeError::Log)?;
    if let Some(log) = log {
        for shard in map.shards() {
            group::inspect(shard, engine, &*log)?;
        }
    }
    Ok(())
}

/// What the shards of a node share while it starts.
struct Shared {
    log: Arc<dyn Table>,
    writer: LogWriter,
    engine: Arc<dyn Engine>,
    map: ShardMap,
    service: Arc<Service>,
    courier: Arc<NodeCourier>,
    steps: Steps,
    root: Supervisor,
    fails: watch::Sender<Option<Failing>>,
}

type Running = (ShardId, Group, ShardJournal, JoinHandle<()>);

impl Shared {
    async fn start_shard(&self, shard: ShardId, parts: &NodeParts) -> Result<Running, NodeError> {
        let (clock, entropy) = (Arc::clone(&parts.clock), Arc::clone(&parts.entropy));
        let mut seed = [0; 8];
        entropy.fill(&mut seed);
        let Timing { heartbeat, election_min, election_max } = parts.timing;
        let options = GroupOptions {
            group: shard,
            shard,
            node: parts.number,
            seed: u64::from_be_bytes(seed),
            heartbeat,
            election_min,
            election_max,
            observer: (shard == PLACEMENT).then(|| {
                let trust = Arc::clone(&parts.trust);
                Arc::new(move |rows: &[IndexRow]| trust.applied(rows)) as RowObserver
            }),
            voters: [parts.number].into(),
            peers: None,
        };
        let (log, writer) = (Arc::clone(&self.log), self.writer.clone());
        let on_fatal = Arc::clone(&parts.on_fatal);
        let group = Group::start(options, &*self.engine, log, writer, on_fatal).await?;
        let journal = ShardJournal::new(JournalOptions {
            group: group.clone(),
            map: self.map,
            service: Arc::clone(&self.service),
            clock: Arc::clone(&clock),
            entropy,
            steps: self.steps.clone(),
        });
        let courier = Arc::clone(&self.courier);
        let options = ShardOptions {
            shard,
            clock,
            journal: Arc::new(journal.clone()),
            courier: Arc::clone(&courier) as _,
            awake_max: parts.awake_max,
        };
        let (root, fails) = (self.root.clone(), self.fails.clone());
        let task = tokio::spawn(leading::lead(group.clone(), options, courier, root, fails));
        Ok((shard, group, journal, task))
    }
}
