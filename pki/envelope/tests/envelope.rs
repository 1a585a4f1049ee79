//! The sealed message format: what is made opens, and everything else is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests fail by panicking"
)]

#[path = "kit/messages.rs"]
mod messages;

use std::{collections::BTreeSet, sync::Arc};

use fieldmesh_envelope::{
    DecodeError, ENVELOPE_BYTES_MAX, Frame, HpkePrivateKey, HpkePublicKey, KeyBundle, KeyError,
    KeyRing, OpenError, OuterKind, ReplayWindow, SealError, SeqVerdict, SessionOffer,
    SessionReceiver, SessionSender, SignError, Signed, VerifyError, VerifyingKey, open,
    outer_algorithm, seal, sign, sign_bundle, verify, verify_bundle,
};
use messages::{FRAME, Identity, NOW, identity, message};
use proptest::prelude::*;
use zeroize::Zeroizing;

const SIZES: [usize; 11] = [
    512, 768, 1024, 1536, 2048, 3072, 4096, 8192, 16_384, 32_768, 64_512,
];
/// Every bit on its own, and all of them.
const FLIPS: [u8; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 255];

struct Recipient {
    public: HpkePublicKey,
    ring: KeyRing,
}

fn recipient() -> Recipient {
    let (private, public) = HpkePrivateKey::generate().unwrap();
    let mut ring = KeyRing::default();
    ring.insert(Arc::new(private), NOW, NOW + 86_400).unwrap();
    Recipient { public, ring }
}

fn sealed() -> (Identity, Recipient, Signed, Vec<u8>) {
    let (alice, bob) = (identity(b"certificate of alice"), recipient());
    let signed = sign(&message(b"hello"), &alice.signer).unwrap();
    let outer = seal(&signed, &FRAME, &bob.public).unwrap();
    (alice, bob, signed, outer)
}

fn check(alice: &Identity, signed: &Signed, now_s: u64) -> Result<(), VerifyError> {
    verify(signed, &alice.key, &alice.x5t, "bob", now_s).map(drop)
}

#[test]
fn what_is_sealed_opens_and_verifies() {
    let (alice, bob, signed, outer) = sealed();
    assert!(outer.len() <= ENVELOPE_BYTES_MAX);
    assert_eq!(
        outer_algorithm(&outer),
        Ok(OuterKind::Hpke {
            kid: bob.public.kid()
        })
    );
    let opened = open(&outer, &FRAME, &bob.ring, NOW).unwrap();
    assert_eq!(opened, signed);
    assert_eq!(opened.content_hash(), signed.content_hash());
    assert_eq!(opened.x5t(), &alice.x5t);
    assert_eq!(opened.unverified_claims(), &message(b"hello").claims);
    assert_eq!(
        verify(&opened, &alice.key, &alice.x5t, "bob", NOW).unwrap(),
        message(b"hello")
    );
    // Another signature over the same content has the same hash.
    let again = sign(&message(b"hello"), &alice.signer).unwrap();
    assert_eq!(again.content_hash(), signed.content_hash());
    assert_ne!(
        sign(&message(b"hellp"), &alice.signer)
            .unwrap()
            .content_hash(),
        signed.content_hash()
    );
    // Sealing twice shows nothing in common but the headers.
    assert_ne!(
        seal(&signed, &FRAME, &bob.public).unwrap()[23..],
        outer[23..]
    );
}

#[test]
fn a_message_without_correlation_keeps_none() {
    let alice = identity(b"certificate of alice");
    let mut plain = message(b"");
    plain.content.correlation = None;
    let signed = Signed::from_bytes(sign(&plain, &alice.signer).unwrap().as_bytes().to_vec());
    assert_eq!(
        verify(&signed.unwrap(), &alice.key, &alice.x5t, "bob", NOW).unwrap(),
        plain
    );
}

