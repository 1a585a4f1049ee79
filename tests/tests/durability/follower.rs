//! A follower's answer counts only behind its own sync: three nodes, of which the third is traced and the second is
//! down, so that nothing is acknowledged without the third one's word.
//!
//! The same with the bug that this is to find: there, acknowledgements come while the sync is still held up. **Not
//! here:** votes, of which nobody outside is told when they are given (`scripts/mutants`: `vote_in_memory`).

use std::{path::Path, time::Duration};

use fieldmesh_tests::{
    live::until_within,
    process::{PATIENCE, Server, nodes::Nodes},
};
use tempfile::TempDir;

use super::{
    LOG_CALLS, SYNC_DELAY,
    phone::{self, Phone, now_s},
    still, strace,
    trace::Trace,
};

/// With the first one, fewer than a device may have under way without having heard of any.
const REQUESTS: usize = 5;
/// Some syncs that are held up, and nothing else that has to do with a request, fit into it.
const STILL: Duration = Duration::from_millis(400);
const LEADER: u64 = 1;
const DOWN: u64 = 2;
const FOLLOWER: u64 = 3;

/// Waits until every group is led by the one node that is not drained.
async fn led_by_one(nodes: &Nodes) {
    until_within(PATIENCE, "every group is led by the first node", async || {
        let view = nodes.node(LEADER).ask(&["cluster", "status"]).await;
        let mut groups = view["groups"].as_array().unwrap().iter();
        groups.all(|group| group["leader"] == LEADER).then_some(())
    })
    .await;
}

/// Starts the follower, traced, and has the other one that could stand in for it end.
async fn alone_with_it(nodes: &mut Nodes, bug: &str, trace: &Path) -> Server {
    let wrapper = strace(LOG_CALLS, trace);
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let launch = nodes.launch(FOLLOWER).env("FIELDMESH_MUTANT", bug);
    let follower = launch.under(&wrapper).ready().await;
    led_by_one(nodes).await;
    nodes.terminate(DOWN).await;
    led_by_one(nodes).await;
    follower
}

/// Of each request: seconds until it was acknowledged, and how many of the follower's syncs came between.
async fn acknowledged(nodes: &Nodes, name: &str, trace: &Path) -> Vec<(f64, usize)> {
    let csv = format!("name,lat,lon\n{name},48.85,2.35\n");
    let customer = nodes.node(LEADER).register("customer", &csv).await.remove(0);
    let mut phone = Phone::connect(nodes.node(LEADER), &customer).await;
    let mut requests = phone.requests(REQUESTS).into_iter();
    // Whoever leads anew may be busy at first.
    let first = requests.next().unwrap();
    until_within(PATIENCE, "the first request is taken", async || {
        phone::is_accepted(&phone.connection, &first).await.then_some(())
    })
    .await;
    let mut all = Vec::new();
    for request in requests {
        still(trace, STILL).await;
        let sent = now_s();
        let accepted = phone::accepted(&phone.connection, request).await;
        all.push((accepted - sent, Trace::read(trace).rounds(sent, accepted)));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_waits_for_a_followers_disk_and_where_it_does_not_that_is_seen() {
    let traces = TempDir::new().unwrap();
    let (trace, other) = (traces.path().join("trace"), traces.path().join("other"));
    let mut nodes = Nodes::start(3).await;
    for drained in ["2", "3"] {
        nodes.cluster(&["drain", drained]).await.expect_code(0);
    }
    nodes.terminate(FOLLOWER).await;

    let follower = alone_with_it(&mut nodes, "", &trace).await;
    let all = acknowledged(&nodes, "Ada", &trace).await;
    println!("seconds to an acknowledgement, and syncs of the follower before it: {all:?}");
    for (took_s, syncs) in &all {
        assert!(*syncs > 0, "acknowledged without the follower's sync: {all:?}");
        assert!(*took_s >= SYNC_DELAY.as_secs_f64(), "nobody waited for the follower: {all:?}");
    }
    nodes.restart(DOWN).await;
    follower.terminate().await.expect_code(0);

    let follower = alone_with_it(&mut nodes, "ack_before_sync", &other).await;
    let all = acknowledged(&nodes, "Ben", &other).await;
    println!("the same with a follower that answers before its sync: {all:?}");
    assert!(all.iter().any(|(_, syncs)| *syncs == 0), "what it answers too early is not seen");
    follower.kill().await;
}
