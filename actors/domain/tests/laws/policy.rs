//! What must hold of a region by its policy: where its data are, who votes, what moves.

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_domain::{
    Aggregate, Effect, EntityId, IndexRow, Region, RejectionCode,
    placement::{Command, LEVEL, Member, PLACEMENT, Policy, Presence},
};
use proptest::prelude::*;

use crate::members::{Cluster, SHARDS, command, ctx, join, member, node, region};

fn by() -> String {
    "op".into()
}

fn standby(of: u64, at: Option<u64>) -> Command {
    let policy = at.map(region).map_or(Policy::Zone, Policy::Standby);
    Command::SetPolicy { region: region(of), policy, by: by() }
}

/// Another machine begins in the place of a region's.
fn restore(number: u64) -> Command {
    Command::Restore { member: member(number), shards: SHARDS, by: by() }
}

/// Three nodes at home, and so many in the other region that stands by.
fn cluster(many: u64) -> Cluster {
    let nodes = (1..=3).chain(21..21 + many).map(join);
    Cluster::of(&nodes.chain([standby(1, Some(21))]).collect::<Vec<_>>())
}

/// Which node of the other region has a copy of which group of the first.
fn copies(cluster: &Cluster) -> BTreeMap<u32, Vec<u64>> {
    let is_there = |number: &u64| region(*number) == region(21);
    let abroad = |numbers: &[u64]| numbers.iter().copied().filter(is_there).collect();
    let groups = cluster.groups(region(1));
    groups.iter().map(|placed| (placed.group, abroad(&placed.learners))).collect()
}

/// How many groups of other regions each node of the second one has.
fn shares(cluster: &Cluster) -> BTreeMap<u64, usize> {
    let able = cluster.candidates(region(21)).into_iter();
    let mut shares: BTreeMap<u64, usize> = able.map(|number| (number, 0)).collect();
    let held = [1, 41].into_iter().flat_map(|first| cluster.groups(region(first)));
    for number in held.flat_map(|placed| placed.voters.iter().chain(&placed.learners)) {
        shares.entry(*number).and_modify(|many| *many += 1);
    }
    shares
}

/// How many copies are on another node than before.
fn moved(cluster: &Cluster, before: &BTreeMap<u32, Vec<u64>>) -> usize {
    copies(cluster).iter().filter(|(group, now)| before[group] != **now).count()
}

fn region_of(cluster: &Cluster, number: u64) -> Region {
    cluster.members().member(number).unwrap().region()
}

proptest! {
    /// Residency: nothing of a region is on a node of another but where the policy says so.
    #[test]
    fn data_are_at_home_or_where_the_policy_says(
        commands in prop::collection::vec(
            prop_oneof![12 => command(), 1 => node().prop_map(restore)], 1..60),
    ) {
        let mut cluster = Cluster::default();
        for command in &commands {
            let _ = cluster.ask(command);
            cluster.holds();
            for placed in &cluster.members().groups {
                let Some(home) = cluster.members().home_of(placed.group) else { continue };
                let named: Vec<Region> = home.policy.abroad().chain([home.region]).collect();
                for number in placed.voters.iter().chain(&placed.learners) {
                    prop_assert!(named.contains(&region_of(&cluster, *number)), "{:?}", placed);
                }
            }
        }
    }

    /// Whatever it holds for others, voting or not, is shared out together.
    #[test]
    fn copies_are_spread_evenly(commands in prop::collection::vec(command(), 1..60)) {
        let cluster = Cluster::of(&commands);
        let shares = shares(&cluster);
        let (most, least) = (shares.values().max(), shares.values().min());
        prop_assert!(most.unwrap_or(&0) - least.unwrap_or(&0) <= 1, "{:?}", shares);
    }

    #[test]
    fn no_more_copies_move_than_must(many in 1_u64..7, leaves: bool, away: bool) {
        let mut cluster = cluster(many);
        let (before, had) = (copies(&cluster), shares(&cluster)[&21]);
        let groups = before.len();
        if leaves {
            let command = match away {
                true => Command::NotHeard { number: 21 },
                false => Command::Leave { number: 21, by: by() },
            };
            if cluster.ask(&command).is_ok() {
                prop_assert_eq!(moved(&cluster, &before), had);
            }
        } else {
            cluster.ask(&join(29)).unwrap();
            prop_assert_eq!(moved(&cluster, &before), groups / usize::try_from(many + 1).unwrap());
        }
        cluster.holds();
    }

    /// What happens at home moves no copy.
    #[test]
    fn copies_stay_whatever_happens_at_home(
        commands in prop::collection::vec(command(), 1..40),
    ) {
        let mut cluster = cluster(3);
        let before = copies(&cluster);
        let at_home = |command: &&Command| match command {
            Command::Join { member, .. } => member.number < 20,
            Command::Drain { number, .. }
            | Command::Resume { number, .. }
            | Command::Leave { number, .. }
            | Command::Left { number }
            | Command::NotHeard { number }
            | Command::HeardAgain { number } => *number < 20,
            Command::Assign { .. } => true,
            _ => false,
        };
        for command in commands.iter().filter(at_home) {
            let _ = cluster.ask(command);
            cluster.holds();
            prop_assert_eq!(&copies(&cluster), &before);
        }
    }
}

