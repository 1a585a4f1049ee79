//! No node is there twice: where a node is connected and answers, another one that shows the same certificate
//! from another address is sent away.
//!
//! Who copies a node's directory and starts it elsewhere has two nodes with one vote: the copy knows less than
//! the other has promised since, so that two leaders could be elected in one term. **Invariants:** who answers
//! stays; who was moved, or whose machine is dead, is let in once the connection from where it was is found
//! silent. **Not here:** who is a member (`mesh`), what a node does that was sent away (`server`).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use quinn::Connection;
use tokio::time::{Instant, sleep};

/// A peer that lives sends something at least twice meanwhile ([`super::KEEP_ALIVE`]).
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// From where each member is connected to this node: the last connection of each, also where it has ended.
#[derive(Default)]
pub(super) struct Twins(Mutex<BTreeMap<u64, Connection>>);

impl Twins {
    /// Where the member is connected from already, which answers there; otherwise it is connected from here now.
    pub(super) async fn other(&self, number: u64, connection: &Connection) -> Option<SocketAddr> {
        let before = self.connections().get(&number).cloned();
        if let Some(before) = before {
            let (at, here) = (before.remote_address(), connection.remote_address());
            if at != here && answers(&before).await {
                return Some(at);
            }
        }
        self.connections().insert(number, connection.clone());
        None
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Connection>> {
        // Each call leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether something comes from the other end; a process that has ended, or is paused, sends nothing.
async fn answers(connection: &Connection) -> bool {
    let received = || connection.stats().udp_rx.datagrams;
    let (before, until) = (received(), Instant::now() + ANSWERS_WITHIN);
    while connection.close_reason().is_none() && Instant::now() < until {
        if received() > before {
            // The last that comes may be that it ends.
            sleep(LOOK_EVERY).await;
            return connection.close_reason().is_none();
        }
        sleep(LOOK_EVERY).await;
    }
    false
}
