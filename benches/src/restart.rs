//! How long a node takes from its start until it answers, and until it dispatches.

use std::time::Duration;

use fieldmesh_domain::IndexRow;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{Failed, Size, population::fill, start};

/// A dispatch that takes longer than this does not work.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(size: &Size) -> Result<Value, Failed> {
    let dir = tempfile::tempdir()?;
    let server = start(dir.path()).await?;
    let began = Instant::now();
    fill(&server.node, size.tickets, size.open_percent).await?;
    let filled = began.elapsed();
    server.stop().await;

    let began = Instant::now();
    let server = start(dir.path()).await?;
    let ready = began.elapsed();
    // The first dispatch wakes the desk, which has to read what it knows.
    let mut rows = server.node.steps.watch_rows();
    let began = Instant::now();
    let more = crate::population::one_more(&server.node, size.tickets).await?;
    let dispatched = async {
        loop {
            match rows.recv().await? {
                IndexRow::Ticket { id, technician: Some(_), .. } if id == more => {
                    return Ok::<_, Failed>(began.elapsed());
                }
                _ => {}
            }
        }
    };
    let first_dispatch = timeout(PATIENCE, dispatched).await??;
    server.stop().await;
    Ok(json!({
        "tickets": size.tickets,
        "open_percent": size.open_percent,
        "fill_seconds": filled.as_secs_f64(),
        "ready_ms": ready.as_millis() as u64,
        "first_dispatch_ms": first_dispatch.as_millis() as u64,
    }))
}
