//! Regions whose data are in others too: what is held where, and going on when all nodes of one are lost.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and this one looks at the nodes' disks"
)]

use std::path::PathBuf;

use fieldmesh_tests::{
    live::until,
    process::{fieldmesh, handheld::Handheld, nodes::Nodes},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The lost region's passphrase opens its backup; the data are newer than that.
async fn backed_up(nodes: &Nodes, number: u64) -> PathBuf {
    nodes.back_up(number, "keys").await.expect_code(0);
    nodes.beside("keys")
}

async fn served(nodes: &Nodes, by: u64, people: &(Handheld, Handheld), what: &str) -> String {
    let ticket = people.0.request(what).await;
    let alert = people.1.alert(&ticket).await;
    people.1.accept(&alert).await;
    let shown = show(nodes, by, &ticket).await;
    assert_eq!(shown["state"], "accepted", "{shown}");
    ticket
}

async fn show(nodes: &Nodes, by: u64, ticket: &str) -> Value {
    nodes.node(by).ask(&["ticket", "show", ticket]).await
}

/// The voters and learners of a region's groups, by the region's number in the cluster.
fn replicas(view: &Value, index: u64) -> Vec<(Value, Value)> {
    let groups = view["groups"].as_array().unwrap().iter();
    let own = groups.filter(|group| {
        let number = group["group"].as_u64().unwrap();
        number != 0 && number / 2048 == index
    });
    own.map(|group| (group["voters"].clone(), group["learners"].clone())).collect()
}

/// Waits until what a standby holds is all that there is.
async fn copied(nodes: &Nodes) {
    until("the copies have caught up", async || {
        let view = nodes.settle().await;
        let groups = view["groups"].as_array().unwrap();
        let behind = groups.iter().flat_map(|group| group["behind"].as_array().unwrap());
        behind.map(|of| of[1].as_u64().unwrap()).all(|entries| entries == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_region_begins_again_with_the_copies_of_another() {
    let mut nodes = Nodes::start(2).await;
    nodes.add_region(11, "us1").await;
    let keys = backed_up(&nodes, 11).await;
    let set = nodes.cluster(&["policy", "us1", "standby", "eu1"]).await.expect_code(0).json();
    for (voters, learners) in replicas(&set, 1) {
        assert_eq!(voters, json!([11]), "{set}");
        assert!(learners == json!([1]) || learners == json!([2]), "{set}");
    }
    let dir = TempDir::new().unwrap();
    let devices = nodes.node(11).devices.clone();
    let people = nodes.node(11).pair(dir.path(), ["Ada", "Ben"], &devices).await;
    let done = served(&nodes, 11, &people, "before").await;
    let open = people.0.request("offered and not answered").await;
    let alert = people.1.alert(&open).await;
    copied(&nodes).await;
    let before = show(&nodes, 11, &done).await;

    // A region that lives is not promoted, and one that is at home alone cannot be.
    nodes.take_address(12, 11);
    let alive = nodes.promote(12, "us1", &keys, 1, &[]).await.expect_code(3);
    alive.expect_one_line(&["node 11", "answers"]);
    nodes.kill(11).await;
    let told = nodes.promote(12, "us1", &keys, 1, &["--dry-run"]).await.expect_code(0).json();
    let copies = told["copies"].as_array().unwrap();
    assert_eq!((copies.len(), &told["promoted"]), (5, &json!(false)), "{told}");
    for of in copies {
        assert_eq!(of["copy"]["missing"], 0, "{told}");
        assert!(of["copy"]["heard_ms"].as_u64() > Some(1_700_000_000_000), "{told}");
    }
    assert!(!nodes.dir(12).exists(), "nothing is made by asking");

    let promoted = nodes.promote(12, "us1", &keys, 1, &[]).await.expect_code(0).json();
    assert_eq!(promoted["promoted"], true, "{promoted}");
    let reconciled = json!({ "technicians": 1, "tickets": 2, "devices": 2 });
    assert_eq!(promoted["reconciled"], reconciled, "{promoted}");
    nodes.restart(12).await;
    let now = show(&nodes, 12, &done).await;
    assert_eq!((&now["state"], &now["technician"]), (&before["state"], &before["technician"]));
    // What was offered is answered, by the same devices.
    people.1.accept(&alert).await;
    until("the answer counts", async || {
        (show(&nodes, 12, &open).await["state"] == "accepted").then_some(())
    })
    .await;
    served(&nodes, 12, &people, "after").await;
    // Others follow it as they followed those that are lost.
    let view = nodes.settle().await;
    for (voters, learners) in replicas(&view, 1) {
        assert_eq!(voters, json!([12]), "{view}");
        assert!(learners == json!([1]) || learners == json!([2]), "{view}");
    }
    nodes.promote(13, "us1", &keys, 1, &[]).await.expect_code(3).expect_one_line(&["answers"]);
}

/// A region that was lost with its only node when the first region had all of it.
struct Lost {
    nodes: Nodes,
    keys: PathBuf,
    people: (Handheld, Handheld),
    /// A ticket of before.
    done: String,
    _dir: TempDir,
}

impl Lost {
    /// There are these regions, too, each with a node.
    async fn region(more: &[(u64, &str)]) -> Self {
        let mut nodes = Nodes::start(2).await;
        nodes.add_region(11, "us1").await;
        for (number, region) in more {
            nodes.add_region(*number, region).await;
        }
        let keys = backed_up(&nodes, 11).await;
        nodes.cluster(&["policy", "us1", "standby", "eu1"]).await.expect_code(0);
        let dir = TempDir::new().unwrap();
        let devices = nodes.node(11).devices.clone();
        let people = nodes.node(11).pair(dir.path(), ["Ada", "Ben"], &devices).await;
        let done = served(&nodes, 11, &people, "before").await;
        copied(&nodes).await;
        nodes.kill(11).await;
        Self { nodes, keys, people, done, _dir: dir }
    }

    async fn begins_again_with_copies_of_the_first_region(&mut self) {
        let Self { nodes, keys, people, done, .. } = self;
        nodes.take_address(12, 11);
        let promoted = nodes.promote(12, "us1", keys, 1, &[]).await.expect_code(0).json();
        let copies = promoted["copies"].as_array().unwrap();
        assert_eq!(copies.len(), 5, "{promoted}");
        for of in copies {
            assert!(of["node"] == 1 || of["node"] == 2, "{promoted}");
            assert_eq!(of["copy"]["missing"], 0, "{promoted}");
        }
        nodes.restart(12).await;
        assert_eq!(show(nodes, 12, done).await["state"], "accepted");
        served(nodes, 12, people, "after").await;
    }
}

/// The record says where copies are to be; whoever led the groups was lost before any of it came there.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_found_where_it_is_also_where_the_record_has_another_place_for_it() {
    let mut lost = Lost::region(&[]).await;
    let nodes = &mut lost.nodes;
    nodes.join(3).await.expect_code(0);
    nodes.restart(3).await;
    until("another node is to hold something", async || {
        let view = nodes.cluster(&["status"]).await.expect_code(0).json();
        let is_moved = |group: &Value| {
            group["group"].as_u64().unwrap() / 2048 == 1
                && group["wanted_learners"].as_array().unwrap().contains(&json!(3))
        };
        view["groups"].as_array().unwrap().iter().any(is_moved).then_some(())
    })
    .await;
    lost.begins_again_with_copies_of_the_first_region().await;
    lost.nodes.settle().await;
}

/// An operator gives a region that was lost another policy: nobody is left to act on it.
async fn policy_of_a_lost_region(nodes: &Nodes, policy: &[&str]) {
    until("the policy is another one", async || {
        let args = [&["policy", "us1"][..], policy, &["--wait-s", "0"]].concat();
        (nodes.cluster(&args).await.code == Some(0)).then_some(())
    })
    .await;
}

/// The copies are in a region that the policy does not name any more, and in the other one is nothing yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_found_in_a_region_that_was_the_standby_before() {
    let mut lost = Lost::region(&[(15, "ap1")]).await;
    policy_of_a_lost_region(&lost.nodes, &["standby", "ap1"]).await;
    lost.begins_again_with_copies_of_the_first_region().await;
    let view = lost.nodes.settle().await;
    for (voters, learners) in replicas(&view, 1) {
        assert_eq!((voters, learners), (json!([12]), json!([15])), "{view}");
    }
}

/// Cuts nodes off from those of the first region, by the faults that they were started with, or heals that.
async fn cut_off(nodes: &mut Nodes, numbers: [u64; 2], is_cut: bool) {
    let rule =
        |other: u64| format!("{{ peer = \"{}\", loss_percent = 100 }}", nodes.address(other));
    let rules = if is_cut { [1, 2].map(rule).join(", ") } else { String::new() };
    for number in numbers {
        nodes.set(number, "chaos.rules", &format!("[{rules}]"));
        nodes.config(number, &[]);
        nodes.signal(number, "HUP").await;
    }
}

/// Nobody can tell a region that is cut off from a lost one: once it hears the others again, what it was ends.
#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_of_a_region_that_was_only_cut_off_end_once_they_hear_of_the_new_one() {
    let (mut nodes, old) = (Nodes::start(2).await, [11, 12]);
    for number in old {
        nodes.set(number, "chaos.enabled", "true");
    }
    nodes.add_region(11, "us1").await;
    nodes.join_beside(12, 11).await.expect_code(0);
    nodes.restart(12).await;
    let keys = backed_up(&nodes, 11).await;
    nodes.cluster(&["policy", "us1", "standby", "eu1"]).await.expect_code(0);
    let dir = TempDir::new().unwrap();
    // People know where the region's nodes were, and where the next one will be.
    let devices = format!("{},{}:7443", nodes.node(11).devices, nodes.address(13));
    let people = nodes.node(11).pair(dir.path(), ["Ada", "Ben"], &devices).await;
    let done = served(&nodes, 11, &people, "before").await;
    copied(&nodes).await;
    cut_off(&mut nodes, old, true).await;
    let told = async || {
        let told = nodes.promote(13, "us1", &keys, 1, &["--dry-run"]).await;
        (told.code == Some(0)).then_some(())
    };
    until("nobody of the region is heard", told).await;
    nodes.promote(13, "us1", &keys, 1, &[]).await.expect_code(0);
    nodes.restart(13).await;
    cut_off(&mut nodes, old, false).await;
    for number in old {
        let ended = nodes.ended(number).await.expect_code(3);
        assert!(ended.stderr.contains("removed from the cluster"), "{ended}");
    }
    assert_eq!(show(&nodes, 13, &done).await["state"], "accepted");
    served(&nodes, 13, &people, "to the new region").await;
    nodes.settle().await;
    let started = nodes.launch(12).refused().await.expect_code(3);
    assert!(started.stderr.contains("removed from the cluster"), "{started}");
}

/// Its data are nowhere else: what the backup has is there, beside a region that never noticed.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_region_begins_again_with_its_backup_beside_another_that_lives() {
    let mut nodes = Nodes::start(2).await;
    nodes.add_region(11, "us1").await;
    let dir = TempDir::new().unwrap();
    let devices = nodes.node(11).devices.clone();
    let people = nodes.node(11).pair(dir.path(), ["Ada", "Ben"], &devices).await;
    let kept = served(&nodes, 11, &people, "before the backup").await;
    let backup = backed_up(&nodes, 11).await;
    let lost = served(&nodes, 11, &people, "after the backup").await;
    nodes.kill(11).await;
    nodes.take_address(12, 11);
    nodes.promote(12, "us1", &backup, 2, &[]).await.expect_code(0);
    nodes.restart(12).await;
    assert_eq!(show(&nodes, 12, &kept).await["state"], "accepted");
    let asked = nodes.node(12).dir.clone();
    fieldmesh(&asked, &["ticket", "show", &lost]).await.expect_code(3);
    served(&nodes, 12, &people, "after").await;
    // What its authority tells the whole cluster arrives there.
    nodes.node(12).ask(&["ca", "revoke", &people.0.id]).await;
    people.0.try_request("revoked", "5").await.expect_code(3);
    nodes.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_where_the_policy_says_and_go_with_it() {
    let mut nodes = Nodes::start(2).await;
    nodes.add_region(11, "us1").await;
    let dirs = [1, 2].map(|number| nodes.dir(number).join("db"));
    let tables = |number: usize| {
        let db = std::fs::read_dir(&dirs[number - 1]).unwrap();
        let names = db.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("state-20") || name == "state-3072").count()
    };
    assert_eq!(tables(1) + tables(2), 0, "a region's data are at home unless it is said");
    nodes.cluster(&["policy", "us1", "standby", "eu1"]).await.expect_code(0);
    until("each group has its copy", async || (tables(1) + tables(2) == 5).then_some(())).await;
    // They outlive a restart, and hold nothing up while their region is away.
    nodes.kill(11).await;
    nodes.terminate(1).await;
    nodes.restart(1).await;
    nodes.restart(11).await;
    nodes.settle().await;
    nodes.cluster(&["policy", "us1", "zone"]).await.expect_code(0);
    until("the copies are gone", async || (tables(1) + tables(2) == 0).then_some(())).await;
    for (policy, code, words) in [
        (vec!["us1", "standby", "ap1"], 3, vec!["no region ap1"]),
        (vec!["us1", "standby", "us1"], 3, vec!["not us1"]),
        (vec!["us1", "standby"], 3, vec!["standby", "one other region"]),
        (vec!["eu1", "region", "us1", "us1"], 3, vec!["each once"]),
    ] {
        let asked = nodes.cluster(&[&["policy"], &policy[..]].concat()).await;
        asked.expect_code(code).expect_one_line(&words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_three_vote_for_loses_nothing_with_all_its_nodes() {
    let mut nodes = Nodes::start(2).await;
    nodes.add_region(11, "us1").await;
    nodes.join_beside(12, 11).await.expect_code(0);
    nodes.restart(12).await;
    nodes.add_region(15, "ap1").await;
    let keys = backed_up(&nodes, 11).await;
    let set = nodes.cluster(&["policy", "us1", "region", "eu1", "ap1"]).await;
    let set = set.expect_code(0).json();
    for (voters, _) in replicas(&set, 1) {
        assert_eq!(voters, json!([1, 2, 11, 12, 15]), "{set}");
    }
    // What is voted on for others is no part of a region's own backup.
    let own = nodes.back_up(1, "eu1").await.expect_code(0).json();
    let groups = own["groups"].as_array().unwrap().iter().map(|group| &group["group"]);
    assert_eq!(groups.collect::<Vec<_>>(), [0, 1, 2, 3, 4, 1024], "{own}");
    let dir = TempDir::new().unwrap();
    let devices = nodes.node(12).devices.clone();
    let people = nodes.node(11).pair(dir.path(), ["Ada", "Ben"], &devices).await;
    let mut tickets = vec![served(&nodes, 11, &people, "before").await];
    // Whoever is elected, somebody at home leads in the end.
    nodes.kill(11).await;
    tickets.push(served(&nodes, 12, &people, "with one node").await);
    until("everything of the region is led at home", async || {
        let view = nodes.node(12).ask(&["cluster", "status"]).await;
        let mut groups = view["groups"].as_array().unwrap().iter();
        let is_own = |group: &Value| group["group"].as_u64().unwrap() / 2048 == 1;
        groups.all(|group| !is_own(group) || group["leader"] == 12).then_some(())
    })
    .await;
    // An answer is acknowledged, and that very moment everything of the region is gone.
    let last = people.0.request("the last one").await;
    nodes.kill(12).await;
    nodes.take_address(13, 12);
    nodes.promote(13, "us1", &keys, 1, &[]).await.expect_code(0);
    nodes.restart(13).await;
    for ticket in &tickets {
        assert_eq!(show(&nodes, 13, ticket).await["state"], "accepted");
    }
    let alert = people.1.alert(&last).await;
    people.1.accept(&alert).await;
    served(&nodes, 13, &people, "after").await;
    nodes.settle().await;
}

/// By the record three regions vote; the one that led was lost before it let the others do so.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_others_did_not_come_to_vote_for_begins_again_with_copies() {
    let mut lost = Lost::region(&[(15, "ap1")]).await;
    policy_of_a_lost_region(&lost.nodes, &["region", "eu1", "ap1"]).await;
    lost.begins_again_with_copies_of_the_first_region().await;
    // Now they vote.
    let view = lost.nodes.settle().await;
    for (voters, _) in replicas(&view, 1) {
        let voters = voters.as_array().unwrap();
        assert_eq!(voters.len(), 3, "{view}");
        assert!([12, 15].iter().all(|number| voters.contains(&json!(number))), "{view}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_would_wait_for_a_node_that_is_not_there_is_refused() {
    let mut nodes = Nodes::start(2).await;
    nodes.add_region(11, "us1").await;
    nodes.add_region(15, "ap1").await;
    let before = nodes.settle().await;
    nodes.kill(15).await;
    let policy = ["policy", "us1", "region", "eu1", "ap1"];
    let refused = nodes.cluster(&policy).await.expect_code(3);
    refused.expect_one_line(&["[15]", "do not answer", "start those", "fieldmesh cluster remove"]);
    let after = nodes.cluster(&["status"]).await.expect_code(0).json();
    assert_eq!(after["epoch"], before["epoch"], "nothing was changed: {after}");
    nodes.restart(15).await;
    let set = nodes.cluster(&policy).await.expect_code(0).json();
    for (voters, _) in replicas(&set, 1) {
        let voters = voters.as_array().unwrap();
        assert_eq!(voters.len(), 3, "{set}");
        assert!([11, 15].iter().all(|number| voters.contains(&json!(number))), "{set}");
    }
}

/// How much the cluster was told.
async fn record_at(nodes: &Nodes, by: u64) -> u64 {
    nodes.node(by).ask(&["cluster", "status"]).await["groups"][0]["applied"].as_u64().unwrap()
}

/// Of two regions the one is lost that had the cluster's majority. The other one has all that it needs, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_on_without_the_region_that_had_its_majority() {
    let mut nodes = Nodes::start(2).await;
    nodes.add_region(11, "us1").await;
    nodes.join_beside(12, 11).await.expect_code(0);
    nodes.restart(12).await;
    let keys = backed_up(&nodes, 1).await;
    nodes.cluster(&["policy", "eu1", "standby", "us1"]).await.expect_code(0);
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let devices = format!("{},{}:7443", nodes.node(1).devices, nodes.address(3));
    let people = nodes.node(1).pair(dirs[0].path(), ["Ada", "Ben"], &devices).await;
    let devices = format!("{},{}", nodes.node(11).devices, nodes.node(12).devices);
    let others = nodes.node(11).pair(dirs[1].path(), ["Eve", "Dan"], &devices).await;
    let done = served(&nodes, 1, &people, "before").await;
    copied(&nodes).await;
    let without = ["--without", "eu1"];
    let early = nodes.run(11, "recover", &without).await.expect_code(2);
    early.expect_one_line(&["in use"]);
    for number in [1, 2] {
        nodes.kill(number).await;
    }

    // The others' people are served; nothing about the cluster changes.
    served(&nodes, 11, &others, "meanwhile").await;
    let early = nodes.promote(3, "eu1", &keys, 11, &[]).await.expect_code(3);
    early.expect_one_line(&["nobody leads the placement group", "`fieldmesh recover`"]);
    // What it has is not all written out, and that is mended also without a majority.
    nodes.kill(11).await;
    let unclean = nodes.run(11, "recover", &without).await.expect_code(3);
    unclean.expect_one_line(&["not ended in order"]);
    nodes.restart(11).await;
    served(&nodes, 11, &others, "meanwhile, again").await;
    nodes.terminate(11).await;
    for (args, code, words) in [
        (&["--without", "us1"][..], 2, "another region"),
        (&["--without", "ap1"], 2, "no region ap1"),
        (&["--without", "nowhere at all"], 2, "region"),
        (&[], 2, "--without"),
    ] {
        let refused = nodes.run(11, "recover", args).await.expect_code(code);
        assert!(refused.stderr.contains(words) || refused.stdout.contains(words), "{refused}");
    }
    let told = nodes.run(11, "recover", &[&without[..], &["--dry-run"]].concat()).await;
    let told = told.expect_code(0).json();
    assert_eq!((&told["recovered"], &told["silent"]), (&json!(false), &json!([])), "{told}");
    let done_so = nodes.run(11, "recover", &without).await.expect_code(0).json();
    assert_eq!(done_so["recovered"], true, "{done_so}");
    let again = nodes.run(11, "recover", &without).await.expect_code(3);
    again.expect_one_line(&["has a majority without them"]);
    nodes.restart(11).await;
    until("the others follow", async || {
        let view = nodes.node(12).ask(&["cluster", "status"]).await;
        let record = &view["groups"][0];
        // Two voters would both be needed.
        (record["voters"] == json!([11]) && record["learners"] == json!([12])).then_some(())
    })
    .await;

    nodes.promote(3, "eu1", &keys, 12, &[]).await.expect_code(0);
    nodes.restart(3).await;
    assert_eq!(show(&nodes, 3, &done).await["state"], "accepted");
    served(&nodes, 3, &people, "after").await;
    served(&nodes, 11, &others, "after").await;
    let view = nodes.settle().await;
    assert_eq!(view["groups"][0]["voters"], json!([3, 11, 12]), "{view}");
    // What comes back of before is nobody's any more.
    let old = nodes.launch(1).refused().await.expect_code(3);
    assert!(old.stderr.contains("removed from the cluster"), "{old}");
    // What the cluster may have forgotten is told it again, though the region knows of it.
    let known = nodes.node(11).ask(&["ca", "show", &others.0.id]).await;
    let serial = known["certificates"][0]["serial"].as_str().unwrap();
    let revoke = ["ca", "revoke", "--serial", serial];
    let before = record_at(&nodes, 11).await;
    nodes.node(11).ask(&revoke).await;
    let is_told = async || (record_at(&nodes, 11).await > before).then_some(());
    until("the cluster is told", is_told).await;
    let before = record_at(&nodes, 11).await;
    nodes.node(11).ask(&revoke).await;
    assert!(record_at(&nodes, 11).await > before, "what is revoked already is told again");
    nodes.terminate(12).await;
    let again = nodes.run(12, "recover", &without).await.expect_code(3);
    again.expect_one_line(&["has a majority without them"]);
    // Nor is who asks again refused where nobody leads the record.
    nodes.terminate(3).await;
    assert_eq!(nodes.node(11).ask(&revoke).await["told"], false);
}
