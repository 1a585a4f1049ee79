//! `fieldmesh-lab`: a cluster on this machine whose nodes have machines of their own, and are broken by the kernel.
//!
//! It runs the scenarios of `fieldmesh chaos run`, with the same workload, checks, report and exit codes. What
//! befalls the network, disks, clocks and processors is done by the kernel and by libraries under the node, which
//! does not know of it; what they cannot do is refused, unless a scenario says that the node is to do it to itself
//! (`plane = "inside"`). It is a program of its own so that a node never has to be allowed what this needs.
//!
//! **Invariants:** it needs root, and touches nothing but what it made: namespaces, mounts, control groups and
//! processes that are named after it or were started by it. They end with it; those of a laboratory that was killed
//! end when the next one is made. **Not here:** when what befalls whom (`chaos`), nodes as processes (`fleet`).

pub mod disks;
mod groups;
mod host;
pub mod machines;
mod order;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Parser, Subcommand};
use fieldmesh_chaos::{Fault, KINDS, Strike};
use serde_json::{Value, json};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
};

use self::{
    disks::SmallDisk,
    host::{Host, Means, means},
    machines::{MESH_PLUG, Machines, packets},
    order::done_meanwhile,
};
pub(in crate::cli) use self::{groups::Share, machines::Dropped};
use super::{
    CliError, Output,
    chaos::{self, Errand, ScenarioArgs},
    fleet::{ABROAD, fieldmesh},
};
use crate::files::{self, Access};

/// The ports of a node, which has its machine for itself.
const DEVICES: u16 = 7443;
const HTTPS: u16 = 8443;
const MESH: u16 = 7445;
/// What a run's directory has in it where it is a laboratory's: the processes with clocks of their own, one a line.
const OURS: &str = "laboratory";
/// Below so many free MiB a node on a small disk writes nothing.
const ROOM_MIN_MIB: u64 = 64;
/// Free MiB that are left on a full disk: less than a node wants, and enough for what it does about that.
const LEFT_MIB: u64 = 30;

/// A cluster of network namespaces, broken by the kernel and judged; docs/chaos.md.
#[derive(Debug, Parser)]
#[command(name = "fieldmesh-lab", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs a scenario on a cluster that is made for it, and judges what happened.
    Run(RunArgs),
    /// Says of each kind of fault by what it is done here, or what is missing; before, as `run` does, it removes what
    /// laboratories left behind that were killed.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    what: ScenarioArgs,
    /// MiB of each node's disk, where a scenario fills disks: they are in memory.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(256..=65_536))]
    disk_mib: u64,
    /// One JSON object as the last line of the output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// One JSON object as the last line of the output.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let (Verb::Run(RunArgs { json, .. }) | Verb::Check(CheckArgs { json })) = &cli.verb;
    let output = Output::new(*json);
    // What stays behind is told, and not what clients have against a network that is broken on purpose.
    let lines = tracing_subscriber::fmt().with_env_filter("fieldmesh_node::cli::lab=warn");
    lines.with_writer(std::io::stderr).compact().init();
    sweep();
    let host = Host::look();
    let result = match &cli.verb {
        Verb::Run(args) => run(args, host, &output),
        Verb::Check(_) => {
            check(&host, &output);
            Ok(())
        }
    };
    output.finish(result)
}

/// Removes what laboratories left that were killed: as far as this user may, and there is any.
fn sweep() {
    // Disks first: whoever has a directory on one has ended with the laboratory.
    disks::sweep();
    groups::sweep();
    if let Err(error) = machines::sweep() {
        tracing::debug!(error, "no namespace is looked at");
    }
    let temporary = std::env::temp_dir();
    for name in files::names(&temporary).unwrap_or_default() {
        let dir = temporary.join(&name);
        if !machines::is_left(&name) || !dir.join(OURS).is_file() {
            continue;
        }
        forget_clocks(started(&dir).into_iter().filter(|process| !machines::is_alive(*process)));
        if let Err(error) = files::remove_dir(&dir) {
            tracing::warn!(%error, name, "the directory of a run stays");
        }
    }
}

fn check(host: &Host, output: &Output) {
    let mut all: Vec<Value> = Vec::new();
    for (kind, _) in KINDS {
        let (by, missing) = (means(kind).text(), host.missing(kind));
        match missing {
            None => output.say(format_args!("{kind:<12} {by}")),
            Some(why) => output.say(format_args!("{kind:<12} NO: {why}")),
        }
        all.push(
            json!({ "kind": kind, "by": by, "possible": missing.is_none(), "missing": missing }),
        );
    }
    output.result(json!({ "faults": all }));
}

