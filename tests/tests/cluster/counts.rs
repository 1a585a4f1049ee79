//! What trigger rules know of tickets of before: the same on every node, whoever led then.

use std::path::Path;

use fieldmesh_tests::{
    live::until,
    process::{fieldmesh, handheld::Handheld, nodes::Nodes, text},
};
use serde_json::Value;
use tempfile::TempDir;

use super::{group_of, has_replica, people};

/// More than a test opens.
const TICKETS_MAX: u64 = 24;

async fn apply(nodes: &Nodes, dir: &Path, rules: &str) {
    let path = dir.join("rules.toml");
    std::fs::write(&path, format!("version = 1\n{rules}")).unwrap();
    fieldmesh(&nodes.any().dir, &["rule", "apply", text(&path)]).await.expect_code(0);
}

fn rule(name: &str, when: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\nwhen = '{when}'\nactions = [{{ set_priority = 2 }}]\n")
}

/// What rules said of a new ticket; null where its leader had none yet.
async fn triage(nodes: &Nodes, customer: &Handheld) -> Value {
    let ticket = customer.request("again").await;
    until("it is decided", async || {
        let dir = &nodes.any().dir;
        let shown = fieldmesh(dir, &["ticket", "show", &ticket]).await;
        let is_decided = shown.code == Some(0)
            && ["offered", "unfilled"].iter().any(|state| shown.json()["state"] == *state);
        let explained = fieldmesh(dir, &["ticket", "explain", &ticket]).await;
        (is_decided && explained.code == Some(0)).then(|| explained.json()["triage"].clone())
    })
    .await
}

/// How many tickets of its category and of its site were opened before a new one.
async fn before(nodes: &Nodes, customer: &Handheld) -> Option<u64> {
    let triage = triage(nodes, customer).await;
    triage["rules"].as_array()?.first()?["rule"].as_str()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_of_before_are_counted_whichever_node_leads() {
    let mut nodes = Nodes::start(3).await;
    let dir = TempDir::new().unwrap();
    let (customer, _technician) = people(&nodes, dir.path()).await;
    let rules = (0..TICKETS_MAX).map(|number| {
        let count = |of: &str| format!("history.{of}.count_24h == {number}");
        rule(&number.to_string(), &format!("{} && {}", count("category"), count("site")))
    });
    apply(&nodes, dir.path(), &rules.collect::<String>()).await;
    let mut count = until("rules are in force", async || before(&nodes, &customer).await).await;
    // Each node leads for a while, dies, and reads what it knew; one of them leads the customer's shard.
    for victim in 1..=3 {
        nodes.kill(victim).await;
        count += 1;
        assert_eq!(before(&nodes, &customer).await, Some(count), "without node {victim}");
        nodes.restart(victim).await;
        nodes.settle().await;
        count += 1;
        assert_eq!(before(&nodes, &customer).await, Some(count), "with node {victim} again");
    }
}

/// A customer whose shard is led by a node without a replica of the other's shard.
fn strangers<'a>(view: &Value, ids: &'a [String]) -> [&'a String; 2] {
    let pairs = ids.iter().flat_map(|one| ids.iter().map(move |other| [one, other]));
    let mut strange = pairs.filter(|[one, other]| {
        let leader = group_of(view, other)["leader"].as_u64().unwrap();
        !has_replica(group_of(view, one), leader)
    });
    strange.next().expect("four nodes have not all replicas")
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_of_shards_elsewhere_are_counted_too() {
    let nodes = Nodes::start(4).await;
    let dir = TempDir::new().unwrap();
    let rows = (0..24).map(|number| format!("customer {number},48.85,2.35,2\n"));
    let rows = format!("name,lat,lon,tier\n{}", rows.collect::<String>());
    let ids = nodes.any().register("customer", &rows).await;
    let view = nodes.settle().await;
    let devices = nodes.any().devices.clone();
    let [one, other] = strangers(&view, &ids);
    let one = nodes.any().device(dir.path().join("one"), one.clone(), &devices).await;
    let other = nodes.any().device(dir.path().join("other"), other.clone(), &devices).await;
    // A ticket counts among its customer's, and nobody else here opens any.
    let count = |of: &str| format!("history.{of}.count_24h");
    let more =
        |of: &str| rule(&format!("more-{of}"), &format!("{} > {}", count(of), count("customer")));
    apply(&nodes, dir.path(), &(more("category") + &more("site"))).await;
    until("rules are in force", async || (triage(&nodes, &one).await != Value::Null).then_some(()))
        .await;
    until("the other's are known", async || {
        let triage = triage(&nodes, &other).await;
        let said = triage["rules"].as_array().map_or(0, Vec::len);
        (said == 2).then_some(())
    })
    .await;
}
