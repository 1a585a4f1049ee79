//! Damaged databases: the server says which table is damaged and does not start, or says so when it
//! reads the damage; it never serves less or other than it acknowledged, and repairs nothing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fieldmesh_tests::process::{
    Finished, Launch,
    contents::{Contents, contents, overwritten, place},
    fieldmesh, run, text,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::incidents;

/// A command that reaches no server ends with this.
const UNREACHABLE: i32 = 69;
const TICKETS: usize = 40;
/// Damaged copies that are looked at together.
const AT_ONCE: usize = 4;
/// RocksDB's blocks of a write-ahead log, and the header of a record: checksum, length, type.
const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
/// A start takes a second, even on a busy machine less than this; one that tries again and again more.
const PROMPT: Duration = Duration::from_secs(20);
/// Less than a block of a sorted file holds.
const BLOCK_OF_ROWS: usize = 3 << 10;

/// A data directory, and the history of each ticket in it.
struct Base {
    files: Contents,
    histories: BTreeMap<String, Vec<Value>>,
}

/// As SIGKILL leaves it: everything is in the log's write-ahead file.
async fn killed() -> (Contents, TempDir) {
    let (dir, input) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let log = incidents::write(input.path(), TICKETS);
    let args = ["replay", text(&log), "--json", "--data-dir", text(dir.path())];
    let result = run("fieldmesh", &args).await.expect_code(0).json();
    assert_eq!(result["confirmed"], TICKETS, "{result}");
    (contents(dir.path()), dir)
}

async fn histories(dir: &Path) -> BTreeMap<String, Result<Vec<Value>, Finished>> {
    let list = fieldmesh(dir, &["ticket", "list", "--limit", "1000"]).await;
    let mut histories = BTreeMap::new();
    if list.code != Some(0) {
        histories.insert("the list".to_owned(), Err(list));
        return histories;
    }
    for row in list.json()["rows"].as_array().unwrap() {
        let id = row["id"].as_str().unwrap().to_owned();
        let ticket = fieldmesh(dir, &["ticket", "show", &id]).await;
        let history = if ticket.code == Some(0) {
            Ok(ticket.json()["events"].as_array().unwrap().clone())
        } else {
            Err(ticket)
        };
        histories.insert(id, history);
    }
    histories
}

/// Both directories: as SIGKILL leaves it, and as SIGTERM leaves it, with all in sorted files.
async fn bases() -> (Arc<Base>, Arc<Base>) {
    let (files, dir) = killed().await;
    let server = Launch::dev(dir.path()).ready().await;
    let histories: BTreeMap<String, Vec<Value>> = histories(dir.path())
        .await
        .into_iter()
        .map(|(id, history)| (id, history.unwrap_or_else(|failed| panic!("{failed}"))))
        .collect();
    assert_eq!(histories.len(), TICKETS);
    server.terminate().await.expect_code(0);
    let ended = Base { files: contents(dir.path()), histories: histories.clone() };
    (Arc::new(Base { files, histories }), Arc::new(ended))
}

/// One file as it is to be found damaged; none where it is to be missing.
#[derive(Clone)]
struct Case {
    what: String,
    path: PathBuf,
    bytes: Option<Vec<u8>>,
}

impl Case {
    fn flipped(path: &Path, bytes: &[u8], at: usize, what: &str) -> Self {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 0xA5;
        Self::of(path, Some(bytes), &format!("{what}, byte {at} flipped"))
    }

    fn of(path: &Path, bytes: Option<Vec<u8>>, what: &str) -> Self {
        Self { what: format!("{}: {what}", path.display()), path: path.to_owned(), bytes }
    }

    /// The folder of the table.
    fn table(&self) -> &Path {
        self.path.parent().unwrap()
    }
}

