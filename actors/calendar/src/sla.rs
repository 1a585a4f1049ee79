//! Clocks of service levels: how long something took and when it is due, in time that counts.
//!
//! Time counts while the calendar is open and no pause is under way. An instant is due when the
//! target has elapsed; at that very instant it is kept, after it it is breached, open or not.
//!
//! **Invariants:** `elapsed` of start and due is the target; it never falls as now goes on; a target
//! of nothing is due at the start. A calendar that never opens gives no due, after a bounded look.
//! **Not here:** what is promised to which customer, what starts a pause, timers.

use minicbor::{Decode, Encode};
use thiserror::Error;

use crate::{
    fault::Faults,
    interval::{DAY_MS, Interval, UnixMs, clipped, merged, total_ms, without},
    roster::{Roster, Schedule},
};

/// How far a clock runs: ten years after the start. Nothing counts later.
pub const RUN_DAYS_MAX: u64 = 3_660;
/// Pauses of one clock: one a day for a year, of which only few are more than noise.
pub const PAUSES_MAX: usize = 366;
/// Days looked at together: most targets are within a month.
const STRIDE_DAYS: u64 = 30;

/// When time counts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Calendar {
    /// Day and night.
    #[n(0)]
    Always,
    /// In opening hours, which are written as the shifts of a desk are, with breaks, other hours on
    /// single dates, and holidays.
    #[n(1)]
    Hours(#[n(0)] Roster),
}

/// A calendar without faults.
#[derive(Debug, Clone)]
pub struct Hours<'a>(Option<Schedule<'a>>);

/// Time that does not count: from `from` until before `until`, or until further notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Pause {
    #[n(0)]
    pub from: UnixMs,
    #[n(1)]
    pub until: Option<UnixMs>,
}

/// Pauses in order, none of them reversed; those that overlap count once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pauses(Vec<Interval>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PauseError {
    #[error("pause {number} ends on {until}, before it starts on {from}; exchange them")]
    Reversed { number: usize, from: UnixMs, until: UnixMs },
    #[error("{count} pauses, more than {max}; join those that follow each other")]
    TooMany { count: usize, max: usize },
}

impl Calendar {
    /// The calendar ready to count.
    ///
    /// # Errors
    /// All faults of its opening hours, each with its row or date.
    pub fn hours(&self) -> Result<Hours<'_>, Faults> {
        match self {
            Self::Always => Ok(Hours(None)),
            Self::Hours(roster) => roster.schedule().map(|schedule| Hours(Some(schedule))),
        }
    }
}

impl Pauses {
    /// # Errors
    /// There are too many, or one ends before it starts.
    pub fn new(pauses: &[Pause]) -> Result<Self, PauseError> {
        let (count, max) = (pauses.len(), PAUSES_MAX);
        if count > max {
            return Err(PauseError::TooMany { count, max });
        }
        let mut intervals = Vec::with_capacity(count);
        for (number, pause) in (1..).zip(pauses) {
            let (from, until) = (pause.from, pause.until.unwrap_or(UnixMs(u64::MAX)));
            if until < from {
                return Err(PauseError::Reversed { number, from, until });
            }
            intervals.extend(Interval::new(from, until));
        }
        Ok(Self(merged(intervals)))
    }

    pub fn none() -> Self {
        Self::default()
    }
}

impl Hours<'_> {
    /// Time that counts from `start` until before `end`, by strides, in order.
    fn counting<'b>(
        &'b self,
        start: UnixMs,
        end: UnixMs,
        pauses: &'b Pauses,
    ) -> impl Iterator<Item = Vec<Interval>> + 'b {
        let strides = (0..RUN_DAYS_MAX).step_by(usize::try_from(STRIDE_DAYS).unwrap_or(1));
        let ranges = strides.map_while(move |days| {
            let from = start.plus(days * DAY_MS);
            let days = STRIDE_DAYS.min(RUN_DAYS_MAX - days);
            Interval::new(from, from.plus(days * DAY_MS).min(end))
        });
        ranges.map(|range| {
            let open = match &self.0 {
                None => vec![range],
                Some(schedule) => schedule.within(&range),
            };
            without(&open, &clipped(&pauses.0, &range))
        })
    }
}

/// The instant at which `target_ms` milliseconds that count have passed since `start`. None if they
/// do not pass within [`RUN_DAYS_MAX`]: the calendar never opens, or the pause does not end.
pub fn due(start: UnixMs, target_ms: u64, hours: &Hours<'_>, pauses: &Pauses) -> Option<UnixMs> {
    if target_ms == 0 {
        return Some(start);
    }
    let mut left_ms = target_ms;
    for stretch in hours.counting(start, UnixMs(u64::MAX), pauses).flatten() {
        let length_ms = stretch.length_ms();
        if length_ms >= left_ms {
            return Some(stretch.start.plus(left_ms));
        }
        left_ms -= length_ms;
    }
    None
}

/// Milliseconds that count from `start` until before `now`, 0 if that is earlier. What is later than
/// [`RUN_DAYS_MAX`] after the start does not count.
pub fn elapsed(start: UnixMs, now: UnixMs, hours: &Hours<'_>, pauses: &Pauses) -> u64 {
    hours.counting(start, now, pauses).map(|stretch| total_ms(&stretch)).sum()
}

/// Milliseconds of the target that are left; below 0 those that are over it.
pub fn remaining(
    start: UnixMs,
    now: UnixMs,
    target_ms: u64,
    hours: &Hours<'_>,
    pauses: &Pauses,
) -> i64 {
    let signed = |ms| i64::try_from(ms).unwrap_or(i64::MAX);
    signed(target_ms).saturating_sub(signed(elapsed(start, now, hours, pauses)))
}

/// Whether `now` is later than what is due. Never so if nothing becomes due.
pub fn is_breached(
    start: UnixMs,
    now: UnixMs,
    target_ms: u64,
    hours: &Hours<'_>,
    pauses: &Pauses,
) -> bool {
    due(start, target_ms, hours, pauses).is_some_and(|due| due < now)
}
