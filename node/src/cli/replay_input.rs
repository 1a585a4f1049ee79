//! The log of a service desk as the replay reads it.
//!
//! Needed columns: `opened_at (YYYY-MM-DDTHH:MM), caller, location, category, subcategory, impact, urgency,
//! assignee`. A report also reads `incident, resolved_at, reassignments, met_sla` where they are there, for what
//! really happened; others are ignored. An empty field was unknown; impact and urgency are 1 to 3.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{CliError, import::degrees_e6};
use crate::{files, web::rest::Point};

/// Seed of the placing of locations on cities: fixed, so that runs can be compared.
const PLACING_SEED: u64 = 2016;
/// Rows of a log; more is a mistake of the file.
const ROWS_MAX: usize = 1_000_000;

/// What the log says of how it really went, where it says so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Really {
    /// Minutes since the first of the log.
    pub(crate) resolved_min: Option<u64>,
    pub(crate) reassignments: Option<u32>,
    pub(crate) met_sla: Option<bool>,
    pub(crate) assignee: Option<String>,
}

/// One request of the log.
#[derive(Debug, Clone)]
pub(crate) struct Incident {
    /// As the log names it, or by its line.
    pub(crate) name: String,
    /// Minutes since the first of the log.
    pub(crate) at_min: u64,
    pub(crate) caller: String,
    pub(crate) place: Point,
    pub(crate) category: u16,
    pub(crate) subcategory: u16,
    pub(crate) impact: u8,
    pub(crate) urgency: u8,
    pub(crate) really: Really,
}

/// The log, with the categories that each assignee really handled.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) incidents: Vec<Incident>,
    pub(crate) assignees: BTreeMap<String, BTreeSet<u16>>,
    /// Category and subcategory of what each assignee really handled.
    pub(crate) subjects: BTreeMap<String, BTreeSet<(u16, u16)>>,
    /// Civil minute since 1970 of the first incident.
    pub(crate) first_min: u64,
    /// Cities that locations were put on; none means around one point.
    pub(crate) cities: usize,
}

#[derive(Debug, serde::Deserialize)]
struct Row {
    opened_at: String,
    caller: String,
    location: String,
    category: String,
    subcategory: String,
    impact: String,
    urgency: String,
    assignee: String,
    #[serde(default)]
    incident: String,
    #[serde(default)]
    resolved_at: String,
    #[serde(default)]
    reassignments: String,
    #[serde(default)]
    met_sla: String,
}

#[derive(Debug, serde::Deserialize)]
struct City {
    latitude: String,
    longitude: String,
}

