//! `fieldmesh-device` as its owner uses it: without a connection, killed half-way, enrolled anew.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and these look into a device's files"
)]

use std::{net::UdpSocket, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use fieldmesh_tests::process::{
    Launch, Server,
    contents::contents,
    handheld::{CATEGORY, Handheld},
    text,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

const UNREACHABLE: i32 = 75;
const REFUSED: i32 = 3;
const USAGE: i32 = 2;

async fn tickets(server: &Server) -> Vec<Value> {
    server.ask(&["ticket", "list"]).await["rows"].as_array().unwrap().clone()
}

async fn waiting(device: &Handheld) -> Value {
    device.run(&["status"]).await.expect_code(0).json()["waiting"].clone()
}

/// A service with a customer's and a technician's device.
async fn staffed(data: &Path, devices: &Path) -> (Server, Handheld, Handheld) {
    let server = Launch::dev(data).ready().await;
    let (customer, technician) = server.pair(devices, ["Ada", "Grace"], &server.devices).await;
    (server, customer, technician)
}

#[tokio::test]
async fn a_request_without_a_connection_is_sent_later_and_once() {
    let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (server, customer, _technician) = staffed(data.path(), devices.path()).await;
    let again = server.again();
    server.terminate().await.expect_code(0);
    for (number, text) in ["first", "second"].into_iter().enumerate() {
        let refused = customer.try_request(text, "1").await.expect_code(UNREACHABLE);
        refused.expect_one_line(&["outbox"]);
        assert_eq!(waiting(&customer).await, number + 1);
    }
    let server = again.ready().await;
    // The third takes the two others along.
    customer.request("third").await;
    for _ in 0..10 {
        if waiting(&customer).await == 0 {
            break;
        }
        customer.run(&["listen", "--seconds", "1"]).await.expect_code(0);
    }
    assert_eq!(waiting(&customer).await, 0);
    assert_eq!(tickets(&server).await.len(), 3);
    for _ in 0..2 {
        customer.run(&["listen", "--seconds", "1"]).await.expect_code(0);
    }
    assert_eq!(tickets(&server).await.len(), 3, "what was answered is not sent again");
}

#[tokio::test]
async fn a_device_that_dies_with_a_request_sends_it_later_and_once() {
    let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (server, customer, _technician) = staffed(data.path(), devices.path()).await;
    // Nobody answers there, so the request is under way when the device dies.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nowhere = silent.local_addr().unwrap().to_string();
    let (lost, _) = server.pair(&devices.path().join("silent"), ["Eve", "Mel"], &nowhere).await;
    let place = ["--lat-e6", "48850000", "--lon-e6", "2350000", "--wait", "60"];
    let request = ["request", "--category", CATEGORY, "--text", "still here"];
    let running = lost.start(&[&request[..], &place].concat());
    silent.recv(&mut [0; 2048]).unwrap();
    running.end_with("KILL").await;
    assert_eq!(waiting(&lost).await, 1);
    assert_eq!(tickets(&server).await.len(), 0);
    customer.request("the service works").await;
    assert_eq!(tickets(&server).await.len(), 1);
}

#[tokio::test]
async fn work_is_offered_accepted_and_confirmed() {
    let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (server, customer, technician) = staffed(data.path(), devices.path()).await;
    let ticket = customer.request("the lift is stuck").await;
    let alert = technician.alert(&ticket).await;
    assert_eq!(alert["text"], "the lift is stuck");
    technician.accept(&alert).await;
    let mut listening = customer.start(&["listen", "--seconds", "30"]);
    let confirmation = listening.until(|line| line["confirmation"] == ticket.as_str()).await;
    listening.end_with("TERM").await;
    assert_eq!((&confirmation["name"], &confirmation["eta_min"]), (&"Grace".into(), &9.into()));
    // The same offer, once more: a repetition, and then a change of mind that comes too late.
    let offer = alert["offer"].as_str().map_or_else(|| alert["offer"].to_string(), str::to_owned);
    let respond = ["respond", "--ticket", &ticket, "--offer", &offer];
    let done = [&respond[..], &["complete", "--note", "fixed"]].concat();
    technician.run(&done).await.expect_code(0);
    let late = technician.run(&done).await.expect_code(REFUSED);
    late.expect_one_line(&["no longer yours"]);
    let shown = server.ask(&["ticket", "show", &ticket]).await;
    assert_eq!(shown["state"], "completed", "{shown}");
}

#[tokio::test]
async fn another_device_of_the_same_customer_is_heard_at_once() {
    let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (server, old, _technician) = staffed(data.path(), devices.path()).await;
    for number in 0..3 {
        old.request(&format!("with the old device, {number}")).await;
    }
    let new = server.device(devices.path().join("new"), old.id.clone(), &server.devices).await;
    // Its numbers begin behind those of the old one.
    new.request("with the new device").await;
    assert_eq!(tickets(&server).await.len(), 4);
}

/// Some keep-alives of a device: at the next one it is told, or it hears nothing and comes back itself.
const TOLD_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_device_is_told_that_its_server_crashed_and_is_back() {
    let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (server, customer, technician) = staffed(data.path(), devices.path()).await;
    let mut listening = technician.start(&["listen", "--seconds", "90"]);
    let first = customer.request("before the crash").await;
    listening.until(|line| line["alert"] == first.as_str()).await;
    let again = server.again();
    server.kill().await;
    let _server = again.ready().await;
    let second = customer.request("after the crash").await;
    let alert = listening.until(|line| line["alert"] == second.as_str());
    assert!(timeout(TOLD_WITHIN, alert).await.is_ok(), "the device waits for the old connection");
}

#[tokio::test]
async fn a_devices_files_are_its_owners_and_say_nothing() {
    let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (server, customer, _technician) = staffed(data.path(), devices.path()).await;
    let again = server.again();
    server.terminate().await.expect_code(0);
    let marker = "nobody else should read this";
    customer.try_request(marker, "1").await.expect_code(UNREACHABLE);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&customer.dir), 0o700);
    for (path, bytes) in contents(&customer.dir) {
        assert_eq!(mode(&customer.dir.join(&path)), 0o600, "{}", path.display());
        let found = bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
        assert!(!found, "{} holds the request in plain", path.display());
    }
    let nobody = TempDir::new().unwrap();
    let stranger = Handheld { dir: nobody.path().join("none"), id: String::new() };
    let refused = stranger.run(&["status"]).await.expect_code(USAGE);
    refused.expect_one_line(&[text(&stranger.dir)]);
    drop(again);
}

