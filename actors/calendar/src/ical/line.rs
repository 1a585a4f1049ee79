//! Content lines: unfolded, with their number, taken apart into name, parameters and value.
//!
//! RFC 5545 §3.1. **Invariants:** a line is unfolded before it is read as UTF-8, since a fold may be
//! within a letter; its number is that of its first physical line, from 1; a line longer than
//! [`LINE_BYTES_MAX`] is refused before it is copied further. **Not here:** what names mean.

use super::import::{ImportError, Refusal};

/// Bytes of a line after unfolding: a long description.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Parameters of a line: RFC 5545 knows twenty.
const PARAMETERS_MAX: usize = 20;

/// A line in pieces. Names are in capitals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) parameters: Vec<Parameter>,
    pub(super) value: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) value: String,
}

/// The lines of a file.
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        // A mark of the byte order is no text, and common.
        Self { rest: bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes), number: 0 }
    }

    /// The next physical line without its end.
    fn physical(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let (line, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &self.rest[self.rest.len()..]),
        };
        self.rest = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn logical(&mut self) -> Option<Result<(usize, String), ImportError>> {
        // Empty lines are not in the grammar, and common at the end.
        let mut bytes = loop {
            let line = self.physical()?;
            if !line.is_empty() {
                break line.to_vec();
            }
        };
        let number = self.number;
        let refuse = |why| Some(Err(ImportError { line: number, why }));
        while let [b' ' | b'\t', ..] = self.rest {
            bytes.extend_from_slice(self.physical()?.get(1..).unwrap_or_default());
            if bytes.len() > LINE_BYTES_MAX {
                break;
            }
        }
        if bytes.len() > LINE_BYTES_MAX {
            return refuse(Refusal::LineTooLong { max: LINE_BYTES_MAX });
        }
        match String::from_utf8(bytes) {
            Ok(text) if !text.contains(|c: char| c.is_control() && c != '\t') => {
                Some(Ok((number, text)))
            }
            _ => refuse(Refusal::NotText),
        }
    }
}

impl Iterator for Lines<'_> {
    type Item = Result<Line, ImportError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (number, text) = match self.logical()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        Some(split(number, &text).ok_or(ImportError { line: number, why: Refusal::NoLine }))
    }
}

/// `NAME;PARAMETER=value;PARAMETER="value":value`. None if it is not built so.
fn split(number: usize, text: &str) -> Option<Line> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let end = text.find(|c| !is_name(c))?;
    let (name, mut rest) = text.split_at(end);
    let mut parameters = Vec::new();
    while let Some(after) = rest.strip_prefix(';') {
        let (parameter, value) = after.split_once('=')?;
        let length = value_length(value)?;
        let (value, after) = value.split_at(length);
        if parameter.is_empty() || !parameter.chars().all(is_name) {
            return None;
        }
        if parameters.len() == PARAMETERS_MAX {
            return None;
        }
        parameters.push(Parameter { name: parameter.to_ascii_uppercase(), value: unquoted(value) });
        rest = after;
    }
    let value = rest.strip_prefix(':')?.to_owned();
    (!name.is_empty()).then(|| Line { number, name: name.to_ascii_uppercase(), parameters, value })
}

/// Bytes up to the `;` or `:` that is not within quotation marks. None if there is none.
fn value_length(text: &str) -> Option<usize> {
    let mut is_quoted = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b';' | b':' if !is_quoted => return Some(index),
            _ => {}
        }
    }
    None
}

fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner.unwrap_or(value).to_owned()
}
