//! What the targets begin with: certificate requests that are accepted, and changes.
//!
//! An input is a choice of an original and a list of changes to it, so that each run starts behind
//! the outline. What is changed of a certificate request is the part that is signed, and it is
//! signed again: so a run gets beyond the signature too.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use fieldmesh_pki::{Identity, Kind};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType, SigningKey,
};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer as _};

/// AlgorithmIdentifiers.
const ECDSA_WITH_SHA256: [u8; 12] = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ED25519: [u8; 7] = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70];

/// The parts of a request.
#[derive(Clone)]
pub struct Parts {
    pub info: Vec<u8>,
    pub algorithm: Vec<u8>,
}

/// Requests, with the keys that sign them.
pub struct Made {
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    pub requests: Vec<Parts>,
}

pub fn identity(id: u8) -> Identity {
    Identity {
        cluster: "fieldmesh.internal".into(),
        region: "eu1".into(),
        kind: Kind::Customer,
        id: [id; 16],
    }
}

fn params(names: bool, extensions: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if names {
        params.distinguished_name.push(DnType::CommonName, "customer eu1");
        params.subject_alt_names = vec![
            SanType::URI(identity(1).to_string().try_into().expect("ASCII")),
            SanType::DnsName(identity(1).dns_name().try_into().expect("ASCII")),
        ];
    }
    if extensions {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    }
    params
}

fn challenge() -> rcgen::Attribute {
    rcgen::Attribute {
        oid: &[1, 2, 840, 113_549, 1, 9, 7],
        values: [&[0x31, 8, 0x0c, 6][..], b"secret"].concat(),
    }
}

fn parts(params: &CertificateParams, key: &impl SigningKey, algorithm: &[u8]) -> Parts {
    let request =
        params.serialize_request_with_attributes(key, vec![challenge()]).expect("rcgen writes it");
    let parsed = X509CertificationRequest::from_der(request.der());
    let info = parsed.expect("a request").1.certification_request_info.raw.to_vec();
    Parts { info, algorithm: algorithm.to_vec() }
}

pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let head = match content.len() {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [head, content.to_vec()].concat()
}

impl Made {
    pub fn new() -> Self {
        let generated = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let p256 =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &generated.serialize_der())
                .expect("the same key");
        let mut requests: Vec<Parts> = [(false, false), (true, false), (false, true), (true, true)]
            .into_iter()
            .map(|(names, extensions)| {
                parts(&params(names, extensions), &generated, &ECDSA_WITH_SHA256)
            })
            .collect();
        let generated = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let ed25519 = Ed25519KeyPair::from_pkcs8(&generated.serialize_der()).expect("the same key");
        requests.push(parts(&params(true, true), &generated, &ED25519));
        Self { p256, ed25519, requests }
    }

    /// The request of these parts, signed by whichever key the algorithm is for.
    pub fn signed(&self, info: &[u8], algorithm: &[u8]) -> Vec<u8> {
        let signature = if algorithm == ED25519 {
            self.ed25519.sign(info).as_ref().to_vec()
        } else {
            let random = SystemRandom::new();
            self.p256.sign(&random, info).expect("it signs").as_ref().to_vec()
        };
        let bits = tlv(3, &[&[0], &signature[..]].concat());
        tlv(0x30, &[info, algorithm, &bits].concat())
    }

    pub fn knows(&self, public_key: &[u8]) -> bool {
        self.p256.public_key().as_ref() == public_key
            || self.ed25519.public_key().as_ref() == public_key
    }
}

impl Default for Made {
    fn default() -> Self {
        Self::new()
    }
}

/// Applies changes of four bytes each: what, where (two bytes), with what.
pub fn changed(original: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for change in changes.chunks_exact(4).take(16) {
        let at = (usize::from(change[1]) << 8 | usize::from(change[2])) % (bytes.len() + 1);
        let (what, value) = (change[0], change[3]);
        let until = (at + usize::from(value)).min(bytes.len());
        match what % 6 {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= value),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value),
            2 => bytes.insert(at, value),
            3 => drop(bytes.drain(at..until)),
            4 => bytes.truncate(at),
            _ => {
                let again: Vec<u8> = original.iter().copied().take(usize::from(value)).collect();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}
