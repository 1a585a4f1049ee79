//! Small files of a node: configuration, sealed secrets, certificates.
//!
//! **Invariants:** a file is replaced as a whole or not at all, also when the machine stops half-way;
//! what is secret is readable by its owner only. **Not here:** the databases (`store`).
#![expect(clippy::disallowed_methods, reason = "this file is the seam to the file system")]

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};

/// Read at a time of a file that is not read whole.
const PIECE_BYTES: usize = 1 << 20;
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

/// Makes a directory that was not there, for its owner alone.
///
/// # Errors
/// As the file system says, also of one that is there.
pub fn make_own_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
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
    read_at_most(path, FILE_BYTES_MAX)
}

/// Reads a whole file of which more is expected than of others.
///
/// # Errors
/// As the file system says; a file above that size.
pub fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let text = format!("the file has more than {} MiB", bytes_max >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// SHA-256 of a file of any size.
///
/// # Errors
/// As the file system says.
pub fn sha256(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut context) = (File::open(path)?, Context::new(&SHA256));
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            break;
        }
        context.update(&piece[..length]);
    }
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    Ok(sum)
}

/// Whether there is nothing at this path, or a directory with nothing in it.
pub fn is_empty_dir(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// The names in a directory; none where it cannot be read.
pub fn names(dir: &Path) -> Option<Vec<String>> {
    let entries: io::Result<Vec<_>> = fs::read_dir(dir).ok()?.collect();
    let names = entries.ok()?.into_iter().map(|entry| entry.file_name());
    Some(names.map(|name| name.to_string_lossy().into_owned()).collect())
}

/// Opens a large file for reading as a stream.
///
/// # Errors
/// As the file system says.
pub fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Gives a directory another name, where nothing is yet; durable on return.
///
/// # Errors
/// As the file system says.
pub fn rename_dir(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    match to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes a directory with all below it.
///
/// # Errors
/// As the file system says.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)
}

/// Removes a directory with nothing in it; the kernel's own files of a control group count as nothing.
///
/// # Errors
/// As the file system says.
pub fn remove_empty_dir(path: &Path) -> io::Result<()> {
    fs::remove_dir(path)
}

/// How many entries a directory has; none where it cannot be read.
pub fn count(dir: &Path) -> Option<u64> {
    fs::read_dir(dir).ok().map(|entries| entries.count() as u64)
}

/// How long each file of a directory is whose name ends like this.
///
/// # Errors
/// As the file system says; one that is removed meanwhile is left out.
pub fn lengths(dir: &Path, ending: &str) -> io::Result<BTreeMap<PathBuf, u64>> {
    let mut lengths = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if !path.to_string_lossy().ends_with(ending) {
            continue;
        }
        match fs::metadata(&path) {
            Ok(found) => {
                lengths.insert(path, found.len());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(lengths)
}

/// Cuts a file off behind so many bytes.
///
/// # Errors
/// As the file system says.
pub fn cut(path: &Path, bytes: u64) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.set_len(bytes)
}

/// Turns one bit of a file over; what was turned twice is as it was.
///
/// # Errors
/// As the file system says; a file that ends before.
pub fn turn_bit(path: &Path, at: u64, bit: u8) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ (1 << (bit % 8))], at)
}

/// Bytes of all files in a directory and below it.
///
/// # Errors
/// As the file system says; a file that is removed meanwhile counts nothing.
pub fn size_of(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let size = match entry.file_type()?.is_dir() {
            true => size_of(&entry.path()),
            false => entry.metadata().map(|found| found.len()),
        };
        bytes += match size {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            size => size?,
        };
    }
    Ok(bytes)
}

/// Removes a file.
///
/// # Errors
/// As the file system says.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// Bytes that may still be written where a directory is.
///
/// # Errors
/// As the file system says.
pub fn room(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Makes a file of so many bytes, which are taken from what is free; fine if it is there.
///
/// # Errors
/// As the file system says: a disk without so much room.
pub fn reserve(path: &Path, bytes: u64) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
}

/// Makes a file, empty, to be written by whoever gets it.
///
/// # Errors
/// As the file system says.
pub fn create(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(access.mode()).open(path)
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

/// A file that is written piece by piece, and is there only once it is whole.
#[derive(Debug)]
pub struct Whole {
    file: io::BufWriter<File>,
    fresh: PathBuf,
    path: PathBuf,
}

impl Whole {
    /// # Errors
    /// As the file system says.
    pub fn create(path: &Path, access: Access) -> io::Result<Self> {
        let fresh = path.with_added_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(access.mode());
        let file = io::BufWriter::new(options.open(&fresh)?);
        Ok(Self { file, fresh, path: path.to_owned() })
    }

    /// # Errors
    /// As the file system says.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// As the file system says; what was there before stays.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.fresh, &self.path)
    }
}

/// A number on disk that is overwritten in place, with a checksum: readable or not, never wrong.
#[derive(Debug)]
pub struct Mark(File);

impl Mark {
    /// # Errors
    /// As the file system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mode = Access::Owner.mode();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(mode).open(path).map(Self)
    }

    /// # Errors
    /// As the file system says.
    pub fn set(&mut self, number: u64) -> io::Result<()> {
        self.0.write_all_at(&marked(number), 0)
    }
}

fn marked(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    [&bytes[..], &crc32fast::hash(&bytes).to_be_bytes()].concat()
}

/// Writes a mark that is seldom set; durable on return.
///
/// # Errors
/// As the file system says.
pub fn write_mark(path: &Path, number: u64) -> io::Result<()> {
    write(path, &marked(number), Access::Owner)
}

/// The number of a mark, if there is one and it is whole.
pub fn read_mark(path: &Path) -> Option<u64> {
    let bytes: [u8; 12] = read(path).ok()?.try_into().ok()?;
    let (number, checksum) = bytes.split_first_chunk::<8>()?;
    (crc32fast::hash(number).to_be_bytes() == *checksum).then(|| u64::from_be_bytes(*number))
}

/// Takes a directory for this process alone; others are refused until what is returned is dropped.
///
/// # Errors
/// As the file system says; [`io::ErrorKind::ResourceBusy`] where another process has it.
pub fn lock_dir(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mode = Access::Owner.mode();
    let file =
        options.write(true).create(true).truncate(false).mode(mode).open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn a_file_is_read_whole_or_refused_with_its_bound() {
        let path = std::env::temp_dir().join(format!("fieldmesh-read-{}", std::process::id()));
        write(&path, &vec![7; 2 << 20], Access::Owner).unwrap();
        let bytes = read_at_most(&path, 2 << 20).unwrap();
        assert_eq!(bytes.len(), 2 << 20);
        assert_eq!(sha256(&path).unwrap(), crate::issuer::sha256(&bytes));
        let error = read_at_most(&path, (2 << 20) - 1).unwrap_err();
        fs::remove_file(&path).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(error.to_string(), "the file has more than 1 MiB");
    }
}
