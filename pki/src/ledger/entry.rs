//! What is logged, and the bytes it is hashed as.
//!
//! Bytes are CBOR arrays by field number; later versions add optional fields at the end, so that
//! what is logged today keeps its bytes. **Invariants:** an entry has exactly one encoding; no
//! secret and nothing of a person but identifiers is in it. **Not here:** who writes entries.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::text::hex;
use crate::{merkle::Hash, sha256, x509};

/// Bytes of one entry: a few hundred are usual, and a reason quoted from a request must not make
/// the log too large to check.
pub const ENTRY_BYTES_MAX: usize = 4096;

/// Why bytes are no entry, or an entry has no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("an entry of {0} bytes: at most {ENTRY_BYTES_MAX}; shorten its texts")]
    TooLong(usize),
    #[error(
        "the bytes are not an entry known to this version: {0}; a newer version may have written it"
    )]
    Malformed(String),
    #[error("the bytes are not in the one encoding of the entry they say")]
    NotCanonical,
    #[error("the certificate does not parse")]
    Certificate,
}

/// One thing that the authority did or refused.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// Its place in the log, from 0.
    #[n(0)]
    pub number: u64,
    /// Unix milliseconds, by the clock of who wrote it.
    #[n(1)]
    pub at_ms: u64,
    /// Who: an identity, an operator's name, or `authority` where nobody asked.
    #[n(2)]
    pub actor: String,
    #[n(3)]
    pub action: Action,
    /// About whom: an identity or an issuer's name.
    #[n(4)]
    pub subject: String,
}

