//! A roster as people write it: in a TOML file, in JSON, or as the events of a calendar file.
//!
//! One form serves files and the interface: what is shown can be edited and set again. A calendar file is
//! read as a roster in `from_calendar`.
//!
//! **Invariants:** what is written from a roster is read as the same roster; each refusal names the place
//! in the file as a person counts, and what to write. **Not here:** whether a roster is right
//! (`domain::technician`).

pub mod from_calendar;

use std::collections::BTreeSet;

use fieldmesh_calendar::{
    civil::{CivilError, Date, TimeOfDay, Weekdays},
    roster::{Override, Roster, Row},
    shift::{Break, Shift},
    zone::{Zone, ZoneError},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A technician's week, and what differs on single dates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RosterText {
    /// In which all times are meant that name no other, as `Europe/Berlin`.
    pub zone: String,
    /// What recurs each week.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shifts: Vec<ShiftText>,
    /// What takes the place of everything that would start on a date.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dates: Vec<DateText>,
    /// Dates, as `2026-12-25`, on which nothing that recurs starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holidays: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShiftText {
    /// On which it starts: `MO,TU,WE,TH,FR,SA,SU` or some of them. Not for a date's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<String>,
    /// As `22:00`.
    pub start: String,
    /// As `06:00`; `00:00` and overnight is the end of the day.
    pub end: String,
    /// It ends on the day after.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overnight: bool,
    /// In order, as `12:00-12:30`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breaks: Vec<String>,
    /// The first date on which it may start. Not for a date's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The last one. Not for a date's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Where it is not the roster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The category of work that whoever does it must have the skill for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skill: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DateText {
    pub date: String,
    /// None is a day off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shifts: Vec<ShiftText>,
}

/// Why a text is no roster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterTextError {
    #[error("the roster's zone: {0}")]
    Zone(ZoneError),
    #[error("{place}: its zone: {error}")]
    ShiftZone { place: String, error: ZoneError },
    #[error("{place}: {error}")]
    Civil { place: String, error: CivilError },
    #[error("{place}: {text:?} is no break; write it as 12:00-12:30")]
    Break { place: String, text: String },
    #[error("{place}: it has no days; write days = \"MO,TU,WE,TH,FR\", or put it under a date")]
    NoDays { place: String },
    #[error("{place}: {what} belongs to shifts that recur; leave it out of a date's")]
    OfWeek { place: String, what: &'static str },
    #[error("dates {number}: {date} stands there twice; write all its shifts in one place")]
    Twice { number: usize, date: String },
}

/// A value that is quoted in a refusal is quoted only so far.
const QUOTED_MAX: usize = 64;

fn civil<T>(place: &str, read: Result<T, CivilError>) -> Result<T, RosterTextError> {
    read.map_err(|error| RosterTextError::Civil { place: place.to_owned(), error })
}

/// Reads `12:00-12:30`.
fn pause(place: &str, text: &str) -> Result<Break, RosterTextError> {
    let error = || RosterTextError::Break {
        place: place.to_owned(),
        text: text.chars().take(QUOTED_MAX).collect(),
    };
    let (start, end) = text.split_once('-').ok_or_else(error)?;
    let time = |text: &str| TimeOfDay::parse(text.trim()).map_err(|_| error());
    Ok(Break { start: time(start)?, end: time(end)? })
}

impl ShiftText {
    fn shift(&self, place: &str) -> Result<Shift, RosterTextError> {
        let zone = self.zone.as_deref().map(Zone::new).transpose();
        let breaks = self.breaks.iter().map(|text| pause(place, text));
        Ok(Shift {
            start: civil(place, TimeOfDay::parse(&self.start))?,
            end: civil(place, TimeOfDay::parse(&self.end))?,
            overnight: self.overnight,
            breaks: breaks.collect::<Result<_, _>>()?,
            zone: zone
                .map_err(|error| RosterTextError::ShiftZone { place: place.to_owned(), error })?,
            skill: self.skill,
        })
    }

    fn row(&self, place: &str) -> Result<Row, RosterTextError> {
        let no_days = || RosterTextError::NoDays { place: place.to_owned() };
        let date = |text: &Option<String>| text.as_deref().map(Date::parse).transpose();
        Ok(Row {
            days: civil(place, Weekdays::parse(self.days.as_deref().ok_or_else(no_days)?))?,
            shift: self.shift(place)?,
            from: civil(place, date(&self.from))?,
            until: civil(place, date(&self.until))?,
        })
    }

    fn of_date(&self, place: &str) -> Result<Shift, RosterTextError> {
        let has = [
            ("days", self.days.is_some()),
            ("from", self.from.is_some()),
            ("until", self.until.is_some()),
        ];
        match has.into_iter().find(|(_, has)| *has) {
            Some((what, _)) => Err(RosterTextError::OfWeek { place: place.to_owned(), what }),
            None => self.shift(place),
        }
    }

