//! Moments of a file as instants, and where its events end.
//!
//! **Invariants:** times on walls are read as files are (`zone::Reading::File`), days begin with their
//! first instant; an end is never before its start. **Not here:** which instances there are.

use std::collections::BTreeMap;

use super::{End, Event, Moment};
use crate::{
    civil::{Date, SECONDS_OF_DAY},
    interval::{DAY_MS, UnixMs},
    zone::{Reading, Rules, Zone, ZoneError},
};

/// The rules of the zones that were needed so far.
pub(super) struct Instants {
    days_in: Rules,
    zones: BTreeMap<Zone, Rules>,
}

impl Instants {
    /// `zone` is where whole days are meant.
    pub(super) fn new(zone: &Zone) -> Result<Self, ZoneError> {
        let (_, days_in) = zone.rules()?;
        Ok(Self { days_in, zones: BTreeMap::new() })
    }

    fn rules(&mut self, zone: &Zone) -> Result<&Rules, ZoneError> {
        if !self.zones.contains_key(zone) {
            let (_, rules) = zone.rules()?;
            self.zones.insert(zone.clone(), rules);
        }
        Ok(self.zones.get(zone).unwrap_or(&self.days_in))
    }

    pub(super) fn at(&mut self, moment: &Moment) -> Result<UnixMs, ZoneError> {
        match moment {
            Moment::Day(date) => Ok(self.days_in.instant(*date, 0, Reading::Start)),
            Moment::Wall { date, second, zone } => {
                Ok(self.rules(zone)?.instant(*date, *second, Reading::File))
            }
            Moment::Utc(at) => Ok(UnixMs(at.0 / 1000 * 1000)),
        }
    }

    /// Where the instance of `event` that starts at `start` ends.
    pub(super) fn end(&mut self, event: &Event, start: &Moment) -> Result<UnixMs, ZoneError> {
        let from = self.at(start)?;
        let end = match &event.end {
            End::After { days, seconds } => {
                let day = self.at(&later(start, *days))?;
                day.plus(u64::from(*seconds) * 1000)
            }
            End::At(end) if *start == event.start => self.at(end)?,
            End::At(end) => match on_the_wall(&event.start, end, start) {
                Some(end) => self.at(&end)?,
                None => {
                    let length_ms = self.at(end)?.since(self.at(&event.start)?);
                    from.plus(length_ms)
                }
            },
        };
        Ok(end.max(from))
    }
}

/// The same time so many days later.
fn later(moment: &Moment, days: u32) -> Moment {
    match moment {
        Moment::Day(date) => Moment::Day(date.plus(days)),
        Moment::Wall { date, second, zone } => {
            Moment::Wall { date: date.plus(days), second: *second, zone: zone.clone() }
        }
        Moment::Utc(at) => Moment::Utc(at.plus(u64::from(days) * DAY_MS)),
    }
}

/// The end that is as far from `start` on the wall as `end` is from `first`. None if they are not on
/// one wall.
fn on_the_wall(first: &Moment, end: &Moment, start: &Moment) -> Option<Moment> {
    match (first, end, start) {
        (Moment::Day(first), Moment::Day(end), Moment::Day(start)) => {
            Some(Moment::Day(start.plus(end.days().saturating_sub(first.days()))))
        }
        (
            Moment::Wall { date: first, second: from, zone },
            Moment::Wall { date: end, second: to, zone: same },
            Moment::Wall { date: start, second, zone: here },
        ) if zone == same => {
            let length = seconds(*end, *to).saturating_sub(seconds(*first, *from));
            let end = seconds(*start, *second) + length;
            let day = u64::from(SECONDS_OF_DAY);
            let date = Date::from_days(u32::try_from(end / day).ok()?);
            let second = u32::try_from(end % day).ok()?;
            Some(Moment::Wall { date, second, zone: here.clone() })
        }
        _ => None,
    }
}

fn seconds(date: Date, second: u32) -> u64 {
    u64::from(date.days()) * u64::from(SECONDS_OF_DAY) + u64::from(second)
}
