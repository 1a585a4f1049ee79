//! CSV in: all rows or none, unless bad ones may be skipped. Every bad row is named with line, column and
//! remedy.
//!
//! Each row has a key by which the server knows it again: what the column `key` says, otherwise all that is
//! in the row, with the number of the same rows before it. So an import that is repeated changes nothing, and
//! one that broke off goes on.
//!
//! **Invariants:** a dry run changes nothing and says what would be. **Not here:** tables of rosters
//! (`import_shifts`), asking the server and writing (`import_check`), what is done with a row (`web`).

use std::{collections::BTreeMap, fmt::Display};

use fieldmesh_calendar::{civil::Date, interval::DAY_MS, zone::Zone};
use fieldmesh_domain::{EntityId, EntityKind, technician::SKILLS_MAX};
use fieldmesh_pki::{Kind, Profile};
use indicatif::{ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    CliError, Output,
    api::Api,
    import_check::{Row, all_or_none},
    lists::ImportArgs,
    shifts::encoded,
};
use crate::{
    files,
    issuer::{registered, sha256},
    web::{
        ca::NewRegistration,
        rest::{Created, NewCustomer, NewSkill, NewTechnician, Point},
        shifts::Outcome,
    },
};

/// Bad rows, and those with a warning, that are printed one by one.
const ROWS_SHOWN: usize = 20;

/// Bytes of a key, as the server takes it.
const KEY_BYTES_MAX: usize = 128;

/// A kind of row with the columns that it cannot do without.
pub(super) trait Columns {
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
    /// What another system calls it.
    key: Option<String>,
    name: String,
    lat: String,
    lon: String,
    tier: Option<u8>,
    /// The IANA zone of its place.
    zone: Option<String>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct TechnicianRow {
    key: Option<String>,
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

/// What is wrong with a row.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) column: Option<String>,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn of(column: &str, reason: impl Into<String>) -> Self {
        Self { column: Some(column.to_owned()), reason: reason.into() }
    }
}

fn point(lat: &str, lon: &str) -> Result<Point, Fault> {
    Ok(Point {
        lat_e6: degrees_e6(lat, 90).map_err(|reason| Fault::of("lat", reason))?,
        lon_e6: degrees_e6(lon, 180).map_err(|reason| Fault::of("lon", reason))?,
    })
}

fn name(column: &str, name: String) -> Result<String, Fault> {
    let name = name.trim().to_owned();
    if name.is_empty() || name.len() > 256 {
        Err(Fault::of(column, "a name has 1 to 256 bytes"))
    } else {
        Ok(name)
    }
}

fn key(key: Option<String>) -> Result<Option<String>, Fault> {
    match key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()) {
        Some(key) if key.len() > KEY_BYTES_MAX => {
            Err(Fault::of("key", format!("a key has at most {KEY_BYTES_MAX} bytes")))
        }
        key => Ok(key),
    }
}

fn customer(row: CustomerRow) -> Result<Keyed<NewCustomer>, Fault> {
    let tier = row.tier.unwrap_or(2);
    if !(1..=5).contains(&tier) {
        return Err(Fault::of("tier", format!("tier {tier} is not 1 to 5")));
    }
    let zone = row.zone.map(|zone| zone.trim().to_owned()).filter(|zone| !zone.is_empty());
    let zone = zone.map(|zone| Zone::new(&zone)).transpose();
    let zone = zone.map_err(|error| Fault::of("zone", error.to_string()))?;
    let zone = zone.map(|zone| zone.name().to_owned());
    let (name, location) = (name("name", row.name)?, point(&row.lat, &row.lon)?);
    Ok(Keyed { key: key(row.key)?, body: NewCustomer { name, location, tier, zone } })
}

/// Reads `category:level`, or `category:level@date` for one that counts until the end of that day in UTC.
pub(super) fn skill(text: &str) -> Result<NewSkill, String> {
    let fault = || {
        format!(
            "skill {text:?} is not category:level with a level of 1 to 5, as 7:3, or 7:3@2027-01-31"
        )
    };
    let (skill, date) = match text.split_once('@') {
        Some((skill, date)) => (skill, Some(date)),
        None => (text, None),
    };
    let (category, level) = skill.split_once(':').ok_or_else(fault)?;
    let date = date.map(|date| Date::parse(date).map_err(|_| fault())).transpose()?;
    let skill = NewSkill {
        category: category.parse().map_err(|_| fault())?,
        level: level.parse().map_err(|_| fault())?,
        expires_ms: date.map(|date| (u64::from(date.days()) + 1) * DAY_MS),
    };
    if (1..=5).contains(&skill.level) { Ok(skill) } else { Err(fault()) }
}

