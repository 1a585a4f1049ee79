//! A disk in memory that forgets what was not synced: the storage engine of the simulation.
//!
//! Each table keeps the durable rows, and the batches written since. A sync takes a simulated
//! while, and makes durable exactly what was written before it began; [`Disk::crash`] drops the
//! rest, or keeps some of it, oldest first. The disk outlives the node that uses it, as a real one
//! does.
//!
//! **Invariant:** no wall clock, no thread, no file. **Not here:** torn sectors and bit flips.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{Batch, Engine, Op, Pending, Role, Row, StoreError, Table};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A simulated disk with its tables.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    tables: Arc<Mutex<BTreeMap<String, Arc<SimulatedTable>>>>,
    /// Of logs and of states, apart: a machine may have them on two disks.
    log_takes: Arc<Mutex<Duration>>,
    state_takes: Arc<Mutex<Duration>>,
    /// So long a write of a state is held up.
    holds_up: Arc<Mutex<Duration>>,
    mark: Arc<Mutex<Option<u64>>>,
    /// Bytes that it says are left.
    room: Arc<Mutex<Option<u64>>>,
}

/// One table of the disk.
#[derive(Debug, Default)]
pub struct SimulatedTable {
    state: Mutex<State>,
    sync_takes: Arc<Mutex<Duration>>,
    /// None of a log, whose writer waits for the sync.
    holds_up: Option<Arc<Mutex<Duration>>>,
}

#[derive(Debug, Default)]
struct State {
    durable: Rows,
    visible: Rows,
    pending: Vec<Batch>,
    /// Batches made durable since the start, plus those pending: numbers them for a sync.
    written: u64,
    synced: u64,
}

impl Disk {
    /// A disk whose sync takes so long.
    pub fn new(sync_takes: Duration) -> Self {
        let disk = Self::default();
        disk.set_sync_takes(sync_takes);
        disk
    }

    fn takes(&self, role: Role) -> &Arc<Mutex<Duration>> {
        match role {
            Role::Log => &self.log_takes,
            Role::State => &self.state_takes,
        }
    }

    /// Each sync that begins from now on takes so long.
    pub fn set_sync_takes(&self, sync_takes: Duration) {
        for role in [Role::Log, Role::State] {
            self.set_sync_takes_of(role, sync_takes);
        }
    }

    /// The same of logs alone, or of states.
    pub fn set_sync_takes_of(&self, role: Role, sync_takes: Duration) {
        *lock(self.takes(role)) = sync_takes;
    }

    /// Each write of a state that begins from now on is held up for so long; not those by which a snapshot is put in
    /// its place.
    pub fn hold_up_states(&self, takes: Duration) {
        *lock(&self.holds_up) = takes;
    }

    /// From now on it says that so many bytes are left.
    pub fn set_room(&self, room: Option<u64>) {
        *lock(&self.room) = room;
    }

    /// Power is lost: all that was not synced is gone, in every table.
    pub fn crash(&self) {
        self.crash_keeping(|_| 0);
    }

    /// Power is lost: of each table's batches that were not synced, so many of the oldest are there all
    /// the same, because a real disk may write at any time.
    pub fn crash_keeping(&self, mut kept: impl FnMut(usize) -> usize) {
        for table in lock(&self.tables).values() {
            lock(&table.state).crash_keeping(&mut kept);
        }
    }
}

impl State {
    fn crash_keeping(&mut self, kept: impl FnOnce(usize) -> usize) {
        let kept = kept(self.pending.len()).min(self.pending.len());
        let survivors: Vec<Batch> = self.pending.drain(..kept).collect();
        for batch in &survivors {
            apply(&mut self.durable, batch);
        }
        self.visible = self.durable.clone();
        self.synced = self.written;
        self.pending.clear();
    }
}

impl Engine for Disk {
    fn inspect(&self, table: &str, _role: Role) -> Result<Option<Arc<dyn Table>>, StoreError> {
        let found = lock(&self.tables).get(table).cloned();
        Ok(found.map(|table| Arc::new(table) as _))
    }

    fn open(&self, table: &str, role: Role) -> Result<Arc<dyn Table>, StoreError> {
        let mut tables = lock(&self.tables);
        let found = tables.entry(table.to_owned()).or_insert_with(|| {
            let sync_takes = Arc::clone(self.takes(role));
            let holds_up = (role == Role::State).then(|| Arc::clone(&self.holds_up));
            Arc::new(SimulatedTable { state: Mutex::default(), sync_takes, holds_up })
        });
        Ok(Arc::new(Arc::clone(found)))
    }

    fn discard(&self, table: &str) -> Result<(), StoreError> {
        lock(&self.tables).remove(table);
        Ok(())
    }

    fn mark(&self) -> Option<u64> {
        *lock(&self.mark)
    }

