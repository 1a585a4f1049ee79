//! `bench idle`: what a cluster costs that nobody asks for anything.
//!
//! **Not here:** the nodes (`fleet`).

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    CliError, Common, Output,
    fleet::{Fleet, NODES_MAX, Shape, on_cluster},
};

/// What a start leaves to do is over by then.
const RESTS: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Nodes of the cluster, on this machine.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=NODES_MAX))]
    nodes: u64,
    /// Shards.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=64))]
    shards: u32,
    /// How long it is measured.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

pub(crate) async fn run(args: &IdleArgs, output: &Output) -> Result<(), CliError> {
    let shape = Shape::of(args.nodes, args.shards);
    on_cluster(&args.common, shape, output, async |fleet| measure(args, fleet, output).await).await
}

async fn measure(args: &IdleArgs, fleet: &Fleet, output: &Output) -> Result<(), CliError> {
    sleep(RESTS).await;
    output.say(format_args!("{} s of nothing", args.seconds));
    let (before, began) = (fleet.footprints()?, Instant::now());
    sleep(Duration::from_secs(args.seconds)).await;
    let (after, took) = (fleet.footprints()?, began.elapsed());
    let used = before.iter().zip(&after).map(|(before, after)| after.cpu_us - before.cpu_us);
    // Of one core: 100 is all of it.
    let percent = |cpu_us: u64| (cpu_us * 1000 / took.as_micros().max(1) as u64) as f64 / 10.0;
    let each: Vec<f64> = used.clone().map(percent).collect();
    let mib = |bytes: u64| bytes >> 20;
    let result = json!({
        "nodes": args.nodes,
        "shards": args.shards,
        "cpu_percent": percent(used.sum()),
        "cpu_percent_each": each,
        "resident_mib_each": after.iter().map(|one| mib(one.resident_bytes)).collect::<Vec<_>>(),
    });
    output.figures(result);
    Ok(())
}
