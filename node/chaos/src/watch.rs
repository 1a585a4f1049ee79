//! Whether a run that goes on is to be given up.
//!
//! **Invariants:** each entry is seen once, and of it stays only what the conditions need: the requests of
//! the last seconds, who leads, and which tickets were confirmed. **Not here:** the verdict (`judge`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
    confirmed: BTreeSet<String>,
    broken: Option<String>,
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
            confirmed: BTreeSet::new(),
            broken: None,
            poor_since: vec![None; scenario.aborts.len()],
        }
    }

    /// Takes in what happened.
    pub fn see(&mut self, entry: &Entry) {
        let at_us = entry.at_us;
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
            What::Leader { group, node: None } => {
                self.leaderless.entry(*group).or_insert(at_us);
            }
            What::Leader { group, node: Some(_) } => {
                self.leaderless.remove(group);
            }
            What::Confirmed { ticket, number: 2, .. } if !self.confirmed.insert(ticket.clone()) => {
                self.broken.get_or_insert(format!("{ticket} was confirmed twice"));
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
                    if let Some(broken) = &self.broken {
                        return Some(broken.clone());
                    }
                }
                Abort::NoLeader { for_ms } => {
                    let long = self
                        .leaderless
                        .iter()
                        .find(|(_, since)| since.saturating_add(for_ms * 1000) <= now_us);
                    if let Some((group, _)) = long {
                        return Some(format!("group {group} has had no leader for {for_ms} ms"));
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

    fn available(&self, now_us: u64) -> Option<f64> {
        let settled =
            self.requests.iter().filter(|one| one.is_ok || one.at_us + PENDING_US < now_us);
        let (well, of) =
            settled.fold((0_u32, 0_u32), |(well, of), one| (well + u32::from(one.is_ok), of + 1));
        (of > 0).then(|| f64::from(well) / f64::from(of))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::read_scenario;

    fn watch(when: &str) -> Watch {
        let text = format!(
            "name = \"x\"\nduration = \"60s\"\n[workload]\nrate = 1\n[abort]\nwhen = [{when:?}]\n"
        );
        Watch::new(&read_scenario(&text).unwrap().value)
    }

    fn at(seconds: u64, what: What) -> Entry {
        Entry { at_us: seconds * 1_000_000, what }
    }

    fn request(op: u64) -> What {
        let operation = Operation::Request { ticket: format!("t{op}"), shard: 0 };
        What::Invoked { op, by: "c".into(), operation }
    }

    #[test]
    fn a_run_is_given_up_once_its_condition_has_lasted() {
        let mut watch = watch("availability < 0.7 for 3s");
        // Every second request is not answered; with those of the last two seconds still under way it is 0.67 from
        // the sixth second on.
        for op in 0..10 {
            watch.see(&at(op, request(op)));
            if op % 2 == 0 {
                watch.see(&at(op, What::Ok { op, read: None }));
            }
            let reason = watch.reason(op * 1_000_000);
            assert_eq!(reason.is_some(), op == 9, "second {op}: {reason:?}");
        }
        assert_eq!(watch.reason(60_000_000), None, "nobody asks");
    }

    #[test]
    fn a_group_without_a_leader_and_a_promise_that_is_broken_end_it() {
        let mut watch = watch("leaderless for 5s");
        watch.see(&at(1, What::Leader { group: 2, node: None }));
        watch.see(&at(3, What::Leader { group: 2, node: None }));
        assert_eq!(watch.reason(5_000_000), None);
        assert!(watch.reason(6_000_000).unwrap().contains("group 2"));
        watch.see(&at(6, What::Leader { group: 2, node: Some(1) }));
        assert_eq!(watch.reason(60_000_000), None);
        let mut watch = self::watch("promise.broken");
        let told = || What::Confirmed {
            by: "c".into(),
            ticket: "t".into(),
            number: 2,
            technician: None,
            position: None,
        };
        watch.see(&at(1, told()));
        assert_eq!(watch.reason(2_000_000), None);
        watch.see(&at(2, told()));
        assert!(watch.reason(2_000_000).unwrap().contains("twice"));
    }
}
