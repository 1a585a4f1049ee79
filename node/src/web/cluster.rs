//! The cluster for operators, and for nodes that join it.
//!
//! Each change is a command to the placement group; the groups' leaders then make it so (`replicas`).
//! **Invariant:** the region's secrets leave this node only for one that shows a certificate of this
//! region's for a node, that was let in by an operator's token and is a member by then. **Not here:** what
//! may change (`domain::placement`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use std::{collections::BTreeSet, fmt, mem};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use fieldmesh_domain::{
    Command, EntityId, Region,
    placement::{self, AUTHORITY, Home, Member, PLACEMENT, Phase, Placed, Policy, Presence, Role},
    time::Millis,
};
use fieldmesh_pki::{Identity, Kind};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared,
    areas::{self, BoxView},
    est,
    operator::{Operator, holder, shown},
    problem::Problem,
    slots::{self, SlotView},
};
use crate::{courier::wire::Seen, deployment::Welcome, store::rows};

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/cluster", web::get().to(status))
        .route("/cluster/members", web::post().to(join))
        .route("/cluster/members/check", web::post().to(est::entry::may_join))
        .route("/cluster/regions", web::post().to(found))
        .route("/cluster/members/{number}/drain", web::post().to(drain))
        .route("/cluster/members/{number}/resume", web::post().to(resume))
        .route("/cluster/members/{number}/leave", web::post().to(leave))
        .route("/cluster/groups/{group}", web::put().to(assign))
        .route("/cluster/regions/{region}/policy", web::put().to(policy));
}

/// A node that is to join: with its certificate in TLS.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    pub number: u64,
    pub cluster: String,
    pub region: String,
    /// Of its region, as its configuration has them.
    pub shards: u32,
    /// `ADDRESS:PORT` for other nodes, devices and HTTPS.
    pub mesh: String,
    pub devices: String,
    pub https: String,
}

/// A node.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MemberView {
    pub number: u64,
    pub region: String,
    /// active, draining, leaving or gone.
    pub presence: String,
    /// What its program understands of what others write.
    #[serde(default)]
    pub level: u32,
    pub mesh: String,
    pub devices: String,
    pub https: String,
    /// Unix milliseconds.
    pub since: u64,
    pub registration: String,
}

/// A Raft group.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GroupView {
    pub group: u32,
    /// placement, authority or shard.
    pub kind: String,
    /// Whose data it has; none of the placement group, which is everybody's.
    #[serde(default)]
    pub region: Option<String>,
    /// None: nobody leads, or nobody who does can be asked.
    pub leader: Option<u64>,
    /// Who is to lead, once it can.
    pub preferred: Option<u64>,
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    /// Whether its members are those that are wanted.
    pub settled: bool,
    pub wanted_voters: Vec<u64>,
    pub wanted_learners: Vec<u64>,
    /// An operator chose its voters.
    pub pinned: bool,
    /// Last entry that a replica has applied when it has all there is.
    pub applied: u64,
    /// Entries that others are behind, by node.
    pub behind: Vec<(u64, u64)>,
    /// Nodes that have to be there, and to have caught up, before its members become those that are wanted. Where
    /// nobody leads for want of them, only the node says so that led last.
    #[serde(default)]
    pub awaited: Vec<u64>,
}

/// A region.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RegionView {
    pub region: String,
    pub shards: u32,
    pub policy: PolicyView,
    /// Those that are not, or not only, where the remainder puts them.
    #[serde(default)]
    pub slots: Vec<SlotView>,
    /// Where its people live; empty where nobody says so.
    #[serde(default)]
    pub areas: Vec<BoxView>,
}

/// Where a region's data are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyView {
    /// zone: at home alone; standby: a copy of each group is in another region; region: two other regions
    /// vote too.
    pub policy: String,
    /// The other regions: none, one or two.
    #[serde(default)]
    pub regions: Vec<String>,
}

