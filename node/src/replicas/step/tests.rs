//! Steps one by one, and from everywhere to everywhere among five nodes.

use fieldmesh_domain::placement::PLACEMENT;

use super::*;

fn set(nodes: &[u64]) -> BTreeSet<u64> {
    nodes.iter().copied().collect()
}

fn wanted(voters: &[u64], learners: &[u64]) -> Placed {
    let (voters, learners) = (voters.to_vec(), learners.to_vec());
    Placed { group: 1, voters, learners, pinned: false }
}

fn replicas(halves: &[&[u64]], learners: &[u64], is_committed: bool) -> Replicas {
    let halves: Vec<_> = halves.iter().map(|half| set(half)).collect();
    let voters = halves.iter().flatten().copied().collect();
    Replicas { voters, learners: set(learners), halves, is_committed }
}

/// The first node alone is at home; the placement group is of no region.
fn is_abroad_of(wanted: &Placed) -> impl Fn(u64) -> bool {
    let is_of_a_region = wanted.group != PLACEMENT;
    move |node| is_of_a_region && node != 1
}

/// What node 1 sees of a group whose nodes are all there, and all at home.
fn all_well<'a>(replicas: &'a Replicas, refused: &'a BTreeSet<u64>) -> Seen<'a> {
    Seen { me: 1, replicas, has_caught_up: &|_| true, is_abroad: &|_| false, refused }
}

fn step_of(me: u64, replicas: &Replicas, caught_up: &[u64], wanted: &Placed) -> Step {
    let has_caught_up = |node: u64| caught_up.contains(&node);
    let (refused, is_abroad) = (BTreeSet::new(), is_abroad_of(wanted));
    let (has_caught_up, is_abroad, refused) = (&has_caught_up, &is_abroad, &refused);
    next(&Seen { me, replicas, has_caught_up, is_abroad, refused }, wanted, None)
}

fn step(me: u64, now: (&[u64], &[u64]), caught_up: &[u64], wanted: &Placed) -> Step {
    step_of(me, &replicas(&[now.0], now.1, true), caught_up, wanted)
}

#[test]
fn nodes_follow_first_and_vote_when_they_have_caught_up() {
    let three = wanted(&[1, 2, 3], &[4]);
    let follow = Step::AddLearners(set(&[2, 3, 4]));
    assert_eq!(step(1, (&[1], &[]), &[], &three), follow);
    assert_eq!(step(1, (&[1], &[2, 3, 4]), &[2], &three), Step::Wait(set(&[3])));
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
    // Who did not take it is passed over; where nobody takes it, the group changes under the leader.
    let refused_by = |refused: &[u64]| {
        let (replicas, refused) = (replicas(&[now.0], now.1, true), set(refused));
        next(&all_well(&replicas, &refused), &without, None)
    };
    assert_eq!(refused_by(&[2]), Step::HandTo(3));
    assert_eq!(refused_by(&[2, 3]), Step::SetVoters(set(&[2, 3, 4])));
    // Nobody stays: the group changes under the leader, which hands it on, or waits until somebody takes it.
    let moved = wanted(&[4, 5, 6], &[]);
    let now: (&[u64], &[u64]) = (&[1], &[4, 5, 6]);
    assert_eq!(step(1, now, &[4, 5, 6], &moved), Step::SetVoters(set(&[4, 5, 6])));
    let now: (&[u64], &[u64]) = (&[4, 5, 6], &[1, 2]);
    assert_eq!(step(1, now, &[4, 5, 6], &moved), Step::HandTo(4));
    let (replicas, refused) = (replicas(&[&[4, 5, 6]], &[1, 2], true), set(&[4, 5, 6]));
    let seen = all_well(&replicas, &refused);
    assert_eq!(next(&seen, &moved, None), Step::RemoveLearners(set(&[2])));
    assert_eq!(step(4, (&[4, 5, 6], &[1]), &[], &moved), Step::RemoveLearners(set(&[1])));
}