fn technician(row: TechnicianRow) -> Result<Keyed<NewTechnician>, Fault> {
    let skills = row.skills.split_whitespace().map(skill).collect::<Result<Vec<_>, _>>();
    let skills = skills.map_err(|reason| Fault::of("skills", reason))?;
    if skills.len() > SKILLS_MAX {
        let text = format!("{} skills, at most {SKILLS_MAX} are allowed", skills.len());
        return Err(Fault::of("skills", text));
    }
    let capacity = row.capacity.unwrap_or(1);
    if capacity == 0 {
        return Err(Fault::of("capacity", "capacity is at least 1"));
    }
    let (name, home) = (name("name", row.name)?, point(&row.lat, &row.lon)?);
    let body = NewTechnician { name, home, skills, capacity };
    Ok(Keyed { key: key(row.key)?, body })
}

/// A row with the key that it says, if any.
struct Keyed<T> {
    key: Option<String>,
    body: T,
}

/// A line that cannot be imported.
pub(super) struct Bad {
    pub(super) line: u64,
    pub(super) fault: Fault,
}

impl Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, fault: Fault { column, reason } } = self;
        match column {
            Some(column) => write!(f, "line {line}, column {column}: {reason}"),
            None => write!(f, "line {line}: {reason}"),
        }
    }
}

/// A line that can be imported.
pub(super) struct Good<T> {
    pub(super) line: u64,
    pub(super) row: T,
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

/// Why a record is no row of this kind; the reader says which field it could not read.
fn misread(error: &csv::Error, headers: &csv::StringRecord) -> Fault {
    let field = match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.field(),
        _ => None,
    };
    let column = field.and_then(|field| headers.get(usize::try_from(field).ok()?));
    Fault { column: column.map(str::to_owned), reason: error.to_string() }
}

pub(super) fn read<R: DeserializeOwned + Columns, T>(
    args: &ImportArgs,
    parse: impl Fn(R) -> Result<T, Fault>,
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
            .map_err(|error| misread(&error, &headers))
            .and_then(&parse);
        match parsed {
            Ok(row) => good.push(Good { line, row }),
            Err(fault) => bad.push(Bad { line, fault }),
        }
    }
    Ok((good, bad))
}

/// Names the bad rows; an error where they stop the import.
pub(super) fn report(bad: &[Bad], args: &ImportArgs, output: &Output) -> Result<Value, CliError> {
    for bad in bad.iter().take(ROWS_SHOWN) {
        output.say(bad);
    }
    let rows = bad.iter().map(|Bad { line, fault: Fault { column, reason } }| {
        json!({ "line": line, "column": column, "reason": reason })
    });
    let rows: Value = rows.collect();
    match bad.first().filter(|_| !args.skip_bad) {
        None => Ok(rows),
        Some(first) => {
            output.result(json!({ "imported": 0, "bad": rows }));
            let text = format!(
                "{} bad rows, first at {first}; nothing was imported (--skip-bad imports the rest)",
                bad.len()
            );
            Err(CliError::usage(text))
        }
    }
}

/// What became, or would become, of the rows.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) ids: Vec<String>,
    pub(super) created: usize,
    pub(super) changed: usize,
    pub(super) unchanged: usize,
    /// What there is to say of rows that are good, by line.
    pub(super) warnings: Vec<(u64, String)>,
}

impl Tally {
    pub(super) fn count(&mut self, line: u64, outcome: Outcome) {
        match outcome.outcome.as_str() {
            "created" => self.created += 1,
            "changed" => self.changed += 1,
            _ => self.unchanged += 1,
        }
        self.warnings.extend(outcome.warning.map(|warning| (line, warning)));
        self.ids.push(outcome.id);
    }

    pub(super) fn say(self, args: &ImportArgs, bad: &Value, output: &Output) {
        let Self { ids, created, changed, unchanged, warnings } = self;
        for (line, warning) in warnings.iter().take(ROWS_SHOWN) {
            output.say(format_args!("line {line}: warning: {warning}"));
        }
        let skipped = bad.as_array().map_or(0, Vec::len);
        let would = if args.dry_run { "would be " } else { "" };
        output.say(format_args!(
            "{created} {would}created, {changed} {would}changed, {unchanged} unchanged, {skipped} skipped"
        ));
        let warnings = warnings.iter().map(|(line, why)| json!({ "line": line, "warning": why }));
        let mut result = json!({
            "created": created, "changed": changed, "unchanged": unchanged, "bad": bad,
            "warnings": Value::from_iter(warnings)
        });
        if args.dry_run {
            (result["imported"], result["would_import"]) = (json!(0), json!(ids.len()));
        } else {
            (result["imported"], result["ids"]) = (json!(ids.len()), json!(ids));
        }
        output.result(result);
    }
}

