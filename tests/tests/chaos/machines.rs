//! `fieldmesh-lab`: nodes on machines of their own, broken by the kernel and under them; what that cannot do is refused,
//! and nothing of it stays behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use fieldmesh_node::cli::lab::machines::Dropped;
use fieldmesh_tests::{
    live::{until, until_within},
    process::{Finished, Running, namespaces::Network, run, run_with},
    unchecked,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::{text, verdicts, written};

const BROKEN: &str = r#"
name = "machines"
hypothesis = "A cable is pulled, a node dies, two nodes do not hear each other, a disk is full, another stands still, datagrams are lost and late: nothing is lost."
seed = 5
duration = "44s"

[[fault]]
kind = "partition"
at = "4s"
for = "3s"
pick = "leader"

[[fault]]
kind = "kill"
at = "12s"
for = "1s"
pick = "leader"

[[fault]]
kind = "partition"
at = "18s"
for = "4s"
pick = "node:1"
with = "node:2"

[[fault]]
kind = "disk.full"
at = "24s"
for = "5s"
pick = "leader"

[[fault]]
kind = "disk.slow"
at = "30s"
for = "6s"
pick = "leader"
delay = "3s"
plane = "inside"

[[fault]]
kind = "loss"
at = "38s"
for = "3s"
pick = "all"
direction = "in"
percent = 3

[[fault]]
kind = "delay"
at = "38s"
for = "3s"
pick = "random"
delay = "5ms"
plane = "inside"
"#;

const UNDER: &str = r#"
name = "under"
hypothesis = "What is under a node fails, is wrong or is scarce: nothing is lost."
seed = 6
duration = "36s"
"#;

/// What befalls a node there, each as far as this machine can do it.
const FAULTS_UNDER: &[(&str, &str)] = &[
    ("disk.broken", "at = \"4s\"\nfor = \"3s\"\npick = \"leader\""),
    ("clock", "at = \"18s\"\nfor = \"3s\"\npick = \"random\"\nahead = \"10m\""),
    ("drift", "at = \"23s\"\nfor = \"3s\"\npick = \"random\"\nppm = 50000"),
    ("cpu", "at = \"23s\"\nfor = \"2s\"\npick = \"random\"\nthreads = 1"),
    ("memory", "at = \"27s\"\nfor = \"2s\"\npick = \"random\"\nmib = 16"),
    ("bandwidth", "at = \"27s\"\nfor = \"3s\"\npick = \"random\"\nrate_kbit = 64"),
];

const REST: &str = r#"
[workload]
rate = 15
customers = 6
technicians = 4
reads = 10
writes = 4

[check]
recover_within = "30s"
promises = ["I1", "I2", "I3", "I4", "I6", "I7", "I8", "I9", "I10"]
"#;

async fn lab(args: &[&str]) -> Finished {
    run("fieldmesh-lab", &[args, &["--json"]].concat()).await
}

/// What this machine cannot do, with the reason.
async fn missing() -> BTreeMap<String, String> {
    let check = lab(&["check"]).await.expect_code(0).json();
    let mut missing = BTreeMap::new();
    for fault in check["faults"].as_array().unwrap() {
        assert_eq!(fault["possible"], fault["missing"].is_null(), "{fault}");
        if let Some(why) = fault["missing"].as_str() {
            missing.insert(fault["kind"].as_str().unwrap().to_owned(), why.to_owned());
        }
    }
    // No kernel is asked for the one, and everybody can do the other.
    assert!(missing.contains_key("delay") && !missing.contains_key("kill"), "{check}");
    missing
}

/// Whether it can do what the first scenario wants; loudly not where it cannot.
async fn is_possible() -> bool {
    let missing = missing().await;
    let wanted = ["partition", "loss", "disk.full"];
    let why = wanted.iter().find_map(|kind| missing.get(*kind));
    unchecked::or_say("a laboratory in namespaces", why.map_or(Ok(()), Err)).is_some()
}

/// Runs a scenario, which has to pass with every fault.
async fn passes(scenario: &str, dir: &Path) -> Value {
    let (out, temporary) = (dir.join("out"), dir.join("temporary"));
    std::fs::create_dir(&temporary).unwrap();
    let args = ["run", scenario, "--out", text(&out), "--json"];
    let ended = run_with("fieldmesh-lab", &args, &[("TMPDIR", text(&temporary))]).await;
    let results = ended.expect_code(0).json();
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "its directory ended with it");
    assert!(!has_mounts(dir), "its disks ended with it");
    assert!(verdicts(&results).iter().all(|(_, verdict)| verdict == "kept"), "{results}");
    for fault in results["faults"].as_array().unwrap() {
        assert_eq!(fault["installed"], fault["wanted"], "{results}");
    }
    results
}

