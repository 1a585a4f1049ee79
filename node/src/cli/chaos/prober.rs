//! Looks at the cluster while a run goes on: who leads, what processes hold, how full queues are.
//!
//! **Invariants:** a group is without a leader only where no node that can be asked knows of one; what a node that can be
//! asked does not tell is noted as missing. **Not here:** what is too much (`fieldmesh_chaos`).

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use fieldmesh_actors::queues::Queue;
use fieldmesh_chaos::{FILES, Limits, RESIDENT, history::What};
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
/// A node that does not say within this how full its queues are does not say it.
const QUEUES_WITHIN: Duration = Duration::from_secs(5);

/// The most memory and files that a node holds now; zero of what cannot be read.
pub(super) fn held(nodes: &Nodes) -> (u64, u64) {
    let processes: Vec<u32> = nodes.all().into_values().filter_map(|node| node.process).collect();
    let resident = processes.iter().filter_map(|process| footprint(*process).ok());
    let resident = resident.map(|held| held.resident_bytes).max();
    let files = processes.iter().filter_map(|process| open_files(*process)).max();
    (resident.unwrap_or(0), files.unwrap_or(0))
}

/// Whether there is no such process; whatever keeps this program from looking says nothing of it.
fn is_gone(process: u32) -> bool {
    PathBuf::from(format!("/proc/{process}")).try_exists().is_ok_and(|is_there| !is_there)
}

fn open_files(process: u32) -> Option<u64> {
    files::count(format!("/proc/{process}/fd").as_ref())
}

/// Looks for as long as it runs.
pub(super) async fn look(nodes: Nodes, recorder: Arc<Recorder>, limits: Limits) {
    tokio::join!(processes(&nodes, &recorder, limits), queues(&nodes, &recorder));
}

