//! Changes to what travels, frame and sealed message, in both modes: `open` never panics, and
//! opens nothing but what was sealed.
//!
//! The input is a list of changes to a valid message, so that each run starts beyond the headers;
//! the empty list leaves it valid. The first byte chooses the message.

#![no_main]

use std::sync::{Arc, LazyLock};

use fieldmesh_envelope::{
    Frame, HpkePrivateKey, KeyRing, OpenError, SessionOffer, SessionReceiver, Signed, open,
};
use libfuzzer_sys::fuzz_target;
use zeroize::Zeroizing;

const NOW: u64 = 1_800_000_000;
/// Beyond the first key of the ratchet.
const COUNTER: u64 = 1500;

struct Fixed {
    ring: KeyRing,
    offer: SessionOffer,
    frame: usize,
    /// Frame and message, under the public key.
    sealed: &'static [u8],
    /// Frame and message, under the session's key.
    session: Vec<u8>,
    signed: Signed,
}

static FIXED: LazyLock<Fixed> = LazyLock::new(|| {
    let (key, _) = HpkePrivateKey::from_bytes(include_bytes!("../fixed/recipient")).expect("a key");
    let mut ring = KeyRing::default();
    ring.insert(Arc::new(key), NOW, NOW + 1).expect("room");
    let sealed = include_bytes!("../fixed/sealed");
    let (frame, length) = Frame::decode(sealed).expect("a frame");
    let signed = open(&sealed[length..], &frame, &ring, NOW).expect("the sealed message opens");
    let offer = SessionOffer::new(&Zeroizing::new(core::array::from_fn(|at| at as u8)), NOW + 1);
    let (mut sender, _) = offer.offering_ends();
    sender.resume_at(COUNTER).expect("the ratchet turns");
    sender.reserve(COUNTER + 1);
    let session = sender.seal(&signed, &frame).expect("a counter is left");
    let session = [&sealed[..length], &session].concat();
    Fixed { ring, offer, frame: length, sealed, session, signed }
});

fuzz_target!(|data: &[u8]| {
    let fixed = &*FIXED;
    let Some((choice, changes)) = data.split_first() else {
        return;
    };
    let original = if choice & 1 == 0 { fixed.sealed } else { &fixed.session };
    let travelled = changed(original, changes);
    // With bit 1 the receiver knows the frame from elsewhere and only the message is changed.
    let (frame, outer) = if choice & 2 == 0 {
        let Ok((frame, length)) = Frame::decode(&travelled) else {
            return;
        };
        (frame, &travelled[length..])
    } else {
        let (frame, _) = Frame::decode(original).expect("a frame");
        (frame, travelled.get(fixed.frame..).unwrap_or_default())
    };
    let intact = frame.encode() == original[..fixed.frame] && outer == &original[fixed.frame..];
    let is_session = choice & 1 == 1;

    let hpke = open(outer, &frame, &fixed.ring, NOW);
    let (_, mut receiver) = fixed.offer.answering_ends();
    let session = receiver.open(outer, &frame);
    assert_eq!(hpke.is_ok(), intact && !is_session);
    assert_eq!(session.is_ok(), intact && is_session);
    if intact {
        assert_eq!(hpke.or(session).expect("one of them"), fixed.signed);
        after_it(&mut receiver, outer, &frame, is_session);
    }
});

/// A session's message opens once.
fn after_it(receiver: &mut SessionReceiver, outer: &[u8], frame: &Frame, is_session: bool) {
    let again = receiver.open(outer, frame).expect_err("it was opened, or is not of the session");
    assert_eq!(again == OpenError::Counter, is_session);
}

/// Applies changes of four bytes each: what, where (two bytes), with what.
fn changed(original: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for change in changes.chunks_exact(4).take(16) {
        let at = (usize::from(change[1]) << 8 | usize::from(change[2])) % (bytes.len() + 1);
        let (what, value) = (change[0], change[3]);
        match what % 6 {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= value),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value),
            2 => bytes.insert(at, value),
            3 => drop(bytes.drain(at..(at + usize::from(value)).min(bytes.len()))),
            4 => bytes.truncate(at),
            _ => bytes.splice(at..at, original.iter().copied().take(usize::from(value))).for_each(drop),
        }
    }
    bytes
}
