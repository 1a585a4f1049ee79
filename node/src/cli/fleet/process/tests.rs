//! Whose fault it is that a node does not run.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

fn node(program: &str) -> NodeProcess {
    let dir = std::env::temp_dir();
    NodeProcess {
        number: 1,
        config: dir.join("no.toml"),
        passphrase: dir.join("no.passphrase"),
        dir,
        program: program.into(),
        child: None,
        devices: (Ipv4Addr::LOCALHOST, 1).into(),
        lab: None,
        disk: None,
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_not_the_nodes_fault_and_one_that_ends_is() {
    let missing = node("/nowhere/fieldmesh").spawn().await.unwrap_err();
    assert!(matches!(missing, Unstarted::Harness(_)), "{missing}");
    let ends = node("/bin/true").spawn().await.unwrap_err();
    assert!(matches!(ends, Unstarted::Node(_)), "{ends}");
}