#[test]
fn a_policy_and_its_moves_are_one_step() {
    let mut cluster = Cluster::of(&[join(1), join(2), join(3), join(21), join(22)]);
    assert!(copies(&cluster).values().all(Vec::is_empty), "zone unless it is said");
    assert_eq!(cluster.ask(&standby(1, Some(21))), Ok(2));
    cluster.holds();
    assert_eq!(shares(&cluster), BTreeMap::from([(21, 4), (22, 3)]));
    assert_eq!(cluster.ask(&standby(1, Some(21))), Ok(0), "as it is");
    for group in [1, SHARDS, 1024] {
        assert_eq!(cluster.members().placed(group).unwrap().voters, [1, 2, 3]);
    }
    // The placement group is on every node anyway.
    assert_eq!(cluster.members().placed(PLACEMENT).unwrap().voters, [1, 2, 3, 21, 22]);
    assert_eq!(cluster.ask(&standby(1, None)), Ok(2));
    cluster.holds();
    assert!(copies(&cluster).values().all(Vec::is_empty), "taken back from the other region");
    assert_eq!(cluster.ask(&standby(1, None)), Ok(0));
}

#[test]
fn each_node_learns_the_policy() {
    let cluster = cluster(1);
    let set = standby(1, None);
    let events = cluster.state.decide(&set, &ctx(9)).unwrap();
    let mut next = cluster.state.clone();
    next.evolve(&events[0]);
    let home = next.members.home(region(1)).unwrap().clone();
    assert_eq!(home.policy, Policy::Zone);
    let epoch = cluster.members().epoch + 1;
    let row = Effect::Index(IndexRow::Home { home, epoch });
    assert_eq!(next.react(&events[0], EntityId::placement()), [row]);
}

#[test]
fn what_is_wrong_with_a_policy_is_said() {
    let mut cluster = cluster(1);
    let elsewhere = |region: &str, standby: &str| Command::SetPolicy {
        region: region.parse().unwrap(),
        policy: Policy::Standby(standby.parse().unwrap()),
        by: by(),
    };
    for (command, code, words) in [
        (elsewhere("ap1", "us1"), RejectionCode::Unknown, "no region ap1"),
        (elsewhere("eu1", "ap1"), RejectionCode::Unknown, "no region ap1"),
        (elsewhere("us1", "us1"), RejectionCode::Invalid, "name regions that are not us1"),
    ] {
        let refusal = cluster.state.decide(&command, &ctx(9)).unwrap_err();
        assert_eq!(refusal.code, code, "{refusal}");
        assert!(refusal.detail.contains(words), "{refusal}");
    }
    cluster.ask(&standby(1, None)).unwrap();
    // The last node of a region cannot leave, so that only a loss leaves it without one.
    for member in &mut cluster.state.members.members {
        if member.number == 21 {
            member.presence = Presence::Gone;
        }
    }
    let refusal = cluster.state.decide(&standby(1, Some(21)), &ctx(9)).unwrap_err();
    assert_eq!(refusal.code, RejectionCode::NotNow);
    assert!(refusal.detail.contains("us1 has no node"), "{refusal}");
}

