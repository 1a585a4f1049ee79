//! What a replica holds, as one number: replicas of a group that have applied the same have the same.
//!
//! **Invariant:** what differs between replicas by design, how far each is, is not in it. **Not here:**
//! comparing replicas (whoever asked them).

use aws_lc_rs::digest::{Context, SHA256};
use fieldmesh_actors::{commit::ShardId, seams::JournalError};

use super::{ShardJournal, store_error};
use crate::{consensus::install::found, store::keys::state};

/// Rows read at a time, and their bytes.
const PAGE_ROWS: usize = 1_000;
const PAGE_BYTES: usize = 1 << 20;

impl ShardJournal {
    /// The group whose replica this is.
    pub fn group(&self) -> ShardId {
        self.inner.group.group
    }

    /// The last entry that was applied, and the SHA-256 of all rows as they were then. Blocks.
    ///
    /// # Errors
    /// A failed read.
    pub fn digest(&self) -> Result<(u64, [u8; 32]), JournalError> {
        let frozen = self.inner.table.checkpoint().map_err(store_error)?;
        let applied = found(&*frozen).map_err(store_error)?.applied.map_or(0, |id| id.index);
        let own = state::of_a_replica();
        let mut context = Context::new(&SHA256);
        let (mut from, end) = (Vec::new(), vec![u8::MAX]);
        loop {
            let page = frozen.page(&from, &end, PAGE_ROWS, PAGE_BYTES).map_err(store_error)?;
            let Some((last, _)) = page.last() else { break };
            from = [&last[..], &[0]].concat();
            for (key, value) in page.iter().filter(|(key, _)| !own.contains(key)) {
                for part in [key, value] {
                    context.update(&(part.len() as u64).to_be_bytes());
                    context.update(part);
                }
            }
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Ok((applied, digest))
    }
}
