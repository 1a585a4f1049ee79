//! What happened in a run, entry by entry, as whoever ran it saw it.
//!
//! One JSON object a line. The first has the scenario, the last says how many there were: what ends
//! earlier was cut off. An operation is invoked and then came out well, was refused, or nobody knows; what
//! nobody knows may have happened, or may happen later. A device that does not know of its request's fate
//! goes on asking, so an outcome that is known later counts as one. Where an answer says where it stands, that is
//! noted with it: how much of a ticket's history a read saw, and how far the log was, the place of a confirmation. Where
//! the logs have what the others did is looked up in the end.
//!
//! **Invariants:** entries are in the order of time; an outcome comes after its invocation. **Not here:** what
//! follows from it (`promises`).

mod reading;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::reading::{Reading, Size};
use crate::{fault::Fault, scenario::Scenario, timeline::Strike};

/// What this is written in. Of version 1 are histories without what technicians' devices saw and with messages that
/// are not told apart; later versions are refused.
pub const VERSION: u32 = 2;
const VERSION_MIN: u32 = 1;
/// Longer than any run with its end: figures of later entries would be computed for ever.
const AT_US_MAX: u64 = 24 * 3_600_000_000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since the run began, by a clock that no fault moves.
    pub at_us: u64,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// The first one.
    Begun {
        version: u32,
        scenario: Box<Scenario>,
        /// SHA-256 of the document, hexadecimal.
        document: String,
        /// Unix milliseconds.
        wall_ms: u64,
        product: String,
        nodes: u64,
        /// What is to be broken, as it was laid out.
        strikes: Vec<Strike>,
        /// Of the region that is broken; none where that was not recorded yet.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shards: Vec<u32>,
    },
    Invoked {
        op: u64,
        by: String,
        operation: Operation,
    },
    Ok {
        op: u64,
        /// Of a read: events of the ticket, and the digest of them all; nothing where there was none yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        read: Option<Prefix>,
        /// Of a read: how far the replica was that answered. Where others are, only logs tell: [`What::Logged`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Position>,
    },
    /// Where a log has what an operation did, as it was looked up in the end.
    Logged {
        op: u64,
        at: Position,
    },
    /// Where a log has what a device was told.
    MailLogged {
        to: String,
        /// Its place in what the service tells the device.
        number: u64,
        at: Position,
    },
    /// It did not happen, and does not.
    Refused {
        op: u64,
        why: String,
    },
    Unknown {
        op: u64,
        why: String,
    },
    /// A customer was told something of a ticket.
    Confirmed {
        by: String,
        ticket: String,
        number: u8,
        technician: Option<String>,
        /// Its place in what the service tells the device.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<u64>,
    },
    /// A technician's device was told of an offer.
    Alerted {
        by: String,
        ticket: String,
        offer: Offer,
        /// Its place in what the service tells the device.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<u64>,
    },
    /// A technician's device was told that a ticket is not its any more.
    Withdrawn {
        by: String,
        ticket: String,
    },
    Fault {
        strike: u32,
        fault: Fault,
        node: Option<u64>,
        phase: Phase,
        why: String,
        /// What it did so far, where that is counted ([`Fault::counted`]) and was told; not in histories of before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effect: Option<u64>,
    },
    /// Who leads a group now, as most of its voters say; none where they do not.
    Leader {
        group: u32,
        node: Option<u64>,
    },
    /// Too few of a group's voters answer to know who leads it: so many, of those whom the run can ask.
    LeaderUnknown {
        group: u32,
        answered: u64,
        of: u64,
    },
    /// A figure that is bounded, with its bound.
    Sample {
        node: u64,
        name: String,
        value: u64,
        bound: u64,
    },
    /// A figure that is bounded and could not be had.
    Unsampled {
        node: u64,
        name: String,
        /// None: a release of before has no such figure; that is said once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A node ended by itself or does not start again, or the cluster does not heal: that is the product's fault.
    Down {
        node: Option<u64>,
        why: String,
    },
    /// A device was told that it is not believed.
    TurnedAway {
        device: String,
    },
    /// A device is not to be served any more: it was revoked, or its certificate has ended.
    Revoked {
        device: String,
    },
    /// It is to be served again, by its next certificate.
    Renewed {
        device: String,
    },
    /// A ticket in the end.
    Ticket {
        ticket: String,
        state: String,
        events: Vec<Happened>,
    },
    /// What a replica holds in the end.
    Replica {
        group: u32,
        node: u64,
        applied: u64,
        digest: String,
    },
    /// Whether the ledger's chain was verified in the end.
    Ledger {
        holds: bool,
        entries: u64,
        /// At least so many must be there for what the run asked for.
        wanted: u64,
        why: String,
    },
    /// The run was given up.
    Aborted {
        why: String,
    },
    /// Something that the run itself could not do.
    Harness {
        why: String,
    },
    /// The last one: so many came before it.
    Ended {
        entries: u64,
    },
}

