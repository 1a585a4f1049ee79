//! The built-in PKI: identities, profiles, issuing, enrollment checks, trust, status, the audit log,
//! secrets at rest.
//!
//! Hierarchy: an offline root, one issuing CA per region (path length 0, DNS name constraint), leaf
//! certificates by profile. P-256, except for the root (P-384) and what devices bring. Reading
//! order: [`Identity`], [`Profile`], [`RootCa`], [`IssuingCa`]; enrollment: [`mint`], [`check_csr`],
//! [`estwire`]; believing: [`TrustStore`], [`tls`]; status: [`RevocationSet`], [`crl()`], [`ocsp`];
//! audit: [`merkle`], [`ledger`].
//!
//! **Invariants:** a certificate's content comes from profile and identity, never from a request;
//! serials are random and given by the caller; a lifetime never exceeds the issuer's; time comes in
//! as an argument; bytes from outside are limited before they are read. **Not here:** tokio,
//! storage, HTTP.

mod ca;
mod crl;
mod csr;
mod csrattrs;
mod der;
pub mod estwire;
mod identity;
mod key;
pub mod ledger;
mod lint;
pub mod merkle;
pub mod object;
pub mod ocsp;
pub mod pkcs11;
pub mod pkcs7;
mod profile;
mod revocation;
mod signed;
pub mod tls;
mod token;
mod trust;
pub mod vault;
mod x509;

pub use ca::{CaCertificate, Certificate, IssueError, IssuingCa, RootCa, Urls};
pub use crl::{CrlError, crl};
pub use csr::{CheckedCsr, CsrError, check_csr, create_csr};
pub use csrattrs::csrattrs;
pub use identity::{Identity, IdentityError, Kind};
pub use key::{CaKey, KeyError, KeyKind, KeyMaterial};
pub use lint::LintError;
pub use profile::{Approval, Life, Profile, profile};
pub use revocation::{Reason, ReasonError, RevocationSet, Revoked};
pub use token::{Token, mint, token_hash, token_pin};
pub use trust::{
    PeerCertificate, TrustError, TrustStore, Usage, is_issued_by, is_self_issued, is_self_signed,
};

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}

/// Lower case.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
