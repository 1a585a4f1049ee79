//! Up to which level a node's database may hold entries, in a small file beside it.
//!
//! A program that knows less is refused by it before it opens anything. Without the file it would go on until the first
//! entry that it does not know, in tables that it has changed by then: so it is with directories of releases that had
//! no such file, and so it may be in the moment in which the level rises, where another node's entry comes before word
//! of the rise.
//!
//! **Invariants:** the level that is noted never falls; it is on disk before this node may write entries of it, where the
//! disk takes it; no program notes more than it knows, and so shuts itself out. **Not here:** which level the cluster is at (`cluster`), the format
//! of the directory (`deployment`).

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use fieldmesh_domain::placement::LEVEL;

use super::{DeploymentError, file};
use crate::files;

const FILE: &str = "level";
/// A node that starts and one that hears of a rise are one.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Whether this program knows all that may be here.
pub(super) fn check(dir: &Path) -> Result<(), DeploymentError> {
    let path = dir.join(FILE);
    match files::read_mark(&path) {
        Some(found) if found > u64::from(LEVEL) => Err(DeploymentError::NewerLevel { path, found }),
        _ => Ok(()),
    }
}

/// Notes that there may be entries of a level from now on.
///
/// # Errors
/// Where the file cannot be written.
pub(crate) fn raise(dir: &Path, level: u32) -> Result<(), DeploymentError> {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (path, level) = (dir.join(FILE), u64::from(level.min(LEVEL)));
    if files::read_mark(&path).is_some_and(|noted| noted >= level) {
        return Ok(());
    }
    files::write_mark(&path, level).map_err(file(&path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn what_is_noted_rises_up_to_what_is_known() {
        let name = format!("fieldmesh-level-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        files::make_private_dir(&dir).unwrap();
        let noted = || files::read_mark(&dir.join(FILE));
        check(&dir).unwrap();
        for (level, expected) in [(3, 3), (2, 3), (LEVEL, LEVEL), (LEVEL + 1, LEVEL)] {
            raise(&dir, level).unwrap();
            assert_eq!(noted(), Some(u64::from(expected)));
            check(&dir).unwrap();
        }
        files::write_mark(&dir.join(FILE), u64::from(LEVEL) + 1).unwrap();
        let refused = check(&dir).unwrap_err().to_string();
        raise(&dir, LEVEL).unwrap();
        assert_eq!(noted(), Some(u64::from(LEVEL) + 1), "it does not fall");
        files::remove_dir(&dir).unwrap();
        assert!(refused.contains("newer release"), "{refused}");
    }
}
