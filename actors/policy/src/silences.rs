//! The document of silences and maintenance windows: for which tickets nobody is sought for a while.
//!
//! ```toml
//! [[silence]]
//! name = "line-4-rebuilt"
//! kind = "maintenance"
//! from = 2026-12-01T06:00:00Z
//! until = 2026-12-01T14:00:00Z
//! categories = [26]
//! area = { lat = "48.137", lon = "11.575", radius_km = 5 }
//! reason = "line 4 is rebuilt"
//! by = "duty"
//! ```
//!
//! What it does not name fits every ticket. A silence that names nothing at all is refused: nobody means to
//! silence everything.
//!
//! **Invariants:** each silence ends, at most 30 days after it begins; names are unique; what is written
//! here is read again as the same. **Not here:** what a ticket does meanwhile (the domain).

mod places;
mod written;

pub use places::Area;
pub use written::NewSilence;

use fieldmesh_domain::{
    EntityId, EntityKind, Region,
    message::TEXT_BYTES_MAX,
    ticket::{Silence, Subject},
    time::Millis,
};
use fieldmesh_rules::{
    PRIORITY_MAX,
    reading::{Fields, Findings, Read, Refused, read},
};

use crate::{
    DOCUMENT_BYTES_MAX,
    applies::{LIST_MAX, numbers},
    policies::name_of,
};
use places::{area, instant};

/// Silences of a document: those that are past can be left out, and are when one is added.
pub const SILENCES_MAX: usize = 128;
/// Days that a silence lasts at most.
pub const LENGTH_DAYS_MAX: u64 = 30;
const DAY_MS: u64 = 86_400_000;
/// Bytes of a reason: one line.
const REASON_BYTES_MAX: usize = 256;

/// Why nobody is sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceKind {
    /// It is known, and nobody is needed.
    Silence,
    /// Somebody works there.
    Maintenance,
}

impl SilenceKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Maintenance => "maintenance",
        }
    }
}

/// One silence as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenSilence {
    pub name: String,
    pub kind: SilenceKind,
    pub from: Millis,
    pub until: Millis,
    pub regions: Vec<Region>,
    pub categories: Vec<u16>,
    pub priorities: Vec<u8>,
    pub customers: Vec<EntityId>,
    pub area: Option<Area>,
    pub reason: String,
    pub by: String,
}

/// All silences, in the order of the document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Silences {
    pub entries: Vec<WrittenSilence>,
}

impl WrittenSilence {
    fn names_something(&self) -> bool {
        let lists = [self.regions.len(), self.categories.len(), self.customers.len()];
        lists.into_iter().any(|length| length > 0) || self.area.is_some()
    }

    fn fits(&self, subject: &Subject, region: Region) -> bool {
        fn among<T: PartialEq>(list: &[T], value: &T) -> bool {
            list.is_empty() || list.contains(value)
        }
        among(&self.regions, &region)
            && among(&self.categories, &subject.category)
            && among(&self.priorities, &subject.priority)
            && (self.customers.is_empty()
                || subject.customer.is_some_and(|one| self.customers.contains(&one)))
            && self.area.is_none_or(|area| area.contains(subject.location))
    }

    pub fn is_past(&self, now: Millis) -> bool {
        self.until <= now
    }
}

impl Silences {
    /// The silence that applies to a ticket now; of several the one that lasts longest.
    pub fn silence_of(
        &self,
        subject: &Subject,
        region: Region,
        now: Millis,
        version: u32,
    ) -> Option<Silence> {
        let lasting = self.entries.iter().filter(|one| one.from <= now && now < one.until);
        let fitting = lasting.filter(|one| one.fits(subject, region));
        let longest = fitting.max_by_key(|one| one.until)?;
        Some(Silence { name: longest.name.clone(), version, until: longest.until })
    }
}

/// # Errors
/// Everything that is wrong with the document, with line, column and remedy.
pub fn read_silences(text: &str) -> Result<Read<Silences>, Refused> {
    read(text, DOCUMENT_BYTES_MAX, |document, findings| {
        document.only(findings, &["silence"]);
        let mut entries: Vec<WrittenSilence> = Vec::new();
        for fields in document.tables(findings, "silence", SILENCES_MAX) {
            let Some((at, silence)) = silence(&fields, findings) else { continue };
            if entries.iter().any(|other| other.name == silence.name) {
                let text = "another silence has this name; rename one of them";
                findings.error(at, Some(&format!("silence `{}`", silence.name)), text);
            }
            entries.push(silence);
        }
        Silences { entries }
    })
}