#[test]
fn another_recipient_or_frame_does_not_open() {
    let (_, bob, signed, outer) = sealed();
    let kid = bob.public.kid();
    let unknown = Err(OpenError::UnknownKey { kid });
    let mallory = recipient();
    assert_eq!(open(&outer, &FRAME, &mallory.ring, NOW), unknown);
    // The kid of one over a message for another: the hint finds a key, the key does not open.
    let mut renamed = seal(&signed, &FRAME, &mallory.public).unwrap();
    renamed[11..19].copy_from_slice(&kid);
    assert_eq!(outer_algorithm(&renamed), Ok(OuterKind::Hpke { kid }));
    assert_eq!(
        open(&renamed, &FRAME, &bob.ring, NOW),
        Err(OpenError::Failed)
    );

    for frame in [
        Frame {
            to: [0x12; 16],
            ..FRAME
        },
        Frame {
            message_id: [0x23; 16],
            ..FRAME
        },
        Frame { class: 4, ..FRAME },
    ] {
        assert_eq!(open(&outer, &frame, &bob.ring, NOW), Err(OpenError::Failed));
    }
    // A key opens in its life only.
    assert!(open(&outer, &FRAME, &bob.ring, NOW - 300).is_ok());
    assert_eq!(open(&outer, &FRAME, &bob.ring, NOW - 301), unknown);
    assert!(open(&outer, &FRAME, &bob.ring, NOW + 86_399).is_ok());
    assert_eq!(open(&outer, &FRAME, &bob.ring, NOW + 86_400), unknown);
    let mut ring = bob.ring.clone();
    ring.retain(NOW + 86_400);
    assert_eq!(open(&outer, &FRAME, &ring, NOW), unknown);
}

#[test]
fn a_ring_holds_eight_keys_and_keys_survive_as_bytes() {
    let (private, public) = HpkePrivateKey::generate().unwrap();
    let bytes = private.to_bytes();
    let (again, same) = HpkePrivateKey::from_bytes(&bytes).unwrap();
    assert_eq!(same, public);
    assert_eq!(
        HpkePrivateKey::from_bytes(&bytes[1..]).unwrap_err(),
        KeyError::Malformed
    );
    assert_eq!(
        HpkePrivateKey::from_bytes(&[]).unwrap_err(),
        KeyError::Malformed
    );

    let alice = identity(b"certificate of alice");
    let signed = sign(&message(b"x"), &alice.signer).unwrap();
    let again = Arc::new(again);
    let mut ring = KeyRing::default();
    for _ in 0..8 {
        ring.insert(Arc::clone(&again), NOW, NOW + 1).unwrap();
    }
    assert_eq!(ring.insert(again, NOW, NOW + 1), Err(KeyError::Full));
    let outer = seal(&signed, &FRAME, &public).unwrap();
    assert_eq!(open(&outer, &FRAME, &ring, NOW).unwrap(), signed);
}

#[test]
fn points_off_the_curve_or_compressed_are_refused() {
    let (alice, _, signed, _) = sealed();
    let mut point = [4; 65];
    let off = HpkePublicKey::from_sec1(&point).unwrap();
    assert_eq!(seal(&signed, &FRAME, &off), Err(SealError::Key));
    let key = VerifyingKey::from_sec1(&point).unwrap();
    assert_eq!(
        verify(&signed, &key, signed.x5t(), "bob", NOW),
        Err(VerifyError::Signature)
    );
    assert_ne!(alice.point, point);
    point[0] = 2;
    assert_eq!(HpkePublicKey::from_sec1(&point), Err(DecodeError::Key));
    assert_eq!(VerifyingKey::from_sec1(&point), Err(DecodeError::Key));
    assert_eq!(VerifyingKey::from_sec1(&point[..33]), Err(DecodeError::Key));
}

