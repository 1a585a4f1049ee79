//! How many asks of customers a shard has under way: as many as it answers in time.
//!
//! Where more comes than can be done, each request that is taken costs the steps behind those that were taken
//! before it: a shard that takes on ever more ends ever less (Welsh and Culler, *Adaptive overload control for busy
//! Internet servers*, 2003). How long answers take says so first. **Invariants:** between [`LIMIT_MIN`] and
//! [`LIMIT_MAX`]; it rises only where it was reached, and falls only where answers come late. **Not here:** what
//! others than customers may ask (`admission`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Duration, Instant};

/// As many as begin: what all of a shard's customers together have under way on a good day is fewer.
pub const LIMIT_MAX: usize = 128;
/// Something is taken always, and by how long it takes the limit rises again.
const LIMIT_MIN: usize = 4;
/// Answers of which the mean is looked at.
const SAMPLE: u32 = 32;
/// Later than this an answer is late: one of a shard whose majority is in another region takes 250 ms.
const LATE: Duration = Duration::from_millis(300);

/// The limit of a shard.
#[derive(Debug)]
pub(super) struct Limit(Mutex<State>);

#[derive(Debug)]
struct State {
    limit: usize,
    used: usize,
    /// Somebody was turned away since it was last looked.
    was_reached: bool,
    answers: u32,
    took: Duration,
}

impl Default for Limit {
    fn default() -> Self {
        Self(Mutex::new(State {
            limit: LIMIT_MAX,
            used: 0,
            was_reached: false,
            answers: 0,
            took: Duration::ZERO,
        }))
    }
}

/// A customer's ask that is under way; ends when dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    of: Arc<Limit>,
    since: Instant,
}

impl Limit {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after each step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, unless there are enough.
    pub(super) fn try_take(self: &Arc<Self>) -> Option<UnderWay> {
        let mut state = self.state();
        if state.used >= state.limit {
            state.was_reached = true;
            return None;
        }
        state.used += 1;
        Some(UnderWay { of: Arc::clone(self), since: Instant::now() })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.of.state().ended(self.since.elapsed());
    }
}

impl State {
    fn ended(&mut self, took: Duration) {
        self.used -= 1;
        self.answers += 1;
        self.took += took;
        if self.answers >= SAMPLE {
            let mean = self.took / self.answers;
            (self.answers, self.took) = (0, Duration::ZERO);
            self.look(mean);
        }
    }

    fn look(&mut self, mean: Duration) {
        if mean > LATE {
            self.limit = (self.limit * 3 / 4).max(LIMIT_MIN);
        } else if self.was_reached {
            self.limit = (self.limit + self.limit.div_ceil(4)).min(LIMIT_MAX);
        }
        self.was_reached = false;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    /// So many answers after so long, with everything taken that may be; the limit then.
    async fn after(limit: &Arc<Limit>, rounds: usize, took: Duration) -> usize {
        for _ in 0..rounds {
            let mut taken = Vec::new();
            while let Some(one) = limit.try_take() {
                taken.push(one);
            }
            tokio::time::advance(took).await;
        }
        limit.state().limit
    }

    #[tokio::test(start_paused = true)]
    async fn late_answers_make_it_fall_and_early_ones_rise_and_both_have_an_end() {
        let limit = Arc::new(Limit::default());
        assert_eq!(after(&limit, 2, LATE / 10).await, LIMIT_MAX);
        assert_eq!(after(&limit, 10, LATE).await, LIMIT_MAX, "that is not late");
        assert_eq!(after(&limit, 1, LATE * 2).await, 40, "looked at four times");
        assert_eq!(after(&limit, 200, LATE * 2).await, LIMIT_MIN);
        assert_eq!(after(&limit, 100, LATE / 10).await, LIMIT_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_nobody_reaches_does_not_rise() {
        let limit = Arc::new(Limit::default());
        let fallen = after(&limit, 3, LATE * 2).await;
        limit.state().was_reached = false;
        for _ in 0..10 * SAMPLE {
            let one = limit.try_take().unwrap();
            tokio::time::advance(LATE / 10).await;
            drop(one);
        }
        assert_eq!(limit.state().limit, fallen);
    }
}
