//! The QUIC edge: devices' connections, one frame per stream.
//!
//! The edge knows who is connected, by certificate, and takes frames to the intake and mail to the
//! device. It routes without reading: what it carries is sealed.
//!
//! **Invariants:** a connection without a device certificate of this cluster and region is closed
//! with a code of its own before any frame is read; every read has a limit and a deadline.

pub(crate) mod places;
mod session;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::hmac;
use fieldmesh_device::wire::close;
use fieldmesh_domain::{EntityId, EntityKind};
use fieldmesh_envelope::VerifyingKey;
use fieldmesh_pki::{Identity, Kind, Usage};
use quinn::{
    AsyncUdpSocket, Connection, ConnectionError, EndpointConfig, Incoming, Runtime as _,
    ServerConfig, TokioRuntime, VarInt, crypto::rustls::QuicServerConfig,
};
pub use quinn::{Endpoint, crypto::rustls::NoInitialCipherSuite};
use quinn_proto::HashedConnectionIdGenerator;
use tokio::{sync::watch, time::Instant};

use self::places::{PLACES, Places};
use crate::{
    audit::Event,
    bucket::{Rate, Rates},
    cluster::Cluster,
    contact::Contact,
    intake::{Intake, Peer},
    register::NotCurrent,
    trust::{Listed, Trust},
};

/// A peer that does not finish the handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Devices whose rate is remembered: five times what a node is measured with, some six megabytes.
const DEVICES_MAX: usize = 1 << 16;

/// Nodes that a device of another region is told: it keeps no more.
const ELSEWHERE_MAX: usize = 16;

/// Half-open connections that may wait; more are refused by the endpoint.
const INCOMING_MAX: usize = 1024;
/// Bytes that one half-open connection, and all together, may have buffered.
const INCOMING_BUFFER: u64 = 64 << 10;
const INCOMING_BUFFER_TOTAL: u64 = 16 << 20;

/// The QUIC side of a TLS configuration, with explicit limits.
///
/// # Errors
/// Where the TLS configuration does not allow QUIC.
pub fn server_config(tls: rustls::ServerConfig) -> Result<ServerConfig, NoInitialCipherSuite> {
    let quic = QuicServerConfig::try_from(Arc::new(tls))?;
    let mut config = ServerConfig::with_crypto(Arc::new(quic));
    config
        .transport_config(Arc::new(fieldmesh_device::transport::limits()))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER_TOTAL);
    Ok(config)
}

/// Opens a UDP socket, within a runtime.
///
/// # Errors
/// Where the address cannot be used.
pub fn socket(address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    TokioRuntime.wrap_udp_socket(UdpSocket::bind(address)?)
}

/// The endpoint of a socket.
///
/// `reset_key` outlives a restart, so that devices of before are told at once that their
/// connection is gone (RFC 9000 §10.3) instead of waiting for it to fall silent. So do connection
/// identifiers: a packet with one that this node never gave is not answered.
///
/// # Errors
/// Where the socket cannot be used.
pub fn listen(
    socket: Arc<dyn AsyncUdpSocket>,
    config: ServerConfig,
    reset_key: &[u8; 32],
) -> io::Result<Endpoint> {
    let (endpoint, runtime) = (endpoint_config(reset_key), Arc::new(TokioRuntime));
    Endpoint::new_with_abstract_socket(endpoint, Some(config), socket, runtime)
}

/// What outlives a restart of an endpoint, as [`listen`] has it.
pub fn endpoint_config(reset_key: &[u8; 32]) -> EndpointConfig {
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, reset_key);
    let mut identifiers = [0; 8];
    let tag = hmac::sign(&reset_key, b"connection identifiers");
    identifiers.copy_from_slice(&tag.as_ref()[..8]);
    let identifiers = u64::from_be_bytes(identifiers);
    let mut endpoint = EndpointConfig::new(Arc::new(reset_key));
    endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(identifiers)));
    endpoint
}

/// Closes every connection: devices come back later.
pub fn shut(endpoint: &Endpoint) {
    endpoint.close(VarInt::from_u32(close::SHUTTING_DOWN), b"shutting down");
}

/// What the edge needs.
pub struct EdgeOptions {
    pub endpoint: Endpoint,
    pub intake: Arc<Intake>,
    pub trust: Arc<Trust>,
    pub cluster: String,
    /// Where else devices may connect.
    pub known: Arc<Cluster>,
    /// This node's number.
    pub number: u64,
    /// Whether the node hears its region: devices are served only while it does.
    pub contact: Contact,
    /// What one device may ask to be opened, over whatever connections.
    pub rate: Rate,
    /// Whenever it changes, all devices are sent away: they come again.
    pub dismissed: watch::Receiver<u64>,
}

