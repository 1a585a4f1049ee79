//! Published vectors against the very functions that seal, open and verify: two ends that are
//! wrong in the same way would pass every round trip. Compiled for tests only: here, and not below
//! `tests`, because they enter below what the package exports.
//!
//! The profile is closed, so `open` refuses the published messages (they carry the key's name
//! outside the protected header). The tests therefore enter one step below it, where the headers
//! are read and only the cryptography is left.

use std::sync::Arc;

use rustls::crypto::hpke;

use crate::{
    DecodeError, Frame, HpkePrivateKey, HpkePublicKey, KeyRing, OuterKind, Signed, VerifyError,
    VerifyingKey,
    cbor::{ARRAY, MAP, Reader, TAG},
    encrypt0::{Outer, open, open_parts, outer_algorithm, seal},
    keys::ALG_HPKE7,
    sign1::Sign1,
};

const HPKE7: &str = include_str!("../tests/vectors/hpke7.txt");
const SIGN1: &str = include_str!("../tests/vectors/sign1.txt");

/// The fields of each line that begins with `name`.
fn lines(file: &str, name: &str) -> Vec<Vec<Vec<u8>>> {
    let lines = file.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found: Vec<_> = lines
        .filter(|fields| fields[0] == name)
        .map(|fields| fields[1..].iter().map(|field| unhex(field)).collect())
        .collect();
    assert!(!found.is_empty(), "no line of {name}");
    found
}

fn unhex(text: &str) -> Vec<u8> {
    let text = if text == "-" { "" } else { text };
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Each way to change one bit.
fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    })
}

/// The public point, then the secret: what [`HpkePrivateKey::from_bytes`] reads.
fn hpke_key() -> [u8; 97] {
    let published = lines(HPKE7, "key")[0][0].clone();
    let mut reader = Reader::new(&published);
    reader.exactly(MAP, 7).unwrap();
    for (label, value) in [(1, Some(2)), (2, None), (3, Some(ALG_HPKE7)), (-1, Some(1))] {
        reader.key(label).unwrap();
        match value {
            Some(value) => reader.key(value).unwrap(),
            None => drop(reader.bytes().unwrap()),
        }
    }
    let mut key = [4; 97];
    for (label, at) in [(-2, 1), (-3, 33), (-4, 65)] {
        reader.key(label).unwrap();
        key[at..at + 32].copy_from_slice(&reader.fixed::<32>().unwrap());
    }
    reader.end().unwrap();
    key
}

/// A published message taken apart: its unprotected header also has a name of the key.
fn take_apart(message: &[u8]) -> Outer<'_> {
    let mut reader = Reader::new(message);
    reader.exactly(TAG, 16).unwrap();
    reader.exactly(ARRAY, 3).unwrap();
    let protected = reader.bytes().unwrap();
    reader.exactly(MAP, 2).unwrap();
    reader.key(4).unwrap();
    reader.bytes().unwrap();
    reader.key(-4).unwrap();
    let unprotected = reader.bytes().unwrap();
    let ciphertext = reader.bytes().unwrap();
    reader.end().unwrap();
    Outer { kind: OuterKind::Hpke { kid: [0; 8] }, protected, unprotected, ciphertext }
}

#[test]
fn the_published_hpke_messages_open() {
    let (key, _) = HpkePrivateKey::from_bytes(&hpke_key()).unwrap();
    let plain = lines(HPKE7, "plain")[0][0].clone();
    let mut opened = 0;
    for fields in lines(HPKE7, "sealed") {
        let [aad, info, message] = &fields[..] else { panic!("{fields:?}") };
        let outer = take_apart(message);
        let found = open_parts(&outer, aad, key.for_hpke());
        // The profile has no info: what was sealed with one must not open.
        assert_eq!(found, info.is_empty().then(|| plain.clone()));
        opened += usize::from(found.is_some());
        // Nor does any of them as a message of the profile.
        assert!(matches!(outer_algorithm(message), Err(DecodeError::Shape(_))));
    }
    assert_eq!(opened, 2);
}