/// An older node would stumble over it, and its own word is what says that it is no older.
#[test]
fn no_policy_is_set_before_every_node_knows_of_policies() {
    let mut cluster = Cluster::of(&[join(1), join(21), join(22)]);
    let older = Member { level: 0, ..member(21) };
    let announce = |member| Command::Join { member, shards: SHARDS, by: by() };
    assert_eq!(cluster.ask(&announce(older)), Ok(1));
    cluster.holds();
    assert_eq!(cluster.members().level(), 0);
    let refusal = cluster.state.decide(&standby(1, Some(21)), &ctx(9)).unwrap_err();
    assert!(refusal.detail.contains("node 21 runs an older release"), "{refusal}");
    assert_eq!(cluster.ask(&announce(member(21))), Ok(1));
    assert_eq!(cluster.members().level(), LEVEL);
    assert_eq!(cluster.ask(&announce(member(21))), Ok(0), "as it is");
    cluster.ask(&standby(1, Some(21))).unwrap();
}

#[test]
fn an_operator_pins_voters_at_home_and_the_copy_stays() {
    let mut cluster = cluster(2);
    cluster.ask(&join(4)).unwrap();
    let before = copies(&cluster);
    let assign = |voters: &[u64]| Command::Assign { group: 1, voters: voters.to_vec(), by: by() };
    assert_eq!(cluster.ask(&assign(&[before[&1][0]])), Err(RejectionCode::Invalid));
    cluster.ask(&assign(&[1, 2, 4])).unwrap();
    cluster.holds();
    assert_eq!(cluster.members().placed(1).unwrap().voters, [1, 2, 4]);
    assert_eq!(copies(&cluster), before);
}

/// Each is the other's.
#[test]
fn two_regions_may_stand_by_for_each_other() {
    let mut cluster = cluster(2);
    cluster.ask(&standby(21, Some(1))).unwrap();
    cluster.holds();
    let here = cluster.groups(region(21)).into_iter().flat_map(|placed| &placed.learners);
    let here: BTreeSet<u64> = here.copied().filter(|number| *number < 20).collect();
    assert_eq!(here, BTreeSet::from([1, 2, 3]));
}

#[test]
fn a_region_that_begins_again_has_its_policy_and_its_copies() {
    let mut cluster = cluster(2);
    let before = copies(&cluster);
    let Member { mesh, devices, https, .. } = member(1);
    let member = Member { mesh, devices, https, ..member(5) };
    cluster.ask(&Command::Restore { member, shards: SHARDS, by: by() }).unwrap();
    cluster.holds();
    assert_eq!(cluster.members().home(region(1)).unwrap().policy, Policy::Standby(region(21)));
    assert_eq!(copies(&cluster), before);
    for placed in cluster.groups(region(1)) {
        assert_eq!(placed.voters, [5]);
    }
    // The region that stands by is lost too: its copies go to the node that begins there.
    cluster.ask(&restore(24)).unwrap();
    cluster.holds();
    assert!(copies(&cluster).values().all(|copy| copy == &[24]));
}

/// The cluster's own group goes on with the others' nodes, and the copies are where they were until somebody begins.
#[test]
fn a_region_that_is_lost_has_no_voters_until_it_begins_again() {
    let mut cluster = cluster(2);
    let before = copies(&cluster);
    let others: Vec<u64> = cluster.candidates(region(21)).into_iter().collect();
    let lose = |first: u64| Command::Lose(region(first), by());
    assert_eq!(cluster.ask(&lose(41)), Err(RejectionCode::Unknown));
    cluster.ask(&lose(1)).unwrap();
    let placement = cluster.members().placed(PLACEMENT).unwrap();
    assert!(placement.voters.iter().chain(&placement.learners).all(|one| others.contains(one)));
    assert!(placement.voters.len() % 2 == 1, "{placement:?}");
    assert!(cluster.groups(region(1)).iter().all(|placed| placed.voters.is_empty()));
    assert_eq!(copies(&cluster), before);
    assert_eq!(cluster.ask(&lose(1)), Ok(0), "they are gone already");
    assert_eq!(cluster.ask(&lose(21)), Err(RejectionCode::NotNow), "nobody would be left");
    // What befalls others meanwhile moves nothing of it.
    cluster.ask(&join(25)).unwrap();
    assert!(cluster.groups(region(1)).iter().all(|placed| placed.voters.is_empty()));
    cluster.ask(&restore(5)).unwrap();
    cluster.holds();
    assert!(cluster.groups(region(1)).iter().all(|placed| placed.voters == [5]));
    assert_eq!(copies(&cluster).len(), before.len());
}

