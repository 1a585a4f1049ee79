//! Rosters: what is worked when, who does it instead, what is stored, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use fieldmesh_calendar::{
    civil::{CivilError, Date, TimeOfDay, Weekdays},
    fault::{Fault, Place},
    interval::{DAY_MS, Interval, UnixMs, merged, total_ms, without},
    roster::{
        EXPAND_DAYS_MAX, ExpandError, HOLIDAYS_MAX, LOOK_AHEAD_DAYS, Override, ROWS_MAX, Roster,
        Row, SwapError, swap,
    },
    shift::{Break, Shift},
    zone::{Zone, ZoneError},
};
use proptest::prelude::*;

const HOUR: u64 = 3_600_000;

fn at(text: &str) -> UnixMs {
    let at: jiff::Timestamp = text.parse().unwrap();
    UnixMs(u64::try_from(at.as_millisecond()).unwrap())
}

fn date(text: &str) -> Date {
    Date::parse(text).unwrap()
}

fn time(text: &str) -> TimeOfDay {
    TimeOfDay::parse(text).unwrap()
}

fn zone(name: &str) -> Zone {
    Zone::new(name).unwrap()
}

fn berlin(rows: Vec<Row>) -> Roster {
    Roster { rows, ..Roster::new(zone("Europe/Berlin")) }
}

fn nights() -> Roster {
    berlin(vec![Row::weekly(Weekdays::EVERY_DAY, Shift::night(time("22:00"), time("06:00")))])
}

fn office() -> Roster {
    let mut shift = Shift::day(time("08:00"), time("17:00"));
    shift.breaks.push(Break { start: time("12:00"), end: time("12:30") });
    berlin(vec![Row::weekly(Weekdays::MONDAY_TO_FRIDAY, shift)])
}

fn worked(roster: &Roster, start: &str, end: &str) -> Vec<Interval> {
    roster.schedule().unwrap().intervals(at(start), at(end)).unwrap()
}

