//! A node that was away for longer than the others keep their logs gets snapshots, and so does a new one, while
//! customers ask all the time; also where it is killed while one arrives, and more than once.
//!
//! **Not here:** one installation, step by step (`groups`).

use std::time::Duration;

use fieldmesh_tests::{
    live::until,
    process::{Server, crowd::Crowd, nodes::Nodes},
};
use tokio::time::{Instant, timeout};

use crate::{CUSTOMERS, NODES, TECHNICIANS, account};

/// So few that each group's log begins anew every second or two.
const SETTINGS: [(&str, &str); 1] = [("raft.snapshot_every", "100")];
/// Rounds in which every customer is served, while a node is away: some hundred entries for each shard.
const ROUNDS: usize = 14;
/// After so many milliseconds a node that catches up is killed: before, while and after its groups start.
const KILLED_AFTER: [u64; 5] = [150, 300, 500, 800, 1300];

async fn ask_for_long(crowd: &Crowd) {
    for _ in 0..ROUNDS {
        crowd.served_since(Instant::now()).await;
    }
}

async fn counted(server: &Server, name: &str) -> u64 {
    let metrics = server.metrics().await;
    let mut lines = metrics.lines();
    let count = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    count.map_or(0, |count| count.parse().unwrap())
}

async fn installed(server: &Server) -> u64 {
    counted(server, "fieldmesh_snapshots_installed_total").await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_for_long_and_who_is_new_get_snapshots_under_load() {
    let mut nodes = Nodes::start_in(None, NODES, &SETTINGS).await;
    let crowd = Crowd::gather(nodes.any(), &nodes.devices(), CUSTOMERS, TECHNICIANS).await;
    ask_for_long(&crowd).await;
    nodes.kill(3).await;
    ask_for_long(&crowd).await;
    for after in KILLED_AFTER {
        // Whoever is not ready by then is killed as it is.
        if let Ok(server) = timeout(Duration::from_millis(after), nodes.launch(3).ready()).await {
            server.kill().await;
        }
        crowd.served_since(Instant::now()).await;
    }
    // Whatever it had already in the last attempt, the others' logs begin behind it now.
    ask_for_long(&crowd).await;
    nodes.restart(3).await;
    until("snapshots are installed", async || (installed(nodes.node(3)).await > 0).then_some(()))
        .await;
    ask_for_long(&crowd).await;
    nodes.join(4).await.expect_code(0);
    nodes.restart(4).await;
    nodes.settle().await;
    assert!(installed(nodes.node(4)).await > 0, "the logs do not reach back to the beginning");
    let mut saved = 0;
    for sender in 1..=3 {
        saved += counted(nodes.node(sender), "fieldmesh_mesh_saved_bytes_total").await;
    }
    assert!(saved > 0, "nothing went packed, and each node reads what is");
    // What the late ones have is all that there is, where the others are gone.
    ask_for_long(&crowd).await;
    nodes.kill(1).await;
    account(crowd, nodes.node(3), 0).await;
}
