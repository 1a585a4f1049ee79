//! When faults come, and which never come together.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use proptest::prelude::*;

use super::*;
use crate::{read_scenario, scenario::POOL};

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
    let expected = PlanError::Overlap { line: 3, at: "15s".into(), out: 2, max: 1 };
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

#[test]
fn nodes_of_which_little_comes_through_count_as_out() {
    for fault in [
        "kind = \"loss\", percent = 99",
        "kind = \"corrupt\", percent = 50",
        "kind = \"delay\", delay = \"10s\"",
        "kind = \"bandwidth\", rate_kbit = 8",
        "kind = \"disk.slow\", delay = \"10s\"",
        "kind = \"actor.stall\", percent = 100",
    ] {
        for target in ["lab", "production"] {
            let all = format!(
                "target = \"{target}\"\nfault = [{{ {fault}, at = \"10s\", for = \"10s\", pick = \"all\" }}]"
            );
            let refused = Timeline::of(&scenario(&all), 3);
            assert!(matches!(refused, Err(PlanError::Overlap { out: 3, .. })), "{target} {fault}");
        }
        let beside = format!(
            "fault = [{{ kind = \"kill\", at = \"10s\", for = \"10s\", pick = \"node:1\" }}, \
             {{ {fault}, at = \"15s\", for = \"10s\", pick = \"node:2\" }}]"
        );
        let refused = Timeline::of(&scenario(&beside), 3);
        assert!(matches!(refused, Err(PlanError::Overlap { out: 2, .. })), "{fault}");
    }
}

#[test]
fn a_link_that_is_cut_counts_as_one_of_its_nodes() {
    let cut = |at: &str, one: &str, other: &str| {
        format!(
            "{{ kind = \"partition\", at = \"{at}\", for = \"10s\", pick = \"{one}\", with = \"{other}\" }}"
        )
    };
    let kill = "{ kind = \"kill\", at = \"12s\", for = \"5s\", pick = \"node:3\" }".to_owned();
    let slow = cut("12s", "node:1", "node:3").replacen("partition\"", "loss\", percent = 9", 1);
    let first = cut("10s", "node:1", "node:2");
    for (faults, out) in [
        (vec![first.clone()], 1),
        (vec![first.clone(), cut("12s", "node:2", "node:1")], 1),
        // All links of node 2, of which the others are not told; then those of all three.
        (vec![first.clone(), cut("12s", "node:3", "node:2")], 1),
        (vec![cut("10s", "all", "node:2")], 1),
        (vec![first.clone(), cut("12s", "node:3", "node:2"), cut("14s", "node:1", "node:3")], 2),
        // With the third node nobody is left whom both hear; with one of the two, somebody is.
        (vec![first.clone(), kill.clone()], 2),
        (vec![cut("10s", "node:1", "node:3"), kill], 1),
        (vec![first.clone(), cut("20s", "node:2", "node:3")], 1),
        (vec![first.clone(), slow], 1),
        // Whom it befalls is not known yet.
        (vec![first, cut("12s", "leader", "node:1")], 2),
    ] {
        let all = faults.join(", ");
        let found = match Timeline::of(&scenario(&format!("fault = [{all}]")), 3) {
            Ok(timeline) => timeline.most_out(3).0,
            Err(PlanError::Overlap { out, .. }) => out,
            Err(error) => panic!("{all}: {error}"),
        };
        assert_eq!(found, out, "{all}");
    }
}

/// Nodes of three that are out at most, of faults that all come at one time.
fn out_of(faults: &[&str]) -> u64 {
    let all: Vec<String> =
        faults.iter().map(|fault| format!("{{ {fault}, at = \"10s\", for = \"10s\" }}")).collect();
    let all = all.join(", ");
    match Timeline::of(&scenario(&format!("fault = [{all}]")), 3) {
        Ok(timeline) => timeline.most_out(3).0,
        Err(PlanError::Overlap { out, .. }) => out,
        Err(error) => panic!("{all}: {error}"),
    }
}

