//! The one writer of a node's log: many groups in, one synced batch out.
//!
//! Every group's votes, appends, truncations and purges pass through one queue in order. A round
//! takes all that waits, writes it as one batch, syncs once, and then completes every caller. So a
//! node does at most one fsync per round, whatever the number of its groups (Ra's and CockroachDB's
//! shared log have the same shape).
//!
//! **Invariants:** a completion is called after the sync that made its write durable, never before;
//! a failed write or sync is final: the process ends, because a retried fsync lies (USENIX ATC'20,
//! Rebello et al.). **Not here:** what an entry is (`consensus`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fieldmesh_domain::mutant::{Mutant, is_planted};
use tokio::sync::mpsc;

use super::{
    Batch, Engine, StoreError, Table,
    health::{DiskWatch, Pulse},
    keys::log,
    rows,
};

/// Jobs that may wait; openraft itself bounds what one group submits, so this only smooths bursts.
const QUEUE_JOBS_MAX: usize = 4096;
/// Operations of one round: bounds its memory and its latency.
const ROUND_OPS_MAX: usize = 8192;

/// A round waits this long for company, where the one before it had so many jobs: a lone request
/// never waits, and under load a sync is shared by more (PostgreSQL's `commit_delay` and
/// `commit_siblings` are the same).
const LINGER: Duration = Duration::from_millis(1);
const LINGER_JOBS: usize = 3;

/// Called once with the result of the round.
pub type Completion = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Called when the log is lost: ends the process in the product.
pub type OnFatal = Arc<dyn Fn(&StoreError) + Send + Sync>;

struct Job {
    batch: Batch,
    done: Completion,
}

/// The queue into the writer.
#[derive(Clone)]
pub struct LogWriter {
    jobs: mpsc::Sender<Job>,
    disk: Arc<DiskWatch>,
    synced: Arc<AtomicU64>,
}

impl LogWriter {
    /// The queue and the task that must run for it.
    ///
    /// # Errors
    /// A failed read.
    pub fn new(
        table: Arc<dyn Table>,
        engine: Arc<dyn Engine>,
        on_fatal: OnFatal,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let round = rows::read_u64(&*table, &log::round())?.unwrap_or(0);
        let disk = Arc::<DiskWatch>::default();
        let (pulse, synced) = (disk.pulse(), Arc::new(AtomicU64::new(round)));
        let told = Arc::clone(&synced);
        let writer = Writer { table, engine, on_fatal, round, synced: told, pulse };
        Ok((Self { jobs, disk, synced }, writer.run(queue)))
    }

    /// Rounds that are on disk; those that an earlier process wrote, once one of this one is.
    pub fn synced(&self) -> &Arc<AtomicU64> {
        &self.synced
    }

    /// The watch over the disk that this writes to.
    pub fn disk(&self) -> &Arc<DiskWatch> {
        &self.disk
    }

    /// Queues a batch behind all earlier ones; `done` is called when it is durable.
    pub async fn submit(&self, batch: Batch, done: Completion) {
        if let Err(mpsc::error::SendError(job)) = self.jobs.send(Job { batch, done }).await {
            (job.done)(Err(stopped()));
        }
    }

    /// Queues a batch and waits until it is durable.
    pub async fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let (tell, told) = tokio::sync::oneshot::channel();
        // A caller that left does not want the answer.
        self.submit(batch, Box::new(move |result| drop(tell.send(result)))).await;
        told.await.unwrap_or_else(|_| Err(stopped()))
    }
}

/// Whether a log, if there is one, has every round that was synced.
///
/// # Errors
/// Where its end is lost.
pub fn check(table: Option<&dyn Table>, synced: Option<u64>) -> Result<(), StoreError> {
    let round = match table {
        Some(table) => rows::read_u64(table, &log::round())?.unwrap_or(0),
        None => 0,
    };
    match synced.filter(|synced| *synced > round) {
        None => Ok(()),
        Some(synced) => Err(StoreError::Corrupt {
            table: "log".into(),
            record: format!("round {synced}"),
            fact: format!("it was synced, and the log ends at round {round}: its end is lost"),
        }),
    }
}

fn stopped() -> StoreError {
    StoreError::Write { table: "log".into(), reason: "the log writer has stopped".into() }
}

struct Writer {
    table: Arc<dyn Table>,
    engine: Arc<dyn Engine>,
    on_fatal: OnFatal,
    /// Rounds written so far; the table and, after the sync, the engine's mark say so too.
    round: u64,
    /// The last of them that was synced.
    synced: Arc<AtomicU64>,
    pulse: Pulse,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut together = 0;
        while let Some(first) = queue.recv().await {
            // When several came together a moment ago, more are on their way: they share the sync.
            if together >= LINGER_JOBS {
                tokio::time::sleep(LINGER).await;
            }
            let mut batch = first.batch;
            let mut waiting = vec![first.done];
            while batch.ops.len() < ROUND_OPS_MAX {
                let Ok(job) = queue.try_recv() else { break };
                batch.ops.extend(job.batch.ops);
                waiting.push(job.done);
            }
            together = waiting.len();
            metrics::counter!("fieldmesh_log_rounds_total").increment(1);
            metrics::counter!("fieldmesh_log_writes_total").increment(waiting.len() as u64);
            self.round += 1;
            batch.put(log::round(), self.round.to_be_bytes());
            let waits = self.pulse.begin();
            let result = write_round(&self.table, batch, &mut waiting).await;
            drop(waits);
            match &result {
                Ok(()) => {
                    self.synced.store(self.round, Ordering::Release);
                    self.engine.set_mark(self.round);
                }
                Err(error) => (self.on_fatal)(error),
            }
            for done in waiting {
                done(result.clone());
            }
        }
    }
}

async fn write_round(
    table: &Arc<dyn Table>,
    batch: Batch,
    waiting: &mut Vec<Completion>,
) -> Result<(), StoreError> {
    table.write(batch)?;
    if is_planted(Mutant::AckBeforeSync) {
        waiting.drain(..).for_each(|done| done(Ok(())));
    }
    if is_planted(Mutant::SyncSkipped) {
        return Ok(());
    }
    metrics::counter!("fieldmesh_log_syncs_total").increment(1);
    table.sync().await
}
