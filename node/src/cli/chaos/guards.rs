//! Asks a cluster that is there already how it is, and whether it may be broken.
//!
//! **Invariant:** a node that does not answer is told as that. **Not here:** what must be so
//! (`fieldmesh_chaos::guard`).

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_actors::seams::Clock as _;
use fieldmesh_chaos::{
    Scenario, Strike, Target, Timeline, Workload,
    guard::{Group, Node, Permission, Reach, Standing},
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

/// By which the leader of a shard says how many of its tickets are open.
const OPEN_TICKETS: &str = "fieldmesh_audit_open_tickets{shard=\"";

/// How the cluster is.
pub(super) async fn standing(there: &There) -> Standing {
    let none = BTreeSet::new();
    let (standing, open_tickets) =
        tokio::join!(standing_by(there, &there.view, &none), open_tickets(there));
    Standing { open_tickets, ..standing }
}

/// Tickets that are open in the shards that the nodes lead, as these counted them last: half a minute ago or so.
async fn open_tickets(there: &There) -> Option<u64> {
    let told = there.numbers().into_iter().map(async |number| {
        let api = there.node(number).ok()?;
        let text = timeout(PATIENCE, api.bytes("/metrics")).await.ok()?.ok()?;
        Some((number, counted(&String::from_utf8_lossy(&text))))
    });
    let told: BTreeMap<u64, BTreeMap<u32, u64>> =
        join_all(told).await.into_iter().flatten().collect();
    let ours = there.numbers();
    let shards = there.view.groups.iter().filter(|group| group.kind == "shard");
    let mut led = shards.filter_map(|group| {
        let leader = group.leader.filter(|leader| ours.contains(leader))?;
        Some((group.group, leader))
    });
    // Of all who lead now: one that led before shows what it counted then.
    led.try_fold(0_u64, |all, (shard, leader)| {
        Some(all.saturating_add(*told.get(&leader)?.get(&shard)?))
    })
}

/// By shard, how many tickets are open.
fn counted(metrics: &str) -> BTreeMap<u32, u64> {
    let line = |line: &str| {
        let (shard, count) = line.strip_prefix(OPEN_TICKETS)?.split_once("\"} ")?;
        Some((shard.parse().ok()?, count.trim().parse::<u64>().ok()?))
    };
    metrics.lines().filter_map(line).collect()
}

/// The same by another look at it, without the leases of these numbers.
async fn standing_by(there: &There, view: &ClusterView, own: &BTreeSet<u64>) -> Standing {
    let ours = there.numbers();
    let nodes = ours.iter().map(async |number| {
        let member = view.members.iter().find(|member| member.number == *number);
        let is_active = member.is_some_and(|member| member.presence == "active");
        let asked = asked(there, *number).await;
        let is_stopped = asked.as_ref().is_some_and(|view| view.stopped);
        let devices = asked.as_ref().and_then(|view| view.devices);
        let asked = asked.map(|view| {
            let until_ms = view.allowance.map(|allowance| allowance.until_ms);
            let others = view.leases.iter().filter(|lease| !own.contains(&lease.number)).count();
            (Permission { configured: view.allowed, until_ms }, others)
        });
        Node { number: *number, is_active, asked, is_stopped, devices }
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
    let (now_ms, groups) = (SystemClock.now_ms(), groups.collect());
    Standing { now_ms, nodes, groups, open_tickets: None }
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
            "fault {}, {}: may reach nodes {:?}, which vote in {} groups and lead {}{}",
            strike.number,
            strike.fault.name(),
            reach.nodes,
            reach.groups.len(),
            reach.led.len(),
            whose_devices(strike, &reach)
        ));
        let mut told = json!({
            "fault": strike.number,
            "nodes": reach.nodes,
            "groups": reach.groups,
            "led": reach.led,
        });
        if strike.fault.is_felt_by_devices() {
            told["devices"] = json!(reach.devices);
        }
        told
    };
    let reached: Vec<Value> = timeline.0.iter().map(reach).collect();
    let margins = standing.margins();
    let least = margins.values().min();
    if let Some(least) = least {
        output.say(format_args!("each group can lose {least} of its voters, or more"));
    }
    let devices: BTreeMap<u64, Option<u64>> =
        standing.nodes.iter().map(|node| (node.number, node.devices)).collect();
    for (node, count) in &devices {
        let count = count.map_or("it does not say how many".to_owned(), |count| count.to_string());
        output.say(format_args!("devices connected to node {node}: {count}"));
    }
    let open_tickets = standing.open_tickets;
    if let Some(count) = open_tickets {
        output.say(format_args!("tickets open in the shards that these nodes lead: {count}"));
    }
    json!({
        "reach": reached,
        "margins": margins,
        "devices": devices,
        "open_tickets": open_tickets,
    })
}

