//! `/v1/chaos/positions`: where the log of a group has what entities did, for whoever compares it with what devices and
//! operators were told.
//!
//! **Invariant:** only identifiers and numbers; what was done is not told. **Not here:** which steps took effect
//! (`journal`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use actix_web::{HttpRequest, web};
use fieldmesh_actors::seams::JournalError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::refused;
use crate::{
    journal::{LoggedStep, LoggedSteps, ShardJournal},
    story::PositionStory,
    web::{Shared, est::hex, operator::Operator, problem::Problem},
};

/// Which part of which log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PositionsQuery {
    group: u32,
    /// Entries behind this one; all without it.
    #[serde(default)]
    after: u64,
}

/// A part of a group's log, as far as this node has it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PositionsView {
    /// The last entry that is applied here.
    pub applied: u64,
    /// The first entry that was looked at: what stands between this and the one that was asked for was purged.
    pub from: u64,
    /// The last one: more is behind it where it is before the last that is applied.
    pub until: u64,
    pub steps: Vec<StepView>,
}

/// What an entity did, where it took effect.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    pub term: u64,
    pub index: u64,
    pub entity: String,
    /// The entity's events before it.
    pub version: u64,
    pub events: u32,
    /// The device's message that it is an answer to, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What devices are told by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mail: Vec<MailView>,
}

/// A message for a device.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MailView {
    pub to: String,
    /// Its place in what the service tells the device.
    pub number: u64,
}

/// Where the log of a group has what entities did.
#[utoipa::path(get, path = "/v1/chaos/positions", params(PositionsQuery), responses((status = 200, body = PositionsView)))]
pub async fn positions(
    _operator: Operator,
    query: web::Query<PositionsQuery>,
    shared: web::Data<Shared>,
) -> Result<web::Json<PositionsView>, Problem> {
    shared.chaos.demand_allowed().map_err(refused)?;
    let PositionsQuery { group, after } = *query;
    let journal = shared.node.journal(group);
    let journal = journal
        .ok_or_else(|| Problem::missing(format_args!("replica of group {group} on this node")))?;
    let read = web::block(move || journal.steps_behind(after)).await;
    let read = read.map_err(|_| Problem::busy("the node is ending"))?;
    let LoggedSteps { applied, from, until, steps } = read?;
    let steps = steps.into_iter().map(view).collect();
    Ok(web::Json(PositionsView { applied, from, until, steps }))
}

/// What whoever reads says that it prefers (RFC 7240): the answer with its position. A node that does not know that
/// answers without.
pub const PREFERRED: (&str, &str) = ("Prefer", "position");

/// Where a replica is, for whoever prefers to be told.
///
/// # Errors
/// A failed read.
pub fn preferred(
    request: &HttpRequest,
    journal: &ShardJournal,
    node: u64,
) -> Result<Option<PositionStory>, JournalError> {
    let (name, value) = PREFERRED;
    if request.headers().get(name).is_none_or(|what| what != value) {
        return Ok(None);
    }
    let at = journal.position()?;
    let group = journal.group();
    Ok(at.map(|at| PositionStory { group, term: at.leader_id.term, index: at.index, node }))
}

fn view(step: LoggedStep) -> StepView {
    let LoggedStep { id, entity, version, events, message, mail } = step;
    let mail = mail.into_iter();
    StepView {
        term: id.leader_id.term,
        index: id.index,
        entity: entity.to_string(),
        version,
        events,
        message: message.map(|id| hex(&id)),
        mail: mail.map(|(to, number)| MailView { to: to.to_string(), number }).collect(),
    }
}
