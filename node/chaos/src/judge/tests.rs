//! A fault that was installed and did nothing was not there; one of which nobody knows is judged by its time alone.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::{
    Fault, Timeline,
    history::{Entry, Operation},
    promises::tests::begun,
    read_scenario,
};

/// Two strikes of five seconds, in this order: of the network of all nodes, and of entities of a node.
const SCENARIO: &str = "name = \"x\"\nduration = \"60s\"\nworkload = { rate = 1 }\n\
     fault = [{ kind = \"loss\", at = \"10s\", for = \"5s\", pick = \"all\", percent = 1 },\n\
              { kind = \"actor.fail\", at = \"30s\", for = \"5s\", pick = \"node:1\", percent = 9 }]\n\
     [check]\npromises = [\"I4\"]\n";

/// A history in which these nodes had these faults for their time, and said this of it.
fn history(told: &[(u32, u64, Option<u64>)]) -> History {
    let (begun, strikes) = begun(SCENARIO);
    let confirmed = What::Confirmed {
        by: "c".into(),
        ticket: "a".into(),
        number: 2,
        technician: Some("t".into()),
        position: None,
    };
    let mut all = vec![(0, begun), (1, confirmed)];
    for (number, node, effect) in told {
        let strike = strikes.iter().find(|strike| strike.number == *number).unwrap();
        let fault = strike.fault;
        let of = |phase, effect| {
            let (strike, node, why) = (*number, Some(*node), String::new());
            What::Fault { strike, fault, node, phase, why, effect }
        };
        all.push((strike.at_ms, of(Phase::Installed, None)));
        all.push((strike.until_ms, of(Phase::Ended, *effect)));
    }
    all.sort_by_key(|(ms, _)| *ms);
    let entries = all.len() as u64;
    all.push((60_000, What::Ended { entries }));
    History::of(all.into_iter().map(|(ms, what)| Entry { at_us: ms * 1000, what }).collect())
}

fn loss(told: [Option<u64>; 3]) -> Vec<(u32, u64, Option<u64>)> {
    (1..).zip(told).map(|(node, effect)| (0, node, effect)).collect()
}

fn of(judgement: &Judgement, kind: &str) -> Coverage {
    judgement.faults.iter().find(|one| one.kind == kind).unwrap().clone()
}

#[test]
fn the_strikes_are_numbered_as_these_tests_have_them() {
    let strikes = Timeline::of(&read_scenario(SCENARIO).unwrap().value, 3).unwrap().0;
    let kinds: Vec<(u32, &str)> =
        strikes.iter().map(|strike| (strike.number, strike.fault.name())).collect();
    assert_eq!(kinds, [(0, "loss"), (1, "actor.fail")]);
}

#[test]
fn what_was_installed_and_did_nothing_was_not_there() {
    let mut told = loss([Some(1_000), Some(0), Some(204)]);
    told.push((1, 1, Some(0)));
    let judgement = judge(&history(&told));
    assert_eq!(judgement.ending, Ending::Inconclusive);
    assert_eq!(
        judgement.why,
        ["actor.fail was there 0 of 1 times: it was installed and had no effect: 0 entities"]
    );
    let loss = of(&judgement, "loss");
    assert_eq!((loss.wanted, loss.installed), (1, 1), "of one node there was nothing to lose");
    assert_eq!(loss.effect.unwrap().to_string(), "had effect on 1,204 datagrams");
    let fails = of(&judgement, "actor.fail");
    assert_eq!((fails.wanted, fails.installed, fails.effect), (1, 0, None));
}

