//! What both engines promise of a table: pages with a bound, and checkpoints that stay as they were.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and look into folders"
)]

use fieldmesh_node::store::{Batch, Engine, Role, Table, rocks::Rocks, simulated::Disk};
use fieldmesh_tests::process::contents::{contents, place};

const ALL: &[u8] = &[u8::MAX];

fn write(table: &dyn Table, keys: std::ops::Range<u8>, size: usize) {
    let mut batch = Batch::default();
    keys.for_each(|key| batch.put([key], vec![key; size]));
    table.write(batch).unwrap();
}

fn pages_have_a_bound(engine: &dyn Engine) {
    let table = engine.open("pages", Role::State).unwrap();
    write(&*table, 0..100, 99);
    let keys = |rows, bytes| -> Vec<u8> {
        let page = table.page(&[10], ALL, rows, bytes).unwrap();
        page.iter().map(|(key, _)| key[0]).collect()
    };
    assert_eq!(keys(3, usize::MAX), [10, 11, 12]);
    // A row has a hundred bytes with its key: the one that reaches the bound is the last.
    assert_eq!(keys(usize::MAX, 200), [10, 11]);
    assert_eq!(keys(usize::MAX, 201), [10, 11, 12]);
    assert_eq!(keys(usize::MAX, 1), [10]);
    assert_eq!(keys(usize::MAX, usize::MAX).len(), 90);
    assert_eq!(table.scan(&[98], ALL, 5).unwrap().len(), 2);
}

fn a_checkpoint_stays_as_it_was(engine: &dyn Engine) {
    let table = engine.open("frozen", Role::State).unwrap();
    write(&*table, 0..10, 1);
    let frozen = table.checkpoint().unwrap();
    write(&*table, 5..20, 2);
    let mut gone = Batch::default();
    gone.delete([0]);
    table.write(gone).unwrap();
    let mut from = Vec::new();
    let mut rows = Vec::new();
    loop {
        let page = frozen.page(&from, ALL, 3, usize::MAX).unwrap();
        let Some((last, _)) = page.last() else { break };
        from = [&last[..], &[0]].concat();
        rows.extend(page);
    }
    let expected: Vec<_> = (0..10).map(|key| (vec![key], vec![key])).collect();
    assert_eq!(rows, expected);
    assert_eq!(frozen.get(&[19]).unwrap(), None);
    assert_eq!(frozen.last(&[], ALL).unwrap(), Some((vec![9], vec![9])));
}

#[test]
fn the_simulated_disk_keeps_the_contract() {
    let disk = Disk::default();
    pages_have_a_bound(&disk);
    a_checkpoint_stays_as_it_was(&disk);
}

#[test]
fn rocksdb_keeps_the_contract_and_leaves_no_checkpoint_behind() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::new(dir.path());
    pages_have_a_bound(&rocks);
    a_checkpoint_stays_as_it_was(&rocks);
    let left = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<String> = left.map(|name| name.to_string_lossy().into_owned()).collect();
    assert!(!left.iter().any(|name| name.contains("checkpoint")), "{left:?}");
}

/// What a log has that is started on the disk as it is now: the engine that is open would write on at its end.
fn keys_on_disk(dir: &std::path::Path) -> Vec<u8> {
    let copy = tempfile::tempdir().unwrap();
    place(&contents(dir), copy.path());
    let log = Rocks::new(copy.path()).open("log", Role::Log).unwrap();
    log.scan(&[], ALL, 100).unwrap().iter().map(|(key, _)| key[0]).collect()
}

#[tokio::test]
async fn a_power_cut_leaves_of_a_log_what_was_synced() {
    for synced in [0_u8, 10] {
        let dir = tempfile::tempdir().unwrap();
        let log = Rocks::new(dir.path()).may_lose_power(true).open("log", Role::Log).unwrap();
        if synced > 0 {
            write(&*log, 0..synced, 1);
            log.sync().await.unwrap();
        }
        write(&*log, synced..synced + 10, 1);
        let all: Vec<u8> = (0..synced + 10).collect();
        assert_eq!(keys_on_disk(dir.path()), all, "a kill takes nothing");
        log.lose_unsynced().unwrap();
        let kept: Vec<u8> = (0..synced).collect();
        assert_eq!(keys_on_disk(dir.path()), kept);
    }
}

#[test]
fn a_log_that_notes_no_syncs_is_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let log = Rocks::new(dir.path()).open("log", Role::Log).unwrap();
    write(&*log, 0..10, 1);
    let refused = log.lose_unsynced().unwrap_err();
    assert!(refused.to_string().contains("table log"), "{refused}");
    assert_eq!(keys_on_disk(dir.path()).len(), 10);
}

#[test]
fn a_table_whose_making_was_cut_short_is_made_anew_and_none_that_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::new(dir.path());
    let cut = dir.path().join("cut");
    std::fs::create_dir(&cut).unwrap();
    for name in ["LOG", "LOCK", "000000.dbtmp", "IDENTITY", "MANIFEST-000001", "000001.dbtmp"] {
        std::fs::write(cut.join(name), "half").unwrap();
        assert!(rocks.inspect("cut", Role::Log).unwrap().is_none(), "{name} is there");
    }
    let table = rocks.open("cut", Role::Log).unwrap();
    write(&*table, 0..10, 1);
    drop(table);
    let table = rocks.inspect("cut", Role::Log).unwrap().unwrap();
    assert_eq!(table.scan(&[], ALL, 100).unwrap().len(), 10);
    drop(table);
    // What was made once is not made anew, whatever else is gone.
    std::fs::remove_file(cut.join("CURRENT")).unwrap();
    let Err(refused) = rocks.inspect("cut", Role::Log) else { panic!("it was opened") };
    assert!(refused.to_string().contains("cannot open table cut"), "{refused}");
}
