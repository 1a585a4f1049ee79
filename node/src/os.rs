//! The operating system behind the seams: wall clock and random bytes.

mod steady;

use std::time::{Instant, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use fieldmesh_actors::seams::{Clock, Entropy};

pub use self::steady::SteadyClock;

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock seam")]
    fn now_ms(&self) -> u64 {
        // A clock before 1970 is no clock: certificates will say "not yet valid".
        std::time::SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The time of a node on this machine, whose wall clock may be moved on purpose.
#[expect(clippy::disallowed_methods, reason = "this is the clock seam")]
pub fn steady_clock(wall: impl Clock) -> impl Clock {
    let begun = Instant::now();
    let elapsed = move || u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    SteadyClock::new(wall, elapsed)
}

/// The machine's random generator.
#[derive(Debug, Default)]
pub struct SystemEntropy(SystemRandom);

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        if self.0.fill(bytes).is_err() {
            // Keys from a broken generator would be worse than no service.
            tracing::error!("the random generator failed");
            std::process::abort();
        }
    }
}
