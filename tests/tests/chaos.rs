//! `fieldmesh chaos` and `fieldmesh-lab`: a run breaks a cluster and judges it, a history is judged again, and what
//! cannot be run is refused before anything starts.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and look at files that a run left"
)]

#[path = "chaos/disks.rs"]
mod disks;
#[path = "chaos/expiry.rs"]
mod expiry;
#[path = "chaos/inside.rs"]
mod inside;
#[path = "chaos/interrupted.rs"]
mod interrupted;
#[path = "chaos/lab.rs"]
mod lab;
#[path = "chaos/machines.rs"]
mod machines;

use std::{path::Path, time::Duration};

use fieldmesh_chaos::{Fault, Network, Pick};
use fieldmesh_tests::{
    live::Live,
    process::{Finished, fieldmesh, nodes::Nodes, run, text},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// One fault after the other: of a process, of a disk, of the network, of a clock, of all devices.
const SHORT: &str = r#"
name = "short"
hypothesis = "A node dies, one is slow and cut off, one has a wrong clock: nothing is lost."
seed = 7
duration = "28s"
shards = 4

[workload]
rate = 15
customers = 6
technicians = 4
reads = 10
writes = 4

[[steady]]
id = "receipts"
query = "request.p50"
op = "<"
value = "5s"
mode = "edge"
window = "4s"

[[fault]]
kind = "kill"
at = "5s"
for = "1s"
pick = "leader"

[[fault]]
kind = "disk.slow"
at = "11s"
for = "3s"
pick = "random"
delay = "50ms"

[[fault]]
kind = "partition"
at = "15s"
for = "3s"
pick = "leader"

[[fault]]
kind = "clock"
at = "20s"
for = "3s"
pick = "random"
ahead = "10m"

[[fault]]
kind = "herd"
at = "25s"
pick = "all"

[check]
recover_within = "30s"
promises = ["I1", "I2", "I3", "I4", "I6", "I7", "I8", "I9", "I10"]
"#;

fn written(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    text(&path).to_owned()
}

async fn chaos(args: &[&str]) -> Finished {
    run("fieldmesh", &[&["chaos"], args, &["--json"]].concat()).await
}

fn verdicts(results: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let all = results["promises"].as_array().unwrap();
    all.iter().map(|one| (word(&one["promise"]), word(&one["verdict"]))).collect()
}

#[tokio::test]
async fn a_run_says_whether_promises_held_and_a_history_that_is_changed_says_otherwise() {
    let dir = TempDir::new().unwrap();
    let (scenario, out) = (written(dir.path(), "short.toml", SHORT), dir.path().join("out"));
    let results = chaos(&["run", &scenario, "--out", text(&out)]).await.expect_code(0).json();
    assert!(verdicts(&results).iter().all(|(_, verdict)| verdict == "kept"), "{results}");
    assert_eq!(results["ending"], "passed");
    for fault in results["faults"].as_array().unwrap() {
        assert_eq!(fault["installed"], fault["wanted"], "{results}");
    }
    // All of it was looked at: what technicians' devices were told, which message is which, and each shard.
    let not_covered = results["not_covered"].as_array().unwrap();
    let in_part = |what: &&Value| {
        let what = what.as_str().unwrap();
        ["I2:", "I3:", "I8:", "I9:", "I10:"].iter().any(|of| what.starts_with(of))
    };
    assert_eq!(not_covered.iter().find(in_part), None);
    // Logs have all that was answered, and reads say where they were.
    let unplaced = |what: &&Value| what.as_str().unwrap().starts_with("the position of");
    assert_eq!(not_covered.iter().find(unplaced), None);
    let recovery = results["promises"].as_array().unwrap();
    let recovery = recovery.iter().find(|one| one["promise"] == "recovery").unwrap();
    assert_eq!(recovery["checked"], 4, "one for each shard");
    let bounds = results["bounds"].as_array().unwrap();
    for figure in ["resident_bytes", "open_files", "asks", "outbox", "timers", "mail"] {
        let one = bounds.iter().find(|one| one["name"] == figure).unwrap();
        assert_eq!(one["verdict"], "kept", "{one}");
        assert!(one["most"]["bound"].as_u64() > one["most"]["value"].as_u64(), "{one}");
    }
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    let page = page.strip_prefix("<!DOCTYPE html>").unwrap();
    let parsed = roxmltree::Document::parse(page).unwrap();
    let drawings = parsed.descendants().filter(|node| node.has_tag_name("svg")).count();
    assert!(drawings >= 4, "{drawings} drawings");
    assert!(
        page.contains("had effect on ") && page.contains(" datagrams"),
        "by what it was broken"
    );
    let stored: Value =
        serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
    assert_eq!(stored["ending"], "passed");

    // The same history says the same again.
    let again = chaos(&["report", text(&out)]).await.expect_code(0).json();
    assert_eq!(again["promises"], results["promises"]);
    // Somebody else's directory is not written over.
    let refused = chaos(&["run", &scenario, "--out", text(&out)]).await.expect_code(2).json();
    assert!(refused["error"].as_str().unwrap().contains("not empty"), "{refused}");

    // A ticket that is gone in the end is a request that was lost.
    let history = std::fs::read_to_string(out.join("history.jsonl")).unwrap();
    for what in [r#""what":"logged""#, r#""what":"mail_logged""#] {
        assert!(history.lines().any(|line| line.contains(what)), "{what}");
    }
    let acknowledged = history.lines().find(|line| line.contains(r#""asks":"request""#)).unwrap();
    let acknowledged: Value = serde_json::from_str(acknowledged).unwrap();
    let ticket = acknowledged["operation"]["ticket"].as_str().unwrap();
    let is_its_end = |line: &&str| line.contains(r#""what":"ticket""#) && line.contains(ticket);
    let removed = history.lines().find(is_its_end).unwrap();
    let at_us = serde_json::from_str::<Value>(removed).unwrap()["at_us"].clone();
    let other =
        json!({ "at_us": at_us, "what": "sample", "node": 1, "name": "x", "value": 0, "bound": 1 });
    let lost = history.replacen(removed, &other.to_string(), 1);
    std::fs::write(out.join("history.jsonl"), &lost).unwrap();
    let judged = chaos(&["report", text(&out)]).await.expect_code(1).json();
    assert_eq!(judged["ending"], "violated");
    let example = &judged["promises"][0]["examples"][0]["text"];
    assert!(example.as_str().unwrap().contains(ticket), "{judged}");

    // A history that was cut off is not one that went well.
    std::fs::write(out.join("history.jsonl"), &history[..history.len() / 2]).unwrap();
    let judged = chaos(&["report", text(&out)]).await.expect_code(3).json();
    assert!(judged["error"].as_str().unwrap().contains("cut off"), "{judged}");
    std::fs::write(out.join("history.jsonl"), "no history\n").unwrap();
    let judged = chaos(&["report", text(&out)]).await.expect_code(3).json();
    assert!(judged["error"].as_str().unwrap().contains("line 1"), "{judged}");
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_with_its_line_before_anything_starts() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let of = |text: &str| SHORT.lines().position(|line| line == text).unwrap() + 1;
    let (kill, cut) = (of("kind = \"kill\""), of("kind = \"partition\""));
    let duration = SHORT.lines().position(|line| line.starts_with("duration")).unwrap() + 1;
    for (name, from, to, told) in [
        ("unknown", "seed = 7", "sead = 7", "`sead`".to_owned()),
        ("long", "\"28s\"", "\"28h\"", format!("{duration}:")),
        ("nobody", "pick = \"leader\"", "pick = \"node:9\"", format!("\n{}:", kill + 3)),
        (
            "crowd",
            "kind = \"kill\"\nat = \"5s\"\nfor = \"1s\"\npick = \"leader\"",
            "kind = \"revoke\"\nat = \"5s\"\ndevices = 7",
            format!("\n{}:", kill + 2),
        ),
        (
            "upgrade",
            "kind = \"kill\"\nat = \"5s\"\nfor = \"1s\"",
            "kind = \"upgrade\"\nat = \"5s\"",
            format!("line {kill}: `upgrade`"),
        ),
        (
            "elsewhere",
            "seed = 7",
            "seed = 7\ntarget = \"staging\"",
            "whoever runs the nodes".to_owned(),
        ),
        (
            "many",
            "at = \"11s\"\nfor = \"3s\"\npick = \"random\"\ndelay = \"50ms\"\n",
            "",
            "lacks".to_owned(),
        ),
        (
            "overlap",
            "kind = \"disk.slow\"\nat = \"11s\"\nfor = \"3s\"\npick = \"random\"\ndelay = \"50ms\"",
            "kind = \"pause\"\nat = \"15s\"\nfor = \"3s\"\npick = \"node:1\"",
            format!("line {}: at 15s 2 nodes would be out", cut - 1),
        ),
    ] {
        assert!(SHORT.contains(from), "{from}");
        let scenario = written(dir.path(), &format!("{name}.toml"), &SHORT.replacen(from, to, 1));
        let refused = chaos(&["run", &scenario, "--out", text(&out)]).await.expect_code(2).json();
        let error = refused["error"].as_str().unwrap();
        assert!(error.contains(&told) && error.contains(&format!("{name}.toml")), "{error}");
        assert!(!out.exists(), "{name}: nothing was begun");
    }
}

#[tokio::test]
async fn the_ready_scenarios_can_be_planned() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = |folder: &Path| std::fs::read_dir(folder).unwrap();
    let mut count = 0;
    for entry in entries(&folder).chain(entries(&folder.join("mutants"))) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let plan = chaos(&["plan", text(&path)]).await.expect_code(0).json();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(plan["scenario"], name);
        assert!(!plan["faults"].as_array().unwrap().is_empty(), "{plan}");
        // A power cut may be one of the whole site, and so may what devices come back from.
        let most = if ["power-cut", "device-herd"].contains(&name) { 3 } else { 1 };
        assert!(plan["most_out"].as_u64().unwrap() <= most, "{plan}");
        if name == "bridge" {
            assert_eq!(
                (&plan["faults"][0]["whom"], &plan["most_out"]),
                (&json!("node 1 and node 2"), &json!(1))
            );
        }
        count += 1;
    }
    assert!(count >= 10, "{count} scenarios");
}

/// The game days, and the kinds of faults of each in their order.
const DAYS: &[(&str, &[&str])] = &[
    ("leader-loss", &["kill", "kill", "kill", "kill"]),
    ("region-cut", &["partition", "kill"]),
    ("slow-disk", &["disk.slow"]),
    ("clock-jump", &["clock", "clock"]),
    // What the CA signed has ended when the next one takes over.
    ("expired-authority", &["expire", "rotate"]),
    // An outage, and not only its end.
    ("device-herd", &["kill", "herd"]),
    ("full-disk", &["disk.full"]),
    ("rolling-upgrade", &["upgrade", "upgrade", "upgrade"]),
    ("revoked-in-a-partition", &["partition", "revoke"]),
    // Three failures park an entity, and another leader releases it.
    (
        "poison-message",
        &["actor.fail", "actor.fail", "actor.fail", "restart", "restart", "restart"],
    ),
];

#[tokio::test]
async fn a_game_day_breaks_what_it_is_called_after_and_has_its_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let (script, guide) = (read("scripts/gamedays"), read("docs/gamedays/README.md"));
    let (_, all) = script.split_once("all=(").unwrap();
    let all: Vec<&str> = all.split_once(')').unwrap().0.split_whitespace().collect();
    let days: Vec<&str> = DAYS.iter().map(|(day, _)| *day).collect();
    assert_eq!(all, days);
    for (day, kinds) in DAYS {
        let path = format!("tests/scenarios/{day}.toml");
        let plan = chaos(&["plan", text(&root.join(&path))]).await.expect_code(0).json();
        let planned = plan["faults"].as_array().unwrap();
        let planned: Vec<&str> =
            planned.iter().map(|fault| fault["kind"].as_str().unwrap()).collect();
        assert_eq!(planned, *kinds, "{day}");
        let command = format!("fieldmesh chaos run {path} --out {day}");
        let (_, behind) = guide.split_once(&command).unwrap_or_else(|| panic!("{command}"));
        // Nodes that are upgraded begin as another program.
        let needs_one = kinds.contains(&"upgrade");
        assert_eq!(behind.starts_with(" \\\n    --from "), needs_one, "{day}");
    }
}

async fn asked(live: &Live, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let bytes = serde_json::to_vec(body).unwrap();
    let json = "Content-Type: application/json\r\n";
    let (status, answer) = live.http(true, method, path, json, &bytes).await;
    (status, serde_json::from_slice(&answer).unwrap_or_default())
}

/// What the ledger is to say of a run that begins, but for this.
fn begins(name: &str, value: &str) -> Value {
    let mut run =
        json!({ "scenario": "x", "document": "0".repeat(64), "seed": 1, "target": "staging" });
    run[name] = json!(value);
    run
}

fn lease(fault: &Value, lasts_ms: u64) -> Value {
    json!({ "fault": fault, "lasts_ms": lasts_ms })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_configuration_does_not_allow_it_harms_itself_for_nobody() {
    let live = Live::start().await;
    let late = lease(&json!({ "kind": "clock", "offset_ms": 1000 }), 5000);
    let (status, problem) = asked(&live, "PUT", "/v1/chaos/leases/1", &late).await;
    assert_eq!(status, 403, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("enabled"), "{problem}");
    assert_eq!(asked(&live, "POST", "/v1/chaos/herd", &json!({})).await.0, 403);
    for path in ["/v1/chaos/replicas", "/v1/chaos/positions?group=1"] {
        assert_eq!(live.http(true, "GET", path, "", &[]).await.0, 403, "{path}");
    }
    assert_eq!(asked(&live, "POST", "/v1/chaos/runs/r1", &begins("scenario", "x")).await.0, 403);
    let (status, view) = asked(&live, "GET", "/v1/chaos", &Value::Null).await;
    assert_eq!((status, &view["allowed"]), (200, &json!(false)));
    // Ending it is never refused to an operator, and nothing of it is anybody else's.
    assert_eq!(asked(&live, "DELETE", "/v1/chaos", &Value::Null).await.0, 200);
    for (method, path) in
        [("GET", "/v1/chaos"), ("DELETE", "/v1/chaos"), ("POST", "/v1/chaos/herd")]
    {
        let (status, _) = live.http(false, method, path, "", &[]).await;
        assert!((400..500).contains(&status), "{method} {path}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_what_it_says_and_what_was_stopped_does_not_begin_anew() {
    let live = Live::start_with(&[("chaos.enabled", "true")]).await;
    let slow = json!({ "kind": "slow_disk", "delay_ms": 20 });
    let far = Network { delay_ms: 200, jitter_ms: 50, ..Network::default() };
    let (status, view) = asked(&live, "PUT", "/v1/chaos/leases/7", &lease(&slow, 3_600_000)).await;
    assert_eq!(status, 200, "{view}");
    assert_eq!(view["leases"][0]["fault"], slow);
    assert!(view["leases"][0]["left_ms"].as_u64().unwrap() <= 5000, "{view}");
    assert!(view["leases"][0]["effect"].is_u64(), "{view}");
    for (fault, told) in [
        (json!({ "kind": "slow_disk", "delay_ms": u64::MAX }), "out of range"),
        (json!({ "kind": "clock", "offset_ms": i64::MIN }), "out of range"),
        (json!({ "kind": "kill" }), "by a lease"),
        (json!({ "kind": "flipped_bits", "bits": 1 }), "by a lease"),
        (json!({ "kind": "short_lives", "life_s": 0 }), "out of range"),
        // It is alone.
        (json!(Fault::Link { with: Pick::Node(2), network: far }), "no other node"),
    ] {
        let (status, problem) =
            asked(&live, "PUT", "/v1/chaos/leases/8", &lease(&fault, 1000)).await;
        assert_eq!(status, 400, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(told), "{problem}");
    }
    // What the ledger has of a run is there for good.
    for (run, begins) in [
        ("r1", begins("scenario", "a b")),
        ("r1", begins("document", "00")),
        ("r1", begins("target", "lab")),
        ("r!", begins("scenario", "x")),
    ] {
        let path = format!("/v1/chaos/runs/{run}");
        let (status, problem) = asked(&live, "POST", &path, &begins).await;
        assert_eq!(status, 400, "{begins}: {problem}");
    }
    // A slow disk serves, and devices that are far away are served too.
    let device = live.raw(live.customer().await).await;
    let devices = lease(&json!(Fault::Devices(far)), 5000);
    let (status, view) = asked(&live, "PUT", "/v1/chaos/leases/9", &devices).await;
    assert_eq!(status, 200, "{view}");
    let leases = view["leases"].as_array().unwrap();
    assert!(leases.iter().any(|one| one["fault"]["kind"] == "devices"), "{view}");
    let connection = device.connect(live.devices).await;
    let rtt = connection.rtt();
    assert!(rtt >= Duration::from_millis(300), "there and back: {rtt:?}");
    device.greet(&connection).await;
    let (_, replicas) = asked(&live, "GET", "/v1/chaos/replicas", &Value::Null).await;
    let digests: Vec<&str> =
        replicas.as_array().unwrap().iter().map(|one| one["digest"].as_str().unwrap()).collect();
    assert!(!digests.is_empty() && digests.iter().all(|digest| digest.len() == 64), "{replicas}");
    // One of the groups has in its log that somebody was registered.
    let mut registered = false;
    for replica in replicas.as_array().unwrap() {
        let path = format!("/v1/chaos/positions?group={}", replica["group"]);
        let (status, page) = asked(&live, "GET", &path, &Value::Null).await;
        assert_eq!(status, 200, "{page}");
        assert!(page["until"].as_u64() <= page["applied"].as_u64(), "{page}");
        let steps = page["steps"].as_array().unwrap();
        let indexes: Vec<u64> = steps.iter().map(|step| step["index"].as_u64().unwrap()).collect();
        assert!(indexes.is_sorted_by(|one, next| one < next), "{page}");
        registered |= steps.iter().any(|step| step["entity"].as_str().unwrap().starts_with("cus_"));
    }
    assert!(registered, "{replicas}");
    let nowhere = "/v1/chaos/positions?group=4000000";
    assert_eq!(live.http(true, "GET", nowhere, "", &[]).await.0, 404);
    let (_, view) = asked(&live, "DELETE", "/v1/chaos", &Value::Null).await;
    assert_eq!(view["leases"], json!([]));
    let (status, problem) = asked(&live, "PUT", "/v1/chaos/leases/7", &lease(&slow, 1000)).await;
    assert_eq!(status, 503, "whoever renews it is told: {problem}");
}

/// Of a cluster that others use: who is broken is not made for it.
const ELSEWHERE: &str = r#"
name = "elsewhere"
target = "staging"
duration = "14s"

[workload]
rate = 10
customers = 4
technicians = 3
reads = 6
writes = 3

[[fault]]
kind = "delay"
at = "3s"
for = "3s"
pick = "random"
delay = "20ms"

[[fault]]
kind = "partition"
at = "7s"
for = "3s"
pick = "node:2"

[check]
recover_within = "30s"
"#;

/// The ledger says who broke the cluster by what, and how that ended; of runs that were refused it says nothing.
async fn ledger_tells(node: &Path, out: &Path) {
    let ledger = out.join("exported.jsonl");
    fieldmesh(node, &["ca", "audit", "export", text(&ledger)]).await.expect_code(0);
    fieldmesh(node, &["ca", "audit", "verify", text(&ledger)]).await.expect_code(0);
    let ledger = std::fs::read_to_string(ledger).unwrap();
    let lines = ledger.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let entries: Vec<Value> = lines.map(|mut line| line["entry"].take()).collect();
    let of = |action: &str| -> Vec<&Value> {
        entries.iter().filter(|entry| entry["action"][action].is_object()).collect()
    };
    let (begun, ended) = (of("chaos_begun"), of("chaos_ended"));
    assert_eq!((begun.len(), ended.len()), (1, 1), "{begun:?} {ended:?}");
    let history = std::fs::read_to_string(out.join("history.jsonl")).unwrap();
    let run: Value = serde_json::from_str(history.lines().next().unwrap()).unwrap();
    let wanted = json!({
        "scenario": "elsewhere",
        "document": run["document"],
        "seed": run["scenario"]["seed"],
        "target": "staging",
    });
    assert_eq!(begun[0]["action"]["chaos_begun"], wanted);
    assert_eq!(ended[0]["action"]["chaos_ended"], json!({ "exit": 0 }));
    assert_eq!(
        (&begun[0]["subject"], &begun[0]["actor"]),
        (&ended[0]["subject"], &ended[0]["actor"])
    );
    assert!(begun[0]["subject"].as_str().unwrap().starts_with("chaos/"), "{begun:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_there_is_broken_where_it_allows_that_and_left_as_it_was() {
    let nodes = Nodes::start_in(None, 3, &[("chaos.enabled", "true")]).await;
    let (dir, out) = (TempDir::new().unwrap(), nodes.dir(1).join("chaos-out"));
    let scenario = written(dir.path(), "elsewhere.toml", ELSEWHERE);
    let node = nodes.dir(1);
    let on = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let node = text(&node).to_owned();
        async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            chaos(&[&args[..], &["--data-dir", &node]].concat()).await
        }
    };
    let plan = on(&["plan", &scenario]).await.expect_code(0).json();
    assert_eq!(plan["cluster"]["reach"][1]["nodes"], json!([2]), "{plan}");
    assert!(plan["cluster"]["margins"].as_object().unwrap().values().all(|margin| *margin == 1));

    // Production asks for more than a line of configuration.
    let production = ELSEWHERE.replacen("staging", "production", 1);
    let production = written(dir.path(), "production.toml", &production);
    let refused = on(&["run", &production, "--out", text(&out)]).await.expect_code(2).json();
    assert!(refused["error"].as_str().unwrap().contains("no allowance"), "{refused}");
    // A node that is not there, and one that is on its way out.
    let nobody = written(dir.path(), "nobody.toml", &ELSEWHERE.replacen("node:2", "node:7", 1));
    let refused = on(&["run", &nobody, "--out", text(&out)]).await.expect_code(2).json();
    assert!(refused["error"].as_str().unwrap().contains("no node 7"), "{refused}");
    nodes.cluster(&["drain", "3"]).await.expect_code(0);
    let refused = on(&["run", &scenario, "--out", text(&out)]).await.expect_code(2).json();
    assert!(refused["error"].as_str().unwrap().contains("node 3 is draining"), "{refused}");
    assert!(!out.exists(), "nothing was begun");
    nodes.cluster(&["resume", "3"]).await.expect_code(0);
    nodes.settle().await;

    let results = on(&["run", &scenario, "--out", text(&out)]).await.expect_code(0).json();
    assert_eq!(results["ending"], "passed");
    assert!(verdicts(&results).iter().all(|(_, verdict)| verdict == "kept"), "{results}");
    // Its processes are not the run's, its queues say themselves how full they are.
    let bounded = results["bounds"].as_array().unwrap();
    let bounded: Vec<&str> = bounded.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(bounded.contains(&"outbox") && bounded.contains(&"mail"), "{results}");
    assert!(!bounded.contains(&"resident_bytes"), "{results}");
    ledger_tells(&node, &out).await;
    // Whoever came for the run is gone with it.
    let health = fieldmesh(&node, &["tech", "health"]).await.expect_code(0).json();
    let complaints = health["complaints"].as_array().unwrap();
    let devices_lost = complaints.iter().filter(|one| one["what"] == "no_device").count();
    assert_eq!(json!(devices_lost), health["looked_at"], "{health}");
    let work = ["--category", "65534", "--priority", "2", "--lat", "48.8", "--lon", "2.3"];
    let asked = [&["dispatch", "whatif"], &work[..]].concat();
    let chosen = fieldmesh(&node, &asked).await.expect_code(0).json();
    assert_eq!(chosen["choice"]["chosen"], Value::Null, "{chosen}");
    for state in ["matching", "offered", "accepted", "unfilled"] {
        let open =
            fieldmesh(&node, &["ticket", "list", "--state", state]).await.expect_code(0).json();
        assert_eq!(open["rows"], json!([]), "{open}");
    }
}
