//! Handshakes in memory: who gets in, what changes while a server runs, and that nothing resumes.

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "tests fail by panicking")]

use std::sync::{Arc, Mutex};

use fieldmesh_pki::{
    Identity, IssuingCa, Kind, RootCa, TrustStore, profile,
    tls::{
        Credentials, Grace, LiveCredentials, PeerVerifier, Trust, client_config,
        device_server_config, fixed, https_server_config,
    },
};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData,
    SignatureAlgorithm,
};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, Error, HandshakeKind,
    ProtocolVersion, ServerConfig, ServerConnection, SupportedProtocolVersion,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    version::{TLS12, TLS13},
};
use zeroize::Zeroizing;

const NOW: u64 = 1_800_000_000;
const DAY_S: u64 = 24 * 3600;
const ALPN: &[u8] = b"test/1";

struct Authority {
    root: RootCa,
    issuing: IssuingCa,
}

impl Authority {
    fn new() -> Self {
        let root = RootCa::create("acme.test", NOW, [1; 16]).unwrap();
        let (issuing, _) = root.issue_issuing("eu1", 1, NOW, [2; 16]).unwrap();
        Self { root, issuing }
    }

    fn store(&self) -> Arc<TrustStore> {
        Arc::new(TrustStore::new(vec![self.root.certificate().to_vec()], Vec::new()).unwrap())
    }

    fn credentials(
        &self,
        kind: Kind,
        algorithm: &'static SignatureAlgorithm,
        serial: u8,
    ) -> Credentials {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let identity =
            Identity { cluster: "acme.test".into(), region: "eu1".into(), kind, id: [9; 16] };
        let (spki, life) = (key.subject_public_key_info(), profile(kind).life(NOW, 0));
        let leaf = self.issuing.issue(&spki, &identity, &[], life, [serial; 16]).unwrap();
        Credentials {
            chain: vec![leaf.der, self.issuing.certificate().to_vec()],
            pkcs8: Zeroizing::new(key.serialize_der()),
        }
    }

    fn node(&self) -> Credentials {
        self.credentials(Kind::Node, &PKCS_ECDSA_P256_SHA256, 3)
    }

    fn customer(&self) -> Credentials {
        self.credentials(Kind::Customer, &PKCS_ECDSA_P256_SHA256, 4)
    }
}

fn verifier(trust: Trust, now_s: u64, lapsed: Option<Grace>) -> Arc<PeerVerifier> {
    Arc::new(PeerVerifier {
        trust,
        now: Arc::new(move || now_s),
        revoked: Arc::new(|_, _| false),
        client_may_be_unknown: false,
        lapsed,
    })
}

fn live(credentials: &Credentials) -> Arc<LiveCredentials> {
    Arc::new(LiveCredentials::new(credentials).unwrap())
}

/// Both ends after a handshake and one message each way, so that tickets have arrived.
struct Ends {
    client: ClientConnection,
    server: ServerConnection,
}

fn pump(from: &mut Connection, to: &mut Connection) -> Result<bool, Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let is_some = !bytes.is_empty();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(is_some)
}

fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<Ends, Error> {
    let name = "localhost".try_into().unwrap();
    let mut client = Connection::from(ClientConnection::new(Arc::clone(client), name)?);
    let mut server = Connection::from(ServerConnection::new(Arc::clone(server))?);
    for round in 0..2 {
        while pump(&mut client, &mut server)? | pump(&mut server, &mut client)? {}
        if round == 0 {
            std::io::Write::write_all(&mut client.writer(), b"ping").unwrap();
            std::io::Write::write_all(&mut server.writer(), b"pong").unwrap();
        }
    }
    let (Connection::Client(client), Connection::Server(server)) = (client, server) else {
        panic!("the ends are what they were made as");
    };
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(Ends { client, server })
}

/// A client as others write them: it resumes whenever it can.
fn eager(
    verifier: Arc<PeerVerifier>,
    credentials: &Credentials,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let chain = credentials.chain.iter().cloned().map(CertificateDer::from).collect();
    let key = PrivatePkcs8KeyDer::from(credentials.pkcs8.to_vec()).into();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.resumption = Resumption::in_memory_sessions(32);
    config.enable_early_data = true;
    Arc::new(config)
}

