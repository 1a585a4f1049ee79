//! Spans of time as a scenario writes them: `200ms`, `15s`, `2m`, `1h`.
//!
//! **Invariant:** a span is a whole number of one unit. **Not here:** which spans are allowed where.

use fieldmesh_rules::reading::{Fields, Findings};

/// Milliseconds of the units; the longest name first, because one ends as another does.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// Milliseconds that a text says; none where it is written in another way.
pub(crate) fn millis(text: &str) -> Option<u64> {
    let (number, factor) =
        UNITS.into_iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| number.parse::<u64>().ok()?.checked_mul(factor)).flatten()
}

/// The shortest way to write so many milliseconds.
pub(crate) fn written(ms: u64) -> String {
    let fitting = UNITS.into_iter().rev().find(|(_, factor)| ms > 0 && ms.is_multiple_of(*factor));
    let (unit, factor) = fitting.unwrap_or(("ms", 1));
    format!("{}{unit}", ms / factor)
}

/// The span of a field; `otherwise` where it is missing, or a finding where it may not be.
pub(crate) fn span(
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    name: &str,
    otherwise: Option<u64>,
    (min, max): (u64, u64),
) -> Option<u64> {
    if fields.value(name).is_none() && otherwise.is_some() {
        return otherwise;
    }
    let (at, text) = fields.string(findings, name)?;
    let wanted = || format!("write {} to {}, like \"15s\"", written(min), written(max));
    match millis(text) {
        Some(ms) if (min..=max).contains(&ms) => Some(ms),
        Some(_) => {
            let fact = format!("`{name}` is {text}, which is out of range; {}", wanted());
            fields.error(findings, at.start, fact);
            None
        }
        None => {
            let text = text.escape_debug();
            fields.error(findings, at.start, format!("\"{text}\" is no span; {}", wanted()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, ms) in
            [("0ms", 0), ("200ms", 200), ("15s", 15_000), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(millis(text), Some(ms));
            assert_eq!(written(ms), text);
        }
        for text in ["", "s", "ms", "5", "5x", "-5s", "1.5s", "5 s", "99999999999999999999h", "5ö"]
        {
            assert_eq!(millis(text), None, "{text}");
        }
    }
}