/// What is wrong with how the server takes a damage; nothing where all is well.
async fn judge(base: &Base, case: &Case) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    place(&base.files, dir.path());
    let path = dir.path().join(&case.path);
    match &case.bytes {
        Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        None => std::fs::remove_file(&path).unwrap(),
    }
    let table = case.table().file_name().unwrap().to_string_lossy().into_owned();
    let before = contents(&dir.path().join(case.table()));
    let mut wrong = Vec::new();
    match Launch::dev(dir.path()).outcome().await {
        Err(refused) => {
            let named = refused.stderr.lines().count() == 1 && refused.stderr.contains(&table);
            if !named || !matches!(refused.code, Some(2 | 74)) {
                wrong.push(format!("refused, but not in one line that names it: {refused}"));
            }
            let changed = overwritten(&before, &contents(&dir.path().join(case.table())));
            if !changed.is_empty() {
                wrong.push(format!("refused, but {changed:?} overwritten"));
            }
        }
        Ok(server) => {
            if server.ready_after > PROMPT {
                wrong.push(format!("started only after {:?}", server.ready_after));
            }
            let found = histories(dir.path()).await;
            let lost = base.histories.keys().filter(|id| !found.contains_key(*id)).count();
            if lost > 0 && !found.contains_key("the list") {
                wrong.push(format!("started, and {lost} of {TICKETS} tickets are gone in silence"));
            }
            let ended = server.kill().await;
            // What it works on by itself may be damaged too: it ends, and says of what.
            let has_said = ended.stderr.contains(&table);
            for (id, history) in &found {
                match history {
                    Ok(events)
                        if !base.histories.get(id).is_some_and(|was| events.starts_with(was)) =>
                    {
                        wrong.push(format!("started, and {id} has another history: {events:?}"));
                    }
                    Err(failed) if failed.code == Some(UNREACHABLE) && has_said => {}
                    Err(failed) if !failed.stderr.contains(&table) => {
                        let last = ended.stderr.lines().last().unwrap_or_default();
                        let text = format!("did not name {table}: {failed}; the server: {last}");
                        wrong.push(format!("a read failed, but {text}"));
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }
    wrong.into_iter().map(|wrong| format!("{}: {wrong}", case.what)).collect()
}

async fn judge_all(base: &Arc<Base>, cases: Vec<Case>) {
    assert!(!cases.is_empty());
    let mut wrong = Vec::new();
    for cases in cases.chunks(AT_ONCE) {
        let mut set = JoinSet::new();
        for case in cases {
            let (base, case) = (Arc::clone(base), case.clone());
            set.spawn(async move { judge(&base, &case).await });
        }
        wrong.extend(set.join_all().await.into_iter().flatten());
    }
    println!("{} damaged copies, {} taken wrongly", cases.len(), wrong.len());
    assert!(wrong.is_empty(), "{} of {} damages:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn files_of<'a>(base: &'a Base, table: &str, ending: &str) -> Vec<(&'a Path, &'a [u8])> {
    let below = Path::new("db").join(table);
    let files = base.files.iter().filter(|(path, bytes)| {
        path.parent() == Some(&below) && text(path).ends_with(ending) && !bytes.is_empty()
    });
    files.map(|(path, bytes)| (path.as_path(), bytes.as_slice())).collect()
}

/// The one write-ahead file with content.
fn wal(base: &Base) -> (&Path, &[u8]) {
    let files = files_of(base, "log", ".log");
    let [file] = files.as_slice() else { panic!("one write-ahead file is expected") };
    *file
}

/// Where the records of a write-ahead file begin, with their lengths.
fn records(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (mut records, mut at) = (Vec::new(), 0);
    while at + HEADER <= bytes.len() {
        let length = usize::from(u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]));
        let left = BLOCK - at % BLOCK;
        if left < HEADER {
            at += left;
        } else if bytes[at + 6] == 0 {
            break;
        } else {
            records.push((at, length));
            at += HEADER + length;
        }
    }
    records
}

#[tokio::test]
async fn a_damaged_write_ahead_file_is_refused() {
    let (killed, _) = bases().await;
    let (path, bytes) = wal(&killed);
    let records = records(bytes);
    println!("write-ahead file: {} bytes, {} records", bytes.len(), records.len());
    assert!(records.len() > 20);
    // The last block is read by other rules than those before it.
    let last_block = records.iter().position(|(at, _)| at / BLOCK == bytes.len() / BLOCK).unwrap();
    let first_of_last = (last_block, "in the first record of the last block");
    let middle_of_last = ((last_block + records.len()) / 2, "in the middle of the last block");
    let mut cases = Vec::new();
    for (record, place) in [
        (0, "in the first record"),
        (records.len() / 2, "in the middle"),
        first_of_last,
        middle_of_last,
        (records.len() - 1, "in the last record"),
    ] {
        let (at, length) = records[record];
        for (offset, field) in [
            (0, "checksum"),
            (4, "low length"),
            (5, "high length"),
            (6, "type"),
            (HEADER + 4, "sequence"),
            (HEADER + length / 2, "content"),
        ] {
            cases.push(Case::flipped(path, bytes, at + offset, &format!("{field} {place}")));
        }
    }
    for start in [0, bytes.len() / 2, (bytes.len() - 1) / BLOCK * BLOCK] {
        let mut zeroed = bytes.to_vec();
        let end = bytes.len().min(start + 4096);
        zeroed[start..end].fill(0);
        cases.push(Case::of(path, Some(zeroed), &format!("zeroes from byte {start} on")));
    }
    let (at, _) = records[records.len() / 2];
    let mut without = bytes[..at].to_vec();
    without.extend_from_slice(&bytes[at + BLOCK..]);
    cases.push(Case::of(path, Some(without), "a piece is missing in the middle"));
    judge_all(&killed, cases).await;
}

#[tokio::test]
async fn a_write_ahead_file_that_is_missing_is_refused() {
    let (killed, _) = bases().await;
    let (path, bytes) = wal(&killed);
    let half = records(bytes)[records(bytes).len() / 2].0;
    let cases = vec![
        Case::of(path, None, "missing"),
        Case::of(path, Some(Vec::new()), "empty"),
        Case::of(path, Some(bytes[..half].to_vec()), "cut in half between two records"),
        Case::of(path, Some(bytes[..half + 30].to_vec()), "cut in half within a record"),
    ];
    judge_all(&killed, cases).await;
}

#[tokio::test]
async fn damaged_sorted_files_are_named() {
    let (_, ended) = bases().await;
    let mut cases = Vec::new();
    // The state with the most rows: each kind fills blocks of its own there.
    let bytes_of = |table: &str| files_of(&ended, table, ".sst").iter().map(|(_, b)| b.len()).sum();
    let fullest =
        ["state-1", "state-2"].into_iter().max_by_key(|table| -> usize { bytes_of(table) });
    for table in ["log", "state-1", "state-2"] {
        let files = files_of(&ended, table, ".sst");
        assert!(!files.is_empty(), "{table} has no sorted file");
        for (path, bytes) in files {
            // Every block of that one: each kind of row has readers of its own.
            let step = if Some(table) == fullest { BLOCK_OF_ROWS } else { bytes.len() / 4 };
            for at in (0..bytes.len()).step_by(step).chain([bytes.len() - 9]) {
                cases.push(Case::flipped(path, bytes, at, "sorted file"));
            }
            cases.push(Case::of(path, Some(bytes[..bytes.len() / 2].to_vec()), "cut in half"));
            cases.push(Case::of(path, None, "missing"));
        }
    }
    judge_all(&ended, cases).await;
}

#[tokio::test]
async fn damaged_lists_of_files_are_named() {
    let (_, ended) = bases().await;
    let mut cases = Vec::new();
    for table in ["log", "state-1"] {
        let folder = Path::new("db").join(table);
        let current = folder.join("CURRENT");
        for (bytes, what) in [
            (Some(Vec::new()), "empty"),
            (Some(b"MANIFEST-999999\n".to_vec()), "names a file that is not there"),
            (None, "missing"),
        ] {
            cases.push(Case::of(&current, bytes, what));
        }
        let name = String::from_utf8(ended.files[&current].clone()).unwrap();
        let path = folder.join(name.trim());
        let bytes = &ended.files[&path];
        for at in [5, bytes.len() / 2, bytes.len() - 5] {
            cases.push(Case::flipped(&path, bytes, at, "list of files"));
        }
        for (bytes, what) in [
            (Some(Vec::new()), "empty"),
            (Some(bytes[..bytes.len() / 2].to_vec()), "cut in half"),
            (Some(bytes[..bytes.len() - 5].to_vec()), "cut before its end"),
            (None, "missing"),
        ] {
            cases.push(Case::of(&path, bytes, what));
        }
    }
    judge_all(&ended, cases).await;
}

#[tokio::test]
async fn a_damage_that_is_undone_leaves_no_trace() {
    let (killed, _) = bases().await;
    let dir = TempDir::new().unwrap();
    place(&killed.files, dir.path());
    let (path, bytes) = wal(&killed);
    let damaged = Case::flipped(path, bytes, bytes.len() / 2, "undone");
    std::fs::write(dir.path().join(path), damaged.bytes.unwrap()).unwrap();
    for _ in 0..2 {
        Launch::dev(dir.path()).refused().await;
    }
    std::fs::write(dir.path().join(path), bytes).unwrap();
    let _server = Launch::dev(dir.path()).ready().await;
    for (id, history) in histories(dir.path()).await {
        let history = history.unwrap_or_else(|failed| panic!("{failed}"));
        assert!(history.starts_with(&killed.histories[&id]), "{id}");
    }
}
