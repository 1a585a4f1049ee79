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

use std::{cell::Cell, error::Error, path::Path, time::Duration};

use fieldmesh_dispatch::bench::{Bench, Budget, run};

/// Of so many questions for the time one is passed on.
const ASKED: u32 = 50;

/// How long this program has had a core: what others do on the machine does not count. Asking costs
/// more than a step of the search, so only some questions are passed on.
fn used(asked: &Cell<u32>, known: &Cell<Duration>) -> Duration {
    asked.set(asked.get().wrapping_add(1));
    if !asked.get().is_multiple_of(ASKED) {
        return known.get();
    }
    // Field 14 counts hundredths of a second; the second field, a name in brackets, may have blanks.
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default();
    let hundredths = fields.split_whitespace().nth(11).and_then(|field| field.parse().ok());
    known.set(Duration::from_millis(10 * hundredths.unwrap_or(0)));
    known.get()
}

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
    let (asked, known) = (Cell::new(0), Cell::new(Duration::ZERO));
    let report = run(&bench, &|| used(&asked, &known), &mut |progress| {
        eprintln!("{} of {}: {}", progress.done, progress.total, progress.instance);
    })?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
