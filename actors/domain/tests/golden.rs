//! The bytes of everything that is stored or sent, frozen: a log and a device outlive a release.
//!
//! A field may be added with a new number and a default; its new bytes then replace the old ones
//! here, and the old ones move to what must still be read. Long values are written as `<name>`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

#[path = "golden/allowances.rs"]
mod allowances;
#[path = "golden/attachments.rs"]
mod attachments;
#[path = "golden/bundles.rs"]
mod bundles;
#[path = "golden/commands.rs"]
mod commands;
#[path = "golden/documents.rs"]
mod documents;
#[path = "golden/events.rs"]
mod events;
#[path = "golden/identifiers.rs"]
mod identifiers;
#[path = "golden/life.rs"]
mod life;
#[path = "golden/members.rs"]
mod members;
#[path = "golden/messages.rs"]
mod messages;
#[path = "golden/notices.rs"]
mod notices;
#[path = "golden/records.rs"]
mod records;
#[path = "golden/reports.rs"]
mod reports;
#[path = "golden/rules.rs"]
mod rules;
#[path = "golden/states.rs"]
mod states;
#[path = "golden/terms.rs"]
mod terms;

use core::fmt::{Debug, Write as _};

use fieldmesh_domain::{
    EntityId, EntityKind,
    authority::Head,
    message::{Location, OfferId, RequestBody},
    registration::{Approval, Issued, Proof, Revocation, Token},
    selection::{Candidate, Choice, Exclusion},
    time::Millis,
};
use minicbor::{Decode, Encode};

const MESSAGE: [u8; 16] = [5; 16];
const HASH: [u8; 32] = [7; 32];
const KEY: [u8; 32] = [8; 32];
const ISSUER: [u8; 32] = [9; 32];
const FINGERPRINT: [u8; 32] = [4; 32];
const SIGNED_PART: [u8; 32] = [3; 32];
const SERIAL: [u8; 16] = [6; 16];
const OFFER: OfferId = OfferId { epoch: 3, seq: 1 };
const PLACE: Location = Location { lat_e6: 48_000_000, lon_e6: -2_000_000 };
const NOON: Millis = Millis(1_800_000_000_000);
/// Milliseconds of [`NOON`] and the bytes of [`PLACE`].
const NAMES: [(&str, &str); 14] = [
    ("<cus>", "506575310001150a0a0a0a0a0a0a0a0a0a"),
    ("<tec>", "506575310041150a0a0a0a0a0a0a0a0a0a"),
    ("<tkt>", "506575310081150a0a0a0a0a0a0a0a0a0a"),
    ("<reg>", "506575310005150a0a0a0a0a0a0a0a0a0a"),
    ("<aut>", "5065753200440000000000000000000000"),
    ("<msg>", "5005050505050505050505050505050505"),
    ("<hash>", "58200707070707070707070707070707070707070707070707070707070707070707"),
    ("<key>", "58200808080808080808080808080808080808080808080808080808080808080808"),
    ("<issuer>", "58200909090909090909090909090909090909090909090909090909090909090909"),
    ("<print>", "58200404040404040404040404040404040404040404040404040404040404040404"),
    ("<signed>", "58200303030303030303030303030303030303030303030303030303030303030303"),
    ("<serial>", "5006060606060606060606060606060606"),
    ("<noon>", "1b000001a3185c5000"),
    ("<place>", "821a02dc6c003a001e847f"),
];

fn id(kind: EntityKind) -> EntityId {
    EntityId::new(kind, "eu1".parse().unwrap(), [10; 10])
}

fn customer() -> EntityId {
    id(EntityKind::Customer)
}

fn technician() -> EntityId {
    id(EntityKind::Technician)
}

fn ticket() -> EntityId {
    id(EntityKind::Ticket)
}

fn registration() -> EntityId {
    EntityId::registration_of(customer())
}

fn token() -> Token {
    Token { hash: HASH, expires: NOON, by: "op".into(), approval: Approval::SecondPerson }
}

fn revocation() -> Revocation {
    Revocation { at: NOON, reason: 5, banned: true }
}

fn issued(proof: Proof, revoked: Option<Revocation>) -> Issued {
    Issued {
        proof,
        public_key_hash: KEY,
        issuer: ISSUER,
        serial: SERIAL,
        not_before: 2,
        not_after: 3,
        certificate: vec![4, 5],
        revoked,
        fingerprint: FINGERPRINT,
        signed_part: SIGNED_PART,
    }
}

fn head() -> Head {
    Head { size: 7, at: NOON, signed: vec![1, 2], frontier: vec![3], version: 6 }
}

fn request() -> RequestBody {
    RequestBody {
        category: 11,
        subcategory: 12,
        impact: 1,
        urgency: 2,
        location: PLACE,
        text: "leak".into(),
    }
}

fn choice() -> Choice {
    let candidate = Candidate {
        technician: technician(),
        distance_m: 1,
        travel_s: 2,
        load_s: 3,
        over_qualification_s: 4,
        fairness_s: 5,
        preferred_s: None,
        lateness_s: None,
    };
    Choice {
        candidates: vec![candidate],
        excluded: vec![(technician(), Exclusion::Full)],
        excluded_count: 9,
        rule_version: 6,
        how: None,
        lacking: None,
    }
}

fn hex(bytes: &[u8]) -> String {
    let text = bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    NAMES.iter().fold(text, |text, (name, long)| text.replace(long, name))
}

fn unhex(text: &str) -> Vec<u8> {
    let text = NAMES.iter().fold(text.to_owned(), |text, (name, long)| text.replace(name, long));
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Each value has these bytes, and these bytes are that value.
fn are_frozen<T>(table: &[(&str, T)])
where
    T: Debug + PartialEq + Encode<()> + for<'b> Decode<'b, ()>,
{
    for (frozen, value) in table {
        assert_eq!(hex(&minicbor::to_vec(value).unwrap()), *frozen, "{value:?}");
        assert_eq!(&minicbor::decode::<T>(&unhex(frozen)).unwrap(), value);
    }
}

/// These bytes of an earlier release are that value.
fn are_read<T>(table: &[(&str, T)])
where
    T: Debug + PartialEq + for<'b> Decode<'b, ()>,
{
    for (frozen, value) in table {
        assert_eq!(&minicbor::decode::<T>(&unhex(frozen)).unwrap(), value);
    }
}
