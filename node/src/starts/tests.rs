//! Which directories are older, and what is said and stored of starts.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use super::*;
use crate::{
    golden::are_frozen,
    os::SystemEntropy,
    store::{Engine, Role, simulated::Disk, writer::OnFatal},
};

const NODE: u64 = 3;

fn disk() -> Disk {
    Disk::new(Duration::ZERO)
}

async fn started(disk: &Disk) -> Arc<Memory> {
    let log = disk.open("log", Role::Log).unwrap();
    let engine: Arc<dyn Engine> = Arc::new(disk.clone());
    let on_fatal: OnFatal = Arc::new(|error| panic!("the log failed: {error}"));
    let (writer, task) = LogWriter::new(Arc::clone(&log), engine, on_fatal).unwrap();
    drop(disk.spawn_writer(Box::pin(task)));
    Memory::begin(&*log, writer, &SystemEntropy::default()).await.unwrap()
}

/// As if the node had voted, or taken entries.
async fn writes(memory: &Arc<Memory>, rounds: u64) {
    let writer = lock(&memory.writer).clone().unwrap();
    for round in 0..rounds {
        writer.write(row(b"x".to_vec(), &round)).await.unwrap();
    }
}

fn copy(disk: &Disk) -> Disk {
    let (from, copied) = (disk.open("log", Role::Log).unwrap(), self::disk());
    let mut batch = Batch::default();
    for (key, value) in from.scan(&[], &[u8::MAX], 1000).unwrap() {
        batch.put(key, value);
    }
    copied.open("log", Role::Log).unwrap().write(batch).unwrap();
    copied
}

async fn hears(peer: &Arc<Memory>, node: &Arc<Memory>) -> bool {
    peer.hear(NODE, &node.hello()).await.is_ok()
}

#[tokio::test]
async fn a_node_is_known_again_however_often_it_starts() {
    let (peer, own) = (started(&disk()).await, disk());
    for unheard in [0, 1, 3, STARTS_TOLD + 1] {
        for _ in 0..unheard {
            writes(&started(&own).await, 2).await;
        }
        let node = started(&own).await;
        assert!(hears(&peer, &node).await, "after {unheard} starts that nobody heard of");
        // It says so again while it runs, and what comes late takes nothing back.
        let early = node.hello();
        writes(&node, 3).await;
        assert!(hears(&peer, &node).await);
        assert_eq!(peer.hear(NODE, &early).await, Ok(()));
        assert_eq!(peer.told_by(NODE), Some(node.rounds()));
    }
    assert_eq!(started(&own).await.hello().starts.len(), STARTS_TOLD);
}

#[tokio::test]
async fn a_copy_from_before_the_last_start_is_older() {
    let (others, own) = (disk(), disk());
    let peer = started(&others).await;
    assert!(hears(&peer, &started(&own).await).await);
    let before = copy(&own);
    assert!(hears(&peer, &started(&own).await).await);
    // Its next start has the number that the node's last one had.
    let copied = started(&before).await;
    let why = peer.hear(NODE, &copied.hello()).await.unwrap_err();
    assert!(why.contains("start 2 of node 3"), "{why}");
    // A peer that was started again, and one that hears of both for the first time.
    writes(&peer, 1).await;
    assert!(!hears(&started(&others).await, &copied).await);
    assert!(hears(&started(&disk()).await, &copied).await);
    // The node itself is welcome.
    assert!(hears(&peer, &started(&own).await).await);
}

#[tokio::test]
async fn a_copy_of_a_running_node_is_older_once_that_has_told_more() {
    let (peer, own) = (started(&disk()).await, disk());
    let node = started(&own).await;
    assert!(hears(&peer, &node).await);
    let before = copy(&own);
    // Nothing was forgotten: it is as if the node had been killed then.
    assert!(hears(&peer, &started(&copy(&own)).await).await);
    let peer = started(&disk()).await;
    writes(&node, 10).await;
    assert!(hears(&peer, &node).await);
    let copied = started(&before).await;
    assert!(!hears(&peer, &copied).await);
    // Also where its log has grown beyond the node's since.
    writes(&copied, 20).await;
    assert!(copied.rounds() > node.rounds() && !hears(&peer, &copied).await);
    assert!(!hears(&peer, &started(&before).await).await);
    assert!(hears(&peer, &started(&own).await).await);
}

#[tokio::test]
async fn starts_that_are_refused_do_not_make_a_copy_newer() {
    let (peer, own) = (started(&disk()).await, disk());
    let node = started(&own).await;
    let before = copy(&own);
    writes(&node, 3).await;
    assert!(hears(&peer, &node).await);
    for _ in 0..2 * STARTS_TOLD {
        let copied = started(&before).await;
        writes(&copied, 1).await;
        assert!(!hears(&peer, &copied).await);
        copied.refused().await;
        // What was queued is written before what follows.
        writes(&copied, 1).await;
    }
    // Once it is taken in all the same, its starts count again.
    let copied = started(&before).await;
    let starts = copied.hello().starts;
    copied.taken_in().await;
    writes(&copied, 1).await;
    assert_eq!(started(&before).await.hello().starts.len(), starts.len() + 1);
}

