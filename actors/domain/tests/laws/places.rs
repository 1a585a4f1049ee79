//! Examples of how a cluster grows and shrinks, and of what it refuses.

use std::collections::BTreeSet;

use fieldmesh_domain::{
    Aggregate, RejectionCode,
    placement::{Command, Member, PLACEMENT, Step, Wanted},
};

use crate::{
    bundles,
    members::{Cluster, SHARDS, ctx, join, member, region},
};

fn voters(cluster: &Cluster, group: u32) -> (Vec<u64>, Vec<u64>) {
    let placed = cluster.members().placed(group).unwrap();
    (placed.voters.clone(), placed.learners.clone())
}

#[test]
fn two_nodes_have_one_voter_and_three_have_three() {
    let mut cluster = Cluster::of(&[join(1)]);
    assert_eq!(voters(&cluster, 1), (vec![1], vec![]));
    cluster.ask(&join(2)).unwrap();
    assert_eq!(voters(&cluster, 1), (vec![1], vec![2]), "two would both be needed");
    cluster.ask(&join(3)).unwrap();
    for group in [PLACEMENT, 1, SHARDS, 1024] {
        assert_eq!(voters(&cluster, group), (vec![1, 2, 3], vec![]));
    }
    let leaders: BTreeSet<_> =
        (1..=3).map(|group| cluster.members().preferred(group).unwrap()).collect();
    assert_eq!(leaders, BTreeSet::from([1, 2, 3]), "leaders are spread");
}

#[test]
fn the_placement_group_is_spread_over_regions() {
    let mut cluster = Cluster::of(&[join(1), join(2), join(3), join(21)]);
    assert_eq!(voters(&cluster, PLACEMENT), (vec![1, 2, 21], vec![3]));
    cluster.ask(&join(22)).unwrap();
    assert_eq!(voters(&cluster, PLACEMENT), (vec![1, 2, 3, 21, 22], vec![]));
    // The second region's groups have numbers of their own.
    assert_eq!(voters(&cluster, 2048 + 1), (vec![21], vec![22]));
    assert_eq!(voters(&cluster, 2048 + 1024), (vec![21], vec![22]));
}

/// Fewer than five vote, and not as many of each region: which one has more is no reason to move.
#[test]
fn who_votes_in_the_placement_group_goes_on_where_others_are_no_better() {
    let mut cluster = Cluster::of(&[join(1), join(21), join(22)]);
    assert_eq!(voters(&cluster, PLACEMENT), (vec![1, 21, 22], vec![]));
    cluster.ask(&join(2)).unwrap();
    assert_eq!(voters(&cluster, PLACEMENT), (vec![1, 21, 22], vec![2]));
    let leave = Command::Leave { number: 21, by: "op".into() };
    cluster.ask(&leave).unwrap();
    assert_eq!(voters(&cluster, PLACEMENT), (vec![1, 2, 22], vec![]));
}

/// What is given away first may go to whoever has least at the end: nobody else has to move.
#[test]
fn only_what_a_node_had_is_moved_when_it_leaves() {
    let mut cluster = Cluster::of(&(1..=6).map(join).collect::<Vec<_>>());
    for number in [3, 5] {
        let had = cluster.places(region(1))[&number];
        let before: Vec<Vec<u64>> =
            cluster.groups(region(1)).iter().map(|placed| placed.voters.clone()).collect();
        cluster.ask(&Command::Leave { number, by: "op".into() }).unwrap();
        let groups = cluster.groups(region(1));
        let all = groups.iter().zip(&before);
        let new = all.map(|(now, was)| now.voters.iter().filter(|one| !was.contains(one)).count());
        assert_eq!(new.sum::<usize>(), had, "node {number} left");
    }
}

/// By a group's number alone some would lead a third of all groups and others none.
#[test]
fn each_node_leads_as_many_groups_as_another() {
    for nodes in 3..=8 {
        let join = |number| Command::Join { member: member(number), shards: 64, by: "op".into() };
        let cluster = Cluster::of(&(1..=nodes).map(join).collect::<Vec<_>>());
        let leaders = cluster.leaders();
        let led = |node: u64| leaders.range(1..).filter(|(_, leader)| **leader == node).count();
        let led: Vec<usize> = (1..=nodes).map(led).collect();
        assert_eq!(led.iter().sum::<usize>(), 65);
        assert!(led.iter().max().unwrap() - led.iter().min().unwrap() <= 2, "{led:?}");
    }
}

#[test]
fn who_drains_leads_nothing_and_who_leaves_has_nothing() {
    let mut cluster = Cluster::of(&[join(1), join(2), join(3), join(4)]);
    let by = || "op".to_owned();
    cluster.ask(&Command::Drain { number: 2, by: by() }).unwrap();
    let leads = |cluster: &Cluster, number| {
        let groups = [PLACEMENT, 1024].into_iter().chain(1..=SHARDS);
        groups.filter(|group| cluster.members().preferred(*group) == Some(number)).count()
    };
    assert_eq!(leads(&cluster, 2), 0);
    cluster.ask(&Command::Leave { number: 2, by: by() }).unwrap();
    assert_eq!(cluster.places(region(1)).len(), 3);
    assert_eq!(cluster.ask(&Command::Resume { number: 2, by: by() }), Err(RejectionCode::NotNow));
    cluster.ask(&Command::Left { number: 2 }).unwrap();
    assert_eq!(cluster.ask(&join(2)), Err(RejectionCode::Exists), "a number is given once");
    assert!(cluster.state.bundle.nodes.iter().all(|node| node.number != 2));
}

