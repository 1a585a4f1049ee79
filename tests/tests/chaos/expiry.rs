//! Certificates that end while their devices are used: nobody serves them any more, until they have the next ones.

use serde_json::Value;
use tempfile::TempDir;

use super::{chaos, text, verdicts, written};

const EXPIRY: &str = r#"
name = "expiry"
hypothesis = "Two devices are refused from the end of their certificates on, and served again with the next ones."
seed = 17
duration = "36s"
shards = 2

[workload]
rate = 15
customers = 5
technicians = 3
reads = 5
writes = 2

[[fault]]
kind = "expire"
at = "6s"
for = "10s"
devices = 2

[check]
recover_within = "30s"
revoked_within = "4s"
promises = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9"]
"#;

#[tokio::test]
async fn whose_certificate_ends_is_refused_until_it_has_the_next_one() {
    let dir = TempDir::new().unwrap();
    let (scenario, out) = (written(dir.path(), "expiry.toml", EXPIRY), dir.path().join("out"));
    let results = chaos(&["run", &scenario, "--out", text(&out)]).await.expect_code(0).json();
    assert!(verdicts(&results).iter().all(|(_, verdict)| verdict == "kept"), "{results}");
    assert_eq!(results["faults"][0]["installed"], 1, "{results}");
    let history = std::fs::read_to_string(out.join("history.jsonl")).unwrap();
    let entries: Vec<Value> =
        history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let devices = |what: &str| -> Vec<&str> {
        let of = entries.iter().filter(|one| one["what"] == what);
        of.map(|one| one["device"].as_str().unwrap()).collect()
    };
    let (ended, turned) = (devices("revoked"), devices("turned_away"));
    assert_eq!(ended.len(), 2, "{ended:?}");
    assert!(ended.iter().all(|device| turned.contains(device)), "{ended:?} {turned:?}");
    assert_eq!(devices("renewed"), ended);
}
