//! Reading an entity while it changes: what is read is the entity as it was at one moment.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking"
)]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fieldmesh_domain::{
    Command,
    technician::{Command as Ask, Technician},
};
use fieldmesh_tests::live::Live;

/// Changes under the reader: enough for the state to be written twice among them.
const CHANGES: u64 = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_is_read_as_it_was_at_one_moment() {
    let live = Live::start().await;
    let id = live.technician(1).await;
    let node = Arc::clone(&live.server().node);
    let journal = node.journal_of(id).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let reader = {
        let is_over = Arc::clone(&is_over);
        tokio::task::spawn_blocking(move || {
            let (mut reads, mut seen) = (0_u64, 0);
            while !is_over.load(Ordering::Relaxed) {
                let technician = journal.state::<Technician>(id).unwrap();
                assert_eq!(technician.name, "Ada");
                let history = journal.history(id).unwrap();
                assert!(history.len() >= seen, "{} records, and before {seen}", history.len());
                seen = history.len();
                reads += 1;
            }
            reads
        })
    };
    for change in 0..CHANGES {
        let command = if change % 2 == 0 { Ask::GoOffShift } else { Ask::GoOnShift };
        node.ask(id, Command::Technician(command)).await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 10);
}
