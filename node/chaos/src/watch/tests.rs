//! When a run that goes on is given up, condition by condition.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::{
    Fault, Phase,
    history::{Answer, Offer, Prefix},
    read_scenario,
};

fn watch(when: &str) -> Watch {
    let text = format!(
        "name = \"x\"\nduration = \"60s\"\n[workload]\nrate = 1\n[abort]\nwhen = [{when:?}]\n"
    );
    Watch::new(&read_scenario(&text).unwrap().value)
}

fn at(seconds: u64, what: What) -> Entry {
    Entry { at_us: seconds * 1_000_000, what }
}

fn request(op: u64) -> What {
    let operation = Operation::Request { ticket: format!("t{op}"), shard: 0 };
    What::Invoked { op, by: "c".into(), operation }
}

#[test]
fn a_run_is_given_up_once_its_condition_has_lasted() {
    let mut watch = watch("availability < 0.7 for 3s");
    // Every second request is not answered; with those of the last two seconds still under way it is 0.67 from
    // the sixth second on.
    for op in 0..10 {
        watch.see(&at(op, request(op)));
        if op % 2 == 0 {
            watch.see(&at(op, What::Ok { op, read: None, at: None }));
        }
        let reason = watch.reason(op * 1_000_000);
        assert_eq!(reason.is_some(), op == 9, "second {op}: {reason:?}");
    }
    assert_eq!(watch.reason(60_000_000), None, "nobody asks");
}

#[test]
fn a_group_without_a_leader_and_a_promise_that_is_broken_end_it() {
    let mut watch = watch("leaderless for 5s");
    watch.see(&at(1, What::Leader { group: 2, node: None }));
    watch.see(&at(3, What::Leader { group: 2, node: None }));
    assert_eq!(watch.reason(5_000_000), None);
    assert!(watch.reason(6_000_000).unwrap().contains("group 2"));
    watch.see(&at(6, What::Leader { group: 2, node: Some(1) }));
    assert_eq!(watch.reason(60_000_000), None);
    let unknown = |answered| What::LeaderUnknown { group: 2, answered, of: 3 };
    watch.see(&at(61, unknown(1)));
    assert_eq!(watch.reason(70_000_000), None, "some answer");
    watch.see(&at(71, unknown(0)));
    watch.see(&at(73, unknown(1)));
    assert_eq!(watch.reason(75_000_000), None);
    assert!(watch.reason(76_000_000).unwrap().contains("group 2"), "nobody answered");
    let mut watch = self::watch("promise.broken");
    let told = || What::Confirmed {
        by: "c".into(),
        ticket: "t".into(),
        number: 2,
        technician: None,
        position: None,
    };
    watch.see(&at(1, told()));
    assert_eq!(watch.reason(2_000_000), None);
    watch.see(&at(2, told()));
    assert!(watch.reason(2_000_000).unwrap().contains("twice"));
}

#[test]
fn whoever_is_told_twice_that_the_work_is_done_ends_it() {
    let told = |number| What::Confirmed {
        by: "c".into(),
        ticket: "t".into(),
        number,
        technician: None,
        position: None,
    };
    let of = |numbers: &[u8]| {
        let entries = numbers.iter().map(|number| (3, told(*number))).collect();
        reason(watch("promise.broken"), entries, 4)
    };
    assert_eq!(of(&[2, 3, 3, 4]), None);
    assert_eq!(of(&[2, 4, 4]).as_deref(), Some("t was confirmed twice"));
}

/// Of a run that revokes a device: that is refused five seconds later, and all is as before within ten.
fn broken(promises: &str) -> Watch {
    let text = format!(
        "name = \"x\"\nduration = \"60s\"\n\
         fault = [{{ kind = \"revoke\", at = \"10s\", devices = 1 }}]\n\
         [workload]\nrate = 1\n[abort]\nwhen = [\"promise.broken\"]\n[check]\n{promises}"
    );
    Watch::new(&read_scenario(&text).unwrap().value)
}

/// Why it is given up at the end of these seconds.
fn reason(mut watch: Watch, entries: Vec<(u64, What)>, seconds: u64) -> Option<String> {
    entries.into_iter().for_each(|(second, what)| watch.see(&at(second, what)));
    watch.reason(seconds * 1_000_000)
}

