//! I8: after the last fault whoever is asked serves again in time, nobody waits for ever, and nobody stays away; and
//! how long each fault was felt.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fate, Found, Operations, operations::Operated, revoked};
use crate::{
    fault::Fault,
    history::{Entry, History, Operation, Phase, What},
};

/// An entity that fails so often within ten minutes is left alone for as long, as the guide says.
pub(super) const PARKED_BY: usize = 3;

/// How long a shard took from the moment of a fault to the first reply for what was asked after it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct Recovery {
    pub(crate) strike: u32,
    pub(crate) shard: u32,
    pub(crate) ms: u64,
}

/// What a shard did with what was asked after a moment.
struct Asked {
    /// When it was first asked.
    since_us: u64,
    /// When it first answered, with the entries that show it.
    reply: Option<(u64, Vec<usize>)>,
}

/// Of each shard that was asked after a moment; by devices that are believed.
fn asked(history: &History, operations: &Operations<'_>, since_us: u64) -> BTreeMap<u32, Asked> {
    let revoked = revoked(history);
    let mut shards: BTreeMap<u32, Asked> = BTreeMap::new();
    for operated in operations.0.values().filter(|one| one.invoked_us >= since_us) {
        let Operation::Request { shard, .. } = operated.operation else { continue };
        if revoked.contains_key(operated.by) {
            continue;
        }
        let of = shards.entry(*shard);
        let of = of.or_insert(Asked { since_us: operated.invoked_us, reply: None });
        of.since_us = of.since_us.min(operated.invoked_us);
        if matches!(operated.fate, Fate::Ok(_))
            && of.reply.as_ref().is_none_or(|(best, _)| operated.done_us < *best)
        {
            of.reply = Some((operated.done_us, operated.entries()));
        }
    }
    shards
}

pub(super) fn recovery(history: &History, operations: &Operations<'_>) -> Found {
    let mut found = Found::default();
    let Some(scenario) = history.scenario() else { return found };
    let wrong: fn(&mut Found, Vec<usize>, String) =
        if is_left_broken(history) { Found::not_mended } else { Found::broken };
    let (mut last, mut leaders, mut unknown) = (None, BTreeMap::new(), BTreeMap::new());
    for (at, entry) in history.entries.iter().enumerate() {
        match &entry.what {
            What::Fault { phase: Phase::Ended, .. } => last = Some((at, entry.at_us)),
            What::Leader { group, node } => {
                unknown.remove(group);
                leaders.insert(*group, (at, *node));
            }
            What::LeaderUnknown { group, answered, of } => {
                leaders.remove(group);
                unknown.insert(*group, (*answered, *of));
            }
            What::Down { node: Some(node), why } => {
                found.broken(vec![at], format!("node {node}: {why}"));
            }
            What::Down { node: None, why } => {
                wrong(&mut found, vec![at], format!("the cluster: {why}"));
            }
            _ => {}
        }
    }
    for (group, (at, node)) in leaders {
        if node.is_none() {
            wrong(&mut found, vec![at], format!("group {group} has no leader in the end"));
        }
    }
    for (group, (answered, of)) in unknown {
        found.unknown(format!(
            "who leads group {group} in the end: {answered} of {of} of its voters answered"
        ));
    }
    let bound_us = scenario.recover_within_ms.saturating_mul(1000);
    unanswered(history, operations, bound_us, &mut found);
    let Some((at, last_us)) = last else { return found };
    let asked = asked(history, operations, last_us);
    nobody_asked(history, &asked, &mut found);
    for (shard, Asked { since_us, reply }) in asked {
        found.see();
        match reply {
            None => {
                let text = format!("shard {shard} served nobody after the last fault");
                wrong(&mut found, vec![at], text);
            }
            Some((done_us, entries)) if done_us.saturating_sub(since_us) > bound_us => {
                let ms = (done_us - since_us) / 1000;
                let text = format!("shard {shard} took {ms} ms to answer after the last fault");
                wrong(&mut found, [vec![at], entries].concat(), text);
            }
            Some(_) => {}
        }
    }
    found
}

/// Whether a node that was ended on purpose stayed away, and something failed that the run itself was to do: that nobody
/// serves then may not be the product's fault.
fn is_left_broken(history: &History) -> bool {
    let has_failed = |entry: &Entry| matches!(entry.what, What::Harness { .. });
    let is_away = |fault: Fault| fault.ends_the_process() || fault.starts_again();
    open(history).into_values().any(is_away) && history.entries.iter().any(has_failed)
}

/// Strikes that did not end, by their nodes.
fn open(history: &History) -> BTreeMap<(u32, Option<u64>), Fault> {
    let mut open = BTreeMap::new();
    for entry in &history.entries {
        match &entry.what {
            What::Fault { strike, fault, node, phase: Phase::Installed, .. } => {
                open.insert((*strike, *node), *fault);
            }
            What::Fault { strike, node, phase: Phase::Ended, .. } => {
                open.remove(&(*strike, *node));
            }
            _ => {}
        }
    }
    open
}

