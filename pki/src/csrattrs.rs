//! What a request should hold, told to EST clients (CsrAttrs: RFC 7030 §4.5.2 as changed by
//! RFC 8951 and RFC 9908).
//!
//! The answer says it twice: as a template (RFC 9908 §3.4), which newer clients use alone, and as
//! the plain identifiers that older ones read. It is advice: [`crate::check_csr`] decides.
//!
//! **Invariants:** what is advised is accepted; no subject is asked for, because the profile
//! writes it; names are asked for only where they are known, since a client that guesses one is
//! refused. **Not here:** the challenge password, which nothing requires.

use yasna::{DERWriter, DERWriterSeq, Tag, models::ObjectIdentifier};

use crate::{Identity, KeyKind};

const EXTENSION_REQUEST: &[u64] = &[1, 2, 840, 113_549, 1, 9, 14];
const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];
/// id-aa-certificationRequestInfoTemplate.
const TEMPLATE: &[u64] = &[1, 2, 840, 113_549, 1, 9, 16, 2, 61];

/// The CsrAttrs for a holder, DER. The first of `kinds` is the key that is asked for; without any
/// the client is free. The identity's names are asked for where it is known.
pub fn csrattrs(identity: Option<&Identity>, kinds: &[KeyKind]) -> Vec<u8> {
    let preferred = kinds.first().copied();
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            write_attribute(writer.next(), TEMPLATE, |writer| {
                write_template(writer, identity, preferred);
            });
            if let Some(kind) = preferred {
                write_plain(writer, kind);
            }
        });
    })
}

fn oid(arcs: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(arcs)
}

/// An Attribute with one value.
fn write_attribute(writer: DERWriter<'_>, kind: &[u64], value: impl FnOnce(DERWriter<'_>)) {
    writer.write_sequence(|writer| {
        writer.next().write_oid(&oid(kind));
        writer.next().write_set_of(|writer| value(writer.next()));
    });
}

/// CertificationRequestInfoTemplate (RFC 9908, its module has implicit tags): version, then
/// `[0]` key without a value, then `[1]` attributes.
fn write_template(writer: DERWriter<'_>, identity: Option<&Identity>, kind: Option<KeyKind>) {
    writer.write_sequence(|writer| {
        writer.next().write_u8(0);
        if let Some(kind) = kind {
            writer.next().write_tagged_implicit(Tag::context(0), |writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_sequence(|writer| write_algorithm(writer, kind));
                });
            });
        }
        writer.next().write_tagged_implicit(Tag::context(1), |writer| {
            writer.write_set_of(|writer| {
                if let Some(identity) = identity {
                    // With its whole value: a partial one would be an extensionReqTemplate.
                    write_attribute(writer.next(), EXTENSION_REQUEST, |writer| {
                        write_names(writer, identity);
                    });
                }
            });
        });
    });
}

/// Extensions with a subjectAltName.
fn write_names(writer: DERWriter<'_>, identity: &Identity) {
    let names = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            let names = [(6, identity.to_string()), (2, identity.dns_name())];
            for (tag, name) in names {
                writer.next().write_tagged_implicit(Tag::context(tag), |writer| {
                    writer.write_ia5_string(&name);
                });
            }
        });
    });
    writer.write_sequence(|writer| {
        writer.next().write_sequence(|writer| {
            writer.next().write_oid(&oid(SUBJECT_ALT_NAME));
            writer.next().write_bytes(&names);
        });
    });
}

fn key_algorithm(kind: KeyKind) -> &'static [u64] {
    match kind {
        KeyKind::P256 | KeyKind::P384 => &[1, 2, 840, 10_045, 2, 1],
        KeyKind::Ed25519 => &[1, 3, 101, 112],
        KeyKind::Rsa => &[1, 2, 840, 113_549, 1, 1, 1],
    }
}

fn curve(kind: KeyKind) -> Option<&'static [u64]> {
    match kind {
        KeyKind::P256 => Some(&[1, 2, 840, 10_045, 3, 1, 7]),
        KeyKind::P384 => Some(&[1, 3, 132, 0, 34]),
        KeyKind::Ed25519 | KeyKind::Rsa => None,
    }
}

/// The content of an AlgorithmIdentifier.
fn write_algorithm(writer: &mut DERWriterSeq<'_>, kind: KeyKind) {
    writer.next().write_oid(&oid(key_algorithm(kind)));
    match curve(kind) {
        Some(curve) => writer.next().write_oid(&oid(curve)),
        None if kind == KeyKind::Rsa => writer.next().write_null(),
        None => {}
    }
}

