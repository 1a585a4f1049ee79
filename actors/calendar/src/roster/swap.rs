//! One technician does another's shifts of one date.
//!
//! **Invariants:** a swap is a pair of overrides that are applied together; together both work as long
//! as before, and nobody works in two places at once. The shifts keep the zone they were planned in.
//! **Not here:** whether the other is able and allowed to do the work; applying one half at a time.

use thiserror::Error;

use super::{Override, Roster, Schedule, zone_of};
use crate::{
    civil::Date,
    fault::Faults,
    interval::{DAY_MS, Interval, UnixMs, merged, total_ms, without},
    shift::Shift,
    zone::ZoneError,
};

/// Days around a date in which its shifts can lie.
const DAYS_AROUND: u64 = 3;

/// The overrides of both for the date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    pub giver: Override,
    pub taker: Override,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SwapError {
    #[error("on {0} there is no shift to give; choose a date on which the giver works")]
    NothingToGive(Date),
    #[error(
        "the taker works already on {0}, when a shift to take is under way; free that time first"
    )]
    TakerWorks(UnixMs),
    #[error(
        "the giver would work on {0} anyway, by a shift of another date; separate the two first"
    )]
    GiverStays(UnixMs),
    #[error("with the swap the giver's roster would be faulty: {0}")]
    GiverFaulty(Faults),
    #[error("with the swap the taker's roster would be faulty: {0}")]
    TakerFaulty(Faults),
    #[error("a shift to give: {0}")]
    Zone(#[from] ZoneError),
}

/// What both rosters have to say for `date`, so that the taker does what the giver would have done.
///
/// # Errors
/// There is nothing to give, the taker works at the same time, the giver's hours belong to two
/// dates' shifts, or a roster would have too many shifts or overrides.
pub fn swap(date: Date, giver: &Schedule<'_>, taker: &Schedule<'_>) -> Result<Swap, SwapError> {
    let given = merged(giver.starting_on(date));
    if given.is_empty() {
        return Err(SwapError::NothingToGive(date));
    }
    if let Some(both) = overlap(&given, &around(taker, date)) {
        return Err(SwapError::TakerWorks(both));
    }
    let off = with_override(giver.roster(), date, Override::Off);
    let off = off.schedule().map_err(SwapError::GiverFaulty)?;
    if let Some(still) = overlap(&given, &around(&off, date)) {
        return Err(SwapError::GiverStays(still));
    }
    let both = Override::Shifts(taken(date, giver.roster(), taker.roster())?);
    let busy = with_override(taker.roster(), date, both.clone());
    busy.validate().map_err(SwapError::TakerFaulty)?;
    Ok(Swap { giver: Override::Off, taker: both })
}

/// The taker's own shifts, then the giver's with their zone.
fn taken(date: Date, giver: &Roster, taker: &Roster) -> Result<Vec<Shift>, ZoneError> {
    let mut shifts: Vec<Shift> = taker.shifts_on(date).into_iter().cloned().collect();
    for shift in giver.shifts_on(date) {
        let zone = zone_of(giver, shift)?;
        shifts.push(Shift { zone: Some(zone), ..shift.clone() });
    }
    Ok(shifts)
}

fn with_override(roster: &Roster, date: Date, one: Override) -> Roster {
    let mut roster = roster.clone();
    roster.overrides.insert(date, one);
    roster
}

fn around(schedule: &Schedule<'_>, date: Date) -> Vec<Interval> {
    let midnight = UnixMs(u64::from(date.days()) * DAY_MS);
    let start = UnixMs(midnight.0.saturating_sub(DAYS_AROUND * DAY_MS));
    let range = Interval::new(start, midnight.plus(DAYS_AROUND * DAY_MS));
    range.map(|range| schedule.within(&range)).unwrap_or_default()
}

/// The first instant that both have. Both are merged.
fn overlap(one: &[Interval], other: &[Interval]) -> Option<UnixMs> {
    let alone = without(one, other);
    if total_ms(&alone) == total_ms(one) {
        return None;
    }
    let common = one.iter().flat_map(|a| other.iter().filter_map(|b| a.and(b)));
    common.map(|both| both.start).min()
}
