//! Each promise, kept and broken; and histories that are damaged, cut off or of another time.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bounds;
mod noted;
mod one_history;
mod positions;
mod recovery;
mod revoked;
mod technicians;
mod tickets;

use super::*;
use crate::{
    Fault, Network, Phase, Timeline,
    history::{Entry, Happened, Operation, VERSION, What},
    judge,
    judge::Ending,
    read_scenario,
    timeline::Strike,
};

const SCENARIO: &str = "name = \"x\"\nduration = \"60s\"\nworkload = { rate = 1 }\n\
                        fault = [{ kind = \"kill\", at = \"10s\", for = \"1s\", pick = \"node:1\" }]\n\
                        [check]\nrecover_within = \"5s\"\nrevoked_within = \"2s\"\n";

/// How a run of a scenario begins on three nodes with one shard, and what is to be broken.
pub(crate) fn begun(document: &str) -> (What, Vec<Strike>) {
    let scenario = Box::new(read_scenario(document).unwrap().value);
    let strikes = Timeline::of(&scenario, 3).unwrap().0;
    let (document, product) = (String::new(), String::new());
    let begun = What::Begun {
        version: VERSION,
        scenario,
        document,
        wall_ms: 0,
        product,
        nodes: 3,
        strikes: strikes.clone(),
        shards: vec![1],
    };
    (begun, strikes)
}

/// What happened, each with its second.
struct Told(Vec<Entry>);

impl Told {
    fn new() -> Self {
        Self(vec![Entry { at_us: 0, what: begun(SCENARIO).0 }])
    }

    fn at(mut self, ms: u64, what: What) -> Self {
        self.0.push(Entry { at_us: ms * 1000, what });
        self
    }

    fn invoked(self, ms: u64, op: u64, by: &str, operation: Operation) -> Self {
        self.at(ms, What::Invoked { op, by: by.into(), operation })
    }

    fn request(self, ms: u64, op: u64, ticket: &str) -> Self {
        self.invoked(ms, op, "c", Operation::Request { ticket: ticket.into(), shard: 1 })
    }

    fn ok(self, ms: u64, op: u64) -> Self {
        self.at(ms, What::Ok { op, read: None, at: None })
    }

    fn confirmed(self, ms: u64, ticket: &str, number: u8) -> Self {
        let (by, ticket) = ("c".to_owned(), ticket.to_owned());
        let (technician, position) = (Some("t".into()), None);
        self.at(ms, What::Confirmed { by, ticket, number, technician, position })
    }

    /// Somebody else than the one who asks here is told of the first ticket.
    fn confirmed_to(self, by: &str, number: u8) -> Self {
        let (by, ticket, technician) = (by.to_owned(), "a".to_owned(), Some("t".into()));
        self.at(45, What::Confirmed { by, ticket, number, technician, position: None })
    }

    fn ticket(self, ms: u64, ticket: &str, events: Vec<Happened>) -> Self {
        let (ticket, state) = (ticket.to_owned(), "accepted".to_owned());
        self.at(ms, What::Ticket { ticket, state, events })
    }

    fn fault(self, ms: u64, phase: Phase) -> Self {
        let (fault, why) = (Fault::Kill, String::new());
        self.at(ms, What::Fault { strike: 0, fault, node: Some(1), phase, why, effect: None })
    }

    fn cut(mut self) -> History {
        self.0.sort_by_key(|entry| entry.at_us);
        History::of(self.0)
    }

    fn whole(mut self) -> History {
        self.0.sort_by_key(|entry| entry.at_us);
        let entries = self.0.len() as u64;
        let at_us = self.0.last().unwrap().at_us;
        self.0.push(Entry { at_us, what: What::Ended { entries } });
        History::of(self.0)
    }
}

fn event(event: &str, technician: Option<&str>, epoch: Option<u32>) -> Happened {
    let technician = technician.map(str::to_owned);
    Happened { event: event.into(), technician, epoch, message: None, digest: event.into() }
}

fn checked(promise: Promise, history: &History) -> Finding {
    promise.check(history, &Operations::of(history))
}

fn verdict(promise: Promise, history: &History) -> Verdict {
    checked(promise, history).verdict
}

