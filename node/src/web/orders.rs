//! `/v1/tickets/{id}/orders`: what operators order of a ticket.
//!
//! **Invariants:** an order is written with the operator's name; nothing is ordered before every node knows of
//! orders. **Not here:** what an order does (`domain::ticket`).

use actix_web::{HttpRequest, web};
use fieldmesh_domain::{
    Command, EntityId, EntityKind,
    message::Amendment,
    ticket::{self, Order, Party, Reader},
    time::Millis,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared, attachments::EnclosureView, operator::Operator, problem::Problem, rest::Point,
};
use crate::issuer::sha256;

/// Bytes of an idempotency key: twice a UUID's text, and some.
const KEY_BYTES_MAX: usize = 128;

pub fn routes(scope: &mut web::ServiceConfig) {
    scope.route("/tickets/{id}/orders", web::post().to(order));
}

/// What is ordered.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "order", rename_all = "snake_case", deny_unknown_fields)]
pub enum NewOrder {
    /// Nobody is sought until then, at most 90 days.
    Hold {
        /// Unix milliseconds.
        until_ms: u64,
        #[serde(default)]
        reason: String,
    },
    /// Ends a hold.
    Resume,
    Cancel {
        #[serde(default)]
        reason: String,
    },
    /// Takes it from whoever has it, for this technician or for whoever fits best.
    Reassign {
        to: Option<String>,
        #[serde(default)]
        reason: String,
    },
    /// The technician who has it keeps it, whatever is planned.
    Pin,
    Unpin,
    /// Something of the request is to be otherwise; what is not said stays.
    Amend {
        text: Option<String>,
        /// 1 is the highest, 5 the lowest.
        priority: Option<u8>,
        location: Option<Point>,
    },
    /// Within seven days after its end.
    Reopen {
        #[serde(default)]
        reason: String,
    },
    /// The work is done.
    Confirm,
    Message {
        to: ReaderName,
        #[serde(default)]
        text: String,
        /// What comes with it, once all its pieces are there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        enclosure: Option<EnclosureView>,
    },
    /// Another ticket is of the same cause: its end is this one's.
    Group {
        parent: String,
    },
    Ungroup,
    /// A person knows of it: nobody else is told for half an hour.
    Acknowledge,
    /// The next step of its escalation policy, at once.
    Escalate,
    /// The technician who accepted comes at another time than it said; the customer hears so (R3).
    Eta {
        /// Minutes from now, 1 to 10,080 (7 days).
        minutes: u16,
    },
    /// For this technician, as a plan has it. Refused where a technician has accepted the ticket, where its offer is
    /// pinned, and where it was offered anew since the plan.
    Move {
        to: String,
        /// Of the ticket's last offer, as the plan says; 0 before the first.
        epoch: u32,
        #[serde(default)]
        reason: String,
    },
}

/// Whom a message is for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReaderName {
    Customer,
    Technician,
    Both,
}

pub(super) fn id_of(text: &str, kind: EntityKind, what: &str) -> Result<EntityId, Problem> {
    let id: Option<EntityId> = text.parse().ok();
    let of_kind = id.filter(|id| id.kind() == kind);
    of_kind.ok_or_else(|| Problem::invalid(format_args!("{text:?} is no {what}'s identifier")))
}

impl NewOrder {
    fn order(self) -> Result<Order, Problem> {
        Ok(match self {
            Self::Hold { until_ms, reason } => Order::Hold { until: Millis(until_ms), reason },
            Self::Resume => Order::Resume,
            Self::Cancel { reason } => Order::Cancel { reason },
            Self::Reassign { to, reason } => {
                let to = to.map(|to| id_of(&to, EntityKind::Technician, "technician"));
                Order::Reassign { to: to.transpose()?, reason }
            }
            Self::Pin => Order::Pin,
            Self::Unpin => Order::Unpin,
            Self::Amend { text, priority, location } => {
                let location = location.map(Into::into);
                Order::Amend(Amendment { text, priority, location })
            }
            Self::Reopen { reason } => Order::Reopen { reason },
            Self::Confirm => Order::Confirm,
            Self::Message { to, text, enclosure } => {
                let to = match to {
                    ReaderName::Customer => Reader::Customer,
                    ReaderName::Technician => Reader::Technician,
                    ReaderName::Both => Reader::Both,
                };
                let read = |view: EnclosureView| {
                    let wrong = || Problem::invalid("digest and key of an enclosure have 32 bytes");
                    view.enclosure().ok_or_else(wrong)
                };
                let enclosure = enclosure.map(read).transpose()?;
                Order::Message { to, text, enclosure }
            }
            Self::Group { parent } => {
                Order::Group { parent: id_of(&parent, EntityKind::Ticket, "ticket")? }
            }
            Self::Ungroup => Order::Ungroup,
            Self::Acknowledge => Order::Acknowledge,
            Self::Escalate => Order::Escalate,
            Self::Eta { minutes } => Order::Eta { eta_min: minutes },
            Self::Move { to, epoch, reason } => {
                let to = id_of(&to, EntityKind::Technician, "technician")?;
                Order::Move { to, epoch, reason }
            }
        })
    }
}

/// Under what an operator's key is known to a ticket.
pub(crate) fn keyed(operator: EntityId, key: &[u8]) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&sha256(&[&operator.to_bytes()[..], key].concat())[..16]);
    id
}

/// The same for the same key of an operator: a ticket carries out once what is ordered again under its key.
pub(super) fn order_id(
    request: &HttpRequest,
    operator: &Operator,
    shared: &Shared,
) -> Result<[u8; 16], Problem> {
    match request.headers().get("Idempotency-Key") {
        Some(key) if key.is_empty() || key.len() > KEY_BYTES_MAX => {
            let text = format_args!("an Idempotency-Key has 1 to {KEY_BYTES_MAX} bytes");
            Err(Problem::invalid(text))
        }
        Some(key) => Ok(keyed(operator.id, key.as_bytes())),
        None => {
            let mut id = [0; 16];
            shared.node.entropy.fill(&mut id);
            Ok(id)
        }
    }
}

/// What was ordered.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Ordered {
    pub ticket: String,
    pub order: String,
}

/// Orders something of a ticket. What is so already is no error.
#[utoipa::path(post, path = "/v1/tickets/{id}/orders", request_body = NewOrder, responses((status = 200, body = Ordered)))]
pub async fn order(
    request: HttpRequest,
    operator: Operator,
    ticket: web::Path<String>,
    body: web::Json<NewOrder>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Ordered>, Problem> {
    let ticket = id_of(&ticket, EntityKind::Ticket, "ticket")?;
    let id = order_id(&request, &operator, &shared)?;
    let order = body.into_inner().order()?;
    if shared.node.known.known().level() < order.level() {
        let text = "a node runs an older release and does not know this order: upgrade it first";
        return Err(Problem::busy(text));
    }
    let ordered = Ordered { ticket: ticket.to_string(), order: order.name().to_owned() };
    let by = Party::Operator(operator.name);
    let command = Command::Ticket(ticket::Command::Order { order, by, id, marks: None });
    shared.node.ask(ticket, command).await?;
    Ok(web::Json(ordered))
}
