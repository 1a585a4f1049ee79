//! The figures of a report: what the histories of all tickets add up to.
//!
//! Histories are added one by one and not kept; of each stays a handful of numbers, so that the longest log
//! that is read (a million rows) takes about 200 MB. **Invariants:** whole numbers only; percentiles are exact,
//! nothing is sampled. **Not here:** a ticket's history (`history`), the log's own figures (`compare`), drawing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    history::{History, Span, Wait},
    spread::{Point, Spread, cumulative, gini, lorenz},
    target::Target,
};
use crate::cli::field::week::{HOUR, Minute};

/// Points of the curves over time: more than a page has pixels for.
const MOMENTS_MAX: u64 = 500;

/// How many tickets are where, at most in a while that begins at a minute of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Moment {
    pub(crate) minute: Minute,
    pub(crate) open: i64,
    pub(crate) unanswered: i64,
    pub(crate) listed: i64,
    pub(crate) worked: i64,
}

/// A span of time with its curve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Times {
    #[serde(flatten)]
    pub(crate) spread: Spread,
    pub(crate) curve: Vec<Point>,
}

/// Tickets of one priority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Urgency {
    pub(crate) priority: u8,
    pub(crate) tickets: usize,
    pub(crate) target: Target,
    pub(crate) met: usize,
    /// Completed late, or open and late.
    pub(crate) missed: usize,
    /// Not ended, and not late yet.
    pub(crate) undecided: usize,
    /// Real milliseconds.
    pub(crate) to_alert_ms: Times,
    /// Minutes of the log.
    pub(crate) to_accept_min: Times,
    pub(crate) to_arrive_min: Times,
    pub(crate) to_complete_min: Times,
    /// Minutes of all tickets, by what they waited for.
    pub(crate) waited_min: BTreeMap<&'static str, Minute>,
}

/// What one technician had to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Effort {
    pub(crate) technician: String,
    pub(crate) assignments: u64,
    pub(crate) road_min: Minute,
    pub(crate) site_min: Minute,
}

/// How evenly something is spread over technicians.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Evenness {
    pub(crate) spread: Spread,
    pub(crate) gini_permille: u32,
    pub(crate) lorenz_permille: Vec<(u32, u32)>,
}

impl Evenness {
    pub(crate) fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let (spread, gini_permille) = (Spread::of(&values), gini(&values));
        Self { spread, gini_permille, lorenz_permille: lorenz(&values) }
    }
}

/// All that is counted of the replay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Figures {
    pub(crate) tickets: usize,
    pub(crate) completed: usize,
    pub(crate) cancelled: usize,
    pub(crate) offers: u64,
    pub(crate) acceptances: u64,
    pub(crate) declined: u64,
    pub(crate) refused: u64,
    pub(crate) expired: u64,
    pub(crate) undone: u64,
    /// Tickets that were offered to more than one technician, and offers beyond the first technician.
    pub(crate) reassigned_tickets: usize,
    pub(crate) reassignments: u64,
    /// Of these, after somebody had accepted.
    pub(crate) handed_over_tickets: usize,
    pub(crate) unfilled_tickets: usize,
    pub(crate) doubly_held: u64,
    pub(crate) missed: usize,
    pub(crate) urgencies: Vec<Urgency>,
    pub(crate) load: Vec<Moment>,
    /// Minutes of each trip.
    pub(crate) trips_min: Times,
    /// Minutes of each visit.
    pub(crate) visits_min: Times,
    /// Most assignments first.
    pub(crate) efforts: Vec<Effort>,
    pub(crate) assignments: Evenness,
    pub(crate) hours: Evenness,
}

/// Values of one priority, before they are sorted.
#[derive(Default)]
struct Values {
    met: usize,
    missed: usize,
    undecided: usize,
    to_alert_ms: Vec<u64>,
    to_accept_min: Vec<u64>,
    to_arrive_min: Vec<u64>,
    to_complete_min: Vec<u64>,
    waited_min: BTreeMap<&'static str, Minute>,
}

/// Adds histories up.
pub(crate) struct Sum {
    end: Minute,
    figures: Figures,
    values: BTreeMap<u8, Values>,
    trips: Vec<u64>,
    visits: Vec<u64>,
    efforts: BTreeMap<String, Effort>,
    /// Changes of open, unanswered, listed and worked tickets by minute.
    changes: BTreeMap<Minute, [i64; 4]>,
}

/// Whether a ticket was in time, where that can be told at the end of the replay.
pub(crate) fn is_missed(history: &History, end: Minute) -> Option<bool> {
    let target = Target::of(history.priority);
    let missed = target.is_missed(history.opened, history.completed.unwrap_or(end));
    (missed || history.completed.is_some()).then_some(missed)
}

fn times(mut values: Vec<u64>) -> Times {
    values.sort_unstable();
    Times { spread: Spread::of(&values), curve: cumulative(&values) }
}

