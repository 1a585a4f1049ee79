//! Where and when: areas on the map and instants, as a document writes them.
//!
//! Degrees are texts with a point, so that no binary fraction comes between what is written and what is
//! compared.
//!
//! **Invariants:** an area is on earth; an instant is after 1970. **Not here:** distances (the domain).

use fieldmesh_calendar::civil::{Date, TimeOfDay};
use fieldmesh_domain::{message::Location, selection::distance_m, time::Millis};
use fieldmesh_rules::reading::{Fields, Findings};
use toml::{Spanned, de::DeValue};

/// Kilometres around the middle of an area: a country.
const RADIUS_KM_MAX: i64 = 1_000;
/// Digits behind the point: a millionth of a degree is a hand's breadth.
const DIGITS: usize = 6;

/// A circle on the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    pub middle: Location,
    pub radius_m: u32,
}

impl Area {
    pub(super) fn contains(&self, location: Location) -> bool {
        distance_m(self.middle, location) <= self.radius_m
    }
}

/// Millionths of a degree; none where it is written in another way or has too many digits.
pub(super) fn degrees_e6(text: &str, most: i32) -> Option<i32> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !are_digits(whole) || !are_digits(part) || part.len() > DIGITS || whole.len() > 3 {
        return None;
    }
    let millionths: i32 = format!("{part:0<DIGITS$}").parse().ok()?;
    let all = whole.parse::<i32>().ok()?.checked_mul(1_000_000)?.checked_add(millionths)?;
    (all <= most * 1_000_000).then_some(sign * all)
}

pub(super) fn area<'a, 'd>(
    fields: &Fields<'a, 'd>,
    value: &'a Spanned<DeValue<'d>>,
    findings: &mut Findings<'_>,
) -> Option<Area> {
    let table = fields.as_table(findings, value, "area")?;
    let area = fields.inner(table, value.span().start, "area");
    area.only(findings, &["lat", "lon", "radius_km"]);
    let mut degrees = |name, most| {
        let (span, text) = area.string(findings, name)?;
        let found = degrees_e6(text, most);
        if found.is_none() {
            let text = text.escape_debug();
            let text = format!(
                "`{name}` is \"{text}\", not degrees from -{most} to {most} with at most {DIGITS} \
                 digits behind the point; write it as \"48.137\""
            );
            area.error(findings, span.start, text);
        }
        found
    };
    let (lat_e6, lon_e6) = (degrees("lat", 90), degrees("lon", 180));
    let radius_km = area.number(findings, "radius_km", 1, RADIUS_KM_MAX);
    let middle = Location { lat_e6: lat_e6?, lon_e6: lon_e6? };
    Some(Area { middle, radius_m: u32::try_from(radius_km? * 1000).ok()? })
}

/// A date with time and offset, as TOML has them.
pub(super) fn instant(
    fields: &Fields<'_, '_>,
    name: &str,
    findings: &mut Findings<'_>,
) -> Option<Millis> {
    let Some(value) = fields.value(name) else {
        let text = format!("it does not say `{name}`; add it, as in 2026-12-01T06:00:00Z");
        fields.error(findings, fields.place(), text);
        return None;
    };
    let found = match value.get_ref() {
        DeValue::Datetime(at) => unix_ms(&at.to_string()),
        _ => None,
    };
    if found.is_none() {
        let text = format!(
            "`{name}` is no instant; write it without quotes, with date, time and offset, as in \
             2026-12-01T06:00:00Z"
        );
        fields.error(findings, value.span().start, text);
    }
    found
}

/// The text is of a date and time that TOML allows; the offset may be missing.
fn unix_ms(text: &str) -> Option<Millis> {
    let date = Date::parse(text.get(..10)?).ok()?;
    let time = TimeOfDay::parse(text.get(11..16)?).ok()?;
    let rest = text.get(16..)?;
    let (second, rest) = match rest.strip_prefix(':') {
        Some(rest) => (rest.get(..2)?.parse::<i64>().ok()?.min(59), rest.get(2..)?),
        None => (0, rest),
    };
    // Parts of seconds are left out: a silence is written by a person.
    let offset = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset_s = match offset {
        "Z" | "z" => 0,
        _ => {
            let minutes = i64::from(TimeOfDay::parse(offset.get(1..)?).ok()?.minutes());
            if offset.starts_with('-') { -minutes * 60 } else { minutes * 60 }
        }
    };
    let of_day = i64::from(time.minutes()) * 60 + second;
    let seconds = i64::from(date.days()) * 86_400 + of_day - offset_s;
    // With its offset it may lie before or behind what a date can say, and could not be read again.
    let is_date =
        |days| (i64::from(Date::MIN.days())..=i64::from(Date::MAX.days())).contains(&days);
    let seconds = u64::try_from(seconds).ok().filter(|_| is_date(seconds.div_euclid(86_400)))?;
    Some(Millis(seconds * 1000))
}
