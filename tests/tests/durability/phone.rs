//! A customer's device that knows when each answer came.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fieldmesh_actors::seams::Entropy as _;
use fieldmesh_device::{
    enroll::enroll,
    keys::DeviceKeys,
    outbox::MemoryOutbox,
    session::{Said, Session, SessionParts},
    transport::{self, Connection, Endpoint},
    wire::{self, Reply},
};
use fieldmesh_domain::message::{Location, RequestBody};
use fieldmesh_envelope::SoftwareSigner;
use fieldmesh_node::{os::SystemEntropy, store::rows};
use fieldmesh_pki::{
    KeyMaterial, TrustStore,
    tls::{self, Credentials, PeerVerifier, client_config},
};
use fieldmesh_tests::process::{Server, handheld::CATEGORY};
use zeroize::Zeroizing;

fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Unix seconds, to the microsecond.
pub(crate) fn now_s() -> f64 {
    unix().as_secs_f64()
}

/// A connected device without a client of its own to drive it.
pub(crate) struct Phone {
    session: Session,
    pub(crate) connection: Connection,
    _endpoint: Endpoint,
}

impl Phone {
    /// Enrolls, connects and exchanges keys.
    pub(crate) async fn connect(server: &Server, id: &str) -> Self {
        let clock: fieldmesh_device::Clock = Arc::new(|| unix().as_millis() as u64);
        let token = server.ask(&["ca", "token", id, "--pre-approved"]).await;
        let secret = Zeroizing::new(token["secret"].as_str().unwrap().to_owned());
        let key = KeyMaterial::generate().unwrap();
        let enrolled = enroll(&server.https, id, &secret, &key, &clock).await.unwrap();
        let signer = SoftwareSigner::from_pkcs8(key.pkcs8(), &enrolled.chain[0]).unwrap();
        let mut keys = DeviceKeys { signer: Arc::new(signer), hpke: Vec::new() };
        keys.rotate(unix().as_secs()).unwrap();
        let trust = Arc::new(TrustStore::new(vec![enrolled.root], Vec::new()).unwrap());
        let verifier = PeerVerifier {
            trust: tls::fixed(Arc::clone(&trust)),
            now: Arc::new(|| unix().as_secs()),
            revoked: Arc::new(|_, _| false),
            client_may_be_unknown: false,
            lapsed: None,
        };
        let pkcs8 = Zeroizing::new(key.pkcs8().to_vec());
        let credentials = Credentials { chain: enrolled.chain, pkcs8 };
        let tls = client_config(Arc::new(verifier), Some(&credentials), wire::ALPN).unwrap();
        let mut session = Session::new(SessionParts {
            me: id.parse().unwrap(),
            keys,
            trust,
            outbox: Box::new(MemoryOutbox::default()),
            clock,
            entropy: Arc::new(|bytes| SystemEntropy::default().fill(bytes)),
        });
        let address = server.devices.parse().unwrap();
        let endpoint = transport::endpoint(address).unwrap();
        let connecting = transport::connect(&endpoint, address, "localhost", Arc::new(tls));
        let connection = connecting.await.unwrap();
        let hello = session.hello([0; 16]).unwrap();
        match transport::ask(&connection, &hello).await.unwrap() {
            Reply::Hello { service, .. } => assert!(session.welcome(&service)),
            reply => panic!("the hello was answered with {reply:?}"),
        }
        Self { session, connection, _endpoint: endpoint }
    }

    /// So many requests, sealed.
    pub(crate) fn requests(&mut self, count: usize) -> Vec<Vec<u8>> {
        let body = RequestBody {
            category: CATEGORY.parse().unwrap(),
            subcategory: 1,
            impact: 2,
            urgency: 2,
            location: Location { lat_e6: 48_850_000, lon_e6: 2_350_000 },
            text: "the door of the freezer does not close".into(),
        };
        for _ in 0..count {
            self.session.compose(Said::Request, None, rows::encode(&body)).unwrap();
        }
        let (transmits, _) = self.session.due();
        assert_eq!(transmits.len(), count);
        transmits.into_iter().map(|transmit| transmit.bytes).collect()
    }
}

/// Sends a request, once more where it was sent before; whether it is accepted.
pub(crate) async fn is_accepted(connection: &Connection, request: &[u8]) -> bool {
    matches!(transport::ask(connection, request).await, Ok(Reply::Receipt { .. }))
}

/// Sends a request; when it was accepted.
pub(crate) async fn accepted(connection: &Connection, request: Vec<u8>) -> f64 {
    let reply = transport::ask(connection, &request).await.unwrap();
    let at = now_s();
    assert!(matches!(reply, Reply::Receipt { .. }), "{reply:?}");
    at
}
