//! A calendar file as a roster: each event is a shift.
//!
//! Events that recur each week or day without an end become rows, so that the roster goes on after the
//! time that is looked at. For each date of that time the shifts are those that the file has: where the rows
//! have others, the date gets an override.
//!
//! **Invariants:** for [`DAYS`] the roster is worked when the events of the file take place, whatever rows
//! it has; what cannot be said as a shift is refused with the event's name. **Not here:** reading the file
//! (`fieldmesh_calendar::ical`).

use std::collections::BTreeMap;

use fieldmesh_calendar::{
    civil::{Date, TimeOfDay, Weekdays},
    ical::{Bound, End, Event, File, Frequency, Moment, Occurrence, OccurrenceError, occurrences},
    interval::{DAY_MS, UnixMs},
    roster::{Override, Roster, Row},
    shift::Shift,
    zone::{Rules, ZoneError},
};

/// Days that are looked at: a year and some. What does not recur each week has to be set again by then.
pub const DAYS: u64 = 380;
/// Days on each side of a date in which its shifts lie, whatever the zone.
const DAYS_AROUND: u64 = 3;

/// Why a calendar file is no roster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    #[error(transparent)]
    Occurrences(#[from] OccurrenceError),
    #[error("the zone of the file: {0}")]
    Zone(#[from] ZoneError),
    #[error("the event {name} on {date} is of whole days; give it the hours that are worked")]
    WholeDay { name: String, date: Date },
    #[error("the event {name} on {date} does not start and end on a minute; move it")]
    Seconds { name: String, date: Date },
    #[error("the event {name} on {date} takes longer than a day; make several of it")]
    TooLong { name: String, date: Date },
    #[error(
        "the event {name} on {date} starts or ends in an hour that the clocks of {zone} show twice, \
         or not; move it by an hour"
    )]
    Fold { name: String, date: Date, zone: String },
}

/// The roster that a file has from an instant on.
///
/// # Errors
/// The first event that is no shift.
pub fn roster_of(file: &File, from: UnixMs) -> Result<Roster, CalendarError> {
    let (_, rules) = file.zone.rules()?;
    let first = from.0 / DAY_MS;
    let (start, end) = (UnixMs(first * DAY_MS), UnixMs((first + DAYS) * DAY_MS));
    let mut dates: BTreeMap<Date, Vec<Shift>> = BTreeMap::new();
    for occurrence in occurrences(file, start, end)?.iter().filter(|one| one.end > one.start) {
        let (date, shift) = shift_of(occurrence, file, &rules)?;
        dates.entry(date).or_default().push(shift);
    }
    let mut roster = Roster::new(file.zone.clone());
    roster.rows = file.events.iter().filter_map(|event| row_of(event, file)).collect();
    // The first and the last date may be cut off by the time that is looked at.
    for day in first + 1..first + DAYS - 1 {
        let date = Date::from_days(u32::try_from(day).unwrap_or(u32::MAX));
        let mut wanted = dates.remove(&date).unwrap_or_default();
        let mut planned: Vec<Shift> = roster.shifts_on(date).into_iter().cloned().collect();
        for shifts in [&mut wanted, &mut planned] {
            shifts.sort_by_key(|shift| (shift.start, shift.end));
        }
        if wanted != planned {
            let what = if wanted.is_empty() { Override::Off } else { Override::Shifts(wanted) };
            roster.overrides.insert(date, what);
        }
    }
    Ok(roster)
}

/// Seconds after midnight as a time of day; none within a minute.
fn time(second: u32) -> Option<TimeOfDay> {
    let minute = u16::try_from(second / 60).ok()?;
    let is_whole = second.is_multiple_of(60);
    TimeOfDay::new(minute / 60, minute % 60).filter(|_| is_whole)
}

fn shift_of(one: &Occurrence, file: &File, rules: &Rules) -> Result<(Date, Shift), CalendarError> {
    let (date, second) = rules.wall(one.start);
    let (end_date, end_second) = rules.wall(one.end);
    let name = if one.summary.is_empty() { &one.uid } else { &one.summary };
    let name = format!("{name:?}");
    if one.is_all_day {
        return Err(CalendarError::WholeDay { name, date });
    }
    let Some((start, end)) = time(second).zip(time(end_second)) else {
        return Err(CalendarError::Seconds { name, date });
    };
    let overnight = end_date.days() == date.days() + 1;
    let is_short = end_date == date || (overnight && end <= start);
    if !is_short {
        return Err(CalendarError::TooLong { name, date });
    }
    let shift = Shift { overnight, ..Shift::day(start, end) };
    if worked(file, date, &shift) != Some((one.start, one.end)) {
        return Err(CalendarError::Fold { name, date, zone: file.zone.to_string() });
    }
    Ok((date, shift))
}

/// When a shift of that date is worked.
fn worked(file: &File, date: Date, shift: &Shift) -> Option<(UnixMs, UnixMs)> {
    let mut roster = Roster::new(file.zone.clone());
    roster.overrides.insert(date, Override::Shifts(vec![shift.clone()]));
    let midnight = UnixMs(u64::from(date.days()) * DAY_MS);
    let start = UnixMs(midnight.0.saturating_sub(DAYS_AROUND * DAY_MS));
    let end = midnight.plus(DAYS_AROUND * DAY_MS);
    let worked = roster.schedule().ok()?.intervals(start, end).ok()?;
    worked.first().map(|one| (one.start, one.end))
}

