//! Runs that somebody ends before they are over: whatever they broke is mended, and whom they brought is gone.

use fieldmesh_tests::{
    live::until,
    process::{Running, fieldmesh, nodes::Nodes, text},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::written;

/// A fault that is no lease and lasts nearly as long as the run.
const DRAINED: &str = r#"
name = "drained"
target = "staging"
duration = "5m"

[workload]
rate = 10
customers = 4
technicians = 3
reads = 2

[[fault]]
kind = "drain"
at = "2s"
for = "4m"
pick = "node:2"

[check]
recover_within = "30s"
promises = ["I1", "I2", "I3", "I4", "I6", "I7", "I8", "I9"]
"#;

async fn presence(nodes: &Nodes, number: u64) -> String {
    let status = nodes.cluster(&["status"]).await.expect_code(0).json();
    let members = status["members"].as_array().unwrap();
    let member = members.iter().find(|member| member["number"] == number).unwrap();
    member["presence"].as_str().unwrap().to_owned()
}

/// Of the technicians, those who have a device, and all of them.
async fn technicians(nodes: &Nodes) -> (u64, u64) {
    let health = fieldmesh(&nodes.dir(1), &["tech", "health"]).await.expect_code(0).json();
    let complaints = health["complaints"].as_array().unwrap();
    let gone = complaints.iter().filter(|one| one["what"] == "no_device").count() as u64;
    let all = health["looked_at"].as_u64().unwrap();
    (all - gone, all)
}

async fn all_are_gone(nodes: &Nodes) {
    until("its technicians have no devices", async || {
        (technicians(nodes).await.0 == 0).then_some(())
    })
    .await;
}

fn begun(nodes: &Nodes, scenario: &str, out: &str) -> Running {
    let dir = nodes.dir(1);
    let args = ["chaos", "run", scenario, "--out", out, "--json", "--data-dir", text(&dir)];
    Running::start("fieldmesh", &args)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_interrupted_mends_what_it_broke_and_takes_its_people_away() {
    let nodes = Nodes::start_in(None, 3, &[("chaos.enabled", "true")]).await;
    let dir = TempDir::new().unwrap();
    // While it brings its people, of whom there are enough to be met with at that.
    let many = DRAINED.replacen("technicians = 3", "technicians = 40", 1);
    let (many, out) = (written(dir.path(), "many.toml", &many), dir.path().join("many"));
    let run = begun(&nodes, &many, text(&out));
    until("the first of them is there", async || (technicians(&nodes).await.1 > 0).then_some(()))
        .await;
    let ended = run.end_with("TERM").await.expect_code(2).json();
    assert!(ended["error"].as_str().unwrap().contains("interrupted"), "{ended}");
    all_are_gone(&nodes).await;

    // While a node is drained.
    let (scenario, out) = (written(dir.path(), "drained.toml", DRAINED), dir.path().join("out"));
    let run = begun(&nodes, &scenario, text(&out));
    until("the node is drained", async || (presence(&nodes, 2).await == "draining").then_some(()))
        .await;
    let ended = run.end_with("INT").await.expect_code(2).json();
    assert!(ended["error"].as_str().unwrap().contains("interrupted"), "{ended}");
    assert_eq!(presence(&nodes, 2).await, "active");
    all_are_gone(&nodes).await;
    let results: Value =
        serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
    assert_eq!(results["ending"], json!("aborted"), "{results}");
    assert!(out.join("report.html").is_file());
}

/// Two faults of one node, the second one long after the first one began.
const SLOWED: &str = r#"
name = "slowed"
target = "staging"
duration = "5m"

[workload]
rate = 10
customers = 4
technicians = 3
reads = 2

[[fault]]
kind = "disk.slow"
at = "2s"
for = "4m"
pick = "node:2"
delay = "20ms"

[[fault]]
kind = "delay"
every = "15s"
from = "60s"
for = "5s"
pick = "node:3"
delay = "20ms"

[check]
recover_within = "30s"
promises = ["I1", "I2", "I3", "I4", "I6", "I7", "I8", "I9"]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_fault_somebody_stops_on_the_node_is_given_up_and_strikes_nobody_more() {
    let nodes = Nodes::start_in(None, 3, &[("chaos.enabled", "true")]).await;
    let dir = TempDir::new().unwrap();
    let (scenario, out) = (written(dir.path(), "slowed.toml", SLOWED), dir.path().join("out"));
    let run = begun(&nodes, &scenario, text(&out));
    let history = out.join("history.jsonl");
    let strikes = |phase: &str| {
        let history = std::fs::read_to_string(&history).unwrap_or_default();
        history.lines().filter(|line| line.contains(&format!(r#""phase":"{phase}""#))).count()
    };
    until("the first fault is there", async || (strikes("installed") > 0).then_some(())).await;
    let stopped = fieldmesh(&nodes.dir(2), &["chaos", "stop"]).await.expect_code(0).json();
    assert_eq!(stopped, json!({ "ended": 1, "left": 0 }));
    let ended = run.finish().await.expect_code(2).json();
    let error = ended["error"].as_str().unwrap();
    assert!(error.contains("node 2") && error.contains("stopped"), "{error}");
    assert_eq!(strikes("installed"), 1, "nobody is struck once somebody said no");
    // Nor does one begin that would meet with it.
    let node = nodes.dir(2);
    fieldmesh(&node, &["chaos", "stop"]).await.expect_code(0);
    let refused = fieldmesh(&node, &["chaos", "plan", &scenario]).await.expect_code(2).json();
    assert!(refused["error"].as_str().unwrap().contains("stopped on node 2"), "{refused}");
}
