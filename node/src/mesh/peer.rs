//! The way to one other node: one connection, made when it is needed and again after it was lost.
//!
//! **Invariants:** one dial at a time, by a task of its own, which goes on when whoever wanted it gives
//! up; after a dial that failed nobody dials for a while, and everybody is told at once, also while it is
//! tried again. A peer that
//! refuses after the handshake (TLS 1.3 tells the client late) counts as one that could not be dialed.
//! Once it is no member any more, nothing to or from it stays open. **Not here:** who the members are (`mesh`), what is sent.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use fieldmesh_device::wire::close;
use quinn::Connection;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};

use super::{Member, MeshError};

/// Pause after a failed dial, doubled by each that follows, and its limit: a node that comes back is
/// found within a second.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A connection that ends within this time was refused: the longest round trip, with room.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);

/// Connections that one node may have to this one: the one that it uses, and those before it of which nobody has
/// noticed yet that they have ended. Each may have a window's bytes buffered ([`super::windows`]).
const CONNECTIONS_MAX: usize = 4;

/// What a node hears that is no member any more.
pub(super) const NO_MEMBER: &[u8] = b"not a member here";

/// How it stands with the connection.
#[derive(Debug, Clone)]
enum State {
    Idle,
    Dialing {
        /// Why the last dial failed, where it did: nobody waits for the next one then.
        failed: Option<Arc<str>>,
    },
    Up {
        connection: Connection,
        since: Instant,
    },
    Down {
        until: Instant,
        reason: Arc<str>,
        failures: u32,
    },
    /// It is no member any more.
    Ended,
}

/// How the dials before this one went, where they failed.
#[derive(Default)]
struct Before {
    failures: u32,
    reason: Option<Arc<str>>,
}

/// Whether a connection is to be replaced; one that ended early is not: [`Peer::dialed`] notices it.
fn is_lost(connection: &Connection, since: Instant) -> bool {
    connection.close_reason().is_some() && since.elapsed() > REFUSED_WITHIN
}

/// Another node.
pub(super) struct Peer {
    pub(super) member: Member,
    state: watch::Sender<State>,
    /// A place for each connection that it made.
    pub(super) places: Arc<Semaphore>,
    counted: Mutex<Counted>,
    /// Its directory was found older when it last said hello.
    is_refused: AtomicBool,
    /// It found this node's directory older when it was last told hello.
    finds_older: AtomicBool,
    /// Up to what it reads that the first release did not, as it said last.
    reads: AtomicU32,
}

/// What was counted already of a connection, whose own counts begin with it.
#[derive(Default)]
struct Counted {
    connection: usize,
    sent_bytes: u64,
    received_bytes: u64,
    sent_packets: u64,
    lost_packets: u64,
}

impl Peer {
    pub(super) fn new(member: Member) -> Self {
        let (counted, is_refused, finds_older, reads) = Default::default();
        let state = watch::Sender::new(State::Idle);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self { member, state, places, counted, is_refused, finds_older, reads }
    }

