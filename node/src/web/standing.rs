//! How one customer or technician stands, what is otherwise of a customer, and who is suspended.
//!
//! **Invariants:** nothing of this is written before every node knows of it; a dry run writes nothing. **Not here:**
//! registering people, their zones, wishes and skills (`people`), who works when (`shifts`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use std::collections::BTreeMap;

use actix_web::web;
use fieldmesh_domain::{
    Command, EntityId, EntityKind,
    customer::{self, Customer, Revision},
    placement::PEOPLE,
    technician::{Phase, Technician, life::Word},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared, areas,
    operator::Operator,
    orders::id_of,
    problem::Problem,
    rest::{NewSkill, Point},
    shifts::{DryRun, Outcome, known, outcome_of, replica, tell, tried},
};

/// Open tickets that are shown of a customer: more are in the list of tickets.
const SHOWN_MAX: usize = 100;

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/customers/{id}", web::get().to(customer))
        .route("/customers/{id}/revision", web::post().to(revise_customer))
        .route("/customers/{id}/suspension", web::put().to(suspend_customer))
        .route("/technicians/{id}", web::get().to(technician))
        .route("/technicians/{id}/suspension", web::put().to(suspend_technician));
}

/// Refuses what an older node would not understand.
pub(super) fn check_level(shared: &Shared) -> Result<(), Problem> {
    if shared.node.known.known().level() < PEOPLE {
        let text = "a node runs an older release and does not know of this: upgrade it first";
        return Err(Problem::busy(text));
    }
    Ok(())
}

/// A customer as it is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CustomerView {
    pub id: String,
    pub state: String,
    pub name: String,
    pub location: Point,
    /// 1 is the best service level.
    pub tier: u8,
    /// None for that of the region.
    pub zone: Option<String>,
    /// A device of it has a certificate that counts.
    pub has_device: bool,
    /// Technicians that it would like to see.
    pub preferred: Vec<String>,
    /// Technicians that never come to it.
    pub blocked: Vec<String>,
    /// Its tickets that have not ended.
    pub open_tickets: usize,
    /// The first hundred of them.
    pub tickets: Vec<String>,
}

fn texts<'a>(ids: impl IntoIterator<Item = &'a EntityId>) -> Vec<String> {
    ids.into_iter().map(EntityId::to_string).collect()
}

impl CustomerView {
    fn of(id: EntityId, customer: &Customer) -> Self {
        let Customer { standing, name, location, tier, device, open, wishes, zone, .. } = customer;
        let wishes = wishes.clone().unwrap_or_default();
        Self {
            id: id.to_string(),
            state: standing.name().to_owned(),
            name: name.clone(),
            location: (*location).into(),
            tier: *tier,
            zone: zone.as_ref().map(|zone| zone.name().to_owned()),
            has_device: device.present,
            preferred: texts(&wishes.preferred),
            blocked: texts(&wishes.blocked),
            open_tickets: open.len(),
            tickets: texts(open.iter().take(SHOWN_MAX)),
        }
    }
}

fn customer_id(text: &str) -> Result<EntityId, Problem> {
    id_of(text, EntityKind::Customer, "customer")
}

/// A customer as it is.
#[utoipa::path(get, path = "/v1/customers/{id}", responses((status = 200, body = CustomerView)))]
pub async fn customer(
    _operator: Operator,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<web::Json<CustomerView>, Problem> {
    let id = customer_id(&id)?;
    let customer: Customer = replica(&shared, id).await?.state(id)?;
    if customer.standing == customer::Standing::Unknown {
        return Err(Problem::missing("such customer"));
    }
    Ok(web::Json(CustomerView::of(id, &customer)))
}

/// A technician as it is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TechnicianView {
    pub id: String,
    pub state: String,
    pub name: String,
    pub home: Point,
    pub skills: Vec<NewSkill>,
    /// Tickets held at a time.
    pub capacity: u16,
    pub on_shift: bool,
    /// It is offered nothing.
    pub suspended: bool,
    /// A device of it has a certificate that counts.
    pub has_device: bool,
    /// Unix seconds: the end of its device's certificate, where that is known.
    pub certified_until_s: Option<u64>,
    /// Unix milliseconds: nobody has heard of its device since then.
    pub silent_since_ms: Option<u64>,
    /// All parts on its van by number, with how many, where anybody said.
    pub stock: Option<BTreeMap<String, u16>>,
    pub holds: Vec<HoldingView>,
}

/// A ticket in a technician's hands.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct HoldingView {
    pub ticket: String,
    /// `reserved` until it answers, `committed`, `en_route` or `on_site`.
    pub phase: String,
    /// Minutes, as it promised.
    pub eta_min: Option<u16>,
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Reserved => "reserved",
        Phase::Committed => "committed",
        Phase::EnRoute => "en_route",
        Phase::OnSite => "on_site",
    }
}

