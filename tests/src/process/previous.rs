//! The program of the release before this one, which runs beside the present one.
//!
//! **Invariant:** where `scripts/test` has built it, and in CI, a test of it runs or fails; elsewhere whoever has not
//! built it is told what is not tested. **Not here:** building it (`scripts/previous`).
#![allow(clippy::print_stderr, reason = "a test that tests nothing says so")]

use std::path::{Path, PathBuf};

use super::program;

/// Whose program it is.
const PREVIOUS: &str = include_str!("../../previous-release");
/// Whoever sets one of these relies on the program's being there.
const RELIED_ON_BY: [&str; 2] = ["FIELDMESH_PREVIOUS", "CI"];

/// Where `scripts/previous` puts it.
fn place() -> PathBuf {
    let commit = PREVIOUS.lines().find(|line| !line.starts_with('#')).unwrap().trim();
    let own = program("fieldmesh");
    let target = own.parent().and_then(Path::parent).unwrap();
    target.join("previous").join(commit).join("fieldmesh")
}

/// Where it is; none where nobody built it, and what is not tested then was said.
///
/// # Panics
/// Where it has to be there and is not.
pub fn previous(untested: &str) -> Option<PathBuf> {
    let path = place();
    if path.is_file() {
        return Some(path);
    }
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if let Some(by) = RELIED_ON_BY.into_iter().find(is_set) {
        panic!("{path:?} is missing, and {by} is set: run scripts/previous");
    }
    eprintln!("!!! {untested}: run scripts/previous first");
    None
}
