//! What has to be so before a cluster that is there already is broken on purpose, and whom it would reach.
//!
//! **Invariants:** what is not known is never taken for well; each refusal names the missing guard and what
//! to do. **Not here:** asking the cluster, what a scenario may have at all (`scenario`), nodes that are out at
//! a time (`timeline`).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    fault::{Fault, Pick},
    scenario::{QUORUM, Scenario, Target},
    span::written,
    timeline::{Strike, Timeline},
};

/// An allowance lasts so much longer than the run: what is to be read in the end is read under it.
const SPARE_MS: u64 = 60_000;

/// Ten thousand devices that a node sent away are back within 40 to 60 s: who is sent away sooner is kept away.
pub const HERDS_APART_MS: u64 = 60_000;
/// A strike begins so much late at most, while a cluster is asked whether it may be struck: the herd before another one.
const LATE_MS: u64 = 15_000;

/// The placement group.
const WHOLE_CLUSTERS: u32 = 0;

/// What a node may do to itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permission {
    /// Its configuration says so.
    pub configured: bool,
    /// Two operators agreed, until then; Unix milliseconds.
    pub until_ms: Option<u64>,
}

/// A node before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub number: u64,
    /// It is a member in full: neither draining nor leaving nor away.
    pub is_active: bool,
    /// None where it does not answer.
    pub asked: Option<(Permission, usize)>,
    /// Somebody ended chaos there, and it takes no lease for a while.
    pub is_stopped: bool,
    /// How many are connected there; none where it does not say.
    pub devices: Option<u64>,
}

/// A group before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub number: u32,
    pub voters: Vec<u64>,
    pub leader: Option<u64>,
    pub is_settled: bool,
}

/// The cluster before a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub now_ms: u64,
    /// Those that the run may break.
    pub nodes: Vec<Node>,
    /// Those in which they vote.
    pub groups: Vec<Group>,
    /// Of shards that these nodes lead; none where one of them does not say.
    pub open_tickets: Option<u64>,
}

/// Whom a fault may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    pub nodes: BTreeSet<u64>,
    /// Groups in which they vote, and of those the ones that they lead.
    pub groups: BTreeSet<u32>,
    pub led: BTreeSet<u32>,
    /// That are connected to these nodes; none where one of them does not say how many.
    pub devices: Option<u64>,
}

impl Standing {
    /// Why the scenario is not run on this cluster; empty where it may be.
    pub fn refusals(&self, scenario: &Scenario, timeline: &Timeline) -> Vec<String> {
        let mut refusals = Vec::new();
        let until_ms = self.now_ms + scenario.duration_ms + SPARE_MS;
        // Operators agree on what a cluster that serves customers may have, whatever the scenario calls it.
        let guarded = timeline.0.iter().find(|strike| !strike.fault.may_befall_production());
        for node in &self.nodes {
            refusals.extend(node.refusals(scenario.target, until_ms, self.now_ms));
            if let (Some(strike), Some((Permission { configured: false, .. }, _))) =
                (guarded, node.asked)
            {
                let (fault, node) = (strike.fault, node.number);
                let (name, line) = (fault.name(), scenario.line_of(strike));
                let whose = if fault.may_be_agreed() { "staging and labs" } else { "labs" };
                refusals.push(format!(
                    "line {line}: `{name}` is for {whose}, and node {node} has no [chaos] enabled = true"
                ));
            }
        }
        let numbers: BTreeSet<u64> = self.nodes.iter().map(|node| node.number).collect();
        let groups: BTreeSet<u32> = self.groups.iter().map(|group| group.number).collect();
        let picks: BTreeSet<String> = timeline
            .0
            .iter()
            .filter_map(|strike| {
                let mut ends = [strike.pick].into_iter().chain(strike.fault.with());
                let why = ends.find_map(|end| missing(end, &numbers, &groups))?;
                Some(format!("line {}: {why}", scenario.line_of(strike)))
            })
            .collect();
        refusals.extend(picks);
        refusals.extend(early_herd(scenario, timeline));
        // Also where only several faults together take a node.
        let takes_out = timeline.most_out(self.nodes.len() as u64).0 > 0;
        for group in self.groups.iter().filter(|_| takes_out) {
            refusals.extend(group.refusal());
        }
        let cuts_regions = timeline.0.iter().any(|strike| matches!(strike.fault, Fault::Abroad(_)));
        for group in self.groups.iter().filter(|_| cuts_regions) {
            refusals.extend(group.refusal_alone(&numbers));
        }
        refusals
    }

