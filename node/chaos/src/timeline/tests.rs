//! When faults come, and which never come together.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use proptest::prelude::*;

use super::*;
use crate::read_scenario;

fn scenario(rest: &str) -> Scenario {
    let text = format!("name = \"x\"\nduration = \"2m\"\n{rest}\n[workload]\nrate = 1\n");
    read_scenario(&text).unwrap_or_else(|error| panic!("{error}")).value
}

fn spans(timeline: &Timeline) -> Vec<(u64, u64)> {
    timeline.0.iter().map(|strike| (strike.at_ms, strike.until_ms)).collect()
}

#[test]
fn a_fault_comes_once_or_again_and_again() {
    let once = "fault = [{ kind = \"kill\", at = \"20s\", for = \"5s\", pick = \"node:2\" }]";
    let timeline = Timeline::of(&scenario(once), 3).unwrap();
    assert_eq!(spans(&timeline), [(20_000, 25_000)]);
    let again = "fault = [{ kind = \"kill\", every = \"30s\", for = \"10s\", pick = \"leader\" }]";
    let timeline = Timeline::of(&scenario(again), 3).unwrap();
    assert_eq!(spans(&timeline), [(30_000, 40_000), (60_000, 70_000), (90_000, 100_000)]);
    let bounded = "fault = [{ kind = \"kill\", every = \"30s\", from = \"0s\", until = \"65s\", for = \"10s\", \
                   pick = \"leader\" }]";
    let timeline = Timeline::of(&scenario(bounded), 3).unwrap();
    assert_eq!(spans(&timeline), [(0, 10_000), (30_000, 40_000)]);
}

#[test]
fn more_nodes_than_are_allowed_are_never_out_together() {
    let two = |second: &str| {
        format!(
            "fault = [{{ kind = \"kill\", at = \"10s\", for = \"10s\", pick = \"node:1\" }}, \
             {{ kind = \"pause\", at = \"{second}\", for = \"10s\", pick = \"node:2\" }}]"
        )
    };
    let overlap = Timeline::of(&scenario(&two("15s")), 3);
    let expected = PlanError::Overlap { at: "15s".into(), out: 2, max: 1 };
    assert_eq!(overlap.map(|_| ()), Err(expected));
    assert!(Timeline::of(&scenario(&two("20s")), 3).is_ok(), "one behind the other");
    let of_five = format!("nodes = 5\n{}", two("15s"));
    let overlap = Timeline::of(&scenario(&of_five), 5);
    assert!(overlap.is_err(), "groups of five nodes have three voters too");
    let allowed = format!("nodes = 5\nabort = {{ max_nodes = 2 }}\n{}", two("15s"));
    assert!(Timeline::of(&scenario(&allowed), 5).is_ok());
    let all = "fault = [{ kind = \"partition\", at = \"10s\", for = \"10s\", pick = \"all\" }]";
    assert!(matches!(Timeline::of(&scenario(all), 3), Err(PlanError::Overlap { out: 3, .. })));
    for kind in ["disk.lost", "disk.flip"] {
        let dead = two("15s").replacen("pause", kind, 1);
        let overlap = Timeline::of(&scenario(&dead), 3);
        assert!(matches!(overlap, Err(PlanError::Overlap { out: 2, .. })), "{kind}");
    }
    let slow = "fault = [{ kind = \"delay\", at = \"10s\", for = \"10s\", pick = \"all\", delay = \"50ms\" }]";
    assert!(Timeline::of(&scenario(slow), 3).is_ok(), "a slow node is not out");
    // A node that was restarted takes a while to serve.
    let restarts = "fault = [{ kind = \"restart\", at = \"10s\", pick = \"node:1\" }, \
                    { kind = \"restart\", at = \"12s\", pick = \"node:2\" }]";
    assert!(matches!(Timeline::of(&scenario(restarts), 3), Err(PlanError::Overlap { .. })));
}

proptest! {
    #[test]
    fn chance_keeps_a_quorum_and_is_the_same_for_the_same_seed(seed in 0_u64..i64::MAX as u64, quiet in 0_u32..=90) {
        let random = format!(
            "seed = {seed}\nrandom = {{ pool = [\"kill\", \"pause\", \"partition\", \"restart\", \
             \"delay\"], quiet = {quiet}, shift = \"6s\", until = \"110s\" }}"
        );
        let scenario = scenario(&random);
        let timeline = Timeline::of(&scenario, 3).unwrap();
        prop_assert_eq!(&timeline, &Timeline::of(&scenario, 3).unwrap());
        prop_assert!(timeline.most_out(3).0 <= 1);
        prop_assert!(timeline.end_ms() <= 110_000);
        prop_assert!(timeline.0.is_sorted_by_key(|strike| strike.at_ms));
        prop_assert!(timeline.0.iter().all(|strike| strike.at_ms <= strike.until_ms));
    }
}

#[test]
fn no_more_nodes_join_than_a_machine_has_room_for() {
    let joins = |count: usize| {
        let join = "{ kind = \"join\", at = \"10s\" }";
        scenario(&format!("fault = [{}]", vec![join; count].join(", ")))
    };
    assert!(Timeline::of(&joins(4), 3).is_ok());
    assert_eq!(Timeline::of(&joins(5), 3).map(|_| ()), Err(PlanError::Crowded(8)));
    // A cluster that is there may be larger: nobody joins it.
    assert!(Timeline::of(&joins(0), 9).is_ok());
}
