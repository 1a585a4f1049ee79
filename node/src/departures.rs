//! Says of a node that is leaving that it has left, once no group has it among its members.
//!
//! Whichever node leads the placement group does so; it asks each group's leader, whatever the policy of the group's
//! region is by now: by that of before the node may vote there still, until those that are wanted have caught up. A
//! region that is cut off keeps nobody who was never in its groups: who votes has a log of the group, and says so
//! itself. The placement group is the last that a node is taken out of: it may lead another one, and hears there that
//! it is to hand that on.
//!
//! **Invariant:** a node is said to have left only when every group's leader, with a settled configuration, says so.
//! Only of a group of another region, whose policy does not name the node's, may the node's own word stand for that of a
//! leader who is not heard. **Not here:** taking it out of a group (`replicas`), what becomes of its number
//! (`domain::placement`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fieldmesh_actors::seams::Entropy;
use fieldmesh_domain::{
    Command, EntityId,
    placement::{self, Home, Member, Members, PLACEMENT, Presence},
};
use futures_util::future::join_all;

use crate::{
    cluster::Cluster,
    courier::{NodeCourier, wire::Seen},
};

/// How often it is looked: nobody waits for it but an operator.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Groups that are asked about at a time: a third of the looks that may be under way to one node, which may lead them
/// all.
const ASKED_AT_ONCE: usize = 16;

/// A group, and what its leader says of it; nothing where that is not heard.
type Sight = (u32, Option<Seen>);

/// Looks for as long as the node runs.
pub async fn tend(courier: Arc<NodeCourier>, known: Arc<Cluster>, entropy: Arc<dyn Entropy>) {
    let mut told: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if courier.shard(PLACEMENT).is_none() {
            continue;
        }
        let leaving = leaving(&courier, &known, |_| true).await;
        for (node, groups) in &leaving {
            if !groups.is_empty() {
                if told.get(node) != Some(groups) {
                    tracing::info!(
                        node,
                        ?groups,
                        "a node that is leaving is or may be in groups still"
                    );
                }
                continue;
            }
            let left = Command::Placement(placement::Command::Left { number: *node });
            match courier.ask_anew(EntityId::placement(), left, &*entropy).await {
                Ok(_) => tracing::info!(node, "a node has left"),
                Err(error) => tracing::debug!(node, %error, "not yet left"),
            }
        }
        told = leaving;
    }
}

/// Those that are leaving and may be in another group than the placement group.
pub(crate) async fn staying(courier: &NodeCourier, known: &Cluster) -> Vec<u64> {
    let leaving = leaving(courier, known, |group| group != PLACEMENT).await;
    leaving.into_iter().filter(|(_, groups)| !groups.is_empty()).map(|(node, _)| node).collect()
}

/// Those that are leaving, each with the groups that it is or may be in, of those that are asked.
async fn leaving(
    courier: &NodeCourier,
    known: &Cluster,
    is_asked: impl Fn(u32) -> bool,
) -> BTreeMap<u64, Vec<u32>> {
    let known = known.known();
    let nodes = known.members.iter().filter(|member| member.presence == Presence::Leaving);
    let nodes: Vec<u64> = nodes.map(|member| member.number).collect();
    if nodes.is_empty() {
        return BTreeMap::new();
    }
    let groups = known.groups.iter().map(|placed| placed.group);
    let groups: Vec<u32> = groups.filter(|group| is_asked(*group)).collect();
    let mut sights: Vec<Sight> = Vec::new();
    for some in groups.chunks(ASKED_AT_ONCE) {
        sights.extend(join_all(some.iter().map(|group| sight(courier, *group))).await);
    }
    let is_heard = sights.iter().all(|(_, seen)| seen.is_some());
    let mut leaving = BTreeMap::new();
    for node in nodes {
        // One that is dead is waited for a while: not where nothing depends on it.
        let held = if is_heard { None } else { courier.held(node).await };
        leaving.insert(node, still_in(&known, node, &sights, held.as_deref()));
    }
    leaving
}

async fn sight(courier: &NodeCourier, group: u32) -> Sight {
    (group, courier.look(group).await.map(|(_, seen)| seen))
}

