//! Makes the groups that this node leads what the placement group wants them to be, one step at a time.
//!
//! Each leader looks at what is wanted and at what is, and does the next thing between them: let a node
//! follow, let it vote once it has caught up, take one out, hand leadership on. Nothing that matters is remembered
//! between the steps, so whoever leads next goes on from whatever is there.
//!
//! **Invariants:** a group changes by one step at a time, by the last map, and only once its leader has an entry of its own
//! term committed; it is handed only to a voter that answered just
//! now, has what there is and may lead it, and to one that did not take it only after a while again; a node whose disk
//! does not do well keeps nothing that another could lead, and one of another region nothing that one at
//! home could. **Not here:** which step is next (`step`), who is wanted (`domain::placement`), how a group
//! changes (`consensus::replicas`).

pub(crate) mod step;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fieldmesh_domain::placement::{PLACEMENT, Placed, Presence};
use tokio::time::Instant;

use crate::{
    cluster::Cluster,
    consensus::{Group, group::NotTransferred},
    courier::NodeCourier,
    departures,
    store::health::Health,
};
use step::Step;

/// How often it is looked again: a node that catches up is not announced.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A leader keeps a group at least for so long before it gives it to whom it is meant for, so that
/// leadership does not go to and fro with a node that comes and goes.
const KEPT_AT_LEAST: Duration = Duration::from_secs(5);

/// Whoever did not take a group is not asked again for so long: a disk that stood still is well again after half of it,
/// and each try costs who asks for entries some tenths of a second.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// Who did not take a group, until when that counts.
#[derive(Debug, Default)]
struct Refused(BTreeMap<u64, Instant>);

impl Refused {
    fn add(&mut self, node: u64) {
        self.0.insert(node, Instant::now() + REFUSED_FOR);
    }

    fn now(&self) -> BTreeSet<u64> {
        let now = Instant::now();
        self.0.iter().filter(|(_, until)| **until > now).map(|(node, _)| *node).collect()
    }
}

