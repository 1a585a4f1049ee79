//! Three real nodes: who dies, goes, comes, or may not come; and devices that notice nothing but time.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and this one removes what a failed attempt left"
)]

#[path = "cluster/alone.rs"]
mod alone;
#[path = "cluster/counts.rs"]
mod counts;
#[path = "cluster/directories.rs"]
mod directories;
#[path = "cluster/joining.rs"]
mod joining;
#[path = "cluster/sent_away.rs"]
mod sent_away;

use std::{collections::BTreeSet, path::Path};

use fieldmesh_domain::{EntityId, placement::Home};
use fieldmesh_tests::{
    live::until,
    process::{
        fieldmesh,
        handheld::{CATEGORY, Handheld},
        nodes::{Nodes, SHARDS},
        run,
        sink::{Manner, Sink},
        text,
    },
};
use serde_json::Value;
use tempfile::TempDir;

/// A customer's and a technician's device that know every node.
async fn people(nodes: &Nodes, dir: &Path) -> (Handheld, Handheld) {
    let devices = nodes.any().devices.clone();
    nodes.any().pair(dir, ["Ada", "Ben"], &devices).await
}

/// One request through the whole claim.
async fn served(nodes: &Nodes, customer: &Handheld, technician: &Handheld, text: &str) {
    let ticket = customer.request(text).await;
    let alert = technician.alert(&ticket).await;
    technician.accept(&alert).await;
    let shown = nodes.any().ask(&["ticket", "show", &ticket]).await;
    assert_eq!(shown["state"], "accepted", "{shown}");
}

fn leaders(view: &Value) -> Vec<u64> {
    let groups = view["groups"].as_array().unwrap();
    groups.iter().map(|group| group["leader"].as_u64().unwrap()).collect()
}

