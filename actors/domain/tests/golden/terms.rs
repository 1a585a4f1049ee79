//! The terms of tickets: commands, events, states, rows.

use fieldmesh_calendar::sla::Calendar;
use fieldmesh_domain::{
    IndexRow, TimerName,
    desk::{self, Known, Summary},
    escalation::{Act, Policy, Position, Role, Step},
    selection::{Candidate, Exclusion, Need},
    ticket::{
        Clock, Command, Escalation, Event, Order, Promise, Promises, Silence, Stage, Standing,
        Subject, Target, Terms,
    },
};

use super::{MESSAGE, NOON, PLACE, are_frozen, choice, customer, request, technician, ticket};

fn policy() -> Policy {
    let at_once = Act::Offer { technicians: 3, radius_m: None, at_once: Some(2) };
    are_frozen(&[("82008303f602", at_once)]);
    let offer = Act::Offer { technicians: 2, radius_m: Some(30_000), at_once: None };
    let tell = Act::Tell { role: Role::Dispatcher, name: "duty".into() };
    let step = |act| Step { act, within_s: vec![60, 120] };
    let repeat = Step { act: Act::Repeat { from: 1 }, within_s: vec![] };
    Policy { name: "p".into(), version: 3, steps: vec![step(offer), step(tell), repeat] }
}

fn target() -> Target {
    Target {
        name: "t".into(),
        version: 4,
        respond_ms: Some(5),
        finish_ms: None,
        calendar: Calendar::Always,
    }
}

fn silence() -> Silence {
    Silence { name: "s".into(), version: 5, until: NOON }
}

fn clock() -> Clock {
    Clock { left_ms: 6, since: Some(NOON), due: None, kept_at: None, broken_at: Some(NOON) }
}

fn terms() -> Terms {
    Terms { policy: Some(policy()), target: Some(target()), silence: Some(silence()) }
}

#[test]
fn commands_of_terms() {
    let subject =
        Subject { customer: Some(customer()), category: 11, priority: 2, location: PLACE };
    let (customer, body) = (customer(), request());
    let (message_id, terms) = (MESSAGE, Some(Box::new(terms())));
    let (tier, triage, wishes, background, counted) = (2, None, None, None, None);
    let open = Command::Open {
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
    let timer = |name| Command::Timer { name, generation: 8, marks: None };
    are_frozen(&[
        (
            "820087<cus><msg>860b0c0102<place>646c65616b02f6f6838361700383828200820219753082183c18788282018201646475747982183c18788282028101808561740405f682008083617305<noon>",
            open,
        ),
        (
            "82148284<cus>0b02<place>83617305<noon>",
            Command::Reconsider { subject, silence: Some(silence()) },
        ),
        ("821580", Command::SilencesChanged),
        ("821680", Command::Rearm),
        ("8208820208", timer(TimerName::Escalation)),
        ("8208820308", timer(TimerName::Promise)),
    ]);
    are_frozen(&[("821080", Order::Acknowledge), ("821180", Order::Escalate)]);
    are_frozen(&[("82128114", Order::Eta { eta_min: 20 })]);
    let (to, reason) = (technician(), "no".to_owned());
    are_frozen(&[("821383<tec>03626e6f", Order::Move { to, epoch: 3, reason })]);
    let (radius_m, finish_by) = (Some(7), Some(NOON));
    let need = Need { radius_m, finish_by, ..Need::plain(11, 1, PLACE, vec![]) };
    let (ticket, question) = (ticket(), 4);
    are_frozen(&[(
        "820187<tkt>8a0b01<place>80f6f6f6f607<noon>04f6f6f606",
        desk::Command::Match { ticket, need, question, pace: Some(6) },
    )]);
    let (life_s, opened_at) = (Some(600), Some(NOON));
    let need = Need { life_s, opened_at, ..Need::plain(11, 1, PLACE, vec![]) };
    are_frozen(&[(
        "820183<tkt>8d0b01<place>80f6f6f6f6f6f6f6190258<noon>04",
        desk::Command::Match { ticket, need, question, pace: None },
    )]);
    let (category, priority, at) = (11, 3, NOON);
    are_frozen(&[
        ("840b03<noon>190258", desk::Offer { category, priority, at, life_s, place: None }),
        (
            "850b03<noon>190258<place>",
            desk::Offer { category, priority, at, life_s, place: Some(PLACE) },
        ),
    ]);
}

#[test]
fn events_of_terms() {
    let respond = Some(clock());
    are_frozen(&[
        (
            "82182881838361700383828200820219753082183c18788282018201646475747982183c18788282028101808561740405f682008083617305<noon>",
            Event::TermsSet(terms()),
        ),
        ("821829840102<noon><noon>", Event::Escalated { step: 1, round: 2, due: NOON, at: NOON }),
        ("82182a82626f70<noon>", Event::Answered { by: "op".into(), until: NOON }),
        ("82182b80", Event::Rested),
        ("82182c818506<noon>f6f6<noon>", Event::Clocked { respond, finish: None }),
        ("82182d8201<noon>", Event::Broken { promise: Promise::Finish, at: NOON }),
        ("82182e8183617305<noon>", Event::Silenced(silence())),
        ("82182f81<noon>", Event::SilenceAsked { due: NOON }),
        ("82183081<noon>", Event::Rearmed { due: NOON }),
    ]);
    let (ticket, technician, choice, question) = (ticket(), technician(), choice(), 4);
    let at = Some(NOON);
    are_frozen(&[(
        "820187<tkt><tec>848186<tec>01020304058182<tec>02090604f6f6<noon>",
        desk::Event::Chosen {
            ticket,
            technician,
            choice,
            question,
            offer: None,
            at,
            assigned: None,
        },
    )]);
}

#[test]
fn states_of_terms() {
    are_frozen(&[(
        "868361700383828200820219753082183c18788282018201646475747982183c18788282028101808201020304<noon>626f70",
        Escalation {
            policy: policy(),
            at: Position { step: 1, round: 2 },
            asked: 3,
            generation: 4,
            due: Some(NOON),
            answered_by: Some("op".into()),
        },
    )]);
    let (respond, finish) = (Some(clock()), None);
    are_frozen(&[(
        "848561740405f68200808506<noon>f6f6<noon>f607",
        Promises { target: target(), respond, finish, generation: 7 },
    )]);
    let chosen_at = Some(vec![NOON]);
    let (skills, circumstances) = (vec![], None);
    let summary = Summary { on_shift: true, skills, home: PLACE, capacity: 2, circumstances };
    are_frozen(&[(
        "8784f580<place>020107f6f6f681<noon>",
        Known { summary, load: 1, assigned: 7, chosen_at, sites: None },
    )]);
    let standing = Standing {
        due: Some(NOON),
        is_broken: true,
        step: Some(1),
        is_silenced: false,
        is_answered: true,
        overdue_since: None,
    };
    let late = Standing { overdue_since: Some(NOON), ..standing };
    are_frozen(&[("86<noon>f501f4f5<noon>", late)]);
    let row = IndexRow::Ticket {
        id: ticket(),
        state: Stage::Offered,
        priority: 2,
        opened_at: NOON,
        technician: None,
        standing: Some(standing),
        counted: None,
    };
    are_frozen(&[("820089<tkt>0402<noon>f6f6f6f685<noon>f501f4f5", row)]);
    let candidate = Candidate { lateness_s: Some(9), ..choice().candidates[0] };
    are_frozen(&[("8a<tec>0102030405f6f6f609", candidate)]);
    are_frozen(&[("0c", Exclusion::TooFar), ("0d", Exclusion::Paced)]);
}
