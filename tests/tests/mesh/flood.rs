//! Connections that are begun from addresses where nobody is, and never finished; and too many of one node.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use fieldmesh_device::transport::connect;
use fieldmesh_node::mesh::{ALPN, Class};
use fieldmesh_pki::tls::client_config;
use fieldmesh_tests::{
    deaf::{self, Hears},
    live::{now_s, until, verifier},
    mesh::{Rogue, identity},
    pki::{Authority, CLUSTER},
};
use quinn::{Connection, RecvStream, SendStream};
use tokio::task::JoinSet;

use super::{any, asked, goes_on, member, server};

/// More than a node has handshakes under way at a time.
const FORGED: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_begins_many_connections_and_finishes_none_keeps_no_node_out() {
    let authority = Authority::new(now_s());
    let (one, two) = (server(&authority, 1), server(&authority, 2));
    let members = [member(1, one.address), member(2, two.address)];
    one.mesh.set_members(&members);
    two.mesh.set_members(&members);
    let (endpoint, came) = deaf::endpoint(any(), Hears::Nothing);
    let tls = Arc::new(client_config(verifier(&authority.root), None, ALPN).unwrap());
    let (mut forged, address) = (JoinSet::new(), one.address);
    for _ in 0..FORGED {
        let (endpoint, tls) = (endpoint.clone(), Arc::clone(&tls));
        forged.spawn(async move { connect(&endpoint, address, CLUSTER, tls).await.is_ok() });
    }
    let answered = async || (came.load(Ordering::SeqCst) >= FORGED).then_some(());
    until("each is answered, or some are often", answered).await;
    // Once they have gone its address is proven, and there is a place for it.
    assert_eq!(asked(&two.mesh, 1).await, Ok(2));
    drop(forged);
}

/// Something is said by node 3 on a connection of its own, and answered.
async fn served(
    rogue: &Rogue,
    address: SocketAddr,
) -> Option<(Connection, SendStream, RecvStream)> {
    let connection = rogue.connect(address).await?;
    let (mut send, mut receive) = connection.open_bi().await.ok()?;
    send.write_all(&[Class::Application as u8]).await.ok()?;
    send.write_all(b"\0\0\0\x04live").await.ok()?;
    receive.read_exact(&mut [0; 16]).await.ok()?;
    Some((connection, send, receive))
}

/// What may be buffered for a node is so much for each connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_connects_again_and_again_has_few_connections() {
    let authority = Authority::new(now_s());
    let one = server(&authority, 1);
    one.mesh.set_members(&[member(1, one.address), member(3, any())]);
    let (rogue, mut held) = (Rogue::new(&authority, identity(3)), Vec::new());
    for _ in 0..4 {
        held.push(until("it is served", async || served(&rogue, one.address).await).await);
    }
    // The refusal may come behind the handshake.
    if let Some(more) = rogue.connect(one.address).await {
        let refused = tokio::time::timeout(Duration::from_secs(8), more.closed()).await;
        let refused = refused.expect("it is refused").to_string();
        assert!(refused.contains("too many connections"), "{refused}");
    }
    for (_, send, receive) in &mut held {
        goes_on(send, receive).await;
    }
    if let Some((ended, ..)) = held.pop() {
        ended.close(0_u32.into(), b"");
    }
    until("there is a place again", async || served(&rogue, one.address).await).await;
}
