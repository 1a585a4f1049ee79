//! The product as its users start it: `fieldmesh` as a child process, driven by commands alone.
//!
//! **Not here:** bad input at start (`process/refusals.rs`), damaged files (`process/damage.rs`),
//! imports (`process/imports.rs`), what reaches the disk and when (`durability`, `secrecy`).
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests fail by panicking, and print what they measure"
)]

#[path = "process/attachments.rs"]
mod attachments;
#[path = "process/benches.rs"]
mod benches;
#[path = "process/damage.rs"]
mod damage;
#[path = "process/deliveries.rs"]
mod deliveries;
#[path = "process/dispatch.rs"]
mod dispatch;
#[path = "process/imports.rs"]
mod imports;
#[path = "process/incidents.rs"]
mod incidents;
#[path = "process/matching.rs"]
mod matching;
#[path = "process/notices.rs"]
mod notices;
#[path = "process/orders.rs"]
mod orders;
#[path = "process/people.rs"]
mod people;
#[path = "process/policy.rs"]
mod policy;
#[path = "process/refusals.rs"]
mod refusals;
#[path = "process/report.rs"]
mod report;
#[path = "process/reports.rs"]
mod reports;
#[path = "process/rules.rs"]
mod rules;
#[path = "process/shifts.rs"]
mod shifts;

use std::{path::Path, time::Duration};

use fieldmesh_tests::process::{Launch, Running, Server, fieldmesh, handheld::Handheld, run, text};
use serde_json::Value;
use tempfile::TempDir;

/// Where a start is slow because the machine is busy: what users are promised is 2 seconds.
const START_MAX: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_demonstration_shows_all_steps_of_the_claim() {
    let args = ["demo", "--once", "--json", "--body", "the door of the freezer does not close"];
    let result = run("fieldmesh", &args).await.expect_code(0).json();
    let [ticket] = result["tickets"].as_array().unwrap().as_slice() else {
        panic!("one ticket is asked for: {result}");
    };
    let steps = ticket["steps"].as_array().unwrap();
    let numbers: Vec<u64> = steps.iter().filter_map(|step| step["step"].as_u64()).collect();
    assert_eq!(numbers, (1..=18).collect::<Vec<u64>>());
    let who: Vec<&str> = steps.iter().filter_map(|step| step["who"].as_str()).collect();
    for (steps, expected) in [
        (&who[..4], "customer's device"),
        (&who[4..8], "service"),
        (&who[8..9], "desk"),
        (&who[9..12], "service"),
        (&who[12..16], "technician's device"),
        (&who[16..], "service"),
    ] {
        assert!(steps.iter().all(|who| *who == expected), "{who:?}");
    }
    let at: Vec<u64> = steps.iter().map(|step| step["at_us"].as_u64().unwrap()).collect();
    println!("demo: steps at {at:?} us, the whole in {} us", ticket["total_us"]);
    // Steps of different threads may overlap; each of these waits for the one before it.
    let causes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16, 17].map(|step| at[step - 1]);
    assert!(causes[0] > 0 && causes.is_sorted(), "{at:?}");
    assert!(at.iter().all(|at| *at > 0), "a step was not seen: {at:?}");
    assert!(steps.iter().all(|step| step["took_us"].is_u64() && step["what"].is_string()));
}

#[tokio::test]
async fn the_demonstration_is_readable() {
    let shown = run("fieldmesh", &["demo", "--once"]).await.expect_code(0);
    let rows = shown.stdout.lines().filter_map(|line| line.split_whitespace().next());
    let numbers: Vec<u32> = rows.filter_map(|first| first.parse().ok()).collect();
    assert_eq!(numbers, (1..=18).collect::<Vec<u32>>(), "{shown}");
    assert!(shown.stdout.contains("confirmed to the customer after"), "{shown}");
}

#[tokio::test]
async fn a_development_server_is_ready_soon_and_ends_on_a_signal() {
    let dir = TempDir::new().unwrap();
    let mut figures = Vec::new();
    for (state, signal) in [("empty", "TERM"), ("after SIGTERM", "INT"), ("after SIGINT", "")] {
        let server = Launch::dev(dir.path()).ready().await;
        figures.push(format!("{state} {} ms", server.ready_after.as_millis()));
        assert!(server.ready_after < START_MAX, "{figures:?}");
        if signal.is_empty() {
            assert_eq!(server.kill().await.code, None);
        } else {
            let ended = server.running.end_with(signal).await.expect_code(0);
            assert_eq!(ended.stderr, "", "{ended}");
        }
    }
    let server = Launch::dev(dir.path()).ready().await;
    figures.push(format!("after SIGKILL {} ms", server.ready_after.as_millis()));
    assert!(server.ready_after < START_MAX, "{figures:?}");
    println!("ready after: {}", figures.join(", "));
}

