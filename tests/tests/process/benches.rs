//! `fieldmesh bench failover` as operators run it: what it tells programs, and that nobody's request is lost by it.
//!
//! Bounds are those of a machine that does other things at the same time; what users are promised is measured by the
//! same commands alone.

use fieldmesh_tests::process::run;
use serde_json::Value;

/// An election, the devices' ways to another node, and a machine that is busy.
const SLOW_MS: f64 = 15_000.0;

async fn bench(more: &[&str]) -> Value {
    let args = ["bench", "failover", "--nodes", "3", "--shards", "3", "--customers", "12"];
    run("fieldmesh", &[&args[..], more, &["--json"]].concat()).await.expect_code(0).json()
}

fn nothing_was_lost(told: &Value) {
    for what in ["lost", "refused", "duplicates", "double_assignments"] {
        assert_eq!(told[what], 0, "{what}: {told}");
    }
    let [requests, confirmed, unfilled] = ["requests", "confirmed", "unfilled"]
        .map(|what| told[what].as_u64().unwrap_or_else(|| panic!("{what}: {told}")));
    assert!(requests > 0 && confirmed + unfilled == requests, "{told}");
}

#[tokio::test]
async fn a_killed_leader_loses_nothing_and_each_of_its_shards_answers_again() {
    let told = bench(&["--kills", "2"]).await;
    nothing_was_lost(&told);
    assert_eq!((&told["kills"], &told["nodes"]), (&2.into(), &3.into()), "{told}");
    assert!(told["shards_affected"].as_u64() >= Some(1), "{told}");
    let [half, most, all] = ["p50", "p99", "max"].map(|of| {
        let told_ms = told[format!("first_reply_ms_{of}")].as_f64();
        told_ms.unwrap_or_else(|| panic!("{of}: {told}"))
    });
    assert!(0.0 < half && half <= most && most <= all && all < SLOW_MS, "{told}");
}

#[tokio::test]
async fn a_drained_node_holds_up_its_shards_for_a_moment_and_loses_nothing() {
    let told = bench(&["--kills", "2", "--drain"]).await;
    nothing_was_lost(&told);
    for what in ["silence_ms", "silence_before_ms"] {
        let longest = told[what]["max"].as_f64();
        assert!(longest.is_some_and(|longest_ms| longest_ms < SLOW_MS), "{what}: {told}");
    }
}
