//! Slots of a lost region that were moving when it was lost.
//!
//! The copies of two groups ended at different moments, so the one may have given a slot away that the other has not,
//! or has not whole, and the region's record may know of neither. A slot that was on its way is where it set out,
//! which had everything until then, and sets out anew once the region begins again. One that had arrived, and whose new
//! group's copy ended before that, is brought there from where it came: that one removes nothing before every copy of
//! the other has it.
//!
//! **Invariant:** afterwards a slot that was moving is whole in the group that serves it by the region's record, or is
//! as it was, where no copy has it. **Not here:** the record (`domain::placement::slots`), how slots move
//! (`crate::slots`).

use fieldmesh_actors::commit::SlotMove;
use fieldmesh_domain::placement::{Home, Slot};

use crate::{
    consensus::{machine::slots, restore::Filling},
    courier::rows_of_slot,
    store::{
        Batch, StoreError,
        keys::state,
        rows::{self, SlotRow},
    },
};

/// What became of slots that were moving.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moving {
    /// They set out anew.
    pub again: u64,
    /// They had arrived, and were brought where they are served.
    pub brought: u64,
}

/// Has each slot that was moving whole where it is served.
///
/// # Errors
/// Rows that cannot be read; a disk that fails.
pub(super) fn settle<'a>(
    home: &Home,
    group: impl Fn(u32) -> Option<&'a Filling>,
) -> Result<Moving, StoreError> {
    let mut moving = Moving::default();
    for slot in home.slots.iter().filter(|slot| slot.is_moving()) {
        let other = slot.next.or(slot.last).and_then(&group);
        let (Some(serving), Some(other)) = (group(slot.shard), other) else { continue };
        if slot.next.is_some() {
            set_back(home, slot, serving, other)?;
            moving.again += 1;
        } else if bring(home, slot, serving, other)? {
            moving.brought += 1;
        }
    }
    Ok(moving)
}

/// Whether the shard that serves a slot has it, by what it knows of the slot's last move.
pub(super) fn is_there(home: &Home, slot: u16, last: Option<SlotRow>) -> bool {
    match last {
        Some(row) => row.given_to.is_none(),
        None => home.natural(slot) == home.shard_of(slot),
    }
}

fn move_of(home: &Home, slot: &Slot) -> SlotMove {
    SlotMove { region: home.region, slot: slot.slot, sent: slot.sent }
}

fn last_move(group: &Filling, slot: &Slot) -> Result<Option<SlotRow>, StoreError> {
    rows::read(group.table(), &state::slot(slot.slot))
}

/// As if the slot had not set out yet: neither group has heard of this move. Where the copy of whom it sets out from
/// ended before it gave the slot away, the other one has all that came until then, if it has it whole.
fn set_back(home: &Home, slot: &Slot, from: &Filling, to: &Filling) -> Result<(), StoreError> {
    let before = slot.sent.saturating_sub(1);
    let is_this = |row: &SlotRow| row.sent == slot.sent;
    if last_move(from, slot)?.is_some_and(|row| is_this(&row)) {
        put(from, slot, SlotRow { sent: before, given_to: None })?;
    } else if last_move(to, slot)?.is_some_and(|row| is_this(&row) && row.given_to.is_none()) {
        copy(move_of(home, slot), to, from)?;
    }
    let mut batch = Batch::default();
    slots::remove(to.table(), move_of(home, slot), &mut batch)?;
    to.write(batch)?;
    if last_move(to, slot)?.is_some_and(|row| is_this(&row)) {
        put(to, slot, SlotRow { sent: before, given_to: Some(slot.shard) })?;
    }
    Ok(())
}

/// False where nothing is to be done, or can be.
fn bring(home: &Home, slot: &Slot, to: &Filling, from: &Filling) -> Result<bool, StoreError> {
    let last = last_move(to, slot)?;
    // It may have been there before, and be back since.
    let is_latest = last.map_or(0, |row| row.sent) >= slot.sent;
    if is_latest && is_there(home, slot.slot, last) {
        return Ok(false);
    }
    let given = SlotRow { sent: slot.sent, given_to: Some(slot.shard) };
    let has_it = match last_move(from, slot)? {
        Some(row) => row == given || row.given_to.is_none(),
        None => home.natural(slot.slot) == from.group,
    };
    if !has_it {
        return Ok(false);
    }
    copy(move_of(home, slot), from, to)?;
    put(to, slot, SlotRow { sent: slot.sent, given_to: None })?;
    put(from, slot, given)?;
    Ok(true)
}

/// Has one group have of a slot what another one has.
fn copy(sent: SlotMove, from: &Filling, to: &Filling) -> Result<(), StoreError> {
    let (mut at, mut batch) = (None, Batch::default());
    slots::remove(to.table(), sent, &mut batch)?;
    to.write(batch)?;
    loop {
        let page = rows_of_slot(from.table(), sent, at.as_ref())?;
        let mut batch = Batch::default();
        for (key, value) in page.rows {
            batch.put(Vec::from(key), Vec::from(value));
        }
        to.write(batch)?;
        at = page.next;
        if at.is_none() {
            return Ok(());
        }
    }
}

