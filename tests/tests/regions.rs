//! Two regions of real nodes: data stay at home, and a region that is cut off goes on.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and this one reads the nodes' disks"
)]

use std::path::Path;

use fieldmesh_domain::EntityId;
use fieldmesh_tests::{
    live::until,
    process::{
        contents::{Contents, Secret, contents},
        fieldmesh,
        handheld::Handheld,
        nodes::Nodes,
        text,
    },
};
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

/// A first region of two nodes, and what a second one's authority is introduced by.
async fn first_region() -> Nodes {
    Nodes::start(2).await
}

/// Two regions of two nodes each: 1 and 2, 11 and 12.
async fn two_regions() -> Nodes {
    let mut nodes = first_region().await;
    nodes.add_region(11, "us1").await;
    nodes.join_beside(12, 11).await.expect_code(0);
    nodes.restart(12).await;
    nodes.settle().await;
    nodes
}

/// One request through the whole claim, by devices of a node's region; its ticket.
async fn served(nodes: &Nodes, by: u64, people: &(Handheld, Handheld), what: &str) -> String {
    served_to(nodes, by, &people.0, &people.1, what).await
}

async fn served_to(
    nodes: &Nodes,
    by: u64,
    customer: &Handheld,
    technician: &Handheld,
    what: &str,
) -> String {
    let ticket = customer.request(what).await;
    let alert = technician.alert(&ticket).await;
    technician.accept(&alert).await;
    let shown = nodes.node(by).ask(&["ticket", "show", &ticket]).await;
    assert_eq!(shown["state"], "accepted", "{shown}");
    ticket
}

async fn people(nodes: &Nodes, by: u64, dir: &Path) -> (Handheld, Handheld) {
    let devices = nodes.node(by).devices.clone();
    nodes.node(by).pair(&dir.join(by.to_string()), ["Ada", "Ben"], &devices).await
}

/// What a node that has ended has on its disk. A file of zeros, as the reserve for a full one, has nothing to be found.
fn disk(nodes: &Nodes, number: u64) -> Contents {
    let mut files = contents(&nodes.dir(number));
    files.retain(|_, bytes| bytes.iter().any(|byte| *byte != 0));
    files
}

/// Files that have something of an entity: bytes of its identifier that no other one has, or its text in any form. Both
/// are without what is different in the identifier of its registration: kind and slot, and the last byte.
fn files_of(files: &Contents, id: &str) -> Vec<String> {
    let bytes = &id.parse::<EntityId>().unwrap().to_bytes()[6..15];
    let text = Secret::new(&id[id.len() - 16..id.len() - 3]);
    let holds = |content: &[u8]| content.windows(bytes.len()).any(|window| window == bytes);
    let found = files.iter().filter(|(_, content)| holds(content));
    let found = found.map(|(path, _)| path.display().to_string());
    found.chain(text.files_in(files)).collect()
}

