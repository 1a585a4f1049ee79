//! How often a node was started, and how far its log was each time: by that others tell an older copy of its directory
//! from the directory.
//!
//! Who has a directory of before (files that were backed up, a machine that was set back to a snapshot) has forgotten
//! votes that it gave and entries that it acknowledged: with it, two may lead in one term, and what was acknowledged may
//! be lost. A count of starts alone does not show it, for whoever starts a copy again and again counts on, and a copy of
//! a running node counts as its node does. So each start is written down with a name of its own and with the rounds
//! that the log had then, and a node tells the others its last starts and the rounds that it has by now. Each of them
//! remembers what it heard last, and refuses a directory without that start, or in which that start ended with fewer
//! rounds than it had told.
//!
//! **Invariants:** a round is told once it is on disk, and so is a start: no crash takes back what was heard, and a start
//! that nobody heard of is a gap that harms nobody; what was heard is in the log's queue before its node is answered, so
//! that it is on disk before all that is promised to that node afterwards. Who does not say is not judged, and nobody
//! waits for a judgement. **Not here:** how it is said (`mesh::hello`), what becomes of whoever is refused (`server`).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use fieldmesh_actors::seams::Entropy;
use minicbor::{Decode, Encode};

use crate::store::{Batch, StoreError, Table, keys::log, rows, writer::LogWriter};

/// Starts that are told: a node that was away for more of them judges by the rounds alone.
const STARTS_TOLD: usize = 16;
/// Nodes of which something was heard: more than a cluster ever had, those that are gone among them.
const HEARD_MAX: usize = 4096;
/// Rounds of another node between two times that they are written down: far fewer writes than the other had, also where
/// each of two writes for the other. What was heard since is known for as long as this process runs.
const WRITTEN_EVERY: u64 = 256;

/// A start of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Start {
    /// How many there were in this directory, with this one.
    #[n(0)]
    pub number: u64,
    /// Drawn by chance: two starts of one directory and its copy have the same number.
    #[n(1)]
    pub run: u64,
    /// Rounds that the log had: where the start before this one ended.
    #[n(2)]
    pub rounds: u64,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Its last starts, the present one at the end.
    #[n(0)]
    pub starts: Vec<Start>,
    /// Rounds that its log has on disk.
    #[n(1)]
    pub rounds: u64,
}

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
}

impl Heard {
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
    let now = Heard { number: last.number, run: last.run, rounds: hello.rounds };
    match known {
        None => Ok(now),
        // The same process, of which one hello may overtake another; or its directory, started again after it was refused.
        Some(known) if known.run == last.run => {
            Ok(Heard { rounds: known.rounds.max(hello.rounds), ..now })
        }
        Some(known) if known.is_in(&hello.starts) => Ok(now),
        Some(known) => Err(known),
    }
}

/// What was heard of a node, and what of that is in the log.
#[derive(Debug, Clone, Copy)]
struct Kept {
    heard: Heard,
    written: Heard,
}

/// What a node remembers of its own starts and of the others'.
pub struct Memory {
    own: Mutex<Own>,
    /// By node; only members are heard.
    heard: Mutex<BTreeMap<u64, Kept>>,
    /// Rounds of this node's log that are on disk.
    rounds: Arc<AtomicU64>,
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
        all.extend(log::heard_of(&key).map(|node| (node, Kept { heard, written: heard })));
    }
    Ok(all)
}

