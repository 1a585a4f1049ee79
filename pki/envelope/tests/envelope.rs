//! The sealed message format: what is made opens, and everything else is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

#[path = "kit/encodings.rs"]
mod encodings;
#[path = "kit/messages.rs"]
mod messages;
#[path = "kit/sessions.rs"]
mod sessions;

use std::{collections::BTreeSet, sync::Arc};

use fieldmesh_envelope::{
    DecodeError, ENVELOPE_BYTES_MAX, Frame, HpkePrivateKey, HpkePublicKey, KeyBundle, KeyError,
    KeyRing, OpenError, OuterKind, ReplayWindow, SealError, SeqVerdict, SessionOffer,
    SessionReceiver, SessionSender, SignError, Signed, Signer, VerifyError, VerifyingKey, open,
    outer_algorithm, seal, sign, sign_bundle, verify, verify_bundle,
};
use messages::{FRAME, Identity, NOW, identity, message};
use proptest::prelude::*;
use zeroize::Zeroizing;

const SIZES: [usize; 11] = [512, 768, 1024, 1536, 2048, 3072, 4096, 8192, 16_384, 32_768, 64_512];
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
    assert_eq!(outer_algorithm(&outer), Ok(OuterKind::Hpke { kid: bob.public.kid() }));
    let opened = open(&outer, &FRAME, &bob.ring, NOW).unwrap();
    assert_eq!(opened, signed);
    assert_eq!(opened.content_hash(), signed.content_hash());
    assert_eq!(opened.x5t(), &alice.x5t);
    assert_eq!(opened.unverified_claims(), &message(b"hello").claims);
    assert_eq!(verify(&opened, &alice.key, &alice.x5t, "bob", NOW).unwrap(), message(b"hello"));
    // Another signature over the same content has the same hash.
    let again = sign(&message(b"hello"), &alice.signer).unwrap();
    assert_eq!(again.content_hash(), signed.content_hash());
    assert_ne!(
        sign(&message(b"hellp"), &alice.signer).unwrap().content_hash(),
        signed.content_hash()
    );
    // Sealing twice shows nothing in common but the headers.
    assert_ne!(seal(&signed, &FRAME, &bob.public).unwrap()[23..], outer[23..]);
}

#[test]
fn a_message_without_correlation_keeps_none() {
    let alice = identity(b"certificate of alice");
    let mut plain = message(b"");
    plain.content.correlation = None;
    let signed = Signed::from_bytes(sign(&plain, &alice.signer).unwrap().as_bytes().to_vec());
    assert_eq!(verify(&signed.unwrap(), &alice.key, &alice.x5t, "bob", NOW).unwrap(), plain);
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
    assert_eq!(open(&renamed, &FRAME, &bob.ring, NOW), Err(OpenError::Failed));

    for frame in [
        Frame { to: [0x12; 16], ..FRAME },
        Frame { message_id: [0x23; 16], ..FRAME },
        Frame { class: 4, ..FRAME },
    ] {
        assert_eq!(open(&outer, &frame, &bob.ring, NOW), Err(OpenError::Failed));
    }
    // A key opens in its life only.
    assert!(open(&outer, &FRAME, &bob.ring, NOW - 300).is_ok());
    assert_eq!(open(&outer, &FRAME, &bob.ring, NOW - 301), unknown);
    assert!(open(&outer, &FRAME, &bob.ring, NOW + 86_399).is_ok());
    assert_eq!(open(&outer, &FRAME, &bob.ring, NOW + 86_400), unknown);
    let mut ring = bob.ring;
    ring.retain(NOW + 86_400);
    assert_eq!(open(&outer, &FRAME, &ring, NOW), unknown);
}

#[test]
fn a_ring_holds_eight_keys_and_keys_survive_as_bytes() {
    let (private, public) = HpkePrivateKey::generate().unwrap();
    let bytes = private.to_bytes();
    let (again, same) = HpkePrivateKey::from_bytes(&bytes).unwrap();
    assert_eq!(same, public);
    assert_eq!(HpkePrivateKey::from_bytes(&bytes[1..]).unwrap_err(), KeyError::Malformed);
    assert_eq!(HpkePrivateKey::from_bytes(&[]).unwrap_err(), KeyError::Malformed);

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
    assert_eq!(verify(&signed, &key, signed.x5t(), "bob", NOW), Err(VerifyError::Signature));
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
    assert_eq!(refused(&alice.key, &alice.x5t, "carol"), VerifyError::Audience);
    assert_eq!(refused(&alice.key, &mallory.x5t, "bob"), VerifyError::Certificate);
    assert_eq!(refused(&mallory.key, &alice.x5t, "bob"), VerifyError::Signature);

    assert_eq!(check(&alice, &signed, NOW + 3599), Ok(()));
    let now = NOW + 3600;
    assert_eq!(check(&alice, &signed, now), Err(VerifyError::Expired { exp: now, now }));
    assert_eq!(check(&alice, &signed, NOW - 300), Ok(()));
    assert_eq!(check(&alice, &signed, NOW - 301), Err(VerifyError::Time));
    assert_eq!(check(&alice, &signed, 0), Err(VerifyError::Time));
    // Expiry is told only after the signature was right.
    assert_eq!(verify(&signed, &mallory.key, &alice.x5t, "bob", now), Err(VerifyError::Signature));

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
        assert!(SIZES.contains(&size), "a body of {length} bytes gives {size}");
        seen.insert(size);
    }
    assert_eq!(seen, BTreeSet::from(SIZES));

    let bob = recipient();
    let largest = sign(&message(&[7; 64_000]), &alice.signer).unwrap();
    let outer = seal(&largest, &FRAME, &bob.public).unwrap();
    assert!(outer.len() <= ENVELOPE_BYTES_MAX);
    assert_eq!(open(&outer, &FRAME, &bob.ring, NOW).unwrap(), largest);

    assert_eq!(sign(&message(&[7; 64_512]), &alice.signer), Err(SignError::TooLarge));
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
            assert!(open(&changed, &FRAME, &bob.ring, NOW).is_err(), "byte {at} ^ {flip}");
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
        assert!(matches!(open(cut, &FRAME, &bob.ring, NOW), Err(OpenError::Malformed(_))));
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
