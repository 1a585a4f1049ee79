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
/// Later than this an answer is late, or later than twice what is usual: one of a shard whose majority is in another
/// region takes 250 ms, and nothing is won where the way is longer and fewer are under way.
const LATE: Duration = Duration::from_millis(300);
/// More is not usual anywhere.
const USUAL_MAX: Duration = Duration::from_millis(500);
/// For so long the shortest mean is remembered, and once again while the next one is looked for.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The limit of a shard.
#[derive(Debug)]
pub(super) struct Limit(Mutex<State>);

#[derive(Debug)]
struct State {
    limit: usize,
    used: usize,
    /// Somebody was turned away since it was last looked.
    was_reached: bool,
    /// The most that were under way since then.
    most: usize,
    answers: u32,
    took: Duration,
    /// The shortest means: of this while, and of the one before.
    shortest: [Duration; 2],
    since: Instant,
}

impl Default for Limit {
    fn default() -> Self {
        Self(Mutex::new(State {
            limit: LIMIT_MAX,
            used: 0,
            was_reached: false,
            most: 0,
            answers: 0,
            took: Duration::ZERO,
            shortest: [USUAL_MAX; 2],
            since: Instant::now(),
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
        state.most = state.most.max(state.used);
        Some(UnderWay { of: Arc::clone(self), since: Instant::now() })
    }
}

impl UnderWay {
    /// It ends because it was answered.
    pub(super) fn answered(self) {
        self.of.state().answered(self.since.elapsed(), Instant::now());
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.of.state().used -= 1;
    }
}

impl State {
    fn answered(&mut self, took: Duration, now: Instant) {
        self.answers += 1;
        self.took += took;
        if self.answers >= SAMPLE {
            let mean = self.took / self.answers;
            (self.answers, self.took) = (0, Duration::ZERO);
            self.look(mean, now);
        }
    }

    fn look(&mut self, mean: Duration, now: Instant) {
        if now - self.since > REMEMBERED {
            (self.shortest, self.since) = ([USUAL_MAX, self.shortest[0]], now);
        }
        self.shortest[0] = self.shortest[0].min(mean);
        let late = LATE.max(2 * self.shortest[0].min(self.shortest[1]));
        if mean > late {
            // Where few are under way it is not they who make it late.
            if 2 * self.most >= self.limit {
                self.limit = (self.limit * 3 / 4).max(LIMIT_MIN);
            }
        } else if self.was_reached {
            self.limit = (self.limit + self.limit.div_ceil(4)).min(LIMIT_MAX);
        }
        (self.was_reached, self.most) = (false, self.used);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    /// So often everything that may be is taken, and answered after so long; the limit then.
    async fn after(limit: &Arc<Limit>, rounds: usize, took: Duration) -> usize {
        for _ in 0..rounds {
            let taken: Vec<_> = std::iter::from_fn(|| limit.try_take()).collect();
            tokio::time::advance(took).await;
            taken.into_iter().for_each(UnderWay::answered);
        }
        limit.state().limit
    }

    #[tokio::test(start_paused = true)]
    async fn late_answers_make_it_fall_and_early_ones_rise_and_both_have_an_end() {
        let limit = Arc::new(Limit::default());
        assert_eq!(after(&limit, 2, LATE / 10).await, LIMIT_MAX);
        assert_eq!(after(&limit, 10, LATE).await, LIMIT_MAX, "that is not late");
        assert!(after(&limit, 1, LATE * 2).await < LIMIT_MAX);
        assert_eq!(after(&limit, 100, LATE * 2).await, LIMIT_MIN);
        assert_eq!(after(&limit, 100, LATE / 10).await, LIMIT_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_way_is_long_that_is_not_late() {
        let limit = Arc::new(Limit::default());
        assert_eq!(after(&limit, 20, LATE + LATE / 2).await, LIMIT_MAX, "it always takes so long");
        assert!(after(&limit, 20, USUAL_MAX * 3).await < LIMIT_MAX / 2);
        let limit = Arc::new(Limit::default());
        after(&limit, 1, LATE / 10).await;
        assert!(after(&limit, 20, LATE + LATE / 2).await < LIMIT_MAX / 2, "it did not before");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_answered_says_nothing_and_few_make_nothing_late() {
        let limit = Arc::new(Limit::default());
        let fallen = after(&limit, 3, LATE * 10).await;
        assert!(fallen < LIMIT_MAX);
        for _ in 0..10 * SAMPLE {
            drop(std::iter::from_fn(|| limit.try_take()).collect::<Vec<_>>());
        }
        assert_eq!(limit.state().limit, fallen, "they were never asked");
        assert_eq!(limit.state().used, 0);
        let limit = Arc::new(Limit::default());
        for _ in 0..10 * SAMPLE {
            let one = limit.try_take().unwrap();
            tokio::time::advance(LATE * 10).await;
            one.answered();
        }
        assert_eq!(limit.state().limit, LIMIT_MAX);
    }
}
