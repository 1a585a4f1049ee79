//! Whether this node hears its region: a quorum of the region's authority group stood behind its leader a
//! moment ago, and that leader answered here.
//!
//! A node that does not cannot write what its devices say, and might not hear that one of them was revoked;
//! so the edge sends devices on to other nodes until it is back. **Invariants:** a node that starts is cut off until
//! it hears its region, as devices may have been revoked while it was away, and any other one only after a while
//! without any answer, or with a replica that is told nothing; who comes back takes devices once it has what was decided
//! meanwhile.
//!
//! A region may hear itself, and have been given up by the others meanwhile: a node that does not hear the placement
//! group asks every other one, and is told by whoever it reaches. **Not here:** what the edge does then (`edge`), what a
//! node does that was removed (`mesh`, `server`).

use std::{sync::Arc, time::Duration};

use fieldmesh_domain::{
    mutant::{Mutant, is_planted},
    placement::PLACEMENT,
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::courier::NodeCourier;

/// How often it is asked: a round trip to a quorum, in each node of the region.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The same while it is cut off: devices wait for a node that starts, and mostly there is nobody to be asked.
const ASK_SOON: Duration = Duration::from_millis(100);

/// How often it is looked whether the placement group answers: elections in it take seconds, and nothing that a device
/// waits for follows from it.
const SEEK_EVERY: Duration = Duration::from_secs(5);

/// Whether the region is heard.
pub type Contact = watch::Receiver<bool>;

/// When the region was heard last.
struct Heard {
    /// None: not since this node started.
    last: Option<Instant>,
    cut_off_after: Duration,
}

impl Heard {
    /// Who decides alone in its region has all that was decided; any other node may have missed something.
    fn begin(is_alone: bool, now: Instant, cut_off_after: Duration) -> Self {
        Self { last: is_alone.then_some(now), cut_off_after }
    }

    /// Whether devices are taken, now that the region was asked once more.
    fn is_in(&mut self, is_heard: bool, now: Instant) -> bool {
        if is_heard {
            self.last = Some(now);
        }
        self.last.is_some_and(|last| now.duration_since(last) < self.cut_off_after)
    }
}

/// Asks for as long as the node runs.
pub fn keep(courier: Arc<NodeCourier>, cut_off_after: Duration) -> (Contact, JoinHandle<()>) {
    let authority = courier.known().own().authority();
    let is_alone = courier.is_alone_in(authority);
    let (tell, contact) = watch::channel(is_alone);
    metrics::gauge!("fieldmesh_cut_off").set(if is_alone { 0.0 } else { 1.0 });
    let asks = async move {
        let mut heard = Heard::begin(is_alone, Instant::now(), cut_off_after);
        loop {
            let was_in = *tell.borrow();
            let is_answered = if was_in {
                courier.look(authority).await.is_some()
            } else {
                // By what its replica lacks it would take who was revoked meanwhile.
                courier.catch_up(authority).await
            };
            // Who is revoked next is heard by the replica, whoever else answers.
            let is_heard = is_answered && courier.is_fed(authority);
            let is_in = heard.is_in(is_heard, Instant::now()) || is_planted(Mutant::ServesCutOff);
            if is_in != was_in {
                tell.send_replace(is_in);
                changed(is_in);
            }
            tokio::time::sleep(if is_in { ASK_EVERY } else { ASK_SOON }).await;
        }
    };
    (contact, tokio::spawn(asks))
}

fn changed(is_in: bool) {
    metrics::gauge!("fieldmesh_cut_off").set(if is_in { 0.0 } else { 1.0 });
    if is_in {
        tracing::info!("this node hears its region, and takes devices");
    } else {
        tracing::error!("this node does not hear its region: its devices are sent to other nodes");
    }
}

/// Asks all others, one after the other, whenever the placement group does not answer, for as long as the node runs:
/// who was removed may have nothing else to say to those that know it.
pub async fn seek(courier: Arc<NodeCourier>) {
    loop {
        tokio::time::sleep(SEEK_EVERY).await;
        if courier.look(PLACEMENT).await.is_some() {
            continue;
        }
        for peer in courier.known().peers() {
            courier.is_heard(peer.number).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(10);
    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn a_node_that_starts_is_cut_off_until_it_hears_its_region() {
        let began = Instant::now();
        let mut heard = Heard::begin(false, began, AFTER);
        assert!(!heard.is_in(false, began), "it does not know what was revoked meanwhile");
        assert!(!heard.is_in(false, began + AFTER));
        assert!(heard.is_in(true, began + 2 * AFTER));
    }

    #[test]
    fn who_was_heard_is_cut_off_after_a_while_and_not_before() {
        let began = Instant::now();
        let mut heard = Heard::begin(false, began, AFTER);
        assert!(heard.is_in(true, began));
        assert!(heard.is_in(false, began + AFTER - MOMENT), "an election is no cut");
        assert!(!heard.is_in(false, began + AFTER));
        assert!(heard.is_in(true, began + AFTER + MOMENT));
        assert!(heard.is_in(false, began + 2 * AFTER), "the while begins with each answer");
    }

    #[test]
    fn who_decides_alone_waits_for_nobody() {
        let began = Instant::now();
        let mut heard = Heard::begin(true, began, AFTER);
        assert!(heard.is_in(false, began));
        assert!(
            !heard.is_in(false, began + AFTER),
            "whoever does not decide is cut off all the same"
        );
    }
}
