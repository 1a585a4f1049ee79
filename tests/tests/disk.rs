//! Nodes whose disks are full: they say so, write nothing, lead nothing, and go on by themselves; where the disk
//! itself says no, they end by name, and what they acknowledged is there when it has room again.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests fail by panicking; these write a list to import"
)]

use std::{convert::Infallible, path::Path, sync::Arc};

use fieldmesh_node::{
    cli::lab::disks::SmallDisk,
    server::EXIT_STORAGE,
    store::{Batch, Engine as _, Role, StoreError, Table, rocks::Rocks},
};
use fieldmesh_tests::{
    live::until,
    process::{Finished, fieldmesh, handheld::Handheld, nodes::Nodes},
    unchecked,
};
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};
use tokio::process::Command;

/// Below so many free MiB a disk of these tests is full.
const ROOM: (&str, &str) = ("disk.room_min_mib", "64");
const DISK_MIB: u64 = 400;
/// Free MiB that are left on a full one.
const LEFT_MIB: u64 = 30;
/// So little that RocksDB gets no room ahead for its log (17.6 MiB): what is written next needs room of its own.
const LITTLE_MIB: u64 = 8;
/// More tables than nodes usually have.
const STATES: u32 = 12;

/// A disk for a node; loudly none where this user may not mount one.
fn disk(nodes: &Nodes, number: u64) -> Option<SmallDisk> {
    unchecked::or_say("full disks", SmallDisk::mount(&nodes.dir(number), DISK_MIB))
}

/// Asks the service to take a customer of that name; one whom it knows it takes without a word of the log.
async fn import_one(dir: &Path, name: &str) -> Finished {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("name,lat,lon\n{name},48.85,2.35\n")).unwrap();
    let path = file.path().to_str().unwrap();
    fieldmesh(dir, &["customer", "import", path]).await
}

/// Whether the service takes a customer, and what it says.
async fn import(nodes: &Nodes, number: u64) -> (Option<i32>, String) {
    let done = import_one(&nodes.dir(number), "Ada").await;
    (done.code, done.stderr)
}

/// Asks it to take one after the other; those that it took.
async fn import_more(dir: &Path, taken: &mut Vec<String>) -> Infallible {
    let mut number = 0_u64;
    loop {
        number += 1;
        let done = import_one(dir, &format!("Ada {number}")).await;
        if done.code == Some(0) {
            taken.push(done.json()["ids"][0].as_str().unwrap().to_owned());
        }
    }
}

/// What `/readyz` answers whoever spreads load.
async fn readiness(nodes: &Nodes, number: u64) -> (bool, String) {
    let url = format!("https://{}/readyz", nodes.node(number).https);
    let output = Command::new("curl").args(["-sk", &url]).output().await.unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    (told["ready"].as_bool().unwrap(), told["disk"].as_str().unwrap().to_owned())
}

