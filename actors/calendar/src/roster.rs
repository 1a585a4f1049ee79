//! A technician's roster: a weekly pattern of shifts, and what differs on single dates.
//!
//! An override replaces what its date has, holidays take the day off from the pattern, the pattern has
//! the rest. All three speak of shifts by the date on which they start: the rest of the night before a
//! day off is worked.
//!
//! **Invariants:** a roster is stored as it was entered and may be faulty; a [`Schedule`] is of one
//! without faults. Fields of stored types have numbers that only grow. **Not here:** whose roster it
//! is; single shifts (`shift`).

mod overlap;
mod schedule;
mod swap;

pub use schedule::{EXPAND_DAYS_MAX, ExpandError, LOOK_AHEAD_DAYS, Schedule};
pub use swap::{Swap, SwapError, swap};

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use crate::{
    civil::{Date, Weekdays},
    fault::{Fault, Faults, Place},
    shift::Shift,
    zone::{Rules, Zone, ZoneError},
};

/// Rows of a weekly pattern: eight shifts on each of seven days. Every one is looked at for each day.
pub const ROWS_MAX: usize = 56;
/// Shifts on one date: one for each three hours.
pub const SHIFTS_PER_DATE_MAX: usize = 8;
/// Dates with an override: each day of two years. Past ones can be removed.
pub const OVERRIDES_MAX: usize = 732;
/// Holidays: of ten years, twenty each.
pub const HOLIDAYS_MAX: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Roster {
    /// In which the shifts are meant that name no other.
    #[n(0)]
    pub zone: Zone,
    /// The weekly pattern, in no order.
    #[n(1)]
    pub rows: Vec<Row>,
    /// What differs on single dates.
    #[n(2)]
    pub overrides: BTreeMap<Date, Override>,
    /// No shift of the pattern starts on these dates.
    #[n(3)]
    pub holidays: BTreeSet<Date>,
}

/// A shift that recurs each week.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Row {
    /// On which it starts.
    #[n(0)]
    pub days: Weekdays,
    /// What is worked on each of them.
    #[n(1)]
    pub shift: Shift,
    /// The first date on which it may start; none is always.
    #[n(2)]
    pub from: Option<Date>,
    /// The last date on which it may start; none is for ever.
    #[n(3)]
    pub until: Option<Date>,
}

/// What takes the place of everything that would start on a date.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Override {
    /// No shift starts.
    #[n(0)]
    Off,
    /// These start and no others.
    #[n(1)]
    Shifts(#[n(0)] Vec<Shift>),
}

impl Row {
    /// A shift for as long as the roster stands.
    pub fn weekly(days: Weekdays, shift: Shift) -> Self {
        Self { days, shift, from: None, until: None }
    }

    fn starts_on(&self, date: Date) -> bool {
        self.days.contains(date.weekday())
            && self.from.is_none_or(|from| from <= date)
            && self.until.is_none_or(|until| date <= until)
    }
}

impl Roster {
    /// A roster in which nobody works.
    pub fn new(zone: Zone) -> Self {
        Self { zone, rows: vec![], overrides: BTreeMap::new(), holidays: BTreeSet::new() }
    }

    /// The shifts that start on that date: the override's, or else none on a holiday, or else those
    /// of the pattern.
    pub fn shifts_on(&self, date: Date) -> Vec<&Shift> {
        match self.overrides.get(&date) {
            Some(Override::Off) => vec![],
            Some(Override::Shifts(shifts)) => shifts.iter().take(SHIFTS_PER_DATE_MAX).collect(),
            None if self.holidays.contains(&date) => vec![],
            None => {
                let rows = self.rows.iter().take(ROWS_MAX);
                rows.filter(|row| row.starts_on(date)).map(|row| &row.shift).collect()
            }
        }
    }

    /// Whether a [`Schedule`] can be made of it.
    ///
    /// # Errors
    /// All faults, each with its row or date.
    pub fn validate(&self) -> Result<(), Faults> {
        self.schedule().map(|_| ())
    }

    /// The roster ready to answer when it is worked.
    ///
    /// # Errors
    /// All faults, each with its row or date.
    pub fn schedule(&self) -> Result<Schedule<'_>, Faults> {
        let sizes = self.sizes();
        if !sizes.is_empty() {
            // Looking at each of too many things would be the work that the bounds are to spare.
            return Err(Faults(sizes));
        }
        let (mut faults, mut zones) = (Vec::new(), BTreeMap::new());
        let rules = self.zone.rules().map(|(_, rules)| rules);
        let rules = rules.map_err(|error| faults.push(Fault::RosterZone(error))).ok();
        for (place, shift) in self.shifts() {
            faults.extend(shift.faults(place));
            let zone = shift.zone.as_ref().filter(|zone| !zones.contains_key(zone));
            match zone.map(|zone| (zone, zone.rules())) {
                Some((zone, Ok((_, rules)))) => _ = zones.insert(zone, rules),
                Some((_, Err(error))) => faults.push(Fault::Zone(place, error)),
                None => {}
            }
        }
        faults.extend(self.reversed());
        match rules {
            Some(rules) if faults.is_empty() => Ok(Schedule::new(self, rules, zones)),
            _ => Err(Faults(faults)),
        }
    }

    /// Every shift with its place.
    fn shifts(&self) -> impl Iterator<Item = (Place, &Shift)> {
        let rows = (1..).zip(&self.rows).map(|(number, row)| (Place::Row(number), &row.shift));
        let overrides = self.overrides.iter().flat_map(|(date, one)| {
            let shifts: &[Shift] = match one {
                Override::Off => &[],
                Override::Shifts(shifts) => shifts,
            };
            (1..).zip(shifts).map(|(number, shift)| (Place::Override(*date, number), shift))
        });
        rows.chain(overrides)
    }

    fn sizes(&self) -> Vec<Fault> {
        let bounds = [
            ("rows", self.rows.len(), ROWS_MAX),
            ("overrides", self.overrides.len(), OVERRIDES_MAX),
            ("holidays", self.holidays.len(), HOLIDAYS_MAX),
        ];
        let bounds = bounds.into_iter().filter(|(_, count, max)| count > max);
        let faults = bounds.map(|(what, count, max)| Fault::TooMany { what, count, max });
        let dates = self.overrides.iter().take(OVERRIDES_MAX).filter_map(|(date, one)| match one {
            Override::Shifts(shifts) if shifts.len() > SHIFTS_PER_DATE_MAX => {
                let (count, max) = (shifts.len(), SHIFTS_PER_DATE_MAX);
                Some(Fault::TooManyShifts { date: *date, count, max })
            }
            _ => None,
        });
        faults.chain(dates).collect()
    }

    fn reversed(&self) -> impl Iterator<Item = Fault> {
        (1..).zip(&self.rows).filter_map(|(row, one)| {
            let (from, until) = (one.from?, one.until?);
            (until < from).then_some(Fault::ValidityReversed { row, from, until })
        })
    }
}

/// The rules of the roster's zone and of the others that its shifts name.
type Zones<'a> = BTreeMap<&'a Zone, Rules>;

/// The zone that a shift is meant in.
///
/// # Errors
/// The database does not know it.
fn zone_of(roster: &Roster, shift: &Shift) -> Result<Zone, ZoneError> {
    shift.zone.as_ref().unwrap_or(&roster.zone).rules().map(|(zone, _)| zone)
}
