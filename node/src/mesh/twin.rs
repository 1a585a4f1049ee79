//! No node is there twice: where a node is connected and answers, another one that shows the same certificate
//! from another address is sent away.
//!
//! Who copies a node's directory and starts it elsewhere has two nodes with one vote: the copy knows less than
//! the other has promised since, so that two leaders could be elected in one term. **Invariants:** who answers
//! stays; who was moved, or whose machine is dead, is let in once the connection from where it was is found
//! silent. **Not here:** a copy that is started when the other is gone (`hello`), who is a member (`mesh`), what a node
//! does that was sent away (`server`).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fieldmesh_device::wire::close;
use quinn::Connection;
use tokio::time::{Instant, sleep};

/// A peer that lives sends something at least twice meanwhile ([`super::windows::KEEP_ALIVE`]).
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// From where each member is connected to this node: the last connection of each, also where it has ended.
#[derive(Default)]
pub(super) struct Twins(Mutex<BTreeMap<u64, Connection>>);

impl Twins {
    /// Where the member is connected from already, which answers there; otherwise it is connected from here now, and
    /// what was silent is ended: a process that stood still and goes on learns why.
    pub(super) async fn other(&self, number: u64, connection: &Connection) -> Option<SocketAddr> {
        // Each time round another connection took the place meanwhile, which a node does every few seconds at most.
        let mut silent = None;
        loop {
            let before = {
                let mut connections = self.connections();
                let before = connections.get(&number).cloned();
                let is_free = before.as_ref().is_none_or(|before| {
                    before.remote_address() == connection.remote_address()
                        || Some(before.stable_id()) == silent
                });
                if is_free {
                    connections.insert(number, connection.clone());
                    if let Some(before) = before.filter(|before| Some(before.stable_id()) == silent)
                    {
                        before.close(
                            close::THERE_TWICE.into(),
                            b"silent, and connected from elsewhere",
                        );
                    }
                    return None;
                }
                before
            };
            let Some(before) = before else { continue };
            if answers(&before).await {
                return Some(before.remote_address());
            }
            silent = Some(before.stable_id());
        }
    }

    /// From where the member was connected last.
    pub(super) fn at(&self, number: u64) -> Option<SocketAddr> {
        self.connections().get(&number).map(Connection::remote_address)
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
