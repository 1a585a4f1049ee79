//! What a run that goes on shows to be broken, entry by entry.
//!
//! **Invariants:** of the promises, those alone that the scenario checks; what may be set right yet is no reason. Of
//! operations those that are under way stay, and of tickets who has them, which were confirmed, and how much was read.
//! **Not here:** what only the end shows: what is lost, whether the ledger holds and replicas are equal, what was
//! written (`promises`).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    history::{Answer, Entry, Operation, Phase, What},
    promises::Promise,
    scenario::Scenario,
};

/// What was broken, as far as it shows while a run goes on.
#[derive(Debug)]
pub(super) struct Broken {
    checks: Vec<Promise>,
    revoked_within_us: u64,
    /// Whose acceptance crossed another's hears of it within this, where nothing is broken.
    recover_within_us: u64,
    why: Option<String>,
    /// By their numbers, with whoever asks.
    under_way: BTreeMap<u64, (String, Asked)>,
    /// By ticket and number, of what is to be said once.
    confirmed: BTreeSet<(String, u8)>,
    /// Until when each is answered yet.
    revoked: BTreeMap<String, u64>,
    /// By ticket: the events that somebody has read.
    read: BTreeMap<String, u64>,
    /// By ticket and epoch of an offer: whose acceptance was answered with yes, since when.
    has: BTreeMap<(String, u32), Vec<(String, u64)>>,
    /// Strikes that did not end, and when the last one did.
    open: BTreeSet<(u32, Option<u64>)>,
    mended_us: u64,
}

#[derive(Debug)]
enum Asked {
    Request,
    /// With the events that somebody had read before.
    Read {
        ticket: String,
        known: u64,
    },
    Answer {
        ticket: String,
        epoch: u32,
        answer: Answer,
    },
}

