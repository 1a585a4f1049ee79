//! The way to one other node: one connection, made when it is needed and again after it was lost.
//!
//! **Invariants:** one dial at a time, by a task of its own, which goes on when whoever wanted it gives
//! up; after a dial that failed nobody dials for a while, and everybody is told at once. A peer that
//! refuses after the handshake (TLS 1.3 tells the client late) is dialed again without that pause.
//! **Not here:** who the members are (`mesh`), what is sent.

use std::{sync::Arc, time::Duration};

use quinn::Connection;
use tokio::{sync::watch, time::Instant};

use super::{Member, MeshError};

/// Pause after a failed dial, doubled by each that follows, and its limit: a node that comes back is
/// found within a second.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How it stands with the connection.
#[derive(Debug, Clone)]
enum State {
    Idle,
    Dialing,
    Up(Connection),
    Down { until: Instant, reason: Arc<str>, failures: u32 },
}

/// Another node.
pub(super) struct Peer {
    pub(super) member: Member,
    state: watch::Sender<State>,
}

impl Peer {
    pub(super) fn new(member: Member) -> Self {
        Self { member, state: watch::Sender::new(State::Idle) }
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
        let mut failures = 0;
        let is_ours = self.state.send_if_modified(|state| {
            match state {
                State::Up(connection) if connection.close_reason().is_none() => return false,
                State::Dialing => return false,
                State::Down { until, .. } if Instant::now() < *until => return false,
                State::Down { failures: before, .. } => failures = *before,
                State::Idle | State::Up(_) => {}
            }
            *state = State::Dialing;
            true
        });
        let mut state = self.state.subscribe();
        if is_ours {
            let (peer, dialing) = (Arc::clone(self), dial(Arc::clone(self)));
            tokio::spawn(async move { peer.dialed(dialing.await, failures) });
        }
        let number = self.member.number;
        let gone = || MeshError::Unreachable { number, reason: "the mesh has ended".into() };
        let is_known = |state: &State| !matches!(state, State::Idle | State::Dialing);
        match &*state.wait_for(is_known).await.map_err(|_| gone())? {
            State::Up(connection) => Ok(connection.clone()),
            State::Down { reason, .. } => {
                Err(MeshError::Unreachable { number, reason: reason.to_string() })
            }
            State::Idle | State::Dialing => Err(gone()),
        }
    }

    fn dialed(&self, dialed: Result<Connection, MeshError>, failures: u32) {
        let is_up = dialed.is_ok();
        let result = if is_up { "connected" } else { "failed" };
        metrics::counter!("fieldmesh_mesh_dials_total", "result" => result).increment(1);
        self.state.send_replace(match dialed {
            Ok(connection) => State::Up(connection),
            Err(error) => {
                let pause = PAUSE.saturating_mul(1 << failures.min(8)).min(PAUSE_MAX);
                let until = Instant::now() + pause;
                State::Down { until, reason: error.to_string().into(), failures: failures + 1 }
            }
        });
    }

    /// Ends the connection, if there is one; the next who wants it dials.
    pub(super) fn forget(&self, code: u32, reason: &[u8]) {
        if let State::Up(connection) = self.state.send_replace(State::Idle) {
            connection.close(code.into(), reason);
        }
    }
}