#[test]
fn no_group_is_given_to_a_majority_that_is_not_there() {
    // Three was killed, and two is to leave.
    for left in [&[3][..], &[1, 3]] {
        let waits = Step::Wait(set(&[3]));
        assert_eq!(step(1, (&[1, 2, 3], &[]), &[2], &wanted(left, &[])), waits);
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

/// The only copy outside a group's region is somewhere all the while that it moves.
#[test]
fn a_copy_goes_once_the_one_in_its_place_is_whole() {
    let (moved, now) = (wanted(&[1], &[3]), replicas(&[&[1]], &[2, 3], true));
    assert_eq!(step_of(1, &now, &[2], &moved), Step::Wait(set(&[3])));
    assert_eq!(step_of(1, &now, &[2, 3], &moved), Step::RemoveLearners(set(&[2])));
    // A second one at home is no copy abroad.
    let (moved, now) = (wanted(&[1], &[3, 4]), replicas(&[&[1]], &[2, 3, 4], true));
    assert_eq!(step_of(1, &now, &[2, 4], &moved), Step::Wait(set(&[3])));
    // Where nobody is to follow, or all have it anyway, nobody is waited for.
    let gone = Step::RemoveLearners(set(&[2]));
    assert_eq!(step_of(1, &replicas(&[&[1]], &[2], true), &[], &wanted(&[1], &[])), gone);
    let placement = Placed { group: PLACEMENT, ..wanted(&[1], &[3]) };
    assert_eq!(step_of(1, &replicas(&[&[1]], &[2, 3], true), &[2], &placement), gone);
    // At home nobody waits for another: that one may be down for long.
    let (now, refused) = (replicas(&[&[1, 2, 3]], &[4, 5], true), BTreeSet::new());
    let seen = Seen { has_caught_up: &|node| node != 5, ..all_well(&now, &refused) };
    let gone = Step::RemoveLearners(set(&[4]));
    assert_eq!(next(&seen, &wanted(&[1, 2, 3], &[5]), None), gone);
    // Whoever waits for a copy still hands on what is meant for another.
    let seen = Seen { is_abroad: &|_| true, ..seen };
    assert_eq!(next(&seen, &wanted(&[1, 2, 3], &[5]), Some(2)), Step::HandTo(2));
}

#[test]
fn a_change_that_was_cut_short_is_ended() {
    let both = replicas(&[&[1, 2, 3], &[2, 3, 4]], &[], true);
    let ended = Step::SetVoters(set(&[2, 3, 4]));
    assert_eq!(step_of(2, &both, &[1, 3, 4], &wanted(&[2, 3, 4], &[])), ended);
    let taken_back = Step::SetVoters(set(&[1, 2, 3]));
    assert_eq!(step_of(2, &both, &[1, 3, 4], &wanted(&[1, 2, 3], &[])), taken_back);
}

#[test]
fn a_change_whose_aim_is_no_longer_wanted_is_left_for_one_of_its_halves() {
    let both = replicas(&[&[1, 2, 3], &[1, 2, 4]], &[], true);
    // Four died on the way in, and five, whom the group does not know, is to come in its place.
    let five = wanted(&[1, 2, 5], &[]);
    assert_eq!(step_of(1, &both, &[2, 3], &five), Step::SetVoters(set(&[1, 2, 3])));
    let back = replicas(&[&[1, 2, 3]], &[4], true);
    assert_eq!(step_of(1, &back, &[2, 3], &five), Step::AddLearners(set(&[5])));
    // The new ones are not there, the old ones are: those are a majority again.
    let apart = replicas(&[&[1, 2, 3], &[1, 4, 5]], &[], true);
    let old = Step::SetVoters(set(&[1, 2, 3]));
    for wanted in [wanted(&[1, 4, 5], &[]), wanted(&[1, 4, 6], &[])] {
        assert_eq!(step_of(1, &apart, &[2, 3], &wanted), old);
    }
    // One voter is not enough for who wants three, where there are three.
    let fewer = replicas(&[&[2, 3, 4], &[1]], &[], true);
    let three = Step::SetVoters(set(&[2, 3, 4]));
    assert_eq!(step_of(1, &fewer, &[2, 3, 4], &wanted(&[1, 5, 6], &[])), three);
}

#[test]
fn who_is_waited_for_is_named() {
    let both = replicas(&[&[1, 2, 3], &[1, 4, 5]], &[], true);
    let waits = |nodes| Step::Wait(set(nodes));
    assert_eq!(step_of(1, &both, &[], &wanted(&[1, 4, 5], &[])), waits(&[2, 3, 4, 5]));
    // Nothing follows what is not committed, and that needs both halves.
    let begun = replicas(&[&[1, 2, 3], &[1, 4, 5]], &[], false);
    for wanted in [wanted(&[1, 2, 3], &[]), wanted(&[1, 4, 5], &[])] {
        assert_eq!(step_of(1, &begun, &[2, 3], &wanted), waits(&[4, 5]));
        assert_eq!(step_of(1, &begun, &[2, 4], &wanted), Step::Nothing, "it is about to be");
    }
}

const NODES: u64 = 5;

/// Some nodes, by the bits of a number.
fn nodes(bits: u64) -> BTreeSet<u64> {
    (1..=NODES).filter(|node| bits & (1 << (node - 1)) != 0).collect()
}

/// Voters as they are placed: an odd number of them.
fn odd() -> Vec<BTreeSet<u64>> {
    (0..1 << NODES).map(nodes).filter(|some| some.len() % 2 == 1).collect()
}

fn stands(voters: &BTreeSet<u64>, alive: &BTreeSet<u64>) -> bool {
    2 * voters.intersection(alive).count() > voters.len()
}

/// A group whose leader takes step after step; of the first change of voters only the first half is done, if
/// that is wanted.
struct Walk {
    me: u64,
    now: Replicas,
    alive: BTreeSet<u64>,
    is_cut: bool,
}

impl Walk {
    fn is_law(&self, holds: bool, law: &str, wanted: &Placed) {
        let Self { me, now, alive, .. } = self;
        assert!(holds, "{law}: node {me} leads {now:?}, {alive:?} are there, {wanted:?}");
    }

    fn comes_to(&mut self, halves: Vec<BTreeSet<u64>>) {
        let everybody = &self.now.voters | &self.now.learners;
        let voters: BTreeSet<u64> = halves.iter().flatten().copied().collect();
        let learners = &everybody - &voters;
        self.now = Replicas { voters, learners, halves, is_committed: true };
    }

    /// What openraft makes of it; whether there is another step.
    fn take(&mut self, step: Step, wanted: &Placed) -> bool {
        let enough = self.now.halves.iter().filter(|half| stands(half, &self.alive));
        let enough = enough.map(BTreeSet::len).max().unwrap_or(0).min(wanted.voters.len());
        match step {
            Step::Nothing => return false,
            Step::Wait(nodes) => {
                let is_true = !nodes.is_empty() && nodes.is_disjoint(&self.alive);
                self.is_law(is_true, "who is waited for is not there", wanted);
                return false;
            }
            Step::AddLearners(nodes) => {
                self.is_law(self.now.is_settled(), "learners come to a settled group", wanted);
                self.now.learners.extend(nodes);
            }
            Step::RemoveLearners(nodes) => {
                let is_theirs = nodes.is_subset(&self.now.learners) && self.now.is_settled();
                self.is_law(is_theirs, "who votes is not removed", wanted);
                self.is_law(!nodes.contains(&self.me), "who leads is not removed", wanted);
                let are_there = wanted.learners.iter().all(|node| self.alive.contains(node));
                self.is_law(are_there, "a copy goes once those that are wanted are whole", wanted);
                self.now.learners = &self.now.learners - &nodes;
            }
            Step::HandTo(node) => {
                let may = self.alive.contains(&node) && self.now.voters.contains(&node);
                self.is_law(may, "a voter leads that is there", wanted);
                self.me = node;
            }
            Step::SetVoters(voters) => {
                self.is_law(stands(&voters, &self.alive), "a majority is there", wanted);
                self.is_law(voters.len() >= enough, "enough vote", wanted);
                let is_of_it = voters.iter().all(|node| self.now.contains(*node));
                self.is_law(is_of_it, "who follows comes to vote", wanted);
                let [before] = &self.now.halves[..] else {
                    let is_half = self.now.halves.contains(&voters);
                    self.is_law(is_half, "out of two halves one is a step away", wanted);
                    self.comes_to(vec![voters]);
                    return true;
                };
                let both = vec![before.clone(), voters.clone()];
                let is_cut = std::mem::take(&mut self.is_cut);
                self.comes_to(if is_cut { both } else { vec![voters] });
            }
        }
        true
    }

    /// Until nothing is to be done, or somebody is missing.
    fn walk(mut self, wanted: &Placed) -> Self {
        // Leave, let follow, hand over, half a change, the other half, hand over, let go, and nothing.
        const STEPS_MAX: usize = 9;
        for _ in 0..STEPS_MAX {
            let alive: Vec<u64> = self.alive.iter().copied().collect();
            let step = step_of(self.me, &self.now, &alive, wanted);
            if !self.take(step, wanted) {
                return self;
            }
        }
        self.is_law(false, "it comes to an end", wanted);
        self
    }
}

/// From each configuration, whole or in two halves, to each wanted one, whoever is there: what can be reached
/// is, and no step on the way leaves the group to too few.
#[test]
fn what_is_wanted_is_reached_from_everywhere() {
    let all = odd();
    for before in &all {
        for after in &all {
            let halves = if before == after { vec![before] } else { vec![before, after] };
            for bits in 1..1 << NODES {
                let alive = nodes(bits);
                let who = halves.iter().flat_map(|half| half.intersection(&alive)).max();
                let Some(me) = who.copied() else { continue };
                for target in &all {
                    from_to(&halves, &alive, me, target);
                }
            }
        }
    }
}

fn from_to(halves: &[&BTreeSet<u64>], alive: &BTreeSet<u64>, me: u64, target: &BTreeSet<u64>) {
    let halves: Vec<BTreeSet<u64>> = halves.iter().copied().cloned().collect();
    let voters = halves.iter().flatten().copied().collect();
    let can_leave = halves.iter().any(|half| stands(half, alive));
    let now = Replicas { voters, learners: BTreeSet::new(), halves, is_committed: true };
    // One that leads a whole group has its majority.
    if now.is_settled() && !can_leave {
        return;
    }
    let voters: Vec<u64> = target.iter().copied().collect();
    let wanted = wanted(&voters, &[]);
    for is_cut in [false, true] {
        let walk = Walk { me, now: now.clone(), alive: alive.clone(), is_cut };
        let end = walk.walk(&wanted);
        if can_leave {
            end.is_law(end.now.is_settled(), "two halves are left", &wanted);
        } else {
            end.is_law(end.now == now, "nothing is done without a majority", &wanted);
        }
        if can_leave && target.is_subset(alive) {
            let is_as_wanted = end.now.voters == *target && end.now.learners.is_empty();
            end.is_law(is_as_wanted, "what is there is reached", &wanted);
        }
    }
}

/// From everybody who follows to everybody who is to, whoever is there: what is wanted is reached where it is there, and
/// until then no copy goes.
#[test]
fn no_copy_goes_before_those_that_are_wanted_are_whole() {
    for (followed, follow, alive) in (0..1 << (3 * (NODES - 1))).map(three) {
        let alive = &alive | &set(&[1]);
        let now = replicas(&[&[1]], &followed.iter().copied().collect::<Vec<_>>(), true);
        let wanted = wanted(&[1], &follow.iter().copied().collect::<Vec<_>>());
        let end = Walk { me: 1, now, alive: alive.clone(), is_cut: false }.walk(&wanted);
        let left = if follow.is_subset(&alive) { follow.clone() } else { &followed | &follow };
        end.is_law(end.now.learners == left, "copies are as wanted, or all there", &wanted);
    }
}

/// Three choices of the nodes behind the first, by the bits of a number.
fn three(bits: u64) -> (BTreeSet<u64>, BTreeSet<u64>, BTreeSet<u64>) {
    let others = NODES - 1;
    let choice = |at: u64| nodes(((bits >> (at * others)) & ((1 << others) - 1)) << 1);
    (choice(0), choice(1), choice(2))
}