impl Found {
    /// What would be wrong, had the run mended what it broke.
    fn not_mended(&mut self, _: Vec<usize>, text: String) {
        self.unknown(format!("{text}, and the run itself could not mend all that it broke"));
    }
}

/// Of a shard that nobody asked nobody knows whether it serves.
fn nobody_asked(history: &History, asked: &BTreeMap<u32, Asked>, found: &mut Found) {
    if history.shards().is_empty() {
        return found.not_shown("which shards there are is not in this history");
    }
    let unasked = history.shards().iter().filter(|shard| !asked.contains_key(shard));
    let unasked: Vec<String> = unasked.map(u32::to_string).collect();
    if !unasked.is_empty() {
        found
            .unknown(format!("of shards {} nobody asked after the last fault", unasked.join(", ")));
    }
}

/// Requests that nobody answered, although whoever asked was believed all the time, and nothing was broken any more for
/// as long as it may take. A confirmation is an answer, too: its receipt may be on its way yet.
fn unanswered(history: &History, operations: &Operations<'_>, bound_us: u64, found: &mut Found) {
    // Of a device whose certificate ended what it could not send before its next one stays unsent.
    let revoked = revoked(history);
    let told: BTreeSet<&str> =
        history.entries.iter().filter_map(|entry| told_of(&entry.what)).collect();
    let waits = |one: &&Operated<'_>| match one.operation {
        Operation::Request { ticket, .. } => {
            one.fate == Fate::Unknown
                && !revoked.contains_key(one.by)
                && !told.contains(ticket.as_str())
        }
        _ => false,
    };
    let waiting: Vec<&Operated<'_>> = operations.0.values().filter(waits).collect();
    if waiting.is_empty() || !history.is_whole {
        return;
    }
    let mended = match mended(history) {
        Ok(mended) => mended,
        Err(why) => {
            return found.unknown(format!("{} requests were not answered: {why}", waiting.len()));
        }
    };
    if failures(history) >= PARKED_BY {
        let many = waiting.len();
        return found.unknown(format!(
            "{many} requests were not answered, and whoever fails {PARKED_BY} times is parked for ten minutes"
        ));
    }
    let since_us = mended.map_or(0, |(_, at_us)| at_us);
    let end_us = history.entries.last().map_or(0, |entry| entry.at_us);
    for one in waiting {
        let Operation::Request { ticket, .. } = one.operation else { continue };
        if one.invoked_us.max(since_us).saturating_add(bound_us) > end_us {
            found.unknown(format!("the request of {ticket} was under way when the run ended"));
            continue;
        }
        let entries = mended.map(|(at, _)| at).into_iter().chain(one.entries()).collect();
        found.broken(entries, format!("the request of {ticket} was never answered"));
    }
}

/// Times that entities were made to fail: each time the same ones.
pub(super) fn failures(history: &History) -> usize {
    let failing = |what: &What| match what {
        What::Fault {
            strike, fault: Fault::FailingActors { .. }, phase: Phase::Installed, ..
        } => Some(*strike),
        _ => None,
    };
    let strikes: BTreeSet<u32> =
        history.entries.iter().filter_map(|entry| failing(&entry.what)).collect();
    strikes.len()
}

fn told_of(what: &What) -> Option<&str> {
    match what {
        What::Confirmed { ticket, .. } => Some(ticket),
        _ => None,
    }
}

/// Where and when the last fault ended; none where there was none. Why somebody may have to wait yet: not all that was
/// broken was mended, or the run was given up.
pub(super) fn mended(history: &History) -> Result<Option<(usize, u64)>, &'static str> {
    let mut last = None;
    for (at, entry) in history.entries.iter().enumerate() {
        match &entry.what {
            What::Fault { phase: Phase::Ended, .. } => last = Some((at, entry.at_us)),
            What::Down { .. } => return Err("a node stayed away"),
            What::Aborted { .. } => return Err("the run was given up"),
            _ => {}
        }
    }
    if open(history).is_empty() { Ok(last) } else { Err("a fault did not end") }
}

/// Of each fault that took a node, how long the shards that the node led were not answered.
pub(crate) fn recoveries(history: &History, operations: &Operations<'_>) -> Vec<Recovery> {
    let mut leaders: BTreeMap<u32, u64> = BTreeMap::new();
    let mut all = Vec::new();
    for entry in &history.entries {
        match &entry.what {
            What::Leader { group, node: Some(node) } => {
                leaders.insert(*group, *node);
            }
            What::Fault { strike, fault, node: Some(node), phase: Phase::Installed, .. }
                if fault.takes_a_node() =>
            {
                for (shard, Asked { reply, .. }) in asked(history, operations, entry.at_us) {
                    let was_led = leaders.get(&shard) == Some(node);
                    if let Some((done_us, _)) = reply.filter(|_| was_led) {
                        let ms = done_us.saturating_sub(entry.at_us) / 1000;
                        all.push(Recovery { strike: *strike, shard, ms });
                    }
                }
            }
            _ => {}
        }
    }
    all
}
