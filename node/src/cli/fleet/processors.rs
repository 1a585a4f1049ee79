//! Which processors the nodes of a measured cluster have, and which the devices.
//!
//! Where both are on one machine, what devices do for more than can be done is taken from those who could do it;
//! on processors of their own it is not. **Invariant:** every thread of a process has the process's processors;
//! one that is started later has those of the thread that starts it (sched_setaffinity(2)). **Not here:** how
//! many nodes there are (`fleet`).

use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use super::process::failed;
use crate::{cli::CliError, files};

/// Gives the last processor to this process, which has the devices, and all others to these.
///
/// # Errors
/// One processor only, or a kernel that refuses.
pub(super) fn apart(nodes: impl Iterator<Item = u32>) -> Result<(), CliError> {
    let all = sched_getaffinity(None).map_err(failed)?;
    let mut numbers: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|one| all.is_set(*one)).collect();
    let last = numbers.pop().unwrap_or_default();
    if numbers.is_empty() {
        return Err(CliError::usage("--apart: this machine has one processor; nodes need another"));
    }
    let nodes: Vec<u32> = nodes.collect();
    let set = |numbers: &[usize]| {
        let mut set = CpuSet::new();
        numbers.iter().for_each(|one| set.set(*one));
        set
    };
    nodes.into_iter().try_for_each(|node| give(node, &set(&numbers)))?;
    give(std::process::id(), &set(&[last]))
}

fn give(process: u32, processors: &CpuSet) -> Result<(), CliError> {
    let tasks = files::names(format!("/proc/{process}/task").as_ref()).unwrap_or_default();
    for thread in tasks.iter().filter_map(|name| Pid::from_raw(name.parse().ok()?)) {
        match sched_setaffinity(Some(thread), processors) {
            // It has ended meanwhile.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}
