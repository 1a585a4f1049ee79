//! How often a node was started, and how far its log was each time: by that others tell an older copy of its directory
//! from the directory.
//!
//! Who has a directory of before (files that were backed up, a machine that was set back to a snapshot) has forgotten
//! votes that it gave and entries that it acknowledged: with it, two may lead in one term, and what was acknowledged may
//! be lost. A count of starts alone does not show it, for whoever starts a copy again and again counts on, and a copy of
//! a running node counts as its node does. So each start is written down with a name of its own and with the rounds
//! that the log had then, and a node tells the others its last starts and the rounds that it has by now. Each of them
//! remembers what it heard last, and refuses a directory without that start, or in which that start ended with fewer
//! rounds than it had told. Who knows less than another may take in a copy that the other refuses: the copy then says so,
//! and what was known before it counts again, so that the directory itself is let in.
//!
//! **Invariants:** a round is told once it is on disk, and so is a start: no crash takes back what was heard, and a start
//! that nobody heard of is a gap that harms nobody; what was heard is in the log's queue before its node is answered, so
//! that it is on disk before all that is promised to that node afterwards. Who does not say is not judged, and nobody
//! waits for a judgement. **Not here:** how it is said (`mesh::hello`), what becomes of whoever is refused (`server`).

mod said;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use fieldmesh_actors::seams::Entropy;
use minicbor::{Decode, Encode};

use crate::store::{Batch, StoreError, Table, keys::log, rows, writer::LogWriter};
pub use said::{Hello, Start};

/// Starts that are told: a node that was away for more of them judges by the rounds alone.
const STARTS_TOLD: usize = 16;
/// Nodes of which something was heard: more than a cluster ever had, those that are gone among them.
const HEARD_MAX: usize = 4096;
/// Rounds of another node between two times that they are written down: far fewer writes than the other had, also where
/// each of two writes for the other. What was heard since is known for as long as this process runs.
const WRITTEN_EVERY: u64 = 256;

/// Up to what a node reads that the first release did not: frames that are packed (`consensus::packed`), and lists of
/// groups at rest (`consensus::rest`).
pub const PACKED_FRAMES: u32 = 1;
pub const GROUPS_AT_REST: u32 = 2;

/// What a directory remembers of its own node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
struct Own {
    /// As many as are told.
    #[n(0)]
    starts: Vec<Start>,
    /// Somebody knew more of the node than this. Until the node is taken in all the same, it is started as the last of
    /// these: starts that are refused must not push out of the list what they are refused by.
    #[n(1)]
    is_refused: bool,
}

impl Own {
    fn begin(&mut self, run: u64, rounds: u64) {
        if self.is_refused && !self.starts.is_empty() {
            return;
        }
        let number = self.starts.last().map_or(0, |last| last.number).saturating_add(1);
        self.starts.push(Start { number, run, rounds });
        let more = self.starts.len().saturating_sub(STARTS_TOLD);
        self.starts.drain(..more);
    }
}

/// What was heard last of another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct Heard {
    /// Number and name of its start.
    #[n(0)]
    number: u64,
    #[n(1)]
    run: u64,
    /// The most rounds that it told.
    #[n(2)]
    rounds: u64,
    /// What was known before that start, for the case that others refuse it.
    #[n(3)]
    before: Option<Before>,
}

/// What was heard last of the start before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct Before {
    #[n(0)]
    number: u64,
    #[n(1)]
    run: u64,
    #[n(2)]
    rounds: u64,
}

impl Heard {
    /// As it is known once another start is.
    fn passed(self) -> Before {
        let Self { number, run, rounds, .. } = self;
        Before { number, run, rounds }
    }

    /// What is known where this start does not count; none where nothing was known before.
    fn without(self) -> Option<Self> {
        let Before { number, run, rounds } = self.before?;
        Some(Self { number, run, rounds, before: None })
    }

    /// Whether a directory has what was heard: the same start, which ended no earlier.
    fn is_in(&self, starts: &[Start]) -> bool {
        let at = starts.iter().position(|start| start.run == self.run);
        // Where so many starts followed that this one is not told any more, they all have a higher number.
        let next = match at {
            Some(at) => starts.get(at + 1),
            None => starts.first().filter(|first| first.number > self.number),
        };
        next.is_some_and(|next| next.rounds >= self.rounds)
    }
}

