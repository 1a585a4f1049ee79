//! Asks a cluster that is there already how it is, and whether it may be broken.
//!
//! **Invariant:** a node that does not answer is told as that. **Not here:** what must be so
//! (`fieldmesh_chaos::guard`).

use std::collections::BTreeSet;

use fieldmesh_actors::seams::Clock as _;
use fieldmesh_chaos::{
    Scenario, Strike, Target, Timeline,
    guard::{Group, Node, Permission, Standing},
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep, timeout};

use super::ground::There;
use crate::{
    cli::{CliError, Output},
    os::SystemClock,
    web::{chaos::ChaosView, cluster::ClusterView},
};

/// A node that is asked in vain for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Groups that a fault of the run shook come to be whole within this, or something else ails them.
const WHOLE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How the cluster is.
pub(super) async fn standing(there: &There) -> Standing {
    standing_by(there, &there.view, &BTreeSet::new()).await
}

/// The same by another look at it, without the leases of these numbers.
async fn standing_by(there: &There, view: &ClusterView, own: &BTreeSet<u64>) -> Standing {
    let ours = there.numbers();
    let nodes = ours.iter().map(async |number| {
        let member = view.members.iter().find(|member| member.number == *number);
        let is_active = member.is_some_and(|member| member.presence == "active");
        let asked = asked(there, *number).await;
        let is_stopped = asked.as_ref().is_some_and(|view| view.stopped);
        let asked = asked.map(|view| {
            let until_ms = view.allowance.map(|allowance| allowance.until_ms);
            let others = view.leases.iter().filter(|lease| !own.contains(&lease.number)).count();
            (Permission { configured: view.allowed, until_ms }, others)
        });
        Node { number: *number, is_active, asked, is_stopped }
    });
    let nodes = join_all(nodes).await;
    let groups = view.groups.iter();
    let groups = groups.filter(|group| group.voters.iter().any(|voter| ours.contains(voter)));
    let groups = groups.map(|group| Group {
        number: group.group,
        voters: group.voters.clone(),
        leader: group.leader,
        is_settled: group.settled,
    });
    Standing { now_ms: SystemClock.now_ms(), nodes, groups: groups.collect() }
}

async fn asked(there: &There, number: u64) -> Option<ChaosView> {
    let api = there.node(number).ok()?;
    timeout(PATIENCE, api.get("/v1/chaos")).await.ok()?.ok()
}

/// What a run has done so far to a cluster that is there.
pub(super) struct Amid {
    pub(super) target: Target,
    /// Its leases.
    pub(super) own: BTreeSet<u64>,
    /// Nodes that it takes out now.
    pub(super) taken: BTreeSet<u64>,
    /// It breaks something now.
    pub(super) is_under_way: bool,
}

/// Why a run strikes nobody more, where it is so.
pub(super) async fn amid(there: &There, strike: &Strike, amid: &Amid) -> Option<String> {
    let lasts_ms = strike.until_ms.saturating_sub(strike.at_ms);
    let end = Instant::now() + WHOLE_WITHIN;
    loop {
        let Ok(Ok(view)) = timeout(PATIENCE, there.look()).await else {
            return Some("the cluster cannot be asked how it is".to_owned());
        };
        let standing = standing_by(there, &view, &amid.own).await;
        let until_ms = standing.now_ms.saturating_add(lasts_ms);
        let refusals = standing.refusals_amid(amid.target, until_ms, &amid.taken);
        if !refusals.is_empty() {
            return Some(refusals.join("; "));
        }
        // Groups that lack something amid a fault of the run lack it by that.
        let asks = strike.fault.may_take_a_node() && !amid.is_under_way;
        let without = if asks { standing.without_margin() } else { Vec::new() };
        if without.is_empty() {
            return None;
        }
        if Instant::now() > end {
            return Some(without.join("; "));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Says whom each fault may reach, for people and for programs.
pub(super) fn tell(standing: &Standing, timeline: &Timeline, output: &Output) -> Value {
    let reach = |strike: &Strike| {
        let reach = standing.reach_of(strike);
        output.say(format_args!(
            "fault {}, {}: may reach nodes {:?}, which vote in {} groups and lead {}",
            strike.number,
            strike.fault.name(),
            reach.nodes,
            reach.groups.len(),
            reach.led.len()
        ));
        json!({
            "fault": strike.number,
            "nodes": reach.nodes,
            "groups": reach.groups,
            "led": reach.led,
        })
    };
    let reached: Vec<Value> = timeline.0.iter().map(reach).collect();
    let margins = standing.margins();
    let least = margins.values().min();
    if let Some(least) = least {
        output.say(format_args!("each group can lose {least} of its voters, or more"));
    }
    json!({ "reach": reached, "margins": margins })
}

/// What is missing, all of it at once.
///
/// # Errors
/// Where anything is.
pub(super) fn check(
    standing: &Standing,
    scenario: &Scenario,
    timeline: &Timeline,
) -> Result<(), CliError> {
    let refusals = standing.refusals(scenario, timeline);
    if refusals.is_empty() { Ok(()) } else { Err(CliError::usage(refusals.join("; "))) }
}
