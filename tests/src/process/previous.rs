//! The program of the release before this one, which runs beside the present one.
//!
//! **Invariant:** where `scripts/test` has built it, and in CI, a test of it runs or fails; elsewhere whoever has not
//! built it is told what is not tested. **Not here:** building it (`scripts/previous`).
#![allow(clippy::print_stderr, reason = "a test that tests nothing says so")]

use std::path::PathBuf;

use super::program;

/// Whose program it is.
const PREVIOUS: &str = include_str!("../../previous-release");
/// Whoever sets one of these relies on the program's being there.
const RELIED_ON_BY: [&str; 2] = ["FIELDMESH_PREVIOUS", "CI"];

/// Where it is; none where nobody built it, and what is not tested then was said.
///
/// # Panics
/// Where it has to be there and is not.
pub fn previous(untested: &str) -> Option<PathBuf> {
    let commit = PREVIOUS.lines().find(|line| !line.starts_with('#')).unwrap().trim();
    let target = program("fieldmesh").parent().and_then(|own| own.parent()).unwrap().to_owned();
    let path = target.join("previous").join(commit).join("fieldmesh");
    if path.is_file() {
        return Some(path);
    }
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let by = RELIED_ON_BY.into_iter().find(is_set);
    assert!(by.is_none(), "{path:?} is missing, and {} is set: run scripts/previous", by.unwrap());
    eprintln!("!!! {untested}: run scripts/previous first");
    None
}
