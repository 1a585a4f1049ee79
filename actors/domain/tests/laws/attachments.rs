//! Attachments: pieces come in order, and an upload is one.

use fieldmesh_domain::{
    Ctx, EntityId, RejectionCode,
    attachment::{Attachment, Command, Event, PIECE_BYTES_MAX, PIECES_MAX},
    time::Millis,
};
use proptest::{collection::vec, prelude::*};

use crate::world::{Lived, customer};

fn ctx() -> Ctx {
    let ticket = EntityId::ticket_of(customer(0), [1; 16]);
    Ctx { now: Millis(1), id: EntityId::attachment_of(ticket, 3), rule_version: 1 }
}

fn piece(by: &str, upload: u8, (index, of): (u16, u16), bytes: usize) -> Command {
    let piece = vec![u8::try_from(index % 256).unwrap(); bytes].into();
    Command::Store { by: by.into(), upload: [upload; 16], index, of, piece, customer: customer(0) }
}

proptest! {
    #![proptest_config(crate::cases(500))]

    /// Whatever is sent how often and in which order, what is there is a beginning of one upload.
    #[test]
    fn what_is_there_is_a_beginning_of_one_upload(
        sent in vec((0_u8..2, 0_u16..4, 4_u16..6, 1_usize..4), 0..40)
    ) {
        let mut attachment = Lived::<Attachment>::default();
        for (upload, index, of, bytes) in sent {
            let (first, before) = (attachment.state.upload, attachment.state.count);
            let answer = attachment.ask(&piece("a", upload, (index, of), bytes), &ctx());
            let is_other = first.is_some_and(|own| *own != [upload; 16]);
            if is_other {
                prop_assert_eq!(answer.unwrap_err().code, RejectionCode::Exists);
            }
            let count = attachment.state.count;
            prop_assert!(count == before || (count == before + 1 && index == before));
        }
        let Lived { state, events } = &attachment;
        prop_assert_eq!(usize::from(state.count), events.len());
        let bytes = events.iter().map(|Event::Stored { piece, .. }| piece.len());
        prop_assert_eq!(bytes.sum::<usize>(), state.bytes as usize);
        for (number, Event::Stored { piece, of, .. }) in events.iter().enumerate() {
            prop_assert_eq!(usize::from(piece[0]), number);
            prop_assert_eq!(*of, state.of);
        }
        attachment.replay_equals_live();
    }
}

#[test]
fn what_was_given_up_makes_way() {
    let mut attachment = Lived::<Attachment>::default();
    let hour = |hours: u64| Ctx { now: Millis(1 + hours * 3_600_001), ..ctx() };
    for index in 0..2 {
        attachment.ask(&piece("a", 1, (index, 3), 1), &hour(0)).unwrap();
    }
    let other = |index| piece("b", 2, (index, 2), 2);
    assert_eq!(attachment.ask(&other(0), &hour(0)).unwrap_err().code, RejectionCode::Exists);
    for index in 0..2 {
        attachment.ask(&other(index), &hour(1)).unwrap();
    }
    let state = &attachment.state;
    assert!(state.is_complete() && (state.by.as_str(), state.bytes) == ("b", 4));
    // Its pieces are behind those of the first.
    let found = (0..3).map(|index| state.version_of(index)).collect::<Vec<_>>();
    assert_eq!(found, [Some(2), Some(3), None]);
    // What is complete stays, however old.
    let late = piece("a", 1, (0, 3), 1);
    assert_eq!(attachment.ask(&late, &hour(9)).unwrap_err().code, RejectionCode::Exists);
    attachment.replay_equals_live();
}

#[test]
fn a_piece_that_is_no_piece_is_refused() {
    let mut attachment = Lived::<Attachment>::default();
    let long = "a".repeat(257);
    for (wrong, code) in [
        (piece("", 1, (0, 1), 1), RejectionCode::Invalid),
        (piece(&long, 1, (0, 1), 1), RejectionCode::Invalid),
        (piece("a", 1, (0, 1), 0), RejectionCode::Invalid),
        (piece("a", 1, (0, 1), PIECE_BYTES_MAX + 1), RejectionCode::Invalid),
        (piece("a", 1, (0, 0), 1), RejectionCode::Invalid),
        (piece("a", 1, (1, 1), 1), RejectionCode::Invalid),
        (piece("a", 1, (0, PIECES_MAX + 1), 1), RejectionCode::Invalid),
        (piece("a", 1, (1, 2), 1), RejectionCode::NotNow),
    ] {
        assert_eq!(attachment.ask(&wrong, &ctx()).unwrap_err().code, code, "{wrong:?}");
    }
    attachment.ask(&piece("a", 1, (0, PIECES_MAX), PIECE_BYTES_MAX), &ctx()).unwrap();
    // The same number, and another person or another length.
    for other in [piece("b", 1, (1, PIECES_MAX), 1), piece("a", 1, (1, 2), 1)] {
        assert_eq!(attachment.ask(&other, &ctx()).unwrap_err().code, RejectionCode::Exists);
    }
    assert!(!attachment.state.is_complete());
}
