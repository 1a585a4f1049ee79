//! Which minute of the log it was when the server wrote something.
//!
//! The log's clock goes on in steps and stands between them until the service has answered, so that
//! compressed time does not count against it. **Invariant:** later on the server's clock is never
//! earlier in the log. **Not here:** when a step is taken (`field/drive`).

use crate::cli::field::week::Minute;

/// Steps of the log's clock, each with the server's time at which it began.
#[derive(Debug, Default)]
pub(crate) struct LogClock {
    steps: Vec<(u64, Minute)>,
}

impl LogClock {
    /// The log's clock shows `minute` from now on.
    pub(crate) fn step(&mut self, server_ms: u64, minute: Minute) {
        let (last_ms, last_minute) = self.steps.last().copied().unwrap_or_default();
        // A server's clock that is set back makes no step earlier.
        self.steps.push((server_ms.max(last_ms), minute.max(last_minute)));
    }

    /// What it showed when the server's clock showed this.
    pub(crate) fn minute(&self, server_ms: u64) -> Minute {
        let after = self.steps.partition_point(|(began, _)| *began <= server_ms);
        let step = self.steps.get(after.saturating_sub(1));
        step.map_or(0, |(_, minute)| *minute)
    }

    /// The last that it showed.
    pub(crate) fn last(&self) -> Minute {
        self.steps.last().map_or(0, |(_, minute)| *minute)
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps.len()
    }
}

#[cfg(test)]
mod tests {
    use super::LogClock;

    #[test]
    fn a_minute_lasts_until_the_next_step() {
        let mut clock = LogClock::default();
        assert_eq!(clock.minute(5), 0);
        for (server_ms, minute) in [(1_000, 60), (1_040, 65), (1_030, 70)] {
            clock.step(server_ms, minute);
        }
        for (server_ms, minute) in [(0, 60), (1_000, 60), (1_039, 60), (1_040, 70), (9_000, 70)] {
            assert_eq!(clock.minute(server_ms), minute, "at {server_ms} ms");
        }
        assert_eq!((clock.last(), clock.steps()), (70, 3));
    }
}