    /// Why a run that goes on strikes nobody more; of the nodes that it takes out itself it is not asked how they are.
    /// Leases are those of others.
    pub fn refusals_amid(
        &self,
        target: Target,
        until_ms: u64,
        taken: &BTreeSet<u64>,
    ) -> Vec<String> {
        let others = self.nodes.iter().filter(|node| !taken.contains(&node.number));
        others.flat_map(|node| node.refusals(target, until_ms, self.now_ms)).collect()
    }

    /// Groups that could not lose a node now, each with why.
    pub fn without_margin(&self) -> Vec<String> {
        self.groups.iter().filter_map(Group::refusal).collect()
    }

    /// Whom a fault of this pick may reach.
    pub fn reach(&self, pick: Pick) -> Reach {
        self.reached(self.picked(pick))
    }

    /// Whom a strike may reach, the other end of a link too.
    pub fn reach_of(&self, strike: &Strike) -> Reach {
        let ends = [strike.pick].into_iter().chain(strike.fault.with());
        self.reached(ends.flat_map(|end| self.picked(end)).collect())
    }

    fn picked(&self, pick: Pick) -> BTreeSet<u64> {
        let leads = |node: u64| self.groups.iter().any(|group| group.leader == Some(node));
        let all = self.nodes.iter().map(|node| node.number);
        match pick {
            Pick::Nobody => BTreeSet::new(),
            Pick::All | Pick::Random => all.collect(),
            Pick::Node(node) => all.filter(|number| *number == node).collect(),
            Pick::Leader(None) => all.filter(|number| leads(*number)).collect(),
            // Who leads it now may be another by then.
            Pick::Leader(Some(shard)) => {
                let group = self.groups.iter().find(|group| group.number == shard);
                all.filter(|number| group.is_some_and(|group| group.voters.contains(number)))
                    .collect()
            }
        }
    }

    fn reached(&self, nodes: BTreeSet<u64>) -> Reach {
        let of = |is_of: &dyn Fn(&Group) -> bool| {
            self.groups.iter().filter(|group| is_of(group)).map(|group| group.number).collect()
        };
        let mut there = self.nodes.iter().filter(|node| nodes.contains(&node.number));
        let add = |all: u64, node: &Node| node.devices.map(|more| all.saturating_add(more));
        Reach {
            devices: there.try_fold(0, add),
            groups: of(&|group| group.voters.iter().any(|voter| nodes.contains(voter))),
            led: of(&|group| group.leader.is_some_and(|leader| nodes.contains(&leader))),
            nodes,
        }
    }

    /// By group, how many voters it may lose before it decides nothing any more.
    pub fn margins(&self) -> BTreeMap<u32, u64> {
        self.groups.iter().map(|group| (group.number, group.margin())).collect()
    }
}

/// Why the first herd is refused that comes before the devices of another one are back, wherever these were: they may
/// have gone to the node of the next one.
fn early_herd(scenario: &Scenario, timeline: &Timeline) -> Option<String> {
    let herds = timeline.0.iter().filter(|strike| strike.fault == Fault::Herd);
    let pairs = herds.clone().zip(herds.skip(1));
    let mut apart = pairs.map(|(one, next)| (next, next.at_ms.saturating_sub(one.at_ms)));
    let (early, apart_ms) = apart.find(|(_, ms)| *ms < HERDS_APART_MS + LATE_MS)?;
    let (line, least) = (scenario.line_of(early), written(HERDS_APART_MS + LATE_MS));
    let apart = written(apart_ms);
    Some(format!(
        "line {line}: `herd` comes {apart} after another one, and devices are not back by then: on a cluster that \
         others use, {least} are between two; raise `every`, or move it"
    ))
}

