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
    /// When the last step was, by the clock of who led then.
    #[cbor(n(3), default)]
    pub at_ms: u64,
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
    /// The sealed state; empty where it is in parts.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
    /// How many rows of parts hold the state.
    #[n(2)]
    pub parts: Option<u32>,
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
    /// It was redirected: the command is in another row, and only the number is to be taken.
    #[cbor(n(2), default)]
    pub is_void: bool,
}

/// The last move of a slot that this group had a part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SlotRow {
    /// When it set out.
    #[n(0)]
    pub sent: u64,
    /// The shard that it was given to: nothing of it changes here. None where it came, with all its rows.
    #[n(1)]
    pub given_to: Option<u32>,
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

    /// Whether a number was taken.
    pub fn has(&self, number: u64) -> bool {
        number <= self.low || self.above.binary_search(&number).is_ok()
    }

    /// Takes a number, once.
    pub fn take(&mut self, number: u64) -> Take {
        if number <= self.low {
            return Take::Before;
        }
        let Err(at) = self.above.binary_search(&number) else {
            return Take::Before;
        };
        if number - self.low > Self::WINDOW {
            return Take::TooFar;
        }
        self.above.insert(at, number);
        let run = self
            .above
            .iter()
            .zip(self.low + 1..)
            .take_while(|(have, want)| **have == *want)
            .count();
        self.above.drain(..run);
        self.low += run as u64;
        Take::Fresh
    }
}

/// What a cursor says of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    Fresh,
    /// It was taken before.
    Before,
    /// It was not taken, and cannot be before the missing ones are: to be told again later.
    TooFar,
}

/// Encodes a value.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value)
        .unwrap_or_else(|_error| unreachable!("encoding into memory cannot fail"))
}

/// A key as messages name its record.
pub fn name(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value that these bytes are, all of them.
///
/// # Errors
/// Bytes that are something else, or more.
pub fn whole<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Result<T, minicbor::decode::Error> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode()?;
    if decoder.position() == bytes.len() {
        Ok(value)
    } else {
        Err(minicbor::decode::Error::message("bytes behind the value"))
    }
}

/// Decodes a value, naming the record where it cannot.
pub fn decode<T: for<'b> Decode<'b, ()>>(key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    whole(value).map_err(|error| StoreError::Corrupt {
        table: "state".into(),
        record: name(key),
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
        record: name(key),
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
    use super::{Cursor, StoreError, Take, TimerRow, decode, encode};

    #[test]
    fn a_row_ends_where_its_value_ends() {
        let row = TimerRow { due_ms: 1, generation: 2 };
        let mut bytes = encode(&row);
        assert_eq!(decode::<TimerRow>(b"u", &bytes).ok(), Some(row));
        bytes.push(0);
        let damaged = decode::<TimerRow>(b"u", &bytes);
        assert!(matches!(damaged, Err(StoreError::Corrupt { record, .. }) if record == "75"));
    }

    #[test]
    fn a_cursor_takes_each_number_once_in_any_order() {
        let mut cursor = Cursor::default();
        let taken = [2, 2, 1].map(|number| cursor.take(number));
        assert_eq!(taken, [Take::Fresh, Take::Before, Take::Fresh]);
        assert_eq!(cursor, Cursor { low: 2, above: Vec::new() });
        let taken = [1, 4, 3].map(|number| cursor.take(number));
        assert_eq!(taken, [Take::Before, Take::Fresh, Take::Fresh]);
        assert_eq!(cursor.low, 4);
        // Far ahead is not "taken before": whoever tells it must not forget it.
        assert_eq!(cursor.take(5 + Cursor::WINDOW), Take::TooFar);
        assert_eq!(cursor.take(4 + Cursor::WINDOW), Take::Fresh);
        assert_eq!(cursor.take(5), Take::Fresh);
        assert_eq!(cursor.take(5 + Cursor::WINDOW), Take::Fresh);
    }
}
