//! What an operator asks of the nodes of other regions when all nodes of one are lost.
//!
//! First each node freezes what it holds of the lost region; then the cluster's record says that the nodes
//! are gone and a new one begins in their place; then what was frozen is fetched (`web::backup`). The new node
//! has the region's keys from a backup: they were never here. **Invariant:** a region of which any node answers
//! is not promoted. **Not here:** making groups of copies (`backup::promotion`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use std::collections::BTreeSet;

use actix_web::{HttpResponse, http::StatusCode, web};
use fieldmesh_domain::{
    EntityId, Region,
    placement::{self, Home, Member, Members, PLACEMENT, Presence},
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Shared,
    backup::Hold,
    cluster::{NewMember, PolicyView, ask, member, refused, same},
    operator::Operator,
    problem::Problem,
};
use crate::{
    backup::{HolderError, cut::Edges},
    consensus::{freeze::NotHeld, standby::StandbyCopy},
    store::rows,
};

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/promotion/copies", web::post().to(copies))
        .route("/promotion/holdings", web::post().to(holdings))
        .route("/promotion/record", web::get().to(record))
        .route("/promotion/edges", web::get().to(edges))
        .route("/promotion/regions/{region}", web::get().to(lost))
        .route("/promotion/regions/{region}", web::post().to(promote));
}

/// What other regions hold of a region.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LostView {
    pub cluster: String,
    pub shards: u32,
    pub policy: PolicyView,
    /// Nodes of the region that answer: it is not lost.
    pub alive: Vec<u64>,
    /// Each group, with the nodes of other regions that hold it.
    pub groups: Vec<HolderView>,
}

/// Who is to hold a group of a lost region.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HolderView {
    pub group: u32,
    pub nodes: Vec<NodeView>,
    /// The other nodes outside the lost region. Whoever led the group may have been lost before it acted on what the
    /// record says last: one of them may still have it, and the one that is to hold it nothing yet, or a part.
    #[serde(default)]
    pub others: Vec<NodeView>,
}

/// A node as operators reach it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    pub number: u64,
    pub https: String,
}

/// The node that a lost region begins again with.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Successor {
    pub member: NewMember,
    /// Its registration, as its certificate will name it.
    pub registration: String,
}

/// A group as another region's last leader left it here.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CopyView {
    pub group: u32,
    /// The last entry whose effects are here.
    pub index: u64,
    /// The term of that entry.
    #[serde(default)]
    pub applied_term: u64,
    /// The last leader's term.
    pub term: u64,
    /// The last entry of the log, committed or not.
    pub last: u64,
    /// Entries that were committed and did not come, as far as the leader said so.
    pub missing: u64,
    /// Unix milliseconds at which the leader was heard last; none since this node was started.
    pub heard_ms: Option<u64>,
}

/// The copies that are frozen now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CopiesView {
    pub copies: Vec<CopyView>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct EdgesQuery {
    region: String,
}

fn region_of(shared: &Shared, text: &str) -> Result<(Home, std::sync::Arc<Members>), Problem> {
    let region: Region = text.parse().map_err(Problem::invalid)?;
    let known = shared.node.known.known();
    let home = known.home(region).cloned();
    let home = home.ok_or_else(|| Problem::missing(format_args!("region {region}")))?;
    if home.region == shared.node.known.own().region {
        return Err(refused(format_args!("this node is of region {region}: ask one of another")));
    }
    Ok((home, known))
}

/// The nodes outside a region that were not removed: what is anywhere of it is on one of them.
fn abroad(known: &Members, region: Region) -> impl Iterator<Item = &Member> {
    let living = known.members.iter().filter(|one| one.presence != Presence::Gone);
    living.filter(move |one| one.region() != region)
}

async fn view(shared: &Shared, home: &Home, known: &Members) -> LostView {
    let living = known.members.iter().filter(|one| one.presence != Presence::Gone);
    let own = living.filter(|one| one.region() == home.region).map(|one| one.number);
    let courier = &shared.node.courier;
    let asked = own.map(|number| async move { (number, courier.is_heard(number).await) });
    let heard = join_all(asked).await.into_iter().filter(|(_, answers)| *answers);
    let alive: Vec<u64> = heard.map(|(number, _)| number).collect();
    let holders = |group: u32| {
        let placed = known.placed(group);
        let holds = |number: u64| {
            placed.is_some_and(|one| one.voters.contains(&number) || one.learners.contains(&number))
        };
        let all = abroad(known, home.region);
        let all = all.map(|one| NodeView { number: one.number, https: one.https.clone() });
        let (nodes, others) = all.partition(|one: &NodeView| holds(one.number));
        HolderView { group, nodes, others }
    };
    LostView {
        cluster: shared.issuer.cluster().to_owned(),
        shards: home.shards,
        policy: home.policy.into(),
        alive,
        groups: home.groups().map(holders).collect(),
    }
}

