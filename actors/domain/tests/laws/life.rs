//! Any word about a technician's life, and anything that could become of it.

use std::collections::BTreeMap;

use fieldmesh_calendar::{
    civil::{Date, TimeOfDay, Weekdays},
    roster::{Override, Roster, Row},
    shift::{Break, Shift},
    zone::Zone,
};
use fieldmesh_domain::{
    customer,
    selection::ShiftTime,
    technician::{
        life::{Revision, Step, Word},
        roster::ByHand,
        swap::{Ended, Given, Lent},
    },
    time::Millis,
};
use proptest::{collection::vec, option, prelude::*};

use crate::arbitrary::{location, message_id, millis, skills, technician_id, text};

/// Zones with and without changes of the clocks, half an hour of change among them.
const ZONES: [&str; 5] =
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"];
/// 2026-03-01: both changes of the clocks of a year lie behind it.
pub(crate) const FIRST_DAY: u32 = 20_513;

pub(crate) fn date() -> impl Strategy<Value = Date> {
    (0_u32..300).prop_map(|day| Date::from_days(FIRST_DAY + day))
}

fn time(minutes: u16) -> TimeOfDay {
    TimeOfDay::new(minutes / 60 % 24, minutes % 60).unwrap()
}

/// A shift that is right, of a quarter of an hour to half a day, perhaps with a break, which may be its
/// beginning or its end.
pub(crate) fn shift() -> impl Strategy<Value = Shift> {
    (0_u16..96, 1_u16..48, option::of((0_u16..48, 1_u16..8)), option::of(1_u16..4)).prop_map(
        |(start, length, pause, skill)| {
            let (start, length) = (start * 15, length * 15);
            let breaks = pause.into_iter().filter_map(|(from, minutes)| {
                let (from, until) = (from * 15, from * 15 + minutes * 15);
                let one = Break { start: time(start + from), end: time(start + until) };
                (until <= length).then_some(one)
            });
            Shift {
                start: time(start),
                end: time(start + length),
                overnight: start + length >= 24 * 60,
                breaks: breaks.collect(),
                zone: None,
                skill: skill.filter(|skill| *skill == 1),
            }
        },
    )
}

pub(crate) fn zone() -> impl Strategy<Value = Zone> {
    (0..ZONES.len()).prop_map(|number| Zone::new(ZONES[number]).unwrap())
}

/// A roster that nothing is wrong with, but that rows may overlap.
pub(crate) fn roster() -> impl Strategy<Value = Roster> {
    let days =
        (1_u8..128).prop_map(|bits| Weekdays::new((0..7).filter(|day| bits >> day & 1 == 1)));
    let row = (days, shift()).prop_map(|(days, shift)| Row::weekly(days.unwrap(), shift));
    let one =
        prop_oneof![Just(Override::Off), shift().prop_map(|shift| Override::Shifts(vec![shift])),];
    let dates = vec((date(), one), 0..4);
    (zone(), vec(row, 0..3), dates, vec(date(), 0..2)).prop_map(|(zone, rows, dates, holidays)| {
        let (overrides, holidays) = (dates.into_iter().collect(), holidays.into_iter().collect());
        Roster { zone, rows, overrides, holidays }
    })
}

fn revision() -> impl Strategy<Value = Revision> {
    let stock = vec(("[a-c]{0,2}", 0_u16..3), 0..3).prop_map(BTreeMap::from_iter);
    (option::of(skills()), option::of(location()), option::of(0_u16..3), option::of(stock))
        .prop_map(|(skills, home, capacity, stock)| Revision {
            skills,
            home,
            capacity,
            stock,
            name: None,
        })
}

/// What an operator may say of a customer, right or not.
pub(crate) fn revised() -> impl Strategy<Value = customer::Revision> {
    (option::of("[ab]{0,1}"), option::of(location()), option::of(0_u8..7))
        .prop_map(|(name, location, tier)| customer::Revision { name, location, tier })
}

fn given() -> impl Strategy<Value = Given> {
    (message_id(), date(), technician_id()).prop_map(|(swap, date, to)| Given {
        swap,
        date,
        to,
        by: "op".into(),
    })
}

fn lent() -> impl Strategy<Value = Lent> {
    (message_id(), date(), technician_id(), vec(shift(), 0..2))
        .prop_map(|(swap, date, from, shifts)| Lent { swap, date, from, shifts })
}

pub(crate) fn word() -> impl Strategy<Value = Word> {
    prop_oneof![
        3 => option::of(roster()).prop_map(|roster| Word::SetRoster { roster, by: "op".into() }),
        2 => revision().prop_map(Word::Revise),
        1 => millis().prop_map(|since| Word::NotHeard { since }),
        1 => Just(Word::HeardAgain),
        1 => (0_u64..3).prop_map(|until| Word::Certified { until }),
        2 => given().prop_map(Word::GiveShift),
        2 => lent().prop_map(Word::TakeShift),
        2 => (message_id(), technician_id(), option::of(text()))
            .prop_map(|(swap, by, refused)| Word::ShiftAnswered { swap, by, refused }),
        1 => (message_id(), any::<bool>())
            .prop_map(|(swap, is_done)| Word::ShiftSettled { swap, is_done }),
        1 => Just(Word::Suspend { by: "op".into() }),
        1 => Just(Word::Resume { by: "op".into() }),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let shift_time = vec((millis(), millis()), 0..2).prop_map(|breaks| {
        let ends = breaks.last().map(|(_, until): &(Millis, Millis)| *until);
        ShiftTime { ends, breaks }
    });
    let ended = prop_oneof![
        Just(Ended::Done),
        text().prop_map(Ended::Refused),
        Just(Ended::Lapsed),
        Just(Ended::Dropped),
    ];
    prop_oneof![
        option::of(roster()).prop_map(|roster| Step::RosterSet { roster, by: "op".into() }),
        (millis(), millis(), option::of(shift_time)).prop_map(|(at, due, shift)| Step::Planned {
            at,
            due,
            shift
        }),
        option::of(option::of(millis()))
            .prop_map(|until| Step::OverrodeRoster(until.map(|until| ByHand { until }))),
        revision().prop_map(Step::Revised),
        millis().prop_map(|since| Step::WentSilent { since }),
        Just(Step::HeardAgain),
        option::of(any::<u64>()).prop_map(|until| Step::Certified { until }),
        (given(), millis()).prop_map(|(given, due)| Step::ShiftOffered { given, due }),
        (message_id(), ended).prop_map(|(swap, ended)| Step::SwapEnded { swap, ended }),
        lent().prop_map(|lent| {
            let taken = Override::Shifts(lent.shifts.clone());
            Step::ShiftTaken { lent, taken }
        }),
        (lent(), text()).prop_map(|(lent, why)| Step::ShiftRefused { lent, why }),
        (message_id(), any::<bool>())
            .prop_map(|(swap, is_done)| Step::ShiftSettled { swap, is_done }),
        (message_id(), technician_id()).prop_map(|(swap, by)| Step::LateSwapRefused { swap, by }),
        Just(Step::Suspended { by: "op".into() }),
        Just(Step::Resumed { by: "op".into() }),
    ]
}
