//! One group's view of the node's log: openraft's log storage over the shared writer.
//!
//! Recent entries are served from memory (`recent`); older ones from the table. All
//! writes of a group pass the one queue in order: votes have no fast path.
//!
//! **Invariants:** `append` completes its callback only from the writer, after the sync; whom this node votes for is
//! on disk before anybody hears of it; an entry is handed out to be applied only after its sync, so that a crash never
//! leaves the state ahead of the log; entries are handed out without a gap. **Not here:** what an entry does
//! (`machine`).

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fieldmesh_domain::mutant::{Mutant, is_planted};
use futures_util::{Stream, TryStreamExt, stream};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
};
use tokio::{sync::watch, task::yield_now};

use super::{
    Entry, LogId, Types, Vote, codec, invalid,
    recent::{self, Recent},
    wire,
};
use crate::store::{
    Batch, StoreError, Table,
    keys::{GroupId, log},
    writer::LogWriter,
};

/// Bytes of entries read at once: some milliseconds of work between two turns of the runtime.
const PAGE_BYTES: usize = 1 << 20;

/// The log of one group.
#[derive(Clone)]
pub struct LogStore {
    group: GroupId,
    table: Arc<dyn Table>,
    writer: LogWriter,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// The first index that is not yet on disk; the error of the write that failed.
    written: watch::Sender<Result<u64, StoreError>>,
}

#[derive(Default)]
struct State {
    recent: Recent,
    /// The first index of the log: behind what was purged, or where an empty log was begun.
    begin: u64,
    last: Option<LogId>,
    /// The last entry of before the term of the newest ones, where that term began in this run.
    before_term: Option<(u64, LogId)>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// The committed id that the next append carries to disk; it never gets a sync of its own.
    committed_dirty: bool,
    /// How often entries left the log: tells a reader that what it misses is gone, and not lost.
    departures: u64,
}

impl State {
    fn read(group: GroupId, table: &dyn Table) -> Result<Self, StoreError> {
        let purged = read(table, &log::purged(group), codec::decode_log_id)?.flatten();
        let committed = read(table, &log::committed(group), codec::decode_log_id)?.flatten();
        let vote = read(table, &log::vote(group), codec::decode_vote)?;
        let last = match table.last(&log::entry(group, 0), &log::entries_end(group))? {
            Some((key, value)) => Some(decode(&key, &value, codec::decode_entry)?.log_id),
            None => purged,
        };
        let begin = purged.map_or(0, |id| id.index + 1);
        Ok(Self { begin, last, purged, vote, committed, ..Self::default() })
    }

    fn end(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }

