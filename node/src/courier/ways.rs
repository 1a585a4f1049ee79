//! Asking entities whose shards other nodes lead: a stream for each question.
//!
//! **Invariants:** what was not sent is an error that says so ("not leader"); what was sent and not
//! answered is unknown. **Not here:** who leads (`courier`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fieldmesh_actors::{
    AskError,
    admission::{RETRY_AFTER_MS, is_likely_new},
    commit::Cause,
};
use fieldmesh_domain::{Command, EntityId, IndexRow};
use minicbor::{Decode, bytes::ByteVec};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::wire::{
    self, Audited, FRAME_BYTES_MAX, Gift, Opened, OpenedWanted, Opening, Question, Recorded, Said,
    Seen, SentAlert, SlotRows, SlotWanted, Void, Wanted,
};
use crate::{
    mesh::{Class, Mesh, Receiving, Sending},
    store::rows,
};

/// Questions under way to one node, by who asks: together half of the streams that it allows, so that consensus
/// always finds one. Each has its own, so that who asks for new work keeps nobody from ending the old, and nobody
/// keeps this node from seeing how the others are: least of all, whether they are there and may lead, which they say at
/// once while they read rows or wait for a quorum for other answers.
const WITHIN_MAX: usize = 256;
const CUSTOMERS_MAX: usize = 64;
const OTHERS_MAX: usize = 128;
const LOOKS_MAX: usize = 48;
const CALLS_MAX: usize = 16;
/// An ask waits so long for its turn: whoever sent it asks again later.
const TURN_WITHIN: Duration = Duration::from_secs(5);
/// A commit takes milliseconds; a device asks again after ten seconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// Nothing is written for it: who does not answer by then cannot be asked.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// The ways to all other nodes.
#[derive(Clone)]
pub(super) struct Ways {
    mesh: Arc<Mesh>,
    under_way: Arc<Mutex<BTreeMap<u64, Turns>>>,
}

/// Who asks a node.
#[derive(Debug, Clone, Copy)]
enum Asker {
    /// Entities: their outboxes bound how much waits.
    Within,
    Customer,
    /// Technicians and operators.
    Other,
    /// This node itself, which changes nothing.
    Look,
    /// The same, about what the other one says without looking at anything else.
    Call,
}

impl Asker {
    fn of(cause: &Cause) -> Self {
        match cause {
            Cause::Device { device, .. } if is_likely_new(*device) => Self::Customer,
            cause if cause.is_internal() => Self::Within,
            _ => Self::Other,
        }
    }
}

/// The turns of those who ask one node.
#[derive(Debug, Clone)]
struct Turns {
    within: Arc<Semaphore>,
    customers: Arc<Semaphore>,
    others: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        let of = |count| Arc::new(Semaphore::new(count));
        Self {
            within: of(WITHIN_MAX),
            customers: of(CUSTOMERS_MAX),
            others: of(OTHERS_MAX),
            looks: of(LOOKS_MAX),
            calls: of(CALLS_MAX),
        }
    }
}

impl Turns {
    fn of(self, asker: Asker) -> Arc<Semaphore> {
        match asker {
            Asker::Within => self.within,
            Asker::Customer => self.customers,
            Asker::Other => self.others,
            Asker::Look => self.looks,
            Asker::Call => self.calls,
        }
    }

    /// A turn, in the order of asking; none where it does not come in time.
    async fn next(self, asker: Asker) -> Option<OwnedSemaphorePermit> {
        timeout(TURN_WITHIN, self.of(asker).acquire_owned()).await.ok()?.ok()
    }
}

impl Ways {
    pub(super) fn new(mesh: Arc<Mesh>) -> Self {
        Self { mesh, under_way: Arc::default() }
    }

