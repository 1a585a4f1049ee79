//! Silences written as a document, and the changes that a program makes of one.
//!
//! **Invariants:** what is written is read again as the same; a change leaves out what is long past.
//! **Not here:** reading.

use core::fmt::{self, Write as _};

use fieldmesh_calendar::interval::UnixMs;
use fieldmesh_domain::time::Millis;

use super::{Silences, WrittenSilence};

/// A silence that is past is kept for so long, for people to look at.
const KEPT_MS: u64 = 7 * 86_400_000;

/// What is added.
pub type NewSilence = WrittenSilence;

impl Silences {
    /// With one more, and without those that are long past.
    #[must_use]
    pub fn with(&self, silence: NewSilence, now: Millis) -> Self {
        let kept = self.entries.iter().filter(|one| one.until.0.saturating_add(KEPT_MS) > now.0);
        Self { entries: kept.cloned().chain([silence]).collect() }
    }

    /// With the silence of that name ended now; none where there is none that lasts.
    #[must_use]
    pub fn with_ended(&self, name: &str, now: Millis) -> Option<Self> {
        let mut entries = self.entries.clone();
        let index = entries.iter().position(|one| one.name == name && !one.is_past(now))?;
        match entries.get_mut(index) {
            Some(one) if instant(one.from) < instant(now) => one.until = now,
            // It has not begun: there would be nothing left of it.
            _ => drop(entries.remove(index)),
        }
        Some(Self { entries })
    }
}

fn list<T>(f: &mut fmt::Formatter<'_>, name: &str, values: &[T], quoted: bool) -> fmt::Result
where
    T: fmt::Display,
{
    if values.is_empty() {
        return Ok(());
    }
    let quote = if quoted { "\"" } else { "" };
    let values: Vec<String> = values.iter().map(|one| format!("{quote}{one}{quote}")).collect();
    writeln!(f, "{name} = [{}]", values.join(", "))
}

/// A text as TOML writes it; there are no control characters in it.
fn text(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    if value.is_empty() {
        return Ok(());
    }
    write!(f, "{name} = \"")?;
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    writeln!(f, "\"")
}

fn degrees(e6: i32) -> String {
    let sign = if e6 < 0 { "-" } else { "" };
    let all = e6.unsigned_abs();
    format!("{sign}{}.{:06}", all / 1_000_000, all % 1_000_000)
}

/// Seconds are enough: a silence is written by a person.
fn instant(at: Millis) -> UnixMs {
    UnixMs(at.0 / 1000 * 1000)
}

impl fmt::Display for Silences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.entries.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            writeln!(f, "[[silence]]")?;
            text(f, "name", &one.name)?;
            text(f, "kind", one.kind.name())?;
            writeln!(f, "from = {}", instant(one.from))?;
            writeln!(f, "until = {}", instant(one.until))?;
            list(f, "regions", &one.regions, true)?;
            list(f, "categories", &one.categories, false)?;
            list(f, "priorities", &one.priorities, false)?;
            list(f, "customers", &one.customers, true)?;
            if let Some(area) = one.area {
                let (lat, lon) = (degrees(area.middle.lat_e6), degrees(area.middle.lon_e6));
                let radius_km = area.radius_m / 1000;
                writeln!(
                    f,
                    "area = {{ lat = \"{lat}\", lon = \"{lon}\", radius_km = {radius_km} }}"
                )?;
            }
            text(f, "reason", &one.reason)?;
            text(f, "by", &one.by)?;
        }
        Ok(())
    }
}
