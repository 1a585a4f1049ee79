//! Simulation: node and devices as they are, under simulated time, network and disk.
//!
//! Laws: nothing acknowledged is lost, at most one technician per ticket, by its history and by what technicians were
//! told, none with more tickets than it takes, each customer sees each confirmation once. A failing seed is run again
//! alone by `FIELDMESH_SEED=<seed> cargo test -p fieldmesh-tests --test sim one_seed`. `FIELDMESH_SEEDS` sets how many
//! the sweep runs, `FIELDMESH_BASE` where it begins (`fieldmesh_tests::seeds`). A sweep tells how many seconds it simulated
//! in one.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests tell what they saw, and how long it took"
)]

use std::time::{Duration, Instant};

use fieldmesh_domain::mutant;
use fieldmesh_tests::{
    seeds::{again, first, number, same_trace},
    world::{Plan, run},
};

/// Seeds of the sweep unless told otherwise.
const SEEDS: u64 = 200;
/// Seeds that are run whatever the base: those that found something, of which there is none yet, and one with an
/// acceptance that comes too late.
const FOUND: &[u64] = &[1003];

/// How long the run was, where no law was broken.
fn check(seed: u64) -> Result<Duration, String> {
    // For one that panics.
    println!("seed {seed}");
    let seen = run(Plan::of(seed));
    let broken = seen.broken_laws();
    if broken.is_empty() {
        return Ok(seen.simulated);
    }
    let (again, trace) = (again("sim", seed), seen.trace.join("\n"));
    Err(format!("seed {seed}: {broken:?}\n{again}\n{trace}"))
}

#[test]
fn one_seed() {
    let seed = number("FIELDMESH_SEED").unwrap_or(1);
    if let Err(report) = check(seed) {
        panic!("{report}");
    }
}

/// Devices see the same, to the millisecond. With the third seed an acceptance comes too late.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let traces = [1, 2, 3, 4, 5].map(|seed| same_trace(seed, |seed| run(Plan::of(seed)).trace));
    for (trace, seed) in traces.iter().zip(1..) {
        assert!(trace.len() > 10, "seed {seed} saw nothing");
    }
    assert_ne!(traces[0], traces[1]);
}

fn sweep(seeds: &[u64]) {
    let (began, mut simulated) = (Instant::now(), Duration::ZERO);
    let failed = seeds.iter().filter_map(|seed| match check(*seed) {
        Ok(length) => {
            simulated += length;
            None
        }
        Err(report) => Some(report),
    });
    // One seed that finds a planted bug is enough.
    let enough = if mutant::planted().is_some() { 1 } else { usize::MAX };
    let failed: Vec<String> = failed.take(enough).collect();
    let (simulated, took) = (simulated.as_secs_f64(), began.elapsed().as_secs_f64());
    println!(
        "{} seeds, {} failed; {simulated:.0} s simulated in {took:.0} s, {:.1} a second",
        seeds.len(),
        failed.len(),
        simulated / took
    );
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn what_once_found_something_finds_nothing() {
    sweep(FOUND);
}

/// Two halves, so that two cores share the sweep.
fn half(part: usize) {
    let seeds = number("FIELDMESH_SEEDS").unwrap_or(SEEDS);
    let all: Vec<u64> = (first()..).take(seeds as usize).collect();
    let (one, other) = all.split_at(all.len() / 2);
    sweep([one, other][part]);
}

#[test]
fn sweep_first_half() {
    half(0);
}

#[test]
fn sweep_second_half() {
    half(1);
}
