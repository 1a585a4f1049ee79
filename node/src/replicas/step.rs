//! The next step from how a group is to how it is wanted.
//!
//! A change of voters is two configurations: one in which a majority of the old and of the new voters must
//! agree, then the new ones alone. A leader that is lost between them leaves the first, and meanwhile others
//! may be wanted. One half of it is always a step away, also where nodes are wanted that are in neither half
//! and could follow only behind it; from there it goes on as from any other configuration. Between the two a leader
//! writes only while a majority of both answers: where one of them is gone for good, the group waits for it.
//!
//! A copy goes last: whoever only follows, and is not wanted any more, may have the only one outside the group's
//! region until those that are wanted in its place have caught up. One that is left too long costs a disk some
//! room, also where it is to leave the cluster: there it waits as it does for voters that do not answer, until
//! those are back, or are said to be away and others are wanted. Only in the placement group nobody waits for
//! whoever reads along: all its nodes have it.
//!
//! **Invariants:** no step makes voters of those of whom no majority is there, nor, where another way out of
//! two halves is there, of fewer than are wanted; nobody abroad is taken out of a region's group before all that
//! are to follow it there are whole; whatever is there and wanted is reached, and nothing then changes any more. **Not here:**
//! doing it (`replicas`).

use std::collections::BTreeSet;

use fieldmesh_domain::placement::{Member, Members, Placed};

use crate::consensus::{Group, replicas::Replicas};

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// These have to be there first: to answer, and to have caught up.
    Wait(BTreeSet<u64>),
    AddLearners(BTreeSet<u64>),
    SetVoters(BTreeSet<u64>),
    RemoveLearners(BTreeSet<u64>),
    HandTo(u64),
}

impl Step {
    /// Whether others are in the group, or vote, behind it.
    pub(super) fn is_change(&self) -> bool {
        matches!(self, Self::AddLearners(_) | Self::SetVoters(_) | Self::RemoveLearners(_))
    }
}

/// How a group is, as its leader sees it.
struct Seen<'a> {
    me: u64,
    replicas: &'a Replicas,
    has_caught_up: &'a dyn Fn(u64) -> bool,
    /// Nodes of other regions than the group's own: what they have of it is there in case the region is lost.
    is_abroad: &'a dyn Fn(u64) -> bool,
    /// Who did not take the group when it was handed on.
    refused: &'a BTreeSet<u64>,
}

impl Seen<'_> {
    fn is_there(&self, node: u64) -> bool {
        node == self.me || (self.has_caught_up)(node)
    }

    /// Those of some voters who are not there, where the others are no majority; otherwise nobody.
    fn missing(&self, voters: &BTreeSet<u64>) -> BTreeSet<u64> {
        let away: BTreeSet<u64> =
            voters.iter().copied().filter(|node| !self.is_there(*node)).collect();
        if 2 * away.len() < voters.len() { BTreeSet::new() } else { away }
    }

    fn missing_of_halves(&self) -> BTreeSet<u64> {
        self.replicas.halves.iter().flat_map(|half| self.missing(half)).collect()
    }
}

/// What is next in a group that this node leads.
pub(super) fn next_of(
    group: &Group,
    known: &Members,
    me: u64,
    wanted: &Placed,
    preferred: Option<u64>,
    refused: &BTreeSet<u64>,
) -> Step {
    let (replicas, has_caught_up) = (group.replicas(), |node| group.has_caught_up(node));
    // The placement group is of no region.
    let home = known.home_of(wanted.group).map(|home| home.region);
    let is_abroad = |node| home.is_some() && known.member(node).map(Member::region) != home;
    let (replicas, is_abroad) = (&replicas, &is_abroad);
    let seen = Seen { me, replicas, has_caught_up: &has_caught_up, is_abroad, refused };
    next(&seen, wanted, preferred)
}

