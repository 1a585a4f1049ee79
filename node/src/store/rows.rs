//! The values of the state table that are not sealed, and how all values are read.
//!
//! **Invariant:** field numbers are never reused; a value that does not decode is a named error.

use fieldmesh_actors::commit::Tell;
use fieldmesh_domain::EntityId;
use minicbor::{Decode, Encode};

use super::{StoreError, Table};

/// Version, hash chain and data-key owner of an entity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Head {
    /// How many events the entity has.
    #[n(0)]
    pub version: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub chain: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    pub owner: [u8; 16],
}

/// What replay protection remembers of a message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DedupRow {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub content: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    pub receipt: Vec<u8>,
    #[n(2)]
    pub at_ms: u64,
}

/// An entity's state at a version.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotRow {
    #[n(0)]
    pub version: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

/// A timer by name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TimerRow {
    #[n(0)]
    pub due_ms: u64,
    #[n(1)]
    pub generation: u32,
}

/// A command on its way to another entity.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OutboxRow {
    #[n(0)]
    pub tell: Tell,
    /// Whose data key the command is sealed under.
    #[n(1)]
    pub owner: EntityId,
}

/// Which numbers of another shard's outbox were taken: all up to `low`, and those in `above`.
///
/// Rows to different entities are in flight together and may commit out of order; the sender keeps
/// at most [`Cursor::WINDOW`] in flight, which bounds `above`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Cursor {
    #[n(0)]
    pub low: u64,
    #[n(1)]
    pub above: Vec<u64>,
}

impl Cursor {
    /// How far a number may run ahead of the lowest missing one.
    pub const WINDOW: u64 = 4096;

    /// Takes a number; false where it was taken before or is impossibly far ahead.
    pub fn take(&mut self, number: u64) -> bool {
        if number <= self.low || number > self.low + Self::WINDOW {
            return false;
        }
        let Err(at) = self.above.binary_search(&number) else {
            return false;
        };
        self.above.insert(at, number);
        let run = self
            .above
            .iter()
            .zip(self.low + 1..)
            .take_while(|(have, want)| **have == *want)
            .count();
        self.above.drain(..run);
        self.low += run as u64;
        true
    }
}

/// Encodes a value.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value)
        .unwrap_or_else(|_error| unreachable!("encoding into memory cannot fail"))
}

/// Decodes a value, naming the record where it cannot.
pub fn decode<T: for<'b> Decode<'b, ()>>(key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    minicbor::decode(value).map_err(|error| StoreError::Corrupt {
        table: "state".into(),
        record: key.iter().map(|byte| format!("{byte:02x}")).collect(),
        fact: error.to_string(),
    })
}

/// Reads and decodes a value.
pub fn read<T: for<'b> Decode<'b, ()>>(
    table: &dyn Table,
    key: &[u8],
) -> Result<Option<T>, StoreError> {
    table.get(key)?.map(|value| decode(key, &value)).transpose()
}

/// Reads a big-endian number.
pub fn read_u64(table: &dyn Table, key: &[u8]) -> Result<Option<u64>, StoreError> {
    let Some(value) = table.get(key)? else {
        return Ok(None);
    };
    let bytes = <[u8; 8]>::try_from(value.as_slice()).map_err(|_| StoreError::Corrupt {
        table: "state".into(),
        record: key.iter().map(|byte| format!("{byte:02x}")).collect(),
        fact: format!("a number has 8 bytes, this has {}", value.len()),
    })?;
    Ok(Some(u64::from_be_bytes(bytes)))
}

/// Device and message id at the end of a replay-expiry key.
pub fn device_and_message(key: &[u8]) -> Option<([u8; 16], [u8; 16])> {
    let at = key.len().checked_sub(32)?;
    let (device, message) = key[at..].split_at(16);
    Some((device.try_into().ok()?, message.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::Cursor;

    #[test]
    fn a_cursor_takes_each_number_once_in_any_order() {
        let mut cursor = Cursor::default();
        assert!(cursor.take(2));
        assert!(!cursor.take(2));
        assert!(cursor.take(1));
        assert_eq!(cursor, Cursor { low: 2, above: Vec::new() });
        assert!(!cursor.take(1));
        assert!(cursor.take(4) && cursor.take(3));
        assert_eq!(cursor.low, 4);
        assert!(!cursor.take(5 + Cursor::WINDOW));
    }
}
