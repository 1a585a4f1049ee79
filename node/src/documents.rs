//! What operators wrote for dispatch, as this node knows it: the newest of each kind, and what of it is in
//! force here.
//!
//! It follows the placement group's rows as they are applied here. A text is parsed once, in the step that
//! applies it, so that whoever wrote it on this node is answered when it is in force. The server examines a
//! text before it is written; one that cannot be used all the same was written by another release: then the
//! version before stays in force, and `fieldmesh_documents_unusable` says so until there is one that can.
//!
//! **Invariant:** what is in force is of the newest version that this release can use. **Not here:** deciding
//! what is written (`domain::placement`), what it does (`guide`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fieldmesh_actors::seams::JournalError;
use fieldmesh_domain::{
    IndexRow,
    effect::RowKey,
    placement::{Document, DocumentKind, VERSIONS_KEPT},
};
use fieldmesh_policy::{
    Policies, Read, Refused, Silences, Targets, read_policies, read_silences, read_targets,
};
use fieldmesh_rules::{CompiledRules, compile};
use tokio::sync::watch;

use crate::{journal::ShardJournal, notices::Targets as Webhooks};

/// What was written is applied here as soon as this node hears of it; in another region that takes a while.
pub const APPLIED_WITHIN: Duration = Duration::from_secs(5);

/// What a document became, and of which version it is.
#[derive(Debug)]
pub struct InForce<T> {
    pub version: u32,
    pub content: T,
}

/// What is known at a moment.
#[derive(Debug, Clone, Default)]
pub struct Known {
    newest: BTreeMap<DocumentKind, Arc<Document>>,
    /// None before the first.
    pub rules: Option<Arc<InForce<CompiledRules>>>,
    pub policies: Option<Arc<InForce<Policies>>>,
    /// What is promised of tickets.
    pub targets: Option<Arc<InForce<Targets>>>,
    pub silences: Option<Arc<InForce<Silences>>>,
    /// Who is told of what, outside.
    pub webhooks: Option<Arc<InForce<Arc<Webhooks>>>>,
}

impl Known {
    /// The newest version of a kind, in force or not.
    pub fn newest(&self, kind: DocumentKind) -> Option<&Arc<Document>> {
        self.newest.get(&kind)
    }

    fn learn(&mut self, kind: DocumentKind, written: &[&Document]) {
        let newest = written.iter().max_by_key(|document| document.version);
        let known = self.newest.get(&kind).map(|known| known.version);
        if let Some(newest) = newest.filter(|newest| known < Some(newest.version)) {
            self.newest.insert(kind, Arc::new(Document::clone(newest)));
        }
        match kind {
            DocumentKind::Rules => take(&mut self.rules, kind, written, |document| {
                compile(&document.text).map_err(|error| error.to_string())
            }),
            DocumentKind::Webhooks => take(&mut self.webhooks, kind, written, |document| {
                Webhooks::parse(&document.text)
                    .map(Arc::new)
                    .map_err(|found| found.first().map(ToString::to_string).unwrap_or_default())
            }),
            // Whom they name was looked at when they were written.
            DocumentKind::Policies => take(&mut self.policies, kind, written, |document| {
                parsed(read_policies(&document.text, None))
            }),
            DocumentKind::Calendars => take(&mut self.targets, kind, written, |document| {
                parsed(read_targets(&document.text))
            }),
            DocumentKind::Silences => take(&mut self.silences, kind, written, |document| {
                parsed(read_silences(&document.text))
            }),
        }
    }
}

fn parsed<T>(read: Result<Read<T>, Refused>) -> Result<T, String> {
    read.map(|read| read.value).map_err(|error| error.to_string())
}

