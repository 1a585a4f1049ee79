//! Nodes whose disks are full: they say so, write nothing, lead nothing, and go on by themselves.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests fail by panicking; these write a list to import, and say where they cannot run"
)]

use fieldmesh_node::cli::lab::disks::SmallDisk;
use fieldmesh_tests::{
    live::until,
    process::{fieldmesh, handheld::Handheld, nodes::Nodes},
};
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};
use tokio::process::Command;

/// Below so many free MiB a disk of these tests is full.
const ROOM: (&str, &str) = ("disk.room_min_mib", "64");
const DISK_MIB: u64 = 400;
/// Free MiB that are left on a full one.
const LEFT_MIB: u64 = 30;

/// A disk for a node; loudly none where this user may not mount one.
fn disk(nodes: &Nodes, number: u64) -> Option<SmallDisk> {
    let disk = SmallDisk::mount(&nodes.dir(number), DISK_MIB).map_err(|why| {
        eprintln!(
            "NOT RUN: mounting a small disk needs root ({why}); the simulated one is tested all the same"
        );
    });
    disk.ok()
}

/// Whether the service takes a customer, and what it says.
async fn import(nodes: &Nodes, number: u64) -> (Option<i32>, String) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "name,lat,lon\nAda,48.85,2.35\n").unwrap();
    let path = file.path().to_str().unwrap();
    let done = fieldmesh(&nodes.dir(number), &["customer", "import", path]).await;
    (done.code, done.stderr)
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