#[test]
fn a_second_handshake_is_a_whole_one() {
    let authority = Authority::new();
    let verifier = verifier(fixed(authority.store()), NOW, None);
    let node = live(&authority.node());
    let https = https_server_config(Arc::clone(&node), Arc::clone(&verifier)).unwrap();
    let devices = device_server_config(node, Arc::clone(&verifier), ALPN).unwrap();
    for (server, version) in [(https.clone(), &TLS12), (https, &TLS13), (devices, &TLS13)] {
        let mut server = server;
        server.alpn_protocols.clear();
        let server = Arc::new(server);
        let client = eager(Arc::clone(&verifier), &authority.customer(), version);
        for _ in 0..3 {
            let ends = handshake(&client, &server).unwrap();
            assert_eq!(ends.server.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
            assert_eq!(ends.client.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
            assert!(!ends.client.is_early_data_accepted());
            assert_eq!(ends.client.tls13_tickets_received(), 0);
        }
    }
}

#[test]
fn each_kind_of_device_key_gets_in() {
    let authority = Authority::new();
    let verifier = verifier(fixed(authority.store()), NOW, None);
    let node = live(&authority.node());
    let server = Arc::new(device_server_config(node, Arc::clone(&verifier), ALPN).unwrap());
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let credentials = authority.credentials(Kind::Customer, algorithm, 5);
        let client = client_config(Arc::<PeerVerifier>::clone(&verifier), Some(&credentials), ALPN);
        let ends = handshake(&Arc::new(client.unwrap()), &server).unwrap();
        assert_eq!(ends.server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(ends.server.peer_certificates().unwrap()[0].as_ref(), credentials.chain[0]);
    }
    let nobody = client_config(verifier, None, ALPN).unwrap();
    assert!(handshake(&Arc::new(nobody), &server).is_err());
}

#[test]
fn a_running_server_shows_its_next_certificate() {
    let authority = Authority::new();
    let verifier = verifier(fixed(authority.store()), NOW, None);
    let (first, second) = (authority.node(), authority.node());
    let shown = live(&first);
    let server = device_server_config(Arc::clone(&shown), Arc::clone(&verifier), ALPN).unwrap();
    let server = Arc::new(server);
    let client = client_config(verifier, Some(&authority.customer()), ALPN).unwrap();
    let client = Arc::new(client);
    let seen = || {
        let ends = handshake(&client, &server).unwrap();
        ends.client.peer_certificates().unwrap()[0].to_vec()
    };
    assert_eq!(seen(), first.chain[0]);
    shown.replace(&second).unwrap();
    assert_eq!(seen(), second.chain[0]);
    let mixed = Credentials { chain: first.chain, pkcs8: second.pkcs8.clone() };
    assert!(shown.replace(&mixed).is_err());
    assert!(shown.replace(&Credentials { chain: Vec::new(), ..second.clone() }).is_err());
    assert_eq!(seen(), second.chain[0]);
}

#[test]
fn a_running_server_believes_what_is_trusted_now() {
    let (authority, other) = (Authority::new(), Authority::new());
    let trusted = Arc::new(Mutex::new(authority.store()));
    let asked = Arc::clone(&trusted);
    let trust: Trust = Arc::new(move || Arc::clone(&asked.lock().unwrap()));
    let node = live(&authority.node());
    let server = device_server_config(node, verifier(trust, NOW, None), ALPN).unwrap();
    let server = Arc::new(server);
    let believes = verifier(fixed(authority.store()), NOW, None);
    let client = Arc::new(client_config(believes, Some(&authority.customer()), ALPN).unwrap());
    assert!(handshake(&client, &server).is_ok());
    *trusted.lock().unwrap() = other.store();
    let refused = handshake(&client, &server).err();
    assert_eq!(refused, Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)));
}

#[test]
fn an_expired_client_gets_in_where_it_may_renew_and_nowhere_else() {
    let authority = Authority::new();
    let trust = fixed(authority.store());
    let grace: Grace = Arc::new(|kind| profile(kind).grace_s);
    let believes = verifier(Arc::clone(&trust), NOW, Some(Arc::clone(&grace)));
    let client = client_config(believes, Some(&authority.customer()), ALPN).unwrap();
    let client = Arc::new(client);
    let enter = |now_s, lapsed: Option<&Grace>, is_revoked: bool| {
        let mut config = ServerConfig::clone(
            &https_server_config(
                live(&authority.node()),
                Arc::new(PeerVerifier {
                    trust: Arc::clone(&trust),
                    now: Arc::new(move || now_s),
                    revoked: Arc::new(move |_, _| is_revoked),
                    client_may_be_unknown: true,
                    lapsed: lapsed.cloned(),
                }),
            )
            .unwrap(),
        );
        config.alpn_protocols.clear();
        handshake(&client, &Arc::new(config)).err()
    };
    let expired = Some(Error::InvalidCertificate(CertificateError::Expired));
    let lapsed_s = NOW + 91 * DAY_S;
    assert_eq!(enter(NOW, None, false), None);
    assert_eq!(enter(lapsed_s, None, false), expired);
    assert_eq!(enter(lapsed_s, Some(&grace), false), None);
    assert_eq!(enter(NOW + 271 * DAY_S, Some(&grace), false), expired);
    let revoked = Some(Error::InvalidCertificate(CertificateError::Revoked));
    assert_eq!(enter(lapsed_s, Some(&grace), true), revoked);

    // A grace is for clients: a server that has expired is refused by whoever has one.
    let server = https_server_config(live(&authority.node()), verifier(trust, NOW, None)).unwrap();
    let late = verifier(fixed(authority.store()), NOW + 8 * DAY_S, Some(grace));
    let client = client_config(late, Some(&authority.customer()), b"http/1.1").unwrap();
    assert_eq!(handshake(&Arc::new(client), &Arc::new(server)).err(), expired);
}
