//! `/v1/tickets/{id}/attachments`: what comes with messages about a ticket, in sealed pieces.
//!
//! The ticket's customer, the technician who has accepted it and operators bring and fetch pieces; what opens
//! them is in messages, which devices have, and which operators are shown here.
//!
//! **Invariants:** whoever has no part in a ticket learns nothing of it, not even that there is one; each sender
//! has its own rate. **Not here:** sealing and opening (`fieldmesh_device::attach`), messages (`orders`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_actors::AskError;
use fieldmesh_domain::{
    Command, EntityId, EntityKind, RejectionCode,
    attachment::{self, ATTACHMENTS_MAX, Attachment},
    customer::{Customer, Standing},
    message::Enclosure,
    placement::TRIGGERS,
    ticket::{self, Ticket},
};
use fieldmesh_pki::Kind;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Shared,
    operator::{self, Operator},
    orders::id_of,
    problem::Problem,
    shifts::replica,
};
use crate::{
    bucket::{Rate, Rates},
    journal::ShardJournal,
};

/// Pieces of one sender a second, and at once: two of the largest attachments; five gigabytes a day at most.
pub const UPLOADS: Rate = Rate { per_second: 2, burst: 512 };
/// Looks and pieces of one device a second, and at once: as many as two of the largest attachments have.
pub const FETCHES: Rate = Rate { per_second: 64, burst: 1024 };
/// Steps of a ticket that are read at a time.
const PAGE_STEPS: usize = 256;

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/tickets/{id}/attachments", web::get().to(attachments))
        .route("/tickets/{id}/attachments/{number}", web::get().to(show))
        .route("/tickets/{id}/attachments/{number}/pieces/{index}", web::put().to(store))
        .route("/tickets/{id}/attachments/{number}/pieces/{index}", web::get().to(piece));
}

/// What comes with a message.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnclosureView {
    pub number: u8,
    pub name: String,
    pub bytes: u32,
    /// SHA-256 of the opened bytes, base64.
    pub digest: String,
    /// What opens the pieces, base64: as secret as the message that it came with.
    pub key: String,
}

impl std::fmt::Debug for EnclosureView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EnclosureView({}, {:?}, {} bytes)", self.number, self.name, self.bytes)
    }
}

impl EnclosureView {
    pub fn of(enclosure: &Enclosure) -> Self {
        let Enclosure { number, name, bytes, digest, key } = enclosure;
        let (digest, key) = (STANDARD.encode(digest), STANDARD.encode(key));
        Self { number: *number, name: name.clone(), bytes: *bytes, digest, key }
    }

    /// As it came with the message; none of a view that was changed.
    pub fn enclosure(&self) -> Option<Enclosure> {
        let bytes = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
        let (digest, key) = (bytes(&self.digest)?, bytes(&self.key)?);
        Some(Enclosure {
            number: self.number,
            name: self.name.clone(),
            bytes: self.bytes,
            digest,
            key,
        })
    }
}

/// What came with the messages of a ticket, in their order.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EnclosuresView {
    pub attachments: Vec<EnclosureView>,
}

/// What of an attachment is here.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AttachmentView {
    /// Whoever brought it.
    pub by: String,
    /// Pieces in all.
    pub of: u16,
    /// Pieces that are here.
    pub count: u16,
    /// Sealed bytes that are here.
    pub bytes: u32,
}

/// How far an upload is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StoredView {
    /// The piece to go on with.
    pub count: u16,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct UploadQuery {
    /// Tells this upload from others: 32 hexadecimal digits.
    upload: String,
    /// Pieces in all.
    of: u16,
}

/// # Errors
/// Where somebody asks too often.
fn may(rates: &Rates, who: EntityId, now_ms: u64) -> Result<(), Problem> {
    rates.take(who, now_ms).map_err(|seconds| {
        let text = format_args!("too many at once: wait {seconds} s");
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-often", text);
        problem.retry_after_s = Some(seconds);
        problem
    })
}

