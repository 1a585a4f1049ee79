//! What this machine could not do for a test: told, listed by `scripts/test`, and in CI a failure.
//!
//! **Invariant:** a test that tests less than it says is never green without a word; where `CI` is set, what root or a
//! package would give has to be there. **Not here:** the release before this one (`process::previous`).
#![allow(clippy::print_stderr, reason = "a test that tests nothing says so")]

use std::{fmt::Display, fs::OpenOptions, io::Write as _};

/// The file in which `scripts/test` wants to find a line for each.
const LIST: &str = "FIELDMESH_UNCHECKED";

/// What root and packages make possible; none where they are missing, which was said.
///
/// # Panics
/// In CI, where nothing of the kind may be missing.
pub fn or_say<T>(what: &str, tried: Result<T, impl Display>) -> Option<T> {
    tried.map_err(|why| is_missing(what, &why)).ok()
}

/// Root or a package is missing for this.
///
/// # Panics
/// In CI.
pub fn is_missing(what: &str, why: &dyn Display) {
    let is_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!is_ci, "{what} cannot be tested here, and CI is set: {why}");
    say(what, why);
}

/// The kernel of this machine cannot do this, and nobody can give it that.
pub fn say(what: &str, why: &dyn Display) {
    eprintln!("!!! {what}: NOT CHECKED: {why}");
    let Some(list) = std::env::var_os(LIST) else { return };
    let list = OpenOptions::new().create(true).append(true).open(list);
    // In one call: others append, too.
    list.and_then(|mut list| list.write_all(format!("{what} ({why})\n").as_bytes())).unwrap();
}

#[test]
fn what_is_there_is_given_back_and_nothing_is_said() {
    assert_eq!(or_say("a test", Ok::<_, String>(7)), Some(7));
}
