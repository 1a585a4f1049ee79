//! Recurrence: known cases, and rules by chance against a count day by day.

use fieldmesh_calendar::{
    civil::{DAY_CODES, Date},
    ical::{
        Bound, End, Event, File, Frequency, Moment, OCCURRENCES_MAX, OccurrenceError, Rule, import,
        occurrences,
    },
    interval::{DAY_MS, UnixMs},
};
use proptest::prelude::*;

use crate::events::{at, read, rule, times, with_event, zone};

#[test]
fn a_night_that_recurs_ends_at_six_in_both_nights_of_change() {
    let file = read(&with_event(&[
        "DTSTART;TZID=Europe/Berlin:20260105T220000",
        "DTEND;TZID=Europe/Berlin:20260106T060000",
        "RRULE:FREQ=DAILY",
    ]));
    let spring = times(&file, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    assert_eq!(spring, [("2026-03-28T21:00:00Z".into(), "2026-03-29T04:00:00Z".into())]);
    let autumn = times(&file, "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    assert_eq!(autumn, [("2026-10-24T20:00:00Z".into(), "2026-10-25T05:00:00Z".into())]);
}

#[test]
fn a_duration_in_hours_is_counted_by_the_clock() {
    let file = read(&with_event(&[
        "DTSTART;TZID=Europe/Berlin:20260328T220000",
        "DURATION:PT8H",
        "RRULE:FREQ=DAILY;COUNT=2",
    ]));
    let ends: Vec<String> = times(&file, "2026-03-28T12:00:00Z", "2026-04-09T12:00:00Z")
        .into_iter()
        .map(|(_, end)| end)
        .collect();
    assert_eq!(ends, ["2026-03-29T05:00:00Z", "2026-03-30T04:00:00Z"]);
}

#[test]
fn starts_in_a_gap_and_in_a_fold_are_read_as_the_rfc_has_it() {
    let file = read(&with_event(&[
        "DTSTART;TZID=Europe/Berlin:20260328T023000",
        "DURATION:PT30M",
        "RRULE:FREQ=DAILY",
    ]));
    let start = |from: &str, to: &str| times(&file, from, to)[0].0.clone();
    assert_eq!(start("2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z"), "2026-03-29T01:30:00Z");
    assert_eq!(start("2026-10-25T00:00:00Z", "2026-10-25T12:00:00Z"), "2026-10-25T00:30:00Z");
}

#[test]
fn instances_are_left_out_added_moved_and_cancelled() {
    let master = with_event(&[
        "DTSTART;TZID=Europe/Berlin:20260601T080000",
        "DTEND;TZID=Europe/Berlin:20260601T090000",
        "RRULE:FREQ=WEEKLY;BYDAY=MO,WE;UNTIL=20260610T060000Z",
        "EXDATE;TZID=Europe/Berlin:20260603T080000,20260101T000000",
        "RDATE;TZID=Europe/Berlin:20260605T100000",
        "RDATE:20260601T060000Z",
    ]);
    let moved = "BEGIN:VEVENT\r\nUID:a\r\nRECURRENCE-ID:20260608T060000Z\r\n\
                 DTSTART:20260609T060000Z\r\nDURATION:PT2H\r\nSUMMARY:moved\r\nEND:VEVENT\r\n";
    let cancelled = "BEGIN:VEVENT\r\nUID:a\r\nRECURRENCE-ID;TZID=Europe/Berlin:20260610T080000\r\n\
                     DTSTART:20260610T060000Z\r\nSTATUS:CANCELLED\r\nEND:VEVENT\r\n";
    let text = master.replace("END:VCALENDAR", &format!("{moved}{cancelled}END:VCALENDAR"));
    let file = read(&text);
    let times = times(&file, "2026-05-01T00:00:00Z", "2026-07-01T00:00:00Z");
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        times,
        [
            pair("2026-06-01T06:00:00Z", "2026-06-01T07:00:00Z"),
            pair("2026-06-05T08:00:00Z", "2026-06-05T09:00:00Z"),
            pair("2026-06-09T06:00:00Z", "2026-06-09T08:00:00Z"),
        ]
    );
}

#[test]
fn whole_days_are_days_of_the_files_zone() {
    let file = read(&with_event(&["DTSTART;VALUE=DATE:20260328", "DTEND;VALUE=DATE:20260330"]));
    let found = times(&file, "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z");
    assert_eq!(found, [("2026-03-27T23:00:00Z".into(), "2026-03-29T22:00:00Z".into())]);
    // A day without an end, in a zone whose midnight is missing then.
    let text = with_event(&["DTSTART;VALUE=DATE:20260424", "RRULE:FREQ=DAILY;COUNT=1"]);
    let file = import(text.as_bytes(), &zone("Africa/Cairo")).unwrap();
    let found = times(&file, "2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z");
    assert_eq!(found, [("2026-04-23T22:00:00Z".into(), "2026-04-24T21:00:00Z".into())]);
}

#[test]
fn what_has_no_length_and_what_began_long_before_is_found() {
    let file = read(&with_event(&["DTSTART:20260601T060000Z"]));
    let at_start = times(&file, "2026-06-01T06:00:00Z", "2026-06-02T00:00:00Z");
    assert_eq!(at_start.len(), 1);
    assert!(times(&file, "2026-06-01T05:00:00Z", "2026-06-01T06:00:00Z").is_empty());
    let file = read(&with_event(&[
        "DTSTART:20250601T060000Z",
        "DURATION:P399D",
        "RRULE:FREQ=WEEKLY;COUNT=1",
    ]));
    assert_eq!(times(&file, "2026-06-30T06:00:00Z", "2026-07-30T06:00:00Z").len(), 1);
}

#[test]
fn occurrences_are_bounded() {
    let mut file =
        read(&with_event(&["DTSTART:20000601T060000Z", "RRULE:FREQ=DAILY", "DURATION:P300D"]));
    let event = file.events[0].clone();
    for number in 0..100 {
        file.events.push(Event { uid: number.to_string(), ..event.clone() });
    }
    let (start, end) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    let max = OCCURRENCES_MAX;
    assert_eq!(occurrences(&file, start, end), Err(OccurrenceError::TooMany { start, end, max }));
    let late = at("2028-01-01T00:00:00Z");
    assert!(matches!(occurrences(&file, start, late), Err(OccurrenceError::TooLong { .. })));
    assert!(matches!(occurrences(&file, end, start), Err(OccurrenceError::Reversed { .. })));
    assert_eq!(occurrences(&file, UnixMs(u64::MAX), UnixMs(u64::MAX)), Ok(vec![]));
}

/// The dates of a rule by counting each day from its start, with weeks as lists of days.
fn counted(rule: &Rule, start: Date, last: u32) -> Vec<u32> {
    let weekday = |day: u32| Date::from_days(day).weekday();
    let mut week_of_day = Vec::new();
    let mut week = 0u32;
    for day in start.days()..=last {
        if day > start.days() && weekday(day) == rule.week_start {
            week += 1;
        }
        week_of_day.push(week);
    }
    let mut found = Vec::new();
    for (index, day) in (start.days()..=last).enumerate() {
        let interval = usize::from(rule.interval);
        let is_in = match rule.frequency {
            Frequency::Daily => {
                index % interval == 0 && rule.days.is_none_or(|days| days.contains(weekday(day)))
            }
            Frequency::Weekly => {
                let is_day = match rule.days {
                    Some(days) => days.to_string().contains(DAY_CODES[usize::from(weekday(day))]),
                    None => weekday(day) == start.weekday(),
                };
                usize::try_from(week_of_day[index]).unwrap() % interval == 0 && is_day
            }
        };
        if is_in {
            found.push(day);
        }
    }
    found
}

fn day_rule() -> impl Strategy<Value = (Date, Rule)> {
    let start = (20_000u32..20_400).prop_map(Date::from_days);
    start.prop_flat_map(|start| (Just(start), rule(Moment::Day(start))))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn rules_have_the_dates_that_are_counted((start, rule) in day_rule(), from in 19_990u32..20_900, days in 1u32..200) {
        let mut wanted = counted(&rule, start, from + days);
        match &rule.bound {
            Bound::Never => {}
            Bound::Count(count) => wanted.truncate(usize::try_from(*count).unwrap()),
            Bound::Until(Moment::Day(until)) => wanted.retain(|day| *day <= until.days()),
            Bound::Until(_) => unreachable!("days end with days"),
        }
        wanted.retain(|day| (from..from + days).contains(day));
        let event = Event {
            uid: "a".to_owned(),
            summary: String::new(),
            cancelled: false,
            start: Moment::Day(start),
            end: End::After { days: 1, seconds: 0 },
            rule: Some(rule),
            added: vec![],
            removed: vec![],
            replaces: None,
        };
        let file = File { zone: zone("UTC"), events: vec![event] };
        let ms = |day: u32| UnixMs(u64::from(day) * DAY_MS);
        let found = occurrences(&file, ms(from), ms(from + days)).unwrap();
        let found: Vec<u32> = found.iter().map(|one| u32::try_from(one.start.0 / DAY_MS).unwrap()).collect();
        prop_assert_eq!(found, wanted);
    }
}
