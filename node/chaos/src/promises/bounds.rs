//! I10: what was sampled stays within its bound, and what that bound is of memory and files.
//!
//! What is bounded by the product, each node shows with its bound. A sample that could not be had is none that was within
//! its bound: what grows without one is still there at the next look, so one or two of them do no harm, and from three in
//! a row on, or where the last one is missing, nobody knows.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Found, Verdict};
use crate::{
    fault::Fault,
    history::{History, What},
    scenario::Scenario,
};

/// Names of the figures that are of a node's process; the others are of its queues.
pub const RESIDENT: &str = "resident_bytes";
pub const FILES: &str = "open_files";
/// So many samples in a row that are missing are seconds in which nobody looked.
const MISSED_MAX: u64 = 3;
pub(super) const NOT_SHOWN: &str =
    "queues of nodes of an earlier release, which does not show them";

const MIB: u64 = 1 << 20;
/// What a node may come to hold beside twice of what it held: its write buffers fill.
const RESIDENT_MORE: u64 = 256 * MIB;
/// For each request: its ticket, and its part of those who are told of it.
const RESIDENT_EACH: u64 = 16 << 10;
/// However long a run lasts: some ten times what a node of a small cluster holds under load.
const RESIDENT_MAX: u64 = 1 << 30;
/// Files that come and go: tables that are written anew, operators who look.
const FILES_MORE: u64 = 64;
/// An operator's read or write is given up after so many seconds, and its connection is open until then.
const ASKED_FOR_S: u64 = 20;
/// As the unit file has it.
const FILES_MAX: u64 = 65_536;

/// What a node of a run may hold.
///
/// A leak shows by what is more than it was, long before a machine is full. Devices need no files of their own: they
/// share a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub resident_bytes: u64,
    pub open_files: u64,
}

impl Limits {
    /// By the most that a node held when the run began: bytes and files, zero where nobody knows. A node that comes
    /// later, or anew, comes to what the others are.
    pub fn of(scenario: &Scenario, (resident_begun, files_begun): (u64, u64)) -> Self {
        let workload = &scenario.workload;
        let requests = u64::from(workload.rate).saturating_mul(scenario.duration_ms / 1000);
        let resident = match resident_begun {
            0 => RESIDENT_MAX,
            begun => begun.saturating_mul(2).saturating_add(RESIDENT_MORE),
        };
        let resident = resident.saturating_add(requests.saturating_mul(RESIDENT_EACH));
        let asked = u64::from(workload.reads.saturating_add(workload.writes)) * ASKED_FOR_S;
        let files = match files_begun {
            0 => FILES_MAX,
            begun => begun.saturating_mul(2).saturating_add(FILES_MORE + asked),
        };
        // What a scenario has a node hold is not the product's.
        let held = scenario.faults.iter().map(|planned| match planned.fault {
            Fault::HeldMemory { mib } => mib.saturating_mul(MIB),
            _ => 0,
        });
        let held = held.fold(0, u64::saturating_add);
        Self {
            resident_bytes: resident.min(RESIDENT_MAX).saturating_add(held),
            open_files: files.min(FILES_MAX),
        }
    }
}

/// A figure that is bounded, over a whole run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bounded {
    pub name: String,
    pub verdict: Verdict,
    pub samples: u64,
    /// Samples that could not be had.
    pub missed: u64,
    /// The one that came nearest to its bound, or is farthest beyond it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<Most>,
    /// Why nobody knows; of what was kept, what was not looked at.
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Most {
    pub node: u64,
    pub value: u64,
    pub bound: u64,
    pub at_ms: u64,
}

impl Most {
    fn is_nearer_than(&self, other: &Self) -> bool {
        let share = |one: &Self, of: &Self| u128::from(one.value) * u128::from(of.bound.max(1));
        share(self, other) > share(other, self)
    }
}

