//! What this node answers other nodes, by what their streams carry.
//!
//! **Invariant:** a frame that is not understood ends its stream and nothing else. **Not here:** who may
//! ask (`mesh`), consensus (`consensus::service`), sessions and shards (`courier`).

use std::sync::{Arc, OnceLock, Weak};

use fieldmesh_actors::seams::Pending;
use minicbor::bytes::ByteVec;

use crate::{
    consensus::service::Members,
    courier::{
        NodeCourier,
        wire::{self, FRAME_BYTES_MAX, Opening, Question},
    },
    mesh::{Class, Receiving, Sending, Serve},
    store::rows,
};

/// What a node has of its region's secrets.
pub trait Vault: Send + Sync {
    /// The key of an issuing CA, by its certificate's SHA-256, under the region's key; none where it is
    /// not here.
    fn sealed_issuing(self: Arc<Self>, fingerprint: [u8; 32]) -> Pending<Option<Vec<u8>>>;
}

/// Set once the node has its authority.
pub type VaultCell = Arc<OnceLock<Weak<dyn Vault>>>;

/// Answers other nodes.
pub struct Peers {
    pub groups: Arc<Members>,
    pub courier: Arc<NodeCourier>,
    pub vault: VaultCell,
}

impl Serve for Peers {
    fn serve(
        self: Arc<Self>,
        from: u64,
        class: Class,
        mut send: Sending,
        mut receive: Receiving,
    ) -> Pending<()> {
        if class != Class::Application {
            return Arc::clone(&self.groups).serve(from, class, send, receive);
        }
        Box::pin(async move {
            if let Err(error) = self.application(from, &mut send, &mut receive).await {
                metrics::counter!("fieldmesh_mesh_faults_total").increment(1);
                tracing::debug!(from, error, "a stream of a node was ended");
                send.refuse();
            }
        })
    }
}

impl Peers {
    async fn application(
        &self,
        from: u64,
        send: &mut Sending,
        receive: &mut Receiving,
    ) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let first = receive.frame(FRAME_BYTES_MAX).await.map_err(|error| text(&error))?;
        let first = first.ok_or("the stream was empty")?;
        match wire::decode(&first).map_err(|error| text(&error))? {
            Opening::Ask(question) => {
                let Question { to, command, cause } = *question;
                let said = self.courier.answer(to, command, cause).await;
                send.frame(&rows::encode(&said)).await.map_err(|error| text(&error))?;
            }
            Opening::Look(group) => {
                let seen = self.courier.seen(group).ok_or("the group is not led here")?;
                send.frame(&rows::encode(&seen)).await.map_err(|error| text(&error))?;
            }
            Opening::IssuingKey(fingerprint) => {
                if !self.courier.is_neighbour(from) {
                    return Err("a region's keys stay in it".into());
                }
                let vault = self.vault.get().and_then(Weak::upgrade).ok_or("not ready")?;
                let sealed = vault.sealed_issuing(fingerprint.into()).await;
                let sealed = ByteVec::from(sealed.ok_or("the key is not here")?);
                tracing::warn!(to = from, "an issuing CA's key was given to a node of the region");
                send.frame(&rows::encode(&sealed)).await.map_err(|error| text(&error))?;
            }
            Opening::Notices => self.courier.listen(from, receive).await?,
        }
        send.finish();
        Ok(())
    }
}
