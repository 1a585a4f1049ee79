//! Disks that are really full, and disks that fail: the process ends, and everything acknowledged is there once
//! the disk is well again.
//!
//! **Not here:** each call on each file (`calls`); the floor that keeps a node from it, and what customers see
//! (`disk`); that an acknowledgement waits for the sync (`durability`).

use std::{path::Path, process::Stdio};

use fieldmesh_node::{
    cli::lab::disks::SmallDisk,
    server::EXIT_STORAGE,
    store::{Engine as _, rocks::Rocks},
};
use fieldmesh_tests::{
    crash::{Ledger, Order},
    process::{Finished, PATIENCE, text},
    unchecked,
};
use rand::RngExt;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::{MANY, dice, live_on};

const DISK_MIB: u64 = 192;
/// How often a disk is filled, and how often each fault comes.
const ROUNDS: usize = 4;
/// `ENOSPC`.
const NO_SPACE: u32 = 28;
/// A device that is broken, and one that is full, by their numbers and as they are said.
const ERRORS: [(u32, &str); 2] = [(5, "Input/output error"), (NO_SPACE, "No space left on device")];

/// The process ended because of its storage, and says why.
#[track_caller]
fn expect_end(ended: &Finished, ledger: &mut Ledger, together: u64, why: &str) {
    let heard = ledger.hear(&ended.stdout, together);
    let is_named = ended.stderr.contains(why) && ended.stderr.contains("table ");
    let is_well = heard.is_ok() && ended.code == Some(EXIT_STORAGE) && is_named;
    assert!(is_well, "{why:?} should have ended it: {heard:?}\n{ended}");
}

#[tokio::test]
async fn a_disk_without_any_room_ends_a_group_and_takes_nothing_acknowledged() {
    let (dir, mut dice, mut ledger) = (TempDir::new().unwrap(), dice(), Ledger::default());
    let dir = dir.path().join("disk");
    let Some(disk) = unchecked::or_say("full disks", SmallDisk::mount(&dir, DISK_MIB)) else {
        return;
    };
    for _ in 0..ROUNDS {
        live_on(&dir, &mut ledger).await;
        disk.fill(dice.random_range(2..9)).await.unwrap();
        let compact_every = dice.random_range(100..2000);
        let order = Order { entries: MANY, together: 8, compact_every, ..Order::of(&dir) };
        // The second one finds the disk as full as the first one left it.
        for _ in 0..2 {
            let ended = order.start(&[]).finish().await;
            expect_end(&ended, &mut ledger, order.together, "No space left on device");
        }
        disk.empty().unwrap();
    }
    live_on(&dir, &mut ledger).await;
}

/// A program under which the calls of another can be made to fail.
fn failing<'a>(control: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let is_there = std::process::Command::new("fiu-run").output().is_ok();
    assert!(is_there, "fiu-run is missing: run scripts/setup");
    [&["fiu-run", "-x", "-f", text(control)][..], more].concat()
}

/// From now on a call fails in a process, with the number of an error.
async fn fail(control: &Path, pid: u32, call: &str, errno: u32) {
    let (pid, order) = (pid.to_string(), format!("enable name=posix/io/{call},failinfo={errno}"));
    let mut command = Command::new("fiu-ctrl");
    command.args(["-f", text(control), "-c", &order, &pid]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    // It may not get its answer, because the process ends of what it was told.
    timeout(PATIENCE, command.status()).await.expect("fiu-ctrl ends").unwrap();
}

#[tokio::test]
async fn a_sync_that_fails_even_once_ends_a_group_and_nothing_acknowledged_is_lost() {
    let (dir, mut dice, mut ledger) = (TempDir::new().unwrap(), dice(), Ledger::default());
    let controls = TempDir::new().unwrap();
    let control = controls.path().join("control");
    let mut unfelt = 0;
    for round in 0..ROUNDS {
        // A second try would succeed, and would have lost what the first one was for.
        let calls = ["sync/fdatasync,onetime", "sync/fdatasync"];
        for (call, (errno, says)) in
            calls.into_iter().flat_map(|call| ERRORS.map(|one| (call, one)))
        {
            let (entries, together) = (MANY, dice.random_range(1..=8));
            let order = Order { entries, together, ..Order::of(dir.path()) };
            let mut running = order.start(&failing(&control, &[]));
            for _ in 0..dice.random_range(1..40) {
                let line = running.line_within(PATIENCE).await.unwrap();
                assert!(line.is_some(), "round {round}: {}", running.stderr());
            }
            fail(&control, running.pid(), call, errno).await;
            let ended = running.finish().await;
            let is_once = call.ends_with("onetime");
            if is_once && errno == NO_SPACE && ended.code == Some(0) {
                // It may have been a state's, in the background: for want of room RocksDB makes that again by itself.
                ledger.hear(&ended.stdout, together).unwrap();
                ledger.settle();
                unfelt += 1;
                continue;
            }
            expect_end(&ended, &mut ledger, together, says);
        }
    }
    // Of the log's there are far more.
    assert!(unfelt <= 1, "{unfelt} syncs of the log that failed were not noticed");
    live_on(dir.path(), &mut ledger).await;
}

#[tokio::test]
async fn a_mark_that_cannot_be_written_refuses_no_start() {
    let (dir, mut ledger) = (TempDir::new().unwrap(), Ledger::default());
    let controls = TempDir::new().unwrap();
    let control = controls.path().join("control");
    live_on(dir.path(), &mut ledger).await;
    for (errno, _) in ERRORS {
        // The log itself is appended to; what is written in place is the mark of how far it goes.
        let pwrite = format!("enable name=posix/io/rw/pwrite,failinfo={errno}");
        let (order, before) = (Order::of(dir.path()), Rocks::new(dir.path()).mark());
        let ended = order.start(&failing(&control, &["-c", &pwrite])).finish().await;
        let ended = ended.expect_code(0);
        assert_eq!(Rocks::new(dir.path()).mark(), before, "the fault never came: {ended}");
        ledger.hear(&ended.stdout, order.together).unwrap();
        ledger.settle();
        live_on(dir.path(), &mut ledger).await;
    }
}
