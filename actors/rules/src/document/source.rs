//! The text of an expression, and where in the document each of its bytes is.
//!
//! TOML replaces escapes and leaves out newlines, so the fifth character of an expression is not
//! always five after its beginning.
//!
//! **Invariants:** a place is always within the document. **Not here:** lines and columns
//! (`finding`).

use core::ops::Range;

use crate::finding::{Place, place};

/// An expression as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) text: String,
    /// None where it is in no document.
    start: Option<usize>,
    /// Where each byte is, and the end; none where they follow each other from `start`.
    places: Option<Vec<usize>>,
}

impl Source {
    /// `span` is where the document has it, with its quotes.
    pub(crate) fn new(document: &str, span: Range<usize>, text: &str) -> Self {
        let written = document.get(span.clone()).unwrap_or_default();
        let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|q| written.starts_with(q));
        let quote = quote.unwrap_or_default();
        let body = written.get(quote.len()..).unwrap_or_default();
        // A newline right after three quotes is not part of the text.
        let newline = match quote.len() {
            3 if body.starts_with("\r\n") => 2,
            3 if body.starts_with('\n') => 1,
            _ => 0,
        };
        let start = span.start + quote.len() + newline;
        let body = &body[newline..];
        let places =
            (!body.starts_with(text)).then(|| aligned(body, text, start, quote.starts_with('"')));
        Self { text: text.to_owned(), start: Some(start), places }
    }

    /// An expression that is in no document.
    pub(crate) fn alone(text: &str) -> Self {
        Self { text: text.to_owned(), start: None, places: None }
    }

    /// Where the byte `offset` of the expression is, in the document or else in the expression.
    pub(crate) fn spot(&self, document: &str, offset: usize) -> Place {
        let Some(start) = self.start else {
            return place(&self.text, offset);
        };
        let written = match &self.places {
            None => start + offset.min(self.text.len()),
            Some(places) => places.get(offset).or(places.last()).copied().unwrap_or(start),
        };
        place(document, written)
    }
}

/// Walks along what is written and what it means.
fn aligned(body: &str, text: &str, start: usize, escapes: bool) -> Vec<usize> {
    let mut places = Vec::with_capacity(text.len() + 1);
    let mut rest = body;
    for c in text.chars() {
        rest = skipped(rest, c, escapes);
        let at = start + body.len() - rest.len();
        places.extend(core::iter::repeat_n(at, c.len_utf8()));
        let width = match rest.chars().next() {
            Some('\\') if escapes => escape_width(rest),
            other => other.map_or(0, char::len_utf8),
        };
        rest = rest.get(width..).unwrap_or_default();
    }
    places.push(start + body.len() - rest.len());
    places
}

/// Leaves out what means nothing before `c`: a backslash at the end of a line with the blank after
/// it, and the first half of a Windows newline.
fn skipped(mut rest: &str, c: char, escapes: bool) -> &str {
    while let Some(after) = rest.strip_prefix('\\').filter(|_| escapes) {
        let joined = after.trim_start_matches([' ', '\t']);
        if !joined.starts_with(['\n', '\r']) {
            break;
        }
        rest = joined.trim_start();
    }
    if c == '\n' && rest.starts_with("\r\n") { &rest[1..] } else { rest }
}

fn escape_width(rest: &str) -> usize {
    match rest.chars().nth(1) {
        Some('u') => 6,
        Some('U') => 10,
        Some('x') => 4,
        other => 1 + other.map_or(0, char::len_utf8),
    }
}
