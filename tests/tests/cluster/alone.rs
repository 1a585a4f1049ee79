//! A node that starts where it hears nobody: who was revoked while it was away it does not know.
//!
//! **Not here:** nodes that are cut off while they run (`network`).

use fieldmesh_tests::{live::until, process::nodes::Nodes};
use tempfile::TempDir;

use crate::{people, served};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_alone_takes_no_device_until_it_hears_another() {
    // Who was heard once would not be cut off within this test.
    let mut nodes = Nodes::start_in(None, 3, &[("cluster.cut_off_after_s", "3600")]).await;
    let dir = TempDir::new().unwrap();
    let (customer, technician) = people(&nodes, dir.path()).await;
    served(&nodes, &customer, &technician, "before").await;
    nodes.kill_all().await;
    let alone = tokio::spawn(nodes.launch(1).ready());
    let listening = technician.start(&["listen", "--seconds", "60"]);
    until("a device is sent on", async || {
        let audit = std::fs::read_to_string(nodes.dir(1).join("audit.jsonl")).unwrap_or_default();
        audit.contains(r#""why":"cut_off""#).then_some(())
    })
    .await;
    // Two of three are enough, and the devices come again by themselves.
    nodes.restart(2).await;
    let _first = alone.await.unwrap();
    listening.end_with("TERM").await;
    served(&nodes, &customer, &technician, "once it hears another").await;
}
