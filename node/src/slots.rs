//! Carries slots from one shard to another, as the placement group says, one at a time; what is left behind each shard
//! removes for itself.
//!
//! The leader of the shard that a slot is sent to has it given away by the other one, reads its rows, and
//! writes them to its own log; then the placement group says that the slot is served there. The leader of the
//! other shard removes what is left, once every replica of the first has all of it. Nothing is remembered
//! between the steps: whoever leads next begins the slot again.
//!
//! **Invariants:** a slot is served nowhere between the two shards rather than in both; its rows are removed
//! only where they were copied to every replica. **Not here:** what is wanted
//! (`domain::placement::slots`), what the entries do (`consensus::machine::slots`), the questions
//! (`courier::slots`).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fieldmesh_actors::{
    commit::{Proposal, ShardId, SlotMove, SlotPage},
    seams::Entropy,
};
use fieldmesh_domain::{
    Command, EntityId,
    placement::{self, Home, Slot},
};
use tokio::time::Instant;

use crate::{
    consensus::Group,
    courier::{
        NodeCourier,
        wire::{Gift, SlotWanted},
    },
};

/// What the other shard's entities said is heard in milliseconds; meanwhile nobody serves the slot.
const HEARD_EVERY: Duration = Duration::from_millis(20);
/// After a step that failed, and while replicas catch up.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// A slot that nobody gave away by then is asked for anew: its leader may be another.
const GIVEN_WITHIN: Duration = Duration::from_secs(5);

/// A replica that is up has what is committed by then; one that is away is waited for beside other work.
const CLEARED_WITHIN: Duration = Duration::from_secs(5);

/// Takes the slots that are sent to a group, and removes those that it sent away, for as long as it runs.
pub(crate) async fn carry(group: Group, courier: Arc<NodeCourier>, entropy: Arc<dyn Entropy>) {
    let cluster = courier.known();
    let (mut leading, mut known) = (group.leading(), cluster.watch());
    loop {
        if leading.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let carrier = Carrier { group: &group, courier: &courier, entropy: &*entropy };
        let is_at_work = match carrier.next() {
            Some((home, slot)) => {
                if let Err(reason) = carrier.step(&home, slot).await {
                    let (group, slot) = (group.group, slot.slot);
                    tracing::warn!(group, slot, reason, "a slot is not carried on yet");
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
                true
            }
            None => false,
        };
        tokio::select! {
            changed = known.changed() => if changed.is_err() { return },
            changed = leading.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN_AFTER), if is_at_work => {}
        }
    }
}

/// Tells the shards here of each slot of this region that is served by another one than before.
pub(crate) async fn follow(courier: Arc<NodeCourier>) {
    let cluster = courier.known();
    let mut known = cluster.watch();
    let mut before = cluster.own_now();
    loop {
        if known.changed().await.is_err() {
            return;
        }
        let now = cluster.own_now();
        let said = before.slots.iter().chain(&now.slots).map(|slot| slot.slot);
        let moved: BTreeSet<u16> =
            said.filter(|slot| before.shard_of(*slot) != now.shard_of(*slot)).collect();
        for slot in &moved {
            courier.has_moved(now.slot(*slot));
        }
        if !moved.is_empty() {
            courier.announce_all(&now).await;
        }
        before = now;
    }
}

struct Carrier<'a> {
    group: &'a Group,
    courier: &'a NodeCourier,
    entropy: &'a dyn Entropy,
}

impl Carrier<'_> {
    /// The slot that is moving, where this group has the next thing to do with it.
    fn next(&self) -> Option<(Home, Slot)> {
        let home = self.courier.known().own_now();
        let slot = home.next_of(self.group.group)?;
        Some((home, slot))
    }

    async fn step(&self, home: &Home, slot: Slot) -> Result<(), &'static str> {
        let (region, number, at) = (home.region, slot.slot, self.group.group);
        let sent = SlotMove { region, slot: number, sent: slot.sent };
        let done = match slot.next {
            Some(to) => {
                let began = Instant::now();
                self.take(Gift { slot: sent, from: slot.shard, to }).await?;
                tracing::info!(slot = number, from = slot.shard, to, took = ?began.elapsed(), "a slot has come");
                placement::Command::SlotArrived { region, slot: number, at }
            }
            None => {
                self.clear(sent, slot.shard).await?;
                placement::Command::SlotCleared { region, slot: number, at }
            }
        };
        let told = Command::Placement(done);
        let told = self.courier.ask_anew(EntityId::placement(), told, self.entropy).await;
        told.map(|_| ()).map_err(|_| "the placement group does not answer")
    }

    /// Copies a slot's rows into this group.
    async fn take(&self, gift: Gift) -> Result<(), &'static str> {
        let until = Instant::now() + GIVEN_WITHIN;
        while self.courier.ask_for_slot(gift).await != Some(true) {
            if Instant::now() >= until {
                return Err("the shard that serves it does not give it away");
            }
            tokio::time::sleep(HEARD_EVERY).await;
        }
        let (mut at, mut is_first) = (None, true);
        loop {
            let wanted = SlotWanted { gift, at };
            let page = self.courier.ask_for_rows(wanted).await;
            let page = page.ok_or("the shard that gave it away does not answer")?;
            let (rows, is_last) = (page.rows, page.next.is_none());
            let taken = SlotPage { slot: gift.slot, is_first, is_last, rows };
            self.propose(Proposal::TakeSlot(taken)).await?;
            if is_last {
                return Ok(());
            }
            (at, is_first) = (page.next, false);
        }
    }

    /// Removes what this group has of a slot, once every replica of the shard that serves it has all of it.
    async fn clear(&self, slot: SlotMove, at: ShardId) -> Result<(), &'static str> {
        let unknown = "the shard that serves it does not answer";
        // It was committed before the placement group said that it is served there.
        let (_, first) = self.courier.look(at).await.ok_or(unknown)?;
        let until = Instant::now() + CLEARED_WITHIN;
        loop {
            let (_, seen) = self.courier.look(at).await.ok_or(unknown)?;
            let has_it = |behind: &u64| seen.committed.saturating_sub(*behind) >= first.committed;
            if seen.is_settled && seen.behind.iter().all(|(_, behind)| has_it(behind)) {
                break;
            }
            if Instant::now() >= until {
                return Err("a replica of the shard that serves it is behind, or away");
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        self.propose(Proposal::ClearSlot(slot)).await
    }

    async fn propose(&self, proposal: Proposal) -> Result<(), &'static str> {
        let proposed = self.group.propose(&proposal).await;
        proposed.map(|_| ()).map_err(|_| "this node does not lead any more")
    }
}
