//! A backup of real nodes under load, and what goes on from it: all that was acknowledged before, on one
//! new node, for the same devices.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and these look into files and damage them"
)]

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
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
    assert!(taken["held_ms"].as_u64().unwrap() < 3000, "{taken}");
    load.more(2).await;
    load.end().await;
    // Devices remember what is lost: what they are sent then has numbers that they have not seen.
    served(&nodes, &customer, &technician, "after the backup").await;
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
    let verified = verified.expect_code(0).json();
    assert_eq!(verified["faults"], 0, "{verified}");

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

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_damaged_or_of_something_else_is_refused_before_anything_is_made() {
    let nodes = Nodes::start(1).await;
    nodes.back_up(1, "backup").await.expect_code(0);
    let whole = contents(&nodes.beside("backup"));
    let made = nodes.dir(2);
    // Each as a directory of its own, changed in one way.
    let refused = async |what: &str, change: &dyn Fn(&mut Contents), words: &[&str]| {
        let dir = nodes.beside(what);
        let mut files = whole.clone();
        change(&mut files);
        place(&files, &dir);
        nodes.restore(2, &dir).await.expect_code(2).expect_one_line(words);
        let verify = ["verify", text(&dir), "--json", "--passphrase-file"];
        let passphrase = nodes.passphrase();
        let verify = [&["backup"], &verify[..], &[text(&passphrase)]].concat();
        let verified = run("fieldmesh", &verify).await;
        verified.expect_code(2).expect_one_line(words);
        assert!(!made.exists(), "{what}: something was made");
    };
    let rows = std::path::PathBuf::from("group-1.rows");
    let head = std::path::PathBuf::from("backup.sealed");
    let flip = |files: &mut Contents| {
        let bytes = files.get_mut(&rows).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    refused("flipped", &flip, &["group-1.rows", "damaged"]).await;
    let cut = |files: &mut Contents| {
        let bytes = files.get_mut(&rows).unwrap();
        bytes.truncate(bytes.len() - 3);
    };
    refused("cut", &cut, &["group-1.rows", "cut short"]).await;
    let lose = |files: &mut Contents| drop(files.remove(&rows));
    refused("lost", &lose, &["group-1.rows", "missing"]).await;
    let swap = |files: &mut Contents| {
        let other = files[&std::path::PathBuf::from("group-2.rows")].clone();
        files.insert(rows.clone(), other);
    };
    refused("swapped", &swap, &["group-1.rows", "damaged"]).await;
    let unfinished = |files: &mut Contents| drop(files.remove(&head));
    refused("unfinished", &unfinished, &["holds no whole backup"]).await;
    let newer = |files: &mut Contents| files.get_mut(&head).unwrap()[7] = 9;
    refused("newer", &newer, &["format 9", "newer program"]).await;

    let backup = nodes.beside("backup");
    for (changes, words) in [
        (("cluster.name", "\"another.example\""), ["cluster.name", "another.example"]),
        (("cluster.region", "\"us1\""), ["cluster.region", "us1"]),
        (("node.shards", "7"), ["node.shards = 4", "7"]),
        (("node.number", "1"), ["node.number = 1", "another machine"]),
    ] {
        let config = nodes.config(2, &[changes]);
        let restored = nodes.run_as(&config, "restore", &[text(&backup)]).await;
        restored.expect_code(2).expect_one_line(&words);
        assert!(!made.exists(), "{words:?}: something was made");
    }
    // The directory of a node is nobody else's.
    let before = contents(&nodes.dir(1)).len();
    nodes.restore(1, &backup).await.expect_code(2).expect_one_line(&["holds a deployment"]);
    assert!(contents(&nodes.dir(1)).len() >= before);
    let wrong = nodes.beside("wrong");
    std::fs::write(&wrong, "not the passphrase of it").unwrap();
    let config = nodes.config(2, &[]);
    let args =
        ["restore", text(&backup), "--config", text(&config), "--passphrase-file", text(&wrong)];
    run("fieldmesh", &args).await.expect_code(2).expect_one_line(&["passphrase", "wrong"]);
    assert!(!made.exists(), "something was made");
    // What is there is not written over.
    nodes.back_up(1, "backup").await.expect_code(2).expect_one_line(&["there already"]);
    assert_eq!(contents(&nodes.beside("backup")), whole);
}
