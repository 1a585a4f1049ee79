//! The states, as snapshots keep them.

use fieldmesh_calendar::zone::Zone;
use fieldmesh_domain::{
    customer::{Customer, Standing},
    desk::{Board, Desk, Displaced, Known, Offer, Summary, Waiting},
    device::Device,
    message::{NoteFrom, Pause, PauseReason},
    selection::Need,
    technician::{Holding, Phase, Review, Shift, Skill, Technician},
    ticket::{
        Invited, Note, Notes, Obeyed, Others, Parent, Promoted, Reach, Reader, Stage, Ticket,
    },
};

use crate::{
    MESSAGE, NOON, OFFER, PLACE, are_frozen, are_read, customer, request, technician, ticket,
};

fn device() -> Device {
    Device { bundle_serial: 9, present: true }
}

#[test]
fn of_a_customer() {
    let active = Customer {
        standing: Standing::Active,
        name: "Ada".into(),
        location: PLACE,
        tier: 2,
        device: device(),
        open: [ticket()].into(),
        acted_by: None,
        wishes: None,
        cases: None,
        recent: None,
        zone: None,
        submitted: None,
    };
    let acting = Customer { acted_by: Some(MESSAGE), ..active.clone() };
    let asking = Customer { recent: Some(vec![NOON]), ..active.clone() };
    let zoned = Customer { zone: Some(Zone::new("Europe/Berlin").unwrap()), ..active.clone() };
    are_frozen(&[
        ("860060820000008200f480", Customer::default()),
        ("8b0363416461<place>028209f581<tkt>f6f6f6f66d4575726f70652f4265726c696e", zoned),
        ("860363416461<place>028209f581<tkt>", active),
        ("870363416461<place>028209f581<tkt><msg>", acting),
        ("890363416461<place>028209f581<tkt>f6f681<noon>", asking),
    ]);
}

#[test]
fn of_a_technician() {
    let (phase, answered_by, eta_min) = (Phase::EnRoute, Some(MESSAGE), None);
    let holding = Holding { offer: OFFER, phase, expires: NOON, answered_by, eta_min, noted: None };
    let promised = Holding { eta_min: Some(20), ..holding.clone() };
    let noted = Holding { noted: Some([7].into()), ..holding };
    let busy = Technician {
        registered: true,
        name: "Bo".into(),
        skills: vec![Skill::new(11, 4)],
        home: PLACE,
        capacity: 2,
        shift: Shift::Always,
        on_shift: true,
        suspended: false,
        device: device(),
        holdings: [(ticket(), holding)].into(),
        ..Technician::default()
    };
    let review =
        Review { promotion: 7, generation: 3, doubtful: [(ticket(), 3)].into(), until: NOON };
    let promoted = Technician {
        holdings: [(ticket(), promised)].into(),
        review: Some(review),
        ..busy.clone()
    };
    let written = Technician { holdings: [(ticket(), noted)].into(), ..busy.clone() };
    are_frozen(&[
        ("8af460808200000000f4f48200f4a0", Technician::default()),
        ("8af562426f81820b04<place>0200f5f48209f5a1<tkt>8482030102<noon><msg>", busy),
        (
            "8bf562426f81820b04<place>0200f5f48209f5a1<tkt>8582030102<noon><msg>14840703a1<tkt>03<noon>",
            promoted,
        ),
        ("8af562426f81820b04<place>0200f5f48209f5a1<tkt>8682030102<noon><msg>f68107", written),
    ]);
}

