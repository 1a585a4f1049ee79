//! Changes to what travels, frame and sealed message, in both modes: `open` never panics, and
//! opens nothing but what was sealed.
//!
//! The input is a list of changes to a valid message, so that each run starts beyond the headers;
//! the empty list leaves it valid. The first byte chooses the message.

#![no_main]

use std::sync::LazyLock;

use fieldmesh_envelope::{Frame, OpenError, SessionReceiver, open};
use fieldmesh_envelope_fuzz::{Made, NOW, changed};
use libfuzzer_sys::fuzz_target;

static MADE: LazyLock<Made> = LazyLock::new(Made::new);

fuzz_target!(|data: &[u8]| {
    let made = &*MADE;
    let Some((choice, changes)) = data.split_first() else {
        return;
    };
    let original = if choice & 1 == 0 { &made.sealed } else { &made.session };
    let travelled = changed(original, changes);
    // With bit 1 the receiver knows the frame from elsewhere and only the message is changed.
    let (frame, outer) = if choice & 2 == 0 {
        let Ok((frame, length)) = Frame::decode(&travelled) else {
            return;
        };
        (frame, &travelled[length..])
    } else {
        let (frame, _) = Frame::decode(original).expect("a frame");
        (frame, travelled.get(made.frame..).unwrap_or_default())
    };
    let intact = frame.encode() == original[..made.frame] && outer == &original[made.frame..];
    let is_session = choice & 1 == 1;

    let hpke = open(outer, &frame, &made.ring, NOW);
    let (_, mut receiver) = made.offer.answering_ends();
    let session = receiver.open(outer, &frame);
    assert_eq!(hpke.is_ok(), intact && !is_session);
    assert_eq!(session.is_ok(), intact && is_session);
    if intact {
        assert_eq!(hpke.or(session).expect("one of them"), made.signed);
        after_it(&mut receiver, outer, &frame, is_session);
    }
});

/// A session's message opens once.
fn after_it(receiver: &mut SessionReceiver, outer: &[u8], frame: &Frame, is_session: bool) {
    let again = receiver.open(outer, frame).expect_err("it was opened, or is not of the session");
    assert_eq!(again == OpenError::Counter, is_session);
}
