//! Requests that are right, nearly right, and hostile.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use core::slice::from_ref;

use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use proptest::prelude::*;
use yasna::{Tag, construct_der, models::ObjectIdentifier};

use super::*;

const SHA1: &[u64] = &[1, 3, 14, 3, 2, 26];
const SHA256: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 2, 1];
const SHA384: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 2, 2];
const NONCE_OID: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 2];
const OTHER_OID: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 4];

fn cert_id(oid: &[u64], digest_bytes: usize, serial: &[u8]) -> Vec<u8> {
    construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&ObjectIdentifier::from_slice(oid));
                writer.next().write_null();
            });
            writer.next().write_bytes(&vec![5; digest_bytes]);
            writer.next().write_bytes(&vec![6; digest_bytes]);
            writer.next().write_bigint_bytes(serial, true);
        });
    })
}

fn extension(oid: &[u64], is_critical: bool, value: &[u8]) -> Vec<u8> {
    construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_oid(&ObjectIdentifier::from_slice(oid));
            if is_critical {
                writer.next().write_bool(true);
            }
            writer.next().write_bytes(value);
        });
    })
}

fn nonce(bytes: &[u8]) -> Vec<u8> {
    extension(NONCE_OID, false, &construct_der(|writer| writer.write_bytes(bytes)))
}

/// A request; `requestor`, extensions and signature are left out where they are empty.
fn encode(ids: &[Vec<u8>], requestor: &[u8], extensions: &[Vec<u8>], signature: &[u8]) -> Vec<u8> {
    construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_sequence(|writer| {
                if !requestor.is_empty() {
                    let tag = Tag::context(1);
                    writer.next().write_tagged(tag, |writer| writer.write_der(requestor));
                }
                writer.next().write_sequence(|writer| {
                    for id in ids {
                        writer.next().write_sequence(|writer| writer.next().write_der(id));
                    }
                });
                if !extensions.is_empty() {
                    writer.next().write_tagged(Tag::context(2), |writer| {
                        writer.write_sequence(|writer| {
                            for extension in extensions {
                                writer.next().write_der(extension);
                            }
                        });
                    });
                }
            });
            if !signature.is_empty() {
                let tag = Tag::context(0);
                writer.next().write_tagged(tag, |writer| writer.write_der(signature));
            }
        });
    })
}

fn read(ids: &[Vec<u8>], extensions: &[Vec<u8>]) -> Result<OcspRequest, OcspRequestError> {
    OcspRequest::from_der(&encode(ids, &[], extensions, &[]))
}

#[test]
fn what_is_asked_is_read() {
    let ids = [
        cert_id(SHA1, 20, &[0x91, 7]),
        cert_id(SHA256, 32, &[9; 16]),
        cert_id(SHA384, 48, &[9; 17]),
    ];
    let extensions = [extension(OTHER_OID, false, b"any"), nonce(&[8; 128])];
    let name = construct_der(|writer| {
        writer.write_tagged_implicit(Tag::context(2), |writer| writer.write_bytes(b"mesh"));
    });
    let signature = construct_der(|writer| writer.write_sequence(|_| {}));
    let request = OcspRequest::from_der(&encode(&ids, &name, &extensions, &signature)).unwrap();
    assert_eq!(request.nonce.as_deref(), Some(&[8; 128][..]));
    let read: Vec<_> =
        request.certificates.iter().map(|id| (id.der.clone(), id.hash, id.serial)).collect();
    let mut short = [0; 16];
    short[14..].copy_from_slice(&[0x91, 7]);
    assert_eq!(
        read,
        [
            (ids[0].clone(), Some(CertIdHash::Sha1), Some(short)),
            (ids[1].clone(), Some(CertIdHash::Sha256), Some([9; 16])),
            (ids[2].clone(), None, None),
        ]
    );
}

#[test]
fn numbers_have_limits() {
    let id = cert_id(SHA256, 32, &[9; 16]);
    assert!(read(&vec![id.clone(); 16], &[nonce(&[1; 128])]).is_ok());
    assert_eq!(read(&vec![id.clone(); 17], &[]), Err(OcspRequestError::Count));
    assert_eq!(read(&[], &[]), Err(OcspRequestError::Count));
    for length in [0, 129] {
        let nonce = nonce(&vec![1; length]);
        assert_eq!(read(from_ref(&id), &[nonce]), Err(OcspRequestError::Nonce));
    }
    assert!(read(from_ref(&id), &[nonce(&[1])]).is_ok());
    let bare = extension(NONCE_OID, false, &[1; 16]);
    assert_eq!(read(from_ref(&id), &[bare]), Err(OcspRequestError::Nonce));
    let long = extension(OTHER_OID, false, &[0; REQUEST_BYTES_MAX]);
    assert_eq!(read(&[id], &[long]), Err(OcspRequestError::TooLarge));
    assert_eq!(OcspRequest::from_path(&"A".repeat(10_925)), Err(OcspRequestError::TooLarge));
}

