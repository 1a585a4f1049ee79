//! What the service says comes in the order in which it was said.
//!
//! Each message travels on a stream of its own, and one that is lost on its way between nodes is sent again
//! after seconds, so that a later one may arrive first. Messages for a device are numbered without gaps, but for
//! what was never committed; of what is passed over, because nothing would come of it, the service says the number.
//! **Invariants:** whoever came too early is told behind those before it, or once nobody before it comes any more;
//! so many wait at most. What is passed over tells nobody by itself, and is known on the next connection too: it is
//! not said again once it was acknowledged. **Not here:** what a message is (`receive`).

use std::collections::{BTreeMap, BTreeSet};

/// The service sends again what is not acknowledged after five seconds, which it looks at once a second.
pub(super) const WAIT_MS: u64 = 7_000;
/// As many as the service sends without an acknowledgement.
const EARLY_MAX: usize = 64;
/// Numbers that do not come are kept so far ahead. Of each device 64 rows are under way at a time, and between them is
/// only what was never committed; whoever names a number far behind that wants the order gone.
const PASSED_MAX: u64 = 1024;

/// Messages by their numbers.
#[derive(Debug)]
pub(super) struct Order<T> {
    /// The number behind the highest that was told; before the first nobody knows what came before.
    next: Option<u64>,
    /// With when they wait no more, in Unix milliseconds.
    early: BTreeMap<u64, (T, u64)>,
    /// Those that do not come, no more than [`PASSED_MAX`] and no further ahead.
    passed: BTreeSet<u64>,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self { next: None, early: BTreeMap::new(), passed: BTreeSet::new() }
    }
}

impl<T> Order<T> {
    /// A message has arrived: what is told now, in order.
    pub(super) fn arrived(&mut self, number: u64, message: T, now_ms: u64) -> Vec<T> {
        if self.next.is_some_and(|next| number > next) {
            return self.waits(number, message, now_ms);
        }
        let mut told = vec![message];
        told.extend(self.told(number));
        told
    }

    /// Nothing comes under this number: what is told now, in order.
    pub(super) fn passed(&mut self, number: u64) -> Vec<T> {
        match self.next {
            Some(next) if number < next || number - next > PASSED_MAX => Vec::new(),
            Some(next) if number == next => self.told(number),
            Some(_) => {
                self.passed.insert(number);
                Vec::new()
            }
            None => {
                self.passed.insert(number);
                // The higher ones are behind what comes first.
                if self.passed.len() as u64 > PASSED_MAX {
                    self.passed.pop_first();
                }
                Vec::new()
            }
        }
    }

    fn waits(&mut self, number: u64, message: T, now_ms: u64) -> Vec<T> {
        self.early.entry(number).or_insert((message, now_ms.saturating_add(WAIT_MS)));
        // Then the one that is missing is not on its way.
        let is_full = self.early.len() >= EARLY_MAX;
        if is_full { self.up_to(u64::MAX) } else { Vec::new() }
    }

    /// A message was told, now or before a restart: what is told behind it.
    pub(super) fn told(&mut self, number: u64) -> Vec<T> {
        let mut told = Vec::new();
        let mut next = number.saturating_add(1).max(self.next.unwrap_or(0));
        loop {
            let (early, is_passed) = (self.early.remove(&next), self.passed.remove(&next));
            if early.is_none() && !is_passed {
                break;
            }
            told.extend(early.map(|(message, _)| message));
            next = next.saturating_add(1);
        }
        self.next = Some(next);
        self.passed.retain(|number| *number > next && *number - next <= PASSED_MAX);
        told
    }

    /// What has waited for long enough, with all before it.
    pub(super) fn overdue(&mut self, now_ms: u64) -> Vec<T> {
        let overdue = self.early.iter().rev().find(|(_, (_, until_ms))| *until_ms <= now_ms);
        overdue.map(|(number, _)| *number).map_or_else(Vec::new, |number| self.up_to(number))
    }

