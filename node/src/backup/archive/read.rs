//! Reading a backup: the head by the passphrase, then each group's pieces, each checked.

use std::{
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use fieldmesh_pki::vault;
use zeroize::Zeroizing;

use super::{
    ArchiveError, FORMAT, GroupPart, HEAD, HEAD_MAGIC, Head, Manifest, ROWS_MAGIC, place, rows_file,
};
use crate::{
    consensus::transfer::{self, PIECE_BYTES_MAX},
    files,
    sealing::{Key, Place},
    store::{Row, rows},
};

/// Nonce and tag of a sealed piece.
const SEAL_BYTES: usize = 12 + 16;

/// A backup that was opened.
pub struct Archive {
    dir: PathBuf,
    key: Key,
    pub manifest: Manifest,
    secrets: Zeroizing<Vec<u8>>,
}

impl Archive {
    /// Opens the head.
    ///
    /// # Errors
    /// No backup, an unfinished one, another format, a wrong passphrase.
    pub fn open(dir: &Path, passphrase: &[u8]) -> Result<Self, ArchiveError> {
        let path = dir.join(HEAD);
        if !path.exists() {
            return Err(ArchiveError::Unfinished { path: dir.to_owned() });
        }
        let damaged =
            |fact: &str| ArchiveError::Damaged { path: path.clone(), fact: fact.to_owned() };
        let bytes = files::read(&path)
            .map_err(|source| ArchiveError::File { path: path.clone(), source })?;
        let sealed = bytes.strip_prefix(HEAD_MAGIC).and_then(<[u8]>::split_first_chunk::<4>);
        let (format, sealed) = sealed.ok_or_else(|| damaged("it is no head of a backup"))?;
        let format = u32::from_be_bytes(*format);
        if format != FORMAT {
            return Err(ArchiveError::Format { path, found: format });
        }
        let plain = vault::open(passphrase, sealed)
            .map_err(|source| ArchiveError::Vault { path: path.clone(), source })?;
        let head: Head = rows::whole(&plain).map_err(|_| damaged("its content does not decode"))?;
        if head.manifest.format != format {
            return Err(damaged("it says two formats"));
        }
        let key = Key::from_bytes(Zeroizing::new(head.key));
        let secrets = Zeroizing::new(head.secrets.clone());
        Ok(Self { dir: dir.to_owned(), key, manifest: head.manifest.clone(), secrets })
    }

    /// What a node of the region needs, as it is handed over.
    pub fn secrets(&self) -> &[u8] {
        &self.secrets
    }

    /// Reads every file to its end.
    ///
    /// # Errors
    /// The first that is damaged or missing.
    pub fn check(&self) -> Result<(), ArchiveError> {
        self.manifest.groups.iter().try_for_each(|part| self.rows(part, |_| Ok(())))
    }

    /// Shows a group's rows, page by page. Only when this ends well were they all of them.
    ///
    /// # Errors
    /// A file that is damaged or missing; what `take` says.
    pub fn rows<E: From<ArchiveError>>(
        &self,
        part: &GroupPart,
        mut take: impl FnMut(Vec<Row>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut reading = Reading::begin(self.dir.join(rows_file(part.group)))?;
        let mut rows = 0;
        for number in 0..part.pieces {
            let is_last = number + 1 == part.pieces;
            let sealed = reading.piece()?;
            let opened = self.key.open(Place::Backup, &place(part.group, number, is_last), &sealed);
            let piece = opened.map_err(|_| reading.damaged(&format!("piece {number}")))?;
            let piece = transfer::read_piece(&piece);
            match piece.map_err(|error| reading.damaged(&error.to_string()))? {
                Ok(page) if !is_last => {
                    rows += page.len() as u64;
                    take(page)?;
                }
                Err(stated) if is_last && stated == rows && rows == part.rows => {}
                _ => {
                    return Err(reading.damaged(&format!("piece {number} is out of place")).into());
                }
            }
        }
        Ok(reading.end(part)?)
    }
}

/// A group's file that is being read.
struct Reading {
    path: PathBuf,
    file: BufReader<std::fs::File>,
    hash: Context,
}

impl Reading {
    fn begin(path: PathBuf) -> Result<Self, ArchiveError> {
        let file = match files::open(&path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ArchiveError::Damaged { path, fact: "it is missing".into() });
            }
            Err(source) => return Err(ArchiveError::File { path, source }),
        };
        let mut reading = Self { path, file, hash: Context::new(&SHA256) };
        let magic: [u8; 4] = reading.bytes(ROWS_MAGIC.len())?.try_into().unwrap_or_default();
        if magic != *ROWS_MAGIC {
            return Err(reading.damaged("it holds no group"));
        }
        Ok(reading)
    }

    fn damaged(&self, fact: &str) -> ArchiveError {
        ArchiveError::Damaged { path: self.path.clone(), fact: fact.to_owned() }
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = vec![0; count];
        match self.file.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.damaged("it is cut short"));
            }
            Err(source) => return Err(ArchiveError::File { path: self.path.clone(), source }),
        }
        self.hash.update(&bytes);
        Ok(bytes)
    }

    fn piece(&mut self) -> Result<Vec<u8>, ArchiveError> {
        let length: [u8; 4] = self.bytes(4)?.try_into().unwrap_or_default();
        let length = u32::from_be_bytes(length) as usize;
        if length > PIECE_BYTES_MAX + SEAL_BYTES {
            return Err(self.damaged("a piece is longer than any can be"));
        }
        self.bytes(length)
    }

    fn end(mut self, part: &GroupPart) -> Result<(), ArchiveError> {
        let read = self.file.read(&mut [0]);
        if read.map_err(|source| ArchiveError::File { path: self.path.clone(), source })? > 0 {
            return Err(self.damaged("there is something behind its end"));
        }
        let (hash, path) = (self.hash.finish(), self.path);
        if hash.as_ref() != part.sha256 {
            return Err(ArchiveError::Damaged { path, fact: "its checksum is another".into() });
        }
        Ok(())
    }
}
