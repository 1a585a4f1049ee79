//! `docs/operations.md` does what it says: a cluster is started, grown, upgraded, robbed of a node and
//! shrunk by its shell blocks, in one bash.
//!
//! The runbook's block by which a node forgets another one's starts is run there too, where it changes nothing.
//!
//! The document's addresses are changed to some that no other test has; so are those of `scripts/cluster`, which
//! is run here too, alone and with `docs/first-ticket.md` on what it starts. **Not here:** what devices notice of it
//! (`cluster`).
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and this one gives a document to a shell"
)]

use std::{collections::BTreeMap, path::Path};

use fieldmesh_tests::{
    document::{Script, block, document, run, shell},
    process::{PATIENCE, nodes::network},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

const DOCUMENT: &str = "docs/operations.md";
/// Below this, the document was cut or its fences are no longer found.
const BLOCKS_MIN: usize = 12;
const RUNBOOK: &str = "docs/runbook.md";
/// Three nodes run then, and each has heard of the others' starts.
const FORGETS_BEFORE: &str = "## A machine is lost";
/// What it is known by that a node forgot, and that all is well again.
const FORGOT: &str = r#"
grep -q '"event":"starts_forgotten","node":3' node-1/audit.jsonl
fieldmesh cluster rebalance --config node-1.toml | tee status.txt
grep -q '^ *3 .* active ' status.txt
"#;

#[tokio::test]
async fn the_operations_guide_runs_from_its_first_line_to_its_last() {
    let text = document(DOCUMENT).replace("127.0.0.", &network());
    let mut script = Script::of(DOCUMENT, &text);
    assert!(script.blocks >= BLOCKS_MIN, "{DOCUMENT} has {} blocks only", script.blocks);
    let scratch = TempDir::new().unwrap();
    let (runbook, forgets) = (document(RUNBOOK), scratch.path().join("forget.sh"));
    let forget = block(RUNBOOK, &runbook, "fieldmesh forget-starts");
    std::fs::write(&forgets, format!("{forget}\n{FORGOT}")).unwrap();
    script.insert(&text, FORGETS_BEFORE, &forgets);
    let file = scratch.path().join("operations.sh");
    // Whatever happens, the nodes that it started end with it.
    let ended = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT; ";
    std::fs::write(&file, format!("{ended}{}", script.text)).unwrap();
    run(DOCUMENT, &script, shell(scratch.path(), &file)).await;
}

const CLUSTER: &str = "scripts/cluster";

/// The script that starts a cluster for trying it, on addresses that begin so, with another last command than to wait.
fn cluster_script(addresses: &str, last: &str) -> String {
    let mut text = document(CLUSTER).replace("127.0.0.", addresses);
    let last = format!("\n{last}\n");
    for (what, instead) in [
        // The programs are those that are tested.
        ("source \"$(dirname \"${BASH_SOURCE[0]}\")/setup\"\n", ""),
        ("cargo build --locked --workspace --bin fieldmesh\n", ""),
        ("fieldmesh=$CARGO_TARGET_DIR/debug/fieldmesh\n", "fieldmesh=fieldmesh\n"),
        ("\nwait\n", last.as_str()),
    ] {
        assert_eq!(text.matches(what).count(), 1, "{CLUSTER} has {what:?} once");
        text = text.replace(what, instead);
    }
    text
}

/// Runs the script in its directory; the last that it said.
async fn tried(scratch: &Path, script: &Path) -> Value {
    let mut shell = shell(scratch, script);
    shell.arg("cluster");
    let ended = timeout(2 * PATIENCE, shell.output()).await.expect("the script ends").unwrap();
    let [stdout, stderr] = [&ended.stdout, &ended.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(ended.status.success(), "{}\n{stdout}\n{stderr}", ended.status);
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

#[tokio::test]
async fn the_script_for_trying_a_cluster_starts_two_regions_and_the_same_again() {
    let scratch = TempDir::new().unwrap();
    let script = scratch.path().join("cluster.sh");
    // Not the addresses of the guide, where both run in one process.
    let addresses = format!("{}10", network());
    let text =
        cluster_script(&addresses, "\"$fieldmesh\" cluster status --json --config node-1.toml");
    std::fs::write(&script, text).unwrap();
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let view = tried(scratch.path(), &script).await;
        assert_eq!(view["settled"], true, "{view}");
        let mut regions = BTreeMap::<String, Vec<u64>>::new();
        for member in view["members"].as_array().unwrap() {
            let region = member["region"].as_str().unwrap().to_owned();
            regions.entry(region).or_default().push(member["number"].as_u64().unwrap());
        }
        numbers.push(regions);
    }
    let expected = BTreeMap::from([("eu1".to_owned(), vec![1, 2]), ("us1".to_owned(), vec![3])]);
    assert_eq!(numbers, [expected.clone(), expected]);
}

const FIRST: &str = "docs/first-ticket.md";
/// Below this, the document was cut or its fences are no longer found.
const FIRST_BLOCKS_MIN: usize = 7;

#[tokio::test]
async fn the_first_ticket_is_confirmed_and_done_on_what_the_script_starts() {
    let addresses = format!("{}11", network());
    let script = Script::of(FIRST, &document(FIRST).replace("127.0.0.", &addresses));
    assert!(script.blocks >= FIRST_BLOCKS_MIN, "{FIRST} has {} blocks only", script.blocks);
    let scratch = TempDir::new().unwrap();
    let (cluster, guide) = (scratch.path().join("cluster.sh"), scratch.path().join("guide.sh"));
    std::fs::write(&cluster, cluster_script(&addresses, "bash \"$GUIDE\"")).unwrap();
    std::fs::write(&guide, &script.text).unwrap();
    let mut shell = shell(scratch.path(), &cluster);
    shell.arg("cluster").env("GUIDE", &guide);
    run(FIRST, &script, shell).await;
}
