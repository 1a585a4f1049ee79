//! The outline of a request (RFC 2986 §4): each structure holds what it must and no more.
//!
//! x509-parser reads what it knows and passes over what follows it, so a second reader could see
//! another request in the same bytes. After this there is nothing left to pass over.

use super::CsrError;
use crate::der::{
    BIT_STRING, BOOLEAN, DerError, Element, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE, SET,
    context,
};

/// extensionRequest and challengePassword, 1.2.840.113549.1.9.14 and .7.
const EXTENSION_REQUEST: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
const CHALLENGE_PASSWORD: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 7];

/// Checks that the bytes are one request in DER.
///
/// # Errors
/// Bytes that follow, that are not DER, or are another structure.
pub(super) fn check(der: &[u8]) -> Result<(), CsrError> {
    let mut reader = Reader::new(der);
    reader.next().map_err(|_| CsrError::NotDer)?;
    reader.end().map_err(|_| CsrError::Trailing)?;
    let request = Element::only(der).map_err(|_| CsrError::NotDer)?;
    let version = outline(request).map_err(|_| CsrError::Malformed)?;
    if version == [0] { Ok(()) } else { Err(CsrError::Version) }
}

/// Gives the version.
fn outline(request: Element<'_>) -> Result<&[u8], DerError> {
    let mut outer = request.inside(SEQUENCE)?;
    let mut info = outer.enter(SEQUENCE)?;
    algorithm(outer.enter(SEQUENCE)?)?;
    outer.read(BIT_STRING)?;
    outer.end()?;

    let version = info.read(INTEGER)?.content;
    name(info.enter(SEQUENCE)?)?;
    let mut key = info.enter(SEQUENCE)?;
    algorithm(key.enter(SEQUENCE)?)?;
    key.read(BIT_STRING)?;
    key.end()?;
    let mut attributes = info.enter(context(0))?;
    info.end()?;
    while !attributes.is_at_end() {
        attribute(attributes.enter(SEQUENCE)?)?;
    }
    Ok(version)
}

fn algorithm(mut identifier: Reader<'_>) -> Result<(), DerError> {
    identifier.read(OID)?;
    if !identifier.is_at_end() {
        identifier.next()?;
    }
    identifier.end()
}

fn name(mut sets: Reader<'_>) -> Result<(), DerError> {
    while !sets.is_at_end() {
        let mut set = sets.enter(SET)?;
        loop {
            let mut pair = set.enter(SEQUENCE)?;
            pair.read(OID)?;
            pair.next()?;
            pair.end()?;
            if set.is_at_end() {
                break;
            }
        }
    }
    Ok(())
}

fn attribute(mut attribute: Reader<'_>) -> Result<(), DerError> {
    let kind = attribute.read(OID)?.content;
    let mut values = attribute.enter(SET)?;
    attribute.end()?;
    let value = values.next()?;
    // Those that are read here have a single value (RFC 2985 §5.4).
    if kind == EXTENSION_REQUEST || kind == CHALLENGE_PASSWORD {
        values.end()?;
    }
    if kind == EXTENSION_REQUEST {
        let mut extensions = value.inside(SEQUENCE)?;
        loop {
            let mut extension = extensions.enter(SEQUENCE)?;
            extension.read(OID)?;
            extension.optional(BOOLEAN)?;
            extension.read(OCTET_STRING)?;
            extension.end()?;
            if extensions.is_at_end() {
                break;
            }
        }
    }
    Ok(())
}
