//! What is wrong with a document, and where.
//!
//! **Invariants:** lines and columns count from 1, columns in characters, as editors do. **Not
//! here:** what is looked for.

use core::fmt;

/// Findings of one document: more would not be read, and a hostile one must not fill memory.
pub const FINDINGS_MAX: usize = 100;

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

/// Whether the document can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is refused.
    Error,
    /// It does something that nobody wants.
    Warning,
}

/// One thing that is wrong, with its place and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub place: Place,
    pub severity: Severity,
    /// The rule or test that it is in.
    pub within: Option<String>,
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}: {severity}: ", self.place.line, self.place.column)?;
        if let Some(within) = &self.within {
            write!(f, "{within}: ")?;
        }
        f.write_str(&self.text)
    }
}

/// The place of a byte in a text.
pub(crate) fn place(text: &str, offset: usize) -> Place {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Place {
        line: number(before.matches('\n').count() + 1),
        column: number(before[start..].chars().count() + 1),
    }
}

/// The findings of one document as they are collected.
pub struct Findings<'d> {
    document: &'d str,
    found: Vec<Finding>,
}

impl<'d> Findings<'d> {
    pub fn new(document: &'d str) -> Self {
        Self { document, found: Vec::new() }
    }

    /// `offset` is a byte of the document.
    pub fn error(&mut self, offset: usize, within: Option<&str>, text: impl Into<String>) {
        self.add(Severity::Error, |document| place(document, offset), within, text.into());
    }

    pub fn warn(&mut self, offset: usize, within: Option<&str>, text: impl Into<String>) {
        self.add(Severity::Warning, |document| place(document, offset), within, text.into());
    }

    pub fn error_at(
        &mut self,
        place: impl FnOnce(&str) -> Place,
        within: Option<&str>,
        text: impl Into<String>,
    ) {
        self.add(Severity::Error, place, within, text.into());
    }

    pub fn warn_at(
        &mut self,
        place: impl FnOnce(&str) -> Place,
        within: Option<&str>,
        text: impl Into<String>,
    ) {
        self.add(Severity::Warning, place, within, text.into());
    }

    /// `place` is looked for only where there is room: that takes a walk through the document.
    fn add(
        &mut self,
        severity: Severity,
        place: impl FnOnce(&str) -> Place,
        within: Option<&str>,
        text: String,
    ) {
        // An error is never the one that finds no room: it alone refuses the document.
        let full = self.found.len() >= FINDINGS_MAX;
        if full && (severity == Severity::Warning || self.has_errors()) {
            return;
        }
        let place = place(self.document);
        self.found.push(Finding { place, severity, within: within.map(str::to_owned), text });
    }

    pub fn place(&self, offset: usize) -> Place {
        place(self.document, offset)
    }

    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// In the order of the document.
    pub fn into_sorted(mut self) -> Vec<Finding> {
        self.found.sort_by_key(|finding| (finding.place, finding.severity));
        self.found
    }
}