async fn waiting(device: &Handheld) -> u64 {
    device.run(&["status"]).await.expect_code(0).json()["waiting"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_by_name_and_goes_on_by_itself() {
    let mut nodes = Nodes::prepare(&[ROOM]);
    let Some(disk) = disk(&nodes, 1) else { return };
    nodes.begin(1).await;
    let dir = TempDir::new().unwrap();
    let devices = nodes.node(1).devices.clone();
    let (customer, _technician) = nodes.node(1).pair(dir.path(), ["Ada", "Ben"], &devices).await;
    let ticket = customer.request("before").await;
    disk.fill(LEFT_MIB).await.unwrap();
    let refusal = until("the disk is full", async || match import(&nodes, 1).await {
        (Some(3), refusal) => Some(refusal),
        _ => None,
    })
    .await;
    assert!(refusal.contains("507") && refusal.contains("full"), "{refusal}");
    assert_eq!(readiness(&nodes, 1).await, (false, "full".to_owned()));
    // What is there can be read, and a device's message waits on the device.
    nodes.node(1).ask(&["ticket", "show", &ticket]).await;
    customer.try_request("meanwhile", "2").await;
    assert_eq!(waiting(&customer).await, 1);
    disk.empty().unwrap();
    until("there is room again", async || (import(&nodes, 1).await.0 == Some(0)).then_some(()))
        .await;
    assert_eq!(readiness(&nodes, 1).await, (true, "well".to_owned()));
    until("the message was taken", async || {
        customer.run(&["listen", "--seconds", "1"]).await.expect_code(0);
        (waiting(&customer).await == 0).then_some(())
    })
    .await;
    let all = nodes.node(1).ask(&["ticket", "list"]).await;
    assert_eq!(all["rows"].as_array().unwrap().len(), 2, "once, and nothing more: {all}");
}

fn led_by(view: &Value, number: u64) -> usize {
    let groups = view["groups"].as_array().unwrap().iter();
    groups.filter(|group| group["leader"] == number).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_is_full_leads_nothing_and_nobody_waits_for_it() {
    let mut nodes = Nodes::prepare(&[ROOM]);
    let Some(disk) = disk(&nodes, 3) else { return };
    nodes.begin(3).await;
    let view = nodes.settle().await;
    assert!(led_by(&view, 3) > 0, "{view}");
    let dir = TempDir::new().unwrap();
    let devices = nodes.node(1).devices.clone();
    let (customer, technician) = nodes.node(1).pair(dir.path(), ["Ada", "Ben"], &devices).await;
    disk.fill(LEFT_MIB).await.unwrap();
    until("others lead", async || {
        let view = nodes.node(1).ask(&["cluster", "status"]).await;
        let all_led = view["groups"].as_array().unwrap().iter().all(|one| one["leader"].is_u64());
        (all_led && led_by(&view, 3) == 0).then_some(())
    })
    .await;
    let ticket = customer.request("without the third").await;
    let alert = technician.alert(&ticket).await;
    technician.accept(&alert).await;
    disk.empty().unwrap();
    let view = nodes.settle().await;
    assert!(led_by(&view, 3) > 0, "{view}");
}

/// Without the floor, so that the disk itself says no.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_any_room_ends_a_node_by_name_and_takes_nothing_acknowledged() {
    let mut nodes = Nodes::prepare(&[("disk.room_min_mib", "0")]);
    let Some(disk) = disk(&nodes, 1) else { return };
    nodes.begin(1).await;
    let dir = TempDir::new().unwrap();
    let devices = nodes.node(1).devices.clone();
    let (customer, _technician) = nodes.node(1).pair(dir.path(), ["Ada", "Ben"], &devices).await;
    let mut tickets = vec![customer.request("before").await];
    nodes.terminate(1).await;
    disk.fill(LITTLE_MIB).await.unwrap();
    nodes.restart(1).await;
    tickets.push(customer.request("with little room").await);
    disk.fill_up().await.unwrap();
    let (node, mut taken) = (nodes.dir(1), Vec::new());
    let ended = tokio::select! {
        ended = nodes.ended(1) => ended,
        never = import_more(&node, &mut taken) => match never {},
    };
    let says = |words: &str| ended.stderr.contains(words);
    let is_named = says("No space left on device") && says("table ");
    assert!(ended.code == Some(EXIT_STORAGE) && is_named, "{ended}");
    // It may be that what it left lying about is room enough to start with.
    match nodes.launch(1).outcome().await {
        Ok(server) => drop(server.kill().await),
        Err(again) => assert!(matches!(again.code, Some(2 | EXIT_STORAGE)), "{again}"),
    }
    disk.empty().unwrap();
    nodes.restart(1).await;
    for ticket in &tickets {
        nodes.node(1).ask(&["ticket", "show", ticket]).await;
    }
    for customer in &taken {
        nodes.node(1).ask(&["customer", "show", customer]).await;
    }
    tickets.push(customer.request("after").await);
    let all = nodes.node(1).ask(&["ticket", "list"]).await;
    assert_eq!(all["rows"].as_array().unwrap().len(), tickets.len(), "{all}");
}

/// Opens all tables that a node has.
fn all(rocks: &Rocks) -> Result<Vec<Arc<dyn Table>>, StoreError> {
    let log = std::iter::once(("log".to_owned(), Role::Log));
    let states = (0..STATES).map(|number| (format!("state-{number}"), Role::State));
    log.chain(states).map(|(name, role)| rocks.open(&name, role)).collect()
}

async fn write(table: &dyn Table, key: u8) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    batch.put([key], [key]);
    table.write(batch)?;
    table.sync().await
}

/// What RocksDB takes ahead for itself counts, too.
#[tokio::test]
async fn all_tables_of_a_node_open_on_a_disk_without_any_room_once_its_reserve_is_given_up() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path().join("disk");
    let Some(disk) = unchecked::or_say("full disks", SmallDisk::mount(&dir, DISK_MIB)) else {
        return;
    };
    let rocks = Rocks::new(&dir);
    rocks.keep_reserve(true);
    for table in all(&rocks).unwrap() {
        write(&*table, 1).await.unwrap();
    }
    disk.fill_up().await.unwrap();
    assert!(all(&rocks).is_err(), "without any room none opens");
    rocks.keep_reserve(false);
    for table in all(&rocks).unwrap() {
        assert_eq!(table.get(&[1]).unwrap(), Some(vec![1]));
        write(&*table, 2).await.unwrap();
    }
}
