//! When a shard committed here, as it leads: the first time in its term, and the last.
//!
//! What a change of its leader costs whoever writes is the time from the last commit of the one to the first of the
//! other, which each says by its own clock. **Invariant:** a shard that never committed here says nothing. **Not
//! here:** who leads (`consensus`), what entries without an entity's step do.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use fieldmesh_actors::commit::ShardId;
use metrics::{Counter, Gauge};

/// Of one shard.
pub(super) struct Commits {
    shard: ShardId,
    /// The last term in which one was committed; terms begin with 1.
    term: AtomicU64,
    told: OnceLock<Told>,
}

/// What monitors read; times are Unix seconds.
struct Told {
    first: Gauge,
    last: Gauge,
    all: Counter,
}

impl Commits {
    pub(super) fn new(shard: ShardId) -> Self {
        Self { shard, term: AtomicU64::new(0), told: OnceLock::new() }
    }

    /// Tells that a step was committed, and in which term; none where this node was deposed meanwhile.
    pub(super) fn done(&self, term: Option<u64>, now_ms: u64) {
        let told = self.told.get_or_init(|| Told::of(self.shard));
        let (term, at_s) = (term.unwrap_or(0), now_ms as f64 / 1000.0);
        if self.term.fetch_max(term, Ordering::AcqRel) < term {
            told.first.set(at_s);
        }
        told.last.set(at_s);
        told.all.increment(1);
    }
}

impl Told {
    fn of(shard: ShardId) -> Self {
        let shard = shard.to_string();
        Self {
            first: metrics::gauge!("fieldmesh_shard_first_commit_seconds", "shard" => shard.clone()),
            last: metrics::gauge!("fieldmesh_shard_last_commit_seconds", "shard" => shard.clone()),
            all: metrics::counter!("fieldmesh_shard_commits_total", "shard" => shard),
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn the_first_commit_of_each_term_is_told_and_the_last() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let monitor = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let commits = Commits::new(3);
            let says = |first: &str, last: &str, all: u64| {
                let said = monitor.render();
                for line in [
                    format!("fieldmesh_shard_first_commit_seconds{{shard=\"3\"}} {first}"),
                    format!("fieldmesh_shard_last_commit_seconds{{shard=\"3\"}} {last}"),
                    format!("fieldmesh_shard_commits_total{{shard=\"3\"}} {all}"),
                ] {
                    assert!(said.lines().any(|found| found == line), "{line}: {said}");
                }
            };
            assert_eq!(monitor.render(), "");
            commits.done(Some(2), 1500);
            says("1.5", "1.5", 1);
            commits.done(Some(2), 1750);
            says("1.5", "1.75", 2);
            commits.done(Some(5), 2250);
            says("2.25", "2.25", 3);
            // Of a term before, and when it leads no more.
            commits.done(Some(2), 2500);
            commits.done(None, 2750);
            says("2.25", "2.75", 5);
        });
    }
}
