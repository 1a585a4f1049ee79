//! I8: after the last fault whoever is asked serves again in time, and nobody stays away; and how long each
//! fault was felt.

use std::collections::BTreeMap;

use super::{Fate, Found, Operations, revoked};
use crate::history::{History, Operation, Phase, What};

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
    let (mut last, mut leaders) = (None, BTreeMap::new());
    for (at, entry) in history.entries.iter().enumerate() {
        match &entry.what {
            What::Fault { phase: Phase::Ended, .. } => last = Some((at, entry.at_us)),
            What::Leader { group, node } => {
                leaders.insert(*group, (at, *node));
            }
            What::Down { node, why } => {
                let whom = node.map_or("the cluster".to_owned(), |node| format!("node {node}"));
                found.broken(vec![at], format!("{whom}: {why}"));
            }
            _ => {}
        }
    }
    for (group, (at, node)) in leaders {
        if node.is_none() {
            found.broken(vec![at], format!("group {group} has no leader in the end"));
        }
    }
    let Some((at, last_us)) = last else { return found };
    let bound_us = scenario.recover_within_ms.saturating_mul(1000);
    for (shard, Asked { since_us, reply }) in asked(history, operations, last_us) {
        found.see();
        match reply {
            None => {
                found.broken(vec![at], format!("shard {shard} served nobody after the last fault"));
            }
            Some((done_us, entries)) if done_us.saturating_sub(since_us) > bound_us => {
                let ms = (done_us - since_us) / 1000;
                let text = format!("shard {shard} took {ms} ms to answer after the last fault");
                found.broken([vec![at], entries].concat(), text);
            }
            Some(_) => {}
        }
    }
    found
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