/// Tends a group for as long as it runs.
pub async fn tend(group: Group, courier: Arc<NodeCourier>, me: u64) {
    let cluster = courier.known();
    let (mut leading, mut known, mut health) = (group.leading(), cluster.watch(), group.health());
    let mut refused = Refused::default();
    loop {
        if leading.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let (since, mut awaited) = (Instant::now(), BTreeSet::new());
        while leading.borrow().is_some() {
            let is_new =
                since.elapsed() < KEPT_AT_LEAST && cluster.presence(me) == Some(Presence::Active);
            if *health.borrow_and_update() != Health::Well {
                hand_on_but(&group, &courier, me, &mut refused).await;
            } else if let Some((wanted, epoch)) = wanted(&group, &courier).await {
                let preferred = preferred(&group, cluster, &refused.now(), is_new, me);
                let aim = Aim { wanted, epoch, preferred };
                let awaits = advance(&group, &courier, &aim, &mut refused, me).await;
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

/// How a group is to be.
struct Aim {
    wanted: Placed,
    /// The map's that says so.
    epoch: u64,
    preferred: Option<u64>,
}

/// How the group is to be, and by which map. In the placement group whoever leaves goes on following until no other
/// group has it.
async fn wanted(group: &Group, courier: &NodeCourier) -> Option<(Placed, u64)> {
    let known = courier.known().known();
    let mut wanted = known.placed(group.group)?.clone();
    if group.group == PLACEMENT {
        let staying = departures::staying(courier, courier.known()).await;
        let follows = |node: &u64| group.replicas().contains(*node);
        wanted.learners.extend(staying.into_iter().filter(follows));
    }
    Some((wanted, known.epoch))
}

/// Whether nothing was changed since a map that this node goes by. Who just came to lead may know the map of before:
/// by that it could bring somebody back who has left by now, and whom nobody will hear of again.
///
/// While the placement group has no majority nobody can say so, and no change is begun, though a voter that is to be
/// replaced may be dead: the group does with one voter less for so long, which costs no data, where a change by a map of
/// before may. Who is to have the place is for the placement group to say anyway.
async fn is_the_last(epoch: u64, courier: &NodeCourier) -> bool {
    courier.catch_up(PLACEMENT).await && courier.known().known().epoch == epoch
}

/// The voters of a group that are of its own region.
fn at_home(group: &Group, cluster: &Cluster) -> impl Iterator<Item = u64> {
    let known = cluster.known();
    let home = known.home_of(group.group).map(|home| home.region);
    group.replicas().voters.into_iter().filter(move |node| {
        home.is_none_or(|home| known.member(*node).is_some_and(|member| member.region() == home))
    })
}

/// A node whose disk does not do well asks for no votes, nor does one that has less of the group than it had.
pub async fn abide(group: Group) {
    let mut health = group.health();
    if !group.until_whole().await {
        return;
    }
    loop {
        group.set_may_campaign(*health.borrow_and_update() == Health::Well);
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// To whom a group goes that this node leads; none where it stays, or nobody may have it.
fn preferred(
    group: &Group,
    cluster: &Cluster,
    refused: &BTreeSet<u64>,
    is_new: bool,
    me: u64,
) -> Option<u64> {
    let able = || {
        let may = |node: &u64| !refused.contains(node) && group.has_caught_up(*node);
        at_home(group, cluster).filter(|node| *node != me).find(may)
    };
    if !cluster.is_own(group.group) {
        // Nobody is served until somebody leads who has the keys.
        return able();
    }
    let wanted = cluster.known().preferred(group.group).filter(|_| !is_new);
    let keeps = cluster.presence(me) == Some(Presence::Active);
    heir(wanted, refused, || able().filter(|_| !keeps))
}

/// Whom it is meant for, or, where that one did not take it, another that may.
fn heir(
    wanted: Option<u64>,
    refused: &BTreeSet<u64>,
    other: impl FnOnce() -> Option<u64>,
) -> Option<u64> {
    let wanted = wanted?;
    if refused.contains(&wanted) { other() } else { Some(wanted) }
}

/// Hands a group that this node leads to another voter, one after the other until one leads; does nothing
/// where nobody else could.
pub async fn hand_on(group: &Group, courier: &NodeCourier, me: u64) {
    hand_on_but(group, courier, me, &mut Refused::default()).await;
}

async fn hand_on_but(group: &Group, courier: &NodeCourier, me: u64, refused: &mut Refused) {
    let at_home: Vec<u64> = at_home(group, courier.known()).collect();
    let abroad = group.replicas().voters.into_iter().filter(|node| !at_home.contains(node));
    let not = refused.now();
    for node in at_home.iter().copied().chain(abroad).filter(|node| !not.contains(node)) {
        if node == me
            || !group.has_caught_up(node)
            || !may_take(group, courier, node, refused).await
        {
            continue;
        }
        let handed = hand_to(group, node, refused).await;
        if handed || group.led().is_none() {
            return;
        }
    }
}

/// Whether a voter says that it may lead the group. Handing it to one that may not ends only after an election
/// timeout: that one is passed over for a while, as who did not take it.
async fn may_take(group: &Group, courier: &NodeCourier, node: u64, refused: &mut Refused) -> bool {
    let may = courier.may_lead(node, group.group).await;
    if may == Some(false) {
        refused.add(node);
    }
    may == Some(true)
}

/// Whether another voter leads by now, because it was asked to.
async fn hand_to(group: &Group, node: u64, refused: &mut Refused) -> bool {
    let number = group.group;
    match group.hand_to(node).await {
        Ok(()) => tracing::info!(group = number, to = node, "the group is handed on"),
        Err(error) => {
            tracing::debug!(group = number, %error, "the group is not handed on");
            if let NotTransferred::NotTaken(node) = error {
                refused.add(node);
            }
            return false;
        }
    }
    true
}

/// Does the next step; who has to be there before there is one.
async fn advance(
    group: &Group,
    courier: &NodeCourier,
    aim: &Aim,
    refused: &mut Refused,
    me: u64,
) -> BTreeSet<u64> {
    let number = group.group;
    let known = courier.known().known();
    let next = || step::next_of(group, &known, me, &aim.wanted, aim.preferred, &refused.now());
    let step = next();
    if step.is_change() && !group.may_change() {
        return BTreeSet::new();
    }
    // Out of two halves it goes wherever the placement group is: both are configurations that it had.
    let is_whole = group.replicas().halves.len() == 1;
    if step.is_change()
        && is_whole
        && !(is_the_last(aim.epoch, courier).await && group.led().is_some() && next() == step)
    {
        return BTreeSet::new();
    }
    let done = match &step {
        Step::Nothing => return BTreeSet::new(),
        Step::Wait(nodes) => return nodes.clone(),
        Step::AddLearners(nodes) => group.add_learners(nodes).await,
        Step::SetVoters(voters) => group.set_voters(voters).await,
        Step::RemoveLearners(nodes) => group.remove_learners(nodes).await,
        Step::HandTo(node) => {
            if may_take(group, courier, *node, refused).await {
                hand_to(group, *node, refused).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_did_not_take_a_group_is_passed_over_for_a_while() {
        let mut refused = Refused::default();
        refused.add(2);
        assert_eq!(refused.now(), BTreeSet::from([2]));
        assert_eq!(heir(Some(2), &refused.now(), || Some(3)), Some(3), "another takes its place");
        assert_eq!(heir(Some(2), &refused.now(), || None), None, "or the group stays");
        assert_eq!(heir(Some(1), &refused.now(), || Some(3)), Some(1));
        assert_eq!(heir(None, &refused.now(), || Some(3)), None, "it is where it is meant to be");
        tokio::time::advance(REFUSED_FOR).await;
        assert_eq!(heir(Some(2), &refused.now(), || Some(3)), Some(2));
    }
}