    fn of(shift: &Shift) -> Self {
        let pause = |one: &Break| format!("{}-{}", one.start, one.end);
        Self {
            days: None,
            start: shift.start.to_string(),
            end: shift.end.to_string(),
            overnight: shift.overnight,
            breaks: shift.breaks.iter().map(pause).collect(),
            from: None,
            until: None,
            zone: shift.zone.as_ref().map(ToString::to_string),
            skill: shift.skill,
        }
    }

    fn of_row(row: &Row) -> Self {
        Self {
            days: Some(row.days.to_string()),
            from: row.from.map(|date| date.to_string()),
            until: row.until.map(|date| date.to_string()),
            ..Self::of(&row.shift)
        }
    }
}

impl RosterText {
    /// # Errors
    /// The first value that is not what it should be, with its place.
    pub fn roster(&self) -> Result<Roster, RosterTextError> {
        let mut roster = Roster::new(Zone::new(&self.zone).map_err(RosterTextError::Zone)?);
        for (shift, number) in self.shifts.iter().zip(1..) {
            roster.rows.push(shift.row(&format!("shifts {number}"))?);
        }
        for (one, number) in self.dates.iter().zip(1..) {
            let date = civil(&format!("dates {number}"), Date::parse(&one.date))?;
            let shifts =
                one.shifts.iter().zip(1..).map(|(shift, of_date)| {
                    shift.of_date(&format!("dates {number}, shift {of_date}"))
                });
            let shifts = shifts.collect::<Result<Vec<_>, _>>()?;
            let what = if shifts.is_empty() { Override::Off } else { Override::Shifts(shifts) };
            if roster.overrides.insert(date, what).is_some() {
                return Err(RosterTextError::Twice { number, date: date.to_string() });
            }
        }
        let holidays = self.holidays.iter().zip(1..);
        let holidays =
            holidays.map(|(text, number)| civil(&format!("holidays {number}"), Date::parse(text)));
        roster.holidays = holidays.collect::<Result<BTreeSet<_>, _>>()?;
        Ok(roster)
    }

    pub fn of(roster: &Roster) -> Self {
        let date = |(date, one): (&Date, &Override)| DateText {
            date: date.to_string(),
            shifts: match one {
                Override::Off => vec![],
                Override::Shifts(shifts) => shifts.iter().map(ShiftText::of).collect(),
            },
        };
        Self {
            zone: roster.zone.to_string(),
            shifts: roster.rows.iter().map(ShiftText::of_row).collect(),
            dates: roster.overrides.iter().map(date).collect(),
            holidays: roster.holidays.iter().map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    const TEXT: &str = r#"
        zone = "Europe/Berlin"
        holidays = ["2026-12-25"]
        [[shifts]]
        days = "MO,TU,WE,TH,FR"
        start = "08:00"
        end = "17:00"
        breaks = ["12:00-12:30"]
        from = "2026-01-01"
        [[shifts]]
        days = "SA"
        start = "22:00"
        end = "06:00"
        overnight = true
        zone = "Europe/Lisbon"
        skill = 7
        [[dates]]
        date = "2026-12-24"
        [[dates]]
        date = "2026-12-31"
        shifts = [{ start = "08:00", end = "12:00" }]
    "#;

    #[test]
    fn what_is_written_is_read_again() {
        let text: RosterText = toml::from_str(TEXT).unwrap();
        let roster = text.roster().unwrap();
        assert_eq!((roster.rows.len(), roster.overrides.len()), (2, 2));
        assert_eq!(RosterText::of(&roster), text);
        let json = serde_json::to_string(&text).unwrap();
        assert_eq!(serde_json::from_str::<RosterText>(&json).unwrap(), text);
        roster.validate().unwrap();
    }

    #[test]
    fn what_is_no_roster_is_refused_with_its_place() {
        let cases = [
            ("Europe/Berlin", "Europe/Berln", "is Europe/Berlin meant?"),
            ("days = \"SA\"", "", "shifts 2: it has no days"),
            ("\"22:00\"", "\"22\"", "shifts 2: \"22\" is no time of day"),
            ("\"12:00-12:30\"", "\"12:00\"", "shifts 1: \"12:00\" is no break"),
            ("2026-12-31", "2026-12-24", "dates 2: 2026-12-24 stands there twice"),
            ("end = \"12:00\"", "end = \"12:00\", days = \"MO\"", "dates 2, shift 1: days belongs"),
            ("2026-12-25", "2026-12-35", "holidays 1:"),
            ("Europe/Lisbon", "Lisbon/Europe", "shifts 2: its zone:"),
        ];
        for (good, bad, word) in cases {
            let text: RosterText = toml::from_str(&TEXT.replacen(good, bad, 1)).unwrap();
            let error = text.roster().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
