//! Slots that go from one shard to another while customers ask and technicians answer.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and say what they saw"
)]

use std::{collections::BTreeSet, time::Duration};

use fieldmesh_domain::EntityId;
use fieldmesh_tests::{
    live::until,
    process::{
        crowd::Crowd,
        nodes::{Nodes, SHARDS},
    },
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

const CUSTOMERS: usize = 8;
const TECHNICIANS: usize = 4;
/// A test's whole time: a machine that builds something meanwhile is slow.
const BOUND: Duration = Duration::from_secs(240);

/// Where everybody is, and the desk that knows all technicians, as the command takes them.
fn inhabited(crowd: &Crowd) -> String {
    let slots: BTreeSet<u16> = crowd.people().map(EntityId::slot).chain([0]).collect();
    slots.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

fn slots(view: &Value) -> Vec<Value> {
    view["regions"][0]["slots"].as_array().unwrap().clone()
}

fn leader(view: &Value, group: u32) -> u64 {
    let groups = view["groups"].as_array().unwrap();
    let group = groups.iter().find(|one| one["group"] == group).unwrap();
    group["leader"].as_u64().unwrap()
}

/// What was asked is there, once, with one technician and its whole history.
async fn account(crowd: Crowd, nodes: &Nodes) {
    let tally = crowd.disperse().await;
    println!("{tally}");
    tally.expect_whole();
    let server = nodes.any();
    let listed = until("each ticket is accepted and listed", async || {
        let rows = server.all_tickets().await;
        let all_accepted = rows.iter().all(|row| row["state"] == "accepted");
        (rows.len() >= tally.requests && all_accepted).then_some(rows)
    })
    .await;
    let ids: BTreeSet<EntityId> =
        listed.iter().map(|row| row["id"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(ids.len(), listed.len(), "no ticket is listed twice");
    assert_eq!(ids, tally.tickets);
    for id in ids {
        // The chain of its history is followed before it is shown.
        let shown = server.ask(&["ticket", "show", &id.to_string()]).await;
        assert_eq!(shown["state"], "accepted", "{shown}");
    }
}

async fn under_load(kills: bool) {
    let mut nodes = Nodes::start(3).await;
    nodes.settle().await;
    let crowd = Crowd::gather(nodes.any(), &nodes.devices(), CUSTOMERS, TECHNICIANS).await;
    crowd.served_since(Instant::now()).await;
    // Everybody goes to one shard, on to another, and on to a third.
    let everybody = inhabited(&crowd);
    for (round, to) in [2, 3, 1].into_iter().enumerate() {
        let shard = to.to_string();
        let moved = ["slots", "eu1", &shard, &everybody, "--wait-s", "0"];
        nodes.cluster(&moved).await.expect_code(0);
        if kills {
            let view = nodes.cluster(&["status"]).await.expect_code(0).json();
            let victim = leader(&view, if round == 1 { 2 } else { to });
            nodes.kill(victim).await;
            crowd.served_since(Instant::now()).await;
            nodes.restart(victim).await;
        }
        let began = Instant::now();
        let wait = ["slots", "eu1", &shard, &everybody, "--wait-s", "60"];
        let view = nodes.cluster(&wait).await.expect_code(0).json();
        println!("moved to {to} after {:?}", began.elapsed());
        // Those that are at home there are not named.
        let away = everybody.split(',').map(|slot| slot.parse::<u32>().unwrap());
        let away: Vec<Value> = away
            .filter(|slot| slot % SHARDS + 1 != to)
            .map(|slot| json!({ "slot": slot, "shard": to, "next": null, "last": null }))
            .collect();
        assert_eq!(slots(&view), away, "{view}");
        let took = crowd.served_since(Instant::now()).await;
        println!("every customer was served {took:?} later");
    }
    nodes.settle().await;
    account(crowd, &nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_move_while_requests_go_on() {
    timeout(BOUND, under_load(false)).await.expect("it ends in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_move_whichever_node_dies() {
    timeout(BOUND, under_load(true)).await.expect("it ends in time");
}

/// What a machine that is away has yet to hear of holds up no other slot.
async fn without_a_machine() {
    let mut nodes = Nodes::start(3).await;
    let view = nodes.settle().await;
    let victim = leader(&view, 1);
    nodes.kill(victim).await;
    let wanted = ["slots", "eu1", "2", "0,4,8,12,16,20", "--wait-s", "0"];
    nodes.cluster(&wanted).await.expect_code(0);
    let away = until("all slots are served by the other shard", async || {
        let view = nodes.cluster(&["status"]).await.expect_code(0).json();
        let slots = slots(&view);
        let is_there = |slot: &Value| slot["shard"] == 2 && slot["next"].is_null();
        (slots.len() == 6 && slots.iter().all(is_there)).then_some(slots)
    })
    .await;
    assert!(away.iter().all(|slot| slot["last"] == 1), "{away:?}");
    let waiting = ["slots", "eu1", "2", "0,4,8,12,16,20", "--wait-s", "1"];
    let late = nodes.cluster(&waiting).await.expect_code(1);
    assert!(late.stderr.contains("all have arrived"), "{late}");
    nodes.restart(victim).await;
    let wanted = ["slots", "eu1", "2", "0,4,8,12,16,20", "--wait-s", "60"];
    let view = nodes.cluster(&wanted).await.expect_code(0).json();
    assert!(slots(&view).iter().all(|slot| slot["last"].is_null()), "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_move_while_a_machine_is_away() {
    timeout(BOUND, without_a_machine()).await.expect("it ends in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_moved_is_refused() {
    let nodes = Nodes::start(1).await;
    let before = nodes.settle().await;
    let refused = async |args: &[&str], code: i32, words: &[&str]| {
        nodes.cluster(&[&["slots"], args].concat()).await.expect_code(code).expect_one_line(words);
    };
    refused(&["us1", "1", "0"], 3, &["no region us1"]).await;
    refused(&["eu1", "9", "0"], 3, &["9 is no shard", "use 1 to 4"]).await;
    refused(&["eu1", "1024", "0"], 3, &["1024 is no shard"]).await;
    let usage = nodes.cluster(&["slots", "eu1", "1", "1000-1024"]).await.expect_code(2);
    assert!(usage.stderr.contains("1000-1024"), "{usage}");
    let after = nodes.cluster(&["status"]).await.expect_code(0).json();
    assert_eq!(before["regions"], after["regions"]);
}
