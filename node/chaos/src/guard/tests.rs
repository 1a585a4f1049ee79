//! Each guard refuses by itself, and a cluster that is whole is not refused.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::read_scenario;

const NOW: u64 = 1_000_000;

fn standing() -> Standing {
    let allowed = Permission { configured: false, until_ms: Some(NOW + 3_600_000) };
    let node = |number| {
        let (asked, devices) = (Some((allowed, 0)), Some(10 * number));
        Node { number, is_active: true, asked, is_stopped: false, devices }
    };
    let group = |number, leader| Group {
        number,
        voters: vec![1, 2, 3],
        leader: Some(leader),
        is_settled: true,
    };
    Standing {
        now_ms: NOW,
        nodes: (1..=4).map(node).collect(),
        groups: vec![group(0, 1), group(1, 2), group(2, 2)],
        open_tickets: None,
    }
}

fn scenario(target: &str, fault: &str) -> (Scenario, Timeline) {
    lasting("60s", target, &format!("fault = [{{ {fault} }}]"))
}

/// What is broken is in line 5, and below.
fn lasting(duration: &str, target: &str, broken: &str) -> (Scenario, Timeline) {
    let text = format!(
        "name = \"x\"\nduration = \"{duration}\"\ntarget = \"{target}\"\nworkload = {{ rate = 1 }}\n{broken}\n"
    );
    let scenario = read_scenario(&text).unwrap().value;
    let timeline = Timeline::of(&scenario, 4).unwrap();
    (scenario, timeline)
}

const CUT: &str = "kind = \"partition\", at = \"1s\", for = \"5s\", pick = \"leader\"";

fn refused(standing: &Standing, target: &str, fault: &str) -> Vec<String> {
    let (scenario, timeline) = scenario(target, fault);
    standing.refusals(&scenario, &timeline)
}

#[test]
fn a_whole_cluster_whose_operators_agreed_may_be_broken() {
    for target in ["staging", "production"] {
        assert_eq!(refused(&standing(), target, CUT), Vec::<String>::new());
    }
}

#[test]
fn each_missing_guard_is_named() {
    type Break = fn(&mut Standing);
    let cases: [(&str, Break, &str); 10] = [
        ("production", |it| it.nodes[1].asked.as_mut().unwrap().0.until_ms = None, "no allowance"),
        (
            "production",
            |it| it.nodes[1].asked.as_mut().unwrap().0.until_ms = Some(NOW),
            "no allowance",
        ),
        (
            "production",
            |it| {
                it.nodes[1].asked.as_mut().unwrap().0 =
                    Permission { configured: true, until_ms: None }
            },
            "no allowance",
        ),
        ("staging", |it| it.nodes[1].asked.as_mut().unwrap().0.until_ms = None, "enabled = true"),
        (
            "staging",
            |it| it.nodes[1].asked.as_mut().unwrap().0.until_ms = Some(NOW + 119_999),
            "ends before the run",
        ),
        ("staging", |it| it.nodes[1].asked.as_mut().unwrap().1 = 2, "not healed"),
        ("staging", |it| it.nodes[1].is_stopped = true, "stopped on node 2"),
        ("staging", |it| it.nodes[1].asked = None, "does not answer"),
        ("staging", |it| it.nodes[1].is_active = false, "draining"),
        ("staging", |it| it.groups[2].voters = vec![1, 2], "group 2 has 2 voters"),
    ];
    for (target, break_it, told) in cases {
        let mut standing = standing();
        break_it(&mut standing);
        let refusals = refused(&standing, target, CUT);
        assert!(refusals.len() == 1 && refusals[0].contains(told), "{told}: {refusals:?}");
    }
    let mut leaderless = standing();
    leaderless.groups[0].leader = None;
    assert_eq!(refused(&leaderless, "staging", CUT).len(), 1);
    // A fault that takes nobody out asks for no margin.
    let herd = "kind = \"herd\", at = \"1s\", pick = \"all\"";
    assert_eq!(refused(&leaderless, "staging", herd), Vec::<String>::new());
    // One that nearly takes a node asks for it.
    let lossy = "kind = \"loss\", percent = 60, at = \"1s\", for = \"5s\", pick = \"leader\"";
    assert_eq!(refused(&leaderless, "staging", lossy).len(), 1);
    // So do several that take one only together.
    let twice = "fault = [{ kind = \"loss\", percent = 20, at = \"1s\", for = \"5s\", pick = \"leader\" },\n\
                 { kind = \"loss\", percent = 20, at = \"2s\", for = \"5s\", pick = \"leader\" }]";
    let (together, timeline) = lasting("60s", "staging", twice);
    assert_eq!(leaderless.refusals(&together, &timeline).len(), 1);
    let full = "kind = \"disk.full\", at = \"1s\", for = \"5s\", pick = \"leader\"";
    let refusals = refused(&standing(), "staging", full);
    assert!(
        refusals.len() == 4 && refusals[0].contains("line 5: `disk.full` is for labs"),
        "{refusals:?}"
    );
    // What operators agree on is production, whatever the scenario calls it: no lease ends a drain or a revocation.
    let drain = "kind = \"drain\", at = \"1s\", for = \"5s\", pick = \"leader\"";
    let revoke = "kind = \"revoke\", at = \"1s\"";
    for (fault, told) in [(drain, "`drain`"), (revoke, "`revoke`")] {
        let refusals = refused(&standing(), "staging", fault);
        let told = format!("line 5: {told} is for staging and labs");
        assert!(refusals.len() == 4 && refusals[3].contains(&told), "{refusals:?}");
    }
    // A lab's configuration is enough for staging.
    let mut configured = standing();
    for node in &mut configured.nodes {
        node.asked = Some((Permission { configured: true, until_ms: None }, 0));
    }
    for fault in [CUT, full, drain, revoke] {
        assert_eq!(refused(&configured, "staging", fault), Vec::<String>::new());
    }
}

