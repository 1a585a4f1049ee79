//! REST v1 for what leaves the system: targets, deliveries, dead letters.
//!
//! **Not here:** delivering (`notices`), what a document may say (`notices::document`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use actix_web::{HttpResponse, http::StatusCode, web};
use fieldmesh_domain::{
    Command, EntityId, IndexRow,
    effect::RowKey,
    notifier::{self, Delivery, Notice, Notifier, Recipient, What},
    placement::{self, DocumentKind, TRIGGERS},
    ticket::Stage,
    time::Millis,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Shared,
    operator::Operator,
    problem::Problem,
    rest::{elsewhere, latest},
};
use crate::{
    documents::InForce,
    journal::ShardJournal,
    named,
    notices::{Targets, document::Target, signing::Secret},
};

/// Deliveries of a page unless asked otherwise, and at most: of a state there are hardly more.
const PAGE_ROWS: usize = 100;
const PAGE_ROWS_MAX: usize = 1000;

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/webhooks", web::get().to(webhooks))
        .route("/webhooks", web::put().to(write))
        .route("/webhooks/lint", web::post().to(lint))
        .route("/webhooks/{name}/test", web::post().to(test))
        .route("/webhooks/{name}/open", web::post().to(open))
        .route("/webhooks/{name}/secret", web::get().to(secret))
        .route("/notices", web::get().to(notices))
        .route("/notices/{number}/replay", web::post().to(replay));
}

/// A text to look at.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewText {
    pub text: String,
}

/// A document to write.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewWebhooks)]
pub struct NewDocument {
    pub text: String,
    /// The version that it is written over; 0 for the first.
    pub base: u32,
}

/// A mistake.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = WebhookFinding)]
pub struct FindingView {
    pub line: u32,
    pub column: u32,
    pub text: String,
}

/// What is wrong with a text.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Linted {
    pub targets: usize,
    pub findings: Vec<FindingView>,
}

/// The version that was written.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = WrittenWebhooks)]
pub struct WrittenView {
    pub version: u32,
}

/// A target.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TargetView {
    pub name: String,
    /// `webhook` or `person`.
    pub kind: String,
    pub url: String,
    pub events: Vec<String>,
    pub allow_private: bool,
    /// Deliveries that are pending.
    pub waiting: u32,
    /// Why nothing is sent any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

/// The targets, and the document that they are from.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TargetsView {
    /// 0 before the first.
    pub version: u32,
    pub text: String,
    pub targets: Vec<TargetView>,
}

/// A target's secret.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SecretView {
    pub secret: String,
}

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct DeliveryQuery {
    /// queued, sent, delivered, failed or dead.
    state: Option<String>,
    /// Only those for this target.
    target: Option<String>,
    /// Those behind this number.
    after: Option<u64>,
    limit: Option<usize>,
}

/// One delivery.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeliveryView {
    pub number: u64,
    pub target: String,
    pub what: String,
    pub ticket: String,
    pub state: String,
    pub attempts: u8,
    /// When it came to this state.
    pub at_ms: u64,
    /// When it is tried, where it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[serde(default)]
    pub reason: String,
}

/// A page of deliveries; `next` is the `after` of the following one.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Deliveries {
    pub notices: Vec<DeliveryView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What was done with a delivery or target.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Asked {
    pub done: String,
}

fn findings(text: &str) -> Linted {
    match Targets::parse(text) {
        Ok(targets) => Linted { targets: targets.0.len(), findings: Vec::new() },
        Err(found) => {
            let view = |finding: &fieldmesh_rules::Finding| {
                let within = finding.within.as_ref().map(|within| format!("{within}: "));
                let text = format!("{}{}", within.unwrap_or_default(), finding.text);
                FindingView { line: finding.place.line, column: finding.place.column, text }
            };
            Linted { targets: 0, findings: found.iter().map(view).collect() }
        }
    }
}

fn check_level(shared: &Shared) -> Result<(), Problem> {
    if shared.node.known.known().level() < TRIGGERS {
        let text = "a node runs an older release and does not know of notices: upgrade it first";
        return Err(Problem::busy(text));
    }
    Ok(())
}

fn notifier_of(shared: &Shared) -> Result<EntityId, Problem> {
    let region = shared.node.region.parse();
    region.map(EntityId::notifier).map_err(|_| Problem::invalid("the node's region is not valid"))
}

