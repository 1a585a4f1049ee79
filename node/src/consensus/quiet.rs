//! The frames by which groups rest: a list of those that do, and back which of them do not.
//!
//! **Invariants:** a list is bounded before anything is made of it; what a place in a record means it means for good.
//! **Not here:** who says it ([`rest`](super::rest)).

use minicbor::{Decode, Decoder, Encode};

use super::codec::CodecError;
use crate::store::keys::GroupId;

/// Groups of one list: more than a node leads.
pub(super) const GROUPS_MAX: usize = 256;
/// The largest frame, with room: four numbers for each group.
pub(crate) const FRAME_BYTES_MAX: usize = 16 << 10;

/// A group in which nothing happens: the term of whoever says so, who leads it, and its last entry, which is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) struct Quiet {
    #[n(0)]
    pub(super) group: GroupId,
    #[n(1)]
    pub(super) term: u64,
    /// Of the last entry.
    #[n(2)]
    pub(super) last_term: u64,
    #[n(3)]
    pub(super) last_index: u64,
}

/// The frame of a list of so many groups at most.
pub(super) fn list_frame(list: &[Quiet]) -> Vec<u8> {
    frame(list)
}

/// # Errors
/// Bytes that are no list, or a longer one than there may be.
pub(super) fn list_of(frame: &[u8]) -> Result<Vec<Quiet>, CodecError> {
    all(frame)
}

/// The frame that answers a list: which groups of it do not rest.
pub(super) fn awake_frame(awake: &[GroupId]) -> Vec<u8> {
    frame(awake)
}

/// # Errors
/// As of [`list_of`].
pub(super) fn awake_of(frame: &[u8]) -> Result<Vec<GroupId>, CodecError> {
    all(frame)
}

fn frame<T: Encode<()>>(all: &[T]) -> Vec<u8> {
    minicbor::to_vec(all).unwrap_or_else(|_error| unreachable!("encoding into memory cannot fail"))
}

fn all<T: for<'b> Decode<'b, ()>>(frame: &[u8]) -> Result<Vec<T>, CodecError> {
    let mut decoder = Decoder::new(frame);
    let count = decoder.array()?.ok_or(CodecError::Impossible("a list without a length"))?;
    if count > GROUPS_MAX as u64 {
        return Err(CodecError::Impossible("more groups than one list has"));
    }
    let all = (0..count).map(|_| decoder.decode()).collect::<Result<Vec<T>, _>>()?;
    if decoder.position() < frame.len() { Err(CodecError::Trailing) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    const QUIET: Quiet = Quiet { group: 7, term: 3, last_term: 2, last_index: 300 };

    /// Nodes of two releases are in one cluster while it is upgraded.
    #[test]
    fn what_nodes_say_of_groups_at_rest_is_frozen() {
        let bytes = [0x82, 0x84, 7, 3, 2, 0x19, 1, 0x2c, 0x84, 7, 3, 2, 0x19, 1, 0x2c];
        assert_eq!(list_frame(&[QUIET; 2]), bytes);
        assert_eq!(list_of(&bytes).unwrap(), [QUIET; 2]);
        assert_eq!(awake_frame(&[7, 300]), [0x82, 7, 0x19, 1, 0x2c]);
        assert_eq!(awake_of(&[0x82, 7, 0x19, 1, 0x2c]).unwrap(), [7, 300]);
        assert_eq!(list_of(&list_frame(&[])).unwrap(), []);
    }

    #[test]
    fn a_list_is_whole_and_bounded() {
        let whole = list_frame(&[QUIET]);
        for cut in 0..whole.len() {
            assert!(list_of(&whole[..cut]).is_err(), "{cut}");
        }
        assert!(matches!(list_of(&[&whole[..], &[0]].concat()), Err(CodecError::Trailing)));
        // A count alone, and no count.
        for frame in [&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &[0x9f, 0xff]] {
            assert!(matches!(list_of(frame), Err(CodecError::Impossible(_))));
            assert!(matches!(awake_of(frame), Err(CodecError::Impossible(_))));
        }
        let (group, term) = (GroupId::MAX, u64::MAX);
        let longest = Quiet { group, term, last_term: term, last_index: u64::MAX };
        let full = list_frame(&[longest; GROUPS_MAX]);
        assert!(full.len() <= FRAME_BYTES_MAX, "{}", full.len());
        assert_eq!(list_of(&full).unwrap().len(), GROUPS_MAX);
        let more = list_frame(&[longest; GROUPS_MAX + 1]);
        assert!(matches!(list_of(&more), Err(CodecError::Impossible(_))));
    }
}
