//! What is measured of a run while it goes on, and whether it is as normal.
//!
//! **Invariants:** a figure of a window comes from the operations that were invoked in it; where there were
//! none there is no figure, and no figure is not a good one. **Not here:** what is normal (`scenario`).

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::{
    history::{History, Operation, What},
    promises::{Fate, Operations, revoked},
    scenario::Workload,
};

/// An operation that was invoked so shortly before the end of a window may still come out well in time.
pub(crate) const PENDING_US: u64 = 2_000_000;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// Milliseconds from a request to its receipt, of so many percent.
    Request(u32),
    /// Milliseconds from a request to the confirmation of a technician.
    Confirm(u32),
    /// Milliseconds of a read.
    Read(u32),
    /// The share of requests that were acknowledged.
    Availability,
    /// Acknowledged requests a second.
    Rate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
}

/// When a probe has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Before the first fault.
    Sot,
    /// In the end.
    Eot,
    /// Before the first fault and in the end.
    Edge,
    /// All the time; but for the grace of faults.
    Continuous,
    /// While a fault lasts.
    OnFault,
}

impl Query {
    pub const NAMES: [&'static str; 11] = [
        "request.p50",
        "request.p99",
        "request.max",
        "confirm.p50",
        "confirm.p99",
        "confirm.max",
        "read.p50",
        "read.p99",
        "read.max",
        "availability",
        "rate",
    ];

    pub fn read(text: &str) -> Option<Self> {
        let (of, percent) = match text.split_once('.') {
            None if text == "availability" => return Some(Self::Availability),
            None if text == "rate" => return Some(Self::Rate),
            None => return None,
            Some((of, "p50")) => (of, 50),
            Some((of, "p99")) => (of, 99),
            Some((of, "max")) => (of, 100),
            Some(_) => return None,
        };
        match of {
            "request" => Some(Self::Request(percent)),
            "confirm" => Some(Self::Confirm(percent)),
            "read" => Some(Self::Read(percent)),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        let at = |first: usize, percent: u32| match percent {
            50 => first,
            99 => first + 1,
            _ => first + 2,
        };
        Self::NAMES[match self {
            Self::Request(percent) => at(0, percent),
            Self::Confirm(percent) => at(3, percent),
            Self::Read(percent) => at(6, percent),
            Self::Availability => 9,
            Self::Rate => 10,
        }]
    }

    /// How many a second are asked of what is measured.
    pub(crate) fn rate(self, workload: &Workload) -> u32 {
        match self {
            Self::Read(_) => workload.reads,
            Self::Request(_) | Self::Confirm(_) | Self::Availability | Self::Rate => workload.rate,
        }
    }

    pub fn is_of_time(self) -> bool {
        matches!(self, Self::Request(_) | Self::Confirm(_) | Self::Read(_))
    }
}

impl Comparison {
    pub fn read(text: &str) -> Option<Self> {
        match text {
            "<" => Some(Self::Below),
            "<=" => Some(Self::AtMost),
            ">" => Some(Self::Above),
            ">=" => Some(Self::AtLeast),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        }
    }

    pub fn holds(self, measured: f64, value: f64) -> bool {
        match self {
            Self::Below => measured < value,
            Self::AtMost => measured <= value,
            Self::Above => measured > value,
            Self::AtLeast => measured >= value,
        }
    }
}

impl Mode {
    pub fn read(text: &str) -> Option<Self> {
        match text {
            "sot" => Some(Self::Sot),
            "eot" => Some(Self::Eot),
            "edge" => Some(Self::Edge),
            "continuous" => Some(Self::Continuous),
            "onfault" => Some(Self::OnFault),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Sot => "sot",
            Self::Eot => "eot",
            Self::Edge => "edge",
            Self::Continuous => "continuous",
            Self::OnFault => "onfault",
        }
    }
}

/// An operation as what is measured sees it.
#[derive(Debug, Clone, Copy)]
struct Measured {
    invoked_us: u64,
    /// When it came out well.
    ok_us: Option<u64>,
    is_refused: bool,
}

/// What can be measured of a history.
pub struct Figures {
    requests: Vec<Measured>,
    confirms: Vec<Measured>,
    reads: Vec<Measured>,
}

/// Takes from a history what can be measured of it.
pub fn measure(history: &History) -> Figures {
    measured(history, &Operations::of(history))
}

pub(crate) fn measured(history: &History, operations: &Operations<'_>) -> Figures {
    let revoked = revoked(history);
    let mut confirmed = std::collections::BTreeMap::new();
    for entry in &history.entries {
        if let What::Confirmed { ticket, number: 2, .. } = &entry.what {
            confirmed.entry(ticket.as_str()).or_insert(entry.at_us);
        }
    }
    let mut figures = Figures { requests: Vec::new(), confirms: Vec::new(), reads: Vec::new() };
    for operated in operations.0.values() {
        let ok_us = matches!(operated.fate, Fate::Ok(_)).then_some(operated.done_us);
        let (invoked_us, is_refused) = (operated.invoked_us, operated.fate == Fate::Refused);
        match operated.operation {
            // Whoever is not believed any more goes on asking in vain.
            Operation::Request { .. } if ok_us.is_none() && revoked.contains_key(operated.by) => {}
            Operation::Request { ticket, .. } => {
                figures.requests.push(Measured { invoked_us, ok_us, is_refused });
                let ok_us = confirmed.get(ticket.as_str()).copied();
                if ok_us.is_some() || !revoked.contains_key(operated.by) {
                    figures.confirms.push(Measured { invoked_us, ok_us, is_refused });
                }
            }
            Operation::Read { .. } => {
                figures.reads.push(Measured { invoked_us, ok_us, is_refused })
            }
            _ => {}
        }
    }
    for all in [&mut figures.requests, &mut figures.confirms, &mut figures.reads] {
        all.sort_by_key(|one| one.invoked_us);
    }
    figures
}

impl Figures {
    fn measured(&self, query: Query) -> &[Measured] {
        match query {
            Query::Confirm(_) => &self.confirms,
            Query::Read(_) => &self.reads,
            Query::Request(_) | Query::Availability | Query::Rate => &self.requests,
        }
    }