#[test]
fn what_both_ends_of_a_link_do_counts_together() {
    for (fault, out) in [
        ("kind = \"loss\", percent = 16", 0),
        ("kind = \"loss\", percent = 17", 3),
        ("kind = \"loss\", percent = 29", 3),
        ("kind = \"corrupt\", percent = 29", 3),
        // Of two ends that harm what they send each way has one.
        ("kind = \"loss\", percent = 29, direction = \"out\"", 0),
        ("kind = \"delay\", delay = \"74ms\"", 0),
        ("kind = \"delay\", delay = \"75ms\"", 3),
        ("kind = \"delay\", delay = \"149ms\"", 3),
        ("kind = \"delay\", delay = \"149ms\", direction = \"in\"", 0),
        ("kind = \"delay\", delay = \"150ms\", direction = \"in\"", 3),
        ("kind = \"reorder\", percent = 71, delay = \"150ms\"", 3),
        ("kind = \"reorder\", percent = 90, delay = \"150ms\"", 0),
        ("kind = \"bandwidth\", rate_kbit = 256", 0),
        // Devices do nothing to what they hear.
        ("kind = \"loss\", link = \"devices\", percent = 49", 0),
        ("kind = \"delay\", link = \"devices\", delay = \"999ms\"", 0),
        ("kind = \"cpu\", threads = 7", 0),
        ("kind = \"cpu\", threads = 64", 3),
    ] {
        assert_eq!(out_of(&[&format!("{fault}, pick = \"all\"")]), out, "{fault}");
    }
}

#[test]
fn faults_that_come_together_count_together() {
    let loss = |percent: u64, pick: &str| {
        format!("kind = \"loss\", percent = {percent}, pick = \"{pick}\"")
    };
    let link = |percent: u64, with: &str| format!("{}, with = \"{with}\"", loss(percent, "node:1"));
    let delay =
        |ms: u64, pick: &str| format!("kind = \"delay\", delay = \"{ms}ms\", pick = \"{pick}\"");
    let devices = |percent: u64, pick: &str| format!("{}, link = \"devices\"", loss(percent, pick));
    let slow = "kind = \"bandwidth\", rate_kbit = 400, pick = \"node:1\"".to_owned();
    let corrupt = "kind = \"corrupt\", percent = 10, pick = \"all\"".to_owned();
    for (faults, out) in [
        (vec![loss(10, "all"), corrupt], 3),
        (vec![loss(10, "all"), loss(14, "node:1")], 1),
        (vec![loss(10, "all"), loss(13, "node:1")], 0),
        (vec![loss(20, "node:1"), loss(20, "node:1")], 1),
        // The link between the two, then those of all three.
        (vec![loss(20, "node:1"), loss(20, "node:2")], 1),
        (vec![loss(20, "node:1"), loss(20, "node:2"), loss(20, "node:3")], 2),
        // No link has more than two of them.
        (vec![loss(14, "node:1"), loss(14, "node:2"), loss(14, "node:3")], 0),
        (vec![loss(20, "node:1"), link(20, "node:2")], 1),
        (vec![link(20, "node:2"), link(20, "node:3")], 0),
        // They may befall one node.
        (vec![loss(20, "leader"), loss(20, "node:1")], 1),
        (vec![loss(20, "leader"), loss(20, "random")], 1),
        (vec![loss(10, "leader"), loss(10, "random")], 0),
        (vec![delay(80, "node:1"), delay(70, "node:1")], 1),
        (vec![delay(80, "node:1"), delay(69, "node:2")], 0),
        (vec![slow.clone(), slow], 1),
        (vec![devices(40, "all"), devices(20, "all")], 3),
        (vec![devices(40, "all"), devices(20, "node:2")], 1),
        (vec![devices(40, "node:1"), devices(20, "node:2")], 0),
        (vec![devices(40, "node:1"), loss(20, "node:1")], 0),
        // What is out already is not out twice.
        (
            vec![
                "kind = \"kill\", pick = \"node:1\"".into(),
                loss(20, "node:1"),
                loss(20, "node:2"),
            ],
            1,
        ),
    ] {
        let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
        assert_eq!(out_of(&faults), out, "{faults:?}");
    }
    // The line is that of the last one, also where it takes nobody by itself.
    let two = "name = \"x\"\nduration = \"2m\"\nworkload = { rate = 1 }\n\
               [[fault]]\nkind = \"loss\"\npercent = 16\nat = \"10s\"\nfor = \"9s\"\npick = \"all\"\n\
               [[fault]]\nkind = \"loss\"\npercent = 16\nat = \"18s\"\nfor = \"9s\"\npick = \"all\"\n";
    let refused = Timeline::of(&read_scenario(two).unwrap().value, 3).unwrap_err();
    assert!(refused.to_string().starts_with("line 11: at 18s 3 nodes"), "{refused}");
}