/// People of a region whom a node there registers, names first, and what one asks of the other.
type Life = (u64, [&'static str; 2], &'static str);

const LIVES: [Life; 2] = [
    (1, ["Orsolya Quirke 6b2d", "Thaddeus Umber 0e8f"], "the vault door jams at 4a7c19"),
    (11, ["Philippa Vane c41a", "Ignatius Holt 93d7"], "its hinge screams like 93be02"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_regions_data_are_on_no_disk_of_another_region() {
    let mut nodes = two_regions().await;
    let (dir, mut ids) = (TempDir::new().unwrap(), Vec::new());
    for (by, names, request) in LIVES {
        let (server, own) = (nodes.node(by), dir.path().join(by.to_string()));
        let people = server.pair(&own, names, &server.devices).await;
        let ticket = served(&nodes, by, &people, request).await;
        ids.push([people.0.id, people.1.id, ticket]);
    }
    // The placement code keeps it so, whatever an operator wants.
    let view = nodes.settle().await;
    let group = |number: u64| {
        let of = |group: &&Value| group["voters"].as_array().unwrap().contains(&number.into());
        let shards = view["groups"].as_array().unwrap().iter();
        shards.filter(|group| group["kind"] == "shard").find(of).unwrap()["group"].to_string()
    };
    let moved = nodes.cluster(&["move", &group(11), "1"]).await.expect_code(3);
    moved.expect_one_line(&["another region"]);
    // What states have in memory is on the disk when a node has ended.
    for number in [12, 11, 2, 1] {
        nodes.terminate(number).await;
    }
    let disks = |numbers: [u64; 2]| numbers.map(|number| disk(&nodes, number));
    let (first, second) = (disks([1, 2]), disks([11, 12]));
    let views = [(&first, &second), (&second, &first)];
    for ((home, abroad), ((_, names, request), ids)) in
        views.into_iter().zip(LIVES.iter().zip(&ids))
    {
        expect_at_home(home, ids);
        for id in ids {
            for files in abroad {
                assert_eq!(files_of(files, id), Vec::<String>::new(), "{id} left its region");
            }
        }
        // They are sealed wherever they are stored, so that not even their own region's disks have them as they are.
        for word in names.iter().chain([request]) {
            for files in home.iter().chain(abroad) {
                assert_eq!(Secret::new(word).files_in(files), Vec::<String>::new(), "{word}");
            }
        }
    }
}

/// The search finds what is there: identifiers are stored as they are, in logs and states as bytes, and as text in the
/// audit record, of those whose devices were enrolled.
#[track_caller]
fn expect_at_home(disks: &[Contents; 2], ids: &[String; 3]) {
    let found = |id: &String| -> Vec<String> {
        disks.iter().flat_map(|files| files_of(files, id)).collect()
    };
    let everywhere: Vec<Vec<String>> = ids.iter().map(found).collect();
    let is_in = |files: &Vec<String>, begin: &str| files.iter().any(|file| file.starts_with(begin));
    for (id, files) in ids.iter().zip(&everywhere) {
        assert!(is_in(files, "db/"), "{id} is in no table, but in {files:?}");
    }
    assert!(everywhere.iter().any(|files| is_in(files, "db/state-")), "{everywhere:?}");
    for files in &everywhere[..2] {
        assert!(is_in(files, "audit.jsonl"), "a device's owner is in {files:?} alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_cut_off_goes_on() {
    let mut nodes = two_regions().await;
    let dir = TempDir::new().unwrap();
    let before = people(&nodes, 11, dir.path()).await;
    served(&nodes, 11, &before, "before").await;
    nodes.kill(1).await;
    nodes.kill(2).await;
    served(&nodes, 11, &before, "alone").await;
    // Who comes to the region meanwhile is served too, and who is not wanted is turned away.
    let id = nodes.node(11).register("customer", "name,lat,lon\nEve,48.85,2.35\n").await.remove(0);
    let devices = nodes.node(12).devices.clone();
    let new = nodes.node(12).device(dir.path().join("new"), id, &devices).await;
    served_to(&nodes, 12, &new, &before.1, "a new one").await;
    nodes.node(12).ask(&["ca", "revoke", &new.id]).await;
    new.try_request("revoked", "5").await.expect_code(3);
    // A node that starts meanwhile serves by what it knew.
    nodes.terminate(11).await;
    nodes.restart(11).await;
    served(&nodes, 11, &before, "started alone").await;
    new.try_request("still revoked", "5").await.expect_code(3);
    // Together again, they agree.
    nodes.restart(1).await;
    nodes.restart(2).await;
    nodes.settle().await;
    served(&nodes, 11, &before, "together").await;
    let europeans = people(&nodes, 1, dir.path()).await;
    served(&nodes, 1, &europeans, "the others").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_let_in_by_two_operators_and_once() {
    let mut nodes = first_region().await;
    let issuing = nodes.prepare_region(11, "us1").await;
    nodes.found(11, &issuing).await.expect_code(3).expect_one_line(&["us1", "introduce"]);
    // Nothing starts from a directory that the cluster did not take in.
    nodes.launch(11).refused().await.expect_code(2).expect_one_line(&["join --issuing"]);
    nodes.let_in(11, &issuing).await;
    nodes.found(11, &issuing).await.expect_code(2).expect_one_line(&["already"]);
    nodes.restart(11).await;
    let view = nodes.settle().await;
    let regions: Vec<&str> = view["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["region"].as_str().unwrap())
        .collect();
    assert_eq!(regions, ["eu1", "eu1", "us1"]);
    // A second first node has no authority that is introduced.
    let second = nodes.prepare_region(12, "us1").await;
    nodes.found(12, &second).await.expect_code(3).expect_one_line(&["us1", "there already"]);
    // A node of one region is not taken in by way of another's.
    let (user, secret) = nodes.token("node").await;
    let config = nodes.config(13, &[("cluster.region", "\"us1\"")]);
    nodes
        .join_as(&config, &user, &secret)
        .await
        .expect_code(3)
        .expect_one_line(&["cluster.region"]);
    // An operator of one region is known in the other.
    let travels = TempDir::new().unwrap();
    for (from, file) in
        [(1, "operator.pem"), (1, "operator.key"), (1, "root.pem"), (11, "addresses.json")]
    {
        std::fs::copy(nodes.dir(from).join(file), travels.path().join(file)).unwrap();
    }
    let status = fieldmesh(travels.path(), &["cluster", "status"]).await.expect_code(0).json();
    assert_eq!((&status["node"], &status["settled"]), (&11.into(), &true.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_asks_another_regions_node_is_sent_home() {
    let nodes = two_regions().await;
    let dir = TempDir::new().unwrap();
    let abroad = nodes.node(1).devices.clone();
    let people = nodes.node(11).pair(dir.path(), ["Ada", "Ben"], &abroad).await;
    served(&nodes, 11, &people, "from far away").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_another_region_is_taken_with_a_word() {
    let mut nodes = first_region().await;
    nodes.add_region(11, "us1").await;
    nodes.settle().await;
    for (region, area) in [("eu1", "41,-5,51,10"), ("us1", "24,-125,50,-66")] {
        nodes.cluster(&["area", region, "--box", area]).await.expect_code(0);
    }
    until("the other region's node has heard of both", async || {
        let view = nodes.node(11).ask(&["cluster", "status"]).await;
        let is_said = |region: &Value| region["areas"].as_array().is_some_and(|all| all.len() == 1);
        view["regions"].as_array().unwrap().iter().all(is_said).then_some(())
    })
    .await;
    let table = NamedTempFile::new().unwrap();
    std::fs::write(table.path(), "name,lat,lon\nAda,40.7,-74\nBo,48.85,2.35\n").unwrap();
    for more in [&["--dry-run"] as &[&str], &[]] {
        let args = [&["customer", "import", text(table.path())], more].concat();
        let done = nodes.node(11).ask(&args).await;
        let warnings = done["warnings"].as_array().unwrap();
        assert_eq!((&done["created"], warnings.len()), (&2.into(), 1), "{done}");
        let word = warnings[0]["warning"].as_str().unwrap();
        assert_eq!(warnings[0]["line"], 3, "{done}");
        assert!(word.contains("in the area of eu1 and not of us1"), "{done}");
    }
}