#[test]
fn what_was_acknowledged_is_there_and_its_customer_heard_of_it() {
    let asked = || Told::new().request(1, 1, "a").ok(2, 1);
    let of = |told: Told| verdict(Promise::Acknowledged, &told.whole());
    assert_eq!(of(asked().confirmed(3, "a", 2).ticket(9, "a", vec![])), Verdict::Kept);
    assert_eq!(of(asked().ticket(9, "a", vec![])), Verdict::Broken, "nobody was named");
    assert_eq!(
        of(asked().confirmed(3, "a", 2).ticket(9, "b", vec![])),
        Verdict::Broken,
        "it is gone"
    );
    assert_eq!(of(asked().confirmed(3, "a", 2)), Verdict::Unknown, "nobody looked");
    let unfilled = What::Ticket { ticket: "a".into(), state: "unfilled".into(), events: vec![] };
    assert_eq!(of(asked().at(9, unfilled)), Verdict::Broken, "somebody could always come");
    let revoked = asked().at(3, What::Revoked { device: "c".into() });
    assert_eq!(of(revoked.ticket(9, "a", vec![])), Verdict::Kept, "it may not be told any more");
    let unknown = Told::new().request(1, 1, "a").ticket(9, "b", vec![]);
    assert_eq!(of(unknown), Verdict::Unknown, "nothing was acknowledged");
    let refused = |told: Told| told.at(2, What::Refused { op: 1, why: String::new() });
    let was_refused = || refused(Told::new().request(1, 1, "a"));
    assert_eq!(of(was_refused().ticket(9, "b", vec![])), Verdict::Kept);
    assert_eq!(
        of(was_refused().ticket(9, "a", vec![])),
        Verdict::Broken,
        "it was done all the same"
    );
    let cut = asked().confirmed(3, "a", 2).ticket(9, "a", vec![]).cut();
    assert_eq!(verdict(Promise::Acknowledged, &cut), Verdict::Unknown, "who knows what came later");
}

#[test]
fn whoever_was_renewed_is_told_what_it_asked_for_before() {
    let of = |renewed: bool, told: bool| {
        let asked = Told::new().request(1, 1, "a").ok(2, 1);
        let mut expired = asked.at(3, What::Revoked { device: "c".into() });
        if renewed {
            expired = expired.at(4, What::Renewed { device: "c".into() });
        }
        if told {
            expired = expired.confirmed(7, "a", 2);
        }
        verdict(Promise::Acknowledged, &expired.ticket(9, "a", vec![]).whole())
    };
    assert_eq!(of(false, false), Verdict::Kept, "it may not be told any more");
    assert_eq!(of(true, false), Verdict::Broken, "its mail is lost");
    assert_eq!(of(true, true), Verdict::Kept);
}

#[test]
fn a_customer_of_a_parked_technician_is_not_told_for_minutes() {
    let failed = |told: Told, strike| {
        let (fault, why) = (Fault::FailingActors { percent: 30 }, String::new());
        let (node, phase) = (Some(1), Phase::Installed);
        told.at(u64::from(strike), What::Fault { strike, fault, node, phase, why, effect: None })
    };
    let asked = |strikes| {
        let told = (1..=strikes).fold(Told::new(), failed);
        told.request(10, 1, "a").ok(20, 1)
    };
    let of = |told: Told| checked(Promise::Acknowledged, &told.whole());
    assert_eq!(of(asked(2).ticket(90, "a", vec![])).verdict, Verdict::Broken);
    let parked = of(asked(3).ticket(90, "a", vec![]));
    assert_eq!(parked.verdict, Verdict::Unknown);
    assert!(parked.why.contains("parked for ten minutes"), "{parked:?}");
    assert_eq!(of(asked(3).ticket(90, "b", vec![])).verdict, Verdict::Broken, "it is gone");
}

#[test]
fn one_technician_has_a_ticket_and_offers_grow() {
    let of = |events: Vec<Happened>| {
        verdict(Promise::OneTechnician, &Told::new().ticket(9, "a", events).whole())
    };
    let offered = |to, epoch| event("offered", Some(to), Some(epoch));
    let accepted = |by| event("accepted", Some(by), None);
    let told = |technician: &str| {
        let (by, ticket) = ("c".to_owned(), "a".to_owned());
        let (technician, position) = (Some(technician.into()), None);
        let what = What::Confirmed { by, ticket, number: 2, technician, position };
        let events = vec![offered("s", 1), accepted("s")];
        verdict(Promise::OneTechnician, &Told::new().at(5, what).ticket(9, "a", events).whole())
    };
    assert_eq!([told("s"), told("t")], [Verdict::Kept, Verdict::Broken]);
    let good = vec![
        offered("s", 1),
        accepted("s"),
        event("taken_back", Some("s"), None),
        offered("t", 2),
        accepted("t"),
    ];
    assert_eq!(of(good), Verdict::Kept);
    assert_eq!(of(vec![offered("s", 1), accepted("s"), accepted("t")]), Verdict::Broken);
    assert_eq!(of(vec![offered("s", 2), offered("t", 2)]), Verdict::Broken);
    assert_eq!(verdict(Promise::OneTechnician, &Told::new().whole()), Verdict::Unknown);
}

