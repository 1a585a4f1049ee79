//! The files of a device: the seam to its disk.
#![expect(clippy::disallowed_methods, reason = "this file is the seam to the file system")]

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Reads a file, none where it is not there.
///
/// # Errors
/// As the file system says.
pub fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a secret, which only its owner may be able to read.
///
/// # Errors
/// As the file system says; a file that others may read.
pub fn read_secret(path: &Path) -> io::Result<Vec<u8>> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        let fact = format!("{} may be read by others: run chmod 600 on it", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, fact));
    }
    fs::read(path)
}

/// Writes a file as a whole, readable by its owner only.
///
/// # Errors
/// As the file system says.
pub fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AppendFile::create(&path.with_extension("new"))?;
    file.append(bytes)?;
    file.rename(path)
}

/// Writes a file that is not there yet, readable by its owner only.
///
/// # Errors
/// As the file system says; a file that is there.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Bytes of a file.
///
/// # Errors
/// As the file system says.
pub fn size(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|found| found.len())
}

/// Makes a directory for its owner.
///
/// # Errors
/// As the file system says; a directory that is there and that others may enter.
pub fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        let fact = format!("{} may be entered by others: run chmod 700 on it", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, fact));
    }
    Ok(())
}

/// Removes a file that may or may not be there.
///
/// # Errors
/// As the file system says.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A place that one process at a time may hold; it ends with the process, however that ends.
pub struct Lock {
    _file: File,
}

/// Takes a lock, none where another holds it.
///
/// # Errors
/// As the file system says.
pub fn lock(path: &Path) -> io::Result<Option<Lock>> {
    // The content means nothing, and another process may hold the file.
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A file that grows at its end, synced with each addition.
pub struct AppendFile {
    file: File,
    path: PathBuf,
    failed: bool,
}

impl AppendFile {
    /// An empty file for its owner.
    ///
    /// # Errors
    /// As the file system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self { file, path: path.to_owned(), failed: false })
    }

    /// Durable on return.
    ///
    /// # Errors
    /// As the file system says. Nothing more is appended then: how much of it reached the disk is
    /// not known, and what followed would stand behind a torn record.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write failed: open the file anew"));
        }
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        self.failed = written.is_err();
        written
    }

    /// Takes the place of another file.
    ///
    /// # Errors
    /// As the file system says.
    pub fn rename(&mut self, to: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, to)?;
        self.path = to.to_owned();
        match to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    }
}
