//! Times as people read them.

use jiff::Timestamp;

/// A second in UTC, as RFC 3339 writes it.
pub fn date(unix_s: u64) -> String {
    let second = i64::try_from(unix_s).ok().and_then(|second| Timestamp::from_second(second).ok());
    second.map_or_else(|| unix_s.to_string(), |second| second.to_string())
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn any_second_is_said() {
        assert_eq!(date(1_795_676_647), "2026-11-26T07:04:07Z");
        assert_eq!(date(u64::MAX), u64::MAX.to_string());
    }
}