/// A certificate that came into being.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuance {
    /// SHA-256 of the issuer's name in DER: with the serial, what revocation knows.
    #[cbor(n(0), with = "minicbor::bytes")]
    #[serde(with = "hex")]
    pub issuer: Hash,
    /// Big-endian, without leading zeros.
    #[cbor(n(1), with = "minicbor::bytes")]
    #[serde(with = "hex")]
    pub serial: Vec<u8>,
    #[n(2)]
    pub profile: String,
    /// Unix seconds.
    #[n(3)]
    pub not_after_s: u64,
    /// SHA-256 of the signed part: anybody can give a certificate another valid signature, and with
    /// it another hash, but not another signed part.
    #[cbor(n(4), with = "minicbor::bytes")]
    #[serde(with = "hex")]
    pub tbs_hash: Hash,
    /// SHA-256 of the SubjectPublicKeyInfo.
    #[cbor(n(5), with = "minicbor::bytes")]
    #[serde(with = "hex")]
    pub spki_hash: Hash,
    /// The request or token that it was issued for.
    #[n(6)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// What happened. Requests and tokens are named as the store names them, never by their secret.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    #[n(0)]
    Issued(#[n(0)] Issuance),
    /// Issued on the strength of an earlier certificate.
    #[n(1)]
    Renewed(#[n(0)] Issuance),
    #[n(2)]
    Refused {
        /// A stable word for programs.
        #[n(0)]
        code: String,
        #[n(1)]
        why: String,
        /// Refusals before it that are not listed: there were too many at once.
        #[n(2)]
        unlisted: u64,
    },
    #[n(3)]
    TokenMinted {
        #[n(0)]
        token: String,
        #[n(1)]
        profile: String,
        /// Unix seconds.
        #[n(2)]
        expires_s: u64,
    },
    /// A request waits for approval.
    #[n(4)]
    Requested {
        #[n(0)]
        request: String,
        #[n(1)]
        profile: String,
        /// SHA-256 of the SubjectPublicKeyInfo.
        #[cbor(n(2), with = "minicbor::bytes")]
        #[serde(with = "hex")]
        spki_hash: Hash,
    },
    #[n(5)]
    Approved {
        #[n(0)]
        request: String,
        #[n(1)]
        approvers: Vec<String>,
    },
    #[n(6)]
    Denied {
        #[n(0)]
        request: String,
        #[n(1)]
        why: String,
    },
    #[n(7)]
    Revoked {
        /// As in [`Issuance::issuer`].
        #[cbor(n(0), with = "minicbor::bytes")]
        #[serde(with = "hex")]
        issuer: Hash,
        /// As in [`Issuance::serial`].
        #[cbor(n(1), with = "minicbor::bytes")]
        #[serde(with = "hex")]
        serial: Vec<u8>,
        /// The name of a CRLReason (RFC 5280 §5.3.1).
        #[n(2)]
        reason: String,
    },
    /// The subject gets no certificate any more.
    #[n(8)]
    Banned {
        #[n(0)]
        why: String,
    },
    /// A ban, or an expiry past its grace, was forgiven.
    #[n(9)]
    Readmitted {
        #[n(0)]
        why: String,
    },
    #[n(10)]
    IssuerAdded {
        /// As in [`Issuance::issuer`].
        #[cbor(n(0), with = "minicbor::bytes")]
        #[serde(with = "hex")]
        issuer: Hash,
        /// SHA-256 of the issuer's certificate.
        #[cbor(n(1), with = "minicbor::bytes")]
        #[serde(with = "hex")]
        certificate_hash: Hash,
        /// Unix seconds.
        #[n(2)]
        not_after_s: u64,
    },
    #[n(11)]
    IssuerRetired {
        /// As in [`Issuance::issuer`].
        #[cbor(n(0), with = "minicbor::bytes")]
        #[serde(with = "hex")]
        issuer: Hash,
    },
    /// A rotation of the subject went on, or back.
    #[n(12)]
    PhaseChanged {
        #[n(0)]
        from: String,
        #[n(1)]
        to: String,
    },
    /// The subject's key signed something that is not a logged certificate.
    #[n(13)]
    KeyUsed {
        /// What for: `crl`, `ocsp`.
        #[n(0)]
        purpose: String,
        /// Signatures since the last such entry.
        #[n(1)]
        count: u64,
    },
    /// The subject's key came into memory.
    #[n(14)]
    Unsealed {},
    /// Nothing is issued because the clock is behind what the log has seen.
    #[n(15)]
    ClockRefused {
        /// Unix milliseconds.
        #[n(0)]
        clock_ms: u64,
        /// The least that would be believed, Unix milliseconds.
        #[n(1)]
        least_ms: u64,
    },
    /// The subject was registered for a profile.
    #[n(16)]
    Registered {
        #[n(0)]
        profile: String,
    },
    /// The request waited too long for its approval, or the approval for its request.
    #[n(17)]
    Lapsed {},
    /// The subject, a run of chaos, breaks nodes of the region on purpose from now on.
    #[n(18)]
    ChaosBegun {
        #[n(0)]
        scenario: String,
        /// SHA-256 of the scenario's document.
        #[cbor(n(1), with = "minicbor::bytes")]
        #[serde(with = "hex")]
        document: Hash,
        #[n(2)]
        seed: u64,
        /// `staging` or `production`.
        #[n(3)]
        target: String,
    },
    /// It is over.
    #[n(19)]
    ChaosEnded {
        /// 0 passed, 1 a promise was broken, 2 given up, 3 it says nothing.
        #[n(0)]
        exit: u8,
    },
}

impl Entry {
    /// The leaf: what is stored and hashed. To be asked for before the entry is decided on, since
    /// an entry without bytes cannot be logged.
    ///
    /// # Errors
    /// Where there would be more than [`ENTRY_BYTES_MAX`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, EntryError> {
        let bytes =
            minicbor::to_vec(self).map_err(|error| EntryError::Malformed(error.to_string()))?;
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::TooLong(bytes.len()));
        }
        Ok(bytes)
    }

    /// What a leaf says. Fields of a later version are refused rather than skipped: whoever checks
    /// a log must have read all of it.
    ///
    /// # Errors
    /// Where the bytes are too many or not exactly what [`Self::to_bytes`] gives.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::TooLong(bytes.len()));
        }
        let entry: Self =
            minicbor::decode(bytes).map_err(|error| EntryError::Malformed(error.to_string()))?;
        if entry.to_bytes()? != bytes {
            return Err(EntryError::NotCanonical);
        }
        Ok(entry)
    }
}

impl Issuance {
    /// What is logged of a certificate.
    ///
    /// # Errors
    /// Where the certificate does not parse.
    pub fn of(
        certificate: &[u8],
        profile: &str,
        request: Option<String>,
    ) -> Result<Self, EntryError> {
        let parsed = x509::parse(certificate).ok_or(EntryError::Certificate)?;
        let life = x509::life(&parsed).ok_or(EntryError::Certificate)?;
        let serial = parsed.raw_serial();
        let zeros = serial.iter().take_while(|byte| **byte == 0).count();
        Ok(Self {
            issuer: sha256(parsed.issuer().as_raw()),
            serial: serial[zeros..].to_vec(),
            profile: profile.to_owned(),
            not_after_s: life.not_after_s,
            tbs_hash: sha256(parsed.tbs_certificate.as_ref()),
            spki_hash: sha256(parsed.public_key().raw),
            request,
        })
    }

    /// Whether this is the issuance of that certificate.
    pub fn is_of(&self, certificate: &[u8]) -> bool {
        Self::of(certificate, &self.profile, self.request.clone())
            .is_ok_and(|issuance| issuance == *self)
    }
}
