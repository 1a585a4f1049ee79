//! A cluster on this machine alone: nodes as child processes on loopback, started, measured, killed,
//! started again.
//!
//! What is measured or broken on purpose is processes of their own, so that their processor time and
//! their deaths are real. **Invariants:** only own children are ended; every wait has a bound. **Not
//! here:** one node's process (`process`), what the devices do (`population`), what came of it (`tally`).

mod process;
#[cfg(target_os = "linux")]
mod processors;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use fieldmesh_actors::seams::Entropy as _;
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    process::Child,
    time::{Duration, Instant},
};

pub(super) use self::process::{Ended, Footprint, Unstarted, fieldmesh, footprint, said_by};
use self::process::{NodeProcess, Place, failed};
use crate::{
    cli::{
        CliError, Common, Output,
        api::Api,
        lab::{Lab, disks::SmallDisk},
    },
    deployment::Deployment,
    files::{self, Access},
    os::SystemEntropy,
    web::{ca::IssuingRequest, cluster::ClusterView, rest::Page},
};

/// A change of the nodes takes seconds, a catch-up with a large log longer.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// A node that has to end by itself does so at once.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Nodes of a cluster on one machine: more would measure the machine.
pub(super) const NODES_MAX: u64 = 7;
/// The number of the second region's node: behind all that may join the first.
pub(super) const ABROAD: u64 = NODES_MAX + 1;
const REGION: &str = "us1";
/// The certificate of an issuing CA that the root signed last.
const SIGNED: &str = "issuing.pem";

/// What servers used since they were first started.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) cpu_us: u64,
    pub(super) syncs: u64,
    pub(super) rounds: u64,
}

impl Usage {
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            cpu_us: self.cpu_us - before.cpu_us,
            syncs: self.syncs - before.syncs,
            rounds: self.rounds - before.rounds,
        }
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            cpu_us: self.cpu_us + other.cpu_us,
            syncs: self.syncs + other.syncs,
            rounds: self.rounds + other.rounds,
        }
    }
}

/// What all nodes are alike in.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) nodes: u64,
    pub(super) shards: u32,
    /// A node can be cut off from the others.
    pub(super) may_be_cut: bool,
    /// A second region is there, with a node of its own that nothing befalls.
    pub(super) with_region: bool,
    /// The program that nodes begin with; none: this one.
    pub(super) program: Option<PathBuf>,
    /// Where each node has a machine of its own; none: on loopback.
    pub(super) lab: Option<Arc<Lab>>,
}

impl Shape {
    pub(super) fn of(nodes: u64, shards: u32) -> Self {
        let (program, lab) = (None, None);
        Self { nodes, shards, may_be_cut: false, with_region: false, program, lab }
    }
}

/// A running cluster.
pub(super) struct Fleet {
    dir: PathBuf,
    passphrase: PathBuf,
    shape: Shape,
    nodes: Vec<NodeProcess>,
    /// The second region's.
    abroad: Option<NodeProcess>,
    /// By processes that were killed.
    spent: Usage,
}

/// Makes the place where the cluster of this process is, unless an operator says where.
fn made_own_dir() -> Result<PathBuf, CliError> {
    let dir = std::env::temp_dir().join(format!("fieldmesh-{}", std::process::id()));
    // Where everybody may make directories, one that is there already may be anybody's.
    let made = files::make_own_dir(&dir).map_err(|error| {
        CliError::usage(format!("{}: {error}; remove it, or give --data-dir", dir.display()))
    });
    made.map(|()| dir)
}

/// Does something with a cluster, which ends with that, and its data too unless `--data-dir` says where they
/// are.
pub(super) async fn on_cluster(
    common: &Common,
    shape: Shape,
    output: &Output,
    work: impl AsyncFnOnce(&mut Fleet) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let dir = match &common.data_dir {
        Some(dir) => dir.clone(),
        None => made_own_dir()?,
    };
    output.say(format_args!("nodes to start: {}, in {}", shape.nodes, dir.display()));
    let done = match Fleet::start(&dir, shape).await {
        Ok(mut fleet) => {
            let done = work(&mut fleet).await;
            fleet.stop().await;
            done
        }
        Err(error) => Err(error),
    };
    if common.data_dir.is_none()
        && let Err(error) = files::remove_dir(&dir)
    {
        output.say(format_args!("{} stays: {error}", dir.display()));
    }
    done
}

