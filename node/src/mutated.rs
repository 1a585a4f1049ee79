//! Valid bytes with changes into each decoder that only the node has: none panics, and what one of them takes
//! is written and read again as the same, and is not much longer than it was.
//!
//! What other crates decode is fuzzed there, guided by coverage, and what nodes say to each other in `node/fuzz`, as are
//! the bodies of requests. The node links its storage engine, which a sanitizer would compile for a quarter of an hour:
//! here changes are by chance, so many rounds for each decoder, or `FIELDMESH_FUZZ_ROUNDS`. The number of a round is its
//! seed. **Not here:** what is opened with a key first, where every changed byte is refused.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and whoever runs them says how long"
)]

mod sent;

use std::panic::{AssertUnwindSafe, catch_unwind};

use fieldmesh_actors::commit::{
    self, Cause, Commit, Settle, SlotMove, SlotPage, SnapshotPart, Tell, TimerChange,
};
use fieldmesh_domain::{
    Command, EntityId, EntityKind, IndexRow, RejectionCode, customer, message::OfferId,
    placement::Members, time::Millis,
};
use minicbor::{Decode, Encode, bytes::ByteVec};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    backup::{archive, cut::Edges},
    consensus::{codec, packed, transfer, wire},
    courier::wire as courier,
    deployment::{HandOver, Welcome},
    journal::Record,
    notices::Targets,
    rosters::RosterText,
    store::rows,
    web,
};

const ROUNDS: u64 = 20_000;
/// What is written of a value may have fields that an earlier release left out, and no more.
const GROWTH: usize = 16;
/// Numbers and lengths that nobody means: 64 and 32 bits, a list, a table, a text and bytes of such a length.
const EXTREMES: [&[u8]; 8] = [
    &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xba, 0xff, 0xff, 0xff, 0xff],
    &[0x7a, 0xff, 0xff, 0xff, 0xff],
    &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    b"18446744073709551616",
    b"-9223372036854775809",
];

fn rounds() -> u64 {
    let said = std::env::var("FIELDMESH_FUZZ_ROUNDS").ok();
    said.map_or(ROUNDS, |text| text.parse().unwrap())
}

/// One of the valid encodings with one to four changes.
fn mutated(dice: &mut StdRng, valid: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = valid[dice.random_range(0..valid.len())].clone();
    for _ in 0..dice.random_range(1..=4) {
        let at = dice.random_range(0..=bytes.len());
        let end = (at + dice.random_range(0..=16)).min(bytes.len());
        match dice.random_range(0..8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let extreme = EXTREMES[dice.random_range(0..EXTREMES.len())];
                bytes.splice(at..end, extreme.iter().copied());
            }
            3 => {
                let other = &valid[dice.random_range(0..valid.len())];
                let from = dice.random_range(0..=other.len());
                bytes.splice(at.., other[from..].iter().copied());
            }
            4 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            // A length or a number, one more or one less.
            5 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = byte.wrapping_add(1)),
            6 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = byte.wrapping_sub(1)),
            _ => {
                let bit = 1_u8 << dice.random_range(0..8);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit);
            }
        }
    }
    bytes
}

/// Whether bytes are taken; it panics where what is taken is not what it is to be.
type Reader<'a> = &'a dyn Fn(&[u8]) -> bool;

fn survives(name: &str, valid: &[Vec<u8>], seal: fn(&mut [u8]), read: Reader<'_>) {
    for (number, bytes) in valid.iter().enumerate() {
        assert!(read(bytes), "{name}: the valid one {number} is refused");
    }
    for round in 0..rounds() {
        let mut bytes = mutated(&mut StdRng::seed_from_u64(round), valid);
        seal(&mut bytes);
        let survived = catch_unwind(AssertUnwindSafe(|| read(&bytes))).is_ok();
        assert!(survived, "{name}: round {round}, bytes {}", rows::name(&bytes));
    }
}

fn as_it_is(_: &mut [u8]) {}

