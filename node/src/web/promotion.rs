//! What an operator asks of the nodes of other regions when all nodes of one are lost.
//!
//! First each node freezes what it holds of the lost region; then the cluster's record says that the nodes
//! are gone and a new one begins in their place; then what was frozen is fetched (`web::backup`). The new node
//! has the region's keys from a backup: they were never here. What counts is how the groups are and not how the record
//! has them, which may be ahead of them: a group goes on without its region where a leader elsewhere says that a majority
//! follows it, and a copy may be on any node.
//!
//! **Invariants:** a region of which any node answers is not promoted, nor is one of which some groups go on elsewhere
//! and others do not. **Not here:** making groups of copies (`backup::promotion`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use std::{collections::BTreeSet, time::Duration};

use actix_web::{HttpResponse, http::StatusCode, web};
use fieldmesh_domain::{
    EntityId, Region,
    placement::{self, Home, Member, Members, PLACEMENT, Policy, Presence},
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use utoipa::{IntoParams, ToSchema};

use super::{
    Shared,
    backup::Hold,
    cluster::{NewMember, PolicyView, ask, member, refused, same},
    operator::{Operator, ShownOperator},
    problem::Problem,
};
use crate::{
    backup::{HolderError, cut::Edges},
    consensus::{Group, freeze::NotHeld, replicas::Replicas, standby::StandbyCopy},
    store::rows,
};

/// Nodes of other regions stand only where nobody at home did, which is some seconds; and an election may fail. An
/// operator waits longer for the answer.
const ELECTED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Why an earlier release cannot be asked for a region that others vote for by its policy.
const EARLIER: &str = "the node that was asked runs an earlier release, which does not say whether others vote: upgrade \
                       it, or give --operator for a node of this release";

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/promotion/copies", web::post().to(copies))
        .route("/promotion/holdings", web::post().to(holdings))
        .route("/promotion/record", web::get().to(record))
        .route("/promotion/position", web::get().to(position))
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
    /// Groups that nodes of other regions go on with, as one that leads there says. Earlier releases say nothing.
    #[serde(default)]
    pub decided: Option<Vec<u32>>,
}

impl LostView {
    /// Whether nodes of other regions go on with all groups of the region, whatever its policy: nothing is lost then.
    ///
    /// # Errors
    /// Where that is not known, or is so of some groups alone: the others cannot begin again from copies beside them.
    pub fn goes_on(&self) -> Result<bool, String> {
        let Some(decided) = &self.decided else {
            // By no other policy would it be so.
            let is_unknown = self.policy.policy == "region";
            return if is_unknown { Err(EARLIER.to_owned()) } else { Ok(false) };
        };
        match self.groups.iter().find(|one| !decided.contains(&one.group)) {
            None => Ok(true),
            Some(_) if decided.is_empty() => Ok(false),
            Some(HolderView { group, .. }) => Err(format!(
                "group {group} of the region is led by nobody outside it, and others of its groups are: start the nodes \
                 of other regions that are down, or one of the region, and try again"
            )),
        }
    }
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
    /// Whether nodes of other regions are enough to decide, by the last configuration that came here: they may go on
    /// with the group by themselves.
    #[serde(default)]
    pub others_decide: bool,
}

/// The copies that are frozen now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CopiesView {
    pub copies: Vec<CopyView>,
}

/// Where a node's log of the cluster's record ends, committed or not. The later one has more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct PositionView {
    pub term: u64,
    pub index: u64,
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

/// Whether some nodes are a majority of those who vote.
fn are_enough<'a>(voters: impl IntoIterator<Item = &'a u64>, nodes: &[u64]) -> bool {
    let (there, away): (Vec<u64>, Vec<u64>) =
        voters.into_iter().copied().partition(|voter| nodes.contains(voter));
    there.len() > away.len()
}

/// Whether some nodes can decide by a configuration: while voters change, a majority before and behind that.
fn can_decide(replicas: &Replicas, nodes: &[u64]) -> bool {
    let halves = &replicas.halves;
    !halves.is_empty() && halves.iter().all(|half| are_enough(half, nodes))
}

