//! What a group's log has, for whoever compares it with what was acknowledged.
//!
//! It is read from the table, which has every entry that was applied. **Invariant:** nothing is shown but what is
//! applied here: other entries may go again. **Not here:** which of them took effect (`journal`).

use fieldmesh_actors::commit::{Commit, Proposal};
use openraft::EntryPayload;

use super::{Group, LogId, codec, install, log_store};
use crate::store::{StoreError, keys::log};

/// Entries that are read at once, and about their bytes.
const ENTRIES_MAX: usize = 1024;
const PAGE_BYTES: usize = 1 << 20;

/// A page of what entities did.
pub struct Logged {
    /// The last entry that is applied here.
    pub applied: Option<LogId>,
    /// The first and the last entry that were looked at: what stands before was purged, and the next page is behind.
    pub from: u64,
    pub until: u64,
    /// Those of them that are an entity's, oldest first.
    pub commits: Vec<(LogId, Commit)>,
}

impl Group {
    /// The last entry that is applied here: what is read behind this has all up to it.
    ///
    /// # Errors
    /// A record that does not decode.
    pub fn position(&self) -> Result<Option<LogId>, StoreError> {
        Ok(install::found(&*self.table)?.applied)
    }

    /// What stands behind an entry, as far as it was not purged.
    ///
    /// # Errors
    /// Records that cannot be read.
    pub fn logged_behind(&self, after: u64) -> Result<Logged, StoreError> {
        let applied = self.position()?;
        let end = applied.map_or(0, |id| id.index);
        let mut logged = Logged { applied, from: end, until: end, commits: Vec::new() };
        if after >= end {
            return Ok(logged);
        }
        let (from, until) = (log::entry(self.group, after + 1), log::entry(self.group, end + 1));
        let page = self.log.page(&from, &until, ENTRIES_MAX, PAGE_BYTES)?;
        for (key, value) in page {
            let entry = log_store::decode(&key, &value, codec::decode_entry)?;
            logged.until = entry.log_id.index;
            logged.from = logged.from.min(logged.until);
            if let EntryPayload::Normal(proposal) = &entry.payload
                && let Ok(Proposal::Commit(commit)) = minicbor::decode(&proposal.0)
            {
                logged.commits.push((entry.log_id, *commit));
            }
        }
        Ok(logged)
    }
}
