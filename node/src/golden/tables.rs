//! The values of the state table, and what says of a region's groups how far they are.

use super::{HASH, MESSAGE, TELL, are_frozen, are_read, customer, is_kept, tell};
use crate::{
    backup::cut::Edges,
    ledger::StoredHead,
    store::rows::{Cursor, DedupRow, Head, OutboxRow, SlotRow, SnapshotRow, TimerRow},
};

#[test]
fn rows_of_entities() {
    let head = |at_ms| Head { version: 1, chain: HASH, owner: MESSAGE, at_ms };
    are_frozen(&[("84 01 <hash> <msg> 04", head(4))]);
    are_read(&[("83 01 <hash> <msg>", head(0))]);
    are_frozen(&[("83 <hash> 4102 03", DedupRow { content: HASH, receipt: vec![2], at_ms: 3 })]);
    are_frozen(&[
        ("83 01 40 03", SnapshotRow { version: 1, sealed: vec![], parts: Some(3) }),
        ("82 01 4102", SnapshotRow { version: 1, sealed: vec![2], parts: None }),
    ]);
    are_frozen(&[("82 01 02", TimerRow { due_ms: 1, generation: 2 })]);
}

#[test]
fn rows_between_shards() {
    let row = |is_void| OutboxRow { tell: tell(), owner: customer(), is_void };
    let frozen = |end: &str| format!("{TELL} <cus> {end}");
    let (plain, void, older) = (frozen("f4"), frozen("f5"), frozen(""));
    are_frozen(&[
        (format!("83 {plain}").as_str(), row(false)),
        (format!("83 {void}").as_str(), row(true)),
    ]);
    are_read(&[(format!("82 {older}").as_str(), row(false))]);
    are_frozen(&[("82 01 82 03 04", Cursor { low: 1, above: vec![3, 4] })]);
    are_frozen(&[
        ("82 01 02", SlotRow { sent: 1, given_to: Some(2) }),
        ("81 01", SlotRow { sent: 1, given_to: None }),
    ]);
    let edges: Edges = is_kept("84 02 a10107 a1018107 a101 82 03 8105");
    assert_eq!(edges.group, 2);
}

#[test]
fn signed_heads_of_the_ledger() {
    let stored: StoredHead = is_kept("82 87 6163 63 657531 05 <hash> 06 <key> 4103 81 4102");
    assert_eq!((stored.head.size, stored.head.at_ms, stored.head.root), (5, 6, HASH));
    assert_eq!(stored.head.signature, [3]);
}
