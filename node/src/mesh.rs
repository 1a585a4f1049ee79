//! The QUIC mesh between nodes: mutual TLS with node certificates, one connection for each direction.
//!
//! A stream says first what it carries ([`Class`]); what is lost on one holds up no other, and
//! consensus goes before everything else that waits to be sent.
//!
//! **Invariants:** who is at the other end is proven by certificate at each connect, in both
//! directions: a node, of this cluster, a member, and the one that was meant, which is nowhere else at the same
//! time and has forgotten nothing that is known here; a connection ends when its certificate is revoked or has expired,
//! and when it is no member any more. A stream that is not read holds up no other, and what may be buffered for a node
//! has a bound. **Not here:** what is said (`consensus`, `courier`), who is a member (`placement`).

mod away;
pub mod faults;
mod head;
mod hello;
mod peer;
mod relay;
pub mod stream;
mod twin;
mod windows;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use fieldmesh_actors::seams::{Clock, Pending};
use fieldmesh_device::wire::close;
use fieldmesh_domain::{EntityId, Region};
use fieldmesh_pki::{
    Kind, Usage,
    tls::{LiveCredentials, PeerVerifier, device_server_config, peer_client_config},
};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, Incoming, RecvStream, SendStream,
    ServerConfig, StoppedError,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::pki_types::CertificateDer;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

use crate::{
    starts::{self, Memory},
    trust::{self, Listed, Trust},
};
pub use away::SentAway;
pub use head::Class;
use head::First;
use peer::Peer;
pub use stream::{FrameError, Receiving, Sending};
use twin::Twins;
use windows::limits;

/// Version of what nodes say to each other.
pub const ALPN: &[u8] = b"fieldmesh/1";

/// A handshake takes two round trips; regions are up to 300 ms apart.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Handshakes under way at a time: a cluster has some dozens of nodes.
const HANDSHAKES_MAX: usize = 64;
/// Connections that are begun and not looked at yet, most of which may be forged; bytes that one of them, and all
/// together, may have buffered.
const INCOMING_MAX: usize = 1024;
const INCOMING_BUFFER: u64 = 64 << 10;
const INCOMING_BUFFER_TOTAL: u64 = 16 << 20;
/// A stream that does not say within this time what it carries is ended.
const CLASS_WITHIN: Duration = Duration::from_secs(5);

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub number: u64,
    /// As its certificate names it; its region is in it.
    pub identity: EntityId,
    pub address: SocketAddr,
}

/// Why a stream to a peer was not opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MeshError {
    #[error("node {0} is not a member")]
    NoMember(u64),
    #[error("node {number} cannot be reached: {reason}")]
    Unreachable { number: u64, reason: String },
}

/// Answers what peers ask.
pub trait Serve: Send + Sync + 'static {
    /// Serves a stream of a member to its end.
    fn serve(
        self: Arc<Self>,
        from: u64,
        class: Class,
        send: Sending,
        receive: Receiving,
    ) -> Pending<()>;
}

/// What a mesh is made of.
pub struct MeshOptions {
    /// With [`server_config`].
    pub endpoint: Endpoint,
    /// This node's number.
    pub number: u64,
    pub region: Region,
    pub cluster: String,
    pub trust: Arc<Trust>,
    pub credentials: Arc<LiveCredentials>,
    pub clock: Arc<dyn Clock>,
    /// Whether what is sent is packed for those who read it so. How long it is then follows from no seed: there are
    /// signatures in it.
    pub packs: bool,
}

/// The node's way to all others.
pub struct Mesh {
    options: MeshOptions,
    client: ClientConfig,
    peers: RwLock<BTreeMap<u64, Arc<Peer>>>,
    /// The identities of those that were members.
    gone: RwLock<BTreeSet<EntityId>>,
    twins: Twins,
    /// None where nothing is said of starts.
    memory: OnceLock<Arc<Memory>>,
    /// Why a peer wants this node to end.
    sent_away: watch::Sender<Option<SentAway>>,
}

fn verifier(trust: &Arc<Trust>, clock: &Arc<dyn Clock>) -> Arc<PeerVerifier> {
    let clock = Arc::clone(clock);
    Arc::new(PeerVerifier {
        trust: trust.live_store(),
        now: Arc::new(move || clock.now_ms() / 1000),
        revoked: trust.revoked(),
        client_may_be_unknown: false,
        lapsed: None,
    })
}