/// Whom a hello is from, as it is remembered.
///
/// # Errors
/// What is known, where the directory is older than that.
fn judged(known: Option<Heard>, hello: &Hello, last: Start) -> Result<Heard, Heard> {
    let now = Heard { number: last.number, run: last.run, rounds: hello.rounds, before: None };
    match known {
        None => Ok(now),
        // The same process, of which one hello may overtake another; or its directory, started again after it was refused.
        Some(known) if known.run == last.run => {
            Ok(Heard { rounds: known.rounds.max(hello.rounds), ..known })
        }
        Some(known) if known.is_in(&hello.starts) => {
            Ok(Heard { before: Some(known.passed()), ..now })
        }
        Some(known) => Err(known),
    }
}

/// What was heard of a node, and what of that is in the log.
#[derive(Debug, Clone, Copy)]
struct Kept {
    heard: Heard,
    /// None once more was heard than may stay unwritten.
    written: Option<Heard>,
}

impl Kept {
    /// With what was heard now.
    fn of(known: Option<Self>, heard: Heard) -> Self {
        let written = known.and_then(|known| known.written).filter(|written| {
            written.run == heard.run && heard.rounds.saturating_sub(written.rounds) < WRITTEN_EVERY
        });
        Self { heard, written }
    }
}

/// What a node remembers of its own starts and of the others'.
pub struct Memory {
    own: Mutex<Own>,
    /// By node; only members are heard.
    heard: Mutex<BTreeMap<u64, Kept>>,
    /// Rounds of this node's log that are on disk.
    rounds: Arc<AtomicU64>,
    /// This start was taken in: whoever refuses it later is no reason to forget it.
    is_taken_in: AtomicBool,
    /// Held while a row is read from memory and queued, so that rows are queued in the order of what they say.
    queueing: tokio::sync::Mutex<()>,
    /// None once the node ends.
    writer: Mutex<Option<LogWriter>>,
}

/// Each call leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn heard(table: &dyn Table) -> Result<BTreeMap<u64, Kept>, StoreError> {
    let (from, until) = log::heard_range();
    let mut all = BTreeMap::new();
    for (key, value) in table.scan(&from, &until, HEARD_MAX)? {
        let heard = rows::decode(&key, &value)?;
        all.extend(log::heard_of(&key).map(|node| (node, Kept { heard, written: Some(heard) })));
    }
    Ok(all)
}

fn row(key: Vec<u8>, value: &impl Encode<()>) -> Batch {
    let mut batch = Batch::default();
    batch.put(key, rows::encode(value));
    batch
}

fn without(key: Vec<u8>) -> Batch {
    let mut batch = Batch::default();
    batch.delete(key);
    batch
}

/// Removes what was heard of a node from a log that nobody else has open: the next directory of it is taken for its
/// own. Number of the start that is forgotten, and rounds that it had told; none where nothing was heard.
///
/// # Errors
/// A log that cannot be read or written.
pub async fn forget(table: &dyn Table, node: u64) -> Result<Option<(u64, u64)>, StoreError> {
    let known: Option<Heard> = rows::read(table, &log::heard(node))?;
    let Some(Heard { number, rounds, .. }) = known else { return Ok(None) };
    table.write(without(log::heard(node)))?;
    table.sync().await?;
    Ok(Some((number, rounds)))
}

impl Memory {
    /// Writes a start down: it is on disk on return, and with it all that an earlier process wrote.
    ///
    /// # Errors
    /// A log that cannot be read or written.
    pub async fn begin(
        table: &dyn Table,
        writer: LogWriter,
        entropy: &dyn Entropy,
    ) -> Result<Arc<Self>, StoreError> {
        let mut own: Own = rows::read(table, &log::starts())?.unwrap_or_default();
        let (heard, rounds) = (heard(table)?, Arc::clone(writer.synced()));
        let mut run = [0; 8];
        entropy.fill(&mut run);
        own.begin(u64::from_be_bytes(run), rounds.load(Ordering::Acquire));
        writer.write(row(log::starts(), &own)).await?;
        let (own, heard, writer) = (Mutex::new(own), Mutex::new(heard), Mutex::new(Some(writer)));
        let (is_taken_in, queueing) = Default::default();
        Ok(Arc::new(Self { own, heard, rounds, is_taken_in, queueing, writer }))
    }

