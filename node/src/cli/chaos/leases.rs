//! Faults that nodes do to themselves: asked for, renewed while they last, ended; and what they did.
//!
//! **Invariants:** what is renewed was begun and has not been ended; where this program ends, nothing is renewed
//! and all ends by itself; of a node that cannot be asked in the end, what it said last counts. **Not here:** what a
//! node does (`chaos`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fieldmesh_chaos::{Fault, history::What};
use tokio::{
    sync::Mutex,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{nodes::Nodes, recorder::Recorder};
use crate::{
    chaos::LEASE_MAX,
    cli::{CliError, api::Api},
    web::chaos::{ChaosView, NOT_ALLOWED, NewLease, STOPPED},
};

pub(super) const RENEW_EVERY: Duration = Duration::from_secs(1);
/// A node that does not answer within this keeps no other waiting for its renewal.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a node is to hold is held within this: a machine writes to some gigabytes a second.
const HELD_WITHIN: Duration = Duration::from_secs(10);
const HELD_LOOK_EVERY: Duration = Duration::from_millis(50);
/// Nodes that a lease's number has room for.
const NODES_MAX: u64 = 1024;

type Held = BTreeMap<u64, One>;

/// A lease that is in force.
struct One {
    api: Api,
    fault: Fault,
    /// The most that the node said it did: one that starts anew counts from 0.
    effect: u64,
}

/// The leases of a run.
pub(super) struct Leases {
    held: Arc<Mutex<Held>>,
    recorder: Arc<Recorder>,
    renews: JoinHandle<()>,
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.renews.abort();
    }
}

/// Why a node does not take a lease.
#[derive(Debug)]
pub(super) enum NoLease {
    /// Somebody stopped chaos there, or what allowed it is over: nobody goes on as if nothing had been said.
    Over(String),
    Failed(CliError),
}

impl From<NoLease> for CliError {
    fn from(no: NoLease) -> Self {
        match no {
            NoLease::Over(why) => Self::refused(why),
            NoLease::Failed(error) => error,
        }
    }
}

/// Begins a fault of a node, or goes on with it; what it did so far.
pub(super) async fn ask(number: u64, api: &Api, fault: Fault) -> Result<u64, NoLease> {
    let lasts_ms = u64::try_from(LEASE_MAX.as_millis()).unwrap_or(u64::MAX);
    let path = format!("/v1/chaos/leases/{number}");
    let wanted = NewLease { fault, lasts_ms };
    let titles = [STOPPED, NOT_ALLOWED];
    let asked = timeout(PATIENCE, api.put_unless::<ChaosView>(&path, &wanted, &titles)).await;
    let silent = |_| NoLease::Failed(CliError::unreachable("the node does not answer"));
    let told = asked.map_err(silent)?.map_err(NoLease::Failed)?;
    let view = told.map_err(NoLease::Over)?;
    let lease = view.leases.iter().find(|lease| lease.number == number);
    Ok(lease.and_then(|lease| lease.effect).unwrap_or(0))
}

/// Ends a fault of a node; what it did in all, where it says so. Where the node cannot be asked, it ends by itself
/// meanwhile.
pub(super) async fn end(number: u64, api: &Api) -> Option<u64> {
    let path = format!("/v1/chaos/leases/{number}");
    if let Ok(Ok(view)) = timeout(PATIENCE, api.delete::<ChaosView>(&path)).await {
        return view.effect;
    }
    tracing::warn!(number, "a fault cannot be ended: it ends by itself");
    sleep(LEASE_MAX).await;
    None
}

/// Until a node says that it holds so many MiB. Several may share a machine: the next one, which looks how much there is,
/// is to find what this one takes taken.
async fn held(mib: u64, told: impl AsyncFn() -> Result<u64, NoLease>) {
    let until = Instant::now() + HELD_WITHIN;
    while Instant::now() < until && told().await.is_ok_and(|effect| effect < mib) {
        sleep(HELD_LOOK_EVERY).await;
    }
}

/// By which a node knows the lease of a strike.
pub(super) fn number(strike: u32, node: u64) -> u64 {
    u64::from(strike) * NODES_MAX + node % NODES_MAX
}

impl Leases {
    pub(super) fn new(recorder: Arc<Recorder>, nodes: Nodes) -> Self {
        let held = Arc::<Mutex<Held>>::default();
        let (renewed, own) = (Arc::clone(&held), Arc::clone(&recorder));
        let renews = tokio::spawn(async move {
            loop {
                sleep(RENEW_EVERY).await;
                // Held all the while, so that none is renewed that was ended meanwhile.
                let mut held = renewed.lock().await;
                let asks = held.iter_mut().map(async |(number, one)| {
                    let asked = ask(*number, &one.api, one.fault).await;
                    // A node that something else took out has lost its leases with it.
                    let node = *number % NODES_MAX;
                    if !nodes.all().contains_key(&node) {
                        return;
                    }
                    let kind = one.fault.name();
                    match asked {
                        Ok(effect) => one.effect = one.effect.max(effect),
                        Err(NoLease::Over(why)) => {
                            recorder.is_over(format!("{kind} of node {node} is refused: {why}"));
                        }
                        Err(NoLease::Failed(error)) => {
                            let why = format!("{kind} of node {node} is not renewed: {error}");
                            recorder.note(What::Harness { why });
                        }
                    }
                });
                futures_util::future::join_all(asks).await;
            }
        });
        Self { held, recorder: own, renews }
    }

    pub(super) async fn begin(
        &self,
        strike: u32,
        node: u64,
        api: Api,
        fault: Fault,
    ) -> Result<(), CliError> {
        let number = number(strike, node);
        if let Err(no) = ask(number, &api, fault).await {
            if let NoLease::Over(why) = &no {
                self.recorder.is_over(format!("{} of node {node} is refused: {why}", fault.name()));
            }
            return Err(no.into());
        }
        self.held.lock().await.insert(number, One { api: api.clone(), fault, effect: 0 });
        if let Fault::HeldMemory { mib } = fault {
            held(mib, async || ask(number, &api, fault).await).await;
        }
        Ok(())
    }

    /// The numbers of those that are in force.
    pub(super) async fn numbers(&self) -> BTreeSet<u64> {
        self.held.lock().await.keys().copied().collect()
    }

    /// What it did. Where the node cannot be asked, the lease ends by itself: that it had done nothing by the last
    /// renewal says nothing of what came later.
    pub(super) async fn end(&self, strike: u32, node: u64) -> Option<u64> {
        let number = number(strike, node);
        let One { api, effect: before, .. } = self.held.lock().await.remove(&number)?;
        let told = end(number, &api).await.map(|effect| effect.max(before));
        told.or(Some(before).filter(|effect| *effect > 0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_next_node_is_asked_for_memory_when_this_one_holds_its_own() {
        let asked = AtomicU64::new(0);
        held(3, async || Ok(asked.fetch_add(1, Ordering::Relaxed))).await;
        assert_eq!(asked.load(Ordering::Relaxed), 4, "it said 0, 1, 2 and 3");
        // One of an earlier release never says it, and one that refuses holds nothing.
        let begun = Instant::now();
        held(3, async || Ok(0)).await;
        let elapsed = begun.elapsed();
        assert!(elapsed >= HELD_WITHIN && elapsed < 2 * HELD_WITHIN, "{elapsed:?}");
        held(3, async || Err(NoLease::Over("it was stopped".into()))).await;
        assert_eq!(begun.elapsed(), elapsed);
    }
}
