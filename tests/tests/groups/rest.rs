//! A group in which nothing happens: its members rest, and miss nothing.

use std::time::Duration;

use fieldmesh_actors::commit::{Proposal, Settle};
use fieldmesh_tests::live::until;
use tokio::time::sleep;

use crate::{Cluster, ELECTIONS};

const SOON: Duration = Duration::from_millis(50);

impl Cluster {
    /// Waits until the group rests at each of its nodes, and has for longer than any of them would wait for its leader.
    async fn rest(&self) {
        let rests = || self.running().all(|(_, group)| group.is_at_rest());
        let rests_on = async || {
            let rested = rests();
            sleep(if rested { ELECTIONS } else { SOON }).await;
            // Who was held up for long in between woke.
            (rested && rests()).then_some(())
        };
        until("each of them rests", rests_on).await;
    }

    fn leaders(&self) -> Vec<(u64, u64)> {
        let led = |(number, group): (u64, &fieldmesh_node::consensus::Group)| {
            Some((number, group.led()?))
        };
        self.running().filter_map(led).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rests_takes_the_next_entry_at_once_and_rests_again() {
    let cluster = Cluster::resting(3, Some(|_| true)).await;
    cluster.commit(10).await;
    for _ in 0..3 {
        cluster.rest().await;
        let [(leader, term)] = cluster.leaders()[..] else { panic!("one leads") };
        // No second try: whoever is told that nobody leads drops what it has.
        let proposed = cluster.group(leader).propose(&Proposal::Settle(Settle::default())).await;
        proposed.unwrap();
        assert_eq!(cluster.leaders(), [(leader, term)]);
        cluster.agree().await;
    }
    cluster.rest().await;
    let [(leader, _)] = cluster.leaders()[..] else { panic!("one leads") };
    assert!(cluster.group(leader).read_index().await.is_some(), "and says what is committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rests_is_led_again_when_its_leader_dies_and_by_the_same_when_a_follower_does() {
    let mut cluster = Cluster::resting(3, Some(|_| true)).await;
    cluster.commit(10).await;
    cluster.rest().await;
    let [(first, term)] = cluster.leaders()[..] else { panic!("one leads") };
    // It stands when it comes back, because it hears nobody: those that rest do not vote for it.
    let follower = first % 3 + 1;
    cluster.stop(follower).await;
    cluster.start(follower as usize - 1).await;
    cluster.rest().await;
    assert_eq!(cluster.leaders(), [(first, term)]);

    cluster.stop(first).await;
    let led = async || (!cluster.leaders().is_empty()).then_some(());
    until("another one leads", led).await;
    cluster.commit(1).await;
    cluster.start(first as usize - 1).await;
    cluster.agree().await;
    cluster.rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rests_is_handed_over() {
    let cluster = Cluster::resting(3, Some(|_| true)).await;
    cluster.commit(10).await;
    cluster.rest().await;
    let [(first, _)] = cluster.leaders()[..] else { panic!("one leads") };
    let to = first % 3 + 1;
    cluster.group(first).hand_to(to).await.unwrap();
    cluster.commit(1).await;
    assert_eq!(cluster.leader().await, to);
    cluster.rest().await;
}

/// In the midst of switching it off: who lets no group rest follows one that does, and has to notice when that one dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lets_nothing_rest_notices_all_the_same_that_a_leader_died() {
    let mut cluster = Cluster::resting(3, Some(|number| number == 1)).await;
    cluster.commit(10).await;
    let first = cluster.leader().await;
    if first != 1 {
        cluster.group(first).hand_to(1).await.unwrap();
        cluster.commit(1).await;
    }
    cluster.rest().await;
    cluster.stop(1).await;
    let led = async || (!cluster.leaders().is_empty()).then_some(());
    until("another one leads", led).await;
    cluster.commit(1).await;
    sleep(Duration::from_secs(2)).await;
    assert!(cluster.running().all(|(_, group)| !group.is_at_rest()), "nobody lets it rest");
}
