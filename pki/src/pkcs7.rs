//! Certificates in a PKCS#7 "certs-only" message (RFC 5652 §5, as RFC 8951 uses it).

use yasna::{Tag, models::ObjectIdentifier};

/// Certificates in one message: a leaf with its chain.
const CERTIFICATES_MAX: usize = 8;

/// Why bytes are not a certs-only message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not a certs-only PKCS#7 message")]
pub struct Pkcs7Error;

fn signed_data() -> ObjectIdentifier {
    ObjectIdentifier::from_slice(&[1, 2, 840, 113_549, 1, 7, 2])
}

fn data() -> ObjectIdentifier {
    ObjectIdentifier::from_slice(&[1, 2, 840, 113_549, 1, 7, 1])
}

/// The message with these certificates, DER.
pub fn certs_only(certificates: &[Vec<u8>]) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_oid(&signed_data());
            writer.next().write_tagged(Tag::context(0), |writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_u8(1);
                    writer.next().write_set(|_| {});
                    writer.next().write_sequence(|writer| writer.next().write_oid(&data()));
                    writer.next().write_tagged_implicit(Tag::context(0), |writer| {
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

/// The certificates of a message.
///
/// # Errors
/// [`Pkcs7Error`] for anything else.
pub fn parse_certs_only(der: &[u8]) -> Result<Vec<Vec<u8>>, Pkcs7Error> {
    let parsed = yasna::parse_ber(der, |reader| {
        reader.read_sequence(|reader| {
            let kind = reader.next().read_oid()?;
            let certificates = reader.next().read_tagged(Tag::context(0), |reader| {
                reader.read_sequence(|reader| {
                    reader.next().read_u8()?;
                    reader.next().read_set_of(|reader| reader.read_der().map(|_| ()))?;
                    reader.next().read_sequence(|reader| reader.next().read_oid())?;
                    let mut found = Vec::new();
                    reader.next().read_tagged_implicit(Tag::context(0), |reader| {
                        reader.read_set_of(|reader| {
                            found.push(reader.read_der()?);
                            Ok(())
                        })
                    })?;
                    reader.next().read_set_of(|reader| reader.read_der().map(|_| ()))?;
                    Ok(found)
                })
            })?;
            Ok((kind, certificates))
        })
    });
    let (kind, certificates) = parsed.map_err(|_| Pkcs7Error)?;
    if kind == signed_data() && certificates.len() <= CERTIFICATES_MAX {
        Ok(certificates)
    } else {
        Err(Pkcs7Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_come_back() {
        let some = |byte| yasna::construct_der(|writer| writer.write_bytes(&[byte; 5]));
        let certificates = vec![some(9), some(3)];
        let message = certs_only(&certificates);
        let mut found = parse_certs_only(&message).unwrap_or_default();
        found.sort();
        assert_eq!(found, [some(3), some(9)]);
        for cut in 0..message.len() {
            assert!(parse_certs_only(&message[..cut]).is_err(), "cut at {cut}");
        }
    }
}
