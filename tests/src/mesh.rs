//! Nodes' meshes on loopback, with certificates of a test's own authority.

use std::{net::SocketAddr, sync::Arc};

use fieldmesh_actors::seams::Clock;
use fieldmesh_device::transport::connect;
use fieldmesh_domain::{EntityId, EntityKind, Region};
use fieldmesh_node::{
    edge,
    mesh::{self, Mesh, MeshOptions},
    os::SystemClock,
    trust::Trust,
};
use fieldmesh_pki::{
    Kind,
    tls::{Credentials, LiveCredentials, client_config},
};
use quinn::{AsyncUdpSocket, Connection, Endpoint};

use crate::{
    live::verifier,
    pki::{Authority, CLUSTER, REGION},
};

/// Handshakes that are lost one after the other are no chance any more.
const TRIES: u32 = 5;

/// As the certificate of a node with this number names it.
pub fn identity(number: u64) -> EntityId {
    identity_in(REGION.parse().unwrap(), number)
}

pub fn identity_in(region: Region, number: u64) -> EntityId {
    EntityId::new(EntityKind::Registration, region, [u8::try_from(number).unwrap(); 10])
}

/// The mesh of somebody with these credentials, where it listens, and whom it believes.
pub fn meshed(
    authority: &Authority,
    number: u64,
    kind: Kind,
    id: [u8; 16],
    address: SocketAddr,
) -> (Arc<Mesh>, SocketAddr, Arc<Trust>) {
    meshed_as(authority, number, &authority.credentials(kind, id), address)
}

/// The same, with credentials that are there already.
pub fn meshed_as(
    authority: &Authority,
    number: u64,
    credentials: &Credentials,
    address: SocketAddr,
) -> (Arc<Mesh>, SocketAddr, Arc<Trust>) {
    meshed_over(authority, number, credentials, edge::socket(address).unwrap())
}

/// The same over any socket.
pub fn meshed_over(
    authority: &Authority,
    number: u64,
    credentials: &Credentials,
    socket: Arc<dyn AsyncUdpSocket>,
) -> (Arc<Mesh>, SocketAddr, Arc<Trust>) {
    meshed_in(CLUSTER, authority, number, credentials, socket)
}

/// The same of a cluster of any name, whatever its certificates say.
pub fn meshed_in(
    cluster: &str,
    authority: &Authority,
    number: u64,
    credentials: &Credentials,
    socket: Arc<dyn AsyncUdpSocket>,
) -> (Arc<Mesh>, SocketAddr, Arc<Trust>) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let trust = Trust::new(authority.trust());
    let credentials = Arc::new(LiveCredentials::new(credentials).unwrap());
    let config = mesh::server_config(Arc::clone(&credentials), &trust, &clock).unwrap();
    let endpoint = edge::listen(socket, config, &[7; 32]).unwrap();
    let address = endpoint.local_addr().unwrap();
    let (trusted, region) = (Arc::clone(&trust), identity(number).region());
    let options = MeshOptions {
        endpoint,
        number,
        region,
        cluster: cluster.into(),
        trust,
        credentials,
        clock,
        packs: true,
    };
    (Mesh::new(options).unwrap(), address, trusted)
}

/// An endpoint of a node over any socket, for tests that need no mesh on it.
pub fn listening(authority: &Authority, id: EntityId, socket: Arc<dyn AsyncUdpSocket>) -> Endpoint {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let credentials = authority.credentials(Kind::Node, id.to_bytes());
    let credentials = Arc::new(LiveCredentials::new(&credentials).unwrap());
    let config = mesh::server_config(credentials, &Trust::new(authority.trust()), &clock).unwrap();
    edge::listen(socket, config, &[7; 32]).unwrap()
}

/// Somebody with a node's certificate who keeps to no rules, at an address of its own.
pub struct Rogue {
    endpoint: Endpoint,
    tls: Arc<rustls::ClientConfig>,
}

impl Rogue {
    pub fn new(authority: &Authority, id: EntityId) -> Self {
        let credentials = authority.credentials(Kind::Node, id.to_bytes());
        let tls = client_config(verifier(&authority.root), Some(&credentials), mesh::ALPN).unwrap();
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { endpoint, tls: Arc::new(tls) }
    }

    /// A connection to a node; none where it is refused at once, or the handshake is lost.
    pub async fn connect(&self, address: SocketAddr) -> Option<Connection> {
        let tls = Arc::clone(&self.tls);
        let connection = connect(&self.endpoint, address, CLUSTER, tls).await.ok()?;
        // As a mesh does; a handshake may yet fail.
        mesh::confirmed(connection).await.ok()
    }
}

/// A connection to a node by such a one.
pub async fn raw(authority: &Authority, id: EntityId, address: SocketAddr) -> Connection {
    let rogue = Rogue::new(authority, id);
    // A handshake may be lost, on a way where packets are.
    for _ in 0..TRIES {
        if let Some(connection) = rogue.connect(address).await {
            return connection;
        }
    }
    panic!("{address} does not answer")
}