#[test]
fn a_dispatch_is_confirmed_once_and_confirmations_come_in_order() {
    let good = Told::new().confirmed(1, "a", 2).confirmed(2, "b", 2).confirmed(3, "a", 4).whole();
    assert_eq!(verdict(Promise::Once, &good), Verdict::Kept);
    assert_eq!(verdict(Promise::Order, &good), Verdict::Kept);
    let twice = Told::new().confirmed(1, "a", 2).confirmed(2, "a", 2).whole();
    let finding = checked(Promise::Once, &twice);
    assert_eq!(
        (finding.verdict, finding.examples[0].entries.clone()),
        (Verdict::Broken, vec![1, 2])
    );
    assert_eq!(verdict(Promise::Order, &twice), Verdict::Kept);
    let back = Told::new().confirmed(1, "a", 4).confirmed(2, "a", 2).whole();
    assert_eq!(verdict(Promise::Order, &back), Verdict::Broken);
}

#[test]
fn a_confirmation_that_a_device_had_to_wait_for_is_not_out_of_order() {
    let of = |told: &[(u8, Option<u64>)]| {
        let told = told.iter().zip(1..).fold(Told::new(), |told, (&(number, position), ms)| {
            let (by, ticket, technician) = ("c".into(), "a".into(), Some("t".into()));
            told.at(ms, What::Confirmed { by, ticket, number, technician, position })
        });
        verdict(Promise::Order, &told.whole())
    };
    assert_eq!(of(&[(4, Some(8)), (2, Some(7))]), Verdict::Kept, "it was said before");
    assert_eq!(of(&[(4, Some(7)), (2, Some(8))]), Verdict::Broken, "it was said behind");
    assert_eq!(of(&[(4, None), (2, Some(7))]), Verdict::Broken, "who knows where it was said");
    let again = [(4, Some(8)), (2, Some(7)), (3, Some(9))];
    assert_eq!(of(&again), Verdict::Broken, "behind the newest one");
}

#[test]
fn the_end_of_the_work_is_confirmed_once_too() {
    let told = || Told::new().confirmed(1, "a", 2).confirmed(2, "a", 4).confirmed(3, "b", 4);
    assert_eq!(verdict(Promise::Once, &told().whole()), Verdict::Kept);
    let twice = checked(Promise::Once, &told().confirmed(5, "a", 4).whole());
    assert_eq!((twice.verdict, twice.broken), (Verdict::Broken, 1));
    assert_eq!(twice.examples[0].entries, [2, 4]);
    // Another time may be told as often as there is one.
    let changed = told().confirmed(5, "c", 3).confirmed(6, "c", 3);
    assert_eq!(verdict(Promise::Once, &changed.whole()), Verdict::Kept);
}

#[test]
fn replicas_with_the_same_applied_are_the_same() {
    let replica = |node, applied, digest: &str| What::Replica {
        group: 1,
        node,
        applied,
        digest: digest.into(),
    };
    let of = |replicas: Vec<What>| {
        let told = replicas.into_iter().fold(Told::new(), |told, what| told.at(9, what));
        verdict(Promise::Replicas, &told.whole())
    };
    let three = |third| vec![replica(1, 7, "d"), replica(2, 7, "d"), third];
    assert_eq!(of(three(replica(3, 7, "d"))), Verdict::Kept);
    assert_eq!(of(three(replica(3, 6, "e"))), Verdict::Unknown, "one stays behind");
    let behind = vec![replica(1, 6, "d"), replica(2, 7, "d"), replica(3, 7, "e")];
    assert_eq!(of(behind), Verdict::Broken, "whoever the first one is");
    assert_eq!(of(vec![replica(1, 7, "d"), replica(2, 7, "e")]), Verdict::Broken);
    assert_eq!(of(vec![replica(1, 7, "d"), replica(2, 8, "e")]), Verdict::Unknown);
}

