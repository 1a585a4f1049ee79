//! The bytes of a device's memory, frozen: devices are renewed later than the service, and never all at once.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and look into files"
)]

use std::sync::Arc;

use super::*;

/// What OpenSSL makes of two records under a key of nines, with nonces of threes.
const FILE: &str = "\
    00000037ffffffc803030303030303030303030353946af605bd6aaddaa3ae74ed39d3f3b8fec05085be9429\
    e547d1bb97b8584b8da1f8467431f9f517e72400000032ffffffcd030303030303030303030303539669225d\
    b463a4d3aaa77de430dafab1f7c9599ccef8ddf3c840cc7fbdb2c9071ad44f2834";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn entry() -> Entry {
    Entry { message_id: [1; 16], signed: vec![1, 2], expires_s: 100, sequence: 7 }
}

fn received() -> Change {
    Change::Received { message_id: [8; 16], expires_s: 50 }
}

#[test]
fn changes() {
    let (ones, eights) = ("01".repeat(16), "08".repeat(16));
    for (frozen, change) in [
        (format!("82008184 50{ones} 420102 1864 07"), Change::Added(entry())),
        (format!("82018150 {ones}"), Change::Answered([1; 16])),
        (format!("82028250 {eights} 1832"), received()),
    ] {
        assert_eq!(hex(&minicbor::to_vec(&change).unwrap()), frozen.replace(' ', ""));
        assert_eq!(minicbor::decode::<Change>(&unhex(&frozen)).unwrap(), change);
    }
}

#[test]
fn files() {
    let dir = tempfile::tempdir().unwrap();
    let key = Zeroizing::new([9; 32]);
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    std::fs::write(&old, unhex(FILE)).unwrap();
    let memory = FileOutbox::look(&old, &key).unwrap();
    assert_eq!(memory.entries.into_values().collect::<Vec<_>>(), [entry()]);
    assert_eq!(memory.seen.into_iter().collect::<Vec<_>>(), [([8; 16], 50)]);
    assert_eq!(memory.last_sequence, 7);
    let mut outbox = FileOutbox::open(&new, &key, 0, Arc::new(|bytes| bytes.fill(3))).unwrap();
    outbox.record(Change::Added(entry())).unwrap();
    outbox.record(received()).unwrap();
    assert_eq!(hex(&std::fs::read(&new).unwrap()), FILE);
}
