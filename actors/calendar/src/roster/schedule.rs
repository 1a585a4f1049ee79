//! When a roster is worked, in instants.
//!
//! **Invariants:** what is returned is in order, merged, without breaks, and within the range asked
//! for; a question about an instant agrees with every expansion that has it. **Not here:** how a
//! shift becomes an interval (`shift`).

use thiserror::Error;

use super::{Roster, Zones};
use crate::{
    civil::Date,
    interval::{DAY_MS, Interval, UnixMs, clipped, merged},
    zone::Rules,
};

/// Days of one expansion: a year and a month, of a page of months.
pub const EXPAND_DAYS_MAX: u64 = 400;
/// How far a change is looked for: past the longest leave, a year. A timer that is not set is set
/// when the roster changes.
pub const LOOK_AHEAD_DAYS: u64 = 400;
/// Days expanded at a time while looking ahead: most rosters change within a week.
const STRIDE_DAYS: u64 = 8;
/// A shift that covers an instant starts on one of the dates from three days before to one day after
/// it in UTC: it takes up to two days, and walls are up to 14 hours ahead and 12 behind.
const DAYS_BEFORE: u64 = 3;
const DAYS_AFTER: u64 = 1;

/// A roster without faults, with the rules of its zones.
#[derive(Debug, Clone)]
pub struct Schedule<'a> {
    roster: &'a Roster,
    rules: Rules,
    zones: Zones<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ExpandError {
    #[error("the range ends on {end}, before it starts on {start}; exchange them")]
    Reversed { start: UnixMs, end: UnixMs },
    #[error("the range has {days} days, more than {max}; ask for a part of it")]
    TooLong { days: u64, max: u64 },
}

impl<'a> Schedule<'a> {
    pub(super) fn new(roster: &'a Roster, rules: Rules, zones: Zones<'a>) -> Self {
        Self { roster, rules, zones }
    }

    pub fn roster(&self) -> &'a Roster {
        self.roster
    }

    /// The rules of the roster's own zone.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// When work is done from `start` until before `end`.
    ///
    /// # Errors
    /// The range is reversed, or longer than [`EXPAND_DAYS_MAX`].
    pub fn intervals(&self, start: UnixMs, end: UnixMs) -> Result<Vec<Interval>, ExpandError> {
        if end < start {
            return Err(ExpandError::Reversed { start, end });
        }
        let days = end.since(start).div_ceil(DAY_MS);
        if days > EXPAND_DAYS_MAX {
            return Err(ExpandError::TooLong { days, max: EXPAND_DAYS_MAX });
        }
        Ok(Interval::new(start, end).map(|range| self.within(&range)).unwrap_or_default())
    }

    /// The same for a range that is known to be short.
    pub(crate) fn within(&self, range: &Interval) -> Vec<Interval> {
        let day = |at: UnixMs| at.0 / DAY_MS;
        let first = day(range.start).saturating_sub(DAYS_BEFORE);
        let last = day(range.end).saturating_add(DAYS_AFTER);
        let known = u64::from(Date::MIN.days())..=u64::from(Date::MAX.days());
        let days = first.max(*known.start())..=last.min(*known.end());
        let dates = days.filter_map(|day| u32::try_from(day).ok()).map(Date::from_days);
        let worked = dates.flat_map(|date| self.starting_on(date)).collect();
        clipped(&merged(worked), range)
    }

    /// What is worked of the shifts that start on that date, in no order.
    pub(super) fn starting_on(&self, date: Date) -> Vec<Interval> {
        let shifts = self.roster.shifts_on(date);
        let rules = |zone| self.zones.get(zone).unwrap_or(&self.rules);
        let worked = shifts
            .iter()
            .flat_map(|shift| shift.on(date, shift.zone.as_ref().map_or(&self.rules, rules)));
        worked.collect()
    }

    /// Whether work is done at that instant.
    pub fn is_on(&self, at: UnixMs) -> bool {
        Interval::new(at, at.plus(1)).is_some_and(|range| !self.within(&range).is_empty())
    }

    /// Milliseconds until work ends, be it for a break. None if none is done at that instant. A year and
    /// more without an end is [`LOOK_AHEAD_DAYS`].
    pub fn time_left(&self, at: UnixMs) -> Option<u64> {
        let end = || self.next_change(at).unwrap_or(at.plus(LOOK_AHEAD_DAYS * DAY_MS));
        self.is_on(at).then(|| end().since(at))
    }

    /// The first instant later than `after` at which work begins or ends. None if nothing does within
    /// [`LOOK_AHEAD_DAYS`].
    pub fn next_change(&self, after: UnixMs) -> Option<UnixMs> {
        let is_on = self.is_on(after);
        let strides = 0..LOOK_AHEAD_DAYS.div_ceil(STRIDE_DAYS);
        let bound = after.plus(LOOK_AHEAD_DAYS * DAY_MS);
        let mut changes = strides.filter_map(|stride| {
            let start = after.plus(stride * STRIDE_DAYS * DAY_MS);
            // One millisecond of the next stride tells an end of work from the end of the stride.
            let range = Interval::new(start, start.plus(STRIDE_DAYS * DAY_MS + 1))?;
            let first = self.within(&range).first().copied();
            match first {
                Some(worked) if is_on => {
                    let begins_on = worked.start == start;
                    let change = if begins_on { worked.end } else { start };
                    (change < range.end).then_some(change)
                }
                Some(worked) => Some(worked.start),
                None => is_on.then_some(start),
            }
        });
        changes.next().filter(|change| *change <= bound)
    }
}
