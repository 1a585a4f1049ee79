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
        wire::{self, FRAME_BYTES_MAX, Opened, OpenedWanted, Opening, Recorded},
    },
    hosting::Hosting,
    mesh::{Class, Receiving, Sending, Serve},
    register,
    rotation::Rotation,
    store::{health::Health, rows},
};

/// Whoever has this node's keys; set once the node has its authority, which is built on the node.
pub type KeyHolder = Arc<OnceLock<Weak<Rotation>>>;

/// Answers other nodes.
pub(crate) struct Peers {
    pub(crate) groups: Arc<Members>,
    pub(crate) courier: Arc<NodeCourier>,
    pub(crate) key_holder: KeyHolder,
    pub(crate) hosting: Arc<Hosting>,
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
        let answer = match wire::decode(&first).map_err(|error| text(&error))? {
            Opening::Ask(question) => rows::encode(&self.courier.answer(*question).await),
            Opening::Look(group) => {
                let seen = self.courier.seen(group).await.ok_or("the group is not led here")?;
                rows::encode(&seen)
            }
            Opening::Held => rows::encode(&self.hosting.held().map_err(|error| text(&error))?),
            Opening::Audited(shard) => {
                rows::encode(&self.hosting.audited(shard).ok_or("there was no pass here")?)
            }
            Opening::Sent(device) => {
                let sent = self.courier.sent_here(device).await.ok_or("not led here")?;
                rows::encode(&sent)
            }
            Opening::Rows(wanted) => {
                let page = self.hosting.rows(&wanted).ok_or("no replica is here")?;
                rows::encode(&page.map_err(|error| text(&error))?)
            }
            Opening::Opened(wanted) => rows::encode(&self.opened(from, &wanted).await?),
            Opening::MayLead(group) => rows::encode(&self.may_lead(group)),
            Opening::Recorded(certificate) => rows::encode(&self.is_recorded(&certificate).await?),
            Opening::IssuingKey(fingerprint) => {
                rows::encode(&self.issuing_key(from, fingerprint.into()).await?)
            }
            Opening::Notices => {
                self.courier.listen(from, receive).await?;
                send.finish();
                return Ok(());
            }
            Opening::TakeVoid(void) => {
                let is_taken = self.courier.take_void(void).await.ok_or("not led here")?;
                rows::encode(&is_taken)
            }
            Opening::GiveSlot(gift) => {
                let is_given = self.courier.give_slot(gift).await.ok_or("not led here")?;
                rows::encode(&is_given)
            }
            Opening::SlotRows(wanted) => {
                // Rows leave their region with no key of it, and only to a shard of the same.
                if !self.courier.is_neighbour(from) {
                    return Err("a region's rows stay in it".into());
                }
                let page = self.courier.slot_rows(&wanted).ok_or("the slot was not given away")?;
                rows::encode(&page)
            }
        };
        send.frame(&answer).await.map_err(|error| text(&error))?;
        send.finish();
        Ok(())
    }

    fn may_lead(&self, group: Option<u32>) -> bool {
        match group {
            Some(group) => self.groups.may_lead(group),
            None => self.hosting.health() == Health::Well,
        }
    }

    async fn opened(&self, from: u64, wanted: &OpenedWanted) -> Result<Vec<Opened>, String> {
        if !self.courier.is_neighbour(from) {
            return Err("what a region counts stays in it".into());
        }
        // Whoever asks goes on behind the last that it was told: there must be no gap before that.
        let is_latest = self.courier.catch_up(wanted.shard).await;
        let page = self.hosting.opened(wanted).filter(|_| is_latest);
        page.ok_or_else(|| "no replica that is up to date is here".into())
    }

    async fn issuing_key(&self, from: u64, fingerprint: [u8; 32]) -> Result<ByteVec, String> {
        if !self.courier.is_neighbour(from) {
            return Err("a region's keys stay in it".into());
        }
        let key_holder = self.key_holder.get().and_then(Weak::upgrade).ok_or("not ready")?;
        let sealed = key_holder.sealed_issuing(fingerprint).await;
        let sealed = ByteVec::from(sealed.ok_or("the key is not here")?);
        tracing::warn!(to = from, "an issuing CA's key was given to a node of the region");
        Ok(sealed)
    }

    async fn is_recorded(&self, certificate: &Recorded) -> Result<bool, String> {
        let own = self.courier.known().own().authority();
        let is_latest = self.courier.catch_up(own).await;
        is_latest.then_some(()).ok_or("the authority's last word is not known here")?;
        let journal = self.hosting.journal(own).ok_or("the authority is not here")?;
        Ok(register::has_record(&journal, certificate))
    }
}
