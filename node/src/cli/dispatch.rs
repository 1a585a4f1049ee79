//! `bench dispatch`: the planner and the dispatch during a day, on published instances of technician routing.
//!
//! **Invariant:** instances are data: what is wrong with a file is said by its name, and nothing is planned.
//! **Not here:** planning, and the form of the files (`fieldmesh_dispatch`).

use std::{path::PathBuf, time::Duration};

use clap::Args;
use fieldmesh_dispatch::bench::{Bench, BenchError, Budget, Dispatched, Planned, Report, run};
use serde_json::json;
use tokio::time::Instant;

use super::{CliError, Common, Output, import::progress, output::chain};

#[derive(Debug, Args)]
pub(crate) struct DispatchArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Folder of instances (*.txt): technicians and requests with skills, tools, parts and windows.
    dir: PathBuf,
    /// Folder of release dates (NAME_rd_*.txt): requests that become known during the day.
    #[arg(long)]
    online: Option<PathBuf>,
    /// The best results that are known (CSV: instance, working time), for the gaps.
    #[arg(long)]
    best: Option<PathBuf>,
    /// So many instances at most, in the order of their names.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Time for the plan of a day, in seconds.
    #[arg(long, default_value_t = Budget::default().day.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Chance follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn measure(args: &DispatchArgs, output: &Output) -> Result<(), CliError> {
    let bench = Bench {
        instances: &args.dir,
        online: args.online.as_deref(),
        best: args.best.as_deref(),
        limit: args.limit.map(|limit| limit as usize),
        budget: Budget { day: Duration::from_secs(args.seconds), ..Budget::default() },
        seed: args.seed,
    };
    let began = Instant::now();
    let bar = progress(0, output);
    let report = run(&bench, &|| began.elapsed(), &mut |step| {
        bar.set_length(step.total as u64);
        bar.set_position(step.done as u64);
        bar.set_message(step.instance.to_owned());
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| match error {
        BenchError::Wrong { .. } => CliError::failed(&error),
        _ => CliError::usage(chain(&error)),
    })?;
    show(&report, output)
}

/// A line for each plan, then the figures of all.
fn show(report: &Report, output: &Output) -> Result<(), CliError> {
    let line = |of: &str, how: &str, planned: &Planned| {
        let gap = planned.gap_percent.map_or("-".into(), |gap| format!("{gap:.2} %"));
        let (time, took) = (planned.working_time, planned.seconds);
        output.say(format_args!("{of:<34} {how:<9} {time:>9.2} {gap:>9} {took:>6.1} s"));
        for left in &planned.unserved {
            output.say(format_args!("  request {} is not served: {}", left.request, left.reason));
        }
    };
    for row in &report.rows {
        line(&row.instance, "planned", &row.planned);
        for Dispatched { releases, replanned, greedy } in &row.online {
            line(releases, "replanned", replanned);
            line(releases, "greedy", greedy);
        }
    }
    let mut all = serde_json::to_value(report).map_err(CliError::failed)?;
    let rows = all.as_object_mut().and_then(|all| all.remove("rows"));
    output.figures(all.clone());
    all["rows"] = rows.unwrap_or_else(|| json!([]));
    output.result(all);
    Ok(())
}