/// The notifier's shard as this node has it, with all that was acknowledged.
async fn read(shared: &Shared) -> Result<(EntityId, ShardJournal), Problem> {
    let notifier = notifier_of(shared)?;
    let shard = shared.node.known.group_of(notifier);
    let shard = shard.filter(|shard| shared.node.courier.has_replica(*shard));
    let here = shard.and_then(|shard| Some((shard, shared.node.journal(shard)?)));
    let (shard, journal) = here.ok_or_else(|| elsewhere(shared, notifier))?;
    latest(shared, shard, "or wait").await?;
    Ok((notifier, journal))
}

fn in_force(shared: &Shared) -> Option<std::sync::Arc<InForce<std::sync::Arc<Targets>>>> {
    shared.node.documents.known().webhooks.clone()
}

/// A target by its name, with the version of its document.
fn named(shared: &Shared, name: &str) -> Result<(Recipient, Target), Problem> {
    let targets = in_force(shared);
    let found = targets.as_ref().and_then(|targets| targets.content.named(name));
    found
        .map(|(to, target)| (to.clone(), target.clone()))
        .ok_or_else(|| Problem::missing(format_args!("target {name:?}")))
}

/// The targets as they are written down, and how they do.
#[utoipa::path(get, path = "/v1/webhooks", responses((status = 200, body = TargetsView)))]
pub async fn webhooks(
    _operator: Operator,
    shared: web::Data<Shared>,
) -> Result<web::Json<TargetsView>, Problem> {
    let (notifier, journal) = read(&shared).await?;
    let state: Notifier = journal.state(notifier)?;
    let known = shared.node.documents.known();
    let newest = known.newest(DocumentKind::Webhooks);
    let targets = known.webhooks.as_ref().map(|targets| std::sync::Arc::clone(&targets.content));
    let view = |(to, target): (&Recipient, &Target)| TargetView {
        name: to.name().to_owned(),
        kind: kind(to).to_owned(),
        url: target.url.clone(),
        events: events(target.kinds),
        allow_private: target.allow_private,
        waiting: state.waiting.get(to).copied().unwrap_or(0),
        closed: state.closed.get(to).cloned(),
    };
    let targets = targets.unwrap_or_default();
    Ok(web::Json(TargetsView {
        version: newest.map_or(0, |newest| newest.version),
        text: newest.map(|newest| newest.text.clone()).unwrap_or_default(),
        targets: targets.0.iter().map(view).collect(),
    }))
}

fn kind(to: &Recipient) -> &'static str {
    match to {
        Recipient::Webhook(_) => "webhook",
        Recipient::Person(_) => "person",
        Recipient::Subscribers => "subscribers",
    }
}

fn events(kinds: u64) -> Vec<String> {
    let wanted = What::ALL.into_iter().filter(|what| kinds & what.bit() != 0);
    wanted.map(|what| what.name().to_owned()).collect()
}

/// Looks for mistakes in a document of targets, and writes nothing.
#[utoipa::path(post, path = "/v1/webhooks/lint", request_body = NewText, responses((status = 200, body = Linted)))]
pub async fn lint(_operator: Operator, body: web::Json<NewText>) -> web::Json<Linted> {
    std::future::ready(web::Json(findings(&body.text))).await
}

/// Writes the targets down, if nothing is wrong with them.
#[utoipa::path(put, path = "/v1/webhooks", request_body = NewDocument, responses((status = 200, body = WrittenView)))]
pub async fn write(
    operator: Operator,
    body: web::Json<NewDocument>,
    shared: web::Data<Shared>,
) -> Result<web::Json<WrittenView>, Problem> {
    check_level(&shared)?;
    let NewDocument { text, base } = body.into_inner();
    let linted = findings(&text);
    if !linted.findings.is_empty() {
        let line = |found: &FindingView| format!("{}:{}: {}", found.line, found.column, found.text);
        let lines: Vec<String> = linted.findings.iter().map(line).collect();
        return Err(Problem::invalid(lines.join("\n")));
    }
    let known = shared.node.documents.known();
    let lost = Targets::parse(&text).map(|targets| named::lost_by(&targets, &known));
    let lost = lost.unwrap_or_default();
    if !lost.is_empty() {
        let text = format!("{}: change that first, or keep the target", lost.join("; "));
        return Err(Problem::invalid(text));
    }
    let kind = DocumentKind::Webhooks;
    let write = placement::Command::Write { kind, text, base, by: operator.name };
    shared.node.ask(EntityId::placement(), Command::Placement(write)).await?;
    let known = shared.node.documents.known();
    let version = known.newest(kind).map_or(base.saturating_add(1), |newest| newest.version);
    Ok(web::Json(WrittenView { version }))
}

