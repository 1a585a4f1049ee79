//! The newest entries of a group's log, in memory.
//!
//! Replication and apply read back what was just appended, so they are served from here.
//!
//! **Invariants:** what is here is one run of entries up to the end of the log; an entry that is not yet
//! in the table is never forgotten, because nothing else has it. **Not here:** the table (`log_store`).

use std::collections::BTreeMap;

use openraft::{EntryPayload, entry::RaftEntry};

use super::Entry;

/// Entries kept where the table has them too: what openraft may have in flight, with room; and their
/// bytes, so that large ones do not make it a gigabyte.
pub(super) const ENTRIES_MAX: usize = 4096;
const BYTES_MAX: usize = 16 << 20;

/// Entries at the end of a log.
#[derive(Debug, Default)]
pub(super) struct Recent {
    entries: BTreeMap<u64, Entry>,
    bytes: usize,
}

fn payload_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

/// Whether an entry still fits into so many bytes with those before it; the first does.
fn fitting(bytes: usize) -> impl FnMut(&Entry) -> bool {
    let (mut sum, mut is_first) = (0, true);
    move |entry| {
        sum += payload_bytes(entry);
        std::mem::take(&mut is_first) || sum <= bytes
    }
}

/// Leaves as many entries as have so many bytes, and one at least.
pub(super) fn limit(entries: &mut Vec<Entry>, bytes: usize) {
    let mut fits = fitting(bytes);
    let count = entries.iter().take_while(|entry| fits(entry)).count();
    entries.truncate(count);
}

impl Recent {
    /// The first entry that is here.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.keys().next().copied()
    }

    pub(super) fn put(&mut self, entry: Entry) {
        self.bytes += payload_bytes(&entry);
        if let Some(old) = self.entries.insert(entry.index(), entry) {
            self.bytes -= payload_bytes(&old);
        }
    }

    /// Forgets the oldest where there are too many, of those before `written`, which the table has.
    pub(super) fn shrink(&mut self, written: u64) {
        // The newest stays whatever its size: it is read back at once.
        while self.entries.len() > 1
            && (self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX)
            && self.first().is_some_and(|first| first < written)
        {
            let Some((_, oldest)) = self.entries.pop_first() else { return };
            self.bytes -= payload_bytes(&oldest);
        }
    }

    /// Forgets what begins at `from`: it is no longer in the log.
    pub(super) fn cut(&mut self, from: u64) {
        let cut = self.entries.split_off(&from);
        self.bytes -= cut.values().map(payload_bytes).sum::<usize>();
    }

    /// Forgets what is before `from`: it is no longer in the log.
    pub(super) fn purge(&mut self, from: u64) {
        let kept = self.entries.split_off(&from);
        self.bytes = kept.values().map(payload_bytes).sum();
        self.entries = kept;
    }

    /// Entries that are here, from one to before another, of so many bytes.
    pub(super) fn page(&self, from: u64, until: u64, bytes: usize) -> Vec<Entry> {
        let mut fits = fitting(bytes);
        self.entries
            .range(from..until)
            .map(|(_, entry)| entry)
            .take_while(|entry| fits(entry))
            .cloned()
            .collect()
    }
}
