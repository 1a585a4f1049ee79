//! `docs/dispatch.md` does what it says: its shell blocks are run, line by line, in one bash, against a
//! server as users start it.
//!
//! **Not here:** what else is expected of orders and reports (`process`).
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and this one gives a document to a shell"
)]

use fieldmesh_tests::{
    document::{Script, document, run, shell},
    process::Launch,
};
use tempfile::TempDir;

const DOCUMENT: &str = "docs/dispatch.md";
/// Below this, the document was cut or its fences are no longer found.
const BLOCKS_MIN: usize = 16;

#[tokio::test]
async fn the_dispatch_guide_runs_from_its_first_line_to_its_last() {
    let script = Script::of(DOCUMENT, &document(DOCUMENT));
    assert!(script.blocks >= BLOCKS_MIN, "{DOCUMENT} has {} blocks only", script.blocks);
    let (data, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = scratch.path().join("dispatch.sh");
    std::fs::write(&file, &script.text).unwrap();
    let server = Launch::dev(data.path()).ready().await;
    let mut shell = shell(scratch.path(), &file);
    shell.env("DIR", &server.dir).env("HTTPS", &server.https);
    run(DOCUMENT, &script, shell).await;
    server.terminate().await.expect_code(0);
}