/// Somebody who has a part in a ticket.
struct Partaker {
    /// The name of an operator, the identifier of a customer or technician.
    name: String,
    /// For its rate.
    id: EntityId,
    ticket: EntityId,
    state: Ticket,
    journal: ShardJournal,
}

impl Partaker {
    async fn new(request: &HttpRequest, shared: &Shared, ticket: &str) -> Result<Self, Problem> {
        let kinds = [Kind::Operator, Kind::Customer, Kind::Technician];
        let (certificate, id) = operator::holder_of(request, &kinds).await?;
        if certificate.identity.kind != Kind::Operator {
            may(&shared.fetches, id, shared.node.clock.now_ms())?;
        }
        let ticket = id_of(ticket, EntityKind::Ticket, "ticket")?;
        let journal = replica(shared, ticket).await?;
        let state: Ticket = journal.state(ticket)?;
        let missing = || Problem::missing("such ticket");
        let name = match certificate.identity.kind {
            Kind::Operator => certificate.identity.to_string(),
            _ => {
                let device =
                    EntityId::from_bytes(certificate.identity.id).map_err(|_| missing())?;
                let has_it = state.technician == Some(device) && state.stage.is_promised();
                if state.customer != Some(device) && !has_it {
                    return Err(missing());
                }
                // A customer is in the slot of its tickets, and so in the same replica.
                let is_suspended = device.kind() == EntityKind::Customer
                    && journal.state::<Customer>(device)?.standing == Standing::Suspended;
                if is_suspended {
                    let text = "the customer is suspended";
                    return Err(Problem::new(StatusCode::FORBIDDEN, "suspended", text));
                }
                device.to_string()
            }
        };
        state.customer.ok_or_else(missing)?;
        Ok(Self { name, id, ticket, state, journal })
    }

    /// # Errors
    /// A number that no ticket has.
    fn attachment(&self, number: u8) -> Result<EntityId, Problem> {
        if number >= ATTACHMENTS_MAX {
            let last = ATTACHMENTS_MAX - 1;
            return Err(Problem::invalid(format_args!("attachments have the numbers 0 to {last}")));
        }
        Ok(EntityId::attachment_of(self.ticket, number))
    }

    /// # Errors
    /// Where nobody began to bring it.
    fn found(&self, number: u8) -> Result<(EntityId, Attachment), Problem> {
        let id = self.attachment(number)?;
        let state: Attachment = self.journal.state(id)?;
        if state.count == 0 {
            return Err(Problem::missing(format_args!("attachment {number} of this ticket")));
        }
        Ok((id, state))
    }
}

