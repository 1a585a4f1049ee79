//! Whether this node hears its region: a quorum of the region's authority group stood behind its leader a
//! moment ago, and that leader answered here.
//!
//! A node that does not cannot write what its devices say, and might not hear that one of them was revoked;
//! so the edge sends devices on to other nodes until it is back. **Invariant:** it is said to be cut off
//! only after a while without any answer.
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

/// How often it is looked whether the placement group answers: elections in it take seconds, and nothing that a device
/// waits for follows from it.
const SEEK_EVERY: Duration = Duration::from_secs(5);

/// Whether the region is heard.
pub type Contact = watch::Receiver<bool>;

/// Asks for as long as the node runs.
pub fn keep(courier: Arc<NodeCourier>, cut_off_after: Duration) -> (Contact, JoinHandle<()>) {
    let (tell, contact) = watch::channel(true);
    let asks = async move {
        let (authority, mut heard) = (courier.known().own().authority(), Instant::now());
        loop {
            let is_heard = courier.look(authority).await.is_some();
            if is_heard {
                heard = Instant::now();
            }
            let is_in =
                is_heard || heard.elapsed() < cut_off_after || is_planted(Mutant::ServesCutOff);
            if tell.send_if_modified(|known| std::mem::replace(known, is_in) != is_in) {
                metrics::gauge!("fieldmesh_cut_off").set(if is_in { 0.0 } else { 1.0 });
                if is_in {
                    tracing::info!("this node hears its region again, and takes devices");
                } else {
                    tracing::error!(
                        "this node does not hear its region: its devices are sent to other nodes"
                    );
                }
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    (contact, tokio::spawn(asks))
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