#[test]
fn what_is_wrong_with_a_node_is_said() {
    let mut cluster = Cluster::of(&[join(1), join(2)]);
    let wrong = |change: &dyn Fn(&mut Member), shards| {
        let mut member = member(5);
        change(&mut member);
        Command::Join { member, shards, by: "op".into() }
    };
    for (command, words) in [
        (wrong(&|one| one.number = 0, SHARDS), "from 1"),
        (wrong(&|one| one.number = 2, SHARDS), "node.number = 2"),
        (wrong(&|one| one.identity = member(1).identity, SHARDS), "node 1's"),
        (wrong(&|one| one.mesh = "0.0.0.0:7445".into(), SHARDS), "advertise.mesh"),
        (wrong(&|one| one.devices = "here".into(), SHARDS), "advertise.devices"),
        (wrong(&|one| one.https = "10.0.0.5:0".into(), SHARDS), "advertise.https"),
        (wrong(&|one| one.mesh = member(1).mesh, SHARDS), "node 1's"),
        (wrong(&|_| {}, SHARDS + 1), "node.shards = 7, the region has 6"),
        (Command::Leave { number: 7, by: "op".into() }, "no node 7"),
        (Command::Assign { group: 99, voters: vec![1], by: "op".into() }, "no group 99"),
        (Command::Assign { group: 1, voters: vec![1, 2], by: "op".into() }, "one, three or five"),
    ] {
        let refusal = cluster.state.decide(&command, &ctx(9)).unwrap_err();
        assert!(refusal.detail.contains(words), "{refusal}");
    }
    cluster.ask(&Command::Drain { number: 2, by: "op".into() }).unwrap();
    let last = Command::Leave { number: 1, by: "op".into() };
    assert_eq!(cluster.ask(&last), Err(RejectionCode::NotNow), "nobody would lead");
}

#[test]
fn a_choice_of_an_operator_holds_until_one_of_them_leaves() {
    let mut cluster = Cluster::of(&[join(1), join(2), join(3), join(4)]);
    let assign = Command::Assign { group: 1, voters: vec![4, 1, 2], by: "op".into() };
    cluster.ask(&assign).unwrap();
    assert_eq!(voters(&cluster, 1).0, [1, 2, 4]);
    cluster.ask(&join(5)).unwrap();
    assert_eq!(voters(&cluster, 1).0, [1, 2, 4]);
    cluster.ask(&Command::Leave { number: 4, by: "op".into() }).unwrap();
    let placed = cluster.members().placed(1).unwrap();
    assert!(!placed.pinned && !placed.voters.contains(&4) && placed.voters.len() == 3);
    let abroad = Command::Assign { group: 1, voters: vec![21], by: "op".into() };
    cluster.ask(&join(21)).unwrap();
    assert_eq!(cluster.ask(&abroad), Err(RejectionCode::Invalid), "data stay in their region");
}

/// One that joined has not said what it believes: nothing begins to sign that it may not know.
#[test]
fn a_new_node_holds_up_a_rotation_until_it_says_so_or_has_left() {
    let by = || "op".to_owned();
    let mut life = bundles::Life::default();
    let (founding, next) = (bundles::founding(0, 0), bundles::ca(12));
    assert_eq!((next.signer, next.authority), (founding[2].signer, founding[2].authority));
    let (fingerprint, step) = (next.fingerprint, Step::Activate);
    for command in [
        join(1),
        join(2),
        Command::Adopt(founding),
        Command::Introduce { ca: next, by: by() },
        Command::Acknowledge { node: 1, epoch: 2 },
        Command::Acknowledge { node: 2, epoch: 2 },
    ] {
        life.ask(command).unwrap();
    }
    let activate = Command::Rotate(Wanted { fingerprint, step, by: by(), second_person: false });
    let may = |life: &bundles::Life| life.state.decide(&activate, &ctx(9)).is_ok();
    assert!(may(&life));
    life.ask(join(3)).unwrap();
    assert!(!may(&life), "node 3 has said nothing yet");
    life.ask(Command::Leave { number: 3, by: by() }).unwrap();
    assert!(!may(&life), "it may still serve");
    for late in [0, 2] {
        life.ask(Command::Left { number: 3 }).unwrap();
        life.ask(Command::Acknowledge { node: 3, epoch: late }).unwrap();
        assert!(may(&life), "it has left, whatever it still says");
    }
    life.ask(join(4)).unwrap();
    assert!(!may(&life));
    life.ask(Command::Acknowledge { node: 4, epoch: 2 }).unwrap();
    assert!(may(&life), "node 4 knows it");
}
