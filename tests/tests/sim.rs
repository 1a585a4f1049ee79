//! Simulation: node and devices as they are, under simulated time, network and disk.
//!
//! Laws: nothing acknowledged is lost, at most one technician per ticket, each customer sees each
//! confirmation once. A failing seed is run again alone by `FIELDMESH_SEED=<seed> cargo test -p
//! fieldmesh-tests --test sim one_seed`. `FIELDMESH_SEEDS` sets how many the sweep runs.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

use fieldmesh_tests::world::{Plan, run};

/// Seeds of the sweep unless told otherwise.
const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn check(seed: u64) -> Result<(), String> {
    let seen = run(Plan::of(seed));
    let broken = seen.broken_laws();
    if broken.is_empty() {
        return Ok(());
    }
    Err(format!("seed {seed}: {broken:?}\n{}", seen.trace.join("\n")))
}

#[test]
fn one_seed() {
    let seed = number("FIELDMESH_SEED").unwrap_or(1);
    if let Err(report) = check(seed) {
        panic!("{report}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 2, 3, 4, 5] {
        let (first, second) = (run(Plan::of(seed)), run(Plan::of(seed)));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert!(first.trace.len() > 10, "seed {seed} saw nothing");
    }
    assert_ne!(run(Plan::of(1)).trace, run(Plan::of(2)).trace);
}

fn sweep(from: u64, until: u64) {
    let failed: Vec<String> = (from..until).filter_map(|seed| check(seed).err()).collect();
    println!("{} seeds, {} failed", until - from, failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

// Two halves, so that two cores share the sweep.
#[test]
fn sweep_first_half() {
    sweep(1000, 1000 + number("FIELDMESH_SEEDS").unwrap_or(SEEDS) / 2);
}

#[test]
fn sweep_second_half() {
    let seeds = number("FIELDMESH_SEEDS").unwrap_or(SEEDS);
    sweep(1000 + seeds / 2, 1000 + seeds);
}
