//! Whether all is normal before anything is broken: the gate of a run.
//!
//! **Invariants:** the probes `sot` and `edge` are looked at over a whole window of theirs, in which something was asked from
//! its begin on, and which ends so long ago that what was asked in it has had its time; entries are kept for as long as
//! that, so many at most, and none once something was broken.
//! **Not here:** the verdict (`judge`).

use std::collections::VecDeque;

use crate::{
    history::{Entry, History, Phase, What},
    scenario::{Probe, Scenario},
    steady::{Mode, PENDING_US, measure},
};

/// Of more nothing better is known: at a few entries for each request this is a minute of two thousand a second.
const ENTRIES_MAX: usize = 500_000;

/// What has happened lately, until something is broken.
#[derive(Debug, Clone)]
pub struct Normal {
    probes: Vec<Probe>,
    span_us: u64,
    lately: VecDeque<Entry>,
    is_over: bool,
}

impl Normal {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let begin = |probe: &&Probe| matches!(probe.mode, Mode::Sot | Mode::Edge);
        let probes: Vec<Probe> = scenario.steady.iter().filter(begin).cloned().collect();
        let longest_ms = probes.iter().map(|probe| probe.window_ms).max().unwrap_or(0);
        let span_us = longest_ms.saturating_mul(1000).saturating_add(2 * PENDING_US);
        Self { is_over: probes.is_empty(), probes, span_us, lately: VecDeque::new() }
    }

    pub(super) fn see(&mut self, entry: &Entry) {
        if matches!(entry.what, What::Fault { phase: Phase::Installed, .. }) {
            (self.is_over, self.lately) = (true, VecDeque::new());
        }
        if self.is_over {
            return;
        }
        let oldest = entry.at_us.saturating_sub(self.span_us);
        let is_old = |first: &Entry| first.at_us < oldest;
        while self.lately.front().is_some_and(is_old) || self.lately.len() >= ENTRIES_MAX {
            self.lately.pop_front();
        }
        self.lately.push_back(entry.clone());
    }

    /// What is not as it normally is; nothing where that is not known.
    pub fn reason(&self, now_us: u64) -> Option<String> {
        if self.is_over {
            return None;
        }
        let figures = measure(&History::of(self.lately.iter().cloned().collect()));
        let until = now_us.saturating_sub(PENDING_US);
        self.probes.iter().find_map(|probe| {
            let from = until.checked_sub(probe.window_ms.saturating_mul(1000))?;
            figures.first_us(probe.query).filter(|first| *first <= from)?;
            let measured = figures.of(probe.query, from, until)?;
            let unit = if probe.query.is_of_time() { " ms" } else { "" };
            let (sign, value) = (probe.comparison.name(), probe.value);
            (!probe.comparison.holds(measured, value)).then(|| {
                format!(
                    "nothing was broken yet, and {} was {measured:.3}{unit}, not {sign} {value}{unit}",
                    probe.id
                )
            })
        })
    }
}
