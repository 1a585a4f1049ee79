//! A group of which one voter is left, which is to go on alone.

use std::collections::BTreeSet;

use fieldmesh_node::{
    consensus::{codec, group, outlive},
    store::{Batch, Engine as _, Role, keys::log},
};
use fieldmesh_tests::live::until;

use crate::{Cluster, GROUP};

/// No group comes so far by itself.
const FAR: u64 = 1 << 31;

/// What came last may have been acknowledged: whoever led had it on the disks of most, and nobody heard of that any more.
async fn came_at_last(cluster: &Cluster, number: u64) -> u64 {
    let disk = cluster.nodes[number as usize - 1].disk.clone();
    let records = disk.open("log", Role::Log).unwrap();
    let (from, until) = (log::entry(GROUP, 0), log::entries_end(GROUP));
    let (_, value) = records.last(&from, &until).unwrap().unwrap();
    let mut entry = codec::decode_entry(&value).unwrap();
    entry.log_id.index += 1;
    let mut batch = Batch::default();
    batch.put(log::entry(GROUP, entry.log_id.index), codec::encode_entry(&entry));
    records.write(batch).unwrap();
    records.sync().await.unwrap();
    entry.log_id.index
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_left_of_a_group_goes_on_with_all_that_it_has_and_others_take_it() {
    let (mut cluster, [leader, left, away]) = Cluster::led().await;
    cluster.stop(away).await;
    cluster.commit(10).await;
    cluster.stop(leader).await;
    cluster.stop(left).await;
    let at = |number: u64| number as usize - 1;
    let last = came_at_last(&cluster, left).await;
    let disk = cluster.nodes[at(left)].disk.clone();
    let records = disk.open("log", Role::Log).unwrap();
    let stored = outlive::look(GROUP, &disk, &*records).unwrap().unwrap();
    assert_eq!((stored.last.index, &stored.halves), (last, &vec![BTreeSet::from([1, 2, 3])]));
    assert!(outlive::check(&*records).is_ok());
    outlive::vote_alone(GROUP, left, stored.last, &*records).await.unwrap();
    assert!(outlive::check(&*records).is_err(), "the node does not start before all is done");
    drop((records, stored));

    cluster.start(at(left)).await;
    assert_eq!(cluster.leader().await, left, "and nobody else was asked");
    assert!(cluster.group(left).applied() > Some(last));
    cluster.stop(left).await;
    // The power goes between the state and the log: the state has begun again, and the log not.
    let elsewhere = disk.open("log-elsewhere", Role::Log).unwrap();
    outlive::begin_again(GROUP, left, (&disk, &*elsewhere), |_| Ok(())).await.unwrap();
    let records = disk.open("log", Role::Log).unwrap();
    assert!(outlive::check(&*records).is_err());
    let stored = outlive::look(GROUP, &disk, &*records).unwrap().unwrap();
    assert!(stored.last.index > FAR);
    outlive::vote_alone(GROUP, left, stored.last, &*records).await.unwrap();
    drop((records, stored));
    cluster.start(at(left)).await;
    cluster.commit(1).await;
    cluster.stop(left).await;
    let records = disk.open("log", Role::Log).unwrap();
    let ended = outlive::begin_again(GROUP, left, (&disk, &*records), |_| Ok(())).await.unwrap();
    assert!(ended.index > FAR && outlive::check(&*records).is_ok());
    group::inspect(GROUP, &disk, &*records).unwrap();
    drop(records);

    cluster.start(at(left)).await;
    for number in [away, leader] {
        cluster.start(at(number)).await;
        assert_eq!(cluster.leader().await, left, "node {number} votes by what was before");
        cluster.group(left).add_learners(&BTreeSet::from([number])).await.unwrap();
        let applied = async || {
            let [own, others] = [left, number].map(|one| cluster.group(one).applied());
            (own > Some(ended.index + FAR) && others >= own).then_some(())
        };
        until("it has what the group has", applied).await;
    }
    cluster.group(left).set_voters(&BTreeSet::from([1, 2, 3])).await.unwrap();
    cluster.commit(10).await;
    cluster.agree().await;
}
