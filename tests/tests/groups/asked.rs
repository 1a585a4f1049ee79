//! What nodes ask each other of a group, and by what they know whom to ask.
//!
//! **Not here:** what members of a group tell each other (the parent), asking entities (`cluster`).

use std::{collections::BTreeSet, sync::Arc};

use fieldmesh_actors::seams::Pending;
use fieldmesh_domain::{
    placement::{Home, LEVEL, Member, Members, Placed, Presence},
    time::Millis,
};
use fieldmesh_node::{
    cluster,
    consensus::service,
    courier::{
        NodeCourier,
        wire::{self, FRAME_BYTES_MAX, Opening},
    },
    mesh::{Class, Receiving, Sending, Serve},
    store::rows,
};
use fieldmesh_tests::{live::until, mesh::identity, pki::REGION};

use super::{Cluster, GROUP};

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
