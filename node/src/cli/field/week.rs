//! Weeks of the log: which day a minute is of, who works when, and how much service time passed.
//!
//! Minutes count from the beginning of 1970 in the log's own civil time, which has no zone: no clock
//! changes here. **Invariants:** all is whole minutes; service time never runs backwards. **Not here:**
//! the zones and calendars of the product (`actors/calendar`), which replayed time would not fit.

use std::ops::Range;

use jiff::civil::{DateTime, datetime};

/// A minute of the log's civil time since 1970.
pub(crate) type Minute = u64;

pub(crate) const HOUR: Minute = 60;
const DAY: Minute = 24 * HOUR;
const WEEK: Minute = 7 * DAY;
/// 1970 began on a Thursday: a Monday was three days before.
const MONDAY_BEFORE: Minute = 3 * DAY;
const WORKDAYS: Minute = 5;
/// Service hours of the targets: Monday to Friday.
pub(crate) const SERVICE: Range<Minute> = 8 * HOUR..17 * HOUR;
/// Length of a technician's shift.
pub(crate) const SHIFT: Minute = 8 * HOUR;

/// Minutes of the days of `hours` from Monday to Friday that passed before a minute.
fn passed(at: Minute, hours: &Range<Minute>) -> Minute {
    let length = hours.end - hours.start;
    let since = at + MONDAY_BEFORE;
    let (weeks, rest) = (since / WEEK, since % WEEK);
    let (day, minute) = (rest / DAY, rest % DAY);
    let today = match day {
        day if day >= WORKDAYS => 0,
        _ => minute.clamp(hours.start, hours.end) - hours.start,
    };
    (weeks * WORKDAYS + day.min(WORKDAYS)) * length + today
}

/// Service time between two minutes.
pub(crate) fn service_minutes(from: Minute, to: Minute) -> Minute {
    passed(to, &SERVICE).saturating_sub(passed(from, &SERVICE))
}

/// The first minute of a shift, which begins at a minute of each workday, that is not before `at`.
pub(crate) fn on_shift_from(at: Minute, begins: Minute) -> Minute {
    let since = at + MONDAY_BEFORE;
    let (day, minute) = (since / DAY, since % DAY);
    let is_workday = day % 7 < WORKDAYS;
    if is_workday && (begins..begins + SHIFT).contains(&minute) {
        return at;
    }
    let mut next = if is_workday && minute < begins { day } else { day + 1 };
    while next % 7 >= WORKDAYS {
        next += 1;
    }
    next * DAY + begins - MONDAY_BEFORE
}

/// The same as people write it, without a zone.
pub(crate) fn civil(at: Minute) -> String {
    let written = |time: DateTime| {
        let (date, hour, minute) = (time.date(), time.hour(), time.minute());
        format!("{date} {hour:02}:{minute:02}")
    };
    let minutes = i64::try_from(at).unwrap_or(i64::MAX);
    let span = jiff::Span::new().try_minutes(minutes);
    let time = span.and_then(|span| datetime(1970, 1, 1, 0, 0, 0, 0).checked_add(span));
    time.map_or_else(|_| at.to_string(), written)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    /// A minute of 2016-02-29, a Monday, and of the days behind it.
    fn at(day: Minute, hour: Minute, minute: Minute) -> Minute {
        (16_860 + day) * DAY + hour * HOUR + minute
    }

    #[test]
    fn service_time_stands_still_at_night_and_over_the_weekend() {
        for (from, to, minutes) in [
            (at(0, 8, 0), at(0, 17, 0), 540),
            (at(0, 7, 0), at(0, 8, 30), 30),
            (at(0, 16, 30), at(1, 8, 30), 60),
            (at(4, 16, 0), at(7, 9, 0), 120),
            (at(5, 10, 0), at(6, 10, 0), 0),
            (at(0, 12, 0), at(7, 12, 0), 5 * 540),
            (at(1, 9, 0), at(0, 9, 0), 0),
        ] {
            assert_eq!(service_minutes(from, to), minutes, "{} to {}", civil(from), civil(to));
        }
    }

    #[test]
    fn a_shift_is_met_or_waited_for() {
        let begins = 8 * HOUR;
        for (now, then) in [
            (at(0, 9, 5), at(0, 9, 5)),
            (at(0, 7, 59), at(0, 8, 0)),
            (at(0, 16, 0), at(1, 8, 0)),
            (at(4, 16, 0), at(7, 8, 0)),
            (at(5, 12, 0), at(7, 8, 0)),
        ] {
            assert_eq!(on_shift_from(now, begins), then, "{}", civil(now));
        }
    }

    #[test]
    fn minutes_are_said_as_dates() {
        assert_eq!(civil(at(0, 1, 16)), "2016-02-29 01:16");
        assert_eq!(civil(Minute::MAX), Minute::MAX.to_string());
    }
}
