//! `/v1/chaos`: what this node does to itself on purpose, for operators who run chaos.
//!
//! Each node is asked for itself, because what is asked may be that others cannot reach it. **Invariants:** a
//! node on which chaos is not allowed refuses it; ending it is never refused to an operator, and needs
//! nobody else: a certificate is enough; what was begun and ended is in the
//! audit record. **Not here:** what a lease does (`chaos`), when faults come (whoever runs them).

pub mod allowance;
pub mod runs;

use std::time::Duration;

use actix_web::{HttpResponse, http::StatusCode, web};
use fieldmesh_actors::seams::JournalError;
use fieldmesh_chaos::Fault;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::allowance::{AllowanceView, ChaosProposalView};
use super::{
    Shared,
    est::hex,
    operator::{Operator, ShownOperator},
    problem::Problem,
};
use crate::{
    audit::{Deed, Event},
    chaos::LeaseError,
};

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/chaos", web::get().to(status))
        .route("/chaos", web::delete().to(stop))
        .route("/chaos/herd", web::post().to(herd))
        .route("/chaos/replicas", web::get().to(replicas))
        .route("/chaos/leases/{number}", web::put().to(lease))
        .route("/chaos/leases/{number}", web::delete().to(end))
        .route("/chaos/runs/{run}", web::post().to(runs::begin))
        .route("/chaos/runs/{run}/end", web::post().to(runs::end))
        .route("/chaos/allowance", web::post().to(allowance::allow))
        .route("/chaos/allowance", web::delete().to(allowance::forbid));
}

/// A fault that is wanted for a while.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLease {
    #[schema(value_type = Object)]
    pub fault: Fault,
    /// At most five seconds; whoever wants it for longer asks again.
    pub lasts_ms: u64,
}

/// What is broken now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChaosView {
    /// Whether the node's configuration allows it, whatever operators agree on.
    pub allowed: bool,
    pub leases: Vec<LeaseView>,
    /// Whether it was stopped here less than a minute ago: no lease is taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// How many leases were ended by this request, which stopped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// What operators allow on every node, while it is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowance: Option<AllowanceView>,
    /// What waits for a second operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<ChaosProposalView>,
}

/// A fault that the node does to itself, and for how long yet unless it is renewed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeaseView {
    pub number: u64,
    #[schema(value_type = Object)]
    pub fault: Fault,
    pub left_ms: u64,
}

/// Titles of what ends whoever runs chaos.
pub const STOPPED: &str = "chaos-stopped";
pub const NOT_ALLOWED: &str = "chaos-not-allowed";

fn refused(error: LeaseError) -> Problem {
    match error {
        LeaseError::Many => Problem::busy(error),
        LeaseError::Stopped => Problem { title: STOPPED, ..Problem::busy(error) },
        LeaseError::NotAllowed => Problem::new(StatusCode::FORBIDDEN, NOT_ALLOWED, error),
        LeaseError::Guarded(_) => Problem::new(StatusCode::FORBIDDEN, "chaos-guarded", error),
        LeaseError::Outside(_) | LeaseError::Range(_) | LeaseError::NoOtherRegion(_) => {
            Problem::invalid(error)
        }
    }
}

fn view(shared: &Shared) -> ChaosView {
    let millis = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let leases = shared.chaos.in_force().into_iter();
    let leases =
        leases.map(|(number, fault, left)| LeaseView { number, fault, left_ms: millis(left) });
    let (allowed, leases) = (shared.chaos.is_enabled(), leases.collect());
    let (allowance, proposal) = allowance::views(shared);
    let (stopped, ended) = (shared.chaos.is_stopped(), None);
    ChaosView { allowed, leases, stopped, ended, allowance, proposal }
}

/// Without what operators said to each other: for those of whom there may be no record.
fn of_this_node(shared: &Shared) -> ChaosView {
    ChaosView { allowance: None, proposal: None, ..view(shared) }
}

fn record(shared: &Shared, event: Event<'_>) {
    shared.node.audit.note(shared.node.clock.now_ms(), event);
}

/// What this node does to itself.
#[utoipa::path(get, path = "/v1/chaos", responses((status = 200, body = ChaosView)))]
async fn status(_operator: Operator, shared: web::Data<Shared>) -> web::Json<ChaosView> {
    std::future::ready(web::Json(view(&shared))).await
}

