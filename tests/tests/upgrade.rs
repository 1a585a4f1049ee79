//! The release before this one beside this one: a cluster that is upgraded one node after the other while
//! customers ask.
//!
//! `scripts/previous` builds the other program; without it this says so and tests nothing, but for where it has to be
//! there.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and print what they measure"
)]

use fieldmesh_domain::placement::LEVEL;
use fieldmesh_tests::{
    live::until,
    process::{crowd::Crowd, nodes::Nodes, previous, text},
};
use serde_json::Value;
use tokio::time::Instant;

const CUSTOMERS: usize = 6;
const TECHNICIANS: usize = 3;

/// Until each of these nodes is known to understand what the older release does not.
async fn understood(nodes: &Nodes, numbers: &[u64]) {
    until("each node says what it understands", async || {
        let status = nodes.any().ask(&["cluster", "status"]).await;
        let members = status["members"].as_array().unwrap().iter();
        let is_older =
            |member: &&Value| member["level"].as_u64().is_none_or(|at| at < u64::from(LEVEL));
        let older: Vec<u64> =
            members.filter(is_older).map(|member| member["number"].as_u64().unwrap()).collect();
        numbers.iter().all(|number| !older.contains(number)).then_some(())
    })
    .await;
}

/// The older node 3 leads the placement group again and writes anew where the others stand, without what it does
/// not know they said to a newer leader.
async fn lead_as_before(nodes: &mut Nodes) {
    for orders in [&[("drain", "3")][..], &[("resume", "3"), ("drain", "1"), ("drain", "2")]] {
        for (order, number) in orders {
            nodes.cluster(&[order, number]).await.expect_code(0);
        }
        let is_last = orders.len() > 1;
        until("the placement group is led elsewhere", async || {
            let status = nodes.any().ask(&["cluster", "status"]).await;
            let leader = status["groups"].as_array()?.iter().find(|group| group["group"] == 0)?;
            ((leader["leader"] == 3) == is_last).then_some(())
        })
        .await;
        if !is_last {
            understood(nodes, &[1, 2]).await;
        }
    }
    // The second before the first takes the lead again.
    for number in ["2", "1"] {
        nodes.cluster(&["resume", number]).await.expect_code(0);
    }
    nodes.settle().await;
}

#[tokio::test]
async fn two_releases_serve_side_by_side_while_one_takes_over() {
    let Some(previous) = previous("MIXED VERSIONS ARE NOT TESTED") else { return };
    let mut nodes = Nodes::prepare(&[]);
    for number in 1..=3 {
        nodes.set_program(number, text(&previous));
    }
    nodes.begin(3).await;
    let crowd = Crowd::gather(nodes.any(), &nodes.devices(), CUSTOMERS, TECHNICIANS).await;
    crowd.served_since(Instant::now()).await;
    // To and fro: the first one is taken back while the second is new, and upgraded again.
    for (number, is_new) in [(1, true), (2, true), (1, false), (3, true), (1, true)] {
        let drained = number.to_string();
        nodes.cluster(&["drain", &drained]).await.expect_code(0);
        nodes.terminate(number).await;
        nodes.set_program(number, if is_new { "fieldmesh" } else { text(&previous) });
        nodes.restart(number).await;
        nodes.cluster(&["resume", &drained]).await.expect_code(0);
        nodes.settle().await;
        let took = crowd.served_since(Instant::now()).await;
        let release = if is_new { "new" } else { "old" };
        println!("with a {release} node {number}, served after {} ms", took.as_millis());
        if (number, is_new) == (2, true) {
            lead_as_before(&mut nodes).await;
        }
    }
    // What only this release understands is not written before all say that they do.
    understood(&nodes, &[1, 2, 3]).await;
    // One whose leader dies among two releases is another matter than one that hands over.
    nodes.kill(2).await;
    crowd.served_since(Instant::now()).await;
    nodes.restart(2).await;
    nodes.settle().await;
    let tally = crowd.disperse().await;
    println!("{tally}");
    tally.expect_whole();
}
