//! Says of a node that is leaving that it has left, once no group has it among its members.
//!
//! Whichever node leads the placement group does so; it asks each group's leader. The placement group is the last that
//! a node is taken out of: it may lead another one, and hears there that it is to hand that on. **Invariant:** a node is
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
            let is_out = is_out_of(&courier, &known, member.number, |_| true).await;
            if !is_out {
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

/// Those that are leaving and may be in another group than the placement group.
pub(crate) async fn staying(courier: &NodeCourier, known: &Cluster) -> Vec<u64> {
    let mut staying = Vec::new();
    for member in &known.known().members {
        let is_leaving = member.presence == Presence::Leaving;
        let other = |group| group != PLACEMENT;
        if is_leaving && !is_out_of(courier, known, member.number, other).await {
            staying.push(member.number);
        }
    }
    staying
}

/// Whether the leaders of some groups say that a node is in none of them.
async fn is_out_of(
    courier: &NodeCourier,
    known: &Cluster,
    number: u64,
    is_asked: impl Fn(u32) -> bool,
) -> bool {
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
    for placed in known.groups.iter().filter(|one| is_asked(one.group)).filter(may_have) {
        let is_out = courier.look(placed.group).await.is_some_and(|(_, seen)| {
            seen.is_settled && !seen.voters.contains(&number) && !seen.learners.contains(&number)
        });
        if !is_out {
            return false;
        }
    }
    true
}
