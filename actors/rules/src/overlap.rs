//! Which tickets a condition can hold for, as far as it compares facts with what is written.
//!
//! Of `&&`, `||`, comparisons and `in` it keeps the values that each fact can have; of everything
//! else nothing, so that a region may be too large and never too small. Two rules whose regions have
//! no value of some fact in common never act on the same ticket.
//!
//! **Invariants:** a region holds every ticket that the condition holds for; ranges are in order and
//! apart, so that there are never more than numbers in the text. **Not here:** what is said of it
//! (`lint`).

use std::collections::{BTreeMap, BTreeSet};

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};

use crate::{
    expression::fact_index,
    schema::{FACTS, Values},
};

/// The values that a fact can have.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    /// Ranges with both ends.
    Numbers(Vec<(i64, i64)>),
    Texts(BTreeSet<String>),
}

impl Allowed {
    fn both(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Numbers(one), Self::Numbers(other)) => {
                let meet = |(a, b): &(i64, i64)| {
                    let cut = |(c, d): &(i64, i64)| (*a.max(c), *b.min(d));
                    other.iter().map(cut).filter(|(low, high)| low <= high).collect::<Vec<_>>()
                };
                Self::Numbers(one.iter().flat_map(meet).collect())
            }
            (Self::Texts(one), Self::Texts(other)) => Self::Texts(one & other),
            // A fact has one type.
            (Self::Numbers(_), Self::Texts(_)) | (Self::Texts(_), Self::Numbers(_)) => self.clone(),
        }
    }

    fn either(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Numbers(one), Self::Numbers(other)) => {
                Self::Numbers(joined(one.iter().chain(other).copied().collect()))
            }
            (Self::Texts(one), Self::Texts(other)) => Self::Texts(one | other),
            (Self::Numbers(_), Self::Texts(_)) | (Self::Texts(_), Self::Numbers(_)) => self.clone(),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Numbers(ranges) => ranges.is_empty(),
            Self::Texts(texts) => texts.is_empty(),
        }
    }
}

/// The same numbers in ranges that are in order and apart.
fn joined(mut ranges: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    ranges.sort_unstable();
    let mut apart: Vec<(i64, i64)> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match apart.last_mut() {
            Some((_, end)) if low <= *end => *end = (*end).max(high),
            _ => apart.push((low, high)),
        }
    }
    apart
}

/// By fact; one that is not there can have any value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Region(BTreeMap<usize, Allowed>);

impl Region {
    pub(crate) fn of(tree: &IdedExpr) -> Self {
        let Expr::Call(call) = &tree.expr else {
            return Self::default();
        };
        let (None, [one, other]) = (&call.target, call.args.as_slice()) else {
            return Self::default();
        };
        match call.func_name.as_str() {
            operators::LOGICAL_AND => Self::of(one).both(&Self::of(other)),
            operators::LOGICAL_OR => Self::of(one).either(&Self::of(other)),
            operators::IN => Self::among(one, other),
            operator => Self::compared(operator, one, other)
                .or_else(|| Self::compared(mirrored(operator)?, other, one))
                .unwrap_or_default(),
        }
    }

    /// `fact operator literal`
    fn compared(operator: &str, one: &IdedExpr, other: &IdedExpr) -> Option<Self> {
        let fact = fact(one)?;
        let Expr::Literal(literal) = &other.expr else {
            return None;
        };
        let allowed = match literal {
            LiteralValue::Int(number) => Allowed::Numbers(ranges(operator, **number)?),
            LiteralValue::String(text) if operator == operators::EQUALS => {
                Allowed::Texts(BTreeSet::from([text.inner().to_owned()]))
            }
            _ => return None,
        };
        Some(Self::only(fact, allowed))
    }

    /// Of what is written, what the fact can be at all.
    fn only(fact: usize, allowed: Allowed) -> Self {
        let possible = match FACTS.get(fact).map(|fact| fact.values) {
            Some(Values::Int { min, max }) => Allowed::Numbers(vec![(min, max)]),
            Some(Values::Text { .. }) | None => allowed.clone(),
        };
        Self(BTreeMap::from([(fact, allowed.both(&possible))]))
    }

    /// `fact in [literals]`
    fn among(one: &IdedExpr, list: &IdedExpr) -> Self {
        let (Some(fact), Expr::List(list)) = (fact(one), &list.expr) else {
            return Self::default();
        };
        let (mut numbers, mut texts) = (Vec::new(), BTreeSet::new());
        for element in &list.elements {
            match &element.expr {
                Expr::Literal(LiteralValue::Int(number)) => numbers.push((**number, **number)),
                Expr::Literal(LiteralValue::String(text)) => {
                    texts.insert(text.inner().to_owned());
                }
                _ => return Self::default(),
            }
        }
        let allowed = match texts.is_empty() {
            true => Allowed::Numbers(joined(numbers)),
            false => Allowed::Texts(texts),
        };
        Self::only(fact, allowed)
    }

    /// The tickets of both.
    pub(crate) fn both(mut self, other: &Self) -> Self {
        for (fact, allowed) in &other.0 {
            let met = self.0.get(fact).map_or_else(|| allowed.clone(), |mine| mine.both(allowed));
            self.0.insert(*fact, met);
        }
        self
    }

    fn either(&self, other: &Self) -> Self {
        // A region without tickets adds none, whatever it says of other facts.
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        let shared = self.0.iter().filter_map(|(fact, allowed)| {
            other.0.get(fact).map(|theirs| (*fact, allowed.either(theirs)))
        });
        Self(shared.collect())
    }

    /// Whether the condition holds for no ticket.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.values().any(Allowed::is_empty)
    }
}

fn fact(tree: &IdedExpr) -> Option<usize> {
    match &tree.expr {
        Expr::Ident(name) => fact_index(name),
        _ => None,
    }
}

/// The same comparison with its sides exchanged.
fn mirrored(operator: &str) -> Option<&'static str> {
    Some(match operator {
        operators::EQUALS => operators::EQUALS,
        operators::NOT_EQUALS => operators::NOT_EQUALS,
        operators::LESS => operators::GREATER,
        operators::LESS_EQUALS => operators::GREATER_EQUALS,
        operators::GREATER => operators::LESS,
        operators::GREATER_EQUALS => operators::LESS_EQUALS,
        _ => return None,
    })
}

/// The numbers that are `operator` than this one.
fn ranges(operator: &str, number: i64) -> Option<Vec<(i64, i64)>> {
    let below = number.checked_sub(1).map(|end| (i64::MIN, end));
    let above = number.checked_add(1).map(|start| (start, i64::MAX));
    Some(match operator {
        operators::EQUALS => vec![(number, number)],
        operators::NOT_EQUALS => below.into_iter().chain(above).collect(),
        operators::LESS => below.into_iter().collect(),
        operators::LESS_EQUALS => vec![(i64::MIN, number)],
        operators::GREATER => above.into_iter().collect(),
        operators::GREATER_EQUALS => vec![(number, i64::MAX)],
        _ => return None,
    })
}
