//! Control groups of nodes, by which they have less of the processor and of the memory.
//!
//! **Invariants:** each group has one node's process and no other; a group ends with the laboratory, and that of a
//! process that was killed when the next one is made. The kernel's second version of them is needed, with both
//! controllers handed to groups below the first. **Not here:** how much they are to have (`chaos::kernel`).

use std::path::{Path, PathBuf};

use super::machines::{is_left, named};
use crate::files::{self, Access};

const ROOT: &str = "/sys/fs/cgroup";
/// The processor is shared out by this.
const PERIOD_US: u64 = 100_000;
/// No node runs in less.
const MEMORY_MIN: u64 = 32 << 20;

/// What a node may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::cli) struct Share {
    /// As if so many others computed beside it, all on one processor.
    pub(in crate::cli) rivals: u64,
    /// So much of what it holds is taken from it.
    pub(in crate::cli) taken_mib: u64,
}

/// Why groups with a controller cannot be had here.
pub(super) fn missing(controller: &str) -> Option<String> {
    let has = |file: &str| {
        let text = files::read(&Path::new(ROOT).join(file)).unwrap_or_default();
        String::from_utf8_lossy(&text).split_whitespace().any(|one| one == controller)
    };
    if !has("cgroup.controllers") {
        return Some(format!("{ROOT} has no `{controller}` controller of cgroup v2"));
    }
    if !has("cgroup.subtree_control") {
        return Some(format!("`{controller}` is not in {ROOT}/cgroup.subtree_control"));
    }
    let access = rustix::fs::access(ROOT, rustix::fs::Access::WRITE_OK);
    access.err().map(|error| format!("{ROOT} cannot be written: {error}"))
}

/// Of a node.
fn group(number: u64) -> PathBuf {
    Path::new(ROOT).join(named(number))
}

/// The kernel takes what is written as an order.
fn tell(number: u64, file: &str, order: &str) -> Result<(), String> {
    let path = group(number).join(file);
    let told = files::open_append(&path, Access::Owner);
    let told = told.and_then(|mut file| file.append(order.as_bytes()));
    told.map(drop).map_err(|error| format!("{}: {order}: {error}", path.display()))
}

/// Puts a node's process into the node's group, which is made.
pub(super) fn join(number: u64, process: u32) -> Result<(), String> {
    let dir = group(number);
    files::make_private_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    tell(number, "cgroup.procs", &process.to_string())
}

/// From now on a node may have so much.
pub(super) fn limit(number: u64, share: Share) -> Result<(), String> {
    let processor = match share.rivals {
        0 => "max".to_owned(),
        rivals => (PERIOD_US / (rivals + 1)).to_string(),
    };
    tell(number, "cpu.max", &format!("{processor} {PERIOD_US}"))?;
    let memory = match share.taken_mib {
        0 => "max".to_owned(),
        mib => {
            let path = group(number).join("memory.current");
            let held = files::read(&path);
            let held = held.map_err(|error| format!("{}: {error}", path.display()))?;
            let held: u64 = String::from_utf8_lossy(&held).trim().parse().unwrap_or(u64::MAX);
            held.saturating_sub(mib << 20).max(MEMORY_MIN).to_string()
        }
    };
    // Above it the kernel takes pages back and makes the node wait; it does not kill it.
    tell(number, "memory.high", &memory)
}

/// Ends the groups of processes that are no more; those of this one too, once its nodes have ended.
pub(super) fn sweep() {
    for name in files::names(ROOT.as_ref()).unwrap_or_default() {
        if is_left(&name)
            && let Err(error) = files::remove_empty_dir(&Path::new(ROOT).join(&name))
        {
            tracing::warn!(%error, name, "a control group stays");
        }
    }
}
