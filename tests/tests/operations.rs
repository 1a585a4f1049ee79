//! `docs/operations.md` does what it says: a cluster is started, grown, upgraded, robbed of a node and
//! shrunk by its shell blocks, in one bash.
//!
//! The document's addresses are changed to some that no other test has. **Not here:** what devices notice
//! of it (`cluster`).
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and this one gives a document to a shell"
)]

use fieldmesh_tests::{
    document::{Script, document, run, shell},
    process::nodes::network,
};
use tempfile::TempDir;

const DOCUMENT: &str = "docs/operations.md";
/// Below this, the document was cut or its fences are no longer found.
const BLOCKS_MIN: usize = 12;

#[tokio::test]
async fn the_operations_guide_runs_from_its_first_line_to_its_last() {
    let text = document(DOCUMENT).replace("127.0.0.", &network());
    let script = Script::of(DOCUMENT, &text);
    assert!(script.blocks >= BLOCKS_MIN, "{DOCUMENT} has {} blocks only", script.blocks);
    let scratch = TempDir::new().unwrap();
    let file = scratch.path().join("operations.sh");
    // Whatever happens, the nodes that it started end with it.
    let ended = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT; ";
    std::fs::write(&file, format!("{ended}{}", script.text)).unwrap();
    run(DOCUMENT, &script, shell(scratch.path(), &file)).await;
}
