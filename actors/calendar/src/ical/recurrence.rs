//! When the events of a file take place.
//!
//! **Invariants:** an instance that is left out, or in whose place another event is, does not occur;
//! the result is in order; work is bounded by the range, the number of events and that of occurrences.
//! **Not here:** the dates of a rule (`rule`), ends (`instants`).

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{
    Bound, End, Event, File, Moment, Occurrence, Rule,
    draft::start_date,
    import::{DATES_MAX, EVENTS_MAX},
    instants::Instants,
    value::EVENT_DAYS_MAX,
};
use crate::{
    civil::{Date, SECONDS_OF_DAY},
    interval::{DAY_MS, UnixMs},
    zone::ZoneError,
};

/// Days of a range: a year and a month.
pub const RANGE_DAYS_MAX: u64 = 400;
/// Occurrences in a range: of fifty events each day of it.
pub const OCCURRENCES_MAX: usize = 20_000;
/// Days by which a wall's date may differ from that in UTC, and one for the clocks' change.
const DAYS_AROUND: u32 = 2;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OccurrenceError {
    #[error("the range ends on {end}, before it starts on {start}; exchange them")]
    Reversed { start: UnixMs, end: UnixMs },
    #[error("the range has {days} days, more than {max}; ask for a part of it")]
    TooLong { days: u64, max: u64 },
    #[error("more than {max} occurrences from {start} to {end}; ask for a shorter time")]
    TooMany { start: UnixMs, end: UnixMs, max: usize },
    #[error("the file has {count} {what}, more than {max}; make two files of it")]
    TooLarge { what: &'static str, count: usize, max: usize },
    #[error("the event {uid:?}: {error}")]
    Zone { uid: String, error: ZoneError },
}

/// What takes place from `start` until before `end`, at least in part, in order.
///
/// # Errors
/// The range is reversed or longer than [`RANGE_DAYS_MAX`], there are more than [`OCCURRENCES_MAX`] in
/// it, the file has more than could have been read, or a zone in it is unknown.
pub fn occurrences(
    file: &File,
    start: UnixMs,
    end: UnixMs,
) -> Result<Vec<Occurrence>, OccurrenceError> {
    check(file, start, end)?;
    let of_file = |error| OccurrenceError::Zone { uid: String::new(), error };
    let instants = Instants::new(&file.zone).map_err(of_file)?;
    let mut expansion = Expansion { start, end, instants };
    let replaced = expansion.replaced(file)?;
    let mut found = Vec::new();
    for event in file.events.iter().filter(|event| !event.cancelled) {
        let of_event = |error| OccurrenceError::Zone { uid: event.uid.clone(), error };
        for (from, to) in expansion.instances(event, &replaced).map_err(of_event)? {
            if found.len() == OCCURRENCES_MAX {
                return Err(OccurrenceError::TooMany { start, end, max: OCCURRENCES_MAX });
            }
            found.push(Occurrence {
                uid: event.uid.clone(),
                summary: event.summary.clone(),
                start: from,
                end: to,
                is_all_day: matches!(event.start, Moment::Day(_)),
            });
        }
    }
    found.sort_by(|a, b| (a.start, a.end, &a.uid).cmp(&(b.start, b.end, &b.uid)));
    Ok(found)
}

fn check(file: &File, start: UnixMs, end: UnixMs) -> Result<(), OccurrenceError> {
    if end < start {
        return Err(OccurrenceError::Reversed { start, end });
    }
    let days = end.since(start).div_ceil(DAY_MS);
    if days > RANGE_DAYS_MAX {
        return Err(OccurrenceError::TooLong { days, max: RANGE_DAYS_MAX });
    }
    let dates = file.events.iter().map(|event| event.added.len().max(event.removed.len()));
    let sizes = [
        ("events", file.events.len(), EVENTS_MAX),
        ("dates in one event", dates.max().unwrap_or_default(), DATES_MAX),
    ];
    match sizes.into_iter().find(|(_, count, max)| count > max) {
        Some((what, count, max)) => Err(OccurrenceError::TooLarge { what, count, max }),
        None => Ok(()),
    }
}

struct Expansion {
    start: UnixMs,
    end: UnixMs,
    instants: Instants,
}

/// By uid the starts of instances in whose place another event is.
type Replaced<'a> = BTreeMap<&'a str, BTreeSet<UnixMs>>;

impl Expansion {
    fn replaced<'a>(&mut self, file: &'a File) -> Result<Replaced<'a>, OccurrenceError> {
        let mut replaced = Replaced::new();
        for event in &file.events {
            let Some(moment) = &event.replaces else { continue };
            let at = self.instants.at(moment);
            let of_event = |error| OccurrenceError::Zone { uid: event.uid.clone(), error };
            replaced.entry(&event.uid).or_default().insert(at.map_err(of_event)?);
        }
        Ok(replaced)
    }

    /// Starts and ends of the instances of one event that are in the range.
    fn instances(
        &mut self,
        event: &Event,
        replaced: &Replaced<'_>,
    ) -> Result<Vec<(UnixMs, UnixMs)>, ZoneError> {
        let mut starts = BTreeMap::new();
        for moment in self.candidates(event)?.into_iter().chain(event.added.iter().cloned()) {
            starts.entry(self.instants.at(&moment)?).or_insert(moment);
        }
        for moment in &event.removed {
            starts.remove(&self.instants.at(moment)?);
        }
        if event.replaces.is_none()
            && let Some(replaced) = replaced.get(event.uid.as_str())
        {
            starts.retain(|start, _| !replaced.contains(start));
        }
        let mut found = Vec::new();
        for (from, moment) in starts {
            let to = self.instants.end(event, &moment)?;
            let is_point = from == to && self.start <= from;
            if from < self.end && (self.start < to || is_point) {
                found.push((from, to));
            }
        }
        Ok(found)
    }

    /// The starts that the event's rule makes about the range, or its only one.
    fn candidates(&mut self, event: &Event) -> Result<Vec<Moment>, ZoneError> {
        let Some(rule) = &event.rule else { return Ok(vec![event.start.clone()]) };
        let day = |at: UnixMs| u32::try_from(at.0 / DAY_MS).unwrap_or(Date::MAX.days());
        let before = DAYS_AROUND + self.length_days(event)?;
        let from = Date::from_days(day(self.start).saturating_sub(before));
        let until = Date::from_days(day(self.end).saturating_add(DAYS_AROUND));
        let mut moments = Vec::new();
        for date in rule.dates(start_date(&event.start), from, until) {
            let moment = on(&event.start, date);
            if self.is_bounded_out(rule, &moment)? {
                break;
            }
            moments.push(moment);
        }
        Ok(moments)
    }

    fn is_bounded_out(&mut self, rule: &Rule, moment: &Moment) -> Result<bool, ZoneError> {
        match &rule.bound {
            Bound::Until(until) => Ok(self.instants.at(until)? < self.instants.at(moment)?),
            Bound::Never | Bound::Count(_) => Ok(false),
        }
    }

    /// Days that cover the event's length.
    fn length_days(&mut self, event: &Event) -> Result<u32, ZoneError> {
        let days = match &event.end {
            End::After { days, seconds } => days.saturating_add(seconds / SECONDS_OF_DAY),
            End::At(end) => {
                let length_ms = self.instants.at(end)?.since(self.instants.at(&event.start)?);
                u32::try_from(length_ms / DAY_MS).unwrap_or(EVENT_DAYS_MAX)
            }
        };
        Ok(days.min(EVENT_DAYS_MAX).saturating_add(1))
    }
}

/// The same time as `start` has, on another date.
fn on(start: &Moment, date: Date) -> Moment {
    match start {
        Moment::Day(_) => Moment::Day(date),
        Moment::Wall { second, zone, .. } => {
            Moment::Wall { date, second: *second, zone: zone.clone() }
        }
        Moment::Utc(at) => Moment::Utc(UnixMs(u64::from(date.days()) * DAY_MS + at.0 % DAY_MS)),
    }
}
