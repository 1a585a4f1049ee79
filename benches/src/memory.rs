//! How many bytes an entity that is awake costs, by the resident memory of the process.

use fieldmesh_domain::{Command, ticket};
use serde_json::{Value, json};

use crate::{Failed, Size, population::fill, start};

pub(crate) async fn run(size: &Size) -> Result<Value, Failed> {
    let dir = tempfile::tempdir()?;
    let server = start(dir.path()).await?;
    let tickets = fill(&server.node, size.tickets, size.open_percent).await?;
    server.stop().await;

    // Started anew, nothing is awake. Reading every ticket once fills the caches of the store, so
    // that they are not counted.
    let server = start(dir.path()).await?;
    for ticket in &tickets {
        let journal = server.node.journal_of(*ticket).ok_or("a ticket's shard does not run")?;
        journal.state::<ticket::Ticket>(*ticket)?;
    }
    let before = resident_bytes()?;
    for ticket in &tickets {
        // A timer that was never set: the ticket wakes, and nothing changes.
        let stale = ticket::Command::Timer {
            name: fieldmesh_domain::TimerName::Deadline,
            generation: u32::MAX,
        };
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
    let text = fieldmesh_node::files::read(std::path::Path::new("/proc/self/statm"))?;
    let text = String::from_utf8(text)?;
    let pages: u64 = text.split_whitespace().nth(1).ok_or("no resident size")?.parse()?;
    Ok(pages * PAGE)
}