    /// An entry comes behind the last one.
    fn put(&mut self, entry: Entry) {
        let (id, term) = (entry.log_id, entry.log_id.leader_id.term);
        match self.last {
            None => self.begin = id.index,
            Some(last) if last.leader_id.term < term => self.before_term = Some((term, last)),
            Some(_) => {}
        }
        self.last = Some(id);
        self.recent.put(entry);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock cannot leave it half changed: each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is before `until` was synced, or could not be.
    fn written(&self, until: u64, result: &Result<(), StoreError>) {
        self.written.send_modify(|written| match (written, result) {
            (Ok(before), Ok(())) => *before = until.max(*before),
            (written, Err(error)) => *written = Err(error.clone()),
            (Err(_), Ok(())) => {}
        });
        if result.is_ok() {
            self.lock().recent.shrink(until);
        }
    }
}

/// The last entry of a group that does not run.
///
/// # Errors
/// A record that does not decode.
pub(super) fn last(group: GroupId, table: &dyn Table) -> Result<Option<LogId>, StoreError> {
    Ok(State::read(group, table)?.last)
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
    let State { last, committed, purged, .. } = State::read(group, table)?;
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
        let page = table.page(&from, &log::entries_end(group), usize::MAX, PAGE_BYTES)?;
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

/// The end of a group's log.
#[derive(Clone)]
pub(super) struct End(Arc<Shared>);

impl End {
    /// The last entry that came, maybe not on disk yet.
    pub(super) fn newest(&self) -> Option<LogId> {
        self.0.lock().last
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
        let state = State::read(group, &*table)?;
        let written = watch::Sender::new(Ok(state.end()));
        let shared = Arc::new(Shared { state: Mutex::new(state), written });
        Ok(Self { group, table, writer, shared })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// How far it is, for who looks on and must not keep the log's writer from ending.
    pub(super) fn end(&self) -> End {
        End(Arc::clone(&self.shared))
    }

    /// Entries from one on, before another: as many as have so many bytes, one at least. None where the
    /// log has none there, because it ends before, was cut or was purged.
    fn page(&self, from: u64, until: u64, bytes: usize) -> Result<Vec<Entry>, StoreError> {
        let (stored_until, departures) = {
            let state = self.lock();
            let until = until.min(state.end());
            if from >= until || from < state.begin {
                return Ok(Vec::new());
            }
            match state.recent.first() {
                Some(first) if first <= from => return Ok(state.recent.page(from, until, bytes)),
                Some(first) => (first.min(until), state.departures),
                None => (until, state.departures),
            }
        };
        // `append` does not wait for this: what was forgotten before is in the table.
        let (key, end) = (log::entry(self.group, from), log::entry(self.group, stored_until));
        let mut entries = Vec::new();
        for (expected, (key, value)) in
            (from..).zip(self.table.page(&key, &end, usize::MAX, bytes)?)
        {
            let entry = decode(&key, &value, codec::decode_entry)?;
            if entry.index() != expected {
                break;
            }
            entries.push(entry);
        }
        if entries.is_empty() && self.lock().departures == departures {
            return Err(corrupt(&key, "this entry is not in the log, which has later ones"));
        }
        recent::limit(&mut entries, bytes);
        Ok(entries)
    }

    /// The last entry of before a term whose entries began to come in this run.
    pub(super) fn before_term(&self, term: u64) -> Option<LogId> {
        let (began, last) = self.lock().before_term?;
        (began == term).then_some(last)
    }

    /// An entry's id; none where it is not in the log, or cannot be read.
    pub(super) fn id_at(&self, index: u64) -> Option<LogId> {
        self.page(index, index + 1, 0).ok()?.first().map(|entry| entry.log_id)
    }

    /// Waits until an entry is on disk; returns the first index that is not.
    async fn written_behind(&self, index: u64) -> Result<u64, StoreError> {
        let mut written = self.shared.written.subscribe();
        let is_known = |written: &Result<u64, StoreError>| {
            written.as_ref().map_or(true, |until| *until > index)
        };
        match written.wait_for(is_known).await {
            Ok(written) => written.clone(),
            // The sender is in what `self` holds.
            Err(_) => Err(corrupt(&log::entry(self.group, index), "the log was closed")),
        }
    }

    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let from = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at + 1,
            Bound::Unbounded => 0,
        };
        let until = match range.end_bound() {
            Bound::Included(at) => at + 1,
            Bound::Excluded(at) => *at,
            Bound::Unbounded => self.lock().end(),
        };
        (from, until)
    }
}

pub(super) fn read<T>(
    table: &dyn Table,
    key: &[u8],
    read: impl FnOnce(&[u8]) -> Result<T, codec::CodecError>,
) -> Result<Option<T>, StoreError> {
    table.get(key)?.map(|value| decode(key, &value, read)).transpose()
}

pub(super) fn decode<T>(
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
    /// The entries to be applied: each after it is on disk.
    async fn entries_stream<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend {
        let (from, until) = self.bounds(&range);
        let until = until.min(self.lock().end());
        let pages = stream::try_unfold((self.clone(), from), move |(log, from)| async move {
            if from >= until {
                return Ok::<_, io::Error>(None);
            }
            let written = log.written_behind(from).await?;
            let page = log.page(from, until.min(written), PAGE_BYTES)?;
            if page.is_empty() {
                let missing = log::entry(log.group, from);
                return Err(corrupt(&missing, "this entry is to be applied and is gone").into());
            }
            let next = from + page.len() as u64;
            Ok(Some((stream::iter(page.into_iter().map(Ok)), (log, next))))
        });
        pages.try_flatten()
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (from, until) = self.bounds(&range);
        let mut entries = Vec::new();
        let mut from = from.max(self.lock().begin);
        while from < until {
            let page = self.page(from, until, PAGE_BYTES)?;
            if page.is_empty() {
                break;
            }
            from += page.len() as u64;
            entries.extend(page);
            yield_now().await;
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.page(start, end, wire::APPEND_BYTES)?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let mut batch = Batch::default();
        batch.put(log::vote(self.group), codec::encode_vote(vote));
        let before = self.lock().vote.replace(*vote);
        if is_planted(Mutant::VoteInMemory) {
            return Ok(());
        }
        if vote.committed && before.is_some_and(|before| before.leader_id == vote.leader_id) {
            // Whom this node voted for is on disk, and with that all that it had in its log then. That a majority did
            // too may be forgotten: it takes nothing back, and each entry of that term comes behind it in the queue.
            self.writer.submit(batch, Box::new(drop)).await;
            return Ok(());
        }
        Ok(self.writer.write(batch).await?)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut state = self.lock();
        state.committed = committed;
        state.committed_dirty = true;
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
        let until = {
            let mut state = self.lock();
            for entry in entries {
                batch.put(log::entry(self.group, entry.index()), codec::encode_entry(&entry));
                state.put(entry);
            }
            if std::mem::take(&mut state.committed_dirty) {
                let committed = codec::encode_log_id(state.committed.as_ref());
                batch.put(log::committed(self.group), committed);
            }
            state.end()
        };
        let shared = Arc::clone(&self.shared);
        let done = move |result: Result<(), StoreError>| {
            shared.written(until, &result);
            callback.io_completed(result.map_err(io::Error::from));
        };
        self.writer.submit(batch, Box::new(done)).await;
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |id| id.index + 1);
        let mut batch = Batch::default();
        batch.delete_range(log::entry(self.group, from), log::entries_end(self.group));
        {
            let mut state = self.lock();
            state.recent.cut(from);
            // What is behind the end cannot be cut.
            state.last = last.or(state.purged).min(state.last);
            state.before_term = None;
            state.departures += 1;
        }
        self.writer.write(batch).await?;
        // Behind the appends before it, which the queue completed before; what takes the place of the cut
        // entries comes later.
        self.shared.written.send_modify(|written| {
            if let Ok(until) = written {
                *until = from.min(*until);
            }
        });
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let from = upto.index + 1;
        let mut batch = Batch::default();
        batch.delete_range(log::entry(self.group, 0), log::entry(self.group, from));
        batch.put(log::purged(self.group), codec::encode_log_id(Some(&upto)));
        {
            let mut state = self.lock();
            state.recent.purge(from);
            (state.begin, state.purged) = (from, Some(upto));
            state.departures += 1;
            if state.end() < from {
                state.last = Some(upto);
            }
        }
        let purged = self.writer.write(batch).await;
        self.shared.written(from, &purged);
        purged.map_err(invalid)
    }
}

#[cfg(test)]
mod tests;