fn run(args: &RunArgs, host: Host, output: &Output) -> Result<(), CliError> {
    host.demand_root()?;
    let program = fieldmesh().map_err(CliError::failed)?;
    if !program.is_file() {
        let program = program.display();
        return Err(CliError::usage(format!("{program} is missing: nodes are started as it")));
    }
    let errand = chaos::errand(&args.what, &|fault| host.refuses(fault), output)?;
    let mut lab = Lab::make(host, &errand, args.disk_mib).map_err(CliError::usage)?;
    // Before there are other threads: they are all to be where the machines are.
    lab.machines.enter().map_err(CliError::usage)?;
    let lab = Arc::new(lab);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("no runtime: {error}")))?;
    let ran = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).map_err(CliError::failed)?;
        tokio::select! {
            ran = chaos::run_in_a_lab(&errand, &lab, output) => ran,
            _ = tokio::signal::ctrl_c() => Err(CliError::ended(2, "it was interrupted")),
            _ = terminated.recv() => Err(CliError::ended(2, "it was ended")),
        }
    });
    drop(runtime);
    ran
}

/// Whether a strike is done by what the laboratory has of its own.
pub(in crate::cli) fn is_of_the_kernel(strike: &Strike) -> bool {
    !strike.inside && means(strike.fault.name()) != Means::AsEver
}

/// By what it is done there, as people are told.
pub(in crate::cli) fn by(strike: &Strike) -> &'static str {
    means(strike.fault.name()).text()
}

/// What nodes are started with, because of what is to befall them.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    disk_mib: Option<u64>,
    calls: bool,
    clock: bool,
    group: bool,
}

impl Wanted {
    fn of(strikes: &[Strike], disk_mib: u64) -> Self {
        let mut wanted = Self::default();
        for strike in strikes.iter().filter(|strike| is_of_the_kernel(strike)) {
            match means(strike.fault.name()) {
                Means::SmallDisk => wanted.disk_mib = Some(disk_mib),
                Means::FailingCalls => wanted.calls = true,
                Means::FakedClock => wanted.clock = true,
                Means::Processor | Means::Memory => wanted.group = true,
                _ => {}
            }
        }
        wanted
    }
}

/// The machines of a run's nodes, and what befalls them.
#[derive(Debug)]
pub(in crate::cli) struct Lab {
    machines: Machines,
    host: Host,
    wanted: Wanted,
    /// The run's.
    dir: PathBuf,
}

impl Lab {
    /// Makes the machines of an errand.
    fn make(host: Host, errand: &Errand, disk_mib: u64) -> Result<Self, String> {
        let (scenario, strikes) = (&errand.scenario, &errand.timeline.0);
        let wanted = Wanted::of(strikes, disk_mib);
        let joins = strikes.iter().filter(|strike| strike.fault == Fault::Join).count() as u64;
        let abroad = (scenario.regions > 1).then_some(ABROAD);
        let numbers = || (1..=scenario.nodes + joins).chain(abroad);
        let machines = Machines::new(numbers())?;
        let dir = std::env::temp_dir().join(machines::own_name());
        // Where everybody may make directories, one that is there already may be anybody's.
        let made = files::make_own_dir(&dir)
            .and_then(|()| files::write(&dir.join(OURS), &[], Access::Owner));
        made.map_err(|error| format!("{}: {error}", dir.display()))?;
        let lab = Self { machines, host, wanted, dir };
        if wanted.clock {
            numbers().try_for_each(|number| lab.set_clock(number, 0))?;
        }
        Ok(lab)
    }

    /// Where the run has what it needs.
    pub(in crate::cli) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a node listens, and what else its configuration has of it.
    pub(in crate::cli) fn sections(&self, number: u64) -> String {
        let (at, mesh) = (self.machines.address(number), self.machines.mesh_address(number));
        let listen = format!(
            "[listen]\ndevices = \"{at}:{DEVICES}\"\nhttps = \"{at}:{HTTPS}\"\nmesh = \"{mesh}:{MESH}\"\n"
        );
        match self.wanted.disk_mib {
            None => listen,
            Some(_) => format!("{listen}\n[disk]\nroom_min_mib = {ROOM_MIN_MIB}\n"),
        }
    }

    /// A disk of its own for a node's directory, where disks are to be filled.
    pub(in crate::cli) fn disk(&self, dir: &Path) -> Result<Option<SmallDisk>, CliError> {
        let mib = self.wanted.disk_mib;
        mib.map(|mib| SmallDisk::mount(dir, mib)).transpose().map_err(CliError::failed)
    }

    fn clock(&self, number: u64) -> PathBuf {
        self.dir.join(format!("clock-{number}"))
    }

    /// The beginning of the names of the pipes by which calls are made to fail.
    fn calls(&self) -> PathBuf {
        self.dir.join("calls")
    }

