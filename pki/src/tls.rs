//! TLS configurations: who must show what, with tickets, session cache and early data off.
//!
//! A resumed session would never ask the verifier again, so there is none: a revoked or expired peer
//! fails at its next handshake. Time is the caller's clock, so that simulations agree with it.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, NoKeyLog,
    ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::{TLS12, TLS13},
};

use crate::{Kind, PeerCertificate, TrustError, TrustStore, Usage, sha256};

/// Unix seconds.
pub type Now = Arc<dyn Fn() -> u64 + Send + Sync>;
/// Whether (issuer hash, serial) is revoked.
pub type Revoked = Arc<dyn Fn(&[u8; 32], &[u8]) -> bool + Send + Sync>;

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

/// Checks peers against a trust store.
pub struct PeerVerifier {
    pub trust: Arc<TrustStore>,
    pub now: Now,
    pub revoked: Revoked,
    /// A server may let clients in without a certificate, and ask later.
    pub client_may_be_unknown: bool,
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
        let peer = self
            .trust
            .verify(leaf, &rest, usage, (self.now)())
            .map_err(|error| Error::InvalidCertificate(reason(&error)))?;
        if (self.revoked)(&peer.issuer_hash, &peer.serial) {
            return Err(Error::InvalidCertificate(CertificateError::Revoked));
        }
        Ok(peer)
    }
}

/// TLS tells these apart by alert.
fn reason(error: &TrustError) -> CertificateError {
    match error {
        TrustError::UnknownIssuer => CertificateError::UnknownIssuer,
        TrustError::Expired { .. } => CertificateError::Expired,
        TrustError::NotYetValid { .. } => CertificateError::NotValidYet,
        TrustError::WrongUsage => CertificateError::InvalidPurpose,
        TrustError::Revoked => CertificateError::Revoked,
        TrustError::BadIdentity => CertificateError::ApplicationVerificationFailure,
        TrustError::Invalid(_) => CertificateError::BadEncoding,
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn schemes() -> Vec<SignatureScheme> {
    // The built-in PKI has P-256 keys only.
    vec![SignatureScheme::ECDSA_NISTP256_SHA256]
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
    pub pin: [u8; 32],
    pub now: Now,
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
        let root = rest.iter().find(|der| sha256(der) == self.pin).ok_or_else(unknown)?;
        let trust = TrustStore::new(vec![root.to_vec()], Vec::new()).map_err(|_| unknown())?;
        let verifier = PeerVerifier {
            trust: Arc::new(trust),
            now: Arc::clone(&self.now),
            revoked: Arc::new(|_, _| false),
            client_may_be_unknown: false,
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
/// Where key and certificate do not fit.
pub fn device_server_config(
    credentials: &Credentials,
    verifier: Arc<PeerVerifier>,
    alpn: &[u8],
) -> Result<ServerConfig, Error> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain(), credentials.key())?;
    Ok(harden(config, &[alpn]))
}

/// The HTTPS server: TLS 1.2 (enrollment clients that know no other) and 1.3, client certificate
/// asked for.
///
/// # Errors
/// Where key and certificate do not fit.
pub fn https_server_config(
    credentials: &Credentials,
    verifier: Arc<PeerVerifier>,
) -> Result<ServerConfig, Error> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain(), credentials.key())?;
    Ok(harden(config, &[b"http/1.1"]))
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
    let mut config = match credentials {
        Some(credentials) => {
            builder.with_client_auth_cert(credentials.chain(), credentials.key())?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}
