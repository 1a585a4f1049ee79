//! The timers in memory: a window on the table, in the order in which they fire.
//!
//! **Invariants:** every row before the place from which the table is unread is here, unless it was fired and
//! answered; what was set or cancelled counts over what was read, because the table is read only after it was
//! changed. **Not here:** reading and firing (`timers`).

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_domain::EntityId;

use crate::{
    commit::TimerChange,
    seams::{TimerItem, TimerPlace, TimerRows},
};

pub(super) struct Wheel {
    /// By when they fire: as the table has it, or later where the entity could not answer.
    due: BTreeSet<(u64, TimerItem)>,
    /// Those, and those that were fired and are not answered.
    by_name: BTreeMap<(EntityId, u8), (u64, TimerItem)>,
    /// From here on timers are only in the table; none where all are known.
    unread: Option<TimerPlace>,
    rows_max: usize,
}

impl Wheel {
    /// One that knows nothing yet.
    pub(super) fn new(rows_max: usize) -> Self {
        Self { unread: Some(TimerPlace::default()), ..Self::of_all(rows_max) }
    }

    /// One of an empty table.
    pub(super) fn of_all(rows_max: usize) -> Self {
        Self { due: BTreeSet::new(), by_name: BTreeMap::new(), unread: None, rows_max }
    }

    pub(super) fn changed(&mut self, entity: EntityId, timers: &[TimerChange]) {
        for timer in timers {
            if let Some(old) = self.by_name.remove(&(entity, timer.name)) {
                self.due.remove(&old);
            }
            let Some(due_ms) = timer.due_ms else { continue };
            let (name, generation) = (timer.name, timer.generation);
            let timer = TimerItem { due_ms, entity, name, generation };
            if self.unread.is_none_or(|unread| timer.place() < unread) {
                self.insert(due_ms, timer);
            }
        }
    }

    fn insert(&mut self, at_ms: u64, timer: TimerItem) {
        if let Some(old) = self.by_name.insert((timer.entity, timer.name), (at_ms, timer)) {
            self.due.remove(&old);
        }
        self.due.insert((at_ms, timer));
        while self.due.len() > self.rows_max {
            let Some((_, last)) = self.due.pop_last() else {
                return;
            };
            self.by_name.remove(&(last.entity, last.name));
            let place = last.place();
            self.unread = Some(self.unread.map_or(place, |unread| unread.min(place)));
        }
    }

    /// Timers that wait here.
    pub(super) fn count(&self) -> usize {
        self.due.len()
    }

    /// From where the table is to be read.
    pub(super) fn unread(&self) -> Option<TimerPlace> {
        self.unread
    }

    /// The table may hold what was not said here.
    pub(super) fn begin_again(&mut self) {
        self.unread = Some(TimerPlace::default());
    }

    /// Takes in the first rows that were unread. What was fired is not fired again for being in the table
    /// still: it is answered, or waits for its second try.
    pub(super) fn read(&mut self, rows: TimerRows) {
        self.unread = rows.next;
        for row in rows.items {
            let known = self.by_name.get(&(row.entity, row.name));
            if known.is_none_or(|(_, known)| *known != row) {
                self.insert(row.due_ms, row);
            }
        }
    }

    /// When it is to be looked again: something falls due, here or in the table.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let unread_ms = self.unread.map(|unread| unread.due_ms);
        self.first_ms().into_iter().chain(unread_ms).min()
    }

    fn first_ms(&self) -> Option<u64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
    }

    /// Whether the table may hold what is due. What is left here may be only retries, which say nothing
    /// of it.
    pub(super) fn is_through(&self, now_ms: u64) -> bool {
        self.unread.is_some_and(|unread| {
            unread.due_ms <= now_ms && self.first_ms().is_none_or(|at_ms| at_ms > unread.due_ms)
        })
    }

    pub(super) fn take(&mut self, now_ms: u64) -> Option<TimerItem> {
        self.first_ms().filter(|at_ms| *at_ms <= now_ms)?;
        self.due.pop_first().map(|(_, timer)| timer)
    }

    /// One that was fired is over, or is to be fired again at some time.
    pub(super) fn answered(&mut self, timer: TimerItem, again_ms: Option<u64>) {
        let key = (timer.entity, timer.name);
        // The entity may have set the same timer anew meanwhile: then that one counts.
        if self.by_name.get(&key).is_none_or(|(_, known)| *known != timer) {
            return;
        }
        self.by_name.remove(&key);
        if let Some(at_ms) = again_ms {
            self.insert(at_ms, timer);
        }
    }
}

#[cfg(test)]
mod tests;