/// The device edge of a node.
pub struct Edge {
    options: EdgeOptions,
    rates: Rates,
    sessions: AtomicU64,
}

impl Edge {
    pub fn new(options: EdgeOptions) -> Arc<Self> {
        let rates = Rates::new(options.rate, DEVICES_MAX);
        Arc::new(Self { options, rates, sessions: AtomicU64::new(0) })
    }

    /// Accepts connections until the endpoint is closed.
    pub async fn run(self: Arc<Self>) {
        let places = Places::new(PLACES);
        while let Some(incoming) = self.options.endpoint.accept().await {
            let from = incoming.remote_address().ip();
            let is_unproven = !incoming.remote_address_validated() && places.want_proof(from);
            // Whoever would find no place is told so at once: a proof would cost both ends as much again.
            let Some(place) = places.take(from) else {
                metrics::counter!("fieldmesh_edge_refused_total", "why" => "busy").increment(1);
                incoming.refuse();
                continue;
            };
            // Under pressure an address is proven first (RFC 9000 §8.1.2), so that forged ones
            // cannot take the places of devices.
            if is_unproven {
                metrics::counter!("fieldmesh_edge_retries_total").increment(1);
                if let Err(error) = incoming.retry() {
                    error.into_incoming().ignore();
                }
                continue;
            }
            let edge = Arc::clone(&self);
            tokio::spawn(async move {
                let began = Instant::now();
                tokio::task::yield_now().await;
                place.waited(began.elapsed());
                let connected = edge.handshake(incoming).await;
                drop(place);
                if let Some((connection, admitted)) = connected {
                    let number = edge.sessions.fetch_add(1, Ordering::Relaxed);
                    session::run(&edge, connection, admitted, number).await;
                }
            });
        }
    }

    async fn handshake(&self, incoming: Incoming) -> Option<(Connection, Admitted)> {
        let from = incoming.remote_address();
        let connecting = match incoming.accept() {
            Ok(connecting) => connecting,
            Err(error) => {
                tracing::debug!(%from, %error, "a connection ended before it began");
                return None;
            }
        };
        let connection = match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                self.refused(from, failure(&error), &error.to_string());
                return None;
            }
            Err(_) => {
                self.refused(from, "timeout", "the handshake was not finished in time");
                return None;
            }
        };
        match self.admit(&connection).await {
            Ok(admitted) => Some((connection, admitted)),
            Err(Ended::Refused(Refusal { code, why, detail })) => {
                self.refused(from, why, detail);
                connection.close(VarInt::from_u32(code), detail.as_bytes());
                None
            }
            Err(Ended::Elsewhere(nodes)) => {
                metrics::counter!("fieldmesh_edge_sent_on_total").increment(1);
                connection.close(VarInt::from_u32(close::ELSEWHERE), nodes.as_bytes());
                None
            }
        }
    }

    fn refused(&self, from: SocketAddr, why: &'static str, detail: &str) {
        metrics::counter!("fieldmesh_edge_refused_total", "why" => why).increment(1);
        tracing::warn!(%from, why, detail, "a device's connection was refused");
        let Intake { audit, clock, .. } = &*self.options.intake;
        audit.note(clock.now_ms(), Event::ConnectionRefused { from, why, detail });
    }

    /// Whether devices of a region are served here; those of another one are told where.
    fn is_ours(&self, region: &str) -> Result<(), Ended> {
        let known = &self.options.known;
        let region = region.parse().map_err(|_| Refusal::WRONG_REGION)?;
        if region == known.own().region {
            return Ok(());
        }
        match known.devices_of(region) {
            nodes if nodes.is_empty() => Err(Refusal::WRONG_REGION.into()),
            nodes => Err(Ended::Elsewhere(nodes[..nodes.len().min(ELSEWHERE_MAX)].join(" "))),
        }
    }

    /// Who the certificate says it is, if that is a device of this cluster and region.
    async fn admit(&self, connection: &Connection) -> Result<Admitted, Ended> {
        let chain = connection.peer_identity().ok_or(Refusal::UNKNOWN_ENTITY)?;
        let chain = chain
            .downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>()
            .map_err(|_| Refusal::UNKNOWN_ENTITY)?;
        let (leaf, rest) = chain.split_first().ok_or(Refusal::UNKNOWN_ENTITY)?;
        let rest: Vec<&[u8]> = rest.iter().map(AsRef::as_ref).collect();
        let now_s = self.options.intake.clock.now_ms() / 1000;
        // TLS believed it a moment ago.
        let certificate = self
            .options
            .trust
            .store()
            .verify(leaf, &rest, Usage::ClientAuth, now_s)
            .map_err(|_| Refusal::UNKNOWN_ENTITY)?;
        let Identity { cluster, id, .. } = &certificate.identity;
        if *cluster != self.options.cluster {
            return Err(Refusal::WRONG_REGION.into());
        }
        self.is_ours(&certificate.identity.region)?;
        if !*self.options.contact.borrow() {
            return Err(Refusal::CUT_OFF.into());
        }
        let kind = device_kind(&certificate.identity).ok_or(Refusal::WRONG_PROFILE)?;
        let entity = EntityId::from_bytes(*id).map_err(|_| Refusal::UNKNOWN_ENTITY)?;
        if entity.kind() != kind {
            return Err(Refusal::WRONG_PROFILE.into());
        }
        match self.options.intake.register.knows(&certificate, entity).await {
            Ok(true) => {}
            Ok(false) => return Err(Refusal::UNKNOWN_ENTITY.into()),
            Err(NotCurrent) => return Err(Refusal::NOT_CURRENT.into()),
        }
        let key =
            VerifyingKey::from_sec1(&certificate.public_point).map_err(|_| Refusal::WRONG_KEY)?;
        let closing = connection.clone();
        let listed = self
            .options
            .trust
            .list(&certificate, move |code| {
                closing.close(VarInt::from_u32(code), close::reason(code))
            })
            .ok_or(Refusal::REVOKED)?;
        let peer = Peer { entity, name: entity.to_string(), key, x5t: certificate.thumbprint };
        Ok(Admitted { peer, not_after_s: certificate.not_after, listed })
    }
}

