//! TLS configurations: who must show what, with tickets, session cache and early data off.
//!
//! **Invariants:** a resumed session would never ask the verifier again, so there is none: a revoked
//! or expired peer fails at its next handshake. What is trusted and what a server shows are asked
//! for at each handshake, so that both change while it runs. Time is the caller's clock, so that
//! simulations agree with it. **Not here:** sockets, and the end of connections that are open.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, NoKeyLog,
    ServerConfig, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use crate::{Kind, PeerCertificate, TrustError, TrustStore, Usage, sha256};

/// Unix seconds.
pub type Now = Arc<dyn Fn() -> u64 + Send + Sync>;
/// Whether (issuer hash, serial) is revoked.
pub type IsRevoked = Arc<dyn Fn(&[u8; 32], &[u8]) -> bool + Send + Sync>;
/// What is trusted now.
pub type Trust = Arc<dyn Fn() -> Arc<TrustStore> + Send + Sync>;
/// For how many seconds after its end a kind's certificate still passes.
pub type Grace = Arc<dyn Fn(Kind) -> u64 + Send + Sync>;

/// Trust that does not change.
pub fn fixed(store: Arc<TrustStore>) -> Trust {
    Arc::new(move || Arc::clone(&store))
}

/// A certificate chain with its key.
#[derive(Clone)]
pub struct Credentials {
    /// Leaf first.
    pub chain: Vec<Vec<u8>>,
    pub pkcs8: zeroize::Zeroizing<Vec<u8>>,
}

impl Credentials {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.iter().cloned().map(CertificateDer::from).collect()
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.to_vec()))
    }
}

/// The credentials that a running server shows, exchanged without a restart.
pub struct LiveCredentials(RwLock<Arc<CertifiedKey>>);

impl core::fmt::Debug for LiveCredentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("LiveCredentials(..)")
    }
}

impl LiveCredentials {
    /// # Errors
    /// Where key and certificate do not fit.
    pub fn new(credentials: &Credentials) -> Result<Self, Error> {
        Ok(Self(RwLock::new(Arc::new(certified(credentials)?))))
    }

    /// Shows these from the next handshake on.
    ///
    /// # Errors
    /// Where key and certificate do not fit; the old ones stay.
    pub fn replace(&self, credentials: &Credentials) -> Result<(), Error> {
        let next = Arc::new(certified(credentials)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// The certificate that is shown now.
    pub fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).cert.first().cloned()
    }
}

/// Of a key that signs elsewhere, as in a token. That it fits its certificate is seen to by whoever makes the pair.
impl From<CertifiedKey> for LiveCredentials {
    fn from(certified: CertifiedKey) -> Self {
        Self(RwLock::new(Arc::new(certified)))
    }
}

impl ResolvesServerCert for LiveCredentials {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl ResolvesClientCert for LiveCredentials {
    fn resolve(&self, _roots: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(credentials: &Credentials) -> Result<CertifiedKey, Error> {
    let certified = CertifiedKey::from_der(credentials.chain(), credentials.key(), &provider())?;
    certified.end_entity_cert()?;
    Ok(certified)
}

/// Checks peers against a trust store.
pub struct PeerVerifier {
    pub trust: Trust,
    pub now: Now,
    pub revoked: IsRevoked,
    /// A server may let clients in without a certificate, and ask later.
    pub client_may_be_unknown: bool,
    /// For enrollment only: lets clients in whose certificate has expired within this grace. What
    /// they may then do is decided by whoever answers them, who must look at the certificate again.
    pub lapsed: Option<Grace>,
}

impl core::fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PeerVerifier(..)")
    }
}

impl PeerVerifier {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        usage: Usage,
    ) -> Result<PeerCertificate, Error> {
        let rest: Vec<&[u8]> = rest.iter().map(AsRef::as_ref).collect();
        let (trust, now_s) = ((self.trust)(), (self.now)());
        let peer = match (&self.lapsed, usage) {
            (Some(grace), Usage::ClientAuth) => {
                trust.verify_lapsed(leaf, &rest, usage, now_s, &**grace)
            }
            _ => trust.verify(leaf, &rest, usage, now_s),
        };
        let peer = peer.map_err(|error| Error::InvalidCertificate(reason(&error)))?;
        if (self.revoked)(&peer.issuer_hash, &peer.serial) {
            return Err(Error::InvalidCertificate(CertificateError::Revoked));
        }
        Ok(peer)
    }
}

