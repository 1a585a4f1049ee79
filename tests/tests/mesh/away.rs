//! Who is sent away for good, whom it believes that, and who is only sent away.
//!
//! **Not here:** what a node does that was told so (`cluster`, `standby`).

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use fieldmesh_domain::{
    EntityId, IndexRow,
    placement::{Ca, Phase, Role},
    registration::Revocation,
    time::Millis,
};
use fieldmesh_node::{
    mesh::{Mesh, SentAway},
    register,
    trust::Trust,
};
use fieldmesh_pki::{CaCertificate, Kind, Usage, tls::Credentials};
use fieldmesh_tests::{
    live::{now_s, until},
    mesh::{identity, meshed, meshed_as},
    pki::Authority,
};

use super::{Server, any, asked, member, server};

/// Somebody who only asks, as the node with this number.
fn client(authority: &Authority, number: u64, of: SocketAddr) -> Arc<Mesh> {
    let id = identity(number).to_bytes();
    let (mesh, _, _) = meshed(authority, number, Kind::Node, id, any());
    mesh.set_members(&[member(1, of)]);
    mesh
}

/// Node 1, which has node 2 for removed.
fn without_two(authority: &Authority) -> Server {
    let one = server(authority, 1);
    one.mesh.set_gone(BTreeSet::from([identity(2)]));
    one.mesh.set_members(&[member(1, one.address)]);
    one
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_removed_is_told_so_and_who_never_was_a_member_is_not() {
    let authority = Authority::new(now_s());
    let one = without_two(&authority);
    let two = client(&authority, 2, one.address);
    let told = until("it is told", async || {
        asked(&two, 1).await.unwrap_err();
        two.is_sent_away()
    });
    let told = told.await;
    assert_eq!(two.sent_away().await, told);
    assert!(matches!(told, SentAway::Removed(_)), "{told}");
    let text = told.to_string();
    for word in ["node 1 says", "was removed", "join anew", "node.number"] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    let nine = client(&authority, 9, one.address);
    let refused = until("it is sent away", async || {
        asked(&nine, 1).await.err().filter(|why| why.contains("not a member"))
    });
    refused.await;
    assert_eq!(nine.is_sent_away(), None);
    assert!(one.mesh.is_sent_away().is_none());
}

/// One that is dialed by another one learns it too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_removed_is_told_so_by_whoever_finds_it_in_anothers_place() {
    let authority = Authority::new(now_s());
    let (one, two) = (without_two(&authority), server(&authority, 2));
    two.mesh.set_members(&[member(1, one.address), member(2, two.address)]);
    // Node 3 is said to be where node 2 is.
    one.mesh.set_members(&[member(1, one.address), member(3, two.address)]);
    until("it is told", async || {
        asked(&one.mesh, 3).await.unwrap_err();
        two.mesh.is_sent_away()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_member_itself_removes_nobody() {
    let authority = Authority::new(now_s());
    let three = server(&authority, 3);
    three.mesh.set_gone(BTreeSet::from([identity(2)]));
    // Node 1 is said to be where node 3 is, of which node 2 knows nothing.
    let two = client(&authority, 2, three.address);
    asked(&two, 1).await.unwrap_err();
    assert_eq!(two.is_sent_away(), None);
}

fn revoked(trust: &Trust, credentials: &Credentials) -> IndexRow {
    let peer = trust.store().verify(&credentials.chain[0], &[], Usage::ClientAuth, now_s());
    let peer = peer.unwrap();
    IndexRow::Revocation {
        issuer: peer.issuer_hash,
        serial: register::serial(&peer.serial).unwrap(),
        not_after: peer.not_after,
        revocation: Revocation { at: Millis(0), reason: 1, banned: false },
    }
}

fn authority_row(der: &[u8], role: Role, phase: Phase) -> IndexRow {
    let read = CaCertificate::read(der).unwrap();
    let ca = Ca {
        fingerprint: read.fingerprint,
        certificate: der.to_vec(),
        role,
        authority: EntityId::authority(identity(1).region()),
        name: read.name_hash,
        signer: read.fingerprint,
        not_after: read.not_after_s,
        phase,
        since: Millis(0),
        epoch: 1,
        compromised: false,
    };
    IndexRow::Ca { ca, epoch: 1 }
}

/// What a removed authority issued counts as revoked too, and is renewed by whoever knows that another one signs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_certificate_was_revoked_is_told_so_unless_it_gets_another_one() {
    let authority = Authority::new(now_s());
    for (phase, is_final) in [(Phase::Superseded, false), (Phase::Active, true)] {
        let one = server(&authority, 1);
        let credentials = authority.credentials(Kind::Node, identity(2).to_bytes());
        one.mesh.set_members(&[member(1, one.address), member(2, any())]);
        one.trust.applied(&[revoked(&one.trust, &credentials)]);
        let (two, _, trust) = meshed_as(&authority, 2, &credentials, any());
        trust.applied(&[
            authority_row(&authority.root, Role::Root, Phase::Active),
            authority_row(authority.issuing(), Role::Issuing, phase),
        ]);
        two.set_members(&[member(1, one.address)]);
        let refused = asked(&two, 1).await.unwrap_err();
        assert!(refused.contains("evoked"), "{refused}");
        let is_told = matches!(two.is_sent_away(), Some(SentAway::Revoked(_)));
        assert_eq!(is_told, is_final, "{phase:?}: {:?}", two.is_sent_away());
    }
}
