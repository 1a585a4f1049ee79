//! Versions of what operators write for dispatch, as all kinds of documents have them.
//!
//! **Invariant:** what is written was examined before, and says which version it is written over. **Not
//! here:** what a text means (`rules`).

use fieldmesh_domain::placement::{self, Document, DocumentKind, PLACEMENT};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Shared, cluster::ask, problem::Problem};
use crate::documents;

/// A text of 64 KiB as JSON: line ends and quotes take two bytes, other control characters are refused.
pub const BODY_BYTES_MAX: usize = 3 * placement::DOCUMENT_BYTES_MAX;

/// A text that is examined.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    pub text: String,
}

/// A text that is to be the next version.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVersion {
    pub text: String,
    /// The version that it is written over; 0 for the first.
    pub base: u32,
}

/// A version of a document.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VersionView {
    pub version: u32,
    pub by: String,
    /// Unix milliseconds.
    pub at_ms: u64,
    pub bytes: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// The versions of a document that are kept, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VersionsView {
    /// What the asked node decides by; none before the first, another than the newest where this release
    /// cannot use that one.
    pub in_force: Option<u32>,
    pub versions: Vec<VersionView>,
}

fn view(document: Document, has_text: bool) -> VersionView {
    let Document { version, text, by, at, .. } = document;
    let bytes = text.len();
    VersionView { version, by, at_ms: at.0, bytes, text: has_text.then_some(text) }
}

fn kept(shared: &Shared, kind: DocumentKind) -> Result<Vec<Document>, Problem> {
    let journal = shared.node.journal(PLACEMENT);
    let journal = journal.ok_or_else(|| Problem::busy("the placement group does not run here"))?;
    Ok(documents::kept(&journal, kind)?)
}

/// What there is of a kind, as this node has it.
pub(super) fn versions(
    shared: &Shared,
    kind: DocumentKind,
    in_force: Option<u32>,
) -> Result<VersionsView, Problem> {
    let versions = kept(shared, kind)?.into_iter().map(|document| view(document, false)).collect();
    Ok(VersionsView { in_force, versions })
}

/// One version with its text.
pub(super) fn version(
    shared: &Shared,
    kind: DocumentKind,
    version: u32,
) -> Result<VersionView, Problem> {
    let found = kept(shared, kind)?.into_iter().find(|document| document.version == version);
    let missing = || {
        let name = kind.name();
        Problem::missing(format_args!("version {version} of the {name}: the last 16 are kept"))
    };
    found.map(|document| view(document, true)).ok_or_else(missing)
}

/// Proposes a text; answers with the version that it is, once it is applied here.
pub(super) async fn write(
    shared: &Shared,
    kind: DocumentKind,
    new: NewVersion,
    by: String,
) -> Result<VersionView, Problem> {
    let NewVersion { text, base } = new;
    let mut known = shared.node.documents.watch();
    ask(shared, placement::Command::Write { kind, text: text.clone(), base, by }).await?;
    let is_there = |known: &documents::Known| {
        known.newest(kind).is_some_and(|newest| newest.text == text || newest.version > base)
    };
    let applied = known.wait_for(|known| is_there(known));
    // It is written, and this node applies it as soon as it hears of it.
    let newest = match tokio::time::timeout(documents::APPLIED_WITHIN, applied).await {
        Ok(Ok(known)) => known.newest(kind).cloned(),
        Ok(Err(_)) | Err(_) => None,
    };
    let late = "it is written, and not yet applied on this node: look at it again";
    let newest = newest.ok_or_else(|| Problem::busy(late))?;
    Ok(view(Document::clone(&newest), false))
}
