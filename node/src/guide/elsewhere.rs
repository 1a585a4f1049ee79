//! What was opened lately in shards of the region that have no replica here, asked of nodes that have one.
//!
//! With no more nodes in a region than each shard has replicas there is nothing to ask.
//!
//! **Invariants:** one question at a time, and a page is bounded; what is told twice is counted once. **Not
//! here:** counting (`history`), what is answered (`hosting`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fieldmesh_actors::{commit::ShardId, seams::Clock};
use fieldmesh_domain::{placement::COUNTS, time::Millis};
use minicbor::bytes::ByteArray;

use super::history::{History, earliest};
use crate::courier::{
    NodeCourier,
    wire::{OPENED_MAX, OpenedWanted},
};

/// How far counts of shards elsewhere may be behind.
const ASKED_EVERY: Duration = Duration::from_secs(2);
/// Rows are stored in the order of their time but for what leaders' clocks differ by, and what a leader has
/// under way: this much is asked for again.
const OVERLAP_MS: u64 = 60_000;

/// Asks for as long as the node runs.
pub(crate) async fn follow(
    courier: Arc<NodeCourier>,
    history: Arc<History>,
    clock: Arc<dyn Clock>,
) {
    let mut known_until: BTreeMap<ShardId, Millis> = BTreeMap::new();
    loop {
        tokio::time::sleep(ASKED_EVERY).await;
        if courier.known().known().level() < COUNTS {
            continue;
        }
        let own = courier.known().own();
        for shard in own.groups().filter(|shard| *shard != own.authority()) {
            if courier.has_replica(shard) {
                known_until.remove(&shard);
                continue;
            }
            let now = || Millis(clock.now_ms());
            let since = known_until.get(&shard).copied().unwrap_or_default().max(earliest(now()));
            let until = read_on(&courier, &history, (shard, since), now).await;
            known_until.insert(shard, Millis(until.0.saturating_sub(OVERLAP_MS)).max(since));
        }
    }
}

/// Reads to the end of what is there; how far that was.
async fn read_on(
    courier: &NodeCourier,
    history: &History,
    (shard, since): (ShardId, Millis),
    now: impl Fn() -> Millis,
) -> Millis {
    let asked = now();
    let mut wanted = OpenedWanted { shard, since, behind: ByteArray::from([0; 16]) };
    while let Some(page) = courier.opened(wanted).await {
        history.told(&page, now());
        if page.len() < OPENED_MAX {
            // That is all there is by now.
            return asked;
        }
        let Some(last) = page.last() else { break };
        (wanted.since, wanted.behind) = (last.at, last.ticket.to_bytes().into());
    }
    // A leader's clock may have been ahead.
    wanted.since.min(asked)
}
