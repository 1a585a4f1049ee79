//! Signed heads: a root, how many entries it covers, and when, under the ledger's key.
//!
//! **Invariants:** what is signed names its purpose, the log and the key, so that a signature of
//! anything else, of another region or by another key never passes. A signer's certificate must be
//! valid at the head's own time: an audit comes long after it. **Not here:** whom to trust; the
//! caller answers that for each [`Signer`].

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use minicbor::{Decode, Encode, Encoder};
use serde::{Deserialize, Serialize};

use super::text::{base64_bytes, hex};
use crate::{
    Life,
    merkle::{Frontier, Hash},
    sha256, x509,
};

/// Begins everything that the ledger's key signs.
const DOMAIN: &str = "fieldmesh ledger head v1";

/// SubjectPublicKeyInfo of an uncompressed P-256 point, up to the point (RFC 5480 §2).
const P256_SPKI: &[u8; 26] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\
    \x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

/// Why a head is not its key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    #[error("the signer is neither a P-256 public key nor the certificate of one")]
    NotAKey,
    #[error("the head names another key than the signer's")]
    OtherKey,
    #[error(
        "the head is of {at_s}, its signer's certificate is valid from {from_s} to {to_s} \
         (Unix seconds)"
    )]
    NotValidThen { at_s: u64, from_s: u64, to_s: u64 },
    #[error("the head's signature does not verify: it was changed or is not that key's")]
    Signature,
}

/// A public key that heads are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadKey {
    spki: [u8; 91],
    /// The certificate's, if there was one.
    life: Option<Life>,
}

impl HeadKey {
    /// From an uncompressed point, as [`crate::KeyMaterial::public_point`] gives it.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn from_point(point: &[u8]) -> Result<Self, HeadError> {
        let spki = [P256_SPKI, point].concat().try_into().map_err(|_| HeadError::NotAKey)?;
        if point.first() != Some(&4) {
            return Err(HeadError::NotAKey);
        }
        Ok(Self { spki, life: None })
    }

    /// From a SubjectPublicKeyInfo or a certificate.
    ///
    /// # Errors
    /// Where the DER is neither, or of another kind of key.
    pub fn from_der(der: &[u8]) -> Result<Self, HeadError> {
        if let Some(point) = der.strip_prefix(P256_SPKI) {
            return Self::from_point(point);
        }
        let parsed = x509::parse(der).ok_or(HeadError::NotAKey)?;
        let point = parsed.public_key().raw.strip_prefix(P256_SPKI).ok_or(HeadError::NotAKey)?;
        let life = x509::life(&parsed).ok_or(HeadError::NotAKey)?;
        Ok(Self { life: Some(life), ..Self::from_point(point)? })
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn id(&self) -> Hash {
        sha256(&self.spki)
    }
}

/// A signed root: what the log was, at some time, according to who held its key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedHead {
    #[n(0)]
    pub cluster: String,
    #[n(1)]
    pub region: String,
    /// How many entries it covers.
    #[n(2)]
    pub size: u64,
    #[cbor(n(3), with = "minicbor::bytes")]
    #[serde(with = "hex")]
    pub root: Hash,
    /// Unix milliseconds. Two heads of a log never have the same, and later ones never cover less.
    #[n(4)]
    pub at_ms: u64,
    /// [`HeadKey::id`] of the key.
    #[cbor(n(5), with = "minicbor::bytes")]
    #[serde(with = "hex")]
    pub key_id: Hash,
    /// ECDSA with SHA-256 over [`Self::to_sign`], as DER.
    #[cbor(n(6), with = "minicbor::bytes")]
    #[serde(with = "base64_bytes")]
    pub signature: Vec<u8>,
}

impl SignedHead {
    /// Signs what the frontier holds; `sign` makes an ECDSA signature with SHA-256, as DER, by
    /// `key`.
    ///
    /// # Errors
    /// Only what `sign` says.
    pub fn sign<E>(
        (cluster, region): (&str, &str),
        frontier: &Frontier,
        at_ms: u64,
        key: &HeadKey,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        let mut head = Self {
            cluster: cluster.to_owned(),
            region: region.to_owned(),
            size: frontier.size(),
            root: frontier.root(),
            at_ms,
            key_id: key.id(),
            signature: Vec::new(),
        };
        head.signature = sign(&head.to_sign())?;
        Ok(head)
    }

    /// The signed bytes: a CBOR array (RFC 8949 §4.2.1) of the purpose and all fields before the
    /// signature, in order.
    pub fn to_sign(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::with_capacity(192));
        // Memory takes every byte.
        let _ = encoder.array(7).and_then(|e| {
            e.str(DOMAIN)?.str(&self.cluster)?.str(&self.region)?.u64(self.size)?;
            e.bytes(&self.root)?.u64(self.at_ms)?.bytes(&self.key_id)
        });
        encoder.into_writer()
    }

    pub(super) fn is_of(&self, cluster: &str, region: &str) -> bool {
        self.cluster == cluster && self.region == region
    }

    /// Checks the signature, and the time against the key's certificate if it came with one.
    ///
    /// # Errors
    /// See [`HeadError`].
    pub fn verify(&self, key: &HeadKey) -> Result<(), HeadError> {
        if self.key_id != key.id() {
            return Err(HeadError::OtherKey);
        }
        let at_s = self.at_ms / 1000;
        if let Some(Life { not_before_s: from_s, not_after_s: to_s }) = key.life
            && !(from_s..=to_s).contains(&at_s)
        {
            return Err(HeadError::NotValidThen { at_s, from_s, to_s });
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key.spki[P256_SPKI.len()..])
            .verify(&self.to_sign(), &self.signature)
            .map_err(|_| HeadError::Signature)
    }
}

/// Who is to be trusted with a head, for the caller to decide: that the key, or the certificate by
/// its chain, is a ledger key of this cluster and region.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    pub cluster: &'a str,
    pub region: &'a str,
    /// A SubjectPublicKeyInfo or a certificate, DER.
    pub key: &'a [u8],
    /// Certificates above it, DER; none above a bare key.
    pub issuers: &'a [Vec<u8>],
    /// The head's time, Unix seconds: the time at which to check the chain. The leaf's own validity
    /// is checked for every head without asking.
    pub at_s: u64,
}

impl<'a> Signer<'a> {
    /// The signer of a head by its chain; none where the chain is empty.
    pub(super) fn of(head: &'a SignedHead, chain: &'a [Vec<u8>]) -> Option<Self> {
        let (key, issuers) = chain.split_first()?;
        let (cluster, region) = (&head.cluster, &head.region);
        Some(Self { cluster, region, key, issuers, at_s: head.at_ms / 1000 })
    }
}