impl fmt::Display for PolicyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.policy)?;
        self.regions.iter().try_for_each(|region| write!(f, " {region}"))
    }
}

impl From<Policy> for PolicyView {
    fn from(policy: Policy) -> Self {
        let name = match policy {
            Policy::Zone => "zone",
            Policy::Standby(_) => "standby",
            Policy::Region(..) => "region",
        };
        let regions = policy.abroad().map(|region| region.to_string()).collect();
        Self { policy: name.to_owned(), regions }
    }
}

impl TryFrom<&PolicyView> for Policy {
    type Error = Problem;

    fn try_from(view: &PolicyView) -> Result<Self, Problem> {
        let region = |text: &String| {
            text.parse::<Region>()
                .map_err(|error| Problem::invalid(format_args!("{text}: {error}")))
        };
        let regions: Vec<Region> = view.regions.iter().map(region).collect::<Result<_, _>>()?;
        match (view.policy.as_str(), regions.as_slice()) {
            ("zone", []) => Ok(Self::Zone),
            ("standby", [one]) => Ok(Self::Standby(*one)),
            ("region", [one, other]) => Ok(Self::Region(*one, *other)),
            _ => Err(Problem::invalid(
                "a policy is \"zone\", \"standby\" with one other region or \"region\" with two",
            )),
        }
    }
}

/// The cluster as this node and the groups' leaders see it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ClusterView {
    /// The node that was asked.
    pub node: u64,
    /// Of the placement group's record.
    pub epoch: u64,
    pub members: Vec<MemberView>,
    #[serde(default)]
    pub regions: Vec<RegionView>,
    pub groups: Vec<GroupView>,
    /// Whether every group has the members that it is to have, and a leader.
    pub settled: bool,
}

/// Who is to vote in a group.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    pub voters: Vec<u64>,
}

fn presence_name(presence: Presence) -> &'static str {
    match presence {
        Presence::Active => "active",
        Presence::Draining => "draining",
        Presence::Leaving => "leaving",
        Presence::Gone => "gone",
        Presence::Away => "away",
    }
}

fn kind_of(group: u32) -> &'static str {
    match group % placement::GROUPS_PER_REGION {
        _ if group == PLACEMENT => "placement",
        AUTHORITY => "authority",
        _ => "shard",
    }
}

fn member_view(member: &Member) -> MemberView {
    MemberView {
        number: member.number,
        region: member.identity.region().to_string(),
        presence: presence_name(member.presence).to_owned(),
        level: member.level,
        mesh: member.mesh.clone(),
        devices: member.devices.clone(),
        https: member.https.clone(),
        since: member.since.0,
        registration: member.identity.to_string(),
    }
}

fn region_view(home: &Home) -> RegionView {
    let (region, shards) = (home.region.to_string(), home.shards);
    let (slots, areas) = (slots::views(home), areas::views(home));
    RegionView { region, shards, policy: home.policy.into(), slots, areas }
}

async fn group_view(shared: &Shared, placed: &Placed) -> GroupView {
    let seen = shared.node.courier.look(placed.group).await;
    let (leader, seen) = match seen {
        Some((leader, seen)) => (Some(leader), seen),
        None => (None, Seen::default()),
    };
    let settled = leader.is_some()
        && seen.is_settled
        && seen.voters == placed.voters
        && seen.learners == placed.learners;
    let known = shared.node.known.known();
    GroupView {
        group: placed.group,
        kind: kind_of(placed.group).to_owned(),
        region: known.home_of(placed.group).map(|home| home.region.to_string()),
        leader,
        preferred: known.preferred(placed.group),
        voters: seen.voters,
        learners: seen.learners,
        settled,
        wanted_voters: placed.voters.clone(),
        wanted_learners: placed.learners.clone(),
        pinned: placed.pinned,
        applied: seen.committed,
        behind: seen.behind,
        awaited: seen.awaited.unwrap_or_else(|| shared.node.courier.awaited(placed.group)),
    }
}

