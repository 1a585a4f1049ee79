//! A program that runs one group with one voter on RocksDB, to be killed.
//!
//! It looks through its directory and opens it in the order in which a node does, says what it found, and
//! commits what it was ordered to. **Invariants:** a number is said only after its acknowledgement; every row
//! is compared with what was committed before anything is said of it; a storage that is refused or fails ends
//! the program as it ends a node. **Not here:** what was acknowledged before (`crash::Ledger`).
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "this program speaks on its standard streams, and fails by panicking"
)]

mod mortal;

use std::{
    collections::BTreeSet, error::Error, future::pending, process::exit, sync::Arc, time::Duration,
};

use fieldmesh_actors::commit::Verdict;
use fieldmesh_node::{
    consensus::{
        Group, Outcome, ProposeError,
        group::{self, GroupOptions},
    },
    server::end_of_storage,
    store::{
        Engine, Pending, Role, StoreError, Table,
        keys::state,
        rocks::Rocks,
        rows::{self, OutboxRow},
        writer::{self, LogWriter, OnFatal},
    },
};
use fieldmesh_tests::{
    crash::{ELSEWHERE, GROUP, Order, WRONG, proposal, record},
    live::until,
};
use mortal::Mortal;
use tokio::{task::JoinHandle, time::timeout};

const NODE: u64 = 1;
/// Few, so that the log is cut often; a tenth of these entries stays behind a snapshot.
const SNAPSHOT_EVERY: u64 = 50;
const STORAGE_SAYS_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of rows looked at together.
const PAGE_BYTES: usize = 1 << 20;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let order = Order::read(std::env::args().skip(1));
    if let Err(error) = run(&order).await {
        refuse(&*error);
    }
}

/// Says all that is behind an error, and ends as a node does.
fn refuse(error: &dyn Error) -> ! {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    eprintln!("{text}");
    end_of_storage()
}

fn fatal(error: &StoreError) {
    refuse(error)
}

/// A row that is not as it was committed is no error of the storage: nobody noticed it before.
fn wrong(what: &str) -> ! {
    println!("wrong {what}");
    exit(WRONG)
}

async fn run(order: &Order) -> Result<(), Box<dyn Error>> {
    let rocks = Arc::new(Rocks::new(&order.dir));
    let engine: Arc<dyn Engine> = Arc::new(Mortal::new(rocks, order.dies_at));
    inspect(&*engine)?;
    let log = engine.open("log", Role::Log)?;
    let on_fatal: OnFatal = Arc::new(fatal);
    let (writer, task) =
        LogWriter::new(Arc::clone(&log), Arc::clone(&engine), Arc::clone(&on_fatal))?;
    let writer_ended = engine.spawn_writer(Box::pin(task));
    let group = Group::start(options(), &*engine, log, writer, on_fatal).await?;
    // Only an entry of its own shows that it leads anew, and that all before is applied.
    until("the group leads", async || group.barrier().await.ok()).await;
    let found = found(&*group.table())?;
    println!("found {found}");
    if let Err(error) = work(&group, order, found).await {
        // Where it is the storage that failed, that says why and ends the process, be it a moment later.
        drop(timeout(STORAGE_SAYS_WITHIN, pending::<()>()).await);
        return Err(error);
    }
    group.stop().await;
    drop(group);
    // Its last rounds, where it is still in one.
    Ok(writer_ended.await?)
}

/// As a node does before it opens anything for writing.
fn inspect(engine: &dyn Engine) -> Result<(), Box<dyn Error>> {
    let log = engine.inspect("log", Role::Log)?;
    writer::check(log.as_deref(), engine.mark())?;
    if let Some(log) = log {
        group::inspect(GROUP, engine, &*log)?;
    }
    Ok(())
}

fn options() -> GroupOptions {
    GroupOptions {
        group: GROUP,
        shard: GROUP,
        node: NODE,
        seed: NODE,
        heartbeat: Duration::from_millis(100),
        election_min: Duration::from_millis(300),
        election_max: Duration::from_millis(600),
        snapshot_every: SNAPSHOT_EVERY,
        fills_forgetful: false,
        observer: None,
        voters: BTreeSet::from([NODE]),
        peers: None,
    }
}

/// How many entries are there; all of them are as they were committed.
fn found(table: &dyn Table) -> Result<u64, StoreError> {
    let (mut from, until) = (state::outbox(ELSEWHERE, 0), state::outbox(ELSEWHERE, u64::MAX));
    let mut count = 0;
    loop {
        let page = table.page(&from, &until, usize::MAX, PAGE_BYTES)?;
        let Some((last, _)) = page.last() else { break };
        from = [last.as_slice(), &[0]].concat();
        for (key, value) in &page {
            count += 1;
            let row: OutboxRow = rows::decode(key, value)?;
            if *key != state::outbox(ELSEWHERE, count) || row.tell.sealed != record(count) {
                wrong(&format!("row {} in the place of row {count}", rows::name(key)));
            }
        }
    }
    let next = rows::read_u64(table, &state::outbox_next(ELSEWHERE))?.unwrap_or(1);
    if next != count + 1 {
        wrong(&format!("next row {next} behind {count} rows"));
    }
    Ok(count)
}

/// Commits what was ordered, behind what is there.
async fn work(group: &Group, order: &Order, found: u64) -> Result<(), Box<dyn Error>> {
    let (mut last, end) = (found, found + order.entries);
    let mut compaction = None::<JoinHandle<()>>;
    while last < end {
        let numbers = last + 1..=end.min(last + order.together);
        let mut under_way = Vec::<Pending<Result<Outcome, ProposeError>>>::new();
        for number in numbers.clone() {
            under_way.push(Box::pin(group.submit(&proposal(number)).await?));
        }
        for (number, outcome) in numbers.zip(under_way) {
            match outcome.await? {
                Outcome::Decided(Verdict::Applied { tells }) if tells == [number] => {}
                outcome => wrong(&format!("outcome of entry {number}: {outcome}")),
            }
            println!("took {number}");
            last = number;
            let is_idle = compaction.as_ref().is_none_or(JoinHandle::is_finished);
            if order.compact_every > 0 && number.is_multiple_of(order.compact_every) && is_idle {
                compaction = Some(tokio::spawn(compact(group.clone())));
            }
        }
    }
    if let Some(compaction) = compaction {
        compaction.await?;
    }
    Ok(())
}

/// Beside the entries, as a node does it.
async fn compact(group: Group) {
    if let Err(error) = group.compact().await {
        eprintln!("the log was not made shorter: {error}");
    }
}
