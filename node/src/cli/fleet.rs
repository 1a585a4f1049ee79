//! A cluster on this machine alone: nodes as child processes on loopback, started, measured, killed,
//! started again.
//!
//! What is measured or broken on purpose is processes of their own, so that their processor time and
//! their deaths are real. **Invariants:** only own children are ended; every wait has a bound. **Not
//! here:** what the devices do (`population`), what came of it (`tally`).

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    ops::Range,
    path::{Path, PathBuf},
    process::Stdio,
};

use fieldmesh_actors::seams::Entropy as _;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Duration, Instant, timeout},
};

use crate::{
    cli::{CliError, api::Api},
    deployment::Deployment,
    files::{self, Access},
    os::SystemEntropy,
    web::{
        ca::{MintedToken, NewToken},
        cluster::ClusterView,
        rest::Page,
    },
};

/// A start with a large log takes seconds.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// A change of the nodes takes seconds, a catch-up with a large log longer.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Microseconds of a clock tick of the kernel's process accounting: 100 Hz on every Linux.
const TICK_US: u64 = 10_000;
/// Ports of nodes: below those that Linux gives to connections that go out.
const PORTS: Range<u16> = 10_000..32_000;
/// Ports that are tried: even where half of all are taken, one is found.
const PORT_ATTEMPTS_MAX: usize = 64;
/// Nodes of a cluster on one machine: more would measure the machine.
pub(super) const NODES_MAX: u64 = 7;

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
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) nodes: u64,
    pub(super) shards: u32,
}

/// A running cluster.
pub(super) struct Fleet {
    nodes: Vec<NodeProcess>,
    /// By processes that were killed.
    spent: Usage,
}

struct NodeProcess {
    dir: PathBuf,
    config: PathBuf,
    passphrase: PathBuf,
    /// None: killed.
    child: Option<Child>,
    devices: SocketAddr,
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::failed(format!("a node cannot be started: {error}"))
}

/// A free port for UDP and TCP, as far as the kernel knows now; none that it gives to connections that
/// go out, so that it is free yet when a killed node comes again.
fn free_port() -> Result<u16, CliError> {
    let entropy = SystemEntropy::default();
    for _ in 0..PORT_ATTEMPTS_MAX {
        let mut random = [0; 2];
        entropy.fill(&mut random);
        let port = PORTS.start + u16::from_be_bytes(random) % PORTS.len() as u16;
        let address = (Ipv4Addr::LOCALHOST, port);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return Ok(port);
        }
    }
    Err(failed(format!("no port of {PORTS:?} is free on loopback")))
}

impl Fleet {
    /// Starts the cluster of a directory, and makes it where it is not there.
    pub(super) async fn start(dir: &Path, shape: Shape) -> Result<Self, CliError> {
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
        let mut fleet = Self { nodes: Vec::new(), spent: Usage::default() };
        for number in 1..=shape.nodes {
            let mut node = NodeProcess::prepare(dir, &passphrase, number, shape)?;
            if !Deployment::is_there(&node.dir) {
                match fleet.nodes.first() {
                    None => node.run("init", &[]).await?,
                    Some(first) => node.join(&first.api()?).await?,
                }
            }
            node.spawn().await?;
            fleet.nodes.push(node);
        }
        fleet.settled().await?;
        Ok(fleet)
    }

