//! The document an operator writes: rules in TOML, with tests of them.
//!
//! ```toml
//! version = 2
//!
//! [[rule]]
//! name = "smoke"
//! when = 'ticket.text.lowerAscii().contains("smoke")'
//! stop = true
//! actions = [{ set_priority = 1 }, { notify = "duty" }]
//!
//! [[test]]
//! name = "smoke is urgent"
//! facts.ticket.text = "Smoke in the server room"
//! expect.priority = 1
//! ```
//!
//! Read here into a draft, whose expressions are texts that know where in the document they are.
//!
//! **Invariants:** an unknown key is an error, and so is a missing one; everything wrong is found,
//! not only the first. **Not here:** what expressions mean (`expression`), which rules make no sense
//! together (`lint`).

mod actions;
mod cases;
mod fields;
mod source;

pub(crate) use cases::{Expectation, Test};
pub(crate) use source::Source;

use core::convert::Infallible;

use toml::de::DeTable;

use crate::{
    finding::Findings,
    rule::{ACTIONS_MAX, Action, NAME_BYTES_MAX, RULES_MAX, Rule, is_name},
};
pub use fields::Fields;

/// Bytes of a document: as much as a person can keep apart, and far from what one entry of the log
/// takes.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Tests of a document.
pub const TESTS_MAX: usize = 256;

/// A condition that nothing is known of. It stands for one that is missing, so that the rest of the
/// rule is checked too.
const UNKNOWN: &str = "now.hour == now.minute";

/// Rules as they are written, with their places.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) version: u32,
    pub(crate) rules: Vec<DraftRule>,
    pub(crate) tests: Vec<Test>,
}

pub(crate) struct DraftRule {
    /// Empty where it has none, which is an error.
    pub(crate) name: String,
    /// Where in the document the name is.
    pub(crate) at: usize,
    pub(crate) when: Source,
    pub(crate) stop: bool,
    pub(crate) actions: Vec<DraftAction>,
}

pub(crate) struct DraftAction {
    pub(crate) at: usize,
    pub(crate) action: Action<Source>,
}

impl DraftAction {
    /// The action as it is stored.
    pub(crate) fn action_text(self) -> Action<String> {
        match self.action.with_key(|source| Ok::<_, Infallible>(source.text.clone())) {
            Ok(action) => action,
        }
    }
}

/// Reads what is there; the draft lacks what is wrong.
pub(crate) fn read(text: &str, findings: &mut Findings<'_>) -> Draft {
    if text.len() > DOCUMENT_BYTES_MAX {
        let length = text.len();
        findings.error(
            0,
            None,
            format!("the document has {length} bytes, more than {DOCUMENT_BYTES_MAX}; shorten it"),
        );
        return Draft::default();
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        findings.error(at, None, format!("this is not TOML: {}; correct it", error.message()));
    }
    if !errors.is_empty() {
        // What was recovered would only give errors that nobody made.
        return Draft::default();
    }
    let document = Fields::new(table.get_ref(), 0, "the document");
    document.only(findings, &["version", "rule", "test"]);
    let version = document.number(findings, "version", 1, i64::from(u32::MAX));
    let version = version.and_then(|version| u32::try_from(version).ok()).unwrap_or(0);
    let rules = document.tables(findings, "rule", RULES_MAX);
    let rules = rules.iter().map(|fields| rule(text, fields, findings)).collect();
    let tests = document.tables(findings, "test", TESTS_MAX);
    let tests = tests.iter().filter_map(|fields| cases::read(text, fields, findings)).collect();
    Draft { version, rules, tests }
}

fn rule(document: &str, fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> DraftRule {
    let named = name(fields, findings);
    let within = named.as_ref().map(|(_, name)| format!("rule `{name}`"));
    let fields = fields.within(within.as_deref());
    fields.only(findings, &["name", "when", "stop", "actions"]);
    let when = fields.string(findings, "when");
    let stop = fields.flag(findings, "stop").unwrap_or(false);
    let list = fields.list(findings, "actions", ACTIONS_MAX).unwrap_or_default();
    let mut actions = Vec::new();
    for item in list {
        let at = item.span().start;
        if let Some(action) = actions::read(document, item, &fields, findings) {
            actions.push(DraftAction { at, action });
        }
    }
    let (at, name) = named.unwrap_or((fields.place(), String::new()));
    let when = match when {
        Some((span, text)) => Source::new(document, span, text),
        None => Source::alone(UNKNOWN),
    };
    DraftRule { name, at, when, stop, actions }
}

/// The name of a rule or a test, with its place.
pub(super) fn name(
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
) -> Option<(usize, String)> {
    let (span, text) = fields.string(findings, "name")?;
    if is_name(text) {
        return Some((span.start, text.to_owned()));
    }
    fields.error(
        findings,
        span.start,
        format!(
            "the name `{}` is not of 1 to {NAME_BYTES_MAX} letters, digits, - _ . and @; write \
             another",
            text.escape_debug()
        ),
    );
    None
}

/// What was stored, as a draft: every expression is a document of its own.
pub(crate) fn from_set(rules: &[Rule]) -> Vec<DraftRule> {
    let draft = |rule: &Rule| DraftRule {
        name: rule.name.clone(),
        at: 0,
        when: Source::alone(&rule.when),
        stop: rule.stop,
        actions: rule.actions.iter().map(alone).collect(),
    };
    rules.iter().map(draft).collect()
}

fn alone(action: &Action<String>) -> DraftAction {
    match action.with_key(|key| Ok::<_, Infallible>(Source::alone(key))) {
        Ok(action) => DraftAction { at: 0, action },
    }
}
