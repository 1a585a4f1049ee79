//! A calendar file from outside, line by line.
//!
//! **Invariants:** the file's size is checked before it is read; the first thing that is refused ends
//! the reading, with its line; nothing of a refused file is used. **Not here:** lines (`line`),
//! what makes an event (`draft`).

use std::collections::BTreeSet;

use thiserror::Error;

use super::{
    File,
    draft::Draft,
    instants::Instants,
    line::{Line, Lines},
    value::quoted,
};
use crate::zone::{Zone, ZoneError};

/// Bytes of a file: a year of a desk's shifts ten times.
pub const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Events of a file.
pub const EVENTS_MAX: usize = 4_096;
/// RDATEs of an event, and as many EXDATEs: daily for five years.
pub const DATES_MAX: usize = 2_000;
/// Bytes of a SUMMARY: it is shown in a list, and copied with each occurrence.
pub(super) const SUMMARY_BYTES_MAX: usize = 1_024;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {why}")]
pub struct ImportError {
    /// From 1; of a folded line the first.
    pub line: usize,
    pub why: Refusal,
}

/// Why a file is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("the file has {bytes} bytes, more than {max}; export a shorter time")]
    TooLarge { bytes: usize, max: usize },
    #[error("it has more than {max} bytes; shorten the text")]
    LineTooLong { max: usize },
    #[error("it is not UTF-8 text, or has control characters; save the file as UTF-8")]
    NotText,
    #[error("it is not written as NAME:value; is this a calendar file?")]
    NoLine,
    #[error("a calendar file begins with BEGIN:VCALENDAR, and every line is within one")]
    NotCalendar,
    #[error("the file ends within {0}; export it again, it was cut off")]
    Unclosed(String),
    #[error("END:{found} does not close {open}; export the file again")]
    WrongEnd { found: String, open: String },
    #[error("{0} is not read here; export events only")]
    Component(String),
    #[error("version {0:?} is not read; export the calendar as version 2.0")]
    Version(String),
    #[error(
        "a calendar with the method {0:?} changes what others have; export it as a file instead"
    )]
    Method(String),
    #[error("more than {max} events; export a shorter time")]
    TooManyEvents { max: usize },
    #[error("more than {max} dates that are added or left out; make two events of it")]
    TooManyDates { max: usize },
    #[error("{0} stands twice in one event; remove one")]
    Twice(String),
    #[error("the event has no {0}; add it")]
    Missing(&'static str),
    #[error("{0} is not read here; use RRULE with EXDATE and RDATE")]
    Property(String),
    #[error(
        "the parameter {parameter} of {property} is not read as it stands; use TZID, or VALUE=DATE"
    )]
    Parameter { property: String, parameter: String },
    #[error("{property} has more than {max} bytes; shorten it")]
    TextTooLong { property: &'static str, max: usize },
    #[error("the status {0:?} is unknown; use CONFIRMED, TENTATIVE or CANCELLED")]
    Status(String),
    #[error(
        "{0:?} is no date or time of 1970 to 2199; write 20260329 with VALUE=DATE, or 20260329T013000"
    )]
    Time(String),
    #[error("{0:?} is no duration; write it as P1D or PT8H30M")]
    Duration(String),
    #[error("an event of more than {max} days; use a rule, or several events")]
    TooLong { max: u32 },
    #[error("{0}")]
    Zone(ZoneError),
    #[error("a whole day has no TZID; remove it")]
    DayWithZone,
    #[error("a time in UTC, with Z, has no TZID; remove one of the two")]
    UtcWithZone,
    #[error("the end is not after the start; correct DTEND, or remove it")]
    EndNotAfter,
    #[error("it is a day and the start a time, or the other way round; use one kind in an event")]
    Mixed,
    #[error(
        "{0:?} is not read in a rule; use FREQ=DAILY or WEEKLY, and INTERVAL, BYDAY, COUNT or UNTIL, \
         and WKST, each once"
    )]
    RulePart(String),
    #[error("an event in the place of one instance has no rule of its own; remove RRULE")]
    RuleOfOverride,
    #[error("the start is not on a day of the rule; move DTSTART to the first instance")]
    StartNotInRule,
    #[error("the event {0:?} stands twice in the file; remove one")]
    EventTwice(String),
}