fn put(group: &Filling, slot: &Slot, row: SlotRow) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    batch.put(state::slot(slot.slot), rows::encode(&row));
    group.write(batch)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::{EntityId, EntityKind};

    use super::*;
    use crate::store::simulated::Disk;

    const SENT: u64 = 9;

    fn customer() -> EntityId {
        EntityId::new(EntityKind::Customer, "eu1".parse().unwrap(), [3; 10])
    }

    /// A region of two shards, and the slot of a customer in the one where it is by nature, and in the other.
    fn home() -> (Home, u32, u32) {
        let home = Home::new("eu1".parse().unwrap(), 0, 2);
        let natural = home.natural(customer().slot());
        (home, natural, 3 - natural)
    }

    fn group(disk: &Disk, number: u32, has: Option<&[u8]>, last: Option<SlotRow>) -> Filling {
        let filling = Filling::begin(disk, number).unwrap();
        let mut batch = Batch::default();
        if let Some(head) = has {
            batch.put(state::head(&customer().to_bytes()), head);
        }
        if let Some(row) = last {
            batch.put(state::slot(customer().slot()), rows::encode(&row));
        }
        filling.write(batch).unwrap();
        filling
    }

    fn settled(home: &Home, groups: &[Filling]) -> Moving {
        settle(home, |number| groups.iter().find(|one| one.group == number)).unwrap()
    }

    fn found(group: &Filling) -> (Option<Vec<u8>>, Option<SlotRow>) {
        let head = group.table().get(&state::head(&customer().to_bytes())).unwrap();
        (head, rows::read(group.table(), &state::slot(customer().slot())).unwrap())
    }

    #[test]
    fn what_was_on_its_way_sets_out_anew() {
        let (mut home, from, to) = home();
        let slot = customer().slot();
        home.slots = vec![Slot { slot, shard: from, next: Some(to), last: None, sent: SENT }];
        let given = SlotRow { sent: SENT, given_to: Some(to) };
        let came = SlotRow { sent: SENT, given_to: None };
        let not_here = SlotRow { sent: SENT - 1, given_to: Some(from) };
        // How far it had come there: not at all, with some of its pages, whole.
        for (has, last, left) in [
            (None, None, None),
            (Some(b"some"), None, None),
            (Some(b"some"), Some(came), Some(not_here)),
        ] {
            let disk = Disk::default();
            let has = has.map(|some: &[u8; 4]| &some[..]);
            let groups =
                [group(&disk, from, Some(b"all"), Some(given)), group(&disk, to, has, last)];
            assert_eq!(settled(&home, &groups), Moving { again: 1, brought: 0 });
            let here = SlotRow { sent: SENT - 1, given_to: None };
            assert_eq!(found(&groups[0]), (Some(b"all".to_vec()), Some(here)));
            assert!(is_there(&home, slot, Some(here)));
            assert_eq!(found(&groups[1]), (None, left));
            // Each takes part in the move as if it had not begun.
            assert!([Some(here), left].into_iter().flatten().all(|row| row.sent < SENT));
        }
    }

    #[test]
    fn what_a_copy_has_of_later_than_the_one_it_goes_back_to_is_not_lost() {
        let (mut home, from, to) = home();
        let slot = customer().slot();
        home.slots = vec![Slot { slot, shard: from, next: Some(to), last: None, sent: SENT }];
        let came = SlotRow { sent: SENT, given_to: None };
        for before in [None, Some(SlotRow { sent: SENT - 1, given_to: None })] {
            let disk = Disk::default();
            let groups = [
                group(&disk, from, Some(b"old"), before),
                group(&disk, to, Some(b"new"), Some(came)),
            ];
            assert_eq!(settled(&home, &groups), Moving { again: 1, brought: 0 });
            assert_eq!(found(&groups[0]), (Some(b"new".to_vec()), before));
            assert_eq!(found(&groups[1]).0, None);
        }
    }

    #[test]
    fn a_slot_that_left_and_came_back_is_brought_as_it_came() {
        let (mut home, from, to) = home();
        let slot = customer().slot();
        home.slots = vec![Slot { slot, shard: to, next: None, last: Some(from), sent: SENT }];
        let given = SlotRow { sent: SENT, given_to: Some(to) };
        let once = SlotRow { sent: SENT - 4, given_to: None };
        let disk = Disk::default();
        let groups = [
            group(&disk, from, Some(b"new"), Some(given)),
            group(&disk, to, Some(b"old"), Some(once)),
        ];
        assert_eq!(settled(&home, &groups), Moving { again: 0, brought: 1 });
        assert_eq!(found(&groups[1]).0, Some(b"new".to_vec()));
    }

    #[test]
    fn what_had_arrived_is_brought_where_it_is_served() {
        let (mut home, from, to) = home();
        let slot = customer().slot();
        home.slots = vec![Slot { slot, shard: to, next: None, last: Some(from), sent: SENT }];
        let given = SlotRow { sent: SENT, given_to: Some(to) };
        let came = SlotRow { sent: SENT, given_to: None };
        // The copy of whom it came from may have ended before it gave the slot away.
        for last in [Some(given), None] {
            let disk = Disk::default();
            let groups =
                [group(&disk, from, Some(b"all"), last), group(&disk, to, Some(b"some"), None)];
            assert_eq!(settled(&home, &groups), Moving { again: 0, brought: 1 });
            assert_eq!(found(&groups[0]), (Some(b"all".to_vec()), Some(given)));
            assert_eq!(found(&groups[1]), (Some(b"all".to_vec()), Some(came)));
        }
        // What is there has gone on there.
        let disk = Disk::default();
        let groups = [
            group(&disk, from, Some(b"old"), Some(given)),
            group(&disk, to, Some(b"new"), Some(came)),
        ];
        assert_eq!(settled(&home, &groups), Moving::default());
        assert_eq!(found(&groups[1]), (Some(b"new".to_vec()), Some(came)));
    }
}
