//! Makes the groups that this node leads what the placement group wants them to be, one step at a time.
//!
//! Each leader looks at what is wanted and at what is, and does the next thing between them: let a node
//! follow, let it vote once it has caught up, take one out, hand leadership on. Nothing is remembered
//! between the steps, so whoever leads next goes on from whatever is there.
//!
//! **Invariants:** a group changes by one step at a time; it is handed only to a voter that answered just
//! now and has what there is; a node whose disk does not do well keeps nothing that another could lead, and
//! one of another region nothing that one at home could. **Not here:** who is wanted
//! (`domain::placement`), how a group changes (`consensus::replicas`).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fieldmesh_domain::placement::{Placed, Presence};
use tokio::time::Instant;

use crate::{
    cluster::Cluster,
    consensus::{Group, replicas::Replicas},
    courier::NodeCourier,
    store::health::Health,
};

/// How often it is looked again: a node that catches up is not announced.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A leader keeps a group at least for so long before it gives it to whom it is meant for, so that
/// leadership does not go to and fro with a node that comes and goes.
const KEPT_AT_LEAST: Duration = Duration::from_secs(5);

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Nothing,
    AddLearners(BTreeSet<u64>),
    SetVoters(BTreeSet<u64>),
    RemoveLearners(BTreeSet<u64>),
    HandTo(u64),
}

/// How a group is, as its leader sees it.
struct Seen<'a> {
    me: u64,
    replicas: &'a Replicas,
    /// No change of the configuration is under way.
    is_settled: bool,
    has_caught_up: &'a dyn Fn(u64) -> bool,
}

fn next(seen: &Seen<'_>, wanted: &Placed, preferred: Option<u64>) -> Step {
    let Seen { me, replicas, is_settled, has_caught_up } = seen;
    let voters: BTreeSet<u64> = wanted.voters.iter().copied().collect();
    let learners: BTreeSet<u64> = wanted.learners.iter().copied().collect();
    let has_all = |nodes: &BTreeSet<u64>| nodes.iter().all(|node| replicas.contains(*node));
    if !is_settled {
        // What an earlier leader began is ended in the wanted way, or waited for.
        return if has_all(&voters) { Step::SetVoters(voters) } else { Step::Nothing };
    }
    let all: BTreeSet<u64> = voters.union(&learners).copied().collect();
    if !has_all(&all) {
        return Step::AddLearners(&all - &(&replicas.voters | &replicas.learners));
    }
    if voters != replicas.voters {
        let fresh = voters.difference(&replicas.voters);
        // A majority that is not there could not agree to it, and not to anything that would take it back.
        let there = voters.iter().filter(|node| *node == me || has_caught_up(**node)).count();
        let would_stand = 2 * there > voters.len();
        if would_stand && fresh.copied().all(has_caught_up) {
            // A leader that is to go hands over first, where there is somebody to hand to.
            let stays =
                voters.intersection(&replicas.voters).copied().find(|one| has_caught_up(*one));
            return match stays {
                Some(next) if !voters.contains(me) => Step::HandTo(next),
                _ => Step::SetVoters(voters),
            };
        }
    } else {
        let gone = &replicas.learners - &all;
        if !gone.is_empty() {
            return Step::RemoveLearners(gone);
        }
    }
    let better = preferred.filter(|node| node != me && replicas.voters.contains(node));
    better.filter(|node| has_caught_up(*node)).map_or(Step::Nothing, Step::HandTo)
}

