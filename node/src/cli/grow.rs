//! `bench grow`: a node added to three that hold data, and how much is moved until the groups are even again.
//!
//! What it must have is what its disk has in the end, log and states. The engine packs a table's rows when 16 MiB of
//! them have come together: before that the log is there as it came, and a state not yet. So `sent_to_stored` compares
//! networks with disks, and is no measure of waste: what customers wrote is in both log and states, and has to travel
//! once, as entries or as pieces of a snapshot (`snapshot_sent_bytes`). How long that was before it was packed nobody
//! counts for one node alone, nor is it told by a disk. **Invariant:** what is moved is counted by those who send, and
//! with it all else that they say to the node meanwhile. **Not here:** the nodes (`fleet`), where groups are to live
//! (`domain::placement`).

use std::{collections::BTreeSet, path::Path};

use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::time::Instant;

use super::{
    CliError, Common, Output,
    catchup::register,
    fleet::{Fleet, Shape, on_cluster},
    import::progress,
};
use crate::{
    files,
    web::cluster::{ClusterView, GroupView},
};

/// Before one is added.
const NODES: u64 = 3;
/// Registrations under way.
const AT_ONCE: usize = 32;
/// What packing kept from being sent, to any node.
const SAVED: &str = "fieldmesh_mesh_saved_bytes_total";
/// Pieces of snapshots, as they were sent, to any node.
const SNAPSHOTS: &str = "fieldmesh_snapshot_sent_bytes_total";

#[derive(Debug, Args)]
pub(crate) struct GrowArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Customers that are there before.
    #[arg(long, default_value_t = 50_000)]
    customers: usize,
    /// Shards.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=64))]
    shards: u32,
}

pub(crate) async fn run(args: &GrowArgs, output: &Output) -> Result<(), CliError> {
    let shape = Shape::of(NODES, args.shards);
    on_cluster(&args.common, shape, output, async |fleet| measure(args, fleet, output).await).await
}

async fn measure(args: &GrowArgs, fleet: &mut Fleet, output: &Output) -> Result<(), CliError> {
    fill(args, fleet, output).await?;
    let before = replicas(&fleet.settled().await?);
    let saved = fleet.counted(SAVED).await?;
    let snapshots = fleet.counted(SNAPSHOTS).await?;
    let (number, began) = (NODES + 1, Instant::now());
    fleet.grow().await?;
    let after = replicas(&fleet.settled().await?);
    let took = began.elapsed();
    let sent = fleet.sent_bytes(number).await?;
    let given: Vec<u32> =
        after.iter().filter(|(_, node)| *node == number).map(|(group, _)| *group).collect();
    let saved = fleet.counted(SAVED).await?.saturating_sub(saved);
    let snapshots = fleet.counted(SNAPSHOTS).await?.saturating_sub(snapshots);
    let data = fleet.data_of(number)?;
    let states = stored(&data, given.iter().map(|group| format!("state-{group}")))?;
    let log = stored(&data, ["log".to_owned()])?;
    let stored = states + log;
    let moved = after.difference(&before);
    let result = json!({
        "customers": args.customers,
        "shards": args.shards,
        "seconds": took.as_secs_f64(),
        "replicas_on_new_node": given.len(),
        "replicas_moved_elsewhere": moved.filter(|(_, node)| *node != number).count(),
        "sent_bytes": sent,
        "saved_bytes": saved,
        "snapshot_sent_bytes": snapshots,
        "stored_bytes": stored,
        "stored_log_bytes": log,
        "stored_state_bytes": states,
        "sent_to_stored": sent as f64 / stored.max(1) as f64,
    });
    output.figures(result);
    Ok(())
}

/// Bytes of these tables; what is kept in reserve for a full disk is no data.
fn stored(data: &Path, tables: impl IntoIterator<Item = String>) -> Result<u64, CliError> {
    let mut bytes = 0;
    for name in tables {
        let dir = data.join(name);
        bytes += files::size_of(&dir)
            .map_err(|error| CliError::failed(format!("{}: {error}", dir.display())))?;
    }
    Ok(bytes)
}

async fn fill(args: &GrowArgs, fleet: &Fleet, output: &Output) -> Result<(), CliError> {
    let bar = progress(args.customers as u64, output);
    bar.set_message("customers");
    let api = fleet.api()?;
    let all = (0..args.customers).map(|number| register(&api, number));
    let mut registered = stream::iter(all).buffer_unordered(AT_ONCE);
    while let Some(done) = registered.next().await {
        done?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Which group votes or follows on which node.
fn replicas(view: &ClusterView) -> BTreeSet<(u32, u64)> {
    let mut replicas = BTreeSet::new();
    for GroupView { group, voters, learners, .. } in &view.groups {
        replicas.extend(voters.iter().chain(learners).map(|node| (*group, *node)));
    }
    replicas
}