#[test]
fn what_did_something_is_judged_and_what_nobody_counted_too() {
    for (datagrams, entities, effects) in [
        ([Some(1), Some(0), Some(0)], Some(7), [Some(1), Some(7)]),
        // As a history of before has it, and one in which a node died.
        ([None, None, None], None, [None, None]),
        ([Some(0), None, Some(0)], Some(1), [None, Some(1)]),
    ] {
        let mut told = loss(datagrams);
        told.push((1, 1, entities));
        let judgement = judge(&history(&told));
        assert_eq!(judgement.ending, Ending::Passed, "{:?}", judgement.why);
        let kinds = ["loss", "actor.fail"].map(|kind| of(&judgement, kind));
        assert!(kinds.iter().all(|kind| kind.installed == 1), "{kinds:?}");
        assert_eq!(kinds.map(|kind| kind.effect.map(|effect| effect.count)), effects);
    }
}

#[test]
fn figures_are_written_in_thousands() {
    for (count, text) in
        [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")]
    {
        let effect = Effect { count, of: "MiB" };
        assert_eq!(effect.to_string(), format!("had effect on {text} MiB"));
    }
}

#[test]
fn an_effect_that_was_told_when_it_was_installed_counts() {
    let mut history = history(&loss([None; 3]));
    for entry in &mut history.entries {
        if let What::Fault { phase: Phase::Installed, effect, fault, .. } = &mut entry.what {
            assert!(matches!(fault, Fault::Network(_)));
            *effect = Some(0);
        }
    }
    assert_eq!(
        judge(&history).why[0],
        "loss was there 0 of 1 times: it was installed and had no effect: 0 datagrams"
    );
}

/// Ten requests a second from a moment on, to 40 s, each answered 20 ms later but for some that are slow, and a fault: both
/// from one millisecond to another.
fn asked_from(from_ms: u64, broken: (u64, u64), slow: (u64, u64)) -> History {
    let document = SCENARIO.replace(
        "[check]",
        "[[steady]]\nid = \"swift\"\nquery = \"request.max\"\n\
        op = \"<\"\nvalue = \"1s\"\nwindow = \"5s\"\nmode = \"sot\"\n[check]",
    );
    let (begun, strikes) = begun(&document);
    let fault = strikes[0].fault;
    let mut all = vec![(0, begun)];
    for (op, ms) in (1..).zip((from_ms..40_000).step_by(100)) {
        let ticket = format!("t{op}");
        let operation = Operation::Request { ticket, shard: 1 };
        all.push((ms, What::Invoked { op, by: "c".into(), operation }));
        let took = if (slow.0..slow.1).contains(&ms) { 1_400 } else { 20 };
        all.push((ms + took, What::Ok { op, read: None, at: None }));
    }
    for (ms, phase) in [(broken.0, Phase::Installed), (broken.1, Phase::Ended)] {
        let (node, why, effect) = (Some(1), String::new(), None);
        all.push((ms, What::Fault { strike: 0, fault, node, phase, why, effect }));
    }
    all.sort_by_key(|(ms, _)| *ms);
    History::of(all.into_iter().map(|(ms, what)| Entry { at_us: ms * 1000, what }).collect())
}

#[test]
fn what_a_fault_took_before_it_was_noted_was_not_asked_before_it() {
    let swift = |history: &History| judge(history).probes[0].clone();
    // The power fails when a lease begins, and that is known half a second later.
    let found = swift(&asked_from(0, (10_400, 15_000), (9_950, 10_400)));
    assert_eq!((found.verdict, found.worst), (Verdict::Kept, Some(20.0)));
    let ill = swift(&asked_from(0, (10_400, 15_000), (5_000, 5_101)));
    assert_eq!((ill.verdict, ill.worst), (Verdict::Broken, Some(1_400.0)), "of its own");
    // Where there is no time for more, everything that was asked before the fault is looked at.
    let early = swift(&asked_from(3_000, (8_000, 15_000), (0, 0)));
    assert_eq!((early.verdict, early.missed), (Verdict::Kept, 0));
    let early = swift(&asked_from(3_000, (8_000, 15_000), (7_800, 8_000)));
    assert_eq!(early.verdict, Verdict::Broken);
}

/// Thirty seconds of requests of which those of some milliseconds take 1.4 s, where a second at most is normal.
fn of_a_swift_one(mode: &str, slow: (u64, u64), more: Vec<(u64, What)>) -> Judgement {
    let document = SCENARIO.replace(
        "[check]",
        &format!(
            "[[steady]]\nid = \"swift\"\nquery = \"request.max\"\nop = \"<\"\nvalue = \"1s\"\n\
             window = \"5s\"\nmode = \"{mode}\"\n[check]"
        ),
    );
    let kill = "kind = \"kill\", at = \"10s\", for = \"5s\", pick = \"node:1\" }";
    let loss = "kind = \"loss\", at = \"10s\", for = \"5s\", pick = \"all\", percent = 1 }";
    let document = document.replace(loss, kill);
    let mut all = vec![(0, begun(&document).0)];
    for (op, ms) in (1..).zip((0..30_000).step_by(100)) {
        let operation = Operation::Request { ticket: format!("t{op}"), shard: 1 };
        all.push((ms, What::Invoked { op, by: "c".into(), operation }));
        let took = if (slow.0..slow.1).contains(&ms) { 1_400 } else { 20 };
        all.push((ms + took, What::Ok { op, read: None, at: None }));
    }
    all.extend(more);
    all.sort_by_key(|(ms, _)| *ms);
    let entries = all.len() as u64;
    all.push((35_000, What::Ended { entries }));
    judge(&History::of(
        all.into_iter().map(|(ms, what)| Entry { at_us: ms * 1000, what }).collect(),
    ))
}

fn killed(phase: Phase) -> What {
    let (why, effect) = (String::new(), None);
    What::Fault { strike: 0, fault: Fault::Kill, node: Some(1), phase, why, effect }
}

#[test]
fn a_run_that_was_given_up_before_the_first_fault_was_not_normal_and_broke_nothing() {
    let given_up = || (29_000, What::Aborted { why: "it was not normal".into() });
    let slow = (0, 30_000);
    for mode in ["sot", "edge"] {
        let judgement = of_a_swift_one(mode, slow, vec![given_up()]);
        assert_eq!(judgement.probes[0].verdict, Verdict::Broken);
        assert_eq!(judgement.ending, Ending::Aborted, "{:?}", judgement.why);
        assert!(judgement.why.iter().any(|why| why.starts_with("swift was not < 1000 ms")));
        let struck = vec![(10_000, killed(Phase::Installed)), given_up()];
        assert_eq!(of_a_swift_one(mode, slow, struck).ending, Ending::Violated, "it was broken");
        assert_eq!(of_a_swift_one(mode, slow, Vec::new()).ending, Ending::Violated, "to its end");
    }
    let always = of_a_swift_one("continuous", slow, vec![given_up()]);
    assert_eq!(always.ending, Ending::Violated, "another probe than those of before");
}

#[test]
fn what_is_not_normal_where_the_run_could_not_start_a_node_again_is_not_known() {
    let failed = || (15_500, What::Harness { why: "of node 1: no program".into() });
    let installed = || (10_000, killed(Phase::Installed));
    let late = (20_000, 21_000);
    for mode in ["continuous", "onfault"] {
        let judgement = of_a_swift_one(mode, late, vec![installed(), failed()]);
        assert_eq!(judgement.probes[0].verdict, Verdict::Unknown);
        assert!(judgement.probes[0].why.contains("could not mend"), "{:?}", judgement.probes);
        assert_eq!(judgement.ending, Ending::Inconclusive, "{:?}", judgement.why);
    }
    let ended = || (15_000, killed(Phase::Ended));
    for (slow, more, why) in [
        ((1_000, 2_000), vec![installed(), failed()], "before it was broken"),
        ((8_000, 9_000), vec![installed(), failed()], "while it was to be broken"),
        (late, vec![installed()], "nothing of the run itself failed"),
        (late, vec![installed(), ended(), failed()], "it was started again"),
    ] {
        let judgement = of_a_swift_one("continuous", slow, more);
        assert_eq!(judgement.ending, Ending::Violated, "{why}: {:?}", judgement.why);
    }
}