#[test]
fn a_ledger_that_was_not_verified_is_not_called_well() {
    let of = |holds, entries| {
        let told =
            Told::new().at(9, What::Ledger { holds, entries, wanted: 5, why: String::new() });
        verdict(Promise::Ledger, &told.whole())
    };
    let found = [of(true, 5), of(false, 5), of(true, 4)];
    assert_eq!(found, [Verdict::Kept, Verdict::Broken, Verdict::Broken]);
    assert_eq!(verdict(Promise::Ledger, &Told::new().whole()), Verdict::Unknown);
}

#[test]
fn every_shard_serves_again_in_time() {
    let struck = || {
        let told = Told::new().request(1_000, 1, "a").ok(1_010, 1);
        told.fault(10_000, Phase::Installed).fault(11_000, Phase::Ended)
    };
    let of = |told: Told| verdict(Promise::Recovery, &told.whole());
    assert_eq!(of(struck().request(12_000, 2, "b").ok(16_900, 2)), Verdict::Kept);
    assert_eq!(of(struck().request(12_000, 2, "b").ok(17_100, 2)), Verdict::Broken);
    assert_eq!(
        of(struck().request(19_000, 2, "b").ok(19_100, 2)),
        Verdict::Kept,
        "nobody asked before"
    );
    assert_eq!(of(struck().request(12_000, 2, "b")), Verdict::Broken, "it never did");
    assert_eq!(of(struck()), Verdict::Unknown, "nobody asked");
    let served = || struck().request(12_000, 2, "b").ok(12_900, 2);
    let down = What::Down { node: Some(1), why: "its process ended".into() };
    assert_eq!(of(served().at(13_000, down)), Verdict::Broken);
    let led = |node| served().at(13_000, What::Leader { group: 3, node });
    assert_eq!([of(led(Some(1))), of(led(None))], [Verdict::Kept, Verdict::Broken]);
    let revoked = struck().request(12_000, 2, "b").at(11_500, What::Revoked { device: "c".into() });
    assert_eq!(of(revoked), Verdict::Unknown, "whoever asked was not to be served");
    let history = struck().at(500, What::Leader { group: 1, node: Some(1) });
    let history = history.request(10_500, 2, "b").ok(11_700, 2).whole();
    assert_eq!(judge(&history).recoveries_ms(), [1_700]);
}

#[test]
fn bounds_are_kept_all_the_time() {
    let sample = |value| What::Sample { node: 1, name: "files".into(), value, bound: 10 };
    let of = |value| {
        verdict(Promise::Bounds, &Told::new().at(1, sample(3)).at(2, sample(value)).whole())
    };
    assert_eq!([of(10), of(11)], [Verdict::Kept, Verdict::Broken]);
}

#[test]
fn a_run_passes_only_where_everything_is_known_and_every_fault_was_there() {
    let scenario = format!("{SCENARIO}promises = [\"once\"]\n");
    let judged = |told: Told| {
        let mut history = told.whole();
        let scenario = Box::new(read_scenario(&scenario).unwrap().value);
        if let What::Begun { scenario: of, .. } = &mut history.entries[0].what {
            *of = scenario;
        }
        judge(&history)
    };
    let told = || Told::new().confirmed(1, "a", 2);
    let struck = || told().fault(10_000, Phase::Installed).fault(11_000, Phase::Ended);
    let passed = judged(struck());
    assert_eq!((passed.ending, passed.why), (Ending::Passed, vec![]));
    let missing = judged(told());
    assert_eq!(missing.ending, Ending::Inconclusive);
    assert!(missing.why[0].contains("kill was there 0 of 1"), "{:?}", missing.why);
    assert_eq!(judged(told().fault(10_000, Phase::Skipped)).ending, Ending::Inconclusive);
    let in_part = struck().fault(10_500, Phase::Failed);
    assert_eq!(judged(in_part).ending, Ending::Inconclusive, "not of all whom it was to befall");
    let short = told().fault(10_000, Phase::Installed).fault(10_400, Phase::Ended);
    let short = judged(short);
    assert_eq!(short.ending, Ending::Inconclusive);
    assert!(short.why[0].contains("it lasted 400 of 1000 ms"), "{:?}", short.why);
    assert_eq!(
        judged(struck().at(12_000, What::Aborted { why: "x".into() })).ending,
        Ending::Aborted
    );
    let harness = What::Harness { why: "x".into() };
    assert_eq!(judged(struck().at(12_000, harness.clone())).ending, Ending::Inconclusive);
    let violated = judged(struck().confirmed(12_000, "a", 2).at(13_000, harness));
    assert_eq!(violated.ending, Ending::Violated, "whatever else went wrong");
    assert_eq!(Ending::Violated as u8, 1);
}

