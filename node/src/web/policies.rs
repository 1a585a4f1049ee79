//! `/v1/documents/{policies,calendars,silences}` and `/v1/silences`: what operators write about tickets that
//! nobody takes.
//!
//! A document is examined before it is written; one that is refused changes nothing. Silences are also added
//! and ended one by one, which writes the document anew.
//!
//! **Invariants:** a document is written over the version that its writer saw. **Not here:** what the
//! documents say (the policies' package), what versions are kept (`domain::placement`).
#![allow(unused_qualifications, reason = "the path macro repeats the path's type")]

pub mod simulation;

use std::collections::BTreeSet;

use actix_web::{HttpResponse, http::StatusCode, web};
use fieldmesh_domain::{
    Command, EntityId, EntityKind, Region,
    message::Location,
    placement::{self, DOCUMENT_BYTES_MAX, DocumentKind},
    time::Millis,
};
use fieldmesh_policy::{
    Area, LENGTH_DAYS_MAX, NewSilence, Refused, SILENCES_MAX, SilenceKind, Silences, read_policies,
    read_silences, read_targets,
};
use fieldmesh_rules::{Finding, Severity};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Shared, operator::Operator, problem::Problem, rest::Point};
use crate::{documents::kept, named};

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/documents/{kind}", web::get().to(show))
        .route("/documents/{kind}", web::put().to(write))
        .route("/documents/{kind}/lint", web::post().to(lint))
        .route("/documents/{kind}/{version}", web::get().to(show_version))
        .route("/policies/simulate", web::post().to(simulation::simulate))
        .route("/silences", web::get().to(lasting))
        .route("/silences", web::post().to(add))
        .route("/silences/{name}/expire", web::post().to(expire));
}

/// The kind that a path names.
fn kind_of(name: &str) -> Result<DocumentKind, Problem> {
    let kinds = [DocumentKind::Policies, DocumentKind::Calendars, DocumentKind::Silences];
    let found = kinds.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| Problem::missing(format_args!("document {name:?} here")))
}

/// A document with its version.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DocumentView {
    pub kind: String,
    /// 0 where nobody has written one yet.
    pub version: u32,
    pub by: String,
    /// Unix milliseconds.
    pub at_ms: u64,
    pub text: String,
    /// The versions that can be read, oldest first.
    pub kept: Vec<u32>,
}

/// A document to write.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDocument {
    pub text: String,
    /// The version that it is written over; the newest one unless given.
    pub base: Option<u32>,
}

/// What is wrong with a document, or not meant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    pub line: u32,
    pub column: u32,
    /// error or warning.
    pub severity: String,
    pub text: String,
}

impl FindingView {
    pub(crate) fn of(finding: &Finding) -> Self {
        let within = finding.within.as_ref().map(|within| format!("{within}: "));
        Self {
            line: finding.place.line,
            column: finding.place.column,
            severity: match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            }
            .to_owned(),
            text: format!("{}{}", within.unwrap_or_default(), finding.text),
        }
    }
}

/// A document that was written, or is in force as it is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WrittenView {
    pub kind: String,
    pub version: u32,
    pub warnings: Vec<FindingView>,
}

/// What an examination found.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LintView {
    pub findings: Vec<FindingView>,
    pub is_refused: bool,
}

/// Everything that is wrong with a text of this kind.
fn examined(shared: &Shared, kind: DocumentKind, text: &str) -> Result<Vec<Finding>, Refused> {
    let recipients = || named::recipients(&shared.node.documents.known());
    match kind {
        DocumentKind::Policies => {
            read_policies(text, Some(&recipients())).map(|read| read.warnings)
        }
        DocumentKind::Calendars => read_targets(text).map(|read| read.warnings),
        DocumentKind::Silences => read_silences(text).map(|read| read.warnings),
        DocumentKind::Rules | DocumentKind::Webhooks => Ok(vec![]),
    }
}