    fn set_mark(&self, number: u64) {
        *lock(&self.mark) = Some(number);
    }

    fn room(&self) -> Option<u64> {
        *lock(&self.room)
    }

    fn keep_reserve(&self, _is_kept: bool) {}

    fn spawn_writer(&self, task: Pending<()>) -> oneshot::Receiver<()> {
        let (tell, ended) = oneshot::channel();
        tokio::spawn(async move {
            task.await;
            // Whoever stops the node may wait for this, or not.
            let _ = tell.send(());
        });
        ended
    }
}

/// The simulation runs on one thread, so a poisoned lock only follows a panic that already fails
/// the run.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn apply(rows: &mut Rows, batch: &Batch) {
    for op in &batch.ops {
        match op {
            Op::Put(key, value) => {
                rows.insert(key.clone(), value.clone());
            }
            Op::Delete(key) => {
                rows.remove(key);
            }
            Op::DeleteRange(from, until) => {
                if from < until {
                    let doomed: Vec<_> =
                        rows.range(from.clone()..until.clone()).map(|(k, _)| k.clone()).collect();
                    for key in doomed {
                        rows.remove(&key);
                    }
                }
            }
        }
    }
}

impl Table for Arc<SimulatedTable> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(lock(&self.state).visible.get(key).cloned())
    }

    fn page(
        &self,
        from: &[u8],
        until: &[u8],
        rows: usize,
        bytes: usize,
    ) -> Result<Vec<Row>, StoreError> {
        if from >= until {
            return Ok(Vec::new());
        }
        let state = lock(&self.state);
        let range = state.visible.range(from.to_vec()..until.to_vec());
        let (mut page, mut read) = (Vec::new(), 0);
        for (key, value) in range.take(rows) {
            read += key.len() + value.len();
            page.push((key.clone(), value.clone()));
            if read >= bytes {
                break;
            }
        }
        Ok(page)
    }

    fn last(&self, from: &[u8], until: &[u8]) -> Result<Option<Row>, StoreError> {
        if from >= until {
            return Ok(None);
        }
        let state = lock(&self.state);
        let mut range = state.visible.range(from.to_vec()..until.to_vec());
        Ok(range.next_back().map(|(k, v)| (k.clone(), v.clone())))
    }

    fn held_up(&self) -> Option<Pending<()>> {
        let takes = *lock(self.holds_up.as_ref()?);
        (!takes.is_zero()).then(|| Box::pin(tokio::time::sleep(takes)) as _)
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let mut state = lock(&self.state);
        apply(&mut state.visible, &batch);
        state.pending.push(batch);
        state.written += 1;
        Ok(())
    }

    fn sync(&self) -> Pending<Result<(), StoreError>> {
        let table = Self::clone(self);
        let upto = lock(&self.state).written;
        Box::pin(async move {
            let takes = *lock(&table.sync_takes);
            tokio::time::sleep(takes).await;
            let mut state = lock(&table.state);
            if upto > state.synced {
                let count = usize::try_from(upto - state.synced).unwrap_or(usize::MAX);
                let count = count.min(state.pending.len());
                let ready: Vec<Batch> = state.pending.drain(..count).collect();
                for batch in &ready {
                    apply(&mut state.durable, batch);
                }
                state.synced = upto;
            }
            Ok(())
        })
    }

    fn checkpoint(&self) -> Result<Arc<dyn Table>, StoreError> {
        let rows = lock(&self.state).visible.clone();
        let state = State { durable: rows.clone(), visible: rows, ..State::default() };
        Ok(Arc::new(Self::new(SimulatedTable {
            state: Mutex::new(state),
            sync_takes: Arc::clone(&self.sync_takes),
            holds_up: None,
        })))
    }

    fn lose_unsynced(&self) -> Result<(), StoreError> {
        lock(&self.state).crash_keeping(|_| 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn logs_and_states_are_slow_apart() {
        let disk = Disk::new(Duration::from_millis(1));
        let log = disk.open("log", Role::Log).unwrap();
        let state = disk.open("state-1", Role::State).unwrap();
        let are_slow = async || {
            let mut slow = [false; 2];
            for (slow, table) in slow.iter_mut().zip([&log, &state]) {
                let began = Instant::now();
                table.sync().await.unwrap();
                *slow = began.elapsed() >= Duration::from_millis(500);
            }
            slow
        };
        assert_eq!(are_slow().await, [false, false]);
        disk.set_sync_takes_of(Role::State, Duration::from_millis(500));
        assert_eq!(are_slow().await, [false, true]);
        disk.set_sync_takes_of(Role::Log, Duration::from_millis(500));
        assert_eq!(are_slow().await, [true, true]);
        disk.set_sync_takes(Duration::from_millis(1));
        assert_eq!(are_slow().await, [false, false]);
    }
}
