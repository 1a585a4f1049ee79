//! Which shard of a region serves a slot.
//!
//! As long as nobody says otherwise, slots are spread over the shards by remainder. An operator may have a
//! slot moved: it is then *on its way* until the new shard has all of it, which serves it from then on,
//! and *left behind* until the old one has removed what it had.
//!
//! **Invariants:** a slot is served by one shard; it sets out again only when nothing of it is left
//! behind. **Not here:** carrying the rows (`node`).

use minicbor::{Decode, Encode};

use super::{Event, GROUPS_PER_REGION, Home, Members, Placement, SLOTS_MOVE};
use crate::{Region, Rejection, RejectionCode, ids::SLOTS};

/// A slot that is not, or not only, where the remainder puts it. Shards by their groups' numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Slot {
    #[n(0)]
    pub slot: u16,
    /// The shard that serves it.
    #[n(1)]
    pub shard: u32,
    /// The shard that is to.
    #[n(2)]
    pub next: Option<u32>,
    /// The shard that served it before and has its rows yet.
    #[n(3)]
    pub last: Option<u32>,
    /// The epoch at which it set out last: tells one move of it from another.
    #[n(4)]
    pub sent: u64,
}

impl Slot {
    /// Whether it is on its way, or something of it is left behind.
    pub fn is_moving(&self) -> bool {
        self.next.is_some() || self.last.is_some()
    }
}

impl Home {
    /// The shard that serves a slot where nobody says otherwise.
    pub fn natural(&self, slot: u16) -> u32 {
        let shard = u32::from(slot).checked_rem(self.shards).unwrap_or(0);
        self.index.saturating_mul(GROUPS_PER_REGION).saturating_add(1 + shard)
    }

    /// The shard that serves a slot.
    pub fn shard_of(&self, slot: u16) -> u32 {
        let found = self.slots.binary_search_by_key(&slot, |one| one.slot);
        found.map_or_else(|_| self.natural(slot), |at| self.slots[at].shard)
    }

    /// What is said of a slot.
    pub fn slot(&self, slot: u16) -> Slot {
        let found = self.slots.binary_search_by_key(&slot, |one| one.slot);
        let shard = self.natural(slot);
        let natural = Slot { slot, shard, next: None, last: None, sent: 0 };
        found.map_or(natural, |at| self.slots[at])
    }

    /// The slot with which a shard has the next thing to do: the one that is sent to it, when it is that one's turn,
    /// for they go one after the other; where none is on its way, the first of which it has something left behind,
    /// whoever waits with others. That is removed last, because it waits for every replica, and one may be gone for
    /// long.
    pub fn next_of(&self, shard: u32) -> Option<Slot> {
        let mut slots = self.slots.iter().copied();
        match slots.clone().find(|slot| slot.next.is_some()) {
            Some(arriving) => Some(arriving).filter(|slot| slot.next == Some(shard)),
            None => slots.find(|slot| slot.last == Some(shard)),
        }
    }

    fn set(&mut self, slot: Slot) {
        let is_natural = slot.shard == self.natural(slot.slot) && !slot.is_moving();
        match self.slots.binary_search_by_key(&slot.slot, |one| one.slot) {
            Ok(at) if is_natural => drop(self.slots.remove(at)),
            Ok(at) => self.slots[at] = slot,
            Err(_) if is_natural => {}
            Err(at) => self.slots.insert(at, slot),
        }
    }
}

impl Placement {
    fn home(&self, region: Region) -> Result<&Home, Rejection> {
        let unknown =
            || Rejection::new(RejectionCode::Unknown, format!("there is no region {region}"));
        self.members.home(region).map_or_else(unknown, Ok)
    }

