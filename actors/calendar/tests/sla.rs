//! The laws of the clocks of service levels, on calendars, pauses and instants by chance.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use fieldmesh_calendar::{
    civil::{Date, TimeOfDay, Weekdays},
    interval::{DAY_MS, Interval, UnixMs, total_ms},
    roster::{Override, Roster, Row},
    shift::{Break, Shift},
    sla::{
        Calendar, Pause, PauseError, Pauses, RUN_DAYS_MAX, due, elapsed, is_breached, remaining,
    },
    zone::Zone,
};
use proptest::prelude::*;

const HOUR: u64 = 3_600_000;
const ZONES: [&str; 6] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "UTC",
];

fn at(text: &str) -> UnixMs {
    let at: jiff::Timestamp = text.parse().unwrap();
    UnixMs(u64::try_from(at.as_millisecond()).unwrap())
}

fn time(text: &str) -> TimeOfDay {
    TimeOfDay::parse(text).unwrap()
}

fn office() -> Roster {
    let mut roster = Roster::new(Zone::new("Europe/Berlin").unwrap());
    let shift = Shift::day(time("09:00"), time("17:00"));
    roster.rows.push(Row::weekly(Weekdays::MONDAY_TO_FRIDAY, shift));
    roster
}

fn minutes() -> impl Strategy<Value = TimeOfDay> {
    (0u16..24, 0u16..4).prop_map(|(hour, quarter)| TimeOfDay::new(hour, quarter * 15).unwrap())
}

fn shift() -> impl Strategy<Value = Shift> {
    (minutes(), minutes()).prop_map(|(start, end)| {
        if start < end { Shift::day(start, end) } else { Shift::night(start, end) }
    })
}

fn calendar() -> impl Strategy<Value = Calendar> {
    let days = (1u8..128).prop_map(|bits| Weekdays::new((0..7).filter(|d| bits >> d & 1 == 1)));
    let row = (days, shift()).prop_map(|(days, shift)| Row::weekly(days.unwrap(), shift));
    let holidays = prop::collection::btree_set(20_500u32..20_600, 0..8);
    let hours = (prop::sample::select(&ZONES[..]), prop::collection::vec(row, 1..4), holidays);
    let hours = hours.prop_map(|(zone, rows, holidays)| {
        let mut roster = Roster::new(Zone::new(zone).unwrap());
        roster.rows = rows;
        roster.holidays = holidays.into_iter().map(Date::from_days).collect();
        Calendar::Hours(roster)
    });
    prop_oneof![1 => Just(Calendar::Always), 9 => hours]
}

/// Within a hundred days of 2026.
fn instant() -> impl Strategy<Value = UnixMs> {
    (20_500 * DAY_MS..20_600 * DAY_MS).prop_map(UnixMs)
}

