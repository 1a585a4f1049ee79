//! Small disks, which can really be filled: file systems in memory.
//!
//! **Invariants:** a disk is unmounted when it is dropped; those of a process that was killed are unmounted by the
//! next laboratory. Mounting needs root. **Not here:** what is expected of a node on one.

use std::path::{Path, PathBuf};

use super::{
    machines::{is_left, own_name},
    order::{done, done_meanwhile},
};
use crate::files;

/// What takes the room of a full one.
const FILLER: &str = "filler";
/// Who is on a disk writes now and then, and not all the time.
const FILL_TRIES: usize = 100;

/// A mounted file system.
#[derive(Debug)]
pub struct SmallDisk {
    dir: PathBuf,
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))
}

impl SmallDisk {
    /// A disk of so many MiB at a directory, which is made.
    ///
    /// # Errors
    /// A user who may not mount.
    pub fn mount(dir: &Path, mib: u64) -> Result<Self, String> {
        files::make_private_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let (size, name) = (format!("size={mib}m,mode=700"), own_name());
        done("mount", &["-t", "tmpfs", "-o", &size, &name, text(dir)?], "")?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn filler(&self) -> PathBuf {
        self.dir.join(FILLER)
    }

    /// Fills it up to so many MiB.
    ///
    /// # Errors
    /// Where twice as much is free afterwards.
    pub async fn fill(&self, left_mib: u64) -> Result<(), String> {
        let filled = self.filled(left_mib).await;
        if filled.is_err() {
            // Of what did not succeed nothing is to be left.
            drop(self.empty());
        }
        filled
    }

    async fn filled(&self, left_mib: u64) -> Result<(), String> {
        let named = |error: std::io::Error| format!("{}: {error}", self.dir.display());
        let room = files::room(&self.dir).map_err(named)?;
        let size = room.saturating_sub(left_mib << 20);
        if size > 0 {
            let (size, filler) = (size.to_string(), self.filler());
            done_meanwhile("fallocate", &["-l", &size, text(&filler)?], "").await?;
        }
        match files::room(&self.dir).map_err(named)? {
            // Whoever is on it may have removed something meanwhile.
            left if left <= left_mib << 21 => Ok(()),
            left => Err(format!("{}: {left} bytes are free yet", self.dir.display())),
        }
    }

    /// Fills it to the last byte, also while others are on it.
    ///
    /// # Errors
    /// Where something is free all the same.
    pub async fn fill_up(&self) -> Result<(), String> {
        let named = |error: std::io::Error| format!("{}: {error}", self.dir.display());
        let mut why = String::new();
        for _ in 0..FILL_TRIES {
            let room = files::room(&self.dir).map_err(named)?;
            if room == 0 {
                return Ok(());
            }
            let taken: u64 = files::lengths(&self.dir, FILLER).map_err(named)?.values().sum();
            let (size, filler) = ((taken + room).to_string(), self.filler());
            // Whoever is on it may have taken some of it meanwhile.
            let filled = done_meanwhile("fallocate", &["-l", &size, text(&filler)?], "").await;
            why = filled.err().unwrap_or_else(|| "something is free again and again".to_owned());
        }
        Err(format!("{}: {why}", self.dir.display()))
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// As the file system says.
    pub fn empty(&self) -> Result<(), String> {
        match files::remove(&self.filler()) {
            // It was as full as that without one.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(|error| format!("{}: {error}", self.filler().display())),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a node may still be ending.
        let unmounted = text(&self.dir).and_then(|dir| done("umount", &["--lazy", dir], ""));
        if let Err(error) = unmounted {
            tracing::warn!(error, "a disk stays mounted");
        }
    }
}

/// Unmounts the disks of processes that are no more.
pub(super) fn sweep() {
    let mounts = files::read("/proc/self/mounts".as_ref()).unwrap_or_default();
    for line in String::from_utf8_lossy(&mounts).lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if let [name, dir, "tmpfs", ..] = *fields
            && is_left(name)
        {
            // The kernel writes a blank so.
            drop(SmallDisk { dir: PathBuf::from(dir.replace("\\040", " ")) });
        }
    }
}
