//! A node's time: it goes on evenly, whatever is done to the machine's clock.
//!
//! It begins with the wall clock and goes on with the monotonic one. Where the two come apart, because
//! somebody set the clock or the machine was suspended, it follows at no more than twice and no less than
//! half its pace, until they agree again: a deadline is then early or late in proportion, and never all
//! deadlines at once. That a history's own times never fall, on whatever machine, is seen to by
//! `fieldmesh_actors::entity`.
//!
//! **Invariants:** it never goes back; a step of the wall clock that is taken back within `t` is never off
//! by more than `t`. **Not here:** how far other machines' clocks are off.

use std::sync::{Mutex, PoisonError};

use fieldmesh_actors::seams::Clock;

/// A difference of so much is a step and not the gentle correction of a time service, and people are told.
const STEP_US: u64 = 1_000_000;

/// Even time above a wall clock and a monotonic one.
pub struct SteadyClock<W, M> {
    wall: W,
    /// Microseconds since any moment.
    monotonic: M,
    pace: Mutex<Pace>,
}

/// Microseconds all.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// The monotonic clock when it was looked at.
    at: u64,
    now: u64,
    is_off: bool,
}

impl Pace {
    fn look(&mut self, wall: u64, monotonic: u64) -> u64 {
        let passed = monotonic.saturating_sub(self.at);
        let (slow, even) = (self.now + passed / 2, self.now + passed);
        self.now = if wall > even { wall.min(even + passed) } else { wall.max(slow) };
        self.at = self.at.max(monotonic);
        self.now
    }
}

impl<W: Clock, M: Fn() -> u64 + Send + Sync + 'static> SteadyClock<W, M> {
    pub fn new(wall: W, monotonic: M) -> Self {
        let (at, now) = (monotonic(), wall.now_ms().saturating_mul(1000));
        Self { wall, monotonic, pace: Mutex::new(Pace { at, now, is_off: false }) }
    }
}

impl<W: Clock, M: Fn() -> u64 + Send + Sync + 'static> Clock for SteadyClock<W, M> {
    fn now_ms(&self) -> u64 {
        // A pace is whole whatever happened to who had it.
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let wall = self.wall.now_ms().saturating_mul(1000);
        let now = pace.look(wall, (self.monotonic)());
        let is_off = now.abs_diff(wall) >= STEP_US;
        if is_off != pace.is_off {
            pace.is_off = is_off;
            tell(now, wall, is_off);
        }
        now / 1000
    }
}

fn tell(now: u64, wall: u64, is_off: bool) {
    metrics::gauge!("fieldmesh_clock_is_off").set(if is_off { 1.0 } else { 0.0 });
    if is_off {
        let (ahead_s, behind_s) = (now.saturating_sub(wall), wall.saturating_sub(now));
        tracing::warn!(
            ahead_s = ahead_s / 1_000_000,
            behind_s = behind_s / 1_000_000,
            "the machine's clock was set: this node's time follows it at half or twice its pace; where \
             the clock is right now and far off, restart the node"
        );
    } else {
        tracing::info!("this node's time and the machine's clock agree again");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use proptest::prelude::*;

    use super::*;

    struct Wall(Arc<AtomicU64>);

    impl Clock for Wall {
        fn now_ms(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_step_is_followed_at_half_or_twice_the_pace() {
        let (wall, monotonic) = (Arc::new(AtomicU64::new(10_000)), Arc::new(AtomicU64::new(7)));
        let elapsed = Arc::clone(&monotonic);
        let clock =
            SteadyClock::new(Wall(Arc::clone(&wall)), move || elapsed.load(Ordering::Relaxed));
        let look = |wall_ms, passed_ms: u64| {
            wall.store(wall_ms, Ordering::Relaxed);
            monotonic.fetch_add(passed_ms * 1000, Ordering::Relaxed);
            clock.now_ms()
        };
        assert_eq!(look(10_100, 100), 10_100);
        // Ten seconds forward: double pace, until it is there.
        assert_eq!(look(20_100, 0), 10_100);
        assert_eq!(look(21_100, 1000), 12_100);
        assert_eq!(look(30_100, 9000), 30_100);
        assert_eq!(look(31_100, 1000), 31_100);
        // An hour back: half the pace, and never back.
        assert_eq!(look(1_000, 0), 31_100);
        assert_eq!(look(2_000, 1000), 31_600);
        assert_eq!(look(60_000, 58_000), 60_600);
        assert_eq!(look(61_200, 1200), 61_200);
    }

    proptest! {
        #[test]
        fn it_never_goes_back_and_is_never_far_from_even(
            looks in prop::collection::vec((0..5_000_000_u64, 0..100_000_000_u64), 1..200),
        ) {
            let mut pace = Pace { at: 0, now: 50_000_000, is_off: false };
            let mut monotonic = 0;
            for (passed, wall) in looks {
                let before = pace.now;
                monotonic += passed;
                let now = pace.look(wall, monotonic);
                prop_assert!(now >= before + passed / 2 && now <= before + 2 * passed);
            }
        }
    }
}
