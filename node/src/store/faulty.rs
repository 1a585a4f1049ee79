//! A disk that is slow, full or broken on purpose, or whose power is cut.
//!
//! **Invariants:** what is written is what would be written without it, later; a sync that fails has not been
//! done; behind a power cut nothing is written. **Not here:** when (`chaos`), what a cut takes (the table), what a
//! state has of it (`states`).

mod states;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use self::states::FaultyState;
use super::{Batch, Engine, Pending, Role, Row, StoreError, Table};
use crate::chaos::DiskFaults;

/// How often it is looked whether a write has waited long enough.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A sync is under way for so long when the power is cut: whoever does not wait for it has answered by then.
const CUT_AFTER: Duration = Duration::from_millis(500);

/// An engine whose tables take longer or cannot be written, and that says there is no room, while that is wanted.
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
            Role::Log => {
                let (faults, power) = (Arc::clone(&self.faults), Arc::default());
                Arc::new(FaultyLog { inner, faults, power })
            }
            Role::State => {
                let (faults, name) = (Arc::clone(&self.faults), table.to_owned());
                Arc::new(FaultyState { inner, faults, name })
            }
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
        if self.faults.is_full() {
            self.faults.refused.happened();
            return Some(0);
        }
        self.inner.room()
    }

    fn keep_reserve(&self, is_kept: bool) {
        self.inner.keep_reserve(is_kept);
    }

    fn spawn_writer(&self, task: Pending<()>) -> oneshot::Receiver<()> {
        self.inner.spawn_writer(task)
    }
}

/// A log whose syncs take longer, fail, or are not lived to see.
struct FaultyLog {
    inner: Arc<dyn Table>,
    faults: Arc<DiskFaults>,
    power: Arc<Power>,
}

/// The power of a log's disk. Others than the log's writer write to it, too, where a group is let go of.
#[derive(Default)]
struct Power {
    /// Something was written since it began to fail, and is not synced.
    is_unsynced: AtomicBool,
    /// What was not synced is gone: nothing may come behind that, whatever becomes of the lease.
    is_cut: AtomicBool,
}

impl Power {
    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// Of what is returned the process has to end.
    fn cut(&self, log: &dyn Table) -> StoreError {
        if !self.is_cut.swap(true, Ordering::Relaxed)
            && let Err(error) = log.lose_unsynced()
        {
            return error;
        }
        failed("the power is cut on purpose, and what was not synced is gone")
    }
}

fn failed(reason: &str) -> StoreError {
    failed_on("log", reason)
}

fn failed_on(table: &str, reason: &str) -> StoreError {
    StoreError::Write { table: table.into(), reason: format!("CHAOS: {reason}, by a lease") }
}

/// A sync that takes as much longer as leases have it.
fn slowed(inner: Arc<dyn Table>, faults: Arc<DiskFaults>) -> Pending<Result<(), StoreError>> {
    if faults.delay().is_zero() {
        return inner.sync();
    }
    faults.slowed.happened();
    Box::pin(async move {
        // Looked at again and again: the lease may end meanwhile.
        let began = Instant::now();
        while began.elapsed() < faults.delay() {
            sleep(LOOK_EVERY.min(faults.delay())).await;
        }
        inner.sync().await
    })
}

