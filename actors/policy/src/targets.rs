//! The document of calendars and of what is promised.
//!
//! ```toml
//! [[calendar]]
//! name = "office"
//! zone = "Europe/Berlin"
//! hours = [{ days = "MO,TU,WE,TH,FR", from = "08:00", until = "18:00" }]
//! holidays = ["2026-12-25"]
//!
//! [[calendar.date]]
//! date = "2026-12-24"
//! from = "08:00"
//! until = "12:00"
//!
//! [[target]]
//! name = "gold"
//! tiers = [1]
//! calendar = "office"
//! respond = "15m"
//! finish = "8h"
//! ```
//!
//! The first target whose lists fit a ticket is promised. The calendar `always` is day and night.
//!
//! **Invariants:** a calendar that was read has no faults, and a target names one that there is; what is
//! promised can be kept within the year. **Not here:** counting (the calendar's package).

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_calendar::{
    civil::{Date, TimeOfDay, Weekdays},
    interval::UnixMs,
    roster::{HOLIDAYS_MAX, OVERRIDES_MAX, Override, ROWS_MAX, Roster, Row},
    shift::Shift,
    sla::{Calendar, Pauses, due},
    zone::Zone,
};
use fieldmesh_domain::ticket::Target;
use fieldmesh_rules::reading::{Fields, Findings, Read, Refused, meant, read};
use toml::{Spanned, de::DeValue};

use crate::{
    DOCUMENT_BYTES_MAX,
    applies::{self, Applies, Ticket},
    duration::{seconds, written},
    policies::name_of,
};

/// Calendars of a document.
pub const CALENDARS_MAX: usize = 32;
/// Targets of a document: each is looked at for every ticket until one fits.
pub const TARGETS_MAX: usize = 128;
/// Days that differ from a calendar's week: a ticket keeps the calendar, so that they are few.
const DATES_MAX: usize = 64;
/// The calendar that is always there.
const ALWAYS: &str = "always";
/// Seconds that a target may have: ten seconds to a quarter of a year of opening hours.
const TARGET_S: (u64, u64) = (10, 92 * 86_400);

/// What is promised to which tickets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    pub calendars: BTreeMap<String, Calendar>,
    pub promises: Vec<Promise>,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    pub name: String,
    pub applies: Applies,
    pub calendar: String,
    pub respond_s: Option<u64>,
    pub finish_s: Option<u64>,
}

impl Targets {
    /// What is promised for a ticket, as the ticket keeps it.
    pub fn target_of(&self, ticket: &Ticket, version: u32) -> Option<Target> {
        let promise = self.promises.iter().find(|one| one.applies.to(ticket))?;
        Some(Target {
            name: promise.name.clone(),
            version,
            respond_ms: promise.respond_s.map(|seconds| seconds * 1000),
            finish_ms: promise.finish_s.map(|seconds| seconds * 1000),
            calendar: self.calendars.get(&promise.calendar).cloned().unwrap_or(Calendar::Always),
        })
    }
}

/// # Errors
/// Everything that is wrong with the document, with line, column and remedy.
pub fn read_targets(text: &str) -> Result<Read<Targets>, Refused> {
    read(text, DOCUMENT_BYTES_MAX, |document, findings| {
        document.only(findings, &["calendar", "target"]);
        let mut calendars = BTreeMap::new();
        let mut names = BTreeSet::from([ALWAYS.to_owned()]);
        for fields in document.tables(findings, "calendar", CALENDARS_MAX) {
            let Some((at, name)) = name_of(&fields, findings, "name") else { continue };
            let within = format!("calendar `{name}`");
            let fields = fields.within(Some(&within));
            if !names.insert(name.clone()) {
                let text = "another calendar has this name; rename one of them";
                fields.error(findings, at, text.to_owned());
            }
            // Its name is known also where it has errors of its own.
            if let Some(calendar) = calendar(&fields, findings) {
                calendars.insert(name, calendar);
            }
        }
        let tables = document.tables(findings, "target", TARGETS_MAX);
        let mut promises: Vec<Promise> = Vec::new();
        for fields in &tables {
            if let Some(promise) = promise(fields, &names, &promises, findings) {
                promises.push(promise);
            }
        }
        Targets { calendars, promises }
    })
}

