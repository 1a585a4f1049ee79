//! How many bytes an entity that is awake costs, by the resident memory of a process.
//!
//! The process that fills the directory has a heap full of holes that would hide the cost, so the
//! tickets wake in another one.

use std::path::Path;

use fieldmesh_domain::{Command, EntityId, EntityKind, IndexRow, TimerName, ticket};
use serde_json::{Value, json};
use tokio::process;

use crate::{Failed, Size, population::fill, start};

/// Tickets listed at once.
const PAGE: usize = 1000;

pub(crate) async fn run(size: &Size) -> Result<Value, Failed> {
    let dir = tempfile::tempdir()?;
    let server = start(dir.path()).await?;
    fill(&server.node, size.tickets, size.open_percent).await?;
    server.stop().await;
    let mut program = process::Command::new(std::env::current_exe()?);
    let output = program.arg("awake").arg(dir.path()).kill_on_drop(true).output().await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Wakes every ticket of a directory, and tells what that took.
pub(crate) async fn awake(dir: &Path) -> Result<Value, Failed> {
    let server = start(dir).await?;
    let mut tickets: Vec<EntityId> = Vec::new();
    for journal in server.node.journals() {
        let mut after = None;
        loop {
            let rows = journal.index(EntityKind::Ticket, after, PAGE)?;
            let ids = rows.iter().map(IndexRow::id);
            tickets.extend(ids);
            let Some(last) = rows.last() else { break };
            after = Some(last.id());
        }
    }
    // Once without waking, so that the caches of the store are not counted.
    for ticket in &tickets {
        let journal = server.node.journal_of(*ticket).ok_or("a ticket's shard does not run")?;
        journal.state::<ticket::Ticket>(*ticket)?;
    }
    let before = resident_bytes()?;
    for ticket in &tickets {
        // A timer that was never set: the ticket wakes, and nothing changes.
        let (name, generation) = (TimerName::Deadline, u32::MAX);
        let stale = ticket::Command::Timer { name, generation, marks: None };
        server.node.ask(*ticket, Command::Ticket(stale)).await?;
    }
    let bytes = resident_bytes()?.saturating_sub(before);
    let awake = server.node.awake().await;
    server.stop().await;
    Ok(json!({
        "tickets": tickets.len(),
        "awake": awake,
        "resident_before_bytes": before,
        "bytes_per_entity": bytes / awake.max(1) as u64,
    }))
}

/// Of this process (proc_pid_statm(5)); pages are 4 KiB on every platform this runs on.
fn resident_bytes() -> Result<u64, Failed> {
    const PAGE: u64 = 4096;
    let text = fieldmesh_node::files::read(Path::new("/proc/self/statm"))?;
    let text = String::from_utf8(text)?;
    let pages: u64 = text.split_whitespace().nth(1).ok_or("no resident size")?.parse()?;
    Ok(pages * PAGE)
}
