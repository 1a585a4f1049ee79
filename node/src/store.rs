//! The disk seam: ordered tables with batches, and two engines behind it.
//!
//! A node has one *log* table for all Raft groups and one *state* table per group. A write to
//! either is visible at once and durable only after [`Table::sync`]; a crash loses every write that
//! was not synced, in both engines alike. [`rocks`] is the product, [`simulated`] is the same
//! contract in memory with pending and synced writes, for the deterministic simulation.
//!
//! **Invariant:** a batch is atomic: after a crash all of it is there or none.
//! **Not here:** what the bytes mean ([`keys`]), who syncs when ([`writer`]), Raft (`consensus`).

pub mod faulty;
pub mod health;
pub mod keys;
pub mod rocks;
pub mod rows;
pub mod simulated;
pub mod writer;

use std::{future::Future, pin::Pin, sync::Arc};

use tokio::sync::oneshot;

/// Why the disk did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The engine refused to open a table; nothing was changed on disk.
    #[error("cannot open table {table} in {place}: {reason}")]
    Open { table: String, place: String, reason: String },
    /// A read failed, which includes a checksum mismatch.
    #[error("cannot read table {table}: {reason}")]
    Read { table: String, reason: String },
    /// A write or sync failed: the process must end and recover from the log.
    #[error("cannot write table {table}: {reason}")]
    Write { table: String, reason: String },
    /// A record is there and does not decode, or its checksum is wrong.
    #[error(
        "table {table}, record {record}: {fact}; restore this node's data from a peer or a backup, nothing was changed"
    )]
    Corrupt { table: String, record: String, fact: String },
    /// Its checksum is right: whoever led then speaks a later version.
    #[error("log entry {entry} was written by a newer release: upgrade this node")]
    Newer { entry: String },
    /// Something of several steps was begun here by a command, which ends it where it is run again.
    #[error("`fieldmesh {0}` was cut short here: run it again before the node is started")]
    CutShort(&'static str),
}

impl From<StoreError> for std::io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}

/// A future that owns what it needs.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A key with its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// One change of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    /// From the first key, inclusive, to the second, exclusive.
    DeleteRange(Vec<u8>, Vec<u8>),
}

/// Changes that become visible and durable together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub ops: Vec<Op>,
}

impl Batch {
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.ops.push(Op::Put(key.into(), value.into()));
    }

    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.ops.push(Op::Delete(key.into()));
    }

    pub fn delete_range(&mut self, from: impl Into<Vec<u8>>, until: impl Into<Vec<u8>>) {
        self.ops.push(Op::DeleteRange(from.into(), until.into()));
    }
}

/// What a table is for, which decides how the engine is tuned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Write-ahead logged: [`Table::sync`] costs one fsync of the log.
    Log,
    /// No write-ahead log: [`Table::sync`] flushes to sorted files. The Raft log replays the rest.
    State,
}

/// An ordered map of bytes on a disk.
pub trait Table: Send + Sync + 'static {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Rows with `from <= key < until` in order: at most `rows`, and none after those that have `bytes`
    /// or more, so that what is read at once has a bound whatever a row's size.
    fn page(
        &self,
        from: &[u8],
        until: &[u8],
        rows: usize,
        bytes: usize,
    ) -> Result<Vec<Row>, StoreError>;
    /// Rows with `from <= key < until` in order, at most `limit`.
    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.page(from, until, limit, usize::MAX)
    }
    /// The last row with `from <= key < until`.
    fn last(&self, from: &[u8], until: &[u8]) -> Result<Option<Row>, StoreError>;
    /// Ends when the next write is not held up any more; none where it is not. A disk that holds up who writes by
    /// blocking its thread says nothing here.
    fn held_up(&self) -> Option<Pending<()>> {
        None
    }
    /// Visible on return, durable after the next [`Table::sync`].
    fn write(&self, batch: Batch) -> Result<(), StoreError>;
    /// Every write before the call is durable when the future ends. May block its thread.
    fn sync(&self) -> Pending<Result<(), StoreError>>;
    /// A frozen copy of all that is visible now, readable until it is dropped.
    fn checkpoint(&self) -> Result<Arc<dyn Table>, StoreError>;
    /// Takes from the disk what was written and not synced, as a power cut does; nobody may write meanwhile, and
    /// the process has to end behind it, because reads may still find what is gone.
    fn lose_unsynced(&self) -> Result<(), StoreError>;
}

/// Where tables come from.
pub trait Engine: Send + Sync + 'static {
    /// A table that is there, for reading only: nothing on disk is changed. None where there is none.
    fn inspect(&self, table: &str, role: Role) -> Result<Option<Arc<dyn Table>>, StoreError>;
    /// Opens or creates a table.
    fn open(&self, table: &str, role: Role) -> Result<Arc<dyn Table>, StoreError>;
    /// Removes a table that is not open, with all that is in it; nothing where there is none.
    fn discard(&self, table: &str) -> Result<(), StoreError>;
    /// The number that was last given to [`Engine::set_mark`], if it can still be read.
    fn mark(&self) -> Option<u64>;
    /// Notes a number beside the tables. Not synced: a crash of the machine may bring an earlier one
    /// back, a crash of the process does not.
    fn set_mark(&self, number: u64);
    /// Bytes that may still be written, where the disk says so.
    fn room(&self) -> Option<u64>;
    /// Keeps some room back, or gives it up: with it, a disk that others filled can still be opened and
    /// made smaller.
    fn keep_reserve(&self, is_kept: bool);
    /// Starts the task that owns the log. The product gives it a thread of its own, because a sync
    /// blocks; the simulation a task. What is returned tells when the task has ended.
    fn spawn_writer(&self, task: Pending<()>) -> oneshot::Receiver<()>;
}

/// The smallest key greater than every key that starts with `prefix`.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return end;
        }
        end.pop();
    }
    vec![u8::MAX; prefix.len() + 1]
}
