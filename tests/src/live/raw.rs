//! A device that says exactly what the test tells it to say, right or wrong.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fieldmesh_device::{
    transport::{self, Connection, Endpoint, TransportError},
    wire::{self, Hello, Reply, ServiceKeys, service_audience},
};
use fieldmesh_domain::{
    EntityId,
    message::{Location, ReceiptBody, ReceiptStatus, RequestBody},
};
use fieldmesh_envelope::{
    Claims, Content, Frame, HpkePrivateKey, HpkePublicKey, KeyBundle, KeyRing, Message,
    MessageType, SoftwareSigner, VerifyingKey, open, seal, sign, sign_bundle, verify,
    verify_bundle,
};
use fieldmesh_pki::{
    TrustStore, Usage,
    tls::{Credentials, client_config},
};

use super::{now_s, random, verifier};

const HOUR_S: u64 = 3600;

/// A UDP socket for devices of the test.
pub fn endpoint() -> Endpoint {
    Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
}

/// Why a connection ended, as the code on the wire: a TLS alert is 0x100 and its number (RFC 9001
/// §4.8), an application's code is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closed {
    Transport(u64),
    Application(u64),
}

/// The code of an ended connection.
pub fn closed(error: &quinn::ConnectionError) -> Closed {
    match error {
        quinn::ConnectionError::ConnectionClosed(close) => {
            Closed::Transport(u64::from(close.error_code))
        }
        quinn::ConnectionError::ApplicationClosed(close) => {
            Closed::Application(close.error_code.into_inner())
        }
        error => panic!("the service did not close the connection: {error}"),
    }
}

/// Connects with any TLS configuration, and waits for the end that must come.
pub async fn refused(addr: SocketAddr, tls: rustls::ClientConfig) -> Closed {
    match transport::connect(&endpoint(), addr, "localhost", Arc::new(tls)).await {
        // A client's handshake is done before the server has looked at its certificate.
        Ok(connection) => {
            let end = tokio::time::timeout(std::time::Duration::from_secs(8), connection.closed());
            closed(&end.await.expect("the connection is refused"))
        }
        Err(TransportError::Connection(error)) => closed(&error),
        Err(error) => panic!("the connection did not begin: {error}"),
    }
}

/// The service as its hello introduces it.
#[derive(Clone)]
pub struct Service {
    pub id: [u8; 16],
    pub key: HpkePublicKey,
    pub signer: VerifyingKey,
    pub x5t: [u8; 32],
    pub audience: String,
}

/// The device.
pub struct Raw {
    pub id: EntityId,
    pub name: String,
    pub credentials: Credentials,
    pub signer: SoftwareSigner,
    root: Vec<u8>,
    hpke: Arc<HpkePrivateKey>,
    public: HpkePublicKey,
    /// When its key was made, in seconds: a later hello with the same key publishes nothing new.
    key_since_s: u64,
    sequence: AtomicU64,
    /// What its hello says; none as a device of an earlier release.
    pub understands: Option<u32>,
}

impl Raw {
    pub fn new(id: EntityId, credentials: Credentials, root: &[u8]) -> Self {
        let (private, public) = HpkePrivateKey::generate().unwrap();
        Self {
            id,
            name: id.to_string(),
            signer: SoftwareSigner::from_pkcs8(&credentials.pkcs8, &credentials.chain[0]).unwrap(),
            credentials,
            root: root.to_vec(),
            hpke: Arc::new(private),
            public,
            key_since_s: now_s(),
            sequence: AtomicU64::new(0),
            understands: Some(wire::UNDERSTANDS),
        }
    }

    pub fn tls(&self, alpn: &[u8]) -> rustls::ClientConfig {
        client_config(verifier(&self.root), Some(&self.credentials), alpn).unwrap()
    }

    pub async fn connect(&self, addr: SocketAddr) -> Connection {
        let tls = Arc::new(self.tls(wire::ALPN));
        transport::connect(&endpoint(), addr, "localhost", tls).await.unwrap()
    }

    /// A bundle with the device's key.
    pub fn bundle(&self, serial: u64) -> KeyBundle {
        KeyBundle {
            owner: self.name.clone(),
            serial,
            not_before: now_s(),
            not_after: now_s() + HOUR_S,
            keys: vec![self.public.clone()],
        }
    }

    /// A hello with any bundle.
    pub fn hello_with(&self, bundle: Vec<u8>) -> Vec<u8> {
        let hello = Hello { bundle, understands: self.understands };
        framed([0; 16], random(), wire::HELLO, &minicbor::to_vec(hello).unwrap())
    }

