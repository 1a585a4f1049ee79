//! The two certification authorities: root and issuing.
//!
//! **Invariants:** a certificate's content comes from profile and identity, never from a request;
//! what the real key signs are exactly the bytes that the lint has passed; a life never exceeds the
//! issuer's, and is never cut to fit; issuer name and authority key identifier are the CA
//! certificate's own bytes. **Not here:** who may have a certificate, storage, CRLs and OCSP.

mod certificate;
mod content;
mod issuing;
mod root;
#[cfg(test)]
mod tests;

pub use certificate::CaCertificate;
pub use issuing::IssuingCa;
pub use root::RootCa;

use crate::{CsrError, KeyKind, LintError};

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error(
        "the lifetime would end at {wanted}, after the issuer's at {issuer}: renew the issuing CA first"
    )]
    OutlivesIssuer { wanted: u64, issuer: u64 },
    #[error(
        "the issuer's certificate is valid from {issuer_from}, the clock says {now}: set the clock"
    )]
    IssuerNotYetValid { issuer_from: u64, now: u64 },
    #[error("the name {0:?} cannot be in a certificate")]
    Name(String),
    #[error("the time is out of range")]
    Time,
    #[error("the public key is malformed, compressed or not on its curve")]
    PublicKey,
    #[error("a {} key is not allowed for {label}: use {}", kind.name(), names(allowed))]
    KeyKind { kind: KeyKind, label: &'static str, allowed: &'static [KeyKind] },
    #[error("the issuing CA's request is refused: {0}")]
    Request(CsrError),
    #[error(transparent)]
    Lint(#[from] LintError),
    #[error("no key could be made")]
    KeyGeneration,
    #[error("signing failed")]
    Sign(#[source] rcgen::Error),
    #[error("the CA's certificate is refused: {0}")]
    CaCertificate(&'static str),
}

fn names(kinds: &[KeyKind]) -> String {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    names.join(" or ")
}

/// A certificate as issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub der: Vec<u8>,
    pub serial: [u8; 16],
    /// Unix seconds.
    pub not_before: u64,
    pub not_after: u64,
}

/// Where outsiders find an issuing CA's CRL, its OCSP responder and its certificate (RFC 5280
/// §4.2.1.13 and §4.2.2.1). Plain HTTP: what is fetched is signed, and a certificate whose status
/// needs TLS to be looked up would chase its own tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urls {
    pub crl: String,
    pub ocsp: String,
    pub ca_issuers: String,
}
