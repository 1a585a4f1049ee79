//! Measures the instances of a folder: `dispatch_bench DIR ONLINE BEST [DAY_S] [RELEASE_MS] [PART]`.
//!
//! For measuring while working on this package: the product has `fieldmesh bench dispatch`, which
//! calls the same function. PART is a number of instances.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program of its own: it reads the clock and prints"
)]

use std::{
    error::Error,
    path::Path,
    time::{Duration, Instant},
};

use fieldmesh_dispatch::bench::{Bench, Budget, run};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [instances, online, best, rest @ ..] = arguments.as_slice() else {
        return Err("give the folders of instances and release dates, and the best results".into());
    };
    let number = |index: usize| rest.get(index).map(|text| text.parse::<u64>()).transpose();
    let mut budget = Budget::default();
    if let Some(seconds) = number(0)? {
        budget.day = Duration::from_secs(seconds);
    }
    if let Some(milliseconds) = number(1)? {
        budget.release = Duration::from_millis(milliseconds);
    }
    let bench = Bench {
        instances: Path::new(instances),
        online: Some(Path::new(online)),
        best: Some(Path::new(best)),
        limit: number(2)?.map(|limit| limit as usize),
        budget,
        seed: 1,
    };
    let begin = Instant::now();
    let report = run(&bench, &|| begin.elapsed(), &mut |progress| {
        eprintln!("{} of {}: {}", progress.done, progress.total, progress.instance);
    })?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