#[test]
fn a_published_hpke_message_with_any_bit_changed_does_not_open() {
    let pair = hpke_key();
    let (point, secret) = pair.split_at(65);
    let key = |secret: &[u8]| hpke::HpkePrivateKey::from(secret.to_vec());
    let right = key(secret);
    for fields in lines(HPKE7, "sealed") {
        let [aad, info, message] = &fields[..] else { panic!("{fields:?}") };
        if !info.is_empty() {
            continue;
        }
        let outer = || take_apart(message);
        let refused = |outer: &Outer<'_>, aad: &[u8], key: &hpke::HpkePrivateKey| {
            assert_eq!(open_parts(outer, aad, key), None);
        };
        for protected in flips(outer().protected) {
            refused(&Outer { protected: &protected, ..outer() }, aad, &right);
        }
        for unprotected in flips(outer().unprotected) {
            refused(&Outer { unprotected: &unprotected, ..outer() }, aad, &right);
        }
        for ciphertext in flips(outer().ciphertext) {
            refused(&Outer { ciphertext: &ciphertext, ..outer() }, aad, &right);
        }
        for aad in flips(aad) {
            refused(&outer(), &aad, &right);
        }
        refused(&outer(), &[&aad[..], &[0]].concat(), &right);
        for secret in flips(secret) {
            refused(&outer(), aad, &key(&secret));
        }
    }
    // A secret and a point that do not belong together are no pair.
    for secret in flips(secret) {
        assert!(HpkePrivateKey::from_bytes(&[point, &secret].concat()).is_err());
    }
    for point in flips(point) {
        assert!(HpkePrivateKey::from_bytes(&[&point, secret].concat()).is_err());
    }
}

#[test]
fn what_is_sealed_for_the_published_key_opens_with_its_secret() {
    let (key, public) = HpkePrivateKey::from_bytes(&hpke_key()).unwrap();
    let frame = Frame { to: [1; 16], message_id: [2; 16], class: 3 };
    let mut ring = KeyRing::default();
    ring.insert(Arc::new(key), 0, 10).unwrap();
    let signed = Signed::from_bytes(signed_bytes()).unwrap();
    let outer = seal(&signed, &frame, &public).unwrap();
    assert_eq!(open(&outer, &frame, &ring, 5).unwrap(), signed);
}

/// A message of the right shape; its signature is not asked here.
fn signed_bytes() -> Vec<u8> {
    struct Unsigned;
    impl crate::Signer for Unsigned {
        fn sign(&self, _: &[u8]) -> Result<[u8; 64], crate::SignError> {
            Ok([7; 64])
        }

        fn certificate_thumbprint(&self) -> [u8; 32] {
            [8; 32]
        }
    }
    let claims = crate::Claims { iss: "a".into(), aud: "b".into(), iat: 1, exp: 2, cti: [2; 16] };
    let content = crate::Content {
        kind: crate::MessageType::Alert,
        seq: 1,
        correlation: None,
        body: b"x".to_vec(),
    };
    crate::sign(&crate::Message { claims, content }, &Unsigned).unwrap().as_bytes().to_vec()
}

#[test]
fn the_name_of_a_key_is_its_published_thumbprint() {
    // RFC 9679 §6.
    let point = "0465eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d\
                 1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c";
    let key = HpkePublicKey::from_sec1(&unhex(point)).unwrap();
    assert_eq!(key.kid()[..], unhex("496bd8afadf307e5"));
}

#[test]
fn the_published_signatures_verify_over_the_same_bytes() {
    let key = VerifyingKey::from_sec1(&lines(SIGN1, "key")[0][0]).unwrap();
    for fields in lines(SIGN1, "signed") {
        let [expected, message] = &fields[..] else { panic!("{fields:?}") };
        let mut reader = Reader::new(message);
        reader.exactly(TAG, 18).unwrap();
        reader.exactly(ARRAY, 4).unwrap();
        let protected = reader.bytes().unwrap();
        // The name of the key, outside the signature.
        reader.exactly(MAP, 1).unwrap();
        reader.key(4).unwrap();
        reader.bytes().unwrap();
        let payload = reader.bytes().unwrap();
        let signature: [u8; 64] = reader.fixed().unwrap();
        reader.end().unwrap();

        let to_be_signed = Sign1::to_be_signed(protected, payload);
        assert_eq!(&to_be_signed, expected);
        assert_eq!(key.check(&to_be_signed, &signature), Ok(()));
        for changed in flips(&to_be_signed) {
            assert_eq!(key.check(&changed, &signature), Err(VerifyError::Signature));
        }
        for changed in flips(&signature) {
            let changed = changed.try_into().unwrap();
            assert_eq!(key.check(&to_be_signed, &changed), Err(VerifyError::Signature));
        }
        // ES256 is not ESP256, and the header outside is not empty: not of the profile.
        assert!(Signed::from_bytes(message.clone()).is_err());
    }
}
