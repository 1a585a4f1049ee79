//! Examples of how a cluster grows and shrinks, and of what it refuses.

use std::collections::BTreeSet;

use fieldmesh_domain::{
    Aggregate, EntityId, EntityKind, RejectionCode,
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
fn a_region_grows_from_one_node_to_five() {
    let mut cluster = Cluster::default();
    for (number, shard, authority, placement, places) in [
        (1, (vec![1], vec![]), (vec![1], vec![]), (vec![1], vec![]), vec![7]),
        (2, (vec![1], vec![2]), (vec![1], vec![2]), (vec![1], vec![2]), vec![7, 0]),
        (
            3,
            (vec![1, 2, 3], vec![]),
            (vec![1, 2, 3], vec![]),
            (vec![1, 2, 3], vec![]),
            vec![7, 7, 7],
        ),
        (
            4,
            (vec![2, 3, 4], vec![]),
            (vec![1, 2, 3], vec![4]),
            (vec![1, 2, 3], vec![4]),
            vec![5, 5, 6, 5],
        ),
        (
            5,
            (vec![2, 4, 5], vec![]),
            (vec![1, 2, 3], vec![4, 5]),
            (vec![1, 2, 3, 4, 5], vec![]),
            vec![4, 4, 4, 5, 4],
        ),
    ] {
        cluster.ask(&join(number)).unwrap();
        cluster.holds();
        assert_eq!(voters(&cluster, 1), shard, "{number} nodes");
        assert_eq!(voters(&cluster, 1024), authority, "{number} nodes");
        assert_eq!(voters(&cluster, PLACEMENT), placement, "{number} nodes");
        let now: Vec<usize> = cluster.places(region(1)).into_values().collect();
        assert_eq!(now, places, "{number} nodes");
    }
}

#[test]
fn a_region_shrinks_to_one_node_and_no_further() {
    let mut cluster = Cluster::of(&(1..=5).map(join).collect::<Vec<_>>());
    for number in 1..=4 {
        cluster.ask(&Command::Leave { number, by: "op".into() }).unwrap();
        cluster.holds();
        cluster.ask(&Command::Left { number }).unwrap();
        cluster.holds();
    }
    for group in [PLACEMENT, 1, SHARDS, 1024] {
        assert_eq!(voters(&cluster, group), (vec![5], vec![]));
    }
    for command in [
        Command::Leave { number: 5, by: "op".into() },
        Command::Drain { number: 5, by: "op".into() },
    ] {
        assert_eq!(cluster.ask(&command), Err(RejectionCode::NotNow));
    }
    // A region that has nodes elsewhere is not served by them.
    cluster.ask(&join(21)).unwrap();
    let last = Command::Leave { number: 5, by: "op".into() };
    assert_eq!(cluster.ask(&last), Err(RejectionCode::NotNow));
}

#[test]
fn a_region_that_is_restored_begins_with_one_node_in_the_place_of_all() {
    let mut cluster = Cluster::of(&[join(1), join(2), join(3)]);
    let restore = |number, from: u64| {
        let addresses = member(from);
        let Member { mesh, devices, https, .. } = addresses;
        let member = Member { mesh, devices, https, ..member(number) };
        Command::Restore { member, shards: SHARDS, by: "op".into() }
    };
    assert_eq!(cluster.ask(&restore(2, 9)), Err(RejectionCode::Exists), "a number is given once");
    // On the machine of one of those that are lost.
    cluster.ask(&restore(4, 1)).unwrap();
    cluster.holds();
    for group in [PLACEMENT, 1, SHARDS, 1024] {
        assert_eq!(voters(&cluster, group), (vec![4], vec![]));
    }
    for number in 1..=3 {
        assert_eq!(
            cluster.members().member(number).unwrap().presence,
            fieldmesh_domain::placement::Presence::Gone
        );
        assert_eq!(cluster.ask(&join(number)), Err(RejectionCode::Exists));
    }
    cluster.ask(&join(5)).unwrap();
    assert_eq!(voters(&cluster, 1), (vec![4], vec![5]));
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

/// Five would vote, and three of them in one region, which would take the majority with it.
#[test]
fn no_region_of_three_has_the_majority_of_the_placement_group() {
    let mut cluster = Cluster::of(&[join(1), join(2), join(3), join(21), join(41)]);
    assert_eq!(voters(&cluster, PLACEMENT), (vec![1, 21, 41], vec![2, 3]));
    cluster.holds();
    cluster.ask(&join(22)).unwrap();
    assert_eq!(voters(&cluster, PLACEMENT), (vec![1, 2, 21, 22, 41], vec![3]));
    cluster.ask(&Command::Leave { number: 22, by: "op".into() }).unwrap();
    assert_eq!(voters(&cluster, PLACEMENT), (vec![1, 21, 41], vec![2, 3]));
    // Of two one has it, however few vote.
    let two = Cluster::of(&[join(1), join(2), join(3), join(21), join(22)]);
    assert_eq!(voters(&two, PLACEMENT), (vec![1, 2, 3, 21, 22], vec![]));
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
    let assign =
        |group, voters: &[u64]| Command::Assign { group, voters: voters.to_vec(), by: "op".into() };
    for (command, words) in [
        (wrong(&|one| one.number = 0, SHARDS), "from 1"),
        (wrong(&|one| one.number = 2, SHARDS), "node.number = 2"),
        (wrong(&|one| one.identity = member(1).identity, SHARDS), "node 1's"),
        (wrong(&|one| one.mesh = "0.0.0.0:7445".into(), SHARDS), "advertise.mesh"),
        (wrong(&|one| one.devices = "here".into(), SHARDS), "advertise.devices"),
        (wrong(&|one| one.https = "10.0.0.5:0".into(), SHARDS), "advertise.https"),
        (wrong(&|one| one.https = "[::ffff:0.0.0.0]:8443".into(), SHARDS), "advertise.https"),
        (
            wrong(&|one| one.mesh = member(1).mesh, SHARDS),
            "advertise.mesh = \"10.0.0.1:7445\" is node 1's",
        ),
        (
            wrong(&|one| one.devices = member(2).devices, SHARDS),
            "advertise.devices = \"10.0.0.2:7443\" is node 2's",
        ),
        (
            wrong(&|one| one.https = member(2).https, SHARDS),
            "advertise.https = \"10.0.0.2:8443\" is node 2's",
        ),
        (wrong(&|_| {}, 0), "use 1 to 64"),
        (wrong(&|one| *one = member(21), 65), "use 1 to 64"),
        (
            Command::Join { member: member(1), shards: 5, by: "op".into() },
            "node.shards = 5, the region has 6",
        ),
        (wrong(&|one| one.identity = EntityId::desk(region(1)), SHARDS), "by its registration"),
        (wrong(&|_| {}, SHARDS + 1), "node.shards = 7, the region has 6"),
        (Command::Leave { number: 7, by: "op".into() }, "no node 7"),
        (assign(99, &[1]), "no group 99"),
        (assign(2048 + 1, &[1]), "no group 2049"),
        (assign(1, &[1, 2]), "one, three or five"),
        (assign(1, &[]), "one, three or five"),
        (assign(1, &[1, 1, 2]), "one, three or five"),
        (assign(1, &[1, 2, 3, 4, 5, 6, 7]), "one, three or five"),
        (assign(1, &[7]), "no node 7"),
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
    assert_eq!(cluster.ask(&assign), Err(RejectionCode::NotNow), "node 4 is leaving");
    cluster.ask(&Command::Left { number: 4 }).unwrap();
    assert_eq!(cluster.ask(&assign), Err(RejectionCode::Unknown), "node 4 has left");
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

/// The same address in other words is the same address.
#[test]
fn an_address_is_one_nodes_until_that_is_gone() {
    let at = |number, mesh: &str| {
        let member = Member { mesh: mesh.into(), ..member(number) };
        Command::Join { member, shards: SHARDS, by: "op".into() }
    };
    let mut cluster = Cluster::of(&[at(1, "[2001:db8::1]:7445"), join(2)]);
    let other = at(3, "[2001:db8:0:0:0:0:0:1]:7445");
    assert_eq!(cluster.ask(&other), Err(RejectionCode::Exists));
    let elsewhere = at(2, "[2001:db8::1]:7445");
    assert_eq!(cluster.ask(&elsewhere), Err(RejectionCode::Exists), "nor may a member go there");
    cluster.ask(&Command::Leave { number: 1, by: "op".into() }).unwrap();
    assert_eq!(cluster.ask(&other), Err(RejectionCode::Exists), "node 1 may still be there");
    cluster.ask(&Command::Left { number: 1 }).unwrap();
    cluster.ask(&other).unwrap();
}

/// Those that are gone count: their numbers are never given again.
#[test]
fn there_are_so_many_numbers() {
    let numbered = |number: u8| {
        let identity = EntityId::new(EntityKind::Registration, region(1), [number; 10]);
        let mesh = format!("10.0.1.{number}:7445");
        let (devices, https) = (mesh.clone(), mesh.clone());
        let member = Member {
            number: 1000 + u64::from(number),
            identity,
            mesh,
            devices,
            https,
            ..member(1)
        };
        Command::Join { member, shards: SHARDS, by: "op".into() }
    };
    let mut cluster = Cluster::of(&(0..=255).map(numbered).collect::<Vec<_>>());
    assert_eq!(cluster.members().members.len(), 256);
    cluster.holds();
    assert_eq!(cluster.ask(&join(21)), Err(RejectionCode::Limit));
    assert_eq!(cluster.ask(&numbered(7)), Ok(0), "a member may say again where it is");
    cluster.ask(&Command::Leave { number: 1007, by: "op".into() }).unwrap();
    cluster.ask(&Command::Left { number: 1007 }).unwrap();
    assert_eq!(cluster.ask(&join(21)), Err(RejectionCode::Limit));
    assert_eq!(cluster.ask(&numbered(7)), Err(RejectionCode::Exists));
}
