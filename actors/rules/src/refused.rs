//! A document that is not taken, with everything that is wrong with it; and the way into a document.
//!
//! **Invariants:** a document that is refused has at least one error. **Not here:** what is wrong.

use core::fmt;

use toml::de::DeTable;

use crate::{
    document::Fields,
    finding::{Finding, Findings, Severity},
};

/// Everything that was found, errors and warnings, in the order of the document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refused(pub Vec<Finding>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.0.iter().filter(|finding| finding.severity == Severity::Error);
        let lines: Vec<String> = errors.map(ToString::to_string).collect();
        write!(f, "the document is refused, with {} error(s)\n{}", lines.len(), lines.join("\n"))
    }
}

/// What was read, with its warnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read<T> {
    pub value: T,
    pub warnings: Vec<Finding>,
}

/// Reads a document of at most so many bytes by its fields.
///
/// # Errors
/// Everything that is wrong with it, in the order of the document.
pub fn read<T>(
    text: &str,
    bytes_max: usize,
    fields: impl FnOnce(&Fields<'_, '_>, &mut Findings<'_>) -> T,
) -> Result<Read<T>, Refused> {
    let mut findings = Findings::new(text);
    if text.len() > bytes_max {
        let length = text.len();
        let fact = format!("the document has {length} bytes, more than {bytes_max}");
        findings.error(0, None, format!("{fact}; shorten it"));
        return Err(Refused(findings.into_sorted()));
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        findings.error(at, None, format!("this is not TOML: {}; correct it", error.message()));
    }
    if !errors.is_empty() {
        // What was recovered would only give errors that nobody made.
        return Err(Refused(findings.into_sorted()));
    }
    let value = fields(&Fields::new(table.get_ref(), 0, "the document"), &mut findings);
    let refused = findings.has_errors();
    let found = findings.into_sorted();
    if refused { Err(Refused(found)) } else { Ok(Read { value, warnings: found }) }
}