#[tokio::test]
async fn a_device_that_is_not_believed_any_more_says_so_and_ends() {
    let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (server, customer, technician) = staffed(data.path(), devices.path()).await;
    let mut listening = customer.start(&["listen", "--seconds", "60"]);
    // It answers as soon as it is connected: then it has something to lose.
    technician.run(&["listen", "--seconds", "1"]).await.expect_code(0);
    server.ask(&["ca", "revoke", &customer.id]).await;
    while listening.line_within(Duration::from_secs(20)).await.unwrap().is_some() {}
    let ended = listening.finish().await.expect_code(REFUSED);
    assert!(ended.stderr.contains("revoked: enroll again with a new token"), "{ended}");
    // The same in the handshake; what was composed is kept for the next certificate.
    let refused = customer.try_request("no", "20").await.expect_code(REFUSED);
    refused.expect_one_line(&["revoked"]);
    assert_eq!(waiting(&customer).await, 1);
    let listening = technician.start(&["listen", "--seconds", "60"]);
    server.ask(&["ca", "ban", &technician.id, "--why", "lost"]).await;
    let ended = listening.finish().await.expect_code(REFUSED);
    assert!(
        ended.stderr.contains("ask an operator") || ended.stderr.contains("revoked"),
        "{ended}"
    );
}
