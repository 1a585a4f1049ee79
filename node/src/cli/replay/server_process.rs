//! The server as a child process: started, measured, killed, started again.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Duration, timeout},
};

use crate::{
    cli::{CliError, api::Api},
    files,
    web::rest::Page,
};

/// A start with a large log takes seconds.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Microseconds of a clock tick of the kernel's process accounting: 100 Hz on every Linux.
const TICK_US: u64 = 10_000;

/// What the server used since it was first started.
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

/// A running `fieldmesh dev`.
pub(super) struct ServerProcess {
    dir: PathBuf,
    child: Child,
    https: String,
    devices: String,
    /// Of processes that were killed.
    spent: Usage,
}

impl ServerProcess {
    pub(super) async fn start(dir: &Path) -> Result<Self, CliError> {
        let any = "127.0.0.1:0".to_owned();
        let (child, https, devices) = spawn(dir, &any, &any).await?;
        Ok(Self { dir: dir.to_owned(), child, https, devices, spent: Usage::default() })
    }

    pub(super) fn api(&self) -> Result<Api, CliError> {
        Api::from_dir(&self.dir)
    }

    /// What all processes so far used.
    pub(super) async fn usage(&self) -> Result<Usage, CliError> {
        Ok(self.spent.plus(&self.current().await?))
    }

    async fn current(&self) -> Result<Usage, CliError> {
        let pid = self.child.id().ok_or_else(|| CliError::failed("the server has ended"))?;
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

    /// SIGKILL, and the same server again on the same addresses.
    pub(super) async fn kill_and_restart(&mut self) -> Result<(), CliError> {
        self.spent = self.usage().await?;
        self.child
            .kill()
            .await
            .map_err(|error| CliError::failed(format!("the server cannot be killed: {error}")))?;
        (self.child, ..) = spawn(&self.dir, &self.https, &self.devices).await?;
        Ok(())
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
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "the server was gone already");
        }
    }
}

async fn spawn(
    dir: &Path,
    https: &str,
    devices: &str,
) -> Result<(Child, String, String), CliError> {
    let failed =
        |error: std::io::Error| CliError::failed(format!("the server cannot be started: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .args(["dev", "--json", "--https", https, "--devices", devices, "--data-dir"])
        .arg(dir)
        .env("FIELDMESH__LOG__FILTER", "error")
        // A log replayed at full speed makes one technician as busy as a hundred.
        .env("FIELDMESH__LISTEN__DEVICE_MESSAGES_PER_S", "10000")
        .env("FIELDMESH__LISTEN__DEVICE_MESSAGES_BURST", "10000")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let stdout = child.stdout.take().ok_or_else(|| CliError::failed("the server has no output"))?;
    let mut lines = BufReader::new(stdout).lines();
    let line = timeout(START_TIMEOUT, lines.next_line())
        .await
        .map_err(|_| CliError::failed("the server was not ready in time"))?;
    let line =
        line.map_err(failed)?.ok_or_else(|| CliError::failed("the server ended while starting"))?;
    let ready: serde_json::Value = serde_json::from_str(&line)
        .map_err(|error| CliError::failed(format!("{line}: {error}")))?;
    let text = |key: &str| {
        ready[key].as_str().unwrap_or_default().trim_start_matches("https://").to_owned()
    };
    Ok((child, text("https"), text("devices")))
}
