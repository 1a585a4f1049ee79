//! Simulation of whole clusters with the devices of their people: three nodes in one region, or five or three
//! in two.
//!
//! The laws are in `fieldmesh_tests::cluster_world`. A failing seed is run again alone by
//! `FIELDMESH_SEED=<seed> cargo test -p fieldmesh-tests --test cluster_sim one_seed`, one of `FOUND` with
//! `FIELDMESH_FOUND=1` beside it; `FIELDMESH_SEEDS` sets how many the sweep takes its seeds from, `FIELDMESH_BASE` where
//! it begins (`fieldmesh_tests::seeds`). Each run tells how many seconds it simulated in one. **Not here:** single groups
//! (`group_sim`), one node (`sim`).
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests tell what they saw, and how long it took"
)]

use std::time::{Duration, Instant};

use fieldmesh_tests::{
    cluster_world::{Plan, Seen, run, run_handed},
    seeds::{Least, again, expect_happened, first, number, same_trace_in},
};

/// Seeds of the sweep unless told otherwise; a third of them are of two regions, and in a fifth machines come and go.
const SEEDS: u64 = 72;
/// Seeds that found something, as they were when they did. 1005: a node of another region than the first led the
/// placement group and could not read it. 1015: a leader that may not write fired a timer again and again
/// without a pause. The others, all of two regions, failed once each.
const FOUND: &[u64] = &[1005, 1008, 1014, 1015, 1026, 1038, 1041, 1056, 1059];
/// The same of the sweep's plan. A node that was leaving was away while the placement group let it go, led another group
/// when it came again, and never heard that it was to hand that on. 2517 and 2597: a node left a group and was let in
/// again; of the log that came again it had no more yet than where it voted alone, and led without what came behind.
const FOUND_SINCE: &[u64] = &[689_937_562_637, 2517, 2597];
/// Crashes of a leader in a run, on average; fewer mean that the faults miss what they are for.
const LEADER_CRASHES: usize = 5;
/// What else is to happen. In 20 seconds come 15 or 30 faults: three of 16 are cuts, four of 16 are an operator's commands, of
/// which two of seven are drains, one an assignment, and one a policy in the third of runs that have two regions; the
/// others give a shard some slots, of which about half are its own already. Whoever was away when a log began anew gets a
/// snapshot.
const LEAST: [Least<Seen>; 6] = [
    ("cuts", |seen| seen.cuts, 40),
    ("drains", |seen| seen.drains, 15),
    ("assignments", |seen| seen.assignments, 8),
    ("policies", |seen| seen.policies, 3),
    ("slots moved", |seen| seen.slots_moved, 20),
    ("states by snapshot", |seen| seen.installed, 10),
];

fn check(plan: Plan) -> Result<Seen, String> {
    judged(plan, run(plan))
}

/// What was seen, where no law was broken.
fn judged(plan: Plan, seen: Seen) -> Result<Seen, String> {
    if seen.broken.is_empty() {
        return Ok(seen);
    }
    let (seed, broken, trace) = (plan.seed, &seen.broken, seen.trace.join("\n"));
    let found = if plan.eager { "FIELDMESH_FOUND=1 " } else { "" };
    let again = format!("{found}{}", again("cluster_sim", seed));
    Err(format!("seed {seed}: {broken:#?}\n{again}\n{trace}"))
}

fn tell(runs: &[Seen], took: Duration) -> String {
    let sum = |count: fn(&Seen) -> usize| runs.iter().map(count).sum::<usize>();
    let simulated: Duration = runs.iter().map(|seen| seen.simulated).sum();
    format!(
        "{} runs: {} of {} requests confirmed; {} crashes, {} of a leader, {} terms; {} cuts; {} drains, {} \
         assignments, {} policies, {} slots moved; {} states by snapshot; {} machines joined, {} left, {} regions lost; {} disks full, {} slow for logs, {} for states; {:.0} s simulated in {:.0} s, {:.1} a second",
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
        sum(|seen| seen.installed),
        sum(|seen| seen.joins),
        sum(|seen| seen.leaves),
        sum(|seen| seen.promotions),
        sum(|seen| seen.full_disks),
        sum(|seen| seen.slow_logs),
        sum(|seen| seen.slow_states),
        simulated.as_secs_f64(),
        took.as_secs_f64(),
        simulated.as_secs_f64() / took.as_secs_f64(),
    )
}

