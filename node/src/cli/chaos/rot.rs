//! Bits of a node's stored files that are others for a while.
//!
//! **Invariants:** which bits follows from a number and from what is stored; a bit is turned back in the very file in
//! which it was turned, and in no other that took its name: sorted files and write-ahead files of a process that
//! ended are never written to again. **Not here:** ending and starting the node (`striker`).

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{cli::CliError, files, server::EXIT_STORAGE};

/// Files with rows in them: sorted ones, and those ahead of them.
const ENDINGS: [&str; 2] = [".sst", ".log"];
/// A node's log, and how the names of its states begin.
const LOG: &str = "log";
const STATES: &str = "state-";
/// Larger ones are not read as a whole.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// A start that is refused ends with one of these.
const REFUSED: [i32; 2] = [2, EXIT_STORAGE];

/// What was done to the files of a node.
#[derive(Debug, Default)]
pub(super) struct Rot {
    turned: Vec<Turned>,
    tables: BTreeSet<String>,
    /// What the node did of it.
    pub(super) came: String,
}

#[derive(Debug)]
struct Turned {
    path: PathBuf,
    at: u64,
    bit: u8,
    /// Of the whole file, once all was turned.
    checksum: u32,
}

impl fmt::Display for Rot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("turned:")?;
        for Turned { path, at, bit, .. } in &self.turned {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let table = path.parent().and_then(Path::file_name).unwrap_or_default();
            write!(f, " bit {bit} of byte {at} of {}/{name};", table.to_string_lossy())?;
        }
        Ok(())
    }
}

fn failed(path: &Path, error: &std::io::Error) -> CliError {
    CliError::failed(format!("{}: {error}", path.display()))
}

fn checksum(path: &Path) -> Result<u32, CliError> {
    let bytes = files::read(path).map_err(|error| failed(path, &error))?;
    Ok(crc32fast::hash(&bytes))
}

/// What is stored below a directory: the table, the file, its length.
fn stored(db: &Path) -> Result<Vec<(String, PathBuf, u64)>, CliError> {
    let mut tables = files::names(db).unwrap_or_default();
    // A checkpoint of a state has a name behind a point.
    tables.retain(|name| name == LOG || (name.starts_with(STATES) && !name.contains('.')));
    tables.sort();
    let mut all = Vec::new();
    for table in tables {
        let dir = db.join(&table);
        for ending in ENDINGS {
            let lengths = files::lengths(&dir, ending).map_err(|error| failed(&dir, &error))?;
            let lengths = lengths.into_iter();
            let fit = lengths.filter(|(_, bytes)| (1..=FILE_BYTES_MAX).contains(bytes));
            all.extend(fit.map(|(path, bytes)| (table.clone(), path, bytes)));
        }
    }
    Ok(all)
}

fn turn_back<'a>(turned: impl IntoIterator<Item = &'a Turned>) -> Result<(), CliError> {
    for Turned { path, at, bit, .. } in turned {
        files::turn_bit(path, *at, *bit).map_err(|error| failed(path, &error))?;
    }
    Ok(())
}

impl Rot {
    /// Turns so many bits of what a node stored that does not run.
    ///
    /// # Errors
    /// Nothing is stored, or a file cannot be read or written: what was turned before is turned back.
    pub(super) fn of(db: &Path, bits: u64, dice: u64) -> Result<Self, CliError> {
        let (stored, mut dice) = (stored(db)?, StdRng::seed_from_u64(dice));
        if stored.is_empty() {
            return Err(CliError::failed(format!("{}: nothing is stored there", db.display())));
        }
        let mut rot = Self::default();
        let chosen = (0..bits).map(|_| {
            let (table, path, bytes) = &stored[dice.random_range(0..stored.len())];
            (table.as_str(), path.as_path(), dice.random_range(0..*bytes), dice.random_range(0..8))
        });
        match rot.turn(chosen) {
            Ok(()) => Ok(rot),
            // Nobody wrote to any of them since.
            Err(error) => Err(turn_back(&rot.turned).err().unwrap_or(error)),
        }
    }

