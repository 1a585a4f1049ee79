//! An engine whose process kills itself before or after a chosen call: between any two steps of the store.
//!
//! Reads change nothing and are not counted. **Not here:** what is inside a step, where a kill from outside
//! comes (the tests).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use fieldmesh_node::store::{Batch, Engine, Pending, Role, Row, StoreError, Table};
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::oneshot;

/// The steps that are left to live.
struct Fate(AtomicU64);

impl Fate {
    fn step(&self) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    }

    /// A call is two steps: it was not made yet, and it was made and nobody knows.
    fn around<T>(&self, call: impl FnOnce() -> T) -> T {
        self.step();
        let done = call();
        self.step();
        done
    }
}

pub(crate) struct Mortal {
    inner: Arc<dyn Engine>,
    fate: Arc<Fate>,
}

impl Mortal {
    /// Dies at a step, counted from 1; at none where that is 0.
    pub(crate) fn new(inner: Arc<dyn Engine>, dies_at: u64) -> Self {
        let steps = if dies_at == 0 { u64::MAX } else { dies_at };
        Self { inner, fate: Arc::new(Fate(AtomicU64::new(steps))) }
    }
}

impl Engine for Mortal {
    fn inspect(&self, table: &str, role: Role) -> Result<Option<Arc<dyn Table>>, StoreError> {
        self.inner.inspect(table, role)
    }

    fn open(&self, table: &str, role: Role) -> Result<Arc<dyn Table>, StoreError> {
        let inner = self.fate.around(|| self.inner.open(table, role))?;
        Ok(Arc::new(MortalTable { inner, fate: Arc::clone(&self.fate) }))
    }

    fn discard(&self, table: &str) -> Result<(), StoreError> {
        self.fate.around(|| self.inner.discard(table))
    }

    fn mark(&self) -> Option<u64> {
        self.inner.mark()
    }

    fn set_mark(&self, number: u64) {
        self.fate.around(|| self.inner.set_mark(number));
    }

    fn room(&self) -> Option<u64> {
        self.inner.room()
    }

    fn keep_reserve(&self, is_kept: bool) {
        self.inner.keep_reserve(is_kept);
    }

    fn spawn_writer(&self, task: Pending<()>) -> oneshot::Receiver<()> {
        self.inner.spawn_writer(task)
    }
}

struct MortalTable {
    inner: Arc<dyn Table>,
    fate: Arc<Fate>,
}

impl Table for MortalTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(key)
    }

    fn page(
        &self,
        from: &[u8],
        until: &[u8],
        rows: usize,
        bytes: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.inner.page(from, until, rows, bytes)
    }

    fn last(&self, from: &[u8], until: &[u8]) -> Result<Option<Row>, StoreError> {
        self.inner.last(from, until)
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.fate.around(|| self.inner.write(batch))
    }

    fn sync(&self) -> Pending<Result<(), StoreError>> {
        let (sync, fate) = (self.inner.sync(), Arc::clone(&self.fate));
        Box::pin(async move {
            fate.step();
            let done = sync.await;
            fate.step();
            done
        })
    }

    fn checkpoint(&self) -> Result<Arc<dyn Table>, StoreError> {
        self.fate.around(|| self.inner.checkpoint())
    }

    fn lose_unsynced(&self) -> Result<(), StoreError> {
        self.inner.lose_unsynced()
    }
}
