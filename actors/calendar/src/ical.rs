//! Calendar files (iCalendar, RFC 5545): events read from and written for other programs.
//!
//! What can be read is what shifts and absences need: events of a time or of whole days, daily and
//! weekly recurrence, single instances left out, added or changed. What would change when something
//! takes place and is not among this is refused with its line; what describes an event otherwise
//! (place, attendees, alarms) is passed over. A zone is taken by its IANA name; what the file says of
//! its rules is passed over too.
//!
//! Where the letter of the RFC would surprise people: the end of a recurring event is the time on the
//! wall that its first instance ends at, so that a night shift ends at six in the night of the change
//! too (§3.8.5.3 has the exact duration). A recurring start in a gap is read as a single one there would
//! be (§3.3.5), not left out. Lines may end without a carriage return.
//!
//! **Invariants:** sizes are checked before work is done; what was read can be written and read again
//! to the same. **Not here:** what an event means for a roster; the rest of RFC 5545.

mod draft;
mod export;
mod import;
mod instants;
mod line;
mod recurrence;
mod rule;
mod timezone;
mod value;

pub use export::{ExportError, UID_BYTES_MAX, export, shifts};
pub use import::{BYTES_MAX, DATES_MAX, EVENTS_MAX, ImportError, Refusal, import};
pub use line::LINE_BYTES_MAX;
pub use recurrence::{OCCURRENCES_MAX, OccurrenceError, RANGE_DAYS_MAX, occurrences};

use crate::{
    civil::{Date, Weekdays},
    interval::UnixMs,
    zone::Zone,
};

/// What a calendar file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// In which whole days are meant, and were times without a zone.
    pub zone: Zone,
    pub events: Vec<Event>,
}

/// A VEVENT (RFC 5545 §3.6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What names it in every file, at most [`UID_BYTES_MAX`].
    pub uid: String,
    /// What a list shows (SUMMARY); may be empty.
    pub summary: String,
    /// It does not take place (STATUS:CANCELLED).
    pub cancelled: bool,
    /// When the first instance starts (DTSTART).
    pub start: Moment,
    /// When the first instance ends (DTEND, DURATION).
    pub end: End,
    /// How it recurs (RRULE).
    pub rule: Option<Rule>,
    /// Starts of further instances (RDATE).
    pub added: Vec<Moment>,
    /// Starts of instances that are left out (EXDATE).
    pub removed: Vec<Moment>,
    /// The start of the instance, of the event with the same uid, in whose place this one is
    /// (RECURRENCE-ID).
    pub replaces: Option<Moment>,
}

/// When something starts or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// The beginning of a day in the file's zone.
    Day(Date),
    /// A time on the wall of a zone, so many seconds after midnight.
    Wall { date: Date, second: u32, zone: Zone },
    /// An instant, of which whole seconds count.
    Utc(UnixMs),
}

/// Where an event ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// DTEND, exclusive.
    At(Moment),
    /// DURATION: days on the wall, then seconds by the clock.
    After { days: u32, seconds: u32 },
}

/// A recurrence rule (RFC 5545 §3.3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub frequency: Frequency,
    /// Every day or week, every second and so on: 1 to 1,000 (INTERVAL).
    pub interval: u16,
    /// On which days of the week (BYDAY). None is the start's for weekly rules, all for daily ones.
    pub days: Option<Weekdays>,
    pub bound: Bound,
    /// The day on which weeks begin, 0 for Monday.
    pub week_start: u8,
}

/// What recurs (FREQ): days or weeks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frequency {
    Daily,
    Weekly,
}

/// Where recurrence ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    Never,
    /// After so many instances, at least 1; those left out count.
    Count(u32),
    /// Inclusive.
    Until(Moment),
}

/// One instance of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    pub uid: String,
    pub summary: String,
    pub start: UnixMs,
    /// Exclusive; the start if the event has no length.
    pub end: UnixMs,
    pub is_all_day: bool,
}
