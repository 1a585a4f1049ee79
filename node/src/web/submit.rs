//! `POST /v1/tickets`: what an operator asks for in the name of a customer who calls.
//!
//! **Invariants:** it is written with the operator's name; the same key of an operator is the same ticket; a place that
//! is in no region's area is refused. **Not here:** what becomes of it (`domain::customer`).

use actix_web::{HttpRequest, HttpResponse, web};
use fieldmesh_domain::{
    Command, EntityId, EntityKind, customer, integration::Reported, message::Location,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared, areas,
    operator::Operator,
    orders::{id_of, order_id},
    people::{answer, created},
    problem::Problem,
    rest::Point,
    shifts::{Outcome, outcome_of},
    standing::check_level,
};

pub fn routes(scope: &mut web::ServiceConfig) {
    scope.route("/tickets", web::post().to(submit));
}

/// What a customer asks for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTicket {
    pub customer: String,
    pub category: u16,
    #[serde(default)]
    pub subcategory: u16,
    /// 1 is the highest, 3 the lowest.
    #[serde(default = "middle")]
    pub impact: u8,
    /// 1 is the highest, 3 the lowest.
    #[serde(default = "middle")]
    pub urgency: u8,
    /// Where the customer is unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Point>,
    pub text: String,
}

impl NewTicket {
    /// Of impact and urgency.
    pub(super) const MIDDLE: u8 = 2;
}

fn middle() -> u8 {
    NewTicket::MIDDLE
}

/// Opens a ticket for a customer who calls. The same `Idempotency-Key` again is the same ticket.
#[utoipa::path(post, path = "/v1/tickets", params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 bytes.")), request_body = NewTicket, responses((status = 201, body = Outcome), (status = 200, body = Outcome)))]
pub async fn submit(
    request: HttpRequest,
    operator: Operator,
    body: web::Json<NewTicket>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let NewTicket { customer, category, subcategory, impact, urgency, location, text } =
        body.into_inner();
    let customer = id_of(&customer, EntityKind::Customer, "customer")?;
    let id = order_id(&request, &operator, &shared)?;
    let location = location.map(Location::from);
    let judged = location.map(|place| areas::judged(&shared, customer.region(), place, None));
    let warning = judged.transpose()?.flatten();
    check_level(&shared)?;
    let asked = Reported { category, subcategory, impact, urgency, location, text };
    let command = customer::Command::Submit { id, asked, by: operator.name };
    let done = shared.node.ask(customer, Command::Customer(command)).await?;
    let ticket = EntityId::ticket_of(customer, id);
    let outcome = Outcome::new(ticket, created(outcome_of(&done)), false);
    Ok(answer(outcome.warned(warning)))
}
