//! What nodes ask each other of a group, and by what they know whom to ask.
//!
//! **Not here:** what members of a group tell each other (the parent), asking entities (`cluster`).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fieldmesh_actors::seams::Pending;
use fieldmesh_domain::{
    placement::{Home, LEVEL, Member, Members, Placed, Presence},
    time::Millis,
};
use fieldmesh_node::{
    cluster,
    consensus::service,
    contact,
    courier::{
        NodeCourier,
        wire::{self, FRAME_BYTES_MAX, Opening},
    },
    mesh::{Class, Receiving, Sending, Serve},
    store::rows,
};
use fieldmesh_tests::{live::until, mesh::identity, pki::REGION};
use tokio::time::timeout;

use super::{Cluster, GROUP, SLOW};

/// Three questions.
const CUT_OFF_AFTER: Duration = Duration::from_secs(3);

/// A node, as far as others ask it of groups.
pub(super) struct Answers {
    pub(super) members: Arc<service::Members>,
    pub(super) courier: Arc<NodeCourier>,
}

impl Serve for Answers {
    fn serve(
        self: Arc<Self>,
        from: u64,
        class: Class,
        mut send: Sending,
        mut receive: Receiving,
    ) -> Pending<()> {
        if class != Class::Application {
            return Arc::clone(&self.members).serve(from, class, send, receive);
        }
        Box::pin(async move {
            let first = receive.frame(FRAME_BYTES_MAX).await.ok().flatten();
            let opening: Option<Opening> = first.and_then(|frame| wire::decode(&frame).ok());
            match opening {
                Some(Opening::Look(group)) => {
                    if let Some(seen) = self.courier.seen(group).await {
                        drop(send.frame(&rows::encode(&seen)).await);
                        return send.finish();
                    }
                }
                Some(Opening::Notices) => drop(self.courier.listen(from, &mut receive).await),
                _ => {}
            }
            send.refuse();
        })
    }
}

/// Three nodes of a region, some of which are to vote in the group.
pub(super) fn told(voters: &BTreeSet<u64>) -> Arc<cluster::Cluster> {
    let member = |number| {
        let at = String::new;
        let (mesh, devices, https, identity) = (at(), at(), at(), identity(number));
        let (presence, since, level) = (Presence::Active, Millis(0), LEVEL);
        Member { number, identity, mesh, devices, https, presence, since, level }
    };
    let voters = voters.iter().copied().collect();
    let placed = Placed { group: GROUP, voters, learners: vec![], pinned: false };
    let (members, groups) = ((1..=3).map(member).collect(), vec![placed]);
    let told = Members { members, groups, ..Members::default() };
    cluster::Cluster::new(told, Home::new(REGION.parse().unwrap(), 0, 1))
}

/// Until those that are to have a group have caught up, one that is to leave it may lead it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_replica_finds_a_leader_that_is_not_wanted() {
    let (cluster, [leader, next, other]) = Cluster::led().await;
    let mesh = Arc::clone(&cluster.node(other).mesh);
    let courier = NodeCourier::new(other, Some(mesh), told(&BTreeSet::from([next])));
    let following = tokio::spawn(Arc::clone(&courier).follow(GROUP));
    let finds = async || {
        let (node, seen) = courier.look(GROUP).await?;
        (node == leader && seen.voters.contains(&leader)).then_some(())
    };
    until("it finds who leads", finds).await;
    following.abort();
}

/// Takes a node out of the group, which it is not told: it knows last that it does not vote.
async fn let_go(cluster: &Cluster, leader: u64, gone: u64) {
    let stay: BTreeSet<u64> = (1..=3).filter(|node| *node != gone).collect();
    cluster.group(leader).set_voters(&stay).await.unwrap();
    let follows = async || (cluster.group(gone).replicas().voters == stay).then_some(());
    until("it does not vote any more", follows).await;
    cluster.group(leader).remove_learners(&BTreeSet::from([gone])).await.unwrap();
}

/// By what it knew last it would ask who led then, and for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_fed_any_more_finds_who_leads_by_asking_others() {
    let (cluster, [leader, next, gone]) = Cluster::led().await;
    let_go(&cluster, leader, gone).await;
    cluster.group(leader).hand_to(next).await.unwrap();
    let courier = &cluster.node(gone).courier;
    assert_eq!(cluster.group(gone).leader(), Some(leader), "it hears of no other");
    let finds = async || {
        let (node, _) = courier.look(GROUP).await?;
        (node == next).then_some(())
    };
    until("it finds who leads", finds).await;
    assert!(!courier.is_fed(GROUP), "what was decided since is not here");
}

/// Whoever leads the region's authority answers it, and does not tell it who is revoked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_fed_any_more_does_not_hear_its_region() {
    let (cluster, [leader, _, gone]) = Cluster::led().await;
    let courier = Arc::clone(&cluster.node(gone).courier);
    let (mut contact, asking) = contact::keep(courier, CUT_OFF_AFTER);
    let heard = timeout(SLOW, contact.wait_for(|is_in| *is_in)).await;
    heard.expect("it hears its region").unwrap();
    let_go(&cluster, leader, gone).await;
    let cut_off = timeout(SLOW, contact.wait_for(|is_in| !*is_in)).await;
    cut_off.expect("it is cut off").unwrap();
    assert!(cluster.node(gone).courier.look(GROUP).await.is_some(), "though it is answered");
    asking.abort();
}
