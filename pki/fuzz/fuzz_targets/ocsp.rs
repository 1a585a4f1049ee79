//! Changed and arbitrary bytes into the readers of OCSP requests: none panics, body and path read
//! alike, and what is accepted gets an answer or the refusal to speak for that CA.
//!
//! The first byte chooses what the request has; the empty list of changes leaves it valid.

#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use fieldmesh_pki::{
    Identity, KeyMaterial, Kind, RootCa, estwire,
    ocsp::{AnswerTimes, IssuerRef, OcspError, OcspRequest, Responder, Status},
    profile,
};
use fieldmesh_pki_fuzz::{changed, identity, tlv};
use libfuzzer_sys::fuzz_target;
use x509_parser::parse_x509_certificate;

const NOW: u64 = 1_800_000_000;
const TIMES: AnswerTimes =
    AnswerTimes { this_update_s: NOW, next_update_s: NOW + 3600, produced_at_s: NOW };
/// OBJECT IDENTIFIERs: SHA-1, SHA-256, the nonce, and an extension that is not known.
const SHA1_OID: &[u8] = &[6, 5, 43, 14, 3, 2, 26];
const SHA256_OID: &[u8] = &[6, 9, 96, 134, 72, 1, 101, 3, 4, 2, 1];
const NONCE: &[u8] = &[6, 9, 43, 6, 1, 5, 5, 7, 48, 1, 2];
const OTHER: &[u8] = &[6, 9, 43, 6, 1, 5, 5, 7, 48, 1, 4];

struct Ours {
    certificate: Vec<u8>,
    issuers: [IssuerRef; 1],
    responder: Responder,
}

static OURS: LazyLock<Ours> = LazyLock::new(|| {
    let signer = Identity { kind: Kind::OcspSigner, ..identity(1) };
    let root = RootCa::create(&signer.cluster, NOW, [1; 16]).expect("a root");
    let (ca, _) = root.issue_issuing(&signer.region, 1, NOW, [2; 16]).expect("a CA");
    let key = KeyMaterial::generate().expect("a key");
    let life = profile(Kind::OcspSigner).life(NOW, 0);
    let leaf = ca.issue(&key.spki(), &signer, &[], life, [3; 16]).expect("a signer");
    Ours {
        certificate: ca.certificate().to_vec(),
        issuers: [IssuerRef::new(ca.certificate()).expect("a CA's certificate")],
        responder: Responder::new(key, leaf.der).expect("the profile's certificate"),
    }
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, changes)) = data.split_first() else { return };
    let is_answered = ask(&changed(&request(*choice), changes));
    if changes.len() < 4 {
        assert!(is_answered, "a valid request");
    }
    ask(changes);
    let _ = OcspRequest::from_path(&String::from_utf8_lossy(changes));
});

fn cert_id(is_sha256: bool, serial: &[u8]) -> Vec<u8> {
    let (_, ca) = parse_x509_certificate(&OURS.certificate).expect("a certificate");
    let (algorithm, oid) =
        if is_sha256 { (&SHA256, SHA256_OID) } else { (&SHA1_FOR_LEGACY_USE_ONLY, SHA1_OID) };
    let hash = |bytes: &[u8]| tlv(4, digest(algorithm, bytes).as_ref());
    let (name, key) = (ca.subject().as_raw(), &ca.public_key().subject_public_key.data);
    let algorithm = tlv(0x30, &[oid, &[5, 0]].concat());
    tlv(0x30, &[algorithm, hash(name), hash(key), tlv(2, serial)].concat())
}

fn extensions(list: &[(&[u8], &[u8])]) -> Vec<u8> {
    let each = |(oid, value): &(&[u8], &[u8])| tlv(0x30, &[oid, &tlv(4, value)[..]].concat());
    tlv(0x30, &list.iter().flat_map(each).collect::<Vec<u8>>())
}

/// By the bits of `choice`: the digest, a second certificate, a nonce, an extension of the first
/// certificate, who asks, a signature.
fn request(choice: u8) -> Vec<u8> {
    let has = |bit: u8| choice >> bit & 1 == 1;
    let part = |is_there: bool, part: Vec<u8>| if is_there { part } else { Vec::new() };
    let more = part(has(3), tlv(0xa0, &extensions(&[(OTHER, b"any")])));
    let first = tlv(0x30, &[cert_id(has(0), &[0x41; 16]), more].concat());
    let second = part(has(1), tlv(0x30, &cert_id(has(0), &[0x80])));
    let nonce = part(has(2), tlv(0xa2, &extensions(&[(NONCE, &tlv(4, &[9; 32]))])));
    let requestor = part(has(4), tlv(0xa1, &tlv(0x82, b"mesh")));
    let list = tlv(0x30, &[first, second].concat());
    let signature = part(has(5), tlv(0xa0, &tlv(0x30, &[])));
    let content = tlv(0x30, &[requestor, list, nonce].concat());
    tlv(0x30, &[content, signature].concat())
}

/// Whether there is an answer.
fn ask(der: &[u8]) -> bool {
    let read = OcspRequest::from_der(der);
    let path = estwire::encode(der);
    assert_eq!(OcspRequest::from_path(&path), read);
    assert_eq!(OcspRequest::from_path(path.trim_end_matches('=')), read);
    let Ok(request) = read else { return false };
    let status = |issuer: &[u8; 32], _: &[u8; 16]| {
        assert_eq!(issuer, OURS.issuers[0].issuer_hash());
        Status::Good
    };
    let answer = OURS.responder.respond(&request, &OURS.issuers, &status, TIMES);
    assert!(answer.is_ok() || matches!(answer, Err(OcspError::Unauthorized)), "{answer:?}");
    assert!(answer.is_ok() || request.presignable(&OURS.issuers).is_none());
    answer.is_ok()
}