impl Fleet {
    /// Starts the cluster of a directory, and makes it where it is not there.
    async fn start(dir: &Path, shape: Shape) -> Result<Self, CliError> {
        files::make_private_dir(dir).map_err(failed)?;
        // A single node's directory is one that `fieldmesh dev` may go on with.
        let is_single = shape.nodes == 1;
        let passphrase = dir.join(if is_single { "development.passphrase" } else { "passphrase" });
        if !passphrase.exists() {
            let mut random = [0; 16];
            SystemEntropy::default().fill(&mut random);
            let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            files::write(&passphrase, text.as_bytes(), Access::Owner).map_err(failed)?;
        }
        let (dir, nodes, abroad, spent) = (dir.to_owned(), Vec::new(), None, Usage::default());
        let mut fleet = Self { dir, passphrase, shape, nodes, abroad, spent };
        for _ in 0..fleet.shape.nodes {
            fleet.grow().await?;
        }
        if fleet.shape.with_region {
            fleet.found_region().await?;
        }
        fleet.settled().await?;
        Ok(fleet)
    }

    /// Starts one node more; it joins the others where it has not before.
    pub(super) async fn grow(&mut self) -> Result<(), CliError> {
        let number = self.nodes.len() as u64 + 1;
        let place = Place { number, abroad: None };
        let mut node = NodeProcess::prepare(&self.dir, &self.passphrase, place, &self.shape)?;
        if !Deployment::is_there(&node.dir) {
            match self.nodes.first() {
                None => node.run("init", &[]).await?,
                Some(first) => node.join(&first.api()?).await?,
            }
        }
        node.spawn().await?;
        self.nodes.push(node);
        Ok(())
    }

