//! What a device must not forget: messages not yet answered, and which ones it has received.
//!
//! The file is a sequence of encrypted records, each synced before the call returns; it is written
//! anew when it is opened. **Invariants:** one process at a time has it open; a torn last record is
//! dropped, because its call never returned; damage before it is an error that names file and byte,
//! and nothing is overwritten.

#[cfg(test)]
mod frozen;
mod record;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use minicbor::{Decode, Encode};
use record::{next_record, seal, unseal};
use zeroize::Zeroizing;

use crate::files::{self, AppendFile, Lock};

/// Messages waiting to be answered.
pub const ENTRIES_MAX: usize = 1024;
/// Received messages remembered; older ones are refused by their sequence number or expiry.
const SEEN_MAX: usize = 4096;

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
    #[error("another process uses the outbox {path}: wait until it ends")]
    InUse { path: PathBuf },
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

    /// The shortest way to the same memory.
    fn into_changes(self) -> impl Iterator<Item = Change> {
        // Sequence numbers never go back, even when their messages are gone.
        let last = Entry {
            message_id: [0; 16],
            signed: Vec::new(),
            expires_s: 0,
            sequence: self.last_sequence,
        };
        let used = [Change::Added(last), Change::Answered([0; 16])];
        used.into_iter()
            .filter(move |_| self.last_sequence > 0)
            .chain(self.entries.into_values().map(Change::Added))
            .chain(
                self.seen
                    .into_iter()
                    .map(|(message_id, expires_s)| Change::Received { message_id, expires_s }),
            )
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
    _lock: Lock,
}

impl FileOutbox {
    /// Opens or makes the file; records are under `key`.
    ///
    /// # Errors
    /// An unusable file, one that another process has open, or a damaged one by byte.
    pub fn open(
        path: &Path,
        key: &Zeroizing<[u8; 32]>,
        now_s: u64,
        entropy: crate::Entropy,
    ) -> Result<Self, OutboxError> {
        let io = |source| OutboxError::Io { path: path.to_owned(), source };
        let lock = files::lock(&path.with_extension("lock"))
            .map_err(io)?
            .ok_or_else(|| OutboxError::InUse { path: path.to_owned() })?;
        let mut memory = Self::look(path, key)?;
        memory.seen.retain(|_, expires| *expires > now_s);
        let file = AppendFile::create(&path.with_extension("new")).map_err(io)?;
        let mut outbox = Self {
            path: path.to_owned(),
            file,
            key: cipher(path, key)?,
            written: 0,
            entropy,
            memory: Memory::default(),
            _lock: lock,
        };
        // One write for all: the new file takes the place of the old one when it is whole.
        let mut records = Vec::new();
        for change in memory.into_changes() {
            records.extend(outbox.sealed(&change)?);
            outbox.memory.apply(&change);
        }
        outbox.file.append(&records).map_err(io)?;
        outbox.file.rename(path).map_err(io)?;
        Ok(outbox)
    }

    /// What the file holds, without changing it; also while another process has it open.
    ///
    /// # Errors
    /// An unusable file, or a damaged one by byte.
    pub fn look(path: &Path, key: &Zeroizing<[u8; 32]>) -> Result<Memory, OutboxError> {
        let io = |source| OutboxError::Io { path: path.to_owned(), source };
        let key = cipher(path, key)?;
        let bytes = files::read_if_there(path).map_err(io)?.unwrap_or_default();
        let mut memory = Memory::default();
        let (mut at, mut number) = (0, 0);
        loop {
            let damaged = || OutboxError::Damaged { path: path.to_owned(), at };
            let Some((record, next)) = next_record(&bytes, at).map_err(|_| damaged())? else {
                return Ok(memory);
            };
            let plain = unseal(&key, number, record).ok_or_else(damaged)?;
            memory.apply(&minicbor::decode(&plain).map_err(|_| damaged())?);
            at = next;
            number += 1;
        }
    }

    fn sealed(&mut self, change: &Change) -> Result<Vec<u8>, OutboxError> {
        let io = |fact| OutboxError::Io { path: self.path.clone(), source: io::Error::other(fact) };
        let plain = minicbor::to_vec(change).map_err(|_| io("a record does not encode"))?;
        let sealed = seal(&self.key, self.written, &plain, &self.entropy)
            .ok_or_else(|| io("sealing failed"))?;
        self.written += 1;
        Ok(sealed)
    }
}

fn cipher(path: &Path, key: &Zeroizing<[u8; 32]>) -> Result<LessSafeKey, OutboxError> {
    let source = |_| io::Error::other("its key cannot be used");
    UnboundKey::new(&AES_256_GCM, &**key)
        .map(LessSafeKey::new)
        .map_err(|error| OutboxError::Io { path: path.to_owned(), source: source(error) })
}

impl Outbox for FileOutbox {
    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn record(&mut self, change: Change) -> Result<(), OutboxError> {
        self.memory.check(&change)?;
        let record = self.sealed(&change)?;
        self.file
            .append(&record)
            .map_err(|source| OutboxError::Io { path: self.path.clone(), source })?;
        self.memory.apply(&change);
        Ok(())
    }
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
            let empty = vec![0; whole.len() - first];
            std::fs::write(&path, [&whole[..first], &empty[..]].concat()).unwrap();
            assert_eq!(open(&path).unwrap().memory().entries.len(), 1, "never written");
        }
        for at in 0..first {
            let mut bad = whole.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            assert!(matches!(open(&path), Err(OutboxError::Damaged { at: 0, .. })), "byte {at}");
            assert_eq!(std::fs::read(&path).unwrap(), bad, "a refused file is not touched");
        }
    }

    #[test]
    fn one_process_at_a_time_has_it_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let key = Zeroizing::new([9; 32]);
        let mut outbox = open(&path).unwrap();
        outbox.record(Change::Added(entry(1))).unwrap();
        assert!(matches!(open(&path), Err(OutboxError::InUse { .. })));
        // Looking is free, and leaves the file to the one that writes it.
        assert_eq!(FileOutbox::look(&path, &key).unwrap().entries.len(), 1);
        outbox.record(Change::Added(entry(2))).unwrap();
        assert_eq!(FileOutbox::look(&path, &key).unwrap().entries.len(), 2);
        drop(outbox);
        assert_eq!(open(&path).unwrap().memory().entries.len(), 2);
    }

    #[test]
    fn another_key_opens_nothing_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        open(&path).unwrap().record(Change::Added(entry(1))).unwrap();
        let before = std::fs::read(&path).unwrap();
        let other = Zeroizing::new([8; 32]);
        let refused = FileOutbox::open(&path, &other, 0, Arc::new(|bytes| bytes.fill(4)));
        assert!(matches!(refused, Err(OutboxError::Damaged { at: 0, .. })));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_thousand_messages_may_wait_and_no_more() {
        let mut outbox = MemoryOutbox::default();
        for number in 0..ENTRIES_MAX as u64 {
            let mut message_id = [0; 16];
            message_id[..8].copy_from_slice(&number.to_be_bytes());
            let entry = Entry { message_id, sequence: number, ..entry(0) };
            outbox.record(Change::Added(entry)).unwrap();
        }
        let one_more = Change::Added(Entry { message_id: [255; 16], ..entry(0) });
        assert!(matches!(outbox.record(one_more.clone()), Err(OutboxError::Full)));
        outbox.record(Change::Answered([0; 16])).unwrap();
        outbox.record(one_more).unwrap();
    }
}
