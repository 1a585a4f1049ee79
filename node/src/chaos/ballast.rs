//! Processor time and memory that are used for nothing, while that is wanted.
//!
//! **Invariants:** what is not wanted any more is given back within a moment, also where whoever wanted it is
//! gone; the process ends without waiting for any of it. **Not here:** when (`chaos`).

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::Effects;

/// How often whoever holds memory looks whether it still is to.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Additions between two looks: less than a millisecond of them.
const ADDITIONS: u64 = 500_000;
const MIB: usize = 1 << 20;
/// MiB of what is available that are not held: 256 by which a node may grow in a run (I10), and as many for whatever
/// else runs, because what the kernel says is an estimate.
pub(super) const SPARE_MIB: u64 = 512;

/// How much may be held where so much is available.
pub(crate) fn most_mib(available_bytes: u64) -> u64 {
    (available_bytes / MIB as u64).saturating_sub(SPARE_MIB)
}

/// What is used for nothing.
#[derive(Debug, Default)]
pub(super) struct Ballast {
    /// Threads, and mebibytes.
    wanted: Mutex<(u64, u64)>,
    /// Grows with each change; who was begun for another one ends.
    turn: Arc<AtomicU64>,
    /// Rounds of computing.
    pub(super) computing: Arc<Effects>,
    /// Mebibytes.
    pub(super) holding: Arc<Effects>,
}

impl Drop for Ballast {
    fn drop(&mut self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }
}

impl Ballast {
    /// What is held, or about to be.
    pub(super) fn held_mib(&self) -> u64 {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    pub(super) fn follow(&self, threads: u64, mib: u64) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if *wanted == (threads, mib) {
            return;
        }
        *wanted = (threads, mib);
        let mine = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
        for _ in 0..threads {
            let computing = Arc::clone(&self.computing);
            self.beside(mine, move || {
                std::hint::black_box((0..ADDITIONS).fold(0, u64::wrapping_add));
                computing.happened();
            });
        }
        if mib > 0 {
            let bytes = usize::try_from(mib).unwrap_or(usize::MAX).saturating_mul(MIB);
            let (mut held, holding) = (Vec::new(), Arc::clone(&self.holding));
            self.beside(mine, move || {
                if held.is_empty() {
                    // Written to, or the kernel gives no page.
                    held.resize(bytes, 1_u8);
                }
                std::hint::black_box(&held);
                holding.reached(mib);
                thread::park_timeout(LOOK_EVERY);
            });
        }
    }

    /// Does something again and again until something else is wanted.
    #[expect(
        clippy::disallowed_methods,
        reason = "what competes with the node for a processor is outside its scheduler, and no simulation has it"
    )]
    fn beside(&self, mine: u64, mut work: impl FnMut() + Send + 'static) {
        let turn = Arc::clone(&self.turn);
        // Not waited for: it ends by itself, or with the process.
        drop(thread::spawn(move || {
            while turn.load(Ordering::Relaxed) == mine {
                work();
            }
        }));
    }
}