    fn turn<'a>(
        &mut self,
        chosen: impl Iterator<Item = (&'a str, &'a Path, u64, u8)>,
    ) -> Result<(), CliError> {
        for (table, path, at, bit) in chosen {
            files::turn_bit(path, at, bit).map_err(|error| failed(path, &error))?;
            self.tables.insert(table.to_owned());
            self.turned.push(Turned { path: path.to_owned(), at, bit, checksum: 0 });
        }
        for turned in &mut self.turned {
            turned.checksum = checksum(&turned.path)?;
        }
        Ok(())
    }

    /// Turns all back; what is gone since needs no repair.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(super) fn undo(&self) -> Result<(), CliError> {
        let mut left = Vec::new();
        for turned in &self.turned {
            if turned.path.exists() && checksum(&turned.path)? == turned.checksum {
                left.push(turned);
            }
        }
        turn_back(left)
    }

    /// Whether a node that ended like this said of which of these tables.
    pub(super) fn is_named_by(&self, code: Option<i32>, said: &str) -> bool {
        code.is_some_and(|code| REFUSED.contains(&code))
            && self.tables.iter().any(|table| said.contains(&format!("table {table}")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        reason = "tests fail by panicking, and make files"
    )]

    use std::{collections::BTreeMap, fs};

    use super::*;

    fn contents(db: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let tables = fs::read_dir(db).unwrap().map(|table| table.unwrap().path());
        let files = tables.flat_map(|table| fs::read_dir(table).unwrap());
        files
            .map(|file| file.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }

    #[test]
    fn what_was_turned_is_turned_back_and_nothing_that_took_its_name() {
        let dir = std::env::temp_dir().join(format!("fieldmesh-rot-{}", std::process::id()));
        let db = dir.as_path();
        for table in ["log", "state-1", "state-1.checkpoint-0", "else"] {
            fs::create_dir_all(db.join(table)).unwrap();
            for file in ["CURRENT", "000001.sst", "000002.log", "empty.sst"] {
                let bytes = if file.starts_with("empty") { vec![] } else { vec![7; 100] };
                fs::write(db.join(table).join(file), bytes).unwrap();
            }
        }
        let before = contents(db);
        let rot = Rot::of(db, 8, 42).unwrap();
        let turned = contents(db);
        let changed: Vec<_> = before.keys().filter(|path| before[*path] != turned[*path]).collect();
        assert!(!changed.is_empty());
        for path in &changed {
            let table = path.parent().unwrap().file_name().unwrap();
            assert!(table == "log" || table == "state-1", "{path:?}");
            assert!(!path.ends_with("CURRENT"), "{path:?}");
        }
        rot.undo().unwrap();
        assert_eq!(contents(db), before);
        // The same number turns the same bits.
        assert_eq!(Rot::of(db, 8, 42).unwrap().to_string(), rot.to_string());
        assert_eq!(contents(db), turned);
        // One is gone, and another one is there under its name.
        for (path, _) in before.iter().filter(|(path, _)| path.ends_with("000001.sst")) {
            fs::remove_file(path).unwrap();
        }
        let fresh = db.join("log/000001.sst");
        fs::write(&fresh, "another").unwrap();
        rot.undo().unwrap();
        assert_eq!(fs::read(fresh).unwrap(), b"another");
        assert!(Rot::of(&db.join("else"), 1, 42).is_err(), "nothing is stored there");
        // Where a bit cannot be turned, those before it are turned back.
        let before = contents(db);
        let (there, gone) = (db.join("log/000002.log"), db.join("log/000001.gone"));
        let mut half = Rot::default();
        let chosen = [("log", there.as_path(), 3, 1), ("log", gone.as_path(), 0, 0)];
        assert!(half.turn(chosen.into_iter()).is_err());
        assert_ne!(contents(db), before);
        turn_back(&half.turned).unwrap();
        assert_eq!(contents(db), before);
        fs::remove_dir_all(db).unwrap();
    }

    #[test]
    fn a_refusal_counts_where_it_names_what_was_turned() {
        let rot = Rot { tables: BTreeSet::from(["state-3".into()]), ..Rot::default() };
        let said = "fieldmesh: the node did not start: cannot read table state-3: Corruption";
        assert!(rot.is_named_by(Some(2), said) && rot.is_named_by(Some(EXIT_STORAGE), said));
        assert!(!rot.is_named_by(None, said), "it died of a signal");
        assert!(!rot.is_named_by(Some(1), said));
        assert!(!rot.is_named_by(Some(2), "cannot read table state-4"));
    }
}
