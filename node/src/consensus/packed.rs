//! Frames made smaller on their way: log entries and pieces of a snapshot, to whoever said that it reads them so.
//!
//! A packed frame is `2 | length of the plain one, four bytes, big-endian | LZ4 block`. A plain one is a record, whose
//! version comes first and is 1 ([`codec`](super::codec)): each says which of both it is. **Invariants:** nothing is
//! reserved for a length above the reader's limit, nor for one that so few bytes cannot stand for; what was packed is
//! believed no sooner than what was not, for its checksum is inside. How short a frame becomes tells nobody on the way
//! what is in it: content is sealed before it comes here, and does not become shorter. **Not here:** who reads what
//! (`starts`, `mesh`), what is stored: that is never packed.

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use super::codec::CodecError;

/// First byte of a packed frame. No record has this version.
const PACKED: u8 = 2;
/// That byte and the length.
const HEADER_BYTES: usize = 5;
/// What is shorter goes as it is. Groups that are in step send little else, and it is three packets at most.
const PACKED_FROM: usize = 4 << 10;
/// What one byte of an LZ4 block can stand for, at most: it says that the bytes before it are repeated so often.
const BYTES_OF_ONE: usize = 255;

/// The frame packed, where that makes it shorter.
pub fn pack(frame: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(frame.len());
    let Some(length) = length.ok().filter(|_| frame.len() >= PACKED_FROM) else { return frame };
    let mut packed = vec![0; HEADER_BYTES + get_maximum_output_size(frame.len())];
    packed[0] = PACKED;
    packed[1..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
    // The only error is too little room.
    let Ok(block) = compress_into(&frame, &mut packed[HEADER_BYTES..]) else { return frame };
    packed.truncate(HEADER_BYTES + block);
    if packed.len() >= frame.len() {
        return frame;
    }
    let saved = frame.len() - packed.len();
    metrics::counter!("fieldmesh_mesh_saved_bytes_total").increment(saved as u64);
    packed
}

/// The plain frame of at most so many bytes. One that is not packed is given back as it is.
///
/// # Errors
/// A packed frame that is too long, or is not as long as it says.
pub fn unpack(frame: Vec<u8>, max: usize) -> Result<Vec<u8>, CodecError> {
    let Some((&PACKED, rest)) = frame.split_first() else { return Ok(frame) };
    let (length, block) = rest.split_first_chunk().ok_or_else(|| CodecError::Short(frame.len()))?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > max.min(block.len().saturating_mul(BYTES_OF_ONE)) {
        return Err(CodecError::Impossible("a packed frame longer than it may be"));
    }
    let mut plain = vec![0; length];
    match decompress_into(block, &mut plain) {
        Ok(found) if found == length => Ok(plain),
        _ => Err(CodecError::Impossible("a packed frame that is not as long as it says")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1 << 20;

    /// As long as that, and full of repetitions.
    fn repetitive(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 7 % 50) as u8).collect()
    }

    /// A record's version, and bytes of which none says anything about another.
    fn random(length: usize, seed: u64) -> Vec<u8> {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut dice = StdRng::seed_from_u64(seed);
        let bytes = (1..length).map(|_| dice.random_range(0..=255_u8));
        [1].into_iter().chain(bytes).collect()
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_as_it_was(
            length in 1..3 * PACKED_FROM,
            noise in 0..3 * PACKED_FROM,
            seed in any::<u64>(),
        ) {
            let mut frame = random(1 + noise, seed);
            frame.extend(repetitive(length));
            let packed = pack(frame.clone());
            prop_assert!(packed.len() <= frame.len());
            prop_assert_eq!(unpack(packed, MAX).unwrap(), frame);
        }

        #[test]
        fn what_is_cut_or_longer_is_refused(
            length in PACKED_FROM..3 * PACKED_FROM,
            at in any::<prop::sample::Index>(),
        ) {
            let mut frame = repetitive(length);
            frame[0] = 1;
            let packed = pack(frame);
            prop_assert_eq!(packed[0], PACKED);
            // Nothing at all is no packed frame.
            let cut = 1 + at.index(packed.len() - 1);
            prop_assert!(unpack(packed[..cut].to_vec(), MAX).is_err());
            prop_assert!(unpack([&packed[..], &[0x10, 0]].concat(), MAX).is_err());
        }
    }

    #[test]
    fn what_does_not_get_shorter_goes_as_it_is() {
        for frame in [vec![], repetitive(PACKED_FROM - 1), random(2 * PACKED_FROM, 3)] {
            assert_eq!(pack(frame.clone()), frame);
        }
        let frame = repetitive(PACKED_FROM);
        let packed = pack(frame.clone());
        assert!(packed[0] == PACKED && packed.len() < frame.len() / 2, "{} bytes", packed.len());
    }

    /// As the first release that packs sends them: four bytes, sixteen that repeat them, and five.
    #[test]
    fn the_bytes_of_a_packed_frame_are_frozen() {
        let frozen = [
            &[2, 0, 0, 0, 25][..],
            &[0x4c, b'a', b'b', b'c', b'd', 4, 0],
            &[0x50, b'v', b'w', b'x', b'y', b'z'],
        ]
        .concat();
        assert_eq!(unpack(frozen, 25).unwrap(), b"abcdabcdabcdabcdabcdvwxyz");
        // Nothing is repeated.
        let frozen = [&[2, 0, 0, 0, 3, 0x30][..], b"abc"].concat();
        assert_eq!(unpack(frozen, 3).unwrap(), b"abc");
        // A record is read as it is.
        assert_eq!(unpack(vec![1, 9, 9], 2).unwrap(), [1, 9, 9]);
    }

    #[test]
    fn a_length_that_is_not_the_frames_is_refused() {
        let frame = repetitive(2 * PACKED_FROM);
        let packed = pack(frame.clone());
        let said = |length: u32| {
            let mut changed = packed.clone();
            changed[1..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
            unpack(changed, MAX)
        };
        let length = u32::try_from(frame.len()).unwrap();
        assert_eq!(said(length).unwrap(), frame);
        for wrong in [0, 1, length - 1, length + 1, u32::MAX] {
            assert!(said(wrong).is_err(), "{wrong}");
        }
        assert!(unpack(packed.clone(), frame.len()).is_ok());
        assert!(unpack(packed, frame.len() - 1).is_err(), "above the reader's limit");
    }

    /// Bytes that stand for very many others.
    #[test]
    fn a_bomb_is_refused_before_anything_is_reserved_for_it() {
        let bomb = |length: u32, more: usize| {
            // One byte, repeated; each byte of 255 says that it is 255 times more. A block ends with five that are not.
            let block =
                [&[0x1f, 7, 1, 0][..], &vec![255; more], &[0, 0x50, 7, 7, 7, 7, 7]].concat();
            [&[PACKED][..], &length.to_be_bytes(), &block].concat()
        };
        let refused = |frame: Vec<u8>, max| match unpack(frame, max) {
            Err(CodecError::Impossible(why)) => why,
            other => panic!("{other:?}"),
        };
        // It would be true.
        let whole = 1 + 19 + 255 * 100 + 5;
        assert_eq!(unpack(bomb(whole, 100), MAX).unwrap(), vec![7; whole as usize]);
        let longer = "a packed frame longer than it may be";
        assert_eq!(refused(bomb(whole, 100), whole as usize - 1), longer);
        // It would not.
        assert_eq!(refused(bomb(u32::MAX, 100), usize::MAX), longer);
        let other = "a packed frame that is not as long as it says";
        assert_eq!(refused(bomb(whole - 1, 100), MAX), other);
        assert_eq!(refused(bomb(whole + 1, 100), MAX), other);
    }
}
