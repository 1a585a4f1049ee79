//! The built-in PKI: identities, profiles, issuing, enrollment checks, trust, secrets at rest.
//!
//! Hierarchy: an offline root, one issuing CA per region (path length 0, DNS name constraint), leaf
//! certificates by profile. P-256 throughout. Reading order: [`Identity`], [`profile`], [`RootCa`],
//! [`check_csr`], [`TrustStore`], [`tls`].
//!
//! **Invariants:** a certificate's content comes from profile and identity, never from a request;
//! serials are random and given by the caller; a lifetime never exceeds the issuer's; time comes in
//! as an argument. **Not here:** tokio, storage, HTTP.

mod ca;
mod csr;
pub mod estwire;
mod identity;
mod key;
pub mod pkcs7;
mod profile;
pub mod tls;
mod token;
mod trust;
pub mod vault;

pub use ca::{Certificate, IssueError, IssuingCa, RootCa};
pub use csr::{CSR_BYTES_MAX, CheckedCsr, CsrError, check_csr, create_csr};
pub use identity::{Identity, IdentityError, Kind};
pub use key::{KeyError, KeyMaterial};
pub use profile::{Profile, profile};
pub use token::{Token, mint, token_hash, token_pin};
pub use trust::{PeerCertificate, TrustError, TrustStore, Usage, is_self_signed};

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}
