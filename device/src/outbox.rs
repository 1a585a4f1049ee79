//! What a device must not forget: messages not yet answered, and which ones it has received.
//!
//! The file is a sequence of encrypted records, each synced before the call returns; it is written
//! anew when it is opened. **Invariants:** a torn last record is dropped, because its call never
//! returned; damage before it is an error that names file and byte, and nothing is overwritten.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::files::{self, AppendFile};

/// Messages waiting to be answered.
pub const ENTRIES_MAX: usize = 1024;
/// Received messages remembered; older ones are refused by their sequence number or expiry.
const SEEN_MAX: usize = 4096;
/// Bytes of a record: an envelope and its header.
const RECORD_BYTES_MAX: usize = 128 * 1024;

/// Why the outbox did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error("{ENTRIES_MAX} messages are waiting already")]
    Full,
    #[error("the outbox {path} cannot be used")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the outbox {path} is damaged at byte {at}: move it away to go on without the messages in it"
    )]
    Damaged { path: PathBuf, at: usize },
}

/// A signed message that waits.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub message_id: [u8; 16],
    #[cbor(n(1), with = "minicbor::bytes")]
    pub signed: Vec<u8>,
    /// Unix seconds.
    #[n(2)]
    pub expires_s: u64,
    #[n(3)]
    pub sequence: u64,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Change {
    #[n(0)]
    Added(#[n(0)] Entry),
    #[n(1)]
    Answered(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16]),
    #[n(2)]
    Received {
        #[cbor(n(0), with = "minicbor::bytes")]
        message_id: [u8; 16],
        #[n(1)]
        expires_s: u64,
    },
}

/// All that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    pub entries: BTreeMap<[u8; 16], Entry>,
    pub seen: BTreeMap<[u8; 16], u64>,
    pub last_sequence: u64,
}

impl Memory {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Added(entry) => {
                self.last_sequence = self.last_sequence.max(entry.sequence);
                self.entries.insert(entry.message_id, entry.clone());
            }
            Change::Answered(id) => {
                self.entries.remove(id);
            }
            Change::Received { message_id, expires_s } => {
                self.seen.insert(*message_id, *expires_s);
                while self.seen.len() > SEEN_MAX {
                    let oldest =
                        self.seen.iter().min_by_key(|(_, expires)| **expires).map(|(id, _)| *id);
                    oldest.map(|id| self.seen.remove(&id));
                }
            }
        }
    }

    fn check(&self, change: &Change) -> Result<(), OutboxError> {
        let full = matches!(change, Change::Added(_)) && self.entries.len() >= ENTRIES_MAX;
        if full { Err(OutboxError::Full) } else { Ok(()) }
    }
}

/// A device's durable memory.
pub trait Outbox: Send + Sync {
    fn memory(&self) -> &Memory;

    /// Durable on return.
    ///
    /// # Errors
    /// See [`OutboxError`]; nothing changes.
    fn record(&mut self, change: Change) -> Result<(), OutboxError>;
}

/// A memory that lasts as long as its owner: for simulated devices.
#[derive(Debug, Default)]
pub struct MemoryOutbox(Memory);

impl Outbox for MemoryOutbox {
    fn memory(&self) -> &Memory {
        &self.0
    }

    fn record(&mut self, change: Change) -> Result<(), OutboxError> {
        self.0.check(&change)?;
        self.0.apply(&change);
        Ok(())
    }
}

/// An encrypted file.
pub struct FileOutbox {
    path: PathBuf,
    file: AppendFile,
    key: LessSafeKey,
    written: u64,
    entropy: crate::Entropy,
    memory: Memory,
}

impl FileOutbox {
    /// Opens or makes the file; records are under `key`.
    ///
    /// # Errors
    /// An unusable file, or a damaged one by byte.
    pub fn open(
        path: &Path,
        key: &Zeroizing<[u8; 32]>,
        now_s: u64,
        entropy: crate::Entropy,
    ) -> Result<Self, OutboxError> {
        let io = |source| OutboxError::Io { path: path.to_owned(), source };
        let key = UnboundKey::new(&AES_256_GCM, &**key)
            .map(LessSafeKey::new)
            .map_err(|_| io(io::Error::other("bad key")))?;
        let bytes = files::read_if_there(path).map_err(io)?.unwrap_or_default();
        let mut memory = Memory::default();
        let mut at = 0;
        let mut number = 0;
        loop {
            let damaged = || OutboxError::Damaged { path: path.to_owned(), at };
            let Some((record, next)) = next_record(&bytes, at).map_err(|_| damaged())? else {
                break;
            };
            let plain = unseal(&key, number, record).ok_or_else(damaged)?;
            memory.apply(&minicbor::decode(&plain).map_err(|_| damaged())?);
            at = next;
            number += 1;
        }
        memory.seen.retain(|_, expires| *expires > now_s);
        let file = AppendFile::create(&path.with_extension("new")).map_err(io)?;
        let mut outbox = Self {
            path: path.to_owned(),
            file,
            key,
            written: 0,
            entropy,
            memory: Memory::default(),
        };
        // Sequence numbers never go back, even when their messages are gone.
        if memory.last_sequence > 0 {
            let sequence = memory.last_sequence;
            outbox.append(&Change::Added(Entry {
                message_id: [0; 16],
                signed: Vec::new(),
                expires_s: 0,
                sequence,
            }))?;
            outbox.append(&Change::Answered([0; 16]))?;
        }
        for entry in memory.entries.into_values() {
            outbox.append(&Change::Added(entry))?;
        }
        for (message_id, expires_s) in memory.seen {
            outbox.append(&Change::Received { message_id, expires_s })?;
        }
        outbox.file.rename(path).map_err(io)?;
        Ok(outbox)
    }

