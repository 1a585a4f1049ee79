//! The bodies of messages, the rows of lists, and each value that is one of a few.

use fieldmesh_domain::{
    IndexRow,
    customer::Standing,
    message::{Answer, ConfirmationBody, ReceiptBody, ReceiptStatus, ResponseBody},
    selection::Exclusion,
    technician::{Duty, Phase, Shift},
    ticket::{RefusalReason, Stage},
};

use crate::{NOON, OFFER, are_frozen, customer, request, technician, ticket};

#[test]
fn from_devices() {
    are_frozen(&[("860b0c0102<place>646c65616b", request())]);
    let answer = |answer| ResponseBody { ticket: ticket(), offer: OFFER, answer };
    are_frozen(&[
        ("83<tkt>82030182008114", answer(Answer::Accept { eta_min: 20 })),
        ("83<tkt>82030182018163666172", answer(Answer::Decline { reason: "far".into() })),
        ("83<tkt>820301820280", answer(Answer::EnRoute)),
        ("83<tkt>820301820380", answer(Answer::OnSite)),
        ("83<tkt>820301820481626f6b", answer(Answer::Completed { note: "ok".into() })),
        ("83<tkt>820301820581626e6f", answer(Answer::CannotComplete { reason: "no".into() })),
    ]);
}

#[test]
fn to_devices() {
    let (ticket, status) = (Some(ticket()), ReceiptStatus::Received);
    are_frozen(&[
        ("8300<tkt>62736f", ReceiptBody { status, ticket, reason: "so".into() }),
        ("8300f660", ReceiptBody { status, ticket: None, reason: String::new() }),
    ]);
    let confirmation = ConfirmationBody {
        number: 2,
        ticket: crate::ticket(),
        technician: Some(technician()),
        technician_name: "Bo".into(),
        eta_min: Some(20),
        text: "ok".into(),
    };
    let taken_back = ConfirmationBody { technician: None, eta_min: None, ..confirmation.clone() };
    are_frozen(&[
        ("8602<tkt><tec>62426f14626f6b", confirmation),
        ("8602<tkt>f662426ff6626f6b", taken_back),
    ]);
}

#[test]
fn rows_of_lists() {
    let row = IndexRow::Ticket {
        id: ticket(),
        state: Stage::Accepted,
        priority: 2,
        opened_at: NOON,
        technician: Some(technician()),
    };
    are_frozen(&[
        ("820085<tkt>0602<noon><tec>", row),
        (
            "820183<tec>0602",
            IndexRow::Technician { id: technician(), state: Duty::OnSite, load: 2 },
        ),
        ("820282<cus>03", IndexRow::Customer { id: customer(), state: Standing::Active }),
    ]);
}

#[test]
fn numbers_of_names() {
    let stages = [
        Stage::Unknown,
        Stage::Received,
        Stage::Triaged,
        Stage::Matching,
        Stage::Offered,
        Stage::Unfilled,
        Stage::Accepted,
        Stage::EnRoute,
        Stage::OnSite,
        Stage::Paused,
        Stage::Completed,
        Stage::CannotComplete,
        Stage::Cancelled,
        Stage::Closed,
    ];
    are_frozen(&[("8e000102030405060708090a0b0c0d", stages)]);
    let duties = [
        Duty::Unknown,
        Duty::OffShift,
        Duty::Available,
        Duty::Reserved,
        Duty::Committed,
        Duty::EnRoute,
        Duty::OnSite,
        Duty::Suspended,
    ];
    are_frozen(&[("880001020304050607", duties)]);
    are_frozen(&[(
        "8400010203",
        [Phase::Reserved, Phase::Committed, Phase::EnRoute, Phase::OnSite],
    )]);
    are_frozen(&[("8100", [Shift::Always])]);
    let standings = [
        Standing::Unknown,
        Standing::Invited,
        Standing::Enrolled,
        Standing::Active,
        Standing::Suspended,
    ];
    are_frozen(&[("850001020304", standings)]);
    let refusals = [
        RefusalReason::Declined,
        RefusalReason::Busy,
        RefusalReason::OffShift,
        RefusalReason::NoDevice,
        RefusalReason::Late,
    ];
    are_frozen(&[("850001020304", refusals)]);
    let receipts = [
        ReceiptStatus::Received,
        ReceiptStatus::Invalid,
        ReceiptStatus::Expired,
        ReceiptStatus::Replay,
        ReceiptStatus::NoLongerYours,
    ];
    are_frozen(&[("850001020304", receipts)]);
    let exclusions = [Exclusion::OffShift, Exclusion::NoSkill, Exclusion::Full, Exclusion::Asked];
    are_frozen(&[("8400010203", exclusions)]);
}
