//! How often a lease had its effect, counted where the fault works.
//!
//! **Invariant:** counted is what came out otherwise than it would have without the lease, so that 0 says that it did
//! nothing. **Not here:** what a figure is of (`Fault::counted`), what follows from it (`fieldmesh_chaos::judge`).

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

/// What one lease has done so far; who has a copy counts into the same figure.
#[derive(Debug, Clone, Default)]
pub struct Effect(Arc<AtomicU64>);

impl Effect {
    /// Once more.
    pub fn happened(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// As much as this at a time.
    pub fn reached(&self, figure: u64) {
        self.0.fetch_max(figure, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Those of all leases by which the same befalls a node now.
#[derive(Debug, Default)]
pub struct Effects(RwLock<Vec<Effect>>);

impl Effects {
    pub fn happened(&self) {
        self.each(Effect::happened);
    }

    pub fn reached(&self, figure: u64) {
        self.each(|effect| effect.reached(figure));
    }

    fn each(&self, count: impl Fn(&Effect)) {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(count);
    }

    /// From now on it is these.
    pub(super) fn follow(&self, effects: Vec<Effect>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = effects;
    }
}
