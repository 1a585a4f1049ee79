//! Runs a shard for as long as this node leads its group, and again after a failure.
//!
//! **Invariant:** a shard starts only after everything committed before was applied, and what it proposed here
//! before it was stopped; of two failures in a row the second is waited for longer. **Not here:** who leads
//! (`consensus`), what fails (`actors`).

use std::{sync::Arc, time::Duration};

use fieldmesh_actors::{Shard, ShardHandle, ShardOptions, Supervisor, commit::ShardId};
use tokio::{sync::watch, time::Instant};

use crate::{consensus::group::Group, courier::NodeCourier};

/// Pause before a shard that failed is started anew, and the longest that it grows to by doubling: a
/// fault that repeats must not spin, and one that passes must not wait for a person.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Who starts a shard again in one term may write only as long as a quorum answers it: so long it pauses at first, and
/// twice as long each time, up to [`RESTART_PAUSE`].
const LEASE_PAUSE: Duration = Duration::from_millis(2);
/// A shard that ran for so long has not failed in a row.
const STEADY: Duration = Duration::from_secs(10);
/// Failures in a row after which a node that starts gives up.
const FAILURES_MAX: u32 = 3;

/// A shard that failed too often in a row.
#[derive(Debug, Clone)]
pub struct Failing {
    pub shard: ShardId,
    pub reason: String,
}

/// Runs a shard whenever this node leads its group.
pub async fn lead(
    group: Group,
    options: ShardOptions,
    courier: Arc<NodeCourier>,
    root: Supervisor,
    fails: watch::Sender<Option<Failing>>,
) {
    let (mut leading, shard) = (group.leading(), options.shard);
    let (mut failures, mut waits) = (0, 0);
    // The last term in which something may be in the log that the shard proposed before it was stopped.
    let mut left_in = None;
    loop {
        let Ok(term) = leading.wait_for(Option::is_some).await.map(|term| *term) else {
            return;
        };
        let began = Instant::now();
        let waited = wait(&group, term, left_in).await;
        let ended = match start(waited, &options, &root).await {
            Ok(handle) => {
                courier.open_shard(shard, handle.clone());
                tracing::info!(shard, term, after = ?began.elapsed(), "the shard runs here");
                let ended = tokio::select! {
                    biased;
                    _ = leading.wait_for(|now| *now != term) => Ended::Deposed,
                    () = handle.ended() => Ended::Failed,
                };
                courier.close_shard(shard);
                handle.stop().await;
                left_in = group.term_behind().await;
                ended
            }
            Err(NotStarted::Waits(error)) => {
                tracing::debug!(shard, error, "a shard cannot start yet");
                Ended::NotYet
            }
            Err(NotStarted::Failed(reason)) => {
                tracing::warn!(shard, reason, "a shard cannot start");
                // A part of it may have run.
                left_in = group.term_behind().await;
                if failures + 1 >= FAILURES_MAX {
                    fails.send_replace(Some(Failing { shard, reason }));
                }
                Ended::Failed
            }
        };
        (failures, waits) = match ended {
            Ended::Deposed => (0, 0),
            Ended::NotYet => (0, waits + 1),
            Ended::Failed if began.elapsed() > STEADY => (1, 0),
            Ended::Failed => (failures + 1, 0),
        };
        tokio::time::sleep(pause(failures, waits)).await;
    }
}

/// How long to wait before the next start. Leadership that comes back is taken up at once.
fn pause(failures: u32, waits: u32) -> Duration {
    let doubled = |first: Duration, times: u32| first * 2_u32.pow(times.saturating_sub(1).min(7));
    match (failures, waits) {
        (0, 0) => Duration::ZERO,
        (0, waits) => doubled(LEASE_PAUSE, waits).min(RESTART_PAUSE),
        (failures, _) => doubled(RESTART_PAUSE, failures).min(RESTART_PAUSE_MAX),
    }
}

/// Why a shard does not run any more, or not yet.
enum Ended {
    Deposed,
    NotYet,
    Failed,
}

/// Why a shard was not started.
enum NotStarted {
    /// What was committed before is not applied yet, or another node leads.
    Waits(String),
    /// What is stored of it cannot be read.
    Failed(String),
}

/// Waits until what was committed before is applied. Whoever leads in a new term has an entry on its way behind that.
async fn wait(group: &Group, term: Option<u64>, left_in: Option<u64>) -> Result<(), NotStarted> {
    let Some(term) = term.filter(|_| term > left_in) else {
        return group.barrier().await.map_err(|error| NotStarted::Waits(error.to_string()));
    };
    let has_begun = group.has_begun(term).await;
    if has_begun { Ok(()) } else { Err(NotStarted::Waits("another node leads".into())) }
}

async fn start(
    waited: Result<(), NotStarted>,
    options: &ShardOptions,
    root: &Supervisor,
) -> Result<ShardHandle, NotStarted> {
    waited?;
    let started = Shard::start(options.clone(), root).await;
    started.map_err(|error| NotStarted::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leads_is_waited_for_in_milliseconds_and_what_fails_ever_longer() {
        let millis = |failures, waits| pause(failures, waits).as_millis();
        assert_eq!([0, 1, 2, 3, 8, 100].map(|waits| millis(0, waits)), [0, 2, 4, 8, 200, 200]);
        let failed = [1, 2, 3, 7, 100].map(|failures| millis(failures, 0));
        assert_eq!(failed, [200, 400, 800, 10_000, 10_000]);
    }
}