/// The row of an event that recurs for ever on the wall of the file's zone.
fn row_of(event: &Event, file: &File) -> Option<Row> {
    let rule = event.rule.as_ref().filter(|rule| rule.interval == 1)?;
    let Moment::Wall { date, second, zone } = &event.start else { return None };
    if event.cancelled
        || event.replaces.is_some()
        || rule.bound != Bound::Never
        || *zone != file.zone
    {
        return None;
    }
    let (end_days, end_second) = match &event.end {
        End::At(Moment::Wall { date: end, second, zone: end_zone }) if end_zone == zone => {
            (end.days().checked_sub(date.days())?, *second)
        }
        End::After { days, seconds } => {
            let end = second + seconds;
            (days + end / 86_400, end % 86_400)
        }
        End::At(_) => return None,
    };
    let (start, end) = time(*second).zip(time(end_second))?;
    let shift = Shift { overnight: end_days == 1, ..Shift::day(start, end) };
    let is_short = (end_days == 0 && start < end) || (end_days == 1 && end <= start);
    let days = match (&rule.days, rule.frequency) {
        (Some(days), _) => *days,
        (None, Frequency::Daily) => Weekdays::EVERY_DAY,
        (None, Frequency::Weekly) => Weekdays::new([date.weekday()])?,
    };
    is_short.then_some(Row { days, shift, from: Some(*date), until: None })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_calendar::{
        ical::{File, export, import, shifts},
        shift::Break,
        zone::Zone,
    };

    use super::*;

    fn read(events: &str) -> Result<Roster, CalendarError> {
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//a//b\r\n{events}END:VCALENDAR\r\n"
        );
        let text = text.replace('\n', "\r\n").replace("\r\r", "\r");
        roster_of(&imported(text.as_bytes()), at("2026-03-01"))
    }

    fn imported(text: &[u8]) -> File {
        import(text, &berlin()).unwrap()
    }

    fn berlin() -> Zone {
        Zone::new("Europe/Berlin").unwrap()
    }

    fn at(date: &str) -> UnixMs {
        UnixMs(u64::from(Date::parse(date).unwrap().days()) * DAY_MS)
    }

    const NIGHTS: &str = "BEGIN:VEVENT\nUID:a\nDTSTAMP:20260101T000000Z\n\
        DTSTART;TZID=Europe/Berlin:20260302T220000\nDTEND;TZID=Europe/Berlin:20260303T060000\n\
        RRULE:FREQ=WEEKLY;BYDAY=MO,TU\nEXDATE;TZID=Europe/Berlin:20260309T220000\nEND:VEVENT\n";

    #[test]
    fn what_recurs_is_a_row_and_what_differs_a_date() {
        let roster = read(NIGHTS).unwrap();
        let [row] = &roster.rows[..] else { panic!("{roster:?}") };
        assert_eq!((row.days, row.shift.overnight), (Weekdays::parse("MO,TU").unwrap(), true));
        let left_out = Date::parse("2026-03-09").unwrap();
        assert_eq!(roster.overrides, [(left_out, Override::Off)].into());
    }

    #[test]
    fn what_is_no_shift_is_refused() {
        for (good, bad, word) in [
            (
                "DTSTART;TZID=Europe/Berlin:20260302T220000",
                "DTSTART;TZID=Europe/Berlin:20260302T220010",
                "minute",
            ),
            (
                "DTEND;TZID=Europe/Berlin:20260303T060000",
                "DTEND;TZID=Europe/Berlin:20260304T060000",
                "longer than a day",
            ),
        ] {
            let error = read(&NIGHTS.replace(good, bad)).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let day = "BEGIN:VEVENT\nUID:a\nDTSTAMP:20260101T000000Z\nDTSTART;VALUE=DATE:20260302\nEND:VEVENT\n";
        assert!(matches!(read(day), Err(CalendarError::WholeDay { .. })));
    }

    /// What one cluster exports another takes, in the nights when the clocks change too.
    #[test]
    fn an_exported_roster_is_worked_at_the_same_times() {
        let time = |text| TimeOfDay::parse(text).unwrap();
        let mut roster = Roster::new(berlin());
        let mut shift = Shift::night(time("22:00"), time("06:00"));
        shift.breaks.push(Break { start: time("01:00"), end: time("01:30") });
        roster.rows.push(Row::weekly(Weekdays::EVERY_DAY, shift));
        let (start, end) = (at("2026-03-01"), at("2027-03-05"));
        let schedule = roster.schedule().unwrap();
        let file = shifts(&schedule, start, end, "t", "s").unwrap();
        let again = import(export(&file, start).unwrap().as_bytes(), &berlin()).unwrap();
        let again = roster_of(&again, start).unwrap();
        let (from, until) = (at("2026-03-04"), at("2027-02-01"));
        let wanted = schedule.intervals(from, until).unwrap();
        assert_eq!(again.schedule().unwrap().intervals(from, until).unwrap(), wanted);
    }
}
