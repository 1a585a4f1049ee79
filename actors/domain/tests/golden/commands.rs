//! Each command of each aggregate, as entities tell each other.

use fieldmesh_domain::{
    Command, TimerName, authority, customer, desk,
    message::{
        Act, AlertBody, Amendment, Answer, CustomerActBody, NoteBody, NoteFrom, ResponseBody,
    },
    placement, registration,
    selection::Need,
    technician::{self, Phase, Shift, Skill},
    ticket::{self, Order, ParentWord, Party, Progress, Reach, Reader, RefusalReason},
};

use crate::{
    HASH, MESSAGE, NOON, OFFER, PLACE, are_frozen, are_read, choice, customer, request, technician,
    ticket,
};

const TIMER: TimerName = TimerName::Deadline;

#[test]
fn to_a_customer() {
    use customer::Command as Customer;
    let request = Customer::Request {
        message_id: MESSAGE,
        content_hash: HASH,
        body: request(),
        received_at: NOON,
        is_counted: None,
    };
    are_frozen(&[
        (
            "82008363416461<place>02",
            Customer::Register { name: "Ada".into(), location: PLACE, tier: 2, zone: None },
        ),
        ("820180", Customer::LoseDevice),
        ("820980", Customer::FindDevice),
        ("82038209420102", Customer::PublishKeys { serial: 9, bundle: vec![1, 2] }),
        ("820484<msg><hash>860b0c0102<place>646c65616b<noon>", request),
        ("820581<tkt>", Customer::TicketClosed { ticket: ticket() }),
        ("820680", Customer::Suspend { by: None }),
        ("820780", Customer::Resume { by: None }),
        ("8208820008", Customer::Timer { name: TIMER, generation: 8 }),
        (
            "820a83<msg><hash>82<tkt>820180",
            Customer::Act { message_id: MESSAGE, content_hash: HASH, body: act() },
        ),
        ("820b81<tkt>", Customer::TicketReopened { ticket: ticket() }),
    ]);
}

fn act() -> CustomerActBody {
    CustomerActBody { ticket: ticket(), act: Act::Confirm }
}

