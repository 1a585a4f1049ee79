//! CSV in: all rows or none, unless bad ones may be skipped. Every bad row is named with its reason.

use fieldmesh_domain::{EntityId, EntityKind, technician::SKILLS_MAX};
use indicatif::{ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{CliError, Output, api::Api, lists::ImportArgs};
use fieldmesh_pki::{Kind, Profile};

use crate::{
    files,
    issuer::registered,
    web::{
        ca::NewRegistration,
        rest::{Created, NewCustomer, NewSkill, NewTechnician, Point},
    },
};

/// Bad rows that are printed one by one.
const BAD_ROWS_SHOWN: usize = 20;

/// A kind of row with the columns that it cannot do without.
trait Columns {
    const NEEDED: &[&str];
}

impl Columns for CustomerRow {
    const NEEDED: &[&str] = &["name", "lat", "lon"];
}

impl Columns for TechnicianRow {
    const NEEDED: &[&str] = &["name", "lat", "lon", "skills"];
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct CustomerRow {
    name: String,
    lat: String,
    lon: String,
    tier: Option<u8>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct TechnicianRow {
    name: String,
    lat: String,
    lon: String,
    capacity: Option<u16>,
    skills: String,
}

/// Decimal degrees as millionths, without rounding surprises.
pub(crate) fn degrees_e6(text: &str, max: i32) -> Result<i32, String> {
    let fault = || format!("{text:?} is not a number of degrees up to {max}");
    let (sign, digits) = text.trim().strip_prefix('-').map_or((1, text.trim()), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = !whole.is_empty()
        && [whole, fraction].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_number || whole.len() > 3 {
        return Err(fault());
    }
    let fraction: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let value: i32 = format!("{whole}{fraction}").parse().map_err(|_| fault())?;
    if value > max * 1_000_000 { Err(fault()) } else { Ok(sign * value) }
}

fn point(lat: &str, lon: &str) -> Result<Point, String> {
    Ok(Point { lat_e6: degrees_e6(lat, 90)?, lon_e6: degrees_e6(lon, 180)? })
}

fn name(name: String) -> Result<String, String> {
    let name = name.trim().to_owned();
    if name.is_empty() || name.len() > 256 {
        Err("a name has 1 to 256 bytes".into())
    } else {
        Ok(name)
    }
}

fn customer(row: CustomerRow) -> Result<NewCustomer, String> {
    let tier = row.tier.unwrap_or(2);
    if !(1..=5).contains(&tier) {
        return Err(format!("tier {tier} is not 1 to 5"));
    }
    Ok(NewCustomer { name: name(row.name)?, location: point(&row.lat, &row.lon)?, tier })
}

fn technician(row: TechnicianRow) -> Result<NewTechnician, String> {
    let mut skills = Vec::new();
    for text in row.skills.split_whitespace() {
        let fault = || format!("skill {text:?} is not category:level with a level of 1 to 5");
        let (category, level) = text.split_once(':').ok_or_else(fault)?;
        let skill = NewSkill {
            category: category.parse().map_err(|_| fault())?,
            level: level.parse().map_err(|_| fault())?,
        };
        if !(1..=5).contains(&skill.level) {
            return Err(fault());
        }
        skills.push(skill);
    }
    if skills.len() > SKILLS_MAX {
        return Err(format!("{} skills, at most {SKILLS_MAX} are allowed", skills.len()));
    }
    let capacity = row.capacity.unwrap_or(1);
    if capacity == 0 {
        return Err("capacity is at least 1".into());
    }
    Ok(NewTechnician { name: name(row.name)?, home: point(&row.lat, &row.lon)?, skills, capacity })
}

/// A line that cannot be imported.
struct Bad {
    line: u64,
    reason: String,
}

/// A line that can be imported.
struct Good<T> {
    line: u64,
    row: T,
}

/// Counts lines as an editor does; the reader counts none within quotes.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the row that begins at a byte, or behind empty lines there. Bytes only grow.
    fn at(&mut self, byte: u64) -> u64 {
        let row = usize::try_from(byte).unwrap_or(usize::MAX).min(self.bytes.len());
        let blank = self.bytes[row..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let row = row + blank.count();
        let passed = self.bytes.get(self.at..row).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = self.at.max(row);
        self.line
    }
}

fn read<R: DeserializeOwned + Columns, T>(
    args: &ImportArgs,
    parse: impl Fn(R) -> Result<T, String>,
) -> Result<(Vec<Good<T>>, Vec<Bad>), CliError> {
    let path = args.file.display();
    let bytes =
        files::read(&args.file).map_err(|error| CliError::usage(format!("{path}: {error}")))?;
    let mut reader = csv::Reader::from_reader(&*bytes);
    let mut lines = Lines { bytes: &bytes, at: 0, line: 1 };
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let headers =
        reader.headers().map_err(|error| CliError::usage(format!("{path}: {error}")))?.clone();
    if let Some(missing) = R::NEEDED.iter().find(|name| headers.iter().all(|has| has != **name)) {
        let text = format!("{path}: line 1: the column {missing:?} is missing");
        return Err(CliError::usage(text));
    }
    for record in reader.records() {
        let position = match &record {
            Ok(record) => record.position(),
            Err(error) => error.position(),
        };
        let line = position.map_or(0, |position| lines.at(position.byte()));
        let parsed = record
            .and_then(|record| record.deserialize::<R>(Some(&headers)))
            .map_err(|error| error.to_string())
            .and_then(&parse);
        match parsed {
            Ok(row) => good.push(Good { line, row }),
            Err(reason) => bad.push(Bad { line, reason }),
        }
    }
    Ok((good, bad))
}

async fn import<T: serde::Serialize>(
    path: &str,
    args: &ImportArgs,
    (good, bad): (Vec<Good<T>>, Vec<Bad>),
    output: &Output,
) -> Result<(), CliError> {
    for Bad { line, reason } in bad.iter().take(BAD_ROWS_SHOWN) {
        output.say(format_args!("line {line}: {reason}"));
    }
    let bad_rows: Vec<_> =
        bad.iter().map(|bad| json!({ "line": bad.line, "reason": bad.reason })).collect();
    if !bad.is_empty() && !args.skip_bad {
        output.result(json!({ "imported": 0, "bad": bad_rows }));
        let Bad { line, reason } = &bad[0];
        let text = format!(
            "{} bad rows, first at line {line}: {reason}; nothing was imported (--skip-bad imports the rest)",
            bad.len()
        );
        return Err(CliError::usage(text));
    }
    if args.dry_run {
        let text = format_args!("{} rows would be imported, {} skipped", good.len(), bad.len());
        output.say(text);
        output.result(json!({ "imported": 0, "would_import": good.len(), "bad": bad_rows }));
        return Ok(());
    }
    let api = Api::from_common(&args.common)?;
    let bar = progress(good.len() as u64, output);
    let mut ids = Vec::with_capacity(good.len());
    for Good { line, row } in &good {
        let created: Created = api.post(path, row).await.map_err(|error| {
            error.within(format_args!("line {line}, after {} imported rows", ids.len()))
        })?;
        ids.push(created.id);
        bar.inc(1);
    }
    bar.finish_and_clear();
    output.say(format_args!("imported {}, skipped {}", ids.len(), bad.len()));
    output.result(json!({ "imported": ids.len(), "ids": ids, "bad": bad_rows }));
    Ok(())
}

/// A progress bar on standard error; none with `--json`.
pub(crate) fn progress(length: u64, output: &Output) -> ProgressBar {
    if output.is_json() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

pub(crate) async fn customers(args: &ImportArgs, output: &Output) -> Result<(), CliError> {
    import("/v1/customers", args, read(args, customer)?, output).await
}

pub(crate) async fn technicians(args: &ImportArgs, output: &Output) -> Result<(), CliError> {
    import("/v1/technicians", args, read(args, technician)?, output).await
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistrationRow {
    profile: String,
    label: String,
    id: Option<String>,
}

impl Columns for RegistrationRow {
    const NEEDED: &[&str] = &["profile", "label"];
}

fn registration(row: RegistrationRow) -> Result<NewRegistration, String> {
    let profile = Profile::by_label(row.profile.trim())
        .filter(|profile| registered(profile.kind).is_some())
        .ok_or_else(|| format!("{:?} is not a profile that is registered", row.profile))?;
    let id = row.id.filter(|id| !id.is_empty());
    let owner = match profile.kind {
        Kind::Customer => EntityKind::Customer,
        Kind::Technician => EntityKind::Technician,
        _ => EntityKind::Registration,
    };
    match id.as_deref().map(str::parse::<EntityId>) {
        None if profile.kind == Kind::Technician => {
            return Err("a technician's device needs the technician's id".into());
        }
        Some(Err(error)) => return Err(format!("the id is none: {error}")),
        Some(Ok(id)) if ![owner, EntityKind::Registration].contains(&id.kind()) => {
            return Err(format!("{id} cannot have a {}", profile.label));
        }
        _ => {}
    }
    let label = if row.label.is_empty() { String::new() } else { name(row.label)? };
    Ok(NewRegistration { id, profile: Some(profile.label.to_owned()), label })
}

pub(crate) async fn registrations(args: &ImportArgs, output: &Output) -> Result<(), CliError> {
    import("/v1/ca/registrations", args, read(args, registration)?, output).await
}

#[cfg(test)]
mod tests {
    use super::degrees_e6;

    #[test]
    fn degrees_are_exact() {
        for (text, value) in [
            ("48.8566", 48_856_600),
            ("-0.1", -100_000),
            ("90", 90_000_000),
            ("1.23456789", 1_234_567),
        ] {
            assert_eq!(degrees_e6(text, 90), Ok(value));
        }
        for text in ["", "-", "1e3", "91", "90.000001", "NaN", "1,5", "+1"] {
            assert!(degrees_e6(text, 90).is_err(), "{text}");
        }
    }
}
