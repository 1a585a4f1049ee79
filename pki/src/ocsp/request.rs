//! Reading OCSP requests (RFC 6960 §4.1), from the body of a POST or the path of a GET.
//!
//! **Invariants:** DER only, nothing after the end, limits first; a critical extension that is not
//! known is refused. **Not here:** the signature and the name of who asks: both are passed over.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{CertIdHash, IssuerRef, NONCE};
use crate::{
    der::{
        BOOLEAN, DerError, Element, INTEGER, NULL, OCTET_STRING, OID, Reader, SEQUENCE, context,
    },
    revocation::serial_16,
};

/// Bytes of a request, DER: one with 16 certificates by SHA-256 has about 2000.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Certificates in one request.
const SINGLES_MAX: usize = 16;
/// Bytes of a serial (RFC 5280 §4.1.2.2).
const SERIAL_BYTES_MAX: usize = 20;
/// RFC 9654 §2.1.
const NONCE_BYTES_MAX: usize = 128;
/// Digests are not longer than SHA-512's.
const DIGEST_BYTES_MAX: usize = 64;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a request is refused; the answer to each is [`super::MALFORMED_REQUEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OcspRequestError {
    #[error("it has more than 8192 bytes")]
    TooLarge,
    #[error("the path is not base64: send the request by POST")]
    Base64,
    #[error("it is not an OCSP request in DER")]
    Malformed,
    #[error("it asks about no certificate or more than 16")]
    Count,
    #[error("it has a critical extension that is not known")]
    CriticalExtension,
    #[error("its nonce is not one of 1 to 128 bytes")]
    Nonce,
}

impl From<DerError> for OcspRequestError {
    fn from(DerError: DerError) -> Self {
        Self::Malformed
    }
}

/// Which certificate is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CertId {
    /// As it came: the answer repeats it.
    pub(super) der: Vec<u8>,
    /// `None` for a digest that we do not compute.
    hash: Option<CertIdHash>,
    name_hash: Vec<u8>,
    key_hash: Vec<u8>,
    /// `None` where it is not one of ours: negative, or longer than 16 bytes.
    pub(super) serial: Option<[u8; 16]>,
}

impl CertId {
    /// Whether it names this issuer.
    pub(super) fn is_of(&self, issuer: &IssuerRef) -> bool {
        self.hash.is_some_and(|hash| {
            issuer.hashes(hash) == (self.name_hash.as_slice(), self.key_hash.as_slice())
        })
    }
}

/// A request that is well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspRequest {
    pub(super) certificates: Vec<CertId>,
    pub(super) nonce: Option<Vec<u8>>,
}

impl OcspRequest {
    /// From the body of a POST.
    ///
    /// # Errors
    /// The first fact that is wrong.
    pub fn from_der(der: &[u8]) -> Result<Self, OcspRequestError> {
        if der.len() > REQUEST_BYTES_MAX {
            return Err(OcspRequestError::TooLarge);
        }
        let mut request = Element::only(der)?.inside(SEQUENCE)?;
        let mut content = request.enter(SEQUENCE)?;
        if let Some(signature) = request.optional(context(0))? {
            Element::only(signature.content)?.inside(SEQUENCE)?;
        }
        request.end()?;
        if let Some(requestor) = content.optional(context(1))? {
            Element::only(requestor.content)?;
        }
        let mut list = content.enter(SEQUENCE)?;
        let mut certificates = Vec::new();
        while !list.is_at_end() {
            if certificates.len() == SINGLES_MAX {
                return Err(OcspRequestError::Count);
            }
            certificates.push(single(list.enter(SEQUENCE)?)?);
        }
        if certificates.is_empty() {
            return Err(OcspRequestError::Count);
        }
        let nonce = match content.optional(context(2))? {
            Some(list) => extensions(list.content, NONCE)?,
            None => None,
        };
        content.end()?;
        Ok(Self { certificates, nonce: nonce.map(nonce_bytes).transpose()? })
    }

    /// From the end of a GET's path (RFC 6960 A.1): base64, its percent signs decoded already, with
    /// or without padding. It may contain slashes.
    ///
    /// # Errors
    /// The first fact that is wrong.
    pub fn from_path(path: &str) -> Result<Self, OcspRequestError> {
        if path.len() > REQUEST_BYTES_MAX.div_ceil(3) * 4 {
            return Err(OcspRequestError::TooLarge);
        }
        let der = BASE64.decode(path).map_err(|_| OcspRequestError::Base64)?;
        Self::from_der(&der)
    }

    /// Whether it asks about a certificate of this issuer's.
    pub fn is_about(&self, issuer: &IssuerRef) -> bool {
        self.certificates.iter().any(|id| id.is_of(issuer))
    }

    /// Which certificate an answer made ahead must be about to serve this request: there is none
    /// where it has a nonce, asks about several, or about none of these issuers'.
    pub fn presignable<'a>(
        &self,
        issuers: &'a [IssuerRef],
    ) -> Option<(&'a IssuerRef, CertIdHash, [u8; 16])> {
        match (self.certificates.as_slice(), &self.nonce) {
            ([id], None) => {
                let issuer = issuers.iter().find(|issuer| id.is_of(issuer))?;
                Some((issuer, id.hash?, id.serial?))
            }
            _ => None,
        }
    }
}

fn single(mut request: Reader<'_>) -> Result<CertId, OcspRequestError> {
    let cert_id = request.read(SEQUENCE)?;
    if let Some(list) = request.optional(context(0))? {
        extensions(list.content, &[])?;
    }
    request.end()?;
    let mut id = cert_id.inside(SEQUENCE)?;
    let mut algorithm = id.enter(SEQUENCE)?;
    let oid = algorithm.read(OID)?.content;
    algorithm.optional(NULL)?;
    algorithm.end()?;
    let name_hash = id.read(OCTET_STRING)?.content;
    let key_hash = id.read(OCTET_STRING)?.content;
    let serial = id.read(INTEGER)?.content;
    id.end()?;
    let hash = [CertIdHash::Sha1, CertIdHash::Sha256].into_iter().find(|hash| hash.oid() == oid);
    let length = match hash {
        Some(CertIdHash::Sha1) => 20..=20,
        Some(CertIdHash::Sha256) => 32..=32,
        None => 1..=DIGEST_BYTES_MAX,
    };
    let fits = length.contains(&name_hash.len())
        && length.contains(&key_hash.len())
        && serial.len() <= SERIAL_BYTES_MAX;
    if !fits {
        return Err(OcspRequestError::Malformed);
    }
    Ok(CertId {
        der: cert_id.raw.to_vec(),
        hash,
        name_hash: name_hash.to_vec(),
        key_hash: key_hash.to_vec(),
        serial: if serial[0] < 0x80 { serial_16(serial) } else { None },
    })
}

/// Reads a list of extensions and gives the value of the one that is known.
fn extensions<'a>(list: &'a [u8], known: &[u8]) -> Result<Option<&'a [u8]>, OcspRequestError> {
    let mut list = Element::only(list)?.inside(SEQUENCE)?;
    if list.is_at_end() {
        return Err(OcspRequestError::Malformed);
    }
    let mut found = None;
    while !list.is_at_end() {
        let mut extension = list.enter(SEQUENCE)?;
        let oid = extension.read(OID)?.content;
        let is_critical = match extension.optional(BOOLEAN)?.map(|critical| critical.content) {
            None => false,
            Some([0xff]) => true,
            // DER leaves the default out.
            Some(_) => return Err(OcspRequestError::Malformed),
        };
        let value = extension.read(OCTET_STRING)?.content;
        extension.end()?;
        if oid != known {
            if is_critical {
                return Err(OcspRequestError::CriticalExtension);
            }
        } else if found.replace(value).is_some() {
            return Err(OcspRequestError::Malformed);
        }
    }
    Ok(found)
}

fn nonce_bytes(value: &[u8]) -> Result<Vec<u8>, OcspRequestError> {
    match Element::only(value) {
        Ok(Element { tag: OCTET_STRING, content, .. })
            if (1..=NONCE_BYTES_MAX).contains(&content.len()) =>
        {
            Ok(content.to_vec())
        }
        _ => Err(OcspRequestError::Nonce),
    }
}

#[cfg(test)]
mod tests;
