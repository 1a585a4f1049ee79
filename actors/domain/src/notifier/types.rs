//! What a notifier is told, and what it writes down of it.
//!
//! **Invariants:** a notice holds nothing of a person's, because rows of it are stored in plain; the numbers
//! of kinds are given once. **Not here:** what follows (`notifier`), how it is delivered (`node`).

use minicbor::{Decode, Encode, bytes::ByteArray};

use crate::{EntityId, TimerName, ids::fnv1a, ticket::Stage, time::Millis};

/// Bytes of a notice's detail: a sentence.
pub const DETAIL_BYTES_MAX: usize = 256;
/// Bytes of a target's name.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of why a delivery failed: a status and a sentence.
pub const REASON_BYTES_MAX: usize = 256;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum What {
    #[n(0)]
    Opened = 0,
    #[n(1)]
    Triaged = 1,
    #[n(2)]
    Offered = 2,
    /// A technician said no, or nothing in time.
    #[n(3)]
    Declined = 3,
    #[n(4)]
    Accepted = 4,
    #[n(5)]
    Unfilled = 5,
    #[n(6)]
    EnRoute = 6,
    #[n(7)]
    OnSite = 7,
    #[n(8)]
    Paused = 8,
    /// Progress is not reported although it should be.
    #[n(9)]
    Overdue = 9,
    /// A promise of the service level is broken.
    #[n(10)]
    Breached = 10,
    #[n(11)]
    Completed = 11,
    #[n(12)]
    CannotComplete = 12,
    #[n(13)]
    Closed = 13,
    #[n(14)]
    Cancelled = 14,
    #[n(15)]
    Held = 15,
    #[n(16)]
    Grouped = 16,
    #[n(17)]
    Reopened = 17,
    /// It was taken from its technician.
    #[n(18)]
    TakenBack = 18,
    #[n(19)]
    Escalated = 19,
    /// A trigger rule could not be evaluated.
    #[n(20)]
    RuleFailed = 20,
    /// A trigger rule says so.
    #[n(21)]
    RuleMatched = 21,
    /// Many tickets of one cause: they begin, or are over.
    #[n(22)]
    Storm = 22,
    /// An operator tries a target.
    #[n(23)]
    Test = 23,
}

impl What {
    pub const ALL: [Self; 24] = [
        Self::Opened,
        Self::Triaged,
        Self::Offered,
        Self::Declined,
        Self::Accepted,
        Self::Unfilled,
        Self::EnRoute,
        Self::OnSite,
        Self::Paused,
        Self::Overdue,
        Self::Breached,
        Self::Completed,
        Self::CannotComplete,
        Self::Closed,
        Self::Cancelled,
        Self::Held,
        Self::Grouped,
        Self::Reopened,
        Self::TakenBack,
        Self::Escalated,
        Self::RuleFailed,
        Self::RuleMatched,
        Self::Storm,
        Self::Test,
    ];

    /// As targets subscribe to it and payloads say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "ticket.opened",
            Self::Triaged => "ticket.triaged",
            Self::Offered => "ticket.offered",
            Self::Declined => "ticket.declined",
            Self::Accepted => "ticket.accepted",
            Self::Unfilled => "ticket.unfilled",
            Self::EnRoute => "ticket.en_route",
            Self::OnSite => "ticket.on_site",
            Self::Paused => "ticket.paused",
            Self::Overdue => "ticket.overdue",
            Self::Breached => "ticket.breached",
            Self::Completed => "ticket.completed",
            Self::CannotComplete => "ticket.cannot_complete",
            Self::Closed => "ticket.closed",
            Self::Cancelled => "ticket.cancelled",
            Self::Held => "ticket.held",
            Self::Grouped => "ticket.grouped",
            Self::Reopened => "ticket.reopened",
            Self::TakenBack => "ticket.taken_back",
            Self::Escalated => "ticket.escalated",
            Self::RuleFailed => "rule.failed",
            Self::RuleMatched => "rule.matched",
            Self::Storm => "storm",
            Self::Test => "test",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.name() == name)
    }

    /// Its bit in a set of kinds.
    pub fn bit(self) -> u64 {
        1 << (self as u8)
    }
}

