//! Looks at the cluster while a run goes on: who leads, what processes hold.
//!
//! **Invariant:** a group is without a leader only where no node that can be asked knows of one. **Not here:**
//! what is too much (`fieldmesh_chaos`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fieldmesh_chaos::{Limits, history::What};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    nodes::{Nodes, Reachable},
    recorder::Recorder,
};
use crate::{
    cli::fleet::footprint,
    files,
    web::cluster::{ClusterView, GroupView},
};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A node that does not answer within this knows of no leader.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most memory and files that a node holds now; zero of what cannot be read.
pub(super) fn held(nodes: &Nodes) -> (u64, u64) {
    let processes: Vec<u32> = nodes.all().into_values().filter_map(|node| node.process).collect();
    let resident = processes.iter().filter_map(|process| footprint(*process).ok());
    let resident = resident.map(|held| held.resident_bytes).max();
    let files = processes.iter().filter_map(|process| open_files(*process)).max();
    (resident.unwrap_or(0), files.unwrap_or(0))
}

fn open_files(process: u32) -> Option<u64> {
    files::count(format!("/proc/{process}/fd").as_ref())
}

/// Looks for as long as it runs.
pub(super) async fn look(nodes: Nodes, recorder: Arc<Recorder>, limits: Limits) {
    loop {
        leaders(&nodes, &recorder).await;
        for (number, node) in nodes.all() {
            let Some(process) = node.process else { continue };
            let sample = |name: &str, value: u64, bound: u64| {
                recorder.note(What::Sample { node: number, name: name.to_owned(), value, bound });
            };
            let held = footprint(process);
            // It may have been started again meanwhile, as another process.
            let is_same = |now: &Reachable| now.process == node.process;
            if held.as_ref().map_or(true, |held| held.is_over)
                && nodes.all().get(&number).is_some_and(is_same)
            {
                nodes.is_out(number);
                let why = "its process ended by itself".to_owned();
                recorder.note(What::Down { node: Some(number), why });
                continue;
            }
            if let Ok(held) = held {
                sample("resident_bytes", held.resident_bytes, limits.resident_bytes);
            }
            if let Some(open) = open_files(process) {
                sample("open_files", open, limits.open_files);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn leaders(nodes: &Nodes, recorder: &Recorder) {
    let views = nodes.all().into_values().map(async |node| {
        timeout(PATIENCE, node.api.get::<ClusterView>("/v1/cluster")).await.ok()?.ok()
    });
    let mut known: BTreeMap<u32, BTreeMap<u64, u32>> = BTreeMap::new();
    for view in join_all(views).await.into_iter().flatten() {
        let own = view.members.iter().find(|member| member.number == view.node);
        let own = own.map(|member| member.region.clone());
        // What another region does is not what this one's nodes are broken for.
        let is_ours = |group: &GroupView| group.region.is_none() || group.region == own;
        for group in view.groups.into_iter().filter(is_ours) {
            let by = known.entry(group.group).or_default();
            if let Some(leader) = group.leader {
                *by.entry(leader).or_default() += 1;
            }
        }
    }
    for (group, by) in known {
        // A node that is cut off may name one of before: most know better.
        let leader = by.into_iter().max_by_key(|(_, count)| *count).map(|(node, _)| node);
        if nodes.led_by(group, leader) {
            recorder.note(What::Leader { group, node: leader });
        }
    }
}
