//! The history of a run, from its file, where this machine has the memory to judge it.
//!
//! **Invariant:** what cannot be judged is refused before it is recorded, or as soon as enough of it was read. **Not here:** what a line
//! means, and how much memory a history takes (`fieldmesh_chaos::history`).

use std::{
    io::{self, BufRead as _, BufReader},
    path::Path,
};

use fieldmesh_chaos::{
    History,
    history::{Reading, Size},
};

use crate::{files, memory::available_bytes};

/// Half an hour of a thousand requests a second.
const HISTORY_BYTES_MAX: u64 = 4 << 30;
/// Lines between two looks at how much memory they will take: some megabytes.
const LOOKED_AT_EVERY: u64 = 1 << 14;

/// Reads a history.
///
/// # Errors
/// Why it cannot be read, or not be judged here: as soon as that is known.
pub(super) fn read(path: &Path) -> Result<History, String> {
    let said = |error: io::Error| error.to_string();
    let file = files::open(path).map_err(said)?;
    let bytes = file.metadata().map_err(said)?.len();
    let available = available_bytes();
    is_enough(Size { entries: 0, bytes }, available)?;
    let (mut reader, mut reading) = (BufReader::new(file), Reading::default());
    let (mut line, mut entries) = (String::new(), 0);
    while reader.read_line(&mut line).map_err(said)? > 0 {
        reading.line(&line).map_err(|error| error.to_string())?;
        line.clear();
        entries += 1;
        if entries % LOOKED_AT_EVERY == 0 {
            is_enough(Size { entries, bytes }, available)?;
        }
    }
    reading.end().map_err(|error| error.to_string())
}

/// Whether a history of this size can be judged on this machine.
///
/// # Errors
/// Why it cannot.
pub(super) fn enough(size: Size) -> Result<(), String> {
    is_enough(size, available_bytes())
}

/// Nothing is refused where nobody knows how much there is.
fn is_enough(size: Size, available: Option<u64>) -> Result<(), String> {
    let Size { entries, bytes } = size;
    if bytes > HISTORY_BYTES_MAX {
        let (mib, most) = (bytes >> 20, HISTORY_BYTES_MAX >> 20);
        return Err(format!("a history of {mib} MiB is not judged: {most} are the most"));
    }
    let needed = size.memory_bytes();
    match available {
        Some(available) if available < needed => Err(format!(
            "it takes some {} MiB of memory to judge a history of {entries} entries, and {} MiB are available here",
            needed >> 20,
            available >> 20
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_both_figures() {
        let size = Size { entries: 1_000_000, bytes: 150 << 20 };
        let needed = size.memory_bytes();
        assert_eq!(is_enough(size, Some(needed)), Ok(()));
        assert_eq!(is_enough(size, None), Ok(()), "nobody knows");
        let refused = is_enough(size, Some(64 << 20)).unwrap_err();
        for told in ["1000000 entries", "64 MiB", &format!("{} MiB", needed >> 20)] {
            assert!(refused.contains(told), "{told}: {refused}");
        }
        let long = Size { entries: 1, bytes: HISTORY_BYTES_MAX + (1 << 20) };
        assert!(is_enough(long, None).unwrap_err().contains("4097 MiB"));
    }
}