/// Reads a file. `zone` is where whole days are meant, and times that name no zone.
///
/// # Errors
/// The first line that is not understood, or that asks for more than is read here.
pub fn import(bytes: &[u8], zone: &Zone) -> Result<File, ImportError> {
    if bytes.len() > BYTES_MAX {
        let why = Refusal::TooLarge { bytes: bytes.len(), max: BYTES_MAX };
        return Err(ImportError { line: 1, why });
    }
    let at_first = |error| ImportError { line: 1, why: Refusal::Zone(error) };
    let (zone, _) = zone.rules().map_err(at_first)?;
    let instants = Instants::new(&zone).map_err(at_first)?;
    let file = File { zone, events: vec![] };
    let mut reader = Reader {
        file,
        instants,
        open: vec![],
        draft: None,
        known: BTreeSet::new(),
        has_calendar: false,
    };
    let mut last = 1;
    for line in Lines::new(bytes) {
        let line = line?;
        last = line.number;
        reader.read(&line)?;
    }
    match reader.open.pop() {
        Some(open) => Err(ImportError { line: last, why: Refusal::Unclosed(open) }),
        None if !reader.has_calendar => Err(ImportError { line: last, why: Refusal::NotCalendar }),
        None => Ok(reader.file),
    }
}

struct Reader {
    file: File,
    instants: Instants,
    /// Names of the components that are open; at most three, by [`may_be_in`].
    open: Vec<String>,
    draft: Option<Draft>,
    /// Events by uid and what they replace.
    known: BTreeSet<(String, Option<u64>)>,
    has_calendar: bool,
}

/// Which component may be within which.
fn may_be_in(outer: Option<&str>, inner: &str) -> bool {
    matches!(
        (outer, inner),
        (None, "VCALENDAR")
            | (Some("VCALENDAR"), "VEVENT" | "VTIMEZONE")
            | (Some("VEVENT"), "VALARM")
            | (Some("VTIMEZONE"), "STANDARD" | "DAYLIGHT")
    )
}

impl Reader {
    fn read(&mut self, line: &Line) -> Result<(), ImportError> {
        let refuse = |why| ImportError { line: line.number, why };
        match (line.name.as_str(), self.open.last().map(String::as_str)) {
            ("BEGIN", _) => self.begin(line).map_err(refuse),
            (_, None) => Err(refuse(Refusal::NotCalendar)),
            ("END", _) => self.end(line),
            ("VERSION", Some("VCALENDAR")) if line.value != "2.0" => {
                Err(refuse(Refusal::Version(quoted(&line.value))))
            }
            ("METHOD", Some("VCALENDAR"))
                if !matches!(line.value.to_ascii_uppercase().as_str(), "PUBLISH" | "REQUEST") =>
            {
                Err(refuse(Refusal::Method(quoted(&line.value))))
            }
            (_, Some("VEVENT")) => match &mut self.draft {
                Some(draft) => draft.add(line, &self.file.zone).map_err(refuse),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn begin(&mut self, line: &Line) -> Result<(), Refusal> {
        let name = line.value.to_ascii_uppercase();
        let outer = self.open.last().map(String::as_str);
        if !may_be_in(outer, &name) {
            let why = Refusal::Component(quoted(&line.value));
            return Err(if outer.is_none() { Refusal::NotCalendar } else { why });
        }
        if name == "VEVENT" {
            if self.file.events.len() == EVENTS_MAX {
                return Err(Refusal::TooManyEvents { max: EVENTS_MAX });
            }
            self.draft = Some(Draft::new(line.number));
        }
        self.has_calendar = true;
        self.open.push(name);
        Ok(())
    }

    fn end(&mut self, line: &Line) -> Result<(), ImportError> {
        let refuse = |why| ImportError { line: line.number, why };
        let open = self.open.pop().unwrap_or_default();
        if !open.eq_ignore_ascii_case(&line.value) {
            return Err(refuse(Refusal::WrongEnd { found: quoted(&line.value), open }));
        }
        let Some(draft) = self.draft.take_if(|_| open == "VEVENT") else { return Ok(()) };
        let event = draft.finish(&mut self.instants)?;
        let replaced = event.replaces.as_ref().map(|moment| self.instants.at(moment)).transpose();
        let replaced = replaced.map_err(|error| refuse(Refusal::Zone(error)))?;
        if !self.known.insert((event.uid.clone(), replaced.map(|at| at.0))) {
            return Err(refuse(Refusal::EventTwice(quoted(&event.uid))));
        }
        self.file.events.push(event);
        Ok(())
    }
}
