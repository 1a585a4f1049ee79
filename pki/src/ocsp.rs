//! The state of single certificates for verifiers that are not ours: OCSP (RFC 6960), in the
//! profile for many clients (RFC 5019), with nonces (RFC 9654).
//!
//! Reading order: [`OcspRequest`], [`IssuerRef`], [`Responder`].
//!
//! **Invariants:** the bytes of a request are limited before they are read; an answer speaks only
//! for the CA that issued the signer's certificate; `good` is said only where the caller says that
//! the certificate was issued. **Not here:** HTTP, the cache of answers made ahead, signatures of
//! requests (they are not looked at).

mod request;
mod response;

pub use request::{OcspRequest, OcspRequestError};
pub use response::{AnswerTimes, OcspError, Responder, SignerError};

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use crate::{Reason, sha256, x509};

/// The answers without content (RFC 6960 §4.2.1), as bytes to send.
pub const MALFORMED_REQUEST: &[u8] = &[0x30, 3, 0x0a, 1, 1];
pub const INTERNAL_ERROR: &[u8] = &[0x30, 3, 0x0a, 1, 2];
pub const TRY_LATER: &[u8] = &[0x30, 3, 0x0a, 1, 3];
/// We do not speak for the CA that is asked about (RFC 5019 §2.2.3).
pub const UNAUTHORIZED: &[u8] = &[0x30, 3, 0x0a, 1, 6];

/// id-pkix-ocsp-nonce, 1.3.6.1.5.5.7.48.1.2, as the content of the OBJECT IDENTIFIER.
const NONCE: &[u8] = &[43, 6, 1, 5, 5, 7, 48, 1, 2];

/// What is said of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It was issued and is not revoked.
    Good,
    /// `at_s` in Unix seconds.
    Revoked { at_s: u64, reason: Reason },
    /// It was not issued, as far as we know.
    Unknown,
}

/// The digest by which a request names issuers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertIdHash {
    /// What clients send; nothing depends on its strength.
    Sha1,
    Sha256,
}

impl CertIdHash {
    /// The content of the OBJECT IDENTIFIER: 1.3.14.3.2.26, 2.16.840.1.101.3.4.2.1.
    const fn oid(self) -> &'static [u8] {
        match self {
            Self::Sha1 => &[43, 14, 3, 2, 26],
            Self::Sha256 => &[96, 134, 72, 1, 101, 3, 4, 2, 1],
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &SHA256,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }
}

/// A CA's certificate that does not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the CA's certificate does not parse or has no subject key identifier")]
pub struct IssuerError;

/// A CA that may be asked about, with the names that requests have for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerRef {
    issuer_hash: [u8; 32],
    key_id: Vec<u8>,
    /// Digests of name and key: by SHA-1, by SHA-256.
    sha1: (Vec<u8>, Vec<u8>),
    sha256: (Vec<u8>, Vec<u8>),
}

impl IssuerRef {
    /// From the CA's certificate.
    ///
    /// # Errors
    /// [`IssuerError`].
    pub fn new(certificate: &[u8]) -> Result<Self, IssuerError> {
        let parsed = x509::parse(certificate).ok_or(IssuerError)?;
        let (name, key) = (parsed.subject().as_raw(), &parsed.public_key().subject_public_key.data);
        let names = |hash: CertIdHash| (hash.digest(name), hash.digest(key));
        Ok(Self {
            issuer_hash: sha256(name),
            key_id: x509::subject_key_id(&parsed).ok_or(IssuerError)?.to_vec(),
            sha1: names(CertIdHash::Sha1),
            sha256: names(CertIdHash::Sha256),
        })
    }

    /// SHA-256 of the name, as in [`crate::PeerCertificate::issuer_hash`].
    pub fn issuer_hash(&self) -> &[u8; 32] {
        &self.issuer_hash
    }

    /// issuerNameHash and issuerKeyHash.
    fn hashes(&self, hash: CertIdHash) -> (&[u8], &[u8]) {
        let (name, key) = match hash {
            CertIdHash::Sha1 => &self.sha1,
            CertIdHash::Sha256 => &self.sha256,
        };
        (name, key)
    }
}
