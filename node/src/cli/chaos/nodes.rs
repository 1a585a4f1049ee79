//! The nodes of a run as its tasks see them: who can be asked now, and who leads.
//!
//! **Invariant:** a node that was taken out on purpose is not asked until it is back. **Not here:** taking
//! nodes out (`striker`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::cli::api::Api;

/// A node that runs.
#[derive(Clone)]
pub(super) struct Reachable {
    pub(super) api: Api,
    pub(super) process: Option<u32>,
}

/// Who leads a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Led {
    By(u64),
    Nobody,
    /// So many of its voters answered, of those of the run.
    Unknown {
        answered: u64,
        of: u64,
    },
}

#[derive(Default)]
struct Inner {
    reachable: BTreeMap<u64, Reachable>,
    /// All that ever were, also those that are out.
    numbers: BTreeSet<u64>,
    /// Who was known last to lead each group.
    leaders: BTreeMap<u32, u64>,
    /// What was said last of each.
    led: BTreeMap<u32, Led>,
    voters: BTreeMap<u32, Vec<u64>>,
}

/// Shared by the tasks of a run.
#[derive(Clone, Default)]
pub(super) struct Nodes(Arc<Mutex<Inner>>);

impl Nodes {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whatever was not inserted or removed any more is so at the next look.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_back(&self, number: u64, node: Reachable) {
        let mut inner = self.lock();
        inner.numbers.insert(number);
        inner.reachable.insert(number, node);
    }

    pub(super) fn is_out(&self, number: u64) {
        self.lock().reachable.remove(&number);
    }

    pub(super) fn all(&self) -> BTreeMap<u64, Reachable> {
        self.lock().reachable.clone()
    }

    /// One of those that can be asked, by chance.
    pub(super) fn any(&self, dice: u64) -> Option<Api> {
        let inner = self.lock();
        let count = inner.reachable.len().max(1) as u64;
        let at = usize::try_from(dice % count).unwrap_or(0);
        inner.reachable.values().nth(at).map(|node| node.api.clone())
    }

    pub(super) fn leaders(&self) -> BTreeMap<u32, u64> {
        self.lock().leaders.clone()
    }

    /// All nodes of the run, also those that are out.
    pub(super) fn numbers(&self) -> BTreeSet<u64> {
        self.lock().numbers.clone()
    }

    /// Notes who votes in groups; of all groups that were ever known of.
    pub(super) fn voting(&self, voters: BTreeMap<u32, Vec<u64>>) -> BTreeMap<u32, Vec<u64>> {
        let mut inner = self.lock();
        inner.voters.extend(voters);
        inner.voters.clone()
    }

    /// Notes who leads a group; whether that is news. Where nobody knows, whoever led last may lead yet.
    pub(super) fn led_by(&self, group: u32, led: Led) -> bool {
        let mut inner = self.lock();
        match led {
            Led::By(node) => {
                inner.leaders.insert(group, node);
            }
            Led::Nobody => {
                inner.leaders.remove(&group);
            }
            Led::Unknown { .. } => {}
        }
        inner.led.insert(group, led) != Some(led)
    }
}
