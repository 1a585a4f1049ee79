//! One VEVENT while its lines are read, and whether they make an event.
//!
//! RFC 5545 §3.6.1. **Invariants:** a property that may stand once and stands twice is refused, and so
//! are times of which one is a day and another is not. **Not here:** single values (`value`, `rule`).

use super::{
    Bound, End, Event, Moment, Rule,
    import::{DATES_MAX, ImportError, Refusal, SUMMARY_BYTES_MAX},
    instants::Instants,
    line::Line,
    rule,
    value::{EVENT_DAYS_MAX, Kind, duration, kind, moment, quoted, text},
};
use crate::{
    civil::Date,
    ical::export::UID_BYTES_MAX,
    interval::{DAY_MS, UnixMs},
    zone::Zone,
};

/// A value with the number of its line.
type Found<T> = Option<(usize, T)>;

pub(super) struct Draft {
    line: usize,
    uid: Found<String>,
    summary: Found<String>,
    cancelled: Found<bool>,
    start: Found<Moment>,
    end: Found<End>,
    /// Read when the start is known.
    rule: Found<String>,
    added: Vec<(usize, Moment)>,
    removed: Vec<(usize, Moment)>,
    replaces: Found<Moment>,
}

impl Draft {
    /// `line` is that of its BEGIN.
    pub(super) fn new(line: usize) -> Self {
        Self {
            line,
            uid: None,
            summary: None,
            cancelled: None,
            start: None,
            end: None,
            rule: None,
            added: vec![],
            removed: vec![],
            replaces: None,
        }
    }

    pub(super) fn add(&mut self, line: &Line, zone: &Zone) -> Result<(), Refusal> {
        let number = line.number;
        let one = || moment(&line.value, &kind(line)?, zone);
        let is_new = match line.name.as_str() {
            "UID" => {
                let uid = bounded(text(&line.value), "UID", UID_BYTES_MAX)?;
                self.uid.replace((number, uid)).is_none()
            }
            "SUMMARY" => {
                let summary = bounded(text(&line.value), "SUMMARY", SUMMARY_BYTES_MAX)?;
                self.summary.replace((number, summary)).is_none()
            }
            "STATUS" => {
                let is_cancelled = match line.value.to_ascii_uppercase().as_str() {
                    "CANCELLED" => true,
                    "CONFIRMED" | "TENTATIVE" => false,
                    _ => return Err(Refusal::Status(quoted(&line.value))),
                };
                self.cancelled.replace((number, is_cancelled)).is_none()
            }
            "DTSTART" => self.start.replace((number, one()?)).is_none(),
            "DTEND" => self.end.replace((number, End::At(one()?))).is_none(),
            "DURATION" => self.end.replace((number, duration(&line.value)?)).is_none(),
            "RRULE" => self.rule.replace((number, line.value.clone())).is_none(),
            "RECURRENCE-ID" => self.replaces.replace((number, one()?)).is_none(),
            // These may be repeated.
            "RDATE" => return several(&mut self.added, line, zone),
            "EXDATE" => return several(&mut self.removed, line, zone),
            "EXRULE" => return Err(Refusal::Property(line.name.clone())),
            _ => true,
        };
        is_new.then_some(()).ok_or_else(|| Refusal::Twice(line.name.clone()))
    }

