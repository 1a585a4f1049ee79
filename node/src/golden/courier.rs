//! What nodes say to each other about entities and devices.

use fieldmesh_actors::commit::Cause;
use fieldmesh_domain::{
    Command, RejectionCode, customer::Command as OfCustomer, ticket::Counted, time::Millis,
};

use super::{
    ISSUER, KEY, MESSAGE, SERIAL, are_frozen, are_read, bytes, customer, registration, slot,
    technician, ticket,
};
use crate::courier::wire::{
    Audited, Gift, Notice, Opened, OpenedWanted, Opening, Post, Question, Recorded, Said, Seen,
    SlotRows, SlotWanted, Tally, Void, Wanted,
};

fn question(shard: Option<u32>) -> Box<Question> {
    let command = Command::Customer(OfCustomer::Suspend { by: None });
    let cause = Cause::Operator { command_id: MESSAGE };
    Box::new(Question { to: customer(), command, cause, shard })
}

#[test]
fn openings() {
    let gift = Gift { slot: slot(), from: 1, to: 2 };
    let wanted = |from| Wanted { shard: 1, kind: 2, from, limit: 10 };
    let recorded =
        Recorded { registration: registration(), serial: SERIAL.into(), issuer: ISSUER.into() };
    are_frozen(&[
        ("8200 81 84 <cus> 820081820680 <operator> 02", Opening::Ask(question(Some(2)))),
        ("8200 81 83 <cus> 820081820680 <operator>", Opening::Ask(question(None))),
        ("8201 80", Opening::Notices),
        ("8202 81 03", Opening::Look(3)),
        ("8203 81 <key>", Opening::IssuingKey(KEY.into())),
        ("8204 81 84 01 02 <tkt> 0a", Opening::Rows(wanted(Some(ticket())))),
        ("8204 81 84 01 02 f6 0a", Opening::Rows(wanted(None))),
        ("8205 81 83 <reg> <serial> <issuer>", Opening::Recorded(recorded)),
        ("8206 80", Opening::MayLead(None)),
        ("8206 81 03", Opening::MayLead(Some(3))),
        ("8207 81 83 01 02 03", Opening::TakeVoid(Void { shard: 1, from: 2, number: 3 })),
        ("8208 81 83 <slot> 01 02", Opening::GiveSlot(gift)),
        (
            "8209 81 82 83<slot>0102 42 6174",
            Opening::SlotRows(SlotWanted { gift, at: Some(bytes(b"at")) }),
        ),
        ("8209 81 81 83<slot>0102", Opening::SlotRows(SlotWanted { gift, at: None })),
        ("820a 81 03", Opening::Audited(3)),
        (
            "820c 81 83 01 02 <msg>",
            Opening::Opened(OpenedWanted { shard: 1, since: Millis(2), behind: MESSAGE.into() }),
        ),
        ("820d 80", Opening::Held),
    ]);
}

#[test]
fn answers() {
    are_frozen(&[
        ("8200 83 01 41 72 02", Said::Done { version: 1, receipt: Some(bytes(b"r")), applied: 2 }),
        ("8200 83 01 f6 02", Said::Done { version: 1, receipt: None, applied: 2 }),
        ("8201 82 41 72 02", Said::AlreadyDone { receipt: Some(bytes(b"r")), applied: 2 }),
        (
            "8202 82 09 62 6e6f",
            Said::Rejected { code: RejectionCode::SecondPerson, detail: "no".into() },
        ),
        ("8203 81 18c8", Said::Busy { retry_after_ms: 200 }),
        ("8204 81 03", Said::NotLeader { hint: Some(3) }),
        ("8204 80", Said::NotLeader { hint: None }),
        ("8205 80", Said::Unknown),
        ("8206 80", Said::Forged),
        ("8207 80", Said::OutOfWindow),
        ("8208 80", Said::Parked),
        ("8209 81 64 6469736b", Said::Failed("disk".into())),
        ("820a 80", Said::Full),
        ("820b 80", Said::Moved),
    ]);
    let seen = Seen {
        voters: vec![1, 2],
        learners: vec![3],
        is_settled: true,
        committed: 4,
        behind: vec![(2, 9)],
        awaited: None,
    };
    let awaits = Seen { awaited: Some(vec![2]), ..seen.clone() };
    are_frozen(&[
        ("85 820102 8103 f5 04 81820209", seen),
        ("85 80 80 f4 00 80", Seen::default()),
        ("86 820102 8103 f5 04 81820209 8102", awaits),
    ]);
    are_frozen(&[("84 01 02 03 04", Audited { age_ms: 1, took_ms: 2, missing: 3, overdue: 4 })]);
    are_read(&[("83 01 02 03", Audited { age_ms: 1, took_ms: 2, missing: 3, overdue: 0 })]);
    let counted = Counted { category: 3, site: 4 };
    are_frozen(&[("83 <tkt> 02 82 03 04", Opened { ticket: ticket(), at: Millis(2), counted })]);
    are_frozen(&[("82 01 190801", vec![1u32, 2049])]);
    let rows = vec![(bytes(b"k"), bytes(b"v"))];
    are_frozen(&[
        ("82 81 82 416b 4176 416e", SlotRows { rows, next: Some(bytes(b"n")) }),
        ("81 80", SlotRows::default()),
    ]);
}

#[test]
fn notices() {
    let (device, session) = (technician(), 1);
    let post = Post {
        to: device,
        number: 1,
        message_id: MESSAGE.into(),
        signed: bytes(b"s"),
        expires_s: 3,
    };
    let message_ids = vec![MESSAGE.into()];
    are_frozen(&[
        ("8200 82 <tec> 01", Notice::Attached { device, session, understands: None }),
        ("8200 83 <tec> 01 01", Notice::Attached { device, session, understands: Some(1) }),
        ("8201 82 <tec> 01", Notice::Detached { device, session }),
        ("8202 82 <tec> 81 <msg>", Notice::Acknowledged { device, message_ids }),
        ("8203 81 85 <tec> 01 <msg> 4173 03", Notice::Mail(post)),
        ("8204 82 <tec> 01", Notice::Replaced { device, session }),
        ("8205 81 <tec>", Notice::Absent(device)),
        (
            "8206 81 81 83 03 02 1b1000000000000000",
            Notice::Tallies(vec![Tally { shard: 3, sessions: 2, sum: 1 << 60 }]),
        ),
        ("8207 81 82 03 04", Notice::Again(vec![3, 4])),
    ]);
}