    /// When the first of what is measured was invoked.
    pub(crate) fn first_us(&self, query: Query) -> Option<u64> {
        self.measured(query).first().map(|one| one.invoked_us)
    }

    /// A figure of what was invoked from one moment to another; none where nothing was.
    pub fn of(&self, query: Query, from_us: u64, until_us: u64) -> Option<f64> {
        let all = self.measured(query);
        if until_us <= from_us {
            return None;
        }
        let begin = all.partition_point(|one| one.invoked_us < from_us);
        let end = all.partition_point(|one| one.invoked_us < until_us);
        let all = all.get(begin..end)?;
        match query {
            Query::Request(percent) | Query::Confirm(percent) | Query::Read(percent) => {
                percentile(all, percent)
            }
            Query::Availability => {
                let settled = all.iter().filter(|one| {
                    one.ok_us.is_some_and(|ok| ok <= until_us)
                        || one.is_refused
                        || one.invoked_us.saturating_add(PENDING_US) < until_us
                });
                let (mut well, mut of) = (0_u32, 0_u32);
                for one in settled {
                    of += 1;
                    well += u32::from(one.ok_us.is_some_and(|ok| ok <= until_us));
                }
                (of > 0).then(|| f64::from(well) / f64::from(of))
            }
            Query::Rate => {
                let well = all.iter().filter(|one| one.ok_us.is_some()).count();
                Some(well as f64 / ((until_us - from_us) as f64 / 1e6))
            }
        }
    }

    /// From each request to its receipt, for drawing: when it was invoked and milliseconds.
    pub fn receipts(&self) -> impl Iterator<Item = (u64, f64)> {
        self.requests.iter().filter_map(|one| Some((one.invoked_us, span_ms(one)?)))
    }

    /// How many requests of a window came out well, and how many did not.
    pub fn counts(&self, from_us: u64, until_us: u64) -> (u64, u64) {
        let within =
            self.requests.iter().filter(|one| (from_us..until_us).contains(&one.invoked_us));
        within.fold((0, 0), |(well, ill), one| match one.ok_us {
            Some(_) => (well + 1, ill),
            None => (well, ill + 1),
        })
    }
}

fn span_ms(one: &Measured) -> Option<f64> {
    Some(one.ok_us?.saturating_sub(one.invoked_us) as f64 / 1e3)
}

/// What never came out well took for ever: it is above every percentile that it is in.
fn percentile(all: &[Measured], percent: u32) -> Option<f64> {
    let not_refused = all.iter().filter(|one| !one.is_refused);
    let mut spans: Vec<f64> =
        not_refused.map(|one| span_ms(one).unwrap_or(f64::INFINITY)).collect();
    spans.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    let last = spans.len().checked_sub(1)?;
    spans.get((spans.len() * percent as usize / 100).min(last)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(requests: &[(u64, Option<u64>)]) -> Figures {
        let ms = |(at, ok): &(u64, Option<u64>)| Measured {
            invoked_us: at * 1000,
            ok_us: ok.map(|ok| ok * 1000),
            is_refused: false,
        };
        let requests = requests.iter().map(ms).collect();
        Figures { requests, confirms: Vec::new(), reads: Vec::new() }
    }

    #[test]
    fn what_never_came_is_in_no_percentile_a_short_time() {
        let figures = figures(&[(0, Some(10)), (10, Some(30)), (20, None)]);
        let of = |query| figures.of(query, 0, 1_000_000);
        assert_eq!(of(Query::Request(50)), Some(20.0));
        assert_eq!(of(Query::Request(99)), Some(f64::INFINITY));
        assert_eq!(figures.of(Query::Request(99), 0, 15_000), Some(20.0));
        assert_eq!(figures.of(Query::Request(99), 50_000, 60_000), None);
    }

    #[test]
    fn what_is_under_way_is_not_yet_unavailable() {
        let figures = figures(&[(0, Some(10)), (100, None), (4_000, None)]);
        let of = |until_ms: u64| figures.of(Query::Availability, 0, until_ms * 1000);
        assert_eq!(of(1_000), Some(1.0));
        assert_eq!(of(5_000), Some(0.5));
        assert_eq!(of(7_000), Some(1.0 / 3.0));
        assert_eq!(figures.of(Query::Rate, 0, 10_000_000), Some(0.1));
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in Query::NAMES {
            assert_eq!(Query::read(name).map(Query::name), Some(name));
        }
        for name in ["<", "<=", ">", ">="] {
            assert_eq!(Comparison::read(name).map(Comparison::name), Some(name));
        }
        for name in ["sot", "eot", "edge", "continuous", "onfault"] {
            assert_eq!(Mode::read(name).map(Mode::name), Some(name));
        }
        for name in ["", "request", "request.p98", "read.", ".p50", "rate.p50", "=="] {
            assert_eq!((Query::read(name), Comparison::read(name)), (None, None), "{name}");
        }
    }
}
