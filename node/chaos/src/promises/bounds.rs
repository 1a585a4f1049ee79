//! I10: what was sampled stays within its bound, and what that bound is.

use super::Found;
use crate::{
    fault::Fault,
    history::{History, What},
    scenario::Scenario,
};

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

pub(super) fn bounds(history: &History) -> Found {
    let mut found = Found::default();
    for (at, entry) in history.entries.iter().enumerate() {
        let What::Sample { node, name, value, bound } = &entry.what else { continue };
        found.see();
        if value > bound {
            found.broken(vec![at], format!("node {node}: {name} is {value}, more than {bound}"));
        }
    }
    found
}
