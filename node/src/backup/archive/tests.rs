//! The directory refuses everything that is not as it was written.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and these damage files"
)]

use std::path::{Path, PathBuf};

use super::*;
use crate::{
    consensus::transfer,
    os::SystemEntropy,
    store::Row,
    store::simulated::Disk,
    store::{Batch, Engine, Role},
};

const PASSPHRASE: &[u8] = b"a passphrase for one test";

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fieldmesh-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn name(group: u32, row: u32) -> Row {
    (format!("row {row:04} of {group}").into_bytes(), format!("Orsolya {row}").into_bytes())
}

/// Two groups, of three pieces each.
fn written(dir: &Path) -> Manifest {
    let entropy = SystemEntropy::default();
    let writing = Writing::begin(dir, &entropy).unwrap();
    let mut groups = Vec::new();
    for group in [1, 2] {
        let mut file = writing.group(group, 3, 40).unwrap();
        for piece in 0..3 {
            let table = Disk::default().open("piece", Role::State).unwrap();
            let mut batch = Batch::default();
            for row in 0..5 {
                let (key, value) = name(group, piece * 5 + row);
                batch.put(key, value);
            }
            table.write(batch).unwrap();
            let piece = transfer::piece_behind(&*table, &[]).unwrap();
            file.piece(&piece, 5, &entropy).unwrap();
        }
        groups.push(file.end(&entropy).unwrap());
    }
    let manifest = Manifest {
        format: FORMAT,
        cluster: "example.test".into(),
        region: "eu1".into(),
        shards: 4,
        taken_at_ms: 1,
        groups,
        certificates: vec![[7; 32].into()],
    };
    writing.end(&manifest, b"the region's secrets", PASSPHRASE, &entropy).unwrap();
    manifest
}

fn read(dir: &Path) -> Result<Vec<Row>, ArchiveError> {
    let archive = Archive::open(dir, PASSPHRASE)?;
    let mut found = Vec::new();
    for part in &archive.manifest.groups {
        archive.rows(part, |rows| {
            found.extend(rows);
            Ok::<_, ArchiveError>(())
        })?;
    }
    Ok(found)
}

#[test]
fn what_is_written_is_read_and_nothing_of_it_is_seen() {
    let scratch = Scratch::new("archive-whole");
    let dir = scratch.0.join("backup");
    let manifest = written(&dir);
    let archive = Archive::open(&dir, PASSPHRASE).unwrap();
    assert_eq!((&archive.manifest, archive.secrets()), (&manifest, &b"the region's secrets"[..]));
    let all: Vec<Row> = [1, 2].into_iter().flat_map(|g| (0..15).map(move |r| name(g, r))).collect();
    assert_eq!(read(&dir).unwrap(), all);
    for entry in std::fs::read_dir(&dir).unwrap() {
        use std::os::unix::fs::PermissionsExt;
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        for word in ["Orsolya", "row 0", "example", "eu1", "secrets"] {
            assert!(!bytes.windows(word.len()).any(|part| part == word.as_bytes()), "{word}");
        }
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn every_byte_counts_and_every_piece_has_its_place() {
    let scratch = Scratch::new("archive-damage");
    let dir = scratch.0.join("backup");
    written(&dir);
    for file in ["group-1.rows", HEAD] {
        let path = dir.join(file);
        let whole = std::fs::read(&path).unwrap();
        // Each byte of the rows; of the head, whose passphrase takes long, some.
        let step = if file == HEAD { whole.len() / 7 } else { 1 };
        for at in (0..whole.len()).step_by(step) {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(read_group(&dir, file, &whole).is_err(), "{file}: byte {at}");
        }
        for at in (0..whole.len()).step_by(step.max(11)) {
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(read_group(&dir, file, &whole).is_err(), "{file}: cut at {at}");
        }
        std::fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
        assert!(read_group(&dir, file, &whole).is_err(), "{file}: longer");
        std::fs::write(&path, &whole).unwrap();
    }
    assert!(read(&dir).is_ok());
}

/// Reads the file that is damaged; a head that is not is opened once.
fn read_group(dir: &Path, file: &str, _whole: &[u8]) -> Result<(), ArchiveError> {
    if file == HEAD {
        return read(dir).map(|_| ());
    }
    thread_local!(static OPEN: std::cell::OnceCell<Archive> = const { std::cell::OnceCell::new() });
    OPEN.with(|open| {
        let archive = open.get_or_init(|| Archive::open(dir, PASSPHRASE).unwrap());
        archive.check()
    })
}

/// The pieces of a file, with their lengths.
fn pieces(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut pieces) = (&bytes[ROWS_MAGIC.len()..], Vec::new());
    while let Some((length, _)) = rest.split_first_chunk::<4>() {
        let (piece, behind) = rest.split_at(4 + u32::from_be_bytes(*length) as usize);
        pieces.push(piece.to_vec());
        rest = behind;
    }
    pieces
}

#[test]
fn pieces_that_are_moved_doubled_left_out_or_of_another_group_are_refused() {
    let scratch = Scratch::new("archive-order");
    let dir = scratch.0.join("backup");
    written(&dir);
    let archive = Archive::open(&dir, PASSPHRASE).unwrap();
    let (path, other) = (dir.join("group-1.rows"), dir.join("group-2.rows"));
    let own = pieces(&std::fs::read(&path).unwrap());
    let others = pieces(&std::fs::read(&other).unwrap());
    assert_eq!(own.len(), 4);
    let [a, b, c, end] = <[Vec<u8>; 4]>::try_from(own).unwrap();
    for (what, order) in [
        ("moved", vec![&b, &a, &c, &end]),
        ("doubled", vec![&a, &a, &c, &end]),
        ("left out", vec![&a, &c, &end]),
        ("without its end", vec![&a, &b, &c]),
        ("of another group", vec![&others[0], &b, &c, &end]),
    ] {
        let bytes: Vec<u8> = order.into_iter().flatten().copied().collect();
        std::fs::write(&path, [&ROWS_MAGIC[..], &bytes].concat()).unwrap();
        let error = archive.check().unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged { .. }), "{what}: {error}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(archive.check().unwrap_err().to_string().contains("it is missing"));
}

#[test]
fn only_a_whole_backup_of_this_format_under_its_passphrase_is_one() {
    let scratch = Scratch::new("archive-refused");
    let dir = scratch.0.join("backup");
    let entropy = SystemEntropy::default();
    drop(Writing::begin(&dir, &entropy).unwrap().group(1, 1, 1).unwrap());
    let open = |dir: &Path, passphrase: &[u8]| Archive::open(dir, passphrase).err().unwrap();
    let unfinished = scratch.0.join("backup.unfinished");
    for path in [&dir, &unfinished] {
        assert!(matches!(open(path, PASSPHRASE), ArchiveError::Unfinished { .. }));
    }
    // What was cut short stays for whoever wants to look at it.
    assert!(matches!(Writing::begin(&dir, &entropy), Err(ArchiveError::Exists { .. })));
    std::fs::remove_dir_all(&unfinished).unwrap();
    written(&dir);
    assert!(matches!(Writing::begin(&dir, &entropy), Err(ArchiveError::Exists { .. })));
    assert!(matches!(open(&dir, b"another one"), ArchiveError::Vault { .. }));
    let head = dir.join(HEAD);
    let mut newer = std::fs::read(&head).unwrap();
    newer[7] = 2;
    std::fs::write(&head, newer).unwrap();
    assert!(matches!(open(&dir, PASSPHRASE), ArchiveError::Format { found: 2, .. }));
}
