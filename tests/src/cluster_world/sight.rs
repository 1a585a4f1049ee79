//! What is seen of the cluster after each step: who leads which group, and which shard serves which slot.
//!
//! **Law:** a term of a group has one leader. It is judged by who says that it leads, and by whom each member
//! has written down as the leader of a term: who led only between two looks is told by whoever heard of it, and
//! by its own disk until a later term. **Not here:** what must be so in the end (`laws`).

use std::collections::{BTreeMap, BTreeSet};

use super::node::Machine;
use crate::world::people::Seen;

/// Who leads, and who ever led.
#[derive(Default)]
pub(super) struct Sight {
    /// By group and node: the term.
    leading: BTreeMap<(u32, u64), u64>,
    /// By group and node: the last term of which it knows the leader, and that one.
    heard: BTreeMap<(u32, u64), (u64, u64)>,
    /// By group and term.
    leaders: BTreeMap<(u32, u64), BTreeSet<u64>>,
    /// The latest epoch of the placement group that was seen, and by index of the region and slot where it
    /// was served then, unless where the remainder puts it.
    epoch: u64,
    served: BTreeMap<(u32, u16), u32>,
    moved: usize,
}

impl Sight {
    pub(super) fn look(&mut self, machines: &[Machine], told: &mut Seen, now: u64) {
        let (mut leading, mut news) = (BTreeMap::new(), Vec::new());
        for machine in machines {
            let Some(node) = machine.node() else { continue };
            node.each_group(|group| {
                let of = (group.group, node.number);
                if let Some(term) = group.led() {
                    leading.insert(of, term);
                }
                if let Some(heard) = group.last_leader()
                    && self.heard.insert(of, heard) != Some(heard)
                {
                    news.push((group.group, heard));
                }
            });
            let known = node.known.known();
            if known.epoch > self.epoch {
                self.epoch = known.epoch;
                for home in &known.homes {
                    for slot in &home.slots {
                        self.serves((home.index, slot.slot), slot.shard, home.natural(slot.slot));
                    }
                    let is_named = |slot| home.slots.iter().any(|one| one.slot == slot);
                    let back: Vec<_> =
                        self.served.keys().filter(|key| key.0 == home.index).copied().collect();
                    for (index, slot) in back.into_iter().filter(|(_, slot)| !is_named(*slot)) {
                        self.serves((index, slot), home.natural(slot), home.natural(slot));
                    }
                }
            }
        }
        for (of, term) in &leading {
            if self.leading.get(of) != Some(term) {
                self.leads(*of, *term, told, now);
            }
        }
        self.leading = leading;
        for (group, (term, leader)) in news {
            self.count_leader(group, term, leader, told);
        }
    }

    fn leads(&mut self, (group, number): (u32, u64), term: u64, told: &mut Seen, now: u64) {
        told.tell(now, format_args!("node {number} leads group {group} in term {term}"));
        self.count_leader(group, term, number, told);
    }

    fn count_leader(&mut self, group: u32, term: u64, number: u64, told: &mut Seen) {
        let of_term = self.leaders.entry((group, term)).or_default();
        if of_term.insert(number) && of_term.len() > 1 {
            told.blame(format!("group {group} has several leaders in term {term}: {of_term:?}"));
        }
    }

    fn serves(&mut self, slot: (u32, u16), shard: u32, natural: u32) {
        let before = self.served.insert(slot, shard).unwrap_or(natural);
        self.moved += usize::from(before != shard);
    }

    /// Who leads a group: of several, the one of the latest term.
    pub(super) fn leader(&self, group: u32) -> Option<u64> {
        self.led(group).map(|(number, _)| number)
    }

    /// The same, with the term.
    pub(super) fn led(&self, group: u32) -> Option<(u64, u64)> {
        let of_group = self.leading.range((group, 0)..=(group, u64::MAX));
        of_group.max_by_key(|(_, term)| **term).map(|((_, number), term)| (*number, *term))
    }

    /// Who leads at least one group, with how many.
    pub(super) fn leaders(&self) -> BTreeMap<u64, usize> {
        let groups: BTreeSet<u32> = self.leading.keys().map(|(group, _)| *group).collect();
        let mut leaders = BTreeMap::new();
        for leader in groups.into_iter().filter_map(|group| self.leader(group)) {
            *leaders.entry(leader).or_default() += 1;
        }
        leaders
    }

    pub(super) fn terms(&self) -> usize {
        self.leaders.len()
    }

    pub(super) fn slots_moved(&self) -> usize {
        self.moved
    }
}
