//! No acknowledgement leaves before the log is on disk: seen from outside, by tracing the server.
//!
//! `strace` writes down the system calls of a real server, or of one that follows (`follower`), and holds
//! each `fdatasync` up for a while, so that an acknowledgement that does not wait for it is always seen.
//! A kill cannot show this: the kernel keeps what a killed process wrote.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests fail by panicking, and print what they measure"
)]

#[path = "durability/follower.rs"]
mod follower;
#[path = "durability/phone.rs"]
mod phone;
#[path = "durability/trace.rs"]
mod trace;

use std::{path::Path, process::Command, time::Duration};

use fieldmesh_tests::process::{Launch, PATIENCE, Server, text};
use phone::{Phone, now_s};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::Instant};
use trace::Trace;

/// How long each sync of a file is held up: far above what an answer takes without waiting for it.
const SYNC_DELAY: Duration = Duration::from_millis(100);
/// Nothing is under way when nothing was written or sent for so long.
const QUIET: Duration = Duration::from_millis(800);
/// By which a log is written and put on disk.
const LOG_CALLS: &str =
    "fdatasync,fsync,sync_file_range,msync,write,writev,pwrite64,pwritev,pwritev2";
/// Requests at once: with the one before, as many as a device may have under way.
const BURST: usize = 7;

/// What writes down these system calls of a program behind it to `trace`, and holds its syncs up.
fn strace(calls: &str, trace: &Path) -> Vec<String> {
    let strace = Command::new("strace").arg("--version").output();
    assert!(strace.is_ok_and(|done| done.status.success()), "strace is missing: run scripts/setup");
    let calls = format!("trace={calls}");
    let delay = format!("inject=fdatasync,fsync:delay_enter={}", SYNC_DELAY.as_micros());
    // The tracer is the grandchild, so that the server keeps its handle and its signals.
    let wrapper = ["strace", "-D", "-f", "-qq", "-ttt", "-T", "-yy", "-s", "0"];
    let wrapper = [&wrapper[..], &["-e", &calls, "-e", &delay, "-o", text(trace)]].concat();
    wrapper.into_iter().map(str::to_owned).collect()
}

/// A server whose system calls are written to `trace`.
async fn traced(dir: &Path, trace: &Path) -> Server {
    let wrapper = strace(&format!("{LOG_CALLS},sendto,sendmsg,sendmmsg"), trace);
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    Launch::dev(dir).under(&wrapper).ready().await
}

/// Waits until the server neither writes its log nor sends to devices any more.
async fn quiet(trace: &Path) {
    still(trace, QUIET).await;
}

/// Waits until nothing was traced for so long.
async fn still(trace: &Path, span: Duration) {
    let began = Instant::now();
    let (mut last, mut since) = (usize::MAX, Instant::now());
    while since.elapsed() < span {
        assert!(began.elapsed() < PATIENCE, "the server does not come to rest");
        tokio::time::sleep(span / 8).await;
        let seen = Trace::read(trace).calls.len();
        if seen != last {
            (last, since) = (seen, Instant::now());
        }
    }
}

#[tokio::test]
async fn an_acknowledgement_waits_for_the_disk() {
    let (data, traces) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = traces.path().join("trace");
    let server = traced(data.path(), &path).await;
    println!("ready under strace after {} ms", server.ready_after.as_millis());
    let customer = server.register("customer", "name,lat,lon\nAda,48.85,2.35\n").await.remove(0);
    let mut phone = Phone::connect(&server, &customer).await;

    quiet(&path).await;
    let sent = now_s();
    let [request] = phone.requests(1).try_into().unwrap();
    let accepted = phone::accepted(&phone.connection, request).await;
    quiet(&path).await;
    let trace = Trace::read(&path);
    let judged = trace.judge(sent, &server.devices).unwrap_or_else(|wrong| {
        panic!("{wrong}\n{}", trace.lines_since(sent));
    });
    println!(
        "sent, then log written +{:.1} ms, synced +{:.1} ms, receipt +{:.1} ms; \
         {} small datagrams before the sync",
        (judged.written_s - sent) * 1e3,
        (judged.synced_s - sent) * 1e3,
        (accepted - sent) * 1e3,
        judged.small_before
    );
    assert!(
        judged.synced_s - judged.written_s >= SYNC_DELAY.as_secs_f64(),
        "no delay was injected"
    );
    assert!(accepted > judged.synced_s, "accepted before the sync ended");

    let sent = now_s();
    let requests = phone.requests(BURST);
    let mut answers = JoinSet::new();
    for request in requests {
        let connection = phone.connection.clone();
        answers.spawn(async move { phone::accepted(&connection, request).await });
    }
    let answered = answers.join_all().await;
    quiet(&path).await;
    let trace = Trace::read(&path);
    for accepted in answered {
        let rounds = trace.rounds(sent, accepted);
        assert!(rounds > 0, "accepted without a sync\n{}", trace.lines_since(sent));
    }
    let (writes, syncs, others) = trace.count(0.0);
    // A new log file is synced once when it is begun, before there is anything in it.
    println!("whole run: {writes} log writes, {syncs} syncs of the log, {others} of other files");
    assert!(syncs <= writes + 1, "more than one sync of the log for a write");
    let (writes, syncs, others) = trace.count(sent);
    println!("burst of {BURST}: {writes} log writes, {syncs} syncs of the log, {others} others");
    assert!(syncs <= writes && others == 0, "one sync for a round, and no other");
    trace.expect_one_sync_a_write();
    server.terminate().await.expect_code(0);
}