/// Minutes since 1970 of a civil time, by the day count of Hinnant's `days_from_civil`.
fn minutes(text: &str) -> Option<u64> {
    let (date, time) = text.split_once('T')?;
    let mut date = date.split('-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (hour, minute) = time.split_once(':')?;
    let (hour, minute): (i64, i64) = (hour.parse().ok()?, minute.get(..2)?.parse().ok()?);
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || !(0..24).contains(&hour)
        || !(0..60).contains(&minute)
    {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let year_of_era = year.rem_euclid(400);
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100
        + day_of_year
        - 719_468;
    u64::try_from((days * 24 + hour) * 60 + minute).ok()
}

fn number<T: std::str::FromStr + Default>(text: &str) -> Option<T> {
    if text.is_empty() { Some(T::default()) } else { text.parse().ok() }
}

fn read<R: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<R>, CliError> {
    let name = path.display();
    let file = files::open(path).map_err(|error| CliError::usage(format!("{name}: {error}")))?;
    let mut reader = csv::Reader::from_reader(file);
    reader
        .deserialize()
        .take(ROWS_MAX)
        .collect::<Result<_, _>>()
        .map_err(|error| CliError::usage(format!("{name}: {error}")))
}

/// Reads the log, and places its locations on cities.
pub(crate) fn load(path: &Path, cities: Option<&Path>, limit: usize) -> Result<Log, CliError> {
    let rows: Vec<Row> = read(path)?;
    let mut places = Vec::new();
    if let Some(cities) = cities {
        for City { latitude, longitude } in read(cities)? {
            let fault = |error: String| CliError::usage(format!("{}: {error}", cities.display()));
            places.push(Point {
                lat_e6: degrees_e6(&latitude, 90).map_err(fault)?,
                lon_e6: degrees_e6(&longitude, 180).map_err(fault)?,
            });
        }
    }
    let mut log = Log { cities: places.len(), ..Log::default() };
    let mut placed: BTreeMap<String, Point> = BTreeMap::new();
    let mut random = StdRng::seed_from_u64(PLACING_SEED);
    for (index, row) in rows.into_iter().enumerate() {
        let fault =
            |what: &str| CliError::usage(format!("{}: line {}: {what}", path.display(), index + 2));
        let category = number(&row.category).ok_or_else(|| fault("category is not a number"))?;
        let subcategory =
            number(&row.subcategory).ok_or_else(|| fault("subcategory is not a number"))?;
        let really = really(&row);
        if !row.assignee.is_empty() {
            let name = row.assignee.clone();
            log.subjects.entry(name).or_default().insert((category, subcategory));
            log.assignees.entry(row.assignee).or_default().insert(category);
        }
        if log.incidents.len() >= limit {
            continue;
        }
        let place = *placed.entry(row.location).or_insert_with(|| place(&places, &mut random));
        let level = |text: &str| {
            number::<u8>(text)
                .map(|level| if level == 0 { 3 } else { level })
                .filter(|level| (1..=3).contains(level))
        };
        let name = match row.incident {
            name if name.is_empty() => format!("line {}", index + 2),
            name => name,
        };
        log.incidents.push(Incident {
            name,
            at_min: minutes(&row.opened_at)
                .ok_or_else(|| fault("opened_at is not YYYY-MM-DDTHH:MM"))?,
            caller: row.caller,
            place,
            category,
            subcategory,
            impact: level(&row.impact).ok_or_else(|| fault("impact is not 1 to 3"))?,
            urgency: level(&row.urgency).ok_or_else(|| fault("urgency is not 1 to 3"))?,
            really,
        });
    }
    log.incidents.sort_by_key(|incident| incident.at_min);
    let first = log.incidents.first().map_or(0, |incident| incident.at_min);
    log.first_min = first;
    for incident in &mut log.incidents {
        incident.at_min -= first;
        let resolved = &mut incident.really.resolved_min;
        *resolved = resolved.and_then(|minute| minute.checked_sub(first));
    }
    if log.incidents.is_empty() {
        return Err(CliError::usage(format!("{}: no incidents", path.display())));
    }
    Ok(log)
}

/// What is not there, or not as expected, is unknown: no replay needs it.
fn really(row: &Row) -> Really {
    Really {
        resolved_min: minutes(&row.resolved_at),
        reassignments: row.reassignments.parse().ok(),
        met_sla: match row.met_sla.as_str() {
            "1" => Some(true),
            "0" => Some(false),
            _ => None,
        },
        assignee: (!row.assignee.is_empty()).then(|| row.assignee.clone()),
    }
}

fn place(places: &[Point], random: &mut StdRng) -> Point {
    match places.len() {
        0 => Point {
            lat_e6: random.random_range(48_000_000..49_000_000),
            lon_e6: random.random_range(2_000_000..3_000_000),
        },
        count => places[random.random_range(0..count)],
    }
}

#[cfg(test)]
mod tests {
    use super::minutes;

    #[test]
    fn civil_times_are_counted_right() {
        assert_eq!(minutes("1970-01-01T00:00"), Some(0));
        assert_eq!(minutes("2016-02-29T01:16"), Some((16_860 * 24 + 1) * 60 + 16));
        for bad in [
            "",
            "2016-02-29",
            "2016-13-01T00:00",
            "2016-02-29T24:00",
            "x-y-zT0:00",
            "2016-02-29T1:é",
        ] {
            assert_eq!(minutes(bad), None, "{bad}");
        }
    }
}
