//! Tidy: checks of the repository itself that the compiler and clippy cannot make.
//!
//! Each check collects everything it finds before it fails, and each finding names the place, the
//! fact and the remedy. There is no list of exceptions to grow: a rule that does not fit is
//! changed for every file. Not here: how files are read and split (`tidy/source.rs`).

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking, and this one reads the repository's files"
)]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{Metadata, MetadataCommand};
use fieldmesh_chaos::Promise;

#[path = "tidy/source.rs"]
mod source;

use source::{Source, reachable, root, rust_files, text_files};

/// Which of our packages each one may import, and no other. `tests` and `benches` may import all.
const IMPORTS: &[(&str, &[&str])] = &[
    // A technician decides by its roster when it works, and a ticket by its calendar what it promised: the
    // calendar is as pure as the domain.
    ("fieldmesh-domain", &["fieldmesh-calendar"]),
    ("fieldmesh-calendar", &[]),
    ("fieldmesh-dispatch", &[]),
    ("fieldmesh-rules", &[]),
    // A scenario is read by the means by which rules are read.
    ("fieldmesh-chaos", &["fieldmesh-rules"]),
    // What it reads becomes what tickets keep, by the means by which rules are read.
    ("fieldmesh-policy", &["fieldmesh-calendar", "fieldmesh-domain", "fieldmesh-rules"]),
    ("fieldmesh-envelope", &[]),
    ("fieldmesh-pki", &[]),
    ("fieldmesh-actors", &["fieldmesh-domain"]),
    ("fieldmesh-device", &["fieldmesh-domain", "fieldmesh-pki", "fieldmesh-envelope"]),
    (
        "fieldmesh-node",
        &[
            "fieldmesh-domain",
            "fieldmesh-envelope",
            "fieldmesh-pki",
            "fieldmesh-actors",
            "fieldmesh-calendar",
            "fieldmesh-chaos",
            "fieldmesh-dispatch",
            "fieldmesh-policy",
            "fieldmesh-rules",
            "fieldmesh-device",
        ],
    ),
];
const IMPORT_ALL: &[&str] = &["fieldmesh-tests", "fieldmesh-benches"];

/// Which engine may be named where. A place is a folder when it ends in `/`, else the beginning
/// of a path.
const FENCES: &[(&[&str], &[&str])] = &[
    (&["ractor"], &["actors/"]),
    (
        &["actix", "actix_http", "actix_rt", "actix_service", "actix_web", "actix_web_actors"],
        &["node/src/web.rs", "node/src/web/"],
    ),
    (
        &["quinn", "quinn_proto", "quinn_udp"],
        &["node/src/mesh", "node/src/edge", "device/src/transport", "tests/"],
    ),
    (&["openraft", "openraft_rt", "openraft_rt_tokio"], &["node/src/consensus"]),
    (&["rocksdb", "librocksdb_sys"], &["node/src/store"]),
];

/// Lines of a file at which it deserves a second look, and at which it must be split.
const FILE_LINES_WARN: usize = 400;
const FILE_LINES_MAX: usize = 600;
/// Lines of a function: more do not fit on a screen.
const FUNCTION_LINES_MAX: usize = 70;

/// Names that say nothing of the content, so that anything ends up there.
const EMPTY_NAMES: &[&str] =
    &["common", "helper", "helpers", "manager", "misc", "mod", "util", "utils"];

fn metadata() -> Metadata {
    MetadataCommand::new().current_dir(root()).no_deps().exec().unwrap()
}

fn sources() -> BTreeMap<String, Source> {
    let found = rust_files(text_files());
    assert!(!found.is_empty(), "no Rust file found: the checks would pass without checking");
    found
}

/// `path` relative to the root, as `text_files` writes it.
fn relative(path: &cargo_metadata::camino::Utf8Path) -> String {
    let root = root();
    let path = path.canonicalize_utf8().unwrap();
    path.strip_prefix(root.to_str().unwrap()).unwrap().to_string()
}

/// The root file of each library, binary, test and benchmark.
fn crate_roots(metadata: &Metadata) -> BTreeSet<String> {
    let targets = metadata.packages.iter().flat_map(|package| &package.targets);
    targets.map(|target| relative(&target.src_path)).collect()
}