/// Tends a group for as long as it runs.
pub async fn tend(group: Group, courier: Arc<NodeCourier>, me: u64) {
    let cluster = courier.known();
    let (mut leading, mut known, mut health) = (group.leading(), cluster.watch(), group.health());
    loop {
        if leading.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let since = Instant::now();
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
                advance(&group, &courier, &wanted, preferred, me).await;
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

fn next_of(group: &Group, me: u64, wanted: &Placed, preferred: Option<u64>) -> Step {
    let (replicas, is_settled) = (group.replicas(), group.is_settled());
    let has_caught_up = |node| group.has_caught_up(node);
    let seen = Seen { me, replicas: &replicas, is_settled, has_caught_up: &has_caught_up };
    next(&seen, wanted, preferred)
}

async fn advance(
    group: &Group,
    courier: &NodeCourier,
    wanted: &Placed,
    preferred: Option<u64>,
    me: u64,
) {
    let (step, number) = (next_of(group, me, wanted, preferred), group.group);
    let done = match &step {
        Step::Nothing => return,
        Step::AddLearners(nodes) => group.add_learners(nodes).await,
        Step::SetVoters(voters) => group.set_voters(voters).await,
        Step::RemoveLearners(nodes) => group.remove_learners(nodes).await,
        Step::HandTo(node) if !courier.may_lead(*node).await => return,
        Step::HandTo(node) => {
            match group.transfer(*node).await {
                Ok(()) => tracing::info!(group = number, to = node, "the group is handed on"),
                Err(error) => tracing::debug!(group = number, %error, "the group stays here"),
            }
            return;
        }
    };
    match done {
        Ok(()) => tracing::info!(group = number, ?step, "the group has changed"),
        Err(error) => tracing::warn!(group = number, ?step, %error, "the group did not change"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(nodes: &[u64]) -> BTreeSet<u64> {
        nodes.iter().copied().collect()
    }

    fn wanted(voters: &[u64], learners: &[u64]) -> Placed {
        let (voters, learners) = (voters.to_vec(), learners.to_vec());
        Placed { group: 1, voters, learners, pinned: false }
    }

    fn step(me: u64, now: (&[u64], &[u64]), caught_up: &[u64], wanted: &Placed) -> Step {
        let replicas = Replicas { voters: set(now.0), learners: set(now.1) };
        let has_caught_up = |node: u64| caught_up.contains(&node);
        let seen =
            Seen { me, replicas: &replicas, is_settled: true, has_caught_up: &has_caught_up };
        next(&seen, wanted, None)
    }

    #[test]
    fn nodes_follow_first_and_vote_when_they_have_caught_up() {
        let three = wanted(&[1, 2, 3], &[4]);
        let follow = Step::AddLearners(set(&[2, 3, 4]));
        assert_eq!(step(1, (&[1], &[]), &[], &three), follow);
        assert_eq!(step(1, (&[1], &[2, 3, 4]), &[2], &three), Step::Nothing);
        let vote = Step::SetVoters(set(&[1, 2, 3]));
        assert_eq!(step(1, (&[1], &[2, 3, 4]), &[2, 3], &three), vote);
        assert_eq!(step(1, (&[1, 2, 3], &[4]), &[2, 3], &three), Step::Nothing);
    }

    #[test]
    fn a_leader_that_is_to_go_hands_over_first() {
        let without = wanted(&[2, 3, 4], &[]);
        let now: (&[u64], &[u64]) = (&[1, 2, 3], &[4]);
        assert_eq!(step(1, now, &[2, 3, 4], &without), Step::HandTo(2));
        assert_eq!(step(2, now, &[1, 3, 4], &without), Step::SetVoters(set(&[2, 3, 4])));
        // Nobody stays: the group changes under the leader.
        let moved = wanted(&[4, 5, 6], &[]);
        let now: (&[u64], &[u64]) = (&[1], &[4, 5, 6]);
        assert_eq!(step(1, now, &[4, 5, 6], &moved), Step::SetVoters(set(&[4, 5, 6])));
    }

    #[test]
    fn no_group_is_given_to_a_majority_that_is_not_there() {
        // Three was killed, and two is to leave.
        for left in [&[3][..], &[1, 3]] {
            assert_eq!(step(1, (&[1, 2, 3], &[]), &[2], &wanted(left, &[])), Step::Nothing);
        }
        let four = wanted(&[1, 3, 4], &[]);
        let now: (&[u64], &[u64]) = (&[1, 2, 3], &[4]);
        assert_eq!(step(1, now, &[2, 4], &four), Step::SetVoters(set(&[1, 3, 4])));
    }

    #[test]
    fn who_is_not_wanted_leaves_last() {
        let two = wanted(&[1], &[2]);
        assert_eq!(step(1, (&[1, 3], &[2]), &[2, 3], &two), Step::SetVoters(set(&[1])));
        assert_eq!(step(1, (&[1], &[2, 3]), &[2], &two), Step::RemoveLearners(set(&[3])));
    }

    #[test]
    fn a_change_that_was_cut_short_is_ended() {
        let replicas = Replicas { voters: set(&[1, 2, 3, 4]), learners: set(&[]) };
        let nobody = |_: u64| false;
        let seen = Seen { me: 2, replicas: &replicas, is_settled: false, has_caught_up: &nobody };
        let ended = next(&seen, &wanted(&[2, 3, 4], &[]), None);
        assert_eq!(ended, Step::SetVoters(set(&[2, 3, 4])));
    }
}
