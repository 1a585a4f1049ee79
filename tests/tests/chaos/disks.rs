//! Disks that lose: the power is cut, of one node and of all at once, and stored bits are others. What was
//! acknowledged is there, and a damaged node serves what is whole or refuses by name.

use serde_json::Value;
use tempfile::TempDir;

use super::{chaos, text, verdicts, written};

const DISKS: &str = r#"
name = "disks"
hypothesis = "A leader loses its power, a node has bits turned, all lose their power: nothing acknowledged is lost."
seed = 13
duration = "50s"
shards = 4

[workload]
rate = 15
customers = 6
technicians = 4
reads = 10
writes = 4

[[fault]]
kind = "disk.lost"
at = "4s"
for = "2s"
pick = "leader"

[[fault]]
kind = "disk.flip"
at = "18s"
for = "4s"
pick = "random"
bits = 8

[[fault]]
kind = "disk.lost"
at = "40s"
for = "1s"
pick = "all"

[abort]
max_nodes = 3

[check]
recover_within = "30s"
promises = ["I1", "I2", "I3", "I4", "I6", "I7", "I8", "I9", "I10"]
"#;

#[tokio::test]
async fn what_disks_lose_is_really_lost_and_nothing_that_was_acknowledged() {
    let dir = TempDir::new().unwrap();
    let (scenario, out) = (written(dir.path(), "disks.toml", DISKS), dir.path().join("out"));
    let results = chaos(&["run", &scenario, "--out", text(&out)]).await.expect_code(0).json();
    assert!(verdicts(&results).iter().all(|(_, verdict)| verdict == "kept"), "{results}");
    for fault in results["faults"].as_array().unwrap() {
        assert_eq!(fault["installed"], fault["wanted"], "{results}");
    }
    // The history says which bits were others, and what came of it.
    let history = std::fs::read_to_string(out.join("history.jsonl")).unwrap();
    let entries: Vec<Value> =
        history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str, phase: &str| -> Vec<&str> {
        let of_kind = entries.iter().filter(|one| one["fault"]["kind"] == kind);
        of_kind
            .filter(|one| one["phase"] == phase)
            .map(|one| one["why"].as_str().unwrap())
            .collect()
    };
    let installed = of("flipped_bits", "installed");
    assert!(installed.len() == 1 && installed[0].matches(" bit ").count() == 8, "{installed:?}");
    let ended = of("flipped_bits", "ended");
    let is_told = |why: &str| why.starts_with("it served") || why.starts_with("it refused");
    assert!(ended.len() == 1 && is_told(ended[0]), "{ended:?}");
    assert_eq!(of("power_cut", "installed").len(), 4, "one leader, then all three nodes");
}
