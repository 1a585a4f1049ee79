//! Each event of each aggregate.

use fieldmesh_domain::{
    customer, desk,
    device::Change,
    message::{
        Act, AlertBody, CustomerActBody, NoteBody, NoteFrom, Pause, PauseReason, ReceiptStatus,
    },
    selection::{Choice, How, Mode, Need, Rival},
    technician::{self, Phase, Shift, Skill},
    ticket::{
        self, Invited, Note, Order, ParentWord, Party, Progress, Reach, Reader, RefusalReason,
    },
};

use crate::{
    HASH, MESSAGE, NOON, OFFER, PLACE, are_frozen, are_read, choice, customer, request, technician,
    ticket,
};

#[test]
fn of_a_customer() {
    use customer::Event;
    are_frozen(&[
        (
            "82008363416461<place>02",
            Event::Registered { name: "Ada".into(), location: PLACE, tier: 2 },
        ),
        (
            "82018182008209420102",
            Event::Device(Change::KeysPublished { serial: 9, bundle: vec![1, 2] }),
        ),
        ("820181820180", Event::Device(Change::Lost)),
        ("820181820280", Event::Device(Change::Found)),
        (
            "820285<msg><hash><tkt>860b0c0102<place>646c65616b<noon>",
            Event::Requested {
                message_id: MESSAGE,
                content_hash: HASH,
                ticket: ticket(),
                body: request(),
                received_at: NOON,
                is_counted: None,
            },
        ),
        (
            "820286<msg><hash><tkt>860b0c0102<place>646c65616b<noon>f5",
            Event::Requested {
                message_id: MESSAGE,
                content_hash: HASH,
                ticket: ticket(),
                body: request(),
                received_at: NOON,
                is_counted: Some(true),
            },
        ),
        ("820381<tkt>", Event::TicketClosed { ticket: ticket() }),
        ("820480", Event::Suspended { by: None }),
        ("820580", Event::Resumed { by: None }),
        ("820481626f70", Event::Suspended { by: Some("op".into()) }),
        ("820581626f70", Event::Resumed { by: Some("op".into()) }),
        (
            "820683<msg><hash>82<tkt>820180",
            Event::Acted {
                message_id: MESSAGE,
                content_hash: HASH,
                body: CustomerActBody { ticket: ticket(), act: Act::Confirm },
            },
        ),
        ("820781<tkt>", Event::TicketReopened { ticket: ticket() }),
    ]);
}

#[test]
fn of_a_technician() {
    use technician::Event;
    let (ticket, offer, message_id) = (ticket(), OFFER, MESSAGE);
    let registered = Event::Registered {
        name: "Bo".into(),
        skills: vec![Skill::new(11, 4)],
        home: PLACE,
        capacity: 2,
        shift: Shift::Always,
    };
    let alert = AlertBody {
        ticket,
        offer,
        category: 11,
        subcategory: 12,
        priority: 1,
        location: PLACE,
        distance_m: 13,
        text: "leak".into(),
        expires: NOON,
    };
    let (reason, note) = ("far".to_owned(), Progress::EnRoute);
    let (from, text) = (NoteFrom::Customer, "hi".to_owned());
    let body = NoteBody { ticket, from, number: 7, text, change: None, enclosure: None };
    are_frozen(&[
        ("82008562426f81820b04<place>0200", registered),
        ("8201818200820940", Event::Device(Change::KeysPublished { serial: 9, bundle: vec![] })),
        ("820181820180", Event::Device(Change::Lost)),
        ("820181820280", Event::Device(Change::Found)),
        ("820280", Event::WentOnShift),
        ("820380", Event::WentOffShift),
        ("82048189<tkt>8203010b0c01<place>0d646c65616b<noon>", Event::Reserved { alert }),
        ("820583<tkt>82030103", Event::Refused { ticket, offer, reason: RefusalReason::NoDevice }),
        ("820682<tkt>f5", Event::Released { ticket, was_committed: true, is_withdrawn: None }),
        (
            "820683<tkt>f4f5",
            Event::Released { ticket, was_committed: false, is_withdrawn: Some(true) },
        ),
        ("820784<tkt>82030114<msg>", Event::Accepted { ticket, offer, eta_min: 20, message_id }),
        ("820884<tkt>82030163666172<msg>", Event::Declined { ticket, offer, reason, message_id }),
        (
            "820984<tkt>820301820080<msg>",
            Event::Progressed { ticket, offer, progress: note, message_id },
        ),
        (
            "820a83<tkt>04<msg>",
            Event::AnswerNoted { ticket, status: ReceiptStatus::NoLongerYours, message_id },
        ),
        ("820b8207<noon>", Event::Reconciled { promotion: 7, due: NOON }),
        ("820c83<tkt>02f5", Event::Kept { ticket, phase: Phase::EnRoute, sure: true }),
        ("820d82<tkt><noon>", Event::Doubted { ticket, due: NOON }),
        ("820e81<tkt>", Event::HeldTold { ticket }),
        ("821284<tkt>82030114<msg>", Event::EtaChanged { ticket, offer, eta_min: 20, message_id }),
        ("820f8184<tkt>82008007626869", Event::Noted(body)),
        (
            "821084<tkt>820301626869<msg>",
            Event::Wrote { ticket, offer, text: "hi".into(), message_id, enclosure: None },
        ),
        ("821183<tkt>820301<msg>", Event::Saw { ticket, offer, message_id }),
    ]);
}

