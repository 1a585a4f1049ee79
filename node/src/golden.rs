//! The bytes of everything that only nodes store or say to each other, frozen: a log, a backup and the
//! other nodes of a rolling upgrade outlive a release.
//!
//! A field may be added with a new number and a default; its new bytes then replace the old ones here, and
//! the old ones move to what must still be read. Spaces part fields; long values are written as `<name>`. **Not
//! here:** the domain's values (`actors/domain/tests/golden.rs`), Raft's own records (`consensus::codec`),
//! what is private to a directory or a backup (`deployment::golden`, `backup::archive::tests`).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod courier;
mod entries;
mod groups;
mod keys;
mod tables;

use core::fmt::Debug;

use fieldmesh_actors::commit::{SlotMove, Tell};
use fieldmesh_domain::{EntityId, EntityKind};
use minicbor::{Decode, Encode, bytes::ByteVec};

use crate::store::rows;

pub(crate) const MESSAGE: [u8; 16] = [5; 16];
pub(crate) const SERIAL: [u8; 16] = [6; 16];
pub(crate) const HASH: [u8; 32] = [7; 32];
pub(crate) const KEY: [u8; 32] = [8; 32];
pub(crate) const ISSUER: [u8; 32] = [9; 32];
const NAMES: [(&str, &str); 11] = [
    ("<cus>", "506575310001150a0a0a0a0a0a0a0a0a0a"),
    ("<tec>", "506575310041150a0a0a0a0a0a0a0a0a0a"),
    ("<tkt>", "506575310081150a0a0a0a0a0a0a0a0a0a"),
    ("<reg>", "506575310005150a0a0a0a0a0a0a0a0a0a"),
    ("<msg>", "5005050505050505050505050505050505"),
    ("<serial>", "5006060606060606060606060606060606"),
    ("<hash>", "58200707070707070707070707070707070707070707070707070707070707070707"),
    ("<key>", "58200808080808080808080808080808080808080808080808080808080808080808"),
    ("<issuer>", "58200909090909090909090909090909090909090909090909090909090909090909"),
    ("<slot>", "8344657531000509"),
    ("<operator>", "8203815005050505050505050505050505050505"),
];

fn id(kind: EntityKind) -> EntityId {
    EntityId::new(kind, "eu1".parse().unwrap(), [10; 10])
}

pub(crate) fn customer() -> EntityId {
    id(EntityKind::Customer)
}

fn technician() -> EntityId {
    id(EntityKind::Technician)
}

fn ticket() -> EntityId {
    id(EntityKind::Ticket)
}

pub(crate) fn registration() -> EntityId {
    EntityId::registration_of(customer())
}

fn bytes(content: &[u8]) -> ByteVec {
    content.to_vec().into()
}

fn slot() -> SlotMove {
    SlotMove { region: "eu1".parse().unwrap(), slot: 5, sent: 9 }
}

/// Its bytes are [`TELL`].
fn tell() -> Tell {
    Tell { to: ticket(), shard: 1, sealed: vec![1, 2], from: customer() }
}

const TELL: &str = "84 <tkt> 01 42 0102 <cus>";

/// The hexadecimal digits that a frozen text stands for.
pub(crate) fn plain(frozen: &str) -> String {
    let text = NAMES.iter().fold(frozen.to_owned(), |text, (name, long)| text.replace(name, long));
    text.replace(' ', "")
}

pub(crate) fn unhex(frozen: &str) -> Vec<u8> {
    let text = plain(frozen);
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The value of these bytes, all of them.
fn read<T: for<'b> Decode<'b, ()>>(frozen: &str) -> T {
    crate::courier::wire::decode(&unhex(frozen)).unwrap()
}

/// Each value has these bytes, and these bytes are that value.
pub(crate) fn are_frozen<T>(table: &[(&str, T)])
where
    T: Debug + PartialEq + Encode<()> + for<'b> Decode<'b, ()>,
{
    for (frozen, value) in table {
        assert_eq!(rows::name(&rows::encode(value)), plain(frozen), "{value:?}");
    }
    are_read(table);
}

/// These bytes of an earlier release are that value.
pub(crate) fn are_read<T>(table: &[(&str, T)])
where
    T: Debug + PartialEq + for<'b> Decode<'b, ()>,
{
    for (frozen, value) in table {
        assert_eq!(&read::<T>(frozen), value);
    }
}

/// What these bytes say is written as the same bytes, where the value cannot be compared.
pub(crate) fn is_kept<T: Encode<()> + for<'b> Decode<'b, ()>>(frozen: &str) -> T {
    let value = read::<T>(frozen);
    assert_eq!(rows::name(&rows::encode(&value)), plain(frozen));
    value
}
