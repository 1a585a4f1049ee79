//! Certificate requests (PKCS#10, RFC 2986): what is taken from them, and what is refused.
//!
//! Only the public key is taken. What a request asks for beyond that is compared with the identity
//! that was registered: the same is fine, anything else is refused by name and never rewritten.

use rcgen::CertificateParams;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

use crate::{Identity, KeyError, KeyMaterial};

/// Bytes of a request: one with our names has about 400.
pub const CSR_BYTES_MAX: usize = 8 * 1024;
/// id-ecPublicKey and prime256v1.
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    #[error("it has more than 8192 bytes")]
    TooLarge,
    #[error("it is not a PKCS#10 request")]
    Malformed,
    #[error("bytes follow its end")]
    Trailing,
    #[error("its key is not an uncompressed P-256 point")]
    Key,
    #[error("its signature is not by its own key")]
    Signature,
    #[error("it asks to be a certification authority")]
    AsksForCa,
    #[error("it asks for a name that is not the registered identity's")]
    ForeignName,
}

/// A request whose form and proof of possession are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedCsr {
    spki: Vec<u8>,
    point: Vec<u8>,
    uris: Vec<String>,
    dns_names: Vec<String>,
    has_other_names: bool,
}

impl CheckedCsr {
    /// SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The uncompressed public point.
    pub fn public_point(&self) -> &[u8] {
        &self.point
    }

    /// Refuses names other than the identity's own.
    ///
    /// # Errors
    /// [`CsrError::ForeignName`].
    pub fn check_identity(&self, identity: &Identity) -> Result<(), CsrError> {
        let (uri, dns) = (identity.to_string(), identity.dns_name());
        let own = !self.has_other_names
            && self.uris.iter().all(|name| *name == uri)
            && self.dns_names.iter().all(|name| *name == dns);
        if own { Ok(()) } else { Err(CsrError::ForeignName) }
    }
}

/// Checks a request's form, key and signature.
///
/// # Errors
/// The first fact that is wrong.
pub fn check_csr(der: &[u8]) -> Result<CheckedCsr, CsrError> {
    if der.len() > CSR_BYTES_MAX {
        return Err(CsrError::TooLarge);
    }
    let (rest, request) =
        X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
    if !rest.is_empty() {
        return Err(CsrError::Trailing);
    }
    let key = &request.certification_request_info.subject_pki;
    let curve = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    let point = key.subject_public_key.data.as_ref();
    let is_p256 = key.algorithm.algorithm.to_id_string() == EC_PUBLIC_KEY
        && curve.is_some_and(|oid| oid.to_id_string() == P256);
    if !is_p256 || point.len() != 65 || point[0] != 4 {
        return Err(CsrError::Key);
    }
    request.verify_signature().map_err(|_| CsrError::Signature)?;
    let mut checked = CheckedCsr {
        spki: key.raw.to_vec(),
        point: point.to_vec(),
        uris: Vec::new(),
        dns_names: Vec::new(),
        has_other_names: false,
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        match extension {
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                return Err(CsrError::AsksForCa);
            }
            ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => {
                return Err(CsrError::AsksForCa);
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    match name {
                        GeneralName::URI(uri) => checked.uris.push((*uri).to_owned()),
                        GeneralName::DNSName(dns) => checked.dns_names.push((*dns).to_owned()),
                        _ => checked.has_other_names = true,
                    }
                }
            }
            _ => {}
        }
    }
    Ok(checked)
}

/// A request for a key, without names: the registration knows them.
///
/// # Errors
/// Where the key cannot sign.
pub fn create_csr(key: &KeyMaterial) -> Result<Vec<u8>, KeyError> {
    let request = CertificateParams::default()
        .serialize_request(&key.pair)
        .map_err(|_| KeyError::Malformed)?;
    Ok(request.der().to_vec())
}