/// Why a device's connection goes no further.
enum Ended {
    Refused(Refusal),
    /// Its region's nodes, with blanks between.
    Elsewhere(String),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A device whose certificate is believed.
struct Admitted {
    peer: Peer,
    /// Unix seconds.
    not_after_s: u64,
    listed: Listed,
}

/// Why a connection whose handshake succeeded is closed again.
struct Refusal {
    code: u32,
    why: &'static str,
    detail: &'static str,
}

impl Refusal {
    const WRONG_PROFILE: Self = Self {
        code: close::WRONG_PROFILE,
        why: "wrong_profile",
        detail: "the certificate is not a device's",
    };
    const WRONG_REGION: Self = Self {
        code: close::WRONG_REGION,
        why: "wrong_region",
        detail: "the certificate is for another cluster or region",
    };
    /// The device goes on with another node.
    const NOT_CURRENT: Self = Self {
        code: close::SHUTTING_DOWN,
        why: "not_current",
        detail: "this node cannot tell now whether the certificate is on record: try another",
    };
    /// So is what is said to those that are connected.
    const CUT_OFF: Self = Self {
        code: close::SHUTTING_DOWN,
        why: "cut_off",
        detail: "this node does not hear its region: try another",
    };
    const WRONG_KEY: Self = Self {
        code: close::WRONG_PROFILE,
        why: "wrong_key",
        detail: "messages are signed with P-256, and the certificate is for another kind of key",
    };
    const REVOKED: Self =
        Self { code: close::REVOKED, why: "revoked", detail: "the certificate was revoked" };
    const UNKNOWN_ENTITY: Self = Self {
        code: close::UNKNOWN_ENTITY,
        why: "unknown_entity",
        detail: "the certificate names nobody here",
    };
}

/// The cause of a failed handshake, by the TLS alert that the peer is sent (RFC 8446 §6, in QUIC's
/// error codes by RFC 9001 §4.8).
fn failure(error: &ConnectionError) -> &'static str {
    const CRYPTO_ERROR: u64 = 0x100;
    let ConnectionError::TransportError(error) = error else {
        return "handshake";
    };
    match u64::from(error.code).checked_sub(CRYPTO_ERROR) {
        Some(42) => "bad_certificate",
        Some(43) => "wrong_usage",
        Some(44) => "revoked",
        Some(45) => "expired",
        Some(48) => "unknown_issuer",
        Some(49) => "bad_identity",
        Some(116) => "no_certificate",
        Some(120) => "wrong_protocol",
        _ => "handshake",
    }
}

fn device_kind(identity: &Identity) -> Option<EntityKind> {
    match identity.kind {
        Kind::Customer => Some(EntityKind::Customer),
        Kind::Technician => Some(EntityKind::Technician),
        Kind::Node | Kind::Gateway | Kind::Operator | Kind::Service | Kind::OcspSigner => None,
    }
}

/// A UDP socket for devices that run in this process.
///
/// # Errors
/// Where the address cannot be used.
pub fn client(address: SocketAddr) -> io::Result<Endpoint> {
    Endpoint::client(address)
}
