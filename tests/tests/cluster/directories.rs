//! A node's directory: made in steps that may be cut short anywhere, and started at one place only.
//!
//! **Not here:** who may not join at all (the parent).

use std::time::Duration;

use fieldmesh_tests::process::nodes::Nodes;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{people, served};

/// How long the first attempt to join may take, and by which part each longer than the one before: all together take
/// some eight times what one takes that is not killed.
const FIRST: Duration = Duration::from_millis(25);
const LONGER: f64 = 1.15;
/// The last one of these has minutes.
const ATTEMPTS_MAX: i32 = 60;

/// The token, the certificate and the region's keys are asked for one after the other, and each is kept before the
/// next: whatever moment an attempt ends at, the next one goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_is_killed_at_any_moment_is_repeated_with_the_same_token() {
    let mut nodes = Nodes::start(2).await;
    let (user, secret) = nodes.token("node").await;
    let config = nodes.config(3, &[]);
    let mut killed = 0;
    let joined = loop {
        assert!(killed < ATTEMPTS_MAX, "it never joined");
        let joining = nodes.join_as(&config, &user, &secret);
        if let Ok(joined) = timeout(FIRST.mul_f64(LONGER.powi(killed)), joining).await {
            break joined;
        }
        killed += 1;
    };
    assert!(killed > 0, "nothing was cut short");
    joined.expect_code(0);
    nodes.restart(3).await;
    let view = nodes.settle().await;
    assert_eq!(view["members"].as_array().unwrap().len(), 3, "{view}");
    // It is a node as good as the others.
    let dir = TempDir::new().unwrap();
    let (customer, technician) = people(&nodes, dir.path()).await;
    served(&nodes, &customer, &technician, "with three").await;
    nodes.kill(1).await;
    served(&nodes, &customer, &technician, "without the first one").await;
}

/// Its start is refused by the other nodes, because the same node answers at that place.
async fn is_there_twice(nodes: &Nodes, number: u64, at: &str) {
    let refused = nodes.launch(number).refused().await.expect_code(3);
    for word in ["this node runs elsewhere too", at, "stop the node there"] {
        assert!(refused.stderr.contains(word), "{word:?} is not said by {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_nodes_directory_runs_only_in_its_place() {
    let mut nodes = Nodes::start(3).await;
    let dir = TempDir::new().unwrap();
    let (customer, technician) = people(&nodes, dir.path()).await;
    let (original, copy) = (3, 13);
    nodes.set(copy, "node.number", "3");
    nodes.terminate(original).await;
    let (from, to) = (nodes.dir(original), nodes.dir(copy));
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
    nodes.restart(original).await;
    let before = nodes.settle().await["members"].clone();
    is_there_twice(&nodes, copy, &nodes.address(original)).await;
    let after = nodes.cluster(&["status"]).await.expect_code(0).json()["members"].clone();
    assert_eq!(after, before, "nobody was told of another place");
    served(&nodes, &customer, &technician, "beside the copy").await;
    // In its place it is let in, and gets what it has not: what was asked for meanwhile. Then it is where it was before
    // that it is sent away from.
    nodes.kill(original).await;
    nodes.restart(copy).await;
    is_there_twice(&nodes, original, &nodes.address(copy)).await;
    nodes.settle().await;
    served(&nodes, &customer, &technician, "after the move").await;
}
