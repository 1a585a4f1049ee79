//! A disk that is slow, full or broken on purpose.
//!
//! **Invariants:** what is written is what would be written without it, later; a sync that fails has not been
//! done. **Not here:** when (`chaos`).

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{Batch, Engine, Pending, Role, Row, StoreError, Table};
use crate::chaos::DiskFaults;

/// How often it is looked whether a write has waited long enough.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// An engine whose log takes longer or cannot be written, and that says there is no room, while that is wanted.
pub struct FaultyEngine {
    inner: Arc<dyn Engine>,
    faults: Arc<DiskFaults>,
}

impl FaultyEngine {
    pub fn new(inner: Arc<dyn Engine>, faults: Arc<DiskFaults>) -> Self {
        Self { inner, faults }
    }
}

impl Engine for FaultyEngine {
    fn inspect(&self, table: &str, role: Role) -> Result<Option<Arc<dyn Table>>, StoreError> {
        self.inner.inspect(table, role)
    }

    fn open(&self, table: &str, role: Role) -> Result<Arc<dyn Table>, StoreError> {
        let inner = self.inner.open(table, role)?;
        Ok(match role {
            Role::Log => Arc::new(FaultyLog { inner, faults: Arc::clone(&self.faults) }),
            Role::State => inner,
        })
    }

    fn discard(&self, table: &str) -> Result<(), StoreError> {
        self.inner.discard(table)
    }

    fn mark(&self) -> Option<u64> {
        self.inner.mark()
    }

    fn set_mark(&self, number: u64) {
        self.inner.set_mark(number);
    }

    fn room(&self) -> Option<u64> {
        if self.faults.is_full() { Some(0) } else { self.inner.room() }
    }

    fn keep_reserve(&self, is_kept: bool) {
        self.inner.keep_reserve(is_kept);
    }

    fn spawn_writer(&self, task: Pending<()>) -> oneshot::Receiver<()> {
        self.inner.spawn_writer(task)
    }
}

/// A log whose syncs take longer, or fail.
struct FaultyLog {
    inner: Arc<dyn Table>,
    faults: Arc<DiskFaults>,
}

impl Table for FaultyLog {
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
        self.inner.write(batch)
    }

    fn sync(&self) -> Pending<Result<(), StoreError>> {
        let (faults, inner) = (Arc::clone(&self.faults), Arc::clone(&self.inner));
        if faults.is_broken() {
            let reason = "CHAOS: a sync fails on purpose, by a lease".to_owned();
            let failed = StoreError::Write { table: "log".into(), reason };
            return Box::pin(std::future::ready(Err(failed)));
        }
        if faults.delay().is_zero() {
            return inner.sync();
        }
        Box::pin(async move {
            // Looked at again and again: the lease may end meanwhile.
            let began = Instant::now();
            while began.elapsed() < faults.delay() {
                sleep(LOOK_EVERY.min(faults.delay())).await;
            }
            inner.sync().await
        })
    }

    fn checkpoint(&self) -> Result<Arc<dyn Table>, StoreError> {
        self.inner.checkpoint()
    }

    fn lose_unsynced(&self) -> Result<(), StoreError> {
        self.inner.lose_unsynced()
    }
}
