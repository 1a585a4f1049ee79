//! How many tickets of a category and of a site this node's shards opened lately.
//!
//! The counts are of what was opened here while this node led: after a shard is handed on, its new leader
//! begins to count. They are kept in memory alone, for a week, within a bound. A customer's own count is exact
//! and comes with its request.
//!
//! **Invariants:** a ticket is counted once, although its request may come again; the memory is bounded. **Not
//! here:** what rules make of the counts.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use fieldmesh_domain::{EntityId, message::Location, time::Millis};
use fieldmesh_rules::facts::Counts;

/// Windows of the facts, in milliseconds, the longest last.
const WINDOWS_MS: [u64; 4] = [600_000, 3_600_000, 86_400_000, 604_800_000];
/// Tickets counted of one category or site: beyond, the oldest are not counted any more.
const EACH_MAX: usize = 16_384;
/// Categories and sites: 16 bytes a ticket, some 20 MB for a region that opens a million a week.
const KEYS_MAX: usize = 65_536;
/// Tickets known when their request comes again: it does within seconds.
const SEEN_MAX: usize = 8192;

/// What tickets are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Category(u16),
    /// By exact place: a site's tickets name the same one.
    Site(i32, i32),
}

#[derive(Default)]
struct Table {
    opened: BTreeMap<By, VecDeque<u64>>,
    seen: BTreeSet<EntityId>,
    seen_order: VecDeque<EntityId>,
}

/// What was opened lately.
#[derive(Default)]
pub(crate) struct History {
    table: Mutex<Table>,
}

/// Counts before a ticket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) category: Counts,
    pub(crate) site: Counts,
}

impl History {
    /// How many there were before this ticket, which is counted from now on.
    pub(crate) fn count(
        &self,
        ticket: EntityId,
        category: u16,
        site: Location,
        now: Millis,
    ) -> Before {
        // Each change is whole before the next; a count that is one off after a panic harms nothing.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let (category, site) = (By::Category(category), By::Site(site.lat_e6, site.lon_e6));
        let before =
            Before { category: table.counts(category, now), site: table.counts(site, now) };
        if table.is_new(ticket) {
            table.opened(category, now);
            table.opened(site, now);
        }
        before
    }
}

impl Table {
    fn counts(&self, by: By, now: Millis) -> Counts {
        let Some(opened) = self.opened.get(&by) else { return Counts::default() };
        let [count_10m, count_1h, count_24h, count_7d] = WINDOWS_MS.map(|window| {
            let from = now.0.saturating_sub(window);
            // Clocks of leaders differ by little: what is not quite in order is counted almost right.
            let older = opened.partition_point(|at| *at < from);
            i64::try_from(opened.len() - older).unwrap_or(i64::MAX)
        });
        Counts { count_10m, count_1h, count_24h, count_7d }
    }

    fn is_new(&mut self, ticket: EntityId) -> bool {
        if !self.seen.insert(ticket) {
            return false;
        }
        self.seen_order.push_back(ticket);
        if self.seen_order.len() > SEEN_MAX
            && let Some(oldest) = self.seen_order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    fn opened(&mut self, by: By, now: Millis) {
        if self.opened.len() >= KEYS_MAX && !self.opened.contains_key(&by) {
            self.make_room(now);
        }
        let opened = self.opened.entry(by).or_default();
        let week = now.0.saturating_sub(WINDOWS_MS[3]);
        while opened.front().is_some_and(|at| *at < week) || opened.len() >= EACH_MAX {
            opened.pop_front();
        }
        opened.push_back(now.0.max(opened.back().copied().unwrap_or(0)));
    }

    /// Forgets those of which nothing was opened for the longest window, or for a shorter one.
    fn make_room(&mut self, now: Millis) {
        for window in WINDOWS_MS.into_iter().rev() {
            let from = now.0.saturating_sub(window);
            self.opened.retain(|_, opened| opened.back().is_some_and(|at| *at >= from));
            if self.opened.len() < KEYS_MAX {
                return;
            }
        }
        self.opened.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(number: u8) -> EntityId {
        let region = "eu1".parse().unwrap_or_else(|_| panic!("a region"));
        EntityId::new(fieldmesh_domain::EntityKind::Ticket, region, [number; 10])
    }

    #[test]
    fn windows_count_what_was_before_and_each_ticket_once() {
        let history = History::default();
        let site = Location { lat_e6: 1, lon_e6: 2 };
        let at = |minutes: u64| Millis(1_000_000_000_000 + minutes * 60_000);
        let first = history.count(ticket(1), 7, site, at(0));
        assert_eq!(first, Before::default());
        history.count(ticket(1), 7, site, at(0));
        let elsewhere = Location { lat_e6: 1, lon_e6: 3 };
        history.count(ticket(2), 7, elsewhere, at(30));
        let third = history.count(ticket(3), 7, site, at(35));
        let counts =
            |counts: Counts| [counts.count_10m, counts.count_1h, counts.count_24h, counts.count_7d];
        assert_eq!(counts(third.category), [1, 2, 2, 2]);
        assert_eq!(counts(third.site), [0, 1, 1, 1]);
        let next_week = history.count(ticket(4), 7, site, at(8 * 24 * 60));
        assert_eq!(next_week, Before::default());
    }
}
