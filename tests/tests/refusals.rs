//! What the device port refuses, and how: each wrong certificate with its own close code, each abuse
//! of the transport without harm to others, each bad envelope without a trace in the state.
//!
//! A real server on UDP, a client that speaks QUIC and the sealed format byte by byte. The parts:
//! certificates here, `refusals/transport.rs`, `refusals/envelopes.rs`, `refusals/content.rs`.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking"
)]

#[path = "refusals/content.rs"]
mod content;
#[path = "refusals/envelopes.rs"]
mod envelopes;
#[path = "refusals/transport.rs"]
mod transport;

use std::collections::BTreeMap;

use fieldmesh_device::{
    transport::ask,
    wire::{self, Reply, close},
};
use fieldmesh_domain::{EntityId, EntityKind};
use fieldmesh_pki::{
    Identity, Kind,
    tls::{Credentials, client_config},
};
use fieldmesh_tests::live::{
    Live,
    forge::{Forge, Leaf},
    now_s, random,
    raw::{Closed, Raw, closed, refused},
    until, verifier,
};
use rcgen::ExtendedKeyUsagePurpose;

const REFUSED: &str = "fieldmesh_edge_refused_total";
const DAY_S: u64 = 24 * 3600;

/// The code of a TLS alert (RFC 8446 §6) in QUIC (RFC 9001 §4.8).
fn alert(number: u64) -> Closed {
    Closed::Transport(0x100 + number)
}

fn application(code: u32) -> Closed {
    Closed::Application(u64::from(code))
}

const BAD_CERTIFICATE: u64 = 42;
const UNSUPPORTED_CERTIFICATE: u64 = 43;
/// "Has expired or is not currently valid": TLS has one alert for both.
const CERTIFICATE_EXPIRED: u64 = 45;
const UNKNOWN_CA: u64 = 48;
const ACCESS_DENIED: u64 = 49;
const CERTIFICATE_REQUIRED: u64 = 116;

/// An identity in the deployment's cluster and region.
fn identity(live: &Live, kind: Kind, id: [u8; 16]) -> Identity {
    let (cluster, region) = (&live.config.cluster.name, &live.config.cluster.region);
    Identity { cluster: cluster.clone(), region: region.clone(), kind, id }
}

fn nobody(live: &Live, kind: EntityKind) -> EntityId {
    EntityId::new(kind, live.config.cluster.region.parse().unwrap(), random())
}