/// Replays a small log and checks what the result promises.
async fn replay(more: &[&str]) -> Value {
    let dir = TempDir::new().unwrap();
    let log = incidents::write(dir.path(), 300);
    let args = [&["replay", text(&log), "--json"], more].concat();
    let result = run("fieldmesh", &args).await.expect_code(0).json();
    println!("replay {}: {result}", more.join(" "));
    assert_eq!(result["requests"], 300);
    for key in ["lost", "duplicates", "double_assignments"] {
        assert_eq!(result[key], 0, "{result}");
    }
    let count = |key: &str| result[key].as_u64().unwrap();
    assert_eq!(count("confirmed") + count("unfilled"), 300, "{result}");
    for key in ["submit_to_receipt_ms", "submit_to_alert_ms", "submit_to_confirmation_ms"] {
        let (half, most) = (&result[key]["p50"], &result[key]["p99"]);
        assert!(half.as_f64().unwrap() > 0.0 && half.as_f64() <= most.as_f64(), "{result}");
    }
    let cost = ["server_cpu_us_per_loop", "crypto_floor_us_per_loop"];
    for key in [&cost[..], &["loops_per_second", "fsyncs_per_loop"]].concat() {
        assert!(result[key].as_f64().unwrap() > 0.0, "{key} of {result}");
    }
    result
}

#[tokio::test]
async fn a_replay_loses_nothing_when_the_server_is_killed() {
    assert_eq!(replay(&["--kills", "3"]).await["kills"], 3);
}

#[tokio::test]
async fn a_replay_loses_nothing_when_nodes_are_cut_off() {
    // Ten minutes of the log in a second: the load goes on for longer than each cut.
    let result = replay(&["--nodes", "3", "--cuts", "1", "--kills", "1", "--speed", "600"]).await;
    assert_eq!((&result["cuts"], &result["kills"]), (&1.into(), &1.into()), "{result}");
    assert!(result["fsyncs_per_round"].as_f64().unwrap() <= 1.0, "{result}");
}

#[tokio::test]
async fn nobody_is_cut_off_where_nobody_could_go_on() {
    let dir = TempDir::new().unwrap();
    let log = incidents::write(dir.path(), 1);
    let refused = run("fieldmesh", &["replay", text(&log), "--cuts", "1"]).await.expect_code(2);
    assert!(refused.stderr.contains("--cuts wants --nodes 3 or more"), "{refused}");
}

#[tokio::test]
async fn a_replay_with_session_keys_loses_nothing() {
    replay(&["--symmetric"]).await;
}

#[tokio::test]
async fn a_replay_whose_server_does_not_start_says_why() {
    let (dir, input) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let log = incidents::write(input.path(), 1);
    let args = ["replay", text(&log), "--json", "--data-dir", text(dir.path())];
    run("fieldmesh", &args).await.expect_code(0);
    let config = std::fs::read_to_string(dir.path().join("node-1.toml")).unwrap();
    let https = config.lines().find_map(|line| line.strip_prefix("https = ")).unwrap();
    let https = https.trim_matches('"');
    let taken = std::net::TcpListener::bind(https).unwrap();
    let refused = run("fieldmesh", &args).await.expect_code(1);
    let error = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("listen.https") && error.contains(https), "{refused}");
    drop(taken);
}

/// What the commands show of every ticket: its row, its history, its choices.
async fn shown(dir: &Path) -> Vec<[Value; 3]> {
    let mut tickets = Vec::new();
    let list = fieldmesh(dir, &["ticket", "list", "--limit", "1000"]).await.expect_code(0).json();
    for row in list["rows"].as_array().unwrap() {
        let id = row["id"].as_str().unwrap();
        let history = fieldmesh(dir, &["ticket", "show", id]).await.expect_code(0).json();
        let choices = fieldmesh(dir, &["ticket", "explain", id]).await.expect_code(0).json();
        assert_eq!(history["id"], row["id"]);
        // The server follows the chain of hashes before it shows its head.
        assert_eq!(history["chain"].as_str().map(str::len), Some(64), "{history}");
        tickets.push([row.clone(), history, choices]);
    }
    tickets
}

