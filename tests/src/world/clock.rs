//! Simulated time, and a machine's clock that is set to something else now and then.
//!
//! Devices keep true time; the node's machine does not. **Not here:** what becomes of it
//! (`fieldmesh_node::os`).

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use fieldmesh_actors::seams::Clock;
use fieldmesh_node::os::SteadyClock;
use rand::{RngExt, rngs::StdRng};

/// Unix milliseconds at which every simulation begins.
pub const EPOCH_MS: u64 = 1_800_000_000_000;

/// True time.
pub struct SimClock;

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        EPOCH_MS + turmoil::sim_elapsed().unwrap_or_default().as_millis() as u64
    }
}

/// A machine's clock: so many milliseconds off. It outlives the machine's crashes.
#[derive(Clone, Default)]
pub(crate) struct WrongClock(Arc<AtomicI64>);

impl Clock for WrongClock {
    fn now_ms(&self) -> u64 {
        SimClock.now_ms().saturating_add_signed(self.0.load(Ordering::Relaxed))
    }
}

impl WrongClock {
    pub(crate) fn set(&self, off_ms: i64) {
        self.0.store(off_ms, Ordering::Relaxed);
    }

    /// The time of a node on such a machine, as it makes it.
    pub(crate) fn steady(&self) -> impl Clock + use<> {
        let elapsed = || turmoil::sim_elapsed().unwrap_or_default().as_micros() as u64;
        SteadyClock::new(self.clone(), elapsed)
    }
}

/// When the clock is set, in simulated milliseconds, and how far it is off from then on: each step is
/// taken back after a while.
pub(super) fn steps(count: usize, dice: &mut StdRng) -> Vec<(u64, i64)> {
    let mut steps = Vec::new();
    for _ in 0..count {
        let at = dice.random_range(300..6000);
        let off = dice.random_range(-60_000..60_000);
        steps.extend([(at, off), (at + dice.random_range(100..3000), 0)]);
    }
    steps.sort_unstable();
    steps
}
