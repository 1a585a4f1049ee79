//! Stretches of time between two instants, and sums and differences of such.
//!
//! **Invariants:** an interval has its start and not its end; a list that a function here returned is
//! in order, and its intervals neither touch nor overlap. **Not here:** civil time.

use std::fmt;

use minicbor::{Decode, Encode};

pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// An instant, as milliseconds after 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct UnixMs(#[n(0)] pub u64);

/// From `start` until before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Interval {
    #[n(0)]
    pub start: UnixMs,
    #[n(1)]
    pub end: UnixMs,
}

impl UnixMs {
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`, 0 if that is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Interval {
    /// None if it would be empty.
    pub fn new(start: UnixMs, end: UnixMs) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    pub fn contains(&self, at: UnixMs) -> bool {
        self.start <= at && at < self.end
    }

    /// Its length in milliseconds.
    pub fn length_ms(&self) -> u64 {
        self.end.since(self.start)
    }

    /// What both have.
    pub fn and(&self, other: &Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0).ok();
        match ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
            Some(at) => write!(f, "{at}"),
            None => write!(f, "{} ms after 1970", self.0),
        }
    }
}

/// Their union, whatever their order.
pub fn merged(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.retain(|interval| interval.start < interval.end);
    intervals.sort_unstable();
    let mut result: Vec<Interval> = Vec::with_capacity(intervals.len());
    for next in intervals {
        match result.last_mut() {
            Some(last) if next.start <= last.end => last.end = last.end.max(next.end),
            _ => result.push(next),
        }
    }
    result
}

/// What `from` has and `taken` has not. Both are as [`merged`] returns them.
pub fn without(from: &[Interval], taken: &[Interval]) -> Vec<Interval> {
    let mut result = Vec::with_capacity(from.len());
    let mut taken = taken.iter().peekable();
    for interval in from {
        let mut start = interval.start;
        while let Some(hole) = taken.peek() {
            if hole.start >= interval.end {
                break;
            }
            result.extend(Interval::new(start, hole.start));
            start = start.max(hole.end);
            if hole.end > interval.end {
                // It may reach into the next interval as well.
                break;
            }
            taken.next();
        }
        result.extend(Interval::new(start, interval.end));
    }
    result
}

/// What `intervals` have of `range`.
pub fn clipped(intervals: &[Interval], range: &Interval) -> Vec<Interval> {
    intervals.iter().filter_map(|interval| interval.and(range)).collect()
}

/// The sum of their lengths in milliseconds, for a list as [`merged`] returns it.
pub fn total_ms(intervals: &[Interval]) -> u64 {
    intervals.iter().map(Interval::length_ms).sum()
}
