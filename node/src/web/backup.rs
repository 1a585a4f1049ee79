//! What an operator's backup asks of each node: hold groups, let them go, give their rows.
//!
//! The rows are what is on this node's disk: payloads are encrypted under keys that do not leave by this
//! way. **Not here:** the secrets, which whoever takes the backup has from the node's own directory by its
//! passphrase; freezing (`backup::Holder`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Shared, operator::Operator, problem::Problem};
use crate::{backup::HolderError, consensus::Group};

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/backup/hold", web::post().to(hold))
        .route("/backup/release", web::post().to(release))
        .route("/backup/rows", web::get().to(rows))
        .route("/backup/end", web::post().to(end));
}

/// Groups that this node leads, to be held still for a moment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Of the backup, chosen by who takes it.
    pub id: String,
    pub groups: Vec<u32>,
}

/// A backup.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OfBackup {
    pub id: String,
}

/// A group that is held, and frozen at its last entry.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FrozenView {
    pub group: u32,
    pub term: u64,
    pub index: u64,
}

/// The groups that are held now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HeldView {
    pub groups: Vec<FrozenView>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct RowsQuery {
    id: String,
    group: u32,
    /// Rows behind this key, in hexadecimal; from the first on without it.
    #[serde(default)]
    behind: String,
}

impl From<HolderError> for Problem {
    fn from(error: HolderError) -> Self {
        match error {
            HolderError::Store(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", error),
            HolderError::Busy | HolderError::Gone | HolderError::NotHeld(_) => {
                Self::new(StatusCode::CONFLICT, "not-held", error)
            }
        }
    }
}

/// Holds groups that this node leads: for three seconds at most they take nothing.
#[utoipa::path(post, path = "/v1/backup/hold", request_body = Hold, responses((status = 200, body = HeldView)))]
pub async fn hold(
    operator: Operator,
    body: web::Json<Hold>,
    shared: web::Data<Shared>,
) -> Result<web::Json<HeldView>, Problem> {
    let Hold { id, groups } = body.into_inner();
    let running = shared.node.groups();
    let mut wanted: Vec<Group> = Vec::with_capacity(groups.len());
    for number in groups {
        let led = running.iter().find(|group| group.group == number);
        let led = led.filter(|group| group.leading().borrow().is_some());
        let not_here = || {
            let text = format_args!("this node does not lead group {number}");
            Problem::new(StatusCode::CONFLICT, "not-held", text)
        };
        wanted.push(led.cloned().ok_or_else(not_here)?);
    }
    tracing::info!(by = operator.name, groups = wanted.len(), "groups are held for a backup");
    let frozen = shared.holder.hold(&id, &wanted).await?;
    let view =
        frozen.iter().map(|one| FrozenView { group: one.group, term: one.term, index: one.index });
    Ok(web::Json(HeldView { groups: view.collect() }))
}

/// Lets the groups go once all are held everywhere.
#[utoipa::path(post, path = "/v1/backup/release", request_body = OfBackup, responses((status = 200, body = OfBackup)))]
pub async fn release(
    _operator: Operator,
    body: web::Json<OfBackup>,
    shared: web::Data<Shared>,
) -> Result<web::Json<OfBackup>, Problem> {
    shared.holder.release(&body.id).await?;
    Ok(body)
}

/// Rows of a frozen group, as a piece of a snapshot; one without rows behind the last.
#[utoipa::path(get, path = "/v1/backup/rows", params(RowsQuery), responses((status = 200, content_type = "application/cbor")))]
pub(super) async fn rows(
    _operator: Operator,
    query: web::Query<RowsQuery>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let RowsQuery { id, group, behind } = query.into_inner();
    let behind = unhex(&behind).ok_or_else(|| Problem::invalid("behind is not hexadecimal"))?;
    let piece = shared.holder.piece(&id, group, &behind).await?;
    Ok(HttpResponse::Ok().content_type("application/cbor").body(piece))
}

/// Nothing stays frozen.
#[utoipa::path(post, path = "/v1/backup/end", request_body = OfBackup, responses((status = 200, body = OfBackup)))]
pub async fn end(
    _operator: Operator,
    body: web::Json<OfBackup>,
    shared: web::Data<Shared>,
) -> Result<web::Json<OfBackup>, Problem> {
    shared.holder.end(&body.id).await;
    Ok(body)
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
