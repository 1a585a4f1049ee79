//! States of several groups fit together when the groups were held, and do not when they were not.
//!
//! Two groups tell each other things as shards do: a row is committed with its number, taken by the other
//! group, and then forgotten. **Not here:** nodes and files (`backup`).
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use fieldmesh_actors::commit::{Cause, Commit, Proposal, Settle, Tell, Verdict};
use fieldmesh_domain::EntityId;
use fieldmesh_node::{
    backup::cut::{Edges, misfits},
    consensus::{
        Group, Outcome,
        freeze::{HELD_AT_MOST, NotHeld},
        group::{self, GroupOptions},
    },
    store::{
        Engine, Role,
        simulated::Disk,
        writer::{LogWriter, OnFatal},
    },
};
use fieldmesh_tests::group_world::commit;
use tokio::{task::JoinSet, time::timeout};

const ONE: u32 = 1;
const TWO: u32 = 2;
/// Conversations in each direction at a time.
const TALKS: usize = 6;
const CUTS: usize = 25;

/// Two groups on one disk, alone.
async fn groups() -> [Group; 2] {
    let engine: Arc<dyn Engine> = Arc::new(Disk::new(Duration::from_millis(1)));
    let log = engine.open("log", Role::Log).unwrap();
    let on_fatal: OnFatal = Arc::new(|error| panic!("{error}"));
    let (writer, task) =
        LogWriter::new(Arc::clone(&log), Arc::clone(&engine), Arc::clone(&on_fatal)).unwrap();
    engine.spawn_writer(Box::pin(task));
    let mut groups = Vec::new();
    for number in [ONE, TWO] {
        let options = GroupOptions {
            group: number,
            shard: number,
            node: 1,
            seed: u64::from(number),
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(600),
            snapshot_every: group::SNAPSHOT_EVERY,
            fills_forgetful: false,
            observer: None,
            voters: BTreeSet::from([1]),
            peers: None,
        };
        let (log, writer, on_fatal) = (Arc::clone(&log), writer.clone(), Arc::clone(&on_fatal));
        let group = Group::start(options, &*engine, log, writer, on_fatal).await.unwrap();
        group.leading().wait_for(Option::is_some).await.unwrap();
        groups.push(group);
    }
    groups.try_into().ok().unwrap()
}

/// A step of an entity that changes nothing itself.
fn step(cause: Cause, tells: Vec<Tell>) -> Proposal {
    let commit = commit(EntityId::placement(), 0, Vec::new());
    Proposal::Commit(Box::new(Commit { cause, tells, event_count: 0, ..commit }))
}

/// Commits a row for the other group; its number.
async fn tell(from: &Group, to: u32) -> u64 {
    let (entity, sealed) = (EntityId::placement(), vec![7; 32]);
    let row = Tell { to: entity, shard: to, sealed, from: entity };
    let cause = Cause::Operator { command_id: [0; 16] };
    match from.propose(&step(cause, vec![row])).await.unwrap() {
        Outcome::Decided(Verdict::Applied { tells }) => tells[0],
        outcome => panic!("{outcome}"),
    }
}

async fn take(to: &Group, from: u32, number: u64) {
    let outcome = to.propose(&step(Cause::Outbox { from, number }, Vec::new())).await.unwrap();
    assert!(matches!(outcome, Outcome::Decided(Verdict::Applied { .. })), "{outcome}");
}

async fn forget(from: &Group, to: u32, number: u64) {
    let settle = Settle { outbox: vec![(to, number)], ..Settle::default() };
    from.propose(&Proposal::Settle(settle)).await.unwrap();
}

fn found(states: [(u32, &dyn fieldmesh_node::store::Table); 2]) -> Vec<String> {
    let edges = states.map(|(group, table)| Edges::of(group, table).unwrap());
    misfits(&edges)
}

