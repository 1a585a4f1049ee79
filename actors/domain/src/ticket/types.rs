//! A ticket's stages and commands.
//!
//! **Invariant:** field numbers are never used again. **Not here:** what happened to it (`events`), what
//! people order (`orders`).

use fieldmesh_calendar::zone::Zone;
use minicbor::{Decode, Encode};

use super::{
    group::ParentWord,
    orders::{Order, Party},
    reached::Reach,
    ruled::Triage,
    terms::{Silence, Subject, Terms},
};
use crate::{
    TimerName,
    ids::EntityId,
    message::{Enclosure, Location, OfferId, Pause, RequestBody},
    selection::{Choice, Wishes},
    technician::Phase,
    time::Millis,
};

/// Where a ticket stands, in the order of its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Stage {
    /// Not opened.
    #[default]
    #[n(0)]
    Unknown,
    #[n(1)]
    Received,
    #[n(2)]
    Triaged,
    #[n(3)]
    Matching,
    #[n(4)]
    Offered,
    #[n(5)]
    Unfilled,
    #[n(6)]
    Accepted,
    #[n(7)]
    EnRoute,
    #[n(8)]
    OnSite,
    #[n(9)]
    Paused,
    #[n(10)]
    Completed,
    #[n(11)]
    CannotComplete,
    #[n(12)]
    Cancelled,
    #[n(13)]
    Closed,
    /// Waits until a time that somebody named.
    #[n(14)]
    Held,
    /// Left in the very step that enters it.
    #[n(15)]
    Confirmed,
    /// Waits for the end of another ticket.
    #[n(16)]
    Grouped,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Received => "received",
            Self::Triaged => "triaged",
            Self::Matching => "matching",
            Self::Offered => "offered",
            Self::Unfilled => "unfilled",
            Self::Accepted => "accepted",
            Self::EnRoute => "en_route",
            Self::OnSite => "on_site",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::CannotComplete => "cannot_complete",
            Self::Cancelled => "cancelled",
            Self::Closed => "closed",
            Self::Held => "held",
            Self::Confirmed => "confirmed",
            Self::Grouped => "grouped",
        }
    }

    /// How far a technician is who has a ticket in this stage.
    pub(crate) fn phase(self) -> Option<Phase> {
        match self {
            Self::Offered => Some(Phase::Reserved),
            Self::Accepted => Some(Phase::Committed),
            Self::EnRoute => Some(Phase::EnRoute),
            Self::OnSite | Self::Paused => Some(Phase::OnSite),
            Self::Unknown
            | Self::Received
            | Self::Triaged
            | Self::Matching
            | Self::Unfilled
            | Self::Completed
            | Self::CannotComplete
            | Self::Cancelled
            | Self::Closed
            | Self::Held
            | Self::Confirmed
            | Self::Grouped => None,
        }
    }

    /// It has ended, and lives again only if somebody reopens it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Cancelled | Self::Closed)
    }

    /// A technician has promised to come, or is there.
    pub fn is_promised(self) -> bool {
        self.phase() > Some(Phase::Reserved)
    }
}

/// Why a technician did not take an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RefusalReason {
    #[n(0)]
    Declined,
    #[n(1)]
    Busy,
    #[n(2)]
    OffShift,
    #[n(3)]
    NoDevice,
    /// The offer reached the technician after its end.
    #[n(4)]
    Late,
}

/// What a technician reports of the work.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Progress {
    #[n(0)]
    EnRoute,
    #[n(1)]
    OnSite,
    #[n(2)]
    Completed {
        #[n(0)]
        note: String,
    },
    #[n(3)]
    CannotComplete {
        #[n(0)]
        reason: String,
    },
    #[n(4)]
    Paused(#[n(0)] Pause),
    #[n(5)]
    Resumed,
}

impl Progress {
    /// Where it brings the ticket.
    pub fn stage(&self) -> Stage {
        match self {
            Self::EnRoute => Stage::EnRoute,
            Self::OnSite | Self::Resumed => Stage::OnSite,
            Self::Paused(_) => Stage::Paused,
            Self::Completed { .. } => Stage::Completed,
            Self::CannotComplete { .. } => Stage::CannotComplete,
        }
    }
}

/// What a ticket keeps of the last promotion of its region.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Promoted {
    /// Which promotion.
    #[n(0)]
    pub promotion: u64,
    /// Offers up to this epoch may have been made in the history that is lost.
    #[n(1)]
    pub floor: u32,
    /// The technician has not said yet that it knows of the work: the deadline that holds once it has.
    #[n(2)]
    pub awaited: Option<Millis>,
}

/// What a customer tells of itself with a request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Background {
    /// Without this one.
    #[n(0)]
    pub open_tickets: u32,
    /// Its requests of the last 10 minutes, hour, day and week, without this one.
    #[n(1)]
    pub requests: [u32; 4],
    #[n(2)]
    pub site: Location,
    /// Of the site, where it is known.
    #[n(3)]
    pub zone: Option<Zone>,
}

