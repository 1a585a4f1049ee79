//! How long a shard committed nothing while its leader changed, as both leaders say themselves.
//!
//! It is the time from the last commit of the one to the first of the other, by the clocks of two nodes of one machine,
//! to about a millisecond. Where little is asked of a shard, most of that is that nobody asked: so it is told with it
//! how far apart its commits were before. **Not here:** what devices saw of it (`silence`).

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_actors::commit::ShardId;
use serde_json::{Value, json};

use super::{CliError, fleet::Fleet, tally::spread};

/// Clocks of one machine, each of which a node keeps even by itself, differ by no more; terms are further apart.
const SKEW_S: f64 = 0.1;

/// What a node says of a shard: times in Unix seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Commits {
    /// Of the last term that it led in.
    first_s: f64,
    last_s: f64,
    all: f64,
}

/// What each node says of the shards that it has led.
pub(super) struct Said(BTreeMap<u64, BTreeMap<ShardId, Commits>>);

impl Said {
    /// Asks them.
    ///
    /// # Errors
    /// A node that does not answer.
    pub(super) async fn by(fleet: &Fleet) -> Result<Self, CliError> {
        let metrics = fleet.metrics().await?;
        Ok(Self(metrics.iter().map(|(node, text)| (*node, commits(text))).collect()))
    }

    fn of(&self, node: u64, shard: ShardId) -> Option<Commits> {
        self.0.get(&node)?.get(&shard).copied()
    }

    /// Milliseconds from a node's last commit to the first that another one made then.
    fn gap_ms(&self, node: u64, shard: ShardId) -> Option<f64> {
        let last_s = self.of(node, shard)?.last_s;
        let others = self.0.iter().filter(|(other, _)| **other != node);
        let first = others
            .filter_map(|(_, shards)| Some(shards.get(&shard)?.first_s))
            .filter(|first_s| *first_s > last_s - SKEW_S)
            .min_by(f64::total_cmp)?;
        Some((first - last_s).max(0.0) * 1000.0)
    }
}

fn commits(metrics: &str) -> BTreeMap<ShardId, Commits> {
    let mut shards: BTreeMap<ShardId, Commits> = BTreeMap::new();
    let line = |line: &str| {
        let (name, rest) = line.strip_prefix("fieldmesh_shard_")?.split_once("{shard=\"")?;
        let (shard, value) = rest.split_once("\"} ")?;
        let known = shards.entry(shard.parse::<ShardId>().ok()?).or_default();
        let value = value.parse::<f64>().ok()?;
        match name {
            "first_commit_seconds" => known.first_s = value,
            "last_commit_seconds" => known.last_s = value,
            "commits_total" => known.all = value,
            _ => {}
        }
        Some(())
    };
    metrics.lines().filter_map(line).for_each(drop);
    shards
}

/// Of all shards whose leaders were changed.
#[derive(Default)]
pub(super) struct Handovers {
    gaps_ms: Vec<f64>,
    apart_ms: Vec<f64>,
}

impl Handovers {
    /// Takes in what a node gave away, from what was said a while before that and what is said since.
    pub(super) fn given(&mut self, node: u64, shards: &BTreeSet<ShardId>, was: &Said, is: &Said) {
        for shard in shards {
            let Some(gap_ms) = is.gap_ms(node, *shard) else { continue };
            self.gaps_ms.push(gap_ms);
            if let (Some(was), Some(is)) = (was.of(node, *shard), is.of(node, *shard))
                && is.all > was.all
            {
                self.apart_ms.push((is.last_s - was.last_s) * 1000.0 / (is.all - was.all));
            }
        }
    }

    pub(super) fn told(self) -> Value {
        json!({
            "shards": self.gaps_ms.len(),
            "gap_ms": spread(self.gaps_ms),
            "apart_before_ms": spread(self.apart_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(node: u64, shard: ShardId, first: &str, last: &str, all: u64) -> (u64, String) {
        let text = format!(
            "# TYPE fieldmesh_shard_last_commit_seconds gauge\n\
             fieldmesh_shard_last_commit_seconds{{shard=\"{shard}\"}} {last}\n\n\
             fieldmesh_shard_first_commit_seconds{{shard=\"{shard}\"}} {first}\n\
             fieldmesh_shard_commits_total{{shard=\"{shard}\"}} {all}\n\
             fieldmesh_audit_open_tickets{{shard=\"{shard}\"}} 7\n"
        );
        (node, text)
    }

    fn said(nodes: &[(u64, String)]) -> Said {
        Said(nodes.iter().map(|(node, text)| (*node, commits(text))).collect())
    }

    #[test]
    fn what_is_said_is_read() {
        let (_, text) = says(1, 2, "1700000000.125", "1700000003.5", 9);
        let found = Commits { first_s: 1_700_000_000.125, last_s: 1_700_000_003.5, all: 9.0 };
        assert_eq!(commits(&text), BTreeMap::from([(2, found)]));
    }

    #[test]
    fn a_gap_is_from_the_last_commit_to_the_first_that_another_node_makes_then() {
        // Node 2 led before node 1 did; nodes 3 and then 2 lead after it.
        let was = said(&[says(1, 5, "100", "104.5", 40), says(2, 5, "90", "99.5", 3)]);
        let is = said(&[
            says(1, 5, "100", "105.5", 60),
            says(2, 5, "106.75", "107", 8),
            says(3, 5, "105.75", "106.5", 30),
        ]);
        let mut handovers = Handovers::default();
        handovers.given(1, &[5].into(), &was, &is);
        // Where nobody has committed since, and where nobody ever did, there is no gap yet.
        handovers.given(1, &[5].into(), &was, &was);
        handovers.given(1, &[6].into(), &was, &is);
        let told = handovers.told();
        assert_eq!((&told["shards"], &told["gap_ms"]["max"]), (&json!(1), &json!(250.0)));
        assert_eq!(told["apart_before_ms"]["p50"], json!(50.0));
    }

    #[test]
    fn two_clocks_of_one_machine_may_differ_a_little() {
        let is = said(&[says(1, 5, "100", "105.5", 6), says(2, 5, "105.4375", "106", 8)]);
        assert_eq!(is.gap_ms(1, 5), Some(0.0));
    }
}
