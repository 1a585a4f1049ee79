//! Asking entities whose shards other nodes lead: a stream for each question.
//!
//! **Invariants:** what was not sent is an error that says so ("not leader"); what was sent and not
//! answered is unknown. **Not here:** who leads (`courier`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fieldmesh_actors::{AskError, admission::RETRY_AFTER_MS, commit::Cause};
use fieldmesh_domain::{Command, EntityId, IndexRow};
use minicbor::{Decode, bytes::ByteVec};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::wire::{
    self, Audited, FRAME_BYTES_MAX, Gift, Opening, Question, Recorded, Said, Seen, SlotRows,
    SlotWanted, Void, Wanted,
};
use crate::{
    mesh::{Class, Mesh, Receiving, Sending},
    store::rows,
};

/// Questions under way to one node: half of the streams that it allows, so that consensus always finds
/// one.
const QUESTIONS_MAX: usize = 512;
/// A commit takes milliseconds; a device asks again after ten seconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// Nothing is written for it: who does not answer by then cannot be asked.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// The ways to all other nodes.
#[derive(Clone)]
pub(super) struct Ways {
    mesh: Arc<Mesh>,
    under_way: Arc<Mutex<BTreeMap<u64, Arc<Semaphore>>>>,
}

impl Ways {
    pub(super) fn new(mesh: Arc<Mesh>) -> Self {
        Self { mesh, under_way: Arc::default() }
    }

    fn enter(&self, node: u64) -> Option<OwnedSemaphorePermit> {
        // An insertion that panics leaves a map that is whole.
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let limit =
            under_way.entry(node).or_insert_with(|| Arc::new(Semaphore::new(QUESTIONS_MAX)));
        Arc::clone(limit).try_acquire_owned().ok()
    }

    /// Asks an entity by way of a node.
    pub(super) async fn ask(
        &self,
        node: u64,
        shard: Option<u32>,
        to: EntityId,
        command: &Command,
        cause: &Cause,
    ) -> Result<Said, AskError> {
        let busy = AskError::Busy { retry_after_ms: RETRY_AFTER_MS };
        let _permit = self.enter(node).ok_or(busy)?;
        let question = Question { to, command: command.clone(), cause: cause.clone(), shard };
        let question = rows::encode(&Opening::Ask(Box::new(question)));
        let opened = self.mesh.open(node, Class::Application).await;
        let (send, receive) = opened.map_err(|error| {
            tracing::debug!(node, %error, "a node that leads cannot be asked");
            AskError::NotLeader
        })?;
        let answered = timeout(ANSWERED_WITHIN, exchange(send, receive, &question)).await;
        answered.unwrap_or(None).ok_or(AskError::Unknown)
    }

    /// Asks a node how a group is that it leads; none where it does not, or does not answer.
    pub(super) async fn look(&self, node: u64, group: u32) -> Option<Seen> {
        self.question(node, &Opening::Look(group)).await
    }

    /// Asks a node for a page of a list; none where it has no replica, or does not answer.
    pub(super) async fn rows(&self, node: u64, wanted: Wanted) -> Option<Vec<IndexRow>> {
        self.question(node, &Opening::Rows(wanted)).await
    }

    /// Asks a node whether it may lead; none where it does not answer.
    pub(super) async fn may_lead(&self, node: u64) -> Option<bool> {
        self.question(node, &Opening::MayLead).await
    }

    /// Asks a node what the auditor found in a shard that it leads; none where it does not, or does not answer.
    pub(super) async fn audited(&self, node: u64, shard: u32) -> Option<Audited> {
        self.question(node, &Opening::Audited(shard)).await
    }

    /// Asks a node that leads a shard to take a number without effect; whether it did.
    pub(super) async fn take_void(&self, node: u64, void: Void) -> Option<bool> {
        self.question(node, &Opening::TakeVoid(void)).await
    }

    /// Asks a node that leads a shard to give a slot away; whether that is all done.
    pub(super) async fn give_slot(&self, node: u64, gift: Gift) -> Option<bool> {
        self.question(node, &Opening::GiveSlot(gift)).await
    }

    /// Asks a node for a page of a slot that was given away.
    pub(super) async fn slot_rows(&self, node: u64, wanted: SlotWanted) -> Option<SlotRows> {
        self.question(node, &Opening::SlotRows(wanted)).await
    }

    /// Asks a node whether its region's authority has a record; none where it does not lead that.
    pub(super) async fn is_recorded(&self, node: u64, certificate: &Recorded) -> Option<bool> {
        self.question(node, &Opening::Recorded(certificate.clone())).await
    }

    /// Asks a node for an issuing CA's key, which comes sealed.
    pub(super) async fn issuing_key(&self, node: u64, fingerprint: [u8; 32]) -> Option<Vec<u8>> {
        let sealed: ByteVec = self.question(node, &Opening::IssuingKey(fingerprint.into())).await?;
        Some(sealed.into())
    }

    async fn question<T: for<'b> Decode<'b, ()>>(&self, node: u64, asked: &Opening) -> Option<T> {
        let _permit = self.enter(node)?;
        let question = rows::encode(asked);
        let asked = async {
            let (send, receive) = self.mesh.open(node, Class::Application).await.ok()?;
            exchange(send, receive, &question).await
        };
        timeout(SEEN_WITHIN, asked).await.ok().flatten()
    }
}

async fn exchange<T: for<'b> Decode<'b, ()>>(
    mut send: Sending,
    mut receive: Receiving,
    question: &[u8],
) -> Option<T> {
    send.frame(question).await.ok()?;
    send.finish();
    let answer = receive.frame(FRAME_BYTES_MAX).await.ok()??;
    wire::decode(&answer).ok()
}