pub(super) async fn view(shared: &Shared) -> ClusterView {
    let known = shared.node.known.known();
    // Together: one whose leader is dead is waited for, and not once for each of its groups.
    let groups = join_all(known.groups.iter().map(|placed| group_view(shared, placed))).await;
    ClusterView {
        node: shared.node.number,
        epoch: known.epoch,
        members: known.members.iter().map(member_view).collect(),
        regions: known.homes.iter().map(region_view).collect(),
        settled: groups.iter().all(|group| group.settled),
        groups,
    }
}

/// Nodes and groups.
#[utoipa::path(get, path = "/v1/cluster", responses((status = 200, body = ClusterView)))]
pub async fn status(_operator: Operator, shared: web::Data<Shared>) -> web::Json<ClusterView> {
    web::Json(view(&shared).await)
}

pub(super) async fn ask(shared: &Shared, command: placement::Command) -> Result<(), Problem> {
    shared.node.ask(EntityId::placement(), Command::Placement(command)).await?;
    Ok(())
}

/// The node leads nothing from now on; what it stores stays.
#[utoipa::path(post, path = "/v1/cluster/members/{number}/drain", responses((status = 200, body = ClusterView)))]
pub async fn drain(
    operator: Operator,
    number: web::Path<u64>,
    shared: web::Data<Shared>,
) -> Result<web::Json<ClusterView>, Problem> {
    let (number, by) = (number.into_inner(), operator.name);
    ask(&shared, placement::Command::Drain { number, by }).await?;
    Ok(web::Json(view(&shared).await))
}

/// The node may lead again.
#[utoipa::path(post, path = "/v1/cluster/members/{number}/resume", responses((status = 200, body = ClusterView)))]
pub async fn resume(
    operator: Operator,
    number: web::Path<u64>,
    shared: web::Data<Shared>,
) -> Result<web::Json<ClusterView>, Problem> {
    let (number, by) = (number.into_inner(), operator.name);
    ask(&shared, placement::Command::Resume { number, by }).await?;
    Ok(web::Json(view(&shared).await))
}

/// Those of some nodes that do not answer.
async fn silent(shared: &Shared, nodes: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let (me, courier) = (shared.node.number, &shared.node.courier);
    let heard = nodes
        .into_iter()
        .map(|node| async move { (node, node == me || courier.is_heard(node).await) });
    let heard = join_all(heard).await.into_iter();
    heard.filter(|(_, is_heard)| !is_heard).map(|(node, _)| node).collect()
}

/// Refuses to leave groups to nodes of which most do not answer: without a majority a group writes nothing, and
/// cannot be changed back.
async fn would_stand(shared: &Shared, left: &[u64]) -> Result<(), Problem> {
    let silent = silent(shared, left.iter().copied()).await;
    if silent.is_empty() || 2 * silent.len() < left.len() {
        return Ok(());
    }
    Err(refused(format_args!(
        "of nodes {left:?}, which are to be left, {silent:?} do not answer, so that groups would have no majority: \
         start those first, or remove them and not this one"
    )))
}

/// Refuses voters whom groups would wait for: nobody could tell that from a change that is under way.
async fn would_come_to_be(shared: &Shared, planned: &[Placed]) -> Result<(), Problem> {
    let voters: BTreeSet<u64> = planned.iter().flat_map(|group| group.voters.clone()).collect();
    let silent = silent(shared, voters).await;
    let known = shared.node.known.known();
    let awaited = |group: &Placed| awaited(group, known.placed(group.group), &silent);
    let awaited: BTreeSet<u64> = planned.iter().flat_map(awaited).collect();
    let awaited = Vec::from_iter(awaited);
    if awaited.is_empty() {
        return Ok(());
    }
    Err(refused(format_args!(
        "nodes {awaited:?} are to vote and do not answer, so that groups would wait for them and not change: start \
         those first, or take them out with `fieldmesh cluster remove`"
    )))
}

