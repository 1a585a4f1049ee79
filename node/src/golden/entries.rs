//! What the log holds of entities: the content of an entry, and the record of events within it.

use fieldmesh_actors::commit::{
    Cause, Commit, Mail, Proposal, Seen, Settle, SlotPage, SnapshotPart, TimerChange,
};
use fieldmesh_domain::{IndexRow, customer::Standing};

use super::{
    HASH, ISSUER, MESSAGE, TELL, are_frozen, are_read, bytes, customer, slot, technician, tell,
    ticket,
};
use crate::journal::Record;

const MAIL: &str = "84 <cus> 06 <msg> 41 08";
/// The fields of [`commit`] up to what replay protection keeps.
const COMMIT: &str = "<tkt> <cus> 03 8201820102 04 01 43 010203 <hash> 4105 4106 81 <tell> 81 <mail> \
                      82 83000102 820001 81 820282<cus>03";

fn commit() -> Commit {
    let timer = |due_ms| TimerChange { name: 0, generation: 1, due_ms };
    Commit {
        entity: ticket(),
        owner: customer(),
        expected_version: 3,
        cause: Cause::Outbox { from: 1, number: 2 },
        at_ms: 4,
        event_count: 1,
        record: vec![1, 2, 3],
        chain: HASH,
        snapshot: Some(vec![5]),
        new_key: Some(vec![6]),
        tells: vec![tell()],
        mail: vec![Mail { to: customer(), number: 6, message_id: MESSAGE, sealed: vec![8] }],
        timers: vec![timer(Some(2)), timer(None)],
        index: vec![IndexRow::Customer { id: customer(), state: Standing::Active }],
        seen: Some(Seen { window: vec![1], receipt: vec![2] }),
        previous: Some(ISSUER.into()),
    }
}

fn frozen(text: &str) -> String {
    text.replace("<commit>", COMMIT).replace("<tell>", TELL).replace("<mail>", MAIL)
}

#[test]
fn causes() {
    let device = Cause::Device {
        device: technician(),
        message_id: MESSAGE,
        content: HASH,
        sequence: 3,
        expires_s: 4,
    };
    are_frozen(&[
        ("8200 85 <tec> <msg> <hash> 03 04", device),
        ("8201 82 01 02", Cause::Outbox { from: 1, number: 2 }),
        ("8202 82 01 02", Cause::Timer { name: 1, generation: 2 }),
        ("8203 81 <msg>", Cause::Operator { command_id: MESSAGE }),
    ]);
}

#[test]
fn commits() {
    let whole = frozen("90 <commit> 82 4101 4102 <issuer>");
    are_frozen(&[(whole.as_str(), commit())]);
    let least = Commit {
        event_count: 0,
        record: vec![],
        snapshot: None,
        new_key: None,
        tells: vec![],
        mail: vec![],
        timers: vec![],
        index: vec![],
        seen: None,
        previous: None,
        ..commit()
    };
    are_frozen(&[("8e <tkt> <cus> 03 8201820102 04 00 40 <hash> f6 f6 80 80 80 80", least)]);
    // Without the head of the history that it was decided on, as the first releases wrote it.
    let (seen, unseen) = (frozen("8f <commit> 82 4101 4102"), frozen("8e <commit>"));
    are_read(&[
        (seen.as_str(), Commit { previous: None, ..commit() }),
        (unseen.as_str(), Commit { previous: None, seen: None, ..commit() }),
    ]);
}

#[test]
fn proposals() {
    let (cus, slot) = (customer(), slot());
    let whole = frozen("8200 81 90 <commit> 82 4101 4102 <issuer>");
    are_frozen(&[(whole.as_str(), Proposal::Commit(Box::new(commit())))]);
    let settle = Settle { mail: vec![(cus, 7)], outbox: vec![(1, 2)], forget_before_s: Some(3) };
    let part = SnapshotPart { entity: cus, version: 1, part: 0, parts: 2, sealed: vec![1] };
    let rows = vec![(bytes(b"a"), bytes(b"b"))];
    let page = SlotPage { slot, is_first: true, is_last: false, rows };
    are_frozen(&[
        ("8201 81 83 81 82<cus>07 81 820102 03", Proposal::Settle(settle)),
        ("8201 81 82 80 80", Proposal::Settle(Settle::default())),
        ("8202 81 85 <cus> 01 00 02 4101", Proposal::SnapshotPart(part)),
        ("8203 82 <slot> 02", Proposal::GiveSlot { slot, to: 2 }),
        ("8204 81 84 <slot> f5 f4 81 82 4161 4162", Proposal::TakeSlot(page)),
        ("8205 81 <slot>", Proposal::ClearSlot(slot)),
        ("8206 82 81 820102 03", Proposal::Redirect { rows: vec![(1, 2)], to: 3 }),
        ("8207 82 01 02", Proposal::TakeVoid { from: 1, number: 2 }),
    ]);
}

/// The hash chain of an entity goes over these bytes: they never change.
#[test]
fn records_of_events() {
    let record = |events| Record {
        cause: Cause::Timer { name: 1, generation: 2 },
        at_ms: 1,
        rule_version: 2,
        previous: HASH,
        events,
    };
    let two = vec![bytes(&[0x82, 4, 0x80]), bytes(&[])];
    are_frozen(&[
        ("85 8202820102 01 02 <hash> 82 43 820480 40", record(two)),
        ("85 8202820102 01 02 <hash> 80", record(vec![])),
    ]);
}