/// The side of an endpoint that other nodes connect to.
///
/// # Errors
/// Where the TLS configuration does not allow QUIC.
pub fn server_config(
    credentials: Arc<LiveCredentials>,
    trust: &Arc<Trust>,
    clock: &Arc<dyn Clock>,
) -> Result<ServerConfig, String> {
    let tls = device_server_config(credentials, verifier(trust, clock), ALPN);
    let tls = tls.map_err(|error| error.to_string())?;
    let quic = QuicServerConfig::try_from(Arc::new(tls)).map_err(|error| error.to_string())?;
    let mut config = ServerConfig::with_crypto(Arc::new(quic));
    config
        .transport_config(Arc::new(limits()))
        // A node is where it says that it is.
        .migration(false)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER_TOTAL);
    Ok(config)
}

impl Mesh {
    /// # Errors
    /// Where the TLS configuration does not allow QUIC.
    pub fn new(options: MeshOptions) -> Result<Arc<Self>, String> {
        let MeshOptions { credentials, trust, clock, .. } = &options;
        let tls = peer_client_config(Arc::clone(credentials), verifier(trust, clock), ALPN);
        let tls = tls.map_err(|error| error.to_string())?;
        let quic = QuicClientConfig::try_from(Arc::new(tls)).map_err(|error| error.to_string())?;
        let mut client = ClientConfig::new(Arc::new(quic));
        client.transport_config(Arc::new(limits()));
        let (peers, gone, twins, memory, sent_away) = Default::default();
        Ok(Arc::new(Self { options, client, peers, gone, twins, memory, sent_away }))
    }

    /// From now on it is said how often this node was started, and what others say of that is remembered; to be called
    /// before the first connection.
    pub fn remember(&self, memory: Arc<Memory>) {
        // A mesh is one process's, which starts once.
        drop(self.memory.set(memory));
    }

