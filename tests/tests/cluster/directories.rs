//! A node's directory: made in steps that may be cut short anywhere, started at one place only, and never as it was
//! before.
//!
//! **Not here:** who may not join at all (the parent).

use std::{path::Path, time::Duration};

use fieldmesh_tests::{
    live::until,
    process::{Finished, handheld::Handheld, nodes::Nodes, run},
};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{people, presence, served};

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
    let (original, moved) = (3, 13);
    nodes.set(moved, "node.number", "3");
    nodes.terminate(original).await;
    copy(&nodes.dir(original), &nodes.dir(moved));
    nodes.restart(original).await;
    let before = nodes.settle().await["members"].clone();
    is_there_twice(&nodes, moved, &nodes.address(original)).await;
    let after = nodes.cluster(&["status"]).await.expect_code(0).json()["members"].clone();
    assert_eq!(after, before, "nobody was told of another place");
    served(&nodes, &customer, &technician, "beside the copy").await;
    // In its place it is refused too: what its node did meanwhile is not in it.
    nodes.kill(original).await;
    is_older(&nodes, moved).await;
    // What was moved is let in. Then it is where it was before that it is sent away from.
    std::fs::remove_dir_all(nodes.dir(moved)).unwrap();
    copy(&nodes.dir(original), &nodes.dir(moved));
    nodes.restart(moved).await;
    nodes.settle().await;
    is_there_twice(&nodes, original, &nodes.address(moved)).await;
    nodes.settle().await;
    served(&nodes, &customer, &technician, "after the move").await;
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// Its start is refused by the other nodes, because they know more of the node than its directory has.
async fn is_older(nodes: &Nodes, number: u64) {
    let refused = nodes.launch(number).refused().await.expect_code(3);
    for word in
        ["older than what the cluster knows of it", "of node 3", "`fieldmesh cluster remove`"]
    {
        assert!(refused.stderr.contains(word), "{word:?} is not said by {refused}");
    }
}

/// Rounds of its log that node 3 told each of the others.
async fn told(nodes: &Nodes) -> [f64; 2] {
    let mut told = [0.0; 2];
    for (number, told) in (1..).zip(&mut told) {
        let metrics = nodes.node(number).metrics().await;
        let line = "fieldmesh_mesh_peer_log_rounds{peer=\"3\"} ";
        let rounds = metrics.lines().find_map(|text| text.strip_prefix(line));
        *told = rounds.unwrap_or_else(|| panic!("no {line} in {metrics}")).parse().unwrap();
    }
    told
}

/// Goes on until node 3 has told both of the others twice that its log has grown: the first time may be of what it had
/// before.
async fn go_on(nodes: &Nodes, customer: &Handheld, technician: &Handheld) {
    for text in ["once more", "and again"] {
        let before = told(nodes).await;
        served(nodes, customer, technician, text).await;
        until("both hear that the log has grown", async || {
            let now = told(nodes).await;
            before.iter().zip(now).all(|(before, now)| *before < now).then_some(())
        })
        .await;
    }
}

/// Node 3 with another directory than its own, which is put aside meanwhile.
async fn in_its_place(nodes: &Nodes, other: &Path) {
    let (own, aside) = (nodes.dir(3), nodes.beside("aside"));
    std::fs::rename(&own, &aside).unwrap();
    copy(other, &own);
    // A service manager starts it again.
    for _ in 0..2 {
        is_older(nodes, 3).await;
    }
    std::fs::remove_dir_all(&own).unwrap();
    std::fs::rename(&aside, &own).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_before_is_refused_and_a_new_node_takes_its_place() {
    let mut nodes = Nodes::start(3).await;
    let dir = TempDir::new().unwrap();
    let (customer, technician) = people(&nodes, dir.path()).await;
    // As a snapshot of its machine has it, which went on.
    let before = nodes.beside("before");
    nodes.signal(3, "STOP").await;
    copy(&nodes.dir(3), &before);
    nodes.signal(3, "CONT").await;
    go_on(&nodes, &customer, &technician).await;
    nodes.kill(3).await;
    in_its_place(&nodes, &before).await;
    served(&nodes, &customer, &technician, "without it").await;
    // The directory that it had last is taken in, however the node ended.
    nodes.restart(3).await;
    nodes.settle().await;
    nodes.kill(3).await;
    nodes.restart(3).await;
    nodes.settle().await;
    nodes.terminate(3).await;
    nodes.restart(3).await;
    nodes.settle().await;
    served(&nodes, &customer, &technician, "with it").await;
    // The others are started again while it is away: they have it in writing.
    nodes.kill(3).await;
    for number in [1, 2] {
        nodes.kill(number).await;
        nodes.restart(number).await;
    }
    in_its_place(&nodes, &before).await;
    // Where nothing else is left of it, a new node takes its place, and gets from the others what it had.
    std::fs::remove_dir_all(nodes.dir(3)).unwrap();
    nodes.join(4).await.expect_code(0);
    nodes.restart(4).await;
    let removed = nodes.cluster(&["remove", "3"]).await.expect_code(0).json();
    assert_eq!(presence(&removed, 3), "gone");
    served(&nodes, &customer, &technician, "with the new one").await;
}

/// Has a node that does not run forget what it heard of node 3.
async fn forgets(nodes: &Nodes, number: u64) -> Finished {
    let config = nodes.config(number, &[]);
    run("fieldmesh", &["forget-starts", "3", "--json", "--config", config.to_str().unwrap()]).await
}

/// As the runbook has it for a cluster whose nodes would rather go on with what they have.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_directory_is_taken_in_where_the_others_are_told_to_forget() {
    let mut nodes = Nodes::start(3).await;
    let dir = TempDir::new().unwrap();
    let (customer, technician) = people(&nodes, dir.path()).await;
    let before = nodes.beside("before");
    nodes.signal(3, "STOP").await;
    copy(&nodes.dir(3), &before);
    nodes.signal(3, "CONT").await;
    go_on(&nodes, &customer, &technician).await;
    nodes.kill(3).await;
    std::fs::remove_dir_all(nodes.dir(3)).unwrap();
    copy(&before, &nodes.dir(3));
    is_older(&nodes, 3).await;
    let busy = forgets(&nodes, 1).await.expect_code(2);
    assert!(busy.stderr.contains("stop this node first"), "{busy}");
    for number in [1, 2] {
        nodes.terminate(number).await;
        let forgot = forgets(&nodes, number).await.expect_code(0);
        assert!(forgot.json()["start"].is_u64(), "{forgot}");
        let audit = std::fs::read_to_string(nodes.dir(number).join("audit.jsonl")).unwrap();
        assert!(audit.contains(r#""event":"starts_forgotten","node":3"#), "{audit}");
        nodes.restart(number).await;
    }
    nodes.restart(3).await;
    nodes.settle().await;
    served(&nodes, &customer, &technician, "with the older one").await;
}