/// What is asked of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "asks", rename_all = "snake_case")]
pub enum Operation {
    Request {
        ticket: String,
        shard: u32,
    },
    Read {
        ticket: String,
    },
    /// An operator's message into a ticket.
    Write {
        ticket: String,
        /// By which the ticket's history knows it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A technician's device takes an offer, or says that its work is done.
    Answer {
        ticket: String,
        offer: Offer,
        answer: Answer,
    },
}

/// One proposal of a ticket to a technician.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Offer {
    /// Grows with every offer of the ticket.
    pub epoch: u32,
    /// Among those that went out together.
    pub seq: u32,
}

/// What a technician's device says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Accept,
    Complete,
}

/// A place in the log of a group. What stands behind another was committed later, and by no earlier term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub group: u32,
    pub term: u64,
    pub index: u64,
    /// Whose replica answered, where one did: a log is the same on each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
}

impl Position {
    /// Whether whoever read there had this in what it read.
    pub(crate) fn is_seen_by(&self, read: Self) -> bool {
        self.group == read.group && self.index <= read.index
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, term, index, node } = self;
        write!(f, "entry {index} of group {group} in term {term}")?;
        node.map_or(Ok(()), |node| write!(f, ", by node {node}"))
    }
}

/// The beginning of a ticket's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefix {
    pub events: u64,
    /// Of these events in their order.
    pub digest: String,
}

/// One event of a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    pub event: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub technician: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Of a message: as the write has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Of the events up to this one.
    pub digest: String,
}

/// How far a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is there.
    Installed,
    /// There was nobody whom it could befall.
    Skipped,
    /// It could not be done.
    Failed,
    /// It is over.
    Ended,
}

/// All entries of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    pub entries: Vec<Entry>,
    /// The last entry says that there are no more.
    pub is_whole: bool,
}

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error(
        "line {line} is of an earlier time than the one before, or of more than a day: this is no history of \
         a run"
    )]
    Time { line: usize },
    #[error(
        "line {line} is no entry of a history: {source}; is this the file `history.jsonl` of a run?"
    )]
    Entry { line: usize, source: serde_json::Error },
    #[error(
        "the history does not begin with its scenario; is this the file `history.jsonl` of a run?"
    )]
    Headless,
    #[error("the history is of version {0}, and this program reads {VERSION_MIN} to {VERSION}")]
    Version(u32),
}

impl Entry {
    /// The line of a history, without its end.
    ///
    /// # Errors
    /// Never for what is declared here; serde says so by a result.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

impl History {
    /// Reads what was written line by line. A last line that was cut off is left out, and the history is not
    /// whole then.
    ///
    /// # Errors
    /// What is no history.
    pub fn read(text: &str) -> Result<Self, HistoryError> {
        let mut reading = Reading::default();
        text.split_inclusive('\n').try_for_each(|line| reading.line(line))?;
        reading.end()
    }

    /// Of entries in the order of their time.
    pub fn of(entries: Vec<Entry>) -> Self {
        let before = entries.len().saturating_sub(1) as u64;
        let last = entries.last().map(|entry| &entry.what);
        let is_whole = matches!(last, Some(What::Ended { entries }) if *entries == before);
        Self { entries, is_whole }
    }

    /// What was run; none where the history is none.
    pub fn scenario(&self) -> Option<&Scenario> {
        match &self.entries.first()?.what {
            What::Begun { scenario, .. } => Some(scenario),
            _ => None,
        }
    }

    /// The shards of the region that was broken; none where that was not recorded.
    pub(crate) fn shards(&self) -> &[u32] {
        match self.entries.first().map(|entry| &entry.what) {
            Some(What::Begun { shards, .. }) => shards,
            _ => &[],
        }
    }

    /// When the load asked last. Technicians answer as long as there is something to answer.
    pub fn asked_last_us(&self) -> Option<u64> {
        self.entries.iter().rev().find_map(|entry| match &entry.what {
            What::Invoked { operation: Operation::Answer { .. }, .. } => None,
            What::Invoked { .. } => Some(entry.at_us),
            _ => None,
        })
    }
}