/// What a row is known by where it has no key of its own: all that it cannot be without. A zone may be said later.
fn content_key(body: &Value, earlier: &mut BTreeMap<String, usize>) -> String {
    let mut known = body.clone();
    if let Some(fields) = known.as_object_mut() {
        fields.remove("zone");
    }
    let hash = sha256(known.to_string().as_bytes());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let count = earlier.entry(hash.clone()).or_default();
    *count += 1;
    format!("row-{hash}-{count}")
}

/// The rows as the server is asked about them. Two of one key and with different data cannot both be meant.
fn asked<T: serde::Serialize>(
    path: &str,
    good: Vec<Good<Keyed<T>>>,
    bad: &mut Vec<Bad>,
) -> Result<Vec<Row>, CliError> {
    let (mut rows, mut earlier) = (Vec::with_capacity(good.len()), BTreeMap::new());
    let mut keyed: BTreeMap<String, (u64, Value)> = BTreeMap::new();
    for Good { line, row: Keyed { key, body } } in good {
        let body = serde_json::to_value(&body).map_err(CliError::failed)?;
        let key = key.unwrap_or_else(|| content_key(&body, &mut earlier));
        let (first, same) = keyed.entry(key.clone()).or_insert_with(|| (line, body.clone()));
        if *same != body {
            let text =
                format!("line {first} has the key {key:?} with other data; keep one of them");
            bad.push(Bad { line, fault: Fault::of("key", text) });
            continue;
        }
        let path = format!("{path}?key={}&dry_run=", encoded(&key));
        rows.push(Row { line, method: "POST", path, body });
    }
    Ok(rows)
}

async fn import_keyed<T: serde::Serialize>(
    path: &str,
    args: &ImportArgs,
    (good, mut bad): (Vec<Good<Keyed<T>>>, Vec<Bad>),
    output: &Output,
) -> Result<(), CliError> {
    let rows = asked(path, good, &mut bad)?;
    all_or_none(args, (rows, bad), output).await
}

async fn import<T: serde::Serialize>(
    path: &str,
    args: &ImportArgs,
    (good, bad): (Vec<Good<T>>, Vec<Bad>),
    output: &Output,
) -> Result<(), CliError> {
    let skipped = bad.len();
    let bad = report(&bad, args, output)?;
    if args.dry_run {
        output.say(format_args!("{} rows would be imported, {skipped} skipped", good.len()));
        output.result(json!({ "imported": 0, "would_import": good.len(), "bad": bad }));
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
    output.say(format_args!("imported {}, skipped {skipped}", ids.len()));
    output.result(json!({ "imported": ids.len(), "ids": ids, "bad": bad }));
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
    import_keyed("/v1/customers", args, read(args, customer)?, output).await
}

pub(crate) async fn technicians(args: &ImportArgs, output: &Output) -> Result<(), CliError> {
    import_keyed("/v1/technicians", args, read(args, technician)?, output).await
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

fn registration(row: RegistrationRow) -> Result<NewRegistration, Fault> {
    let profile = Profile::by_label(row.profile.trim())
        .filter(|profile| registered(profile.kind).is_some())
        .ok_or_else(|| {
            let text = format!("{:?} is not a profile that is registered", row.profile);
            Fault::of("profile", text)
        })?;
    let id = row.id.filter(|id| !id.is_empty());
    let owner = match profile.kind {
        Kind::Customer => EntityKind::Customer,
        Kind::Technician => EntityKind::Technician,
        _ => EntityKind::Registration,
    };
    match id.as_deref().map(str::parse::<EntityId>) {
        None if profile.kind == Kind::Technician => {
            return Err(Fault::of("id", "a technician's device needs the technician's id"));
        }
        Some(Err(error)) => return Err(Fault::of("id", format!("the id is none: {error}"))),
        Some(Ok(id)) if ![owner, EntityKind::Registration].contains(&id.kind()) => {
            return Err(Fault::of("id", format!("{id} cannot have a {}", profile.label)));
        }
        _ => {}
    }
    let label = if row.label.is_empty() { String::new() } else { name("label", row.label)? };
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