    /// Makes a second region, whose authority the first nodes' operators let in, and starts its node.
    async fn found_region(&mut self) -> Result<(), CliError> {
        let place = Place { number: ABROAD, abroad: Some(REGION) };
        let mut node = NodeProcess::prepare(&self.dir, &self.passphrase, place, &self.shape)?;
        if !Deployment::is_there(&node.dir) {
            let text = |path: &Path| path.display().to_string();
            let roots = text(&self.node(1)?.dir.join("root.pem"));
            node.run("init", &["--roots", &roots]).await?;
            let csr = files::read(&node.dir.join("issuing.csr")).map_err(failed)?;
            let request = String::from_utf8_lossy(&csr).into_owned();
            let wanted = IssuingRequest { region: REGION.into(), generation: 1, request };
            self.sign(&wanted).await?;
            let signed = text(&self.dir.join(SIGNED));
            for operator in [1, 2] {
                self.ask(operator, &["ca", "rotate", "introduce", &signed]).await?;
            }
            let server = self.api()?.server;
            let args = ["--issuing", &signed, "--server", &server];
            let until = Instant::now() + SETTLED_WITHIN;
            // Every node has to know the new authority first.
            while let Err(error) = node.run("join", &args).await {
                if Instant::now() > until {
                    return Err(error);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        node.spawn().await?;
        self.abroad = Some(node);
        Ok(())
    }

    /// Where a node keeps its data.
    pub(super) fn data_of(&mut self, number: u64) -> Result<PathBuf, CliError> {
        Ok(self.node(number)?.dir.join("db"))
    }

    /// The disk of a node that has one of its own.
    pub(super) fn disk_of(&mut self, number: u64) -> Result<&SmallDisk, CliError> {
        let disk = self.node(number)?.disk.as_ref();
        disk.ok_or_else(|| CliError::failed("the node has no disk of its own"))
    }

    /// Waits until every group has the members and the leader that it is to have.
    pub(super) async fn settled(&self) -> Result<ClusterView, CliError> {
        let until = Instant::now() + SETTLED_WITHIN;
        loop {
            if let Ok(view) = self.view().await
                && view.settled
                && view.members.len() == self.nodes.len() + usize::from(self.abroad.is_some())
                && view.groups.iter().all(|group| group.leader == group.preferred)
            {
                return Ok(view);
            }
            if Instant::now() > until {
                return Err(CliError::failed("the cluster does not settle"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn view(&self) -> Result<ClusterView, CliError> {
        self.api()?.get("/v1/cluster").await
    }

    /// A node that runs, for operators' requests.
    pub(super) fn api(&self) -> Result<Api, CliError> {
        let alive = self.nodes.iter().find(|node| node.child.is_some());
        alive.ok_or_else(|| CliError::failed("no node runs"))?.api()
    }

    /// Where devices connect.
    pub(super) fn devices(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.devices).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Devices have a processor of their own from now on, and nodes have the others.
    #[cfg(target_os = "linux")]
    pub(super) fn apart(&self) -> Result<(), CliError> {
        let children = self.nodes.iter().filter_map(|node| node.child.as_ref());
        processors::apart(children.filter_map(Child::id))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn apart(&self) -> Result<(), CliError> {
        Err(CliError::usage("--apart: only Linux is told which processes have which processors"))
    }

    /// What all processes so far used.
    pub(super) async fn usage(&self) -> Result<Usage, CliError> {
        let mut usage = self.spent;
        for node in &self.nodes {
            usage = usage.plus(&node.usage().await?);
        }
        Ok(usage)
    }

    /// What the others have sent to a node.
    pub(super) async fn sent_bytes(&self, to: u64) -> Result<u64, CliError> {
        self.counted(&format!("fieldmesh_mesh_peer_sent_bytes_total{{peer=\"{to}\"}}")).await
    }

    /// What all nodes that run have counted together.
    pub(super) async fn counted(&self, metric: &str) -> Result<u64, CliError> {
        let metrics = self.metrics().await?;
        let lines = metrics.values().flat_map(|metrics| metrics.lines());
        let value = |line: &str| line.strip_prefix(metric)?.strip_prefix(' ')?.parse::<u64>().ok();
        Ok(lines.filter_map(value).sum())
    }

    /// What each node that runs says of itself.
    pub(super) async fn metrics(&self) -> Result<BTreeMap<u64, String>, CliError> {
        let mut metrics = BTreeMap::new();
        for (number, node) in (1..).zip(&self.nodes).filter(|(_, node)| node.child.is_some()) {
            metrics.insert(number, node.api()?.text("/metrics").await?);
        }
        Ok(metrics)
    }

    fn node(&mut self, number: u64) -> Result<&mut NodeProcess, CliError> {
        let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let node = at.and_then(|at| self.nodes.get_mut(at));
        node.ok_or_else(|| CliError::failed(format!("there is no node {number}")))
    }

    /// SIGKILL; on return the process is gone.
    pub(super) async fn kill(&mut self, number: u64) -> Result<Instant, CliError> {
        let usage = self.node(number)?.usage().await?;
        self.spent = self.spent.plus(&usage);
        let mut child = self.node(number)?.child.take();
        let killed = child.as_mut().map(Child::start_kill);
        let at = Instant::now();
        if let (Some(Ok(())), Some(child)) = (killed, &mut child) {
            child.wait().await.map_err(failed)?;
        }
        Ok(at)
    }

    /// Waits until a node's process has ended by itself; its exit code, where it was no signal.
    pub(super) async fn ends(&mut self, number: u64) -> Result<Option<i32>, CliError> {
        let child = self.node(number)?.child.as_mut();
        let child = child.ok_or_else(|| CliError::failed("the node does not run"))?;
        let ended = tokio::time::timeout(ENDS_WITHIN, child.wait()).await;
        let ended = ended.map_err(|_| CliError::failed("the node goes on"))?.map_err(failed)?;
        self.node(number)?.child = None;
        Ok(ended.code())
    }

    /// Has the root of the cluster, whose key is with the first node, sign the request for an issuing CA.
    pub(super) async fn sign(&mut self, wanted: &IssuingRequest) -> Result<Vec<u8>, CliError> {
        let (csr, signed) = (self.dir.join("issuing.csr"), self.dir.join(SIGNED));
        files::write(&csr, wanted.request.as_bytes(), Access::Owner).map_err(failed)?;
        let text = |path: &Path| path.display().to_string();
        let (root, passphrase) = (text(&self.node(1)?.dir), text(&self.passphrase));
        let generation = wanted.generation.to_string();
        said_by(&[
            "ca",
            "root",
            "sign",
            "--root",
            &root,
            "--passphrase-file",
            &passphrase,
            "--csr",
            &text(&csr),
            "--region",
            &wanted.region,
            "--generation",
            &generation,
            "--out",
            &text(&signed),
        ])
        .await?;
        files::read(&signed).map_err(failed)
    }

    /// The same node again, on the same addresses.
    pub(super) async fn restart(&mut self, number: u64) -> Result<(), Unstarted> {
        self.node(number)?.spawn().await
    }

    /// The same for many, all at once: of those that decide none is ready alone.
    pub(super) async fn restart_all(
        &mut self,
        numbers: &[u64],
    ) -> Vec<(u64, Result<(), Unstarted>)> {
        let all = self.nodes.iter_mut().zip(1..);
        let nodes = all.filter(|(_, number)| numbers.contains(number));
        join_all(nodes.map(async |(node, number)| (number, node.spawn().await))).await
    }

    /// The same for one that may refuse to start: how it ended then.
    pub(super) async fn try_restart(&mut self, number: u64) -> Result<Option<Ended>, Unstarted> {
        self.node(number)?.try_spawn().await
    }

    /// SIGKILL, whatever a node is at; how it had ended by itself, where it had.
    pub(super) async fn put_down(&mut self, number: u64) -> Result<Option<Ended>, CliError> {
        self.node(number)?.put_down().await
    }

    /// From its next start on it is of this program.
    pub(super) fn upgrade(&mut self, number: u64) -> Result<(), CliError> {
        self.node(number)?.program = fieldmesh().map_err(failed)?;
        Ok(())
    }

    /// SIGTERM, as an upgrade ends it; on return the process is gone.
    pub(super) async fn terminate(&mut self, number: u64) -> Result<(), CliError> {
        let usage = self.node(number)?.usage().await?;
        self.spent = self.spent.plus(&usage);
        self.node(number)?.signal(Signal::TERM)?;
        let child = self.node(number)?.child.take();
        if let Some(mut child) = child {
            let ended = tokio::time::timeout(SETTLED_WITHIN, child.wait()).await;
            ended.map_err(|_| failed("a node does not end"))?.map_err(failed)?;
        }
        Ok(())
    }

    /// Its process stands still until it goes on.
    pub(super) fn pause(&mut self, number: u64) -> Result<(), CliError> {
        self.node(number)?.signal(Signal::STOP)
    }

    pub(super) fn go_on(&mut self, number: u64) -> Result<(), CliError> {
        self.node(number)?.signal(Signal::CONT)
    }

    /// One node, for operators' requests.
    pub(super) fn api_of(&mut self, number: u64) -> Result<Api, CliError> {
        self.node(number)?.api()
    }

    /// The process of a node, where one runs.
    pub(super) fn process_of(&mut self, number: u64) -> Result<Option<u32>, CliError> {
        Ok(self.node(number)?.child.as_ref().and_then(Child::id))
    }

    /// A command of this program about a node, to its end; what it says.
    pub(super) async fn ask(&mut self, number: u64, args: &[&str]) -> Result<Value, CliError> {
        self.node(number)?.ask(args).await
    }

    /// None of its datagrams reaches another node, and none of theirs reaches it; devices reach it as ever.
    pub(super) fn cut_off(&mut self, number: u64) -> Result<(), CliError> {
        self.node(number)?.cut_off(true)
    }

    pub(super) fn let_back(&mut self, number: u64) -> Result<(), CliError> {
        self.node(number)?.cut_off(false)
    }

    /// What each node that runs holds and has used.
    pub(super) fn footprints(&self) -> Result<Vec<Footprint>, CliError> {
        self.nodes.iter().filter_map(|node| node.footprint().transpose()).collect()
    }

    pub(super) async fn count_tickets(&self, state: &str) -> Result<usize, CliError> {
        let api = self.api()?;
        let (mut count, mut after) = (0, String::new());
        loop {
            let page: Page =
                api.get(&format!("/v1/tickets?state={state}&limit=1000{after}")).await?;
            count += page.rows.len();
            let Some(next) = page.next else {
                return Ok(count);
            };
            after = format!("&after={next}");
        }
    }

    async fn stop(mut self) {
        let all = self.nodes.iter_mut().chain(&mut self.abroad);
        for child in all.filter_map(|node| node.child.as_mut()) {
            if let Err(error) = child.kill().await {
                tracing::warn!(%error, "a node was gone already");
            }
        }
    }
}
