//! Whom to believe: roots, issuing CAs, and what a peer's chain proves.

use core::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::extensions::GeneralName;

use crate::{Identity, sha256};

/// id-kp-serverAuth and id-kp-clientAuth.
const SERVER_AUTH: &[u8] = &[43, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[43, 6, 1, 5, 5, 7, 3, 2];

/// id-kp-documentSigning (RFC 9336).
const DOCUMENT_SIGNING: &[u8] = &[43, 6, 1, 5, 5, 7, 3, 36];

/// What a certificate is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    ClientAuth,
    ServerAuth,
    /// Signing messages; such certificates have no extended usage.
    Signing,
}

/// Why a chain is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    #[error("the certificate is not from this cluster's authority")]
    UnknownIssuer,
    #[error("the certificate expired at {not_after}, the clock says {now}")]
    Expired { not_after: u64, now: u64 },
    #[error("the certificate is valid from {not_before}, the clock says {now}")]
    NotYetValid { not_before: u64, now: u64 },
    #[error("the certificate is not for this use")]
    WrongUsage,
    #[error("the certificate names no identity of a cluster")]
    BadIdentity,
    #[error("the certificate was revoked")]
    Revoked,
    #[error("the certificate does not parse or verify: {0}")]
    Invalid(String),
}

/// A certificate that was believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    pub identity: Identity,
    pub serial: Vec<u8>,
    /// Unix seconds.
    pub not_after: u64,
    /// SHA-256 of the issuer's name: with the serial, what revocation knows.
    pub issuer_hash: [u8; 32],
    /// Uncompressed P-256 point.
    pub public_point: Vec<u8>,
    /// SHA-256 of the certificate.
    pub thumbprint: [u8; 32],
}

/// Roots with the issuing CAs that are known without being sent.
#[derive(Debug, Clone)]
pub struct TrustStore {
    roots: Vec<Vec<u8>>,
    anchors: Vec<TrustAnchor<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
}

impl TrustStore {
    /// # Errors
    /// Where a root does not parse.
    pub fn new(roots: Vec<Vec<u8>>, intermediates: Vec<Vec<u8>>) -> Result<Self, TrustError> {
        let mut anchors = Vec::with_capacity(roots.len());
        for root in &roots {
            let root = CertificateDer::from(root.as_slice());
            let anchor = anchor_from_trusted_cert(&root)
                .map_err(|error| TrustError::Invalid(error.to_string()))?;
            anchors.push(anchor.to_owned());
        }
        let intermediates = intermediates.into_iter().map(CertificateDer::from).collect();
        Ok(Self { roots, anchors, intermediates })
    }

    pub fn roots(&self) -> &[Vec<u8>] {
        &self.roots
    }

    /// What a chain proves, for a use, at a time.
    ///
    /// # Errors
    /// The first fact that is wrong.
    pub fn verify(
        &self,
        leaf: &[u8],
        intermediates: &[&[u8]],
        usage: Usage,
        now_s: u64,
    ) -> Result<PeerCertificate, TrustError> {
        let leaf_der = CertificateDer::from(leaf);
        let end_entity = EndEntityCert::try_from(&leaf_der)
            .map_err(|error| TrustError::Invalid(error.to_string()))?;
        let mut chain: Vec<CertificateDer<'_>> =
            intermediates.iter().map(|der| CertificateDer::from(*der)).collect();
        chain.extend(self.intermediates.iter().cloned());
        let usage_check = match usage {
            // Issuing CAs have no extended usage, so the leaf's is demanded below.
            Usage::ClientAuth => KeyUsage::required_if_present(CLIENT_AUTH),
            Usage::ServerAuth => KeyUsage::required_if_present(SERVER_AUTH),
            // A TLS certificate must not pass for a signer's: this use is in no profile.
            Usage::Signing => KeyUsage::required_if_present(DOCUMENT_SIGNING),
        };
        let algorithms = [webpki::aws_lc_rs::ECDSA_P256_SHA256];
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now_s));
        end_entity
            .verify_for_usage(&algorithms, &self.anchors, &chain, time, usage_check, None, None)
            .map_err(|error| explain(&error, now_s))?;
        parse_leaf(leaf, usage)
    }
}

/// Whether a certificate is whole and signed by its own key, as a root is.
pub fn is_self_signed(der: &[u8]) -> bool {
    x509_parser::parse_x509_certificate(der)
        .is_ok_and(|(rest, parsed)| rest.is_empty() && parsed.verify_signature(None).is_ok())
}

fn explain(error: &webpki::Error, now: u64) -> TrustError {
    match error {
        webpki::Error::CertExpired { not_after, .. } => {
            TrustError::Expired { not_after: not_after.as_secs(), now }
        }
        webpki::Error::CertNotValidYet { not_before, .. } => {
            TrustError::NotYetValid { not_before: not_before.as_secs(), now }
        }
        webpki::Error::UnknownIssuer => TrustError::UnknownIssuer,
        webpki::Error::RequiredEkuNotFoundContext(_) => TrustError::WrongUsage,
        // A foreign root with our names fails here.
        webpki::Error::InvalidSignatureForPublicKey => TrustError::UnknownIssuer,
        error => TrustError::Invalid(error.to_string()),
    }
}

fn parse_leaf(leaf: &[u8], usage: Usage) -> Result<PeerCertificate, TrustError> {
    let invalid = |_| TrustError::Invalid("the leaf does not parse".into());
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(invalid)?;
    let extended = parsed.extended_key_usage().map_err(|_| TrustError::WrongUsage)?;
    let fits = match (usage, extended) {
        (Usage::ClientAuth, Some(extended)) => extended.value.client_auth,
        (Usage::ServerAuth, Some(extended)) => extended.value.server_auth,
        (Usage::Signing, None) => true,
        (Usage::ClientAuth | Usage::ServerAuth, None) | (Usage::Signing, Some(_)) => false,
    };
    if !fits {
        return Err(TrustError::WrongUsage);
    }
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| TrustError::BadIdentity)?
        .ok_or(TrustError::BadIdentity)?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (Some(uri), None) = (uris.next(), uris.next()) else {
        return Err(TrustError::BadIdentity);
    };
    let identity: Identity = uri.parse().map_err(|_| TrustError::BadIdentity)?;
    // The issuing CA is constrained to DNS names of its region: without this one, a region could
    // speak for another.
    let dns_name = identity.dns_name();
    let is_named = names
        .value
        .general_names
        .iter()
        .any(|name| matches!(name, GeneralName::DNSName(dns) if *dns == dns_name));
    if !is_named {
        return Err(TrustError::BadIdentity);
    }
    Ok(PeerCertificate {
        identity,
        serial: parsed.raw_serial().to_vec(),
        not_after: u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0),
        issuer_hash: sha256(parsed.issuer().as_raw()),
        public_point: parsed.public_key().subject_public_key.data.to_vec(),
        thumbprint: sha256(leaf),
    })
}
