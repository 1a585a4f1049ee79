//! Calendar files for other programs.
//!
//! **Invariants:** lines end with CRLF and have at most 75 bytes; a letter is not cut in two; each zone
//! is written out before it is used; what is written is what [`super::import`] takes, to the same
//! events. The same file and stamp give the same bytes. **Not here:** the rules of a zone (`timezone`).

use std::collections::BTreeMap;

use thiserror::Error;

use super::{
    End, Event, File, Moment,
    import::{DATES_MAX, EVENTS_MAX, SUMMARY_BYTES_MAX},
    rule,
    timezone::timezone,
    value::escaped,
};
use crate::{
    civil::{Date, SECONDS_OF_DAY},
    interval::{DAY_MS, UnixMs},
    roster::{ExpandError, Schedule},
    zone::{Reading, Rules, Zone, ZoneError},
};

/// Bytes of a UID (RFC 7986 §5.3 recommends far less).
pub const UID_BYTES_MAX: usize = 255;
/// Bytes of a line without its end (RFC 5545 §3.1).
const FOLD_BYTES: usize = 75;
/// What wrote the file (§3.7.3).
const PRODUCT: &str = "-//Fieldmesh//Fieldmesh//EN";
/// Days for which a zone is written out beyond the start of what recurs: ten years. Programs that know
/// the name go on from there.
const ZONE_DAYS_AHEAD: u32 = 3_660;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExportError {
    #[error("the file has {count} {what}, more than {max}; make two files of it")]
    TooLarge { what: &'static str, count: usize, max: usize },
    #[error("event {number}: its {what} has {bytes} bytes, more than {max}; shorten it")]
    TextTooLong { number: usize, what: &'static str, bytes: usize, max: usize },
    #[error("event {number}: {error}")]
    Zone { number: usize, error: ZoneError },
}

/// What a roster has from `start` until before `end`, an event for each stretch of work, so that breaks
/// and changes of the clocks are in other programs what they are here.
///
/// The uid of a stretch is made of `uid` and its start: it stays the same while the stretch does.
///
/// # Errors
/// The range is reversed or too long.
pub fn shifts(
    schedule: &Schedule<'_>,
    start: UnixMs,
    end: UnixMs,
    uid: &str,
    summary: &str,
) -> Result<File, ExpandError> {
    let zone = &schedule.roster().zone;
    let worked = schedule.intervals(start, end)?;
    let events = worked.into_iter().map(|stretch| Event {
        uid: format!("{}-{uid}", stretch.start.0 / 1000),
        summary: summary.to_owned(),
        cancelled: false,
        start: written_as(schedule.rules(), zone, stretch.start),
        end: End::At(written_as(schedule.rules(), zone, stretch.end)),
        rule: None,
        added: vec![],
        removed: vec![],
        replaces: None,
    });
    Ok(File { zone: zone.clone(), events: events.collect() })
}

/// On the wall where that is read as this instant again, otherwise in UTC: the second of two times
/// cannot be written by the wall (§3.3.5).
fn written_as(rules: &Rules, zone: &Zone, at: UnixMs) -> Moment {
    let (date, second) = rules.wall(at);
    let is_same = rules.instant(date, second, Reading::File) == at;
    if is_same { Moment::Wall { date, second, zone: zone.clone() } } else { Moment::Utc(at) }
}

/// The file as text. `stamp` is when it is made (DTSTAMP).
///
/// # Errors
/// It has more than could be read again, or names a zone that is unknown.
pub fn export(file: &File, stamp: UnixMs) -> Result<String, ExportError> {
    check(file)?;
    let mut text = String::new();
    let mut write = |line: &str| fold(&mut text, line);
    write("BEGIN:VCALENDAR");
    write("VERSION:2.0");
    write(&format!("PRODID:{PRODUCT}"));
    let spans = spans(file, stamp)?;
    let lines =
        spans.iter().flat_map(|(zone, span)| timezone(zone, &span.rules, span.first, span.last));
    lines.for_each(|line| write(&line));
    for event in &file.events {
        lines_of(event, stamp).iter().for_each(|line| write(line));
    }
    write("END:VCALENDAR");
    Ok(text)
}

fn check(file: &File) -> Result<(), ExportError> {
    let too_large = |what, count, max| Err(ExportError::TooLarge { what, count, max });
    if file.events.len() > EVENTS_MAX {
        return too_large("events", file.events.len(), EVENTS_MAX);
    }
    for (number, event) in (1..).zip(&file.events) {
        let dates = event.added.len().max(event.removed.len());
        if dates > DATES_MAX {
            return too_large("dates in one event", dates, DATES_MAX);
        }
        let texts =
            [("uid", &event.uid, UID_BYTES_MAX), ("summary", &event.summary, SUMMARY_BYTES_MAX)];
        if let Some((what, text, max)) = texts.into_iter().find(|(_, text, max)| text.len() > *max)
        {
            return Err(ExportError::TextTooLong { number, what, bytes: text.len(), max });
        }
    }
    Ok(())
}

/// The dates for which a zone is needed.
struct Span {
    rules: Rules,
    first: Date,
    last: Date,
}

fn spans(file: &File, stamp: UnixMs) -> Result<BTreeMap<&Zone, Span>, ExportError> {
    let stamped = u32::try_from(stamp.0 / DAY_MS).map_or(Date::MAX, Date::from_days);
    let mut spans: BTreeMap<&Zone, Span> = BTreeMap::new();
    for (number, event) in (1..).zip(&file.events) {
        let end = match &event.end {
            End::At(end) => Some(end),
            End::After { .. } => None,
        };
        let single = event.added.iter().chain(&event.removed).chain(&event.replaces).chain(end);
        for moment in single.chain([&event.start]) {
            let Moment::Wall { date, zone, .. } = moment else { continue };
            let ahead = if event.rule.is_some() { (*date).max(stamped) } else { *date };
            let days = if event.rule.is_some() { ZONE_DAYS_AHEAD } else { 0 };
            let last = Date::from_days(ahead.days().saturating_add(days));
            if !spans.contains_key(zone) {
                let (_, rules) =
                    zone.rules().map_err(|error| ExportError::Zone { number, error })?;
                spans.insert(zone, Span { rules, first: *date, last });
            }
            if let Some(span) = spans.get_mut(zone) {
                span.first = span.first.min(*date);
                span.last = span.last.max(last);
            }
        }
    }
    Ok(spans)
}

/// The lines of a VEVENT, unfolded.
fn lines_of(event: &Event, stamp: UnixMs) -> Vec<String> {
    let mut lines = vec![
        "BEGIN:VEVENT".to_owned(),
        format!("UID:{}", escaped(&event.uid)),
        format!("DTSTAMP:{}Z", wall_text(stamp)),
        property("DTSTART", &event.start),
    ];
    lines.push(match &event.end {
        End::At(end) => property("DTEND", end),
        End::After { days, seconds: 0 } if *days > 0 => format!("DURATION:P{days}D"),
        End::After { days: 0, seconds } => format!("DURATION:PT{seconds}S"),
        End::After { days, seconds } => format!("DURATION:P{days}DT{seconds}S"),
    });
    lines.extend(event.replaces.iter().map(|one| property("RECURRENCE-ID", one)));
    let rule = event.rule.as_ref().map(|rule| rule::written(rule, value));
    lines.extend(rule.map(|rule| format!("RRULE:{rule}")));
    lines.extend(event.removed.iter().map(|one| property("EXDATE", one)));
    lines.extend(event.added.iter().map(|one| property("RDATE", one)));
    if !event.summary.is_empty() {
        lines.push(format!("SUMMARY:{}", escaped(&event.summary)));
    }
    if event.cancelled {
        lines.push("STATUS:CANCELLED".to_owned());
    }
    lines.push("END:VEVENT".to_owned());
    lines
}

fn property(name: &str, moment: &Moment) -> String {
    match moment {
        Moment::Day(_) => format!("{name};VALUE=DATE:{}", value(moment)),
        Moment::Wall { zone, .. } => format!("{name};TZID={zone}:{}", value(moment)),
        Moment::Utc(_) => format!("{name}:{}", value(moment)),
    }
}

fn value(moment: &Moment) -> String {
    match moment {
        Moment::Day(date) => date_text(*date),
        Moment::Wall { date, second, .. } => {
            let second = (*second).min(SECONDS_OF_DAY - 1);
            format!("{}T{}", date_text(*date), time_text(second))
        }
        Moment::Utc(at) => format!("{}Z", wall_text(*at)),
    }
}

/// An instant as the wall in UTC shows it.
pub(super) fn wall_text(at: UnixMs) -> String {
    let date = u32::try_from(at.0 / DAY_MS).map_or(Date::MAX, Date::from_days);
    let second = u32::try_from(at.0 % DAY_MS / 1000).unwrap_or_default();
    format!("{}T{}", date_text(date), time_text(second))
}

fn date_text(date: Date) -> String {
    date.to_string().replace('-', "")
}

fn time_text(second: u32) -> String {
    format!("{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// Adds a line, folded and ended.
fn fold(text: &mut String, line: &str) {
    let mut length = 0;
    for letter in line.chars() {
        if length + letter.len_utf8() > FOLD_BYTES {
            text.push_str("\r\n ");
            // The space counts.
            length = 1;
        }
        text.push(letter);
        length += letter.len_utf8();
    }
    text.push_str("\r\n");
}
