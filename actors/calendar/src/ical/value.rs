//! Values of properties: dates and times, durations, texts.
//!
//! **Invariants:** nothing is guessed: a value that is not written as RFC 5545 §3.3 has it is none; a
//! date is within the bounds of `civil`. **Not here:** recurrence rules (`rule`).

use super::{
    End, Moment,
    import::Refusal,
    line::{Line, Parameter},
};
use crate::{
    civil::{Date, SECONDS_OF_DAY},
    interval::UnixMs,
    zone::Zone,
};

/// Days that an event may last: longer is a mistake, or a rule.
pub(super) const EVENT_DAYS_MAX: u32 = 400;

/// How the times of a line are to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Day,
    /// In the zone named, or none: in UTC if it ends in Z, else in the file's zone.
    Time(Option<Zone>),
}

/// What the parameters VALUE and TZID say.
pub(super) fn kind(line: &Line) -> Result<Kind, Refusal> {
    let (mut is_day, mut zone) = (false, None);
    for Parameter { name, value } in &line.parameters {
        match (name.as_str(), value.to_ascii_uppercase().as_str()) {
            ("VALUE", "DATE") => is_day = true,
            ("VALUE", "DATE-TIME") => {}
            ("TZID", _) => zone = Some(Zone::new(value).map_err(Refusal::Zone)?),
            (name, _) if name.starts_with("X-") => {}
            _ => {
                let property = line.name.clone();
                return Err(Refusal::Parameter { property, parameter: name.clone() });
            }
        }
    }
    match (is_day, zone) {
        (true, Some(_)) => Err(Refusal::DayWithZone),
        (true, None) => Ok(Kind::Day),
        (false, zone) => Ok(Kind::Time(zone)),
    }
}

/// One DATE or DATE-TIME (§3.3.4, §3.3.5). `default` is the zone of a time that names none.
pub(super) fn moment(text: &str, kind: &Kind, default: &Zone) -> Result<Moment, Refusal> {
    let refuse = || Refusal::Time(quoted(text));
    let date = date(text.get(..8).unwrap_or_default()).ok_or_else(refuse)?;
    let rest = &text[8..];
    let zone = match (kind, rest.is_empty()) {
        (Kind::Day, true) => return Ok(Moment::Day(date)),
        (Kind::Day, false) | (Kind::Time(_), true) => return Err(refuse()),
        (Kind::Time(zone), false) => zone,
    };
    let second = second(rest.get(..7).unwrap_or_default()).ok_or_else(refuse)?;
    match (&rest[7..], zone) {
        ("Z", None) => {
            let seconds = u64::from(date.days()) * u64::from(SECONDS_OF_DAY) + u64::from(second);
            Ok(Moment::Utc(UnixMs(seconds * 1000)))
        }
        ("Z", Some(_)) => Err(Refusal::UtcWithZone),
        ("", zone) => {
            let zone = zone.as_ref().unwrap_or(default).clone();
            Ok(Moment::Wall { date, second, zone })
        }
        _ => Err(refuse()),
    }
}

/// `20260329`.
fn date(text: &str) -> Option<Date> {
    let number = number(text, 8)?;
    let part = |value: u32| i8::try_from(value).ok();
    let year = i16::try_from(number / 10_000).ok()?;
    Date::new(year, part(number / 100 % 100)?, part(number % 100)?).ok()
}

/// `T013000`. The leap second is the one before it (§3.3.12).
fn second(text: &str) -> Option<u32> {
    let number = number(text.strip_prefix('T')?, 6)?;
    let (hour, minute, second) = (number / 10_000, number / 100 % 100, number % 100);
    (hour < 24 && minute < 60 && second <= 60).then(|| hour * 3600 + minute * 60 + second.min(59))
}

/// A number of exactly so many digits.
fn number(text: &str, digits: usize) -> Option<u32> {
    let all = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok())?
}

/// A DURATION that is not negative (§3.3.6), as `P1W`, `P1DT2H` or `PT90M`.
pub(super) fn duration(text: &str) -> Result<End, Refusal> {
    let refuse = || Refusal::Duration(quoted(text));
    let body = text.strip_prefix('+').unwrap_or(text).strip_prefix('P').ok_or_else(refuse)?;
    let (date, time) = body.split_once('T').map_or((body, None), |(date, time)| (date, Some(time)));
    let has_week = date.ends_with('W') && time.is_none();
    let days = match (has_week, date.is_empty()) {
        (true, _) => units(date, &[('W', 7)]),
        (false, true) => time.map(|_| 0),
        (false, false) => units(date, &[('D', 1)]),
    };
    let seconds = time.map_or(Some(0), |time| units(time, &[('H', 3600), ('M', 60), ('S', 1)]));
    let (days, seconds) = days.zip(seconds).ok_or_else(refuse)?;
    if u64::from(days) + u64::from(seconds.div_ceil(SECONDS_OF_DAY)) > u64::from(EVENT_DAYS_MAX) {
        return Err(Refusal::TooLong { max: EVENT_DAYS_MAX });
    }
    Ok(End::After { days, seconds })
}

/// The sum of numbers with their units, each at most once, in that order.
fn units(mut text: &str, units: &[(char, u32)]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    let mut sum: u32 = 0;
    let mut units = units.iter();
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, rest) = text.split_at(end);
        let name = rest.chars().next()?;
        let (_, factor) = units.find(|(unit, _)| *unit == name)?;
        sum = sum.checked_add(number.parse::<u32>().ok()?.checked_mul(*factor)?)?;
        text = rest.get(name.len_utf8()..)?;
    }
    Some(sum)
}

/// A TEXT without its escapes (§3.3.11). A backslash before anything else stands for itself.
pub(super) fn text(value: &str) -> String {
    let mut result = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        let rest = letters.as_str();
        match (letter, rest.chars().next()) {
            ('\\', Some(next @ ('\\' | ';' | ',' | 'n' | 'N'))) => {
                result.push(if matches!(next, 'n' | 'N') { '\n' } else { next });
                letters.next();
            }
            _ => result.push(letter),
        }
    }
    result
}

/// A TEXT with its escapes. Letters that have none and may not be written are left out.
pub(super) fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | ';' | ',' => result.extend(['\\', letter]),
            '\n' => result.push_str("\\n"),
            _ if letter.is_control() && letter != '\t' => {}
            _ => result.push(letter),
        }
    }
    result
}

/// As much of a refused value as is quoted.
pub(super) fn quoted(text: &str) -> String {
    text.chars().take(crate::civil::QUOTED_MAX).collect()
}
