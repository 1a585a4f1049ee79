//! The bodies of messages, the rows of lists, and each value that is one of a few.

use fieldmesh_domain::{
    IndexRow,
    customer::Standing,
    message::{
        Act, Amendment, Answer, Change, ConfirmationBody, CustomerActBody, Enclosure, NoteBody,
        NoteFrom, Pause, PauseReason, ReceiptBody, ReceiptStatus, ResponseBody,
    },
    selection::Exclusion,
    technician::{Duty, Phase, Shift},
    ticket::{Counted, ParentWord, Reader, RefusalReason, Stage},
};

use crate::{NOON, OFFER, PLACE, are_frozen, customer, request, technician, ticket};

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
        ("83<tkt>8203018206818303626e6f181e", answer(Answer::Pause(pause()))),
        ("83<tkt>820301820780", answer(Answer::Resume)),
        ("83<tkt>820301820a8114", answer(Answer::Eta { eta_min: 20 })),
        (
            "83<tkt>820301820881626869",
            answer(Answer::Message { text: "hi".into(), enclosure: None }),
        ),
        ("83<tkt>820301820980", answer(Answer::Seen)),
    ]);
}

fn pause() -> Pause {
    Pause { reason: PauseReason::Other, text: "no".into(), minutes: 30 }
}

#[test]
fn of_customers_who_act() {
    let act = |act| CustomerActBody { ticket: ticket(), act };
    let (text, location) = (Some("drip".to_owned()), Some(PLACE));
    are_frozen(&[
        ("82<tkt>82008163666172", act(Act::Cancel { reason: "far".into() })),
        ("82<tkt>820180", act(Act::Confirm)),
        ("82<tkt>82028163666172", act(Act::Object { reason: "far".into() })),
        ("82<tkt>8203826464726970<place>", act(Act::Amend { text, location })),
        ("82<tkt>820380", act(Act::Amend { text: None, location: None })),
        ("82<tkt>820481626869", act(Act::Message { text: "hi".into(), enclosure: None })),
        ("82<tkt>82058163666172", act(Act::Reopen { reason: "far".into() })),
    ]);
}

#[test]
fn with_something_attached() {
    let enclosure =
        Enclosure { number: 3, name: "a.jpg".into(), bytes: 70_000, digest: [1; 32], key: [2; 32] };
    let (digest, key) = ("01".repeat(32), "02".repeat(32));
    let bytes = format!("850365612e6a70671a000111705820{digest}5820{key}");
    are_frozen(&[(bytes.as_str(), enclosure.clone())]);
    let (text, enclosure) = (String::new(), Some(enclosure));
    let answer = Answer::Message { text: text.clone(), enclosure: enclosure.clone() };
    are_frozen(&[(format!("82088260{bytes}").as_str(), answer)]);
    let act = Act::Message { text, enclosure };
    are_frozen(&[(format!("82048260{bytes}").as_str(), act)]);
}

#[test]
fn between_people() {
    let note = NoteBody {
        ticket: ticket(),
        from: NoteFrom::Operator("op".into()),
        number: 7,
        text: "hi".into(),
        change: None,
        enclosure: None,
    };
    let amendment =
        Amendment { text: Some("drip".into()), priority: Some(1), location: Some(PLACE) };
    let told = |change| NoteBody { change: Some(change), ..note.clone() };
    are_frozen(&[
        ("84<tkt>820281626f7007626869", note.clone()),
        ("84<tkt>82008007626869", NoteBody { from: NoteFrom::Customer, ..note.clone() }),
        ("84<tkt>82018007626869", NoteBody { from: NoteFrom::Technician, ..note.clone() }),
        (
            "85<tkt>820281626f700762686982008183646472697001<place>",
            told(Change::Amended(amendment)),
        ),
        ("85<tkt>820281626f7007626869820181<noon>", told(Change::Held { until: NOON })),
        ("85<tkt>820281626f7007626869820280", told(Change::Cancelled)),
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
        standing: None,
        counted: None,
    };
    let mut counted_row = row.clone();
    if let IndexRow::Ticket { counted, .. } = &mut counted_row {
        *counted = Some(Counted { category: 11, site: 7 });
    }
    are_frozen(&[
        ("820085<tkt>0602<noon><tec>", row),
        ("82008a<tkt>0602<noon><tec>f6f6f6f6820b07", counted_row),
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
    are_frozen(&[("830e0f10", [Stage::Held, Stage::Confirmed, Stage::Grouped])]);
    are_frozen(&[("83000102", [Reader::Customer, Reader::Technician, Reader::Both])]);
    are_frozen(&[("83000102", [ParentWord::Lives, ParentWord::Done, ParentWord::Gone])]);
    let pauses =
        [PauseReason::Parts, PauseReason::Customer, PauseReason::Safety, PauseReason::Other];
    are_frozen(&[("8400010203", pauses)]);
}
