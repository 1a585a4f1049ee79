//! What watches a node from outside: whether it lives, whether it is ready, its figures.
//!
//! Nobody has to say who asks: there are no identities in any of it. **Not here:** how a sealed node answers
//! (`sealed`).

use actix_web::{HttpResponse, http::StatusCode, web};
use fieldmesh_actors::commit::ShardId;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use crate::{auditor::Pass, named, store::health::Health};

pub fn routes(app: &mut web::ServiceConfig) {
    app.route("/healthz", web::get().to(alive))
        .route("/readyz", web::get().to(ready))
        .route("/metrics", web::get().to(metrics));
}

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", security(()), responses((status = 200, description = "It does.")))]
pub async fn alive() -> HttpResponse {
    std::future::ready(HttpResponse::Ok().finish()).await
}

/// Whether a node can serve.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    pub ready: bool,
    /// `well`, `stalled` or `full`.
    pub disk: &'static str,
    pub shards: Vec<ShardView>,
    pub audits: Vec<AuditView>,
    /// What keeps people from hearing of tickets, though the node can serve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<&'static str>,
}

/// A shard of the node's region.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShardView {
    #[schema(value_type = u32)]
    pub shard: ShardId,
    /// Somebody leads it.
    pub ready: bool,
}

/// When the auditor last saw every ticket of a shard that this node leads, and what it found.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditView {
    #[schema(value_type = u32)]
    pub shard: ShardId,
    /// Unix milliseconds; null before the first pass, as are the others.
    pub ended_ms: Option<u64>,
    pub open: Option<u64>,
    /// Open tickets without a timer.
    pub missing: Option<u64>,
    /// Timers that are due and did not fire.
    pub overdue: Option<u64>,
}

/// Whether each shard of the region is led and the disk takes writes.
#[utoipa::path(
    get, path = "/readyz", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness, description = "It cannot serve, or is sealed."))
)]
pub async fn ready(shared: web::Data<Shared>) -> HttpResponse {
    let health = shared.node.health();
    let ready = shared.node.courier.is_complete() && health != Health::Full;
    let disk = match health {
        Health::Well => "well",
        Health::Stalled => "stalled",
        Health::Full => "full",
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let led = |shard| ShardView { shard, ready: shared.node.courier.is_led(shard) };
    let shards = shared.node.known.own_groups().map(led).collect();
    let passes = shared.node.audits().passes();
    let audits = passes.iter().map(|(shard, pass)| audited(*shard, *pass)).collect();
    let warnings = named::silence(&shared.node.documents.known()).into_iter().collect();
    let readiness = Readiness { ready, disk, shards, audits, warnings };
    std::future::ready(HttpResponse::build(status).json(readiness)).await
}

fn audited(shard: ShardId, pass: Option<Pass>) -> AuditView {
    let of = |figure: fn(&Pass) -> u64| pass.as_ref().map(figure);
    AuditView {
        shard,
        ended_ms: of(|pass| pass.ended_ms),
        open: of(|pass| pass.open),
        missing: of(|pass| pass.missing),
        overdue: of(|pass| pass.overdue),
    }
}

/// The node's figures, as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", security(()), responses((status = 200, body = String, content_type = "text/plain")))]
pub async fn metrics(shared: web::Data<Shared>) -> HttpResponse {
    shared.node.measure();
    let is_silent = named::silence(&shared.node.documents.known()).is_some();
    metrics::gauge!("fieldmesh_nobody_told").set(if is_silent { 1.0 } else { 0.0 });
    let text = shared.metrics.render();
    std::future::ready(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text))
        .await
}
