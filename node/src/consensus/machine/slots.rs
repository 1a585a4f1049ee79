//! Slots that go from one shard to another, as entries of both shards' logs.
//!
//! From the entry on that gives a slot away, its entities hear only each other out: once nothing is left
//! that one of them said, nothing of the slot changes where it was, and its rows can be read in pages. With
//! the last page it is served where it came; what is left behind is removed afterwards.
//!
//! **Invariants:** a slot that was given away takes no commit but for what its own entities said before; what
//! is removed was given away before; a redirected row leaves its number behind for the shard that waits for
//! it. **Not here:** who moves what, and when (`crate::slots`).

use std::collections::BTreeMap;

use fieldmesh_actors::commit::{Cause, Proposal, ShardId, SlotMove, SlotPage, Tell, Verdict};
use fieldmesh_domain::{EntityId, EntityKind, IndexRow};

use super::Machine;
use crate::store::{
    Batch, StoreError, Table,
    keys::state,
    rows::{self, Cursor, OutboxRow, SlotRow, Take, TimerRow},
};

/// Timers of a slot that are looked at together.
const PAGE: usize = 1024;

/// Whether an entity takes no cause here, because its slot was given to another shard.
pub(crate) fn is_given(
    table: &dyn Table,
    group: ShardId,
    entity: EntityId,
    cause: &Cause,
) -> Result<bool, StoreError> {
    let is_given = found(table, entity)?.is_some_and(|row| row.given_to.is_some());
    Ok(is_given && !is_heard_out(table, group, entity, cause)?)
}

/// Whether a cause is what an entity of the same slot said, before the slot was given away.
pub(crate) fn is_heard_out(
    table: &dyn Table,
    group: ShardId,
    entity: EntityId,
    cause: &Cause,
) -> Result<bool, StoreError> {
    let Cause::Outbox { from, number } = cause else { return Ok(false) };
    if *from != group {
        return Ok(false);
    }
    let row: Option<OutboxRow> = rows::read(table, &state::outbox(group, *number))?;
    Ok(row.is_some_and(|row| row.tell.from.slot() == entity.slot()))
}

/// What is said of an entity's slot; none where nothing is.
pub(crate) fn found(table: &dyn Table, entity: EntityId) -> Result<Option<SlotRow>, StoreError> {
    if !EntityKind::IN_SLOTS.contains(&entity.kind()) {
        return Ok(None);
    }
    rows::read(table, &state::slot(entity.slot()))
}

/// Whether a row of an outbox had its effect in this group.
pub(crate) fn is_consumed(
    table: &dyn Table,
    group: ShardId,
    cause: &Cause,
) -> Result<bool, StoreError> {
    match cause {
        Cause::Outbox { from, number } if *from == group => {
            Ok(table.get(&state::outbox(group, *number))?.is_none())
        }
        Cause::Outbox { from, number } => {
            let cursor: Option<Cursor> = rows::read(table, &state::cursor(*from))?;
            Ok(cursor.is_some_and(|cursor| cursor.has(*number)))
        }
        Cause::Device { .. } | Cause::Timer { .. } | Cause::Operator { .. } => Ok(false),
    }
}

/// The rows of lists that a page of a slot brings: whoever counts them is shown them as any others.
pub(super) fn listed(proposal: &Proposal) -> Vec<IndexRow> {
    let Proposal::TakeSlot(page) = proposal else { return Vec::new() };
    let (from, until) = state::indexes();
    let is_listed = |key: &[u8]| from.as_slice() <= key && key < until.as_slice();
    let listed = page.rows.iter().filter(|(key, _)| is_listed(key.as_slice()));
    listed.filter_map(|(key, value)| rows::decode(key.as_slice(), value.as_slice()).ok()).collect()
}

/// Removes all rows of a slot. Those that say when a message may be forgotten stay: they are removed
/// when their time has come.
///
/// # Errors
/// Rows that cannot be read.
pub(crate) fn remove(
    table: &dyn Table,
    slot: SlotMove,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let SlotMove { region, slot, .. } = slot;
    for (mut from, until) in state::timers_of(region, slot) {
        loop {
            let page = table.scan(&from, &until, PAGE)?;
            for (key, value) in &page {
                let row: TimerRow = rows::decode(key, value)?;
                if let Some((entity, name)) = state::timer_of(key) {
                    batch.delete(state::timer_due(row.due_ms, &entity, name));
                }
            }
            let Some((last, _)) = page.last() else { break };
            from.clone_from(last);
            from.push(0);
        }
    }
    for (from, until) in state::slot_ranges(region, slot) {
        batch.delete_range(from, until);
    }
    Ok(())
}

