//! What is written beside a history.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

/// A directory of a run that passed, with this history.
fn judged_before(name: &str, history: &[u8]) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("fieldmesh-{name}-{}", std::process::id()));
    files::make_private_dir(&dir).unwrap();
    for (name, bytes) in [
        (HISTORY, history),
        (RESULTS, br#"{"ending":"passed"}"#.as_slice()),
        (REPORT, b"<h1>x: passed</h1>".as_slice()),
    ] {
        files::write(&dir.join(name), bytes, Access::Owner).unwrap();
    }
    dir
}

#[test]
fn no_verdict_of_before_stays_beside_a_history_that_cannot_be_read() {
    let cut = br#"{"at_us":0,"what":"begun","version":2,"scen"#.as_slice();
    for (name, history) in [("cut", cut), ("emptied", b"".as_slice())] {
        let dir = judged_before(name, history);
        let error = report(&dir, &Output::new(true)).unwrap_err();
        let written = [RESULTS, REPORT].map(|name| files::read(&dir.join(name)).unwrap());
        files::remove_dir(&dir).unwrap();
        assert_eq!(error.code(), 3, "{name}: {error}");
        let results: Value = serde_json::from_slice(&written[0]).unwrap();
        assert_eq!(results["ending"], "inconclusive", "{name}");
        assert_eq!(results["why"], json!([error.to_string()]), "{name}");
        let page = String::from_utf8_lossy(&written[1]);
        assert!(page.contains("cannot be judged") && !page.contains("passed"), "{name}: {page}");
    }
}

#[test]
fn a_directory_without_anything_of_a_run_stays_as_it_is() {
    let dir = std::env::temp_dir().join(format!("fieldmesh-no-run-{}", std::process::id()));
    files::make_private_dir(&dir).unwrap();
    let error = report(&dir, &Output::new(true)).unwrap_err();
    let is_empty = files::is_empty_dir(&dir);
    files::remove_dir(&dir).unwrap();
    assert_eq!((error.code(), is_empty), (3, true), "{error}");
}