    fn peer(&self, number: u64) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// These are the members from now on; connections to others, or to where one was before, end.
    pub fn set_members(&self, members: &[Member]) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|_, peer| {
            let stays = members.contains(&peer.member);
            if !stays {
                peer.end();
            }
            stays
        });
        for member in members.iter().filter(|member| member.number != self.options.number) {
            peers.entry(member.number).or_insert_with(|| Arc::new(Peer::new(member.clone())));
        }
    }

    /// These were members, and never are again.
    pub fn set_gone(&self, gone: BTreeSet<EntityId>) {
        *self.gone.write().unwrap_or_else(PoisonError::into_inner) = gone;
    }

    /// From where datagrams of another member come, and where they go to: where it says that it is, and where it was when
    /// it last proved who it is.
    pub fn whereabouts(&self, number: u64) -> BTreeSet<SocketAddr> {
        let Some(peer) = self.peer(number) else { return BTreeSet::new() };
        let dialed = peer.up().map(|connection| connection.remote_address());
        [peer.member.address].into_iter().chain(dialed).chain(self.twins.at(number)).collect()
    }

    /// Tells as metrics how the ways to all members are.
    pub fn measure(&self) {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        for (number, peer) in &*peers {
            peer.measure();
            if let Some(rounds) = self.memory.get().and_then(|memory| memory.told_by(*number)) {
                let peer = number.to_string();
                metrics::gauge!("fieldmesh_mesh_peer_log_rounds", "peer" => peer)
                    .set(rounds as f64);
            }
        }
    }

    /// Opens a stream to a member; it says already what it carries. Where the member cannot be reached, a
    /// neighbour of both may relay it.
    ///
    /// # Errors
    /// Where the member cannot be reached, or could not a moment ago: the caller has its own deadline.
    pub async fn open(
        self: &Arc<Self>,
        number: u64,
        class: Class,
    ) -> Result<(Sending, Receiving), MeshError> {
        let peer = self.peer(number).ok_or(MeshError::NoMember(number))?;
        match self.open_direct(&peer, class).await {
            Err(error @ MeshError::Unreachable { .. }) if !peer.is_refused() => {
                self.open_by_relay(&peer.member, class).await.ok_or(error)
            }
            opened => opened,
        }
    }

    /// Up to what a member reads that the first release did not ([`crate::starts`]), for a stream that was opened
    /// a moment ago. Nothing where it is not reached directly: another release may have said what it said before.
    pub fn reads(&self, number: u64) -> u32 {
        self.peer(number).map_or(0, |peer| peer.reads())
    }

    /// Whether frames for a member are packed, on a stream that was opened a moment ago.
    pub fn packs(&self, number: u64) -> bool {
        self.options.packs && self.reads(number) >= starts::PACKED_FRAMES
    }

    /// Whether a member reads lists of groups at rest; not where it is not reached directly.
    pub fn takes_lists(&self, number: u64) -> bool {
        self.reads(number) >= starts::GROUPS_AT_REST
    }

    /// The other members.
    fn all(&self) -> Vec<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Those of this node's region.
    fn neighbours(&self) -> impl Iterator<Item = Arc<Peer>> + use<> {
        let region = self.options.region;
        self.all().into_iter().filter(move |peer| peer.member.identity.region() == region)
    }

    fn neighbour(&self, number: u64) -> Option<Arc<Peer>> {
        self.neighbours().find(|peer| peer.member.number == number)
    }

    async fn direct(self: &Arc<Self>, peer: &Arc<Peer>) -> Result<Connection, MeshError> {
        let mesh = Arc::clone(self);
        peer.connection(|peer| async move { mesh.dial(&peer.member).await }).await
    }

    async fn open_direct(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        class: Class,
    ) -> Result<(Sending, Receiving), MeshError> {
        let number = peer.member.number;
        let unreachable = |error: &dyn std::fmt::Display| MeshError::Unreachable {
            number,
            reason: error.to_string(),
        };
        let connection = self.direct(peer).await?;
        let (mut send, receive) =
            connection.open_bi().await.map_err(|error| unreachable(&error))?;
        if let Err(error) = send.set_priority(class.priority()) {
            return Err(unreachable(&error));
        }
        send.write_all(&[class as u8]).await.map_err(|error| unreachable(&error))?;
        Ok((Sending(send), Receiving(receive)))
    }

    async fn dial(self: Arc<Self>, member: &Member) -> Result<Connection, MeshError> {
        let number = member.number;
        let failed = |reason: String| MeshError::Unreachable { number, reason };
        let Self { options, client, .. } = &*self;
        // The name is not looked at: the certificate's identity is.
        let connecting =
            options.endpoint.connect_with(client.clone(), member.address, &options.cluster);
        let connecting = connecting.map_err(|error| failed(error.to_string()))?;
        let shown = options.credentials.leaf();
        let connected = async {
            let connection = connecting.await?;
            // Who is at the other end has been proven; whether it wants this node has not.
            let wanted = confirmed(connection.clone()).await;
            if wanted.is_err() {
                self.heed_refusal(&connection, shown.as_ref()).await;
            }
            wanted
        };
        let connected = timeout(CONNECT_WITHIN, connected).await;
        let connected = connected.map_err(|_| failed("no answer in time".into()))?;
        let connection = connected.map_err(|error| failed(error.to_string()))?;
        match self.admit(&connection, Usage::ServerAuth) {
            Ok(admitted) if admitted.number == number => {
                self.greeted(admitted, connection).await.map_err(failed)
            }
            Ok(Admitted { number: found, .. }) => {
                connection.close(close::WRONG_PROFILE.into(), b"another node was meant");
                Err(failed(format!("node {found} is at {}", member.address)))
            }
            Err(Refusal { code, why }) => {
                connection.close(code.into(), why.as_bytes());
                Err(failed(why.to_owned()))
            }
        }
    }

    /// Which member is at the other end.
    fn admit(&self, connection: &Connection, usage: Usage) -> Result<Admitted, Refusal> {
        let Self { options: MeshOptions { trust, clock, cluster, .. }, peers, .. } = self;
        let unknown = Refusal { code: close::UNKNOWN_ENTITY, why: "no certificate was shown" };
        let chain = connection.peer_identity().ok_or(unknown)?;
        let chain = chain.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| unknown)?;
        let (leaf, rest) = chain.split_first().ok_or(unknown)?;
        let rest: Vec<&[u8]> = rest.iter().map(AsRef::as_ref).collect();
        // TLS believed it a moment ago.
        let certificate = trust.store().verify(leaf, &rest, usage, clock.now_ms() / 1000);
        let certificate = certificate
            .map_err(|_| Refusal { why: "the certificate is not believed any more", ..unknown })?;
        let identity = &certificate.identity;
        if identity.kind != Kind::Node {
            let why = "the certificate is not a node's";
            return Err(Refusal { code: close::WRONG_PROFILE, why });
        }
        if identity.cluster != *cluster {
            let why = "the certificate is for another cluster";
            return Err(Refusal { code: close::WRONG_REGION, why });
        }
        let peers = peers.read().unwrap_or_else(PoisonError::into_inner);
        let named = |peer: &&Arc<Peer>| peer.member.identity.to_bytes() == identity.id;
        let peer = peers.values().find(named);
        let peer = peer.ok_or_else(|| match self.was_member(&identity.id) {
            true => Refusal { code: close::REMOVED, why: "the node was removed from the cluster" },
            false => Refusal { why: "the node is not a member", ..unknown },
        })?;
        let member = &peer.member;
        if member.identity.region().to_string() != identity.region {
            let why = "the certificate is for another region than the member's";
            return Err(Refusal { code: close::WRONG_REGION, why });
        }
        let closing = connection.clone();
        let end = move |code: u32| closing.close(code.into(), close::reason(code));
        let listed = trust.list(&certificate, end);
        let revoked = Refusal { code: close::REVOKED, why: "the certificate was revoked" };
        Ok(Admitted {
            number: member.number,
            peer: Arc::clone(peer),
            not_after_s: certificate.not_after,
            _listed: listed.ok_or(revoked)?,
            _place: None,
        })
    }

    /// Serves other nodes until the endpoint is closed.
    pub async fn run(self: Arc<Self>, services: Arc<dyn Serve>) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        while let Some(incoming) = self.options.endpoint.accept().await {
            // Under pressure an address is proven first (RFC 9000 §8.1.2), so that forged ones
            // cannot take the places of nodes.
            if handshakes.available_permits() < HANDSHAKES_MAX / 2
                && !incoming.remote_address_validated()
            {
                metrics::counter!("fieldmesh_mesh_retries_total").increment(1);
                if let Err(error) = incoming.retry() {
                    error.into_incoming().ignore();
                }
                continue;
            }
            let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let (mesh, services) = (Arc::clone(&self), Arc::clone(&services));
            tokio::spawn(async move {
                let connected = mesh.accept(incoming).await;
                drop(permit);
                // What may take seconds takes nobody's place.
                let connected = mesh.alone(connected).await;
                if let Some((connection, admitted)) = connected {
                    tokio::select! {
                        () = serve(&mesh, admitted.number, &connection, &services) => {}
                        () = admitted.until_expired(&*mesh.options.clock, &connection) => {}
                        () = admitted.peer.ended() => {
                            connection.close(close::SHUTTING_DOWN.into(), peer::NO_MEMBER);
                        }
                    }
                    mesh.heed(admitted.number, &connection).await;
                }
            });
        }
    }

    /// Sends a member away that is connected from elsewhere already, and answers there.
    async fn alone(
        &self,
        connected: Option<(Connection, Admitted)>,
    ) -> Option<(Connection, Admitted)> {
        let (connection, admitted) = connected?;
        let Some(at) = self.twins.other(admitted.number, &connection).await else {
            return Some((connection, admitted));
        };
        let why = format!("node {} is connected from {at}, and answers", admitted.number);
        refused(connection.remote_address(), &why);
        connection.close(close::THERE_TWICE.into(), why.as_bytes());
        None
    }

    async fn accept(&self, incoming: Incoming) -> Option<(Connection, Admitted)> {
        let from = incoming.remote_address();
        let connection = match timeout(CONNECT_WITHIN, async { incoming.await }).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                refused(from, &error.to_string());
                return None;
            }
            Err(_) => {
                refused(from, "the handshake was not finished in time");
                return None;
            }
        };
        let admitted = self.admit(&connection, Usage::ClientAuth);
        match admitted.and_then(Admitted::placed) {
            Ok(admitted) => Some((connection, admitted)),
            Err(Refusal { code, why }) => {
                refused(from, why);
                connection.close(code.into(), why.as_bytes());
                None
            }
        }
    }

    /// Ends every connection.
    pub fn shut(&self) {
        self.options.endpoint.close(close::SHUTTING_DOWN.into(), b"shutting down");
        if let Some(memory) = self.memory.get() {
            memory.end();
        }
    }
}

