//! What is wrong with a roster, and where.
//!
//! **Invariants:** each fault names its place as a person counts, from 1, and what to do. **Not here:**
//! finding faults (`shift`, `roster`).

use std::fmt;

use thiserror::Error;

use crate::{
    civil::{Date, TimeOfDay},
    zone::ZoneError,
};

/// Where a shift stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Of the weekly pattern, from 1.
    Row(usize),
    /// Of a date's override, from 1.
    Override(Date, usize),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("the roster's zone: {0}")]
    RosterZone(ZoneError),
    #[error("{0}: its zone: {1}")]
    Zone(Place, ZoneError),
    #[error(
        "{0}: a shift that ends before it starts, from {1} to {2}; say that it is overnight if it \
         ends on the next day"
    )]
    EndsBeforeStart(Place, TimeOfDay, TimeOfDay),
    #[error(
        "{0}: an overnight shift from {1} to {2} would be longer than a day; leave out that it is \
         overnight, or make two of it"
    )]
    LongerThanADay(Place, TimeOfDay, TimeOfDay),
    #[error(
        "{place}: break {number}, from {start} to {end}, is not within the shift; move or remove it"
    )]
    BreakOutside { place: Place, number: usize, start: TimeOfDay, end: TimeOfDay },
    #[error("{place}: break {number} starts before the one above it ends; put them in order")]
    BreaksOverlap { place: Place, number: usize },
    #[error("{place}: {count} breaks, more than {max}; remove some")]
    TooManyBreaks { place: Place, count: usize, max: usize },
    #[error("row {row}: it ends on {until}, before it begins on {from}; exchange the dates")]
    ValidityReversed { row: usize, from: Date, until: Date },
    #[error("the override of {date}: {count} shifts, more than {max}; remove some")]
    TooManyShifts { date: Date, count: usize, max: usize },
    #[error("{place}: it overlaps {other}; let one end where the other begins, or remove one")]
    Overlaps { place: Place, other: Place },
    #[error("{count} {what}, more than {max}; remove those that are past")]
    TooMany { what: &'static str, count: usize, max: usize },
}

/// All faults of a roster; at least one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(number) => write!(f, "row {number}"),
            Self::Override(date, number) => write!(f, "the override of {date}, shift {number}"),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}