impl Machine {
    pub(super) fn carry(
        &self,
        proposal: Proposal,
        batch: &mut Batch,
    ) -> Result<Verdict, StoreError> {
        let is_done = match proposal {
            Proposal::GiveSlot { slot, to } => {
                let is_new = self.last_move(slot)?.is_none_or(|last| last.sent < slot.sent);
                if is_new {
                    let row = SlotRow { sent: slot.sent, given_to: Some(to) };
                    batch.put(state::slot(slot.slot), rows::encode(&row));
                }
                is_new
            }
            Proposal::TakeSlot(page) => self.take_page(page, batch)?,
            Proposal::ClearSlot(slot) => {
                let last = self.last_move(slot)?.filter(|last| last.sent == slot.sent);
                let is_given = last.is_some_and(|last| last.given_to.is_some());
                if is_given {
                    remove(&*self.table, slot, batch)?;
                }
                is_given
            }
            Proposal::Redirect { rows, to } => {
                self.redirect(&rows, to, batch)?;
                true
            }
            Proposal::TakeVoid { from, number } => return self.take_void(from, number, batch),
            Proposal::Commit(_) | Proposal::Settle(_) | Proposal::SnapshotPart(_) => false,
        };
        Ok(if is_done { Verdict::Applied { tells: Vec::new() } } else { Verdict::Consumed })
    }

    /// The last move of a slot that this group had a part in.
    fn last_move(&self, slot: SlotMove) -> Result<Option<SlotRow>, StoreError> {
        rows::read(&*self.table, &state::slot(slot.slot))
    }

    /// False where the slot has come already, maybe to go on since.
    fn take_page(&self, page: SlotPage, batch: &mut Batch) -> Result<bool, StoreError> {
        let SlotPage { slot, is_first, is_last, rows } = page;
        if self.last_move(slot)?.is_some_and(|last| last.sent >= slot.sent) {
            return Ok(false);
        }
        if is_first {
            remove(&*self.table, slot, batch)?;
        }
        for (key, value) in rows {
            batch.put(Vec::from(key), Vec::from(value));
        }
        if is_last {
            let row = SlotRow { sent: slot.sent, given_to: None };
            batch.put(state::slot(slot.slot), rows::encode(&row));
        }
        Ok(true)
    }

    fn redirect(
        &self,
        rows: &[(ShardId, u64)],
        to: ShardId,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let next = state::outbox_next(to);
        let mut number = rows::read_u64(&*self.table, &next)?.unwrap_or(1);
        let mut old = BTreeMap::new();
        for (shard, numbered) in rows {
            let key = state::outbox(*shard, *numbered);
            let row: Option<OutboxRow> = rows::read(&*self.table, &key)?;
            let Some(row) = row.filter(|row| !row.is_void) else { continue };
            let tell = Tell { shard: to, ..row.tell.clone() };
            batch.put(state::outbox(to, number), rows::encode(&OutboxRow { tell, ..row }));
            number += 1;
            old.insert(key, (*shard, row));
        }
        for (key, (shard, row)) in old {
            // A row for this very shard is consumed by its absence; others wait for their numbers.
            if shard == self.shard {
                batch.delete(key);
            } else {
                let tell = Tell { sealed: Vec::new(), ..row.tell };
                let void = OutboxRow { tell, owner: row.owner, is_void: true };
                batch.put(key, rows::encode(&void));
            }
        }
        batch.put(next, number.to_be_bytes());
        Ok(())
    }

    fn take_void(
        &self,
        from: ShardId,
        number: u64,
        batch: &mut Batch,
    ) -> Result<Verdict, StoreError> {
        let key = state::cursor(from);
        let mut cursor: Cursor = rows::read(&*self.table, &key)?.unwrap_or_default();
        match cursor.take(number) {
            Take::TooFar => return Ok(Verdict::TooFar),
            Take::Before => return Ok(Verdict::Consumed),
            Take::Fresh => {}
        }
        batch.put(key, rows::encode(&cursor));
        Ok(Verdict::Applied { tells: Vec::new() })
    }
}
