//! One node of a cluster on this machine: its configuration, and the process that runs it.
//!
//! **Invariants:** only own children are ended; every wait has a bound; a node that is started again is on the
//! addresses that it had. **Not here:** what nodes are to each other (`fleet`).

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    ops::Range,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
};

use fieldmesh_actors::seams::Entropy as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Duration, timeout},
};

use super::{Shape, Usage};
use crate::{
    cli::{
        CliError,
        api::Api,
        lab::{Lab, disks::SmallDisk},
    },
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

/// What a node that may be cut off has in its configuration, and what comes behind it while it is.
const MAY_BE_CUT: &str = "\n[chaos]\nenabled = true\n";
const IS_CUT: &str = "rules = [{ peer = \"127.0.0.0/8\", loss_percent = 100 }]\n";

const ABROAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The program of the laboratory, beside which the one is that nodes are.
const LAB: &str = "fieldmesh-lab";

/// What a process holds, and has used since it began.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Footprint {
    pub(in crate::cli) cpu_us: u64,
    pub(in crate::cli) resident_bytes: u64,
    /// The process has ended, and nobody has waited for it.
    pub(in crate::cli) is_over: bool,
}

/// How a process ended by itself, with what it said on its way.
#[derive(Debug)]
pub(in crate::cli) struct Ended {
    pub(in crate::cli) code: Option<i32>,
    pub(in crate::cli) said: String,
}

/// Why a node does not run that was to be started.
#[derive(Debug)]
pub(in crate::cli) enum Unstarted {
    /// It was started, and ended or is not ready.
    Node(CliError),
    /// It was not started, or nobody could hear it: that says nothing of it.
    Harness(CliError),
}

impl fmt::Display for Unstarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(error) | Self::Harness(error) => write!(f, "{error}"),
        }
    }
}

/// What is not said to be the node's is not.
impl From<CliError> for Unstarted {
    fn from(error: CliError) -> Self {
        Self::Harness(error)
    }
}

impl From<Unstarted> for CliError {
    fn from(why: Unstarted) -> Self {
        match why {
            Unstarted::Node(error) | Unstarted::Harness(error) => error,
        }
    }
}

/// Which node it is, and of which region where that is not the first.
pub(super) struct Place {
    pub(super) number: u64,
    pub(super) abroad: Option<&'static str>,
}

/// One node: its directory, and the process that runs it, if one does.
pub(super) struct NodeProcess {
    number: u64,
    pub(super) dir: PathBuf,
    config: PathBuf,
    passphrase: PathBuf,
    /// What it is started as.
    pub(super) program: PathBuf,
    /// None: killed.
    pub(super) child: Option<Child>,
    pub(super) devices: SocketAddr,
    /// Its machine is there.
    lab: Option<Arc<Lab>>,
    /// What its directory is on, where that is a disk of its own.
    pub(super) disk: Option<SmallDisk>,
}

/// The program that serves and that operators give orders to.
pub(in crate::cli) fn fieldmesh() -> std::io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let is_lab = own.file_name().is_some_and(|name| name == LAB);
    Ok(if is_lab { own.with_file_name("fieldmesh") } else { own })
}

pub(super) fn failed(error: impl fmt::Display) -> CliError {
    CliError::failed(format!("a node cannot be started: {error}"))
}

fn not_ready(why: impl fmt::Display) -> Unstarted {
    Unstarted::Node(failed(why))
}

/// A free port for UDP and TCP, as far as the kernel knows now; none that it gives to connections that
/// go out, so that it is free yet when a killed node comes again.
fn free_port(on: Ipv4Addr) -> Result<u16, CliError> {
    let entropy = SystemEntropy::default();
    for _ in 0..PORT_ATTEMPTS_MAX {
        let mut random = [0; 2];
        entropy.fill(&mut random);
        let port = PORTS.start + u16::from_be_bytes(random) % PORTS.len() as u16;
        let address = (on, port);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return Ok(port);
        }
    }
    Err(failed(format!("no port of {PORTS:?} is free on {on}")))
}

/// Where a node on loopback listens: on ports that stay.
fn on_loopback(is_abroad: bool) -> Result<String, CliError> {
    // What is between regions is told from the rest by its addresses.
    let at = if is_abroad { ABROAD } else { Ipv4Addr::LOCALHOST };
    let (devices, https, mesh) = (free_port(at)?, free_port(at)?, free_port(at)?);
    Ok(format!(
        "[listen]\ndevices = \"{at}:{devices}\"\nhttps = \"{at}:{https}\"\nmesh = \"{at}:{mesh}\"\n"
    ))
}

