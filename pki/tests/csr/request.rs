//! Requests put together byte by byte, so that any part of one can be wrong.

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "tests fail by panicking")]

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use fieldmesh_pki::{CheckedCsr, CsrError, check_csr};
use yasna::models::ObjectIdentifier;

pub(crate) const URI: u8 = 0x86;
pub(crate) const DNS: u8 = 0x82;
pub(crate) const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
pub(crate) const COUNTRY: &[u64] = &[2, 5, 4, 6];
pub(crate) const ORGANIZATION: &[u64] = &[2, 5, 4, 10];
pub(crate) const EXTENSION_REQUEST: &[u64] = &[1, 2, 840, 113_549, 1, 9, 14];
pub(crate) const CHALLENGE_PASSWORD: &[u64] = &[1, 2, 840, 113_549, 1, 9, 7];
pub(crate) const ECDSA_SHA256: &[u64] = &[1, 2, 840, 10_045, 4, 3, 2];
pub(crate) const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];
pub(crate) const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
pub(crate) const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
pub(crate) const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];

pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let [.., high, low] = length.to_be_bytes();
    let head = match length {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [head, content.to_vec()].concat()
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(crate) fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x31, &parts.concat())
}

pub(crate) fn oid(arcs: &[u64]) -> Vec<u8> {
    yasna::construct_der(|writer| writer.write_oid(&ObjectIdentifier::from_slice(arcs)))
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    tlv(0x0c, text.as_bytes())
}

pub(crate) fn attribute(kind: &[u64], values: &[Vec<u8>]) -> Vec<u8> {
    sequence(&[oid(kind), set(values)])
}

pub(crate) fn extension(kind: &[u64], value: Vec<u8>) -> Vec<u8> {
    sequence(&[oid(kind), tlv(4, &value)])
}

pub(crate) fn asking(extensions: &[Vec<u8>]) -> Vec<u8> {
    attribute(EXTENSION_REQUEST, &[sequence(extensions)])
}

pub(crate) fn names(names: &[(u8, &str)]) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(|(tag, name)| tlv(*tag, name.as_bytes())).collect();
    asking(&[extension(SUBJECT_ALT_NAME, sequence(&names))])
}

pub(crate) fn rdn(kind: &[u64], value: &str) -> Vec<u8> {
    set(&[sequence(&[oid(kind), text(value)])])
}

/// A request with a good P-256 key; each part can be another.
pub(crate) struct Request {
    pub(crate) key: EcdsaKeyPair,
    pub(crate) version: u8,
    pub(crate) subject: Vec<u8>,
    pub(crate) spki: Vec<u8>,
    pub(crate) attributes: Vec<Vec<u8>>,
    pub(crate) signature_algorithm: Vec<u8>,
}

impl Request {
    pub(crate) fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let spki = p256(key.public_key().as_ref());
        Self {
            key,
            version: 0,
            subject: sequence(&[]),
            spki,
            attributes: Vec::new(),
            signature_algorithm: sequence(&[oid(ECDSA_SHA256)]),
        }
    }

    pub(crate) fn with(attribute: Vec<u8>) -> Self {
        Self { attributes: vec![attribute], ..Self::new() }
    }

    pub(crate) fn named(subject: &[Vec<u8>]) -> Self {
        Self { subject: sequence(subject), ..Self::new() }
    }

    pub(crate) fn info(&self) -> Vec<u8> {
        sequence(&[
            tlv(2, &[self.version]),
            self.subject.clone(),
            self.spki.clone(),
            tlv(0xa0, &self.attributes.concat()),
        ])
    }

    pub(crate) fn signed(&self, info: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(&SystemRandom::new(), info).unwrap();
        let bits = tlv(3, &[&[0], signature.as_ref()].concat());
        sequence(&[info.to_vec(), self.signature_algorithm.clone(), bits])
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.signed(&self.info())
    }

    pub(crate) fn check(&self) -> Result<CheckedCsr, CsrError> {
        check_csr(&self.der())
    }
}

pub(crate) fn p256(point: &[u8]) -> Vec<u8> {
    let algorithm =
        sequence(&[oid(&[1, 2, 840, 10_045, 2, 1]), oid(&[1, 2, 840, 10_045, 3, 1, 7])]);
    sequence(&[algorithm, tlv(3, &[&[0], point].concat())])
}

pub(crate) fn key(algorithm: &[u64], parameters: Vec<u8>, bits: &[u8]) -> Vec<u8> {
    sequence(&[sequence(&[oid(algorithm), parameters]), tlv(3, &[&[0], bits].concat())])
}