    /// What this node says of itself.
    pub fn hello(&self) -> Hello {
        let own = lock(&self.own).clone();
        let is_refused = own.is_refused.then_some(true);
        let reads = Some(GROUPS_AT_REST);
        Hello { starts: own.starts, rounds: self.rounds(), is_refused, reads }
    }

    /// Rounds of this node's log that are on disk.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Acquire)
    }

    /// The most rounds that a node told.
    pub fn told_by(&self, node: u64) -> Option<u64> {
        lock(&self.heard).get(&node).map(|kept| kept.heard.rounds)
    }

    /// Takes in what a node says of itself.
    ///
    /// # Errors
    /// What is known of it, where its directory is older than that.
    pub async fn hear(&self, node: u64, hello: &Hello) -> Result<(), String> {
        let Some(last) = hello.starts.last() else { return Ok(()) };
        let is_due = {
            let mut heard = lock(&self.heard);
            let known = heard.get(&node).copied();
            let now = judged(known.map(|known| known.heard), hello, *last).map_err(|known| {
                let Heard { number, rounds, .. } = known;
                format!("start {number} of node {node} was heard here, up to round {rounds} of its log; its directory has not got that far")
            })?;
            if hello.is_refused == Some(true) {
                // Not where it is a copy of a start that went on.
                let is_its = |known: &Kept| {
                    known.heard.run == last.run && hello.rounds >= known.heard.rounds
                };
                let Some(known) = known.filter(is_its) else { return Ok(()) };
                match known.heard.without() {
                    Some(before) => heard.insert(node, Kept { heard: before, written: None }),
                    None => heard.remove(&node),
                };
                true
            } else {
                let now = Kept::of(known, now);
                heard.insert(node, now);
                now.written.is_none()
            }
        };
        if is_due {
            self.write_heard(node).await;
        }
        Ok(())
    }

    async fn write_heard(&self, node: u64) {
        let _in_order = self.queueing.lock().await;
        let now = lock(&self.heard).get(&node).map(|kept| kept.heard);
        let batch = match &now {
            Some(now) => row(log::heard(node), now),
            None => without(log::heard(node)),
        };
        self.queue(batch).await;
        if let Some(kept) = lock(&self.heard).get_mut(&node) {
            // A start that was heard meanwhile is still to be written.
            kept.written = now;
        }
    }

    /// Somebody knows more of this node than its directory has.
    pub async fn refused(&self) {
        if !self.is_taken_in() {
            self.set_refused(true).await;
        }
    }

    /// Its own region has taken the node in, whoever refused it before.
    pub async fn taken_in(&self) {
        self.is_taken_in.store(true, Ordering::Release);
        self.set_refused(false).await;
    }

    /// Whether this start was taken in.
    pub fn is_taken_in(&self) -> bool {
        self.is_taken_in.load(Ordering::Acquire)
    }

    /// Others hear of it at once, whatever the disk does.
    async fn set_refused(&self, is_refused: bool) {
        {
            let mut own = lock(&self.own);
            if own.is_refused == is_refused {
                return;
            }
            own.is_refused = is_refused;
        }
        let _in_order = self.queueing.lock().await;
        let own = lock(&self.own).clone();
        self.queue(row(log::starts(), &own)).await;
    }

    /// Queues a batch; whoever needs it on disk is behind it in the queue.
    async fn queue(&self, batch: Batch) {
        let writer = lock(&self.writer).clone();
        if let Some(writer) = writer {
            writer.submit(batch, Box::new(drop)).await;
        }
    }

    /// Lets the log's writer end.
    pub fn end(&self) {
        lock(&self.writer).take();
    }
}

#[cfg(test)]
mod tests;
