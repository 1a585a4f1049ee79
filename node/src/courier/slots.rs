//! What shards ask each other for when a slot goes from one to another.
//!
//! **Invariants:** rows are read only of a slot that was given away, and do not change any more. **Not
//! here:** who moves what, and when (`crate::slots`), what the entries do (`consensus::machine::slots`).

use fieldmesh_actors::{
    AskError,
    commit::{Proposal, ShardId, SlotMove, Verdict},
};
use fieldmesh_domain::placement::Slot;
use minicbor::bytes::ByteVec;

use super::{
    Leader, NodeCourier, read,
    wire::{Gift, SlotRows, SlotWanted, Void},
};
use crate::{
    consensus::Outcome,
    store::{
        StoreError, Table,
        keys::state,
        rows::{self, OutboxRow, SlotRow},
    },
};

/// Bytes of a page: what it becomes must fit a log entry. A row that is larger came in one, and is a page of
/// its own.
const PAGE_BYTES: usize = 128 << 10;
/// Rows looked at for one page: most of those that are sorted by time are other slots'.
const LOOKED_AT_MAX: usize = 16_384;

impl NodeCourier {
    /// Has the number of a redirected row taken by the shard that waits for it.
    pub(super) async fn tell_void(&self, void: Void) -> Result<(), AskError> {
        let taken = match (self.leader_number(void.shard), &self.ways) {
            (Some(node), _) if node == self.number => self.take_void(void).await,
            (Some(node), Some(ways)) => ways.take_void(node, void).await,
            _ => None,
        };
        if taken == Some(true) { Ok(()) } else { Err(AskError::NotLeader) }
    }

    /// Takes a number without effect; none where this node does not lead.
    pub async fn take_void(&self, void: Void) -> Option<bool> {
        let Void { shard, from, number } = void;
        let group = self.running(shard)?;
        let taken = group.propose(&Proposal::TakeVoid { from, number }).await.ok()?;
        Some(!matches!(taken, Outcome::Decided(Verdict::TooFar)))
    }

    /// Asks whoever leads it that a shard gives a slot away; whether that is all done.
    pub async fn ask_for_slot(&self, gift: Gift) -> Option<bool> {
        match (self.leader_number(gift.from)?, &self.ways) {
            (node, _) if node == self.number => self.give_slot(gift).await,
            (node, Some(ways)) => ways.give_slot(node, gift).await,
            _ => None,
        }
    }

    /// Gives a slot away; true once all that its entities said was heard, so that what they say from the
    /// other shard comes behind it. None where the placement group does not want that, as far as is known
    /// here, or it cannot be written.
    pub async fn give_slot(&self, gift: Gift) -> Option<bool> {
        let Gift { slot, from, to } = gift;
        // It cannot be taken back: what another node says is not enough.
        let wanted = self.known.own_now().slot(slot.slot);
        let is_wanted = slot.region == self.known.own().region
            && (wanted.shard, wanted.next, wanted.sent) == (from, Some(to), slot.sent);
        let group = self.running(from).filter(|_| is_wanted)?;
        let table = group.table();
        let row: Option<SlotRow> = rows::read(&*table, &state::slot(slot.slot)).ok()?;
        if row.is_none_or(|row| row.sent < slot.sent) {
            group.propose(&Proposal::GiveSlot { slot, to }).await.ok()?;
        }
        // Where that is so once, nothing of the slot changes any more, whoever leads.
        let is_heard = says_nothing(&*table, slot.slot);
        is_heard.inspect_err(|error| tracing::error!(%error, "an outbox cannot be read")).ok()
    }

    /// Asks whoever leads it for a page of a slot that a shard gave away.
    pub async fn ask_for_rows(&self, wanted: SlotWanted) -> Option<SlotRows> {
        match (self.leader_number(wanted.gift.from)?, &self.ways) {
            (node, _) if node == self.number => self.slot_rows(&wanted),
            (node, Some(ways)) => ways.slot_rows(node, wanted).await,
            _ => None,
        }
    }

