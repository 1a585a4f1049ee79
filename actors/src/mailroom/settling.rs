//! Rows that devices have acknowledged, until they are out of the table.
//!
//! **Invariants:** while nothing can be written one attempt is waited for, however much is acknowledged meanwhile;
//! the rows are bounded. **Not here:** writing, and which rows (`mailroom`).

use std::time::Duration;

use fieldmesh_domain::EntityId;

/// Rows are settled together: so many, or as many as come within [`SOON`].
const TOGETHER: usize = 128;
const SOON: Duration = Duration::from_millis(20);
/// When it is tried again: a full disk has room again after seconds or hours.
pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Beyond these the rows stay in the table: their devices are sent them again at the next connection, and drop what
/// they have seen.
const PUT_OFF_MAX: usize = 16 * TOGETHER;

#[derive(Default)]
pub(super) struct Settling {
    rows: Vec<(EntityId, u64)>,
    /// They could not be written, and are tried again in a while.
    is_put_off: bool,
}

impl Settling {
    pub(super) fn has(&self, to: EntityId, number: u64) -> bool {
        self.rows.contains(&(to, number))
    }

    /// More of them; when to settle, unless that is waited for already.
    pub(super) fn add(&mut self, rows: Vec<(EntityId, u64)>) -> Option<Duration> {
        let before = self.rows.len();
        self.rows.extend(rows);
        match self.rows.len() {
            _ if self.is_put_off => None,
            TOGETHER.. if before < TOGETHER => Some(Duration::ZERO),
            1.. if before == 0 => Some(SOON),
            _ => None,
        }
    }

    /// Those that are to be written now; none while they are put off, unless this is when.
    pub(super) fn take(&mut self, is_again: bool) -> Vec<(EntityId, u64)> {
        if self.is_put_off && !is_again {
            return Vec::new();
        }
        self.is_put_off = false;
        std::mem::take(&mut self.rows)
    }

    /// They could not be written; whether that is to be tried again.
    pub(super) fn put_off(&mut self, rows: Vec<(EntityId, u64)>) -> bool {
        self.is_put_off = rows.len() <= PUT_OFF_MAX;
        if self.is_put_off {
            self.rows = rows;
        }
        self.is_put_off
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::EntityKind;

    use super::*;

    fn rows(numbers: std::ops::Range<u64>) -> Vec<(EntityId, u64)> {
        let to = EntityId::new(EntityKind::Technician, "eu1".parse().unwrap(), [1; 10]);
        numbers.map(|number| (to, number)).collect()
    }

    #[test]
    fn rows_are_settled_soon_and_at_once_where_they_are_many() {
        let mut settling = Settling::default();
        assert_eq!(settling.add(vec![]), None);
        assert_eq!(settling.add(rows(0..1)), Some(SOON));
        assert_eq!(settling.add(rows(1..2)), None);
        assert_eq!(settling.add(rows(2..200)), Some(Duration::ZERO));
        assert_eq!(settling.add(rows(200..300)), None);
        assert_eq!(settling.take(false), rows(0..300));
        assert_eq!(settling.take(false), vec![]);
        assert_eq!(settling.add(rows(0..1)), Some(SOON));
    }

    #[test]
    fn while_nothing_can_be_written_one_attempt_is_waited_for() {
        let mut settling = Settling::default();
        settling.add(rows(0..100));
        for until in 2..20 {
            let tried = settling.take(true);
            assert!(settling.put_off(tried));
            // However much is acknowledged, and whatever was on its way.
            assert_eq!(settling.add(rows(100 * (until - 1)..100 * until)), None);
            assert_eq!(settling.take(false), vec![]);
            assert!(settling.has(rows(0..1)[0].0, 0));
        }
        assert_eq!(settling.take(true), rows(0..1_900));
        // What is more than that is not kept, and the next is as if nothing had been.
        assert!(!settling.put_off(rows(0..PUT_OFF_MAX as u64 + 1)));
        assert_eq!(settling.add(rows(0..1)), Some(SOON));
    }
}
