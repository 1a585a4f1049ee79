//! All devices of a node, sent away at once.
//!
//! **Not here:** who may ask (`chaos`), closing connections (`edge`).

use tokio::sync::watch;

/// Tells whoever has a connection that it is to be closed.
#[derive(Debug, Default)]
pub(super) struct Herd {
    dismissed: watch::Sender<u64>,
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

    /// Sends all away; how many.
    pub(super) fn send_away(&self) -> u64 {
        let connections = self.connected();
        self.dismissed.send_modify(|times| *times += 1);
        connections
    }
}
