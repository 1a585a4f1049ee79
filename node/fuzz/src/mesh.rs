//! A stream between two nodes from its first byte to its end, as whoever serves it reads it (`mesh::serve_stream`,
//! `mesh::hello`, `consensus::service`, `peers`), with all its bytes there already.
//!
//! A relay reads no further than the route; what it carries is read here as by the node that it is for. What is not
//! understood ends a stream; here it goes on with the next frame, so that changes to one do not hide the others.

#[path = "../../src/mesh/head.rs"]
mod head;

use crate::{
    consensus::{self, wire},
    courier::wire::{FRAME_BYTES_MAX, Notice, Opening},
    starts::Hello,
    value, valued,
};
use head::{Arriving, Class, First, HELLO_BYTES_MAX, PIECE, RELAY, RELAYED, ROUTE_BYTES};

pub(crate) fn stream(bytes: &[u8]) {
    let Some((byte, mut rest)) = bytes.split_first() else { return };
    let class = match First::of(*byte) {
        None => return,
        Some(First::Hello) => {
            if let Some(hello) = frame(&mut rest, HELLO_BYTES_MAX) {
                value::<Hello>(&hello);
            }
            return;
        }
        Some(relayed @ (First::Relay | First::Relayed)) => {
            let Some((bytes, carried)) = rest.split_first_chunk::<ROUTE_BYTES>() else { return };
            let Some((node, class)) = head::route(bytes) else { return };
            let kind = if relayed == First::Relay { RELAY } else { RELAYED };
            assert_eq!(head::begin(kind, node, class), [&[*byte][..], bytes].concat());
            rest = carried;
            class
        }
        Some(First::Class(class)) => {
            assert_eq!(class as u8, *byte);
            class
        }
    };
    served(class, rest);
}

fn served(class: Class, mut rest: &[u8]) {
    match class {
        Class::Consensus => {
            let Some(question) = frame(&mut rest, wire::APPEND_BYTES_MAX) else { return };
            if let Some(request) = addressed(&question) {
                consensus::request(request);
            }
        }
        Class::Replication => {
            let Some(first) = frame(&mut rest, wire::ANSWER_BYTES_MAX) else { return };
            let _ = addressed(&first);
            while let Some(request) = frame(&mut rest, wire::APPEND_BYTES_MAX) {
                consensus::request(&request);
            }
        }
        Class::Rest => {
            while let Some(list) = frame(&mut rest, consensus::REST_BYTES_MAX) {
                consensus::list(&list);
            }
        }
        Class::Snapshot => {
            let Some(first) = frame(&mut rest, wire::ANSWER_BYTES_MAX) else { return };
            if let Some(head) = addressed(&first) {
                consensus::head(head);
            }
            while let Some(piece) = frame(&mut rest, consensus::PIECE_BYTES_MAX) {
                consensus::piece(&piece);
            }
        }
        Class::Application => {
            let Some(first) = frame(&mut rest, FRAME_BYTES_MAX) else { return };
            if valued::<Opening>(&first) == Some(Opening::Notices) {
                while let Some(notice) = frame(&mut rest, FRAME_BYTES_MAX) {
                    value::<Notice>(&notice);
                }
            }
        }
    }
}

/// What is behind the number of the group that a frame is for.
fn addressed(frame: &[u8]) -> Option<&[u8]> {
    let (group, rest) = wire::addressee(frame)?;
    assert_eq!(wire::addressed(group, rest), frame);
    Some(rest)
}

/// The next frame, taken off what is left of a stream. A length alone costs no more than a piece.
fn frame(rest: &mut &[u8], max: usize) -> Option<Vec<u8>> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let (mut arriving, mut left, mut taken) = (Arriving::new(*length, max).ok()?, behind, 0);
    while let Some(room) = arriving.room() {
        assert!(!room.is_empty() && room.len() <= PIECE);
        let (now, behind) = left.split_at_checked(room.len())?;
        room.copy_from_slice(now);
        (left, taken) = (behind, taken + now.len());
    }
    *rest = left;
    let body = arriving.whole();
    assert_eq!(body.len(), taken);
    assert!(taken <= max && body.capacity() <= 2 * (taken + PIECE));
    Some(body)
}