#[test]
fn another_audience_certificate_key_or_time_is_refused() {
    let (alice, _, signed, _) = sealed();
    let mallory = identity(b"certificate of mallory");
    let refused = |key, x5t, audience| verify(&signed, key, x5t, audience, NOW).unwrap_err();
    assert_eq!(
        refused(&alice.key, &alice.x5t, "carol"),
        VerifyError::Audience
    );
    assert_eq!(
        refused(&alice.key, &mallory.x5t, "bob"),
        VerifyError::Certificate
    );
    assert_eq!(
        refused(&mallory.key, &alice.x5t, "bob"),
        VerifyError::Signature
    );

    assert_eq!(check(&alice, &signed, NOW + 3599), Ok(()));
    let now = NOW + 3600;
    assert_eq!(
        check(&alice, &signed, now),
        Err(VerifyError::Expired { exp: now, now })
    );
    assert_eq!(check(&alice, &signed, NOW - 300), Ok(()));
    assert_eq!(check(&alice, &signed, NOW - 301), Err(VerifyError::Time));
    assert_eq!(check(&alice, &signed, 0), Err(VerifyError::Time));
    // Expiry is told only after the signature was right.
    assert_eq!(
        verify(&signed, &mallory.key, &alice.x5t, "bob", now),
        Err(VerifyError::Signature)
    );

    let week = 7 * 24 * 3600;
    for (iat, exp, result) in [
        (NOW, NOW + week, Ok(())),
        (NOW, NOW + week + 1, Err(VerifyError::Time)),
        (NOW, NOW - 1, Err(VerifyError::Time)),
        (u64::MAX, u64::MAX, Err(VerifyError::Time)),
        (0, u64::MAX, Err(VerifyError::Time)),
    ] {
        let mut message = message(b"x");
        (message.claims.iat, message.claims.exp) = (iat, exp);
        let signed = sign(&message, &alice.signer).unwrap();
        assert_eq!(check(&alice, &signed, NOW), result, "iat {iat}, exp {exp}");
    }
}

#[test]
fn sizes_fall_on_the_steps() {
    let alice = identity(b"certificate of alice");
    let mut seen = BTreeSet::new();
    let lengths = (0..4200).chain([5000, 8000, 16_000, 30_000, 40_000, 64_000]);
    for length in lengths {
        let signed = sign(&message(&vec![7; length]), &alice.signer).unwrap();
        let size = signed.as_bytes().len();
        assert!(
            SIZES.contains(&size),
            "a body of {length} bytes gives {size}"
        );
        seen.insert(size);
    }
    assert_eq!(seen, BTreeSet::from(SIZES));

    let bob = recipient();
    let largest = sign(&message(&[7; 64_000]), &alice.signer).unwrap();
    let outer = seal(&largest, &FRAME, &bob.public).unwrap();
    assert!(outer.len() <= ENVELOPE_BYTES_MAX);
    assert_eq!(open(&outer, &FRAME, &bob.ring, NOW).unwrap(), largest);

    assert_eq!(
        sign(&message(&[7; 64_512]), &alice.signer),
        Err(SignError::TooLarge)
    );
    let mut long = message(b"");
    long.claims.iss = "x".repeat(128);
    let signed = sign(&long, &alice.signer).unwrap();
    assert!(Signed::from_bytes(signed.as_bytes().to_vec()).is_ok());
    long.claims.iss.push('x');
    assert_eq!(sign(&long, &alice.signer), Err(SignError::Name));
}

#[test]
fn every_changed_byte_of_the_outer_is_refused() {
    let (_, bob, _, outer) = sealed();
    for at in 0..outer.len() {
        for flip in FLIPS {
            let mut changed = outer.clone();
            changed[at] ^= flip;
            assert!(
                open(&changed, &FRAME, &bob.ring, NOW).is_err(),
                "byte {at} ^ {flip}"
            );
        }
    }
}

