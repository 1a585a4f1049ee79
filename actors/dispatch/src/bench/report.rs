//! What a bench found: the figures of all instances together, and of each.
//!
//! **Invariant:** a gap is in percent of the best result that is known; it is left out where none is.
//! A plan that leaves requests out is compared as it is, and says how many and why.

use serde::Serialize;

use super::files::Case;
use crate::{
    instance::TICKS_PER_UNIT,
    plan::{Plan, Reason},
    problem::Ticks,
};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub instances: usize,
    /// Means over all plans that have a best-known result to be compared with.
    pub static_gap_percent: Option<f64>,
    pub online_gap_percent: Option<f64>,
    pub greedy_gap_percent: Option<f64>,
    /// Requests that no plan of a whole day and no dispatch during it serves; each row says why.
    pub unserved: usize,
    /// The same of the plain greedy dispatch, which `unserved` does not count.
    pub greedy_unserved: usize,
    pub rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub instance: String,
    pub requests: usize,
    pub best_known: Option<f64>,
    /// The plan of a day of which everything is known.
    #[serde(rename = "static")]
    pub planned: Planned,
    /// For each file of release dates.
    pub online: Vec<Dispatched>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dispatched {
    /// The file's name without its ending.
    pub releases: String,
    pub replanned: Planned,
    pub greedy: Planned,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planned {
    pub working_time: f64,
    pub gap_percent: Option<f64>,
    pub seconds: f64,
    pub unserved: Vec<Left>,
}

/// A request, by its identifier, that is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Left {
    pub request: u32,
    pub reason: Reason,
}

impl Planned {
    pub(super) fn of(case: &Case, plan: &Plan, working_time: Ticks, seconds: f64) -> Self {
        let working_time = working_time as f64 / TICKS_PER_UNIT;
        let requests = case.instance.problem.requests();
        let unserved = plan.unserved.iter();
        Self {
            working_time,
            gap_percent: case.best.map(|best| (working_time / best - 1.0) * 100.0),
            seconds,
            unserved: unserved
                .map(|one| Left { request: requests[one.request].id, reason: one.reason })
                .collect(),
        }
    }
}

impl Report {
    pub(super) fn of(rows: Vec<Row>) -> Self {
        let days = || rows.iter().flat_map(|row| &row.online);
        let planned = || rows.iter().map(|row| &row.planned);
        let left = |planned: &Planned| planned.unserved.len();
        Self {
            instances: rows.len(),
            static_gap_percent: mean(planned()),
            online_gap_percent: mean(days().map(|day| &day.replanned)),
            greedy_gap_percent: mean(days().map(|day| &day.greedy)),
            unserved: planned().chain(days().map(|day| &day.replanned)).map(left).sum(),
            greedy_unserved: days().map(|day| left(&day.greedy)).sum(),
            rows,
        }
    }
}

fn mean<'a>(planned: impl Iterator<Item = &'a Planned>) -> Option<f64> {
    let gaps: Vec<f64> = planned.filter_map(|planned| planned.gap_percent).collect();
    (!gaps.is_empty()).then(|| gaps.iter().sum::<f64>() / gaps.len() as f64)
}
