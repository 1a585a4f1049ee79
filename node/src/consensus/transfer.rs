//! A snapshot of a group on its way from one node to another: a head, pages of rows, an end.
//!
//! **Invariant:** what was received is given on only when it is whole. **Not here:** its bytes (`piece`), what makes
//! them fewer on their way (`packed`), taking and installing it (`machine`).

use std::{sync::Arc, time::Duration};

use openraft::{Snapshot, alias::CommittedLeaderIdOf, impls::EmptyNode};
use tokio::{task::yield_now, time::timeout};

pub use super::piece::{Meta, end_piece, head, read_piece};
use super::{
    Types, Vote,
    codec::CodecError,
    packed,
    piece::{self, Piece},
    wire,
};
use crate::{
    mesh::{FrameError, Receiving, Sending},
    store::{
        Batch, Row, StoreError, Table,
        keys::{GroupId, state},
    },
};

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
    let head = piece::encode_head(vote, &snapshot.meta);
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
