//! A snapshot of a group on its way from one node to another: a head, pages of rows, an end.
//!
//! Every piece is a record with its checksum; the end says how many rows there were. **Invariant:** what
//! was received is given on only when it is whole. **Not here:** taking and installing it (`machine`), what makes
//! pieces shorter on their way (`packed`).

use std::{sync::Arc, time::Duration};

use minicbor::{Decoder, Encoder, encode::Write};
use openraft::{Snapshot, alias::CommittedLeaderIdOf, impls::EmptyNode, storage::SnapshotMeta};
use tokio::{task::yield_now, time::timeout};

use super::{
    Types, Vote,
    codec::{
        CodecError, EncodeResult, get_membership, get_optional_log_id, get_vote, put_membership,
        put_optional_log_id, put_vote, record, whole,
    },
    packed, wire,
};
use crate::{
    mesh::{FrameError, Receiving, Sending},
    store::{
        Batch, Row, StoreError, Table,
        keys::{GroupId, state},
    },
};

pub type Meta = SnapshotMeta<CommittedLeaderIdOf<Types>, u64, EmptyNode>;
pub type TableSnapshot = Snapshot<CommittedLeaderIdOf<Types>, u64, EmptyNode, Arc<dyn Table>>;

/// Rows of a piece, and their bytes: a row above that travels alone.
const PIECE_ROWS: usize = 1024;
const PIECE_BYTES: usize = 1 << 20;
/// A piece with the largest row there is: a log entry's worth, and room for its key and others.
pub const PIECE_BYTES_MAX: usize = 4 << 20;
/// A sender that is silent for so long is given up, and a receiver that takes nothing for so long: a
/// disk that compacts, and a line full of what goes before snapshots, hold a piece up for many seconds.
const PIECE_WITHIN: Duration = Duration::from_secs(60);

/// Why a snapshot did not arrive, or did not leave.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a piece does not decode")]
    Piece(#[from] CodecError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the snapshot ended after {found} of {stated} rows")]
    Short { found: u64, stated: u64 },
    #[error("no piece came, or none was taken, in time")]
    Late,
    #[error("the stream ended within the snapshot")]
    Cut,
    #[error("the snapshot has a row that only its receiver writes")]
    Foreign,
}

enum Piece {
    Rows(Vec<Row>),
    /// How many rows there were.
    End(u64),
}

impl Piece {
    fn encode(&self) -> Vec<u8> {
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

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        whole(bytes, |d| {
            let (length, kind) = (d.array()?, d.u8()?);
            Ok(match (kind, length) {
                (0, Some(2)) => {
                    let mut rows = Vec::new();
                    for _ in 0..d.array()?.unwrap_or(0) {
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

/// Sends a snapshot whole; its pieces are packed where whoever gets it reads them so.
///
/// # Errors
/// Rows that cannot be read; a stream that fails.
pub async fn send(
    mut stream: Sending,
    group: GroupId,
    vote: &Vote,
    snapshot: &TableSnapshot,
    packs: bool,
) -> Result<(), TransferError> {
    let head = record(|e| put_head(e, vote, &snapshot.meta));
    frame(&mut stream, &wire::addressed(group, &head)).await?;
    let (mut from, end, mut sent) = (Vec::new(), vec![u8::MAX], 0);
    loop {
        let page = snapshot.snapshot.page(&from, &end, PIECE_ROWS, PIECE_BYTES)?;
        let Some((last, _)) = page.last() else { break };
        from.clone_from(last);
        from.push(0);
        sent += page.len() as u64;
        for rows in pieces(page) {
            let mut piece = Piece::Rows(rows).encode();
            if packs {
                piece = packed::pack(piece);
            }
            metrics::counter!("fieldmesh_snapshot_sent_bytes_total").increment(piece.len() as u64);
            frame(&mut stream, &piece).await?;
        }
        // A stream with room takes all at once: others on this thread go on in between.
        yield_now().await;
    }
    frame(&mut stream, &Piece::End(sent).encode()).await?;
    stream.finish();
    Ok(())
}

async fn frame(stream: &mut Sending, body: &[u8]) -> Result<(), TransferError> {
    Ok(timeout(PIECE_WITHIN, stream.frame(body)).await.map_err(|_| TransferError::Late)??)
}

/// Rows in pieces of at most [`PIECE_BYTES`], or of one row.
fn pieces(rows: Vec<Row>) -> Vec<Vec<Row>> {
    let (mut pieces, mut piece, mut bytes) = (Vec::new(), Vec::new(), 0);
    for row in rows {
        let size = row.0.len() + row.1.len();
        if bytes + size > PIECE_BYTES && !piece.is_empty() {
            pieces.push(std::mem::take(&mut piece));
            bytes = 0;
        }
        bytes += size;
        piece.push(row);
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// The rows behind a key as a piece; one without rows where there are none.
///
/// # Errors
/// Rows that cannot be read.
pub fn piece_behind(table: &dyn Table, behind: &[u8]) -> Result<Vec<u8>, StoreError> {
    let from = if behind.is_empty() { Vec::new() } else { [behind, &[0]].concat() };
    let page = table.page(&from, &[u8::MAX], PIECE_ROWS, PIECE_BYTES)?;
    Ok(Piece::Rows(pieces(page).into_iter().next().unwrap_or_default()).encode())
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

/// Reads whose vote a snapshot comes with, and what it is of, from the bytes behind the group's number.
///
/// # Errors
/// Bytes that are not one whole head.
pub fn head(bytes: &[u8]) -> Result<(Vote, Meta), CodecError> {
    whole(bytes, get_head)
}

/// Receives the rows behind the head into an empty table; returns how many there are.
///
/// # Errors
/// A snapshot that does not arrive whole; the table then holds a part of it.
pub async fn receive(stream: &mut Receiving, table: &dyn Table) -> Result<u64, TransferError> {
    let mut found = 0;
    loop {
        let piece = timeout(PIECE_WITHIN, stream.frame(PIECE_BYTES_MAX)).await;
        let piece = piece.map_err(|_| TransferError::Late)??.ok_or(TransferError::Cut)?;
        match Piece::decode(&packed::unpack(piece, PIECE_BYTES_MAX)?)? {
            Piece::Rows(rows) => {
                found += rows.len() as u64;
                let mut batch = Batch::default();
                for (key, value) in rows {
                    if key == state::whole() || key == state::installing() {
                        return Err(TransferError::Foreign);
                    }
                    batch.put(key, value);
                }
                table.write(batch)?;
            }
            Piece::End(stated) if stated == found => return Ok(found),
            Piece::End(stated) => return Err(TransferError::Short { found, stated }),
        }
    }
}
