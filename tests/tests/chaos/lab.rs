//! What only a cluster that was made for a run can have: a second region to be cut off from, nodes of the release
//! before, and an end whenever the run ends.

use fieldmesh_tests::{
    live::until,
    process::{Running, previous},
};
use tempfile::TempDir;

use super::{SHORT, chaos, text, verdicts, written};

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

const CUT: &str = r#"
name = "cut"
hypothesis = "A region that is cut off goes on, also while a node of it dies."
duration = "20s"
shards = 4
regions = 2

[[fault]]
kind = "partition"
between = "regions"
at = "3s"
for = "14s"
pick = "all"

[[fault]]
kind = "kill"
at = "8s"
for = "1s"
pick = "leader"
"#;

const UPGRADE: &str = r#"
name = "upgrade"
hypothesis = "Two releases serve side by side."
duration = "30s"
shards = 4

[[fault]]
kind = "upgrade"
at = "4s"
pick = "node:1"

[[fault]]
kind = "upgrade"
at = "13s"
pick = "node:3"
"#;

/// Runs a scenario, which has to pass.
async fn passes(head: &str, more: &[&str]) {
    let dir = TempDir::new().unwrap();
    let scenario = written(dir.path(), "scenario.toml", &format!("{head}{REST}"));
    let out = dir.path().join("out");
    let run = [&["run", &scenario, "--out", text(&out)], more].concat();
    let results = chaos(&run).await.expect_code(0).json();
    assert!(verdicts(&results).iter().all(|(_, verdict)| verdict == "kept"), "{results}");
    for fault in results["faults"].as_array().unwrap() {
        assert_eq!(fault["installed"], fault["wanted"], "{results}");
    }
}

#[tokio::test]
async fn a_region_that_is_cut_off_goes_on() {
    passes(CUT, &[]).await;
    let dir = TempDir::new().unwrap();
    let alone = format!("{CUT}{REST}").replacen("regions = 2", "", 1);
    let scenario = written(dir.path(), "alone.toml", &alone);
    let refused = chaos(&["plan", &scenario]).await.expect_code(2).json();
    assert!(refused["error"].as_str().unwrap().contains("regions = 2"), "{refused}");
}

#[tokio::test]
async fn nodes_of_the_release_before_are_upgraded_while_they_are_used() {
    let dir = TempDir::new().unwrap();
    let scenario = written(dir.path(), "upgrade.toml", &format!("{UPGRADE}{REST}"));
    let out = dir.path().join("out");
    let run = ["run", &scenario, "--out", text(&out)];
    for (more, told) in [(&[][..], "--from PROGRAM"), (&["--from", "/nowhere"], "/nowhere")] {
        let refused = chaos(&[&run, more].concat()).await.expect_code(2).json();
        assert!(refused["error"].as_str().unwrap().contains(told), "{refused}");
        assert!(!out.exists(), "nothing was begun");
    }
    if let Some(program) = previous("NO UPGRADE IS RUN") {
        passes(UPGRADE, &["--from", text(&program)]).await;
    }
}

/// The nodes that a process has started and that have not ended.
fn nodes(of: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_node = |number: &u32| {
        let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"--with-parent")
    };
    let own = numbers.filter(|number| status(*number).is_some_and(|(_, parent)| parent == of));
    own.filter(is_node).collect()
}

/// A process's state and parent, by what is behind its name in `stat` (proc_pid_stat(5)).
fn status(process: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

#[tokio::test]
async fn the_nodes_of_a_run_that_is_killed_end_with_it() {
    let dir = TempDir::new().unwrap();
    let (scenario, out) = (written(dir.path(), "short.toml", SHORT), dir.path().join("out"));
    let data = dir.path().join("data");
    let args = ["chaos", "run", &scenario, "--out", text(&out), "--data-dir", text(&data)];
    let running = Running::start("fieldmesh", &args);
    let pid = running.pid();
    let nodes = until("three nodes run", async || {
        let nodes = nodes(pid);
        (nodes.len() == 3).then_some(nodes)
    })
    .await;
    running.kill().await;
    until("none of them runs", async || {
        let is_over = |node: &u32| status(*node).is_none_or(|(state, _)| state == "Z");
        nodes.iter().all(is_over).then_some(())
    })
    .await;
}
