//! Zones of the IANA database, and the rule by which civil time becomes an instant.
//!
//! When clocks are put forward some civil times do not occur (a gap); when they are put back some
//! occur twice (a fold). The rule for whatever people plan, in [`Reading`]:
//!
//! - in a gap, start and end are the first instant after it;
//! - in a fold, a start is the earlier and an end is the later of the two.
//!
//! So nobody is missing while the wall shows a time that somebody was to work at; what lies in a gap
//! altogether does not take place; and a night shift has seven or nine hours. A break has a start and
//! an end by the same rule.
//!
//! **Invariants:** a name is known to the database that is built in, in its spelling; the rule is here
//! and nowhere else. **Not here:** fixed offsets, which are no zones, and the machine's own zone.

mod nearest;

use std::fmt;

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{TimeZone, TimeZoneDatabase, TimeZoneTransition},
};
use minicbor::{Decode, Encode};
use thiserror::Error;

use crate::{
    civil::{Date, QUOTED_MAX, SECONDS_OF_DAY},
    interval::UnixMs,
};

/// Bytes of a name: twice the longest of the database.
pub const NAME_BYTES_MAX: usize = 64;
/// The zone of UTC.
pub const UTC: &str = "UTC";
/// Names of the database that say a zone is not known.
const NO_ZONES: [&str; 2] = ["Factory", "Etc/Unknown"];
/// Seconds by which a wall is at most ahead of UTC or behind it, with an hour to spare: fifteen hours.
const OFFSET_MAX: i64 = 15 * 3600;
/// Transitions looked at to find that of a gap: the next one is it, save where a zone changes only the
/// name of its time in between.
const GAP_TRANSITIONS_MAX: usize = 4;

/// The name of a zone. What is stored may be of a newer database, so that it is looked up when used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Zone(#[n(0)] String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ZoneError {
    #[error("{name:?} is no zone of the IANA database; {hint}", hint = hint(.nearest.as_deref()))]
    Unknown { name: String, nearest: Option<String> },
}

/// How a civil time is meant where the clocks change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Something starts: of two the earlier; in a gap the first instant after it.
    Start,
    /// Something ends: of two the later; in a gap the first instant after it.
    End,
    /// As calendar files are to be read (RFC 5545 §3.3.5): of two the earlier; in a gap by the offset
    /// before it, that is as much later as the gap is long.
    File,
}

/// What a zone's clocks show and showed.
#[derive(Debug, Clone)]
pub struct Rules {
    zone: TimeZone,
}

fn hint(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!("is {name} meant?"),
        None => "write it as Europe/Berlin".to_owned(),
    }
}

impl Zone {
    /// The zone of that name, in whatever case it is written.
    ///
    /// # Errors
    /// The database has no such name, or it means that the zone is not known.
    pub fn new(name: &str) -> Result<Self, ZoneError> {
        Self(name.to_owned()).rules().map(|(zone, _)| zone)
    }

    pub fn utc() -> Self {
        Self(UTC.to_owned())
    }