/// What RFC 7030 §4.5.2 has: the kind of key with its curve, and the signature algorithm.
fn write_plain(writer: &mut DERWriterSeq<'_>, kind: KeyKind) {
    writer.next().write_sequence(|writer| {
        writer.next().write_oid(&oid(key_algorithm(kind)));
        writer.next().write_set_of(|writer| {
            if let Some(curve) = curve(kind) {
                writer.next().write_oid(&oid(curve));
            }
        });
    });
    let signature: &[u64] = match kind {
        KeyKind::P256 => &[1, 2, 840, 10_045, 4, 3, 2],
        KeyKind::P384 => &[1, 2, 840, 10_045, 4, 3, 3],
        // It is the key's algorithm too, and has been said.
        KeyKind::Ed25519 => return,
        KeyKind::Rsa => &[1, 2, 840, 113_549, 1, 1, 11],
    };
    writer.next().write_oid(&oid(signature));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use x509_parser::{
        extensions::{GeneralName, ParsedExtension, X509Extension},
        prelude::FromDer as _,
    };

    use super::*;
    use crate::{
        Kind,
        der::{Element, INTEGER, OID, SEQUENCE, SET, context},
        hex,
    };

    const KINDS: [KeyKind; 4] = [KeyKind::P256, KeyKind::P384, KeyKind::Ed25519, KeyKind::Rsa];

    fn identity() -> Identity {
        Identity {
            cluster: "fieldmesh.internal".into(),
            region: "eu1".into(),
            kind: Kind::Customer,
            id: [0x11; 16],
        }
    }

    /// The template's parts: the content of `[0]`, and of `[1]`.
    fn template(der: &[u8]) -> (Option<Vec<u8>>, Vec<u8>) {
        let mut attribute = Element::only(der).unwrap().inside(SEQUENCE).unwrap();
        let mut attribute = attribute.enter(SEQUENCE).unwrap();
        let kind = attribute.read(OID).unwrap().raw;
        assert_eq!(kind, yasna::construct_der(|writer| writer.write_oid(&oid(TEMPLATE))));
        let mut values = attribute.enter(SET).unwrap();
        attribute.end().unwrap();
        let mut template = values.enter(SEQUENCE).unwrap();
        values.end().unwrap();
        assert_eq!(template.read(INTEGER).unwrap().content, [0]);
        let key = template.optional(context(0)).unwrap().map(|key| key.content.to_vec());
        let attributes = template.read(context(1)).unwrap().content.to_vec();
        template.end().unwrap();
        (key, attributes)
    }

    #[test]
    fn the_identity_s_names_are_asked_for_in_full() {
        let der = csrattrs(Some(&identity()), &KINDS);
        let (_, attributes) = template(&der);
        let mut attribute = Element::only(&attributes).unwrap().inside(SEQUENCE).unwrap();
        attribute.read(OID).unwrap();
        let mut values = attribute.enter(SET).unwrap();
        let mut extensions = values.enter(SEQUENCE).unwrap();
        let extension = extensions.read(SEQUENCE).unwrap();
        extensions.end().unwrap();
        let (_, extension) = X509Extension::from_der(extension.raw).unwrap();
        let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
            panic!("no names");
        };
        let (uri, dns) = (identity().to_string(), identity().dns_name());
        assert_eq!(names.general_names, [GeneralName::URI(&uri), GeneralName::DNSName(&dns)]);
    }

    #[test]
    fn without_an_identity_no_names_are_asked_for() {
        let (key, attributes) = template(&csrattrs(None, &KINDS));
        assert!(key.is_some() && attributes.is_empty());
        let (key, attributes) = template(&csrattrs(None, &[]));
        assert!(key.is_none() && attributes.is_empty());
    }

    /// The encoding of RFC 9908's example for its key: `[0] { SEQUENCE { ecPublicKey, secp256r1 } }`.
    #[test]
    fn the_key_is_the_first_kind_without_a_value() {
        let (key, _) = template(&csrattrs(None, &KINDS));
        let expected = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_oid(&oid(&[1, 2, 840, 10_045, 2, 1]));
                writer.next().write_oid(&oid(&[1, 2, 840, 10_045, 3, 1, 7]));
            });
        });
        assert_eq!(key.unwrap(), expected);
    }

    /// RFC 9908 §4.2, without the elements that are its example's own.
    #[test]
    fn the_plain_form_is_that_of_the_standard() {
        for (kind, plain) in [
            (KeyKind::P256, "301506072a8648ce3d0201310a06082a8648ce3d03010706082a8648ce3d040302"),
            (KeyKind::P384, "301206072a8648ce3d0201310706052b8104002206082a8648ce3d040303"),
            (KeyKind::Ed25519, "300706032b65703100"),
            (KeyKind::Rsa, "300d06092a864886f70d010101310006092a864886f70d01010b"),
        ] {
            let der = csrattrs(None, &[kind]);
            let text = hex(&der);
            assert!(text.ends_with(plain), "{kind:?}: {text}");
        }
    }

    #[test]
    fn every_answer_is_one_value_in_der() {
        for kind in KINDS {
            for who in [None, Some(&identity())] {
                let der = csrattrs(who, &[kind]);
                let mut reader = Element::only(&der).unwrap().inside(SEQUENCE).unwrap();
                while !reader.is_at_end() {
                    assert!(matches!(reader.next().unwrap().tag, SEQUENCE | OID));
                }
            }
        }
    }
}