/// Whom a notice is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Recipient {
    /// A target by its name.
    #[n(0)]
    Webhook(#[n(0)] String),
    /// A person by the name that the targets have for them.
    #[n(1)]
    Person(#[n(0)] String),
    /// Whoever subscribed to what happened; nobody is delivered to under this name.
    #[n(2)]
    Subscribers,
}

impl Recipient {
    pub fn name(&self) -> &str {
        match self {
            Self::Webhook(name) | Self::Person(name) => name,
            Self::Subscribers => "subscribers",
        }
    }

    pub(super) fn is_named(&self) -> bool {
        (1..=NAME_BYTES_MAX).contains(&self.name().len())
    }

    /// What a notice is known by that was told for this recipient: the same notice for two of them is two.
    pub(super) fn key(&self, notice: [u8; 16]) -> ByteArray<16> {
        let kind: u8 = match self {
            Self::Webhook(_) => 0,
            Self::Person(_) => 1,
            Self::Subscribers => 2,
        };
        let mut seed = [&[kind], self.name().as_bytes(), &notice[..]].concat();
        let low = fnv1a(&seed);
        seed.push(1);
        let mut key = [0; 16];
        key[..8].copy_from_slice(&low.to_be_bytes());
        key[8..].copy_from_slice(&fnv1a(&seed).to_be_bytes());
        key.into()
    }
}

/// Something that somebody outside is to hear of.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Notice {
    /// Whoever tells the same again gives it the same one.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id: [u8; 16],
    #[n(1)]
    pub to: Recipient,
    #[n(2)]
    pub ticket: EntityId,
    #[n(3)]
    pub what: What,
    #[n(4)]
    pub priority: u8,
    #[n(5)]
    pub stage: Stage,
    /// When it happened; 0 where whoever tells it has no clock, and then it is when it is told.
    #[n(6)]
    pub at: Millis,
    /// A sentence for people, of at most [`DETAIL_BYTES_MAX`]; nothing of a person's.
    #[n(7)]
    pub detail: String,
}

impl Notice {
    /// An id for what happened to a ticket: `number` tells apart what happens to it more than once.
    pub fn id_of(ticket: EntityId, what: What, number: u64) -> [u8; 16] {
        let mut seed = [&ticket.to_bytes()[..], &[what as u8], &number.to_be_bytes()].concat();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&fnv1a(&seed).to_be_bytes());
        seed.push(1);
        id[8..].copy_from_slice(&fnv1a(&seed).to_be_bytes());
        id
    }
}

/// The beginning of a text that is no longer than so many bytes.
pub(super) fn clipped(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// How far a notice has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Delivery {
    /// Nobody tried yet.
    #[n(0)]
    Queued,
    /// It was handed to the network; what came of it is not known.
    #[n(1)]
    Sent,
    /// The target says that it has it.
    #[n(2)]
    Delivered,
    /// It will be tried again.
    #[n(3)]
    Failed,
    /// It is not tried again, unless an operator says so.
    #[n(4)]
    Dead,
}

impl Delivery {
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }

    pub fn is_pending(self) -> bool {
        matches!(self, Self::Queued | Self::Sent | Self::Failed)
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// It begins; nothing is sent before this is written.
    #[n(0)]
    Sent,
    #[n(1)]
    Delivered,
    #[n(2)]
    Failed {
        /// When it is tried again.
        #[n(0)]
        next: Millis,
        #[n(1)]
        reason: String,
    },
    #[n(3)]
    Dead {
        #[n(0)]
        reason: String,
    },
}

/// What came of the attempt to deliver one notice.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Settled {
    #[n(0)]
    pub number: u64,
    /// Which attempt, from 1.
    #[n(1)]
    pub attempt: u8,
    #[n(2)]
    pub outcome: Outcome,
}

/// A target and what it subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Subscription {
    #[n(0)]
    pub to: Recipient,
    /// The [`What::bit`]s.
    #[n(1)]
    pub kinds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Somebody outside is to hear of it.
    #[n(0)]
    Tell(#[n(0)] Notice),
    /// What came of attempts, at most [`super::SETTLED_MAX`], one outcome of each notice.
    #[n(1)]
    Settle(#[n(0)] Vec<Settled>),
    /// A dead one is tried again, as if nobody had tried.
    #[n(2)]
    Replay {
        #[n(0)]
        number: u64,
    },
    /// All targets there are, as operators wrote them down.
    #[n(3)]
    Targets {
        /// Of the document: an older one changes nothing.
        #[n(0)]
        version: u64,
        #[n(1)]
        targets: Vec<Subscription>,
    },
    /// The target says that it wants nothing any more.
    #[n(4)]
    Close {
        #[n(0)]
        to: Recipient,
        #[n(1)]
        reason: String,
    },
    /// An operator says that it does.
    #[n(5)]
    Open {
        #[n(0)]
        to: Recipient,
    },
    #[n(6)]
    Timer {
        #[n(0)]
        name: TimerName,
        #[n(1)]
        generation: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    #[n(0)]
    Told {
        #[n(0)]
        number: u64,
        /// One recipient, whomever the notice was for.
        #[n(1)]
        to: Recipient,
        #[n(2)]
        notice: Notice,
        #[n(3)]
        at: Millis,
    },
    #[n(1)]
    Settled {
        #[n(0)]
        settled: Settled,
        #[n(1)]
        at: Millis,
    },
    #[n(2)]
    Replayed {
        #[n(0)]
        number: u64,
        #[n(1)]
        at: Millis,
    },
    /// Its rows are removed.
    #[n(3)]
    Forgotten {
        #[n(0)]
        number: u64,
    },
    #[n(4)]
    TargetsChanged {
        #[n(0)]
        version: u64,
        #[n(1)]
        targets: Vec<Subscription>,
    },
    #[n(5)]
    Closed {
        #[n(0)]
        to: Recipient,
        #[n(1)]
        reason: String,
        #[n(2)]
        at: Millis,
    },
    #[n(6)]
    Opened {
        #[n(0)]
        to: Recipient,
    },
}