    /// Its name in the database, as `Europe/Berlin`.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The zone in the database's spelling, and its rules.
    ///
    /// # Errors
    /// The database has no such name, or it means that the zone is not known.
    pub fn rules(&self) -> Result<(Self, Rules), ZoneError> {
        let refused = NO_ZONES.iter().any(|name| name.eq_ignore_ascii_case(&self.0));
        let found = (self.0.len() <= NAME_BYTES_MAX && !refused)
            .then(|| TimeZoneDatabase::bundled().get(&self.0).ok())
            .flatten();
        let named = found.and_then(|zone| Some((Self(zone.iana_name()?.to_owned()), zone)));
        match named {
            Some((name, zone)) => Ok((name, Rules { zone })),
            None => Err(ZoneError::Unknown {
                name: self.0.chars().take(QUOTED_MAX).collect(),
                nearest: nearest::nearest(&self.0),
            }),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All names of the database that is built in, some 600, in its order.
pub fn names() -> Vec<String> {
    let names = TimeZoneDatabase::bundled();
    let names = names.available().map(|name| name.as_str().to_owned());
    names.filter(|name| !NO_ZONES.contains(&name.as_str())).collect()
}

impl Rules {
    /// The instant at which the wall shows that date and so many seconds after midnight.
    ///
    /// A second of the day above 86,399 is the last one. An instant before 1970 is 1970-01-01.
    pub fn instant(&self, date: Date, second: u32, reading: Reading) -> UnixMs {
        let wall = i64::from(date.days()) * i64::from(SECONDS_OF_DAY)
            + i64::from(second.min(SECONDS_OF_DAY - 1));
        // Which offset an instant has is never in doubt, so the walls that are possible here are tried
        // with it. (The database's own way back errs where its last single transition meets its rule:
        // America/Nuuk has no fold in October 2023.)
        let near = [wall - OFFSET_MAX, wall, wall + OFFSET_MAX].map(|at| self.offset_s(at));
        let shown = near.iter().map(|offset| wall - offset);
        let shown = shown.filter(|at| at + self.offset_s(*at) == wall);
        let at = match reading {
            Reading::Start | Reading::File => shown.min(),
            Reading::End => shown.max(),
        };
        let [before, _, after] = near;
        let at = at.unwrap_or_else(|| match reading {
            Reading::Start | Reading::End => self.after_gap(wall, wall - after, wall - before),
            Reading::File => wall - before,
        });
        UnixMs(u64::try_from(at).unwrap_or_default().saturating_mul(1000))
    }

    /// The first instant after the gap that `wall` is in: later than `early`, at the latest `late`. All
    /// in seconds.
    fn after_gap(&self, wall: i64, early: i64, late: i64) -> i64 {
        let from = Timestamp::from_second(early).unwrap_or(Timestamp::MAX);
        let mut starts = self.zone.following(from).take(GAP_TRANSITIONS_MAX).map(|next| {
            let at = next.timestamp().as_second();
            (at, at + i64::from(next.offset().seconds()))
        });
        let found = starts.find(|(_, shown)| *shown > wall);
        found.map_or(late, |(at, _)| at.min(late))
    }

    /// Seconds by which the wall is ahead of UTC, `at` seconds after 1970.
    fn offset_s(&self, at: i64) -> i64 {
        let at = Timestamp::from_second(at).unwrap_or(Timestamp::MAX);
        i64::from(self.zone.to_offset(at).seconds())
    }

    /// What the wall shows. Every instant has one.
    pub fn datetime(&self, at: UnixMs) -> DateTime {
        self.zone.to_datetime(to_timestamp(at))
    }

    /// The date on the wall, and the seconds after midnight.
    pub fn wall(&self, at: UnixMs) -> (Date, u32) {
        let wall = self.datetime(at);
        let part = |number: i8| u32::try_from(number).unwrap_or_default();
        let second = part(wall.hour()) * 3600 + part(wall.minute()) * 60 + part(wall.second());
        (Date::from_jiff(wall.date()).unwrap_or(Date::MIN), second)
    }

    /// The transitions after `from`, at most `count` of them.
    pub(crate) fn transitions(
        &self,
        from: UnixMs,
        count: usize,
    ) -> impl Iterator<Item = TimeZoneTransition<'_>> {
        self.zone.following(to_timestamp(from)).take(count)
    }

    /// Seconds by which the wall is ahead of UTC, and what that time is called.
    pub(crate) fn offset(&self, at: UnixMs) -> (i32, String) {
        let info = self.zone.to_offset_info(to_timestamp(at));
        (info.offset().seconds(), info.abbreviation().to_owned())
    }
}

fn to_timestamp(at: UnixMs) -> Timestamp {
    let ms = i64::try_from(at.0).ok();
    ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}