/// What other regions hold of one, and whether it is lost.
#[utoipa::path(get, path = "/v1/promotion/regions/{region}", responses((status = 200, body = LostView)))]
pub async fn lost(
    _operator: Operator,
    region: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<web::Json<LostView>, Problem> {
    let (home, known) = region_of(&shared, &region)?;
    Ok(web::Json(view(&shared, &home, &known).await))
}

/// The nodes of a lost region are gone for good, and a new one begins in their place.
#[utoipa::path(post, path = "/v1/promotion/regions/{region}", request_body = Successor, responses((status = 200, body = LostView)))]
pub async fn promote(
    operator: Operator,
    region: web::Path<String>,
    body: web::Json<Successor>,
    shared: web::Data<Shared>,
) -> Result<web::Json<LostView>, Problem> {
    let (home, known) = region_of(&shared, &region)?;
    let Successor { member: wanted, registration } = body.into_inner();
    same("cluster.name", &wanted.cluster, shared.issuer.cluster())?;
    same("cluster.region", &wanted.region, &region)?;
    let identity: EntityId = registration.parse().map_err(Problem::invalid)?;
    let view = view(&shared, &home, &known).await;
    if let Some(number) = view.alive.first() {
        let text = format_args!(
            "node {number} of region {region} answers: a region that lives is not promoted"
        );
        return Err(refused(text));
    }
    let (shards, by) = (wanted.shards, operator.name);
    let member = member(wanted, identity);
    let number = member.number;
    ask(&shared, placement::Command::Restore { member, shards, by: by.clone() }).await?;
    tracing::warn!(number, region = %home.region, by, "a lost region begins again");
    Ok(web::Json(view))
}

/// The cluster's nodes, regions and groups (CBOR).
#[utoipa::path(get, path = "/v1/promotion/record", responses((status = 200, content_type = "application/cbor")))]
pub async fn record(
    _operator: Operator,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    latest(&shared).await?;
    let known = shared.node.known.known();
    Ok(HttpResponse::Ok().content_type("application/cbor").body(rows::encode(&*known)))
}

/// What the placement group told a region's groups and took from them (CBOR).
#[utoipa::path(get, path = "/v1/promotion/edges", params(EdgesQuery), responses((status = 200, content_type = "application/cbor")))]
pub(super) async fn edges(
    _operator: Operator,
    query: web::Query<EdgesQuery>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let (home, _) = region_of(&shared, &query.region)?;
    latest(&shared).await?;
    let running = shared.node.groups();
    let placement = running.iter().find(|group| group.group == PLACEMENT);
    let placement = placement.ok_or_else(|| Problem::busy("the cluster's record is not here"))?;
    let failed = |error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", error);
    let edges = Edges::of(PLACEMENT, &*placement.table()).map_err(failed)?;
    let groups: BTreeSet<u32> = home.groups().collect();
    let edges = rows::encode(&edges.towards(&groups));
    Ok(HttpResponse::Ok().content_type("application/cbor").body(edges))
}

/// What is told here is the cluster's last word.
async fn latest(shared: &Shared) -> Result<(), Problem> {
    let is_latest = shared.node.courier.catch_up_in_time(PLACEMENT).await;
    let text = "nobody leads the placement group: its last word is not known here";
    is_latest.then_some(()).ok_or_else(|| Problem::busy(text))
}

/// Freezes what is here of groups that other regions decide; one that is not here is refused.
#[utoipa::path(post, path = "/v1/promotion/copies", request_body = Hold, responses((status = 200, body = CopiesView)))]
pub async fn copies(
    operator: Operator,
    body: web::Json<Hold>,
    shared: web::Data<Shared>,
) -> Result<web::Json<CopiesView>, Problem> {
    freeze(operator, body.into_inner(), &shared, Lacking::Refused).await
}

/// The same of those that are here, in whatever state: one that is not is left out.
#[utoipa::path(post, path = "/v1/promotion/holdings", request_body = Hold, responses((status = 200, body = CopiesView)))]
pub async fn holdings(
    operator: Operator,
    body: web::Json<Hold>,
    shared: web::Data<Shared>,
) -> Result<web::Json<CopiesView>, Problem> {
    freeze(operator, body.into_inner(), &shared, Lacking::LeftOut).await
}

/// What becomes of a group that is not here, or of which nothing has come yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lacking {
    Refused,
    LeftOut,
}

async fn freeze(
    operator: Operator,
    hold: Hold,
    shared: &Shared,
    lacking: Lacking,
) -> Result<web::Json<CopiesView>, Problem> {
    let Hold { id, groups } = hold;
    // Whoever the record says is gone is shut out here too, before anything is frozen.
    latest(shared).await?;
    let (running, now_ms) = (shared.node.groups(), shared.node.clock.now_ms());
    let mut copies: Vec<StandbyCopy> = Vec::with_capacity(groups.len());
    for number in groups {
        let is_it = |group: &&crate::consensus::Group| {
            group.group == number && !shared.node.known.is_own(number)
        };
        let copy = match running.iter().find(is_it) {
            Some(group) => group.standby_copy().await,
            None => Err(NotHeld::Empty { group: number }),
        };
        match copy {
            Ok(copy) => copies.push(copy),
            Err(NotHeld::Empty { .. }) if lacking == Lacking::LeftOut => {}
            Err(error) => return Err(HolderError::from(error).into()),
        }
    }
    tracing::info!(by = operator.name, groups = copies.len(), "copies are frozen");
    let states: Vec<_> = copies.iter().map(|copy| copy.frozen.clone()).collect();
    // Who has nothing of it is asked too, and its backups need not wait for that.
    if !states.is_empty() {
        shared.holder.keep(&id, states)?;
    }
    let view = copies.iter().map(|copy| CopyView {
        group: copy.frozen.group,
        index: copy.frozen.index,
        applied_term: copy.frozen.term,
        term: copy.term,
        last: copy.last,
        missing: copy.missing,
        heard_ms: copy.silent.map(|silent| {
            now_ms.saturating_sub(u64::try_from(silent.as_millis()).unwrap_or(u64::MAX))
        }),
    });
    Ok(web::Json(CopiesView { copies: view.collect() }))
}