#[test]
fn to_a_technician() {
    use technician::Command as Technician;
    let (ticket, offer) = (ticket(), OFFER);
    let register = Technician::Register {
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
    let body = ResponseBody { ticket, offer, answer: Answer::Accept { eta_min: 20 } };
    let (from, text) = (NoteFrom::Customer, "hi".to_owned());
    let note = NoteBody { ticket, from, number: 7, text, change: None, enclosure: None };
    are_frozen(&[
        ("82008562426f81820b04<place>0200", register),
        ("820180", Technician::LoseDevice),
        ("820a80", Technician::FindDevice),
        ("82038209420102", Technician::PublishKeys { serial: 9, bundle: vec![1, 2] }),
        ("820480", Technician::GoOnShift),
        ("820580", Technician::GoOffShift),
        (
            "82068189<tkt>8203010b0c01<place>0d646c65616b<noon>",
            Technician::Reserve { alert: alert.clone() },
        ),
        ("820782<tkt>820301", Technician::Release { ticket, offer }),
        ("820882<msg>83<tkt>82030182008114", Technician::Answer { message_id: MESSAGE, body }),
        ("8209820008", Technician::Timer { name: TIMER, generation: 8 }),
        ("820b8107", Technician::Reconcile { promotion: 7 }),
        (
            "820c8289<tkt>8203010b0c01<place>0d646c65616b<noon>02",
            Technician::Keep { alert: alert.clone(), phase: Phase::EnRoute, answers: None },
        ),
        (
            "820c8389<tkt>8203010b0c01<place>0d646c65616b<noon>0203",
            Technician::Keep { alert, phase: Phase::EnRoute, answers: Some(3) },
        ),
        ("820d8282030184<tkt>82008007626869", Technician::Note { offer, body: note }),
    ]);
}

#[test]
fn to_a_ticket() {
    use ticket::Command as Ticket;
    let (technician, offer, choice) = (technician(), OFFER, choice());
    let (reason, progress) = (RefusalReason::Late, Progress::OnSite);
    let held = Ticket::Held {
        technician,
        offer,
        phase: Phase::EnRoute,
        name: "Bo".into(),
        eta_min: 20,
        question: 3,
    };
    let by = Party::Operator("op".into());
    let (customer, message_id, body) = (customer(), MESSAGE, request());
    let (tier, triage, terms, wishes, background, counted) = (2, None, None, None, None, None);
    let open = Ticket::Open {
        customer,
        message_id,
        body,
        tier,
        triage,
        terms,
        wishes,
        background,
        counted,
    };
    are_frozen(&[
        ("820084<cus><msg>860b0c0102<place>646c65616b02", open),
        (
            "820183<tec>848186<tec>01020304058182<tec>02090604",
            Ticket::Offer { technician, choice: choice.clone(), question: 4 },
        ),
        (
            "820282848186<tec>01020304058182<tec>02090604",
            Ticket::NobodyFits { choice: choice.clone(), question: 4 },
        ),
        ("820383<tec>82030104", Ticket::Refused { technician, offer, reason }),
        (
            "820484<tec>82030162426f14",
            Ticket::Accept { technician, offer, name: "Bo".into(), eta_min: 20 },
        ),
        ("820583<tec>820301820180", Ticket::Progress { technician, offer, progress }),
        ("820680", Ticket::Cancel),
        ("820780", Ticket::Confirm),
        ("8208820008", Ticket::Timer { name: TIMER, generation: 8, marks: None }),
        ("8208830008f5", Ticket::Timer { name: TIMER, generation: 8, marks: Some(true) }),
        ("82098107", Ticket::Reconcile { promotion: 7 }),
        ("820a86<tec>8203010262426f1403", held),
        (
            "820b83820480820081626f70<msg>",
            Ticket::Order { order: Order::Pin, by: by.clone(), id: MESSAGE, marks: None },
        ),
        (
            "820b84820480820081626f70<msg>f5",
            Ticket::Order { order: Order::Pin, by, id: MESSAGE, marks: Some(true) },
        ),
        ("820c82<tkt>04", Ticket::Displace { by_ticket: ticket(), question: 4 }),
        (
            "820d84<tec>820301<msg>626869",
            Ticket::Write { technician, offer, id: MESSAGE, text: "hi".into(), enclosure: None },
        ),
        ("820e81<tkt>", Ticket::ChildAsks { child: ticket() }),
        ("820f81<tkt>", Ticket::ChildLeaves { child: ticket() }),
        ("82181883<tec>82030114", Ticket::Eta { technician, offer, eta_min: 20 }),
        ("821082<tkt>02", Ticket::ParentSays { parent: ticket(), word: ParentWord::Gone }),
        ("821783<tec>82030101", Ticket::AlertReached { technician, offer, reach: Reach::Seen }),
    ]);
    are_read(&[
        (
            "820182<tec>848186<tec>01020304058182<tec>020906",
            Ticket::Offer { technician, choice: choice.clone(), question: 0 },
        ),
        ("820281848186<tec>01020304058182<tec>020906", Ticket::NobodyFits { choice, question: 0 }),
    ]);
}

#[test]
fn orders_of_people() {
    let reason = || "no".to_owned();
    let amendment = Amendment { text: None, priority: Some(2), location: None };
    are_frozen(&[
        ("820082<noon>626e6f", Order::Hold { until: NOON, reason: reason() }),
        ("820180", Order::Resume),
        ("820281626e6f", Order::Cancel { reason: reason() }),
        ("820382<tec>626e6f", Order::Reassign { to: Some(technician()), reason: reason() }),
        ("820382f6626e6f", Order::Reassign { to: None, reason: reason() }),
        ("820480", Order::Pin),
        ("820580", Order::Unpin),
        ("82068182f602", Order::Amend(amendment)),
        ("820781626e6f", Order::Reopen { reason: reason() }),
        ("820880", Order::Confirm),
        ("820981626e6f", Order::Object { reason: reason() }),
        ("820b81<tkt>", Order::Group { parent: ticket() }),
        ("820c80", Order::Ungroup),
        (
            "820a8201626869",
            Order::Message { to: Reader::Technician, text: "hi".into(), enclosure: None },
        ),
    ]);
    are_frozen(&[
        ("820081626f70", Party::Operator("op".into())),
        ("820181<cus>", Party::Customer(customer())),
    ]);
}

#[test]
fn to_a_desk() {
    use desk::Command as Desk;
    let (id, ticket) = (technician(), ticket());
    let skills = vec![Skill::new(11, 4)];
    let summary =
        desk::Summary { on_shift: true, skills, home: PLACE, capacity: 2, circumstances: None };
    let need = Need::plain(11, 1, PLACE, vec![id]);
    let pace = None;
    are_frozen(&[
        ("820082<tec>84f581820b04<place>02", Desk::Technician { id, summary }),
        (
            "820183<tkt>840b01<place>81<tec>04",
            Desk::Match { ticket, need: need.clone(), question: 4, pace },
        ),
        ("820281<tkt>", Desk::Done { ticket }),
        ("8203820008", Desk::Timer { name: TIMER, generation: 8 }),
        ("82048107", Desk::Reconcile { promotion: 7 }),
        ("820583<tkt><tec>04", Desk::Given { ticket, technician: id, question: 4, place: None }),
        (
            "820584<tkt><tec>04<place>",
            Desk::Given { ticket, technician: id, question: 4, place: Some(PLACE) },
        ),
        ("820c82<tkt><place>", Desk::Moved { ticket, place: PLACE }),
        ("821480", Desk::Gather),
    ]);
    let asked = Desk::Match { ticket, need, question: 0, pace };
    are_read(&[("820182<tkt>840b01<place>81<tec>", asked)]);
}

#[test]
fn to_any_entity() {
    let readmit = registration::Command::Readmit { by: "op".into() };
    let to_authority = authority::Command::Timer { name: TIMER, generation: 8 };
    let to_placement = placement::Command::Timer { name: TIMER, generation: 8 };
    are_frozen(&[
        ("820081820680", Command::Customer(customer::Command::Suspend { by: None })),
        ("820181820480", Command::Technician(technician::Command::GoOnShift)),
        ("820281820680", Command::Ticket(ticket::Command::Cancel)),
        ("820381820281<tkt>", Command::Desk(desk::Command::Done { ticket: ticket() })),
        ("820481820881626f70", Command::Registration(readmit)),
        ("8205818202820008", Command::Authority(to_authority)),
        ("8206818201820008", Command::Placement(to_placement)),
    ]);
}