/// Says who would feel what befalls devices of a cluster that is made for the run.
pub(super) fn tell_of_a_lab(workload: &Workload, output: &Output) -> Value {
    let Workload { customers, technicians, .. } = *workload;
    output.say(format_args!(
        "devices, all of the run's own: {customers} of customers, {technicians} of technicians"
    ));
    json!({ "customers": customers, "technicians": technicians })
}

/// Which devices feel a strike, where it is these and not only nodes.
fn whose_devices(strike: &Strike, reach: &Reach) -> String {
    match (strike.fault.devices(), reach.devices) {
        (Some(own), _) => format!("; {own} devices of the run's own"),
        _ if !strike.fault.is_felt_by_devices() => String::new(),
        (None, Some(count)) => format!("; {count} devices are connected to them"),
        (None, None) => "; nobody knows how many devices are connected to them".to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use fieldmesh_chaos::{Fault, Network, Pick};

    use super::*;

    fn strike(fault: Fault, pick: Pick) -> Strike {
        Strike { number: 0, fault, pick, at_ms: 0, until_ms: 0, dice: 0, inside: false }
    }

    fn standing() -> Standing {
        let node = |number, devices| Node {
            number,
            is_active: true,
            asked: None,
            is_stopped: false,
            devices,
        };
        let nodes = vec![node(1, Some(700)), node(2, Some(4)), node(3, None)];
        Standing { nodes, open_tickets: Some(37), ..Standing::default() }
    }

    #[test]
    fn devices_are_told_where_it_is_they_who_feel_it() {
        let said = |fault, pick| {
            let (standing, strike) = (standing(), strike(fault, pick));
            whose_devices(&strike, &standing.reach_of(&strike))
        };
        assert_eq!(said(Fault::Herd, Pick::Node(1)), "; 700 devices are connected to them");
        let unknown = "; nobody knows how many devices are connected to them";
        assert_eq!(said(Fault::Herd, Pick::All), unknown);
        let far = Fault::Devices(Network::default());
        assert_eq!(said(far, Pick::Node(2)), "; 4 devices are connected to them");
        let own = "; 2 devices of the run's own";
        assert_eq!(said(Fault::Expire { devices: 2 }, Pick::Nobody), own);
        assert_eq!(said(Fault::SlowDisk { delay_ms: 1 }, Pick::All), "");
    }

    #[test]
    fn programs_are_told_of_each_node_and_of_each_fault_that_devices_feel() {
        let herd = strike(Fault::Herd, Pick::Node(2));
        let slow = strike(Fault::SlowDisk { delay_ms: 1 }, Pick::All);
        let told = tell(&standing(), &Timeline(vec![herd, slow]), &Output::new(true));
        assert_eq!(told["devices"], json!({ "1": 700, "2": 4, "3": null }));
        assert_eq!(told["open_tickets"], json!(37));
        assert_eq!(told["reach"][0]["devices"], json!(4));
        assert!(told["reach"][1].get("devices").is_none(), "{told}");
    }

    #[test]
    fn of_a_lab_it_is_the_devices_of_the_workload() {
        let text = "name = \"x\"\nduration = \"60s\"\nworkload = { rate = 1, customers = 48 }\n";
        let scenario = fieldmesh_chaos::read_scenario(text).map(|read| read.value);
        let told = scenario.map(|scenario| tell_of_a_lab(&scenario.workload, &Output::new(true)));
        assert_eq!(told.ok(), Some(json!({ "customers": 48, "technicians": 12 })));
    }

    #[test]
    fn open_tickets_are_read_as_leaders_show_them() {
        let metrics = "# TYPE fieldmesh_audit_open_tickets gauge\n\
                       fieldmesh_audit_open_tickets{shard=\"3\"} 7\n\
                       fieldmesh_audit_open_tickets{shard=\"x\"} 8\n\
                       fieldmesh_audit_timers_overdue{shard=\"3\"} 9\n";
        assert_eq!(counted(metrics), [(3, 7)].into());
    }
}
