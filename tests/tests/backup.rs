//! A backup of real nodes under load, and what goes on from it: all that was acknowledged before, on one
//! new node, for the same devices.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and these look into files and damage them"
)]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use fieldmesh_domain::EntityId;
use fieldmesh_tests::process::{
    contents::{Contents, Secret, contents, place},
    handheld::Handheld,
    nodes::Nodes,
    run, text,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

const NAMES: [&str; 2] = ["Orsolya Quirke 6b2d", "Thaddeus Umber 0e8f"];

/// One request through the whole claim; its ticket.
async fn served(nodes: &Nodes, customer: &Handheld, technician: &Handheld, text: &str) -> String {
    let ticket = customer.request(text).await;
    let alert = technician.alert(&ticket).await;
    technician.accept(&alert).await;
    let shown = show(nodes, &ticket).await;
    assert_eq!(shown["state"], "accepted", "{shown}");
    ticket
}

async fn show(nodes: &Nodes, ticket: &str) -> Value {
    nodes.any().ask(&["ticket", "show", ticket]).await
}

/// Requests and imports, one after the other, until it is ended; how many were acknowledged.
struct Load {
    ends: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(nodes: &Nodes, customers: Vec<Handheld>) -> Self {
        let (ends, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = Vec::new();
        for customer in customers {
            let (ends, done) = (Arc::clone(&ends), Arc::clone(&done));
            tasks.push(tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    customer.request("under load").await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        let (ends_too, done_too) = (Arc::clone(&ends), Arc::clone(&done));
        let (dir, rows) = (nodes.node(2).dir.clone(), nodes.beside("load.csv"));
        std::fs::write(&rows, "name,lat,lon\nC,48.85,2.35\nD,48.85,2.35\n").unwrap();
        tasks.push(tokio::spawn(async move {
            let args = ["customer", "import", text(&rows), "--json", "--data-dir", text(&dir)];
            while !ends_too.load(Ordering::Relaxed) {
                run("fieldmesh", &args).await.expect_code(0);
                done_too.fetch_add(1, Ordering::Relaxed);
            }
        }));
        Self { ends, done, tasks }
    }

    /// Waits until so many more were acknowledged.
    async fn more(&self, count: usize) {
        let before = self.done.load(Ordering::Relaxed);
        fieldmesh_tests::live::until("the load goes on", async || {
            (self.done.load(Ordering::Relaxed) >= before + count).then_some(())
        })
        .await;
    }

    async fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// Nothing of this is in a file, as text or as bytes.
#[track_caller]
fn expect_silence(files: &Contents, texts: &[&str], ids: &[&str]) {
    for word in texts.iter().chain(ids) {
        assert_eq!(Secret::new(word).files_in(files), Vec::<String>::new(), "{word}");
    }
    for id in ids {
        let bytes = id.parse::<EntityId>().unwrap().to_bytes();
        for (path, content) in files {
            let found = content.windows(bytes.len()).any(|window| window == bytes);
            assert!(!found, "{id} is in {}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_backup_goes_on_from_it() {
    let mut nodes = Nodes::start(3).await;
    let dir = TempDir::new().unwrap();
    let devices = nodes.any().devices.clone();
    let (customer, technician) = nodes.any().pair(dir.path(), NAMES, &devices).await;
    let mut tickets = Vec::new();
    for text in ["the vault door jams", "its hinge screams"] {
        tickets.push(served(&nodes, &customer, &technician, text).await);
    }
    let mut loaders = Vec::new();
    let others = "name,lat,lon,tier\nE,48.85,2.35,2\nF,48.85,2.35,2\n";
    for id in nodes.any().register("customer", others).await {
        let at = dir.path().join(&id);
        loaders.push(nodes.any().device(at, id, &devices).await);
    }
    let load = Load::start(&nodes, loaders);
    load.more(4).await;
    let mut before = Vec::new();
    for ticket in &tickets {
        before.push(show(&nodes, ticket).await);
    }
    let customers = nodes.any().ask(&["customer", "list"]).await["rows"].as_array().unwrap().len();
    let taken = nodes.back_up(1, "backup").await.expect_code(0).json();
    println!("{taken}");
    load.more(2).await;
    load.end().await;
    nodes.kill_all().await;

    let backup = nodes.beside("backup");
    let files = contents(&backup);
    assert!(files.len() > 3, "{:?}", files.keys());
    let ids = [customer.id.as_str(), technician.id.as_str(), &tickets[0]];
    expect_silence(&files, &NAMES, &ids);
    let passphrase = nodes.passphrase();
    let own = ["--json", "--passphrase-file", text(&passphrase)];
    let verified =
        run("fieldmesh", &[&["backup", "verify", text(&backup)], &own[..]].concat()).await;
    println!("{}", verified.expect_code(0).json());

    // On the address of one of those that are lost, as devices know it.
    nodes.take_address(4, 1);
    let restored = nodes.restore(4, &backup).await.expect_code(0).json();
    assert_eq!(restored["number"], 4, "{restored}");
    nodes.restart(4).await;
    for (ticket, before) in tickets.iter().zip(&before) {
        assert_eq!(show(&nodes, ticket).await, *before);
    }
    let now = nodes.any().ask(&["customer", "list"]).await["rows"].as_array().unwrap().len();
    assert!(now >= customers, "{now} of {customers} customers");
    tickets.push(served(&nodes, &customer, &technician, "after the restore").await);
    nodes.join(5).await.expect_code(0);
    nodes.restart(5).await;
    let view = nodes.settle().await;
    for group in view["groups"].as_array().unwrap() {
        assert_eq!(group["voters"], serde_json::json!([4]), "{view}");
        assert_eq!(group["learners"], serde_json::json!([5]), "{view}");
    }
    served(&nodes, &customer, &technician, "with two nodes").await;
}
