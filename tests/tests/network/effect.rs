//! That a fault is in force, by what nodes say of their ways to each other and the kernel of their processes: a test
//! whose cables stay plugged passes, too.
//!
//! A way is from one node to another, and what the first one says of it. **Invariants:** only nodes are asked that the
//! test reaches; every wait has a bound. A way that is to be cut has to be there before: one that never was proves
//! nothing. **Not here:** the faults (`network`).

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_tests::{live::until, process::nodes::Nodes};

/// 1 while a node has a connection to another one. It gives that up when it has heard nothing on it for three seconds.
const UP: &str = "fieldmesh_mesh_peer_up";
const ROUND_TRIP: &str = "fieldmesh_mesh_peer_rtt_seconds";
const LOST: &str = "fieldmesh_mesh_peer_lost_packets_total";

/// What is said of a way.
struct Way {
    is_up: bool,
    round_trip_s: f64,
    lost_packets: f64,
}

impl Way {
    fn said(metrics: &str, to: u64) -> Self {
        let figure = |name: &str| {
            let begin = format!("{name}{{peer=\"{to}\"}} ");
            let mut lines = metrics.lines();
            let said = lines.find_map(|line| line.strip_prefix(&begin)?.parse::<f64>().ok());
            said.unwrap_or(0.0)
        };
        let [up, round_trip_s, lost_packets] = [UP, ROUND_TRIP, LOST].map(figure);
        Self { is_up: up > 0.5, round_trip_s, lost_packets }
    }
}

async fn said(nodes: &Nodes, ways: &[(u64, u64)]) -> Vec<Way> {
    let asked: BTreeSet<u64> = ways.iter().map(|(from, _)| *from).collect();
    let mut metrics = BTreeMap::new();
    for node in asked {
        metrics.insert(node, nodes.node(node).metrics().await);
    }
    ways.iter().map(|(from, to)| Way::said(&metrics[from], *to)).collect()
}

/// All ways between nodes here and there, in both directions.
pub(super) fn between(here: &[u64], there: &[u64]) -> Vec<(u64, u64)> {
    let both = here.iter().flat_map(|one| there.iter().map(move |other| (*one, *other)));
    both.flat_map(|(one, other)| [(one, other), (other, one)]).collect()
}

/// Waits until all of these ways are there, as those from whoever leads something are.
pub(super) async fn expect_ways(nodes: &Nodes, ways: &[(u64, u64)]) {
    until("all ways are there", async || {
        said(nodes, ways).await.iter().all(|way| way.is_up).then_some(())
    })
    .await;
}

/// Waits until one of these ways is there.
pub(super) async fn expect_a_way(nodes: &Nodes, ways: &[(u64, u64)]) {
    until("there is a way", async || {
        said(nodes, ways).await.iter().any(|way| way.is_up).then_some(())
    })
    .await;
}

/// Waits until none of these ways is there any more.
pub(super) async fn expect_no_way(nodes: &Nodes, ways: &[(u64, u64)]) {
    until("the cut is in force", async || {
        said(nodes, ways).await.iter().all(|way| !way.is_up).then_some(())
    })
    .await;
}

/// Waits until those of these ways that are there, one at least, take so long, there and back.
pub(super) async fn expect_slow(nodes: &Nodes, ways: &[(u64, u64)], seconds: f64) {
    until("the ways are slow", async || {
        let mut said = said(nodes, ways).await;
        said.retain(|way| way.is_up);
        let is_slow = !said.is_empty() && said.iter().all(|way| way.round_trip_s >= seconds);
        is_slow.then_some(())
    })
    .await;
}

/// Packets that were lost on these ways, as far as who sent them came to know.
pub(super) async fn lost(nodes: &Nodes, ways: &[(u64, u64)]) -> f64 {
    said(nodes, ways).await.iter().map(|way| way.lost_packets).sum()
}

/// Waits until so many packets were lost.
pub(super) async fn expect_lost(nodes: &Nodes, ways: &[(u64, u64)], packets: f64) {
    until("packets are lost", async || (lost(nodes, ways).await >= packets).then_some(())).await;
}

/// Waits until a node's process stands still.
pub(super) async fn expect_stopped(nodes: &Nodes, number: u64) {
    let file = format!("/proc/{}/stat", nodes.node(number).running.pid());
    until("the process stands still", async || {
        let stat = std::fs::read_to_string(&file).unwrap();
        // The state comes behind the name, which has brackets around it and may have any within.
        let (_, state) = stat.rsplit_once(") ").unwrap();
        state.starts_with('T').then_some(())
    })
    .await;
}
