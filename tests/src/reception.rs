//! Nodes that greet devices and give receipts, with no cluster behind them: for what a device does
//! when nodes come, go and fall silent.
//!
//! They have the service's certificate and keys, so a device believes them as it believes a real one;
//! what they were sent is counted. **Not here:** what a real node does with a message.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use fieldmesh_actors::{commit::DraftMessage, seams::Entropy as _};
use fieldmesh_device::{
    ClientConfig, Clock,
    keys::DeviceKeys,
    outbox::MemoryOutbox,
    session::SessionParts,
    wire::{self, Hello, Reply},
};
use fieldmesh_domain::{
    EntityId, EntityKind, MessageKind,
    message::{ReceiptBody, ReceiptStatus},
};
use fieldmesh_envelope::{
    Frame, HpkePublicKey, Signed, SoftwareSigner, VerifyingKey, seal, verify_bundle,
};
use fieldmesh_node::{edge, os::SystemEntropy, service::Service};
use fieldmesh_pki::{
    Kind, Usage,
    tls::{self, LiveCredentials, PeerVerifier, client_config, device_server_config},
};
use quinn::{Connection, Endpoint, ServerConfig};
use tokio::time::Instant;

use crate::{
    live::random,
    pki::{Authority, REGION, ServiceKit},
    world::EPOCH_MS,
};

/// What a node does with its devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    Serves,
    /// Greets and acknowledges packets, and never answers a message.
    Dawdles,
    /// Is there, and takes nobody.
    Unavailable,
}

/// The service, of whatever nodes.
pub struct Reception {
    authority: Authority,
    service: Service,
    began: Instant,
    /// Told at each hello.
    told: Mutex<Vec<String>>,
    /// Which node was sent which message.
    taken: Mutex<Vec<(SocketAddr, [u8; 16])>>,
}

impl Reception {
    pub fn new() -> Arc<Self> {
        let authority = Authority::new(EPOCH_MS / 1000);
        let secrets = ServiceKit::new(&authority).secrets();
        let service = Service::new(secrets, EPOCH_MS / 1000).unwrap();
        let (told, taken) = (Mutex::default(), Mutex::default());
        Arc::new(Self { authority, service, began: Instant::now(), told, taken })
    }

    /// What devices are told from now on.
    pub fn tell(&self, nodes: &[SocketAddr]) {
        *self.told.lock().unwrap() = nodes.iter().map(SocketAddr::to_string).collect();
    }

    /// Which node was sent which message, in order.
    pub fn taken(&self) -> Vec<(SocketAddr, [u8; 16])> {
        self.taken.lock().unwrap().clone()
    }

    /// Time of the simulation's epoch, which goes with tokio's clock.
    fn clock(&self) -> Clock {
        let began = self.began;
        Arc::new(move || EPOCH_MS + began.elapsed().as_millis() as u64)
    }

    fn verifier(&self) -> Arc<PeerVerifier> {
        let clock = self.clock();
        Arc::new(PeerVerifier {
            trust: tls::fixed(self.authority.trust()),
            now: Arc::new(move || clock() / 1000),
            revoked: Arc::new(|_, _| false),
            client_may_be_unknown: false,
            lapsed: None,
        })
    }

    pub fn server_config(&self) -> ServerConfig {
        let credentials = self.authority.credentials(Kind::Node, random());
        let live = Arc::new(LiveCredentials::new(&credentials).unwrap());
        let tls = device_server_config(live, self.verifier(), wire::ALPN).unwrap();
        edge::server_config(tls).unwrap()
    }

