//! A small disk of a test's own, which can be filled and emptied: a file system in memory.
//!
//! Mounting needs root. **Not here:** what is expected of a node on it (the tests).

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::text;

/// A mounted file system; it is unmounted when this is dropped.
pub struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    /// A disk of so many MiB at a directory, which is made; none where this user may not mount.
    pub fn mount(dir: &Path, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(dir).unwrap();
        let size = format!("size={mib}m,mode=700");
        let mount = ["-t", "tmpfs", "-o", &size, "fieldmesh-test", text(dir)];
        let mounted = Command::new("mount").args(mount).output();
        let is_mounted = mounted.is_ok_and(|output| output.status.success());
        is_mounted.then(|| Self { dir: dir.to_owned() })
    }

    fn filler(&self) -> PathBuf {
        self.dir.join("filler")
    }

    /// Fills it up to so many MiB.
    pub fn fill(&self, left_mib: u64) {
        let all = ["--block-size=1M", "--output=avail", text(&self.dir)];
        let output = Command::new("df").args(all).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        let room: u64 = told.lines().last().unwrap().trim().parse().unwrap();
        let size = room.saturating_sub(left_mib) << 20;
        let (size, filler) = (size.to_string(), self.filler());
        let fill = ["-l", &size, text(&filler)];
        assert!(Command::new("fallocate").args(fill).status().unwrap().success());
    }

    /// Gives the room back.
    pub fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a node may still be ending.
        drop(Command::new("umount").args(["--lazy", text(&self.dir)]).status());
    }
}