#[tokio::test]
async fn what_was_shown_survives_kill_and_restart() {
    let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut server = Launch::dev(data.path()).ready().await;
    let (customer, technician) =
        server.pair(devices.path(), ["Ada", "Grace"], &server.devices).await;
    let mut expected = Vec::new();
    for round in 0..3 {
        let ticket = customer.request(&format!("request {round}")).await;
        expected.push(ticket);
        let before = shown(data.path()).await;
        let again = server.again();
        assert_eq!(server.kill().await.code, None);
        server = again.ready().await;
        let after = shown(data.path()).await;
        let mut ids: Vec<&str> =
            after.iter().map(|[row, ..]| row["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ids, expected, "acknowledged tickets, and no others");
        for [row, history, _] in &before {
            let later = after.iter().find(|later| later[0]["id"] == row["id"]).unwrap();
            let (was, is) = (&history["events"], &later[1]["events"]);
            let (was, is) = (was.as_array().unwrap(), is.as_array().unwrap());
            assert!(is.starts_with(was), "{was:?} became {is:?}");
            assert_eq!(was[0]["event"], "opened");
        }
    }
    for (kind, id) in [("customer", &customer.id), ("tech", &technician.id)] {
        let rows = server.ask(&[kind, "list"]).await;
        assert_eq!(rows["rows"][0]["id"], id.as_str(), "{rows}");
        assert_eq!(rows["rows"].as_array().unwrap().len(), 1);
    }
    let choices = &shown(data.path()).await[0][2];
    assert_eq!(choices["choices"][0]["chosen"], technician.id.as_str(), "{choices}");
}

#[tokio::test]
async fn identifiers_that_name_nothing_are_refused() {
    let dir = TempDir::new().unwrap();
    let server = Launch::dev(dir.path()).ready().await;
    let customer = server.register("customer", "name,lat,lon\nAda,48.85,2.35\n").await.remove(0);
    for (id, code) in [("../../metrics", 2), ("nothing", 3), (customer.as_str(), 3)] {
        for verb in ["show", "explain"] {
            let refused = fieldmesh(dir.path(), &["ticket", verb, id]).await.expect_code(code);
            refused.expect_one_line(&["fieldmesh: "]);
            assert!(refused.json()["error"].is_string());
        }
    }
    let again = server.kill().await;
    assert_eq!(again.code, None);
    let refused = fieldmesh(dir.path(), &["ticket", "list"]).await.expect_code(69);
    refused.expect_one_line(&["cannot be reached"]);
}

/// Makes requests until a subscriber, whose start cannot be seen, is told of one.
async fn watched(watch: &mut Running, customer: &Handheld) -> String {
    for attempt in 0..30 {
        let ticket = customer.request(&format!("attempt {attempt}")).await;
        if let Ok(Some(line)) = watch.line_within(Duration::from_secs(2)).await {
            assert!(line.contains("\"type\":"), "{line}");
            return ticket;
        }
    }
    panic!("nothing is told of 30 requests\n{}", watch.stderr());
}

fn watching(server: &Server) -> Running {
    Running::start("fieldmesh", &["ticket", "watch", "--json", "--data-dir", text(&server.dir)])
}

#[tokio::test]
async fn a_watch_shows_a_ticket_change_live() {
    let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Launch::dev(data.path()).ready().await;
    let (customer, technician) =
        server.pair(devices.path(), ["Ada", "Grace"], &server.devices).await;
    let mut watch = watching(&server);
    watched(&mut watch, &customer).await;
    let ticket = customer.request("this one is followed").await;
    let of = |state: &'static str, id: String| {
        move |row: &Value| row["type"] == "row" && row["id"] == id && row["state"] == state
    };
    let offered = watch.until(of("offered", ticket.clone())).await;
    assert_eq!(offered["technician"], technician.id.as_str(), "{offered}");
    technician.accept(&technician.alert(&ticket).await).await;
    watch.until(of("accepted", ticket.clone())).await;
    server.terminate().await.expect_code(0);
    // Whoever watches is told that there is nothing more to come because the server is gone.
    watch.finish().await.expect_code(69);
}
