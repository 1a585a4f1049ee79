//! What really happened to the replayed incidents, as far as their log says it.
//!
//! **Invariant:** what the log does not say of an incident counts in no share. **Not here:** the replay's own
//! figures (`figures`), what may be compared (`page`).

use std::collections::BTreeMap;

use serde::Serialize;

use super::{figures::Evenness, spread::Spread, target::Target};
use crate::cli::{field::week::Minute, replay_input::Really};

/// So many of those of which it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Share {
    pub(crate) count: usize,
    pub(crate) of: usize,
}

impl Share {
    fn add(&mut self, is: Option<bool>) {
        self.of += usize::from(is.is_some());
        self.count += usize::from(is == Some(true));
    }
}

/// What the log says of incidents of one priority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct LoggedUrgency {
    pub(crate) priority: u8,
    /// By the log's own mark.
    pub(crate) missed: Share,
    /// By the targets of this report.
    pub(crate) missed_target: Share,
    /// Minutes from opened to resolved.
    pub(crate) to_resolve_min: Spread,
}

/// What the log says of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Logged {
    pub(crate) reassigned: Share,
    pub(crate) reassignments: u64,
    pub(crate) missed: Share,
    pub(crate) missed_target: Share,
    pub(crate) urgencies: Vec<LoggedUrgency>,
    /// Incidents of each assignee.
    pub(crate) assignments: Evenness,
}

/// Adds up what the log says.
#[derive(Default)]
pub(crate) struct LoggedSum {
    logged: Logged,
    urgencies: BTreeMap<u8, (LoggedUrgency, Vec<u64>)>,
    assignees: BTreeMap<String, u64>,
}

impl LoggedSum {
    /// An incident that began at a civil minute, `first` minutes before what `really` counts from.
    pub(crate) fn add(&mut self, priority: u8, opened: Minute, first: Minute, really: &Really) {
        let missed = really.met_sla.map(|met| !met);
        let resolved = really.resolved_min.map(|minute| first + minute);
        let resolved = resolved.filter(|resolved| *resolved >= opened);
        let late = resolved.map(|resolved| Target::of(priority).is_missed(opened, resolved));
        let (urgency, minutes) = self.urgencies.entry(priority).or_default();
        urgency.priority = priority;
        minutes.extend(resolved.map(|resolved| resolved - opened));
        for sum in [&mut urgency.missed, &mut self.logged.missed] {
            sum.add(missed);
        }
        for sum in [&mut urgency.missed_target, &mut self.logged.missed_target] {
            sum.add(late);
        }
        self.logged.reassigned.add(really.reassignments.map(|times| times > 0));
        self.logged.reassignments += u64::from(really.reassignments.unwrap_or(0));
        if let Some(assignee) = &really.assignee {
            *self.assignees.entry(assignee.clone()).or_default() += 1;
        }
    }

    /// With the assignees who got none of these incidents.
    pub(crate) fn finish<'a>(self, assignees: impl Iterator<Item = &'a String>) -> Logged {
        let urgencies = self.urgencies.into_values().map(|(urgency, mut minutes)| {
            minutes.sort_unstable();
            LoggedUrgency { to_resolve_min: Spread::of(&minutes), ..urgency }
        });
        let counts = assignees.map(|name| self.assignees.get(name).copied().unwrap_or(0));
        Logged {
            urgencies: urgencies.collect(),
            assignments: Evenness::of(counts.collect()),
            ..self.logged
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn really(resolved: Option<u64>, times: Option<u32>, met: Option<bool>, who: &str) -> Really {
        let assignee = (!who.is_empty()).then(|| who.to_owned());
        Really { resolved_min: resolved, reassignments: times, met_sla: met, assignee }
    }

    #[test]
    fn what_is_unknown_counts_in_no_share() {
        let mut sum = LoggedSum::default();
        let first = 1_000;
        sum.add(1, first, first, &really(Some(240), Some(0), Some(true), "a"));
        sum.add(1, first + 60, first, &really(Some(360), Some(3), Some(false), "a"));
        sum.add(1, first + 90, first, &really(None, None, None, ""));
        // Resolved before it was opened: a fault of the log.
        sum.add(2, first + 90, first, &really(Some(10), Some(1), Some(false), "b"));
        let names = ["a", "b", "c"].map(str::to_owned);
        let logged = sum.finish(names.iter());
        assert_eq!(logged.reassigned, Share { count: 2, of: 3 });
        assert_eq!(logged.reassignments, 4);
        assert_eq!(logged.missed, Share { count: 2, of: 3 });
        // Four hours are in time, five are not.
        assert_eq!(logged.missed_target, Share { count: 1, of: 2 });
        assert_eq!(logged.urgencies[0].to_resolve_min.count, 2);
        assert_eq!(logged.urgencies[0].to_resolve_min.max, Some(300));
        assert_eq!(logged.assignments.spread.max, Some(2));
        // 0, 1, 2: (−2·0 + 0·1 + 2·2) / (3·3).
        assert_eq!(logged.assignments.gini_permille, 444);
    }
}