#[tokio::test]
async fn groups_that_are_held_together_fit_whatever_they_tell_each_other() {
    let [one, two] = groups().await;
    let (ends, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut talks = JoinSet::new();
    for at in 0..2 * TALKS {
        let (from, to) = if at % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let (from, to, ends, told) = (from.clone(), to.clone(), Arc::clone(&ends), told.clone());
        talks.spawn(async move {
            while !ends.load(Ordering::Relaxed) {
                let number = tell(&from, to.group).await;
                take(&to, from.group, number).await;
                forget(&from, to.group, number).await;
                told.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for cut in 0..CUTS {
        let before = told.load(Ordering::Relaxed);
        while told.load(Ordering::Relaxed) < before + 5 {
            tokio::task::yield_now().await;
        }
        // In either order, so that each is held alone for a while.
        let (first, second) = if cut % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let first = first.hold().await.unwrap();
        let second = second.hold().await.unwrap();
        let (first, second) = (first.release().await.unwrap(), second.release().await.unwrap());
        let found = found([(first.group, &*first.table), (second.group, &*second.table)]);
        assert_eq!(found, Vec::<String>::new(), "cut {cut}");
    }
    ends.store(true, Ordering::Relaxed);
    talks.join_all().await;
    assert!(told.load(Ordering::Relaxed) > CUTS as u64, "they talked meanwhile");
}

#[tokio::test]
async fn states_of_different_moments_do_not_fit_in_either_order() {
    let [one, two] = groups().await;
    let [sender, receiver] = [one.table(), two.table()];
    let first = tell(&one, TWO).await;
    take(&two, ONE, first).await;
    forget(&one, TWO, first).await;
    assert_eq!(found([(ONE, &*sender), (TWO, &*receiver)]), Vec::<String>::new());
    // The sender first: the receiver has taken what the sender, as it was, gives to something else.
    let early = sender.checkpoint().unwrap();
    let second = tell(&one, TWO).await;
    take(&two, ONE, second).await;
    let late = receiver.checkpoint().unwrap();
    let wrong = found([(ONE, &*early), (TWO, &*late)]);
    assert_eq!(wrong, ["group 2 has taken row 2 of group 1, which gives 2 next"]);
    // The receiver first: the sender has forgotten what the receiver, as it was, did not take.
    let third = tell(&one, TWO).await;
    let early = receiver.checkpoint().unwrap();
    take(&two, ONE, third).await;
    forget(&one, TWO, third).await;
    let late = sender.checkpoint().unwrap();
    let wrong = found([(ONE, &*late), (TWO, &*early)]);
    assert_eq!(wrong, ["group 1 has forgotten 1 rows that group 2 did not take"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_held_takes_nothing_until_it_is_let_go_or_its_time_is_up() {
    let [one, two] = groups().await;
    let held = one.hold().await.unwrap();
    let (group, at) = (one.clone(), held.frozen.index);
    let mut waiting = tokio::spawn(async move { tell(&group, TWO).await });
    let answered = timeout(HELD_AT_MOST / 2, &mut waiting);
    assert!(answered.await.is_err(), "something was proposed while the group was held");
    // Others are not held up by it.
    tell(&two, ONE).await;
    let frozen = held.release().await.unwrap();
    assert_eq!(frozen.index, at);
    waiting.await.unwrap();
    // Nobody says that it may go on: it does so by itself, and says so to whoever believed it held.
    let held = one.hold().await.unwrap();
    let asked = tokio::time::Instant::now();
    tell(&one, TWO).await;
    assert!(asked.elapsed() >= HELD_AT_MOST / 2);
    assert!(matches!(held.release().await, Err(NotHeld::Lapsed { group: ONE })));
    // Two cannot hold one group; nor does the second one keep it.
    let held = one.hold().await.unwrap();
    let group = one.clone();
    let second = tokio::spawn(async move { group.hold().await.map(|held| held.frozen.index) });
    held.release().await.unwrap();
    second.await.unwrap().unwrap();
    tell(&one, TWO).await;
}
