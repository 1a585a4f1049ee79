//! The promises that a run checks, I1 to I10, each as a pure function of the history.
//!
//! **Invariants:** a promise that nothing in the history could have broken is not called kept: then nobody
//! knows. A violation comes with the entries that show it. **Not here:** which promises a run checks
//! (`scenario`), what the run is worth as a whole (`judge`).

mod bounds;
mod finals;
mod linear;
mod noted;
mod operations;
mod positions;
mod recovery;
mod technicians;
mod tickets;

use serde::{Deserialize, Serialize};

use crate::history::History;

pub(crate) use bounds::bounded;
pub use bounds::{Bounded, FILES, Limits, Most, RESIDENT};
pub(crate) use operations::{Fate, Operations, renewed, revoked};
pub(crate) use positions::unplaced;
pub(crate) use recovery::{Recovery, recoveries};

/// Counter-examples that are kept of one promise: the first shows what is wrong, the others how often.
const EXAMPLES_MAX: usize = 10;

/// What the product promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// I1: what was acknowledged is there in the end, also that a technician takes a ticket and that the work is done, its
    /// customer was told of a technician and of the end, and its group's log goes as far.
    Acknowledged,
    /// I2: at most one technician has a ticket, by its history and by what devices were told, and offers are
    /// numbered upwards.
    OneTechnician,
    /// I3: each ticket is one history: each message that was acknowledged is there once, in an order that their
    /// times and its log allow; a read has all that was acknowledged before it began, and nothing that is not in the end.
    OneHistory,
    /// I4: a customer is told of a dispatch once, and once that the work is done, and of no other's ticket.
    Once,
    /// I5: a device that is revoked or whose certificate has ended is refused, until it has its next one.
    Revoked,
    /// I6: the ledger's chain holds.
    Ledger,
    /// I7: replicas that have applied the same are the same.
    Replicas,
    /// I8: after the last fault every shard that is asked serves again in time, every request of a device that is
    /// believed is answered, every group has a leader, and no node ended by itself or stays away.
    Recovery,
    /// I9: what a customer or a technician is told of a ticket comes in order, and logs have what a device said in its.
    Order,
    /// I10: what is bounded stays within its bound.
    Bounds,
}

/// Entries that show that a promise was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    pub text: String,
    /// Places in the history, from 0.
    pub entries: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Kept,
    Broken,
    /// Nothing could have shown it.
    Unknown,
}

impl Verdict {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Broken => "BROKEN",
            Self::Unknown => "not known",
        }
    }
}

/// What the history says of one promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub promise: Promise,
    pub verdict: Verdict,
    /// How many things were looked at.
    pub checked: u64,
    /// How often it was broken.
    pub broken: u64,
    /// Why nobody knows; of what was kept, what was not looked at.
    pub why: String,
    /// The smallest come first.
    pub examples: Vec<Example>,
}

impl Promise {
    pub const ALL: [Self; 10] = [
        Self::Acknowledged,
        Self::OneTechnician,
        Self::OneHistory,
        Self::Once,
        Self::Revoked,
        Self::Ledger,
        Self::Replicas,
        Self::Recovery,
        Self::Order,
        Self::Bounds,
    ];

    pub fn number(self) -> usize {
        Self::ALL.iter().position(|promise| *promise == self).map_or(0, |at| at + 1)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::OneTechnician => "one-technician",
            Self::OneHistory => "one-history",
            Self::Once => "once",
            Self::Revoked => "revoked",
            Self::Ledger => "ledger",
            Self::Replicas => "replicas",
            Self::Recovery => "recovery",
            Self::Order => "order",
            Self::Bounds => "bounds",
        }
    }

    /// What it says, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Acknowledged => "no acknowledged request is lost",
            Self::OneTechnician => "at most one technician has a ticket",
            Self::OneHistory => "each ticket has one history, and reads are of it",
            Self::Once => "a dispatch is confirmed once",
            Self::Revoked => "a revoked or expired device is refused",
            Self::Ledger => "the ledger's chain holds",
            Self::Replicas => "replicas are equal",
            Self::Recovery => "whoever asks is served again in time, and no node stays away",
            Self::Order => "what devices are told of a ticket comes in order",
            Self::Bounds => "memory, open files and queues are bounded",
        }
    }

    /// By its name, or `I1` to `I10`.
    pub fn read(text: &str) -> Option<Self> {
        let numbered = text.strip_prefix('I').and_then(|number| number.parse::<usize>().ok());
        match numbered {
            Some(number) => Self::ALL.get(number.checked_sub(1)?).copied(),
            None => Self::ALL.into_iter().find(|promise| promise.name() == text),
        }
    }

    pub(crate) fn check(self, history: &History, operations: &Operations<'_>) -> Finding {
        let found = match self {
            Self::Acknowledged => {
                let mut found = finals::acknowledged(history, operations);
                noted::acceptances_are_there(history, operations, &mut found);
                noted::completions_are_there(history, operations, &mut found);
                noted::ends_are_told(history, operations, &mut found);
                positions::were_applied(history, operations, &mut found);
                found
            }
            Self::OneTechnician => {
                let mut found = tickets::one_technician(history);
                technicians::one_was_told(history, operations, &mut found);
                found
            }
            Self::OneHistory => linear::one_history(history, operations),
            Self::Once => tickets::once(history, operations),
            Self::Revoked => finals::revoked_are_refused(history, operations),
            Self::Ledger => finals::ledger(history),
            Self::Replicas => finals::replicas(history),
            Self::Recovery => recovery::recovery(history, operations),
            Self::Order => {
                let mut found = tickets::order(history);
                technicians::order(history, &mut found);
                positions::of_devices_are_in_order(history, operations, &mut found);
                found
            }
            Self::Bounds => bounds::bounds(history),
        };
        found.finding(self, history.is_whole)
    }
}

/// What a check collects.
#[derive(Debug, Default)]
pub(crate) struct Found {
    checked: u64,
    broken: Vec<Example>,
    /// Why nobody knows, although something was looked at.
    unknown: Option<String>,
    /// What this history does not show, so that the rest alone can be called kept.
    not_shown: Option<&'static str>,
}

impl Found {
    fn see(&mut self) {
        self.checked += 1;
    }

    fn broken(&mut self, entries: Vec<usize>, text: String) {
        self.broken.push(Example { text, entries });
    }

    fn unknown(&mut self, why: impl Into<String>) {
        self.unknown.get_or_insert(why.into());
    }

    fn not_shown(&mut self, what: &'static str) {
        self.not_shown.get_or_insert(what);
    }

    fn finding(self, promise: Promise, is_whole: bool) -> Finding {
        let Self { checked, mut broken, unknown, not_shown } = self;
        let count = broken.len() as u64;
        broken.sort_by_key(|example| example.entries.len());
        broken.truncate(EXAMPLES_MAX);
        let (verdict, why) = match (count, unknown) {
            (1.., _) => (Verdict::Broken, String::new()),
            (0, _) if !is_whole => {
                (Verdict::Unknown, "the history was cut off: what came later is not known".into())
            }
            (0, Some(why)) => (Verdict::Unknown, why),
            (0, None) if checked == 0 => {
                (Verdict::Unknown, "nothing in this run could have broken it".into())
            }
            (0, None) => (Verdict::Kept, not_shown.unwrap_or_default().to_owned()),
        };
        Finding { promise, verdict, checked, broken: count, why, examples: broken }
    }
}

#[cfg(test)]
pub(crate) mod tests;
