//! Where groups are to live, given the nodes and where they live now.
//!
//! A shard, and a region's authority, has three voters where the region has three nodes, one before
//! that: two would be worse than one, because both would be needed. The placement group has up to five,
//! spread over regions. Who votes goes on voting while it can; places move only to even them out, and no
//! more than that needs.
//!
//! **Invariants:** the same nodes and places give the same plan; a plan of a plan is the same plan; a
//! group whose voters an operator chose stays until one of them leaves. **Not here:** who may join or
//! leave (`members`).

use std::collections::BTreeMap;

use super::{
    members::{Home, Member, Members, PLACEMENT, Placed, REGION_VOTERS},
    policy::{Policy, add_abroad, at_home},
};

/// Voters of the placement group.
const PLACEMENT_VOTERS: usize = 5;

/// The largest odd number of voters.
pub(super) fn odd(most: usize, there_are: usize) -> usize {
    match most.min(there_are) {
        0 => 0,
        able => able - 1 + able % 2,
    }
}

/// Places of all groups.
pub(super) fn plan(now: &Members) -> Vec<Placed> {
    let mut plan = Vec::new();
    let candidates: Vec<&Member> =
        now.members.iter().filter(|member| member.is_candidate()).collect();
    if !candidates.is_empty() {
        plan.push(placement_group(now, &candidates));
    }
    for home in &now.homes {
        let own: Vec<u64> = candidates
            .iter()
            .filter(|member| member.region() == home.region)
            .map(|member| member.number)
            .collect();
        plan.extend(region(now, home, &own));
    }
    add_abroad(now, &mut plan);
    plan.sort_unstable_by_key(|placed| placed.group);
    plan
}

/// What is kept of a group's voters, and whether an operator's choice still holds.
fn kept(now: &Members, group: u32, candidates: &[u64]) -> (Vec<u64>, bool) {
    let Some(placed) = now.placed(group) else { return (Vec::new(), false) };
    let stays = |number: &u64| candidates.contains(number);
    let voters: Vec<u64> = placed.voters.iter().copied().filter(stays).collect();
    let pinned = placed.pinned && voters.len() == placed.voters.len();
    (voters, pinned)
}

/// The placement group: each region in turn gives a voter, as long as it has one to give.
fn placement_group(now: &Members, candidates: &[&Member]) -> Placed {
    let all: Vec<u64> = candidates.iter().map(|member| member.number).collect();
    let (kept, pinned) = kept(now, PLACEMENT, &all);
    let voters = if pinned { kept } else { spread(now, candidates, &kept) };
    Placed { group: PLACEMENT, learners: others(&all, &voters), voters, pinned }
}

/// As many as there can be of whom no region has the majority: it would take that with it. Of one region or two, one has.
fn spread(now: &Members, candidates: &[&Member], kept: &[u64]) -> Vec<u64> {
    let most = odd(PLACEMENT_VOTERS, candidates.len());
    let has_majority = |voters: &[u64]| {
        now.homes.iter().any(|home| {
            let own = candidates.iter().filter(|member| member.region() == home.region);
            own.filter(|member| voters.contains(&member.number)).count() * 2 > voters.len()
        })
    };
    let mut able = (1..=most).rev().step_by(2).map(|many| give(now, candidates, kept, many));
    let without = able.find(|voters| !has_majority(voters));
    without.unwrap_or_else(|| give(now, candidates, kept, most))
}

/// So many voters: each region gives one in turn.
fn give(now: &Members, candidates: &[&Member], kept: &[u64], wanted: usize) -> Vec<u64> {
    // Of each region those first who vote already.
    let mut queues: Vec<Vec<u64>> = now
        .homes
        .iter()
        .map(|home| {
            let own = candidates.iter().filter(|member| member.region() == home.region);
            let mut own: Vec<u64> = own.map(|member| member.number).collect();
            own.sort_unstable_by_key(|number| (!kept.contains(number), *number));
            own.reverse();
            own
        })
        .collect();
    let mut voters = Vec::with_capacity(wanted);
    while voters.len() < wanted {
        let mut round: Vec<u64> = queues.iter_mut().filter_map(Vec::pop).collect();
        if round.is_empty() {
            break;
        }
        // The last round may not reach every region: whoever votes already goes first.
        round.sort_by_key(|number| !kept.contains(number));
        round.truncate(wanted - voters.len());
        voters.extend(round);
    }
    voters.sort_unstable();
    voters
}