#[test]
fn of_a_ticket() {
    let offered = Ticket {
        stage: Stage::Offered,
        customer: Some(customer()),
        message_id: Some(MESSAGE),
        body: Some(request()),
        priority: 2,
        opened_at: NOON,
        epoch: 3,
        technician: Some(technician()),
        technician_name: "Bo".into(),
        asked: vec![technician()],
        generation: 4,
        tries: 5,
        due: NOON,
        question: 6,
        promoted: None,
        pinned: None,
        pause: None,
        notes: None,
        ended_at: None,
        parent: None,
        children: None,
        wishes: None,
        obeyed: None,
        escalation: None,
        promises: None,
        silence: None,
        ruled: None,
        others: None,
        reached: None,
        counted: None,
        overdue_since: None,
        is_above: None,
    };
    let (parent, children) =
        (Some(Parent { id: ticket(), has_answered: true }), Some([ticket()].into()));
    let grouped = Ticket { parent, children, ..offered.clone() };
    let note = Note {
        number: 7,
        from: NoteFrom::Operator("op".into()),
        to: Reader::Both,
        id: MESSAGE,
        text: "hi".into(),
        enclosure: None,
    };
    let paused = Pause { reason: PauseReason::Parts, text: "pump".into(), minutes: 30 };
    let ordered = Ticket {
        pinned: Some(true),
        pause: Some(paused),
        notes: Some(Notes { count: 7, last: vec![note] }),
        ended_at: Some(NOON),
        ..offered.clone()
    };
    let awaited = Some(NOON);
    let promoted = Ticket {
        promoted: Some(Promoted { promotion: 7, floor: 300, awaited }),
        ..offered.clone()
    };
    let obeyed = Some(vec![Obeyed { id: MESSAGE.into(), hash: 7 }]);
    let text = "981800f6f6f6000000f6608000000000f6f6f6f6f6f6f6f6f6 8182<msg>07".replace(' ', "");
    are_frozen(&[(text.as_str(), Ticket { obeyed, ..Ticket::default() })]);
    let invited = vec![Invited { technician: technician(), seq: 1, distance_m: 13 }];
    let others = Some(Others { seq: 2, invited });
    let text = format!("981c00f6f6f6000000f6608000000000{}82028183<tec>010d", "f6".repeat(13));
    are_frozen(&[(text.as_str(), Ticket { others, ..Ticket::default() })]);
    let reached = Some([(technician(), Reach::Seen)].into());
    let text = format!("981d00f6f6f6000000f6608000000000{}a1<tec>01", "f6".repeat(14));
    are_frozen(&[(text.as_str(), Ticket { reached, ..Ticket::default() })]);
    are_frozen(&[
        ("8e00f6f6f6000000f6608000000000", Ticket::default()),
        (
            "8e04<cus><msg>860b0c0102<place>646c65616b02<noon>03<tec>62426f81<tec>0405<noon>06",
            offered.clone(),
        ),
        (
            "8f04<cus><msg>860b0c0102<place>646c65616b02<noon>03<tec>62426f81<tec>0405<noon>06830719012c<noon>",
            promoted,
        ),
        (
            "9304<cus><msg>860b0c0102<place>646c65616b02<noon>03<tec>62426f81<tec>0405<noon>06f6f583006470756d70181e82078185078202\
             81626f7002<msg>626869<noon>",
            ordered,
        ),
        (
            "9504<cus><msg>860b0c0102<place>646c65616b02<noon>03<tec>62426f81<tec>0405<noon>06f6f6f6f6f682<tkt>f581<tkt>",
            grouped,
        ),
    ]);
    are_read(&[(
        "8d04<cus><msg>860b0c0102<place>646c65616b02<noon>03<tec>62426f81<tec>0405<noon>",
        Ticket { question: 0, ..offered },
    )]);
}

#[test]
fn of_a_desk() {
    let skills = vec![Skill::new(11, 4)];
    let summary = Summary { on_shift: true, skills, home: PLACE, capacity: 2, circumstances: None };
    let known = Known { summary, load: 1, assigned: 7, chosen_at: None, sites: None };
    let at_work = Known { sites: Some(vec![(ticket(), PLACE)]), ..known.clone() };
    are_frozen(&[("8884f581820b04<place>020107f6f6f6f68182<tkt><place>", at_work)]);
    let giving = Desk {
        technicians: [(technician(), known)].into(),
        given: [(ticket(), technician())].into(),
        answered: [(ticket(), 4)].into(),
        promotion: None,
        board: None,
        claims: None,
    };
    let need = Need::plain(11, 1, PLACE, vec![technician()]);
    let displacing = Some(Displaced { ticket: ticket(), technician: technician(), until: NOON });
    let (pace, is_unfilled) = (None, None);
    let waiting = Waiting { need, question: 4, since: NOON, displacing, pace, is_unfilled };
    let queued = Waiting { displacing: None, is_unfilled: Some(true), ..waiting.clone() };
    let queue = Board { waiting: [(ticket(), queued)].into(), due: NOON, ..Board::default() };
    let offer = Offer { category: 11, priority: 3, at: NOON, life_s: None, place: None };
    let board = Board {
        waiting: [(ticket(), waiting)].into(),
        offers: [(ticket(), offer)].into(),
        generation: 5,
        due: NOON,
        moment: NOON,
        lately: [(11, 6)].into(),
    };
    are_frozen(&[
        ("85a0a0a0f686a0a0000000a0", Desk { board: Some(Board::default()), ..Desk::default() }),
        (
            "85a0a0a0f686a1<tkt>84840b01<place>81<tec>04<noon>83<tkt><tec><noon>a1<tkt>830b03<noon>05<noon><noon>a10b06",
            Desk { board: Some(board), ..Desk::default() },
        ),
        (
            "85a0a0a0f686a1<tkt>86840b01<place>81<tec>04<noon>f6f6f5a000<noon>00a0",
            Desk { board: Some(queue), ..Desk::default() },
        ),
        ("83a0a0a0", Desk::default()),
        ("83a1<tec>8384f581820b04<place>020107a1<tkt><tec>a1<tkt>04", giving.clone()),
        ("84a0a0a007", Desk { promotion: Some(7), ..Desk::default() }),
    ]);
    are_read(&[(
        "82a1<tec>8384f581820b04<place>020107a1<tkt><tec>",
        Desk { answered: [].into(), ..giving },
    )]);
}
