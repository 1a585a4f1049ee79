//! `docs/enrollment.md` does what it says: its shell blocks are run, line by line, in one bash,
//! against a server as users start it.
//!
//! A block marked `sh reader` is for people only: it starts the server that the test has started.
//! **Not here:** what else is expected of enrollment (`enrollment`).
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and this one reads the document and gives it to a shell"
)]

use fieldmesh_tests::{
    document::{FIRST_LINE, LAST_LINE, Script, document, run, shell},
    process::Launch,
};
use tempfile::TempDir;

const DOCUMENT: &str = "docs/enrollment.md";
/// Below this, the document was cut or its fences are no longer found.
const BLOCKS_MIN: usize = 20;
#[tokio::test]
async fn the_tutorial_runs_from_its_first_line_to_its_last() {
    let script = Script::of(DOCUMENT, &document(DOCUMENT));
    assert!(script.blocks >= BLOCKS_MIN, "{DOCUMENT} has {} blocks only", script.blocks);
    let (data, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = scratch.path().join("enrollment.sh");
    std::fs::write(&file, &script.text).unwrap();
    let server = Launch::dev(data.path()).ready().await;
    let mut shell = shell(scratch.path(), &file);
    shell.env("DIR", &server.dir).env("HTTPS", &server.https);
    run(DOCUMENT, &script, shell).await;
    server.terminate().await.expect_code(0);
}

#[test]
fn lines_keep_their_numbers_and_blocks_for_readers_are_left_out() {
    let document = "# Title\n\n```sh reader\nstart\n```\ntext\n```sh\nfalse\n```\n";
    let script = Script::of(DOCUMENT, document);
    let expected = [FIRST_LINE, "", "", "", "", "", "ran=$((ran + 1))", "false", "", LAST_LINE];
    assert_eq!(script.text.lines().collect::<Vec<_>>(), expected);
    assert_eq!(script.blocks, 1);
}
