//! Technicians' rosters, swaps and means, and customers' wishes, as they are stored and sent.

use fieldmesh_calendar::{
    civil::{Date, TimeOfDay, Weekdays},
    roster::{Override, Roster, Row},
    shift::Shift,
    zone::Zone,
};
use fieldmesh_domain::{
    customer::{self, Customer},
    desk::{self, Summary},
    integration::Reported,
    selection::{Away, Candidate, Circumstances, Exclusion, Need, ShiftTime, Wishes},
    technician::{
        self, Duty, Skill, Technician,
        life::{Revision, Step, Word},
        roster::{ByHand, Rostered},
        swap::{Ended, Given, Giving, Lent, Swaps, Taking},
    },
    ticket,
};

use crate::{MESSAGE, NOON, PLACE, are_frozen, customer, request, technician, ticket};

fn shift() -> Shift {
    let time = |text| TimeOfDay::parse(text).unwrap();
    Shift { skill: Some(7), ..Shift::night(time("22:00"), time("06:00")) }
}

fn date() -> Date {
    Date::parse("2026-12-24").unwrap()
}

fn roster() -> Roster {
    let mut roster = Roster::new(Zone::new("Europe/Berlin").unwrap());
    roster.rows.push(Row::weekly(Weekdays::MONDAY_TO_FRIDAY, shift()));
    roster.overrides.insert(date(), Override::Off);
    roster
}

fn given() -> Given {
    Given { swap: MESSAGE, date: date(), to: technician(), by: "op".into() }
}

fn lent() -> Lent {
    Lent { swap: MESSAGE, date: date(), from: technician(), shifts: vec![shift()] }
}

fn shift_time() -> ShiftTime {
    ShiftTime { ends: Some(NOON), breaks: vec![(NOON, NOON)] }
}

fn wishes() -> Wishes {
    Wishes { preferred: [technician()].into(), blocked: [].into() }
}

fn revision() -> Revision {
    Revision {
        skills: Some(vec![Skill { expires: Some(NOON), ..Skill::new(11, 4) }]),
        home: None,
        capacity: Some(2),
        stock: Some([("pump".to_owned(), 3)].into()),
        name: None,
    }
}

#[test]
fn words() {
    use technician::Command::Life;
    let by = "op".to_owned();
    are_frozen(&[
        (
            "821481820082846d4575726f70652f4265726c696e8182181f86190528190168f580f607a119514b82008080626f70",
            Life(Word::SetRoster { roster: Some(roster()), by: by.clone() }),
        ),
        ("821481820082f6626f70", Life(Word::SetRoster { roster: None, by })),
        ("8214818201818481830b04<noon>f602a16470756d7003", Life(Word::Revise(revision()))),
        ("821481820281<noon>", Life(Word::NotHeard { since: NOON })),
        ("821481820380", Life(Word::HeardAgain)),
        ("82148182048107", Life(Word::Certified { until: 7 })),
        ("82148182058184<msg>19514b<tec>626f70", Life(Word::GiveShift(given()))),
        ("82148182068184<msg>19514b<tec>8186190528190168f580f607", Life(Word::TakeShift(lent()))),
        (
            "821481820782<msg><tec>",
            Life(Word::ShiftAnswered { swap: MESSAGE, by: technician(), refused: None }),
        ),
        ("821481820882<msg>f5", Life(Word::ShiftSettled { swap: MESSAGE, is_done: true })),
        ("821481820981626f70", Life(Word::Suspend { by: "op".into() })),
        ("821481820a81626f70", Life(Word::Resume { by: "op".into() })),
    ]);
}