#[test]
fn every_changed_byte_of_the_signed_is_refused() {
    let (alice, _, signed, _) = sealed();
    for at in 0..signed.as_bytes().len() {
        for flip in FLIPS {
            let mut changed = signed.as_bytes().to_vec();
            changed[at] ^= flip;
            let believed =
                Signed::from_bytes(changed).is_ok_and(|it| check(&alice, &it, NOW).is_ok());
            assert!(!believed, "byte {at} ^ {flip}");
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let (_, bob, signed, outer) = sealed();
    for length in 0..outer.len() {
        let cut = &outer[..length];
        assert!(outer_algorithm(cut).is_err(), "{length} bytes");
        assert!(matches!(
            open(cut, &FRAME, &bob.ring, NOW),
            Err(OpenError::Malformed(_))
        ));
    }
    for length in 0..signed.as_bytes().len() {
        assert!(Signed::from_bytes(signed.as_bytes()[..length].to_vec()).is_err());
    }
    let frame = FRAME.encode();
    assert_eq!(Frame::decode(&frame), Ok((FRAME, frame.len())));
    for length in 0..frame.len() {
        assert_eq!(Frame::decode(&frame[..length]), Err(DecodeError::Short));
    }
    // What follows a frame is not the frame's.
    let longer = [&frame[..], &outer].concat();
    assert_eq!(Frame::decode(&longer), Ok((FRAME, frame.len())));
}

#[test]
fn only_the_one_encoding_of_the_outer_is_read() {
    let (_, bob, _, outer) = sealed();
    // Tag, array, protected (a 16-byte map), {-4: ek of 65 bytes}, ciphertext with a 2-byte length.
    assert_eq!(outer[..8], [0xd0, 0x83, 0x50, 0xa3, 0x01, 0x18, 0x2d, 0x03]);
    assert_eq!(outer[8..11], [0x12, 0x04, 0x48]);
    assert_eq!(outer[19..23], [0xa1, 0x23, 0x58, 0x41]);
    assert_eq!(outer[88], 0x59);
    let (protected, entry, text) = (&outer[3..19], &outer[20..88], &outer[91..]);
    let length = &outer[89..91];
    let whole = |head: &[u8], protected: &[u8], map: &[u8], ciphertext: &[u8]| {
        [head, protected, map, ciphertext].concat()
    };
    let head: &[u8] = &outer[..2];
    let wrapped: &[u8] = &outer[2..19];
    let (map, ciphertext) = (&outer[19..88], &outer[88..]);
    assert_eq!(whole(head, wrapped, map, ciphertext), outer);
    assert!(
        open(
            &whole(head, wrapped, map, ciphertext),
            &FRAME,
            &bob.ring,
            NOW
        )
        .is_ok()
    );

    let kid = &protected[8..];
    let ek = &entry[3..];
    let wrap = |map: &[u8]| [&[0x58, map.len() as u8][..], map].concat();
    let wrap = |map: &[u8]| {
        if map.len() < 24 {
            [&[0x40 | map.len() as u8][..], map].concat()
        } else {
            wrap(map)
        }
    };
    let canonical = Some(DecodeError::NotCanonical);
    let cases: Vec<(&str, Vec<u8>, Option<DecodeError>)> = vec![
        (
            "long tag",
            whole(&[0xd8, 0x10, 0x83], wrapped, map, ciphertext),
            canonical,
        ),
        (
            "long array",
            whole(&[0xd0, 0x98, 3], wrapped, map, ciphertext),
            canonical,
        ),
        (
            "long protected",
            whole(head, &[&[0x58, 16], protected].concat(), map, ciphertext),
            canonical,
        ),
        (
            "long alg",
            whole(
                head,
                &wrap(&[&[0xa3, 1, 0x19, 0, 45], &protected[4..]].concat()),
                map,
                ciphertext,
            ),
            canonical,
        ),
        (
            "long kid",
            whole(
                head,
                &wrap(&[&protected[..7], &[0x58, 8], kid].concat()),
                map,
                ciphertext,
            ),
            canonical,
        ),
        (
            "long map",
            whole(head, wrapped, &[&[0xb8, 1], entry].concat(), ciphertext),
            canonical,
        ),
        (
            "long label",
            whole(
                head,
                wrapped,
                &[&[0xa1, 0x38, 3, 0x58, 0x41], ek].concat(),
                ciphertext,
            ),
            canonical,
        ),
        (
            "long ek",
            whole(
                head,
                wrapped,
                &[&[0xa1, 0x23, 0x59, 0, 0x41], ek].concat(),
                ciphertext,
            ),
            canonical,
        ),
        (
            "long ciphertext",
            whole(head, wrapped, map, &[&[0x5a, 0, 0], length, text].concat()),
            canonical,
        ),
        (
            "indefinite array",
            whole(&[0xd0, 0x9f], wrapped, map, &[ciphertext, &[0xff]].concat()),
            canonical,
        ),
        (
            "indefinite map",
            whole(
                head,
                wrapped,
                &[&[0xbf], entry, &[0xff]].concat(),
                ciphertext,
            ),
            canonical,
        ),
        (
            "indefinite protected",
            whole(head, &[&[0x5f], wrapped, &[0xff]].concat(), map, ciphertext),
            canonical,
        ),
        (
            "indefinite ciphertext",
            whole(head, wrapped, map, &[&[0x5f], ciphertext, &[0xff]].concat()),
            canonical,
        ),
        (
            "indefinite map inside protected",
            whole(
                head,
                &wrap(&[&[0xbf], &protected[1..], &[0xff]].concat()),
                map,
                ciphertext,
            ),
            canonical,
        ),
        (
            "trailing byte",
            whole(head, wrapped, map, &[ciphertext, &[0]].concat()),
            Some(DecodeError::Trailing),
        ),
        (
            "trailing byte inside protected",
            whole(head, &wrap(&[protected, &[0]].concat()), map, ciphertext),
            Some(DecodeError::Trailing),
        ),
        (
            "duplicated ek",
            whole(head, wrapped, &[&[0xa2], entry, entry].concat(), ciphertext),
            None,
        ),
        (
            "duplicated alg in three",
            whole(
                head,
                &wrap(&[&[0xa3, 1, 0x18, 45, 1, 0x18, 45], &protected[6..]].concat()),
                map,
                ciphertext,
            ),
            None,
        ),
        (
            "duplicated alg in four",
            whole(
                head,
                &wrap(&[&[0xa4, 1, 0x18, 45], &protected[1..]].concat()),
                map,
                ciphertext,
            ),
            None,
        ),
        (
            "other order",
            whole(
                head,
                &wrap(&[&[0xa3, 3, 18, 1, 0x18, 45], &protected[6..]].concat()),
                map,
                ciphertext,
            ),
            None,
        ),
        (
            "another HPKE algorithm",
            whole(
                head,
                &wrap(&[&[0xa3, 1, 0x18, 35], &protected[4..]].concat()),
                map,
                ciphertext,
            ),
            Some(DecodeError::Algorithm),
        ),
        (
            "symmetric algorithm over an encapsulated key",
            whole(
                head,
                &wrap(&[&[0xa3, 1, 3], &protected[4..]].concat()),
                map,
                ciphertext,
            ),
            None,
        ),
        ("no tag", outer[1..].to_vec(), None),
        (
            "empty protected",
            whole(head, &[0x40], map, ciphertext),
            Some(DecodeError::Short),
        ),
    ];
    for (name, bytes, expected) in cases {
        let found = open(&bytes, &FRAME, &bob.ring, NOW);
        let Err(OpenError::Malformed(error)) = found else {
            panic!("{name}: {found:?}")
        };
        assert!(
            expected.is_none_or(|expected| expected == error),
            "{name}: {error:?}"
        );
        assert_eq!(outer_algorithm(&bytes), Err(error), "{name}");
    }
    let huge = vec![0xd0; ENVELOPE_BYTES_MAX + 1];
    assert_eq!(outer_algorithm(&huge), Err(DecodeError::TooLarge));
    assert_eq!(Signed::from_bytes(huge), Err(DecodeError::TooLarge));
}

#[test]
fn only_the_one_encoding_of_the_signed_is_read() {
    let (_, _, signed, _) = sealed();
    let bytes = signed.as_bytes();
    assert_eq!(bytes[..3], [0xd2, 0x84, 0x58]);
    let protected_end = 4 + usize::from(bytes[3]);
    assert_eq!(bytes[protected_end], 0xa0);
    let canonical = DecodeError::NotCanonical;
    for (bytes, expected) in [
        ([&[0xd8, 0x12], &bytes[1..]].concat(), canonical),
        ([&[0xd2, 0x98, 4], &bytes[2..]].concat(), canonical),
        ([&[0xd2, 0x84, 0x59, 0], &bytes[3..]].concat(), canonical),
        ([&[0xd2, 0x9f], &bytes[2..], &[0xff]].concat(), canonical),
        (
            [
                &bytes[..protected_end],
                &[0xb8, 0],
                &bytes[protected_end + 1..],
            ]
            .concat(),
            canonical,
        ),
        (
            [
                &bytes[..protected_end],
                &[0xbf, 0xff],
                &bytes[protected_end + 1..],
            ]
            .concat(),
            canonical,
        ),
        ([bytes, &[0]].concat(), DecodeError::Trailing),
    ] {
        assert_eq!(Signed::from_bytes(bytes), Err(expected));
    }
    // A header outside the signature.
    let outside = [
        &bytes[..protected_end],
        &[0xa1, 4, 0x40],
        &bytes[protected_end + 1..],
    ]
    .concat();
    assert!(matches!(
        Signed::from_bytes(outside),
        Err(DecodeError::Shape(_))
    ));
}

fn session() -> (
    (SessionSender, SessionReceiver),
    (SessionSender, SessionReceiver),
) {
    let mut random = Zeroizing::new([0; 72]);
    for (at, byte) in random.iter_mut().enumerate() {
        *byte = at as u8;
    }
    let offer = SessionOffer::new(&random, NOW + 3600);
    let body = offer.encode_body();
    let taken = SessionOffer::decode_body(&body).unwrap();
    assert_eq!((taken.sid, taken.expires), (offer.sid, offer.expires));
    assert_eq!(taken.encode_body(), body);
    for length in 0..body.len() {
        assert!(SessionOffer::decode_body(&body[..length]).is_err());
    }
    assert_eq!(
        SessionOffer::decode_body(&[&body[..], &[0]].concat()).unwrap_err(),
        DecodeError::Trailing
    );
    (offer.offering_ends(), taken.answering_ends())
}

#[test]
fn a_session_carries_messages_over_the_ratchet() {
    let alice = identity(b"certificate of alice");
    let ((mut there, mut back), (mut answer, mut here)) = session();
    let signed = sign(&message(b"over the session"), &alice.signer).unwrap();
    assert_eq!(there.seal(&signed, &FRAME), Err(SealError::Counter));
    there.reserve(1030);
    assert_eq!(there.reserved_until(), 1030);
    let mut all = Vec::new();
    for count in 0..1030_u16 {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&count.to_be_bytes());
        let frame = Frame {
            message_id: id,
            ..FRAME
        };
        let outer = there.seal(&signed, &frame).unwrap();
        assert_eq!(
            outer_algorithm(&outer),
            Ok(OuterKind::Session {
                sid: [0, 1, 2, 3, 4, 5, 6, 7]
            })
        );
        all.push((frame, outer));
    }
    assert_eq!(there.seal(&signed, &FRAME), Err(SealError::Counter));

    // Within one step the order does not matter.
    let (before, after) = all.split_at(1024);
    for (frame, outer) in before.iter().skip(1).rev() {
        assert_eq!(here.open(outer, &FRAME), Err(OpenError::Failed));
        let opened = here.open(outer, frame).unwrap();
        assert_eq!(check(&alice, &opened, NOW), Ok(()));
        assert_eq!(here.open(outer, frame), Err(OpenError::Counter));
    }
    for (frame, outer) in after {
        assert_eq!(here.open(outer, frame).unwrap(), signed);
    }
    for (frame, outer) in &all {
        // Seen, or of the step whose key is gone.
        assert_eq!(here.open(outer, frame), Err(OpenError::Counter));
    }

    // Each direction has its own key: nothing comes back to its sender.
    let (frame, outer) = &all[0];
    assert_eq!(back.open(outer, frame), Err(OpenError::Failed));
    answer.reserve(1);
    let reply = answer.seal(&signed, &FRAME).unwrap();
    assert_eq!(back.open(&reply, &FRAME).unwrap(), signed);
}

#[test]
fn a_restarted_sender_goes_on_and_far_counters_are_refused() {
    let alice = identity(b"certificate of alice");
    let signed = sign(&message(b"x"), &alice.signer).unwrap();
    let ((mut first, _), (_, mut here)) = session();
    first.reserve(64);
    let early = first.seal(&signed, &FRAME).unwrap();
    assert_eq!(here.open(&early, &FRAME).unwrap(), signed);

    let ((mut restarted, _), _) = session();
    restarted.resume_at(first.reserved_until()).unwrap();
    assert_eq!(restarted.seal(&signed, &FRAME), Err(SealError::Counter));
    restarted.reserve(65);
    let late = restarted.seal(&signed, &FRAME).unwrap();
    assert_eq!(here.open(&late, &FRAME).unwrap(), signed);

    let ((mut far, _), _) = session();
    far.resume_at(17 * 1024).unwrap();
    far.reserve(17 * 1024 + 1);
    let outer = far.seal(&signed, &FRAME).unwrap();
    assert_eq!(here.open(&outer, &FRAME), Err(OpenError::Counter));
    let ((mut near, _), _) = session();
    near.resume_at(16 * 1024).unwrap();
    near.reserve(16 * 1024 + 1);
    let outer = near.seal(&signed, &FRAME).unwrap();
    assert_eq!(here.open(&outer, &FRAME).unwrap(), signed);
}

#[test]
fn every_changed_byte_or_truncation_in_a_session_is_refused() {
    let (alice, bob, _, hpke) = sealed();
    let signed = sign(&message(b"x"), &alice.signer).unwrap();
    let ((mut there, _), (_, mut here)) = session();
    there.reserve(1);
    let outer = there.seal(&signed, &FRAME).unwrap();
    for at in 0..outer.len() {
        for flip in FLIPS {
            let mut changed = outer.clone();
            changed[at] ^= flip;
            assert!(here.open(&changed, &FRAME).is_err(), "byte {at} ^ {flip}");
        }
        assert!(matches!(
            here.open(&outer[..at], &FRAME),
            Err(OpenError::Malformed(_))
        ));
    }
    // The two kinds do not open one another, and refusals moved nothing.
    assert_eq!(
        here.open(&hpke, &FRAME),
        Err(OpenError::UnknownKey {
            kid: bob.public.kid()
        })
    );
    assert_eq!(
        open(&outer, &FRAME, &bob.ring, NOW),
        Err(OpenError::Malformed(DecodeError::Algorithm))
    );
    assert_eq!(here.open(&outer, &FRAME).unwrap(), signed);
}

#[test]
fn a_bundle_is_believed_only_as_signed() {
    let (alice, mallory) = (identity(b"certificate of alice"), identity(b"of mallory"));
    let keys: Vec<_> = (0..8)
        .map(|_| HpkePrivateKey::generate().unwrap().1)
        .collect();
    let bundle = KeyBundle {
        owner: "alice".into(),
        serial: 9,
        not_before: NOW,
        not_after: NOW + 86_400,
        keys,
    };
    let bytes = sign_bundle(&bundle, &alice.signer).unwrap();
    let read = |bytes: &[u8], now_s| verify_bundle(bytes, &alice.key, &alice.x5t, "alice", now_s);
    assert_eq!(read(&bytes, NOW).unwrap(), bundle);
    assert_eq!(bundle.best(NOW), bundle.keys.first());
    assert_eq!(bundle.best(NOW + 86_400), None);
    assert!(read(&bytes, NOW - 300).is_ok());
    assert_eq!(read(&bytes, NOW - 301), Err(VerifyError::Time));
    let now = NOW + 86_400;
    assert_eq!(
        read(&bytes, now),
        Err(VerifyError::Expired { exp: now, now })
    );
    assert_eq!(
        verify_bundle(&bytes, &alice.key, &alice.x5t, "carol", NOW),
        Err(VerifyError::Audience)
    );
    assert_eq!(
        verify_bundle(&bytes, &alice.key, &mallory.x5t, "alice", NOW),
        Err(VerifyError::Certificate)
    );
    assert_eq!(
        verify_bundle(&bytes, &mallory.key, &alice.x5t, "alice", NOW),
        Err(VerifyError::Signature)
    );
    for at in 0..bytes.len() {
        for flip in FLIPS {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            assert!(read(&changed, NOW).is_err(), "byte {at} ^ {flip}");
        }
        assert!(matches!(
            read(&bytes[..at], NOW),
            Err(VerifyError::Malformed(_))
        ));
    }
    let trailing = [&bytes[..], &[0]].concat();
    assert_eq!(
        read(&trailing, NOW),
        Err(VerifyError::Malformed(DecodeError::Trailing))
    );
    assert_eq!(
        read(&[0; 4097], NOW),
        Err(VerifyError::Malformed(DecodeError::TooLarge))
    );
    // A message is not a bundle, nor the other way round.
    let signed = sign(&message(b"x"), &alice.signer).unwrap();
    assert!(matches!(
        read(signed.as_bytes(), NOW),
        Err(VerifyError::Malformed(_))
    ));
    assert!(Signed::from_bytes(bytes).is_err());
}

/// Sequence numbers near one another, with some far jumps.
fn numbers() -> impl Strategy<Value = Vec<u64>> {
    let one = prop_oneof![
        8 => 0..3000_u64,
        2 => 0..20_000_u64,
        1 => (0..2000_u64).prop_map(|below| u64::MAX - below),
    ];
    proptest::collection::vec(one, 0..400)
}

proptest! {
    #[test]
    fn the_window_agrees_with_a_set(base in 0..u64::MAX / 2, numbers in numbers()) {
        let mut window = ReplayWindow::default();
        let mut accepted = BTreeSet::new();
        for number in numbers {
            let seq = base.saturating_add(number);
            let top = accepted.last().copied().unwrap_or(0);
            let expected = if seq <= top && top - seq >= 1024 {
                SeqVerdict::TooOld
            } else if accepted.contains(&seq) {
                SeqVerdict::Seen
            } else {
                SeqVerdict::Fresh
            };
            prop_assert_eq!(window.check(seq), expected, "{} under {}", seq, top);
            if expected != SeqVerdict::TooOld {
                accepted.insert(seq);
            }
            window.accept(seq);
            let stored = ReplayWindow::from_bytes(&window.to_bytes()).unwrap();
            prop_assert_eq!(&stored, &window);
        }
        let top = accepted.last().copied().unwrap_or(0);
        for seq in top.saturating_sub(1023)..=top {
            prop_assert_eq!(window.check(seq) == SeqVerdict::Seen, accepted.contains(&seq));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let key = VerifyingKey::from_sec1(&[4; 65]).unwrap();
        if let Ok((frame, length)) = Frame::decode(&bytes) {
            prop_assert_eq!(&frame.encode(), &bytes[..length]);
        }
        prop_assert!(Signed::from_bytes(bytes.clone()).is_err());
        prop_assert!(outer_algorithm(&bytes).is_err());
        prop_assert!(verify_bundle(&bytes, &key, &[0; 32], "alice", NOW).is_err());
        prop_assert!(SessionOffer::decode_body(&bytes).is_err());
        let _ = ReplayWindow::from_bytes(&bytes).map(|mut window| window.accept(u64::MAX));
    }

    /// Noise in the middle of what was right reaches deeper than noise alone.
    #[test]
    fn spliced_bytes_never_panic(
        at in any::<proptest::sample::Index>(),
        drop in 0..40_usize,
        noise in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let (alice, bob, signed, outer) = sealed();
        let bundle = KeyBundle {
            owner: "alice".into(),
            serial: 1,
            not_before: NOW,
            not_after: NOW + 1,
            keys: vec![bob.public.clone()],
        };
        let bundle = sign_bundle(&bundle, &alice.signer).unwrap();
        let splice = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let from = at.index(bytes.len());
            let until = (from + drop).min(bytes.len());
            bytes.splice(from..until, noise.iter().copied());
            bytes
        };
        let changed = splice(&outer);
        if changed != outer {
            prop_assert!(open(&changed, &FRAME, &bob.ring, NOW).is_err());
        }
        let _ = outer_algorithm(&changed);
        let changed = splice(signed.as_bytes());
        if changed != signed.as_bytes() {
            let read = Signed::from_bytes(changed);
            prop_assert!(!read.is_ok_and(|it| check(&alice, &it, NOW).is_ok()));
        }
        let changed = splice(&bundle);
        if changed != bundle {
            prop_assert!(verify_bundle(&changed, &alice.key, &alice.x5t, "alice", NOW).is_err());
        }
        let changed = splice(&FRAME.encode());
        if let Ok((frame, length)) = Frame::decode(&changed) {
            prop_assert_eq!(&frame.encode(), &changed[..length]);
        }
    }
}
