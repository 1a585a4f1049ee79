//! Says of a node of this region that it is away once it was not heard of for long, so that others get its
//! places, and that it is back once it is heard again.
//!
//! Whichever node leads the region's authority group does so: a quorum of the region stands behind it, so it
//! is not the one that is cut off. **Invariant:** nobody is said to be away on less than a quorum's word.
//! **Not here:** whether others can take its places, and which (`domain::placement`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fieldmesh_actors::seams::Entropy;
use fieldmesh_domain::{
    Command, EntityId,
    placement::{self, Presence},
};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::courier::NodeCourier;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks for as long as the node runs.
pub async fn tend(courier: Arc<NodeCourier>, entropy: Arc<dyn Entropy>, after: Duration) {
    let mut silent: BTreeMap<u64, Instant> = BTreeMap::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let authority = courier.known().own().authority();
        if courier.shard(authority).is_none() {
            silent.clear();
            continue;
        }
        let neighbours = courier.neighbours();
        let heard = join_all(neighbours.iter().map(|node| courier.is_heard(*node))).await;
        silent.retain(|node, _| neighbours.contains(node));
        for (node, is_heard) in neighbours.into_iter().zip(heard) {
            let since = if is_heard {
                silent.remove(&node);
                None
            } else {
                Some(*silent.entry(node).or_insert_with(Instant::now))
            };
            let presence = courier.known().presence(node);
            let command = match (presence, since) {
                (Some(Presence::Away), None) => placement::Command::HeardAgain { number: node },
                (Some(Presence::Active), Some(since)) if since.elapsed() >= after => {
                    placement::Command::NotHeard { number: node }
                }
                _ => continue,
            };
            // Whoever leads by itself alone, cut off, says nothing of others.
            if courier.seen(authority).await.is_some() {
                say(&courier, &*entropy, command).await;
            }
        }
    }
}

async fn say(courier: &NodeCourier, entropy: &dyn Entropy, command: placement::Command) {
    let said = format!("{command:?}");
    match courier.ask_anew(EntityId::placement(), Command::Placement(command), entropy).await {
        Ok(_) => tracing::warn!(said, "the cluster knows of a node's absence or return"),
        // Where nobody could take its places it is said again, and refused again.
        Err(error) => tracing::debug!(said, %error, "it stays as it was"),
    }
}
