//! The symmetric mode and key bundles: what is made opens, and everything else is refused.

use super::*;

fn session() -> ((SessionSender, SessionReceiver), (SessionSender, SessionReceiver)) {
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
fn one_key_for_both_directions_is_refused() {
    let offer = SessionOffer::new(&Zeroizing::new([7; 72]), NOW + 3600);
    assert!(matches!(SessionOffer::decode_body(&offer.encode_body()), Err(DecodeError::Shape(_))));
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
        let frame = Frame { message_id: id, ..FRAME };
        let outer = there.seal(&signed, &frame).unwrap();
        assert_eq!(
            outer_algorithm(&outer),
            Ok(OuterKind::Session { sid: [0, 1, 2, 3, 4, 5, 6, 7] })
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
        assert!(matches!(here.open(&outer[..at], &FRAME), Err(OpenError::Malformed(_))));
    }
    // The two kinds do not open one another, and refusals moved nothing.
    assert_eq!(here.open(&hpke, &FRAME), Err(OpenError::UnknownKey { kid: bob.public.kid() }));
    assert_eq!(
        open(&outer, &FRAME, &bob.ring, NOW),
        Err(OpenError::Malformed(DecodeError::Algorithm))
    );
    assert_eq!(here.open(&outer, &FRAME).unwrap(), signed);
}

#[test]
fn a_bundle_is_believed_only_as_signed() {
    let (alice, mallory) = (identity(b"certificate of alice"), identity(b"of mallory"));
    let keys: Vec<_> = (0..8).map(|_| HpkePrivateKey::generate().unwrap().1).collect();
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
    assert_eq!(read(&bytes, now), Err(VerifyError::Expired { exp: now, now }));
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
        assert!(matches!(read(&bytes[..at], NOW), Err(VerifyError::Malformed(_))));
    }
    let trailing = [&bytes[..], &[0]].concat();
    assert_eq!(read(&trailing, NOW), Err(VerifyError::Malformed(DecodeError::Trailing)));
    assert_eq!(read(&[0; 4097], NOW), Err(VerifyError::Malformed(DecodeError::TooLarge)));
    // Without a key it would be newer than what can be used.
    let none = without_keys(&alice);
    assert!(matches!(read(&none, NOW), Err(VerifyError::Malformed(DecodeError::Shape(_)))));
    // A message is not a bundle, nor the other way round.
    let signed = sign(&message(b"x"), &alice.signer).unwrap();
    assert!(matches!(read(signed.as_bytes(), NOW), Err(VerifyError::Malformed(_))));
    assert!(Signed::from_bytes(bytes).is_err());
}

/// A bundle that is signed well and has no key: our own signing refuses to make one.
fn without_keys(alice: &Identity) -> Vec<u8> {
    let bundle = |keys| KeyBundle {
        owner: "alice".into(),
        serial: 9,
        not_before: NOW,
        not_after: NOW + 1,
        keys,
    };
    assert_eq!(sign_bundle(&bundle(Vec::new()), &alice.signer), Err(SignError::TooLarge));
    let key = HpkePrivateKey::generate().unwrap().1;
    let whole = sign_bundle(&bundle(vec![key]), &alice.signer).unwrap();
    // Tag, array, protected and an empty map; then the payload, that ends with an array of one key
    // of 78 bytes, and the signature.
    let head = 4 + usize::from(whole[3]) + 1;
    let payload = &whole[head + 2..whole.len() - 66];
    let (before, key) = payload.split_at(payload.len() - 78);
    assert_eq!((before.last(), key[0], key.len()), (Some(&0x81), 0xa5, 78));
    let payload = [&before[..before.len() - 1], &[0x80]].concat();
    let wrap = |bytes: &[u8]| [&[0x58, bytes.len() as u8][..], bytes].concat();
    let protected = &whole[2..head - 1];
    let signed = [b"\x84\x6aSignature1", protected, b"\x40", &wrap(&payload)].concat();
    let signature = alice.signer.sign(&signed).unwrap();
    [&whole[..head], &wrap(&payload), &wrap(&signature)].concat()
}
