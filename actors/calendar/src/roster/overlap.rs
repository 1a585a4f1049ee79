//! Shifts of a roster that are in each other's way.
//!
//! A schedule takes overlapping shifts as one. Whoever enters a roster by hand hardly means two shifts at
//! a time, so they are named where a roster is taken in.
//!
//! **Invariants:** shifts are compared on the wall of one zone; a shift that ends where another begins is
//! in nobody's way. **Not here:** shifts in different zones, and nights that reach into a date with an
//! override: the schedule merges them.

use super::{Override, Roster, Row};
use crate::{
    civil::{MINUTES_OF_DAY, Weekdays},
    fault::{Fault, Place},
    shift::Shift,
};

const MINUTES_OF_WEEK: u32 = 7 * MINUTES_OF_DAY as u32;

impl Roster {
    /// The later one of each two that overlap, with the first that is in its way. Of a roster with faults
    /// in its sizes nothing is compared.
    pub fn overlaps(&self) -> Vec<Fault> {
        if !self.sizes().is_empty() {
            return vec![];
        }
        let mut found = Vec::new();
        for (index, row) in self.rows.iter().enumerate() {
            let before = self.rows[..index].iter().zip(1..);
            let other = before.into_iter().find(|(other, _)| self.rows_overlap(row, other));
            found.extend(other.map(|(_, number)| Fault::Overlaps {
                place: Place::Row(index + 1),
                other: Place::Row(number),
            }));
        }
        for (date, one) in &self.overrides {
            let Override::Shifts(shifts) = one else { continue };
            for (index, shift) in shifts.iter().enumerate() {
                let before = shifts[..index].iter().zip(1..);
                let other = before.into_iter().find(|(other, _)| self.on_one_day(shift, other));
                found.extend(other.map(|(_, number)| Fault::Overlaps {
                    place: Place::Override(*date, index + 1),
                    other: Place::Override(*date, number),
                }));
            }
        }
        found
    }
}

/// Minutes after the midnight before it from its start to its end.
fn span(shift: &Shift) -> Option<(u32, u32)> {
    let start = u32::from(shift.start.minutes());
    shift.wall_minutes().map(|length| (start, start + u32::from(length)))
}

impl Roster {
    fn is_one_zone(&self, one: &Shift, other: &Shift) -> bool {
        let [one, other] = [one, other].map(|shift| shift.zone.as_ref().unwrap_or(&self.zone));
        one == other
    }

    fn on_one_day(&self, one: &Shift, other: &Shift) -> bool {
        let spans = span(one).zip(span(other)).filter(|_| self.is_one_zone(one, other));
        spans.is_some_and(|(one, other)| one.0 < other.1 && other.0 < one.1)
    }

    fn rows_overlap(&self, one: &Row, other: &Row) -> bool {
        let is_ever = |row: &Row, then: &Row| {
            row.until.is_none_or(|until| then.from.is_none_or(|from| from <= until))
        };
        if !is_ever(one, other)
            || !is_ever(other, one)
            || !self.is_one_zone(&one.shift, &other.shift)
        {
            return false;
        }
        let Some((one_span, other_span)) = span(&one.shift).zip(span(&other.shift)) else {
            return false;
        };
        let at = |days: Weekdays, span: (u32, u32)| {
            let days = (0..7_u8).filter(move |day| days.contains(*day));
            days.map(move |day| {
                let midnight = u32::from(day) * u32::from(MINUTES_OF_DAY);
                (midnight + span.0, midnight + span.1)
            })
        };
        // A week later both are where they were: one of the two is compared there too, for the night
        // that ends on a Monday.
        at(one.days, one_span).any(|one| {
            at(other.days, other_span).any(|other| {
                [0, MINUTES_OF_WEEK].into_iter().any(|later| {
                    (one.0 < other.1 + later && other.0 + later < one.1)
                        || (other.0 < one.1 + later && one.0 + later < other.1)
                })
            })
        })
    }
}
