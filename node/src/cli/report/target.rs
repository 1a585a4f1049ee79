//! What a report counts as in time: a target by priority, and how much of it a ticket used.
//!
//! The log says whether an incident met its target and not what the target was. These are assumptions like
//! those of common service desks; the same ones are laid on the log's own times, so that both sides of the
//! comparison are measured alike. **Not here:** the service's own clocks of service levels.

use serde::Serialize;

use crate::cli::field::week::{HOUR, Minute, SERVICE, service_minutes};

/// Minutes of service time in a workday.
const WORKDAY: Minute = SERVICE.end - SERVICE.start;

/// Until when a ticket of a priority is to be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Target {
    pub(crate) priority: u8,
    pub(crate) minutes: Minute,
    /// Only the service hours of workdays count.
    pub(crate) in_service_time: bool,
}

pub(crate) const TARGETS: [Target; 5] = [
    Target { priority: 1, minutes: 4 * HOUR, in_service_time: false },
    Target { priority: 2, minutes: 8 * HOUR, in_service_time: false },
    Target { priority: 3, minutes: 2 * WORKDAY, in_service_time: true },
    Target { priority: 4, minutes: 5 * WORKDAY, in_service_time: true },
    Target { priority: 5, minutes: 10 * WORKDAY, in_service_time: true },
];

impl Target {
    /// The target of a priority; what is out of range is as the nearest.
    pub(crate) fn of(priority: u8) -> Self {
        let at = usize::from(priority.max(1) - 1).min(TARGETS.len() - 1);
        TARGETS[at]
    }

    /// Minutes used between opening and end, in the time that counts.
    pub(crate) fn used(&self, from: Minute, to: Minute) -> Minute {
        if self.in_service_time { service_minutes(from, to) } else { to.saturating_sub(from) }
    }

    pub(crate) fn is_missed(&self, from: Minute, to: Minute) -> bool {
        self.used(from, to) > self.minutes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Monday at eight.
    const MONDAY: Minute = 16_860 * 24 * HOUR + 8 * HOUR;

    #[test]
    fn nights_count_for_the_urgent_alone() {
        let urgent = Target::of(1);
        assert!(!urgent.is_missed(MONDAY, MONDAY + 4 * HOUR));
        assert!(urgent.is_missed(MONDAY, MONDAY + 4 * HOUR + 1));
        let usual = Target::of(3);
        assert_eq!(usual.used(MONDAY, MONDAY + 24 * HOUR), WORKDAY);
        assert!(!usual.is_missed(MONDAY, MONDAY + 48 * HOUR));
        assert!(usual.is_missed(MONDAY, MONDAY + 48 * HOUR + 1));
    }

    #[test]
    fn every_priority_has_a_target() {
        assert_eq!([0, 1, 5, 255].map(|priority| Target::of(priority).priority), [1, 1, 5, 5]);
        assert!(TARGETS.iter().zip(1..).all(|(target, priority)| target.priority == priority));
    }
}
