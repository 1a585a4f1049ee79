//! Makes the groups that this node leads what the placement group wants them to be, one step at a time.
//!
//! Each leader looks at what is wanted and at what is, and does the next thing between them: let a node
//! follow, let it vote once it has caught up, take one out, hand leadership on. Nothing is remembered
//! between the steps, so whoever leads next goes on from whatever is there.
//!
//! **Invariants:** a group changes by one step at a time; it is handed only to a voter that answered just
//! now and has what there is; a node whose disk does not do well keeps nothing that another could lead, and
//! one of another region nothing that one at home could. **Not here:** which step is next (`step`), who is
//! wanted (`domain::placement`), how a group changes (`consensus::replicas`).

pub(crate) mod step;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fieldmesh_domain::placement::{Placed, Presence};
use tokio::time::Instant;

use crate::{cluster::Cluster, consensus::Group, courier::NodeCourier, store::health::Health};
use step::Step;

/// How often it is looked again: a node that catches up is not announced.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A leader keeps a group at least for so long before it gives it to whom it is meant for, so that
/// leadership does not go to and fro with a node that comes and goes.
const KEPT_AT_LEAST: Duration = Duration::from_secs(5);

/// Tends a group for as long as it runs.
pub async fn tend(group: Group, courier: Arc<NodeCourier>, me: u64) {
    let cluster = courier.known();
    let (mut leading, mut known, mut health) = (group.leading(), cluster.watch(), group.health());
    loop {
        if leading.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let (since, mut awaited) = (Instant::now(), BTreeSet::new());
        while leading.borrow().is_some() {
            let is_new =
                since.elapsed() < KEPT_AT_LEAST && cluster.presence(me) == Some(Presence::Active);
            if *health.borrow_and_update() != Health::Well {
                hand_on(&group, &courier, me).await;
            } else if let Some(wanted) = cluster.placed(group.group) {
                let preferred = match cluster.is_own(group.group) {
                    true => cluster.known().preferred(group.group).filter(|_| !is_new),
                    // Nobody is served until somebody leads who has the keys.
                    false => at_home(&group, cluster).find(|node| group.has_caught_up(*node)),
                };
                let awaits = advance(&group, &courier, &wanted, preferred, me).await;
                if awaits != awaited && !awaits.is_empty() {
                    let group = group.group;
                    tracing::info!(group, nodes = ?awaits, "the group's change waits for nodes");
                }
                awaited = awaits;
            }
            tokio::select! {
                changed = known.changed() => if changed.is_err() { return },
                changed = leading.changed() => if changed.is_err() { return },
                changed = health.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}

/// The voters of a group that are of its own region.
fn at_home(group: &Group, cluster: &Cluster) -> impl Iterator<Item = u64> {
    let known = cluster.known();
    let home = known.home_of(group.group).map(|home| home.region);
    group.replicas().voters.into_iter().filter(move |node| {
        home.is_none_or(|home| known.member(*node).is_some_and(|member| member.region() == home))
    })
}

/// A node whose disk does not do well asks for no votes.
pub async fn abide(group: Group) {
    let mut health = group.health();
    loop {
        group.set_may_campaign(*health.borrow_and_update() == Health::Well);
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// Hands a group that this node leads to another voter, and waits until that one leads; does nothing
/// where nobody else could.
pub async fn hand_on(group: &Group, courier: &NodeCourier, me: u64) {
    let mut chosen = None;
    let at_home: Vec<u64> = at_home(group, courier.known()).collect();
    let abroad = group.replicas().voters.into_iter().filter(|node| !at_home.contains(node));
    for node in at_home.iter().copied().chain(abroad) {
        if node != me && group.has_caught_up(node) && courier.may_lead(node).await {
            chosen = Some(node);
            break;
        }
    }
    let Some(to) = chosen else { return };
    if let Err(error) = group.transfer(to).await {
        tracing::debug!(group = group.group, %error, "the group is not handed on");
        return;
    }
    let mut leader = Some(me);
    while leader.is_none_or(|leader| leader == me) {
        match group.next_leader(leader).await {
            Some(next) => leader = next,
            None => return,
        }
    }
}

/// Does the next step; who has to be there before there is one.
async fn advance(
    group: &Group,
    courier: &NodeCourier,
    wanted: &Placed,
    preferred: Option<u64>,
    me: u64,
) -> BTreeSet<u64> {
    let number = group.group;
    let step = step::next_of(group, me, wanted, preferred);
    let done = match &step {
        Step::Nothing => return BTreeSet::new(),
        Step::Wait(nodes) => return nodes.clone(),
        Step::AddLearners(nodes) => group.add_learners(nodes).await,
        Step::SetVoters(voters) => group.set_voters(voters).await,
        Step::RemoveLearners(nodes) => group.remove_learners(nodes).await,
        Step::HandTo(node) if !courier.may_lead(*node).await => return BTreeSet::new(),
        Step::HandTo(node) => {
            match group.transfer(*node).await {
                Ok(()) => tracing::info!(group = number, to = node, "the group is handed on"),
                Err(error) => tracing::debug!(group = number, %error, "the group stays here"),
            }
            return BTreeSet::new();
        }
    };
    match done {
        Ok(()) => tracing::info!(group = number, ?step, "the group has changed"),
        Err(error) => tracing::warn!(group = number, ?step, %error, "the group did not change"),
    }
    BTreeSet::new()
}
