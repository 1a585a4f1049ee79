//! One group's view of the node's log: openraft's log storage over the shared writer.
//!
//! Recent entries are served from memory, because replication and apply read back what was just
//! appended; older ones from the table. All writes of a group pass the one queue in order: votes
//! have no fast path.
//!
//! **Invariant:** `append` completes its callback only from the writer, after the sync.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use openraft::{
    EntryPayload, LogState, OptionalSend, RaftLogReader,
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
};

use super::{Entry, LogId, Types, Vote, codec, invalid, wire};
use crate::store::{
    Batch, StoreError, Table,
    keys::{GroupId, log},
    writer::LogWriter,
};

/// Entries kept in memory per group: what openraft may have in flight, with room; and their bytes,
/// so that large ones do not make it a gigabyte.
const CACHE_ENTRIES_MAX: usize = 4096;
const CACHE_BYTES_MAX: usize = 16 << 20;

/// The log of one group.
#[derive(Clone)]
pub struct LogStore {
    group: GroupId,
    table: Arc<dyn Table>,
    writer: LogWriter,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    cache: BTreeMap<u64, Entry>,
    cache_bytes: usize,
    last: Option<LogId>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// The committed id that the next append carries to disk; it never gets a sync of its own.
    committed_dirty: bool,
}

fn payload_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

impl Shared {
    fn read(group: GroupId, table: &dyn Table) -> Result<Self, StoreError> {
        let purged = read(table, &log::purged(group), codec::decode_log_id)?.flatten();
        let committed = read(table, &log::committed(group), codec::decode_log_id)?.flatten();
        let vote = read(table, &log::vote(group), codec::decode_vote)?;
        let last = match table.last(&log::entry(group, 0), &log::entries_end(group))? {
            Some((key, value)) => Some(decode(&key, &value, codec::decode_entry)?.log_id),
            None => purged,
        };
        Ok(Self { last, purged, vote, committed, ..Self::default() })
    }

    fn remember(&mut self, entry: Entry) {
        self.cache_bytes += payload_bytes(&entry);
        if let Some(old) = self.cache.insert(entry.index(), entry) {
            self.cache_bytes -= payload_bytes(&old);
        }
        // The newest stays whatever its size: it is read back at once.
        while self.cache.len() > 1
            && (self.cache.len() > CACHE_ENTRIES_MAX || self.cache_bytes > CACHE_BYTES_MAX)
        {
            let Some((_, oldest)) = self.cache.pop_first() else { return };
            self.cache_bytes -= payload_bytes(&oldest);
        }
    }
}

/// Decodes every entry of a group, so that damage is found before anything is written. The log must
/// reach as far as what is known to be committed, and as what the state has `applied`, unless that much
/// was `installed` from a snapshot.
///
/// # Errors
/// The first entry that is damaged or missing.
pub fn check(
    group: GroupId,
    table: &dyn Table,
    applied: Option<u64>,
    installed: Option<u64>,
) -> Result<(), StoreError> {
    const PAGE: usize = 1024;
    let Shared { last, committed, purged, .. } = Shared::read(group, table)?;
    let [last, committed, purged] = [last, committed, purged].map(|id| id.map(|id| id.index));
    let last = last.max(installed);
    if let Some(known) = applied.max(committed).filter(|known| last < Some(*known)) {
        let fact = "the log ends before this entry, which was committed: its end is lost";
        return Err(corrupt(&log::entry(group, known), fact));
    }
    if let Some(needed) = purged.filter(|purged| applied < Some(*purged)) {
        let fact = "the log begins behind this entry, and the state ends before it";
        return Err(corrupt(&log::entry(group, needed), fact));
    }
    let mut from = log::entry(group, 0);
    let mut expected = purged.map_or(0, |purged| purged + 1);
    loop {
        let page = table.scan(&from, &log::entries_end(group), PAGE)?;
        for (key, value) in &page {
            let index = decode(key, value, codec::decode_entry)?.log_id.index;
            if expected != index {
                return Err(corrupt(key, &format!("expected entry {expected}, found {index}")));
            }
            expected = index + 1;
        }
        let Some((last, _)) = page.last() else { return Ok(()) };
        from.clone_from(last);
        from.push(0);
    }
}