/// Writes into a node's configuration whether it is cut off.
fn say_cut(config: &Path, is_cut: bool) -> Result<(), CliError> {
    let refused = |why: &dyn fmt::Display| {
        CliError::failed(format!("{}: no node to cut off: {why}", config.display()))
    };
    let written = files::read(config).map_err(|error| refused(&error))?;
    let written = String::from_utf8_lossy(&written);
    let (before, _) = written
        .split_once(MAY_BE_CUT)
        .ok_or_else(|| refused(&"it was made without [chaos]; give another --data-dir, or none"))?;
    let text = format!("{before}{MAY_BE_CUT}{}", if is_cut { IS_CUT } else { "" });
    files::write(config, text.as_bytes(), Access::Owner).map_err(|error| refused(&error))
}

impl NodeProcess {
    /// Its configuration, with ports that stay.
    pub(super) fn prepare(
        dir: &Path,
        passphrase: &Path,
        Place { number, abroad }: Place,
        shape: &Shape,
    ) -> Result<Self, CliError> {
        let config = dir.join(format!("node-{number}.toml"));
        let own = match shape.nodes {
            1 => dir.to_owned(),
            _ => dir.join(format!("node-{number}")),
        };
        let disk = match &shape.lab {
            Some(lab) => lab.disk(&own)?,
            None => None,
        };
        if !config.exists() {
            let region = abroad.map(|region| format!("[cluster]\nregion = \"{region}\"\n\n"));
            let text = format!(
                "{}[node]\nnumber = {number}\ndata_dir = {own:?}\nshards = {}\n\n{}{}",
                region.unwrap_or_default(),
                shape.shards,
                match &shape.lab {
                    Some(lab) => lab.sections(number),
                    None => on_loopback(abroad.is_some())?,
                },
                if shape.may_be_cut { MAY_BE_CUT } else { "" },
            );
            files::write(&config, text.as_bytes(), Access::Owner).map_err(failed)?;
        }
        if shape.may_be_cut {
            // Before anything is started; whoever was cut off when an earlier run was killed is so no more.
            say_cut(&config, false)?;
        }
        let loaded = crate::config::Config::load(Some(&config), &[]);
        let devices = loaded.map_err(failed)?.listen.devices;
        let passphrase = passphrase.to_owned();
        let program = match &shape.program {
            Some(program) => program.clone(),
            None => fieldmesh().map_err(failed)?,
        };
        let (child, lab) = (None, shape.lab.clone());
        Ok(Self { number, dir: own, config, passphrase, program, child, devices, lab, disk })
    }

    pub(super) fn api(&self) -> Result<Api, CliError> {
        Api::from_dir(&self.dir)
    }