#[test]
fn a_node_that_is_away_and_a_bound_that_is_passed_end_it() {
    let down = || What::Down { node: Some(2), why: "its process ended".into() };
    let why = reason(broken(""), vec![(3, down())], 3).unwrap();
    assert_eq!(why, "node 2: its process ended");
    assert_eq!(reason(broken("promises = [\"I1\"]\n"), vec![(3, down())], 3), None, "not checked");
    let sample = |value| What::Sample { node: 1, name: "files".into(), value, bound: 10 };
    assert_eq!(reason(broken(""), vec![(3, sample(10))], 3), None);
    let why = reason(broken(""), vec![(3, sample(11))], 3).unwrap();
    assert_eq!(why, "node 1: files is 11, more than 10");
    let mut other = watch("leaderless for 5s");
    other.see(&at(3, down()));
    assert_eq!(other.reason(3_000_000), None, "that is no condition there");
}

#[test]
fn an_answer_to_a_revoked_device_ends_it_behind_the_bound() {
    let revoked = || What::Revoked { device: "c".into() };
    let of = |more: Vec<(u64, What)>| {
        let entries = [vec![(10, revoked()), (11, request(1))], more].concat();
        reason(broken(""), entries, 30)
    };
    let ok = || What::Ok { op: 1, read: None, at: None };
    assert_eq!(of(vec![(15, ok())]), None, "within the bound");
    assert_eq!(of(vec![(16, ok())]).unwrap(), "c was answered after it was revoked");
    let refused = What::Refused { op: 1, why: "invalid".into() };
    assert!(of(vec![(16, refused)]).is_some(), "it was heard");
    let told = What::Confirmed {
        by: "c".into(),
        ticket: "t".into(),
        number: 1,
        technician: None,
        position: None,
    };
    assert!(of(vec![(16, told)]).is_some(), "it was told something");
    assert_eq!(of(vec![(14, What::Renewed { device: "c".into() }), (16, ok())]), None);
    assert_eq!(of(vec![(16, What::Unknown { op: 1, why: String::new() })]), None);
}

#[test]
fn a_read_that_goes_back_ends_it() {
    let asks = |op| {
        let operation = Operation::Read { ticket: "t".into() };
        What::Invoked { op, by: "operator".into(), operation }
    };
    let saw = |op, events| {
        let read = Some(Prefix { events, digest: format!("d{events}") });
        What::Ok { op, read, at: None }
    };
    let of = |entries: Vec<(u64, What)>| reason(broken(""), entries, 30);
    let forward = vec![(1, asks(1)), (2, saw(1, 3)), (3, asks(2)), (4, saw(2, 3))];
    assert_eq!(of(forward), None);
    let back = vec![(1, asks(1)), (2, saw(1, 3)), (3, asks(2)), (4, saw(2, 2))];
    assert_eq!(of(back).unwrap(), "t: a read saw 2 events, and one before it 3");
    let beside = vec![(1, asks(1)), (1, asks(2)), (2, saw(1, 3)), (4, saw(2, 2))];
    assert_eq!(of(beside), None, "it began before the other one ended");
}