/// The nodes without which a group does not get the voters that are planned: they are there before they vote, and
/// most of all voters agree.
fn awaited(planned: &Placed, now: Option<&Placed>, silent: &[u64]) -> Vec<u64> {
    let votes = now.map_or(&[][..], |now| &now.voters[..]);
    if planned.voters == votes {
        return Vec::new();
    }
    let away = planned.voters.iter().copied().filter(|node| silent.contains(node));
    let is_minority = 2 * away.clone().count() < planned.voters.len();
    away.filter(|node| !is_minority || !votes.contains(node)).collect()
}

/// The node is taken out of every group, and then out of the cluster for good.
#[utoipa::path(post, path = "/v1/cluster/members/{number}/leave", responses((status = 200, body = ClusterView)))]
pub async fn leave(
    operator: Operator,
    number: web::Path<u64>,
    shared: web::Data<Shared>,
) -> Result<web::Json<ClusterView>, Problem> {
    let (number, by) = (number.into_inner(), operator.name);
    let known = shared.node.known.known();
    // One that leaves already goes on doing so, whoever repeats the command.
    let stays = |member: &&Member| !matches!(member.presence, Presence::Leaving | Presence::Gone);
    let region = known.member(number).filter(stays).map(Member::region);
    let others = known.members.iter().filter(|other| {
        matches!(other.presence, Presence::Active | Presence::Draining)
            && other.number != number
            && Some(other.region()) == region
    });
    would_stand(&shared, &others.map(|other| other.number).collect::<Vec<_>>()).await?;
    ask(&shared, placement::Command::Leave { number, by }).await?;
    Ok(web::Json(view(&shared).await))
}

/// Who votes in a group is the operator's choice from now on.
#[utoipa::path(put, path = "/v1/cluster/groups/{group}", request_body = Assignment, responses((status = 200, body = ClusterView)))]
pub async fn assign(
    operator: Operator,
    group: web::Path<u32>,
    body: web::Json<Assignment>,
    shared: web::Data<Shared>,
) -> Result<web::Json<ClusterView>, Problem> {
    let (group, by, voters) = (group.into_inner(), operator.name, body.into_inner().voters);
    let known = shared.node.known.known();
    // Of others it is said below what is wrong with them.
    let is_there =
        |voter: &u64| known.member(*voter).is_some_and(|member| member.presence != Presence::Gone);
    would_stand(&shared, &voters.iter().copied().filter(is_there).collect::<Vec<_>>()).await?;
    ask(&shared, placement::Command::Assign { group, voters, by }).await?;
    Ok(web::Json(view(&shared).await))
}

/// Where a region's data are to be from now on.
#[utoipa::path(put, path = "/v1/cluster/regions/{region}/policy", request_body = PolicyView, responses((status = 200, body = ClusterView)))]
pub async fn policy(
    operator: Operator,
    region: web::Path<String>,
    body: web::Json<PolicyView>,
    shared: web::Data<Shared>,
) -> Result<web::Json<ClusterView>, Problem> {
    let region = region.parse().map_err(Problem::invalid)?;
    let (policy, by) = (Policy::try_from(&*body)?, operator.name);
    would_come_to_be(&shared, &shared.node.known.known().moved_by(region, policy)).await?;
    ask(&shared, placement::Command::SetPolicy { region, policy, by }).await?;
    Ok(web::Json(view(&shared).await))
}

/// A node becomes a member; it is answered with what it needs of the region (CBOR).
#[utoipa::path(post, path = "/v1/cluster/members", security(("node" = [])), request_body = NewMember, responses((status = 200, content_type = "application/cbor")))]
pub async fn join(
    request: HttpRequest,
    body: web::Json<NewMember>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let (certificate, identity) = holder(&request, Kind::Node).await?;
    let wanted = body.into_inner();
    check(&wanted, &certificate.identity)?;
    same("cluster.region", &wanted.region, &shared.node.region)?;
    // Before anything is changed.
    shared.rotation.keeper.lock().await.can_hand_over().map_err(refused)?;
    let (shards, by) = (wanted.shards, certificate.identity.to_string());
    let member = member(wanted, identity);
    let number = member.number;
    ask(&shared, placement::Command::Join { member, shards, by }).await?;
    let keeper = shared.rotation.keeper.lock().await;
    let given = keeper.hand_over((*shared.node.known.known()).clone()).map_err(refused)?;
    tracing::warn!(number, node = %identity, "a node joined and was given the region's keys");
    Ok(HttpResponse::Ok().content_type("application/cbor").body(mem::take(&mut *given.encode())))
}

