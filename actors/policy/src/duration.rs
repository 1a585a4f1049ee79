//! Spans of time as a person writes them: `90s`, `15m`, `4h`, `2d`.
//!
//! **Invariants:** a span is a whole number of one unit. **Not here:** which spans are allowed where.

/// Seconds of the units.
const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];

/// Seconds that the text says; none where it is written in another way.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let unit = text.chars().next_back()?;
    let (_, factor) = UNITS.into_iter().find(|(known, _)| *known == unit)?;
    let number = &text[..text.len() - unit.len_utf8()];
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse::<u64>().ok()?.checked_mul(factor)).flatten()
}

/// The shortest way to write so many seconds.
pub(crate) fn written(seconds: u64) -> String {
    let fitting =
        UNITS.into_iter().rev().find(|(_, factor)| seconds > 0 && seconds.is_multiple_of(*factor));
    let (unit, factor) = fitting.unwrap_or(('s', 1));
    format!("{}{unit}", seconds / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, number) in [("0s", 0), ("90s", 90), ("2m", 120), ("4h", 14_400), ("1d", 86_400)]
        {
            assert_eq!(seconds(text), Some(number));
            assert_eq!(written(number), text);
        }
        for text in ["", "s", "5", "5x", "-5s", "1.5h", "5 m", "99999999999999999999s", "5ö"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
