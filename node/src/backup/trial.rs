//! A backup's groups put in place, and run by this process alone.
//!
//! A restore does it in the directory of the node that goes on, to make that node the region's only one;
//! `backup verify` in a scratch directory, to read everything through the very code that a node reads it
//! with. **Invariant:** nobody outside is told anything: there is no mesh and no edge. **Not here:** what
//! is looked for (`check`), the directory's other files (`deployment`).

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fieldmesh_actors::{
    AskError, Shard, ShardHandle, ShardOptions, Supervisor,
    seams::{Clock, Entropy, Unguided},
};
use fieldmesh_domain::{
    Command, EntityId,
    placement::{self, Home, Member, Members, PLACEMENT},
};
use tokio::{sync::oneshot, time::timeout};

use super::archive::{Archive, ArchiveError};
use crate::{
    cluster::Cluster,
    consensus::{
        group::{Group, GroupOptions, SNAPSHOT_EVERY, StartError},
        restore::{At, Filling},
    },
    courier::NodeCourier,
    journal::{JournalOptions, ShardJournal},
    node::Timing,
    service::{Service, ServiceError, ServiceSecrets},
    steps::Steps,
    store::{
        Engine, Role, StoreError,
        rocks::Rocks,
        writer::{LogWriter, OnFatal},
    },
};

/// Alone, a group has its leader at once; a slow disk needs a moment.
const LED_WITHIN: Duration = Duration::from_secs(20);
/// How long the log's writer may take to end after the last group.
const WRITER_PATIENCE: Duration = Duration::from_secs(2);
/// Nobody else is there to wait for.
const TIMING: Timing = Timing {
    heartbeat: Duration::from_millis(100),
    election_min: Duration::from_millis(300),
    election_max: Duration::from_millis(600),
};
/// Entities awake, in each of some shards: as many as are asked at a time, and whom they tell.
const AWAKE_MAX: usize = 1024;

