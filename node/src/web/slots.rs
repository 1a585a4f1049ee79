//! `/v1/cluster/regions/{region}/slots`: which shard serves which slot.
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use actix_web::web;
use fieldmesh_domain::placement::{self, Home, Slot};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared,
    cluster::{ClusterView, ask, view},
    operator::Operator,
    problem::Problem,
};

pub fn routes(scope: &mut web::ServiceConfig) {
    scope.route("/cluster/regions/{region}/slots", web::put().to(move_slots));
}

/// Slots that are to be served by another shard.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SlotMoves {
    /// Of the 1024 that identifiers fall into, from 0.
    pub slots: Vec<u16>,
    /// The shard's group.
    pub to: u32,
}

/// A slot that is not, or not only, where the remainder puts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotView {
    pub slot: u16,
    /// The shard that serves it, by its group.
    pub shard: u32,
    /// The shard that it is on its way to.
    #[serde(default)]
    pub next: Option<u32>,
    /// The shard that served it before and has its rows yet.
    #[serde(default)]
    pub last: Option<u32>,
}

impl SlotView {
    pub(crate) fn is_moving(&self) -> bool {
        self.next.is_some() || self.last.is_some()
    }
}

/// Those of a region that were moved.
pub(super) fn views(home: &Home) -> Vec<SlotView> {
    let view = |slot: &Slot| {
        let Slot { slot, shard, next, last, .. } = *slot;
        SlotView { slot, shard, next, last }
    };
    home.slots.iter().map(view).collect()
}

/// Slots are to be served by another shard; they go one after the other, while requests go on.
#[utoipa::path(put, path = "/v1/cluster/regions/{region}/slots", request_body = SlotMoves, responses((status = 200, body = ClusterView)))]
pub async fn move_slots(
    operator: Operator,
    region: web::Path<String>,
    body: web::Json<SlotMoves>,
    shared: web::Data<Shared>,
) -> Result<web::Json<ClusterView>, Problem> {
    let region = region.parse().map_err(Problem::invalid)?;
    let (SlotMoves { slots, to }, by) = (body.into_inner(), operator.name);
    ask(&shared, placement::Command::MoveSlots { region, slots, to, by }).await?;
    Ok(web::Json(view(&shared).await))
}
