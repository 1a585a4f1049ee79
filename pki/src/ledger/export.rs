//! Writing an export, line by line; the table in the parent says what stands where.
//!
//! Each function gives one line with its newline. **Invariant:** every line that is written here
//! passes [`super::verify_export`] in its place. **Not here:** reading from a store, files.

use serde::{Deserialize, Serialize};

use super::{
    entry::{Action, Entry, EntryError},
    head::SignedHead,
    text::{Base64, at_text, base64_bytes},
};

/// The name and version of the format, in the header.
pub const EXPORT_FORMAT: &str = "fieldmesh ledger v1";

/// Bytes of one line: the longest entry has a third of it even where JSON escapes each character.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// A line: an object of one key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Header(Header),
    Signer(Vec<Base64>),
    Entry(Record),
    Head(SignedHead),
    End(End),
}

/// An entry as people and programs read it, with the bytes that say the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    number: u64,
    at: Option<String>,
    at_ms: u64,
    actor: String,
    action: Action,
    subject: String,
    #[serde(with = "base64_bytes")]
    pub(super) leaf: Vec<u8>,
}

impl Record {
    pub(super) fn of(leaf: &[u8]) -> Result<Self, EntryError> {
        let Entry { number, at_ms, actor, action, subject } = Entry::from_bytes(leaf)?;
        Ok(Self { number, at: at_text(at_ms), at_ms, actor, action, subject, leaf: leaf.to_vec() })
    }

    /// The entry, if the readable fields say what the leaf says.
    pub(super) fn checked(self) -> Result<Option<Entry>, EntryError> {
        let is_true = Self::of(&self.leaf)? == self;
        let Self { number, at_ms, actor, action, subject, .. } = self;
        Ok(is_true.then_some(Entry { number, at_ms, actor, action, subject }))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) format: String,
    pub(super) cluster: String,
    pub(super) region: String,
}

/// How many there were, so that an export that was cut is told from a whole one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    pub(super) entries: u64,
    pub(super) heads: u64,
    pub(super) signers: u64,
}

/// Texts and numbers alone: there is nothing that JSON cannot say.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn written(line: &Line) -> String {
    json(line) + "\n"
}

/// The first line.
pub fn header_line(cluster: &str, region: &str) -> String {
    let (cluster, region) = (cluster.to_owned(), region.to_owned());
    written(&Line::Header(Header { format: EXPORT_FORMAT.to_owned(), cluster, region }))
}

/// Who signs the heads from here on: a certificate with its issuers above it, or a bare
/// SubjectPublicKeyInfo; DER.
pub fn signer_line(chain: &[Vec<u8>]) -> String {
    written(&Line::Signer(chain.iter().cloned().map(Base64).collect()))
}

/// An entry by its stored bytes.
///
/// # Errors
/// Where the bytes are none.
pub fn entry_line(leaf: &[u8]) -> Result<String, EntryError> {
    Record::of(leaf).map(|record| written(&Line::Entry(record)))
}

/// A head, right after the entry that completes its size.
pub fn head_line(head: &SignedHead) -> String {
    written(&Line::Head(head.clone()))
}

/// The last line, with how many lines of each kind came before.
pub fn end_line(entries: u64, heads: u64, signers: u64) -> String {
    written(&Line::End(End { entries, heads, signers }))
}
