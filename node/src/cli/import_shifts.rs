//! A table of rosters: each row is a shift of a week or of a date, rows of one technician make its roster.
//!
//! **Invariants:** a technician's roster is set as a whole, or not at all where one row of the table is bad; the
//! same table again changes nothing. **Not here:** reading tables (`import`), what is right
//! (`domain::technician`).

use std::collections::BTreeMap;

use super::{
    CliError, Output,
    import::{Bad, Columns, Fault, Good, read, report},
    import_check::{Row, all_or_none},
    lists::{ImportArgs, plain},
};
use crate::{
    rosters::{DateText, RosterText, RosterTextError, ShiftText},
    web::shifts::NewRoster,
};

/// A row of the table. `days` is for a shift of the week, `date` for one of a single date; a date without
/// start and end is a day off.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ShiftRow {
    technician: String,
    zone: String,
    #[serde(default)]
    days: String,
    #[serde(default)]
    date: String,
    #[serde(default)]
    start: String,
    #[serde(default)]
    end: String,
    /// `yes` where it ends on the next day.
    #[serde(default)]
    overnight: String,
    /// As `12:00-12:30`, separated by spaces.
    #[serde(default)]
    breaks: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    until: String,
    #[serde(default)]
    skill: String,
}

impl Columns for ShiftRow {
    const NEEDED: &[&str] = &["technician", "zone", "start", "end"];
}

/// A row that is right by itself.
struct Planned {
    technician: String,
    zone: String,
    what: What,
}

enum What {
    Weekly(ShiftText),
    Dated(String, Option<ShiftText>),
}

fn given(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn shift_row(row: ShiftRow) -> Result<Planned, Fault> {
    let technician = row.technician.trim().to_owned();
    if technician.parse::<fieldmesh_domain::EntityId>().is_err() {
        let text = format!("{technician:?} is no technician's identifier; see tech list");
        return Err(Fault::of("technician", text));
    }
    let overnight = match row.overnight.trim() {
        "" | "no" => false,
        "yes" => true,
        other => return Err(Fault::of("overnight", format!("{other:?} is not yes or no"))),
    };
    let skill = given(&row.skill).map(|text| {
        let error = || Fault::of("skill", format!("{text:?} is no category; write it as 7"));
        text.parse().map_err(|_| error())
    });
    let (days, date) = (given(&row.days), given(&row.date));
    let is_off = date.is_some() && given(&row.start).is_none() && given(&row.end).is_none();
    let shift = ShiftText {
        days: days.clone(),
        start: row.start.trim().to_owned(),
        end: row.end.trim().to_owned(),
        overnight,
        breaks: row.breaks.split_whitespace().map(str::to_owned).collect(),
        from: given(&row.from),
        until: given(&row.until),
        zone: None,
        skill: skill.transpose()?,
    };
    let what = match (days, date) {
        (Some(_), None) => What::Weekly(shift),
        (None, Some(date)) => What::Dated(date, (!is_off).then_some(shift)),
        (Some(_), Some(_)) => {
            return Err(Fault::of("date", "a row has days or a date, not both; make two rows"));
        }
        (None, None) => {
            let text = "a row has days, as MO,TU,WE, or a date, as 2026-12-24";
            return Err(Fault::of("days", text));
        }
    };
    let planned = Planned { technician, zone: row.zone.trim().to_owned(), what };
    // By itself in a roster it shows what is wrong with it.
    let mut roster =
        RosterText { zone: planned.zone.clone(), shifts: vec![], dates: vec![], holidays: vec![] };
    planned.add_to(&mut roster);
    let read = roster.roster().map_err(|error| Fault {
        column: Some(column_of(&error).to_owned()),
        reason: error.to_string(),
    })?;
    let faults = read.validate().err().map(|faults| faults.to_string());
    match faults {
        Some(reason) => Err(Fault::of("end", reason)),
        None => Ok(planned),
    }
}

/// The column that a refusal is about, as far as it tells.
fn column_of(error: &RosterTextError) -> &'static str {
    use fieldmesh_calendar::civil::CivilError;
    match error {
        RosterTextError::Zone(_) | RosterTextError::ShiftZone { .. } => "zone",
        RosterTextError::Break { .. } => "breaks",
        RosterTextError::NoDays { .. } => "days",
        RosterTextError::OfWeek { what, .. } => what,
        RosterTextError::Twice { .. } => "date",
        RosterTextError::Civil { error, .. } => match error {
            CivilError::Date(_) => "date",
            CivilError::Time(_) => "start",
            CivilError::Weekdays(_) => "days",
        },
    }
}

impl Planned {
    fn add_to(&self, roster: &mut RosterText) {
        match &self.what {
            What::Weekly(shift) => roster.shifts.push(shift.clone()),
            What::Dated(date, shift) => {
                let shifts = shift.clone().into_iter();
                match roster.dates.iter_mut().find(|one| one.date == *date) {
                    Some(one) => one.shifts.extend(shifts),
                    None => {
                        roster.dates.push(DateText { date: date.clone(), shifts: shifts.collect() })
                    }
                }
            }
        }
    }
}

/// The rosters of all technicians whose rows are good, each with the line of its first row.
fn rosters(good: Vec<Good<Planned>>, bad: &mut Vec<Bad>) -> BTreeMap<String, (u64, RosterText)> {
    let mut all: BTreeMap<String, (u64, RosterText)> = BTreeMap::new();
    for Good { line, row } in good {
        let (_, roster) = all.entry(row.technician.clone()).or_insert_with(|| {
            let (shifts, dates, holidays) = Default::default();
            (line, RosterText { zone: row.zone.clone(), shifts, dates, holidays })
        });
        if roster.zone == row.zone {
            row.add_to(roster);
        } else {
            let text = format!(
                "the rows above have the zone {:?} for this technician; use one zone for all of them",
                roster.zone
            );
            bad.push(Bad { line, fault: Fault::of("zone", text) });
        }
    }
    all.retain(|_, (line, text)| {
        let overlaps = text.roster().map(|roster| roster.overlaps()).unwrap_or_default();
        let faults = text.roster().ok().and_then(|roster| roster.validate().err());
        let faults = faults.map(|faults| faults.to_string());
        let overlaps = overlaps.first().map(ToString::to_string);
        let reason = faults.or(overlaps);
        let is_good = reason.is_none();
        if let Some(reason) = reason {
            let reason = format!("the roster that begins here: {reason}");
            bad.push(Bad { line: *line, fault: Fault { column: None, reason } });
        }
        is_good
    });
    bad.sort_by_key(|bad| bad.line);
    all
}

pub(crate) async fn shifts(args: &ImportArgs, output: &Output) -> Result<(), CliError> {
    let (good, mut bad) = read(args, shift_row)?;
    let half: Vec<u64> = bad.iter().map(|bad| bad.line).collect();
    let rosters = rosters(good, &mut bad);
    if args.skip_bad && !half.is_empty() {
        // A roster of which a row is left out is not what anybody meant.
        let text = "rows of a roster belong together, so none is skipped: correct the bad ones";
        report(&bad, args, output)?;
        return Err(CliError::usage(text));
    }
    let mut rows = Vec::with_capacity(rosters.len());
    for (technician, (line, roster)) in rosters {
        let path = format!("/v1/technicians/{}/roster?dry_run=", plain(&technician)?);
        let body = NewRoster { roster: Some(roster) };
        let body = serde_json::to_value(&body).map_err(CliError::failed)?;
        rows.push(Row { line, method: "PUT", path, body });
    }
    all_or_none(args, (rows, bad), output).await
}