#[test]
fn a_night_shift_has_seven_hours_in_spring_and_nine_in_autumn() {
    let hours = |start, end| total_ms(&worked(&nights(), start, end)) / HOUR;
    assert_eq!(hours("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), 7);
    assert_eq!(hours("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"), 9);
    assert_eq!(hours("2026-06-24T12:00:00Z", "2026-06-25T12:00:00Z"), 8);
}

#[test]
fn a_gap_moves_to_its_end_and_a_fold_is_worked_whole() {
    let early =
        berlin(vec![Row::weekly(Weekdays::EVERY_DAY, Shift::day(time("02:30"), time("04:00")))]);
    let spring = worked(&early, "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z");
    assert_eq!(
        (spring[0].start, spring[0].end),
        (at("2026-03-29T01:00:00Z"), at("2026-03-29T02:00:00Z"))
    );
    let autumn = worked(&early, "2026-10-25T00:00:00Z", "2026-10-25T12:00:00Z");
    assert_eq!(
        (autumn[0].start, autumn[0].end),
        (at("2026-10-25T00:30:00Z"), at("2026-10-25T03:00:00Z"))
    );
    let inside = Shift::day(time("02:15"), time("02:45"));
    let inside = berlin(vec![Row::weekly(Weekdays::EVERY_DAY, inside)]);
    assert!(worked(&inside, "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z").is_empty());
    assert_eq!(
        total_ms(&worked(&inside, "2026-10-25T00:00:00Z", "2026-10-25T12:00:00Z")),
        HOUR * 3 / 2
    );
}

#[test]
fn questions_about_an_instant_are_answered_for_a_timer() {
    let roster = office();
    let schedule = roster.schedule().unwrap();
    let (before, during) = (at("2026-06-01T05:59:59Z"), at("2026-06-01T06:00:00Z"));
    assert!(!schedule.is_on(before) && schedule.is_on(during));
    assert_eq!(schedule.time_left(before), None);
    assert_eq!(schedule.time_left(during), Some(4 * HOUR));
    assert_eq!(schedule.next_change(before), Some(during));
    assert_eq!(schedule.next_change(during), Some(at("2026-06-01T10:00:00Z")));
    assert!(!schedule.is_on(at("2026-06-01T10:15:00Z")), "it is a break");
    // Friday's end, then Monday's start.
    assert_eq!(schedule.next_change(at("2026-06-05T15:00:00Z")), Some(at("2026-06-08T06:00:00Z")));
}

#[test]
fn a_day_that_a_zone_left_out_is_not_worked() {
    // Samoa went from 29 to 31 December 2011.
    let mut roster = Roster::new(zone("Pacific/Apia"));
    let day = Shift::day(time("08:00"), time("16:00"));
    let night = Shift::night(time("22:00"), time("06:00"));
    roster.rows =
        vec![Row::weekly(Weekdays::EVERY_DAY, day), Row::weekly(Weekdays::EVERY_DAY, night)];
    let worked = worked(&roster, "2011-12-29T17:00:00Z", "2011-12-31T12:00:00Z");
    let times: Vec<(String, String)> =
        worked.iter().map(|one| (one.start.to_string(), one.end.to_string())).collect();
    let pair =
        |start: &str, end: &str| (format!("2011-12-{start}:00Z"), format!("2011-12-{end}:00Z"));
    assert_eq!(
        times,
        [
            pair("29T18:00", "30T02:00"),
            // From 22:00 on the 29th over the missing day's night to 06:00 on the 31st.
            pair("30T08:00", "30T16:00"),
            pair("30T18:00", "31T02:00"),
            pair("31T08:00", "31T12:00"),
        ]
    );
}

#[test]
fn the_last_night_has_its_end_in_the_year_after() {
    let roster = nights();
    let schedule = roster.schedule().unwrap();
    let (start, end) = (at("2199-12-31T12:00:00Z"), at("2200-01-05T12:00:00Z"));
    let worked = schedule.intervals(start, end).unwrap();
    assert_eq!(worked.len(), 1, "{worked:?}");
    assert_eq!(worked[0].end, at("2200-01-01T05:00:00Z"));
    assert_eq!(schedule.next_change(worked[0].end), None);
    assert_eq!(roster.shifts_on(Date::from_days(u32::MAX)).len(), 1, "it is the last date");
}

#[test]
fn looking_ahead_ends() {
    let now = at("2026-06-01T06:00:00Z");
    let never = berlin(vec![]);
    assert_eq!(never.schedule().unwrap().next_change(now), None);
    let always = Shift::night(TimeOfDay::MIDNIGHT, TimeOfDay::MIDNIGHT);
    let always = berlin(vec![Row::weekly(Weekdays::EVERY_DAY, always)]);
    let schedule = always.schedule().unwrap();
    assert_eq!(schedule.next_change(now), None);
    assert_eq!(schedule.time_left(now), Some(LOOK_AHEAD_DAYS * DAY_MS));
    let mut late = office();
    late.rows[0].from = Some(date("2027-07-05"));
    assert_eq!(late.schedule().unwrap().next_change(now), Some(at("2027-07-05T06:00:00Z")));
    late.rows[0].from = Some(date("2027-07-12"));
    assert_eq!(late.schedule().unwrap().next_change(now), None, "more than 400 days");
    for end in [UnixMs(0), UnixMs(u64::MAX)] {
        assert_eq!(late.schedule().unwrap().next_change(end), None);
        assert!(!late.schedule().unwrap().is_on(end));
    }
}

#[test]
fn an_override_comes_before_a_holiday_and_that_before_the_pattern() {
    let mut roster = office();
    roster.holidays.insert(date("2026-06-01"));
    roster.holidays.insert(date("2026-06-02"));
    let short = Shift::day(time("10:00"), time("12:00"));
    roster.overrides.insert(date("2026-06-02"), Override::Shifts(vec![short]));
    roster.overrides.insert(date("2026-06-03"), Override::Off);
    let hours: Vec<u64> = (1..=4)
        .map(|day| {
            let start = at(&format!("2026-06-0{day}T00:00:00Z"));
            let worked = roster.schedule().unwrap().intervals(start, start.plus(DAY_MS)).unwrap();
            total_ms(&worked) / (HOUR / 2)
        })
        .collect();
    assert_eq!(hours, [0, 4, 0, 17]);
}

#[test]
fn rows_begin_and_end_with_their_dates_and_overlaps_are_merged() {
    let mut roster = office();
    roster.rows[0].from = Some(date("2026-06-02"));
    roster.rows[0].until = Some(date("2026-06-03"));
    let late = Shift::day(time("16:00"), time("18:00"));
    roster.rows.push(Row::weekly(Weekdays::parse("TU,WE,TH").unwrap(), late));
    let worked = worked(&roster, "2026-06-01T00:00:00Z", "2026-06-05T00:00:00Z");
    let starts: Vec<String> = worked.iter().map(|one| one.start.to_string()).collect();
    assert_eq!(
        starts,
        [
            "2026-06-02T06:00:00Z",
            "2026-06-02T10:30:00Z",
            "2026-06-03T06:00:00Z",
            "2026-06-03T10:30:00Z",
            "2026-06-04T14:00:00Z"
        ]
    );
    assert_eq!(worked[1].end, at("2026-06-02T16:00:00Z"));
}

#[test]
fn every_fault_is_told_with_its_place() {
    let mut roster = office();
    roster.zone = minicbor::decode(&minicbor::to_vec("Europe/Berln").unwrap()).unwrap();
    let row = |shift| Row::weekly(Weekdays::EVERY_DAY, shift);
    roster.rows.push(row(Shift::day(time("22:00"), time("06:00"))));
    roster.rows.push(row(Shift::day(time("06:00"), time("06:00"))));
    roster.rows.push(row(Shift::night(time("06:00"), time("14:00"))));
    let mut broken = Shift::night(time("22:00"), time("06:00"));
    let one = |start, end| Break { start: time(start), end: time(end) };
    broken.breaks = vec![
        one("01:00", "02:00"),
        one("01:30", "03:00"),
        one("07:00", "07:30"),
        one("04:00", "04:00"),
    ];
    roster.rows.push(Row {
        from: Some(date("2026-06-02")),
        until: Some(date("2026-06-01")),
        ..row(broken)
    });
    let shift =
        Shift { zone: Some(roster.zone.clone()), ..Shift::day(time("09:00"), time("08:00")) };
    roster.overrides.insert(date("2026-06-09"), Override::Shifts(vec![shift]));
    let faults = roster.validate().unwrap_err();
    let text = faults.to_string();
    let expected = [
        "the roster's zone: \"Europe/Berln\" is no zone of the IANA database; is Europe/Berlin meant?",
        "row 2: a shift that ends before it starts, from 22:00 to 06:00; say that it is overnight if it ends on the next day",
        "row 3: a shift that ends before it starts, from 06:00 to 06:00; say that it is overnight if it ends on the next day",
        "row 4: an overnight shift from 06:00 to 14:00 would be longer than a day; leave out that it is overnight, or make two of it",
        "row 5: break 2 starts before the one above it ends; put them in order",
        "row 5: break 3, from 07:00 to 07:30, is not within the shift; move or remove it",
        "row 5: break 4, from 04:00 to 04:00, is not within the shift; move or remove it",
        "the override of 2026-06-09, shift 1: a shift that ends before it starts, from 09:00 to 08:00; say that it is overnight if it ends on the next day",
        "the override of 2026-06-09, shift 1: its zone: \"Europe/Berln\" is no zone of the IANA database; is Europe/Berlin meant?",
        "row 5: it ends on 2026-06-01, before it begins on 2026-06-02; exchange the dates",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert!(matches!(faults.0[1], Fault::EndsBeforeStart(Place::Row(2), _, _)));
}

#[test]
fn sizes_are_bounded() {
    let mut roster = office();
    roster.rows = vec![roster.rows[0].clone(); ROWS_MAX + 1];
    roster.holidays = (1..=201).map(Date::from_days).collect();
    let shifts = vec![Shift::day(time("01:00"), time("02:00")); 9];
    roster.overrides.insert(date("2026-06-09"), Override::Shifts(shifts));
    let faults = roster.validate().unwrap_err();
    assert_eq!(faults.0.len(), 3, "{faults}");
    assert!(faults.to_string().contains(&format!("201 holidays, more than {HOLIDAYS_MAX}")));
    let roster = office();
    let schedule = roster.schedule().unwrap();
    let days = EXPAND_DAYS_MAX;
    assert!(schedule.intervals(UnixMs(0), UnixMs(days * DAY_MS)).is_ok());
    let long = schedule.intervals(UnixMs(0), UnixMs(days * DAY_MS + 1));
    assert_eq!(long, Err(ExpandError::TooLong { days: days + 1, max: days }));
    let (start, end) = (UnixMs(5), UnixMs(4));
    assert_eq!(schedule.intervals(start, end), Err(ExpandError::Reversed { start, end }));
    assert_eq!(schedule.intervals(start, start), Ok(vec![]));
}

#[test]
fn text_that_is_no_date_time_or_zone_is_refused() {
    for text in [
        "2026-02-29",
        "2026-13-01",
        "26-01-01",
        "2026-1-01",
        "2200-01-01",
        "1970-01-01",
        "2026-01-01Z",
        "٢٠٢٦-01-01",
        "+026-01-01",
        "",
    ] {
        assert_eq!(Date::parse(text), Err(CivilError::Date(text.to_owned())), "{text}");
    }
    for text in ["24:00", "23:60", "9:00", "09:00:00", "+9:00", "-1:00", "09.00", "０９:００", ""]
    {
        assert_eq!(TimeOfDay::parse(text), Err(CivilError::Time(text.to_owned())), "{text}");
    }
    for text in ["", "MO,", "mo", "MO TU", "XX", "1MO"] {
        assert!(Weekdays::parse(text).is_err(), "{text}");
    }
    assert_eq!(Weekdays::new([]), None);
    assert_eq!(Weekdays::new([7]), None);
    assert_eq!(Weekdays::new([255]), None);
    for (name, meant) in [
        ("Europe/Berlim", Some("Europe/Berlin")),
        ("Berlin", Some("Europe/Berlin")),
        ("new york", Some("America/New_York")),
        ("W. Europe Standard Time", None),
        ("Factory", None),
        ("+02:00", None),
        ("", None),
        ("../../etc/localtime", None),
    ] {
        let nearest = meant.map(str::to_owned);
        let error = ZoneError::Unknown { name: name.to_owned(), nearest };
        assert_eq!(Zone::new(name), Err(error));
    }
    assert!(Zone::new(&"x".repeat(100_000)).unwrap_err().to_string().len() < 200);
    assert_eq!(zone("europe/berlin").name(), "Europe/Berlin");
    assert_eq!(zone("utc"), Zone::utc());
}

/// A stored roster with everything that can be in one.
fn golden() -> Roster {
    let mut roster = office();
    roster.rows[0].from = Some(date("2026-01-01"));
    let night = Shift::night(time("22:00"), time("06:00"));
    roster.rows.push(Row::weekly(Weekdays::parse("SA,SU").unwrap(), night.clone()));
    roster.holidays.insert(date("2026-12-25"));
    roster.overrides.insert(date("2026-12-24"), Override::Off);
    let lent = Shift { zone: Some(zone("Europe/Lisbon")), ..night };
    roster.overrides.insert(date("2026-12-31"), Override::Shifts(vec![lent]));
    roster
}

#[test]
fn stored_bytes_stay_readable() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let bytes = minicbor::to_vec(golden()).unwrap();
    assert_eq!(hex(&bytes), GOLDEN);
    assert_eq!(minicbor::decode::<Roster>(&bytes).unwrap(), golden());
}

const GOLDEN: &str = "846d4575726f70652f4265726c696e8283181f841901e01903fcf481821902d01902ee194fe6\
82186084190528190168f580a219514b8200801951528201818185190528190168f5806d4575726f70652f4c6973626f6e\
8119514c";

#[test]
fn stored_values_out_of_bounds_are_refused() {
    assert!(minicbor::decode::<Date>(&minicbor::to_vec(0u32).unwrap()).is_err());
    assert!(minicbor::decode::<Date>(&minicbor::to_vec(84_006u32).unwrap()).is_err());
    assert!(minicbor::decode::<TimeOfDay>(&minicbor::to_vec(1_440u16).unwrap()).is_err());
    assert!(minicbor::decode::<Weekdays>(&minicbor::to_vec(0u8).unwrap()).is_err());
    assert!(minicbor::decode::<Weekdays>(&minicbor::to_vec(128u8).unwrap()).is_err());
}

#[test]
fn a_swap_is_refused_when_somebody_would_work_twice() {
    let (nights, office) = (nights(), office());
    let (nights, office) = (nights.schedule().unwrap(), office.schedule().unwrap());
    let (monday, sunday) = (date("2026-06-01"), date("2026-05-31"));
    assert_eq!(swap(sunday, &office, &nights), Err(SwapError::NothingToGive(sunday)));
    assert_eq!(
        swap(monday, &nights, &nights),
        Err(SwapError::TakerWorks(at("2026-06-01T20:00:00Z")))
    );
    assert!(swap(monday, &nights, &office).is_ok());
    // A night until nine, and the taker begins at eight on the day after.
    let long =
        berlin(vec![Row::weekly(Weekdays::EVERY_DAY, Shift::night(time("22:00"), time("09:00")))]);
    let long = long.schedule().unwrap();
    assert_eq!(
        swap(monday, &long, &office),
        Err(SwapError::TakerWorks(at("2026-06-02T06:00:00Z")))
    );
    let both = berlin(vec![
        Row::weekly(Weekdays::EVERY_DAY, Shift::night(time("22:00"), time("06:00"))),
        Row::weekly(Weekdays::EVERY_DAY, Shift::day(time("05:00"), time("07:00"))),
    ]);
    let free = berlin(vec![]);
    let (both, free) = (both.schedule().unwrap(), free.schedule().unwrap());
    assert_eq!(swap(monday, &both, &free), Err(SwapError::GiverStays(at("2026-06-01T03:00:00Z"))));
}

fn shifts_of_a_day() -> impl Strategy<Value = Vec<Shift>> {
    // Between two hours of the day, so that a person's own shifts do not overlap.
    prop::collection::vec((0u16..20, 1u16..4, any::<bool>()), 0..3).prop_map(|shifts| {
        let mut free = 0;
        let mut result = Vec::new();
        for (start, length, has_break) in shifts {
            let start = start.max(free);
            let end = (start + length).min(23);
            if start >= end {
                continue;
            }
            let hour = |hour, minute| TimeOfDay::new(hour, minute).unwrap();
            let mut shift = Shift::day(hour(start, 0), hour(end, 0));
            if has_break {
                shift.breaks.push(Break { start: hour(start, 15), end: hour(start, 45) });
            }
            result.push(shift);
            free = end;
        }
        result
    })
}

fn roster() -> impl Strategy<Value = Roster> {
    let zones = prop::sample::select(vec![
        "Europe/Berlin",
        "America/New_York",
        "Pacific/Apia",
        "Australia/Lord_Howe",
        "Asia/Kolkata",
    ]);
    let week = prop::collection::vec(shifts_of_a_day(), 7);
    (zones, week, any::<bool>()).prop_map(|(name, week, is_off)| {
        let mut roster = Roster::new(zone(name));
        for (weekday, shifts) in (0u8..).zip(week) {
            let days = Weekdays::new([weekday]).unwrap();
            roster.rows.extend(shifts.into_iter().map(|shift| Row::weekly(days, shift)));
        }
        if is_off {
            roster.overrides.insert(Date::from_days(20_537), Override::Off);
        }
        roster
    })
}

fn month(roster: &Roster) -> Vec<Interval> {
    let schedule = roster.schedule().unwrap();
    schedule.intervals(UnixMs(20_500 * DAY_MS), UnixMs(20_580 * DAY_MS)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_swap_conserves_hours_and_nobody_works_twice(
        giver in roster(), taker in roster(), day in 20_530u32..20_545,
    ) {
        let date = Date::from_days(day);
        let outcome = swap(date, &giver.schedule().unwrap(), &taker.schedule().unwrap());
        let (mut giver_after, mut taker_after) = (giver.clone(), taker.clone());
        let Ok(swap) = outcome else {
            let refused = matches!(
                outcome,
                Err(SwapError::NothingToGive(_) | SwapError::TakerWorks(_))
            );
            prop_assert!(refused, "{:?}", outcome);
            return Ok(());
        };
        giver_after.overrides.insert(date, swap.giver);
        taker_after.overrides.insert(date, swap.taker);
        let (before, after) = ([month(&giver), month(&taker)], [month(&giver_after), month(&taker_after)]);
        let sum = |all: &[Vec<Interval>; 2]| all.iter().map(|one| total_ms(one)).sum::<u64>();
        prop_assert_eq!(sum(&before), sum(&after), "hours are conserved");
        let given = without(&before[0], &after[0]);
        let taken = without(&after[1], &before[1]);
        prop_assert_eq!(&given, &taken, "what one gives is what the other takes");
        prop_assert!(total_ms(&given) > 0);
        prop_assert_eq!(without(&given, &before[1]), given, "the taker was free");
    }

    #[test]
    fn a_question_about_an_instant_agrees_with_the_expansion(
        roster in roster(), at in 20_530 * DAY_MS..20_545 * DAY_MS,
    ) {
        let (at, month) = (UnixMs(at), month(&roster));
        let schedule = roster.schedule().unwrap();
        let current = month.iter().find(|one| one.contains(at));
        prop_assert_eq!(schedule.is_on(at), current.is_some());
        prop_assert_eq!(schedule.time_left(at), current.map(|one| one.end.since(at)));
        let edges = month.iter().flat_map(|one| [one.start, one.end]);
        let next = edges.filter(|edge| *edge > at).min();
        prop_assert_eq!(schedule.next_change(at), next);
    }

    #[test]
    fn an_expansion_in_two_parts_is_the_expansion(
        roster in roster(), mut three in prop::array::uniform3(20_500 * DAY_MS..20_580 * DAY_MS),
    ) {
        three.sort_unstable();
        let [a, b, c] = three.map(UnixMs);
        let schedule = roster.schedule().unwrap();
        let (mut parts, rest) =
            (schedule.intervals(a, b).unwrap(), schedule.intervals(b, c).unwrap());
        parts.extend(rest);
        prop_assert_eq!(merged(parts), schedule.intervals(a, c).unwrap());
    }

    #[test]
    fn what_is_stored_is_read_again(roster in roster()) {
        let bytes = minicbor::to_vec(&roster).unwrap();
        prop_assert_eq!(minicbor::decode::<Roster>(&bytes).unwrap(), roster);
    }

    #[test]
    fn bytes_from_anywhere_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(roster) = minicbor::decode::<Roster>(&bytes) {
            _ = roster.validate();
        }
    }
}