fn refused(kind: DocumentKind, Refused(findings): &Refused) -> Problem {
    let errors = findings.iter().filter(|one| one.severity == Severity::Error);
    let lines: Vec<String> = errors.map(ToString::to_string).collect();
    let detail = format!("the {} are refused: {}", kind.name(), lines.join("; "));
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", detail)
}

fn versions(shared: &Shared, kind: DocumentKind) -> Result<Vec<placement::Document>, Problem> {
    let journal = shared.node.journal(placement::PLACEMENT);
    let journal = journal.ok_or_else(|| Problem::busy("the placement group does not run here"))?;
    Ok(kept(&journal, kind)?)
}

fn view(
    kind: DocumentKind,
    found: Option<&placement::Document>,
    all: &[placement::Document],
) -> DocumentView {
    let kept = all.iter().map(|one| one.version).collect();
    let kind = kind.name().to_owned();
    match found {
        None => {
            let (by, text) = (String::new(), String::new());
            DocumentView { kind, version: 0, by, at_ms: 0, text, kept }
        }
        Some(placement::Document { version, text, by, at, .. }) => {
            let (by, text) = (by.clone(), text.clone());
            DocumentView { kind, version: *version, by, at_ms: at.0, text, kept }
        }
    }
}

/// The newest version of a document.
#[utoipa::path(get, path = "/v1/documents/{kind}", params(("kind" = String, Path)), responses((status = 200, body = DocumentView)))]
pub async fn show(
    _operator: Operator,
    kind: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<web::Json<DocumentView>, Problem> {
    let kind = kind_of(&kind)?;
    latest(&shared).await?;
    let all = versions(&shared, kind)?;
    Ok(web::Json(view(kind, all.last(), &all)))
}

/// A version of a document, one of the last sixteen.
#[utoipa::path(get, path = "/v1/documents/{kind}/{version}", params(("kind" = String, Path), ("version" = u32, Path)), responses((status = 200, body = DocumentView)))]
pub async fn show_version(
    _operator: Operator,
    path: web::Path<(String, u32)>,
    shared: web::Data<Shared>,
) -> Result<web::Json<DocumentView>, Problem> {
    let (kind, version) = path.into_inner();
    let kind = kind_of(&kind)?;
    latest(&shared).await?;
    let all = versions(&shared, kind)?;
    let found = all.iter().find(|one| one.version == version);
    let found = found.ok_or_else(|| {
        Problem::missing(format_args!("version {version} of the {} any more, or yet", kind.name()))
    })?;
    Ok(web::Json(view(kind, Some(found), &all)))
}

/// Examines a document and changes nothing.
#[utoipa::path(post, path = "/v1/documents/{kind}/lint", params(("kind" = String, Path)), request_body = NewDocument, responses((status = 200, body = LintView)))]
pub async fn lint(
    _operator: Operator,
    kind: web::Path<String>,
    body: web::Json<NewDocument>,
    shared: web::Data<Shared>,
) -> Result<web::Json<LintView>, Problem> {
    let (found, is_refused) = match examined(&shared, kind_of(&kind)?, &body.text) {
        Ok(warnings) => (warnings, false),
        Err(Refused(findings)) => (findings, true),
    };
    let findings = found.iter().map(FindingView::of).collect();
    std::future::ready(Ok(web::Json(LintView { findings, is_refused }))).await
}

async fn latest(shared: &Shared) -> Result<(), Problem> {
    super::rest::latest(shared, placement::PLACEMENT, "or try again").await
}

/// Examines a document and has it written.
async fn put(
    shared: &Shared,
    kind: DocumentKind,
    document: NewDocument,
    by: String,
) -> Result<WrittenView, Problem> {
    let NewDocument { text, base } = document;
    if text.len() > DOCUMENT_BYTES_MAX {
        let text = format_args!("a document has at most {DOCUMENT_BYTES_MAX} bytes: shorten it");
        return Err(Problem::invalid(text));
    }
    let warnings = examined(shared, kind, &text).map_err(|error| refused(kind, &error))?;
    if kind == DocumentKind::Policies
        && let Ok(read) = read_policies(&text, None)
    {
        let missing = named::unrouted_by(&read.value, &shared.node.documents.known());
        if !missing.is_empty() {
            let text =
                format!("{}: change the rules first, or keep the policy", missing.join("; "));
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", text));
        }
    }
    let newest = || shared.node.documents.known().newest(kind).map_or(0, |newest| newest.version);
    let base = base.unwrap_or_else(newest);
    let command = placement::Command::Write { kind, text, base, by };
    shared.node.ask(EntityId::placement(), Command::Placement(command)).await?;
    latest(shared).await?;
    let warnings = warnings.iter().map(FindingView::of).collect();
    Ok(WrittenView { kind: kind.name().to_owned(), version: newest(), warnings })
}

/// Writes a document anew, once it was examined.
#[utoipa::path(put, path = "/v1/documents/{kind}", params(("kind" = String, Path)), request_body = NewDocument, responses((status = 200, body = WrittenView)))]
pub async fn write(
    operator: Operator,
    kind: web::Path<String>,
    body: web::Json<NewDocument>,
    shared: web::Data<Shared>,
) -> Result<web::Json<WrittenView>, Problem> {
    put(&shared, kind_of(&kind)?, body.into_inner(), operator.name).await.map(web::Json)
}

/// A silence or maintenance window.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SilenceView {
    pub name: String,
    /// silence or maintenance.
    #[serde(default = "silence_kind")]
    pub kind: String,
    /// Unix milliseconds; now unless given.
    pub from_ms: Option<u64>,
    /// Unix milliseconds; at most 30 days after it begins.
    pub until_ms: u64,
    #[serde(default)]
    pub regions: Vec<String>,
    #[serde(default)]
    pub categories: Vec<u16>,
    #[serde(default)]
    pub priorities: Vec<u8>,
    #[serde(default)]
    pub customers: Vec<String>,
    pub area: Option<AreaView>,
    #[serde(default)]
    pub reason: String,
    /// Who wrote it; the operator who asks.
    #[serde(default)]
    pub by: String,
    /// Whether it lasts now.
    #[serde(default)]
    pub is_active: bool,
}

