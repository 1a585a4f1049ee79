//! The document of escalation policies.
//!
//! ```toml
//! offers_per_minute = 6
//!
//! [[policy]]
//! name = "standard"
//! priorities = [3, 4, 5]
//!
//! [[policy.step]]
//! offer = { technicians = 2, radius_km = 30 }
//! within = "2m"
//!
//! [[policy.step]]
//! tell = { dispatcher = "duty" }
//! within = { p1 = "1m", other = "15m" }
//!
//! [[policy.step]]
//! repeat = { from = 2 }
//! ```
//!
//! The first policy whose lists fit a ticket is its policy, unless a rule routes it to another one by name.
//!
//! **Invariants:** names are unique; an unknown field is an error. **Not here:** the steps of one policy
//! (`steps`), how it may end (`endings`).

use std::collections::BTreeSet;

use fieldmesh_domain::{
    desk::PACE_MAX,
    escalation::{NAME_BYTES_MAX, Policy, Role, STEPS_MAX, Step},
};
use fieldmesh_rules::reading::{Fields, Findings, Read, Refused, is_name, meant, read};

use crate::{
    DOCUMENT_BYTES_MAX,
    applies::{self, Applies, Ticket},
    endings, steps,
};

/// Policies of a document: each is looked at for every ticket until one fits.
pub const POLICIES_MAX: usize = 64;

/// Escalation policies as an operator wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    pub entries: Vec<Entry>,
    /// Offers that one technician may have in a minute; none is any number.
    pub offers_per_minute: Option<u16>,
}

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub applies: Applies,
    pub steps: Vec<Step>,
}

/// Who can be told, as another document names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipients {
    /// None where no document says who there is.
    pub people: Option<BTreeSet<String>>,
    pub webhooks: BTreeSet<String>,
}

impl Recipients {
    pub(crate) fn has(&self, role: Role, name: &str) -> bool {
        match role.is_person() {
            true => self.people.as_ref().is_none_or(|people| people.contains(name)),
            false => self.webhooks.contains(name),
        }
    }

    pub(crate) fn meant(&self, role: Role, name: &str) -> String {
        let people = role.is_person().then(|| self.people.iter().flatten()).into_iter().flatten();
        let webhooks = (!role.is_person()).then_some(&self.webhooks).into_iter().flatten();
        meant(name, people.chain(webhooks).map(String::as_str))
    }
}

impl Policies {
    /// The policy of a ticket, as the ticket keeps it; `routed` is what a rule says.
    pub fn policy_of(&self, ticket: &Ticket, routed: Option<&str>, version: u32) -> Option<Policy> {
        let by_name = routed.and_then(|name| self.entries.iter().find(|one| one.name == name));
        let fitting = || self.entries.iter().find(|one| one.applies.to(ticket));
        by_name.or_else(fitting).map(|entry| entry.policy(version))
    }

    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

impl Entry {
    pub fn policy(&self, version: u32) -> Policy {
        Policy { name: self.name.clone(), version, steps: self.steps.clone() }
    }
}

/// Reads a document; `known` are those who can be told, where that is known.
///
/// # Errors
/// Everything that is wrong with it, with line, column and remedy.
pub fn read_policies(text: &str, known: Option<&Recipients>) -> Result<Read<Policies>, Refused> {
    read(text, DOCUMENT_BYTES_MAX, |document, findings| {
        document.only(findings, &["offers_per_minute", "policy"]);
        let pace = document.value("offers_per_minute").and_then(|value| {
            let max = i64::from(PACE_MAX);
            document.as_number(findings, value, "offers_per_minute", 1, max)
        });
        let tables = document.tables(findings, "policy", POLICIES_MAX);
        let entries: Vec<Placed> =
            tables.iter().filter_map(|fields| entry(fields, known, findings)).collect();
        doubts(&tables, &entries, findings);
        let entries = entries.into_iter().map(|(_, entry)| entry).collect();
        Policies { entries, offers_per_minute: pace.and_then(|pace| u16::try_from(pace).ok()) }
    })
}

type Placed = (usize, Entry);

fn entry(
    fields: &Fields<'_, '_>,
    known: Option<&Recipients>,
    findings: &mut Findings<'_>,
) -> Option<Placed> {
    let named = name_of(fields, findings, "name");
    let within = named.as_ref().map(|(_, name)| format!("policy `{name}`"));
    let fields = fields.within(within.as_deref());
    let [priorities, categories, tiers] = applies::FIELDS;
    fields.only(findings, &["name", priorities, categories, tiers, "step"]);
    let applies = Applies::read(&fields, findings);
    let tables = fields.tables(findings, "step", STEPS_MAX);
    if fields.value("step").is_none() {
        let text = "the policy has no steps, and would end silently; add a `[[policy.step]]`";
        fields.error(findings, fields.place(), text.to_owned());
    }
    let steps = steps::read(&tables, known, findings);
    endings::check(&fields, &tables, &steps, findings);
    let (at, name) = named?;
    // A step that could not be read has its error already.
    let steps: Option<Vec<Step>> = steps.into_iter().collect();
    Some((at, Entry { name, applies, steps: steps.unwrap_or_default() }))
}

/// A name with its place; none where there is a finding.
pub(crate) fn name_of(
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    field: &str,
) -> Option<(usize, String)> {
    let (span, text) = fields.string(findings, field)?;
    if is_name(text) {
        return Some((span.start, text.to_owned()));
    }
    let quoted = text.escape_debug();
    let text = format!(
        "the name `{quoted}` is not of 1 to {NAME_BYTES_MAX} letters, digits, - _ . and @; write \
         another"
    );
    fields.error(findings, span.start, text);
    None
}

/// Policies that no ticket has, or that cannot be told apart.
fn doubts(tables: &[Fields<'_, '_>], entries: &[Placed], findings: &mut Findings<'_>) {
    if tables.is_empty() {
        let text = "the document has no policy, so that tickets do what the built-in rules say";
        findings.warn(0, None, text);
    }
    for (index, (at, entry)) in entries.iter().enumerate() {
        let within = format!("policy `{}`", entry.name);
        let before = entries.get(..index).unwrap_or_default();
        if before.iter().any(|(_, other)| other.name == entry.name) {
            let text = "another policy has this name; rename one of them";
            findings.error(*at, Some(&within), text);
        } else if let Some((_, other)) =
            before.iter().find(|(_, other)| other.applies.covers(&entry.applies))
        {
            let text = format!(
                "policy `{}` above fits every ticket that this one fits, so that only a rule that \
                 routes to it leads here; move it up, or narrow the other one",
                other.name
            );
            findings.warn(*at, Some(&within), text);
        }
    }
}