    /// An operator wants slots to be served by a shard.
    pub(super) fn move_slots(
        &self,
        region: Region,
        slots: &[u16],
        to: u32,
        by: &str,
    ) -> Result<Vec<Event>, Rejection> {
        let home = self.home(region)?;
        let is_shard = home.groups().any(|group| group == to) && to != home.authority();
        if !is_shard {
            let first = home.natural(0);
            let last = first.saturating_add(home.shards.saturating_sub(1));
            let text = format!("{to} is no shard of region {region}: use {first} to {last}");
            return Rejection::new(RejectionCode::Invalid, text);
        }
        if let Some(slot) = slots.iter().find(|slot| **slot >= SLOTS) {
            return Rejection::new(
                RejectionCode::Invalid,
                format!("slot {slot}: use 0 to {}", SLOTS - 1),
            );
        }
        let mut wanted: Vec<u16> = slots.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|slot| home.slot(*slot).next.unwrap_or(home.shard_of(*slot)) != to);
        if let Some(slot) = wanted.iter().find(|slot| home.slot(**slot).is_moving()) {
            let text = format!("slot {slot} is moving already: wait until it has arrived");
            return Rejection::new(RejectionCode::NotNow, text);
        }
        if wanted.is_empty() {
            return Ok(vec![]);
        }
        self.members.all_understand(SLOTS_MOVE)?;
        Ok(vec![Event::SlotsSent { region, slots: wanted, to, by: by.to_owned() }])
    }

    /// The shard that a slot is sent to has all of it.
    pub(super) fn slot_arrived(
        &self,
        region: Region,
        slot: u16,
        at: u32,
    ) -> Result<Vec<Event>, Rejection> {
        let is_awaited = self.home(region)?.slot(slot).next == Some(at);
        Ok(if is_awaited { vec![Event::SlotArrived { region, slot }] } else { vec![] })
    }

    /// The shard that served it before has nothing of it any more.
    pub(super) fn slot_cleared(
        &self,
        region: Region,
        slot: u16,
        at: u32,
    ) -> Result<Vec<Event>, Rejection> {
        let is_left = self.home(region)?.slot(slot).last == Some(at);
        Ok(if is_left { vec![Event::SlotCleared { region, slot }] } else { vec![] })
    }
}

impl Members {
    fn change_slots(&mut self, region: Region, slots: &[u16], change: impl Fn(Slot) -> Slot) {
        self.epoch = self.epoch.saturating_add(1);
        if let Some(home) = self.homes.iter_mut().find(|home| home.region == region) {
            for slot in slots {
                home.set(change(home.slot(*slot)));
            }
        }
    }

    pub(super) fn slots_sent(&mut self, region: Region, slots: &[u16], to: u32) {
        let sent = self.epoch.saturating_add(1);
        self.change_slots(region, slots, |slot| Slot { next: Some(to), sent, ..slot });
    }

    pub(super) fn slot_arrived(&mut self, region: Region, slot: u16) {
        self.change_slots(region, &[slot], |slot| match slot.next {
            Some(next) => Slot { shard: next, next: None, last: Some(slot.shard), ..slot },
            None => slot,
        });
    }

    pub(super) fn slot_cleared(&mut self, region: Region, slot: u16) {
        self.change_slots(region, &[slot], |slot| Slot { last: None, ..slot });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn each_shard_removes_what_it_left_behind_and_waits_for_no_other() {
        let mut home = Home::new("eu1".parse().unwrap(), 0, 3);
        let left = |slot, shard, last| Slot { slot, shard, next: None, last: Some(last), sent: 1 };
        let (first, second, third) = (left(1, 3, 2), left(4, 3, 2), left(5, 1, 3));
        for slot in [first, second, third] {
            home.set(slot);
        }
        assert_eq!([1, 2, 3].map(|shard| home.next_of(shard)), [None, Some(first), Some(third)]);
        // Nobody removes anything while one is on its way.
        let coming = Slot { slot: 7, shard: 2, next: Some(1), last: None, sent: 2 };
        home.set(coming);
        assert_eq!([1, 2, 3].map(|shard| home.next_of(shard)), [Some(coming), None, None]);
    }
}