/// The groups that a node is or may be in: as their leaders say, and, where one is not heard, as the node itself says,
/// by what it has a log of. Who says nothing may be in each of those.
fn still_in(known: &Members, node: u64, sights: &[Sight], held: Option<&[u32]>) -> Vec<u32> {
    let region = known.member(node).map(Member::region);
    let names = |home: &Home| {
        let named = home.policy.abroad().chain([home.region]);
        named.map(Some).any(|named| named == region)
    };
    let is_out = |group: u32, seen: Option<&Seen>| match seen {
        Some(seen) => {
            seen.is_settled && !seen.voters.contains(&node) && !seen.learners.contains(&node)
        }
        // The placement group is of no region, and every node's.
        None => {
            known.home_of(group).is_some_and(|home| !names(home))
                && held.is_some_and(|held| !held.contains(&group))
        }
    };
    let still = sights.iter().filter(|(group, seen)| !is_out(*group, seen.as_ref()));
    still.map(|(group, _)| *group).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::{
        EntityKind,
        placement::{Placed, Policy},
        time::Millis,
    };

    use super::*;

    /// Of the first region, and of the third.
    const LEAVES: u64 = 11;
    const STRANGER: u64 = 31;
    /// Groups of the first and of the second region.
    const OWN: u32 = 1;
    const ABROAD: u32 = 2049;
    /// What a node says that has no log of any group.
    const NOTHING: Option<&[u32]> = Some(&[]);

    fn member(number: u64, region: &str) -> Member {
        let identity = EntityId::new(EntityKind::Registration, region.parse().unwrap(), [1; 10]);
        let (mesh, devices, https) = (String::new(), String::new(), String::new());
        let (presence, since, level) = (Presence::Leaving, Millis(0), 0);
        Member { number, identity, mesh, devices, https, presence, since, level }
    }

    fn known(policy: Policy) -> Members {
        let home = |region: &str, index| Home::new(region.parse().unwrap(), index, 1);
        let homes = vec![home("eu1", 0), Home { policy, ..home("us1", 1) }, home("ap1", 2)];
        let placed = |group| Placed { group, voters: vec![], learners: vec![], pinned: false };
        let groups = [PLACEMENT, OWN, ABROAD].map(placed).to_vec();
        let members = vec![member(LEAVES, "eu1"), member(STRANGER, "ap1")];
        Members { homes, members, groups, ..Members::default() }
    }

    fn by_policy() -> Policy {
        Policy::Region("eu1".parse().unwrap(), "ap1".parse().unwrap())
    }

    fn seen(voters: &[u64]) -> Option<Seen> {
        Some(Seen { voters: voters.to_vec(), is_settled: true, ..Seen::default() })
    }

    /// What is said of the second region's group, where others vote in the first one's and in the placement group.
    fn sights(abroad: Option<Seen>) -> [Sight; 3] {
        [(PLACEMENT, seen(&[12])), (OWN, seen(&[12])), (ABROAD, abroad)]
    }

    #[test]
    fn who_votes_by_the_policy_of_before_has_not_left() {
        for policy in [Policy::Zone, Policy::Standby("ap1".parse().unwrap()), by_policy()] {
            let known = known(policy);
            let votes = sights(seen(&[21, 22, LEAVES, 12, STRANGER]));
            // Whatever it says itself: it may have lost what it had.
            for held in [None, NOTHING] {
                assert_eq!(still_in(&known, LEAVES, &votes, held), [ABROAD]);
                assert_eq!(still_in(&known, STRANGER, &votes, held), [ABROAD]);
            }
            assert_eq!(still_in(&known, LEAVES, &sights(seen(&[21, 22, 23])), None), [0; 0]);
        }
    }

    #[test]
    fn who_follows_or_is_in_a_half_has_not_left() {
        let known = known(Policy::Zone);
        let follows = Seen { learners: vec![LEAVES], ..seen(&[21]).unwrap() };
        let unsettled = Seen { is_settled: false, ..seen(&[21]).unwrap() };
        for abroad in [follows, unsettled] {
            assert_eq!(still_in(&known, LEAVES, &sights(Some(abroad)), NOTHING), [ABROAD]);
        }
    }

    #[test]
    fn a_region_that_is_cut_off_keeps_only_whom_it_may_have() {
        let unheard = sights(None);
        let zone = known(Policy::Zone);
        assert_eq!(still_in(&zone, LEAVES, &unheard, Some(&[OWN])), [0; 0], "it never had it");
        assert_eq!(still_in(&zone, LEAVES, &unheard, Some(&[OWN, ABROAD])), [ABROAD]);
        assert_eq!(still_in(&zone, LEAVES, &unheard, None), [ABROAD], "nobody knows");
        let named = known(by_policy());
        assert_eq!(still_in(&named, LEAVES, &unheard, NOTHING), [ABROAD], "it may be let in");
    }

    #[test]
    fn its_own_word_is_nothing_where_it_belongs() {
        let known = known(Policy::Zone);
        let silent = [(PLACEMENT, None), (OWN, None), (ABROAD, seen(&[21]))];
        assert_eq!(still_in(&known, LEAVES, &silent, NOTHING), [PLACEMENT, OWN]);
        assert_eq!(still_in(&known, STRANGER, &silent, NOTHING), [PLACEMENT]);
    }
}