async fn processes(nodes: &Nodes, recorder: &Recorder, limits: Limits) {
    loop {
        leaders(nodes, recorder).await;
        for (number, node) in nodes.all() {
            let Some(process) = node.process else { continue };
            let sample = |name: &str, value: u64, bound: u64| {
                recorder.note(What::Sample { node: number, name: name.to_owned(), value, bound });
            };
            let held = footprint(process);
            // It may have been started again meanwhile, as another process.
            let is_same = |now: &Reachable| now.process == node.process;
            let is_over = held.as_ref().map_or_else(|_| is_gone(process), |held| held.is_over);
            if is_over && nodes.all().get(&number).is_some_and(is_same) {
                nodes.is_out(number);
                let why = "its process ended by itself".to_owned();
                recorder.note(What::Down { node: Some(number), why });
                continue;
            }
            let missing = |name: &str, why: String| {
                // One that was ended meanwhile has none.
                if nodes.all().get(&number).is_some_and(is_same) {
                    let (name, why) = (name.to_owned(), Some(why));
                    recorder.note(What::Unsampled { node: number, name, why });
                }
            };
            match held {
                Ok(held) => sample(RESIDENT, held.resident_bytes, limits.resident_bytes),
                Err(error) => missing(RESIDENT, error.to_string()),
            }
            match open_files(process) {
                Some(open) => sample(FILES, open, limits.open_files),
                None => missing(FILES, "they cannot be counted".to_owned()),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Asks each node how full its queues are, which it says with their bounds.
async fn queues(nodes: &Nodes, recorder: &Recorder) {
    let mut shown = Shown::default();
    loop {
        let asked = nodes.all().into_iter().map(async |(number, node)| {
            let told = match timeout(QUEUES_WITHIN, node.api.bytes("/metrics")).await {
                Ok(Ok(text)) => Ok(figures(&String::from_utf8_lossy(&text))),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {} s", QUEUES_WITHIN.as_secs())),
            };
            (number, node.process, told)
        });
        for (number, process, told) in join_all(asked).await {
            // It may have been taken out meanwhile, or started again.
            if nodes.all().get(&number).is_some_and(|now| now.process == process) {
                shown.entries(number, told).into_iter().for_each(|what| recorder.note(what));
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How much of each queue is in use, with its bound.
type Figures = BTreeMap<&'static str, (u64, u64)>;

/// Which queues each node has shown; false where it showed none of that name yet, which is noted once.
#[derive(Default)]
struct Shown(BTreeMap<(u64, &'static str), bool>);

impl Shown {
    /// What is to be noted of what a node told, or of why it did not.
    fn entries(&mut self, node: u64, told: Result<Figures, String>) -> Vec<What> {
        let mut entries = Vec::new();
        for name in Queue::ALL.map(Queue::name) {
            let figure = told.as_ref().map(|figures| figures.get(name).copied());
            let before = self.0.get(&(node, name)).copied();
            let owned = name.to_owned();
            match (figure, before) {
                (Ok(Some((value, bound))), _) => {
                    self.0.insert((node, name), true);
                    entries.push(What::Sample { node, name: owned, value, bound });
                }
                (Ok(None), Some(true)) => {
                    let why = Some("it shows it no more".to_owned());
                    entries.push(What::Unsampled { node, name: owned, why });
                }
                (Ok(None), Some(false)) => {}
                (Ok(None), None) => {
                    self.0.insert((node, name), false);
                    entries.push(What::Unsampled { node, name: owned, why: None });
                }
                (Err(why), _) => {
                    let why = Some(why.clone());
                    entries.push(What::Unsampled { node, name: owned, why });
                }
            }
        }
        entries
    }
}

/// What the metrics of a node say of its queues; only what has a bound.
fn figures(metrics: &str) -> Figures {
    let of = |metric: &str, queue: &str| {
        let value = |line: &str| {
            let line = line.strip_prefix(metric)?.strip_prefix("{queue=\"")?;
            line.strip_prefix(queue)?.strip_prefix("\"} ")?.trim().parse::<u64>().ok()
        };
        metrics.lines().find_map(value)
    };
    let figure = |name: &'static str| {
        let used = of("fieldmesh_queue_used", name)?;
        Some((name, (used, of("fieldmesh_queue_bound", name)?)))
    };
    Queue::ALL.map(Queue::name).into_iter().filter_map(figure).collect()
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn a_queue_is_read_with_its_bound_and_not_without() {
        let text = "# TYPE fieldmesh_queue_used gauge\nfieldmesh_queue_used{queue=\"outbox\"} 7\n\
                    fieldmesh_queue_used{queue=\"outbox_under_way\"} 3\n\
                    fieldmesh_queue_bound{queue=\"outbox\"} 8192\nfieldmesh_queue_used{queue=\"mail\"} 1\n\
                    fieldmesh_queue_bound{queue=\"mail\"} NaN\n";
        assert_eq!(figures(text), BTreeMap::from([("outbox", (7, 8192))]));
        assert_eq!(figures("fieldmesh_entities_awake 4\n"), BTreeMap::new());
    }

    #[test]
    fn what_is_not_told_is_noted_as_missing_and_what_a_release_does_not_have_once() {
        let mut shown = Shown::default();
        let count = Queue::ALL.len();
        let missing = |entries: &[What], of: bool| {
            let is_so =
                |what: &&What| matches!(what, What::Unsampled { why, .. } if why.is_some() == of);
            entries.iter().filter(is_so).count()
        };
        let first = shown.entries(1, Ok(Figures::from([("outbox", (7, 8192))])));
        assert_eq!((first.len(), missing(&first, false)), (count, count - 1));
        let sample = What::Sample { node: 1, name: "outbox".into(), value: 7, bound: 8192 };
        assert!(first.contains(&sample), "{first:?}");
        let gone = shown.entries(1, Ok(Figures::new()));
        assert_eq!((gone.len(), missing(&gone, true)), (1, 1), "it was there: {gone:?}");
        let silent = shown.entries(1, Err("no answer".into()));
        assert_eq!((silent.len(), missing(&silent, true)), (count, count));
        assert_eq!(shown.entries(2, Ok(Figures::new())).len(), count, "another node");
    }
}