    /// A page of a slot that was given away; none where this replica does not know of that.
    pub fn slot_rows(&self, wanted: &SlotWanted) -> Option<SlotRows> {
        let table = self.running(wanted.gift.from)?.table();
        let page = page(&*table, wanted);
        page.inspect_err(|error| tracing::error!(%error, "a slot cannot be read")).ok()?
    }

    fn leader_number(&self, shard: ShardId) -> Option<u64> {
        match self.leader(shard) {
            Leader::Here(_) => Some(self.number),
            Leader::There(node) => Some(node),
            Leader::Nobody => None,
        }
    }

    /// A slot of this region is served by another shard from now on: that one is to know of its devices
    /// and its timers, the other one to forget them.
    pub fn has_moved(&self, slot: Slot) {
        let own = self.known.own().region;
        let sessions = read(&self.sessions);
        let devices = sessions.devices().filter(|id| id.slot() == slot.slot && id.region() == own);
        let devices: Vec<_> = devices.collect();
        for (shard, handle) in read(&self.shards).iter() {
            for device in &devices {
                match *shard == slot.shard {
                    true => handle.attached(*device),
                    false => handle.detached(*device),
                }
            }
            if *shard == slot.shard {
                handle.has_gained();
            }
        }
    }
}

/// Whether nothing is left that a slot's entities said and nobody heard yet.
fn says_nothing(table: &dyn Table, slot: u16) -> Result<bool, StoreError> {
    const PAGE: usize = 1024;
    let (mut from, until) = state::outbox_range();
    loop {
        let page = table.scan(&from, &until, PAGE)?;
        for (key, value) in &page {
            let row: OutboxRow = rows::decode(key, value)?;
            if row.tell.from.slot() == slot && !row.is_void {
                return Ok(false);
            }
        }
        let Some((last, _)) = page.last() else { return Ok(true) };
        from.clone_from(last);
        from.push(0);
    }
}

fn page(table: &dyn Table, wanted: &SlotWanted) -> Result<Option<SlotRows>, StoreError> {
    let slot = wanted.gift.slot;
    let given: Option<SlotRow> = rows::read(table, &state::slot(slot.slot))?;
    let is_given = given == Some(SlotRow { sent: slot.sent, given_to: Some(wanted.gift.to) });
    // A replica may be behind the one that gave it away.
    if !is_given || !says_nothing(table, slot.slot)? {
        return Ok(None);
    }
    rows_of_slot(table, slot, wanted.at.as_ref()).map(Some)
}

/// A page of a slot's rows from one on, whoever has them.
///
/// # Errors
/// Rows that cannot be read.
pub(crate) fn rows_of_slot(
    table: &dyn Table,
    slot: SlotMove,
    at: Option<&ByteVec>,
) -> Result<SlotRows, StoreError> {
    let at = at.map_or(&[][..], |at| at.as_slice());
    let own = state::slot_ranges(slot.region, slot.slot).into_iter().map(|range| (range, true));
    let shared = state::by_time().into_iter().map(|range| (range, false));
    let mut ranges: Vec<_> = own.chain(shared).collect();
    ranges.sort();
    let (mut found, mut bytes, mut looked_at) = (SlotRows::default(), 0, 0);
    for ((from, until), is_own) in ranges.into_iter().filter(|((_, until), _)| &until[..] > at) {
        let mut from = if &from[..] < at { at.to_vec() } else { from };
        loop {
            if bytes >= PAGE_BYTES || looked_at >= LOOKED_AT_MAX {
                found.next = Some(from.into());
                return Ok(found);
            }
            let rows = table.page(&from, &until, LOOKED_AT_MAX - looked_at, PAGE_BYTES - bytes)?;
            let Some((last, _)) = rows.last() else { break };
            from.clone_from(last);
            from.push(0);
            looked_at += rows.len();
            for (key, value) in rows {
                if !is_own && !state::is_by_time_of(&key, slot.region, slot.slot) {
                    continue;
                }
                bytes += key.len() + value.len();
                if bytes > PAGE_BYTES && !found.rows.is_empty() {
                    found.next = Some(key.into());
                    return Ok(found);
                }
                found.rows.push((ByteVec::from(key), ByteVec::from(value)));
            }
        }
    }
    Ok(found)
}
