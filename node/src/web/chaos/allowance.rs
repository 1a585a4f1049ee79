//! `/v1/chaos/allowance`: operators allow chaos on a cluster that is in production, and end that.
//!
//! **Invariant:** whoever is answered sees what this node knows then, the answer's change included. **Not here:**
//! who must agree, and for how long it may be (`domain::placement`); what it allows (`chaos`).

use actix_web::{HttpResponse, http::StatusCode, web};
use fieldmesh_domain::{
    Command, EntityId,
    placement::{self, Allowance, AllowanceProposal, Allowances, PLACEMENT, SITES},
    time::Millis,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ChaosView, record, view};
use crate::{
    audit::{Deed, Event, OfChaos},
    let_in,
    web::{Shared, operator::Operator, problem::Problem, rest},
};

/// An allowance that an operator wants.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAllowance {
    /// At most 240; a second operator names as many.
    pub minutes: u32,
    /// What for; no names of persons.
    pub why: String,
}

/// What is allowed on every node.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AllowanceView {
    /// Unix milliseconds.
    pub until_ms: u64,
    pub why: String,
    pub proposed_by: String,
    pub approved_by: String,
}

/// What waits for a second operator.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChaosProposalView {
    pub minutes: u32,
    pub why: String,
    pub by: String,
    /// Until when a second operator may agree, Unix milliseconds.
    pub until_ms: u64,
}

impl From<Allowance> for AllowanceView {
    fn from(allowance: Allowance) -> Self {
        let Allowance { until, why, proposed_by, approved_by, .. } = allowance;
        Self { until_ms: until.0, why, proposed_by, approved_by }
    }
}

impl From<&AllowanceProposal> for ChaosProposalView {
    fn from(proposal: &AllowanceProposal) -> Self {
        let until_ms = proposal.until().0;
        let AllowanceProposal { minutes, why, by, .. } = proposal.clone();
        Self { minutes, why, by, until_ms }
    }
}

/// What is in force and what waits, by this node's clock.
pub(super) fn views(shared: &Shared) -> (Option<AllowanceView>, Option<ChaosProposalView>) {
    let now = Millis(shared.node.clock.now_ms());
    let known = shared.node.agreement.known();
    (shared.chaos.allowance().map(AllowanceView::from), known.waiting(now).map(Into::into))
}

/// Whether every node understands it: one that leads might not.
fn is_understood(shared: &Shared) -> bool {
    shared.node.known.known().level() >= SITES
}

/// Asks the placement group, and waits until this node knows what came of it.
async fn ask(shared: &Shared, command: placement::Command) -> Result<ChaosView, Problem> {
    shared.node.ask(EntityId::placement(), Command::Placement(command)).await?;
    rest::latest(shared, PLACEMENT, "or try again").await?;
    Ok(view(shared))
}

/// Allows chaos on every node for a while, where another operator has said the same; else this is the proposal.
#[utoipa::path(
    post,
    path = "/v1/chaos/allowance",
    request_body = NewAllowance,
    responses(
        (status = 200, description = "in force", body = ChaosView),
        (status = 202, description = "waits for a second operator", body = ChaosView),
    )
)]
pub(super) async fn allow(
    operator: Operator,
    wanted: web::Json<NewAllowance>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let NewAllowance { minutes, why } = wanted.into_inner();
    if !is_understood(&shared) {
        let text = "not every node runs this release yet: upgrade the others first";
        return Err(Problem::new(StatusCode::CONFLICT, "refused", text));
    }
    let let_in_by = match shared.node.authority() {
        Some(authority) => let_in::by_persons(&authority, operator.id, &operator.serial)?,
        None => None,
    };
    let by = operator.name;
    let command = placement::Command::AllowChaos { minutes, why, by: by.clone(), let_in_by };
    let view = ask(&shared, command).await.inspect_err(|problem| {
        let why = Some(problem.detail.as_str());
        let of = OfChaos::by(&by, Deed::AllowanceRefused);
        record(&shared, Event::Chaos(OfChaos { why, ..of }));
    })?;
    let waits = view.proposal.as_ref().is_some_and(|proposal| proposal.by == by);
    let status = if waits { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(HttpResponse::build(status).json(view))
}

/// Allows it no more, and withdraws what waits: the leases of every node end.
#[utoipa::path(delete, path = "/v1/chaos/allowance", responses((status = 200, body = ChaosView)))]
pub(super) async fn forbid(
    operator: Operator,
    shared: web::Data<Shared>,
) -> Result<web::Json<ChaosView>, Problem> {
    if !is_understood(&shared) && shared.node.agreement.known() == Allowances::default() {
        return Ok(web::Json(view(&shared)));
    }
    ask(&shared, placement::Command::EndChaos { by: operator.name }).await.map(web::Json)
}