    /// What starts a program on a node's machine: in the end it is that program, under the same number.
    pub(in crate::cli) fn command(&self, number: u64, program: &Path) -> Result<Command, CliError> {
        let machine = self.machines.machine(number);
        let machine = machine.ok_or_else(|| CliError::failed("the node has no machine"))?;
        let (mut libraries, mut settings) = (Vec::new(), Vec::new());
        if self.wanted.calls {
            libraries.extend(self.host.calls.iter());
            settings.push("FIU_ENABLE=".to_owned());
            settings.push(format!("FIU_CTRL_FIFO={}", self.calls().display()));
        }
        if self.wanted.clock {
            libraries.extend(self.host.clock.iter());
            settings.push(format!("FAKETIME_TIMESTAMP_FILE={}", self.clock(number).display()));
            // What measures spans is right, and what is written is seen at once.
            for of in ["FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC", "FAKETIME_NO_CACHE"] {
                settings.push(format!("{of}=1"));
            }
        }
        let mut command = Command::new("ip");
        command.args(["netns", "exec", machine]);
        // Whoever it is, a release before or a command that ends by itself: nobody is there for longer than this
        // process. It is of the thread that starts nodes, which is the first one.
        command.args(["setpriv", "--pdeathsig", "KILL"]);
        if !libraries.is_empty() {
            let libraries: Vec<String> =
                libraries.iter().map(|path| path.display().to_string()).collect();
            // Not of `ip`: a library that is loaded twice under one number has its pipes already.
            command.arg("env").arg(format!("LD_PRELOAD={}", libraries.join(":"))).args(settings);
        }
        command.arg(program);
        Ok(command)
    }

    /// A node's process was started.
    pub(in crate::cli) fn started(
        &self,
        number: u64,
        process: Option<u32>,
    ) -> Result<(), CliError> {
        let Some(process) = process else { return Ok(()) };
        if self.wanted.clock {
            let path = self.dir.join(OURS);
            let noted = files::open_append(&path, Access::Owner)
                .and_then(|mut file| file.append(format!("{process}\n").as_bytes()));
            noted.map_err(|error| CliError::failed(format!("{}: {error}", path.display())))?;
        }
        match self.wanted.group {
            true => groups::join(number, process).map_err(CliError::failed),
            false => Ok(()),
        }
    }

    /// Pulls the cable of a node that goes to other nodes, or plugs it in again.
    pub(in crate::cli) async fn plug(&self, number: u64, is_in: bool) -> Result<(), String> {
        let (plug, state) = (format!("{MESH_PLUG}{number}"), if is_in { "up" } else { "down" });
        done_meanwhile("ip", &["link", "set", &plug, state], "").await.map(drop)
    }

    /// From now on these datagrams between nodes, and no others, are stopped and counted.
    pub(in crate::cli) async fn stop_only(&self, dropped: &[Dropped]) -> Result<(), String> {
        done_meanwhile("nft", &["-f", "-"], &machines::only_dropped(dropped)).await.map(drop)
    }

    /// How many datagrams were stopped, by their counter.
    pub(in crate::cli) async fn stopped(&self, counter: &str) -> Result<u64, String> {
        packets(&done_meanwhile("nft", &[&machines::listing(counter)], "").await?)
    }

    /// From now on a node's wall clock is so much ahead, or behind where negative.
    pub(in crate::cli) fn set_clock(&self, number: u64, offset_ms: i64) -> Result<(), String> {
        let (sign, ms) = (if offset_ms < 0 { '-' } else { '+' }, offset_ms.unsigned_abs());
        let text = format!("{sign}{}.{:03}", ms / 1000, ms % 1000);
        let path = self.clock(number);
        files::write(&path, text.as_bytes(), Access::Owner)
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    /// From now on a node has so much of the processor and of the memory.
    pub(in crate::cli) fn limit(&self, number: u64, share: Share) -> Result<(), String> {
        groups::limit(number, share)
    }

    /// From now on every sync of a process fails, as on a device that is broken.
    pub(in crate::cli) async fn break_disk(&self, process: Option<u32>) -> Result<(), CliError> {
        let process = process.ok_or_else(|| CliError::failed("the node does not run"))?;
        let (calls, process) = (self.calls().display().to_string(), process.to_string());
        // 5 is EIO.
        let order = "enable name=posix/io/sync/fdatasync,failinfo=5";
        let done = done_meanwhile("fiu-ctrl", &["-f", &calls, "-c", order, &process], "").await;
        done.map(drop).map_err(CliError::failed)
    }

    /// From now on there is no room on a node's disk.
    pub(in crate::cli) async fn fill(&self, disk: &SmallDisk) -> Result<(), CliError> {
        disk.fill(LEFT_MIB).await.map_err(CliError::failed)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.wanted.group {
            groups::sweep();
        }
        forget_clocks(started(&self.dir));
        // Nodes ended before: each has a share of this.
        if let Err(error) = files::remove_dir(&self.dir) {
            let dir = self.dir.display();
            tracing::warn!(%error, %dir, "the directory of the run stays");
        }
    }
}

/// The processes with clocks of their own that a laboratory started, one for each start of a node.
fn started(dir: &Path) -> Vec<u64> {
    let noted = files::read(&dir.join(OURS)).unwrap_or_default();
    String::from_utf8_lossy(&noted).lines().filter_map(|line| line.parse().ok()).collect()
}

/// Removes what the library of clocks leaves of a process that was killed.
fn forget_clocks(processes: impl IntoIterator<Item = u64>) {
    for process in processes {
        for name in ["faketime_shm_", "sem.faketime_sem_"] {
            drop(files::remove(&Path::new("/dev/shm").join(format!("{name}{process}"))));
        }
    }
}
