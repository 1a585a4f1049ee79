//! Plans and dispatches the instances of a folder and compares with the best results that are known.
//!
//! [`run`] is what `fieldmesh bench dispatch` calls; [`Report`] is what it prints.
//!
//! **Invariants:** every file is read and checked before the first plan is made; no plan is counted
//! that the referee does not pass. **Not here:** the clock, which the caller brings; printing.

mod files;
mod report;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub use report::{Dispatched, Left, Planned, Report, Row};

use crate::{
    instance::FormatError,
    online::{Policy, dispatch_day},
    plan::{Plan, plan_day},
    problem::Ticks,
    referee::{self, Breach},
    search::WHOLE,
};
use files::{Case, Day};

/// What is to be measured.
#[derive(Debug, Clone, Copy)]
pub struct Bench<'a> {
    /// The folder of the instances: each `.txt` file in it, but for one named `readme.txt`.
    pub instances: &'a Path,
    /// The folder of the release dates: those of `NAME.txt` are in files `NAME_rd_*.txt`.
    pub online: Option<&'a Path>,
    /// The best results that are known.
    pub best: Option<&'a Path>,
    /// So many instances at most, in the order of their names.
    pub limit: Option<usize>,
    pub budget: Budget,
    pub seed: u64,
}

/// How long to search.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// For the plan of a whole day.
    pub day: Duration,
    /// Before a day, for what is known from the start.
    pub start: Duration,
    /// After each release during the day.
    pub release: Duration,
}

impl Default for Budget {
    /// The plan of a day is promised within 10 s, reading and a busy machine included. A release is
    /// answered within the time that a person at a device does not notice.
    fn default() -> Self {
        Self {
            day: Duration::from_secs(8),
            start: Duration::from_secs(1),
            release: Duration::from_millis(100),
        }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path}: {fault}")]
    Format { path: PathBuf, fault: FormatError },
    #[error("{path}: there is no instance in this folder")]
    Empty { path: PathBuf },
    #[error("the plan of {instance} is wrong: {breach}")]
    Wrong { instance: String, breach: Breach },
}

/// What is about to begin.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Plans made, of all that are to be made.
    pub done: usize,
    pub total: usize,
    pub instance: &'a str,
}

/// Measures all instances. `elapsed` is a clock that never goes backwards.
pub fn run(
    bench: &Bench<'_>,
    elapsed: &dyn Fn() -> Duration,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Report, BenchError> {
    let cases = files::read(bench)?;
    let total = cases.iter().map(|case| 1 + case.days.len()).sum();
    let mut done = 0;
    let mut rows = Vec::with_capacity(cases.len());
    for case in &cases {
        let mut step = || {
            progress(Progress { done, total, instance: &case.name });
            done += 1;
        };
        step();
        let planned = measure(case, &[], elapsed, || {
            let begin = elapsed();
            let used = || share(elapsed() - begin, bench.budget.day);
            plan_day(&case.instance.problem, bench.seed, used)
        })?;
        let mut online = Vec::with_capacity(case.days.len());
        for day in &case.days {
            step();
            online.push(dispatched(bench, case, day, elapsed)?);
        }
        rows.push(Row {
            instance: case.name.clone(),
            requests: case.instance.problem.requests().len(),
            best_known: case.best,
            planned,
            online,
        });
    }
    Ok(Report::of(rows))
}

/// How much of a budget is used, in parts of [`WHOLE`].
fn share(used: Duration, budget: Duration) -> u32 {
    let parts = used.as_nanos() * u128::from(WHOLE) / budget.as_nanos().max(1);
    u32::try_from(parts).unwrap_or(WHOLE)
}

/// A day with its releases: planned anew after each, and the plain greedy way.
fn dispatched(
    bench: &Bench<'_>,
    case: &Case,
    day: &Day,
    elapsed: &dyn Fn() -> Duration,
) -> Result<Dispatched, BenchError> {
    let problem = &case.instance.problem;
    let replanned = measure(case, &day.released, elapsed, || {
        let mut round = None;
        let mut begin = Duration::ZERO;
        let mut used = |release: usize| {
            if round.replace(release) != Some(release) {
                begin = elapsed();
            }
            let budget = if release == 0 { bench.budget.start } else { bench.budget.release };
            share(elapsed() - begin, budget)
        };
        let mut policy = Policy::Replan { seed: bench.seed, used: &mut used };
        dispatch_day(problem, &day.released, &mut policy)
    })?;
    let greedy = measure(case, &day.released, elapsed, || {
        dispatch_day(problem, &day.released, &mut Policy::Greedy)
    })?;
    Ok(Dispatched { releases: day.name.clone(), replanned, greedy })
}

fn measure(
    case: &Case,
    released: &[Option<Ticks>],
    elapsed: &dyn Fn() -> Duration,
    work: impl FnOnce() -> Plan,
) -> Result<Planned, BenchError> {
    let begin = elapsed();
    let plan = work();
    let seconds = (elapsed() - begin).as_secs_f64();
    let working_time = referee::judge(&case.instance, released, &plan)
        .map_err(|breach| BenchError::Wrong { instance: case.name.clone(), breach })?;
    Ok(Planned::of(case, &plan, working_time, seconds))
}