fn silence(
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
) -> Option<(usize, WrittenSilence)> {
    let named = name_of(fields, findings, "name");
    let within = named.as_ref().map(|(_, name)| format!("silence `{name}`"));
    let fields = fields.within(within.as_deref());
    fields.only(
        findings,
        &[
            "name",
            "kind",
            "from",
            "until",
            "regions",
            "categories",
            "priorities",
            "customers",
            "area",
            "reason",
            "by",
        ],
    );
    let kind = kind(&fields, findings);
    let (from, until) = (instant(&fields, "from", findings), instant(&fields, "until", findings));
    let regions = texts(&fields, "regions", findings, |text| {
        text.parse().map_err(|error| format!("{error}"))
    });
    let customers = texts(&fields, "customers", findings, |text| {
        let id = text.parse::<EntityId>().map_err(|error| error.to_string())?;
        let is_customer = id.kind() == EntityKind::Customer;
        is_customer.then_some(id).ok_or_else(|| "a customer's identifier begins with cus_".into())
    });
    let categories = numbers(&fields, findings, "categories", 0, i64::from(u16::MAX));
    let priorities = numbers(&fields, findings, "priorities", 1, i64::from(PRIORITY_MAX));
    let area = fields.value("area").map(|value| area(&fields, value, findings));
    let reason = line(&fields, "reason", findings);
    let by = line(&fields, "by", findings);
    let (from, until) = lasting(&fields, from?, until?, findings)?;
    let (at, name) = named?;
    let silence = WrittenSilence {
        name,
        kind: kind?,
        from,
        until,
        regions: regions?,
        categories,
        priorities,
        customers: customers?,
        area: area.map_or(Some(None), |area| area.map(Some))?,
        reason: reason?,
        by: by?,
    };
    if !silence.names_something() {
        let text = "it would silence every ticket; name regions, categories, customers or an area";
        fields.error(findings, at, text.to_owned());
        return None;
    }
    Some((at, silence))
}

fn kind(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<SilenceKind> {
    let Some(value) = fields.value("kind") else { return Some(SilenceKind::Silence) };
    let (span, text) = fields.as_string(findings, value, "kind")?;
    let known = [SilenceKind::Silence, SilenceKind::Maintenance];
    let found = known.into_iter().find(|kind| kind.name() == text);
    if found.is_none() {
        let text = "`kind` is \"silence\" or \"maintenance\"; write one of them";
        fields.error(findings, span.start, text.to_owned());
    }
    found
}

/// From when until when, where it ends in time.
fn lasting(
    fields: &Fields<'_, '_>,
    from: Millis,
    until: Millis,
    findings: &mut Findings<'_>,
) -> Option<(Millis, Millis)> {
    let at = fields.value("until").map_or(fields.place(), |value| value.span().start);
    if until <= from {
        let text = "it ends before it begins; exchange `from` and `until`";
        fields.error(findings, at, text.to_owned());
        return None;
    }
    if until.0 - from.0 > LENGTH_DAYS_MAX * DAY_MS {
        let text = format!(
            "it lasts longer than {LENGTH_DAYS_MAX} days; end it earlier, and write another one if \
             that is not enough"
        );
        fields.error(findings, at, text);
        return None;
    }
    Some((from, until))
}

/// A list of texts that mean something; none where it is missing, which is no mistake.
fn texts<T>(
    fields: &Fields<'_, '_>,
    name: &str,
    findings: &mut Findings<'_>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let Some(value) = fields.value(name) else { return Some(vec![]) };
    let list = fields.as_list(findings, value, name, LIST_MAX)?;
    if list.is_empty() {
        let text = format!("`{name}` is empty, which would be nothing; leave it out to mean all");
        fields.error(findings, value.span().start, text);
    }
    let mut all = Vec::new();
    for item in list {
        let (span, text) = fields.as_string(findings, item, name)?;
        match parse(text) {
            Ok(value) => all.push(value),
            Err(error) => {
                let text = text.escape_debug();
                fields.error(findings, span.start, format!("\"{text}\": {error}; correct it"));
            }
        }
    }
    Some(all)
}

/// A line of text; empty where it is missing, which is no mistake.
fn line(fields: &Fields<'_, '_>, name: &str, findings: &mut Findings<'_>) -> Option<String> {
    const { assert!(REASON_BYTES_MAX <= TEXT_BYTES_MAX) };
    let Some(value) = fields.value(name) else { return Some(String::new()) };
    let (span, text) = fields.as_string(findings, value, name)?;
    if text.len() > REASON_BYTES_MAX || text.contains(char::is_control) {
        let text = format!("`{name}` is one line of at most {REASON_BYTES_MAX} bytes; shorten it");
        fields.error(findings, span.start, text);
        return None;
    }
    Some(text.to_owned())
}
