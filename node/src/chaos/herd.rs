//! All devices of a node, sent away at once.
//!
//! **Invariant:** outside a lab nobody is sent away again before those who were may be back. **Not here:** who may ask
//! (`chaos`), closing connections (`edge`).

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fieldmesh_chaos::guard::HERDS_APART_MS;
use tokio::{sync::watch, time::Instant};

use super::LeaseError;

const APART: Duration = Duration::from_millis(HERDS_APART_MS);

/// Tells whoever has a connection that it is to be closed.
#[derive(Debug, Default)]
pub(super) struct Herd {
    dismissed: watch::Sender<u64>,
    last: Mutex<Option<Instant>>,
}

impl Herd {
    /// Changes whenever all are to be sent away.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.dismissed.subscribe()
    }

    /// Devices that are connected now.
    pub(super) fn connected(&self) -> u64 {
        // The edge listens once for itself, and once for each connection.
        self.dismissed.receiver_count().saturating_sub(1) as u64
    }

    /// Sends all away; how many. In a lab nobody waits for them but whoever asks.
    pub(super) fn send_away(&self, is_in_a_lab: bool, now: Instant) -> Result<u64, LeaseError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let since = last.map(|last| now.saturating_duration_since(last));
        let left = since.and_then(|since| APART.checked_sub(since)).filter(|left| !left.is_zero());
        if let Some(left) = left.filter(|_| !is_in_a_lab) {
            let left_s = u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
            return Err(LeaseError::Herded { left_s });
        }
        *last = Some(now);
        let connections = self.connected();
        self.dismissed.send_modify(|times| *times += 1);
        Ok(connections)
    }
}