/// What a ticket is counted by for its whole life, as it was when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Counted {
    #[n(0)]
    pub category: u16,
    /// Of a hash of the place under a key of the region: tickets of one site have the same, and nobody without
    /// the key finds the place. It is in rows, which the customer's data key does not cover: it outlives that.
    #[n(1)]
    pub site: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    #[n(0)]
    Open {
        #[n(0)]
        customer: EntityId,
        #[cbor(n(1), with = "minicbor::bytes")]
        message_id: [u8; 16],
        #[n(2)]
        body: RequestBody,
        #[n(3)]
        tier: u8,
        /// What rules say of it, added by whoever serves the ticket.
        #[n(4)]
        triage: Option<Box<Triage>>,
        /// The customer's, where it has any.
        #[n(5)]
        wishes: Option<Wishes>,
        /// What documents say, added by whoever serves the ticket.
        #[n(6)]
        terms: Option<Box<Terms>>,
        /// What rules may look at besides; none from an earlier release.
        #[n(7)]
        background: Option<Background>,
        /// What it is counted by, added by whoever serves the ticket; none before every node knows of it.
        #[n(8)]
        counted: Option<Counted>,
    },
    /// From the desk: offer it to this technician.
    #[n(1)]
    Offer {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        choice: Choice,
        /// What this answers.
        #[cbor(n(2), default)]
        question: u32,
    },
    #[n(2)]
    NobodyFits {
        #[n(0)]
        choice: Choice,
        #[cbor(n(1), default)]
        question: u32,
    },
    #[n(3)]
    Refused {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        offer: OfferId,
        #[n(2)]
        reason: RefusalReason,
    },
    #[n(4)]
    Accept {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        offer: OfferId,
        #[n(2)]
        name: String,
        #[n(3)]
        eta_min: u16,
    },
    #[n(5)]
    Progress {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        offer: OfferId,
        #[n(2)]
        progress: Progress,
    },
    #[n(6)]
    Cancel,
    /// The customer confirms the work.
    #[n(7)]
    Confirm,
    #[n(8)]
    Timer {
        #[n(0)]
        name: TimerName,
        #[n(1)]
        generation: u32,
        /// What is late is marked, added by whoever serves the ticket; none before every node knows of it.
        #[n(2)]
        marks: Option<bool>,
    },
    /// The region was promoted: others may be at another point of their history.
    #[n(9)]
    Reconcile {
        /// Which promotion; the same one again changes nothing.
        #[n(0)]
        promotion: u64,
    },
    /// From a technician that holds it.
    #[n(10)]
    Held {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        offer: OfferId,
        #[n(2)]
        phase: Phase,
        #[n(3)]
        name: String,
        /// What it promised, where it accepted.
        #[n(4)]
        eta_min: u16,
        /// Which answer ends its doubt; 0 where it has none.
        #[n(5)]
        question: u32,
    },
    /// What a person wants of it.
    #[n(11)]
    Order {
        #[n(0)]
        order: Order,
        #[n(1)]
        by: Party,
        /// The message or request that says so.
        #[cbor(n(2), with = "minicbor::bytes")]
        id: [u8; 16],
        /// What is above a silence is marked, added by whoever serves the ticket; none before every node knows of it.
        #[n(3)]
        marks: Option<bool>,
    },
    /// From the desk: the technician that it is offered to is needed for a ticket of priority 1.
    #[n(12)]
    Displace {
        #[n(0)]
        by_ticket: EntityId,
        /// What the offer answered.
        #[n(1)]
        question: u32,
    },
    /// From the technician that has it: a message for the customer.
    #[n(13)]
    Write {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        offer: OfferId,
        #[cbor(n(2), with = "minicbor::bytes")]
        id: [u8; 16],
        #[n(3)]
        text: String,
        #[n(4)]
        enclosure: Option<Enclosure>,
    },
    /// From a ticket that is grouped under this one, and waits for the answer.
    #[n(14)]
    ChildAsks {
        #[n(0)]
        child: EntityId,
    },
    /// From a ticket that was grouped under this one.
    #[n(15)]
    ChildLeaves {
        #[n(0)]
        child: EntityId,
    },
    #[n(16)]
    ParentSays {
        #[n(0)]
        parent: EntityId,
        #[n(1)]
        word: ParentWord,
    },
    /// From the desk: which ticket has the same key, where there is one.
    #[n(17)]
    Compared {
        #[n(0)]
        like: Option<EntityId>,
        #[n(1)]
        is_silent: bool,
    },
    /// From the ticket itself or from who audits it, to be told by whoever serves it whether a silence applies.
    #[n(20)]
    Reconsider {
        #[n(0)]
        subject: Subject,
        #[n(1)]
        silence: Option<Silence>,
    },
    /// Operators wrote silences anew.
    #[n(21)]
    SilencesChanged,
    /// Its timer is lost.
    #[n(22)]
    Rearm,
    /// From whoever hands alerts to its technician's device, or from the technician.
    #[n(23)]
    AlertReached {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        offer: OfferId,
        #[n(2)]
        reach: Reach,
    },
    /// From the technician that has it: it comes at another time than it said.
    #[n(24)]
    Eta {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        offer: OfferId,
        #[n(2)]
        eta_min: u16,
    },
}
