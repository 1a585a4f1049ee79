//! Certificate requests (PKCS#10, RFC 2986): what is taken from them, and what is refused.
//!
//! Only the public key is taken. The alternative names that a request asks for are compared with
//! the identity that was registered: the same are fine, others are refused by name and never
//! rewritten. Its subject decides nothing.
//!
//! **Invariants:** a request that is checked is one value in DER with nothing passed over, signed
//! with its own key, which is of an accepted kind and not known to be weak; limits come before
//! work, and cheap checks before the signature. **Not here:** which kinds a profile allows, tokens,
//! whether a key is used already, the link of a challenge password to a connection.

mod error;
mod key;
mod known;
mod requested;
mod rsa;
mod shape;
mod signature;

use rcgen::{CertificateParams, DistinguishedName};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

pub use error::CsrError;

use self::{key::classify, requested::Requested};
use crate::{Identity, KeyError, KeyKind, KeyMaterial};

/// Bytes of a request: one with our names has about 400, with RSA of 4096 bits about 1700.
const CSR_BYTES_MAX: usize = 8 * 1024;

/// A request whose form and proof of possession are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedCsr {
    spki: Vec<u8>,
    kind: KeyKind,
    requested: Requested,
}

impl CheckedCsr {
    /// SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The kind of that key.
    pub fn key_kind(&self) -> KeyKind {
        self.kind
    }

    /// The challenge password, up to 256 bytes (RFC 7030 §3.5 binds it to the connection).
    pub fn challenge_password(&self) -> Option<&str> {
        self.requested.challenge.as_deref()
    }

    /// The attribute by which a key that the server makes is to be encrypted beyond TLS (RFC 7030
    /// §4.4.1), if there is one.
    pub fn sealing(&self) -> Option<&'static str> {
        self.requested.sealing
    }

    /// Refuses alternative names other than the identity's own; asking for none is fine.
    ///
    /// # Errors
    /// The first name that is not the identity's.
    pub fn check_identity(&self, identity: &Identity) -> Result<(), CsrError> {
        self.requested.check_identity(identity)
    }
}

fn parse(der: &[u8]) -> Result<X509CertificationRequest<'_>, CsrError> {
    if der.len() > CSR_BYTES_MAX {
        return Err(CsrError::TooLarge);
    }
    shape::check(der)?;
    let (_, request) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
    Ok(request)
}

/// The SubjectPublicKeyInfo of a request that is well-formed and signed by its key, which is taken.
/// For issuing CAs: what else their requests ask for is not looked at, and asking for authority is
/// right there.
///
/// # Errors
/// The first fact that is wrong.
pub(crate) fn proven_spki(der: &[u8]) -> Result<&[u8], CsrError> {
    let request = parse(der)?;
    let spki = &request.certification_request_info.subject_pki;
    signature::verify(&request, &classify(spki)?)?;
    Ok(spki.raw)
}

/// Checks a request's form, key and signature, and that it asks for no authority.
///
/// # Errors
/// The first fact that is wrong.
pub fn check_csr(der: &[u8]) -> Result<CheckedCsr, CsrError> {
    let request = parse(der)?;
    let info = &request.certification_request_info;
    let key = classify(&info.subject_pki)?;
    let requested = Requested::read(info)?;
    signature::verify(&request, &key)?;
    Ok(CheckedCsr { spki: info.subject_pki.raw.to_vec(), kind: key.kind, requested })
}

/// A request for a key, without names: the registration knows them.
///
/// # Errors
/// Where the key cannot sign.
pub fn create_csr(key: &KeyMaterial) -> Result<Vec<u8>, KeyError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(key).map_err(|_| KeyError::Sign)?;
    Ok(request.der().to_vec())
}
