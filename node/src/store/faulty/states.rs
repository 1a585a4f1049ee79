//! A state on a disk that is slow or broken on purpose.
//!
//! A state is written into memory; the disk is waited for where it is put down: by a sync, which takes longer or fails,
//! and by a checkpoint, which fails. Whoever applies meets it as on a real disk: at the next snapshot, of which the
//! group fails and the process ends.
//!
//! **Invariant:** what is read is what was written. **Not here:** a power cut, which takes from the log what was not
//! synced (`super`); bits that are others, which are turned in files, of states as of the log (`cli::chaos::rot`).

use std::{future::ready, sync::Arc};

use super::{failed_on, slowed};
use crate::{
    chaos::DiskFaults,
    store::{Batch, Pending, Row, StoreError, Table},
};

/// A state whose syncs take longer, or fail.
pub(super) struct FaultyState {
    pub(super) inner: Arc<dyn Table>,
    pub(super) faults: Arc<DiskFaults>,
    pub(super) name: String,
}

impl FaultyState {
    fn demand_whole(&self, what: &str) -> Result<(), StoreError> {
        if !self.faults.is_broken() {
            return Ok(());
        }
        self.faults.failed.happened();
        Err(failed_on(&self.name, what))
    }
}

impl Table for FaultyState {
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

    fn held_up(&self) -> Option<Pending<()>> {
        self.inner.held_up()
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.inner.write(batch)
    }

    fn sync(&self) -> Pending<Result<(), StoreError>> {
        if let Err(error) = self.demand_whole("a sync fails on purpose") {
            return Box::pin(ready(Err(error)));
        }
        slowed(Arc::clone(&self.inner), Arc::clone(&self.faults))
    }

    fn checkpoint(&self) -> Result<Arc<dyn Table>, StoreError> {
        self.demand_whole("a checkpoint fails on purpose")?;
        self.inner.checkpoint()
    }

    fn lose_unsynced(&self) -> Result<(), StoreError> {
        self.inner.lose_unsynced()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::{collections::BTreeSet, time::Duration};

    use fieldmesh_chaos::Fault;
    use tokio::{sync::mpsc, time::Instant};

    use super::*;
    use crate::{
        chaos::{Chaos, LEASE_MAX},
        consensus::group::{Group, GroupOptions, SNAPSHOT_EVERY},
        os::SystemClock,
        store::{
            Engine, Role,
            faulty::FaultyEngine,
            simulated::Disk,
            writer::{LogWriter, OnFatal},
        },
    };

    fn disk() -> (Disk, Chaos, FaultyEngine) {
        let (disk, chaos) = (Disk::default(), Chaos::new(true, Arc::new(SystemClock)));
        let engine = FaultyEngine::new(Arc::new(disk.clone()), chaos.disk());
        (disk, chaos, engine)
    }

    fn write(state: &dyn Table, key: u8) {
        let mut batch = Batch::default();
        batch.put([key], [key]);
        state.write(batch).unwrap();
    }

    fn keys(state: &dyn Table) -> Vec<u8> {
        state.scan(&[], &[u8::MAX], 10).unwrap().iter().map(|(key, _)| key[0]).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_disk_is_slow_where_a_state_is_put_down() {
        let (disk, chaos, engine) = disk();
        let state = engine.open("state-1", Role::State).unwrap();
        let delay_ms = 700;
        chaos.lease(1, Fault::SlowDisk { delay_ms }, LEASE_MAX).unwrap();
        let began = Instant::now();
        write(&*state, 1);
        assert_eq!(keys(&*state), [1]);
        assert!(began.elapsed().is_zero(), "memory is as fast as ever");
        state.sync().await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(delay_ms));
        chaos.end(1);
        let began = Instant::now();
        state.sync().await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(delay_ms));
        disk.crash();
        assert_eq!(keys(&*state), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_disk_takes_nothing_that_was_put_down_and_nothing_more() {
        let (disk, chaos, engine) = disk();
        let state = engine.open("state-1", Role::State).unwrap();
        write(&*state, 1);
        state.sync().await.unwrap();
        chaos.lease(1, Fault::BrokenDisk, LEASE_MAX).unwrap();
        write(&*state, 2);
        let error = state.sync().await.unwrap_err().to_string();
        assert!(error.contains("table state-1") && error.contains("CHAOS"), "{error}");
        assert!(state.checkpoint().is_err());
        disk.crash();
        assert_eq!(keys(&*state), [1], "what was not put down is gone");
        chaos.end(1);
        write(&*state, 3);
        state.sync().await.unwrap();
        assert_eq!(keys(&*state.checkpoint().unwrap()), [1, 3]);
    }

    /// A group alone whose state is on such a disk, and its log on one that is well; why its process is to end.
    async fn group(disk: &Disk, states: &FaultyEngine) -> (Group, mpsc::Receiver<String>) {
        let engine: Arc<dyn Engine> = Arc::new(disk.clone());
        let (tell, told) = mpsc::channel(8);
        let on_fatal: OnFatal = Arc::new(move |error| drop(tell.try_send(error.to_string())));
        let log = engine.open("log", Role::Log).unwrap();
        let writer = LogWriter::new(Arc::clone(&log), Arc::clone(&engine), Arc::clone(&on_fatal));
        let (writer, task) = writer.unwrap();
        engine.spawn_writer(Box::pin(task));
        let options = GroupOptions {
            group: 1,
            shard: 1,
            node: 1,
            seed: 1,
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(600),
            snapshot_every: SNAPSHOT_EVERY,
            fills_forgetful: false,
            observer: None,
            voters: BTreeSet::from([1]),
            peers: None,
        };
        let group = Group::start(options, states, log, writer, on_fatal).await.unwrap();
        group.leading().wait_for(Option::is_some).await.unwrap();
        group.barrier().await.unwrap();
        (group, told)
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_that_cannot_be_put_down_ends_the_process_by_its_name() {
        let (disk, chaos, engine) = disk();
        let (group, mut fatal) = group(&disk, &engine).await;
        group.compact().await.unwrap();
        group.barrier().await.unwrap();
        assert!(fatal.try_recv().is_err(), "nothing has failed yet");
        chaos.lease(1, Fault::BrokenDisk, LEASE_MAX).unwrap();
        group.compact().await.unwrap_err();
        let why = fatal.recv().await.unwrap();
        assert!(why.contains("state-1") && why.contains("CHAOS"), "{why}");
    }
}