fn calendar(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<Calendar> {
    fields.only(findings, &["name", "zone", "hours", "holidays", "date"]);
    let zone = zone(fields, findings);
    let rows = rows(fields, findings);
    let holidays = holidays(fields, findings);
    let overrides = dates(fields, findings);
    let roster = Roster { zone: zone?, rows: rows?, overrides: overrides?, holidays: holidays? };
    if let Err(faults) = roster.validate() {
        // A row is one of the list, in its order.
        for fault in faults.0 {
            let at = fields.value("hours").map_or(fields.place(), |value| value.span().start);
            fields.error(findings, at, fault.to_string());
        }
        return None;
    }
    let calendar = Calendar::Hours(roster);
    let opens = calendar.hours().is_ok_and(|hours| {
        // A moment of an open calendar passes within the bounded look of the clock.
        due(UnixMs(REFERENCE_MS), 1, &hours, &Pauses::none()).is_some()
    });
    if !opens {
        let text = "the calendar never opens, so that nothing is ever due; give it `hours`";
        fields.error(findings, fields.place(), text.to_owned());
        return None;
    }
    Some(calendar)
}

/// 2025-01-01: whether a calendar opens is asked from there, so that the answer is the same each day.
const REFERENCE_MS: u64 = 1_735_689_600_000;

fn zone(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<Zone> {
    let (span, text) = fields.string(findings, "zone")?;
    let named = Zone::new(text).and_then(|zone| zone.rules());
    match named {
        Ok((zone, _)) => Some(zone),
        Err(error) => {
            fields.error(findings, span.start, error.to_string());
            None
        }
    }
}

fn rows(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<Vec<Row>> {
    let list = fields.list(findings, "hours", ROWS_MAX)?;
    let rows: Vec<Option<Row>> = list.into_iter().map(|item| row(fields, item, findings)).collect();
    rows.into_iter().collect()
}

fn row<'a, 'd>(
    fields: &Fields<'a, 'd>,
    item: &'a Spanned<DeValue<'d>>,
    findings: &mut Findings<'_>,
) -> Option<Row> {
    let table = fields.as_table(findings, item, "hours")?;
    let hours = fields.inner(table, item.span().start, "hours");
    hours.only(findings, &["days", "from", "until", "overnight"]);
    let days = text(&hours, findings, "days", Weekdays::parse);
    let shift = shift(&hours, findings);
    Some(Row::weekly(days?, shift?))
}

fn shift(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<Shift> {
    let from = text(fields, findings, "from", TimeOfDay::parse);
    let until = text(fields, findings, "until", TimeOfDay::parse);
    let overnight = fields.flag(findings, "overnight").unwrap_or(false);
    let (from, until) = (from?, until?);
    if overnight == (from < until) {
        let at = fields.value("until").map_or(fields.place(), |value| value.span().start);
        let text = if overnight {
            format!("from {from} to {until} is within a day; leave out `overnight`")
        } else {
            format!(
                "it closes at {until}, before it opens at {from}; exchange them, or say \
                 `overnight = true` if it closes on the next day"
            )
        };
        fields.error(findings, at, text);
        return None;
    }
    Some(Shift { overnight, ..Shift::day(from, until) })
}

/// A text that means something.
fn text<T, E: ToString>(
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let (span, text) = fields.string(findings, name)?;
    match parse(text) {
        Ok(value) => Some(value),
        Err(error) => {
            fields.error(findings, span.start, error.to_string());
            None
        }
    }
}

fn holidays(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<BTreeSet<Date>> {
    let Some(value) = fields.value("holidays") else { return Some(BTreeSet::new()) };
    let list = fields.as_list(findings, value, "holidays", HOLIDAYS_MAX)?;
    let mut holidays = BTreeSet::new();
    for item in list {
        let (span, text) = fields.as_string(findings, item, "holidays")?;
        match Date::parse(text) {
            Ok(date) => _ = holidays.insert(date),
            Err(error) => fields.error(findings, span.start, error.to_string()),
        }
    }
    Some(holidays)
}

/// Single dates with other hours, or with none.
fn dates(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<BTreeMap<Date, Override>> {
    let mut dates = BTreeMap::new();
    for one in fields.tables(findings, "date", DATES_MAX.min(OVERRIDES_MAX)) {
        one.only(findings, &["date", "from", "until", "overnight", "closed"]);
        let date = text(&one, findings, "date", Date::parse);
        let hours = match one.flag(findings, "closed") {
            Some(true) => Some(Override::Off),
            _ => shift(&one, findings).map(|shift| Override::Shifts(vec![shift])),
        };
        let (date, hours) = (date?, hours?);
        if dates.insert(date, hours).is_some() {
            let text = format!("{date} is there twice; leave out one of them");
            one.error(findings, one.place(), text);
        }
    }
    Some(dates)
}

fn promise(
    fields: &Fields<'_, '_>,
    calendars: &BTreeSet<String>,
    before: &[Promise],
    findings: &mut Findings<'_>,
) -> Option<Promise> {
    let named = name_of(fields, findings, "name");
    let within = named.as_ref().map(|(_, name)| format!("target `{name}`"));
    let fields = fields.within(within.as_deref());
    let [priorities, categories, tiers] = applies::FIELDS;
    let known = ["name", priorities, categories, tiers, "calendar", "respond", "finish"];
    fields.only(findings, &known);
    let applies = Applies::read(&fields, findings);
    let calendar = calendar_of(&fields, calendars, findings);
    let respond_s = span(&fields, "respond", findings);
    let finish_s = span(&fields, "finish", findings);
    if fields.value("respond").is_none() && fields.value("finish").is_none() {
        let text = "the target promises nothing; give it `respond`, `finish` or both";
        fields.error(findings, fields.place(), text.to_owned());
    }
    if let (Some(respond), Some(finish)) = (respond_s, finish_s)
        && respond > finish
    {
        let at = fields.value("respond").map_or(fields.place(), |value| value.span().start);
        let text = "it may take longer to respond than to finish; exchange them";
        fields.error(findings, at, text.to_owned());
    }
    let (at, name) = named?;
    if before.iter().any(|other| other.name == name) {
        let text = "another target has this name; rename one of them";
        fields.error(findings, at, text.to_owned());
    } else if let Some(other) = before.iter().find(|other| other.applies.covers(&applies)) {
        let text = format!(
            "target `{}` above fits every ticket that this one fits, so that nothing leads here; \
             move it up, or narrow the other one",
            other.name
        );
        findings.warn(at, within.as_deref(), text);
    }
    Some(Promise { name, applies, calendar: calendar?, respond_s, finish_s })
}

fn calendar_of(
    fields: &Fields<'_, '_>,
    calendars: &BTreeSet<String>,
    findings: &mut Findings<'_>,
) -> Option<String> {
    let (span, name) = fields.string(findings, "calendar")?;
    if calendars.contains(name) {
        return Some(name.to_owned());
    }
    let meant = match meant(name, calendars.iter().map(String::as_str)) {
        none if none.is_empty() => "; write it above, or use `always`".to_owned(),
        meant => meant,
    };
    let name = name.escape_debug();
    fields.error(findings, span.start, format!("there is no calendar `{name}`{meant}"));
    None
}

fn span(fields: &Fields<'_, '_>, name: &str, findings: &mut Findings<'_>) -> Option<u64> {
    let (span, text) = fields.as_string(findings, fields.value(name)?, name)?;
    let (min, max) = TARGET_S;
    match seconds(text) {
        Some(seconds) if (min..=max).contains(&seconds) => Some(seconds),
        Some(_) => {
            let text =
                format!("`{name}` is {text}, not {} to {}; change it", written(min), written(max));
            fields.error(findings, span.start, text);
            None
        }
        None => {
            let text = text.escape_debug();
            let text = format!("`{name}` is \"{text}\", no span of time; write it as 15m or 4h");
            fields.error(findings, span.start, text);
            None
        }
    }
}
