//! `bench catchup`: a node that missed many entries, and how long and how many bytes it takes until it has
//! them.
//!
//! It is killed, customers are registered until the others have so many entries more, and it is started again,
//! with nothing else going on. **Invariant:** what it is sent is counted by those who send. **Not here:** the
//! nodes (`fleet`), snapshots and logs (`consensus`).

use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    CliError, Common, Output,
    api::Api,
    fleet::{Fleet, Shape, on_cluster},
    import::progress,
};
use crate::web::{
    cluster::ClusterView,
    rest::{Created, NewCustomer, Point},
};

/// Registrations under way.
const AT_ONCE: usize = 32;
/// Registered before it is looked how many entries there are.
const BATCH: usize = 1000;
/// The node that is away, of three.
const AWAY: u64 = 3;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A node that does not catch up at all is no slow one.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, Args)]
pub(crate) struct CatchupArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Entries of all groups together that the node misses.
    #[arg(long, default_value_t = 100_000)]
    entries: u64,
    /// Shards.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=64))]
    shards: u32,
}

pub(crate) async fn run(args: &CatchupArgs, output: &Output) -> Result<(), CliError> {
    let shape = Shape::of(AWAY, args.shards);
    on_cluster(&args.common, shape, output, async |fleet| measure(args, fleet, output).await).await
}

async fn measure(args: &CatchupArgs, fleet: &mut Fleet, output: &Output) -> Result<(), CliError> {
    let missed = miss(args, fleet, output).await?;
    let (ready, took, bytes) = catch_up(fleet).await?;
    let result = json!({
        "entries": missed,
        "shards": args.shards,
        "ready_s": ready.as_secs_f64(),
        "caught_up_s": took.as_secs_f64(),
        "sent_bytes": bytes,
        "bytes_per_entry": bytes / missed.max(1),
        "entries_per_s": missed as f64 / took.as_secs_f64(),
    });
    output.figures(result);
    Ok(())
}

/// Entries that are committed, of all groups.
fn committed(view: &ClusterView) -> u64 {
    view.groups.iter().map(|group| group.applied).sum()
}

/// Kills the node, and writes what it is to miss; how many entries that is.
async fn miss(args: &CatchupArgs, fleet: &mut Fleet, output: &Output) -> Result<u64, CliError> {
    let before = committed(&fleet.settled().await?);
    fleet.kill(AWAY).await?;
    let bar = progress(args.entries, output);
    bar.set_message("entries");
    let api = fleet.api()?;
    let mut number = 0;
    loop {
        let batch = (number..number + BATCH).map(|number| register(&api, number));
        let mut registered = stream::iter(batch).buffer_unordered(AT_ONCE);
        while let Some(done) = registered.next().await {
            done?;
        }
        number += BATCH;
        let missed = committed(&fleet.view().await?).saturating_sub(before);
        bar.set_position(missed);
        if missed >= args.entries {
            bar.finish_and_clear();
            return Ok(missed);
        }
    }
}

/// A leader that has just begun may ask for patience.
pub(super) async fn register(api: &Api, number: usize) -> Result<(), CliError> {
    let location = Point { lat_e6: 48_800_000, lon_e6: 2_300_000 };
    let customer =
        NewCustomer { name: format!("customer {number}"), location, tier: 2, zone: None };
    let until = Instant::now() + PATIENCE;
    loop {
        match api.post::<Created>("/v1/customers", &customer).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => sleep(LOOK_EVERY).await,
        }
    }
}

/// Starts the node again: when it served, when it had everything, and what it was sent until then.
async fn catch_up(fleet: &mut Fleet) -> Result<(Duration, Duration, u64), CliError> {
    let before = fleet.sent_bytes(AWAY).await?;
    let began = Instant::now();
    fleet.restart(AWAY).await?;
    let ready = began.elapsed();
    loop {
        let view = fleet.view().await?;
        let behind = view.groups.iter().flat_map(|group| &group.behind);
        let is_behind = behind.filter(|(node, _)| *node == AWAY).any(|(_, entries)| *entries > 0);
        let is_followed = view.groups.iter().all(|group| group.leader.is_some());
        if is_followed && !is_behind {
            let took = began.elapsed();
            return Ok((ready, took, fleet.sent_bytes(AWAY).await?.saturating_sub(before)));
        }
        if began.elapsed() > PATIENCE {
            return Err(CliError::failed("the node does not catch up"));
        }
        sleep(LOOK_EVERY).await;
    }
}
