//! Swaps, and the laws of rosters by chance.

use fieldmesh_calendar::{
    civil::{Date, TimeOfDay, Weekdays},
    interval::{DAY_MS, Interval, UnixMs, merged, total_ms, without},
    roster::{Override, Roster, Row, SwapError, swap},
    shift::{Break, Shift},
};
use proptest::prelude::*;

use crate::rosters::{at, berlin, date, nights, office, time, zone};

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
