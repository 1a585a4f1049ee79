//! The files of a device: the seam to its disk.
#![expect(clippy::disallowed_methods, reason = "this file is the seam to the file system")]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
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

/// Makes a directory for its owner.
///
/// # Errors
/// As the file system says.
pub fn make_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A file that grows at its end, synced with each addition.
pub struct AppendFile {
    file: File,
    path: PathBuf,
}

impl AppendFile {
    /// An empty file for its owner.
    ///
    /// # Errors
    /// As the file system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Durable on return.
    ///
    /// # Errors
    /// As the file system says.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_data()
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
