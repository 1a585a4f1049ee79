//! A sign of life for a monitor outside: whoever misses it knows that nobody watches the tickets of a region.
//!
//! The node that leads the notifier's shard sends it for its whole region, so that a shard that nobody leads
//! makes it silent, whatever the others do. Which shards were audited it asks their leaders.
//!
//! **Invariants:** a beat says that the last pass of each shard of the region was clean and recent; an address
//! inside is not connected to unless the configuration says so; redirects are not followed. **Not here:** the
//! passes (`auditor`), requests (`client`).

use std::{sync::Arc, time::Duration};

use fieldmesh_actors::commit::ShardId;
use fieldmesh_domain::EntityId;

use super::{
    client::{Patience, Way},
    endpoint::Endpoint,
    led_here,
    roots::Roots,
};
use crate::{courier::wire::Audited, node::Node};

/// A pass comes twice a minute. What is older than this and the time that a pass takes was missed several times.
const RECENT_MS: u64 = 2 * 60 * 1000;

/// Where signs of life go.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub endpoint: Endpoint,
    pub every: Duration,
    pub allow_private: bool,
    pub patience: Patience,
}

/// Sends signs of life for as long as the node runs.
pub async fn beat(node: Arc<Node>, heartbeat: Heartbeat) {
    let Ok(region) = node.region.parse() else { return };
    let notifier = EntityId::notifier(region);
    let roots = Roots::default();
    loop {
        tokio::time::sleep(heartbeat.every).await;
        if led_here(&node, notifier).is_none() {
            continue;
        }
        let outcome = match unwatched(&node).await {
            Some((shard, why)) => {
                tracing::error!(shard, why, "no sign of life is sent");
                "withheld"
            }
            None => match send(&heartbeat, &roots).await {
                Ok(()) => "sent",
                Err(error) => {
                    tracing::warn!(error, "a sign of life did not arrive");
                    "failed"
                }
            },
        };
        metrics::counter!("fieldmesh_heartbeats_total", "outcome" => outcome).increment(1);
    }
}

/// A shard of the region whose tickets nobody watches, and why.
async fn unwatched(node: &Node) -> Option<(ShardId, &'static str)> {
    let home = node.known.own_now();
    for shard in home.groups().filter(|group| *group != home.authority()) {
        if let Some(why) = doubt(node.audited(shard).await) {
            return Some((shard, why));
        }
    }
    None
}

/// Why a shard's tickets are not known to be watched.
fn doubt(audited: Option<Audited>) -> Option<&'static str> {
    let Some(Audited { age_ms, took_ms, missing, overdue }) = audited else {
        return Some("nobody who leads the shard has audited it");
    };
    if missing > 0 {
        return Some("an open ticket had no timer");
    }
    if overdue > 0 {
        return Some("the timer of an open ticket does not fire");
    }
    (age_ms > RECENT_MS.saturating_add(took_ms)).then_some("the last audit of the shard is too old")
}

async fn send(heartbeat: &Heartbeat, roots: &Roots) -> Result<(), String> {
    let Heartbeat { endpoint, allow_private, patience, .. } = heartbeat;
    let tls = if endpoint.is_tls { Some(roots.tls(&[])?) } else { None };
    let (allow_private, patience) = (*allow_private, *patience);
    let way = Way { endpoint, allow_private, tls: tls.as_ref(), patience };
    let answer = way.post("", b"").await.map_err(|error| error.to_string())?;
    match answer.status {
        200..=299 => Ok(()),
        status => Err(format!("the monitor answers {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_watched_only_while_its_audit_is_whole_clean_and_recent() {
        let clean = Audited { age_ms: 30_000, took_ms: 200_000, missing: 0, overdue: 0 };
        assert_eq!(doubt(Some(clean)), None);
        assert_eq!(doubt(Some(Audited { age_ms: RECENT_MS + 200_000, ..clean })), None);
        assert!(doubt(Some(Audited { age_ms: RECENT_MS + 200_001, ..clean })).is_some());
        assert!(doubt(Some(Audited { missing: 1, ..clean })).is_some());
        assert!(doubt(Some(Audited { overdue: 1, ..clean })).is_some());
        assert!(doubt(None).is_some());
    }
}