fn allowed(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

fn report(rule: &str, findings: &[String]) {
    let list = findings.join("\n  ");
    assert!(findings.is_empty(), "{rule}: {} found\n  {list}", findings.len());
}

#[test]
fn packages_import_only_what_the_layout_allows() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let manifest = relative(&package.manifest_path);
        let text = std::fs::read_to_string(&package.manifest_path).unwrap();
        let line = |name: &str| text.lines().position(|l| l.starts_with(name)).unwrap_or(0) + 1;
        let rule = IMPORTS.iter().find(|(name, _)| *name == package.name.as_str());
        if rule.is_none() && !IMPORT_ALL.contains(&package.name.as_str()) {
            findings.push(format!(
                "{manifest}:1: {} has no rule; say in tidy.rs what it may import",
                package.name
            ));
            continue;
        }
        for needed in package.dependencies.iter().map(|dependency| dependency.name.as_str()) {
            let at = format!("{manifest}:{}", line(needed));
            if ours.contains(needed) && rule.is_some_and(|(_, may)| !may.contains(&needed)) {
                findings.push(format!(
                    "{at}: {} imports {needed}; move the code to where it is needed, or \
                     the part both need downwards",
                    package.name
                ));
            }
            let folder = manifest.trim_end_matches("Cargo.toml");
            let fence = FENCES
                .iter()
                .find(|(names, _)| names.iter().any(|name| name.replace('_', "-") == needed));
            if let Some((_, places)) = fence
                && !places.iter().any(|place| place.starts_with(folder))
            {
                findings.push(format!(
                    "{at}: {} depends on {needed}, which belongs in {}; use what that place offers",
                    package.name,
                    places.join(", ")
                ));
            }
        }
    }
    report("imports between packages", &findings);
}

#[test]
fn engines_stay_behind_their_module() {
    let mut findings = Vec::new();
    for source in sources().values() {
        for (index, token) in source.tokens.iter().enumerate() {
            let Some((_, places)) =
                FENCES.iter().find(|(names, _)| names.contains(&token.text.as_str()))
            else {
                continue;
            };
            let before = source.at(index.checked_sub(1));
            let earlier = source.at(index.checked_sub(2));
            // `store::rocksdb::x` is a module of ours; `::rocksdb::x` is the package.
            let inside = before == "::" && earlier.starts_with(|c: char| c.is_alphanumeric());
            let named = source.at(Some(index + 1)) == "::"
                || before == "use"
                || (earlier == "extern" && before == "crate");
            if named && !inside && !allowed(&source.path, places) {
                findings.push(format!(
                    "{}:{}: names {}, which belongs in {}; call what that module offers",
                    source.path,
                    token.line,
                    token.text,
                    places.join(", ")
                ));
            }
        }
    }
    report("engines outside their module", &findings);
}

#[test]
fn each_file_says_what_it_is_for() {
    let findings: Vec<String> = sources()
        .values()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| {
            format!(
                "{}:1: does not start with `//!`; say what the file is for, its invariants and \
                 what does not belong in it",
                source.path
            )
        })
        .collect();
    report("files without a header", &findings);
}

#[test]
fn files_stay_short() {
    let mut findings = Vec::new();
    for source in sources().values() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(format!(
                "{}:{FILE_LINES_MAX}: {lines} lines, more than {FILE_LINES_MAX}; split it at a \
                 named concept",
                source.path
            ));
        } else if lines > FILE_LINES_WARN {
            eprintln!("tidy: {} has {lines} lines, more than {FILE_LINES_WARN}", source.path);
        }
    }
    report("files too long", &findings);
}

#[test]
fn functions_fit_on_a_screen() {
    let sources = sources();
    let reached = reachable(&sources, &crate_roots(&metadata()));
    let mut findings = Vec::new();
    for source in sources.values() {
        // A test reads top to bottom, however long its story.
        let only_tests = source.path.split('/').any(|part| part == "tests")
            || reached.get(&source.path) == Some(&true);
        if only_tests {
            continue;
        }
        let tests = source.test_modules();
        for (first, last, name) in source.functions() {
            let length = last - first + 1;
            let in_tests = tests.iter().any(|(from, to)| (from..=to).contains(&&first));
            if length > FUNCTION_LINES_MAX && !in_tests {
                findings.push(format!(
                    "{}:{first}: `{name}` has {length} lines, more than {FUNCTION_LINES_MAX}; \
                     move a named concept out, keep the branches",
                    source.path
                ));
            }
        }
    }
    report("functions too long", &findings);
}

#[test]
fn file_names_say_what_is_inside() {
    let mut findings = Vec::new();
    for path in sources().into_keys() {
        for part in path.trim_end_matches(".rs").split('/') {
            let last_word = part.rsplit(['_', '-']).next().unwrap_or(part);
            if EMPTY_NAMES.contains(&last_word) {
                findings.push(format!(
                    "{path}:1: the name `{part}` says nothing; put the code beside what it serves, \
                     or name the concept"
                ));
            }
        }
    }
    report("empty names", &findings);
}

#[test]
fn each_file_belongs_to_a_crate() {
    let sources = sources();
    let reached = reachable(&sources, &crate_roots(&metadata()));
    let findings: Vec<String> = sources
        .keys()
        .filter(|path| !reached.contains_key(*path))
        .map(|path| format!("{path}:1: no `mod` leads here; declare it in its parent or delete it"))
        .collect();
    report("files outside every crate", &findings);
}