    pub(super) fn set_refused(&self, is_refused: bool) {
        self.is_refused.store(is_refused, Ordering::Release);
    }

    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Acquire)
    }

    /// What it was before.
    pub(super) fn set_finds_older(&self, finds_older: bool) -> bool {
        self.finds_older.swap(finds_older, Ordering::AcqRel)
    }

    pub(super) fn finds_older(&self) -> bool {
        self.finds_older.load(Ordering::Acquire)
    }

    pub(super) fn set_reads(&self, reads: u32) {
        self.reads.store(reads, Ordering::Release);
    }

    /// Up to what it reads that the first release did not, while there is a connection on which it said so.
    pub(super) fn reads(&self) -> u32 {
        self.up().map_or(0, |_| self.reads.load(Ordering::Acquire))
    }

    /// The connection, which `dial` makes where there is none.
    ///
    /// # Errors
    /// Where it cannot be made, now or a moment ago.
    pub(super) async fn connection<D>(
        self: &Arc<Self>,
        dial: impl FnOnce(Arc<Self>) -> D,
    ) -> Result<Connection, MeshError>
    where
        D: Future<Output = Result<Connection, MeshError>> + Send + 'static,
    {
        let mut before = Before::default();
        let is_ours = self.state.send_if_modified(|state| {
            match state {
                State::Up { connection, since } if !is_lost(connection, *since) => return false,
                State::Dialing { .. } => return false,
                State::Down { until, .. } if Instant::now() < *until => return false,
                State::Down { failures, reason, .. } => {
                    before = Before { failures: *failures, reason: Some(Arc::clone(reason)) };
                }
                State::Ended => return false,
                State::Idle | State::Up { .. } => {}
            }
            *state = State::Dialing { failed: before.reason.clone() };
            true
        });
        let mut state = self.state.subscribe();
        if is_ours {
            let (peer, dialing) = (Arc::clone(self), dial(Arc::clone(self)));
            tokio::spawn(async move { peer.dialed(dialing.await, before).await });
        }
        let number = self.member.number;
        let gone = || MeshError::Unreachable { number, reason: "the mesh has ended".into() };
        let is_known = |state: &State| match state {
            State::Idle => false,
            State::Dialing { failed } => failed.is_some(),
            State::Up { connection, since } => {
                connection.close_reason().is_none() || is_lost(connection, *since)
            }
            State::Down { .. } | State::Ended => true,
        };
        match &*state.wait_for(is_known).await.map_err(|_| gone())? {
            State::Up { connection, .. } => Ok(connection.clone()),
            State::Down { reason, .. } | State::Dialing { failed: Some(reason) } => {
                Err(MeshError::Unreachable { number, reason: reason.to_string() })
            }
            State::Ended => Err(MeshError::NoMember(number)),
            State::Idle | State::Dialing { failed: None } => Err(gone()),
        }
    }

    async fn dialed(&self, dialed: Result<Connection, MeshError>, before: Before) {
        let result = if dialed.is_ok() { "connected" } else { "failed" };
        metrics::counter!("fieldmesh_mesh_dials_total", "result" => result).increment(1);
        let connection = match dialed {
            Ok(connection) => connection,
            Err(error) => {
                let is_ours = |state: &State| matches!(state, State::Dialing { .. });
                return self.pause(is_ours, &error.to_string(), before);
            }
        };
        let is_wanted = self.state.send_if_modified(|state| {
            let is_wanted = matches!(state, State::Dialing { .. });
            if is_wanted {
                *state = State::Up { connection: connection.clone(), since: Instant::now() };
            }
            is_wanted
        });
        if !is_wanted {
            return connection.close(close::SHUTTING_DOWN.into(), NO_MEMBER);
        }
        if let Ok(refused) = timeout(REFUSED_WITHIN, connection.closed()).await {
            let own = connection.stable_id();
            let is_ours = |state: &State| match state {
                State::Up { connection, .. } => connection.stable_id() == own,
                State::Idle | State::Dialing { .. } | State::Down { .. } | State::Ended => false,
            };
            self.pause(is_ours, &refused.to_string(), before);
        }
    }

    /// Nobody dials for a while, where the state is still what it was. Why is said when it is another reason than before.
    fn pause(&self, is_ours: impl Fn(&State) -> bool, reason: &str, before: Before) {
        let pause = PAUSE.saturating_mul(1 << before.failures.min(8)).min(PAUSE_MAX);
        let (until, failures) = (Instant::now() + pause, before.failures + 1);
        let is_down = self.state.send_if_modified(|state| {
            let is_ours = is_ours(state);
            if is_ours {
                *state = State::Down { until, reason: reason.into(), failures };
            }
            is_ours
        });
        if is_down && before.reason.as_deref() != Some(reason) {
            tracing::warn!(peer = self.member.number, reason, "the way to a node is down");
        }
    }

    /// The connection, where there is one.
    pub(super) fn up(&self) -> Option<Connection> {
        match &*self.state.borrow() {
            State::Up { connection, .. } if connection.close_reason().is_none() => {
                Some(connection.clone())
            }
            _ => None,
        }
    }

    /// Tells as metrics how the way to it is, now and since it was last told.
    pub(super) fn measure(&self) {
        let peer = self.member.number.to_string();
        let connection = self.up();
        let is_up = if connection.is_some() { 1.0 } else { 0.0 };
        metrics::gauge!("fieldmesh_mesh_peer_up", "peer" => peer.clone()).set(is_up);
        let finds_older = if self.finds_older() { 1.0 } else { 0.0 };
        metrics::gauge!("fieldmesh_mesh_peer_finds_older", "peer" => peer.clone()).set(finds_older);
        let Some(connection) = connection else { return };
        let stats = connection.stats();
        let rtt = stats.path.rtt.as_secs_f64();
        metrics::gauge!("fieldmesh_mesh_peer_rtt_seconds", "peer" => peer.clone()).set(rtt);
        let now = Counted {
            connection: connection.stable_id(),
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            sent_packets: stats.path.sent_packets,
            lost_packets: stats.path.lost_packets,
        };
        // Counts are whole whatever happened to who had them.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.connection != now.connection {
            *counted = Counted { connection: now.connection, ..Counted::default() };
        }
        for (name, all, told) in [
            ("fieldmesh_mesh_peer_sent_bytes_total", now.sent_bytes, counted.sent_bytes),
            (
                "fieldmesh_mesh_peer_received_bytes_total",
                now.received_bytes,
                counted.received_bytes,
            ),
            ("fieldmesh_mesh_peer_sent_packets_total", now.sent_packets, counted.sent_packets),
            ("fieldmesh_mesh_peer_lost_packets_total", now.lost_packets, counted.lost_packets),
        ] {
            metrics::counter!(name, "peer" => peer.clone()).increment(all.saturating_sub(told));
        }
        *counted = now;
    }

    /// Ends the connection, if there is one, and those from it.
    pub(super) fn end(&self) {
        if let State::Up { connection, .. } = self.state.send_replace(State::Ended) {
            connection.close(close::SHUTTING_DOWN.into(), NO_MEMBER);
        }
    }

    /// Ends when it is no member any more.
    pub(super) async fn ended(&self) {
        let mut state = self.state.subscribe();
        // The sender is in what `self` holds.
        drop(state.wait_for(|state| matches!(state, State::Ended)).await);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::{EntityId, EntityKind};
    use tokio::time::{advance, timeout};

    use super::*;

    fn peer() -> Arc<Peer> {
        let identity = EntityId::new(EntityKind::Registration, "eu1".parse().unwrap(), [2; 10]);
        let address = ([127, 0, 0, 1], 1).into();
        Arc::new(Peer::new(Member { number: 2, identity, address }))
    }

    /// A node that is down for an hour must not be dialed twenty times a second by each of the others.
    #[tokio::test(start_paused = true)]
    async fn who_cannot_be_reached_is_dialed_ever_more_seldom_and_everybody_is_told_at_once() {
        let (peer, dials) = (peer(), Arc::new(Mutex::new(Vec::new())));
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            let noted = Arc::clone(&dials);
            let dialed = peer.connection(move |peer| async move {
                noted.lock().unwrap().push(began.elapsed());
                let (number, reason) = (peer.member.number, "nobody is there".to_owned());
                Err(MeshError::Unreachable { number, reason })
            });
            let told = timeout(Duration::from_millis(1), dialed).await;
            // Nobody waits for the next dial.
            let error = told.unwrap().unwrap_err();
            assert!(error.to_string().contains("nobody is there"), "{error}");
            advance(Duration::from_millis(10)).await;
        }
        let at = dials.lock().unwrap().clone();
        let pauses: Vec<Duration> = at.windows(2).map(|two| two[1] - two[0]).collect();
        let expected = [50, 100, 200, 400, 800].into_iter().chain([1000; 8]);
        for (pause, expected) in pauses.iter().zip(expected) {
            let expected = Duration::from_millis(expected);
            assert!((expected..expected + Duration::from_millis(20)).contains(pause), "{pauses:?}");
        }
        assert!((12..=14).contains(&at.len()), "{at:?}");
    }
}
