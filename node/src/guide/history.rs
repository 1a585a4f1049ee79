//! How many tickets of a category and of a site the region opened lately.
//!
//! Each node of the region knows it by itself: of shards that have a replica here by the rows of their tickets,
//! of others by what nodes with a replica tell ([`elsewhere`](super::elsewhere)). So whoever leads a shard next
//! counts as the one before. A row names no place, but a part of its hash under a key of the region: rows have
//! no personal data, and are on nodes of other regions where a policy says so. What is decided here is counted
//! from that moment on, and not only once it is stored.
//!
//! **Invariants:** counts follow from the tickets that are known, in whatever order and however often they came;
//! a ticket is counted once; the memory is bounded. **Not here:** what rules make of the counts, a customer's
//! own requests (`domain::customer`).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fieldmesh_domain::{EntityId, IndexRow, message::Location, ticket::Counted, time::Millis};
use fieldmesh_rules::facts::Counts;
use zeroize::Zeroizing;

use crate::{
    courier::wire::{OPENED_MAX, Opened, OpenedWanted},
    sealing::Key,
};

/// Windows of the facts, in milliseconds, the longest last.
const WINDOWS_MS: [u64; 4] = [600_000, 3_600_000, 86_400_000, 604_800_000];
/// Tickets that are counted, the newest of a week: some 100 bytes each, 50 MB for a region that opens 75,000 a
/// day. Of one that opens more, the longest window is shorter.
const TICKETS_MAX: usize = 1 << 19;
/// Tickets whose decision is under way: more than a node's shards have in their logs at a time. Beyond, a
/// ticket is counted once it is stored.
const DECIDED_MAX: usize = 4096;
/// What is not stored after this time was not decided here.
const DECIDED_LIFE_MS: u64 = 60_000;
/// Tickets known when their request comes again: it does within seconds.
const SEEN_MAX: usize = 8192;
/// Tickets of a moment: so far from the end a place is looked for.
const NEAR: usize = 64;
/// What the key of the tags is for.
const PURPOSE: &[u8] = b"places that tickets are counted by";

/// What tickets are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Category(u16),
    Site(u64),
}

fn all_of(counted: Counted) -> [By; 2] {
    [By::Category(counted.category), By::Site(counted.site)]
}

/// Counts before a ticket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) category: Counts,
    pub(crate) site: Counts,
}

/// When those of a category or site were opened; put in order when somebody looks, because a start shows them in
/// any order. Whatever is forgotten is older than all that stays, so that it is enough to know how many.
#[derive(Default)]
struct Times {
    all: VecDeque<u64>,
    is_mixed: bool,
    forgotten: usize,
}

impl Times {
    /// What two shards open together comes a moment out of order: to sort all for that would have each ticket pay for
    /// all before it.
    fn add(&mut self, at: u64) {
        let later = self.all.iter().rev().take(NEAR).position(|before| *before <= at);
        match later {
            Some(later) => self.all.insert(self.all.len() - later, at),
            None => {
                self.is_mixed |= !self.all.is_empty();
                self.all.push_back(at);
            }
        }
    }

    /// The oldest is forgotten; whether there is none left.
    fn forget(&mut self) -> bool {
        self.forgotten += 1;
        // It costs what half of them cost, and so no more than adding them did.
        if self.forgotten > self.all.len() / 2 {
            self.in_order();
        }
        self.all.is_empty()
    }

    fn in_order(&mut self) -> &VecDeque<u64> {
        if std::mem::take(&mut self.is_mixed) {
            self.all.make_contiguous().sort_unstable();
        }
        self.all.drain(..std::mem::take(&mut self.forgotten));
        &self.all
    }
}

/// The newest of some tickets, by the time that they were opened.
pub(crate) struct Lately {
    opened: BTreeMap<(u64, [u8; 16]), Counted>,
    times: BTreeMap<By, Times>,
    tickets_max: usize,
}

impl Lately {
    pub(crate) fn new(tickets_max: usize) -> Self {
        Self { opened: BTreeMap::new(), times: BTreeMap::new(), tickets_max }
    }

    /// Counts a ticket, unless it is already.
    pub(crate) fn add(&mut self, ticket: EntityId, at: Millis, counted: Counted) {
        if self.opened.insert((at.0, ticket.to_bytes()), counted).is_some() {
            return;
        }
        for by in all_of(counted) {
            self.times.entry(by).or_default().add(at.0);
        }
        while self.opened.len() > self.tickets_max {
            self.forget_oldest();
        }
    }

    /// How many there are in each window, those after this time too: clocks of two leaders differ by little.
    pub(crate) fn before(&mut self, counted: Counted, now: Millis) -> Before {
        let [category, site] = all_of(counted).map(|by| {
            let Some(times) = self.times.get_mut(&by).map(Times::in_order) else {
                return Counts::default();
            };
            counts(|from| times.len() - times.partition_point(|at| *at < from), now)
        });
        Before { category, site }
    }

    fn forget_before(&mut self, at: u64) {
        while self.opened.first_key_value().is_some_and(|((oldest, _), _)| *oldest < at) {
            self.forget_oldest();
        }
    }

    /// The oldest of all is the oldest of its category and of its site.
    fn forget_oldest(&mut self) {
        let Some((_, counted)) = self.opened.pop_first() else { return };
        for by in all_of(counted) {
            if self.times.get_mut(&by).is_some_and(Times::forget) {
                self.times.remove(&by);
            }
        }
    }
}