fn others(candidates: &[u64], voters: &[u64]) -> Vec<u64> {
    candidates.iter().copied().filter(|number| !voters.contains(number)).collect()
}

/// A region's groups on its nodes.
fn region(now: &Members, home: &Home, candidates: &[u64]) -> Vec<Placed> {
    let wanted = at_home(now, home, odd(REGION_VOTERS, candidates.len()));
    let mut places = Places::on(candidates);
    let mut groups: Vec<Placed> = home
        .groups()
        .map(|group| {
            let (voters, pinned) = kept(now, group, candidates);
            // Where others vote too, it follows from the policy who does.
            let pinned = pinned && !matches!(home.policy, Policy::Region(..));
            Placed { group, voters, learners: Vec::new(), pinned }
        })
        .collect();
    for group in &groups {
        places.count(&group.voters);
    }
    for group in groups.iter_mut().filter(|group| !group.pinned) {
        places.fit(&mut group.voters, wanted);
    }
    // A second node is a copy of the first: to move half of the groups to it would help nobody.
    if candidates.len() >= REGION_VOTERS {
        let had: BTreeMap<u32, Vec<u64>> =
            groups.iter().filter_map(|group| now.placed(group.group)).map(of_group).collect();
        // To give a new place to another node than was thought costs nothing: no data are there yet.
        let is_new = |group: u32, number| !had.get(&group).is_some_and(|had| had.contains(&number));
        while places.even_out(&mut groups, is_new) || places.even_out(&mut groups, |_, _| true) {}
    }
    for group in &mut groups {
        group.voters.sort_unstable();
        // Every node of a region must know its authority's records; a second node is a copy.
        if group.group == home.authority() || candidates.len() == 2 {
            group.learners = others(candidates, &group.voters);
        }
    }
    groups
}

fn of_group(placed: &Placed) -> (u32, Vec<u64>) {
    (placed.group, placed.voters.clone())
}

/// How many voters each node has.
pub(super) struct Places {
    by_node: BTreeMap<u64, usize>,
}

impl Places {
    pub(super) fn on(nodes: &[u64]) -> Self {
        Self { by_node: nodes.iter().map(|one| (*one, 0)).collect() }
    }

    pub(super) fn count(&mut self, voters: &[u64]) {
        for number in voters {
            *self.by_node.entry(*number).or_default() += 1;
        }
    }

    fn of(&self, number: u64) -> usize {
        self.by_node.get(&number).copied().unwrap_or(0)
    }

    /// Makes a group have so many voters.
    pub(super) fn fit(&mut self, voters: &mut Vec<u64>, wanted: usize) {
        while voters.len() > wanted {
            let most = voters.iter().copied().max_by_key(|one| (self.of(*one), *one));
            let Some(most) = most else { return };
            voters.retain(|one| *one != most);
            self.by_node.entry(most).and_modify(|places| *places -= 1);
        }
        while voters.len() < wanted {
            let free = self.by_node.iter().filter(|(number, _)| !voters.contains(number));
            let least = free.min_by_key(|(number, places)| (**places, **number));
            let Some(least) = least.map(|(number, _)| *number) else { return };
            voters.push(least);
            self.by_node.entry(least).and_modify(|places| *places += 1);
        }
    }

    /// Moves one voter from a node that has most to one that has at least two fewer, of those in a group
    /// and on a node that may be moved; whether it could.
    pub(super) fn even_out(
        &mut self,
        groups: &mut [Placed],
        may: impl Fn(u32, u64) -> bool,
    ) -> bool {
        let mut pairs: Vec<(usize, u64, u64)> = Vec::new();
        for (from, many) in &self.by_node {
            for (to, few) in &self.by_node {
                if *many >= few + 2 {
                    pairs.push((many - few, *from, *to));
                }
            }
        }
        // The widest gap first; of those the lowest numbers.
        pairs.sort_unstable_by_key(|(gap, from, to)| (usize::MAX - gap, *from, *to));
        for (_, from, to) in pairs {
            let movable = |placed: &&mut Placed| {
                !placed.pinned
                    && placed.voters.contains(&from)
                    && !placed.voters.contains(&to)
                    && may(placed.group, from)
            };
            if let Some(placed) = groups.iter_mut().find(movable) {
                placed.voters.retain(|one| *one != from);
                placed.voters.push(to);
                self.by_node.entry(from).and_modify(|places| *places -= 1);
                self.by_node.entry(to).and_modify(|places| *places += 1);
                return true;
            }
        }
        false
    }
}