fn silence_kind() -> String {
    SilenceKind::Silence.name().to_owned()
}

/// A circle on the map.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AreaView {
    pub middle: Point,
    pub radius_km: u32,
}

/// All silences that are kept.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SilencesView {
    pub version: u32,
    pub silences: Vec<SilenceView>,
}

/// What is in force here, with its version.
fn in_force(shared: &Shared) -> (u32, Silences) {
    let known = shared.node.documents.known();
    let silences = known.silences.as_ref();
    silences.map_or((0, Silences::default()), |one| (one.version, one.content.clone()))
}

/// Lists silences and maintenance windows, those that are past lately among them.
#[utoipa::path(get, path = "/v1/silences", responses((status = 200, body = SilencesView)))]
pub async fn lasting(
    _operator: Operator,
    shared: web::Data<Shared>,
) -> Result<web::Json<SilencesView>, Problem> {
    latest(&shared).await?;
    let now = Millis(shared.node.clock.now_ms());
    let (version, silences) = in_force(&shared);
    let silences = silences.entries.iter().map(|one| SilenceView::of(one, now)).collect();
    Ok(web::Json(SilencesView { version, silences }))
}

impl SilenceView {
    fn of(silence: &NewSilence, now: Millis) -> Self {
        Self {
            name: silence.name.clone(),
            kind: silence.kind.name().to_owned(),
            from_ms: Some(silence.from.0),
            until_ms: silence.until.0,
            regions: silence.regions.iter().map(ToString::to_string).collect(),
            categories: silence.categories.clone(),
            priorities: silence.priorities.clone(),
            customers: silence.customers.iter().map(ToString::to_string).collect(),
            area: silence.area.map(|area| AreaView {
                middle: Point { lat_e6: area.middle.lat_e6, lon_e6: area.middle.lon_e6 },
                radius_km: area.radius_m / 1000,
            }),
            reason: silence.reason.clone(),
            by: silence.by.clone(),
            is_active: silence.from <= now && !silence.is_past(now),
        }
    }

