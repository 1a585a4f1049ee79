//! Shifts at a time are named, by the place of the later one.

use fieldmesh_calendar::{
    civil::Weekdays,
    fault::{Fault, Place},
    roster::{Override, Roster, Row},
    shift::Shift,
};

use crate::rosters::{berlin, date, time, zone};

fn row(days: &str, shift: Shift) -> Row {
    Row::weekly(Weekdays::parse(days).unwrap(), shift)
}

fn day(start: &str, end: &str) -> Shift {
    Shift::day(time(start), time(end))
}

fn night(start: &str, end: &str) -> Shift {
    Shift::night(time(start), time(end))
}

fn places(roster: &Roster) -> Vec<(Place, Place)> {
    let overlaps = roster.overlaps().into_iter().map(|fault| match fault {
        Fault::Overlaps { place, other } => (place, other),
        other => panic!("{other}"),
    });
    overlaps.collect()
}

#[test]
fn rows_of_a_week_meet_on_their_days_alone() {
    let rows = Place::Row;
    for (one, other, overlap) in [
        (row("MO", day("08:00", "12:00")), row("MO", day("12:00", "16:00")), false),
        (row("MO", day("08:00", "12:01")), row("MO", day("12:00", "16:00")), true),
        (row("MO", day("08:00", "12:00")), row("TU", day("08:00", "12:00")), false),
        (row("MO,WE", day("08:00", "12:00")), row("TU,WE", day("11:00", "15:00")), true),
        (row("TU", night("22:00", "06:00")), row("WE", day("05:59", "09:00")), true),
        (row("TU", night("22:00", "06:00")), row("WE", day("06:00", "09:00")), false),
        // The night that ends on a Monday, whichever of the two stands first.
        (row("SU", night("22:00", "06:00")), row("MO", day("05:00", "09:00")), true),
        (row("MO", day("05:00", "09:00")), row("SU", night("22:00", "06:00")), true),
        (row("SU", night("22:00", "06:00")), row("TU", day("05:00", "09:00")), false),
    ] {
        let found = places(&berlin(vec![one.clone(), other.clone()]));
        let wanted = if overlap { vec![(rows(2), rows(1))] } else { vec![] };
        assert_eq!(found, wanted, "{one:?} and {other:?}");
    }
}

#[test]
fn rows_that_are_never_in_force_together_do_not_meet() {
    let mut rows = vec![row("MO", day("08:00", "12:00")), row("MO", day("08:00", "12:00"))];
    rows[0].until = Some(date("2026-05-31"));
    rows[1].from = Some(date("2026-06-01"));
    assert_eq!(places(&berlin(rows.clone())), []);
    rows[1].from = Some(date("2026-05-31"));
    assert_eq!(places(&berlin(rows)).len(), 1);
}

#[test]
fn shifts_of_a_date_are_compared_and_other_zones_are_not() {
    let mut roster = berlin(vec![]);
    let shifts = vec![day("08:00", "12:00"), day("13:00", "15:00"), day("11:00", "13:00")];
    roster.overrides.insert(date("2026-06-01"), Override::Shifts(shifts));
    let at = |number| Place::Override(date("2026-06-01"), number);
    assert_eq!(places(&roster), [(at(3), at(1))]);
    let abroad = Shift { zone: Some(zone("America/New_York")), ..day("08:00", "12:00") };
    assert_eq!(places(&berlin(vec![row("MO", day("08:00", "12:00")), row("MO", abroad)])), []);
}
