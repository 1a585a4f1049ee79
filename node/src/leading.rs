//! Runs a shard for as long as this node leads its group, and again after a failure.
//!
//! **Invariant:** a shard starts only after everything committed before was applied; of two failures in
//! a row the second is waited for longer. **Not here:** who leads (`consensus`), what fails (`actors`).

use std::{sync::Arc, time::Duration};

use fieldmesh_actors::{Shard, ShardHandle, ShardOptions, Supervisor, commit::ShardId};
use tokio::{sync::watch, time::Instant};

use crate::{consensus::group::Group, courier::NodeCourier};

/// Pause before a shard that failed is started anew, and the longest that it grows to by doubling: a
/// fault that repeats must not spin, and one that passes must not wait for a person.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);
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
    let mut failures = 0;
    loop {
        let Ok(term) = leading.wait_for(Option::is_some).await.map(|term| *term) else {
            return;
        };
        let began = Instant::now();
        let is_lost = match start(&group, &options, &root).await {
            Ok(handle) => {
                courier.open_shard(shard, handle.clone());
                tracing::info!(shard, term, after = ?began.elapsed(), "the shard runs here");
                let is_lost = tokio::select! {
                    biased;
                    _ = leading.wait_for(|now| *now != term) => true,
                    () = handle.ended() => false,
                };
                courier.close_shard(shard);
                handle.stop().await;
                is_lost
            }
            Err(NotStarted::Waits(error)) => {
                tracing::debug!(shard, error, "a shard cannot start yet");
                true
            }
            Err(NotStarted::Failed(reason)) => {
                tracing::warn!(shard, reason, "a shard cannot start");
                if failures + 1 >= FAILURES_MAX {
                    fails.send_replace(Some(Failing { shard, reason }));
                }
                false
            }
        };
        failures = match is_lost {
            true => 0,
            false if began.elapsed() > STEADY => 1,
            false => failures + 1,
        };
        let pause = RESTART_PAUSE * 2_u32.pow(failures.saturating_sub(1).min(6));
        tokio::time::sleep(pause.min(RESTART_PAUSE_MAX)).await;
    }
}

/// Why a shard was not started.
enum NotStarted {
    /// What was committed before is not applied yet, or another node leads.
    Waits(String),
    /// What is stored of it cannot be read.
    Failed(String),
}

async fn start(
    group: &Group,
    options: &ShardOptions,
    root: &Supervisor,
) -> Result<ShardHandle, NotStarted> {
    group.barrier().await.map_err(|error| NotStarted::Waits(error.to_string()))?;
    let started = Shard::start(options.clone(), root).await;
    started.map_err(|error| NotStarted::Failed(error.to_string()))
}