/// What a laboratory of here begins its names with.
fn prefix() -> String {
    use std::os::unix::fs::MetadataExt as _;

    format!("fieldmesh-lab-{}-", std::fs::metadata("/proc/self/ns/pid").unwrap().ino())
}

/// The namespaces of processes that are no more.
async fn left() -> BTreeSet<String> {
    let list = Command::new("ip").args(["netns", "list"]).output().await.unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    let prefix = prefix();
    let is_left = |name: &&str| {
        let owner = name.strip_prefix(&prefix).and_then(|rest| rest.split('-').next());
        owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists())
    };
    names.filter(is_left).map(str::to_owned).collect()
}

/// What a run noted, from its beginning to its end.
fn history(dir: &Path) -> Vec<Value> {
    let history = std::fs::read_to_string(dir.join("out/history.jsonl")).unwrap();
    history.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a run noted of these faults in a phase.
fn faults(history: &[Value], phase: &str, is_it: fn(&Value) -> bool) -> Vec<Value> {
    let noted = history.iter().filter(|entry| entry["what"] == "fault" && entry["phase"] == phase);
    noted.filter(|entry| is_it(&entry["fault"])).cloned().collect()
}

/// Whether, while a fault lasted that befell a leader, somebody else was found to lead.
fn took_a_leader(history: &[Value], is_it: fn(&Value) -> bool) -> bool {
    let one = |phase| faults(history, phase, is_it).remove(0);
    let (begun, ended) = (one("installed"), one("ended"));
    let at = |entry: &Value| entry["at_us"].as_u64().unwrap();
    history.iter().any(|entry| {
        entry["what"] == "leader"
            && !entry["node"].is_null()
            && entry["node"] != begun["node"]
            && (at(&begun)..at(&ended)).contains(&at(entry))
    })
}

/// Whether something is mounted below a directory.
fn has_mounts(dir: &Path) -> bool {
    std::fs::read_to_string("/proc/self/mounts").unwrap().contains(&format!("{}/", text(dir)))
}

#[tokio::test]
async fn what_the_kernel_breaks_is_there_and_breaks_no_promise() {
    if !is_possible().await {
        return;
    }
    let dir = TempDir::new().unwrap();
    let scenario = written(dir.path(), "machines.toml", &format!("{BROKEN}{REST}"));
    let before = left().await;
    let results = passes(&scenario, dir.path()).await;
    assert_eq!(results["faults"].as_array().unwrap().len(), 6, "{results}");
    let history = history(dir.path());
    // What nft stopped, by its own counters: between two nodes, and by chance on the way to each.
    let between = faults(&history, "ended", |fault| fault["kind"] == "link");
    let by_chance = faults(&history, "ended", |fault| fault["loss_percent"] == 3);
    assert_eq!((between.len(), by_chance.len()), (1, 3));
    for ended in [between, by_chance] {
        let stopped = ended.iter().map(|entry| entry["effect"].as_u64());
        let stopped: Option<u64> = stopped.sum();
        assert!(stopped.is_some_and(|count| count > 0), "each was counted: {ended:?}");
    }
    // What has no counter the cluster felt: who was cut off, who had no room, and whose disk stood still, led no more.
    assert!(took_a_leader(&history, |fault| fault["loss_percent"] == 100), "a pulled cable");
    assert!(took_a_leader(&history, |fault| fault["kind"] == "full_disk"), "a full disk");
    assert!(took_a_leader(&history, |fault| fault["kind"] == "slow_disk"), "a stalled disk");
    // Only what the scenario wants so the node did to itself.
    let begun = faults(&history, "installed", |fault| fault["delay_ms"] == 5);
    assert_eq!(begun.len(), 1, "{begun:?}");
    assert!(begun.iter().all(|entry| entry["why"] == ""), "{begun:?}");
    // Another test's laboratory that was killed is there for a moment.
    until("its namespaces ended with it", async || {
        (left().await.difference(&before).count() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_rule_stops_is_counted_and_one_of_no_cable_counts_nothing() {
    let network = unchecked::or_say("rules of nft in namespaces", Network::new(2));
    let Some(network) = network else { return };
    let dropped = |which: &str, counter: &str| Dropped {
        which: format!("{which} ether type ip"),
        counter: counter.to_owned(),
    };
    // The first one would see whatever the second one stops.
    let rules = [
        dropped("iifname \"node7\"", "none"),
        dropped("iifname \"node1\" oifname \"node2\"", "some"),
    ];
    network.drop_only(&rules);
    let [program, args @ ..] = network.machine(1);
    let send = format!("echo x > /dev/udp/{}/9", network.address(2));
    let sent = Command::new(program).args(args).args(["bash", "-c", &send]).status().await;
    assert!(sent.unwrap().success());
    until("what was sent is stopped", async || (network.dropped("some") > 0).then_some(())).await;
    assert_eq!(network.dropped("none"), 0);
    // Rules come and go while a fault lasts, and its counter stays.
    network.drop_only(&rules[..1]);
    assert!(network.dropped("some") > 0);
}

#[tokio::test]
async fn what_is_broken_under_a_node_is_there_and_breaks_no_promise() {
    let missing = missing().await;
    let mut scenario = UNDER.to_owned();
    let mut count = 0;
    for (kind, fields) in FAULTS_UNDER {
        match missing.get(*kind) {
            // No package and no right brings a kernel's controllers.
            Some(why) if why.contains("cgroup") => unchecked::say(kind, why),
            Some(why) => unchecked::is_missing(kind, why),
            None => {
                scenario += &format!("\n[[fault]]\nkind = \"{kind}\"\n{fields}\n");
                count += 1;
            }
        }
    }
    if count == 0 {
        return;
    }
    let dir = TempDir::new().unwrap();
    let scenario = written(dir.path(), "under.toml", &format!("{scenario}{REST}"));
    let results = passes(&scenario, dir.path()).await;
    assert_eq!(results["faults"].as_array().unwrap().len(), count, "{results}");
}

#[tokio::test]
async fn what_the_kernel_cannot_do_is_refused_with_its_line_before_anything_starts() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let whole = format!("{BROKEN}{REST}");
    let (late, inside) = ("delay = \"5ms\"\n", "plane = \"inside\"\n");
    let asked = whole.replacen(&format!("{late}{inside}"), late, 1);
    let line = asked.lines().position(|line| line == "kind = \"delay\"").unwrap() + 1;
    let scenario = written(dir.path(), "late.toml", &asked);
    let refused = lab(&["run", &scenario, "--out", text(&out)]).await.expect_code(2).json();
    let error = refused["error"].as_str().unwrap();
    assert!(!out.exists(), "nothing was begun");
    if !is_possible().await {
        // It says what is missing on this machine, whatever that is.
        assert!(error.contains("root") || error.contains("not possible here"), "{error}");
        return;
    }
    for told in ["late.toml", &format!("\n{line}:"), "`delay`", "netem", "plane = \"inside\""] {
        assert!(error.contains(told), "{told}: {error}");
    }
    let devices = whole.replacen("percent = 3\n", "percent = 3\nlink = \"devices\"\n", 1);
    let scenario = written(dir.path(), "devices.toml", &devices);
    let refused = lab(&["run", &scenario, "--out", text(&out)]).await.expect_code(2).json();
    let error = refused["error"].as_str().unwrap();
    for told in ["`loss`", "between devices and nodes", "plane = \"inside\""] {
        assert!(error.contains(told), "{told}: {error}");
    }
    // A cluster that is there is not what it breaks.
    let staging = whole.replacen("seed = 5", "seed = 5\ntarget = \"staging\"", 1);
    let staging = staging.replacen("kind = \"kill\"", "kind = \"drain\"", 1);
    let staging = staging.replacen(", \"I10\"", "", 1);
    let scenario = written(dir.path(), "staging.toml", &staging);
    let refused = lab(&["run", &scenario, "--out", text(&out)]).await.expect_code(2).json();
    assert!(refused["error"].as_str().unwrap().contains("target = \"lab\""), "{refused}");
    assert!(!out.exists(), "nothing was begun");
}

#[tokio::test]
async fn the_machines_of_a_laboratory_that_was_killed_are_gone_with_the_next_one() {
    if !is_possible().await {
        return;
    }
    let dir = TempDir::new().unwrap();
    let scenario = written(dir.path(), "machines.toml", &format!("{BROKEN}{REST}"));
    let out = dir.path().join("out");
    let temporary = dir.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let under = ["env", &format!("TMPDIR={}", text(&temporary))];
    let args = ["run", &scenario, "--out", text(&out)];
    let killed = Running::start_under(&under, "fieldmesh-lab", &args);
    let last = format!("{}{}-3", prefix(), killed.pid());
    let is_there = async || {
        let list = Command::new("ip").args(["netns", "list"]).output().await;
        let list = String::from_utf8(list.unwrap().stdout).unwrap();
        list.lines().any(|line| line.split_whitespace().next() == Some(&last))
    };
    until("its machines and a disk are there", async || {
        (is_there().await && has_mounts(&temporary)).then_some(())
    })
    .await;
    // Then nothing that makes nodes goes on any more: the kernel ends whatever runs.
    until_within(Duration::from_secs(60), "the run has begun", async || {
        out.join("history.jsonl").exists().then_some(())
    })
    .await;
    killed.kill().await;
    let under = [("TMPDIR", text(&temporary))];
    run_with("fieldmesh-lab", &["check"], &under).await.expect_code(0);
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "its directory ended");
    // Another test's laboratory may be at the rest of it.
    until("its machines and disks ended", async || {
        (!is_there().await && !has_mounts(&temporary)).then_some(())
    })
    .await;
}
