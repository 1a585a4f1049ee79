//! What operators write for dispatch: one document of each kind, with its versions.
//!
//! A document holds for the whole cluster. Whoever writes one says which version it was written over,
//! so that two operators do not undo each other's work unseen. The texts are rows; the last sixteen of
//! a kind are kept, because each version has the row of the one sixteen before it. An old text that is
//! written again is a new version.
//!
//! **Invariants:** versions of a kind rise by one; a text is never cut. **Not here:** what a text
//! means (`node`), who may write (operators).

use minicbor::{Decode, Encode};

use super::{Event, Placement, TRIGGERS};
use crate::{Ctx, Rejection, RejectionCode, customer::NAME_BYTES_MAX, ids::fnv1a, time::Millis};

/// Bytes of a text: more than a person keeps apart, and far below what one entry of the log takes.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 10;
/// Versions of a kind that can be read.
pub const VERSIONS_KEPT: u32 = 16;

/// What a document is about. The numbers are in rows and their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum DocumentKind {
    /// Trigger rules.
    #[n(0)]
    Rules = 0,
    /// How somebody is found who answers.
    #[n(1)]
    Policies = 1,
    /// Working hours and days off, for clocks of service levels.
    #[n(2)]
    Calendars = 2,
    /// When nobody is told.
    #[n(3)]
    Silences = 3,
    /// Who is told of what, outside.
    #[n(4)]
    Webhooks = 4,
}

impl DocumentKind {
    pub const ALL: [Self; 5] =
        [Self::Rules, Self::Policies, Self::Calendars, Self::Silences, Self::Webhooks];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Policies => "policies",
            Self::Calendars => "calendars",
            Self::Silences => "silences",
            Self::Webhooks => "webhooks",
        }
    }
}

/// One version of a document.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Document {
    #[n(0)]
    pub kind: DocumentKind,
    /// From 1.
    #[n(1)]
    pub version: u32,
    #[n(2)]
    pub text: String,
    /// An operator, by name.
    #[n(3)]
    pub by: String,
    #[n(4)]
    pub at: Millis,
}

/// What the group itself keeps of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Written {
    #[n(0)]
    pub kind: DocumentKind,
    #[n(1)]
    pub version: u32,
    /// Tells whether a text is the same again.
    #[n(2)]
    pub hash: u64,
    #[n(3)]
    pub bytes: u32,
    #[n(4)]
    pub by: String,
    #[n(5)]
    pub at: Millis,
}

impl Written {
    fn of(document: &Document) -> Self {
        let Document { kind, version, text, by, at } = document;
        let (hash, bytes) = mark(text);
        Self { kind: *kind, version: *version, hash, bytes, by: by.clone(), at: *at }
    }
}

/// Of an operator's text, who could only deceive itself.
fn mark(text: &str) -> (u64, u32) {
    (fnv1a(text.as_bytes()), u32::try_from(text.len()).unwrap_or(u32::MAX))
}

impl Placement {
    /// The newest version of a kind; none before the first.
    pub fn written(&self, kind: DocumentKind) -> Option<&Written> {
        self.documents.iter().flatten().find(|written| written.kind == kind)
    }

    pub(super) fn write(
        &self,
        kind: DocumentKind,
        text: &str,
        base: u32,
        by: &str,
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        self.members.all_understand(TRIGGERS)?;
        if text.len() > DOCUMENT_BYTES_MAX {
            let text = format!(
                "the {} have {} bytes, more than {DOCUMENT_BYTES_MAX}: shorten them",
                kind.name(),
                text.len()
            );
            return Rejection::new(RejectionCode::Limit, text);
        }
        if by.is_empty() || by.len() > NAME_BYTES_MAX {
            return Rejection::new(RejectionCode::Invalid, "a name has 1 to 256 bytes");
        }
        let now = self.written(kind);
        if now.is_some_and(|now| (now.hash, now.bytes) == mark(text)) {
            return Ok(vec![]);
        }
        let version = now.map_or(0, |now| now.version);
        if base != version {
            let text = format!(
                "the {} are at version {version}, not at {base}: read that one, and write over it",
                kind.name()
            );
            return Rejection::new(RejectionCode::NotNow, text);
        }
        let Some(version) = version.checked_add(1) else {
            return Rejection::new(RejectionCode::Limit, "there are no more versions");
        };
        let (text, by, at) = (text.to_owned(), by.to_owned(), ctx.now);
        Ok(vec![Event::Written(Document { kind, version, text, by, at })])
    }

    pub(super) fn wrote(&mut self, document: &Document) {
        let all = self.documents.get_or_insert_default();
        let at = all.partition_point(|known| known.kind < document.kind);
        match all.get_mut(at).filter(|known| known.kind == document.kind) {
            Some(known) => *known = Written::of(document),
            None => all.insert(at, Written::of(document)),
        }
    }
}