/// What came with the messages of a ticket, with what opens it.
#[utoipa::path(get, path = "/v1/tickets/{id}/attachments", responses((status = 200, body = EnclosuresView)))]
pub async fn attachments(
    _operator: Operator,
    request: HttpRequest,
    ticket: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<web::Json<EnclosuresView>, Problem> {
    let Partaker { ticket, journal, .. } = Partaker::new(&request, &shared, &ticket).await?;
    let (mut attachments, mut version) = (Vec::new(), 0);
    loop {
        let page = journal.history_page(ticket, version, PAGE_STEPS)?;
        let Some(last) = page.last() else { break };
        version = last.version + last.record.events.len() as u64;
        let events = page.iter().flat_map(|entry| &entry.record.events);
        for event in events.filter_map(|bytes| minicbor::decode(bytes).ok()) {
            if let ticket::Event::Noted(ticket::Note { enclosure: Some(enclosure), .. }) = event {
                attachments.push(EnclosureView::of(&enclosure));
            }
        }
    }
    Ok(web::Json(EnclosuresView { attachments }))
}

/// How far an attachment came.
#[utoipa::path(get, path = "/v1/tickets/{id}/attachments/{number}", security(("operator" = []), ("device" = [])), responses((status = 200, body = AttachmentView)))]
pub async fn show(
    request: HttpRequest,
    path: web::Path<(String, u8)>,
    shared: web::Data<Shared>,
) -> Result<web::Json<AttachmentView>, Problem> {
    let (ticket, number) = path.into_inner();
    let (_, found) = Partaker::new(&request, &shared, &ticket).await?.found(number)?;
    let Attachment { by, of, count, bytes, .. } = found;
    Ok(web::Json(AttachmentView { by, of, count, bytes }))
}

fn upload_id(text: &str) -> Result<[u8; 16], Problem> {
    let wrong = || Problem::invalid("upload has 32 hexadecimal digits");
    let number = u128::from_str_radix(text, 16).map_err(|_| wrong())?;
    if text.len() == 32 { Ok(number.to_be_bytes()) } else { Err(wrong()) }
}

/// Takes the next sealed piece; one that is here already changes nothing.
#[utoipa::path(put, path = "/v1/tickets/{id}/attachments/{number}/pieces/{index}", security(("operator" = []), ("device" = [])), params(UploadQuery), request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses((status = 200, body = StoredView)))]
pub async fn store(
    request: HttpRequest,
    path: web::Path<(String, u8, u16)>,
    query: web::Query<UploadQuery>,
    body: web::Bytes,
    shared: web::Data<Shared>,
) -> Result<web::Json<StoredView>, Problem> {
    let (ticket, number, index) = path.into_inner();
    let upload = upload_id(&query.upload)?;
    let partaker = Partaker::new(&request, &shared, &ticket).await?;
    let id = partaker.attachment(number)?;
    let Partaker { name: by, state, journal, id: sender, .. } = partaker;
    if shared.node.known.known().level() < TRIGGERS {
        let text =
            "a node runs an older release and does not know of attachments: upgrade it first";
        return Err(Problem::busy(text));
    }
    let customer = state.customer.filter(|_| !state.stage.is_final());
    let customer = customer.ok_or_else(|| {
        let text = "the ticket has ended and nothing is attached to it any more: reopen it first";
        Problem::new(StatusCode::CONFLICT, "refused", text)
    })?;
    may(&shared.uploads, sender, shared.node.clock.now_ms())?;
    let piece = body.to_vec().into();
    let store = attachment::Command::Store { by, upload, index, of: query.of, piece, customer };
    match shared.node.ask(id, Command::Attachment(store)).await {
        Ok(_) => {}
        Err(AskError::Rejected(rejection)) if rejection.code == RejectionCode::Exists => {
            return Err(Problem::new(StatusCode::CONFLICT, "taken", rejection));
        }
        Err(error) => return Err(error.into()),
    }
    // What was here already tells where to go on; the replica here may not have this piece yet.
    let here: Attachment = journal.state(id)?;
    Ok(web::Json(StoredView { count: here.count.max(index.saturating_add(1)) }))
}

/// A sealed piece.
#[utoipa::path(get, path = "/v1/tickets/{id}/attachments/{number}/pieces/{index}", security(("operator" = []), ("device" = [])), responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
pub async fn piece(
    request: HttpRequest,
    path: web::Path<(String, u8, u16)>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let (ticket, number, index) = path.into_inner();
    let partaker = Partaker::new(&request, &shared, &ticket).await?;
    let (id, found) = partaker.found(number)?;
    let missing = || Problem::missing(format_args!("piece {index} of attachment {number}"));
    let version = found.version_of(index).ok_or_else(missing)?;
    let steps = partaker.journal.history_page(id, version, 1)?;
    let event = steps.first().and_then(|step| step.record.events.first()).ok_or_else(missing)?;
    let attachment::Event::Stored { piece, .. } = minicbor::decode(event).map_err(|_| missing())?;
    Ok(HttpResponse::Ok().content_type("application/octet-stream").body(piece.to_vec()))
}