#[test]
fn steps() {
    use technician::Event::Life;
    let by_hand = ByHand { until: Some(NOON) };
    are_frozen(&[
        (
            "821481820082846d4575726f70652f4265726c696e8182181f86190528190168f580f607a119514b82008080626f70",
            Life(Step::RosterSet { roster: Some(roster()), by: "op".into() }),
        ),
        (
            "821481820183<noon><noon>82<noon>8182<noon><noon>",
            Life(Step::Planned { at: NOON, due: NOON, shift: Some(shift_time()) }),
        ),
        ("82148182028181<noon>", Life(Step::OverrodeRoster(Some(by_hand)))),
        ("821481820280", Life(Step::OverrodeRoster(None))),
        ("8214818203818481830b04<noon>f602a16470756d7003", Life(Step::Revised(revision()))),
        ("821481820481<noon>", Life(Step::WentSilent { since: NOON })),
        ("821481820580", Life(Step::HeardAgain)),
        ("82148182068107", Life(Step::Certified { until: Some(7) })),
        ("821481820680", Life(Step::Certified { until: None })),
        (
            "82148182078284<msg>19514b<tec>626f70<noon>",
            Life(Step::ShiftOffered { given: given(), due: NOON }),
        ),
        ("821481820882<msg>820080", Life(Step::SwapEnded { swap: MESSAGE, ended: Ended::Done })),
        (
            "821481820882<msg>820181626e6f",
            Life(Step::SwapEnded { swap: MESSAGE, ended: Ended::Refused("no".into()) }),
        ),
        (
            "82148182098284<msg>19514b<tec>8186190528190168f580f6078201818186190528190168f580f607",
            Life(Step::ShiftTaken { lent: lent(), taken: Override::Shifts(vec![shift()]) }),
        ),
        (
            "821481820a8284<msg>19514b<tec>8186190528190168f580f607626e6f",
            Life(Step::ShiftRefused { lent: lent(), why: "no".into() }),
        ),
        ("821481820b82<msg>f4", Life(Step::ShiftSettled { swap: MESSAGE, is_done: false })),
        ("821481820c82<msg><tec>", Life(Step::LateSwapRefused { swap: MESSAGE, by: technician() })),
        ("821481820d81626f70", Life(Step::Suspended { by: "op".into() })),
        ("821481820e81626f70", Life(Step::Resumed { by: "op".into() })),
    ]);
}

#[test]
fn states() {
    let rostered = Rostered {
        roster: roster(),
        by: "op".into(),
        looked_at: NOON,
        due: NOON,
        shift: Some(shift_time()),
        by_hand: Some(ByHand { until: None }),
    };
    let swaps = Swaps {
        giving: vec![Giving { given: given(), due: NOON }],
        taking: vec![Taking { lent: lent(), before: Some(Override::Off) }],
        ended: vec![(given(), Ended::Lapsed)],
    };
    let technician = Technician {
        rostered: Some(rostered),
        looks: Some(9),
        swaps: Some(swaps),
        stock: Some([("pump".to_owned(), 3)].into()),
        silent_since: Some(NOON),
        certified_until: Some(7),
        ..Technician::default()
    };
    are_frozen(&[(
        "91f460808200000000f4f48200f4a0f686846d4575726f70652f4265726c696e8182181f86190528190168f580f607a119514b82008080626f70<noon><noon>82<noon>8182<noon><noon>800983818284<msg>19514b<tec>626f70<noon>818284<msg>19514b<tec>8186190528190168f580f607820080818284<msg>19514b<tec>626f70820280a16470756d7003<noon>07",
        technician,
    )]);
    are_frozen(&[(
        "880060820000008200f480f68281<tec>80",
        Customer { wishes: Some(wishes()), ..Customer::default() },
    )]);
    are_frozen(&[("08", Duty::Break), ("09", Duty::Unreachable)]);
}

#[test]
fn what_the_desk_knows() {
    let circumstances = Circumstances {
        shift: Some(shift_time()),
        away: Some(Away::Unreachable),
        certified_until: Some(7),
        stock: Some([("pump".to_owned(), 3)].into()),
    };
    let summary = Summary {
        on_shift: true,
        skills: vec![],
        home: PLACE,
        capacity: 2,
        circumstances: Some(circumstances),
    };
    let (id, wishes) = (technician(), Some(wishes()));
    let need = Need { wishes, ..Need::plain(11, 1, PLACE, vec![]) };
    are_frozen(&[
        (
            "820082<tec>85f580<place>028482<noon>8182<noon><noon>0107a16470756d7003",
            desk::Command::Technician { id, summary },
        ),
        (
            "820183<tkt>870b01<place>80f6f68281<tec>8004",
            desk::Command::Match { ticket: ticket(), need, question: 4, pace: None },
        ),
    ]);
    let candidate = Candidate {
        technician: technician(),
        distance_m: 1,
        travel_s: 2,
        load_s: 3,
        over_qualification_s: 4,
        fairness_s: 5,
        preferred_s: Some(6),
        lateness_s: None,
    };
    are_frozen(&[("87<tec>010203040506", candidate)]);
    are_frozen(&[
        ("10", Exclusion::OnBreak),
        ("11", Exclusion::Unreachable),
        ("12", Exclusion::SkillExpired),
        ("13", Exclusion::ShiftEnds),
        ("14", Exclusion::CertificateEnds),
        ("15", Exclusion::Blocked),
    ]);
}