/// TLS tells these apart by alert.
fn reason(error: &TrustError) -> CertificateError {
    match error {
        TrustError::UnknownIssuer | TrustError::OtherCluster { .. } => {
            CertificateError::UnknownIssuer
        }
        TrustError::Expired { .. } => CertificateError::Expired,
        TrustError::NotYetValid { .. } => CertificateError::NotValidYet,
        TrustError::WrongUsage => CertificateError::InvalidPurpose,
        TrustError::BadIdentity => CertificateError::ApplicationVerificationFailure,
        TrustError::Invalid(_) => CertificateError::BadEncoding,
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn schemes() -> Vec<SignatureScheme> {
    // The keys that profiles allow.
    vec![
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::ED25519,
    ]
}

macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(
                message,
                cert,
                dss,
                &aws_lc_rs::default_provider().signature_verification_algorithms,
            )
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(
                message,
                cert,
                dss,
                &aws_lc_rs::default_provider().signature_verification_algorithms,
            )
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            schemes()
        }
    };
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        !self.client_may_be_unknown
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(leaf, rest, Usage::ClientAuth)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for PeerVerifier {
    /// A server is a node by its identity; its address proves nothing more.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let peer = self.check(leaf, rest, Usage::ServerAuth)?;
        if peer.identity.kind == Kind::Node {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    signatures!();
}

/// Believes a server whose chain ends in the root with this hash: for a device that has only a
/// token yet.
pub struct PinnedRoot {
    pin: [u8; 32],
    now: Now,
    /// What the pinned root has proven, once it was shown: each further handshake costs less.
    store: OnceLock<Arc<TrustStore>>,
}

impl PinnedRoot {
    /// `pin` is the SHA-256 of the root's certificate.
    pub fn new(pin: [u8; 32], now: Now) -> Self {
        Self { pin, now, store: OnceLock::new() }
    }

    /// The pinned root, once a server has shown it.
    pub fn store(&self) -> Option<Arc<TrustStore>> {
        self.store.get().cloned()
    }

    fn found(&self, rest: &[CertificateDer<'_>]) -> Option<Arc<TrustStore>> {
        if let Some(store) = self.store() {
            return Some(store);
        }
        let root = rest.iter().find(|der| sha256(der) == self.pin)?;
        let store = TrustStore::new(vec![root.to_vec()], Vec::new()).ok()?;
        Some(Arc::clone(self.store.get_or_init(|| Arc::new(store))))
    }
}

impl core::fmt::Debug for PinnedRoot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PinnedRoot(..)")
    }
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let verifier = PeerVerifier {
            trust: fixed(self.found(rest).ok_or_else(unknown)?),
            now: Arc::clone(&self.now),
            revoked: Arc::new(|_, _| false),
            client_may_be_unknown: false,
            lapsed: None,
        };
        verifier.verify_server_cert(leaf, rest, name, ocsp, now)
    }

    signatures!();
}

fn harden(mut config: ServerConfig, alpn: &[&[u8]]) -> ServerConfig {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.key_log = Arc::new(NoKeyLog {});
    config
}

/// A server that devices reach over QUIC: TLS 1.3, client certificate demanded.
///
/// # Errors
/// Where the provider lacks the protocol version.
pub fn device_server_config(
    credentials: Arc<LiveCredentials>,
    verifier: Arc<PeerVerifier>,
    alpn: &[u8],
) -> Result<ServerConfig, Error> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(credentials);
    Ok(harden(config, &[alpn]))
}

/// The HTTPS server: TLS 1.2 (enrollment clients that know no other) and 1.3, client certificate
/// asked for.
///
/// # Errors
/// Where the provider lacks a protocol version.
pub fn https_server_config(
    credentials: Arc<LiveCredentials>,
    verifier: Arc<PeerVerifier>,
) -> Result<ServerConfig, Error> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(credentials);
    Ok(harden(config, &[b"http/1.1"]))
}

/// A node as another node's client: TLS 1.3, its certificate shown, the other's judged by `verifier`.
///
/// # Errors
/// Where the provider lacks a protocol version.
pub fn peer_client_config(
    credentials: Arc<LiveCredentials>,
    verifier: Arc<PeerVerifier>,
    alpn: &[u8],
) -> Result<ClientConfig, Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(credentials);
    Ok(careful(config, alpn))
}

/// A client that believes servers by `verifier` and shows its certificate, if it has one.
///
/// # Errors
/// Where key and certificate do not fit.
pub fn client_config(
    verifier: Arc<dyn ServerCertVerifier>,
    credentials: Option<&Credentials>,
    alpn: &[u8],
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match credentials {
        Some(credentials) => {
            builder.with_client_auth_cert(credentials.chain(), credentials.key())?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(careful(config, alpn))
}

/// One protocol; each handshake in full, so that each certificate is judged anew.
fn careful(mut config: ClientConfig, alpn: &[u8]) -> ClientConfig {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}
