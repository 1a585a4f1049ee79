//! The directory refuses everything that is not as it was written.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and these damage files"
)]

use std::path::{Path, PathBuf};

use fieldmesh_domain::placement::{Home, Slot};

use super::*;
use crate::{
    backup::promotion::misplaced_in,
    consensus::transfer,
    golden::{HASH, KEY, is_kept, unhex},
    os::SystemEntropy,
    store::simulated::Disk,
    store::{
        Batch, Engine, Role, Row,
        keys::state,
        rows::{self, SlotRow},
    },
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
    written_with(dir, None)
}

/// The same, with one more row in the second group.
fn written_with(dir: &Path, more: Option<&Row>) -> Manifest {
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
            let more = more.filter(|_| (group, piece) == (2, 2));
            more.into_iter().for_each(|(key, value)| batch.put(key.clone(), value.clone()));
            table.write(batch).unwrap();
            let piece = transfer::piece_behind(&*table, &[]).unwrap();
            file.piece(&piece, 5 + u64::from(more.is_some()), &entropy).unwrap();
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

/// The head of a backup of one group that has one row, as another implementation writes it.
const FROZEN_HEAD: &str = "\
    464d424b00000001464d56310001000000000003010101010101010101010101010101010202020202020202\
    0202020256f4ba23485fda4f1854b5e1706fa0c9c2910fb9adf599b4ff26502b11493f80a250d0e2da9c39d7\
    95436d4bdc399023348f9a584bb32c6bfe37dfa01e1f00544995127c4e69f8918a6cc8233f34c7e83ae23dee\
    bf27e7ed619cc45bff6301a0d4c1c79116efe7c85cfca82b8f79c75e48567f49601dddcdc9aea1f598fad4d1\
    7324f775a6bb5bf342c278aaa39e";
/// That group's file.
const FROZEN_ROWS: &str = "\
    464d424700000029010101010101010101010101d841d6604a2515da0db4dcbde9bc817dc91e6ddf259ef91a\
    4bcafe7dc90000002402020202020202020202020230cb7b5c09f3b3a08a27bc17a43268643f14fd965c0787\
    41";

/// A backup is read by every later release, byte for byte as it was written.
#[test]
fn a_frozen_backup_is_read() {
    let scratch = Scratch::new("archive-frozen");
    std::fs::write(scratch.0.join(HEAD), unhex(FROZEN_HEAD)).unwrap();
    std::fs::write(scratch.0.join(rows_file(1)), unhex(FROZEN_ROWS)).unwrap();
    let archive = Archive::open(&scratch.0, PASSPHRASE).unwrap();
    assert_eq!(archive.secrets(), [1]);
    let [part] = &archive.manifest.groups[..] else { panic!("{:?}", archive.manifest) };
    assert_eq!((part.group, part.term, part.index, part.rows, part.pieces), (1, 3, 40, 1, 2));
    assert_eq!(read(&scratch.0).unwrap(), [(b"k".to_vec(), b"v".to_vec())]);
}

#[test]
fn the_content_of_a_head_is_frozen_and_ends_where_it_ends() {
    let head: Head = is_kept(
        "83 87 01 6163 63657531 04 01 81 87 01 03 1828 0f 04 190384 <hash> 81 <issuer> <key> 4101",
    );
    assert_eq!((head.key, head.secrets.as_slice()), (KEY, &[1][..]));
    assert_eq!(head.manifest.groups[0].sha256, HASH);
    // Sealed by whoever has the passphrase, with something behind it.
    let scratch = Scratch::new("archive-behind");
    let mut content = rows::encode(&head);
    for is_whole in [true, false] {
        let sealed = vault::seal(PASSPHRASE, &content, [1; 16], [2; 12]).unwrap();
        let bytes = [&HEAD_MAGIC[..], &FORMAT.to_be_bytes(), &sealed].concat();
        std::fs::write(scratch.0.join(HEAD), bytes).unwrap();
        let opened = Archive::open(&scratch.0, PASSPHRASE);
        match opened.map(|_| ()) {
            Ok(()) => assert!(is_whole),
            Err(error) => {
                assert!(!is_whole && matches!(error, ArchiveError::Damaged { .. }), "{error}");
            }
        }
        content.push(0);
    }
}

/// A slot that went to another shard after the backup, or while it was taken, would be nowhere.
#[test]
fn a_backup_that_is_older_than_a_move_is_noticed_before_anything_is_made_of_it() {
    let mut home = Home::new("eu1".parse().unwrap(), 0, 2);
    home.slots = vec![Slot { slot: 4, shard: 2, next: None, last: None, sent: 1 }];
    let misplaced = |row: Option<SlotRow>| {
        let scratch = Scratch::new("archive-moved");
        let dir = scratch.0.join("backup");
        let row = row.map(|row| (state::slot(4), rows::encode(&row)));
        written_with(&dir, row.as_ref());
        misplaced_in(&Archive::open(&dir, PASSPHRASE).unwrap(), &home).unwrap()
    };
    assert_eq!(misplaced(None), Some((4, 2)));
    assert_eq!(misplaced(Some(SlotRow { sent: 1, given_to: Some(1) })), Some((4, 2)));
    assert_eq!(misplaced(Some(SlotRow { sent: 1, given_to: None })), None);
}

/// Whoever is given a foreign directory to look at spends no memory on what its head asks for.
#[test]
fn a_head_that_asks_for_much_is_refused_at_once() {
    let scratch = Scratch::new("archive-greedy");
    let mut bytes = unhex(FROZEN_HEAD);
    // Behind two magics and the format: 256 MiB.
    bytes[12..16].copy_from_slice(&(256_u32 * 1024).to_be_bytes());
    std::fs::write(scratch.0.join(HEAD), bytes).unwrap();
    let refused = Archive::open(&scratch.0, PASSPHRASE).err().unwrap();
    let source = vault::VaultError::Malformed;
    assert!(matches!(refused, ArchiveError::Vault { source: found, .. } if found == source));
}
