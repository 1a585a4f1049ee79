//! Small files of a node: configuration, sealed secrets, certificates.
//!
//! **Invariants:** a file is replaced as a whole or not at all, also when the machine stops half-way;
//! what is secret is readable by its owner only. **Not here:** the databases (`store`).
#![expect(clippy::disallowed_methods, reason = "this file is the seam to the file system")]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Largest file that is read whole: far above any of a node's own.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Owner,
    Everybody,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Everybody => 0o644,
        }
    }
}

/// Makes a directory that only its owner may enter, with its parents; fine if it is there.
///
/// # Errors
/// As the file system says.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file so that a crash leaves the old or the new one.
///
/// # Errors
/// As the file system says.
pub fn write(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(access.mode())
        .open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // The name itself is durable only after this.
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads a whole file.
///
/// # Errors
/// As the file system says; a file above 16 MiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file has more than 16 MiB"));
    }
    Ok(bytes)
}

/// Opens a large file for reading as a stream.
///
/// # Errors
/// As the file system says.
pub fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Removes a directory with all below it.
///
/// # Errors
/// As the file system says.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)
}

/// A file that only grows.
#[derive(Debug)]
pub struct Appending {
    file: File,
    bytes: u64,
}

impl Appending {
    /// Appends, and says how large the file is now. Not synced: a crash may take the last lines.
    ///
    /// # Errors
    /// As the file system says.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(self.bytes)
    }
}

/// Opens a file to append to, making it where there is none.
///
/// # Errors
/// As the file system says.
pub fn open_append(path: &Path, access: Access) -> io::Result<Appending> {
    let file = OpenOptions::new().append(true).create(true).mode(access.mode()).open(path)?;
    let bytes = file.metadata()?.len();
    Ok(Appending { file, bytes })
}

/// Renames a file to `….1`, that one to `….2` and so on up to `kept`, and begins it anew.
///
/// # Errors
/// As the file system says.
pub fn put_aside(path: &Path, kept: u32, access: Access) -> io::Result<Appending> {
    let numbered = |number: u32| match number {
        0 => path.to_owned(),
        number => path.with_added_extension(number.to_string()),
    };
    for number in (0..kept).rev() {
        let from = numbered(number);
        if from.exists() {
            fs::rename(from, numbered(number + 1))?;
        }
    }
    open_append(path, access)
}
