//! Who has a certificate and is not let in: each is told by which check.
//!
//! **Not here:** members that were removed or revoked (`away`, the parent).

use std::sync::{Arc, atomic::Ordering};

use fieldmesh_node::{edge, mesh::ALPN};
use fieldmesh_pki::{Kind, tls::client_config};
use fieldmesh_tests::{
    live::{
        now_s,
        raw::{Closed, refused},
        verifier,
    },
    mesh::{identity, meshed, meshed_in},
    pki::{Authority, REGION},
};

use super::{Echo, any, asked, member, server};

/// The alert "unknown_ca" (RFC 8446 §6.2) as QUIC has it.
const UNKNOWN_CA: Closed = Closed::Transport(0x100 + 48);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_clusters_node_is_refused_in_the_handshake() {
    let (authority, foreign) = (Authority::new(now_s()), Authority::new(now_s()));
    let one = server(&authority, 1);
    one.mesh.set_members(&[member(1, one.address), member(2, any())]);
    let id = identity(2).to_bytes();
    let (stranger, _, _) = meshed(&foreign, 2, Kind::Node, id, any());
    stranger.set_members(&[member(1, one.address)]);
    let told = asked(&stranger, 1).await.unwrap_err();
    assert!(told.contains("UnknownIssuer"), "the stranger believes node 1: {told}");
    // The same of a stranger that believes node 1.
    let credentials = foreign.credentials(Kind::Node, id);
    let tls = client_config(verifier(&authority.root), Some(&credentials), ALPN).unwrap();
    assert_eq!(refused(one.address, tls).await, UNKNOWN_CA);
    assert_eq!(one.echo.served.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_nodes_of_this_region_get_in() {
    let regions = Authority::of_regions(&[REGION, "us1"], now_s());
    let [own, other] = &regions[..] else { panic!("two regions") };
    let one = server(own, 1);
    one.mesh.set_members(&[member(1, one.address), member(2, any())]);
    for (authority, kind, number, fact) in [
        (own, Kind::Customer, 2, "not a node"),
        (own, Kind::Operator, 2, "not a node"),
        (own, Kind::Node, 9, "not a member"),
        // Who has the other region's authority would be a node of this one.
        (other, Kind::Node, 2, "for another region than the member's"),
    ] {
        let (stranger, _, _) = meshed(authority, 2, kind, identity(number).to_bytes(), any());
        stranger.set_members(&[member(1, one.address)]);
        let told = asked(&stranger, 1).await.unwrap_err();
        assert!(told.contains(fact), "{kind:?} {number}: {told}");
    }
    assert_eq!(one.echo.served.load(Ordering::SeqCst), 0);
}

/// Its certificate is believed, and its identity is a member's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_clusters_name_does_not_get_in() {
    let authority = Authority::new(now_s());
    let credentials = authority.credentials(Kind::Node, identity(1).to_bytes());
    let socket = edge::socket(any()).unwrap();
    let (one, address, _) = meshed_in("another.internal", &authority, 1, &credentials, socket);
    let echo = Arc::new(Echo::default());
    tokio::spawn(Arc::clone(&one).run(Arc::clone(&echo) as _));
    one.set_members(&[member(1, address), member(2, any())]);
    let (stranger, _, _) = meshed(&authority, 2, Kind::Node, identity(2).to_bytes(), any());
    stranger.set_members(&[member(1, address)]);
    let told = asked(&stranger, 1).await.unwrap_err();
    assert!(told.contains("for another cluster"), "{told}");
    assert_eq!(echo.served.load(Ordering::SeqCst), 0);
}