#[test]
fn a_probe_is_looked_at_when_its_mode_says() {
    let judged = |mode: &str, told: Told| {
        let probe = format!(
            "[[steady]]\nid = \"p\"\nquery = \"request.max\"\nop = \"<\"\nvalue = \"100ms\"\n\
             window = \"2s\"\n{mode}\n"
        );
        let scenario = read_scenario(&format!("{SCENARIO}{probe}")).unwrap().value;
        let mut history = told.whole();
        if let What::Begun { scenario: of, .. } = &mut history.entries[0].what {
            **of = scenario;
        }
        judge(&history)
    };
    let verdict = |mode: &str, told: Told| judged(mode, told).probes[0].verdict;
    let struck = || Told::new().fault(10_000, Phase::Installed).fault(11_000, Phase::Ended);
    let asked = |told: Told, at, takes, op| told.request(at, op, "a").ok(at + takes, op);
    // Quick before, slow while it lasts, quick again.
    let before = || asked(struck(), 9_000, 10, 1);
    let slow = || asked(before(), 10_500, 900, 2);
    let late = || asked(asked(slow(), 19_000, 10, 3), 20_000, 10, 4);
    let after = || (13..19).fold(late(), |told, second| asked(told, second * 1_000, 10, second));
    for (mode, expected) in [
        ("mode = \"sot\"", Verdict::Kept),
        ("mode = \"eot\"", Verdict::Kept),
        ("mode = \"edge\"", Verdict::Kept),
        ("mode = \"continuous\"", Verdict::Broken),
        ("mode = \"continuous\"\ngrace = \"2s\"", Verdict::Kept),
        ("mode = \"onfault\"", Verdict::Broken),
    ] {
        assert_eq!(verdict(mode, after()), expected, "{mode}");
    }
    assert_eq!(verdict("mode = \"edge\"", before()), Verdict::Unknown, "nobody asked behind it");
    // Of some windows nobody knows, which is not the same as well.
    let missed = judged("mode = \"continuous\"\ngrace = \"2s\"", late());
    let probe = &missed.probes[0];
    assert_eq!((probe.verdict, probe.looks, probe.missed), (Verdict::Unknown, 2, 5));
    let why = "in 5 of 7 windows there was nothing to measure, first from 13.0 to 15.0 s";
    assert_eq!(probe.why, why);
    assert!(missed.why.contains(&format!("p could not be measured: {why}")), "{:?}", missed.why);
}

#[test]
fn a_history_is_read_as_it_was_written_and_a_cut_one_says_so() {
    let network = Fault::Network(Network { loss_percent: 100, ..Network::default() });
    let installed = What::Fault {
        strike: 3,
        fault: network,
        node: Some(2),
        phase: Phase::Installed,
        why: "".into(),
        effect: Some(7),
    };
    let history = Told::new().request(1, 1, "a").at(2, installed).ok(3, 1).whole();
    let text: String = history.entries.iter().map(|entry| entry.line().unwrap() + "\n").collect();
    assert_eq!(History::read(&text).unwrap(), history);
    let cut = &text[..text.len() - 10];
    let read = History::read(cut).unwrap();
    assert_eq!((read.entries.len(), read.is_whole), (history.entries.len() - 1, false));
    assert!(History::read("").is_err() && History::read("{}\n").is_err());
    let damaged = text.replacen("\"invoked\"", "\"inv", 1);
    assert!(History::read(&damaged).unwrap_err().to_string().starts_with("line 2"));
    let early = text.replacen("\"at_us\":3000", "\"at_us\":1", 1);
    assert!(History::read(&early).unwrap_err().to_string().contains("earlier"));
    let of = |version: u32| {
        let own = format!("\"version\":{VERSION}");
        History::read(&text.replacen(&own, &format!("\"version\":{version}"), 1))
    };
    assert!(of(1).is_ok() && of(0).is_err());
    assert!(of(VERSION + 1).unwrap_err().to_string().contains("version 3"));
}