/// What a history has of one figure.
#[derive(Debug, Default)]
struct Sampled {
    samples: u64,
    missed: u64,
    most: Option<Most>,
    /// Entries of samples beyond their bound, each with what is wrong.
    beyond: Vec<(usize, String)>,
    /// By node, how many samples in a row are missing now, and why the last one is.
    missing: BTreeMap<u64, (u64, String)>,
    unknown: Option<String>,
    /// Nodes of a release that does not show it.
    without: BTreeSet<u64>,
}

impl Sampled {
    fn misses(&mut self, node: u64, why: &str) {
        self.missed += 1;
        let (count, last) = self.missing.entry(node).or_default();
        *count += 1;
        why.clone_into(last);
        if *count >= MISSED_MAX {
            let text = format!("{MISSED_MAX} samples in a row of node {node} are missing: {why}");
            self.unknown.get_or_insert(text);
        }
    }

    /// Why nobody knows whether it stayed within its bound.
    fn unknown(&self) -> Option<String> {
        let in_the_end = self.missing.first_key_value();
        let in_the_end = in_the_end
            .map(|(node, (_, why))| format!("the last sample of node {node} is missing: {why}"));
        let never = || "it was never sampled".to_owned();
        self.unknown.clone().or(in_the_end).or_else(|| (self.samples == 0).then(never))
    }

    fn bounded(self, name: &str, is_whole: bool) -> Bounded {
        let (unknown, without) = (self.unknown(), !self.without.is_empty());
        let (verdict, why) = match (self.beyond.is_empty(), unknown) {
            (false, _) => (Verdict::Broken, String::new()),
            (true, _) if !is_whole => (Verdict::Unknown, "the history was cut off".to_owned()),
            (true, Some(why)) => (Verdict::Unknown, why),
            (true, None) if without => (Verdict::Kept, NOT_SHOWN.to_owned()),
            (true, None) => (Verdict::Kept, String::new()),
        };
        let Self { samples, missed, most, .. } = self;
        Bounded { name: name.to_owned(), verdict, samples, missed, most, why }
    }
}

/// Each figure of a history, by its name.
fn sampled(history: &History) -> BTreeMap<&str, Sampled> {
    let mut all: BTreeMap<&str, Sampled> = BTreeMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        match &entry.what {
            What::Sample { node, name, value, bound } => {
                let (node, value, bound) = (*node, *value, *bound);
                let one = all.entry(name).or_default();
                one.samples += 1;
                one.missing.remove(&node);
                let most = Most { node, value, bound, at_ms: entry.at_us / 1000 };
                if one.most.is_none_or(|before| most.is_nearer_than(&before)) {
                    one.most = Some(most);
                }
                if value > bound {
                    let text = format!("node {node}: {name} is {value}, more than {bound}");
                    one.beyond.push((at, text));
                }
            }
            What::Unsampled { node, name, why: Some(why) } => {
                all.entry(name).or_default().misses(*node, why);
            }
            What::Unsampled { node, name, why: None } => {
                all.entry(name).or_default().without.insert(*node);
            }
            _ => {}
        }
    }
    all
}

/// Each figure that was sampled, or was to be.
pub(crate) fn bounded(history: &History) -> Vec<Bounded> {
    let all = sampled(history).into_iter();
    all.map(|(name, one)| one.bounded(name, history.is_whole)).collect()
}

pub(super) fn bounds(history: &History) -> Found {
    let (mut found, all) = (Found::default(), sampled(history));
    for (name, one) in &all {
        found.checked += one.samples;
        for (at, text) in &one.beyond {
            found.broken(vec![*at], text.clone());
        }
        // What no node's release shows is not looked at; all else is to be known.
        let is_shown = one.samples > 0 || one.missed > 0;
        if let Some(why) = one.unknown().filter(|_| is_shown) {
            found.unknown(format!("{name}: {why}"));
        }
        if !one.without.is_empty() {
            found.not_shown(NOT_SHOWN);
        }
    }
    if !all.keys().any(|name| ![RESIDENT, FILES].contains(name)) {
        found.not_shown("the history has nothing of queues");
    }
    if !all.contains_key(RESIDENT) {
        found.not_shown("memory and open files: processes are not the run's");
    }
    found
}
