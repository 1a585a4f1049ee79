//! One shift of one day: when it starts and ends on the wall, and its breaks.
//!
//! **Invariants:** start, end and breaks are civil times; how long a shift is, is known only for a
//! date. An end on the next day is said, never concluded. **Not here:** on which days (`roster`), what
//! happens where the clocks change (`zone`).

use minicbor::{Decode, Encode};

use crate::{
    civil::{Date, MINUTES_OF_DAY, TimeOfDay},
    fault::{Fault, Place},
    interval::{Interval, merged, without},
    zone::{Reading, Rules, Zone},
};

/// Breaks of a shift: one for every two hours of a day.
pub const BREAKS_MAX: usize = 12;

/// A shift as it is planned, for any date.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Shift {
    /// When it starts on the wall.
    #[n(0)]
    pub start: TimeOfDay,
    /// Exclusive. At or before `start` in value only if `overnight`; so 00:00 and overnight is the end
    /// of the day, and the same time as `start` a whole day.
    #[n(1)]
    pub end: TimeOfDay,
    /// It ends on the day after the one that it starts on.
    #[n(2)]
    pub overnight: bool,
    /// In the order in which they are taken.
    #[n(3)]
    pub breaks: Vec<Break>,
    /// None is the roster's. Another one belongs to whose shift it was.
    #[n(4)]
    pub zone: Option<Zone>,
    /// The category of work that whoever does it must have the skill for; none is none in particular.
    #[n(5)]
    pub skill: Option<u16>,
}

/// A break, at the first such times after the shift's start: 01:00 in a night shift is after midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Break {
    /// When it starts on the wall.
    #[n(0)]
    pub start: TimeOfDay,
    /// Exclusive.
    #[n(1)]
    pub end: TimeOfDay,
}

impl Shift {
    /// A shift without breaks that ends on the day on which it starts.
    pub fn day(start: TimeOfDay, end: TimeOfDay) -> Self {
        Self { start, end, overnight: false, breaks: vec![], zone: None, skill: None }
    }

    /// A shift without breaks that ends on the next day.
    pub fn night(start: TimeOfDay, end: TimeOfDay) -> Self {
        Self { overnight: true, ..Self::day(start, end) }
    }

    /// Minutes on the wall from start to end. None if it ends before it starts or is longer than a
    /// day.
    pub(crate) fn wall_minutes(&self) -> Option<u16> {
        match (self.overnight, self.start < self.end) {
            (false, true) => Some(self.start.minutes_until(self.end)),
            (true, false) => Some(self.minutes_to(self.end)),
            _ => None,
        }
    }

    /// Minutes on the wall from the start to the next `end`, a day if it is the same.
    fn minutes_to(&self, end: TimeOfDay) -> u16 {
        match self.start.minutes_until(end) {
            0 => MINUTES_OF_DAY,
            minutes => minutes,
        }
    }

    /// Everything that is wrong with it, save its zone.
    pub(crate) fn faults(&self, place: Place) -> Vec<Fault> {
        let Some(length) = self.wall_minutes() else {
            let fault = if self.overnight { Fault::LongerThanADay } else { Fault::EndsBeforeStart };
            return vec![fault(place, self.start, self.end)];
        };
        if self.breaks.len() > BREAKS_MAX {
            let count = self.breaks.len();
            return vec![Fault::TooManyBreaks { place, count, max: BREAKS_MAX }];
        }
        let mut faults = Vec::new();
        let mut free = 0;
        for (number, Break { start, end }) in (1..).zip(&self.breaks) {
            let (from, to) = (self.start.minutes_until(*start), self.minutes_to(*end));
            if from >= to || to > length {
                let (start, end) = (*start, *end);
                faults.push(Fault::BreakOutside { place, number, start, end });
                continue;
            }
            if from < free {
                faults.push(Fault::BreaksOverlap { place, number });
            }
            free = free.max(to);
        }
        faults
    }

    /// When it is worked if it starts on `date`, without its breaks. Empty where a gap has it
    /// altogether.
    pub(crate) fn on(&self, date: Date, rules: &Rules) -> Vec<Interval> {
        let instant = |minutes: u16, reading| {
            let minutes = u32::from(self.start.minutes()) + u32::from(minutes);
            let day = u32::from(MINUTES_OF_DAY);
            rules.instant(date.plus(minutes / day), minutes % day * 60, reading)
        };
        let between =
            |from, to| Interval::new(instant(from, Reading::Start), instant(to, Reading::End));
        let Some(shift) = self.wall_minutes().and_then(|length| between(0, length)) else {
            return vec![];
        };
        let breaks = self.breaks.iter().take(BREAKS_MAX).filter_map(|one| {
            between(self.start.minutes_until(one.start), self.minutes_to(one.end))
        });
        without(&[shift], &merged(breaks.collect()))
    }
}
