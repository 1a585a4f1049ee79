//! Whether the other end of a connection is still there, by what is sent and what comes.
//!
//! A QUIC peer acknowledges within milliseconds what asks for it, however long its answer takes. So
//! a peer that was asked and sends nothing at all is gone, and a device need not wait for a timeout of
//! the connection. A reply that takes long asks for nothing, so the peer is then asked by itself.
//!
//! **Invariants:** pure, time comes as an argument. Silence counts only while somebody looks: after a
//! pause of this process the packets that came meanwhile are read before anyone is declared dead.
//! **Not here:** what is sent to ask, and what happens to a dead connection (`driver`).

use std::time::Duration;

use tokio::time::Instant;

use crate::transport::{KEEP_ALIVE, Traffic};

/// A peer is gone after this much silence, and never sooner than [`ROUND_TRIPS`]: a busy node may
/// take some hundred milliseconds, and a packet may be lost and sent again.
const SILENCE_MIN: Duration = Duration::from_secs(1);
/// By then QUIC has sent an unanswered packet again, twice, and time was left for the answer: all three
/// must be lost on one of the two ways. Over 200 ms with 5 % loss that is one in some ten thousand.
const ROUND_TRIPS: u32 = 5;
/// Looks in that time, while something is unanswered.
const LOOKS: u32 = 8;
/// The keep-alive has left by then.
const SLACK: Duration = Duration::from_millis(50);
/// Doublings of the patience, at most to two seconds: what a device may take to notice a death after
/// false alarms.
const ALARMS_MAX: u32 = 1;

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Well,
    /// Nothing is unanswered, but an answer is awaited for long: ask for a sign of life.
    Ask,
    Dead,
}

/// What is known of the other end.
#[derive(Debug)]
pub(super) struct Liveness {
    patience: Duration,
    /// The traffic when something new had last been received.
    heard: Traffic,
    heard_at: Instant,
    /// Since when something is unanswered, as far as it was watched.
    silent: Option<Duration>,
    /// The peer was asked since it was last heard.
    asked: bool,
    looked_at: Instant,
    next: Instant,
}

impl Liveness {
    /// Each false alarm of late doubles the patience: where many were false, over a bad link or to an
    /// overloaded node, connecting anew makes it worse.
    pub(super) fn new(now: Instant, traffic: Traffic, alarms: u32) -> Self {
        Self {
            patience: SILENCE_MIN * (1 << alarms.min(ALARMS_MAX)),
            heard: traffic,
            heard_at: now,
            silent: None,
            asked: false,
            looked_at: now,
            next: now,
        }
    }