#[test]
fn a_run_that_goes_on_strikes_nobody_more_once_a_guard_is_gone() {
    type Break = fn(&mut Standing);
    let cases: [(Break, &str); 5] = [
        (|it| it.nodes[1].is_stopped = true, "stopped on node 2"),
        (|it| it.nodes[1].asked.as_mut().unwrap().0.until_ms = None, "does not allow"),
        (|it| it.nodes[1].asked.as_mut().unwrap().1 = 1, "not healed"),
        (|it| it.nodes[1].asked = None, "does not answer"),
        (|it| it.nodes[1].is_active = false, "draining"),
    ];
    let none = BTreeSet::new();
    let amid = |standing: &Standing, taken: &BTreeSet<u64>| {
        standing.refusals_amid(Target::Staging, NOW + 5_000, taken)
    };
    assert_eq!(amid(&standing(), &none), Vec::<String>::new());
    for (break_it, told) in cases {
        let mut standing = standing();
        break_it(&mut standing);
        let refusals = amid(&standing, &none);
        assert!(refusals.len() == 1 && refusals[0].contains(told), "{told}: {refusals:?}");
        // How a node is that the run itself takes out is no surprise.
        assert_eq!(amid(&standing, &[2].into()), Vec::<String>::new(), "{told}");
    }
    // It lasts for the strike, if not for the whole run.
    let mut short = standing();
    for node in &mut short.nodes {
        node.asked.as_mut().unwrap().0.until_ms = Some(NOW + 4_999);
    }
    assert_eq!(amid(&short, &none).len(), 4);
    let mut leaderless = standing();
    assert_eq!(leaderless.without_margin(), Vec::<String>::new());
    leaderless.groups[1].leader = None;
    assert_eq!(leaderless.without_margin().len(), 1);
}

#[test]
fn a_region_whose_groups_need_the_others_is_not_cut_off_from_them() {
    let cut =
        "kind = \"partition\", between = \"regions\", at = \"1s\", for = \"5s\", pick = \"all\"";
    let mut standing = standing();
    // The group of the whole cluster may wait.
    standing.groups[0].voters = vec![1, 5, 6];
    assert_eq!(refused(&standing, "production", cut), Vec::<String>::new());
    standing.groups[2].voters = vec![1, 2, 5, 6, 7];
    let refusals = refused(&standing, "production", cut);
    assert!(refusals.len() == 1 && refusals[0].contains("group 2 has 2 of its 5"), "{refusals:?}");
    standing.groups[2].voters = vec![1, 2, 3, 6, 7];
    assert_eq!(refused(&standing, "production", cut), Vec::<String>::new());
}

