//! The document of a scenario.
//!
//! ```toml
//! name = "leader-loss"
//! hypothesis = "Whoever leads dies, and every shard answers again within two seconds."
//! seed = 42
//! duration = "60s"
//!
//! [workload]
//! rate = 40
//!
//! [[steady]]
//! id = "receipts"
//! query = "request.p99"
//! op = "<"
//! value = "2500ms"
//! mode = "continuous"
//!
//! [[fault]]
//! kind = "kill"
//! every = "10s"
//! for = "1s"
//! pick = "leader"
//!
//! [abort]
//! when = ["availability < 0.5 for 20s"]
//!
//! [check]
//! recover_within = "10s"
//! ```
//!
//! **Invariants:** an unknown field, an impossible time and a fault that the target cannot have are found
//! before anything starts, each with line, column and remedy. **Not here:** when faults come (`timeline`).

mod chance;
mod faults;
mod head;
mod links;
mod probes;

use fieldmesh_rules::reading::{Read, Refused, read};
use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) use chance::POOL;
pub(crate) use chance::by_chance;
pub(crate) use faults::Planned;
pub use faults::Refuses;
pub use head::{Abort, Keys, QUORUM, Random, Target, VOTERS, Workload};

use crate::{
    fault::Fault,
    promises::Promise,
    steady::{Comparison, Mode, Query},
    timeline::Strike,
};

/// Bytes of a scenario: as much as a person can keep apart.
pub const SCENARIO_BYTES_MAX: usize = 64 * 1024;
/// Faults, probes and conditions of a scenario.
const LIST_MAX: usize = 64;

/// A scenario that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    pub name: String,
    pub hypothesis: String,
    pub seed: u64,
    pub duration_ms: u64,
    pub target: Target,
    /// Of a cluster that is made for it.
    pub nodes: u64,
    pub shards: u32,
    /// The second one has a node of its own.
    #[serde(default = "one")]
    pub regions: u64,
    pub workload: Workload,
    pub steady: Vec<Probe>,
    pub(crate) faults: Vec<Planned>,
    pub random: Option<Random>,
    pub aborts: Vec<Abort>,
    /// Nodes that may be out at a time.
    pub max_nodes: u64,
    pub promises: Vec<Promise>,
    /// After the last fault every shard serves again within this.
    pub recover_within_ms: u64,
    /// A device that is revoked or whose certificate has ended is refused from so much later on.
    pub revoked_within_ms: u64,
}

impl Scenario {
    /// Where in the document the fault is that a strike is of.
    pub fn line_of(&self, strike: &Strike) -> u32 {
        let planned = self.faults.iter().find(|planned| planned.has(strike));
        let by_chance = self.random.as_ref().map(|random| random.line);
        planned.map(|planned| planned.line).or(by_chance).unwrap_or(0)
    }
}

/// Histories of before say nothing of regions.
fn one() -> u64 {
    1
}

/// Something that is so while all is well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub id: String,
    pub query: Query,
    pub comparison: Comparison,
    pub value: f64,
    pub window_ms: u64,
    pub mode: Mode,
    /// From when a fault begins until so long after it ended, the probe may fail.
    pub grace_ms: Option<u64>,
}

/// Reads a scenario.
///
/// # Errors
/// Everything that is wrong with the document.
pub fn read_scenario(text: &str) -> Result<Read<Scenario>, Refused> {
    read_scenario_where(text, &|_| None)
}

/// Reads a scenario for whoever cannot do everything; what a node is to do to itself is not asked for.
///
/// # Errors
/// Everything that is wrong with the document, and every fault that is refused.
pub fn read_scenario_where(text: &str, refuses: Refuses<'_>) -> Result<Read<Scenario>, Refused> {
    let read = read(text, SCENARIO_BYTES_MAX, |document, findings| {
        document.only(
            findings,
            &[
                "name",
                "hypothesis",
                "seed",
                "duration",
                "target",
                "nodes",
                "shards",
                "regions",
                "workload",
                "steady",
                "fault",
                "random",
                "abort",
                "check",
            ],
        );
        let head = head::head(document, findings)?;
        let workload = head::workload(document, findings);
        let steady = probes::probes(document, findings, &head);
        let faults = faults::faults(document, findings, &head, workload, refuses);
        let random = chance::random(document, findings, &head, refuses);
        let (aborts, max_nodes) = head::aborts(document, findings, &head);
        let is_refused = |fault| matches!(fault, Fault::Revoke { .. } | Fault::Expire { .. });
        let is_revoked = faults.iter().any(|one| is_refused(one.fault));
        let is_looked_at = workload.is_none_or(|workload| workload.reads + workload.writes > 0);
        let checks = head::checks(document, findings, |promise| match promise {
            Promise::Revoked => is_revoked,
            Promise::OneHistory => is_looked_at,
            _ => true,
        });
        if faults.is_empty() && random.is_none() && !findings.has_errors() {
            findings.warn(0, None, "nothing is broken; add [[fault]] or [random]");
        }
        if let Some(workload) = workload {
            head::too_few(findings, (&head, &checks), &workload, &faults);
        }
        Some(Scenario {
            name: head.name,
            hypothesis: head.hypothesis,
            seed: head.seed,
            duration_ms: head.duration_ms,
            target: head.target,
            nodes: head.nodes,
            shards: head.shards,
            regions: head.regions,
            workload: workload?,
            steady,
            faults,
            random,
            aborts,
            max_nodes,
            promises: checks.promises,
            recover_within_ms: checks.recover_within_ms,
            revoked_within_ms: checks.revoked_within_ms,
        })
    })?;
    let Read { value, warnings } = read;
    // What is missing was found: a document without findings has a scenario.
    value.map(|value| Read { value, warnings }).ok_or_else(|| Refused(Vec::new()))
}

#[cfg(test)]
mod tests;
