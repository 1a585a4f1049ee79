//! Documents that do what they say: their shell blocks as a script, line by line, to be run in one bash.
//!
//! A block marked `sh reader` is for people only. **Invariant:** no block is quietly not run: what is not between fences
//! that are known is refused. **Not here:** what a document needs to run (the tests).

use std::{path::Path, process::Stdio};

use tokio::{process::Command, time::timeout};

use crate::process::{PATIENCE, program, text};

/// What a fence may say. Anything else would be a block that is quietly not run.
const RUN: &str = "sh";
const NOT_RUN: [&str; 2] = ["sh reader", "text"];
/// In place of the document's title, so that every line of the script has the document's number.
/// The first command that fails is named with it.
pub const FIRST_LINE: &str = r#"set -Eeuo pipefail; ran=0; trap 'echo "line $LINENO of the document failed: $BASH_COMMAND" >&2' ERR"#;
pub const LAST_LINE: &str = r#"echo "$ran blocks ran""#;

/// A document as a script: its blocks where they are, all other lines empty.
pub struct Script {
    pub text: String,
    pub blocks: usize,
}

impl Script {
    /// # Panics
    /// Where a block is of an unknown kind, or not closed; where code is indented instead of fenced.
    pub fn of(name: &str, document: &str) -> Self {
        let (mut lines, mut blocks) = (Vec::new(), 0);
        let (mut fence, mut before) = (None, "");
        for (number, line) in (1..).zip(document.lines()) {
            lines.push(match (fence, line.strip_prefix("```")) {
                (None, None) => {
                    let is_run = !is_unfenced(before, line);
                    assert!(
                        is_run,
                        "{name}:{number}: code without a fence: begin the line with ```"
                    );
                    ""
                }
                (None, Some(info)) => {
                    let is_known = info == RUN || NOT_RUN.contains(&info);
                    assert!(is_known, "{name}:{number}: a block of the kind {info:?}");
                    fence = Some(info);
                    blocks += usize::from(info == RUN);
                    if info == RUN { "ran=$((ran + 1))" } else { "" }
                }
                (Some(_), Some(rest)) => {
                    assert_eq!(rest, "", "{name}:{number}: the block before is not closed");
                    fence = None;
                    ""
                }
                (Some(RUN), None) => line,
                (Some(_), None) => "",
            });
            before = line;
        }
        assert_eq!(fence, None, "{name}: the last block is not closed");
        let title = lines.first_mut().expect("the document has a title");
        assert_eq!(*title, "", "{name}:1: a block where the title belongs");
        *title = FIRST_LINE;
        lines.push(LAST_LINE);
        Self { text: lines.join("\n"), blocks }
    }

    /// Runs a file in the same shell where the document has this heading; every line keeps its number.
    ///
    /// # Panics
    /// Where the document has no such heading, or more than one.
    pub fn insert(&mut self, document: &str, heading: &str, file: &Path) {
        let headings = document.lines().enumerate().filter(|(_, line)| *line == heading);
        let found: Vec<usize> = headings.map(|(number, _)| number).collect();
        let [at] = found[..] else { panic!("{heading:?} is there {} times", found.len()) };
        let source = format!(". '{}'", text(file));
        let mut lines: Vec<&str> = self.text.lines().collect();
        assert_eq!(lines[at], "", "{heading:?} is in a block");
        lines[at] = &source;
        self.text = lines.join("\n");
    }
}

/// Whether a line outside fences begins code all the same, as Markdown has it: by four spaces where no paragraph goes on,
/// or by a fence that is indented or is of tildes.
fn is_unfenced(before: &str, line: &str) -> bool {
    let code = line.trim_start();
    let is_indented = line.starts_with("    ") || line.starts_with('\t');
    let ends = before.trim().is_empty() || before.starts_with('#') || before.starts_with("```");
    let is_fence = code.starts_with("~~~") || (code.starts_with("```") && code != line);
    is_fence || (is_indented && ends && !code.is_empty())
}

/// The block of a document that has these words.
///
/// # Panics
/// Where none has them, or more than one.
pub fn block<'a>(name: &str, document: &'a str, words: &str) -> &'a str {
    let begun = document.split("\n```sh\n").skip(1);
    let blocks = begun.filter_map(|rest| rest.split_once("\n```")).map(|(block, _)| block);
    let found: Vec<&str> = blocks.filter(|block| block.contains(words)).collect();
    let [block] = found[..] else { panic!("{name} has {} blocks with {words:?}", found.len()) };
    block
}

/// The text of a document of this repository.
pub fn document(name: &str) -> String {
    // Asked for at run time: checkouts that share a target directory share this program too.
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let path = Path::new(&package).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// Runs a script to its end, which must be its last line.
pub async fn run(name: &str, script: &Script, mut shell: Command) {
    let output = timeout(2 * PATIENCE, shell.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{name} does not end")).unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8(bytes).unwrap_or_else(|_| "(not UTF-8)".to_owned()));
    let told = format!("{name}: {}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", output.status);
    assert!(output.status.success(), "{told}");
    let ran = format!("{} blocks ran", script.blocks);
    assert_eq!(stdout.lines().last(), Some(ran.as_str()), "{told}");
}

/// A bash with the programs and nothing else of this process's environment.
pub fn shell(scratch: &Path, script: &Path) -> Command {
    let programs = program("fieldmesh");
    let programs = text(programs.parent().unwrap());
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("bash");
    command
        .arg(script)
        .env_clear()
        .env("PATH", format!("{programs}:{path}"))
        .env("TMPDIR", scratch)
        .current_dir(scratch)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

#[test]
fn code_that_no_fence_marks_is_seen() {
    for (before, line) in [
        ("", "    false"),
        ("", "\tfalse"),
        ("## A heading", "    false"),
        ("```", "    false"),
        ("a list:", "  ```sh"),
        ("", "~~~sh"),
    ] {
        assert!(is_unfenced(before, line), "{before:?}, {line:?}");
    }
    for (before, line) in [
        ("- a list", "    goes on"),
        ("`a`", "    goes on"),
        ("", "    "),
        ("", "  two spaces"),
        ("", ""),
    ] {
        assert!(!is_unfenced(before, line), "{before:?}, {line:?}");
    }
}

#[test]
#[should_panic(expected = "a document:5: code without a fence")]
fn a_document_with_indented_code_is_refused() {
    Script::of("a document", "# Title\n\nSay so:\n\n    false\n");
}
