//! Who should lead which of a region's groups.
//!
//! The voters of a group are taken in turns, by its number; where one would lead two more than another
//! who votes there too, that other is meant to. What a node that leads nothing would lead is shared out
//! among the active voters, and comes back to it when it is active again.
//!
//! **Invariants:** the same members give the same leaders, on every node; that one of them leads nothing
//! changes only who leads what it led. **Not here:** who votes (`plan`), handing over (`node`).

use std::collections::BTreeMap;

use super::members::{Home, Members, Placed, Presence};

/// Each group's leader, and how many groups each node leads.
#[derive(Default)]
struct Led {
    leaders: BTreeMap<u32, u64>,
    by_node: BTreeMap<u64, usize>,
}

/// The leader of each group of a region.
pub(super) fn leaders(members: &Members, home: &Home) -> BTreeMap<u32, u64> {
    // Who votes abroad leads only until somebody at home can.
    let is_own =
        |number: &u64| members.member(*number).is_some_and(|member| member.region() == home.region);
    let at_home = |group| {
        let mut placed = members.placed(group)?.clone();
        placed.voters.retain(is_own);
        Some(placed)
    };
    let groups: Vec<Placed> = home.groups().filter_map(at_home).collect();
    let mut led = Led::default();
    for placed in &groups {
        if let Some(leader) = in_turn(placed.group, &placed.voters) {
            led.give(placed.group, leader);
        }
    }
    while led.even_out(&groups) {}
    led.relieve(members, &groups);
    led.leaders
}

/// The one whose turn it is by a group's number.
pub(super) fn in_turn(group: u32, voters: &[u64]) -> Option<u64> {
    voters.get(usize::try_from(group).ok()?.checked_rem(voters.len())?).copied()
}

impl Led {
    fn of(&self, number: u64) -> usize {
        self.by_node.get(&number).copied().unwrap_or(0)
    }

    fn give(&mut self, group: u32, to: u64) {
        if let Some(from) = self.leaders.insert(group, to) {
            self.by_node.entry(from).and_modify(|many| *many -= 1);
        }
        *self.by_node.entry(to).or_default() += 1;
    }

    /// Gives one group to a voter that leads at least two fewer, where the gap is widest; whether it could.
    fn even_out(&mut self, groups: &[Placed]) -> bool {
        let gaps = groups.iter().filter_map(|placed| {
            let many = self.of(*self.leaders.get(&placed.group)?);
            let least = placed.voters.iter().copied().min_by_key(|one| (self.of(*one), *one))?;
            Some((many.saturating_sub(self.of(least)), placed.group, least))
        });
        let widest = gaps.min_by_key(|(gap, group, _)| (usize::MAX - gap, *group));
        let Some((_, group, to)) = widest.filter(|(gap, ..)| *gap >= 2) else { return false };
        self.give(group, to);
        true
    }

    /// Gives what those would lead who lead nothing to others, where there are any.
    fn relieve(&mut self, members: &Members, groups: &[Placed]) {
        let is_active = |number: u64| {
            members.member(number).is_some_and(|member| member.presence == Presence::Active)
        };
        for placed in groups {
            if self.leaders.get(&placed.group).is_none_or(|leader| is_active(*leader)) {
                continue;
            }
            let able = placed.voters.iter().copied().filter(|number| is_active(*number));
            if let Some(least) = able.min_by_key(|one| (self.of(*one), *one)) {
                self.give(placed.group, least);
            }
        }
    }
}