impl TechnicianView {
    fn of(id: EntityId, technician: &Technician) -> Self {
        let skills = technician.skills.iter().map(|skill| NewSkill {
            category: skill.category,
            level: skill.level,
            expires_ms: skill.expires.map(|expires| expires.0),
        });
        let holds = technician.holdings.iter().map(|(ticket, held)| HoldingView {
            ticket: ticket.to_string(),
            phase: phase(held.phase).to_owned(),
            eta_min: held.eta_min,
        });
        Self {
            id: id.to_string(),
            state: technician.duty().name().to_owned(),
            name: technician.name.clone(),
            home: technician.home.into(),
            skills: skills.collect(),
            capacity: technician.capacity,
            on_shift: technician.on_shift,
            suspended: technician.suspended,
            has_device: technician.device.present,
            certified_until_s: technician.certified_until,
            silent_since_ms: technician.silent_since.map(|since| since.0),
            stock: technician.stock.clone(),
            holds: holds.collect(),
        }
    }
}

fn technician_id(text: &str) -> Result<EntityId, Problem> {
    id_of(text, EntityKind::Technician, "technician")
}

/// A technician as it is.
#[utoipa::path(get, path = "/v1/technicians/{id}", responses((status = 200, body = TechnicianView)))]
pub async fn technician(
    _operator: Operator,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<web::Json<TechnicianView>, Problem> {
    let id = technician_id(&id)?;
    let technician = known(&shared, id).await?;
    Ok(web::Json(TechnicianView::of(id, &technician)))
}

/// Asks a customer, or says only what it would do.
async fn ask(
    shared: &Shared,
    id: EntityId,
    command: customer::Command,
    dry_run: bool,
) -> Result<Outcome, Problem> {
    if dry_run {
        let state: Customer = replica(shared, id).await?.state(id)?;
        return Ok(Outcome::new(id, tried(&state, &command, id, shared)?, true));
    }
    check_level(shared)?;
    let done = shared.node.ask(id, Command::Customer(command)).await?;
    Ok(Outcome::new(id, outcome_of(&done), false))
}

/// What is otherwise of a customer; what is not said stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCustomerRevision {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Point>,
    /// 1, the best, to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<u8>,
}

/// Changes who and where a customer is, from its next request on.
#[utoipa::path(post, path = "/v1/customers/{id}/revision", params(DryRun), request_body = NewCustomerRevision, responses((status = 200, body = Outcome)))]
pub async fn revise_customer(
    operator: Operator,
    id: web::Path<String>,
    query: web::Query<DryRun>,
    body: web::Json<NewCustomerRevision>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Outcome>, Problem> {
    let id = customer_id(&id)?;
    let NewCustomerRevision { name, location, tier } = body.into_inner();
    let location = location.map(Into::into);
    let judged = location.map(|place| areas::judged(&shared, id.region(), place, None));
    let warning = judged.transpose()?.flatten();
    let revision = Revision { name, location, tier };
    let command = customer::Command::Revise { revision, by: operator.name };
    let outcome = ask(&shared, id, command, query.dry_run).await?;
    Ok(web::Json(outcome.warned(warning)))
}

/// Whether somebody is suspended from now on.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSuspension {
    pub suspended: bool,
}

/// Suspends a customer, whose requests are refused until it is resumed; its open tickets go on.
#[utoipa::path(put, path = "/v1/customers/{id}/suspension", params(DryRun), request_body = NewSuspension, responses((status = 200, body = Outcome)))]
pub async fn suspend_customer(
    operator: Operator,
    id: web::Path<String>,
    query: web::Query<DryRun>,
    body: web::Json<NewSuspension>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Outcome>, Problem> {
    let (id, by) = (customer_id(&id)?, Some(operator.name));
    let command = match body.suspended {
        true => customer::Command::Suspend { by },
        false => customer::Command::Resume { by },
    };
    ask(&shared, id, command, query.dry_run).await.map(web::Json)
}

/// What somebody has to do something about who is suspended: only a person knows whether another is to go there.
fn kept(technician: &Technician) -> Option<String> {
    let accepted = technician.holdings.iter().filter(|(_, held)| held.phase != Phase::Reserved);
    let accepted = texts(accepted.map(|(ticket, _)| ticket));
    let text =
        format!("it keeps what it accepted, {}: reassign that if need be", accepted.join(", "));
    (!accepted.is_empty()).then_some(text)
}

/// Suspends a technician, who is offered nothing until it is resumed; what it accepted it keeps.
#[utoipa::path(put, path = "/v1/technicians/{id}/suspension", params(DryRun), request_body = NewSuspension, responses((status = 200, body = Outcome)))]
pub async fn suspend_technician(
    operator: Operator,
    id: web::Path<String>,
    query: web::Query<DryRun>,
    body: web::Json<NewSuspension>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Outcome>, Problem> {
    let (id, by) = (technician_id(&id)?, operator.name);
    let word = match body.suspended {
        true => Word::Suspend { by },
        false => Word::Resume { by },
    };
    check_level(&shared)?;
    let outcome = tell(&shared, id, word, query.dry_run).await?;
    // It is done, whether what it holds can be read here or not.
    let technician = known(&shared, id).await.ok().filter(|_| body.suspended);
    Ok(web::Json(outcome.warned(technician.as_ref().and_then(kept))))
}