/// The nodes without which a group that this node leads does not come to be as it is wanted.
pub(crate) fn awaited(group: &Group, known: &Members, me: u64, wanted: &Placed) -> BTreeSet<u64> {
    match next_of(group, known, me, wanted, None, &BTreeSet::new()) {
        Step::Wait(nodes) => nodes,
        _ => BTreeSet::new(),
    }
}

fn next(seen: &Seen<'_>, wanted: &Placed, preferred: Option<u64>) -> Step {
    let Seen { me, replicas, .. } = seen;
    let voters: BTreeSet<u64> = wanted.voters.iter().copied().collect();
    let learners: BTreeSet<u64> = wanted.learners.iter().copied().collect();
    if !replicas.is_committed {
        // Nothing takes it back, and nothing can follow: its own majorities must have it.
        return wait(seen.missing_of_halves());
    }
    if replicas.halves.len() != 1 {
        return leave(seen, &voters);
    }
    let all: BTreeSet<u64> = voters.union(&learners).copied().collect();
    let strangers: BTreeSet<u64> =
        all.iter().copied().filter(|node| !replicas.contains(*node)).collect();
    if !strangers.is_empty() {
        return Step::AddLearners(strangers);
    }
    let mut awaited = BTreeSet::new();
    let takes = |one: &u64| seen.is_there(*one) && !seen.refused.contains(one);
    if voters != replicas.voters {
        // A majority that is not there could not agree to it, and not to anything that would take it back.
        awaited = seen.missing(&voters);
        let fresh = voters.difference(&replicas.voters).copied();
        awaited.extend(fresh.filter(|node| !seen.is_there(*node)));
        if awaited.is_empty() {
            // A leader that is to go hands over first, where there is somebody to hand to.
            let mut stay = voters.intersection(&replicas.voters).copied();
            return match stay.find(takes) {
                Some(next) if !voters.contains(me) => Step::HandTo(next),
                _ => Step::SetVoters(voters),
            };
        }
    } else {
        // The group changed under a leader that nobody relieved. It takes itself out of nothing: whoever leads next does.
        if !voters.contains(me)
            && let Some(next) = voters.iter().copied().find(takes)
        {
            return Step::HandTo(next);
        }
        let gone = &(&replicas.learners - &all) - &BTreeSet::from([*me]);
        let (abroad, home): (BTreeSet<u64>, BTreeSet<u64>) =
            gone.iter().copied().partition(|node| (seen.is_abroad)(*node));
        // A copy abroad goes only once those are whole that are wanted there.
        if !abroad.is_empty() {
            let copies = learners.iter().copied().filter(|node| (seen.is_abroad)(*node));
            awaited.extend(copies.filter(|node| !seen.is_there(*node)));
        }
        let gone = if awaited.is_empty() { gone } else { home };
        if !gone.is_empty() {
            return Step::RemoveLearners(gone);
        }
    }
    let better = preferred.filter(|node| node != me && replicas.voters.contains(node));
    better.filter(|node| (seen.has_caught_up)(*node)).map_or_else(|| wait(awaited), Step::HandTo)
}

fn wait(nodes: BTreeSet<u64>) -> Step {
    if nodes.is_empty() { Step::Nothing } else { Step::Wait(nodes) }
}

/// Out of two halves: to the one that is wanted, or to the one of which the most can stay, if a majority of it
/// is there to agree: the other half may be behind by much.
fn leave(seen: &Seen<'_>, wanted: &BTreeSet<u64>) -> Step {
    let stand = seen.replicas.halves.iter().filter(|half| seen.missing(half).is_empty());
    let best = stand.max_by_key(|half| {
        let (enough, stay) = (half.len().min(wanted.len()), half.intersection(wanted).count());
        let there = half.iter().filter(|node| seen.is_there(**node)).count();
        (*half == wanted, enough, stay, there)
    });
    best.map_or_else(|| wait(seen.missing_of_halves()), |half| Step::SetVoters(half.clone()))
}

#[cfg(test)]
mod tests;
