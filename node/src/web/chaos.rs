//! `/v1/chaos`: what this node does to itself on purpose, for operators who run chaos.
//!
//! Each node is asked for itself, because what is asked may be that others cannot reach it. **Invariants:** a
//! node on which chaos is not allowed refuses it; ending it is never refused to an operator, and needs
//! nobody else: a certificate is enough; what was begun, refused and ended is in the
//! audit record, with its figures. **Not here:** what a lease does (`chaos`), when faults come (whoever runs them).

pub mod allowance;
pub mod positions;
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
    audit::{Deed, Event, OfChaos},
    chaos::{LeaseError, Leased},
};

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/chaos", web::get().to(status))
        .route("/chaos", web::delete().to(stop))
        .route("/chaos/herd", web::post().to(herd))
        .route("/chaos/replicas", web::get().to(replicas))
        .route("/chaos/positions", web::get().to(positions::positions))
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
    /// Whether it was stopped here less than a minute ago: no lease is taken, and no device sent away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// How many leases were ended by this request, which stopped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// Of the lease that this request ended, what it did; of a herd, the connections that were closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<u64>,
    /// How many devices are connected to the node now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<u64>,
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
    /// What it has done so far: datagrams that it touched, syncs and steps that it held back or made fail, looks for
    /// room or at the clock that it answered, certificates that it shortened, rounds of computing, MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<u64>,
}

/// Titles of what ends whoever runs chaos.
pub const STOPPED: &str = "chaos-stopped";
pub const NOT_ALLOWED: &str = "chaos-not-allowed";

fn refused(error: LeaseError) -> Problem {
    match error {
        LeaseError::Many => Problem::busy(error),
        LeaseError::Stopped => Problem { title: STOPPED, ..Problem::busy(error) },
        LeaseError::Herded { left_s } => {
            Problem { retry_after_s: Some(left_s), ..Problem::busy(error) }
        }
        LeaseError::NotAllowed => Problem::new(StatusCode::FORBIDDEN, NOT_ALLOWED, error),
        LeaseError::Guarded(_) => Problem::new(StatusCode::FORBIDDEN, "chaos-guarded", error),
        LeaseError::Outside(_)
        | LeaseError::Range(_)
        | LeaseError::NoOtherRegion(_)
        | LeaseError::NoOtherNode(_)
        | LeaseError::NoMemory { .. } => Problem::invalid(error),
    }
}

fn view(shared: &Shared) -> ChaosView {
    let millis = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let leases = shared.chaos.in_force().into_iter();
    let leases = leases.map(|Leased { number, fault, left, effect }| LeaseView {
        number,
        fault,
        left_ms: millis(left),
        effect: Some(effect),
    });
    let (allowed, leases) = (shared.chaos.is_enabled(), leases.collect());
    let (allowance, proposal) = allowance::views(shared);
    let (stopped, ended, effect) = (shared.chaos.is_stopped(), None, None);
    let devices = Some(shared.chaos.connected());
    ChaosView { allowed, leases, stopped, ended, effect, devices, allowance, proposal }
}

/// Without what operators said to each other: for those of whom there may be no record.
fn of_this_node(shared: &Shared) -> ChaosView {
    ChaosView { allowance: None, proposal: None, ..view(shared) }
}

fn record(shared: &Shared, event: Event<'_>) {
    shared.node.audit.note(shared.node.clock.now_ms(), event);
}

fn record_end(shared: &Shared, by: &str, lease: &Leased) {
    let of = OfChaos { effect: Some(lease.effect), ..OfChaos::by(by, Deed::LeaseEnded) };
    record(shared, Event::Chaos(of.by_lease(lease.number, &lease.fault)));
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
    let of = |what| OfChaos::by(&operator.name, what).by_lease(*number, &fault);
    match &taken {
        Ok(false) => {}
        Ok(true) => {
            tracing::warn!(by = %operator.name, number = *number, ?fault, "a lease of chaos");
            record(&shared, Event::Chaos(of(Deed::Leased)));
        }
        Err(error) => {
            let why = &error.to_string();
            record(&shared, Event::Chaos(OfChaos { why: Some(why), ..of(Deed::LeaseRefused) }));
        }
    }
    std::future::ready(taken.map(|_| web::Json(view(&shared))).map_err(refused)).await
}

/// Ends a fault of this node.
#[utoipa::path(delete, path = "/v1/chaos/leases/{number}", responses((status = 200, body = ChaosView)))]
async fn end(
    operator: ShownOperator,
    number: web::Path<u64>,
    shared: web::Data<Shared>,
) -> web::Json<ChaosView> {
    let ended = shared.chaos.end(*number);
    if let Some(lease) = &ended {
        tracing::warn!(by = %operator.name, number = *number, "a lease of chaos is ended");
        record_end(&shared, &operator.name, lease);
    }
    let effect = ended.map(|lease| lease.effect);
    std::future::ready(web::Json(ChaosView { effect, ..of_this_node(&shared) })).await
}

/// Ends all faults of this node.
#[utoipa::path(delete, path = "/v1/chaos", responses((status = 200, body = ChaosView)))]
async fn stop(operator: ShownOperator, shared: web::Data<Shared>) -> HttpResponse {
    let ended = shared.chaos.stop();
    let count = ended.len();
    tracing::warn!(by = %operator.name, count, "chaos is stopped");
    record(&shared, Event::chaos(&operator.name, Deed::Stopped));
    ended.iter().for_each(|lease| record_end(&shared, &operator.name, lease));
    let view = ChaosView { ended: Some(count as u64), ..of_this_node(&shared) };
    std::future::ready(HttpResponse::Ok().json(view)).await
}

/// Sends all devices of this node away at once; they come again.
#[utoipa::path(post, path = "/v1/chaos/herd", responses((status = 200, body = ChaosView)))]
async fn herd(
    operator: Operator,
    shared: web::Data<Shared>,
) -> Result<web::Json<ChaosView>, Problem> {
    let dismissed = shared.chaos.dismiss();
    match &dismissed {
        Ok(connections) => {
            tracing::warn!(by = %operator.name, connections, "a herd of devices");
            let of = OfChaos::by(&operator.name, Deed::Herd);
            record(&shared, Event::Chaos(OfChaos { effect: Some(*connections), ..of }));
        }
        Err(error) => {
            let (of, why) = (OfChaos::by(&operator.name, Deed::HerdRefused), error.to_string());
            record(&shared, Event::Chaos(OfChaos { why: Some(&why), ..of }));
        }
    }
    let seen = |connections| ChaosView { effect: Some(connections), ..view(&shared) };
    std::future::ready(dismissed.map(seen).map(web::Json).map_err(refused)).await
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
