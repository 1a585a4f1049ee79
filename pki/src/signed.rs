//! What certificates, CRLs and OCSP answers are written with: times, extensions, and the frame of
//! content, algorithm and signature that all three have (RFC 5280 §4.1.1, §5.1.1; RFC 6960 §4.2.1).
//!
//! **Invariant:** what [`sign`] makes names the algorithm that its key signs with. **Not here:**
//! reading ([`crate::der`]).

use rcgen::{PublicKeyData, SigningKey};
use time::OffsetDateTime;
use yasna::{DERWriter, Tag, models::GeneralizedTime, models::UTCTime, tags::TAG_OID};

/// The AlgorithmIdentifier ecdsa-with-SHA256 (RFC 5758 §3.2), DER.
pub(crate) const ECDSA_WITH_SHA256: &[u8] =
    &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// The first year that UTCTime cannot say (RFC 5280 §4.1.2.5).
const UTC_TIME_END: i32 = 2050;

/// The moment, where its year has four digits.
pub(crate) fn moment(unix_s: u64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(unix_s).ok()?).ok()
}

/// GeneralizedTime, as OCSP has it everywhere.
pub(crate) fn generalized(unix_s: u64) -> Option<GeneralizedTime> {
    GeneralizedTime::from_datetime_opt(moment(unix_s)?)
}

/// The choice `Time` of certificates and CRLs (RFC 5280 §4.1.2.5), DER.
pub(crate) fn time(unix_s: u64) -> Option<Vec<u8>> {
    let moment = moment(unix_s)?;
    if moment.year() < UTC_TIME_END {
        let time = UTCTime::from_datetime_opt(moment)?;
        Some(yasna::construct_der(|writer| writer.write_utctime(&time)))
    } else {
        let time = GeneralizedTime::from_datetime_opt(moment)?;
        Some(yasna::construct_der(|writer| writer.write_generalized_time(&time)))
    }
}

/// An OBJECT IDENTIFIER by its content, as the reader gives it.
pub(crate) fn write_oid(writer: DERWriter<'_>, content: &[u8]) {
    writer.write_tagged_implicit(TAG_OID, |writer| writer.write_bytes(content));
}

/// An extension that is not critical; `oid` is the content of its identifier.
pub(crate) fn write_extension(writer: DERWriter<'_>, oid: &[u8], value: &[u8]) {
    writer.write_sequence(|writer| {
        write_oid(writer.next(), oid);
        writer.next().write_bytes(value);
    });
}

/// Signs `content`, DER, with a key of P-256.
///
/// # Errors
/// Where the key does not sign, or is of another kind.
pub(crate) fn sign(
    content: &[u8],
    key: &(impl SigningKey + ?Sized),
    certificates: &[&[u8]],
) -> Result<Vec<u8>, rcgen::Error> {
    if *PublicKeyData::algorithm(key) != rcgen::PKCS_ECDSA_P256_SHA256 {
        return Err(rcgen::Error::UnsupportedSignatureAlgorithm);
    }
    Ok(frame(content, ECDSA_WITH_SHA256, &key.sign(content)?, certificates))
}

/// Content, AlgorithmIdentifier and signature in one; certificates stand under `[0]`, if any.
pub(crate) fn frame(
    content: &[u8],
    algorithm: &[u8],
    signature: &[u8],
    certificates: &[&[u8]],
) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_der(content);
            writer.next().write_der(algorithm);
            writer.next().write_bitvec_bytes(signature, signature.len() * 8);
            if !certificates.is_empty() {
                writer.next().write_tagged(Tag::context(0), |writer| {
                    writer.write_sequence(|writer| {
                        for certificate in certificates {
                            writer.next().write_der(certificate);
                        }
                    });
                });
            }
        });
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::KeyMaterial;

    #[test]
    fn times_change_their_form_in_2050() {
        assert_eq!(time(0).unwrap(), b"\x17\x0d700101000000Z");
        assert_eq!(time(2_524_607_999).unwrap(), b"\x17\x0d491231235959Z");
        assert_eq!(time(2_524_608_000).unwrap(), b"\x18\x0f20500101000000Z");
        assert_eq!(time(253_402_300_799).unwrap(), b"\x18\x0f99991231235959Z");
        assert_eq!(time(253_402_300_800), None);
        assert_eq!(time(u64::MAX), None);
    }

    #[test]
    fn a_key_that_the_algorithm_is_not_for_signs_nothing() {
        assert!(sign(&[5, 0], &KeyMaterial::generate().unwrap(), &[]).is_ok());
        assert!(sign(&[5, 0], &KeyMaterial::generate_p384().unwrap(), &[]).is_err());
    }
}