#[test]
fn of_a_ticket() {
    use ticket::Event;
    let (technician, offer, due) = (technician(), OFFER, NOON);
    let reconciled = |due| Event::Reconciled { promotion: 7, floor: 5, question: 4, due };
    let completed = Progress::Completed { note: "ok".into() };
    let failed = Progress::CannotComplete { reason: "no".into() };
    let (customer, message_id, body) = (customer(), MESSAGE, request());
    let opened =
        Event::Opened { customer, message_id, body, at: NOON, wishes: None, counted: None };
    are_frozen(&[
        ("820084<cus><msg>860b0c0102<place>646c65616b<noon>", opened),
        ("82018102", Event::Triaged { priority: 2, triage: None }),
        ("820281<noon>", Event::MatchAsked { due }),
        (
            "820384<tec>03<noon>848186<tec>01020304058182<tec>020906",
            Event::Offered { technician, epoch: 3, due, choice: choice() },
        ),
        (
            "820482<noon>848186<tec>01020304058182<tec>020906",
            Event::Unfilled { due, choice: choice() },
        ),
        ("820580", Event::OfferExpired),
        ("820682<tec>01", Event::OfferRefused { technician, reason: RefusalReason::Busy }),
        (
            "820784<tec>62426f14<noon>",
            Event::Accepted { technician, name: "Bo".into(), eta_min: 20, due },
        ),
        ("820882<tec>820301", Event::LateAcceptRefused { technician, offer }),
        ("820982820080<noon>", Event::Progressed { progress: Progress::EnRoute, due }),
        ("820982820180<noon>", Event::Progressed { progress: Progress::OnSite, due }),
        ("820982820281626f6b<noon>", Event::Progressed { progress: completed, due }),
        ("820982820381626e6f<noon>", Event::Progressed { progress: failed, due }),
        ("820a81<noon>", Event::Overdue { due, at: None }),
        ("820a82<noon><noon>", Event::Overdue { due, at: Some(due) }),
        ("820b80", Event::Cancelled),
        ("820c80", Event::Closed),
        ("820d83070504", reconciled(None)),
        ("820d84070504<noon>", reconciled(Some(due))),
        ("820e82<tec>03", Event::Adopted { technician, epoch: 3, seq: None }),
        ("820e83<tec>0302", Event::Adopted { technician, epoch: 3, seq: Some(2) }),
        ("821831818183<tec>010d", Event::AlsoOffered { invited: invited() }),
        ("82183282<tec>02", Event::Switched { technician, seq: 2 }),
        (
            "821833838183<tec>010d03f5",
            Event::OthersReleased { invited: invited(), epoch: 3, were_asked: true },
        ),
        ("820f8103", Event::Kept { answers: 3 }),
        (
            "82182083<tec>82030100",
            Event::AlertReached { technician, offer, reach: Reach::Delivered },
        ),
        ("82182083<tec>82030101", Event::AlertReached { technician, offer, reach: Reach::Seen }),
    ]);
}

#[test]
fn of_a_ticket_that_somebody_ordered() {
    use ticket::Event;
    let (technician, by, due) = (technician(), Party::Operator("op".into()), NOON);
    let pause = Pause { reason: PauseReason::Parts, text: "no".into(), minutes: 30 };
    let note = Note {
        number: 7,
        from: NoteFrom::Customer,
        to: Reader::Technician,
        id: MESSAGE,
        text: "hi".into(),
        enclosure: None,
    };
    let taken_back = |was_promised, displaced_by| Event::TakenBack {
        technician,
        was_promised,
        is_excluded: was_promised,
        displaced_by,
    };
    are_frozen(&[
        (
            "8209828204818300626e6f181e<noon>",
            Event::Progressed { progress: Progress::Paused(pause), due },
        ),
        ("820982820580<noon>", Event::Progressed { progress: Progress::Resumed, due }),
        (
            "821083820480820081626f70<noon>",
            Event::Ordered {
                order: Order::Pin,
                by: by.clone(),
                at: NOON,
                id: None,
                is_above: None,
            },
        ),
        (
            "821084820480820081626f70<noon><msg>",
            Event::Ordered {
                order: Order::Pin,
                by: by.clone(),
                at: NOON,
                id: Some(MESSAGE.into()),
                is_above: None,
            },
        ),
        (
            "821085820180820081626f70<noon>f6f5",
            Event::Ordered { order: Order::Resume, by, at: NOON, id: None, is_above: Some(true) },
        ),
        ("821181<noon>", Event::Held { until: NOON }),
        ("821283<tec>f5f5", taken_back(true, None)),
        ("821284<tec>f4f4<tkt>", taken_back(false, Some(ticket()))),
        ("821383<tec>03<noon>", Event::Assigned { technician, epoch: 3, due }),
        ("821480", Event::Reopened),
        ("8218348214<noon>", Event::EtaChanged { eta_min: 20, due }),
        ("821782<tkt><noon>", Event::Grouped { parent: ticket(), due }),
        ("82181881<noon>", Event::ParentAsked { due }),
        ("82181981<noon>", Event::ParentLives { due }),
        ("82181a81<tkt>", Event::ChildJoined { child: ticket() }),
        ("82181b81<tkt>", Event::ChildLeft { child: ticket() }),
        ("82181c82<tkt>01", Event::ChildAnswered { child: ticket(), word: ParentWord::Done }),
        ("821581850782008001<msg>626869", Event::Noted(note)),
        ("821682<msg>626e6f", Event::OrderRefused { id: MESSAGE, why: "no".into() }),
    ]);
}

