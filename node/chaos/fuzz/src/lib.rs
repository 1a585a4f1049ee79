//! What both targets begin with: a scenario, the history of a run of it that passes, and changes.
//!
//! The history is written by the same means as a run writes it. **Not here:** what must hold of them.

use fieldmesh_chaos::{
    Entry, Fault, Phase, Scenario, Timeline,
    history::{Answer, Happened, Offer, Operation, Position, Prefix, VERSION, What},
    read_scenario,
};

/// A node is killed for a second; a request before it, one after it.
pub const SCENARIO: &str = r#"
name = "one-kill"
hypothesis = "Whoever asks is answered."
seed = 7
duration = "60s"
workload = { rate = 1 }
fault = [{ kind = "kill", at = "10s", for = "1s", pick = "node:1" }]

[[steady]]
id = "receipts"
query = "request.p99"
op = "<"
value = "2s"
window = "1s"
mode = "continuous"
grace = "3s"

[check]
promises = ["acknowledged", "one-technician", "one-history", "once", "ledger", "order", "bounds"]
recover_within = "5s"
"#;

/// As a file is read: what is no UTF-8 is none of ours, and not looked at.
pub fn text(data: &[u8]) -> &str {
    core::str::from_utf8(data).unwrap_or_default()
}

pub fn scenario() -> Scenario {
    read_scenario(SCENARIO).expect("it is one").value
}

fn happened(event: &str, technician: Option<&str>, epoch: Option<u32>) -> Happened {
    let technician = technician.map(str::to_owned);
    let message = (event == "message").then(|| "m".to_owned());
    Happened { event: event.into(), technician, epoch, message, digest: event.into() }
}

fn ticket(name: &str) -> What {
    let events = vec![
        happened("opened", None, None),
        happened("offered", Some("t"), Some(1)),
        happened("accepted", Some("t"), None),
        happened("message", None, None),
    ];
    What::Ticket { ticket: name.into(), state: "accepted".into(), events }
}

fn asked(op: u64, operation: Operation) -> What {
    What::Invoked { op, by: "c".into(), operation }
}

fn request(op: u64, ticket: &str) -> What {
    asked(op, Operation::Request { ticket: ticket.into(), shard: 1 })
}

fn confirmed(ticket: &str) -> What {
    let (by, ticket, technician) = ("c".into(), ticket.into(), Some("t".into()));
    What::Confirmed { by, ticket, number: 2, technician, position: Some(7) }
}

const OFFER: Offer = Offer { epoch: 1, seq: 0 };

fn alerted(ticket: &str) -> What {
    What::Alerted { by: "t".into(), ticket: ticket.into(), offer: OFFER, position: None }
}

fn accepts(op: u64, ticket: &str) -> What {
    let operation =
        Operation::Answer { ticket: ticket.into(), offer: OFFER, answer: Answer::Accept };
    What::Invoked { op, by: "t".into(), operation }
}

fn writes(op: u64, ticket: &str) -> What {
    asked(op, Operation::Write { ticket: ticket.into(), message: Some("m".into()) })
}

fn strike(phase: Phase) -> What {
    let (why, effect) = (String::new(), None);
    What::Fault { strike: 0, fault: Fault::Kill, node: Some(1), phase, why, effect }
}

fn position(index: u64) -> Position {
    Position { group: 1, term: 1, index, node: None }
}

/// The lines of a history that is whole.
pub fn history() -> String {
    let scenario = scenario();
    let strikes = Timeline::of(&scenario, 3).expect("it leaves enough").0;
    let begun = What::Begun {
        version: VERSION,
        scenario: Box::new(scenario),
        document: "ab".repeat(32),
        wall_ms: 1_800_000_000_000,
        product: "fieldmesh".into(),
        nodes: 3,
        strikes,
        shards: vec![1],
    };
    let read = Prefix { events: 1, digest: "opened".into() };
    let story = [
        (0, begun),
        (1, What::Leader { group: 1, node: Some(1) }),
        (1_000, request(1, "a")),
        (1_050, What::Ok { op: 1, read: None, at: None }),
        (1_100, alerted("a")),
        (1_110, accepts(4, "a")),
        (1_120, What::Ok { op: 4, read: None, at: None }),
        (1_200, confirmed("a")),
        (1_300, asked(2, Operation::Read { ticket: "a".into() })),
        (1_310, What::Ok { op: 2, read: Some(read), at: Some(position(7)) }),
        (1_400, writes(5, "a")),
        (1_420, What::Ok { op: 5, read: None, at: None }),
        (10_000, strike(Phase::Installed)),
        (11_000, strike(Phase::Ended)),
        (12_000, What::Leader { group: 1, node: Some(2) }),
        (20_000, request(3, "b")),
        (20_040, What::Ok { op: 3, read: None, at: None }),
        (20_100, confirmed("b")),
        (59_000, What::Sample { node: 1, name: "files".into(), value: 3, bound: 10 }),
        (60_000, ticket("a")),
        (60_000, ticket("b")),
        (60_000, What::Logged { op: 1, at: position(5) }),
        (60_000, What::Logged { op: 5, at: position(8) }),
        (60_000, What::MailLogged { to: "c".into(), number: 7, at: position(6) }),
        (60_000, What::Ledger { holds: true, entries: 9, wanted: 8, why: String::new() }),
    ];
    let ended = (60_000, What::Ended { entries: story.len() as u64 });
    let entries = story.into_iter().chain([ended]);
    let line = |(ms, what): (u64, What)| {
        Entry { at_us: ms * 1000, what }.line().expect("it is text") + "\n"
    };
    entries.map(line).collect()
}

/// Applies changes of four bytes each: what, where (two bytes), with what.
pub fn changed(original: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for change in changes.chunks_exact(4).take(16) {
        let at = (usize::from(change[1]) << 8 | usize::from(change[2])) % (bytes.len() + 1);
        let (what, value) = (change[0], change[3]);
        let until = (at + usize::from(value)).min(bytes.len());
        match what % 6 {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= value),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value),
            2 => bytes.insert(at, value),
            3 => drop(bytes.drain(at..until)),
            4 => bytes.truncate(at),
            // Something of it once more: lines and digits are told apart from it.
            _ => {
                let again = bytes[at..until].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}
