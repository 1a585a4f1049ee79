//! The root of a node's supervision tree.
//!
//! It holds the shards together so that stopping the node stops all, and survives their failures:
//! the node starts a failed shard anew while it leads. **Not here:** deciding to restart (`node`).

use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

/// The root of a node's actors.
#[derive(Debug, Clone)]
pub struct Supervisor {
    pub(crate) actor: ActorRef<Never>,
}

/// The root takes no messages.
#[derive(Debug)]
pub(crate) enum Never {}

struct Root;

impl Supervisor {
    /// Starts the root of a node.
    ///
    /// # Errors
    /// Where the runtime refuses to spawn.
    pub async fn start() -> Result<Self, SpawnErr> {
        let (actor, _) = Actor::spawn(None, Root, ()).await?;
        Ok(Self { actor })
    }

    /// Stops the root and all below it.
    pub fn stop(&self) {
        self.actor.stop(None);
    }
}

impl Actor for Root {
    type Msg = Never;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _me: ActorRef<Never>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<Never>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, error) = event {
            metrics::counter!("fieldmesh_shard_failures_total").increment(1);
            tracing::error!(%error, "a shard failed");
        }
        Ok(())
    }
}
