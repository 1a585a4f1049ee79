//! The release before this one beside this one: a cluster that is upgraded one node after the other while
//! customers ask.
//!
//! `scripts/previous` builds the other program; without it this says so, and tests nothing.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests fail by panicking, and print what they measure"
)]

use std::path::PathBuf;

use fieldmesh_tests::{
    live::until,
    process::{crowd::Crowd, nodes::Nodes, program, text},
};
use tokio::time::Instant;

/// Whose program runs beside the one that is tested.
const PREVIOUS: &str = include_str!("../previous-release");
const CUSTOMERS: usize = 6;
const TECHNICIANS: usize = 3;

/// The program of the release before.
fn previous() -> Option<PathBuf> {
    let commit = PREVIOUS.lines().find(|line| !line.starts_with('#'))?.trim();
    let target = program("fieldmesh").parent()?.parent()?.to_owned();
    let path = target.join("previous").join(commit).join("fieldmesh");
    path.is_file().then_some(path)
}

#[tokio::test]
async fn two_releases_serve_side_by_side_while_one_takes_over() {
    let Some(previous) = previous() else {
        eprintln!("!!! MIXED VERSIONS ARE NOT TESTED: run scripts/previous first");
        return;
    };
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
    }
    // What only this release understands is not written before all say that they do.
    let levels = async || {
        let status = nodes.any().ask(&["cluster", "status"]).await;
        let members = status["members"].as_array().unwrap().iter();
        members.map(|member| member["level"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    until("each node says what it understands", async || {
        levels().await.iter().all(|level| *level > 0).then_some(())
    })
    .await;
    // One whose leader dies among two releases is another matter than one that hands over.
    nodes.kill(2).await;
    crowd.served_since(Instant::now()).await;
    nodes.restart(2).await;
    nodes.settle().await;
    let tally = crowd.disperse().await;
    println!("{tally}");
    tally.expect_whole();
}
