//! The runtime of openraft: tokio's, with chance that follows from a seed, and with the ticks of a node's groups
//! at the same moments.
//!
//! openraft gives each group a phase of its own and five ticks a heartbeat. A node at rest then wakes for each
//! group, and sends each heartbeat in a packet of its own. **Invariants:** a tick comes late by less than what
//! is between two moments, and none is early; what is no tick is not late; moments differ between nodes, as
//! their starts do. **Not here:** what is done at a tick.

use std::{future::Future, time::Duration};

use openraft::OptionalSend;
use openraft_rt::{AsyncRuntime, Instant as _, deterministic_rng::DeterministicRng};
use openraft_rt_tokio::{TokioInstant, TokioRuntime};

/// With random numbers that follow from a seed (chaos runs replay).
pub type Runtime = DeterministicRng<Together>;

/// What is due sooner is no tick, and is not held up: openraft gathers for 1 µs what was written. Ticks are
/// milliseconds apart; one that is due so soon comes by itself, once.
const SOON: Duration = Duration::from_micros(100);

tokio::task_local! {
    static BEAT: Beat;
}

/// Moments at which groups tick.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beat {
    pub since: TokioInstant,
    pub every: Duration,
}

impl Beat {
    /// What this future spawns, and what that spawns, sleeps until one of these moments.
    pub(super) fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        BEAT.scope(self, future)
    }

    /// The first of these moments that is not before a deadline, for what is no tick the deadline.
    fn from(self, deadline: TokioInstant, now: TokioInstant) -> TokioInstant {
        if deadline < now + SOON {
            return deadline;
        }
        let every = self.every.as_nanos().max(1);
        let past = deadline.saturating_duration_since(self.since).as_nanos();
        let wait = past.next_multiple_of(every) - past;
        // Less than a period.
        deadline + Duration::from_nanos(u64::try_from(wait).unwrap_or(0))
    }
}

/// tokio's runtime, whose sleeps until a moment end on the beat of who spawned the sleeper.
#[derive(Debug)]
pub struct Together(TokioRuntime);

impl AsyncRuntime for Together {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = TokioInstant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> =
        <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match BEAT.try_with(|beat| *beat) {
            Ok(beat) => TokioRuntime::spawn(BEAT.scope(beat, future)),
            Err(_) => TokioRuntime::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: TokioInstant) -> Self::Sleep {
        let beat = BEAT.try_with(|beat| beat.from(deadline, TokioInstant::now()));
        TokioRuntime::sleep_until(beat.unwrap_or(deadline))
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: TokioInstant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn groups_of_any_phase_tick_together_and_none_early() {
        let beat = Beat { since: TokioInstant::now(), every: Duration::from_millis(100) };
        let after = |ms| beat.since + Duration::from_millis(ms);
        let ticks = [1, 99, 100, 101, 250].map(|ms| beat.from(after(ms), beat.since));
        assert_eq!(ticks, [100, 100, 100, 200, 300].map(after));
    }

    /// Or each write's completion would wait for a tick.
    #[test]
    fn what_is_due_at_once_is_not_held_up() {
        let beat = Beat { since: TokioInstant::now(), every: Duration::from_millis(100) };
        let now = beat.since + Duration::from_millis(30);
        for at in [now - Duration::from_millis(1), now, now + Duration::from_micros(1)] {
            assert_eq!(beat.from(at, now), at);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_group_spawns_keeps_its_beat() {
        let since = TokioInstant::now();
        let beat = Beat { since, every: Duration::from_millis(100) };
        let sleeper =
            move || async move { Together::sleep_until(since + Duration::from_millis(130)).await };
        beat.scope(async {
            Together::spawn(async move { Together::spawn(sleeper()).await }).await
        })
        .await
        .unwrap()
        .unwrap();
        assert_eq!(since.elapsed(), Duration::from_millis(200));
        sleeper().await;
        assert_eq!(since.elapsed(), Duration::from_millis(200), "nobody else waits for it");
    }
}
