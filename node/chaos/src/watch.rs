//! Whether a run that goes on is to be given up, and whether it may begin to break anything.
//!
//! **Invariants:** each entry is seen once, and of it stays only what the conditions need: the requests of
//! the last seconds, who leads, where a broken promise is one (`broken`), what shows it, and what was normal before anything
//! was broken (`normal`). **Not here:** the verdict
//! (`judge`).

mod broken;
mod normal;

use std::collections::{BTreeMap, VecDeque};

use self::broken::Broken;
pub use self::normal::Normal;
use crate::{
    history::{Entry, Operation, What},
    scenario::{Abort, Scenario},
};

/// Requests of so long are looked at for their availability.
const WINDOW_US: u64 = 10_000_000;
/// A request that was invoked so shortly ago is no failure yet.
const PENDING_US: u64 = 2_000_000;

/// Sees a run as it goes on.
#[derive(Debug)]
pub struct Watch {
    aborts: Vec<Abort>,
    leaderless: BTreeMap<u32, u64>,
    requests: VecDeque<Asked>,
    /// Where that is a condition.
    broken: Option<Broken>,
    normal: Normal,
    /// Since when the availability of each condition is as it says.
    poor_since: Vec<Option<u64>>,
}

#[derive(Debug)]
struct Asked {
    op: u64,
    at_us: u64,
    is_ok: bool,
}

impl Watch {
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            aborts: scenario.aborts.clone(),
            leaderless: BTreeMap::new(),
            requests: VecDeque::new(),
            broken: scenario.aborts.contains(&Abort::Broken).then(|| Broken::new(scenario)),
            normal: Normal::new(scenario),
            poor_since: vec![None; scenario.aborts.len()],
        }
    }

    /// Takes in what happened.
    pub fn see(&mut self, entry: &Entry) {
        let at_us = entry.at_us;
        if let Some(broken) = &mut self.broken {
            broken.see(entry);
        }
        self.normal.see(entry);
        match &entry.what {
            What::Invoked { op, operation: Operation::Request { .. }, .. } => {
                self.requests.push_back(Asked { op: *op, at_us, is_ok: false });
            }
            What::Ok { op, .. } => {
                // The newest come out soonest.
                if let Some(asked) = self.requests.iter_mut().rev().find(|asked| asked.op == *op) {
                    asked.is_ok = true;
                }
            }
            // Of a group that nobody answers for nobody knows better; while some do, it stays as it was.
            What::Leader { group, node: None } | What::LeaderUnknown { group, answered: 0, .. } => {
                self.leaderless.entry(*group).or_insert(at_us);
            }
            What::Leader { group, node: Some(_) } => {
                self.leaderless.remove(group);
            }
            _ => {}
        }
    }

    /// Why the run is to be given up now.
    pub fn reason(&mut self, now_us: u64) -> Option<String> {
        let oldest = now_us.saturating_sub(WINDOW_US);
        while self.requests.front().is_some_and(|asked| asked.at_us < oldest) {
            self.requests.pop_front();
        }
        let available = self.available(now_us);
        for (abort, since) in self.aborts.iter().zip(&mut self.poor_since) {
            match abort {
                Abort::Broken => {
                    let broken = self.broken.as_ref();
                    if let Some(why) = broken.and_then(|broken| broken.reason(now_us)) {
                        return Some(why);
                    }
                }
                Abort::NoLeader { for_ms } => {
                    let long = self
                        .leaderless
                        .iter()
                        .find(|(_, since)| since.saturating_add(for_ms * 1000) <= now_us);
                    if let Some((group, _)) = long {
                        return Some(format!(
                            "of group {group} nobody has known a leader for {for_ms} ms"
                        ));
                    }
                }
                Abort::Availability { comparison, value, for_ms } => {
                    let is_so = available.is_some_and(|share| comparison.holds(share, *value));
                    *since = is_so.then(|| since.unwrap_or(now_us));
                    if since.is_some_and(|since| since.saturating_add(for_ms * 1000) <= now_us) {
                        let share = available.unwrap_or(0.0);
                        let sign = comparison.name();
                        return Some(format!(
                            "availability of {share:.3} is {sign} {value} for {for_ms} ms"
                        ));
                    }
                }
            }
        }
        None
    }

    /// What tells whether anything may be broken. A copy: to measure takes longer than to copy, and the watch is waited for.
    pub fn normal(&self) -> Normal {
        self.normal.clone()
    }

    fn available(&self, now_us: u64) -> Option<f64> {
        let settled =
            self.requests.iter().filter(|one| one.is_ok || one.at_us + PENDING_US < now_us);
        let (well, of) =
            settled.fold((0_u32, 0_u32), |(well, of), one| (well + u32::from(one.is_ok), of + 1));
        (of > 0).then(|| f64::from(well) / f64::from(of))
    }
}

#[cfg(test)]
mod tests;