    pub fn hello(&self) -> Vec<u8> {
        self.hello_with(sign_bundle(&self.bundle(self.key_since_s), &self.signer).unwrap())
    }

    /// Says hello, and believes the service as devices do.
    pub async fn greet(&self, connection: &Connection) -> Service {
        match transport::ask(connection, &self.hello()).await.unwrap() {
            Reply::Hello { service, .. } => self.believe(&service),
            reply => panic!("no hello: {reply:?}"),
        }
    }

    pub fn believe(&self, keys: &ServiceKeys) -> Service {
        let trust = TrustStore::new(vec![self.root.clone()], Vec::new()).unwrap();
        let chain: Vec<&[u8]> = keys.chain.iter().map(|der| der.as_slice()).collect();
        let leaf = trust.verify(chain[0], &chain[1..], Usage::Signing, now_s()).unwrap();
        let signer = VerifyingKey::from_sec1(&leaf.public_point).unwrap();
        let audience = service_audience(&self.id.region().to_string());
        let bundle =
            verify_bundle(&keys.bundle, &signer, &leaf.thumbprint, &audience, now_s()).unwrap();
        let key = bundle.best(now_s()).unwrap().clone();
        Service { id: keys.id, key, signer, x5t: leaf.thumbprint, audience }
    }

    /// A message of the device, as it should be.
    pub fn message(&self, kind: MessageType, body: Vec<u8>) -> Message {
        let claims = Claims {
            iss: self.name.clone(),
            aud: service_audience(&self.id.region().to_string()),
            iat: now_s(),
            exp: now_s() + HOUR_S,
            cti: random(),
        };
        let seq = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        Message { claims, content: Content { kind, seq, correlation: None, body } }
    }

    /// A service request, as it should be.
    pub fn request(&self) -> Message {
        self.message(MessageType::Request, minicbor::to_vec(request_body()).unwrap())
    }

    /// The stream of a message: frame and envelope.
    pub fn sealed(&self, service: &Service, message: &Message) -> Vec<u8> {
        let message_id = message.claims.cti;
        self.sealed_as(&Frame { to: service.id, message_id, class: wire::SEALED }, service, message)
    }

    pub fn sealed_as(&self, frame: &Frame, service: &Service, message: &Message) -> Vec<u8> {
        let outer = seal(&sign(message, &self.signer).unwrap(), frame, &service.key).unwrap();
        framed(frame.to, frame.message_id, frame.class, &outer)
    }

    /// A frame of the service, opened and verified; with what it answers.
    pub fn opened(&self, service: &Service, bytes: &[u8]) -> Message {
        let (frame, header) = Frame::decode(bytes).unwrap();
        assert_eq!(frame.to, self.id.to_bytes());
        let mut ring = KeyRing::default();
        ring.insert(Arc::clone(&self.hpke), 0, u64::MAX).unwrap();
        let signed = open(&bytes[header..], &frame, &ring, now_s()).unwrap();
        let message = verify(&signed, &service.signer, &service.x5t, &self.name, now_s()).unwrap();
        assert_eq!(message.claims.iss, service.audience);
        assert_eq!(message.claims.cti, frame.message_id);
        message
    }

    /// The receipt in a reply, which must be for this very message.
    pub fn receipt(&self, service: &Service, reply: &Reply, for_id: [u8; 16]) -> ReceiptBody {
        let Reply::Receipt { sealed } = reply else {
            panic!("no receipt: {reply:?}");
        };
        let message = self.opened(service, sealed);
        assert_eq!(message.content.kind, MessageType::Receipt);
        assert_eq!(message.content.correlation, Some(for_id));
        minicbor::decode(&message.content.body).unwrap()
    }

    /// What became of a message, by the receipt in its reply.
    pub fn status(&self, service: &Service, reply: &Reply) -> ReceiptStatus {
        let Reply::Receipt { sealed } = reply else {
            panic!("no receipt: {reply:?}");
        };
        let message = self.opened(service, sealed);
        minicbor::decode::<ReceiptBody>(&message.content.body).unwrap().status
    }
}

/// A request as it should be, for a category that nobody serves unless the test sees to it.
pub fn request_body() -> RequestBody {
    RequestBody {
        category: 7,
        subcategory: 1,
        impact: 2,
        urgency: 2,
        location: Location { lat_e6: 48_100_000, lon_e6: 2_100_000 },
        text: "the lift is stuck".into(),
    }
}

/// A frame header with its payload.
pub fn framed(to: [u8; 16], message_id: [u8; 16], class: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Frame { to, message_id, class }.encode();
    bytes.extend_from_slice(payload);
    bytes
}