fn invited() -> Vec<Invited> {
    vec![Invited { technician: technician(), seq: 1, distance_m: 13 }]
}

#[test]
fn of_a_desk() {
    use desk::Event;
    let (ticket, technician, choice) = (ticket(), technician(), choice());
    let summary = desk::Summary {
        on_shift: true,
        skills: vec![Skill::new(11, 4)],
        home: PLACE,
        capacity: 2,
        circumstances: None,
    };
    are_frozen(&[
        ("820082<tec>84f581820b04<place>02", Event::TechnicianChanged { id: technician, summary }),
        (
            "820184<tkt><tec>848186<tec>01020304058182<tec>02090604",
            Event::Chosen {
                ticket,
                technician,
                choice: choice.clone(),
                question: 4,
                offer: None,
                at: None,
                assigned: None,
            },
        ),
        (
            "820188<tkt><tec>848186<tec>01020304058182<tec>02090604f6f6f61903df",
            Event::Chosen {
                ticket,
                technician,
                choice: choice.clone(),
                question: 4,
                offer: None,
                at: None,
                assigned: Some(991),
            },
        ),
        (
            "820283<tkt>848186<tec>01020304058182<tec>02090604",
            Event::NobodyFits { ticket, choice: choice.clone(), question: 4 },
        ),
        ("820381<tkt>", Event::TakenBack { ticket }),
        ("82048107", Event::Reconciled { promotion: 7 }),
        ("820583<tkt><tec>04", Event::Given { ticket, technician, question: 4, place: None }),
        (
            "820584<tkt><tec>04<place>",
            Event::Given { ticket, technician, question: 4, place: Some(PLACE) },
        ),
        ("820c82<tkt><place>", Event::Moved { ticket, place: PLACE }),
    ]);
    let how = How {
        mode: Mode::Batched,
        eligible: 2,
        room: 3,
        competing: 4,
        rivals: vec![Rival { ticket, technician }],
        displaced: Some(ticket),
        pace: None,
    };
    let together = Choice { how: Some(how), ..choice.clone() };
    let offer =
        Some(desk::Offer { category: 11, priority: 3, at: NOON, life_s: None, place: None });
    let need = Need::plain(11, 1, PLACE, vec![]);
    let (at, pace) = (None, None);
    let displaced = desk::Displaced { ticket, technician, until: NOON };
    are_frozen(&[
        (
            "820185<tkt><tec>858186<tec>01020304058182<tec>0209068601020304\
             8182<tkt><tec><tkt>04830b03<noon>",
            Event::Chosen {
                ticket,
                technician,
                choice: together,
                question: 4,
                offer,
                at,
                assigned: None,
            },
        ),
        ("821480", Event::Gathered),
        (
            "821585<tkt>840b01<place>8004<noon><noon>",
            Event::Waits {
                ticket,
                need: need.clone(),
                question: 4,
                at: NOON,
                due: NOON,
                pace,
                is_unfilled: None,
            },
        ),
        (
            "821587<tkt>840b01<place>8004<noon><noon>f6f5",
            Event::Waits {
                ticket,
                need,
                question: 4,
                at: NOON,
                due: NOON,
                pace,
                is_unfilled: Some(true),
            },
        ),
        ("821681<noon>", Event::Closes { due: NOON }),
        ("821782<tkt>83<tkt><tec><noon>", Event::Displacing { by: ticket, displaced }),
    ]);
    are_read(&[
        (
            "820183<tkt><tec>848186<tec>01020304058182<tec>020906",
            Event::Chosen {
                ticket,
                technician,
                choice: choice.clone(),
                question: 0,
                offer: None,
                at: None,
                assigned: None,
            },
        ),
        (
            "820282<tkt>848186<tec>01020304058182<tec>020906",
            Event::NobodyFits { ticket, choice, question: 0 },
        ),
    ]);
}