/// What a pick names that is not there.
fn missing(pick: Pick, nodes: &BTreeSet<u64>, groups: &BTreeSet<u32>) -> Option<String> {
    match pick {
        Pick::Node(node) if !nodes.contains(&node) => Some(format!(
            "there is no node {node} in this region: `fieldmesh cluster status` lists them"
        )),
        Pick::Leader(Some(shard)) if !groups.contains(&shard) => {
            Some(format!("there is no shard {shard} here: `fieldmesh cluster status` lists them"))
        }
        _ => None,
    }
}

impl Node {
    fn refusals(&self, target: Target, until_ms: u64, now_ms: u64) -> Vec<String> {
        let node = self.number;
        let mut refusals = Vec::new();
        if !self.is_active {
            refusals
                .push(format!("node {node} is draining, leaving or away: let it come back first"));
        }
        let Some((permission, leases)) = self.asked else {
            refusals.push(format!("node {node} does not answer: whatever ails it comes first"));
            return refusals;
        };
        if self.is_stopped {
            let text = "for a minute it takes no lease: whoever did so had a reason";
            refusals.push(format!("chaos was stopped on node {node}, and {text}"));
        }
        if leases > 0 {
            let text = "an earlier fault is not healed: wait five seconds, or `fieldmesh chaos stop` there";
            refusals.push(format!("node {node} has {leases} leases of chaos: {text}"));
        }
        let agreed = permission.until_ms.filter(|until| *until > now_ms);
        match agreed {
            Some(until) if until < until_ms => {
                let text = "two operators allow more: `fieldmesh chaos allow --minutes N`";
                refusals
                    .push(format!("the allowance on node {node} ends before the run does: {text}"));
            }
            None if target == Target::Production => {
                let text = "two operators give one by `fieldmesh chaos allow --minutes N`";
                refusals.push(format!("no allowance is in force on node {node}: {text}"));
            }
            None if !permission.configured => {
                let text =
                    "set [chaos] enabled = true, or have two operators `fieldmesh chaos allow`";
                refusals.push(format!("node {node} does not allow chaos: {text}"));
            }
            _ => {}
        }
        refusals
    }
}

impl Group {
    /// Why it cannot do with its voters of one region; the group of the whole cluster is not asked for that.
    fn refusal_alone(&self, region: &BTreeSet<u64>) -> Option<String> {
        let own = self.voters.iter().filter(|voter| region.contains(voter)).count();
        (self.number != WHOLE_CLUSTERS && 2 * own <= self.voters.len()).then(|| {
            format!(
                "group {} has {own} of its {} voters in this region: cut off from the others it decides nothing",
                self.number,
                self.voters.len()
            )
        })
    }

    /// How many voters it can lose.
    fn margin(&self) -> u64 {
        (self.voters.len() as u64).saturating_sub(self.voters.len() as u64 / 2 + 1)
    }

    fn refusal(&self) -> Option<String> {
        let group = self.number;
        if self.margin() < 1 {
            let (voters, wanted) = (self.voters.len(), QUORUM + 1);
            return Some(format!(
                "group {group} has {voters} voters and could lose none: it needs {wanted}"
            ));
        }
        let is_whole = self.is_settled && self.leader.is_some();
        let text = "its members are not what they are to be, or nobody leads it: `fieldmesh cluster status`";
        (!is_whole).then(|| format!("group {group} has no margin to lose a node: {text}"))
    }
}

#[cfg(test)]
mod tests;