/// The power is cut while a sync is under way, unless the lease ends before.
async fn fading(
    inner: Arc<dyn Table>,
    faults: Arc<DiskFaults>,
    power: Arc<Power>,
) -> Result<(), StoreError> {
    let began = Instant::now();
    while faults.is_losing_power() && !power.is_cut() {
        if began.elapsed() >= CUT_AFTER {
            return Err(power.cut(&*inner));
        }
        sleep(LOOK_EVERY).await;
    }
    if power.is_cut() {
        return Err(power.cut(&*inner));
    }
    power.is_unsynced.store(false, Ordering::Relaxed);
    inner.sync().await
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
        let is_losing_power = self.faults.is_losing_power();
        let was_unsynced = self.power.is_unsynced.swap(is_losing_power, Ordering::Relaxed);
        // Whoever wrote the one before and waits for no sync has as much to lose as there will be.
        if self.power.is_cut() || (was_unsynced && is_losing_power) {
            return Err(self.power.cut(&*self.inner));
        }
        self.inner.write(batch)
    }

    fn sync(&self) -> Pending<Result<(), StoreError>> {
        let (faults, inner) = (Arc::clone(&self.faults), Arc::clone(&self.inner));
        if faults.is_broken() {
            faults.failed.happened();
            return Box::pin(std::future::ready(Err(failed("a sync fails on purpose"))));
        }
        if faults.is_losing_power() || self.power.is_cut() {
            faults.failed.happened();
            return Box::pin(fading(inner, faults, Arc::clone(&self.power)));
        }
        slowed(inner, faults)
    }

    fn checkpoint(&self) -> Result<Arc<dyn Table>, StoreError> {
        self.inner.checkpoint()
    }

    fn lose_unsynced(&self) -> Result<(), StoreError> {
        self.inner.lose_unsynced()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_chaos::Fault;

    use super::*;
    use crate::{
        chaos::{Chaos, LEASE_MAX},
        os::SystemClock,
        store::simulated::Disk,
    };

    fn write(log: &dyn Table, key: u8) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.put([key], [key]);
        log.write(batch)
    }

    fn keys(log: &dyn Table) -> Vec<u8> {
        log.scan(&[], &[u8::MAX], 10).unwrap().iter().map(|(key, _)| key[0]).collect()
    }

    /// A log with one row that is synced, and what breaks its disk.
    async fn log() -> (Disk, Chaos, Arc<dyn Table>) {
        let (disk, chaos) = (Disk::default(), Chaos::new(true, Arc::new(SystemClock)));
        let engine = FaultyEngine::new(Arc::new(disk.clone()), chaos.disk());
        let log = engine.open("log", Role::Log).unwrap();
        write(&*log, 1).unwrap();
        log.sync().await.unwrap();
        (disk, chaos, log)
    }

    #[tokio::test(start_paused = true)]
    async fn a_power_cut_takes_what_a_sync_was_under_way_for_and_nothing_before() {
        let (disk, chaos, log) = log().await;
        chaos.lease(1, Fault::PowerCut, LEASE_MAX).unwrap();
        write(&*log, 2).unwrap();
        assert_eq!(keys(&*log), [1, 2], "until then it is read as ever");
        let began = Instant::now();
        let error = log.sync().await.unwrap_err();
        assert!(error.to_string().contains("the power is cut"), "{error}");
        assert!(began.elapsed() >= CUT_AFTER, "whoever does not wait has time to say so");
        assert_eq!(keys(&*disk.inspect("log", Role::Log).unwrap().unwrap()), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_writes_on_without_a_sync_loses_all_that_it_wrote() {
        let (disk, chaos, log) = log().await;
        write(&*log, 2).unwrap();
        chaos.lease(1, Fault::PowerCut, LEASE_MAX).unwrap();
        write(&*log, 3).unwrap();
        write(&*log, 4).unwrap_err();
        // Nothing comes behind a cut, also where nobody wants it any more.
        chaos.end(1);
        write(&*log, 5).unwrap_err();
        log.sync().await.unwrap_err();
        assert_eq!(keys(&*disk.inspect("log", Role::Log).unwrap().unwrap()), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_lease_does_to_a_disk_is_counted_while_it_lasts() {
        let (disk, chaos, log) = log().await;
        let effect = |number| chaos.end(number).unwrap().effect;
        chaos.lease(1, Fault::SlowDisk { delay_ms: 20 }, LEASE_MAX).unwrap();
        log.sync().await.unwrap();
        log.sync().await.unwrap();
        assert_eq!(effect(1), 2);
        log.sync().await.unwrap();
        chaos.lease(2, Fault::BrokenDisk, LEASE_MAX).unwrap();
        log.sync().await.unwrap_err();
        assert_eq!(effect(2), 1);
        let engine = FaultyEngine::new(Arc::new(disk), chaos.disk());
        chaos.lease(3, Fault::FullDisk, LEASE_MAX).unwrap();
        assert_eq!((engine.room(), effect(3)), (Some(0), 1));
        chaos.lease(4, Fault::SlowDisk { delay_ms: 20 }, LEASE_MAX).unwrap();
        assert_eq!(effect(4), 0, "nobody wrote");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_ends_before_the_cut_costs_nothing() {
        let (disk, chaos, log) = log().await;
        for key in [2, 3] {
            chaos.lease(1, Fault::PowerCut, LEASE_MAX).unwrap();
            write(&*log, key).unwrap();
            let syncs = tokio::spawn(log.sync());
            sleep(CUT_AFTER / 2).await;
            chaos.end(1);
            syncs.await.unwrap().unwrap();
        }
        disk.crash();
        assert_eq!(keys(&*log), [1, 2, 3]);
    }
}