    /// When [`Self::overdue`] has something to tell.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.early.values().map(|(_, until_ms)| *until_ms).min()
    }

    /// No message waits any more: the service sends it again.
    pub(super) fn forget(&mut self) {
        self.early.clear();
    }

    fn up_to(&mut self, number: u64) -> Vec<T> {
        let mut told = Vec::new();
        while let Some(entry) = self.early.first_entry().filter(|entry| *entry.key() <= number) {
            let (number, (message, _)) = entry.remove_entry();
            told.push(message);
            told.extend(self.told(number));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOTHING: [u64; 0] = [];

    proptest! {
        #[test]
        fn whatever_the_order_of_arrival_each_is_told_once_and_in_order(
            first in 0_u64..1_000,
            mut order in Just((1..=EARLY_MAX as u64).collect::<Vec<_>>()).prop_shuffle(),
            again in prop::collection::vec(0..EARLY_MAX, 0..20),
        ) {
            let (mut of, mut told) = (Order::default(), vec![]);
            told.extend(of.arrived(first, first, 0));
            // Some come twice; who has been told is known to whoever asks.
            order.extend(again.iter().map(|at| order[*at]).collect::<Vec<_>>());
            for number in order {
                if !told.contains(&(first + number)) {
                    told.extend(of.arrived(first + number, first + number, 1));
                }
            }
            prop_assert_eq!(told, (first..=first + EARLY_MAX as u64).collect::<Vec<_>>());
            prop_assert_eq!(of.due_ms(), None);
        }
    }

    #[test]
    fn who_waits_for_somebody_that_does_not_come_is_told_in_time() {
        let mut of = Order::<u64>::default();
        assert_eq!(of.arrived(5, 5, 0), [5]);
        assert_eq!(of.arrived(8, 8, 1_000), NOTHING);
        assert_eq!(of.arrived(7, 7, 2_000), NOTHING);
        assert_eq!(of.due_ms(), Some(1_000 + WAIT_MS));
        assert_eq!(of.overdue(999 + WAIT_MS), NOTHING);
        assert_eq!(of.overdue(1_000 + WAIT_MS), [7, 8], "7 with it, which is before it");
        assert_eq!(of.arrived(6, 6, 10_000), [6], "late is better than never");
        assert_eq!(of.arrived(9, 9, 10_000), [9]);
    }

    #[test]
    fn who_was_told_before_a_restart_holds_up_nobody() {
        let mut of = Order::<u64>::default();
        assert_eq!(of.arrived(5, 5, 0), [5]);
        assert_eq!(of.arrived(7, 7, 0), NOTHING);
        assert_eq!(of.told(6), [7]);
        assert_eq!(of.told(3), NOTHING);
        assert_eq!(of.arrived(8, 8, 0), [8]);
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut of = Order::<u64>::default();
        assert_eq!(of.arrived(0, 0, 0), [0]);
        let last = 1 + EARLY_MAX as u64;
        for number in 2..last {
            assert_eq!(of.arrived(number, number, 0), NOTHING);
        }
        assert_eq!(of.arrived(last, last, 0), (2..=last).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_passed_over_holds_up_nobody() {
        let mut of = Order::<u64>::default();
        assert_eq!(of.arrived(5, 5, 0), [5]);
        assert_eq!(of.passed(6), NOTHING);
        assert_eq!(of.arrived(7, 7, 0), [7]);
        // It is said before or behind what comes after it.
        assert_eq!(of.arrived(9, 9, 0), NOTHING);
        assert_eq!(of.passed(8), [9]);
        assert_eq!(of.passed(11), NOTHING);
        assert_eq!(of.arrived(12, 12, 0), NOTHING);
        assert_eq!(of.arrived(10, 10, 0), [10, 12]);
        assert_eq!(of.due_ms(), None);
        // What comes all the same is told, and what was said before changes nothing.
        assert_eq!(of.arrived(11, 11, 0), [11]);
        assert_eq!(of.passed(3), NOTHING);
        assert_eq!(of.arrived(13, 13, 0), [13]);
    }

    #[test]
    fn what_is_passed_over_before_the_first_is_told_is_known_then() {
        let mut of = Order::<u64>::default();
        assert_eq!(of.passed(6), NOTHING);
        assert_eq!(of.arrived(5, 5, 0), [5]);
        assert_eq!(of.arrived(7, 7, 0), [7]);
        // Nobody knows whether something comes before the first.
        let mut of = Order::<u64>::default();
        assert_eq!(of.passed(6), NOTHING);
        assert_eq!(of.overdue(WAIT_MS), NOTHING);
        assert_eq!(of.arrived(7, 7, WAIT_MS), [7]);
    }

    #[test]
    fn what_is_passed_over_is_known_on_the_next_connection() {
        let mut of = Order::<u64>::default();
        assert_eq!(of.arrived(5, 5, 0), [5]);
        assert_eq!(of.passed(7), NOTHING);
        assert_eq!(of.arrived(9, 9, 0), NOTHING);
        of.forget();
        assert_eq!(of.due_ms(), None, "9 is sent again");
        assert_eq!(of.arrived(8, 8, 0), NOTHING);
        assert_eq!(of.arrived(6, 6, 0), [6, 8]);
        assert_eq!(of.arrived(9, 9, 0), [9]);
    }

    #[test]
    fn a_number_out_of_all_reason_changes_nothing() {
        const FAR: u64 = 6 + PASSED_MAX + 1;
        let mut of = Order::<u64>::default();
        assert_eq!(of.passed(u64::MAX), NOTHING);
        assert_eq!(of.arrived(5, 5, 0), [5]);
        assert!(of.passed.is_empty());
        for number in [FAR, u64::MAX] {
            assert_eq!(of.passed(number), NOTHING);
        }
        assert_eq!(of.overdue(u64::MAX), NOTHING);
        assert_eq!(of.arrived(7, 7, WAIT_MS), NOTHING, "6 may come");
        assert_eq!(of.arrived(6, 6, WAIT_MS), [6, 7]);
        // As far ahead as may be.
        assert_eq!(of.passed(8 + PASSED_MAX), NOTHING);
        assert_eq!(of.passed.len(), 1);
    }

    #[test]
    fn what_is_passed_over_takes_the_place_of_no_message_and_has_a_bound() {
        let mut of = Order::<u64>::default();
        assert_eq!(of.arrived(0, 0, 0), [0]);
        let last = 2 + EARLY_MAX as u64;
        for number in 2..last {
            assert_eq!(of.passed(number), NOTHING);
        }
        assert_eq!(of.arrived(last, last, 0), NOTHING, "1 may come");
        assert_eq!(of.arrived(1, 1, 0), [1, last]);
        for number in 0..4 * PASSED_MAX {
            assert_eq!(of.passed(last + 2 + number), NOTHING);
        }
        assert_eq!(of.passed.len() as u64, PASSED_MAX);
        let mut of = Order::<u64>::default();
        for number in 0..4 * PASSED_MAX {
            assert_eq!(of.passed(number), NOTHING);
        }
        assert_eq!(of.passed.len() as u64, PASSED_MAX);
        // The first is behind them all.
        assert_eq!(of.arrived(4 * PASSED_MAX, 1, 0), [1]);
        assert!(of.passed.is_empty());
    }

    proptest! {
        /// Those that come are told once and in order, whatever is passed over between them.
        #[test]
        fn whatever_is_passed_over_the_others_are_told_in_order(
            passed in prop::collection::vec(any::<bool>(), EARLY_MAX - 1),
            mut order in Just((1..EARLY_MAX as u64).collect::<Vec<_>>()).prop_shuffle(),
            again in prop::collection::vec(0..EARLY_MAX - 1, 0..20),
        ) {
            let is_passed = |number: u64| passed[number as usize - 1];
            let (mut of, mut told) = (Order::default(), vec![]);
            told.extend(of.arrived(0, 0, 0));
            order.extend(again.iter().map(|at| order[*at]).collect::<Vec<_>>());
            for number in order {
                if is_passed(number) {
                    told.extend(of.passed(number));
                } else if !told.contains(&number) {
                    told.extend(of.arrived(number, number, 1));
                }
            }
            let wanted = (0..EARLY_MAX as u64).filter(|number| *number == 0 || !is_passed(*number));
            prop_assert_eq!(told, wanted.collect::<Vec<_>>());
            prop_assert_eq!(of.due_ms(), None);
        }
    }
}