    /// What it says, in the words of the document; what is out of range is found when that is read.
    fn silence(self, by: String, now: Millis) -> Result<NewSilence, Problem> {
        let kinds = [SilenceKind::Silence, SilenceKind::Maintenance];
        let kind = kinds.into_iter().find(|kind| kind.name() == self.kind);
        let kind = kind.ok_or_else(|| Problem::invalid("kind is silence or maintenance"))?;
        let regions = self.regions.iter().map(|region| region.parse::<Region>());
        let regions = regions.collect::<Result<_, _>>().map_err(Problem::invalid)?;
        let customers = self.customers.iter().map(|customer| {
            let id = customer.parse::<EntityId>().ok();
            id.filter(|id| id.kind() == EntityKind::Customer).ok_or_else(|| {
                Problem::invalid(format_args!("{customer:?} is no customer's identifier"))
            })
        });
        let area = self.area.map(|AreaView { middle, radius_km }| Area {
            middle: Location::from(middle),
            radius_m: radius_km.saturating_mul(1000),
        });
        Ok(NewSilence {
            name: self.name,
            kind,
            from: self.from_ms.map_or(now, Millis),
            until: Millis(self.until_ms),
            regions,
            categories: self.categories,
            priorities: self.priorities,
            customers: customers.collect::<Result<_, _>>()?,
            area,
            reason: self.reason,
            by,
        })
    }
}

/// The document with this content, over the version that it was made of.
async fn rewrite(
    shared: &Shared,
    silences: &Silences,
    version: u32,
    by: String,
) -> Result<WrittenView, Problem> {
    let document = NewDocument { text: silences.to_string(), base: Some(version) };
    put(shared, DocumentKind::Silences, document, by).await
}

/// Adds a silence or a maintenance window.
#[utoipa::path(post, path = "/v1/silences", request_body = SilenceView, responses((status = 201, body = WrittenView)))]
pub async fn add(
    operator: Operator,
    body: web::Json<SilenceView>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let now = Millis(shared.node.clock.now_ms());
    let silence = body.into_inner().silence(operator.name.clone(), now)?;
    if silence.until <= now {
        return Err(Problem::invalid("the silence is past already: name a later end"));
    }
    latest(&shared).await?;
    let (version, silences) = in_force(&shared);
    let names: BTreeSet<&str> = silences.entries.iter().map(|one| one.name.as_str()).collect();
    if names.contains(silence.name.as_str()) {
        let text = format_args!("there is a silence {:?} already: name it otherwise", silence.name);
        return Err(Problem::new(StatusCode::CONFLICT, "exists", text));
    }
    let next = silences.with(silence, now);
    if next.entries.len() > SILENCES_MAX {
        let text = format_args!("there are {SILENCES_MAX} silences: expire some first");
        return Err(Problem::new(StatusCode::CONFLICT, "limit", text));
    }
    // What is said here again is of a document that nobody has seen: its places would mean nothing.
    if let Err(Refused(findings)) = read_silences(&next.to_string()) {
        let errors: Vec<&str> = findings.iter().map(|one| one.text.as_str()).collect();
        let text = format_args!("{} (at most {LENGTH_DAYS_MAX} days)", errors.join("; "));
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", text));
    }
    let written = rewrite(&shared, &next, version, operator.name).await?;
    Ok(HttpResponse::Created().json(written))
}

/// Ends a silence now; its tickets go on.
#[utoipa::path(post, path = "/v1/silences/{name}/expire", params(("name" = String, Path)), responses((status = 200, body = WrittenView)))]
pub async fn expire(
    operator: Operator,
    path: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<web::Json<WrittenView>, Problem> {
    latest(&shared).await?;
    let now = Millis(shared.node.clock.now_ms());
    let (version, silences) = in_force(&shared);
    let name = path.into_inner();
    let next = silences.with_ended(&name, now);
    let next = next.ok_or_else(|| Problem::missing(format_args!("silence {name:?} that lasts")))?;
    rewrite(&shared, &next, version, operator.name).await.map(web::Json)
}
