//! Certificates in a PKCS#7 "certs-only" message (RFC 5652 §5, as RFC 8951 uses it).
//!
//! The leaf comes first: DER would sort the set, but clients take the first certificate for
//! theirs, and no reader in use minds the order.
//!
//! **Invariants:** limits before work; a message is one value in strict DER with nothing passed
//! over; no input panics. **Not here:** whether the certificates are worth anything.

use yasna::Tag;

use crate::{
    der::{DerError, Element, INTEGER, OID, Reader, SEQUENCE, SET, context},
    signed::write_oid,
};

/// Certificates in one message: a leaf with its chain.
const CERTIFICATES_MAX: usize = 8;
/// Bytes of a message: eight certificates have fewer, post-quantum ones included.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// The content of the identifiers signedData and data, 1.2.840.113549.1.7.2 and .1.
const SIGNED_DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
const DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];

/// Why bytes are not a certs-only message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not a certs-only PKCS#7 message")]
pub struct Pkcs7Error;

/// The message with these certificates in this order, DER but for the order.
pub fn certs_only(certificates: &[Vec<u8>]) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            write_oid(writer.next(), &SIGNED_DATA);
            writer.next().write_tagged(Tag::context(0), |writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_u8(1);
                    writer.next().write_set(|_| {});
                    writer.next().write_sequence(|writer| write_oid(writer.next(), &DATA));
                    writer.next().write_tagged_implicit(Tag::context(0), |writer| {
                        // `write_set` orders by tag only, and they all have the same.
                        writer.write_set(|writer| {
                            for certificate in certificates {
                                writer.next().write_der(certificate);
                            }
                        });
                    });
                    writer.next().write_set(|_| {});
                });
            });
        });
    })
}

/// The certificates of a message, in its order.
///
/// # Errors
/// [`Pkcs7Error`] for anything else.
pub fn parse_certs_only(der: &[u8]) -> Result<Vec<Vec<u8>>, Pkcs7Error> {
    if der.len() > MESSAGE_BYTES_MAX {
        return Err(Pkcs7Error);
    }
    let mut certificates = certificates(der).map_err(|_| Pkcs7Error)?;
    let mut found = Vec::new();
    while !certificates.is_at_end() {
        // The other choices (attribute certificates and older ones) have other tags.
        let certificate = certificates.read(SEQUENCE).map_err(|_| Pkcs7Error)?;
        found.push(certificate.raw.to_vec());
        if found.len() > CERTIFICATES_MAX {
            return Err(Pkcs7Error);
        }
    }
    Ok(found)
}

/// What the set of certificates holds.
fn certificates(der: &[u8]) -> Result<Reader<'_>, DerError> {
    let mut message = Element::only(der)?.inside(SEQUENCE)?;
    let kind = message.read(OID)?;
    let mut wrapper = message.enter(context(0))?;
    message.end()?;
    let mut signed = wrapper.enter(SEQUENCE)?;
    wrapper.end()?;
    let version = signed.read(INTEGER)?;
    // Nobody signs, so there is neither a digest algorithm nor content.
    signed.enter(SET)?.end()?;
    let mut content = signed.enter(SEQUENCE)?;
    let content_kind = content.read(OID)?;
    content.end()?;
    let certificates = signed.enter(context(0))?;
    // Revocation lists.
    signed.optional(context(1))?;
    signed.enter(SET)?.end()?;
    signed.end()?;
    let is_certs_only =
        kind.content == SIGNED_DATA && content_kind.content == DATA && version.content == [1];
    if is_certs_only { Ok(certificates) } else { Err(DerError) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    /// Something with a certificate's tag.
    fn some(byte: u8) -> Vec<u8> {
        yasna::construct_der(|writer| {
            writer.write_sequence(|writer| writer.next().write_bytes(&[byte; 5]));
        })
    }

    #[test]
    fn certificates_come_back_in_their_order() {
        let certificates = vec![some(9), some(3), some(5)];
        let message = certs_only(&certificates);
        assert_eq!(parse_certs_only(&message), Ok(certificates));
        for cut in 0..message.len() {
            assert!(parse_certs_only(&message[..cut]).is_err(), "cut at {cut}");
        }
        let long = [&message[..], &[0]].concat();
        assert_eq!(parse_certs_only(&long), Err(Pkcs7Error));
    }

    #[test]
    fn limits_are_kept() {
        assert!(parse_certs_only(&certs_only(&vec![some(1); 8])).is_ok());
        assert!(parse_certs_only(&certs_only(&vec![some(1); 9])).is_err());
        let large = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| writer.next().write_bytes(&vec![0; MESSAGE_BYTES_MAX]));
        });
        assert!(parse_certs_only(&certs_only(&[large])).is_err());
    }

    #[test]
    fn other_messages_are_refused() {
        let good = certs_only(&[some(1)]);
        let changed = |from: &[u8], to: &[u8]| {
            let at = good.windows(from.len()).position(|bytes| bytes == from).unwrap();
            [&good[..at], to, &good[at + from.len()..]].concat()
        };
        let other = [&SIGNED_DATA[..8], &[3]].concat();
        for bad in [
            changed(&SIGNED_DATA, &other),
            changed(&DATA, &other),
            // Version 3; an octet string for a certificate; a length that BER would allow.
            changed(&[2, 1, 1], &[2, 1, 3]),
            changed(&some(1), &[&[4, 7][..], &[0; 7]].concat()),
            [0x30, 0x80, 0, 0].to_vec(),
            [&[0x30, 0x88][..], &[0xff; 8]].concat(),
        ] {
            assert_eq!(parse_certs_only(&bad), Err(Pkcs7Error), "{bad:02x?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_again(at in 0_usize..80, byte: u8) {
            let mut message = certs_only(&[some(9), some(3)]);
            let at = at % message.len();
            message[at] = byte;
            if let Ok(found) = parse_certs_only(&message) {
                prop_assert_eq!(certs_only(&found), message);
            }
        }
    }
}
