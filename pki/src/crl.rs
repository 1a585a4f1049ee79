//! The list of revoked certificates of an issuing CA (RFC 5280 §5), for verifiers that are not ours.
//!
//! Issuer and authority key identifier are copied from the CA's certificate. rcgen's builder would
//! write the name anew and derive the identifier from the key, so that either may differ.
//!
//! **Invariants:** version 2; entries in the order of their serials, each serial once; every list
//! has its number and the time of the next. **Not here:** delta and indirect lists, and no issuing
//! distribution point: a list is whole; which number is next; when a list is made.

use yasna::{DERWriter, Tag};

use crate::{
    IssuingCa, Revoked,
    signed::{ECDSA_WITH_SHA256, sign, time, write_extension},
};

/// id-ce-cRLNumber, id-ce-cRLReasons and id-ce-authorityKeyIdentifier, 2.5.29.20, .21 and .35.
const CRL_NUMBER: &[u8] = &[85, 29, 20];
const REASON_CODE: &[u8] = &[85, 29, 21];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[85, 29, 35];

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    #[error("the next list would be due at {next}, not after this one at {this}")]
    Order { this: u64, next: u64 },
    #[error("{0} is not a time that a CRL can say: the year 9999 is the last")]
    Time(u64),
    #[error("signing failed: see that the CA's key is at hand")]
    Sign(#[source] rcgen::Error),
}

/// The signed list, DER. Of a serial that is given more than once the earliest entry counts.
///
/// `number` must be greater than that of every list before (RFC 5280 §5.2.3); the times are Unix
/// seconds.
///
/// # Errors
/// See [`CrlError`].
pub fn crl(
    ca: &IssuingCa,
    number: u64,
    this_update_s: u64,
    next_update_s: u64,
    revoked: &[Revoked],
) -> Result<Vec<u8>, CrlError> {
    if next_update_s <= this_update_s {
        return Err(CrlError::Order { this: this_update_s, next: next_update_s });
    }
    let mut entries = revoked.to_vec();
    entries.sort_unstable_by_key(|entry| (entry.serial, entry.at_s));
    entries.dedup_by_key(|entry| entry.serial);
    let (this_update, next_update) = (encoded(this_update_s)?, encoded(next_update_s)?);
    let list = yasna::try_construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(1);
            writer.next().write_der(ECDSA_WITH_SHA256);
            writer.next().write_der(ca.subject());
            writer.next().write_der(&this_update);
            writer.next().write_der(&next_update);
            // An empty list is absent, not empty (RFC 5280 §5.1.2.6).
            if !entries.is_empty() {
                writer.next().write_sequence(|writer| {
                    entries.iter().try_for_each(|entry| write_entry(writer.next(), entry))
                })?;
            }
            writer.next().write_tagged(Tag::context(0), |writer| {
                write_extensions(writer, ca.key_identifier(), number);
            });
            Ok(())
        })
    })?;
    sign(&list, ca.key(), &[]).map_err(CrlError::Sign)
}

fn encoded(unix_s: u64) -> Result<Vec<u8>, CrlError> {
    time(unix_s).ok_or(CrlError::Time(unix_s))
}

fn write_entry(writer: DERWriter<'_>, entry: &Revoked) -> Result<(), CrlError> {
    let at = encoded(entry.at_s)?;
    writer.write_sequence(|writer| {
        writer.next().write_bigint_bytes(&entry.serial, true);
        writer.next().write_der(&at);
        if let Some(code) = entry.reason.code() {
            let code = yasna::construct_der(|writer| writer.write_enum(code));
            writer
                .next()
                .write_sequence(|writer| write_extension(writer.next(), REASON_CODE, &code));
        }
    });
    Ok(())
}

