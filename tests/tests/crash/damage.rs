//! Damaged copies of a directory: one bit of one file is another, or one file ends early, anywhere.
//!
//! Whoever starts on one has all that was acknowledged, or is refused by a storage that names the table.
//! **Not here:** each structure of each file, under a whole server (`process`).

use std::path::{Path, PathBuf};

use fieldmesh_node::server::EXIT_STORAGE;
use fieldmesh_tests::{
    crash::{Ledger, Order},
    process::contents::{Contents, contents, place},
};
use rand::{RngExt, rngs::StdRng};
use tempfile::TempDir;

use crate::dice;

/// What is in the names of each kind of file.
const KINDS: [&str; 5] = [".log", ".sst", "MANIFEST-", "CURRENT", "log.mark"];
const COPIES_OF_A_KIND: usize = 24;
/// How an error names where it is.
const NAMES: [&str; 2] = ["table log", "table state"];

/// A directory whose log was made shorter, with sorted files, and entries that are in the write-ahead file alone.
pub(crate) async fn base() -> (Contents, Ledger) {
    let (dir, mut ledger) = (TempDir::new().unwrap(), Ledger::default());
    for (entries, compact_every) in [(150, 60), (60, 40), (40, 0)] {
        let order = Order { entries, compact_every, ..Order::of(dir.path()) };
        let ended = order.start(&[]).finish().await.expect_code(0);
        ledger.hear(&ended.stdout, order.together).unwrap();
        ledger.settle();
    }
    (contents(dir.path()), ledger)
}

fn damaged(bytes: &[u8], dice: &mut StdRng) -> (String, Vec<u8>) {
    let (at, mut bytes) = (dice.random_range(0..bytes.len()), bytes.to_vec());
    if dice.random_range(0..3) == 0 {
        bytes.truncate(at);
        return (format!("ends after {at} bytes"), bytes);
    }
    let bit = dice.random_range(0..8);
    bytes[at] ^= 1_u8 << bit;
    (format!("bit {bit} of byte {at} is another"), bytes)
}

/// Whether the group starts and has all; an error where it does neither that nor is refused by name.
async fn starts(files: &Contents, ledger: &Ledger) -> Result<bool, String> {
    let dir = TempDir::new().unwrap();
    place(files, dir.path());
    let order = Order { entries: 5, ..Order::of(dir.path()) };
    let ended = order.start(&[]).finish().await;
    if let Err(wrong) = ledger.clone().hear(&ended.stdout, order.together) {
        return Err(format!("{wrong}\n{ended}"));
    }
    match ended.code {
        Some(0) => Ok(true),
        Some(EXIT_STORAGE) if NAMES.iter().any(|name| ended.stderr.contains(name)) => Ok(false),
        _ => Err(format!("neither served nor refused by name\n{ended}")),
    }
}

#[tokio::test]
async fn a_damaged_copy_has_all_or_is_refused_by_name() {
    let (mut dice, (files, ledger)) = (dice(), base().await);
    assert_eq!(starts(&files, &ledger).await, Ok(true), "a copy without damage");
    let mut wrong = Vec::new();
    for kind in KINDS {
        let is_of_kind = |path: &Path| path.to_string_lossy().contains(kind);
        let of_kind: Vec<(&PathBuf, &Vec<u8>)> =
            files.iter().filter(|(path, bytes)| is_of_kind(path) && !bytes.is_empty()).collect();
        assert!(!of_kind.is_empty(), "there is no {kind} among {:?}", files.keys());
        let mut served = 0;
        for _ in 0..COPIES_OF_A_KIND {
            let (path, bytes) = of_kind[dice.random_range(0..of_kind.len())];
            let (what, bytes) = damaged(bytes, &mut dice);
            let mut copy = files.clone();
            copy.insert(path.clone(), bytes);
            match starts(&copy, &ledger).await {
                Ok(is_served) => served += usize::from(is_served),
                Err(why) => wrong.push(format!("{}: {what}: {why}", path.display())),
            }
        }
        println!(
            "{kind}: of {COPIES_OF_A_KIND} damaged copies {served} had all, the rest were refused"
        );
    }
    assert!(wrong.is_empty(), "{} damages taken wrongly:\n{}", wrong.len(), wrong.join("\n"));
}
