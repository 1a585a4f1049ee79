//! Control groups of nodes, by which they have less of the processor and of the memory.
//!
//! Of the kernel's two versions of them a controller is in one: in the first, each is mounted for itself or with some
//! others; in the second, all are in one place, and have to be handed to groups below the first. Memory is taken by the
//! second alone, where whoever needs more waits for it: the first takes only pages of files, and kills whoever needs more.
//!
//! **Invariants:** each group has one node's process and no other; a group ends with the laboratory, and that of a
//! process that was killed when the next one is made. **Not here:** how much they are to have (`chaos::kernel`).

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::machines::{is_left, named};
use crate::files::{self, Access};

const MOUNTS: &str = "/proc/mounts";
const PROCESSOR: &str = "cpu";
const MEMORY: &str = "memory";
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    First,
    Second,
}

/// Where the groups of a controller are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    root: PathBuf,
    version: Version,
}

/// A file of a group, and what is written to it.
type Order = (&'static str, String);

impl Hierarchy {
    /// Of a controller, by what is mounted: where the first version has it, the second one cannot.
    fn of(controller: &str, mounts: &str) -> Option<Self> {
        let mut second = None;
        for line in mounts.lines() {
            let mut words = line.split_whitespace().skip(1);
            let (Some(root), Some(kind), Some(options)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let version = match kind {
                "cgroup" if options.split(',').any(|one| one == controller) => Version::First,
                "cgroup2" => Version::Second,
                _ => continue,
            };
            let found = Self { root: root.into(), version };
            match version {
                Version::First => return Some(found),
                Version::Second => second = second.or(Some(found)),
            }
        }
        second
    }

    /// As this machine has it.
    fn here(controller: &str) -> Option<Self> {
        let mounts = files::read(MOUNTS.as_ref()).unwrap_or_default();
        Self::of(controller, &String::from_utf8_lossy(&mounts))
    }

    /// Why groups with the controller cannot be had there.
    fn missing(&self, controller: &str) -> Option<String> {
        let root = self.root.display();
        match self.version {
            Version::First if controller == PROCESSOR => {
                // Not every kernel shares a processor out.
                let is_there = self.root.join("cpu.cfs_quota_us").is_file();
                if !is_there {
                    return Some(format!("{root} has no cpu.cfs_quota_us of cgroup v1"));
                }
            }
            Version::First => {
                return Some(format!("{root} is of cgroup v1, which kills whoever needs more"));
            }
            Version::Second => {
                let has = |file: &str| {
                    let text = files::read(&self.root.join(file)).unwrap_or_default();
                    String::from_utf8_lossy(&text).split_whitespace().any(|one| one == controller)
                };
                if !has("cgroup.controllers") {
                    return Some(format!("{root} has no `{controller}` controller of cgroup v2"));
                }
                if !has("cgroup.subtree_control") {
                    return Some(format!("`{controller}` is not in {root}/cgroup.subtree_control"));
                }
            }
        }
        let access = rustix::fs::access(&self.root, rustix::fs::Access::WRITE_OK);
        access.err().map(|error| format!("the cgroups at {root} cannot be written: {error}"))
    }

    /// Of a node.
    fn group(&self, number: u64) -> PathBuf {
        self.root.join(named(number))
    }

    fn told(&self, number: u64, (file, order): &Order) -> Result<(), String> {
        tell(&self.group(number).join(file), order)
    }

    /// What a node's group says of itself.
    fn says(&self, number: u64, file: &str) -> Result<String, String> {
        let path = self.group(number).join(file);
        let said = files::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

/// The kernel takes what is written as an order.
fn tell(path: &Path, order: &str) -> Result<(), String> {
    let told = files::open_append(path, Access::Owner);
    let told = told.and_then(|mut file| file.append(order.as_bytes()));
    told.map(drop).map_err(|error| format!("{}: {order}: {error}", path.display()))
}

/// By what a node has as much of one processor as beside so many others.
fn processor(version: Version, rivals: u64) -> Vec<Order> {
    let quota_us = (rivals > 0).then(|| PERIOD_US / (rivals + 1));
    let told = |none: &str| quota_us.map_or(none.to_owned(), |quota_us| quota_us.to_string());
    match version {
        Version::First => {
            vec![("cpu.cfs_period_us", PERIOD_US.to_string()), ("cpu.cfs_quota_us", told("-1"))]
        }
        Version::Second => vec![("cpu.max", format!("{} {PERIOD_US}", told("max")))],
    }
}

/// By what a node that holds so much has so much less; as much as there is where nothing is taken.
fn memory(taken_mib: u64, held: u64) -> Order {
    let left = held.saturating_sub(taken_mib << 20).max(MEMORY_MIN);
    // Above it the kernel takes pages back and makes the node wait; it does not kill it.
    ("memory.high", if taken_mib == 0 { "max".to_owned() } else { left.to_string() })
}

fn bytes(said: &str) -> Result<u64, String> {
    said.trim().parse().map_err(|_| format!("the kernel says no number: {said}"))
}

/// Why groups with a controller cannot be had here.
pub(super) fn missing(controller: &str) -> Option<String> {
    match Hierarchy::here(controller) {
        Some(hierarchy) => hierarchy.missing(controller),
        None => Some(format!("no `{controller}` controller of cgroups is mounted ({MOUNTS})")),
    }
}

/// Where groups of nodes are, of whichever controller.
fn roots() -> BTreeSet<PathBuf> {
    let all = [PROCESSOR, MEMORY].into_iter().filter_map(usable);
    all.map(|hierarchy| hierarchy.root).collect()
}

fn usable(controller: &str) -> Option<Hierarchy> {
    Hierarchy::here(controller).filter(|hierarchy| hierarchy.missing(controller).is_none())
}

/// Puts a node's process into the node's groups, which are made.
pub(super) fn join(number: u64, process: u32) -> Result<(), String> {
    for root in roots() {
        let dir = root.join(named(number));
        files::make_private_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        tell(&dir.join("cgroup.procs"), &process.to_string())?;
    }
    Ok(())
}

/// From now on a node may have so much. What this machine cannot limit nothing is taken of.
pub(super) fn limit(number: u64, share: Share) -> Result<(), String> {
    if let Some(of) = usable(PROCESSOR) {
        for order in processor(of.version, share.rivals) {
            of.told(number, &order)?;
        }
    }
    if let Some(of) = usable(MEMORY) {
        let held = bytes(&of.says(number, "memory.current")?)?;
        of.told(number, &memory(share.taken_mib, held))?;
    }
    Ok(())
}

/// Ends the groups of processes that are no more; those of this one too, once its nodes have ended.
pub(super) fn sweep() {
    for root in roots() {
        for name in files::names(&root).unwrap_or_default() {
            if is_left(&name)
                && let Err(error) = files::remove_empty_dir(&root.join(&name))
            {
                tracing::warn!(%error, name, "a control group stays");
            }
        }
    }
}

#[cfg(test)]
mod tests;