/// Why a backup's groups do not run.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Group(#[from] StartError),
    #[error("the service's keys cannot be used")]
    Service(#[from] ServiceError),
    #[error("group {0} does not come to be led")]
    NotLed(u32),
    #[error("the cluster's record cannot be changed: {0}")]
    Shard(String),
    #[error("the cluster's record refuses: {0}")]
    Ask(#[from] AskError),
    #[error("{waiting} messages between entities do not arrive")]
    Restless { waiting: usize },
    #[error("the disk failed: {0}")]
    Disk(String),
}

/// Writes the groups' states and the beginning of their logs below a directory.
///
/// # Errors
/// A damaged backup; a disk that fails.
pub async fn fill(archive: &Archive, db: &Path, node: u64) -> Result<(), TrialError> {
    let engine = Rocks::new(db);
    let log = engine.open("log", Role::Log)?;
    for part in &archive.manifest.groups {
        let filling = Filling::begin(&engine, part.group)?;
        archive.rows(part, |rows| filling.put(rows).map_err(TrialError::from))?;
        filling.end(At { term: part.term, index: part.index }, node, &*log).await?;
    }
    Ok(())
}

/// What runs groups.
pub struct Trial {
    pub groups: Vec<(Group, ShardJournal)>,
    known: Arc<Cluster>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    node: u64,
    failed: Arc<Mutex<Option<String>>>,
    writer_ended: oneshot::Receiver<()>,
}

/// Shards that run on a trial's groups.
pub struct Serving {
    root: Supervisor,
    courier: Arc<NodeCourier>,
    handles: Vec<ShardHandle>,
    entropy: Arc<dyn Entropy>,
}

impl Serving {
    /// Asks an entity.
    ///
    /// # Errors
    /// The entity's refusal, or why it cannot be asked.
    pub async fn ask(&self, to: EntityId, command: Command) -> Result<(), AskError> {
        self.courier.ask_anew(to, command, &*self.entropy).await.map(|_| ())
    }

    /// Ends the shards.
    pub async fn stop(self) {
        for handle in &self.handles {
            handle.stop().await;
        }
        self.root.stop();
    }
}

/// How groups are run.
pub struct TrialOptions<'a> {
    pub engine: Arc<dyn Engine>,
    pub groups: &'a [u32],
    pub home: Home,
    pub node: u64,
    pub service: ServiceSecrets,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Trial {
    /// Runs groups, and waits until this process leads them.
    ///
    /// # Errors
    /// Damaged storage; keys that cannot be used.
    pub async fn start(options: TrialOptions<'_>) -> Result<Self, TrialError> {
        let TrialOptions { engine, groups, home, node, service, clock, entropy } = options;
        let failed = Arc::new(Mutex::new(None));
        let on_fatal: OnFatal = {
            let failed = Arc::clone(&failed);
            Arc::new(move |error: &StoreError| {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            })
        };
        let log = engine.open("log", Role::Log)?;
        let (writer, task) =
            LogWriter::new(Arc::clone(&log), Arc::clone(&engine), Arc::clone(&on_fatal))?;
        let writer_ended = engine.spawn_writer(Box::pin(task));
        let known = Cluster::new(Members::default(), home);
        let steps = Steps::new(clock.now_ms());
        let service = Arc::new(Service::new(service, clock.now_ms() / 1000)?);
        let mut running = Vec::with_capacity(groups.len());
        for number in groups {
            let (log, writer) = (Arc::clone(&log), writer.clone());
            let options = alone(*number, node, &*entropy);
            let group = Group::start(options, &*engine, log, writer, Arc::clone(&on_fatal)).await?;
            let leads = async { group.leading().wait_for(Option::is_some).await.is_ok() };
            if !timeout(LED_WITHIN, leads).await.unwrap_or(false) || group.barrier().await.is_err()
            {
                return Err(TrialError::NotLed(*number));
            }
            let journal = ShardJournal::new(JournalOptions {
                group: group.clone(),
                known: Arc::clone(&known),
                service: Arc::clone(&service),
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
                steps: steps.clone(),
            });
            running.push((group, journal));
        }
        Ok(Self { groups: running, known, clock, entropy, node, failed, writer_ended })
    }

    /// Makes a node the region's only one, in the record that all nodes follow.
    ///
    /// # Errors
    /// What the record has against it; a disk that fails.
    pub async fn succeed(&self, member: Member, by: &str) -> Result<(), TrialError> {
        let (shards, by) = (self.known.own().shards, by.to_owned());
        self.order(placement::Command::Restore { member, shards, by }).await
    }

    /// Changes the record that all nodes follow.
    ///
    /// # Errors
    /// What the record has against it; a disk that fails.
    pub async fn order(&self, command: placement::Command) -> Result<(), TrialError> {
        let serving = self.serve(|group| group == PLACEMENT).await?;
        let asked = serving.ask(EntityId::placement(), Command::Placement(command)).await;
        serving.stop().await;
        asked?;
        self.healthy()
    }

    /// Runs the shards of groups.
    ///
    /// # Errors
    /// A shard that does not start.
    pub async fn serve(&self, wanted: impl Fn(u32) -> bool) -> Result<Serving, TrialError> {
        let shard = |error: &dyn std::fmt::Display| TrialError::Shard(error.to_string());
        let root = Supervisor::start().await.map_err(|error| shard(&error))?;
        let courier = NodeCourier::new(self.node, None, Arc::clone(&self.known));
        let (entropy, handles) = (Arc::clone(&self.entropy), Vec::new());
        let mut serving = Serving { root, courier, handles, entropy };
        for (group, journal) in self.groups.iter().filter(|(group, _)| wanted(group.group)) {
            let options = ShardOptions {
                shard: group.group,
                clock: Arc::clone(&self.clock),
                journal: Arc::new(journal.clone()),
                courier: Arc::clone(&serving.courier) as _,
                guide: Arc::new(Unguided),
                awake_max: AWAKE_MAX,
            };
            let handle = Shard::start(options, &serving.root).await;
            let handle = match handle {
                Ok(handle) => handle,
                Err(error) => {
                    serving.stop().await;
                    return Err(shard(&error));
                }
            };
            serving.courier.add_group(group.group, group.clone());
            serving.courier.open_shard(group.group, handle.clone());
            serving.handles.push(handle);
        }
        Ok(serving)
    }

    fn healthy(&self) -> Result<(), TrialError> {
        match &*self.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(TrialError::Disk(error.clone())),
            None => Ok(()),
        }
    }

    /// Ends the groups; what they wrote is on disk.
    ///
    /// # Errors
    /// A disk that failed.
    pub async fn stop(self) -> Result<(), TrialError> {
        for (group, _) in &self.groups {
            group.table().sync().await?;
            group.stop().await;
        }
        self.healthy()?;
        drop(self.groups);
        if timeout(WRITER_PATIENCE, self.writer_ended).await.is_err() {
            tracing::warn!("the log writer did not end in time");
        }
        Ok(())
    }
}

fn alone(group: u32, node: u64, entropy: &dyn Entropy) -> GroupOptions {
    let mut seed = [0; 8];
    entropy.fill(&mut seed);
    let Timing { heartbeat, election_min, election_max } = TIMING;
    GroupOptions {
        group,
        shard: group,
        node,
        seed: u64::from_be_bytes(seed),
        heartbeat,
        election_min,
        election_max,
        snapshot_every: SNAPSHOT_EVERY,
        fills_forgetful: false,
        observer: None,
        voters: std::collections::BTreeSet::new(),
        peers: None,
    }
}