/// Sends a notice to one target, to try it.
#[utoipa::path(post, path = "/v1/webhooks/{name}/test", responses((status = 202, body = Asked)))]
pub async fn test(
    _operator: Operator,
    name: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    check_level(&shared)?;
    let (to, _) = named(&shared, &name)?;
    let notifier = notifier_of(&shared)?;
    let mut id = [0; 16];
    shared.node.entropy.fill(&mut id);
    let notice = Notice {
        id,
        to,
        ticket: notifier,
        what: What::Test,
        priority: 0,
        stage: Stage::Unknown,
        at: Millis(shared.node.clock.now_ms()),
        detail: "an operator tries this target".into(),
    };
    shared.node.ask(notifier, Command::Notifier(notifier::Command::Tell(notice))).await?;
    let done = format!("a test for {name} is queued");
    Ok(HttpResponse::build(StatusCode::ACCEPTED).json(Asked { done }))
}

/// Tells a target again that said that it wants nothing any more.
#[utoipa::path(post, path = "/v1/webhooks/{name}/open", responses((status = 200, body = Asked)))]
pub async fn open(
    _operator: Operator,
    name: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Asked>, Problem> {
    let (to, _) = named(&shared, &name)?;
    let command = Command::Notifier(notifier::Command::Open { to });
    shared.node.ask(notifier_of(&shared)?, command).await?;
    Ok(web::Json(Asked { done: format!("{name} is told again") }))
}

/// What this region signs messages for a target with: for the target's owner.
#[utoipa::path(get, path = "/v1/webhooks/{name}/secret", responses((status = 200, body = SecretView)))]
pub async fn secret(
    operator: Operator,
    name: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let (to, target) = named(&shared, &name)?;
    tracing::info!(by = operator.name, target_name = %name, "a target's secret is shown");
    let secret = Secret::new(shared.node.service.region_key(), &to, target.secret);
    let view = SecretView { secret: secret.text().as_str().to_owned() };
    let answer = HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(view);
    std::future::ready(Ok(answer)).await
}

fn view(to: &Recipient, notice: &Notice, row: &IndexRow) -> Option<DeliveryView> {
    let IndexRow::Delivery { number, state, attempts, at, next, reason, .. } = row else {
        return None;
    };
    Some(DeliveryView {
        number: *number,
        target: to.name().to_owned(),
        what: notice.what.name().to_owned(),
        ticket: notice.ticket.to_string(),
        state: state.name().to_owned(),
        attempts: *attempts,
        at_ms: at.0,
        next_ms: state.is_pending().then_some(next.0),
        reason: reason.clone(),
    })
}

/// Deliveries, oldest first.
#[utoipa::path(get, path = "/v1/notices", params(DeliveryQuery), responses((status = 200, body = Deliveries)))]
pub async fn notices(
    _operator: Operator,
    query: web::Query<DeliveryQuery>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Deliveries>, Problem> {
    let states = ["queued", "sent", "delivered", "failed", "dead"];
    if let Some(state) = query.state.as_ref().filter(|state| !states.contains(&state.as_str())) {
        let text = format_args!("{state:?} is no state: use one of {}", states.join(", "));
        return Err(Problem::invalid(text));
    }
    let limit = query.limit.unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS_MAX);
    let (notifier, journal) = read(&shared).await?;
    let mut last = RowKey::delivery(notifier, query.after.unwrap_or(0));
    let mut found = Vec::new();
    loop {
        let page = journal.rows(notifier.kind() as u8, Some(&last), PAGE_ROWS_MAX)?;
        for pair in page.chunks_exact(2) {
            let [IndexRow::Notice { to, notice, .. }, row] = pair else { continue };
            let Some(view) = view(to, notice, row) else { continue };
            let fits = |wanted: &Option<String>, is: &str| {
                wanted.as_ref().is_none_or(|wanted| wanted == is)
            };
            if fits(&query.state, &view.state) && fits(&query.target, &view.target) {
                found.push(view);
            }
            if found.len() == limit {
                let next = found.last().map(|view| view.number);
                return Ok(web::Json(Deliveries { notices: found, next }));
            }
        }
        match page.last().map(IndexRow::key) {
            Some(key) if page.len() == PAGE_ROWS_MAX => last = key,
            _ => return Ok(web::Json(Deliveries { notices: found, next: None })),
        }
    }
}

/// Tries a dead one again.
#[utoipa::path(post, path = "/v1/notices/{number}/replay", responses((status = 200, body = Asked)))]
pub async fn replay(
    _operator: Operator,
    number: web::Path<u64>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Asked>, Problem> {
    let number = number.into_inner();
    let command = Command::Notifier(notifier::Command::Replay { number });
    shared.node.ask(notifier_of(&shared)?, command).await?;
    let state = Delivery::Queued.name();
    Ok(web::Json(Asked { done: format!("notice {number} is {state}") }))
}