    fn turns(&self, node: u64) -> Turns {
        // An insertion that panics leaves a map that is whole.
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.entry(node).or_default().clone()
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
        let _turn = self.turns(node).next(Asker::of(cause)).await.ok_or(busy)?;
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

    /// Asks a node of which groups it has a log; none where it does not answer, or does not know the question.
    pub(super) async fn held(&self, node: u64) -> Option<Vec<u32>> {
        self.question(node, &Opening::Held).await
    }

    /// Asks a node for a page of a list; none where it has no replica, or does not answer.
    pub(super) async fn rows(&self, node: u64, wanted: Wanted) -> Option<Vec<IndexRow>> {
        self.question(node, &Opening::Rows(wanted)).await
    }

    /// Asks a node what was opened in a shard; none where it has no replica, or does not answer.
    pub(super) async fn opened(&self, node: u64, wanted: OpenedWanted) -> Option<Vec<Opened>> {
        self.question(node, &Opening::Opened(wanted)).await
    }

    /// Asks a node whether it may lead a group, or any; none where it does not answer.
    pub(super) async fn may_lead(&self, node: u64, group: Option<u32>) -> Option<bool> {
        self.asked_by(Asker::Call, node, &Opening::MayLead(group)).await
    }

    /// Asks a node what the auditor found in a shard that it leads; none where it does not, or does not answer.
    pub(super) async fn audited(&self, node: u64, shard: u32) -> Option<Audited> {
        self.question(node, &Opening::Audited(shard)).await
    }

    /// Asks a node which alerts a device was sent; none where it does not lead its shard, or does not answer.
    pub(super) async fn sent(&self, node: u64, device: EntityId) -> Option<Vec<SentAlert>> {
        self.question(node, &Opening::Sent(device)).await
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
        self.asked_by(Asker::Look, node, asked).await
    }

    async fn asked_by<T: for<'b> Decode<'b, ()>>(
        &self,
        asker: Asker,
        node: u64,
        asked: &Opening,
    ) -> Option<T> {
        let question = rows::encode(asked);
        let asked = async {
            let _turn = self.turns(node).of(asker).acquire_owned().await.ok()?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::EntityKind;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_new_work_takes_nobody_elses_turn() {
        let turns = Turns::default();
        let next = |asker| turns.clone().next(asker);
        let mut held = Vec::new();
        for _ in 0..CUSTOMERS_MAX {
            held.push(next(Asker::Customer).await.unwrap());
        }
        assert!(
            next(Asker::Customer).await.is_none(),
            "customers wait for each other, and not for ever"
        );
        for asker in [Asker::Within, Asker::Other, Asker::Look, Asker::Call] {
            assert!(next(asker).await.is_some());
        }
        let waiting = tokio::spawn(turns.clone().next(Asker::Customer));
        tokio::task::yield_now().await;
        drop(held.pop());
        assert!(waiting.await.unwrap().is_some(), "whoever waited comes next");
    }

    #[tokio::test(start_paused = true)]
    async fn who_looks_at_much_hears_all_the_same_who_is_there() {
        let turns = Turns::default();
        let mut held = Vec::new();
        for _ in 0..LOOKS_MAX {
            held.push(turns.clone().next(Asker::Look).await.unwrap());
        }
        assert!(turns.clone().next(Asker::Look).await.is_none(), "a look waits for another");
        assert!(turns.clone().next(Asker::Call).await.is_some());
        let all = WITHIN_MAX + CUSTOMERS_MAX + OTHERS_MAX + LOOKS_MAX + CALLS_MAX;
        assert_eq!(all, 512, "half of a node's streams");
    }

    #[test]
    fn technicians_and_operators_are_no_customers() {
        let device = |kind| Cause::Device {
            device: EntityId::new(kind, "eu1".parse().unwrap(), [1; 10]),
            message_id: [1; 16],
            content: [2; 32],
            sequence: 3,
            expires_s: 4,
        };
        assert!(matches!(Asker::of(&device(EntityKind::Customer)), Asker::Customer));
        assert!(matches!(Asker::of(&device(EntityKind::Technician)), Asker::Other));
        assert!(matches!(Asker::of(&Cause::Operator { command_id: [1; 16] }), Asker::Other));
        assert!(matches!(Asker::of(&Cause::Outbox { from: 1, number: 2 }), Asker::Within));
    }
}
