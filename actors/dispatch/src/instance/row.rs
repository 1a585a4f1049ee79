//! One row of an instance: identifier, coordinates, window, service time and three lists.
//!
//! **Invariant:** a row that exists has finite coordinates, times that fit, kinds that `INFO` counts
//! and as many parts as it counts. **Not here:** what a row is of, which its position says.

use super::{Fault, FormatError, Info, Point, TICKS_PER_UNIT};
use crate::problem::{KINDS_MAX, Kinds, TICKS_MAX, Ticks, Window};

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) line: usize,
    pub(super) id: u32,
    pub(super) at: Point,
    pub(super) window: Window,
    pub(super) service: Ticks,
    pub(super) skills: Kinds,
    pub(super) tools: Kinds,
    pub(super) parts: Vec<u32>,
}

/// Exactly so many fields.
pub(super) fn fields<'t, const N: usize>(
    line: usize,
    text: &'t str,
    what: &'static str,
) -> Result<[&'t str; N], FormatError> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let value = || Fault::Value { what, found: text.to_owned() };
    fields.try_into().map_err(|_| FormatError { line, fault: value() })
}

/// A finite number.
pub(super) fn number(line: usize, field: &str, what: &'static str) -> Result<f64, FormatError> {
    let number = field.parse::<f64>().ok().filter(|number| number.is_finite());
    let value = || Fault::Value { what, found: field.to_owned() };
    number.ok_or_else(|| FormatError { line, fault: value() })
}

pub(super) fn identifier(line: usize, field: &str) -> Result<u32, FormatError> {
    let value = || Fault::Value { what: "an identifier", found: field.to_owned() };
    field.parse().map_err(|_| FormatError { line, fault: value() })
}

/// A time that is not negative and not beyond what a problem may have.
pub(super) fn time(line: usize, field: &str, what: &'static str) -> Result<Ticks, FormatError> {
    let ticks = (number(line, field, what)? * TICKS_PER_UNIT).round();
    if (0.0..=TICKS_MAX as f64).contains(&ticks) {
        return Ok(ticks as Ticks);
    }
    Err(FormatError { line, fault: Fault::Value { what, found: field.to_owned() } })
}

impl Row {
    pub(super) fn parse(line: usize, text: &str, info: Info) -> Result<Self, FormatError> {
        let (numbers, lists) = text.split_at(text.find('[').unwrap_or(text.len()));
        let what = "identifier, coordinates, window, service time and three lists in brackets";
        let [id, x, y, open, close, service] = fields(line, numbers, what)?;
        let error = || FormatError { line, fault: Fault::Value { what, found: text.to_owned() } };
        let lists: Vec<&str> = lists.split_inclusive(']').collect();
        let [skills, tools, parts] = lists.try_into().map_err(|_| error())?;
        let row = Self {
            line,
            id: identifier(line, id)?,
            at: Point { x: number(line, x, "a coordinate")?, y: number(line, y, "a coordinate")? },
            window: Window {
                open: time(line, open, "the opening of a window")?,
                close: time(line, close, "the close of a window")?,
            },
            service: time(line, service, "a service time")?,
            skills: kinds(line, skills, info.skills, "a skill")?,
            tools: kinds(line, tools, info.tools, "a tool")?,
            parts: list(line, parts, "a number of parts")?,
        };
        let expected = if row.id == 0 { 0 } else { info.parts };
        if row.parts.len() != expected {
            let what = "the number of a part";
            return Err(row.error(Fault::Count { what, found: row.parts.len(), expected }));
        }
        if row.window.close < row.window.open {
            let (what, found) = ("a window that closes after it opens", format!("{open} {close}"));
            return Err(row.error(Fault::Value { what, found }));
        }
        Ok(row)
    }

    pub(super) fn error(&self, fault: Fault) -> FormatError {
        FormatError { line: self.line, fault }
    }
}

fn list(line: usize, text: &str, what: &'static str) -> Result<Vec<u32>, FormatError> {
    let error = |found: &str| FormatError {
        line,
        fault: Fault::Value { what, found: found.trim().to_owned() },
    };
    let inside = text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inside = inside.ok_or_else(|| error(text))?;
    if inside.trim().is_empty() {
        return Ok(Vec::new());
    }
    inside.split(',').map(|item| item.trim().parse().map_err(|_| error(item))).collect()
}

/// A list of kinds below `count`.
fn kinds(line: usize, text: &str, count: usize, what: &'static str) -> Result<Kinds, FormatError> {
    let listed = list(line, text, what)?;
    let unknown = listed.iter().find(|kind| **kind as usize >= count.min(KINDS_MAX));
    if let Some(kind) = unknown {
        return Err(FormatError { line, fault: Fault::Value { what, found: kind.to_string() } });
    }
    Ok(Kinds::of(listed.into_iter().map(|kind| kind as usize)).unwrap_or_default())
}
