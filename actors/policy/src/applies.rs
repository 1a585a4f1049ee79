//! Which tickets something is for: lists of priorities, categories and tiers, where an empty one is all.
//!
//! **Invariants:** each value is in its range. **Not here:** places and customers (`silences`).

use fieldmesh_rules::{
    PRIORITY_MAX,
    reading::{Fields, Findings},
};

/// Values of one list: more would be another way to say all.
pub const LIST_MAX: usize = 256;
/// The fields that say so.
pub(crate) const FIELDS: [&str; 3] = ["priorities", "categories", "tiers"];

/// What is known of a ticket when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub priority: u8,
    pub category: u16,
    pub tier: u8,
}

/// Lists of what fits; an empty one fits all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applies {
    pub priorities: Vec<u8>,
    pub categories: Vec<u16>,
    pub tiers: Vec<u8>,
}

fn fits<T: PartialEq>(list: &[T], value: &T) -> bool {
    list.is_empty() || list.contains(value)
}

/// Whether each value that the inner list fits is fit by the outer one.
fn covers<T: PartialEq>(outer: &[T], inner: &[T]) -> bool {
    outer.is_empty() || (!inner.is_empty() && inner.iter().all(|value| outer.contains(value)))
}

impl Applies {
    pub fn to(&self, ticket: &Ticket) -> bool {
        fits(&self.priorities, &ticket.priority)
            && fits(&self.categories, &ticket.category)
            && fits(&self.tiers, &ticket.tier)
    }

    /// Whether it is for each ticket that `other` is for.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        covers(&self.priorities, &other.priorities)
            && covers(&self.categories, &other.categories)
            && covers(&self.tiers, &other.tiers)
    }

    pub(crate) fn read(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Self {
        let [priorities, categories, tiers] = FIELDS;
        Self {
            priorities: numbers(fields, findings, priorities, 1, i64::from(PRIORITY_MAX)),
            categories: numbers(fields, findings, categories, 0, i64::from(u16::MAX)),
            tiers: numbers(fields, findings, tiers, 0, i64::from(u8::MAX)),
        }
    }
}

/// A list of whole numbers; none where it is missing, which is no mistake.
pub(crate) fn numbers<T: TryFrom<i64>>(
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    name: &str,
    min: i64,
    max: i64,
) -> Vec<T> {
    let Some(value) = fields.value(name) else { return vec![] };
    let list = fields.as_list(findings, value, name, LIST_MAX).unwrap_or_default();
    if list.is_empty() && value.get_ref().as_array().is_some_and(|list| list.is_empty()) {
        let text = format!("`{name}` is empty, which would be nothing; leave it out to mean all");
        fields.error(findings, value.span().start, text);
    }
    let mut number = |item| fields.as_number(findings, item, name, min, max);
    let numbers = list.into_iter().filter_map(&mut number);
    numbers.filter_map(|number| T::try_from(number).ok()).collect()
}