impl Sum {
    /// Of technicians, also those who got nothing; up to the last minute of the replay.
    pub(crate) fn new(technicians: impl Iterator<Item = String>, end: Minute) -> Self {
        let idle =
            |technician: String| (technician.clone(), Effort { technician, ..Effort::default() });
        Self {
            end,
            figures: Figures::default(),
            values: BTreeMap::new(),
            trips: Vec::new(),
            visits: Vec::new(),
            efforts: technicians.map(idle).collect(),
            changes: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, history: &History) {
        self.count(history);
        let values = self.values.entry(history.priority).or_default();
        match is_missed(history, self.end) {
            // Nobody waits for what the customer does not want any more.
            _ if history.is_cancelled => {}
            Some(true) => values.missed += 1,
            Some(false) => values.met += 1,
            None => values.undecided += 1,
        }
        let since = |at: Option<Minute>| at.map(|at| at.saturating_sub(history.opened));
        values.to_alert_ms.extend(history.to_offer_ms);
        values.to_accept_min.extend(since(history.accepted));
        values.to_arrive_min.extend(since(history.arrived));
        values.to_complete_min.extend(since(history.completed));
        for wait in Wait::ALL {
            *values.waited_min.entry(wait.name()).or_default() += history.waited(wait);
        }
        for span in &history.spans {
            self.span(span);
        }
        let last = history.spans.last().map_or(history.opened, |span| span.to);
        self.change(history.opened, 0, 1);
        self.change(last, 0, if history.is_ended() { -1 } else { 0 });
    }

    fn count(&mut self, history: &History) {
        let figures = &mut self.figures;
        figures.tickets += 1;
        figures.completed += usize::from(history.completed.is_some());
        figures.cancelled += usize::from(history.is_cancelled);
        figures.reassigned_tickets += usize::from(history.reassigned > 0);
        figures.handed_over_tickets += usize::from(history.handed_over > 0);
        figures.unfilled_tickets += usize::from(history.unfilled > 0);
        for (sum, more) in [
            (&mut figures.offers, history.offers),
            (&mut figures.acceptances, history.acceptances),
            (&mut figures.declined, history.declined),
            (&mut figures.refused, history.refused),
            (&mut figures.expired, history.expired),
            (&mut figures.undone, history.undone),
            (&mut figures.reassignments, history.reassigned),
            (&mut figures.doubly_held, history.doubly_held),
        ] {
            *sum += u64::from(more);
        }
    }

    fn change(&mut self, at: Minute, what: usize, by: i64) {
        self.changes.entry(at).or_default()[what] += by;
    }

    fn span(&mut self, span: &Span) {
        let what = match span.wait {
            Wait::Seeking | Wait::Asked => 1,
            Wait::Listed => 2,
            Wait::Road | Wait::Site => 3,
        };
        self.change(span.from, what, 1);
        self.change(span.to, what, -1);
        let Some(technician) = &span.technician else { return };
        let effort = self.efforts.entry(technician.clone()).or_default();
        match span.wait {
            Wait::Seeking | Wait::Asked => {}
            Wait::Listed => effort.assignments += 1,
            Wait::Road => {
                effort.road_min += span.minutes();
                self.trips.push(span.minutes());
            }
            Wait::Site => {
                effort.site_min += span.minutes();
                self.visits.push(span.minutes());
            }
        }
    }

    pub(crate) fn finish(self) -> Figures {
        let load = load(&self.changes, self.end);
        let mut efforts: Vec<Effort> = self.efforts.into_values().collect();
        efforts.sort_by(|a, b| {
            b.assignments.cmp(&a.assignments).then(a.technician.cmp(&b.technician))
        });
        let urgencies: Vec<Urgency> = self.values.into_iter().map(urgency).collect();
        let busy = |effort: &Effort| effort.road_min + effort.site_min;
        Figures {
            missed: urgencies.iter().map(|urgency| urgency.missed).sum(),
            urgencies,
            load,
            trips_min: times(self.trips),
            visits_min: times(self.visits),
            assignments: Evenness::of(efforts.iter().map(|effort| effort.assignments).collect()),
            hours: Evenness::of(efforts.iter().map(busy).collect()),
            efforts,
            ..self.figures
        }
    }
}

fn urgency((priority, values): (u8, Values)) -> Urgency {
    let Values { met, missed, undecided, waited_min, .. } = values;
    Urgency {
        priority,
        tickets: met + missed + undecided,
        target: Target::of(priority),
        met,
        missed,
        undecided,
        to_alert_ms: times(values.to_alert_ms),
        to_accept_min: times(values.to_accept_min),
        to_arrive_min: times(values.to_arrive_min),
        to_complete_min: times(values.to_complete_min),
        waited_min,
    }
}

/// The most that there was of each in every while of the same length.
fn load(changes: &BTreeMap<Minute, [i64; 4]>, end: Minute) -> Vec<Moment> {
    let Some((first, _)) = changes.first_key_value() else { return Vec::new() };
    let hours = (end.saturating_sub(*first) / HOUR + 1).div_ceil(MOMENTS_MAX).max(1);
    let (length, mut now) = (hours * HOUR, [0_i64; 4]);
    let mut moments: Vec<Moment> = Vec::new();
    let mut from = *first - first % HOUR;
    while from <= end {
        let mut most = now;
        for change in changes.range(from..from + length).map(|(_, change)| change) {
            for what in 0..4 {
                now[what] += change[what];
                most[what] = most[what].max(now[what]);
            }
        }
        let [open, unanswered, listed, worked] = most;
        moments.push(Moment { minute: from, open, unanswered, listed, worked });
        from += length;
    }
    moments
}

#[cfg(test)]
mod tests;