/// With `FIELDMESH_TOLD=info` (or any filter of `tracing`) what nodes say and what befalls them is shown as it happens.
#[test]
fn one_seed() {
    if let Ok(filter) = std::env::var("FIELDMESH_TOLD") {
        let lines = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false);
        lines.without_time().with_env_filter(filter).init();
    }
    let began = Instant::now();
    let plan = if number("FIELDMESH_FOUND").is_some() { Plan::as_found } else { Plan::of };
    match check(plan(number("FIELDMESH_SEED").unwrap_or(1))) {
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
    for seed in [0, 1] {
        let began = Instant::now();
        let seen = check(Plan::of(seed).quiet()).unwrap_or_else(|report| panic!("{report}"));
        println!("{}", tell(&[seen], began.elapsed()));
    }
}

/// What nobody else has yet goes on where it is, whatever is wanted by then.
#[test]
fn a_group_goes_on_where_its_only_voter_fails_while_it_is_given_away() {
    for seed in [1, 2, 4] {
        let (plan, began) = (Plan::of(seed).quiet(), Instant::now());
        let seen = judged(plan, run_handed(plan)).unwrap_or_else(|report| panic!("{report}"));
        println!("{}", tell(&[seen], began.elapsed()));
    }
}

/// Where two of a node's tasks can go on at the same moment, chance has a part in which goes first: rarely is that seen.
const RUNS_MAX: usize = 5;

/// What devices see and nodes say, to the millisecond, where nothing is packed. With the second seed machines come and go.
#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 2, 4] {
        same_trace_in(RUNS_MAX, seed, |seed| run(Plan::of(seed).plain()).trace);
    }
}

fn sweep(plans: impl Iterator<Item = Plan>) -> Vec<Seen> {
    let began = Instant::now();
    let results: Vec<_> = plans.map(check).collect();
    let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} failed; the first:\n{}", failed.len(), failed[0]);
    let runs: Vec<Seen> = results.into_iter().flatten().collect();
    println!("{}", tell(&runs, began.elapsed()));
    runs
}

#[test]
fn what_once_found_something_finds_nothing() {
    let since = FOUND_SINCE.iter().copied().map(Plan::of);
    sweep(FOUND.iter().copied().map(Plan::as_found).chain(since));
}

/// Two halves, so that two cores share the sweep.
fn half(part: u64) {
    let seeds = number("FIELDMESH_SEEDS").unwrap_or(SEEDS);
    let first = first();
    println!("from seed {first}");
    let plans = (first..first + seeds).filter(|seed| seed % 2 == part).map(Plan::of);
    let moving = plans.clone().filter(|plan| plan.moves).count();
    let losing = plans.clone().filter(|plan| plan.loses).count();
    let runs = sweep(plans);
    let moves: [fn(&Seen) -> usize; 2] = [|seen| seen.joins, |seen| seen.leaves];
    for count in moves {
        assert_eq!(runs.iter().map(count).sum::<usize>(), moving, "machines that came, and went");
    }
    let promotions: usize = runs.iter().map(|seen| seen.promotions).sum();
    assert_eq!(promotions, losing, "regions that were lost, and began again");
    let crashes: usize = runs.iter().map(|seen| seen.leader_crashes).sum();
    let wanted = LEADER_CRASHES * runs.len();
    assert!(crashes >= wanted, "{crashes} crashes of a leader, {wanted} wanted");
    let disks: [fn(&Seen) -> usize; 3] =
        [|seen| seen.full_disks, |seen| seen.slow_logs, |seen| seen.slow_states];
    for (kind, count) in disks.iter().enumerate() {
        let count: usize = runs.iter().map(count).sum();
        assert!(count >= runs.len(), "{count} disk faults of kind {kind} in {} runs", runs.len());
    }
    expect_happened(&runs, &LEAST);
}

#[test]
fn sweep_of_the_even_seeds() {
    half(0);
}

#[test]
fn sweep_of_the_odd_seeds() {
    half(1);
}
