//! Instants, civil times and rosters for the other tests.

use fieldmesh_calendar::{
    civil::{Date, TimeOfDay, Weekdays},
    interval::{Interval, UnixMs},
    roster::{Roster, Row},
    shift::{Break, Shift},
    zone::Zone,
};

pub(crate) const HOUR: u64 = 3_600_000;

pub(crate) fn at(text: &str) -> UnixMs {
    let at: jiff::Timestamp = text.parse().unwrap();
    UnixMs(u64::try_from(at.as_millisecond()).unwrap())
}

pub(crate) fn date(text: &str) -> Date {
    Date::parse(text).unwrap()
}

pub(crate) fn time(text: &str) -> TimeOfDay {
    TimeOfDay::parse(text).unwrap()
}

pub(crate) fn zone(name: &str) -> Zone {
    Zone::new(name).unwrap()
}

pub(crate) fn berlin(rows: Vec<Row>) -> Roster {
    Roster { rows, ..Roster::new(zone("Europe/Berlin")) }
}

pub(crate) fn nights() -> Roster {
    berlin(vec![Row::weekly(Weekdays::EVERY_DAY, Shift::night(time("22:00"), time("06:00")))])
}

pub(crate) fn office() -> Roster {
    let mut shift = Shift::day(time("08:00"), time("17:00"));
    shift.breaks.push(Break { start: time("12:00"), end: time("12:30") });
    berlin(vec![Row::weekly(Weekdays::MONDAY_TO_FRIDAY, shift)])
}

pub(crate) fn worked(roster: &Roster, start: &str, end: &str) -> Vec<Interval> {
    roster.schedule().unwrap().intervals(at(start), at(end)).unwrap()
}
