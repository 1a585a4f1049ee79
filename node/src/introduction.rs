//! What a node says of itself to the cluster: who and where it is, and what it understands.
//!
//! **Invariant:** it is said again until the cluster knows just that, whatever was said before by an older program or
//! from another place. **Not here:** what the cluster makes of it (`domain::placement`).

use std::{convert::Infallible, sync::Arc, time::Duration};

use fieldmesh_domain::{
    Command, EntityId,
    placement::{self, Member, Presence},
    time::Millis,
};
use fieldmesh_pki::Kind;

use crate::{
    again,
    deployment::{DeploymentError, Facts},
    node::Node,
};

/// How often a node looks whether the cluster knows it as it is.
const INTRODUCE_EVERY: Duration = Duration::from_secs(1);
/// Of those looks, how many for each time that it says its place again.
const MOVED_EVERY: u32 = 30;

/// What a node says of itself to the cluster: who and where it is, and what it understands.
pub(crate) fn introduction(
    facts: &Facts,
    at: [String; 3],
    shards: u32,
) -> Result<placement::Command, DeploymentError> {
    let identity = facts.registration(Kind::Node)?;
    let [mesh, devices, https] = at;
    let (number, since) = (facts.number, Millis(0));
    let (presence, level) = (Presence::Active, placement::LEVEL);
    let member = Member { number, identity, mesh, devices, https, presence, since, level };
    let by = format!("node {number}");
    Ok(placement::Command::Join { member, shards, by })
}

/// Says it; the cluster's first node says so that there is one. A node that cannot be reached by others
/// serves its devices all the same.
pub(crate) async fn introduce(node: &Node, introduction: &placement::Command) {
    let command = Command::Placement(introduction.clone());
    if let Err(error) = node.ask(EntityId::placement(), command).await {
        tracing::warn!(%error, "other nodes do not know where this one is: see [advertise]");
    }
}

/// Says it again until it is written, and has the others' rows written anew where something is missing: whoever
/// wrote them before may be of a release that leaves something out, and so may have been this node.
pub(crate) async fn keep_introduced(node: Arc<Node>, introduction: placement::Command) {
    let (mut is_recited, mut gathers, mut rounds) = (false, false, 0_u32);
    loop {
        tokio::time::sleep(INTRODUCE_EVERY).await;
        let known = node.known.known();
        if !gathers && known.level() >= placement::TRIGGERS {
            gathers = gather(&node).await;
        }
        let own = known.member(node.number);
        let is_introduced = own.is_some_and(|own| own.level == placement::LEVEL);
        let is_there = own.is_none_or(|own| is_at(own, &introduction));
        // A place that the cluster refuses is said seldom.
        rounds += 1;
        if !is_introduced || (!is_there && rounds.is_multiple_of(MOVED_EVERY)) {
            introduce(&node, &introduction).await;
        }
        if !is_introduced || (known.level() < placement::LEVEL && !is_recited) {
            let recite = Command::Placement(placement::Command::Recite);
            let recited = node.ask(EntityId::placement(), recite).await;
            // An older leader does not know how.
            is_recited =
                recited.inspect_err(|error| tracing::debug!(%error, "not recited")).is_ok();
        }
    }
}

/// Whether the cluster knows a node where it says that it is: a copy of its directory may have said another place.
fn is_at(known: &Member, introduction: &placement::Command) -> bool {
    let placement::Command::Join { member, .. } = introduction else { return true };
    let place = |member: &Member| [&member.mesh, &member.devices, &member.https].map(String::clone);
    place(known) == place(member)
}

/// Tells the region's desk that every node knows of tickets that wait for each other; whether it was told.
async fn gather(node: &Node) -> bool {
    let desk = node.known.own().region;
    let told = node.ask(EntityId::desk(desk), again::gather()).await;
    told.inspect_err(|error| tracing::debug!(%error, "the desk is not told yet")).is_ok()
}

/// Says where the node is, where the cluster knows it from elsewhere: until then nobody who leads reaches it, and
/// what it has does not get current. What it understands is said once it has shown that it starts.
pub(crate) async fn moved(node: &Node, introduction: &placement::Command) -> Infallible {
    loop {
        tokio::time::sleep(INTRODUCE_EVERY).await;
        let known = node.known.known();
        let own = known.member(node.number);
        let Some(own) = own.filter(|own| !is_at(own, introduction)) else { continue };
        let mut said = introduction.clone();
        if let placement::Command::Join { member, .. } = &mut said {
            member.level = own.level;
        }
        introduce(node, &said).await;
    }
}