    /// Waits until every group has the members and the leader that it is to have.
    pub(super) async fn settled(&self) -> Result<ClusterView, CliError> {
        let until = Instant::now() + SETTLED_WITHIN;
        loop {
            if let Ok(view) = self.view().await
                && view.settled
                && view.members.len() == self.nodes.len()
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
        let of = format!("fieldmesh_mesh_peer_sent_bytes_total{{peer=\"{to}\"}} ");
        let mut sent = 0;
        for node in self.nodes.iter().filter(|node| node.child.is_some()) {
            let metrics = node.api()?.text("/metrics").await?;
            let values =
                metrics.lines().filter_map(|line| line.strip_prefix(&of)?.parse::<u64>().ok());
            sent += values.sum::<u64>();
        }
        Ok(sent)
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

    /// The same node again, on the same addresses.
    pub(super) async fn restart(&mut self, number: u64) -> Result<(), CliError> {
        self.node(number)?.spawn().await
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

    pub(super) async fn stop(mut self) {
        for child in self.nodes.iter_mut().filter_map(|node| node.child.as_mut()) {
            if let Err(error) = child.kill().await {
                tracing::warn!(%error, "a node was gone already");
            }
        }
    }
}

impl NodeProcess {
    /// Its configuration, with ports that stay.
    fn prepare(dir: &Path, passphrase: &Path, number: u64, shape: Shape) -> Result<Self, CliError> {
        let config = dir.join(format!("node-{number}.toml"));
        let own = match shape.nodes {
            1 => dir.to_owned(),
            _ => dir.join(format!("node-{number}")),
        };
        if !config.exists() {
            let (devices, https, mesh) = (free_port()?, free_port()?, free_port()?);
            let text = format!(
                "[node]\nnumber = {number}\ndata_dir = {own:?}\nshards = {}\n\n[listen]\n\
                 devices = \"127.0.0.1:{devices}\"\nhttps = \"127.0.0.1:{https}\"\n\
                 mesh = \"127.0.0.1:{mesh}\"\n",
                shape.shards
            );
            files::write(&config, text.as_bytes(), Access::Owner).map_err(failed)?;
        }
        let loaded = crate::config::Config::load(Some(&config), &[]);
        let devices = loaded.map_err(failed)?.listen.devices;
        let passphrase = passphrase.to_owned();
        Ok(Self { dir: own, config, passphrase, child: None, devices })
    }

    fn api(&self) -> Result<Api, CliError> {
        Api::from_dir(&self.dir)
    }

    fn command(&self, verb: &str) -> Result<Command, CliError> {
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .args([verb, "--json", "--config"])
            .arg(&self.config)
            .arg("--passphrase-file")
            .arg(&self.passphrase)
            .env("FIELDMESH__LOG__FILTER", "error,openraft=off")
            // A log replayed at full speed makes one technician as busy as a hundred.
            .env("FIELDMESH__LISTEN__DEVICE_MESSAGES_PER_S", "10000")
            .env("FIELDMESH__LISTEN__DEVICE_MESSAGES_BURST", "10000")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Runs a command of this node to its end.
    async fn run(&self, verb: &str, args: &[&str]) -> Result<(), CliError> {
        let ended = self.command(verb)?.args(args).output();
        let ended = timeout(START_TIMEOUT, ended).await.map_err(|_| failed("no end in time"))?;
        let ended = ended.map_err(failed)?;
        if ended.status.success() {
            return Ok(());
        }
        Err(failed(String::from_utf8_lossy(&ended.stderr).trim()))
    }

    async fn join(&self, api: &Api) -> Result<(), CliError> {
        let wanted =
            NewToken { profile: Some("node".into()), pre_approved: true, ..NewToken::default() };
        let token: MintedToken = api.post("/v1/ca/tokens", &wanted).await?;
        let secret = self.dir.with_extension("token");
        files::write(&secret, token.secret.as_bytes(), Access::Owner).map_err(failed)?;
        let file = secret.to_string_lossy().into_owned();
        let args = ["--server", &api.server, "--user", &token.user, "--token-file", &file];
        let joined = self.run("join", &args).await;
        files::remove(&secret).map_err(failed)?;
        joined
    }

    /// Starts it and waits until it is ready.
    async fn spawn(&mut self) -> Result<(), CliError> {
        let mut child = self.command("node")?.stdout(Stdio::piped()).spawn().map_err(failed)?;
        let stdout = child.stdout.take().ok_or_else(|| failed("it has no output"))?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(START_TIMEOUT, lines.next_line()).await;
        let line = line.map_err(|_| failed("it was not ready in time"))?.map_err(failed)?;
        let line = line.ok_or_else(|| failed("it ended while starting"))?;
        let said: Value = serde_json::from_str(&line).map_err(failed)?;
        if said["ready"] != true {
            return Err(failed(said["error"].as_str().unwrap_or(&line)));
        }
        self.child = Some(child);
        Ok(())
    }

    /// What its present process used; nothing where it is killed.
    async fn usage(&self) -> Result<Usage, CliError> {
        let Some(pid) = self.child.as_ref().and_then(Child::id) else {
            return Ok(Usage::default());
        };
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        let stat = files::read(&path)
            .map_err(|error| CliError::failed(format!("{}: {error}", path.display())))?;
        let text = String::from_utf8_lossy(&stat);
        // Fields 14 and 15, counted behind the name in parentheses (proc_pid_stat(5)).
        let fields: Vec<&str> =
            text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks =
            |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let metrics = self.api()?.text("/metrics").await?;
        let counter = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        Ok(Usage {
            cpu_us: (ticks(11) + ticks(12)) * TICK_US,
            syncs: counter("fieldmesh_log_syncs_total"),
            rounds: counter("fieldmesh_log_rounds_total"),
        })
    }
}
