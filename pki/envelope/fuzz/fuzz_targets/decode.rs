//! Changed and arbitrary bytes into each decoder: none panics, and what one of them takes encodes back to the same
//! bytes.

#![no_main]

use std::sync::LazyLock;

use fieldmesh_envelope::{
    Frame, OuterKind, ReplayWindow, SeqVerdict, SessionOffer, Signed, outer_algorithm,
    verify_bundle,
};
use fieldmesh_envelope_fuzz::{Made, NOW, OWNER, changed};
use libfuzzer_sys::fuzz_target;

static MADE: LazyLock<Made> = LazyLock::new(Made::new);

fuzz_target!(|data: &[u8]| {
    let made = &*MADE;
    let Some((choice, changes)) = data.split_first() else { return };
    let original = match choice % 6 {
        0 => made.sealed[..made.frame].to_vec(),
        1 => made.sealed[made.frame..].to_vec(),
        2 => made.session[made.frame..].to_vec(),
        3 => made.signed.as_bytes().to_vec(),
        4 => made.bundle.clone(),
        _ => made.offer.encode_body().to_vec(),
    };
    all(made, &changed(&original, changes));
    all(made, changes);
});

fn all(made: &Made, data: &[u8]) {
    frame(data);
    outer(data);
    signed(data);
    if let Ok(bundle) = verify_bundle(data, &made.signer, &made.thumbprint, OWNER, NOW) {
        assert_eq!(bundle.owner, OWNER);
        assert!(bundle.best(NOW).is_some());
    }
    if let Ok(offer) = SessionOffer::decode_body(data) {
        assert_eq!(&offer.encode_body()[..], data);
    }
    window(data);
}

fn frame(data: &[u8]) {
    if let Ok((frame, length)) = Frame::decode(data) {
        assert_eq!(frame.encode(), data[..length]);
    }
}

/// There is no encoder to ask, so the one encoding is spelt out.
fn outer(data: &[u8]) {
    let (kid, alg, entry, value) = match outer_algorithm(data) {
        Ok(OuterKind::Hpke { kid }) => (kid, &[0x18, 45][..], &[0x23, 0x58, 65][..], 65),
        Ok(OuterKind::Session { sid }) => (sid, &[3][..], &[5, 0x4c][..], 12),
        Err(_) => return,
    };
    let protected = [&[0xa3, 1][..], alg, &[3, 18, 4, 0x48], &kid].concat();
    let head =
        [&[0xd0, 0x83, 0x40 | protected.len() as u8][..], &protected, &[0xa1], entry].concat();
    let rest = data.strip_prefix(&head[..]).expect("the one encoding");
    let ciphertext = &rest[value..];
    let head = match ciphertext {
        [0x40..=0x57, ..] => 1,
        [0x58, 24..=255, ..] => 2,
        [0x59, 1..=255, ..] => 3,
        [0x5a, 0, 1, ..] => 5,
        _ => panic!("not the shortest length"),
    };
    let length =
        ciphertext[1..head].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let length = if head == 1 { usize::from(ciphertext[0] & 31) } else { length };
    assert_eq!(ciphertext.len(), head + length);
}

fn signed(data: &[u8]) {
    if let Ok(signed) = Signed::from_bytes(data.to_vec()) {
        assert_eq!(signed.as_bytes(), data);
        let claims = signed.unverified_claims();
        assert!(claims.iss.len() <= 128 && claims.aud.len() <= 128);
        let again = Signed::from_bytes(data.to_vec()).expect("the same bytes");
        assert_eq!(again.content_hash(), signed.content_hash());
    }
}

fn window(data: &[u8]) {
    if let Ok(window) = ReplayWindow::from_bytes(data) {
        assert_eq!(&window.to_bytes()[..], data);
    }
    // As numbers: each is accepted at most once.
    let mut window = ReplayWindow::default();
    for chunk in data.chunks_exact(4).take(64) {
        let near = u64::from(chunk[1]) << 8 | u64::from(chunk[2]);
        let seq = if chunk[0] & 1 == 1 { u64::MAX - near } else { near };
        let before = window.check(seq);
        window.accept(seq);
        let after = if before == SeqVerdict::TooOld { before } else { SeqVerdict::Seen };
        assert_eq!(window.check(seq), after);
    }
}