/// What there is from the beginning of each window on.
fn counts(from: impl Fn(u64) -> usize, now: Millis) -> Counts {
    let [count_10m, count_1h, count_24h, count_7d] = WINDOWS_MS
        .map(|window| i64::try_from(from(now.0.saturating_sub(window))).unwrap_or(i64::MAX));
    Counts { count_10m, count_1h, count_24h, count_7d }
}

/// The start of what is counted at a time.
pub(crate) fn earliest(now: Millis) -> Millis {
    Millis(now.0.saturating_sub(WINDOWS_MS[3]))
}

struct Table {
    lately: Lately,
    /// What was decided here, and whose row did not come yet.
    decided: BTreeMap<EntityId, (Millis, Counted)>,
    seen: BTreeSet<EntityId>,
    seen_order: VecDeque<EntityId>,
}

impl Table {
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

    /// What was there before a ticket, which may be decided for the second time.
    fn before(&mut self, ticket: EntityId, counted: Counted, now: Millis) -> Before {
        let mut before = self.lately.before(counted, now);
        let sides = [&mut before.category, &mut before.site];
        for (by, side) in all_of(counted).into_iter().zip(sides) {
            let others = self.decided.iter().filter(|(other, _)| **other != ticket);
            let decided = others.filter(|(_, (_, other))| all_of(*other).contains(&by));
            let more = i64::try_from(decided.count()).unwrap_or(i64::MAX);
            // They are of the last minute.
            let Counts { count_10m, count_1h, count_24h, count_7d } = side;
            for count in [count_10m, count_1h, count_24h, count_7d] {
                *count = count.saturating_add(more);
            }
        }
        before
    }

    fn forget(&mut self, now: Millis) {
        self.lately.forget_before(earliest(now).0);
        self.decided.retain(|_, (at, _)| at.0.saturating_add(DECIDED_LIFE_MS) > now.0);
    }

    fn decides(&mut self, ticket: EntityId, counted: Counted, now: Millis) {
        if self.is_new(ticket) && self.decided.len() < DECIDED_MAX {
            self.decided.insert(ticket, (now, counted));
        }
    }

    fn stored(&mut self, ticket: EntityId, at: Millis, counted: Counted, now: Millis) {
        if at < earliest(now) {
            return;
        }
        self.is_new(ticket);
        self.decided.remove(&ticket);
        self.lately.add(ticket, at, counted);
    }
}

/// What the region opened lately.
pub(crate) struct History {
    key: Key,
    table: Mutex<Table>,
}

impl History {
    pub(crate) fn new(region_key: &Key) -> Self {
        let table = Table {
            lately: Lately::new(TICKETS_MAX),
            decided: BTreeMap::new(),
            seen: BTreeSet::new(),
            seen_order: VecDeque::new(),
        };
        let key = Key::from_bytes(Zeroizing::new(region_key.derive(PURPOSE)));
        Self { key, table: Mutex::new(table) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Each change is whole before the next; a count that is one off after a panic harms nothing.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a ticket is counted by: a site's tickets name the same exact place.
    pub(crate) fn counted(&self, category: u16, site: Location) -> Counted {
        let [lat, lon] = [site.lat_e6, site.lon_e6].map(i32::to_be_bytes);
        let [a, b, c, d, e, f, g, h, ..] = self.key.derive(&[lat, lon].concat());
        Counted { category, site: u64::from_be_bytes([a, b, c, d, e, f, g, h]) }
    }

    /// How many there were before this ticket, which is counted from now on.
    pub(crate) fn count(&self, ticket: EntityId, counted: Counted, now: Millis) -> Before {
        let mut table = self.table();
        table.forget(now);
        let before = table.before(ticket, counted, now);
        table.decides(ticket, counted, now);
        before
    }

    /// The same before a ticket that there is not: nothing is counted.
    pub(crate) fn look(&self, ticket: EntityId, counted: Counted, now: Millis) -> Before {
        self.table().before(ticket, counted, now)
    }

    /// Takes in rows of a shard of the region.
    pub(crate) fn applied(&self, rows: &[IndexRow], now: Millis) {
        let mut table = self.table();
        for row in rows {
            if let IndexRow::Ticket { id, opened_at, counted: Some(counted), .. } = row {
                table.stored(*id, *opened_at, *counted, now);
            }
        }
        table.forget(now);
    }

    /// Takes in what another node tells of a shard.
    pub(crate) fn told(&self, opened: &[Opened], now: Millis) {
        let mut table = self.table();
        for Opened { ticket, at, counted } in opened {
            table.stored(*ticket, *at, *counted, now);
        }
        table.forget(now);
    }

    /// A page of what is known of a shard, whose tickets these are.
    pub(crate) fn page(
        &self,
        wanted: &OpenedWanted,
        is_of: impl Fn(EntityId) -> bool,
    ) -> Vec<Opened> {
        let from = Bound::Excluded((wanted.since.0, wanted.behind.into()));
        let table = self.table();
        let all = table.lately.opened.range((from, Bound::Unbounded));
        let all = all.filter_map(|((at, ticket), counted)| {
            let ticket = EntityId::from_bytes(*ticket).ok().filter(|ticket| is_of(*ticket))?;
            Some(Opened { ticket, at: Millis(*at), counted: *counted })
        });
        all.take(OPENED_MAX).collect()
    }
}

#[cfg(test)]
mod tests;
