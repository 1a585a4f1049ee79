//! What a node does to its own entities, clock, disk and machine, and what changes the cluster under load: each is
//! there, and no promise breaks.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{chaos, text, verdicts, written};

const INSIDE: &str = r#"
name = "inside"
hypothesis = "Entities fail and stand still, a clock drifts, two nodes do not hear each other, devices are far away, a disk breaks, the machine is busy, a node and an authority come: nothing is lost."
seed = 11
duration = "52s"
shards = 4

[workload]
rate = 15
customers = 6
technicians = 4
reads = 10
writes = 4

[[fault]]
kind = "actor.fail"
at = "4s"
for = "3s"
pick = "all"
percent = 40

[[fault]]
kind = "actor.stall"
at = "8s"
for = "3s"
pick = "leader"
percent = 45

[[fault]]
kind = "actor.slow"
at = "8s"
for = "2s"
pick = "all"
percent = 30
delay = "100ms"

[[fault]]
kind = "drift"
at = "12s"
for = "4s"
pick = "random"
ppm = 50000

[[fault]]
kind = "partition"
at = "12s"
for = "4s"
pick = "node:1"
with = "node:2"

[[fault]]
kind = "delay"
at = "12s"
for = "6s"
pick = "all"
link = "devices"
delay = "100ms"
jitter = "25ms"

[[fault]]
kind = "loss"
at = "12s"
for = "6s"
pick = "all"
link = "devices"
percent = 5

[[fault]]
kind = "cpu"
at = "17s"
for = "2s"
pick = "random"
threads = 1

[[fault]]
kind = "memory"
at = "17s"
for = "2s"
pick = "random"
mib = 64

[[fault]]
kind = "disk.broken"
at = "20s"
for = "3s"
pick = "leader"

[[fault]]
kind = "rotate"
at = "30s"

[[fault]]
kind = "join"
at = "36s"

[check]
recover_within = "30s"
promises = ["I1", "I2", "I3", "I4", "I6", "I7", "I8", "I9", "I10"]
"#;

fn text_of(word: &Value) -> &str {
    word.as_str().unwrap()
}

#[tokio::test]
async fn what_a_node_does_to_itself_and_what_changes_the_cluster_is_there_and_breaks_no_promise() {
    let dir = TempDir::new().unwrap();
    let (scenario, out) = (written(dir.path(), "inside.toml", INSIDE), dir.path().join("out"));
    let results = chaos(&["run", &scenario, "--out", text(&out)]).await.expect_code(0).json();
    assert!(verdicts(&results).iter().all(|(_, verdict)| verdict == "kept"), "{results}");
    let faults = results["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 12, "{results}");
    for fault in faults {
        assert_eq!(fault["installed"], fault["wanted"], "{results}");
        // What changes processes or the cluster shows it by that.
        let is_counted = !["disk.broken", "rotate", "join"].contains(&text_of(&fault["kind"]));
        let count = fault["effect"]["count"].as_u64();
        // Nodes stay up until the disk breaks, behind all that is counted: each is asked every second what it did, and an
        // effect that nobody knows is none that this run has shown.
        let is_as_told = if is_counted { matches!(count, Some(1..)) } else { count.is_none() };
        assert!(is_as_told, "{fault}");
    }
    // One of the two was asked, and told who the other one is.
    let history = std::fs::read_to_string(out.join("history.jsonl")).unwrap();
    let entries = history.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let cut: Vec<Value> = entries
        .filter(|entry| entry["fault"]["kind"] == "link" && entry["phase"] == "installed")
        .collect();
    assert_eq!(cut.len(), 1, "{cut:?}");
    assert_eq!((&cut[0]["node"], &cut[0]["fault"]["with"]), (&json!(1), &json!({ "node": 2 })));
}