impl Broken {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            checks: scenario.promises.clone(),
            revoked_within_us: scenario.revoked_within_ms.saturating_mul(1000),
            recover_within_us: scenario.recover_within_ms.saturating_mul(1000),
            why: None,
            under_way: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            revoked: BTreeMap::new(),
            read: BTreeMap::new(),
            has: BTreeMap::new(),
            open: BTreeSet::new(),
            mended_us: 0,
        }
    }

    fn broken(&mut self, promise: Promise, why: impl FnOnce() -> String) {
        if self.why.is_none() && self.checks.contains(&promise) {
            self.why = Some(why());
        }
    }

    /// Takes in what happened.
    pub(super) fn see(&mut self, entry: &Entry) {
        let at_us = entry.at_us;
        match &entry.what {
            What::Invoked { op, by, operation } => self.asks(*op, by, operation),
            What::Ok { .. } | What::Refused { .. } | What::Unknown { .. } => self.comes_out(entry),
            What::Withdrawn { by, ticket } => self.lets_go(by, ticket),
            What::Confirmed { by, ticket, number, .. } => {
                self.is_answered(by, at_us);
                let is_once = matches!(number, 2 | 4);
                if is_once && !self.confirmed.insert((ticket.clone(), *number)) {
                    self.broken(Promise::Once, || format!("{ticket} was confirmed twice"));
                }
            }
            What::Revoked { device } => {
                let until_us = at_us.saturating_add(self.revoked_within_us);
                self.revoked.entry(device.clone()).or_insert(until_us);
            }
            What::Renewed { device } => {
                self.revoked.remove(device);
            }
            What::Down { node, why } => {
                let whom = node.map_or("the cluster".to_owned(), |node| format!("node {node}"));
                self.broken(Promise::Recovery, || format!("{whom}: {why}"));
            }
            What::Sample { node, name, value, bound } if value > bound => {
                let text = || format!("node {node}: {name} is {value}, more than {bound}");
                self.broken(Promise::Bounds, text);
            }
            What::Fault { strike, node, phase: Phase::Installed, .. } => {
                self.open.insert((*strike, *node));
            }
            What::Fault { strike, node, phase: Phase::Ended, .. } => {
                self.open.remove(&(*strike, *node));
                self.mended_us = at_us;
            }
            _ => {}
        }
    }

    fn asks(&mut self, op: u64, by: &str, operation: &Operation) {
        let asked = match operation {
            Operation::Request { .. } => Asked::Request,
            Operation::Read { ticket } => {
                let known = self.read.get(ticket).copied().unwrap_or(0);
                Asked::Read { ticket: ticket.clone(), known }
            }
            Operation::Answer { ticket, offer, answer } => {
                Asked::Answer { ticket: ticket.clone(), epoch: offer.epoch, answer: *answer }
            }
            Operation::Write { .. } => return,
        };
        self.under_way.insert(op, (by.to_owned(), asked));
    }

    fn comes_out(&mut self, entry: &Entry) {
        let (op, at_us) = match &entry.what {
            What::Ok { op, .. } | What::Refused { op, .. } | What::Unknown { op, .. } => {
                (op, entry.at_us)
            }
            _ => return,
        };
        let Some((by, asked)) = self.under_way.remove(op) else { return };
        if !matches!(entry.what, What::Unknown { .. }) {
            self.is_answered(&by, at_us);
        }
        match (&entry.what, asked) {
            (What::Ok { read: Some(prefix), .. }, Asked::Read { ticket, known }) => {
                let now = prefix.events;
                self.broken_where(now < known, Promise::OneHistory, || {
                    format!("{ticket}: a read saw {now} events, and one before it {known}")
                });
                let most = self.read.entry(ticket).or_default();
                *most = now.max(*most);
            }
            (What::Ok { .. }, Asked::Answer { ticket, epoch, answer: Answer::Accept }) => {
                let has = self.has.entry((ticket, epoch)).or_default();
                if !has.iter().any(|(other, _)| *other == by) {
                    has.push((by, at_us));
                }
            }
            (What::Refused { .. }, Asked::Answer { ticket, answer: Answer::Complete, .. }) => {
                self.lets_go(&by, &ticket);
            }
            _ => {}
        }
    }

    fn broken_where(&mut self, is_so: bool, promise: Promise, why: impl FnOnce() -> String) {
        if is_so {
            self.broken(promise, why);
        }
    }

    fn is_answered(&mut self, by: &str, at_us: u64) {
        let until_us = self.revoked.get(by).copied();
        self.broken_where(
            until_us.is_some_and(|until_us| at_us > until_us),
            Promise::Revoked,
            || format!("{by} was answered after it was revoked"),
        );
    }

    /// What a device was told of a ticket does not hold; the word of it may come before the answer.
    fn lets_go(&mut self, by: &str, ticket: &str) {
        let all = (ticket.to_owned(), 0)..=(ticket.to_owned(), u32::MAX);
        for (_, has) in self.has.range_mut(all) {
            has.retain(|(other, _)| other != by);
        }
        self.under_way.retain(|_, (other, asked)| {
            let is_its = matches!(asked, Asked::Answer { ticket: of, .. } if of == ticket);
            !(is_its && other == by)
        });
    }

    /// What was broken, as far as it is known now.
    pub(super) fn reason(&self, now_us: u64) -> Option<String> {
        self.why.clone().or_else(|| self.two_have_it(now_us))
    }

    /// Whose acceptance crossed another's is told that it came too late, which takes as long as what is broken lasts.
    fn two_have_it(&self, now_us: u64) -> Option<String> {
        if !self.open.is_empty() || !self.checks.contains(&Promise::OneTechnician) {
            return None;
        }
        let mut doubled = self.has.iter().filter_map(|((ticket, epoch), has)| match &has[..] {
            [(one, _), (other, since_us), ..] => Some((ticket, epoch, one, other, *since_us)),
            _ => None,
        });
        let is_over = |since_us: u64| {
            since_us.max(self.mended_us).saturating_add(self.recover_within_us) <= now_us
        };
        let (ticket, epoch, one, other, _) = doubled.find(|doubled| is_over(doubled.4))?;
        Some(format!("{ticket}: {one} and {other} were told that they have it by offer {epoch}"))
    }
}
