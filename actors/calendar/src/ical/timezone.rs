//! A zone's rules as a VTIMEZONE, for programs that do not know it by its name.
//!
//! RFC 5545 §3.6.5. Each transition is written by itself: rules of rules would have to be guessed from
//! them. **Invariants:** every instant from the first date to the last has an observance that began
//! before it. **Not here:** reading a VTIMEZONE; the name is enough.

use jiff::Timestamp;

use super::export::wall_text;
use crate::{
    civil::Date,
    interval::{DAY_MS, UnixMs},
    zone::{Rules, Zone},
};

/// Transitions written: four a year for 230 years, Morocco's number.
const TRANSITIONS_MAX: usize = 920;
/// Days by which a wall's date may differ from that in UTC, and one for the clocks' change.
const DAYS_AROUND: u32 = 2;

/// The lines of the VTIMEZONE, unfolded.
pub(super) fn timezone(zone: &Zone, rules: &Rules, first: Date, last: Date) -> Vec<String> {
    let midnight = |days: u32| UnixMs(u64::from(days) * DAY_MS);
    let from = midnight(first.days().saturating_sub(DAYS_AROUND));
    let until = midnight(last.days().saturating_add(DAYS_AROUND));
    let (mut offset, name) = rules.offset(from);
    let mut lines = vec!["BEGIN:VTIMEZONE".to_owned(), format!("TZID:{zone}")];
    let epoch = "19700101T000000".to_owned();
    lines.extend(observance(false, &epoch, (offset, offset), &name));
    for transition in rules.transitions(from, TRANSITIONS_MAX) {
        let at = transition.timestamp();
        if ms(at) > until {
            break;
        }
        let next = transition.offset().seconds();
        // The beginning is written as the clocks showed it that were then put forward or back.
        let shown = UnixMs(ms(at).0.saturating_add_signed(i64::from(offset) * 1000));
        let (is_dst, name) = (transition.dst().is_dst(), transition.abbreviation());
        lines.extend(observance(is_dst, &wall_text(shown), (offset, next), name));
        offset = next;
    }
    lines.push("END:VTIMEZONE".to_owned());
    lines
}

fn ms(at: Timestamp) -> UnixMs {
    UnixMs(u64::try_from(at.as_millisecond()).unwrap_or_default())
}

fn observance(is_dst: bool, start: &str, (from, to): (i32, i32), name: &str) -> [String; 6] {
    let kind = if is_dst { "DAYLIGHT" } else { "STANDARD" };
    [
        format!("BEGIN:{kind}"),
        format!("DTSTART:{start}"),
        format!("TZOFFSETFROM:{}", offset_text(from)),
        format!("TZOFFSETTO:{}", offset_text(to)),
        format!("TZNAME:{name}"),
        format!("END:{kind}"),
    ]
}

/// `+0530`, with seconds only if there are any (§3.3.14).
fn offset_text(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.unsigned_abs();
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match second {
        0 => format!("{sign}{hour:02}{minute:02}"),
        _ => format!("{sign}{hour:02}{minute:02}{second:02}"),
    }
}
