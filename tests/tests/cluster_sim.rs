//! Simulation of whole clusters with the devices of their people: three nodes in one region.
//!
//! The laws are in `fieldmesh_tests::cluster_world`. Another seed is run by
//! `FIELDMESH_SEED=<seed> cargo test -p fieldmesh-tests --test cluster_sim one_seed`.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they saw"
)]

use std::time::{Duration, Instant};

use fieldmesh_tests::cluster_world::{Plan, Seen, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// What was seen, where no law was broken.
fn check(plan: Plan) -> Result<Seen, String> {
    let seen = run(plan);
    if seen.broken.is_empty() {
        return Ok(seen);
    }
    Err(format!("seed {}: {:#?}\n{}", plan.seed, seen.broken, seen.trace.join("\n")))
}

fn tell(runs: &[Seen], took: Duration) -> String {
    let sum = |count: fn(&Seen) -> usize| runs.iter().map(count).sum::<usize>();
    let simulated: Duration = runs.iter().map(|seen| seen.simulated).sum();
    format!(
        "{} runs: {} of {} requests confirmed; {} crashes, {} of a leader, {} terms; {} cuts; {} drains, {} \
         assignments, {} policies, {} slots moved; {:.0} s simulated in {:.0} s, {:.1} a second",
        runs.len(),
        sum(|seen| seen.confirmed),
        sum(|seen| seen.requests),
        sum(|seen| seen.crashes),
        sum(|seen| seen.leader_crashes),
        sum(|seen| seen.terms),
        sum(|seen| seen.cuts),
        sum(|seen| seen.drains),
        sum(|seen| seen.assignments),
        sum(|seen| seen.policies),
        sum(|seen| seen.slots_moved),
        simulated.as_secs_f64(),
        took.as_secs_f64(),
        simulated.as_secs_f64() / took.as_secs_f64(),
    )
}

#[test]
fn one_seed() {
    let began = Instant::now();
    match check(Plan::of(number("FIELDMESH_SEED").unwrap_or(1))) {
        Ok(seen) => {
            println!("{}", tell(std::slice::from_ref(&seen), began.elapsed()));
            assert!(seen.crashes > 0 && seen.terms > 4, "nothing happened");
        }
        Err(report) => panic!("{report}"),
    }
}

/// Where nothing befalls anybody, too.
#[test]
fn a_cluster_in_peace_serves() {
    for seed in [1, 2] {
        let began = Instant::now();
        let seen = check(Plan::of(seed).quiet()).unwrap_or_else(|report| panic!("{report}"));
        println!("{}", tell(&[seen], began.elapsed()));
    }
}

/// A trace that comes twice; nearly always that is the first one. The lengths of signatures in handshakes
/// are chance, so that now and then there is a datagram more or less (RFC 9000 §8.1).
#[test]
fn the_same_seed_gives_the_same_trace() {
    const RUNS_MAX: usize = 5;
    for seed in [1, 2] {
        let mut seen: Vec<Vec<String>> = Vec::new();
        loop {
            let trace = run(Plan::of(seed)).trace;
            if seen.contains(&trace) {
                break;
            }
            seen.push(trace);
            assert!(seen.len() < RUNS_MAX, "seed {seed} gave {RUNS_MAX} different traces");
        }
    }
}
