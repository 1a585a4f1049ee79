//! A snapshot on its way, as bytes: its head, and the pieces that follow.
//!
//! Every piece is a record with its checksum ([`codec`](super::codec)); the end says how many rows there were.
//! **Invariants:** a piece decodes whole or is refused; what openraft takes for granted of a snapshot is looked at
//! here; a count is the sender's word, and nothing is reserved for it. **Not here:** streams (`transfer`).

use minicbor::{Decoder, Encoder, encode::Write};
use openraft::{alias::CommittedLeaderIdOf, impls::EmptyNode, storage::SnapshotMeta};

use super::{
    Types, Vote,
    codec::{
        CodecError, EncodeResult, get_membership, get_optional_log_id, get_vote, put_membership,
        put_optional_log_id, put_vote, record, whole,
    },
};
use crate::store::Row;

pub type Meta = SnapshotMeta<CommittedLeaderIdOf<Types>, u64, EmptyNode>;

/// Rows of a piece that is taken: sixteen times as many as are sent, and few enough that rows of hardly a byte do not
/// become many times their bytes in memory.
const ROWS_MAX: u64 = 16 << 10;

pub(super) enum Piece {
    Rows(Vec<Row>),
    /// How many rows there were.
    End(u64),
}

impl Piece {
    pub(super) fn encode(&self) -> Vec<u8> {
        record(|e| match self {
            Self::Rows(rows) => {
                e.array(2)?.u8(0)?.array(rows.len() as u64)?;
                rows.iter().try_for_each(|(key, value)| {
                    e.array(2)?.bytes(key)?.bytes(value)?;
                    Ok(())
                })
            }
            Self::End(rows) => {
                e.array(2)?.u8(1)?.u64(*rows)?;
                Ok(())
            }
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        whole(bytes, |d| {
            let (length, kind) = (d.array()?, d.u8()?);
            Ok(match (kind, length) {
                (0, Some(2)) => {
                    let count = d.array()?.unwrap_or(0);
                    if count > ROWS_MAX {
                        return Err(CodecError::Impossible("a piece of more rows than are sent"));
                    }
                    let mut rows = Vec::new();
                    for _ in 0..count {
                        d.array()?;
                        rows.push((d.bytes()?.to_vec(), d.bytes()?.to_vec()));
                    }
                    Self::Rows(rows)
                }
                (1, Some(2)) => Self::End(d.u64()?),
                (kind, _) => return Err(CodecError::Kind(kind)),
            })
        })
    }
}

fn put_head<W: Write>(e: &mut Encoder<W>, vote: &Vote, meta: &Meta) -> EncodeResult<W> {
    e.array(4)?;
    put_vote(e, vote)?;
    put_optional_log_id(e, meta.last_log_id.as_ref())?;
    put_optional_log_id(e, meta.last_membership.log_id().as_ref())?;
    put_membership(e, meta.last_membership.membership())
}

fn get_head(d: &mut Decoder<'_>) -> Result<(Vote, Meta), CodecError> {
    d.array()?;
    let (vote, last_log_id) = (get_vote(d)?, get_optional_log_id(d)?);
    let (at, membership) = (get_optional_log_id(d)?, get_membership(d)?);
    // openraft takes these for granted, and ends where they are not so.
    let is_of_its_leader = vote.committed
        && last_log_id.is_some_and(|last| last.leader_id.term <= vote.leader_id.term)
        && at <= last_log_id;
    if !is_of_its_leader {
        return Err(CodecError::Impossible("a snapshot that no leader can have"));
    }
    let last_membership = super::StoredMembership::new(at, membership);
    Ok((vote, Meta { last_log_id, last_membership }))
}

/// Whose vote a snapshot comes with, and what it is of.
pub(super) fn encode_head(vote: &Vote, meta: &Meta) -> Vec<u8> {
    record(|e| put_head(e, vote, meta))
}

/// Reads whose vote a snapshot comes with, and what it is of, from the bytes behind the group's number.
///
/// # Errors
/// Bytes that are not one whole head.
pub fn head(bytes: &[u8]) -> Result<(Vote, Meta), CodecError> {
    whole(bytes, get_head)
}

/// The piece behind the last one, which says how many rows there were.
pub fn end_piece(rows: u64) -> Vec<u8> {
    Piece::End(rows).encode()
}

/// What a piece holds: rows, or how many there were.
///
/// # Errors
/// Bytes that are not one whole piece.
pub fn read_piece(bytes: &[u8]) -> Result<Result<Vec<Row>, u64>, CodecError> {
    Ok(match Piece::decode(bytes)? {
        Piece::Rows(rows) => Ok(rows),
        Piece::End(rows) => Err(rows),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_many_rows_is_refused() {
        let of = |count: u64| Piece::Rows((0..count).map(|_| Row::default()).collect()).encode();
        assert!(Piece::decode(&of(ROWS_MAX)).is_ok());
        assert!(matches!(Piece::decode(&of(ROWS_MAX + 1)), Err(CodecError::Impossible(_))));
    }
}
