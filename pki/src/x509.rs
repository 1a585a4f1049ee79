//! Certificates as they are read here (RFC 5280 §4): whole, with times in Unix seconds.
//!
//! **Invariant:** bytes after the end are never passed over. **Not here:** signatures and chains
//! ([`crate::TrustStore`]), what a certificate must say.

use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension};

use crate::Life;

/// A certificate, if the bytes are one and nothing more.
pub(crate) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    let (rest, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    rest.is_empty().then_some(certificate)
}

/// From when to when it is valid, if that is after 1970.
pub(crate) fn life(certificate: &X509Certificate<'_>) -> Option<Life> {
    let validity = certificate.validity();
    Some(Life {
        not_before_s: u64::try_from(validity.not_before.timestamp()).ok()?,
        not_after_s: u64::try_from(validity.not_after.timestamp()).ok()?,
    })
}

/// The identifier of its own key (RFC 5280 §4.2.1.2).
pub(crate) fn subject_key_id<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

/// The identifier of the key that signed it (RFC 5280 §4.2.1.1).
pub(crate) fn authority_key_id<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    })
}