/// Somebody was away while the node told what a copy does not have, and another one was not.
#[tokio::test]
async fn a_copy_that_another_one_refused_is_forgotten_by_those_that_knew_less() {
    let (others, own) = (disk(), disk());
    let (peer, knowing) = (started(&others).await, started(&disk()).await);
    let node = started(&own).await;
    assert!(hears(&peer, &node).await && hears(&knowing, &node).await);
    writes(&node, 3).await;
    let before = copy(&own);
    writes(&node, 3).await;
    assert!(hears(&knowing, &node).await);
    for _ in 0..2 {
        let copied = started(&before).await;
        assert!(hears(&peer, &copied).await, "it knows no better");
        assert!(!hears(&knowing, &copied).await);
        copied.refused().await;
        writes(&copied, 1).await;
        // It says so as the last, and whenever it is started again.
        assert!(hears(&peer, &copied).await);
        assert!(!hears(&knowing, &copied).await);
    }
    // What it knew before is in memory, and on disk.
    writes(&peer, 1).await;
    assert!(hears(&started(&others).await, &started(&own).await).await);
    assert!(hears(&peer, &started(&own).await).await);
    assert!(hears(&knowing, &started(&own).await).await);
}

#[tokio::test]
async fn a_start_that_was_taken_in_is_not_forgotten() {
    let (peer, own) = (started(&disk()).await, disk());
    assert!(hears(&peer, &started(&own).await).await);
    let node = started(&own).await;
    node.refused().await;
    node.taken_in().await;
    // What was queued is written before what follows.
    writes(&node, 1).await;
    assert!(hears(&peer, &node).await);
    let before = copy(&own);
    node.refused().await;
    assert_eq!(node.hello().is_refused, None);
    writes(&node, 1).await;
    assert!(hears(&peer, &node).await);
    assert!(!hears(&peer, &started(&before).await).await);
}

#[tokio::test]
async fn what_is_heard_is_written_down_now_and_then() {
    let (others, own) = (disk(), disk());
    let (peer, node) = (started(&others).await, started(&own).await);
    assert!(hears(&peer, &node).await);
    let at_first = node.rounds();
    writes(&node, WRITTEN_EVERY - 1).await;
    assert!(hears(&peer, &node).await);
    writes(&peer, 1).await;
    assert_eq!(started(&others).await.told_by(NODE), Some(at_first));
    let peer = started(&others).await;
    writes(&node, 1).await;
    assert!(hears(&peer, &node).await);
    writes(&peer, 1).await;
    assert_eq!(started(&others).await.told_by(NODE), Some(node.rounds()));
}

#[test]
fn what_is_said_and_stored_of_starts() {
    let start = Start { number: 1, run: 2, rounds: 3 };
    are_frozen(&[(
        "82 81 83 01 02 03 04",
        Hello { starts: vec![start], rounds: 4, is_refused: None, reads: None },
    )]);
    let refused = Hello { starts: vec![start], rounds: 4, is_refused: Some(true), reads: None };
    are_frozen(&[("83 81 83 01 02 03 04 f5", refused)]);
    let reads = Some(PACKED_FRAMES);
    let packs = Hello { starts: vec![start], rounds: 4, is_refused: None, reads };
    are_frozen(&[("84 81 83 01 02 03 04 f6 01", packs)]);
    are_frozen(&[("82 81 83 01 02 03 f4", Own { starts: vec![start], is_refused: false })]);
    are_frozen(&[("82 80 f5", Own { starts: vec![], is_refused: true })]);
    let heard = Heard { number: 1, run: 2, rounds: 3, before: None };
    are_frozen(&[("83 01 02 03", heard)]);
    let before = Some(Before { number: 4, run: 5, rounds: 6 });
    are_frozen(&[("84 01 02 03 83 04 05 06", Heard { before, ..heard })]);
}

#[tokio::test]
async fn what_was_heard_is_forgotten_where_an_operator_says_so() {
    let (others, own) = (disk(), disk());
    let peer = started(&others).await;
    assert!(hears(&peer, &started(&own).await).await);
    writes(&peer, 1).await;
    let log = others.open("log", Role::Log).unwrap();
    assert_eq!(forget(&*log, NODE + 1).await.unwrap(), None);
    assert!(!hears(&started(&others).await, &started(&disk()).await).await);
    let (number, _) = forget(&*log, NODE).await.unwrap().unwrap();
    assert_eq!((number, forget(&*log, NODE).await.unwrap()), (1, None));
    assert!(hears(&started(&others).await, &started(&disk()).await).await);
}