fn pauses() -> impl Strategy<Value = Pauses> {
    let pause = (instant(), 0..3 * DAY_MS)
        .prop_map(|(from, length)| Pause { from, until: Some(from.plus(length)) });
    prop::collection::vec(pause, 0..6).prop_map(|pauses| Pauses::new(&pauses).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_elapses_until_due_is_the_target(
        calendar in calendar(), start in instant(), pauses in pauses(), target in 0..200 * HOUR,
    ) {
        let hours = calendar.hours().unwrap();
        let Some(due_at) = due(start, target, &hours, &pauses) else {
            // Open a quarter of an hour a week, it takes more than ten years.
            prop_assert!(elapsed(start, UnixMs(u64::MAX), &hours, &pauses) < target);
            return Ok(());
        };
        prop_assert!(start <= due_at);
        prop_assert_eq!(elapsed(start, due_at, &hours, &pauses), target);
        prop_assert_eq!(remaining(start, due_at, target, &hours, &pauses), 0);
        prop_assert!(!is_breached(start, due_at, target, &hours, &pauses));
        prop_assert!(is_breached(start, due_at.plus(1), target, &hours, &pauses));
        if target > 0 {
            let before = UnixMs(due_at.0 - 1);
            prop_assert_eq!(elapsed(start, before, &hours, &pauses), target - 1, "due is the first");
        }
    }

    #[test]
    fn elapsed_never_falls_and_never_outruns_the_clock(
        calendar in calendar(), pauses in pauses(), mut three in prop::array::uniform3(instant()),
    ) {
        three.sort_unstable();
        let [start, now, later] = three;
        let hours = calendar.hours().unwrap();
        let (first, second) =
            (elapsed(start, now, &hours, &pauses), elapsed(start, later, &hours, &pauses));
        prop_assert!(first <= second);
        prop_assert!(second - first <= later.since(now));
        prop_assert_eq!(elapsed(now, start, &hours, &pauses), 0);
    }

    #[test]
    fn what_elapsed_adds_up(
        calendar in calendar(), pauses in pauses(), mut three in prop::array::uniform3(instant()),
    ) {
        three.sort_unstable();
        let [a, b, c] = three;
        let hours = calendar.hours().unwrap();
        for pauses in [&pauses, &Pauses::none()] {
            let parts = elapsed(a, b, &hours, pauses) + elapsed(b, c, &hours, pauses);
            prop_assert_eq!(parts, elapsed(a, c, &hours, pauses));
        }
    }

    #[test]
    fn a_pause_adds_exactly_its_business_time(
        calendar in calendar(), start in instant(), target in 0..90 * HOUR,
        from in 0..20 * DAY_MS, length in 0..5 * DAY_MS,
    ) {
        let hours = calendar.hours().unwrap();
        let (from, none) = (start.plus(from), Pauses::none());
        let pauses = Pauses::new(&[Pause { from, until: Some(from.plus(length)) }]).unwrap();
        let due_at = due(start, target, &hours, &pauses).unwrap();
        let paused_until = from.plus(length).min(due_at);
        let paused = elapsed(from, paused_until, &hours, &none);
        prop_assert_eq!(elapsed(start, due_at, &hours, &none), target + paused);
        let later = due(start, target + paused, &hours, &none).unwrap();
        prop_assert_eq!(due_at, later);
    }

    #[test]
    fn elapsed_is_the_sum_of_the_open_intervals(
        calendar in calendar(), mut two in prop::array::uniform2(instant()),
    ) {
        two.sort_unstable();
        let Calendar::Hours(roster) = &calendar else { return Ok(()) };
        let schedule = roster.schedule().unwrap();
        let open = schedule.intervals(two[0], two[1]).unwrap();
        let hours = calendar.hours().unwrap();
        prop_assert_eq!(elapsed(two[0], two[1], &hours, &Pauses::none()), total_ms(&open));
    }
}

#[test]
fn a_target_of_four_hours_on_friday_afternoon_is_due_on_monday() {
    let calendar = Calendar::Hours(office());
    let (hours, none) = (calendar.hours().unwrap(), Pauses::none());
    // The clocks are put forward in the night to Sunday.
    let start = at("2026-03-27T14:00:00Z");
    let due_at = due(start, 4 * HOUR, &hours, &none).unwrap();
    assert_eq!(due_at, at("2026-03-30T09:00:00Z"));
    assert_eq!(remaining(start, at("2026-03-28T12:00:00Z"), 4 * HOUR, &hours, &none), 7_200_000);
    assert_eq!(remaining(start, due_at.plus(60_000), 4 * HOUR, &hours, &none), -60_000);
}

#[test]
fn a_target_reached_at_closing_time_is_due_then_and_breached_while_closed() {
    let calendar = Calendar::Hours(office());
    let (hours, none) = (calendar.hours().unwrap(), Pauses::none());
    let start = at("2026-03-27T14:00:00Z");
    let due_at = due(start, 2 * HOUR, &hours, &none).unwrap();
    assert_eq!(due_at, at("2026-03-27T16:00:00Z"));
    assert!(!is_breached(start, due_at, 2 * HOUR, &hours, &none));
    assert!(is_breached(start, due_at.plus(1), 2 * HOUR, &hours, &none));
    assert_eq!(due(at("2026-03-28T10:00:00Z"), 0, &hours, &none), Some(at("2026-03-28T10:00:00Z")));
}

#[test]
fn nothing_is_due_when_the_calendar_never_opens_or_the_pause_never_ends() {
    let mut closed = office();
    closed.rows.clear();
    let mut short = office();
    short.rows[0].until = Some(Date::parse("2026-01-31").unwrap());
    let open_pause =
        Pauses::new(&[Pause { from: at("2026-03-01T00:00:00Z"), until: None }]).unwrap();
    let start = at("2026-03-02T10:00:00Z");
    for (roster, pauses) in
        [(closed, Pauses::none()), (short, Pauses::none()), (office(), open_pause)]
    {
        let calendar = Calendar::Hours(roster);
        let hours = calendar.hours().unwrap();
        assert_eq!(due(start, 1, &hours, &pauses), None);
        assert!(!is_breached(start, UnixMs(u64::MAX), 1, &hours, &pauses));
        assert_eq!(elapsed(start, start.plus(900 * DAY_MS), &hours, &pauses), 0);
    }
}

#[test]
fn a_clock_stops_after_its_bound() {
    let hours = Calendar::Always;
    let (hours, none) = (hours.hours().unwrap(), Pauses::none());
    let most = RUN_DAYS_MAX * DAY_MS;
    assert_eq!(elapsed(UnixMs(0), UnixMs(u64::MAX), &hours, &none), most);
    assert_eq!(due(UnixMs(0), most, &hours, &none), Some(UnixMs(most)));
    assert_eq!(due(UnixMs(0), most + 1, &hours, &none), None);
    assert_eq!(due(UnixMs(u64::MAX), 5, &hours, &none), None);
    assert_eq!(elapsed(UnixMs(u64::MAX), UnixMs(u64::MAX), &hours, &none), 0);
}

#[test]
fn overrides_and_breaks_count_in_opening_hours() {
    let mut roster = office();
    let shift = &mut roster.rows[0].shift;
    shift.breaks.push(Break { start: time("12:00"), end: time("13:00") });
    let date = Date::parse("2026-03-28").unwrap();
    let saturday = Shift::day(time("10:00"), time("12:00"));
    roster.overrides.insert(date, Override::Shifts(vec![saturday]));
    let calendar = Calendar::Hours(roster);
    let hours = calendar.hours().unwrap();
    let (start, end) = (at("2026-03-27T00:00:00Z"), at("2026-03-29T00:00:00Z"));
    assert_eq!(elapsed(start, end, &hours, &Pauses::none()), 9 * HOUR);
}

#[test]
fn pauses_are_refused_with_their_number_and_overlapping_ones_count_once() {
    let pause = |from, until| Pause { from: UnixMs(from), until: Some(UnixMs(until)) };
    let error = Pauses::new(&[pause(0, 5), pause(9, 8)]).unwrap_err();
    assert_eq!(error, PauseError::Reversed { number: 2, from: UnixMs(9), until: UnixMs(8) },);
    let many = vec![pause(0, 1); 367];
    assert_eq!(Pauses::new(&many), Err(PauseError::TooMany { count: 367, max: 366 }));
    let hours = Calendar::Always;
    let hours = hours.hours().unwrap();
    let pauses = Pauses::new(&[pause(30, 60), pause(10, 40), pause(60, 60)]).unwrap();
    assert_eq!(elapsed(UnixMs(0), UnixMs(100), &hours, &pauses), 50);
    let expected = Interval::new(UnixMs(0), UnixMs(60)).unwrap();
    assert_eq!(due(UnixMs(0), 10, &hours, &pauses), Some(UnixMs(10)));
    assert_eq!(due(UnixMs(0), 11, &hours, &pauses), Some(expected.end.plus(1)));
}
