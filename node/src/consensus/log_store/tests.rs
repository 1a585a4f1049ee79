//! A log whose disk has not answered yet, and openraft's own suite.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and start the writer when they want"
)]

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use openraft::{
    EntryPayload, StorageError,
    testing::log::{StoreBuilder, Suite},
    vote::leader_id_std::CommittedLeaderId,
};

use super::*;
use crate::{
    consensus::{Runtime, machine::Machine, recent::ENTRIES_MAX},
    store::{Engine, Role, health::Pulse, simulated::Disk, writer::OnFatal},
};

const GROUP: GroupId = 7;

fn id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

fn entries(term: u64, range: std::ops::Range<u64>) -> Vec<Entry> {
    range.map(|index| Entry { log_id: id(term, index), payload: EntryPayload::Blank }).collect()
}

/// A log, its table, and its writer, which does nothing until it is polled.
fn log() -> (LogStore, Arc<dyn Table>, impl Future<Output = ()> + Send + 'static) {
    let disk = Disk::new(Duration::ZERO);
    let table = disk.open("log", Role::Log).unwrap();
    let on_fatal: OnFatal = Arc::new(|error| panic!("the log failed: {error}"));
    let (writer, task) = LogWriter::new(Arc::clone(&table), Arc::new(disk), on_fatal).unwrap();
    (LogStore::open(GROUP, Arc::clone(&table), writer).unwrap(), table, task)
}

fn indexes(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(Entry::index).collect()
}

#[tokio::test]
async fn what_is_not_yet_on_disk_stays_readable() {
    let (mut log, _, writer) = log();
    let count = ENTRIES_MAX as u64 * 2;
    log.append(entries(1, 0..count), IOFlushed::noop()).await.unwrap();
    let first = log.limited_get_log_entries(0, 10).await.unwrap();
    assert_eq!(indexes(&first), (0..10).collect::<Vec<_>>());
    // Afterwards the table has it, and memory has its bound.
    tokio::spawn(writer);
    log.written_behind(count - 1).await.unwrap();
    assert_eq!(log.lock().recent.first(), Some(count - ENTRIES_MAX as u64));
    let all = log.try_get_log_entries(0..count).await.unwrap();
    assert_eq!(indexes(&all), (0..count).collect::<Vec<_>>());
}

/// A new leader would wait for its disk twice, one after the other, before its first entry is on its way.
#[tokio::test]
async fn a_vote_is_waited_for_and_that_it_won_is_not() {
    let (mut log, table, writer) = log();
    let mut writer = std::pin::pin!(writer);
    assert!(log.save_vote(&Vote::new_committed(2, 5)).now_or_never().is_none(), "another's term");
    let (voted, later) = (Vote::new(3, 1), Vote::new(5, 1));
    tokio::select! {
        biased;
        saved = log.save_vote(&voted) => saved.unwrap(),
        () = &mut writer => panic!("the writer ended"),
    }
    // From here on nothing is written until it is said again.
    assert!(log.save_vote(&Vote::new_committed(3, 1)).now_or_never().is_some());
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(3, 1)));
    let stored = || read(&*table, &log::vote(GROUP), codec::decode_vote).unwrap();
    assert_eq!(stored(), Some(voted));
    assert!(log.save_vote(&Vote::new(4, 1)).now_or_never().is_none(), "one that is to be kept");
    tokio::select! {
        biased;
        saved = log.save_vote(&later) => saved.unwrap(),
        () = &mut writer => panic!("the writer ended"),
    }
    assert_eq!(stored(), Some(later), "in their order");
}

#[tokio::test]
async fn nothing_is_applied_before_it_is_on_disk() {
    let (mut log, _, writer) = log();
    log.append(entries(1, 0..3), IOFlushed::noop()).await.unwrap();
    {
        let mut reader = log.clone();
        let mut applied = Box::pin(reader.entries_stream(0..3).await);
        assert!(applied.next().now_or_never().is_none());
        // A peer may have it at once.
        assert_eq!(log.limited_get_log_entries(0, 3).await.unwrap().len(), 3);
        let running = tokio::spawn(writer);
        let applied: Vec<Entry> = applied.map(Result::unwrap).collect().await;
        assert_eq!(indexes(&applied), [0, 1, 2]);
        // What was cut off and came anew has to be written anew.
        log.truncate_after(Some(id(1, 0))).await.unwrap();
        running.abort();
        assert!(running.await.is_err());
    }
    drop(log.append(entries(2, 1..3), IOFlushed::noop()).await);
    // The writer is gone, so the write fails, and so does waiting for it.
    let mut applied = Box::pin(log.entries_stream(1..3).await);
    assert!(applied.next().await.unwrap().is_err());
}

#[tokio::test]
async fn what_was_cut_off_and_came_anew_is_written_anew() {
    let (mut log, _, writer) = log();
    log.append(entries(1, 0..9), IOFlushed::noop()).await.unwrap();
    let mut writer = Box::pin(writer);
    {
        let mut cut = log.clone();
        let cut = cut.truncate_after(Some(id(1, 3)));
        tokio::select! {
            cut = cut => cut.unwrap(),
            () = &mut writer => panic!("the writer ended"),
        }
    }
    log.append(entries(2, 4..6), IOFlushed::noop()).await.unwrap();
    let mut reader = log.clone();
    let mut applied = Box::pin(reader.entries_stream(3..6).await);
    assert_eq!(applied.next().await.unwrap().unwrap().log_id, id(1, 3));
    assert!(applied.next().now_or_never().is_none());
    tokio::spawn(writer);
    assert_eq!(applied.next().await.unwrap().unwrap().log_id, id(2, 4));
}

#[tokio::test]
async fn a_gap_is_an_error_and_never_skipped() {
    let (mut log, table, writer) = log();
    tokio::spawn(writer);
    let count = ENTRIES_MAX as u64 * 2;
    log.append(entries(1, 0..count), IOFlushed::noop()).await.unwrap();
    log.written_behind(count - 1).await.unwrap();
    let mut batch = Batch::default();
    batch.delete(log::entry(GROUP, 5));
    table.write(batch).unwrap();
    assert_eq!(indexes(&log.limited_get_log_entries(3, 9).await.unwrap()), [3, 4]);
    assert!(log.limited_get_log_entries(5, 9).await.is_err());
    assert!(log.try_get_log_entries(0..9).await.is_err());
    // What was purged is no gap.
    log.purge(id(1, 5)).await.unwrap();
    assert_eq!(indexes(&log.try_get_log_entries(0..9).await.unwrap()), [6, 7, 8]);
    assert!(log.limited_get_log_entries(5, 9).await.unwrap().is_empty());
}

struct OnSimulatedDisk;

impl StoreBuilder<Types, LogStore, Machine, tokio::task::JoinHandle<()>> for OnSimulatedDisk {
    async fn build(
        &self,
    ) -> Result<(tokio::task::JoinHandle<()>, LogStore, Machine), StorageError<Types>> {
        let (log, _, writer) = log();
        let table = Disk::default().open("state", Role::State).unwrap();
        let machine = Machine::open(GROUP, table, Pulse::default()).unwrap();
        Ok((tokio::spawn(writer), log, machine))
    }
}

#[test]
fn the_storage_is_what_openraft_expects() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let suite = Runtime::scope(1, Suite::test_all(OnSimulatedDisk));
    runtime.block_on(suite).unwrap();
}