    /// When to look again, at the latest.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Judges by the traffic so far; `awaited` where a reply is.
    pub(super) fn look(&mut self, now: Instant, traffic: Traffic, awaited: bool) -> Verdict {
        let longest = self.patience.max(traffic.rtt * ROUND_TRIPS);
        let step = longest / LOOKS;
        let watched = now.duration_since(self.looked_at).min(step);
        self.looked_at = now;
        if traffic.received != self.heard.received {
            (self.heard, self.heard_at, self.silent, self.asked) = (traffic, now, None, false);
        }
        if self.asked || traffic.asking > self.heard.asking {
            let silent = self.silent.map_or(Duration::ZERO, |silent| silent + watched);
            self.silent = Some(silent);
            self.next = now + step.min(longest.saturating_sub(silent));
            return if silent < longest { Verdict::Well } else { Verdict::Dead };
        }
        if !awaited {
            // The next that leaves unasked is the keep-alive.
            let keep_alive = self.heard_at + KEEP_ALIVE + SLACK;
            self.next = if keep_alive > now { keep_alive } else { now + KEEP_ALIVE };
            return Verdict::Well;
        }
        self.next = now + step;
        if now < self.heard_at + longest / 2 {
            return Verdict::Well;
        }
        (self.asked, self.silent) = (true, Some(Duration::ZERO));
        Verdict::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(20);

    /// A peer and its watch, on a clock of their own.
    struct Watched {
        liveness: Liveness,
        traffic: Traffic,
        now: Instant,
        begin: Instant,
        looks: u32,
    }

    impl Watched {
        fn new(rtt: Duration, alarms: u32) -> Self {
            let now = Instant::now();
            let traffic = Traffic { received: 10, asking: 10, rtt };
            let liveness = Liveness::new(now, traffic, alarms);
            Self { liveness, traffic, now, begin: now, looks: 0 }
        }

        fn look(&mut self, awaited: bool) -> Verdict {
            self.looks += 1;
            self.liveness.look(self.now, self.traffic, awaited)
        }

        /// Looks whenever it is asked for, until something is found or the time is over.
        fn watch(&mut self, for_time: Duration, awaited: bool) -> Verdict {
            let until = self.now + for_time;
            loop {
                let verdict = self.look(awaited);
                if verdict != Verdict::Well || self.now == until {
                    return verdict;
                }
                assert!(self.liveness.next() > self.now, "the watch must not spin");
                self.now = self.liveness.next().min(until);
            }
        }

        fn elapsed(&self) -> Duration {
            self.now - self.begin
        }
    }

    #[test]
    fn whoever_does_not_acknowledge_is_dead_after_a_second() {
        let mut peer = Watched::new(RTT, 0);
        peer.traffic.asking += 1;
        assert_eq!(peer.watch(SILENCE_MIN * 10, true), Verdict::Dead);
        assert_eq!(peer.elapsed(), SILENCE_MIN);
        assert!(peer.looks <= LOOKS + 1);
    }

    #[test]
    fn a_long_way_takes_longer() {
        let mut peer = Watched::new(Duration::from_millis(600), 0);
        peer.traffic.asking += 1;
        assert_eq!(peer.watch(SILENCE_MIN * 10, true), Verdict::Dead);
        assert_eq!(peer.elapsed(), Duration::from_secs(3));
    }

    #[test]
    fn alarms_of_late_make_patient_up_to_a_bound() {
        for (alarms, seconds) in [(0, 1), (1, 2), (2, 2), (u32::MAX, 2)] {
            let mut peer = Watched::new(RTT, alarms);
            peer.traffic.asking += 1;
            assert_eq!(peer.watch(Duration::from_secs(20), false), Verdict::Dead);
            assert_eq!(peer.elapsed(), Duration::from_secs(seconds));
        }
    }

    #[test]
    fn any_packet_is_a_sign_of_life() {
        let mut peer = Watched::new(RTT, 0);
        for _ in 0..50 {
            peer.traffic.asking += 1;
            assert_eq!(peer.watch(SILENCE_MIN - RTT, true), Verdict::Well);
            peer.traffic.received += 1;
            assert_eq!(peer.look(true), Verdict::Well);
        }
    }

    #[test]
    fn an_acknowledged_request_may_take_long_but_the_peer_is_asked() {
        let mut peer = Watched::new(RTT, 0);
        assert_eq!(peer.watch(SILENCE_MIN * 10, true), Verdict::Ask);
        assert_eq!(peer.elapsed(), SILENCE_MIN / 2);
        // It lives: whoever is awaited is asked again after another while.
        peer.traffic.asking += 1;
        assert_eq!(peer.watch(RTT, true), Verdict::Well);
        peer.traffic.received += 1;
        assert_eq!(peer.watch(SILENCE_MIN * 10, true), Verdict::Ask);
        let asked = peer.now;
        // Asked once, and from then on it owes an answer.
        assert_eq!(peer.watch(SILENCE_MIN * 10, true), Verdict::Dead);
        assert_eq!(peer.now - asked, SILENCE_MIN);
    }

    #[test]
    fn an_idle_device_looks_once_for_a_keep_alive_and_finds_a_dead_node() {
        let mut peer = Watched::new(RTT, 0);
        for _ in 0..100 {
            assert_eq!(peer.watch(KEEP_ALIVE + SLACK, false), Verdict::Well);
            peer.traffic.asking += 1;
            peer.traffic.received += 1;
        }
        assert!(peer.looks <= 300, "{} looks", peer.looks);
        peer.look(false);
        let died = peer.now;
        assert_eq!(peer.watch(KEEP_ALIVE + SLACK, false), Verdict::Well);
        peer.traffic.asking += 1;
        assert_eq!(peer.watch(KEEP_ALIVE * 3, false), Verdict::Dead);
        assert!(peer.now - died <= KEEP_ALIVE + SLACK + SILENCE_MIN);
    }

    #[test]
    fn a_pause_of_the_device_is_not_the_silence_of_the_peer() {
        let mut peer = Watched::new(RTT, 0);
        peer.traffic.asking += 1;
        assert_eq!(peer.look(true), Verdict::Well);
        // The device stood still; what came meanwhile is not read yet.
        peer.now += Duration::from_secs(3600);
        assert_eq!(peer.look(true), Verdict::Well);
        peer.traffic.received += 1;
        assert_eq!(peer.watch(SILENCE_MIN / 4, true), Verdict::Well);
        // The same where nothing had come.
        peer.traffic.asking += 1;
        peer.look(true);
        peer.now += Duration::from_secs(3600);
        let back = peer.now;
        assert_eq!(peer.watch(SILENCE_MIN * 10, true), Verdict::Dead);
        assert!(peer.now - back >= SILENCE_MIN / 2);
    }
}
