//! Bytes that no node would send: whatever is done to a frame, it is refused or understood whole.
//!
//! Frames of each kind are cut, doubled, spliced and changed; those that carry a checksum get a right one in
//! half of the cases, so that what is behind it is reached. **Not here:** what a stream does with a refusal
//! (`mesh`, `groups`).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and read what is committed"
)]

use std::{collections::BTreeSet, fmt::Debug};

use fieldmesh_actors::commit::{Cause, SlotMove};
use fieldmesh_domain::{Command, EntityId, EntityKind, RejectionCode, desk};
use fieldmesh_node::{
    backup::{archive::Manifest, cut::Edges},
    consensus::{
        codec, transfer,
        wire::{Answer, Request, addressee},
    },
    courier::wire::{
        self, Audited, Gift, Notice, Opened, Opening, Post, Question, Recorded, Said, Seen,
        SentAlert, SlotRows, SlotWanted, Void, Wanted,
    },
    starts::Hello,
};
use minicbor::{Decode, Encode, bytes::ByteVec};
use proptest::{collection::vec, prelude::*};

/// What happens to a frame on its way.
#[derive(Debug, Clone)]
enum Change {
    Flip(usize, u8),
    Put(usize, u8),
    Insert(usize, u8),
    Cut(usize),
    Double(usize, usize),
    /// A length or a number that is as large as can be.
    Widen(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = || any::<usize>();
    prop_oneof![
        4 => (at(), 0_u8..8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Put(at, byte)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        1 => at().prop_map(Change::Cut),
        1 => (at(), 1_usize..64).prop_map(|(at, length)| Change::Double(at, length)),
        1 => at().prop_map(Change::Widen),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let within = |at: usize, bytes: &[u8]| at % bytes.len().max(1);
        match *change {
            Change::Flip(at, bit) if !bytes.is_empty() => {
                let at = within(at, &bytes);
                bytes[at] ^= bit;
            }
            Change::Put(at, byte) if !bytes.is_empty() => {
                let at = within(at, &bytes);
                bytes[at] = byte;
            }
            Change::Insert(at, byte) => bytes.insert(within(at, &bytes), byte),
            Change::Cut(at) => bytes.truncate(within(at, &bytes)),
            Change::Double(at, length) => {
                let at = within(at, &bytes);
                let again = bytes[at..].iter().copied().take(length).collect::<Vec<_>>();
                bytes.splice(at..at, again);
            }
            Change::Widen(at) => {
                let at = within(at, &bytes);
                let major = bytes.get(at).copied().unwrap_or(0) & 0xe0;
                bytes.splice(at..at, [&[major | 0x1b][..], &[0xff; 8]].concat());
            }
            Change::Flip(..) | Change::Put(..) => {}
        }
    }
    bytes
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

/// Version and checksum before a content.
fn record(content: &[u8]) -> Vec<u8> {
    let checksum = crc32fast::hash(content).to_be_bytes();
    [&[1][..], &checksum, content].concat()
}

/// Contents of what members of a group say, as `consensus::wire` and `transfer` freeze them.
fn contents() -> Vec<Vec<u8>> {
    let texts = [
        // Entries: none, one that says nothing, one that changes the voters.
        "8500 830301f5 f6 820307 80",
        "8500 830301f5 f6 820300 81 83 820300 00 f6",
        "8500 830301f5 820306 820307 82 83 820307 00 f6 83 820308 00 f6",
        // Votes, a transfer, and the answers.
        "8401 830402f4 820307 f4",
        "8402 830402f4 f6 f5",
        "8403 830402f5 03 820307",
        "8100",
        "8101",
        "8103",
        "8204 830402f4",
        "8405 830402f4 f5 820307",
        "8106",
        "8307 830402f4 830502f4",
        "8308 820307 f6",
        "8209 830402f5",
        // Pieces of a snapshot: a row, and the end.
        "8200 81 82 4161 4162",
        "8201 05",
    ];
    texts.into_iter().map(unhex).collect()
}

fn entity() -> EntityId {
    EntityId::new(EntityKind::Ticket, "eu1".parse().unwrap(), [7; 10])
}

fn openings() -> Vec<Opening> {
    let question = Question {
        to: EntityId::desk("eu1".parse().unwrap()),
        command: Command::Desk(desk::Command::Done { ticket: entity() }),
        cause: Cause::Outbox { from: 3, number: 9 },
        shard: Some(2),
    };
    let slot = SlotMove { region: "eu1".parse().unwrap(), slot: 5, sent: 8 };
    let gift = Gift { slot, from: 1, to: 2 };
    let certificate =
        Recorded { registration: entity(), serial: [1; 16].into(), issuer: [2; 32].into() };
    vec![
        Opening::Ask(Box::new(question)),
        Opening::Notices,
        Opening::Look(7),
        Opening::Held,
        Opening::IssuingKey([3; 32].into()),
        Opening::Rows(Wanted { shard: 1, kind: 3, from: Some(entity()), limit: 10 }),
        Opening::Recorded(certificate),
        Opening::MayLead(None),
        Opening::MayLead(Some(7)),
        Opening::Audited(7),
        Opening::Sent(entity()),
        Opening::TakeVoid(Void { shard: 1, from: 2, number: 3 }),
        Opening::GiveSlot(gift),
        Opening::SlotRows(SlotWanted { gift, at: Some(vec![1, 2].into()) }),
    ]
}

fn notices() -> Vec<Notice> {
    let (device, session) = (entity(), 5);
    let post = Post {
        to: device,
        number: 4,
        message_id: [4; 16].into(),
        signed: vec![5; 40].into(),
        expires_s: 6,
    };
    vec![
        Notice::Attached { device, session, understands: None },
        Notice::Attached { device, session, understands: Some(1) },
        Notice::Detached { device, session },
        Notice::Acknowledged { device, message_ids: vec![[1; 16].into(), [2; 16].into()] },
        Notice::Mail(post),
        Notice::Replaced { device, session },
        Notice::Absent(device),
    ]
}

fn answers() -> Vec<Said> {
    vec![
        Said::Done { version: 1, receipt: Some(vec![1, 2].into()), applied: 3 },
        Said::AlreadyDone { receipt: None, applied: 3 },
        Said::Rejected { code: RejectionCode::NotNow, detail: "no".into() },
        Said::Busy { retry_after_ms: 5 },
        Said::NotLeader { hint: Some(2) },
        Said::Failed("why".into()),
    ]
}

fn seen() -> Seen {
    let (voters, learners, behind) = (vec![1, 2, 3], vec![4], vec![(2, 9)]);
    Seen { voters, learners, is_settled: true, committed: 8, behind, awaited: Some(vec![4]) }
}

/// What is understood is understood whole: said again, it is the same.
fn is_sound<T>(bytes: &[u8])
where
    T: for<'b> Decode<'b, ()> + Encode<()> + PartialEq + Debug,
{
    if let Ok(value) = wire::decode::<T>(bytes) {
        let again = minicbor::to_vec(&value).unwrap();
        assert_eq!(wire::decode::<T>(&again).unwrap(), value);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn what_members_of_a_group_say(
        nth in any::<prop::sample::Index>(),
        changes in vec(change(), 0..6),
        is_whole: bool,
    ) {
        let contents = contents();
        let content = &contents[nth.index(contents.len())];
        let bytes = match is_whole {
            true => record(&changed(content.clone(), &changes)),
            false => changed(record(content), &changes),
        };
        if let Ok(request) = Request::decode(&bytes) {
            let again = request.encode();
            prop_assert_eq!(Request::decode(&again).unwrap().encode(), again);
        }
        if let Ok(answer) = Answer::decode(&bytes) {
            let again = answer.encode();
            prop_assert_eq!(Answer::decode(&again).unwrap().encode(), again);
        }
        if let Ok(entry) = codec::decode_entry(&bytes) {
            let again = codec::encode_entry(&entry);
            prop_assert_eq!(codec::decode_entry(&again).unwrap(), entry);
        }
        let _ = (transfer::head(&bytes), transfer::read_piece(&bytes), addressee(&bytes));
        let _ = (codec::decode_vote(&bytes), codec::decode_log_id(&bytes));
    }

    #[test]
    fn what_nodes_say_of_entities_and_devices(
        nth in any::<prop::sample::Index>(),
        changes in vec(change(), 0..6),
    ) {
        let mut frames: Vec<Vec<u8>> = vec![minicbor::to_vec(seen()).unwrap()];
        frames.extend(openings().iter().map(|one| minicbor::to_vec(one).unwrap()));
        frames.extend(notices().iter().map(|one| minicbor::to_vec(one).unwrap()));
        frames.extend(answers().iter().map(|one| minicbor::to_vec(one).unwrap()));
        let bytes = changed(frames[nth.index(frames.len())].clone(), &changes);
        is_sound::<Opening>(&bytes);
        is_sound::<Notice>(&bytes);
        is_sound::<Said>(&bytes);
        is_sound::<Seen>(&bytes);
    }
}

/// The frames that are changed are frames.
#[test]
fn what_is_changed_was_understood() {
    for content in contents() {
        let bytes = record(&content);
        let is_one = Request::decode(&bytes).is_ok()
            || Answer::decode(&bytes).is_ok()
            || transfer::read_piece(&bytes).is_ok();
        assert!(is_one, "{content:02x?}");
    }
    for opening in openings() {
        let bytes = minicbor::to_vec(&opening).unwrap();
        assert_eq!(wire::decode::<Opening>(&bytes).unwrap(), opening);
    }
}

/// What an input of `node/fuzz` is, by its first byte: all but whole streams.
fn is_understood(choice: u8, bytes: &[u8]) -> bool {
    match choice {
        1 => Request::decode(bytes).is_ok(),
        2 => Answer::decode(bytes).is_ok(),
        3 => transfer::head(bytes).is_ok(),
        4 => transfer::read_piece(bytes).is_ok(),
        5 => wire::decode::<Hello>(bytes).is_ok(),
        6 => wire::decode::<Opening>(bytes).is_ok(),
        7 => wire::decode::<Notice>(bytes).is_ok(),
        8 => wire::decode::<Said>(bytes).is_ok(),
        9 => wire::decode::<Seen>(bytes).is_ok(),
        10 => wire::decode::<Audited>(bytes).is_ok(),
        11 => wire::decode::<Vec<SentAlert>>(bytes).is_ok(),
        12 => wire::decode::<Vec<Opened>>(bytes).is_ok(),
        13 => wire::decode::<SlotRows>(bytes).is_ok(),
        14 => wire::decode::<bool>(bytes).is_ok(),
        15 => wire::decode::<ByteVec>(bytes).is_ok(),
        16 => wire::decode::<Manifest>(bytes).is_ok(),
        17 => wire::decode::<Edges>(bytes).is_ok(),
        18 => wire::decode::<Vec<u32>>(bytes).is_ok(),
        _ => false,
    }
}

/// Each frame behind a stream's head is one of those, or is for a group; and the last one is whole.
fn is_stream(bytes: &[u8]) -> bool {
    let mut rest = match bytes {
        [1..=4 | 7, rest @ ..] => rest,
        [5 | 6, _, _, _, _, _, _, _, _, 1..=4, rest @ ..] => rest,
        _ => return false,
    };
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((frame, behind)) = behind.split_at_checked(length) else { return false };
        let is_for_group =
            addressee(frame).is_some_and(|(_, rest)| rest.is_empty() || is_one(&[1, 3], rest));
        if !is_for_group && !is_one(&[1, 4, 5, 6, 7], frame) {
            return false;
        }
        rest = behind;
    }
    rest.is_empty()
}

fn is_one(choices: &[u8], bytes: &[u8]) -> bool {
    choices.iter().any(|choice| is_understood(*choice, bytes))
}

/// What coverage guides on from is understood, but for what is named as bad; so none is lost when a message changes.
#[test]
fn what_fuzzing_begins_with_is_understood() {
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let corpus = std::path::Path::new(&package).join("../node/fuzz/corpus/mesh");
    let mut kinds = BTreeSet::new();
    for file in std::fs::read_dir(corpus).unwrap() {
        let path = file.unwrap().path();
        let (name, bytes) = (path.file_name().unwrap().to_owned(), std::fs::read(&path).unwrap());
        let (choice, rest) = bytes.split_first().unwrap();
        let is_good = is_understood(*choice, rest) || (*choice == 0 && is_stream(rest));
        assert_eq!(is_good, !name.to_string_lossy().starts_with("bad-"), "{name:?}");
        kinds.insert(*choice);
    }
    assert_eq!(kinds, (0..=18).collect());
}
