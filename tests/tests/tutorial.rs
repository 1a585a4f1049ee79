//! `docs/enrollment.md` does what it says: its shell blocks are run, line by line, in one bash,
//! against a server as users start it.
//!
//! A block marked `sh reader` is for people only: it starts the server that the test has started.
//! **Not here:** what else is expected of enrollment (`enrollment`).
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and this one reads the document and gives it to a shell"
)]

use std::{path::Path, process::Stdio};

use fieldmesh_tests::process::{Launch, PATIENCE, Server, program, text};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

const DOCUMENT: &str = "docs/enrollment.md";
/// Below this, the document was cut or its fences are no longer found.
const BLOCKS_MIN: usize = 20;
/// What a fence may say. Anything else would be a block that is quietly not run.
const RUN: &str = "sh";
const NOT_RUN: [&str; 2] = ["sh reader", "text"];
/// In place of the document's title, so that every line of the script has the document's number.
/// The first command that fails is named with it.
const FIRST_LINE: &str = r#"set -Eeuo pipefail; ran=0; trap 'echo "line $LINENO of the document failed: $BASH_COMMAND" >&2' ERR"#;
const LAST_LINE: &str = r#"echo "$ran blocks ran""#;

/// A document as a script: its blocks where they are, all other lines empty.
struct Script {
    text: String,
    blocks: usize,
}

impl Script {
    fn of(document: &str) -> Self {
        let (mut lines, mut blocks) = (Vec::new(), 0);
        let mut fence = None;
        for (number, line) in (1..).zip(document.lines()) {
            lines.push(match (fence, line.strip_prefix("```")) {
                (None, None) => "",
                (None, Some(info)) => {
                    let is_known = info == RUN || NOT_RUN.contains(&info);
                    assert!(is_known, "{DOCUMENT}:{number}: a block of the kind {info:?}");
                    fence = Some(info);
                    blocks += usize::from(info == RUN);
                    if info == RUN { "ran=$((ran + 1))" } else { "" }
                }
                (Some(_), Some(rest)) => {
                    assert_eq!(rest, "", "{DOCUMENT}:{number}: the block before is not closed");
                    fence = None;
                    ""
                }
                (Some(RUN), None) => line,
                (Some(_), None) => "",
            });
        }
        assert_eq!(fence, None, "{DOCUMENT}: the last block is not closed");
        let title = lines.first_mut().expect("the document has a title");
        assert_eq!(*title, "", "{DOCUMENT}:1: a block where the title belongs");
        *title = FIRST_LINE;
        lines.push(LAST_LINE);
        Self { text: lines.join("\n"), blocks }
    }
}

fn document() -> String {
    // Asked for at run time: checkouts that share a target directory share this program too.
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let path = Path::new(&package).join("..").join(DOCUMENT);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// A shell as the document's reader has it: with the programs, the two variables and nothing else
/// of this process's environment.
fn shell(server: &Server, scratch: &Path, script: &Path) -> Command {
    let programs = program("fieldmesh");
    let programs = text(programs.parent().unwrap());
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("bash");
    command
        .arg(script)
        .env_clear()
        .env("PATH", format!("{programs}:{path}"))
        .env("TMPDIR", scratch)
        .env("DIR", &server.dir)
        .env("HTTPS", &server.https)
        .current_dir(scratch)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn the_tutorial_runs_from_its_first_line_to_its_last() {
    let script = Script::of(&document());
    assert!(script.blocks >= BLOCKS_MIN, "{DOCUMENT} has {} blocks only", script.blocks);
    let (data, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = scratch.path().join("enrollment.sh");
    std::fs::write(&file, &script.text).unwrap();
    let server = Launch::dev(data.path()).ready().await;
    let output = timeout(PATIENCE, shell(&server, scratch.path(), &file).output()).await;
    let output = output.unwrap_or_else(|_| panic!("{DOCUMENT} does not end")).unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8(bytes).unwrap_or_else(|_| "(not UTF-8)".to_owned()));
    let told = format!("{DOCUMENT}: {}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", output.status);
    assert!(output.status.success(), "{told}");
    let ran = format!("{} blocks ran", script.blocks);
    assert_eq!(stdout.lines().last(), Some(ran.as_str()), "{told}");
    server.terminate().await.expect_code(0);
}

#[test]
fn lines_keep_their_numbers_and_blocks_for_readers_are_left_out() {
    let document = "# Title\n\n```sh reader\nstart\n```\ntext\n```sh\nfalse\n```\n";
    let script = Script::of(document);
    let expected = [FIRST_LINE, "", "", "", "", "", "ran=$((ran + 1))", "false", "", LAST_LINE];
    assert_eq!(script.text.lines().collect::<Vec<_>>(), expected);
    assert_eq!(script.blocks, 1);
}
