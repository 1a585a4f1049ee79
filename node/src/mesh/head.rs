//! What a stream between nodes begins with, and where its frames end: bytes alone, which are fuzzed without a network.
//!
//! A stream says first what it carries. Frames follow: a length of four bytes, big-endian, then so many bytes.
//! **Invariants:** a number once given stays; a length above the reader's limit is refused before anything is reserved
//! for it, and one that is not followed by its bytes costs one piece. **Not here:** connections (`mesh`), what is in a
//! frame (`hello`, `consensus::wire`, `courier::wire`).

/// First byte of a stream that is for another node, of one that is from another node, and of a hello.
pub(crate) const RELAY: u8 = 5;
pub(crate) const RELAYED: u8 = 6;
pub(crate) const HELLO: u8 = 7;
/// What follows the first byte of a relayed stream: a node's number, and the class.
pub(crate) const ROUTE_BYTES: usize = 9;
/// The largest hello: some times what sixteen starts take.
pub(crate) const HELLO_BYTES_MAX: usize = 4 << 10;
/// What is read at once: a length that is not followed by its bytes costs no more.
pub(crate) const PIECE: usize = 64 << 10;

/// What a stream carries: its first byte. A number once given stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// One question of consensus with its answer: votes, and who is to lead.
    Consensus = 1,
    /// Log entries, one request after the other; heartbeats are requests without entries.
    Replication = 2,
    Snapshot = 3,
    Application = 4,
    /// Lists of groups at rest, one after the other, each with its answer.
    Rest = 8,
}

impl Class {
    pub(crate) fn of(byte: u8) -> Option<Self> {
        let all =
            [Self::Consensus, Self::Replication, Self::Snapshot, Self::Application, Self::Rest];
        all.into_iter().find(|class| *class as u8 == byte)
    }

    /// What is sent first where both wait.
    pub(crate) fn priority(self) -> i32 {
        match self {
            Self::Consensus | Self::Rest => 3,
            Self::Replication => 2,
            Self::Application => 1,
            Self::Snapshot => 0,
        }
    }
}

/// What the first byte of a stream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    Hello,
    /// It is for another node.
    Relay,
    /// It is from another node.
    Relayed,
    Class(Class),
}

impl First {
    pub(crate) fn of(byte: u8) -> Option<Self> {
        match byte {
            HELLO => Some(Self::Hello),
            RELAY => Some(Self::Relay),
            RELAYED => Some(Self::Relayed),
            byte => Class::of(byte).map(Self::Class),
        }
    }
}

/// The beginning of a stream that is for or from another node.
pub(crate) fn begin(kind: u8, node: u64, class: Class) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(node.to_be_bytes());
    bytes.push(class as u8);
    bytes
}

/// Whom such a stream is for or from, and what it carries.
pub(crate) fn route(bytes: &[u8; ROUTE_BYTES]) -> Option<(u64, Class)> {
    let (node, class) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*node), Class::of(class[0])?))
}

/// A frame of which the length has come.
pub(crate) struct Arriving {
    length: usize,
    body: Vec<u8>,
}

impl Arriving {
    /// # Errors
    /// The length, where it is above the limit.
    pub(crate) fn new(length: [u8; 4], max: usize) -> Result<Self, usize> {
        let length = u32::from_be_bytes(length) as usize;
        if length > max { Err(length) } else { Ok(Self { length, body: Vec::new() }) }
    }

    /// Room for what comes next, which is to be filled; none where all has come.
    pub(crate) fn room(&mut self) -> Option<&mut [u8]> {
        let from = self.body.len();
        if from == self.length {
            return None;
        }
        self.body.resize(self.length.min(from + PIECE), 0);
        Some(&mut self.body[from..])
    }

    /// The body, once all has come.
    pub(crate) fn whole(self) -> Vec<u8> {
        self.body
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    /// Nodes of two releases are in one cluster while it is upgraded.
    #[test]
    fn the_bytes_that_streams_begin_with_are_frozen() {
        let first = [Class::Consensus, Class::Replication, Class::Snapshot, Class::Application];
        for (byte, class) in (1..).zip(first).chain([(8, Class::Rest)]) {
            assert_eq!((class as u8, First::of(byte)), (byte, Some(First::Class(class))));
            assert_eq!(begin(RELAY, 0x102, class), [5, 0, 0, 0, 0, 0, 0, 1, 2, byte]);
            assert_eq!(begin(RELAYED, 0x102, class), [6, 0, 0, 0, 0, 0, 0, 1, 2, byte]);
            assert_eq!(route(&[0, 0, 0, 0, 0, 0, 1, 2, byte]), Some((0x102, class)));
        }
        let others = [First::Relay, First::Relayed, First::Hello].map(Some);
        assert_eq!([5, 6, 7].map(First::of), others);
        assert_eq!([0, 9, u8::MAX].map(First::of), [None; 3]);
        assert_eq!([0, 5, 6, 7].map(|class| route(&[0, 0, 0, 0, 0, 0, 0, 1, class])), [None; 4]);
    }

    #[test]
    fn a_length_is_believed_as_its_bytes_come() {
        assert_eq!(Arriving::new([0, 0, 0, 5], 4).err(), Some(5));
        assert_eq!(Arriving::new([0xff; 4], 4).err(), Some(u32::MAX as usize));
        let mut empty = Arriving::new([0; 4], 0).unwrap();
        assert!(empty.room().is_none());
        assert!(empty.whole().is_empty());
        let length = PIECE + 3;
        let said = u32::try_from(length).unwrap().to_be_bytes();
        let mut arriving = Arriving::new(said, length).unwrap();
        assert_eq!(arriving.body.capacity(), 0);
        for wanted in [PIECE, 3] {
            let room = arriving.room().unwrap();
            assert_eq!(room.len(), wanted);
            room.fill(7);
        }
        assert!(arriving.room().is_none());
        assert_eq!(arriving.whole(), vec![7; length]);
    }
}
