//! Nodes that the others let in no more: they say why, and end.
//!
//! **Not here:** who is told so, and whom it believes that (`mesh`).

use fieldmesh_tests::process::{Finished, nodes::Nodes};

/// The last that a node said names the reason and what is to be done.
pub(crate) fn is_told(ended: Finished, words: &[&str]) {
    let ended = ended.expect_code(3);
    let last = ended.stderr.lines().last().unwrap_or_default();
    for word in words.iter().chain(&["join anew", "node.number", "directory of its own"]) {
        assert!(last.contains(word), "{word:?} is not said by {ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_certificate_is_revoked_ends_and_does_not_start_again() {
    let mut nodes = Nodes::start(3).await;
    let view = nodes.settle().await;
    let members = view["members"].as_array().unwrap();
    let third = members.iter().find(|member| member["number"] == 3).unwrap();
    nodes.any().ask(&["ca", "revoke", third["registration"].as_str().unwrap()]).await;
    let words = ["not believed", "revoked", "fieldmesh cluster remove"];
    is_told(nodes.ended(3).await, &words);
    is_told(nodes.launch(3).refused().await, &words);
}