impl LogStore {
    /// Reads what the table holds of the group.
    ///
    /// # Errors
    /// A record that does not decode, by name; nothing is changed.
    pub fn open(
        group: GroupId,
        table: Arc<dyn Table>,
        writer: LogWriter,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Mutex::new(Shared::read(group, &*table)?));
        Ok(Self { group, table, writer, shared })
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic under this lock cannot leave it half changed: each change is one assignment.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_range(&self, from: u64, until: u64) -> Result<Vec<Entry>, StoreError> {
        // The lock is held over the table read, so that no entry leaves the cache in between.
        let shared = self.lock();
        let cached_from = shared.cache.keys().next().copied().unwrap_or(u64::MAX);
        let stored_until = until.min(cached_from);
        let mut found = Vec::new();
        if from < stored_until {
            let limit = usize::try_from(stored_until - from).unwrap_or(usize::MAX);
            let range = (log::entry(self.group, from), log::entry(self.group, stored_until));
            for (key, value) in self.table.scan(&range.0, &range.1, limit)? {
                found.push(decode(&key, &value, codec::decode_entry)?);
            }
        }
        let cached = from.max(cached_from);
        if cached < until {
            found.extend(shared.cache.range(cached..until).map(|(_, entry)| entry.clone()));
        }
        Ok(found)
    }
}

fn read<T>(
    table: &dyn Table,
    key: &[u8],
    read: impl FnOnce(&[u8]) -> Result<T, codec::CodecError>,
) -> Result<Option<T>, StoreError> {
    table.get(key)?.map(|value| decode(key, &value, read)).transpose()
}

fn decode<T>(
    key: &[u8],
    value: &[u8],
    read: impl FnOnce(&[u8]) -> Result<T, codec::CodecError>,
) -> Result<T, StoreError> {
    read(value).map_err(|error| corrupt(key, &error.to_string()))
}

fn corrupt(key: &[u8], fact: &str) -> StoreError {
    let record = key.iter().map(|byte| format!("{byte:02x}")).collect();
    StoreError::Corrupt { table: "log".into(), record, fact: fact.to_owned() }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let from = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at + 1,
            Bound::Unbounded => 0,
        };
        let until = match range.end_bound() {
            Bound::Included(at) => at + 1,
            Bound::Excluded(at) => *at,
            Bound::Unbounded => self.lock().last.map_or(0, |id| id.index + 1),
        };
        Ok(self.read_range(from, until)?)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let mut entries = self.read_range(start, end)?;
        let mut bytes = 0;
        let mut fits = |entry: &Entry| {
            bytes += payload_bytes(entry);
            bytes <= wire::APPEND_BYTES
        };
        // At least one: the largest is what a request has room for beyond this.
        let count = entries.iter().take_while(|entry| fits(entry)).count().max(1);
        entries.truncate(count);
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let shared = self.lock();
        Ok(LogState { last_purged_log_id: shared.purged, last_log_id: shared.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let mut batch = Batch::default();
        batch.put(log::vote(self.group), codec::encode_vote(vote));
        self.lock().vote = Some(*vote);
        Ok(self.writer.write(batch).await?)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut shared = self.lock();
        shared.committed = committed;
        shared.committed_dirty = true;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = Batch::default();
        {
            let mut shared = self.lock();
            for entry in entries {
                batch.put(log::entry(self.group, entry.index()), codec::encode_entry(&entry));
                shared.last = Some(entry.log_id);
                shared.remember(entry);
            }
            if std::mem::take(&mut shared.committed_dirty) {
                batch.put(
                    log::committed(self.group),
                    codec::encode_log_id(shared.committed.as_ref()),
                );
            }
        }
        let done = move |result: Result<(), StoreError>| {
            callback.io_completed(result.map_err(io::Error::from))
        };
        self.writer.submit(batch, Box::new(done)).await;
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |id| id.index + 1);
        let mut batch = Batch::default();
        batch.delete_range(log::entry(self.group, from), log::entries_end(self.group));
        {
            let mut shared = self.lock();
            let cut = shared.cache.split_off(&from);
            shared.cache_bytes -= cut.values().map(payload_bytes).sum::<usize>();
            shared.last = last.or(shared.purged);
        }
        Ok(self.writer.write(batch).await?)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let mut batch = Batch::default();
        batch.delete_range(log::entry(self.group, 0), log::entry(self.group, upto.index + 1));
        batch.put(log::purged(self.group), codec::encode_log_id(Some(&upto)));
        {
            let mut shared = self.lock();
            let kept = shared.cache.split_off(&(upto.index + 1));
            shared.cache_bytes = kept.values().map(payload_bytes).sum();
            shared.cache = kept;
            shared.purged = Some(upto);
            if shared.last.is_none_or(|last| last.index < upto.index) {
                shared.last = Some(upto);
            }
        }
        self.writer.write(batch).await.map_err(invalid)
    }
}