/// Certificates that TLS itself refuses, by cause.
fn refused_by_tls(
    live: &Live,
    customer: EntityId,
) -> Vec<(&'static str, Option<Credentials>, u64)> {
    let (forge, stranger) = (Forge::of(&live.config), Forge::stranger(&live.config));
    let (id, now) = (customer.to_bytes(), now_s());
    let who = identity(live, Kind::Customer, id);
    let right = Leaf::of(&who);
    let leaf = |change: fn(&mut Leaf)| {
        let mut leaf = right.clone();
        change(&mut leaf);
        Some(forge.sign(&leaf))
    };
    let elsewhere = Identity { region: "us1".into(), ..who.clone() };
    let service = identity(live, Kind::Service, random());
    vec![
        ("no certificate", None, CERTIFICATE_REQUIRED),
        ("unknown CA with our names", Some(stranger.issue(&who, now)), UNKNOWN_CA),
        ("self-signed", Some(right.self_signed()), UNKNOWN_CA),
        (
            "expired by a day",
            leaf(|leaf| (leaf.from_s, leaf.until_s) = (now_s() - 91 * DAY_S, now_s() - DAY_S)),
            CERTIFICATE_EXPIRED,
        ),
        (
            "expired a minute ago",
            leaf(|leaf| (leaf.from_s, leaf.until_s) = (now_s() - DAY_S, now_s() - 60)),
            CERTIFICATE_EXPIRED,
        ),
        ("not valid before tomorrow", Some(forge.issue(&who, now + DAY_S)), CERTIFICATE_EXPIRED),
        ("a service signer's", Some(forge.issue(&service, now)), UNSUPPORTED_CERTIFICATE),
        (
            "for servers only",
            leaf(|leaf| leaf.usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            UNSUPPORTED_CERTIFICATE,
        ),
        ("for no use at all", leaf(|leaf| leaf.usages.clear()), UNSUPPORTED_CERTIFICATE),
        ("without an identity", leaf(|leaf| leaf.uris.clear()), ACCESS_DENIED),
        (
            "with two identities",
            leaf(|leaf| leaf.uris.push(leaf.uris[0].replace("customer", "technician"))),
            ACCESS_DENIED,
        ),
        (
            "with another's DNS name",
            leaf(|leaf| leaf.dns[0] = leaf.dns[0].replace("customer", "technician")),
            ACCESS_DENIED,
        ),
        (
            "another region's name under this region's CA",
            Some(forge.sign(&Leaf::of(&elsewhere))),
            BAD_CERTIFICATE,
        ),
        (
            "a URI of another region beside a DNS name of this one",
            leaf(|leaf| leaf.uris[0] = leaf.uris[0].replace("eu1", "us1")),
            ACCESS_DENIED,
        ),
    ]
}

/// Certificates that TLS believes and the edge refuses, by cause.
fn refused_by_edge(live: &Live, customer: EntityId) -> Vec<(&'static str, Credentials, u32)> {
    let forge = Forge::of(&live.config);
    let id = customer.to_bytes();
    let issue = |identity: &Identity| forge.issue(identity, now_s());
    let cluster = &live.config.cluster.name;
    let us1 = Identity {
        region: "us1".into(),
        ..identity(live, Kind::Customer, EntityId::to_bytes(customer))
    };
    // Its DNS name lies under this region's, so the CA's constraint allows it.
    let nested = Identity { cluster: format!("eu1.{cluster}"), ..us1.clone() };
    vec![
        ("a node's", issue(&identity(live, Kind::Node, random())), close::WRONG_PROFILE),
        ("an operator's", issue(&identity(live, Kind::Operator, random())), close::WRONG_PROFILE),
        (
            "a technician's profile for a customer",
            issue(&identity(live, Kind::Technician, id)),
            close::WRONG_PROFILE,
        ),
        (
            "a customer's profile for a ticket",
            issue(&identity(live, Kind::Customer, EntityId::ticket_of(customer, id).to_bytes())),
            close::WRONG_PROFILE,
        ),
        (
            "another region's, from its own CA",
            Forge::other_region(&live.config, "us1").issue(&us1, now_s()),
            close::WRONG_REGION,
        ),
        ("another cluster's", forge.sign(&Leaf::of(&nested)), close::WRONG_REGION),
        (
            "not an identifier at all",
            issue(&identity(live, Kind::Customer, [0xff; 16])),
            close::UNKNOWN_ENTITY,
        ),
    ]
}

/// The counter rises a moment after the client has seen the end.
async fn counted_one_more(live: &Live, before: u64, what: &str) {
    let rises = format!("{REFUSED} rises for {what}");
    until(&rises, async || (live.counted(REFUSED).await > before).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_certificate_is_refused_with_its_own_code() {
    let live = Live::start().await;
    let customer = live.customer().await;
    let before = live.snapshot().await;
    let mut codes: BTreeMap<Closed, Vec<&str>> = BTreeMap::new();
    for (what, credentials, number) in refused_by_tls(&live, customer) {
        let counted = live.counted(REFUSED).await;
        let tls = client_config(verifier(&live.root), credentials.as_ref(), wire::ALPN).unwrap();
        let found = refused(live.devices, tls).await;
        assert_eq!(found, alert(number), "{what}");
        counted_one_more(&live, counted, what).await;
        codes.entry(found).or_default().push(what);
    }
    for (what, credentials, code) in refused_by_edge(&live, customer) {
        let counted = live.counted(REFUSED).await;
        let tls = client_config(verifier(&live.root), Some(&credentials), wire::ALPN).unwrap();
        let found = refused(live.devices, tls).await;
        assert_eq!(found, application(code), "{what}");
        counted_one_more(&live, counted, what).await;
        codes.entry(found).or_default().push(what);
    }
    assert_eq!(codes.len(), 9, "one code for each cause: {codes:?}");
    assert_eq!(live.snapshot().await, before, "whoever was refused left a trace");
    assert_eq!(live.server().node.courier.connected(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_somebody_who_may_not_connect_is_refused_at_the_hello() {
    let live = Live::start().await;
    let forge = Forge::of(&live.config);
    // Registered and not enrolled: a certificate that the service did not commit is worth nothing.
    let (registered, technician) = (live.customer().await, live.technician(1).await);
    let cases = [
        (nobody(&live, EntityKind::Customer), Kind::Customer, "an unknown customer"),
        (nobody(&live, EntityKind::Technician), Kind::Technician, "an unknown technician"),
        (registered, Kind::Customer, "a customer without a device"),
        (technician, Kind::Technician, "a technician without a device"),
    ];
    let before = live.snapshot().await;
    for (id, kind, what) in cases {
        let counted = live.counted(REFUSED).await;
        let credentials = forge.issue(&identity(&live, kind, id.to_bytes()), now_s());
        let device = Raw::new(id, credentials, &live.root);
        let connection = device.connect(live.devices).await;
        // The answer and the end of the connection race.
        if let Ok(reply) = ask(&connection, &device.hello()).await {
            assert_eq!(reply, Reply::Rejected, "{what}");
        }
        let end = connection.closed().await;
        assert_eq!(closed(&end), application(close::UNKNOWN_ENTITY), "{what}");
        counted_one_more(&live, counted, what).await;
    }
    assert_eq!(live.snapshot().await, before);
}