    /// The event, once its last line was read.
    pub(super) fn finish(self, instants: &mut Instants) -> Result<Event, ImportError> {
        let missing = |what| ImportError { line: self.line, why: Refusal::Missing(what) };
        let (_, uid) = self.uid.ok_or_else(|| missing("UID"))?;
        let (start_line, start) = self.start.ok_or_else(|| missing("DTSTART"))?;
        let is_day = is_day(&start);
        let (end_line, end) = self.end.unwrap_or((start_line, default_end(is_day)));
        check_end(&start, &end, instants).map_err(|why| ImportError { line: end_line, why })?;
        for (line, one) in self.added.iter().chain(&self.removed).chain(&self.replaces) {
            if self::is_day(one) != is_day {
                return Err(ImportError { line: *line, why: Refusal::Mixed });
            }
        }
        let (rule_line, rule) = self.rule.map_or((0, None), |(line, rule)| (line, Some(rule)));
        let rule = rule.map(|rule| checked_rule(&rule, &start, instants)).transpose();
        let rule = rule.map_err(|why| ImportError { line: rule_line, why })?;
        if let (Some(_), Some(_)) = (&rule, &self.replaces) {
            return Err(ImportError { line: rule_line, why: Refusal::RuleOfOverride });
        }
        Ok(Event {
            uid,
            summary: self.summary.map(|(_, summary)| summary).unwrap_or_default(),
            cancelled: self.cancelled.is_some_and(|(_, cancelled)| cancelled),
            start,
            end,
            rule,
            added: self.added.into_iter().map(|(_, one)| one).collect(),
            removed: self.removed.into_iter().map(|(_, one)| one).collect(),
            replaces: self.replaces.map(|(_, one)| one),
        })
    }
}

fn is_day(moment: &Moment) -> bool {
    matches!(moment, Moment::Day(_))
}

/// A day lasts a day, a time no time (§3.6.1).
fn default_end(is_day: bool) -> End {
    End::After { days: u32::from(is_day), seconds: 0 }
}

fn bounded(text: String, property: &'static str, max: usize) -> Result<String, Refusal> {
    if text.len() > max { Err(Refusal::TextTooLong { property, max }) } else { Ok(text) }
}

/// Adds the moments of an RDATE or EXDATE.
fn several(moments: &mut Vec<(usize, Moment)>, line: &Line, zone: &Zone) -> Result<(), Refusal> {
    let kind = kind(line)?;
    for value in line.value.split(',') {
        if moments.len() == DATES_MAX {
            return Err(Refusal::TooManyDates { max: DATES_MAX });
        }
        moments.push((line.number, moment(value, &kind, zone)?));
    }
    Ok(())
}

/// An event ends after it starts, within a bound, and as a day if it starts as one.
fn check_end(start: &Moment, end: &End, instants: &mut Instants) -> Result<(), Refusal> {
    match end {
        End::At(end) if is_day(start) != is_day(end) => Err(Refusal::Mixed),
        End::After { seconds, .. } if is_day(start) && *seconds > 0 => Err(Refusal::Mixed),
        End::After { .. } => Ok(()),
        End::At(end) => {
            let (from, to) = (instants.at(start), instants.at(end));
            let (from, to) = (from.map_err(Refusal::Zone)?, to.map_err(Refusal::Zone)?);
            if to <= from {
                return Err(Refusal::EndNotAfter);
            }
            let is_long = to.since(from) > u64::from(EVENT_DAYS_MAX) * DAY_MS;
            if is_long { Err(Refusal::TooLong { max: EVENT_DAYS_MAX }) } else { Ok(()) }
        }
    }
}

/// A rule whose UNTIL is a day for days and otherwise an instant, and that has the start.
fn checked_rule(value: &str, start: &Moment, instants: &mut Instants) -> Result<Rule, Refusal> {
    let until = |text: &str| match start {
        Moment::Day(_) => moment(text, &Kind::Day, &Zone::utc()),
        Moment::Wall { zone, .. } => moment(text, &Kind::Time(None), zone),
        Moment::Utc(_) => moment(text, &Kind::Time(None), &Zone::utc()),
    };
    let mut rule = rule::rule(value, until)?;
    if let Bound::Until(until @ Moment::Wall { .. }) = &rule.bound {
        // It should be in UTC; otherwise the start's zone is meant.
        rule.bound = Bound::Until(Moment::Utc(instants.at(until).map_err(Refusal::Zone)?));
    }
    let date = start_date(start);
    if rule.has(date, date) { Ok(rule) } else { Err(Refusal::StartNotInRule) }
}

/// The date that a rule counts from: on the wall, or in UTC.
pub(super) fn start_date(start: &Moment) -> Date {
    match start {
        Moment::Day(date) | Moment::Wall { date, .. } => *date,
        Moment::Utc(UnixMs(ms)) => {
            u32::try_from(ms / DAY_MS).map(Date::from_days).unwrap_or(Date::MAX)
        }
    }
}