#[test]
fn ready_scenarios_whose_faults_come_together_have_a_plan() {
    for text in [
        include_str!("../../../../tests/scenarios/anything.toml"),
        include_str!("../../../../tests/scenarios/bad-mobile-network.toml"),
        include_str!("../../../../tests/scenarios/bad-network.toml"),
        include_str!("../../../../tests/scenarios/bridge.toml"),
        include_str!("../../../../tests/scenarios/busy-machine.toml"),
        include_str!("../../../../tests/scenarios/region-cut.toml"),
    ] {
        let scenario = read_scenario(text).unwrap().value;
        let planned = Timeline::of(&scenario, scenario.nodes).map(|_| ());
        assert_eq!(planned, Ok(()), "{}", scenario.name);
    }
}

#[test]
fn a_node_that_no_device_reaches_counts_as_out() {
    let devices = |more: &str| {
        scenario(&format!(
            "fault = [{{ kind = \"loss\", link = \"devices\", at = \"10s\", for = \"10s\", {more} }}]"
        ))
    };
    let lossy = Timeline::of(&devices("percent = 49, pick = \"all\""), 3).unwrap();
    assert_eq!(lossy.most_out(3).0, 0);
    let one = Timeline::of(&devices("percent = 100, pick = \"leader\""), 3).unwrap();
    assert_eq!(one.most_out(3).0, 1);
    let all = Timeline::of(&devices("percent = 100, pick = \"all\""), 3);
    assert!(matches!(all, Err(PlanError::Overlap { out: 3, .. })));
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

proptest! {
    #[test]
    fn chance_makes_a_plan_of_every_kind(
        seed in 0_u64..i64::MAX as u64, nodes in 3_u64..=7, inside in any::<bool>(), is_linked in any::<bool>()
    ) {
        let plane = if inside { ", plane = \"inside\"" } else { "" };
        let links = if is_linked { ", links = [\"nodes\", \"with\", \"devices\"]" } else { "" };
        let of = |pool: &str| {
            scenario(&format!(
                "seed = {seed}\nnodes = {nodes}\nrandom = {{ pool = [{pool}], quiet = 0, shift = \"10s\"{plane}{links} }}"
            ))
        };
        let quoted: Vec<String> = POOL.iter().map(|kind| format!("\"{kind}\"")).collect();
        for (pool, kind) in quoted.iter().zip(POOL) {
            let timeline = Timeline::of(&of(pool), nodes).unwrap();
            // Each shift has it, is over with it, and no more than one node is out at a time.
            prop_assert_eq!(timeline.0.len(), 12);
            for (strike, begins) in timeline.0.iter().zip((0..).step_by(10_000)) {
                prop_assert_eq!(strike.fault.name(), *kind);
                prop_assert!(strike.fault.is_in_range() && !strike.fault.has_no_pick());
                // Where nobody is whom it could befall, it is not there.
                let is_wanted = match (*kind, strike.fault) {
                    ("herd", _) => strike.pick == Pick::All,
                    (_, Fault::Devices(_)) => is_linked && strike.pick == Pick::All,
                    (_, Fault::Link { with, .. }) => {
                        is_linked && (strike.pick, with) == (Pick::Leader(None), Pick::Random)
                    }
                    (kind, _) if kind.starts_with("actor.") => strike.pick == Pick::Leader(None),
                    _ => matches!(strike.pick, Pick::Leader(None) | Pick::Random),
                };
                prop_assert!(is_wanted, "{strike:?}");
                prop_assert!(begins <= strike.at_ms && strike.until_ms < begins + 10_000);
            }
            prop_assert!(timeline.most_out(nodes).0 <= 1);
        }
        let timeline = Timeline::of(&of(&quoted.join(", ")), nodes).unwrap();
        prop_assert!(timeline.most_out(nodes).0 <= 1);
    }
}

#[test]
fn a_link_that_chance_cuts_counts_beside_what_is_planned() {
    let of = |pool: &str| {
        let kill = "fault = [{ kind = \"kill\", at = \"1s\", for = \"118s\", pick = \"node:1\" }]";
        let random = format!(
            "random = {{ pool = [{pool}], links = [\"with\"], quiet = 0, shift = \"10s\" }}"
        );
        Timeline::of(&scenario(&format!("{kill}\n{random}")), 3)
    };
    assert!(matches!(of("\"partition\""), Err(PlanError::Overlap { out: 2, max: 1, .. })));
    assert!(of("\"reorder\"").is_ok(), "of a link that is only disturbed no node is out");
}

#[test]
fn what_takes_a_node_waits_for_what_was_to_be_over() {
    let one = |kind: &str, at: &str, node: u64| {
        let delay = if kind == "delay" { ", delay = \"20ms\"" } else { "" };
        format!(
            "{{ kind = \"{kind}\", at = \"{at}\", for = \"10s\", pick = \"node:{node}\"{delay} }}"
        )
    };
    let two = |first: &str, second: &str| {
        let rest = format!("fault = [{}, {}]", one(first, "10s", 1), one(second, "20s", 2));
        let timeline = Timeline::of(&scenario(&rest), 3).unwrap();
        let [first, second] = timeline.0[..] else { panic!("{timeline:?}") };
        assert!(!first.waits_for(&second), "nothing waits for what comes later");
        second.waits_for(&first)
    };
    assert!(two("disk.flip", "kill"));
    assert!(two("kill", "disk.lost"));
    assert!(!two("delay", "kill") && !two("kill", "delay"), "a slow node is not out");
}

#[test]
fn no_more_nodes_join_than_a_machine_has_room_for() {
    let joins = |count: usize| {
        let join = "{ kind = \"join\", at = \"10s\" }";
        scenario(&format!("fault = [{}]", vec![join; count].join(", ")))
    };
    assert!(Timeline::of(&joins(4), 3).is_ok());
    assert_eq!(
        Timeline::of(&joins(5), 3).map(|_| ()),
        Err(PlanError::Crowded { line: 3, nodes: 8 })
    );
    // A cluster that is there may be larger: nobody joins it.
    assert!(Timeline::of(&joins(0), 9).is_ok());
}

#[test]
fn what_does_not_fit_together_is_told_with_the_line_of_the_last_one() {
    let kill = |at: &str, node: u64| {
        format!("[[fault]]\nkind = \"kill\"\nat = \"{at}\"\nfor = \"5s\"\npick = \"node:{node}\"\n")
    };
    let two = |first: &str, second: &str| {
        let (first, second) = (kill(first, 1), kill(second, 2));
        let text =
            format!("name = \"x\"\nduration = \"2m\"\nworkload = {{ rate = 1 }}\n{first}{second}");
        read_scenario(&text).unwrap().value
    };
    for (first, second, line) in [("10s", "12s", 10), ("12s", "10s", 5)] {
        let refused = Timeline::of(&two(first, second), 3).unwrap_err();
        assert!(
            refused.to_string().starts_with(&format!("line {line}: at 12s 2 nodes")),
            "{refused}"
        );
    }
    let text = "name = \"x\"\nduration = \"6h\"\nworkload = { rate = 1 }\n\n\n[[fault]]\n\
                pick = \"all\"\nkind = \"herd\"\nevery = \"1s\"\n";
    let refused = Timeline::of(&read_scenario(text).unwrap().value, 3).unwrap_err();
    assert_eq!(refused, PlanError::Many { line: 8 });
}