    fn command(&self, verb: &str) -> Result<Command, CliError> {
        let mut command = match &self.lab {
            Some(lab) => lab.command(self.number, &self.program)?,
            None => Command::new(&self.program),
        };
        command
            .args([verb, "--json", "--config"])
            .arg(&self.config)
            // Whatever the environment says of another node's.
            .arg("--data-dir")
            .arg(&self.dir)
            .arg("--passphrase-file")
            .arg(&self.passphrase)
            .env("FIELDMESH__LOG__FILTER", "error,openraft=off")
            // A log replayed at full speed makes one technician as busy as a hundred.
            .env("FIELDMESH__LISTEN__DEVICE_MESSAGES_PER_S", "10000")
            .env("FIELDMESH__LISTEN__DEVICE_MESSAGES_BURST", "10000")
            .stdin(Stdio::null())
            // Who interrupts a run at a terminal interrupts that alone: its nodes are ended by it.
            .process_group(0)
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
    pub(super) async fn spawn(&mut self) -> Result<(), Unstarted> {
        let (child, line) = self.launch(Stdio::inherit()).await?;
        let line = line.ok_or_else(|| not_ready("it ended while starting"))?;
        let said: Value = serde_json::from_str(&line).map_err(not_ready)?;
        if said["ready"] != true {
            return Err(not_ready(said["error"].as_str().unwrap_or(&line)));
        }
        self.child = Some(child);
        Ok(())
    }

    /// Starts it where it may refuse to; how it ended then. What it says meanwhile and later is in a file.
    pub(super) async fn try_spawn(&mut self) -> Result<Option<Ended>, Unstarted> {
        let said = files::create(&self.said(), Access::Owner).map_err(failed)?;
        let (mut child, line) = self.launch(Stdio::from(said)).await?;
        let line = line.and_then(|line| serde_json::from_str::<Value>(&line).ok());
        if line.is_some_and(|line| line["ready"] == true) {
            self.child = Some(child);
            return Ok(None);
        }
        let ended = timeout(START_TIMEOUT, child.wait()).await;
        let ended = ended.map_err(|_| not_ready("it is not ready and does not end"))?;
        Ok(Some(self.ended(ended.map_err(failed)?)))
    }

    /// Ends it, whatever it is at; how it had ended by itself, where it had.
    pub(super) async fn put_down(&mut self) -> Result<Option<Ended>, CliError> {
        let Some(mut child) = self.child.take() else { return Ok(None) };
        let ended = child.try_wait().map_err(failed)?;
        child.kill().await.map_err(failed)?;
        Ok(ended.map(|ended| self.ended(ended)))
    }

    fn ended(&self, status: ExitStatus) -> Ended {
        let said = files::read(&self.said()).unwrap_or_default();
        Ended { code: status.code(), said: String::from_utf8_lossy(&said).trim().to_owned() }
    }

    /// What it says where it may refuse to start.
    fn said(&self) -> PathBuf {
        self.dir.with_extension("stderr")
    }

    /// Starts it; the first line that it says.
    async fn launch(&self, stderr: Stdio) -> Result<(Child, Option<String>), Unstarted> {
        let mut command = self.command("node")?;
        if fieldmesh().is_ok_and(|own| own == self.program) {
            // An earlier release does not know it.
            command.args(["--with-parent", &std::process::id().to_string()]);
        }
        let command = command.stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().map_err(failed)?;
        if let Some(lab) = &self.lab {
            lab.started(self.number, child.id())?;
        }
        let stdout = child.stdout.take().ok_or_else(|| failed("it has no output"))?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(START_TIMEOUT, lines.next_line()).await;
        let line = line.map_err(|_| not_ready("it was not ready in time"))?.map_err(failed)?;
        Ok((child, line))
    }

    /// From now on none of its datagrams reaches another node and none of theirs reaches it, or all do.
    pub(super) fn cut_off(&self, is_cut: bool) -> Result<(), CliError> {
        say_cut(&self.config, is_cut)?;
        self.signal(Signal::HUP)
    }

    /// To its own process.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), CliError> {
        let pid = self.child.as_ref().and_then(Child::id).and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| CliError::failed("the node does not run"))?;
        kill_process(pid, signal)
            .map_err(|error| CliError::failed(format!("a node takes no signal: {error}")))
    }

    /// A command of this program about this node, to its end; the object that it ends with.
    pub(super) async fn ask(&self, args: &[&str]) -> Result<Value, CliError> {
        let dir = self.dir.to_string_lossy();
        said_by(&[args, &["--data-dir", &*dir]].concat()).await
    }

    /// What its present process holds and has used; none where it is killed.
    pub(super) fn footprint(&self) -> Result<Option<Footprint>, CliError> {
        self.child.as_ref().and_then(Child::id).map(footprint).transpose()
    }

    /// What its present process used; nothing where it is killed.
    pub(super) async fn usage(&self) -> Result<Usage, CliError> {
        let Some(Footprint { cpu_us, .. }) = self.footprint()? else {
            return Ok(Usage::default());
        };
        let metrics = self.api()?.text("/metrics").await?;
        let counter = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        Ok(Usage {
            cpu_us,
            syncs: counter("fieldmesh_log_syncs_total"),
            rounds: counter("fieldmesh_log_rounds_total"),
        })
    }
}

/// A command of this program, to its end; what it says.
pub(in crate::cli) async fn said_by(args: &[&str]) -> Result<Value, CliError> {
    let mut command = Command::new(fieldmesh().map_err(failed)?);
    command.args(args).arg("--json");
    let ended = timeout(START_TIMEOUT, command.stdin(Stdio::null()).kill_on_drop(true).output());
    let ended = ended.await.map_err(|_| failed("no end in time"))?.map_err(failed)?;
    let said = String::from_utf8_lossy(&ended.stdout);
    let said = said.trim().lines().next_back().unwrap_or_default();
    let value: Value = serde_json::from_str(said).unwrap_or_default();
    if ended.status.success() {
        return Ok(value);
    }
    Err(CliError::failed(value["error"].as_str().unwrap_or("it failed and said nothing")))
}

/// What a process holds and has used.
pub(in crate::cli) fn footprint(pid: u32) -> Result<Footprint, CliError> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let stat = files::read(&path)
        .map_err(|error| CliError::failed(format!("{}: {error}", path.display())))?;
    let text = String::from_utf8_lossy(&stat);
    // Fields 14, 15 and 24, counted behind the name in parentheses (proc_pid_stat(5)).
    let fields: Vec<&str> =
        text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let at = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let page = rustix::param::page_size() as u64;
    let (cpu_us, resident_bytes) = ((at(11) + at(12)) * TICK_US, at(21) * page);
    let is_over = matches!(fields.first(), Some(&"Z" | &"X"));
    Ok(Footprint { cpu_us, resident_bytes, is_over })
}

#[cfg(test)]
mod tests;