/// Begins a fault of this node, or goes on with it.
#[utoipa::path(put, path = "/v1/chaos/leases/{number}", request_body = NewLease, responses((status = 200, body = ChaosView)))]
async fn lease(
    operator: Operator,
    number: web::Path<u64>,
    wanted: web::Json<NewLease>,
    shared: web::Data<Shared>,
) -> Result<web::Json<ChaosView>, Problem> {
    let NewLease { fault, lasts_ms } = wanted.into_inner();
    let taken = shared.chaos.lease(*number, fault, Duration::from_millis(lasts_ms));
    if taken.map_err(refused)? {
        tracing::warn!(by = %operator.name, number = *number, ?fault, "a lease of chaos");
        let (by, what, proposed_by, until_ms) = (&operator.name, Deed::Leased, None, None);
        let (lease, fault) = (Some(*number), Some(fault.name()));
        record(&shared, Event::Chaos { by, what, lease, fault, proposed_by, until_ms });
    }
    std::future::ready(Ok(web::Json(view(&shared)))).await
}

/// Ends a fault of this node.
#[utoipa::path(delete, path = "/v1/chaos/leases/{number}", responses((status = 200, body = ChaosView)))]
async fn end(
    operator: ShownOperator,
    number: web::Path<u64>,
    shared: web::Data<Shared>,
) -> web::Json<ChaosView> {
    if shared.chaos.end(*number) {
        tracing::warn!(by = %operator.name, number = *number, "a lease of chaos is ended");
        let (by, what, lease) = (&operator.name, Deed::LeaseEnded, Some(*number));
        let (fault, proposed_by, until_ms) = (None, None, None);
        record(&shared, Event::Chaos { by, what, lease, fault, proposed_by, until_ms });
    }
    std::future::ready(web::Json(of_this_node(&shared))).await
}

/// Ends all faults of this node.
#[utoipa::path(delete, path = "/v1/chaos", responses((status = 200, body = ChaosView)))]
async fn stop(operator: ShownOperator, shared: web::Data<Shared>) -> HttpResponse {
    let count = shared.chaos.stop();
    tracing::warn!(by = %operator.name, count, "chaos is stopped");
    record(&shared, Event::chaos(&operator.name, Deed::Stopped));
    let view = ChaosView { ended: Some(count as u64), ..of_this_node(&shared) };
    std::future::ready(HttpResponse::Ok().json(view)).await
}

/// Sends all devices of this node away at once; they come again.
#[utoipa::path(post, path = "/v1/chaos/herd", responses((status = 200, body = ChaosView)))]
async fn herd(
    operator: Operator,
    shared: web::Data<Shared>,
) -> Result<web::Json<ChaosView>, Problem> {
    shared.chaos.dismiss().map_err(refused)?;
    tracing::warn!(by = %operator.name, "a herd of devices");
    record(&shared, Event::chaos(&operator.name, Deed::Herd));
    std::future::ready(Ok(web::Json(view(&shared)))).await
}

/// A replica of this node, with what it holds.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReplicaView {
    pub group: u32,
    /// The last entry that it has applied.
    pub applied: u64,
    /// SHA-256 of all its rows, hexadecimal: replicas that have applied the same have the same.
    pub digest: String,
}

/// What the replicas of this node hold. It reads all of their rows, which takes a while.
#[utoipa::path(get, path = "/v1/chaos/replicas", responses((status = 200, body = Vec<ReplicaView>)))]
async fn replicas(
    _operator: Operator,
    shared: web::Data<Shared>,
) -> Result<web::Json<Vec<ReplicaView>>, Problem> {
    shared.chaos.demand_allowed().map_err(refused)?;
    let node = std::sync::Arc::clone(&shared.node);
    let read = web::block(move || {
        let groups = node.journals().into_iter().map(|journal| {
            let (applied, digest) = journal.digest()?;
            Ok(ReplicaView { group: journal.group(), applied, digest: hex(&digest) })
        });
        groups.collect::<Result<Vec<_>, JournalError>>()
    });
    let read = read.await.map_err(|_| Problem::busy("the node is ending"))?;
    read.map(web::Json).map_err(Problem::from)
}