fn presence(view: &Value, number: u64) -> String {
    let members = view["members"].as_array().unwrap();
    let member = members.iter().find(|member| member["number"] == number).unwrap();
    member["presence"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_whichever_node_dies() {
    let mut nodes = Nodes::start(3).await;
    let led: BTreeSet<u64> = leaders(&nodes.settle().await).into_iter().collect();
    assert_eq!(led.len(), 3, "each node leads something");
    let dir = TempDir::new().unwrap();
    let (customer, technician) = people(&nodes, dir.path()).await;
    served(&nodes, &customer, &technician, "before").await;
    for victim in 1..=3 {
        nodes.kill(victim).await;
        served(&nodes, &customer, &technician, "with two nodes").await;
        let lost = format!("fieldmesh_mesh_peer_up{{peer=\"{victim}\"}} 0");
        until("a monitor sees it", async || {
            nodes.any().metrics().await.contains(&lost).then_some(())
        })
        .await;
        nodes.restart(victim).await;
        nodes.settle().await;
    }
    served(&nodes, &customer, &technician, "after").await;
    let metrics = nodes.node(1).metrics().await;
    for peer in [2, 3] {
        for name in ["up", "rtt_seconds", "sent_bytes_total", "sent_packets_total"] {
            let line = format!("fieldmesh_mesh_peer_{name}{{peer=\"{peer}\"}} ");
            let value = metrics.lines().find_map(|text| text.strip_prefix(&line));
            let value: f64 =
                value.unwrap_or_else(|| panic!("no {line} in {metrics}")).parse().unwrap();
            assert!(value > 0.0, "{line}{value}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_replaced_and_never_comes_back() {
    let mut nodes = Nodes::start(3).await;
    let dir = TempDir::new().unwrap();
    let (customer, technician) = people(&nodes, dir.path()).await;
    let drained = nodes.cluster(&["drain", "3"]).await.expect_code(0).json();
    assert!(!leaders(&drained).contains(&3), "{drained}");
    // Restarted for an upgrade, it still leads nothing, until it may again.
    nodes.terminate(3).await;
    served(&nodes, &customer, &technician, "during the upgrade").await;
    nodes.restart(3).await;
    let resumed = nodes.cluster(&["resume", "3"]).await.expect_code(0).json();
    assert!(leaders(&resumed).contains(&3), "{resumed}");
    // Another machine takes its place.
    nodes.join(4).await.expect_code(0);
    nodes.restart(4).await;
    nodes.settle().await;
    nodes.kill(3).await;
    let removed = nodes.cluster(&["remove", "3"]).await.expect_code(0).json();
    assert_eq!(presence(&removed, 3), "gone");
    let voters = removed["groups"][0]["voters"].clone();
    assert_eq!(voters, serde_json::json!([1, 2, 4]));
    served(&nodes, &customer, &technician, "with the new one").await;
    // Its machine comes back, and knows nothing of it.
    sent_away::is_told(nodes.launch(3).refused().await, &["removed from the cluster"]);
    // The number is not given again, and nobody can make it lead.
    let again = nodes.join(3).await.expect_code(2);
    again.expect_one_line(&["node-3", "deployment"]);
    nodes.cluster(&["move", "1", "3"]).await.expect_code(3).expect_one_line(&["no node 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_not_left_to_nodes_that_do_not_answer() {
    let mut nodes = Nodes::start(3).await;
    let before = nodes.settle().await;
    let dir = TempDir::new().unwrap();
    let (customer, technician) = people(&nodes, dir.path()).await;
    nodes.kill(3).await;
    served(&nodes, &customer, &technician, "with two nodes").await;
    for command in [&["remove", "2"][..], &["move", "1", "3"]] {
        let refused = nodes.cluster(command).await.expect_code(3);
        refused.expect_one_line(&["[3] do not answer", "no majority"]);
    }
    let after = nodes.cluster(&["status"]).await.expect_code(0).json();
    assert_eq!(after["epoch"], before["epoch"], "nothing was changed: {after}");
    served(&nodes, &customer, &technician, "afterwards").await;
    // Once it is back, it is as good as any other.
    nodes.restart(3).await;
    nodes.cluster(&["remove", "2"]).await.expect_code(0);
    served(&nodes, &customer, &technician, "without the second one").await;
    sent_away::is_told(nodes.ended(2).await, &["removed from the cluster"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_join_is_told_why_and_changes_nothing() {
    let nodes = Nodes::start(1).await;
    let before = nodes.settle().await;
    // What is wrong with it is said before the token is spent: one does for all attempts.
    let (user, secret) = nodes.token("node").await;
    let joined = async |changes: &[(&str, &str)], code: i32, words: &[&str]| {
        let config = nodes.config(2, changes);
        nodes.join_as(&config, &user, &secret).await.expect_code(code).expect_one_line(words);
        assert!(!nodes.dir(2).exists(), "nothing is kept of {changes:?}");
    };
    let other = "\"another.example\"";
    joined(&[("cluster.name", other)], 3, &["cluster.name", "another.example"]).await;
    joined(&[("cluster.region", "\"us1\"")], 3, &["cluster.region", "us1"]).await;
    joined(&[("node.number", "1")], 3, &["node.number = 1", "another machine"]).await;
    joined(&[("node.shards", "7")], 3, &["node.shards"]).await;
    joined(&[("listen.mesh", "\"127.0.0.1:0\"")], 2, &["listen.mesh", "port 0"]).await;
    let taken = format!("\"{}:7445\"", nodes.address(1));
    joined(&[("advertise.mesh", &taken)], 3, &["advertise.mesh", "node 1"]).await;
    let nowhere = "\"0.0.0.0:7445\"";
    joined(&[("listen.mesh", nowhere)], 3, &["advertise.mesh", "0.0.0.0"]).await;
    let (operator, its) = nodes.token("operator").await;
    let config = nodes.config(2, &[]);
    let mistaken = nodes.join_as(&config, &operator, &its).await.expect_code(3);
    mistaken.expect_one_line(&["not for a node"]);
    // A token is good for one certificate.
    nodes.join_as(&nodes.config(2, &[]), &user, &secret).await.expect_code(0);
    let config = nodes.config(3, &[]);
    nodes.join_as(&config, &user, &secret).await.expect_code(3).expect_one_line(&["token"]);
    let after = nodes.cluster(&["status"]).await.expect_code(0).json();
    assert_eq!(
        before["members"].as_array().unwrap().len() + 1,
        after["members"].as_array().unwrap().len()
    );
    // A directory is one node's.
    let mistaken = nodes.config(5, &[("node.data_dir", &format!("{:?}", text(&nodes.dir(2))))]);
    let passphrase = nodes.passphrase();
    let started = fieldmesh_tests::process::Launch::member(&nodes.dir(2), &mistaken, &passphrase);
    started.refused().await.expect_code(2).expect_one_line(&["node.number = 2", "says 5"]);
}

/// The digits of the issuing CA in a phase, and how many certificates in force are by it.
fn issuing(view: &Value, phase: &str) -> (String, u64) {
    let all = view["authorities"].as_array().unwrap();
    let is_it = |ca: &&Value| ca["role"] == "issuing" && ca["phase"] == phase;
    let ca = all.iter().find(is_it).unwrap_or_else(|| panic!("none is {phase}: {view}"));
    let sha256 = ca["sha256"].as_str().unwrap()[..12].to_owned();
    (sha256, ca["certificates"].as_u64().unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_issuing_authority_signs_on_every_node() {
    let mut nodes = Nodes::start(3).await;
    let dir = TempDir::new().unwrap();
    let (request, signed) = (dir.path().join("next.csr"), dir.path().join("next.pem"));
    nodes.node(1).ask(&["ca", "rotate", "begin", "--out", text(&request)]).await;
    let (root, passphrase) = (nodes.dir(1), nodes.passphrase());
    let sign = ["ca", "root", "sign", "--root", text(&root), "--csr", text(&request)];
    let of = ["--region", "eu1", "--generation", "2", "--out", text(&signed)];
    let by = ["--passphrase-file", text(&passphrase)];
    run("fieldmesh", &[&sign[..], &of, &by].concat()).await.expect_code(0);
    let view = nodes.node(1).ask(&["ca", "rotate", "introduce", text(&signed)]).await;
    let (new, _) = issuing(&view, "introduced");
    // Each machine has an operator of its own, and two must want it; the nodes must know it first.
    let activate = ["ca", "rotate", "activate", &new];
    until("two operators let it sign", async || {
        fieldmesh(&nodes.dir(1), &activate).await;
        fieldmesh(&nodes.dir(2), &activate).await;
        let view = nodes.node(3).ask(&["ca", "rotate", "status"]).await;
        let is_active = |ca: &Value| {
            ca["phase"] == "active" && ca["sha256"].as_str().unwrap().starts_with(&new)
        };
        view["authorities"].as_array().unwrap().iter().any(is_active).then_some(())
    })
    .await;
    // The node that made its key is gone.
    nodes.kill(1).await;
    let (customer, technician) = people(&nodes, dir.path()).await;
    served(&nodes, &customer, &technician, "by the new authority").await;
    let view = nodes.node(2).ask(&["ca", "rotate", "status"]).await;
    assert!(issuing(&view, "active").1 >= 2, "{view}");
}

/// The group of an entity's shard.
fn group_of<'a>(view: &'a Value, id: &str) -> &'a Value {
    let id: EntityId = id.parse().unwrap();
    let shard = Home::new(id.region(), 0, SHARDS).group_of(id);
    let mut groups = view["groups"].as_array().unwrap().iter();
    groups.find(|group| group["group"] == shard).unwrap()
}

fn has_replica(group: &Value, number: u64) -> bool {
    let lists = ["voters", "learners"].iter().flat_map(|list| group[list].as_array().unwrap());
    lists.into_iter().any(|known| known == number)
}

/// The groups that a node has a replica of.
fn replicas_of(view: &Value, number: u64) -> BTreeSet<u64> {
    let groups = view["groups"].as_array().unwrap().iter();
    let here = groups.filter(|group| has_replica(group, number));
    here.map(|group| group["group"].as_u64().unwrap()).collect()
}

/// The groups whose states are on a node's disk.
fn stored_on(nodes: &Nodes, number: u64) -> BTreeSet<u64> {
    let entries = std::fs::read_dir(nodes.dir(number).join("db")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_prefix("state-")?.parse().ok()).collect()
}

/// The groups that node 2 has a replica of, once it is so and the cluster has settled.
async fn once_it_is(nodes: &Nodes, wanted: &str) -> BTreeSet<u64> {
    until(&format!("node 2 is {wanted}"), async || {
        let view = nodes.cluster(&["status"]).await.json();
        let is_so = presence(&view, 2) == wanted && view["settled"] == true;
        is_so.then(|| replicas_of(&view, 2))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn others_take_the_places_of_a_node_that_stays_away() {
    let mut nodes = Nodes::start_in(None, 4, &[("cluster.away_after_s", "10")]).await;
    let before = replicas_of(&nodes.settle().await, 2);
    nodes.kill(2).await;
    let without = once_it_is(&nodes, "away").await;
    assert!(without.is_empty(), "{without:?}");
    nodes.restart(2).await;
    let again = once_it_is(&nodes, "active").await;
    assert!(again.len() > 2, "it has places again: {again:?}, {before:?} before");
    // What it does not have any more is not left on its disk.
    until("what left is removed", async || (stored_on(&nodes, 2) == again).then_some(())).await;
}

/// Somebody of these, whose device is on a node that has nothing of theirs.
async fn abroad(nodes: &Nodes, view: &Value, ids: &[String], dir: &Path) -> Handheld {
    let found = ids.iter().find_map(|id| {
        let stranger = (1..=4).find(|number| !has_replica(group_of(view, id), *number));
        Some((id, stranger?))
    });
    let (id, number) = found.expect("four nodes have not all replicas");
    let devices = nodes.node(number).devices.clone();
    nodes.any().device(dir.join(id), id.clone(), &devices).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_on_a_node_without_its_shard_is_served_like_any_other() {
    let mut nodes = Nodes::start(4).await;
    let dir = TempDir::new().unwrap();
    let many = |row: &dyn Fn(usize) -> String| (0..12).map(row).collect::<String>();
    let customers = many(&|n| format!("customer {n},48.85,2.35,2\n"));
    let technicians = many(&|n| format!("technician {n},48.86,2.36,50,{CATEGORY}:3\n"));
    let customers =
        nodes.any().register("customer", &format!("name,lat,lon,tier\n{customers}")).await;
    let technicians = format!("name,lat,lon,capacity,skills\n{technicians}");
    let technicians = nodes.any().register("tech", &technicians).await;
    let view = nodes.settle().await;
    let customer = abroad(&nodes, &view, &customers, dir.path()).await;
    let technician = abroad(&nodes, &view, &technicians, dir.path()).await;
    served(&nodes, &customer, &technician, "from abroad").await;
    // A list is whole wherever it is asked for.
    for number in 1..=4 {
        let list = nodes.node(number).ask(&["customer", "list"]).await;
        assert_eq!(list["rows"].as_array().unwrap().len(), customers.len(), "on node {number}");
    }
    // The leader of the technician's shard dies: the next one hears of the device too.
    let leader = group_of(&view, &technician.id)["leader"].clone();
    nodes.kill(leader.as_u64().unwrap()).await;
    served(&nodes, &customer, &technician, "after a death").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_outside_misses_what_nobody_watches() {
    let monitor = Sink::start(&[Manner::status(200)]).await;
    let url: &str = format!("{:?}", monitor.url()).leak();
    let beats = async |more: usize| {
        let wanted = monitor.received().len() + more;
        let has_come = async || (monitor.received().len() >= wanted).then_some(());
        until("signs of life", has_come).await;
    };
    let settings =
        [("heartbeat.url", url), ("heartbeat.every_s", "1"), ("heartbeat.allow_private", "true")];
    let mut nodes = Nodes::start_in(None, 3, &settings).await;
    beats(3).await;
    // Others lead what it led, and audit that first.
    nodes.kill(1).await;
    beats(3).await;
    nodes.kill(2).await;
    let last = monitor.received().len();
    until("the last node sees that it is alone", async || {
        let metrics = nodes.node(3).metrics().await;
        let is_gone =
            |peer| metrics.contains(&format!("fieldmesh_mesh_peer_up{{peer=\"{peer}\"}} 0"));
        (is_gone(1) && is_gone(2)).then_some(())
    })
    .await;
    // One may have been under way.
    assert!(monitor.received().len() <= last + 1, "nobody leads, and a sign of life came");
    nodes.restart(1).await;
    beats(3).await;
}