fn write_extensions(writer: DERWriter<'_>, key_id: &[u8], number: u64) {
    let authority = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer
                .next()
                .write_tagged_implicit(Tag::context(0), |writer| writer.write_bytes(key_id));
        });
    });
    let number = yasna::construct_der(|writer| writer.write_u64(number));
    writer.write_sequence(|writer| {
        write_extension(writer.next(), AUTHORITY_KEY_IDENTIFIER, &authority);
        write_extension(writer.next(), CRL_NUMBER, &number);
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::sync::Arc;

    use rcgen::{
        BasicConstraints, CertificateParams, DistinguishedName, DnType, GeneralSubtree, IsCa,
        KeyIdMethod, KeyUsagePurpose, NameConstraints,
    };
    use x509_parser::{
        extensions::ParsedExtension, prelude::FromDer as _,
        revocation_list::CertificateRevocationList as List,
    };

    use super::*;
    use crate::{
        KeyMaterial, Reason, RootCa,
        der::{Element, INTEGER, SEQUENCE, context},
        x509,
    };

    const NOW: u64 = 1_800_000_000;

    fn ca() -> IssuingCa {
        let root = RootCa::create("mesh", NOW, [1; 16]).unwrap();
        root.issue_issuing("eu", 1, NOW, [2; 16]).unwrap().0
    }

    fn entry(first: u8, at_s: u64, reason: Reason) -> Revoked {
        let mut serial = [7; 16];
        serial[0] = first;
        Revoked { serial, at_s, reason }
    }

    /// A CA with a certificate that another program made: its key identifier is no digest of its
    /// key.
    fn foreign_ca() -> IssuingCa {
        let key = KeyMaterial::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Mesh EU");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("eu.mesh".into())],
            excluded_subtrees: Vec::new(),
        });
        params.key_identifier_method = KeyIdMethod::PreSpecified(vec![0xab; 20]);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        IssuingCa::from_parts(Arc::new(key), der).unwrap()
    }

    fn authority(list: &List<'_>) -> Vec<u8> {
        let found =
            list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.clone(),
                _ => None,
            });
        found.unwrap().0.to_vec()
    }

    #[test]
    fn it_says_who_when_what_and_why() {
        let ca = ca();
        let revoked = [
            entry(0x90, NOW - 5, Reason::KeyCompromise),
            entry(0, NOW - 9, Reason::Unspecified),
            entry(0x41, NOW - 7, Reason::Superseded),
        ];
        let der = crl(&ca, 300, NOW, NOW + 3600, &revoked).unwrap();
        let (rest, list) = List::from_der(&der).unwrap();
        assert!(rest.is_empty());
        let certificate = x509::parse(ca.certificate()).unwrap();
        list.verify_signature(certificate.public_key()).unwrap();
        assert_eq!(list.version().unwrap().0, 1);
        assert_eq!(list.issuer().as_raw(), certificate.subject().as_raw());
        assert_eq!(authority(&list), x509::subject_key_id(&certificate).unwrap());
        assert_eq!(list.crl_number().unwrap(), &300_u32.into());
        assert_eq!(list.extensions().len(), 2);
        assert!(list.extensions().iter().all(|extension| !extension.critical));
        assert_eq!(list.last_update().timestamp(), i64::try_from(NOW).unwrap());
        assert_eq!(list.next_update().unwrap().timestamp(), i64::try_from(NOW + 3600).unwrap());
        let entries: Vec<_> = list
            .iter_revoked_certificates()
            .map(|entry| {
                let reason = entry.reason_code().map(|(_, reason)| reason.0);
                (entry.raw_serial().to_vec(), entry.revocation_date.timestamp(), reason)
            })
            .collect();
        let at = |before| i64::try_from(NOW - before).unwrap();
        let with = |first: &[u8]| [first, &[7; 15]].concat();
        assert_eq!(
            entries,
            [
                (vec![7; 15], at(9), None),
                (with(&[0x41]), at(7), Some(4)),
                (with(&[0, 0x90]), at(5), Some(1)),
            ]
        );
    }

    #[test]
    fn without_entries_there_is_no_list_of_them() {
        let der = crl(&ca(), u64::MAX, NOW, NOW + 1, &[]).unwrap();
        let (_, list) = List::from_der(&der).unwrap();
        assert_eq!(list.iter_revoked_certificates().count(), 0);
        assert_eq!(list.crl_number().unwrap(), &u64::MAX.into());
        let mut list = Element::only(&der).unwrap().inside(SEQUENCE).unwrap();
        let mut fields = list.enter(SEQUENCE).unwrap();
        let mut tags = Vec::new();
        while let Ok(field) = fields.next() {
            tags.push(field.tag);
        }
        assert_eq!(tags, [INTEGER, SEQUENCE, SEQUENCE, 0x17, 0x17, context(0)]);
    }

    #[test]
    fn a_serial_is_listed_once_with_its_earliest_time() {
        let twice =
            [entry(1, NOW - 1, Reason::Superseded), entry(1, NOW - 2, Reason::KeyCompromise)];
        let der = crl(&ca(), 1, NOW, NOW + 1, &twice).unwrap();
        let (_, list) = List::from_der(&der).unwrap();
        let entries: Vec<_> = list.iter_revoked_certificates().collect();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].reason_code().unwrap().1.0, 1);
    }

    #[test]
    fn name_and_key_identifier_are_the_certificate_s() {
        let ca = foreign_ca();
        let der = crl(&ca, 1, NOW, NOW + 1, &[]).unwrap();
        let (_, list) = List::from_der(&der).unwrap();
        let certificate = x509::parse(ca.certificate()).unwrap();
        assert_eq!(list.issuer().as_raw(), certificate.subject().as_raw());
        assert_eq!(authority(&list), [0xab; 20]);
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let ca = ca();
        let never = entry(1, u64::MAX, Reason::Unspecified);
        assert!(matches!(crl(&ca, 1, NOW, NOW, &[]), Err(CrlError::Order { .. })));
        assert!(matches!(crl(&ca, 1, NOW, u64::MAX, &[]), Err(CrlError::Time(_))));
        assert!(matches!(crl(&ca, 1, NOW, NOW + 1, &[never]), Err(CrlError::Time(_))));
    }
}