/// A node becomes a member as the first of a new region, whose authority operators introduced; it is
/// answered with who is there (CBOR).
#[utoipa::path(post, path = "/v1/cluster/regions", security(("node" = [])), request_body = NewMember, responses((status = 200, content_type = "application/cbor")))]
pub async fn found(
    request: HttpRequest,
    body: web::Json<NewMember>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    // Nobody has a record of it: its region's authority begins with it.
    let (certificate, identity) = shown(&request, Kind::Node)?;
    let wanted = body.into_inner();
    check(&wanted, &certificate.identity)?;
    if wanted.region == shared.node.region {
        return Err(refused("the region is this one: join it with a token"));
    }
    let (shards, by) = (wanted.shards, certificate.identity.to_string());
    let (member, issuer) = (member(wanted, identity), certificate.issuer_hash);
    let number = member.number;
    ask(&shared, placement::Command::Found { member, shards, issuer, by }).await?;
    tracing::warn!(number, node = %identity, "a region was founded");
    let authorities = shared.node.trust.authorities().into_iter();
    let roots = authorities.filter(|ca| ca.role == Role::Root && ca.phase != Phase::Removed);
    let roots = roots.map(|root| root.certificate.into()).collect();
    let welcome = Welcome { roots, members: (*shared.node.known.known()).clone() };
    Ok(HttpResponse::Ok().content_type("application/cbor").body(rows::encode(&welcome)))
}

/// What a node says of itself must be what its certificate says.
pub(super) fn check(said: &NewMember, identity: &Identity) -> Result<(), Problem> {
    same("cluster.name", &said.cluster, &identity.cluster)?;
    same("cluster.region", &said.region, &identity.region)
}

pub(super) fn same(key: &str, said: &str, wanted: &str) -> Result<(), Problem> {
    if said == wanted {
        Ok(())
    } else {
        Err(refused(format_args!("{key} = {said:?} there, {wanted:?} here")))
    }
}

pub(super) fn member(wanted: NewMember, identity: EntityId) -> Member {
    let NewMember { number, mesh, devices, https, .. } = wanted;
    // What it understands it says itself when it starts.
    let (presence, since, level) = (Presence::Active, Millis(0), 0);
    Member { number, identity, mesh, devices, https, presence, since, level }
}

pub(super) fn refused(error: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::CONFLICT, "refused", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(voters: &[u64]) -> Placed {
        Placed { group: 1, voters: voters.to_vec(), learners: Vec::new(), pinned: false }
    }

    #[test]
    fn a_group_waits_for_new_voters_and_for_a_majority() {
        let awaited = |planned: &[u64], now: &[u64], silent: &[u64]| {
            super::awaited(&placed(planned), Some(&placed(now)), silent)
        };
        assert!(awaited(&[1, 11, 15], &[11], &[]).is_empty());
        assert_eq!(awaited(&[1, 11, 15], &[11], &[15]), [15], "it has to be there first");
        assert_eq!(awaited(&[1, 2, 11, 12, 15], &[11, 12, 13], &[12, 15]), [15]);
        assert_eq!(awaited(&[1, 2, 11], &[11, 1, 3], &[1, 11]), [1, 11], "most are not there");
        assert!(awaited(&[11], &[1, 11, 15], &[15]).is_empty(), "who leaves need not be there");
        assert!(awaited(&[11], &[11], &[11]).is_empty(), "nothing changes");
    }
}