    fn append(&mut self, change: &Change) -> Result<(), OutboxError> {
        let io = |source| OutboxError::Io { path: self.path.clone(), source };
        let plain = minicbor::to_vec(change)
            .map_err(|_| io(io::Error::other("a record does not encode")))?;
        let sealed = seal(&self.key, self.written, &plain, &self.entropy)
            .ok_or_else(|| io(io::Error::other("sealing failed")))?;
        self.file.append(&sealed).map_err(io)?;
        self.written += 1;
        self.memory.apply(change);
        Ok(())
    }
}

impl Outbox for FileOutbox {
    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn record(&mut self, change: Change) -> Result<(), OutboxError> {
        self.memory.check(&change)?;
        self.append(&change)
    }
}

/// Length and its complement, so that a damaged length is not taken for a torn tail.
const HEAD_BYTES: usize = 8;

/// The record at `at` and the place of the next; none at the end or in a torn tail.
fn next_record(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, ()> {
    let Some(head) = bytes.get(at..at + HEAD_BYTES) else {
        return Ok(None);
    };
    let number =
        |part: &[u8]| part.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    let length = number(&head[..4]);
    if length != !number(&head[4..]) || length as usize > RECORD_BYTES_MAX {
        return Err(());
    }
    let end = at + HEAD_BYTES + length as usize;
    Ok(bytes.get(at + HEAD_BYTES..end).map(|record| (record, end)))
}

fn seal(key: &LessSafeKey, number: u64, plain: &[u8], entropy: &crate::Entropy) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    entropy(&mut nonce);
    let mut content = plain.to_vec();
    let nonce_used = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce_used, Aad::from(number.to_be_bytes()), &mut content).ok()?;
    let length = u32::try_from(NONCE_LEN + content.len()).ok()?;
    let mut record = length.to_be_bytes().to_vec();
    record.extend_from_slice(&(!length).to_be_bytes());
    record.extend_from_slice(&nonce);
    record.extend_from_slice(&content);
    Some(record)
}

fn unseal(key: &LessSafeKey, number: u64, record: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, content) = record.split_first_chunk::<NONCE_LEN>()?;
    let mut plain = Zeroizing::new(content.to_vec());
    let aad = Aad::from(number.to_be_bytes());
    let length =
        key.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut plain).ok()?.len();
    plain.truncate(length);
    Some(plain)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::disallowed_methods,
        reason = "tests fail by panicking and damage files"
    )]

    use std::sync::Arc;

    use super::*;

    fn open(path: &Path) -> Result<FileOutbox, OutboxError> {
        FileOutbox::open(path, &Zeroizing::new([9; 32]), 0, Arc::new(|bytes| bytes.fill(3)))
    }

    fn entry(number: u8) -> Entry {
        Entry {
            message_id: [number; 16],
            signed: b"MARKER".repeat(20),
            expires_s: 100,
            sequence: u64::from(number),
        }
    }

    #[test]
    fn what_was_recorded_is_there_after_reopening_and_not_in_clear() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let mut outbox = open(&path).unwrap();
        for number in 1..=3 {
            outbox.record(Change::Added(entry(number))).unwrap();
        }
        outbox.record(Change::Answered([3; 16])).unwrap();
        outbox.record(Change::Received { message_id: [8; 16], expires_s: 50 }).unwrap();
        let before = outbox.memory().clone();
        drop(outbox);
        assert!(!std::fs::read(&path).unwrap().windows(6).any(|window| window == b"MARKER"));
        for _ in 0..2 {
            assert_eq!(open(&path).unwrap().memory(), &before);
        }
        assert_eq!(before.last_sequence, 3);
    }

    #[test]
    fn a_torn_tail_is_dropped_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let mut outbox = open(&path).unwrap();
        outbox.record(Change::Added(entry(1))).unwrap();
        let first = std::fs::metadata(&path).unwrap().len() as usize;
        outbox.record(Change::Added(entry(2))).unwrap();
        drop(outbox);
        let whole = std::fs::read(&path).unwrap();
        for cut in first..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(open(&path).unwrap().memory().entries.len(), 1, "cut at {cut}");
        }
        for at in 0..first {
            let mut bad = whole.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            assert!(matches!(open(&path), Err(OutboxError::Damaged { at: 0, .. })), "byte {at}");
            assert_eq!(std::fs::read(&path).unwrap(), bad, "a refused file is not touched");
        }
    }
}