#[test]
fn wishes_on_their_way() {
    let by = "op".to_owned();
    are_frozen(&[(
        "8214828281<tec>80626f70",
        customer::Command::SetPreferences { wishes: wishes(), by: by.clone() },
    )]);
    are_frozen(&[(
        "8214828281<tec>80626f70",
        customer::Event::PreferencesSet { wishes: wishes(), by },
    )]);
    let zone = Some(Zone::new("Europe/Berlin").unwrap());
    are_frozen(&[
        (
            "8215826d4575726f70652f4265726c696e626f70",
            customer::Command::SetZone { zone: zone.clone(), by: "op".into() },
        ),
        ("821582f6626f70", customer::Command::SetZone { zone: None, by: "op".into() }),
    ]);
    let (name, location) = ("Ada".into(), PLACE);
    let register = zone.clone().map(|zone| (zone, "op".into()));
    are_frozen(&[(
        "82008463416461<place>02826d4575726f70652f4265726c696e626f70",
        customer::Command::Register { name, location, tier: 2, zone: register },
    )]);
    are_frozen(&[(
        "8215826d4575726f70652f4265726c696e626f70",
        customer::Event::ZoneSet { zone: zone.clone(), by: "op".into() },
    )]);
    let background = ticket::Background { open_tickets: 1, requests: [2; 4], site: PLACE, zone };
    are_frozen(&[("84018402020202<place>6d4575726f70652f4265726c696e", background)]);
    let (customer, message_id, body) = (customer(), MESSAGE, request());
    let wishes = Some(wishes());
    are_frozen(&[(
        "820086<cus><msg>860b0c0102<place>646c65616b02f68281<tec>80",
        ticket::Command::Open {
            customer,
            message_id,
            body: body.clone(),
            tier: 2,
            triage: None,
            wishes: wishes.clone(),
            terms: None,
            background: None,
            counted: None,
        },
    )]);
    are_frozen(&[(
        "820086<cus><msg>860b0c0102<place>646c65616b<noon>f68281<tec>80",
        ticket::Event::Opened { customer, message_id, body, at: NOON, wishes, counted: None },
    )]);
}

#[test]
fn what_operators_say_of_a_customer_and_ask_for_it() {
    let revision = || customer::Revision { name: Some("Bo".into()), location: None, tier: Some(1) };
    let by = || "op".to_owned();
    let asked = Reported {
        category: 11,
        subcategory: 12,
        impact: 1,
        urgency: 2,
        location: None,
        text: "leak".into(),
    };
    are_frozen(&[
        ("8216828362426ff601626f70", customer::Command::Revise { revision: revision(), by: by() }),
        ("820681626f70", customer::Command::Suspend { by: Some(by()) }),
        ("820781626f70", customer::Command::Resume { by: Some(by()) }),
        (
            "82182083<msg>860b0c0102f6646c65616b626f70",
            customer::Command::Submit { id: MESSAGE, asked, by: by() },
        ),
    ]);
    let (message_id, ticket, body, at) = (MESSAGE, ticket(), request(), NOON);
    are_frozen(&[
        ("8216828362426ff601626f70", customer::Event::Revised { revision: revision(), by: by() }),
        (
            "82182085<msg><tkt>860b0c0102<place>646c65616b<noon>626f70",
            customer::Event::Submitted {
                message_id,
                ticket,
                body: body.clone(),
                at,
                by: by(),
                hash: None,
            },
        ),
        (
            "82182086<msg><tkt>860b0c0102<place>646c65616b<noon>626f7007",
            customer::Event::Submitted { message_id, ticket, body, at, by: by(), hash: Some(7) },
        ),
    ]);
    let submitted = Some(vec![customer::Submission { id: MESSAGE.into(), hash: 7 }]);
    are_frozen(&[(
        "8c0060820000008200f480f6f6f6f6f68182<msg>07",
        Customer { submitted, ..Customer::default() },
    )]);
}

#[test]
fn what_a_ticket_is_counted_by() {
    let (customer, message_id, body) = (customer(), MESSAGE, request());
    let counted = Some(ticket::Counted { category: 11, site: 7 });
    are_frozen(&[(
        "820087<cus><msg>860b0c0102<place>646c65616b<noon>f6f6820b07",
        ticket::Event::Opened {
            customer,
            message_id,
            body: body.clone(),
            at: NOON,
            wishes: None,
            counted,
        },
    )]);
    are_frozen(&[(
        "820089<cus><msg>860b0c0102<place>646c65616b02f6f6f6f6820b07",
        ticket::Command::Open {
            customer,
            message_id,
            body,
            tier: 2,
            triage: None,
            wishes: None,
            terms: None,
            background: None,
            counted,
        },
    )]);
    are_frozen(&[(
        "981e00f6f6f6000000f6608000000000f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6820b07",
        ticket::Ticket { counted, ..ticket::Ticket::default() },
    )]);
}
