//! Writing a backup: each group's pieces as they come, the head last.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use fieldmesh_actors::seams::Entropy;
use fieldmesh_pki::vault;
use zeroize::Zeroizing;

use super::{
    ArchiveError, FORMAT, GroupPart, HEAD, HEAD_MAGIC, Head, Manifest, ROWS_MAGIC, UNFINISHED,
    place, rows_file,
};
use crate::{
    consensus::transfer,
    files::{self, Access, Whole},
    sealing::{Key, Place},
    store::rows,
};

/// A backup that is being written.
pub struct Writing {
    /// Where it will be once it is whole.
    path: PathBuf,
    unfinished: PathBuf,
    key: Key,
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> ArchiveError {
    let path = path.to_owned();
    |source| ArchiveError::File { path, source }
}

fn random<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

impl Writing {
    /// Begins a backup in a new directory.
    ///
    /// # Errors
    /// Where it is there, finished or not, or cannot be made.
    pub fn begin(path: &Path, entropy: &dyn Entropy) -> Result<Self, ArchiveError> {
        let unfinished = path.with_added_extension(UNFINISHED);
        for path in [path, &unfinished] {
            if path.exists() && !files::is_empty_dir(path) {
                return Err(ArchiveError::Exists { path: path.to_owned() });
            }
        }
        files::make_private_dir(&unfinished).map_err(file(&unfinished))?;
        Ok(Self { path: path.to_owned(), unfinished, key: Key::generate(entropy) })
    }

    /// Begins a group's file.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn group(&self, group: u32, term: u64, index: u64) -> Result<GroupWriting, ArchiveError> {
        let path = self.unfinished.join(rows_file(group));
        let out = Whole::create(&path, Access::Owner).map_err(file(&path))?;
        let part = GroupPart { group, term, index, rows: 0, pieces: 0, bytes: 0, sha256: [0; 32] };
        let (key, hash) = (self.key.clone(), Context::new(&SHA256));
        let mut writing = GroupWriting { path, out, key, part, hash };
        writing.write(ROWS_MAGIC)?;
        Ok(writing)
    }

    /// Ends the backup: from now on it is one.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn end(
        self,
        manifest: &Manifest,
        secrets: &[u8],
        passphrase: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<(), ArchiveError> {
        let path = self.unfinished.join(HEAD);
        let head =
            Head { manifest: manifest.clone(), key: *self.key.expose(), secrets: secrets.to_vec() };
        let plain = Zeroizing::new(rows::encode(&head));
        let sealed = vault::seal(passphrase, &plain, random(entropy), random(entropy))
            .map_err(|source| ArchiveError::Vault { path: path.clone(), source })?;
        let bytes = [&HEAD_MAGIC[..], &FORMAT.to_be_bytes(), &sealed].concat();
        files::write(&path, &bytes, Access::Owner).map_err(file(&path))?;
        files::rename_dir(&self.unfinished, &self.path).map_err(file(&self.path))
    }
}

/// A group's file that is being written.
pub struct GroupWriting {
    path: PathBuf,
    out: Whole,
    key: Key,
    part: GroupPart,
    hash: Context,
}

impl GroupWriting {
    /// Takes a piece with so many rows.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn piece(
        &mut self,
        piece: &[u8],
        rows: u64,
        entropy: &dyn Entropy,
    ) -> Result<(), ArchiveError> {
        self.part.rows += rows;
        self.seal(piece, false, entropy)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn end(mut self, entropy: &dyn Entropy) -> Result<GroupPart, ArchiveError> {
        let end = transfer::end_piece(self.part.rows);
        self.seal(&end, true, entropy)?;
        self.out.finish().map_err(file(&self.path))?;
        let mut part = self.part;
        part.sha256.copy_from_slice(self.hash.finish().as_ref());
        Ok(part)
    }

    fn seal(
        &mut self,
        piece: &[u8],
        is_last: bool,
        entropy: &dyn Entropy,
    ) -> Result<(), ArchiveError> {
        let place = place(self.part.group, self.part.pieces, is_last);
        let too_large = || ArchiveError::TooLarge { path: self.path.clone() };
        let sealed =
            self.key.seal(Place::Backup, &place, piece, entropy).map_err(|_| too_large())?;
        let length = u32::try_from(sealed.len()).map_err(|_| too_large())?;
        self.part.pieces += 1;
        self.write(&length.to_be_bytes())?;
        self.write(&sealed)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.part.bytes += bytes.len() as u64;
        self.hash.update(bytes);
        self.out.write(bytes).map_err(file(&self.path))
    }
}
