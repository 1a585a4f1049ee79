//! When a roster is worked, on the days when clocks change and on others.

use fieldmesh_calendar::{
    civil::{Date, TimeOfDay, Weekdays},
    interval::{DAY_MS, UnixMs, total_ms},
    roster::{LOOK_AHEAD_DAYS, Override, Roster, Row},
    shift::Shift,
};

use crate::rosters::{HOUR, at, berlin, date, nights, office, time, worked, zone};

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
