//! A group's process dies again and again: what it acknowledged is there, in order, once and unchanged.
//!
//! Each cycle starts the program `one-group` on the same directory and ends it at a moment that follows from a
//! seed, which is printed; `FIELDMESH_SEED` gives another run the same one. A kill leaves what was written to
//! the kernel, so this finds what is not whole or in the wrong order. **Not here:** that an acknowledgement
//! waits for the disk (`durability`).
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and print what they measure"
)]

#[path = "crash/calls.rs"]
mod calls;
#[path = "crash/damage.rs"]
mod damage;
#[path = "crash/disk.rs"]
mod disk;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use fieldmesh_tests::{
    crash::{Ledger, Order, SIGKILL},
    live::random,
    process::{Finished, PATIENCE},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

/// Of each kind of death: nine tenths of both and the renames below are more than 150 kills.
const CYCLES: usize = 85;
/// More than a process commits before it dies; one that does not die comes to an end all the same.
const MANY: u64 = 20_000;
/// A start takes some twenty steps of the store, and an entry alone eight.
const STEPS_MAX: u64 = 250;

/// The calls that give a file another name, whichever of them this machine has; two tables are made with at
/// least so many of them, and more than so many are not tried.
const RENAMES: &str = "?rename,?renameat,?renameat2";
const RENAMES_MIN: usize = 4;
const RENAMES_MAX: usize = 10;

/// How a process ends.
#[derive(Debug)]
enum End {
    /// It is killed after this time, wherever it is then.
    After(Duration),
    /// It is killed when it has said so many lines.
    Said(usize),
    /// It kills itself.
    ByItself,
}

fn dice() -> StdRng {
    let given = std::env::var("FIELDMESH_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from_be_bytes(random()));
    println!("FIELDMESH_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

fn demand_strace() {
    let is_there = std::process::Command::new("strace").arg("--version").output().is_ok();
    assert!(is_there, "strace is missing: run scripts/setup");
}

async fn live(order: &Order, end: &End) -> Finished {
    let mut running = order.start(&[]);
    match end {
        // Nothing is waited for: the moment itself is the fault.
        End::After(time) => tokio::time::sleep(*time).await,
        End::Said(lines) => {
            for _ in 0..*lines {
                running.line_within(PATIENCE).await.unwrap();
            }
        }
        End::ByItself => return running.finish().await,
    }
    running.kill().await
}

/// Starts a process on one directory again and again, which ends as planned, and in the end one that does not.
async fn die_again_and_again(plan: impl Fn(&mut StdRng, &mut Order) -> End) {
    let (dir, mut dice, mut ledger) = (TempDir::new().unwrap(), dice(), Ledger::default());
    let (began, mut killed, mut taken) = (Instant::now(), 0, 0);
    for cycle in 0..CYCLES {
        let (together, compact_every) = (dice.random_range(1..=8), dice.random_range(5..40));
        let mut order = Order { together, compact_every, ..Order::of(dir.path()) };
        let end = plan(&mut dice, &mut order);
        let ended = live(&order, &end).await;
        let heard = ledger.hear(&ended.stdout, order.together);
        let is_killed = ended.signal == Some(SIGKILL);
        let is_well = heard.is_ok() && (is_killed || ended.code == Some(0));
        assert!(is_well, "cycle {cycle}, {end:?} of {order:?}: {heard:?}\n{ended}");
        if ended.code == Some(0) {
            ledger.settle();
        }
        killed += usize::from(is_killed);
        taken += usize::from(ended.stdout.contains("took"));
    }
    let least = ledger.least;
    println!(
        "{CYCLES} starts in {} ms: {killed} killed, {taken} took entries, {least} in all",
        began.elapsed().as_millis()
    );
    assert!(killed * 10 >= CYCLES * 9 && taken * 2 >= CYCLES, "the faults miss what they are for");
    live_on(dir.path(), &mut ledger).await;
}

/// A process without a fault takes more, and comes to its end.
async fn live_on(dir: &Path, ledger: &mut Ledger) {
    let (order, least) = (Order::of(dir), ledger.least);
    let ended = order.start(&[]).finish().await.expect_code(0);
    ledger.hear(&ended.stdout, order.together).unwrap_or_else(|wrong| panic!("{wrong}\n{ended}"));
    ledger.settle();
    assert!(ledger.least >= least + order.entries, "it took too few: {ended}");
}

#[tokio::test]
async fn killed_at_any_moment_a_group_has_what_it_acknowledged() {
    die_again_and_again(|dice, order| {
        order.entries = MANY;
        if dice.random_range(0..3) == 0 {
            End::After(Duration::from_micros(dice.random_range(0..150_000)))
        } else {
            End::Said(dice.random_range(1..40))
        }
    })
    .await;
}

#[tokio::test]
async fn killed_between_any_two_steps_of_its_store_a_group_has_what_it_acknowledged() {
    die_again_and_again(|dice, order| {
        order.entries = MANY;
        order.dies_at = dice.random_range(1..=STEPS_MAX);
        End::ByItself
    })
    .await;
}

/// RocksDB gives a new table its files under other names first: between two of them it is no table yet.
#[tokio::test]
async fn killed_while_it_makes_its_tables_a_group_makes_them_anew() {
    demand_strace();
    let mut killed = 0;
    for renamed in 1..=RENAMES_MAX {
        let (dir, mut ledger) = (TempDir::new().unwrap(), Ledger::default());
        let kill = format!("inject={RENAMES}:signal=KILL:when={renamed}");
        let trace = format!("trace={RENAMES}");
        // The tracer is the grandchild, so that the process keeps its handle and its end.
        let strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &kill];
        let order = Order::of(dir.path());
        let ended = order.start(&strace).finish().await;
        let heard = ledger.hear(&ended.stdout, order.together);
        let is_killed = ended.signal == Some(SIGKILL);
        let is_well = heard.is_ok() && (is_killed || ended.code == Some(0));
        assert!(is_well, "rename {renamed}: {heard:?}\n{ended}");
        killed += usize::from(is_killed);
        live_on(dir.path(), &mut ledger).await;
    }
    println!("killed {killed} times while tables were made");
    assert!(killed >= RENAMES_MIN, "the faults miss what they are for");
}