    /// A node takes devices at an endpoint, until that is closed.
    pub fn stand(self: &Arc<Self>, endpoint: Endpoint, manners: Manners) {
        let reception = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let (reception, at) = (Arc::clone(&reception), endpoint.local_addr().unwrap());
                tokio::spawn(async move {
                    // A device that gave up meanwhile needs no service.
                    if let Ok(connection) = incoming.await {
                        reception.serve(connection, at, manners).await;
                    }
                });
            }
        });
    }

    async fn serve(&self, connection: Connection, at: SocketAddr, manners: Manners) {
        let mut device = None;
        let mut unanswered = Vec::new();
        while let Ok((mut send, mut receive)) = connection.accept_bi().await {
            let Ok(bytes) = receive.read_to_end(wire::STREAM_BYTES_MAX).await else { continue };
            let (frame, header) = Frame::decode(&bytes).unwrap();
            let reply = match frame.class {
                wire::HELLO if manners == Manners::Unavailable => {
                    Reply::Unavailable { retry_after_ms: 100 }
                }
                wire::HELLO => {
                    device = Some(self.greeted(&connection, &bytes[header..]));
                    let (now_ms, nodes) = (self.clock()(), self.told.lock().unwrap().clone());
                    Reply::Hello { service: self.service.public_keys(), now_ms, nodes }
                }
                wire::SEALED => {
                    self.taken.lock().unwrap().push((at, frame.message_id));
                    if manners == Manners::Dawdles {
                        unanswered.push(send);
                        continue;
                    }
                    self.receipt(device.as_ref().unwrap(), frame.message_id)
                }
                _ => Reply::Accepted,
            };
            // A device that left does not want the answer.
            drop(send.write_all(&minicbor::to_vec(reply).unwrap()).await);
            drop(send.finish());
        }
    }

    /// Who greets, and the key that opens messages to it.
    fn greeted(&self, connection: &Connection, payload: &[u8]) -> (EntityId, HpkePublicKey) {
        let shown = connection.peer_identity().unwrap();
        let chain = shown.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap();
        let now_s = self.clock()() / 1000;
        let trust = self.authority.trust();
        let peer = trust.verify(&chain[0], &[], Usage::ClientAuth, now_s).unwrap();
        let id = EntityId::from_bytes(peer.identity.id).unwrap();
        let key = VerifyingKey::from_sec1(&peer.public_point).unwrap();
        let hello: Hello = minicbor::decode(payload).unwrap();
        let bundle =
            verify_bundle(&hello.bundle, &key, &peer.thumbprint, &id.to_string(), now_s).unwrap();
        (id, bundle.best(now_s).unwrap().clone())
    }

    fn receipt(&self, (to, key): &(EntityId, HpkePublicKey), message: [u8; 16]) -> Reply {
        let status = ReceiptStatus::Received;
        let body = ReceiptBody { status, ticket: None, reason: String::new() };
        let draft = DraftMessage {
            to: *to,
            kind: MessageKind::Receipt,
            correlation: Some(message),
            body: minicbor::to_vec(body).unwrap(),
        };
        let message_id = random();
        let signed = self.service.compose(draft, message_id, 0, self.clock()() / 1000).unwrap();
        let frame = Frame { to: to.to_bytes(), message_id, class: wire::SEALED };
        let outer = seal(&Signed::from_bytes(signed).unwrap(), &frame, key).unwrap();
        Reply::Receipt { sealed: [frame.encode(), outer].concat() }
    }

    /// A customer's device that tries this address first.
    pub fn device(&self, endpoint: Endpoint, addr: SocketAddr) -> ClientConfig {
        let me = EntityId::new(EntityKind::Customer, REGION.parse().unwrap(), random());
        let credentials = self.authority.device(me, Kind::Customer);
        let signer = SoftwareSigner::from_pkcs8(&credentials.pkcs8, &credentials.chain[0]).unwrap();
        let mut keys = DeviceKeys { signer: Arc::new(signer), hpke: Vec::new() };
        keys.rotate(self.clock()() / 1000).unwrap();
        let tls = client_config(self.verifier(), Some(&credentials), wire::ALPN).unwrap();
        ClientConfig {
            session: SessionParts {
                me,
                keys,
                trust: self.authority.trust(),
                outbox: Box::new(MemoryOutbox::default()),
                clock: self.clock(),
                entropy: Arc::new(|bytes| SystemEntropy::default().fill(bytes)),
            },
            endpoint,
            addr,
            server_name: "localhost".into(),
            tls: Arc::new(tls),
            symmetric: false,
        }
    }
}