fn row(key: Vec<u8>, value: &impl Encode<()>) -> Batch {
    let mut batch = Batch::default();
    batch.put(key, rows::encode(value));
    batch
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
        Ok(Arc::new(Self { own, heard, rounds, writer }))
    }

    /// What this node says of itself.
    pub fn hello(&self) -> Hello {
        Hello { starts: lock(&self.own).starts.clone(), rounds: self.rounds() }
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
        let (now, is_due) = {
            let mut heard = lock(&self.heard);
            let known = heard.get(&node).copied();
            let now = judged(known.map(|known| known.heard), hello, *last).map_err(|known| {
                let Heard { number, rounds, .. } = known;
                format!("start {number} of node {node} was heard here, up to round {rounds} of its log; its directory has not got that far")
            })?;
            let written = known.map(|known| known.written).filter(|written| {
                written.run == now.run && now.rounds.saturating_sub(written.rounds) < WRITTEN_EVERY
            });
            heard.insert(node, Kept { heard: now, written: written.unwrap_or(now) });
            (now, written.is_none())
        };
        if is_due {
            self.write(row(log::heard(node), &now)).await;
        }
        Ok(())
    }

    /// Somebody knows more of this node than its directory has.
    pub async fn refused(&self) {
        self.set_refused(true).await;
    }

    /// Its own region has taken the node in, whoever refused it before.
    pub async fn taken_in(&self) {
        self.set_refused(false).await;
    }

    async fn set_refused(&self, is_refused: bool) {
        let own = {
            let mut own = lock(&self.own);
            if own.is_refused == is_refused {
                return;
            }
            own.is_refused = is_refused;
            own.clone()
        };
        self.write(row(log::starts(), &own)).await;
    }

    /// Queues a batch; whoever needs it on disk is behind it in the queue.
    async fn write(&self, batch: Batch) {
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
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::time::Duration;

    use super::*;
    use crate::{
        golden::are_frozen,
        os::SystemEntropy,
        store::{Engine, Role, simulated::Disk, writer::OnFatal},
    };

    const NODE: u64 = 3;

    fn disk() -> Disk {
        Disk::new(Duration::ZERO)
    }

    async fn started(disk: &Disk) -> Arc<Memory> {
        let log = disk.open("log", Role::Log).unwrap();
        let engine: Arc<dyn Engine> = Arc::new(disk.clone());
        let on_fatal: OnFatal = Arc::new(|error| panic!("the log failed: {error}"));
        let (writer, task) = LogWriter::new(Arc::clone(&log), engine, on_fatal).unwrap();
        drop(disk.spawn_writer(Box::pin(task)));
        Memory::begin(&*log, writer, &SystemEntropy::default()).await.unwrap()
    }

    /// As if the node had voted, or taken entries.
    async fn writes(memory: &Arc<Memory>, rounds: u64) {
        let writer = lock(&memory.writer).clone().unwrap();
        for round in 0..rounds {
            writer.write(row(b"x".to_vec(), &round)).await.unwrap();
        }
    }

    fn copy(disk: &Disk) -> Disk {
        let (from, copied) = (disk.open("log", Role::Log).unwrap(), self::disk());
        let mut batch = Batch::default();
        for (key, value) in from.scan(&[], &[u8::MAX], 1000).unwrap() {
            batch.put(key, value);
        }
        copied.open("log", Role::Log).unwrap().write(batch).unwrap();
        copied
    }

    async fn hears(peer: &Arc<Memory>, node: &Arc<Memory>) -> bool {
        peer.hear(NODE, &node.hello()).await.is_ok()
    }

    #[tokio::test]
    async fn a_node_is_known_again_however_often_it_starts() {
        let (peer, own) = (started(&disk()).await, disk());
        for unheard in [0, 1, 3, STARTS_TOLD + 1] {
            for _ in 0..unheard {
                writes(&started(&own).await, 2).await;
            }
            let node = started(&own).await;
            assert!(hears(&peer, &node).await, "after {unheard} starts that nobody heard of");
            // It says so again while it runs, and what comes late takes nothing back.
            let early = node.hello();
            writes(&node, 3).await;
            assert!(hears(&peer, &node).await);
            assert_eq!(peer.hear(NODE, &early).await, Ok(()));
            assert_eq!(peer.told_by(NODE), Some(node.rounds()));
        }
        assert_eq!(started(&own).await.hello().starts.len(), STARTS_TOLD);
    }

    #[tokio::test]
    async fn a_copy_from_before_the_last_start_is_older() {
        let (others, own) = (disk(), disk());
        let peer = started(&others).await;
        assert!(hears(&peer, &started(&own).await).await);
        let before = copy(&own);
        assert!(hears(&peer, &started(&own).await).await);
        // Its next start has the number that the node's last one had.
        let copied = started(&before).await;
        let why = peer.hear(NODE, &copied.hello()).await.unwrap_err();
        assert!(why.contains("start 2 of node 3"), "{why}");
        // A peer that was started again, and one that hears of both for the first time.
        writes(&peer, 1).await;
        assert!(!hears(&started(&others).await, &copied).await);
        assert!(hears(&started(&disk()).await, &copied).await);
        // The node itself is welcome.
        assert!(hears(&peer, &started(&own).await).await);
    }

    #[tokio::test]
    async fn a_copy_of_a_running_node_is_older_once_that_has_told_more() {
        let (peer, own) = (started(&disk()).await, disk());
        let node = started(&own).await;
        assert!(hears(&peer, &node).await);
        let before = copy(&own);
        // Nothing was forgotten: it is as if the node had been killed then.
        assert!(hears(&peer, &started(&copy(&own)).await).await);
        let peer = started(&disk()).await;
        writes(&node, 10).await;
        assert!(hears(&peer, &node).await);
        let copied = started(&before).await;
        assert!(!hears(&peer, &copied).await);
        // Also where its log has grown beyond the node's since.
        writes(&copied, 20).await;
        assert!(copied.rounds() > node.rounds() && !hears(&peer, &copied).await);
        assert!(!hears(&peer, &started(&before).await).await);
        assert!(hears(&peer, &started(&own).await).await);
    }

    #[tokio::test]
    async fn starts_that_are_refused_do_not_make_a_copy_newer() {
        let (peer, own) = (started(&disk()).await, disk());
        let node = started(&own).await;
        let before = copy(&own);
        writes(&node, 3).await;
        assert!(hears(&peer, &node).await);
        for _ in 0..2 * STARTS_TOLD {
            let copied = started(&before).await;
            writes(&copied, 1).await;
            assert!(!hears(&peer, &copied).await);
            copied.refused().await;
            // What was queued is written before what follows.
            writes(&copied, 1).await;
        }
        // Once it is taken in all the same, its starts count again.
        let copied = started(&before).await;
        let starts = copied.hello().starts;
        copied.taken_in().await;
        writes(&copied, 1).await;
        assert_eq!(started(&before).await.hello().starts.len(), starts.len() + 1);
    }

    #[tokio::test]
    async fn what_is_heard_is_written_down_now_and_then() {
        let (others, own) = (disk(), disk());
        let (peer, node) = (started(&others).await, started(&own).await);
        assert!(hears(&peer, &node).await);
        let at_first = node.rounds();
        writes(&node, WRITTEN_EVERY - 1).await;
        assert!(hears(&peer, &node).await);
        writes(&peer, 1).await;
        assert_eq!(started(&others).await.told_by(NODE), Some(at_first));
        let peer = started(&others).await;
        writes(&node, 1).await;
        assert!(hears(&peer, &node).await);
        writes(&peer, 1).await;
        assert_eq!(started(&others).await.told_by(NODE), Some(node.rounds()));
    }

    #[test]
    fn what_is_said_and_stored_of_starts() {
        let start = Start { number: 1, run: 2, rounds: 3 };
        are_frozen(&[("82 81 83 01 02 03 04", Hello { starts: vec![start], rounds: 4 })]);
        are_frozen(&[("82 81 83 01 02 03 f4", Own { starts: vec![start], is_refused: false })]);
        are_frozen(&[("82 80 f5", Own { starts: vec![], is_refused: true })]);
        are_frozen(&[("83 01 02 03", Heard { number: 1, run: 2, rounds: 3 })]);
    }
}