/// Puts the newest version in force that can be used.
fn take<T>(
    in_force: &mut Option<Arc<InForce<T>>>,
    kind: DocumentKind,
    written: &[&Document],
    parse: impl Fn(&Document) -> Result<T, String>,
) {
    let before = in_force.as_ref().map(|before| before.version);
    let mut news: Vec<&&Document> =
        written.iter().filter(|document| before < Some(document.version)).collect();
    news.sort_by_key(|document| core::cmp::Reverse(document.version));
    let mut is_unusable = false;
    for document in news {
        let version = document.version;
        match parse(document) {
            Ok(content) => {
                tracing::info!(kind = kind.name(), version, "a document is in force");
                *in_force = Some(Arc::new(InForce { version, content }));
                break;
            }
            Err(error) => {
                is_unusable = true;
                tracing::error!(kind = kind.name(), version, error, "a document cannot be used");
            }
        }
    }
    metrics::gauge!("fieldmesh_documents_unusable", "kind" => kind.name())
        .set(f64::from(u8::from(is_unusable)));
}

/// What is known now.
pub struct Documents {
    known: watch::Sender<Arc<Known>>,
}

impl Documents {
    /// Nothing is known before the placement group was read.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { known: watch::Sender::default() })
    }

    pub fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.borrow())
    }

    /// Tells when another document came.
    pub fn watch(&self) -> watch::Receiver<Arc<Known>> {
        self.known.subscribe()
    }

    /// Takes in what the placement group applied.
    pub fn applied(&self, rows: &[IndexRow]) {
        let mut written: BTreeMap<DocumentKind, Vec<&Document>> = BTreeMap::new();
        for row in rows {
            if let IndexRow::Document(document) = row {
                written.entry(document.kind).or_default().push(document);
            }
        }
        if written.is_empty() {
            return;
        }
        let mut next = Known::clone(&self.known.borrow());
        for (kind, written) in &written {
            next.learn(*kind, written);
        }
        self.known.send_replace(Arc::new(next));
    }
}

/// The versions of a kind that are kept, oldest first, as the placement group's replica here has them.
///
/// # Errors
/// A failed read.
pub fn kept(placement: &ShardJournal, kind: DocumentKind) -> Result<Vec<Document>, JournalError> {
    let first = RowKey::document(kind, 0);
    let rows = placement.rows_from(RowKey::DOCUMENT, Some(&first), VERSIONS_KEPT as usize)?;
    let of_kind = |row| match row {
        IndexRow::Document(document) if document.kind == kind => Some(document),
        _ => None,
    };
    let mut found: Vec<Document> = rows.into_iter().filter_map(of_kind).collect();
    found.sort_by_key(|document| document.version);
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::time::Millis;

    use super::*;

    fn rules(version: u32, text: &str) -> IndexRow {
        let (kind, text, by) = (DocumentKind::Rules, text.to_owned(), "op".to_owned());
        IndexRow::Document(Document { kind, version, text, by, at: Millis(0) })
    }

    fn in_force(documents: &Documents) -> Option<u32> {
        documents.known().rules.as_ref().map(|rules| rules.version)
    }

    /// A replica shows its rows by their places, so that the newest may come before older ones.
    #[test]
    fn the_newest_that_can_be_used_is_in_force() {
        let documents = Documents::new();
        documents.applied(&[rules(17, "version = 1"), rules(3, "no"), rules(16, "version = 2")]);
        assert_eq!(in_force(&documents), Some(17));
        documents.applied(&[rules(4, "version = 3")]);
        assert_eq!(in_force(&documents), Some(17));
        documents.applied(&[rules(18, "this is no document")]);
        assert_eq!(in_force(&documents), Some(17));
        let newest = documents.known().newest(DocumentKind::Rules).unwrap().version;
        assert_eq!(newest, 18);
        documents.applied(&[rules(19, "version = 1")]);
        assert_eq!(in_force(&documents), Some(19));
    }

    /// After a start too, where nothing is in force yet.
    #[test]
    fn a_version_that_cannot_be_used_leaves_the_one_before() {
        let documents = Documents::new();
        documents.applied(&[rules(16, "this is no document"), rules(15, "version = 1")]);
        assert_eq!(in_force(&documents), Some(15));
    }
}
