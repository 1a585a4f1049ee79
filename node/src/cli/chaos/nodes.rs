//! The nodes of a run as its tasks see them: who can be asked now, and who leads.
//!
//! **Invariant:** a node that was taken out on purpose is not asked until it is back. **Not here:** taking
//! nodes out (`striker`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::cli::api::Api;

/// A node that runs.
#[derive(Clone)]
pub(super) struct Reachable {
    pub(super) api: Api,
    pub(super) process: Option<u32>,
}

#[derive(Default)]
struct Inner {
    reachable: BTreeMap<u64, Reachable>,
    leaders: BTreeMap<u32, u64>,
}

/// Shared by the tasks of a run.
#[derive(Clone, Default)]
pub(super) struct Nodes(Arc<Mutex<Inner>>);

impl Nodes {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_back(&self, number: u64, node: Reachable) {
        self.lock().reachable.insert(number, node);
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

    /// Notes who leads a group; whether that is news.
    pub(super) fn led_by(&self, group: u32, node: Option<u64>) -> bool {
        let leaders = &mut self.lock().leaders;
        let before = match node {
            Some(node) => leaders.insert(group, node),
            None => leaders.remove(&group),
        };
        before != node
    }
}
