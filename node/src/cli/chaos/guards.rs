//! Asks a cluster that is there already how it is, and whether it may be broken.
//!
//! **Invariant:** a node that does not answer is told as that. **Not here:** what must be so
//! (`fieldmesh_chaos::guard`).

use fieldmesh_actors::seams::Clock as _;
use fieldmesh_chaos::{
    Scenario, Strike, Timeline,
    guard::{Group, Node, Permission, Standing},
};
use serde_json::{Value, json};
use tokio::time::{Duration, timeout};

use super::ground::There;
use crate::{
    cli::{CliError, Output},
    os::SystemClock,
    web::chaos::ChaosView,
};

/// A node that is asked in vain for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the cluster is.
pub(super) async fn standing(there: &There) -> Standing {
    let mut nodes = Vec::new();
    for number in there.numbers() {
        let member = there.view.members.iter().find(|member| member.number == number);
        let is_active = member.is_some_and(|member| member.presence == "active");
        nodes.push(Node { number, is_active, asked: permission(there, number).await });
    }
    let ours = there.numbers();
    let groups = there.view.groups.iter();
    let groups = groups.filter(|group| group.voters.iter().any(|voter| ours.contains(voter)));
    let groups = groups.map(|group| Group {
        number: group.group,
        voters: group.voters.clone(),
        leader: group.leader,
        is_settled: group.settled,
    });
    Standing { now_ms: SystemClock.now_ms(), nodes, groups: groups.collect() }
}

async fn permission(there: &There, number: u64) -> Option<(Permission, usize)> {
    let api = there.node(number).ok()?;
    let view: ChaosView = timeout(PATIENCE, api.get("/v1/chaos")).await.ok()?.ok()?;
    let until_ms = view.allowance.map(|allowance| allowance.until_ms);
    Some((Permission { configured: view.allowed, until_ms }, view.leases.len()))
}

/// Says whom each fault may reach, for people and for programs.
pub(super) fn tell(standing: &Standing, timeline: &Timeline, output: &Output) -> Value {
    let reach = |strike: &Strike| {
        let reach = standing.reach(strike.pick);
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