#[test]
fn the_text_speaks_of_the_product_alone() {
    // In pieces, so that this file does not find itself.
    let folders = [concat!("/ro", "ot"), concat!("/wo", "rk"), concat!("/home", "/")];
    let words = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let notes = [concat!("research", "/"), concat!("shared", "/design")];
    let mut findings = Vec::new();
    for (path, text) in text_files() {
        for (number, line) in (1..).zip(text.lines()) {
            let at = |fact: &str| format!("{path}:{number}: {fact}");
            for folder in folders.iter().filter(|folder| names_folder(line, folder)) {
                findings.push(at(&format!(
                    "names the folder `{folder}` of one machine; take it as an argument or write it \
                     relative to the repository"
                )));
            }
            for word in words.iter().filter(|word| line.contains(*word)) {
                findings.push(at(&format!("says `{word}`; do it, or leave it out")));
            }
            for note in notes.iter().filter(|note| line.contains(*note)) {
                findings.push(at(&format!(
                    "refers to `{note}`, which is not in the repository; say the reason itself"
                )));
            }
        }
    }
    report("words about something else", &findings);
}

/// The metrics that a text names between two of `mark`.
fn metrics_between(mark: char, text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    // What ends so begins the names of several.
    let is_name = |part: &&str| part.starts_with("fieldmesh_") && !part.ends_with('_');
    let named = text.split(mark).filter(is_name);
    named.filter(|part| part.chars().all(is_part)).map(str::to_owned).collect()
}

#[test]
fn metrics_are_documented_and_those_that_are_documented_are_there() {
    let (mut counted, mut documented) = (BTreeSet::new(), BTreeSet::new());
    for (path, text) in text_files() {
        if allowed(&path, &["node/src/", "actors/src/"]) {
            counted.append(&mut metrics_between('"', &text));
        } else if path.starts_with("docs/") {
            documented.append(&mut metrics_between('`', &text));
        }
    }
    assert!(!counted.is_empty(), "no metric found: the check would pass without checking");
    let undocumented = counted.difference(&documented);
    let undocumented = undocumented
        .map(|name| format!("{name} is in no document; say in docs/operations.md what it tells"));
    let gone = documented.difference(&counted);
    let gone = gone.map(|name| format!("{name} is counted nowhere; take it out of docs"));
    report("metrics", &undocumented.chain(gone).collect::<Vec<_>>());
}

#[test]
fn each_deliberate_bug_has_something_that_finds_it_and_each_promise_one_that_breaks_it() {
    let files = text_files();
    let gate = files["scripts/mutants"].split_once("mutants='\n").map(|(_, rows)| rows);
    let rows = gate.and_then(|rows| rows.split_once("\n'\n")).map(|(rows, _)| rows);
    let rows: Vec<Vec<&str>> =
        rows.unwrap().lines().map(|row| row.split_whitespace().collect()).collect();
    let named = files["actors/domain/src/mutant.rs"].lines().filter_map(|line| {
        let (name, _) = line.trim().strip_prefix("(\"")?.split_once("\", Self::")?;
        Some(name)
    });
    let named: Vec<&str> = named.collect();
    assert!(!named.is_empty(), "no bug found: the check would pass without checking");
    let unsought = named.iter().filter(|name| !rows.iter().any(|row| row[0] == **name));
    let mut findings: Vec<String> = unsought
        .map(|name| format!("scripts/mutants: nothing looks for `{name}`; add what finds it"))
        .collect();
    for promise in Promise::ALL {
        let word = serde_json::to_value(promise).unwrap();
        if !rows.iter().any(|row| row[1] == "chaos" && word == row[3]) {
            findings.push(format!("scripts/mutants: no chaos run breaks {word}; add a bug"));
        }
    }
    for row in rows.iter().filter(|row| row[1] == "chaos") {
        let scenario = format!("tests/scenarios/mutants/{}.toml", row[2]);
        if !files.contains_key(&scenario) {
            findings.push(format!("scripts/mutants: there is no {scenario}; write it"));
        }
    }
    report("deliberate bugs", &findings);
}

/// Whether `line` has `folder` as the beginning of an absolute path.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + folder.len()..].chars().next();
        let inside_a_path = before.is_some_and(|c| c.is_alphanumeric() || "/.-_~*)}>".contains(c));
        let goes_on = !folder.ends_with('/')
            && after.is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
        !inside_a_path && !goes_on
    })
}

#[test]
fn folders_are_recognised_only_at_the_start_of_a_path() {
    let folder = concat!("/wo", "rk");
    for line in [format!("cd {folder}/main"), format!("\"{folder}\""), format!("={folder}")] {
        assert!(names_folder(&line, folder), "{line}");
    }
    for line in [format!("https://x{folder}/y"), format!("a{folder}"), format!("{folder}ers/a")] {
        assert!(!names_folder(&line, folder), "{line}");
    }
}