#[test]
fn two_who_have_a_ticket_by_one_offer_end_it_where_nothing_takes_it_back() {
    let says = |op, by: &str, answer| {
        let offer = Offer { epoch: 1, seq: 0 };
        let operation = Operation::Answer { ticket: "t".into(), offer, answer };
        What::Invoked { op, by: by.into(), operation }
    };
    let yes = |op| What::Ok { op, read: None, at: None };
    let both = || {
        let of = |op, by| says(op, by, Answer::Accept);
        vec![(1, of(1, "r")), (2, of(2, "s")), (3, yes(1)), (4, yes(2))]
    };
    let of = |more: Vec<(u64, What)>, seconds| reason(broken(""), [both(), more].concat(), seconds);
    assert_eq!(of(vec![], 13), None, "one of them may be told yet");
    let why = of(vec![], 14).unwrap();
    assert_eq!(why, "t: r and s were told that they have it by offer 1");
    let withdrawn = || What::Withdrawn { by: "s".into(), ticket: "t".into() };
    assert_eq!(of(vec![(5, withdrawn())], 60), None);
    // The word of it may come before the answer.
    let early = {
        let of = |op, by| says(op, by, Answer::Accept);
        vec![(1, of(1, "r")), (2, yes(1)), (3, of(2, "s")), (4, withdrawn()), (5, yes(2))]
    };
    assert_eq!(reason(broken(""), early, 60), None);
    let refused = What::Refused { op: 3, why: "no longer yours".into() };
    assert_eq!(of(vec![(5, says(3, "s", Answer::Complete)), (6, refused)], 60), None);
    // As long as something is broken, the word of it may not come.
    let strike = |phase| {
        let (fault, why) = (Fault::Kill, String::new());
        What::Fault { strike: 0, fault, node: Some(1), phase, why, effect: None }
    };
    let struck = vec![(5, strike(Phase::Installed))];
    assert_eq!(of(struck.clone(), 60), None);
    let mended = [struck, vec![(30, strike(Phase::Ended))]].concat();
    assert_eq!(of(mended.clone(), 39), None);
    assert!(of(mended, 40).is_some());
    assert_eq!(reason(broken("promises = [\"I1\"]\n"), both(), 60), None, "it is not checked");
}

#[test]
fn nothing_is_broken_where_it_is_not_as_it_normally_is() {
    let text = "name = \"x\"\nduration = \"60s\"\n[workload]\nrate = 1\n[[steady]]\nid = \"receipts\"\n\
                query = \"request.p99\"\nop = \"<\"\nvalue = \"1s\"\nwindow = \"5s\"\n";
    let run = |mode: &str, slow: &[u64], at_us: u64| {
        let text = format!("{text}mode = \"{mode}\"\n");
        let mut watch = Watch::new(&read_scenario(&text).unwrap().value);
        for op in 0..10 {
            watch.see(&at(op, request(op)));
            let took_us = if slow.contains(&op) { 1_500_000 } else { 10_000 };
            let what = What::Ok { op, read: None, at: None };
            watch.see(&Entry { at_us: op * 1_000_000 + took_us, what });
        }
        let reason = watch.normal().reason(at_us);
        let (fault, why) = (Fault::Kill, String::new());
        let (node, phase) = (Some(1), Phase::Installed);
        let struck = What::Fault { strike: 0, fault, node, phase, why, effect: None };
        watch.see(&Entry { at_us, what: struck });
        assert_eq!(watch.normal().reason(at_us), None, "what is broken is not normal");
        reason
    };
    let why = run("sot", &[6], 10_000_000).unwrap();
    assert_eq!(why, "nothing was broken yet, and receipts was 1500.000 ms, not < 1000 ms");
    assert_eq!(run("edge", &[6], 10_000_000).as_deref(), Some(why.as_str()));
    assert_eq!(run("eot", &[6], 10_000_000), None, "it is of the end");
    assert_eq!(run("sot", &[2], 10_000_000), None, "that was before");
    assert_eq!(run("sot", &[9], 10_000_000), None, "what is asked now has its time");
    assert_eq!(run("sot", &[6], 30_000_000), None, "nobody asks");
    assert_eq!(run("sot", &[1], 6_000_000), None, "there was no whole window yet");
}

/// Before the first request there is nothing, which is not little.
#[test]
fn what_had_not_begun_is_not_measured() {
    let text = "name = \"x\"\nduration = \"60s\"\n[workload]\nrate = 1\n[[steady]]\nid = \"all\"\n\
                query = \"rate\"\nop = \">=\"\nvalue = 0.9\nwindow = \"5s\"\nmode = \"sot\"\n";
    let reason = |first: u64| {
        let mut watch = Watch::new(&read_scenario(text).unwrap().value);
        for op in first..20 {
            watch.see(&at(op, request(op)));
            // Every second one from the tenth on is not answered.
            if op < 10 || op % 2 == 0 {
                watch.see(&at(op, What::Ok { op, read: None, at: None }));
            }
        }
        watch.normal().reason(20_000_000)
    };
    assert!(reason(0).unwrap().starts_with("nothing was broken yet, and all was 0."));
    assert!(reason(13).is_some());
    assert_eq!(reason(14), None);
}
