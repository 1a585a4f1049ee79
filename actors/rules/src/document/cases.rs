//! Reads a test: the facts of a ticket, and what the rules should say of it.
//!
//! What a test does not say of the facts is as in the least urgent ticket there is; what it does not
//! expect is not compared, except failures, of which there should be none.
//!
//! **Invariants:** facts of a test are in the ranges of the schema. **Not here:** running it
//! (`table`).

use core::convert::Infallible;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{actions, fields::Fields, name};
use crate::{
    facts::Facts,
    finding::{Findings, Place},
    nearest::meant,
    rule::{ACTIONS_MAX, Action, PRIORITY_MAX, RULES_MAX},
    schema::{self, Access, FACTS, Values},
};

/// Groups within groups of facts: `history.customer.count_1h` has two.
const GROUPS_MAX: usize = 3;

/// What the rules should say.
#[derive(Debug, Default)]
pub(crate) struct Expectation {
    /// The priority in the end, whether a rule set it or the facts had it.
    pub(crate) priority: Option<u8>,
    /// The rules that act, in their order.
    pub(crate) rules: Option<Vec<String>>,
    /// All actions in their order; keys as they come out.
    pub(crate) actions: Option<Vec<Action<String>>>,
    /// The rules that fail.
    pub(crate) failed: Vec<String>,
}

pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) facts: Facts,
    pub(crate) expect: Expectation,
}

pub(super) fn read(
    document: &str,
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
) -> Option<Test> {
    let named = name(fields, findings);
    let within = named.as_ref().map(|(_, name)| format!("test `{name}`"));
    let fields = fields.within(within.as_deref());
    fields.only(findings, &["name", "facts", "expect"]);
    let mut facts = Facts::default();
    if let Some(value) = fields.value("facts")
        && let Some(table) = fields.as_table(findings, value, "facts")
    {
        set_facts(&mut facts, table, "", &fields, findings);
    }
    let expect = expectation(document, &fields, findings);
    let (at, name) = named?;
    Some(Test { name, place: findings.place(at), facts, expect: expect? })
}

/// Sets what the table says; `group` is the name up to it, with its dot.
fn set_facts(
    facts: &mut Facts,
    table: &DeTable<'_>,
    group: &str,
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
) {
    for (key, value) in table {
        let name = format!("{group}{}", key.get_ref());
        match value.get_ref().as_table() {
            Some(inner) if group.matches('.').count() < GROUPS_MAX => {
                set_facts(facts, inner, &format!("{name}."), fields, findings);
            }
            _ => set_fact(facts, &name, key.span().start, value, fields, findings),
        }
    }
}

fn set_fact(
    facts: &mut Facts,
    name: &str,
    at: usize,
    value: &Spanned<DeValue<'_>>,
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
) {
    let Some(fact) = schema::position(name).and_then(|index| FACTS.get(index)) else {
        let meant = meant(name, FACTS.iter().map(|fact| fact.name));
        let text = format!("there is no fact `{}`{meant}", name.escape_debug());
        fields.error(findings, at, text);
        return;
    };
    match (&fact.access, &fact.values) {
        (Access::Int(_, write), Values::Int { min, max }) => {
            if let Some(number) = fields.as_number(findings, value, name, *min, *max) {
                *write(facts) = number;
            }
        }
        (Access::Text(_, write), Values::Text { bytes_max }) => match value.get_ref().as_str() {
            Some(text) if text.len() <= *bytes_max => text.clone_into(write(facts)),
            _ => {
                let text = format!("`{name}` is a text of at most {bytes_max} bytes; write one");
                fields.error(findings, value.span().start, text);
            }
        },
        // The table is written by macros that give both sides the same type.
        (Access::Int(..), Values::Text { .. }) | (Access::Text(..), Values::Int { .. }) => {}
    }
}

fn expectation<'a, 'd>(
    document: &str,
    test: &Fields<'a, 'd>,
    findings: &mut Findings<'_>,
) -> Option<Expectation> {
    let Some(value) = test.value("expect") else {
        test.error(findings, test.place(), "the test lacks `expect`; add it".to_owned());
        return None;
    };
    let table = test.as_table(findings, value, "expect")?;
    let fields = test.inner(table, test.place(), "expect");
    fields.only(findings, &["priority", "rules", "actions", "failed"]);
    let priority = fields
        .value("priority")
        .and_then(|value| fields.as_number(findings, value, "priority", 1, i64::from(PRIORITY_MAX)))
        .and_then(|priority| u8::try_from(priority).ok());
    let mut names = |key: &str| names(&fields, findings, key);
    let (rules, failed) = (names("rules"), names("failed").unwrap_or_default());
    let actions = fields
        .value("actions")
        .and_then(|value| fields.as_list(findings, value, "actions", RULES_MAX * ACTIONS_MAX))
        .map(|list| expected_actions(document, &list, &fields, findings));
    Some(Expectation { priority, rules, actions, failed })
}

fn expected_actions<'a, 'd>(
    document: &str,
    list: &[&'a Spanned<DeValue<'d>>],
    fields: &Fields<'a, 'd>,
    findings: &mut Findings<'_>,
) -> Vec<Action<String>> {
    let mut read = |item: &&'a Spanned<DeValue<'d>>| {
        let action = actions::read(document, item, fields, findings)?;
        match action.with_key(|source| Ok::<_, Infallible>(source.text.clone())) {
            Ok(action) => Some(action),
        }
    };
    list.iter().filter_map(&mut read).collect()
}

/// A list of names of rules; none where it is missing, which is no mistake.
fn names(fields: &Fields<'_, '_>, findings: &mut Findings<'_>, key: &str) -> Option<Vec<String>> {
    let list = fields.as_list(findings, fields.value(key)?, key, RULES_MAX)?;
    let mut name = |item| fields.as_string(findings, item, key).map(|(_, name)| name.to_owned());
    Some(list.into_iter().filter_map(&mut name).collect())
}