#[test]
fn what_is_not_right_is_refused() {
    let id = cert_id(SHA1, 20, &[9; 16]);
    for wrong in [
        cert_id(SHA1, 32, &[9]),
        cert_id(SHA256, 20, &[9]),
        cert_id(SHA384, 0, &[9]),
        cert_id(SHA1, 20, &[0x7f; 21]),
    ] {
        assert_eq!(read(&[wrong], &[]), Err(OcspRequestError::Malformed));
    }
    let critical = extension(OTHER_OID, true, b"any");
    assert_eq!(read(from_ref(&id), &[critical]), Err(OcspRequestError::CriticalExtension));
    let mut uncritical = extension(NONCE_OID, true, &[4, 1, 9]);
    let at = uncritical.windows(3).position(|bytes| bytes == [1, 1, 0xff]).unwrap();
    uncritical[at + 2] = 0;
    assert_eq!(read(from_ref(&id), &[uncritical]), Err(OcspRequestError::Malformed));
    let twice = [nonce(&[1; 16]), nonce(&[2; 16])];
    assert_eq!(read(from_ref(&id), &twice), Err(OcspRequestError::Malformed));
    let der = encode(&[id], &[], &[nonce(&[1; 16])], &[]);
    assert_eq!(OcspRequest::from_der(&[&der[..], &[0]].concat()), Err(OcspRequestError::Malformed));
    for cut in 0..der.len() {
        assert!(OcspRequest::from_der(&der[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_negative_serial_is_nobodys() {
    let mut id = cert_id(SHA1, 20, &[0x7f; 16]);
    let at = id.len() - 16;
    id[at] = 0x80;
    assert_eq!(read(&[id], &[]).unwrap().certificates[0].serial, None);
}

#[test]
fn a_path_may_have_slashes_plus_signs_and_no_padding() {
    // Three bytes of 0xff are four slashes; the plus signs need them at one of three places.
    let plus = [0xfb, 0xef, 0xbe, 0xfb, 0xef, 0xbe, 0];
    let fill = [&[0xff; 9][..], &plus.repeat(3)].concat();
    for length in 1..=3 {
        let nonce = nonce(&[&fill[..], &vec![1; length]].concat());
        let der = encode(&[cert_id(SHA1, 20, &[9; 16])], &[], &[nonce], &[]);
        let expected = OcspRequest::from_der(&der).unwrap();
        for path in [STANDARD.encode(&der), STANDARD_NO_PAD.encode(&der)] {
            assert!(path.contains('/') && path.contains('+'), "{path}");
            assert_eq!(OcspRequest::from_path(&path), Ok(expected.clone()));
            assert_eq!(OcspRequest::from_path(&format!("{path}!")), Err(OcspRequestError::Base64));
        }
    }
    assert_eq!(OcspRequest::from_path("MAA%3D"), Err(OcspRequestError::Base64));
    assert_eq!(OcspRequest::from_path(""), Err(OcspRequestError::Malformed));
}

proptest! {
    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
        prop_assert!(OcspRequest::from_der(&bytes).is_err());
        prop_assert!(OcspRequest::from_path(&text).is_err());
    }

    /// Whatever is changed in a request: it is refused, or what was read is in the bytes.
    #[test]
    fn changed_requests_are_refused_or_read(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..4),
    ) {
        let ids = [cert_id(SHA1, 20, &[9; 16]), cert_id(SHA256, 32, &[8; 16])];
        let list = [extension(OTHER_OID, false, b"any"), nonce(&[7; 32])];
        let signature = construct_der(|writer| writer.write_sequence(|_| {}));
        let mut der = encode(&ids, &[0x82, 1, 65], &list, &signature);
        for (at, byte, kind) in changes {
            let at = at.index(der.len());
            match kind {
                0 => der[at] = byte,
                1 => der.insert(at, byte),
                _ => { der.remove(at); }
            }
        }
        if let Ok(request) = OcspRequest::from_der(&der) {
            for id in &request.certificates {
                prop_assert!(der.windows(id.der.len()).any(|part| part == id.der));
            }
            let whole = x509_parser::der_parser::parse_der(&der);
            prop_assert!(whole.is_ok_and(|(rest, _)| rest.is_empty()));
        }
    }
}
