//! Operations of a history, each with how it came out.
//!
//! **Invariant:** an operation has one fate: what came out well, or was refused, is not unknown any more.

use std::collections::BTreeMap;

use crate::history::{History, Operation, Position, Prefix, What};

/// How an operation came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Ok(Option<Prefix>),
    Refused,
    Unknown,
}

/// One operation.
#[derive(Debug, Clone)]
pub(crate) struct Operated<'a> {
    pub(crate) by: &'a str,
    pub(crate) operation: &'a Operation,
    pub(crate) invoked_us: u64,
    /// Where the history has the invocation, and the outcome.
    pub(crate) entry: usize,
    pub(crate) outcome: Option<usize>,
    /// When it came out; for what nobody knows the end of all time.
    pub(crate) done_us: u64,
    pub(crate) fate: Fate,
    /// Where a log has it, as far as that is known, and the entry that says so where it is none of these.
    pub(crate) at: Option<Position>,
    pub(crate) logged: Option<usize>,
}

impl Operated<'_> {
    /// The entries that show it.
    pub(crate) fn entries(&self) -> Vec<usize> {
        std::iter::once(self.entry).chain(self.outcome).chain(self.logged).collect()
    }
}

/// Devices that were not to be served any more: where the history has it, and when.
pub(crate) fn revoked(history: &History) -> BTreeMap<&str, (usize, u64)> {
    first(history, |what| match what {
        What::Revoked { device } => Some(device.as_str()),
        _ => None,
    })
}

/// Those of them that were to be served again.
pub(crate) fn renewed(history: &History) -> BTreeMap<&str, (usize, u64)> {
    first(history, |what| match what {
        What::Renewed { device } => Some(device.as_str()),
        _ => None,
    })
}

fn first(history: &History, of: fn(&What) -> Option<&str>) -> BTreeMap<&str, (usize, u64)> {
    let mut devices = BTreeMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        if let Some(device) = of(&entry.what) {
            devices.entry(device).or_insert((at, entry.at_us));
        }
    }
    devices
}

/// All of them, by their number.
#[derive(Debug, Default)]
pub(crate) struct Operations<'a>(pub(crate) BTreeMap<u64, Operated<'a>>);

impl<'a> Operations<'a> {
    pub(crate) fn of(history: &'a History) -> Self {
        let mut all: BTreeMap<u64, Operated<'a>> = BTreeMap::new();
        for (at, entry) in history.entries.iter().enumerate() {
            let (op, fate, position) = match &entry.what {
                What::Invoked { op, by, operation } => {
                    let operated = Operated {
                        by,
                        operation,
                        invoked_us: entry.at_us,
                        entry: at,
                        outcome: None,
                        done_us: u64::MAX,
                        fate: Fate::Unknown,
                        at: None,
                        logged: None,
                    };
                    all.insert(*op, operated);
                    continue;
                }
                What::Logged { op, at: position } => {
                    if let Some(one) = all.get_mut(op).filter(|one| one.at.is_none()) {
                        (one.at, one.logged) = (Some(*position), Some(at));
                    }
                    continue;
                }
                What::Ok { op, read, at } => (op, Fate::Ok(read.clone()), *at),
                What::Refused { op, .. } => (op, Fate::Refused, None),
                _ => continue,
            };
            if let Some(operated) = all.get_mut(op)
                && operated.fate == Fate::Unknown
            {
                (operated.outcome, operated.done_us) = (Some(at), entry.at_us);
                (operated.fate, operated.at) = (fate, position.or(operated.at));
            }
        }
        Self(all)
    }
}
