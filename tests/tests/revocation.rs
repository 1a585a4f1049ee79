//! Revoked means gone: connections are closed with a code that says why, and nothing lets the
//! holder in again but what an operator gives.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

use std::time::{Duration, Instant};

use fieldmesh_device::{
    transport::{self, Connection},
    wire::{Reply, close},
};
use fieldmesh_domain::EntityId;
use fieldmesh_pki::KeyMaterial;
use fieldmesh_tests::live::{
    Live,
    raw::{Closed, Raw, closed, refused},
};
use serde_json::{Value, json};

/// certificate_revoked (RFC 8446 §6.2), as QUIC says it (RFC 9001 §4.8).
const CERTIFICATE_REVOKED: Closed = Closed::Transport(0x100 + 44);

async fn connected(live: &Live, device: &Raw) -> Connection {
    let connection = device.connect(live.devices).await;
    device.greet(&connection).await;
    connection
}

async fn act(live: &Live, id: EntityId, what: &str, body: Value) -> Value {
    let path = format!("/v1/ca/registrations/{id}/{what}");
    let (status, view) = live.try_post(&path, &body).await;
    assert_eq!(status, 200, "{view}");
    view
}

/// How long the service takes from the operator's word to the end of a connection, and its code.
async fn end_of(connection: &Connection, began: Instant) -> (Closed, Duration) {
    let end = tokio::time::timeout(Duration::from_secs(8), connection.closed()).await;
    (closed(&end.expect("the connection is closed")), began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_connection_of_a_revoked_device_ends_with_its_own_code() {
    let live = Live::start().await;
    let (id, other) = (live.customer().await, live.customer().await);
    let (device, bystander) = (live.raw(id).await, live.raw(other).await);
    let (connection, untouched) =
        (connected(&live, &device).await, connected(&live, &bystander).await);
    let began = Instant::now();
    let view = act(&live, id, "revoke", json!({ "reason": "keyCompromise" })).await;
    assert_eq!(view["state"], "revoked");
    let (code, took) = end_of(&connection, began).await;
    assert_eq!(code, Closed::Application(u64::from(close::REVOKED)));
    assert!(took < Duration::from_secs(2), "{took:?}");
    let tls = device.tls(fieldmesh_device::wire::ALPN);
    assert_eq!(refused(live.devices, tls).await, CERTIFICATE_REVOKED);
    assert!(untouched.close_reason().is_none());
    // A new token enrolls it again.
    let again = live.raw(id).await;
    drop(connected(&live, &again).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_device_is_told_so() {
    let live = Live::start().await;
    let id = live.customer().await;
    let device = live.raw(id).await;
    let connection = connected(&live, &device).await;
    let began = Instant::now();
    act(&live, id, "ban", json!({ "why": "stolen" })).await;
    let (code, _) = end_of(&connection, began).await;
    assert_eq!(code, Closed::Application(u64::from(close::BANNED)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_outlives_a_restart() {
    let mut live = Live::start().await;
    let id = live.customer().await;
    let device = live.raw(id).await;
    let connection = connected(&live, &device).await;
    act(&live, id, "revoke", json!({})).await;
    end_of(&connection, Instant::now()).await;
    live.stop().await;
    live.start_again().await;
    let tls = device.tls(fieldmesh_device::wire::ALPN);
    assert_eq!(refused(live.devices, tls).await, CERTIFICATE_REVOKED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_waited_for_a_renewal_still_counts() {
    let live = Live::start().await;
    let id = live.customer().await;
    let old = live.raw(id).await;
    // A second certificate of the same device: what it signed with the first one is still its word.
    let key = KeyMaterial::generate().unwrap();
    let enrolled = live.enroll(id, &live.token(id).await, &key).await.unwrap();
    let pkcs8 = zeroize::Zeroizing::new(key.pkcs8().to_vec());
    let credentials = fieldmesh_pki::tls::Credentials { chain: enrolled.chain, pkcs8 };
    let new = Raw::new(id, credentials, &live.root);
    let connection = new.connect(live.devices).await;
    let service = new.greet(&connection).await;
    let sealed = old.sealed(&service, &old.request());
    let reply = transport::ask(&connection, &sealed).await.unwrap();
    assert!(matches!(reply, Reply::Receipt { .. }), "{reply:?}");
    // Not so what a stranger signed.
    let stranger = live.raw(live.customer().await).await;
    let reply =
        transport::ask(&connection, &stranger.sealed(&service, &stranger.request())).await.unwrap();
    assert_eq!(reply, Reply::Rejected);
}