/// The groups that nodes of other regions go on with. Who is to be among them is waited for, while one is elected.
async fn decided(shared: &Shared, home: &Home, abroad: &[u64], is_awaited: bool) -> Vec<u32> {
    let (until, all) = (Instant::now() + ELECTED_WITHIN, home.groups().count());
    loop {
        let looks = home.groups().map(|group| async move {
            let seen = shared.node.courier.look_among(group, abroad).await?;
            (seen.is_settled && are_enough(&seen.voters, abroad)).then_some(group)
        });
        let found: Vec<u32> = join_all(looks).await.into_iter().flatten().collect();
        // Where some are led already, the others may be about to be.
        let is_open = found.len() < all && (is_awaited || !found.is_empty());
        if !is_open || Instant::now() >= until {
            return found;
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn view(shared: &Shared, home: &Home, known: &Members, is_awaited: bool) -> LostView {
    let living = known.members.iter().filter(|one| one.presence != Presence::Gone);
    let own = living.filter(|one| one.region() == home.region).map(|one| one.number);
    let courier = &shared.node.courier;
    let asked = own.map(|number| async move { (number, courier.is_heard(number).await) });
    let heard = join_all(asked).await.into_iter().filter(|(_, answers)| *answers);
    let alive: Vec<u64> = heard.map(|(number, _)| number).collect();
    let others: Vec<u64> = abroad(known, home.region).map(|one| one.number).collect();
    let decided = match alive.first() {
        None => decided(shared, home, &others, is_awaited).await,
        // It is refused anyway.
        Some(_) => Vec::new(),
    };
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
        decided: Some(decided),
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
    let is_awaited = matches!(home.policy, Policy::Region(..));
    Ok(web::Json(view(&shared, &home, &known, is_awaited).await))
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
    // Whoever asks has waited for an election before.
    let view = view(&shared, &home, &known, false).await;
    if let Some(number) = view.alive.first() {
        let text = format_args!(
            "node {number} of region {region} answers: a region that lives is not promoted"
        );
        return Err(refused(text));
    }
    view.goes_on().map_err(refused)?;
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

/// How much of the cluster's record is here, also where nobody leads it.
#[utoipa::path(get, path = "/v1/promotion/position", responses((status = 200, body = PositionView)))]
pub async fn position(
    _operator: ShownOperator,
    shared: web::Data<Shared>,
) -> Result<web::Json<PositionView>, Problem> {
    let running = shared.node.groups();
    let placement = running.iter().find(|group| group.group == PLACEMENT);
    let last = placement.and_then(Group::last);
    let last = last.ok_or_else(|| Problem::busy("the cluster's record is not here"))?;
    Ok(web::Json(PositionView { term: last.leader_id.term, index: last.index }))
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
    let text = "nobody leads the placement group: its last word is not known here; where its majority was lost with a \
                region, `fieldmesh recover` comes first";
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

/// Whether nodes of other regions can decide a group, by the last configuration of it that came here.
fn others_decide(group: &Group, known: &Members) -> bool {
    let region = known.home_of(group.group).map(|home| home.region);
    region.is_some_and(|region| {
        let others: Vec<u64> = abroad(known, region).map(|one| one.number).collect();
        can_decide(&group.replicas(), &others)
    })
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
    let known = shared.node.known.known();
    let mut copies: Vec<(StandbyCopy, bool)> = Vec::with_capacity(groups.len());
    for number in groups {
        let is_it = |group: &&Group| group.group == number && !shared.node.known.is_own(number);
        let copy = match running.iter().find(is_it) {
            Some(group) => {
                let copy = group.standby_copy().await;
                copy.map(|copy| (copy, others_decide(group, &known)))
            }
            None => Err(NotHeld::Empty { group: number }),
        };
        match copy {
            Ok(copy) => copies.push(copy),
            Err(NotHeld::Empty { .. }) if lacking == Lacking::LeftOut => {}
            Err(error) => return Err(HolderError::from(error).into()),
        }
    }
    tracing::info!(by = operator.name, groups = copies.len(), "copies are frozen");
    let states: Vec<_> = copies.iter().map(|(copy, _)| copy.frozen.clone()).collect();
    // Who has nothing of it is asked too, and its backups need not wait for that.
    if !states.is_empty() {
        shared.holder.keep(&id, states)?;
    }
    let view = copies.iter().map(|(copy, others_decide)| CopyView {
        group: copy.frozen.group,
        index: copy.frozen.index,
        applied_term: copy.frozen.term,
        term: copy.term,
        last: copy.last,
        missing: copy.missing,
        heard_ms: copy.silent.map(|silent| {
            now_ms.saturating_sub(u64::try_from(silent.as_millis()).unwrap_or(u64::MAX))
        }),
        others_decide: *others_decide,
    });
    Ok(web::Json(CopiesView { copies: view.collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(policy: &str, decided: Option<&[u32]>) -> LostView {
        let holder = |group| HolderView { group, nodes: Vec::new(), others: Vec::new() };
        LostView {
            cluster: "one".into(),
            shards: 2,
            policy: PolicyView { policy: policy.into(), regions: Vec::new() },
            alive: Vec::new(),
            groups: [2049, 2050, 3072].map(holder).into(),
            decided: decided.map(Into::into),
        }
    }

    /// What the policy says may be ahead of who votes, or behind it.
    #[test]
    fn a_region_goes_on_elsewhere_where_all_its_groups_are_led_there() {
        for policy in ["zone", "standby", "region"] {
            let goes_on = |decided: &[u32]| lost(policy, Some(decided)).goes_on();
            assert_eq!(goes_on(&[3072, 2049, 2050]), Ok(true), "{policy}");
            assert_eq!(goes_on(&[]), Ok(false), "{policy}: nobody came to vote");
            let refused = goes_on(&[2049, 3072]).err().unwrap_or_default();
            assert!(refused.starts_with("group 2050 "), "{policy}: {refused}");
        }
    }

    #[test]
    fn an_earlier_release_is_asked_only_where_others_do_not_vote() {
        assert_eq!(lost("standby", None).goes_on(), Ok(false));
        assert_eq!(lost("zone", None).goes_on(), Ok(false));
        assert_eq!(lost("region", None).goes_on(), Err(EARLIER.to_owned()));
        let before = r#"{ "cluster": "one", "shards": 2, "policy": { "policy": "zone" }, "alive": [], "groups": [] }"#;
        let read = serde_json::from_str::<LostView>(before).map(|lost| lost.decided);
        assert!(matches!(read, Ok(None)), "{read:?}");
    }

    #[test]
    fn others_decide_where_they_are_a_majority_of_each_half() {
        let others = [1, 2, 15];
        let decide = |halves: &[&[u64]]| {
            let halves = halves.iter().map(|half| half.iter().copied().collect()).collect();
            can_decide(&Replicas { halves, ..Replicas::default() }, &others)
        };
        assert!(decide(&[&[1, 2, 11, 12, 15]]));
        assert!(!decide(&[&[11]]), "who only follows decides nothing");
        assert!(!decide(&[&[1, 2, 11, 12]]), "half of them are no majority");
        assert!(!decide(&[&[11], &[1, 11, 15]]), "the half of before must agree, too");
        assert!(decide(&[&[1, 11, 15], &[1, 2, 11, 12, 15]]));
        assert!(!decide(&[]), "nothing came here");
    }
}
