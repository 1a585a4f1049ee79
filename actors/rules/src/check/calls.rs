//! The functions that rules may call.
//!
//! **Invariants:** every function listed in the schema is checked here or in `lists`, and no other is
//! let through. **Not here:** operators (`check`), questions of a list's elements (`lists`).

use cel::common::ast::{CallExpr, IdedExpr};

use super::Check;
use crate::{nearest::meant, schema::FUNCTIONS, shape::Shape};

/// Digits and sign of the longest whole number of 64 bits.
const NUMBER_BYTES_MAX: usize = 20;

impl<'a> Check<'a> {
    pub(super) fn function(&mut self, tree: &'a IdedExpr, call: &'a CallExpr) -> Shape {
        let name = call.func_name.as_str();
        match (call.target.as_deref(), call.args.as_slice(), name) {
            (Some(text), [part], "contains" | "startsWith" | "endsWith") => {
                self.looks_for(tree, name, text, part)
            }
            (Some(text), [], "lowerAscii" | "upperAscii") => self.letters(tree, name, text),
            (Some(one), [], "size") | (None, [one], "size") => self.size(tree, one),
            (None, [number], "string") => self.digits(tree, number),
            _ => self.unknown_function(tree, call),
        }
    }

    fn looks_for(
        &mut self,
        tree: &'a IdedExpr,
        name: &str,
        text: &'a IdedExpr,
        part: &'a IdedExpr,
    ) -> Shape {
        let (whole, part) = (self.shape(text), self.shape(part));
        self.spend_on(&whole);
        self.spend_on(&part);
        match (&whole, &part) {
            (Shape::Text { known: Some(text), .. }, Shape::Text { known: Some(part), .. }) => {
                Shape::always(match name {
                    "contains" => text.contains(part.as_str()),
                    "startsWith" => text.starts_with(part.as_str()),
                    _ => text.ends_with(part.as_str()),
                })
            }
            (Shape::Text { .. }, Shape::Text { known: Some(part), .. }) if part.is_empty() => {
                Shape::always(true)
            }
            (Shape::Text { .. }, Shape::Text { .. }) => Shape::ANY_BOOL,
            (Shape::Unknown, _) | (_, Shape::Unknown) => Shape::Unknown,
            (whole, part) => {
                let (whole, part) = (whole.name(), part.name());
                self.fault(
                    tree,
                    format!("`{name}` looks for {part} in {whole}; both must be texts"),
                )
            }
        }
    }

    fn letters(&mut self, tree: &'a IdedExpr, name: &str, text: &'a IdedExpr) -> Shape {
        let shape = self.shape(text);
        self.spend_on(&shape);
        match shape {
            Shape::Text { bytes_max, known } => {
                let changed = |text: String| match name {
                    "lowerAscii" => text.to_ascii_lowercase(),
                    _ => text.to_ascii_uppercase(),
                };
                Shape::Text { bytes_max, known: known.map(changed) }
            }
            Shape::Unknown => Shape::Unknown,
            other => self.fault(tree, format!("`{name}` of {}; it takes a text", other.name())),
        }
    }

    fn size(&mut self, tree: &'a IdedExpr, one: &'a IdedExpr) -> Shape {
        let shape = self.shape(one);
        self.spend_on(&shape);
        let number = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
        match shape {
            Shape::Text { known: Some(text), .. } => {
                let characters = number(text.chars().count());
                Shape::Int { low: characters, high: characters }
            }
            Shape::Text { bytes_max, .. } => Shape::Int { low: 0, high: number(bytes_max) },
            Shape::List { len, .. } => Shape::Int { low: number(len), high: number(len) },
            Shape::Unknown => Shape::Unknown,
            other => {
                self.fault(tree, format!("`size` of {}; it takes a text or a list", other.name()))
            }
        }
    }

    fn digits(&mut self, tree: &'a IdedExpr, number: &'a IdedExpr) -> Shape {
        match self.shape(number) {
            Shape::Int { low, high } => Shape::Text {
                bytes_max: NUMBER_BYTES_MAX,
                known: (low == high).then(|| low.to_string()),
            },
            Shape::Unknown => Shape::Unknown,
            other => {
                self.fault(tree, format!("`string` of {}; it takes a whole number", other.name()))
            }
        }
    }

    fn unknown_function(&mut self, tree: &'a IdedExpr, call: &'a CallExpr) -> Shape {
        for part in call.target.as_deref().into_iter().chain(&call.args) {
            self.shape(part);
        }
        let name = call.func_name.as_str();
        if let Some((_, form, _)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) {
            return self.fault(tree, format!("`{name}` is written {form}"));
        }
        let remedy = match name {
            "matches" => {
                "; regular expressions have no bound: use contains, startsWith or endsWith".into()
            }
            "has" => "; every fact has a value: leave it out".into(),
            "int" | "double" | "uint" | "dyn" | "bool" | "bytes" | "type" => {
                "; every fact has its type already: compare values of one kind".into()
            }
            "duration" | "timestamp" => "; times are whole numbers: see now.unix_ms".into(),
            _ => meant(name, FUNCTIONS.iter().map(|(known, ..)| *known)),
        };
        self.fault(tree, format!("there is no function `{name}`{remedy}"))
    }
}
