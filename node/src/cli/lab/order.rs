//! Programs of this machine that the laboratory has its work done by: `ip`, `nft`, `mount` and such.
//!
//! **Invariants:** each is waited for, while a run goes on within a bound; what one says against it is told as the
//! reason. **Not here:** what they are to do.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
    time::Duration,
};

use tokio::io::AsyncWriteExt as _;

/// Each does its work at once; who takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);

fn ordered(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What it said, or what it has against it.
fn said(program: &str, done: std::io::Result<Output>) -> Result<String, String> {
    let Output { status, stdout, stderr } = done.map_err(|error| format!("{program}: {error}"))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).trim().to_owned());
    }
    let told = String::from_utf8_lossy(&stderr);
    match told.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(why) => Err(format!("{program}: {why}")),
        None => Err(format!("{program}: {status}")),
    }
}

/// Whether a program is here, whatever it says of what it is asked.
pub(super) fn is_here(program: &str) -> bool {
    ordered(program, &["--version"]).output().is_ok()
}

/// Runs a program to its end, which reads this.
pub(super) fn done(program: &str, args: &[&str], input: &str) -> Result<String, String> {
    let run = || {
        let mut child = ordered(program, args).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends before it has read all says why.
            drop(stdin.write_all(input.as_bytes()));
        }
        child.wait_with_output()
    };
    said(program, run())
}

/// The same while others go on.
pub(super) async fn done_meanwhile(
    program: &str,
    args: &[&str],
    input: &str,
) -> Result<String, String> {
    let run = async || {
        let mut command = tokio::process::Command::from(ordered(program, args));
        let mut child = command.kill_on_drop(true).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            drop(stdin.write_all(input.as_bytes()).await);
        }
        child.wait_with_output().await
    };
    let done = tokio::time::timeout(PATIENCE, run()).await;
    said(program, done.map_err(|_| format!("{program}: it does not end"))?)
}