#[test]
fn devices_that_others_depend_on_come_back_before_they_are_sent_away_again() {
    let refused = |target: &str, broken: &str| {
        let (scenario, timeline) = lasting("30m", target, broken);
        standing().refusals(&scenario, &timeline)
    };
    let every = |every: &str| {
        format!("fault = [{{ kind = \"herd\", pick = \"all\", every = \"{every}\" }}]")
    };
    let two = |at: &str| {
        format!(
            "fault = [{{ kind = \"herd\", pick = \"node:1\", at = \"10s\" }},\n\
             {{ kind = \"herd\", pick = \"node:2\", at = \"{at}\" }}]"
        )
    };
    for target in ["staging", "production"] {
        for (broken, told) in [
            (every("1s"), "line 5: `herd` comes 1s after"),
            (every("74s"), "line 5: `herd` comes 74s after"),
            // They may have gone to the other one.
            (two("84s"), "line 6: `herd` comes 74s after"),
            (two("10s"), "line 6: `herd` comes 0ms after"),
        ] {
            let refusals = refused(target, &broken);
            assert!(refusals.len() == 1 && refusals[0].starts_with(told), "{told}: {refusals:?}");
        }
        for broken in [every("75s"), two("85s")] {
            assert_eq!(refused(target, &broken), Vec::<String>::new(), "{broken}");
        }
    }
    // By chance, too.
    let chance = "random = { pool = [\"herd\"], shift = \"15s\", quiet = 0 }";
    let refusals = refused("production", chance);
    assert!(refusals.len() == 1 && refusals[0].starts_with("line 5: `herd`"), "{refusals:?}");
}

#[test]
fn a_target_that_does_not_exist_is_named_once() {
    let nobody = "kind = \"partition\", every = \"10s\", from = \"1s\", until = \"50s\", for = \"5s\", \
                  pick = \"node:9\"";
    let refusals = refused(&standing(), "staging", nobody);
    assert!(
        refusals.len() == 1 && refusals[0].contains("line 5: there is no node 9"),
        "{refusals:?}"
    );
    let shard = "kind = \"partition\", at = \"1s\", for = \"5s\", pick = \"leader:7\"";
    assert!(refused(&standing(), "staging", shard)[0].contains("line 5: there is no shard 7"));
}

#[test]
fn both_ends_of_a_link_are_to_be_there_and_are_reached() {
    let link = |with: &str| format!("{CUT}, with = \"{with}\"");
    for with in ["node:3", "leader:2", "random", "leader"] {
        assert_eq!(refused(&standing(), "production", &link(with)), Vec::<String>::new(), "{with}");
    }
    for (with, told) in [("node:9", "there is no node 9"), ("leader:7", "there is no shard 7")] {
        let refusals = refused(&standing(), "production", &link(with));
        assert!(refusals.len() == 1 && refusals[0].contains(told), "{refusals:?}");
    }
    // A group that can lose nobody cannot have two voters that do not hear each other.
    let mut small = standing();
    small.groups[2].voters = vec![1, 2];
    let refusals = refused(&small, "production", &link("node:3"));
    assert!(refusals.len() == 1 && refusals[0].contains("group 2 has 2 voters"), "{refusals:?}");
    let one =
        "kind = \"partition\", at = \"1s\", for = \"5s\", pick = \"node:4\", with = \"node:1\"";
    let (_, timeline) = scenario("production", one);
    let reach = standing().reach_of(&timeline.0[0]);
    assert_eq!((reach.nodes, reach.groups.len()), ([1, 4].into(), 3));
    assert_eq!(reach.led, [0].into());
}

#[test]
fn the_reach_of_a_fault_is_what_its_nodes_vote_in_and_lead() {
    let standing = standing();
    let reach = standing.reach(Pick::Node(2));
    assert_eq!((reach.nodes.len(), reach.groups.len(), reach.led.len()), (1, 3, 2));
    // Node 4 votes nowhere.
    let reach = standing.reach(Pick::Node(4));
    assert_eq!((reach.nodes.len(), reach.groups.len(), reach.led.len()), (1, 0, 0));
    assert_eq!(standing.reach(Pick::Leader(None)).nodes, [1, 2].into());
    assert_eq!(standing.reach(Pick::Leader(Some(0))).nodes, [1, 2, 3].into());
    assert_eq!(standing.reach(Pick::All).nodes.len(), 4);
    assert_eq!(standing.reach(Pick::Nobody).groups.len(), 0);
    assert_eq!(standing.margins(), [(0, 1), (1, 1), (2, 1)].into());
    let devices = |standing: &Standing, pick| standing.reach(pick).devices;
    let picks = [Pick::Node(4), Pick::Leader(None), Pick::All, Pick::Nobody];
    let counts = picks.map(|pick| devices(&standing, pick));
    assert_eq!(counts, [Some(40), Some(30), Some(100), Some(0)]);
    // A node that does not say it may have any number of them.
    let mut silent = standing;
    silent.nodes[0].devices = None;
    assert_eq!(picks.map(|pick| devices(&silent, pick)), [Some(40), None, None, Some(0)]);
}
