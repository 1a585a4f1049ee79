//! What members of a group say to each other, and the snapshots that they send.
//!
//! Each is a record with a checksum: it is read as it is, and once more with the one that it should have.

#[path = "../../src/consensus/codec.rs"]
mod codec;
#[path = "../../src/consensus/piece.rs"]
mod piece;
#[path = "../../src/consensus/quiet.rs"]
mod quiet;
#[path = "../../src/consensus/wire.rs"]
pub(crate) mod wire;

use core::fmt::{self, Debug};

use bytes::Bytes;
use openraft::impls::{EmptyNode, leader_id_std};

use crate::again;
use piece::Piece;
use wire::{Answer, Request};

/// Version and checksum of a record.
const HEADER_BYTES: usize = 5;
pub(crate) const PIECE_BYTES_MAX: usize = 4 << 20;
pub(crate) use quiet::FRAME_BYTES_MAX as REST_BYTES_MAX;

pub(crate) mod group {
    //! As large as the node's.
    pub(crate) const ENTRY_BYTES_MAX: usize = 1 << 20;
}

openraft::declare_raft_types!(
    /// As the node's, with tokio's runtime and without outcomes.
    pub Types:
        D = Proposal,
        R = u8,
        NodeId = u64,
        Node = EmptyNode,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
);

type Entry = openraft::alias::EntryOf<Types>;
type LogId = openraft::alias::LogIdOf<Types>;
type Vote = openraft::alias::VoteOf<Types>;
type StoredMembership = openraft::alias::StoredMembershipOf<Types>;

/// The encoded proposal of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal(pub Bytes);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(self, f)
    }
}

pub(crate) fn request(bytes: &[u8]) {
    let _ = record(bytes, Request::decode, Request::encode).map(|request| request.sender());
}

pub(crate) fn answer(bytes: &[u8]) {
    let _ = record(bytes, Answer::decode, Answer::encode);
}

/// Which groups rest, and which of them do not.
pub(crate) fn list(bytes: &[u8]) {
    let _ = again(bytes, quiet::list_of, |list| quiet::list_frame(list));
    let _ = again(bytes, quiet::awake_of, |awake| quiet::awake_frame(awake));
}

pub(crate) fn head(bytes: &[u8]) {
    let _ = record(bytes, piece::head, |(vote, meta)| piece::encode_head(vote, meta));
}

pub(crate) fn piece(bytes: &[u8]) {
    match record(bytes, Piece::decode, Piece::encode) {
        Some(Piece::Rows(rows)) => {
            let held: usize = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
            assert!(held <= bytes.len() && rows.len() <= bytes.len());
        }
        Some(Piece::End(_)) | None => {}
    }
}

/// What a record holds, with the checksum that it should have.
fn record<T, E: Debug>(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T, E>,
    write: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    let _ = again(bytes, &read, &write);
    let content = bytes.get(HEADER_BYTES..)?;
    let checksum = crc32fast::hash(content).to_be_bytes();
    again(&[&[1][..], &checksum, content].concat(), read, write)
}
