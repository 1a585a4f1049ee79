//! Control groups of nodes, by which they have less of the processor and of the memory.
//!
//! Of the kernel's two versions of them a controller is in one: in the first, each is mounted for itself or with some
//! others; in the second, all are in one place, and have to be handed to groups below the first.
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
/// So much above what it needs a node is left where one that needs more than it may have is killed: more than it comes
/// to need from one look to the next.
const SLACK: u64 = 8 << 20;
const LIMIT: &str = "memory.limit_in_bytes";
/// 1 where the kernel kills nobody for want of memory.
const WAITS: &str = "memory.oom_control";

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
            Version::First => {}
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

/// What a node holds, and how much of that the kernel can take back: what it has of files.
#[derive(Debug, Clone, Copy)]
struct Held {
    all: u64,
    of_files: u64,
}

impl Held {
    /// With less it may be killed.
    fn needed(self) -> u64 {
        self.all.saturating_sub(self.of_files).saturating_add(SLACK)
    }
}

/// By what a node has so much memory less than it holds; as much as there is where nothing is taken.
fn memory(version: Version, taken_mib: u64, held: Held) -> Order {
    let left = held.all.saturating_sub(taken_mib << 20).max(MEMORY_MIN);
    let is_free = taken_mib == 0;
    match version {
        // Whoever needs more is killed, which is not what was asked for.
        Version::First => {
            let left = left.max(held.needed());
            (LIMIT, if is_free { "-1".to_owned() } else { left.to_string() })
        }
        // Above it the kernel takes pages back and makes the node wait; it does not kill it.
        Version::Second => {
            ("memory.high", if is_free { "max".to_owned() } else { left.to_string() })
        }
    }
}

/// A figure of those that the kernel lists, a name and a number each line; 0 where it does not.
fn figure(list: &str, name: &str) -> u64 {
    let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    list.lines().find_map(of).unwrap_or(0)
}

fn held(of: &Hierarchy, number: u64) -> Result<Held, String> {
    let all = match of.version {
        Version::First => "memory.usage_in_bytes",
        Version::Second => "memory.current",
    };
    let (all, list) = (bytes(&of.says(number, all)?)?, of.says(number, "memory.stat")?);
    // What is in use is asked for again at once.
    Ok(Held { all, of_files: figure(&list, "inactive_file") })
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
        let held = held(&of, number)?;
        if of.version == Version::First {
            let is_taken = share.taken_mib > 0;
            if is_taken && held.needed() >= held.all {
                return Err(format!(
                    "node {number} holds no pages of files that it does not use, and cgroup v1 takes nothing else"
                ));
            }
            // Whoever needs more at once waits until it has it, and is not killed for it.
            of.told(number, &(WAITS, u8::from(is_taken).to_string()))?;
        }
        of.told(number, &memory(of.version, share.taken_mib, held))?;
    }
    Ok(())
}

/// Memory was taken from a node: what it needs more by now it has, where it would be killed for want of it.
pub(super) fn relent(number: u64) -> Result<(), String> {
    let of = usable(MEMORY).filter(|of| of.version == Version::First);
    let Some(of) = of else { return Ok(()) };
    let (given, needed) = (bytes(&of.says(number, LIMIT)?)?, held(&of, number)?.needed());
    if needed <= given {
        return Ok(());
    }
    of.told(number, &(LIMIT, needed.to_string()))
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
