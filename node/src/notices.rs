//! What leaves the system besides messages for devices: notices to targets that operators wrote down.
//!
//! The node that leads the notifier's shard delivers; it writes down that an attempt begins before it begins,
//! so that a node that was relieved sends no more. Each target has a queue of its own (`lane`).
//!
//! **Invariants:** what one target does delays no other; an address inside is not connected to unless the
//! target says so; a secret is in no document, row or log. **Not here:** what is told (`domain::notifier`),
//! who may see it (`web::notices`).

mod address;
mod client;
pub mod document;
pub mod endpoint;
pub mod heartbeat;
mod lane;
mod payload;
mod roots;
pub mod signing;
mod worker;

use std::{sync::Arc, time::Duration};

use fieldmesh_actors::commit::ShardId;
use fieldmesh_domain::EntityId;
use tokio::sync::watch;

pub use self::{client::Patience, document::Targets, lane::Pace};
use self::{roots::Roots, worker::Worker};
use crate::{documents::Known, node::Node};

/// How often it is looked whether this node leads the notifier's shard.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How notices are delivered.
#[derive(Debug, Clone, Copy)]
pub struct Delivering {
    pub patience: Patience,
    pub pace: Pace,
}

/// Delivers whenever this node leads the notifier's shard, for as long as the node runs.
pub async fn keep(node: Arc<Node>, delivering: Delivering) {
    let Ok(region) = node.region.parse() else { return };
    let notifier = EntityId::notifier(region);
    let roots = Arc::new(Roots::default());
    let mut documents = node.documents.watch();
    loop {
        if let Some(shard) = led_here(&node, notifier) {
            let mut worker = Worker::new(&node, notifier, shard, delivering, &roots);
            match worker.run(&mut documents).await {
                Ok(()) => {}
                Err(error) => tracing::debug!(%error, "notices are delivered by another node"),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The notifier's shard, where it runs here and has something to do.
fn led_here(node: &Node, notifier: EntityId) -> Option<ShardId> {
    let shard = node.known.group_of(notifier)?;
    let is_known = node.known.known().level() >= fieldmesh_domain::placement::TRIGGERS;
    (is_known && node.courier.shard(shard).is_some()).then_some(shard)
}

/// The targets in force, and of which version of the document they are.
fn targets(documents: &watch::Receiver<Arc<Known>>) -> (u64, Arc<Targets>) {
    let known = documents.borrow();
    match &known.webhooks {
        Some(in_force) => (in_force.version.into(), Arc::clone(&in_force.content)),
        None => (0, Arc::default()),
    }
}