/// The same connection, once the other end has finished the handshake too, as it says by acknowledging an
/// empty stream.
///
/// quinn counts what is sent before that against the congestion window, and where the last part of the
/// handshake is lost and the window is full, nothing makes room for it again: the other end
/// cannot read, nor acknowledge, the rest (RFC 9002 §6.2.4 would have the handshake probed).
///
/// # Errors
/// Where the other end refuses, or is not heard of any more.
pub async fn confirmed(connection: Connection) -> Result<Connection, ConnectionError> {
    let (mut send, _receive) = connection.open_bi().await?;
    // It fails for a stream that was finished or reset before.
    drop(send.finish());
    match send.stopped().await {
        Err(StoppedError::ConnectionLost(error)) => Err(error),
        _ => Ok(connection),
    }
}

/// A member at the other end of a connection.
struct Admitted {
    number: u64,
    peer: Arc<Peer>,
    /// Unix seconds.
    not_after_s: u64,
    _listed: Listed,
    /// Of one that dialed.
    _place: Option<OwnedSemaphorePermit>,
}

impl Admitted {
    /// The same with a place among the connections that it made, for as long as this one lives.
    fn placed(self) -> Result<Self, Refusal> {
        let why = "the node has too many connections here";
        let full = Refusal { code: close::SHUTTING_DOWN, why };
        let place = Arc::clone(&self.peer.places).try_acquire_owned().map_err(|_| full)?;
        Ok(Self { _place: Some(place), ..self })
    }