fn spread(cluster: &mut Cluster) {
    let policy = Policy::Region(region(21), region(41));
    cluster.ask(&Command::SetPolicy { region: region(1), policy, by: by() }).unwrap();
    cluster.holds();
}

/// How many voters of each group are in each region.
fn votes(cluster: &Cluster) -> BTreeSet<[usize; 3]> {
    let of = |voters: &[u64], first: u64| {
        voters.iter().filter(|number| region(**number) == region(first)).count()
    };
    let groups = cluster.groups(region(1)).into_iter();
    groups.map(|placed| [1, 21, 41].map(|first| of(&placed.voters, first))).collect()
}

#[test]
fn votes_are_in_three_regions_and_none_has_a_majority() {
    let mut cluster = Cluster::of(&[1, 2, 3, 21, 22, 23, 41].map(join));
    spread(&mut cluster);
    assert_eq!(votes(&cluster), BTreeSet::from([[2, 2, 1]]));
    // At home each node votes, and leads, about as often as another.
    assert_eq!(cluster.places(region(1)), BTreeMap::from([(1, 5), (2, 5), (3, 4)]));
    for placed in cluster.groups(region(1)) {
        let preferred = cluster.members().preferred(placed.group).unwrap();
        assert_eq!(region(preferred), region(1), "who has no keys serves nobody");
    }
    // The home region is lost, and begins again with one node.
    let Member { mesh, devices, https, .. } = member(1);
    let member = Member { mesh, devices, https, ..member(5) };
    cluster.ask(&Command::Restore { member, shards: SHARDS, by: by() }).unwrap();
    cluster.holds();
    assert_eq!(votes(&cluster), BTreeSet::from([[1, 1, 1]]), "{:?}", cluster.groups(region(1)));
}

#[test]
fn fewer_nodes_vote_where_there_are_fewer() {
    for (nodes, expected) in [
        (vec![1, 21, 41], [1, 1, 1]),
        (vec![1, 2, 21, 41], [1, 1, 1]),
        (vec![1, 2, 21, 22, 41], [2, 2, 1]),
        (vec![1, 21, 22, 41, 42], [1, 2, 2]),
        (vec![1, 2, 3, 4, 21, 22, 23, 41, 42, 43], [2, 2, 1]),
    ] {
        let mut cluster = Cluster::of(&nodes.iter().copied().map(join).collect::<Vec<_>>());
        spread(&mut cluster);
        assert_eq!(votes(&cluster), BTreeSet::from([expected]), "{nodes:?}");
    }
}

/// What an operator chose before is over, and is not chosen by hand meanwhile.
#[test]
fn who_votes_in_three_regions_follows_from_the_policy() {
    let mut cluster = Cluster::of(&[1, 2, 3, 4, 21, 22, 41].map(join));
    let assign = Command::Assign { group: 1, voters: vec![4], by: by() };
    cluster.ask(&assign).unwrap();
    spread(&mut cluster);
    assert_eq!(votes(&cluster), BTreeSet::from([[2, 2, 1]]));
    assert_eq!(cluster.ask(&assign), Err(RejectionCode::NotNow));
    cluster.ask(&standby(1, None)).unwrap();
    cluster.holds();
    assert_eq!(votes(&cluster), BTreeSet::from([[3, 0, 0]]));
    let policy = Policy::Region(region(21), region(21));
    let twice = Command::SetPolicy { region: region(1), policy, by: by() };
    assert_eq!(cluster.ask(&twice), Err(RejectionCode::Invalid));
}