/// Version and checksum of a consensus record are made right: there is nothing to find in front of them.
fn sealed(bytes: &mut [u8]) {
    if let Some((head, content)) = bytes.split_first_chunk_mut::<5>() {
        let [a, b, c, d] = crc32fast::hash(content).to_be_bytes();
        *head = [1, a, b, c, d];
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// Records with this content.
fn records(contents: &[&str]) -> Vec<Vec<u8>> {
    let record = |content: &&str| {
        let mut bytes = [&[0; 5][..], &unhex(content)].concat();
        sealed(&mut bytes);
        bytes
    };
    contents.iter().map(record).collect()
}

/// A value that was read of so many bytes: written again it is the same, and not much longer.
fn again<T, E: std::fmt::Debug>(
    read: Result<T, E>,
    length: usize,
    write: impl Fn(&T) -> Vec<u8>,
    reread: impl Fn(&[u8]) -> Result<T, E>,
) -> bool {
    let Ok(value) = read else { return false };
    let bytes = write(&value);
    assert!(bytes.len() <= GROWTH * length, "{} bytes of {length}", bytes.len());
    assert_eq!(write(&reread(&bytes).unwrap()), bytes);
    true
}

fn values<T: Encode<()> + for<'b> Decode<'b, ()>>(valid: &[T], more: &[&str]) {
    let written = valid.iter().map(rows::encode).chain(more.iter().map(|text| unhex(text)));
    let written: Vec<Vec<u8>> = written.collect();
    survives(std::any::type_name::<T>(), &written, as_it_is, &|bytes| {
        again(courier::decode::<T>(bytes), bytes.len(), rows::encode, courier::decode)
    });
}

/// What a REST body says: JSON is written with all that was left out, but read again as the same.
fn bodies<T: Serialize + DeserializeOwned>(valid: &[&str], look: impl Fn(&T)) {
    let written: Vec<Vec<u8>> = valid.iter().map(|text| text.as_bytes().to_vec()).collect();
    survives(std::any::type_name::<T>(), &written, as_it_is, &|bytes| {
        let Ok(body) = serde_json::from_slice::<T>(bytes) else { return false };
        look(&body);
        let text = serde_json::to_string(&body).unwrap();
        let read: T = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        true
    });
}

fn id(kind: EntityKind) -> EntityId {
    EntityId::new(kind, "eu1".parse().unwrap(), [10; 10])
}

fn bytes(content: &[u8]) -> ByteVec {
    content.to_vec().into()
}

#[test]
fn what_members_of_a_group_say() {
    let requests = records(&[
        "85 00 830301f5 820206 820307 82 83 820307 00 f6 83 820308 01 426869",
        "85 00 830301f5 f6 f6 81 83 820100 02 82 81 820102 83010203",
        "84 01 830402f4 820307 f4",
        "84 02 830402f4 f6 f5",
        "84 03 830401f5 02 820307",
    ]);
    survives("request", &requests, sealed, &|bytes| {
        let read = wire::Request::decode(bytes);
        again(read, bytes.len(), wire::Request::encode, wire::Request::decode)
    });
    let answers = records(&[
        "81 00",
        "81 01",
        "81 03",
        "82 04 830402f4",
        "84 05 830402f4 f5 820307",
        "81 06",
        "83 07 830402f4 830501f5",
        "83 08 f6 820307",
        "82 09 830402f4",
    ]);
    survives("answer", &answers, sealed, &|bytes| {
        let read = wire::Answer::decode(bytes);
        again(read, bytes.len(), wire::Answer::encode, wire::Answer::decode)
    });
    let addressed = vec![wire::addressed(7, &requests[0])];
    survives("addressee", &addressed, as_it_is, &|bytes| {
        let found = wire::addressee(bytes);
        found.is_some_and(|(group, rest)| wire::addressed(group, rest) == bytes)
    });
}

#[test]
fn what_a_group_keeps() {
    let entries = records(&[
        "83 820307 00 f6",
        "83 820307 01 426869",
        "83 820102 02 82 82 820102 820203 83010203",
    ]);
    survives("entry", &entries, sealed, &|bytes| {
        again(codec::decode_entry(bytes), bytes.len(), codec::encode_entry, codec::decode_entry)
    });
    survives("vote", &records(&["83 04 01 f4"]), sealed, &|bytes| {
        again(codec::decode_vote(bytes), bytes.len(), codec::encode_vote, codec::decode_vote)
    });
    survives("log id", &records(&["820307", "f6"]), sealed, &|bytes| {
        let write = |id: &Option<_>| codec::encode_log_id(id.as_ref());
        again(codec::decode_log_id(bytes), bytes.len(), write, codec::decode_log_id)
    });
    let applied = records(&["83 820307 820102 82 81 820102 83010203", "83 f6 f6 82 80 80"]);
    survives("applied", &applied, sealed, &|bytes| {
        let read = codec::decode_applied(bytes);
        let write = |(id, members): &(Option<_>, _)| codec::encode_applied(id.as_ref(), members);
        again(read, bytes.len(), write, codec::decode_applied)
    });
}

#[test]
fn what_comes_packed() {
    const MAX: usize = 64 << 10;
    let repetitive = (0..8192).map(|at| (1 + at / 7 % 50) as u8).collect();
    let frames = [packed::pack(repetitive), unhex("02 00000019 4c61626364 0400 50767778797a")];
    survives(
        "packed frame",
        &frames,
        as_it_is,
        &|bytes| match packed::unpack(bytes.to_vec(), MAX) {
            Ok(plain) => {
                assert!(plain.len() <= MAX.max(bytes.len()));
                true
            }
            Err(_) => false,
        },
    );
}

#[test]
fn what_a_snapshot_is_loaded_from() {
    let heads = records(&["84 830301f5 820307 820102 82 81 820102 83010203"]);
    survives("snapshot's head", &heads, sealed, &|bytes| transfer::head(bytes).is_ok());
    let mut pieces = records(&["82 00 82 82 4161 4162 82 4163 40", "82 00 80"]);
    pieces.push(transfer::end_piece(7));
    survives("snapshot's piece", &pieces, sealed, &|bytes| match transfer::read_piece(bytes) {
        Ok(Ok(rows)) => {
            let held: usize = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
            assert!(held <= bytes.len() && rows.len() <= bytes.len());
            true
        }
        Ok(Err(_)) => true,
        Err(_) => false,
    });
    let part = archive::GroupPart {
        group: 1,
        term: 3,
        index: 40,
        rows: 15,
        pieces: 4,
        bytes: 900,
        sha256: [7; 32],
    };
    let manifest = archive::Manifest {
        format: archive::FORMAT,
        cluster: "example.test".into(),
        region: "eu1".into(),
        shards: 4,
        taken_at_ms: 1,
        groups: vec![part.clone(), archive::GroupPart { group: 2, ..part }],
        certificates: vec![[7; 32].into()],
    };
    values(&[manifest], &[]);
    values(&[Edges::default()], &["84 02 a10107 a1018107 a101820381 05"]);
}

fn slot() -> SlotMove {
    SlotMove { region: "eu1".parse().unwrap(), slot: 5, sent: 9 }
}

fn tell() -> Tell {
    let (to, from) = (id(EntityKind::Ticket), id(EntityKind::Customer));
    Tell { to, shard: 1, sealed: vec![1, 2], from }
}

fn proposals() -> Vec<commit::Proposal> {
    let customer = id(EntityKind::Customer);
    let commit = Commit {
        entity: id(EntityKind::Ticket),
        owner: customer,
        expected_version: 3,
        cause: Cause::Outbox { from: 1, number: 2 },
        at_ms: 4,
        event_count: 1,
        record: vec![1, 2, 3],
        chain: [4; 32],
        snapshot: Some(vec![5]),
        new_key: None,
        tells: vec![tell()],
        mail: vec![commit::Mail { to: customer, number: 6, message_id: [7; 16], sealed: vec![8] }],
        timers: vec![TimerChange { name: 0, generation: 1, due_ms: Some(2) }],
        index: vec![IndexRow::Customer { id: customer, state: customer::Standing::Active }],
        seen: Some(commit::Seen { window: vec![1], receipt: vec![2] }),
        previous: Some([9; 32].into()),
    };
    let (slot, rows) = (slot(), vec![(bytes(b"a"), bytes(b"b"))]);
    let part = SnapshotPart { entity: customer, version: 1, part: 0, parts: 2, sealed: vec![1] };
    let mail = vec![(customer, 7)];
    vec![
        commit::Proposal::Commit(Box::new(commit)),
        commit::Proposal::Settle(Settle { mail, outbox: vec![(1, 2)], forget_before_s: Some(3) }),
        commit::Proposal::SnapshotPart(part),
        commit::Proposal::GiveSlot { slot, to: 2 },
        commit::Proposal::TakeSlot(SlotPage { slot, is_first: true, is_last: false, rows }),
        commit::Proposal::Redirect { rows: vec![(1, 2)], to: 3 },
    ]
}

#[test]
fn what_the_log_and_the_tables_hold() {
    let causes = [
        Cause::Device {
            device: id(EntityKind::Technician),
            message_id: [1; 16],
            content: [2; 32],
            sequence: 3,
            expires_s: 4,
        },
        Cause::Timer { name: 1, generation: 2 },
        Cause::Operator { command_id: [3; 16] },
    ];
    let record = |cause| Record {
        cause,
        at_ms: 1,
        rule_version: 2,
        previous: [3; 32],
        events: vec![bytes(&[0x82, 4, 0x80]), bytes(&[])],
    };
    values(&proposals(), &[]);
    values(&causes.map(record), &[]);
    values(&[rows::Head { version: 1, chain: [2; 32], owner: [3; 16], at_ms: 4 }], &[]);
    values(&[rows::DedupRow { content: [1; 32], receipt: vec![2], at_ms: 3 }], &[]);
    values(&[rows::SnapshotRow { version: 1, sealed: vec![2], parts: Some(3) }], &[]);
    values(&[rows::TimerRow { due_ms: 1, generation: 2 }], &[]);
    let owner = id(EntityKind::Customer);
    values(&[rows::OutboxRow { tell: tell(), owner, is_void: false }], &[]);
    values(&[rows::SlotRow { sent: 1, given_to: Some(2) }], &[]);
    values(&[rows::Cursor { low: 1, above: vec![3, 4] }], &[]);
}

#[test]
fn what_nodes_say_to_each_other() {
    let (device, ticket) = (id(EntityKind::Technician), id(EntityKind::Ticket));
    let question = courier::Question {
        to: id(EntityKind::Customer),
        command: Command::Customer(customer::Command::Suspend { by: None }),
        cause: Cause::Operator { command_id: [1; 16] },
        shard: Some(2),
    };
    let gift = courier::Gift { slot: slot(), from: 1, to: 2 };
    values(
        &[
            courier::Opening::Ask(Box::new(question)),
            courier::Opening::Notices,
            courier::Opening::Look(3),
            courier::Opening::Held,
            courier::Opening::IssuingKey([7; 32].into()),
            courier::Opening::Rows(courier::Wanted {
                shard: 1,
                kind: 2,
                from: Some(ticket),
                limit: 10,
            }),
            courier::Opening::Sent(device),
            courier::Opening::Opened(courier::OpenedWanted {
                shard: 1,
                since: Millis(2),
                behind: [3; 16].into(),
            }),
            courier::Opening::TakeVoid(courier::Void { shard: 1, from: 2, number: 3 }),
            courier::Opening::GiveSlot(gift),
            courier::Opening::SlotRows(courier::SlotWanted { gift, at: Some(bytes(b"at")) }),
        ],
        &[],
    );
    let post = courier::Post {
        to: device,
        number: 1,
        message_id: [2; 16].into(),
        signed: bytes(b"signed"),
        expires_s: 3,
    };
    values(
        &[
            courier::Notice::Attached { device, session: 1, understands: None },
            courier::Notice::Attached { device, session: 1, understands: Some(1) },
            courier::Notice::Acknowledged { device, message_ids: vec![[5; 16].into()] },
            courier::Notice::Mail(post),
            courier::Notice::Absent(device),
            courier::Notice::Tallies(vec![courier::Tally { shard: 3, sessions: 2, sum: 1 << 60 }]),
            courier::Notice::Again(vec![3, 4]),
        ],
        &[],
    );
    values(
        &[
            courier::Said::Done { version: 1, receipt: Some(bytes(b"r")), applied: 2 },
            courier::Said::Rejected { code: RejectionCode::Unknown, detail: "no".into() },
            courier::Said::Busy { retry_after_ms: 200 },
            courier::Said::NotLeader { hint: Some(3) },
            courier::Said::Failed("disk".into()),
        ],
        &[],
    );
    let seen = courier::Seen { voters: vec![1, 2], behind: vec![(2, 9)], ..Default::default() };
    values(&[seen], &[]);
    let rows = vec![(bytes(b"key"), bytes(b"value"))];
    values(&[courier::SlotRows { rows, next: Some(bytes(b"next")) }], &[]);
    let offer = OfferId { epoch: 3, seq: 1 };
    values(&[courier::SentAlert { ticket, offer, at_ms: 1 << 40 }], &[]);
    values(&[courier::Audited { age_ms: 1, took_ms: 2, missing: 3, overdue: 4 }], &[]);
    values(&[vec![1u32, 2049]], &[]);
}

#[test]
fn what_joins_a_cluster() {
    let members = Members::default();
    values(&[Welcome { roots: vec![bytes(b"root")], members }], &[]);
    let (id, key) = ("05".repeat(16), "06".repeat(32));
    let text = format!("8a 50{id} 04 5820{key} 4101 4102 4103 4104 80 814105 8400808080");
    survives("hand-over", &[unhex(&text)], as_it_is, &|bytes| {
        let write = |hand_over: &HandOver| hand_over.encode().to_vec();
        again(HandOver::decode(bytes), bytes.len(), write, HandOver::decode)
    });
}

#[test]
fn what_devices_say_and_are_told() {
    use fieldmesh_device::wire::{Ack, Hello, Reply, ServiceKeys};
    let keys =
        || ServiceKeys { id: [1; 16], chain: vec![bytes(b"leaf"), bytes(b"ca")], bundle: vec![2] };
    let understands = |understands| Hello { bundle: vec![1, 2, 3], understands };
    values(&[understands(None), understands(Some(1))], &[]);
    values(&[Ack { message_ids: vec![[5; 16].into(), [6; 16].into()] }], &[]);
    values(&[keys()], &[]);
    values(
        &[
            Reply::Accepted,
            Reply::Busy { retry_after_ms: 200 },
            Reply::StaleKey { service: keys() },
            Reply::Receipt { sealed: vec![1; 40] },
            Reply::Hello { service: keys(), now_ms: 5, nodes: vec!["[::1]:7".into()] },
        ],
        &[],
    );
}

#[test]
fn what_operators_write_down() {
    let roster = r#"{"zone":"Europe/Berlin","holidays":["2026-12-25"],
        "shifts":[{"days":"MO,TU,WE","start":"22:00","end":"06:00","overnight":true,
                   "breaks":["02:15-02:45"],"from":"2026-01-01","until":"2026-12-31","skill":3}],
        "dates":[{"date":"2026-10-25","shifts":[{"start":"08:00","end":"12:00","zone":"UTC"}]},
                 {"date":"2026-10-26"}]}"#;
    bodies::<RosterText>(&[roster], |text| {
        let Ok(roster) = text.roster() else { return };
        assert_eq!(RosterText::of(&roster).roster().unwrap(), roster);
        let _ = roster.validate();
    });
    let targets = b"[[webhook]]\nname = \"crm\"\nurl = \"https://crm.example.com/x\"\n\
        events = [\"ticket.opened\", \"ticket.*\"]\nsecret = 2\nkeep_previous = true\n\n\
        [[person]]\nname = \"eve\"\nurl = \"https://pager.example.com/in/4711\"\n";
    survives("targets", &[targets.to_vec()], as_it_is, &|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        match Targets::parse(text) {
            Ok(targets) => targets.subscriptions().len() == targets.0.len(),
            Err(findings) => {
                assert!(!findings.is_empty());
                false
            }
        }
    });
}

#[test]
fn what_other_programs_report() {
    let alerts = br#"{"version":"4","groupKey":"{}:{alertname=\"Probe\"}","status":"firing",
        "commonLabels":{"alertname":"Probe"},"commonAnnotations":{"summary":"it is down"},
        "alerts":[{"status":"firing","labels":{"severity":"critical","instance":"a:443"},
                   "annotations":{"summary":"no answer"}},
                  {"status":"resolved","labels":{"severity":"page"}}]}"#;
    let event = br#"{"routing_key":"k","event_action":"trigger","dedup_key":"srv01/HTTP",
        "payload":{"summary":"loss","severity":"critical","source":"host1","class":"loss",
                   "custom_details":{"ping time":"1500ms","load avg":0.75}}}"#;
    survives("report", &[alerts.to_vec(), event.to_vec()], as_it_is, &web::intake::is_read);
}