    /// Closes the connection when its certificate has expired; ends with it.
    async fn until_expired(&self, clock: &dyn Clock, connection: &Connection) {
        tokio::select! {
            _ = connection.closed() => {}
            () = trust::expired(clock, self.not_after_s) => {
                connection.close(close::EXPIRED.into(), close::reason(close::EXPIRED));
            }
        }
    }
}

/// Why a node whose handshake succeeded is sent away.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    code: u32,
    why: &'static str,
}

fn refused(from: SocketAddr, why: &str) {
    metrics::counter!("fieldmesh_mesh_refused_total").increment(1);
    tracing::warn!(%from, why, "a connection of a node was refused");
}

/// Serves each stream of a member by a task of its own; they end with the connection.
async fn serve(mesh: &Arc<Mesh>, from: u64, connection: &Connection, services: &Arc<dyn Serve>) {
    while let Ok((send, receive)) = connection.accept_bi().await {
        let (mesh, services) = (Arc::clone(mesh), Arc::clone(services));
        let connection = connection.clone();
        tokio::spawn(async move {
            mesh.serve_stream(from, &connection, send, receive, services).await;
        });
    }
}

impl Mesh {
    async fn serve_stream(
        self: &Arc<Self>,
        from: u64,
        connection: &Connection,
        send: SendStream,
        mut receive: RecvStream,
        services: Arc<dyn Serve>,
    ) {
        let mut first = [0];
        let read = timeout(CLASS_WITHIN, receive.read_exact(&mut first)).await;
        let Ok(Ok(())) = read else { return };
        let (from, class) = match First::of(first[0]) {
            Some(First::Hello) => return self.answer(from, connection, send, receive).await,
            Some(First::Relay) => return self.relay(from, send, receive).await,
            // The neighbour says who it is from.
            Some(First::Relayed) => match relay::header(&mut receive).await {
                Some((origin, class)) if self.takes_relayed(from, origin) => (origin, class),
                _ => return drop(receive.stop(stream::MALFORMED)),
            },
            Some(First::Class(class)) => (from, class),
            None => return drop(receive.stop(stream::MALFORMED)),
        };
        drop(send.set_priority(class.priority()));
        services.serve(from, class, Sending(send), Receiving(receive)).await;
    }
}
