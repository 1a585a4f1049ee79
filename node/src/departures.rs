//! Says of a node that is leaving that it has left, once no group has it among its members.
//!
//! Whichever node leads the placement group does so; it asks each group's leader. **Invariant:** a node is
//! said to have left only when every group's leader, with a settled configuration, says so. **Not here:**
//! taking it out of a group (`replicas`), what becomes of its number (`domain::placement`).

use std::{sync::Arc, time::Duration};

use fieldmesh_actors::seams::Entropy;
use fieldmesh_domain::{
    Command, EntityId,
    placement::{self, Home, Member, PLACEMENT, Placed, Presence},
};

use crate::{cluster::Cluster, courier::NodeCourier};

/// How often it is looked: nobody waits for it but an operator.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks for as long as the node runs.
pub async fn tend(courier: Arc<NodeCourier>, known: Arc<Cluster>, entropy: Arc<dyn Entropy>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if courier.shard(PLACEMENT).is_none() {
            continue;
        }
        let now = known.known();
        let leaving = now.members.iter().filter(|member| member.presence == Presence::Leaving);
        for member in leaving {
            if !is_out(&courier, &known, member.number).await {
                continue;
            }
            let left = Command::Placement(placement::Command::Left { number: member.number });
            match courier.ask_anew(EntityId::placement(), left, &*entropy).await {
                Ok(_) => tracing::info!(node = member.number, "a node has left"),
                Err(error) => tracing::debug!(node = member.number, %error, "not yet left"),
            }
        }
    }
}

async fn is_out(courier: &NodeCourier, known: &Cluster, number: u64) -> bool {
    // Other regions' groups, which may be out of reach, had it only where their policy names its region.
    let known = known.known();
    let region = known.member(number).map(Member::region);
    let may_have = |placed: &&Placed| {
        let may_be_in = |home: &Home| {
            let named = home.policy.abroad().chain([home.region]);
            named.map(Some).any(|named| named == region)
        };
        placed.group == PLACEMENT || known.home_of(placed.group).is_some_and(may_be_in)
    };
    for placed in known.groups.iter().filter(may_have) {
        let is_out = courier.look(placed.group).await.is_some_and(|(_, seen)| {
            seen.is_settled && !seen.voters.contains(&number) && !seen.learners.contains(&number)
        });
        if !is_out {
            return false;
        }
    }
    true
}
