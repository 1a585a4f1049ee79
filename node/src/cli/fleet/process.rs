//! One node of a cluster on this machine: its configuration, and the process that runs it.
//!
//! **Invariants:** only own children are ended; every wait has a bound; a node that is started again is on the
//! addresses that it had. **Not here:** what nodes are to each other (`fleet`).

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
    time::{Duration, timeout},
};

use super::{Shape, Usage};
use crate::{
    cli::{CliError, api::Api},
    files::{self, Access},
    os::SystemEntropy,
    web::ca::{MintedToken, NewToken},
};

/// A start with a large log takes seconds.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Microseconds of a clock tick of the kernel's process accounting: 100 Hz on every Linux.
const TICK_US: u64 = 10_000;
/// Ports of nodes: below those that Linux gives to connections that go out.
const PORTS: Range<u16> = 10_000..32_000;
/// Ports that are tried: even where half of all are taken, one is found.
const PORT_ATTEMPTS_MAX: usize = 64;

/// One node: its directory, and the process that runs it, if one does.
pub(super) struct NodeProcess {
    pub(super) dir: PathBuf,
    config: PathBuf,
    passphrase: PathBuf,
    /// None: killed.
    pub(super) child: Option<Child>,
    pub(super) devices: SocketAddr,
}

pub(super) fn failed(error: impl std::fmt::Display) -> CliError {
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

impl NodeProcess {
    /// Its configuration, with ports that stay.
    pub(super) fn prepare(
        dir: &Path,
        passphrase: &Path,
        number: u64,
        shape: Shape,
    ) -> Result<Self, CliError> {
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

    pub(super) fn api(&self) -> Result<Api, CliError> {
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
    pub(super) async fn run(&self, verb: &str, args: &[&str]) -> Result<(), CliError> {
        let ended = self.command(verb)?.args(args).output();
        let ended = timeout(START_TIMEOUT, ended).await.map_err(|_| failed("no end in time"))?;
        let ended = ended.map_err(failed)?;
        if ended.status.success() {
            return Ok(());
        }
        Err(failed(String::from_utf8_lossy(&ended.stderr).trim()))
    }

    pub(super) async fn join(&self, api: &Api) -> Result<(), CliError> {
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
    pub(super) async fn spawn(&mut self) -> Result<(), CliError> {
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
    pub(super) async fn usage(&self) -> Result<Usage, CliError> {
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
