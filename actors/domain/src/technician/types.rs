//! A technician's skills, phases, commands and events; field numbers are never used again.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use super::life::{Step, Word};
use crate::{
    TimerName,
    device::Change,
    ids::EntityId,
    message::{AlertBody, Enclosure, Location, NoteBody, OfferId, ReceiptStatus, ResponseBody},
    ticket::{Progress, RefusalReason},
    time::Millis,
};

pub const SKILLS_MAX: usize = 256;
/// The levels of a skill are 1 to this.
pub const LEVEL_MAX: u8 = 5;

/// A skill with its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Skill {
    #[n(0)]
    pub category: u16,
    #[n(1)]
    pub level: u8,
    /// It counts until then; none is for good.
    #[n(2)]
    pub expires: Option<Millis>,
}

impl Skill {
    /// One that counts for good.
    pub const fn new(category: u16, level: u8) -> Self {
        Self { category, level, expires: None }
    }

    pub fn counts_at(&self, at: Millis) -> bool {
        self.expires.is_none_or(|expires| at < expires)
    }
}

/// When a technician works by itself, without being told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Shift {
    /// From "on shift" to "off shift".
    #[default]
    #[n(0)]
    Always,
}

/// What a technician does now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Duty {
    /// Not registered.
    #[default]
    #[n(0)]
    Unknown,
    #[n(1)]
    OffShift,
    #[n(2)]
    Available,
    /// Holds an offer that is not answered yet.
    #[n(3)]
    Reserved,
    #[n(4)]
    Committed,
    #[n(5)]
    EnRoute,
    #[n(6)]
    OnSite,
    #[n(7)]
    Suspended,
    /// On shift, and the roster has a break.
    #[n(8)]
    Break,
    /// On shift, and nobody has heard of its device for long.
    #[n(9)]
    Unreachable,
}

impl Duty {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::OffShift => "off_shift",
            Self::Available => "available",
            Self::Reserved => "reserved",
            Self::Committed => "committed",
            Self::EnRoute => "en_route",
            Self::OnSite => "on_site",
            Self::Suspended => "suspended",
            Self::Break => "break",
            Self::Unreachable => "unreachable",
        }
    }
}

/// How far a held ticket has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Phase {
    #[n(0)]
    Reserved,
    #[n(1)]
    Committed,
    #[n(2)]
    EnRoute,
    #[n(3)]
    OnSite,
}

/// A ticket in the technician's hands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Holding {
    #[n(0)]
    pub offer: OfferId,
    #[n(1)]
    pub phase: Phase,
    /// A reservation is dead after this.
    #[n(2)]
    pub expires: Millis,
    /// The last message about it, so that its repetition is known.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub answered_by: Option<[u8; 16]>,
    /// What the technician promised when it accepted.
    #[n(4)]
    pub eta_min: Option<u16>,
    /// The numbers of the last messages about it that the device was sent.
    #[n(5)]
    pub noted: Option<BTreeSet<u32>>,
}

/// What became doubtful when the region was promoted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Review {
    /// The last promotion that it heard of.
    #[n(0)]
    pub promotion: u64,
    /// Counts the doubts, and with them the timers.
    #[n(1)]
    pub generation: u32,
    /// Held tickets that have not said whether they count on it, with the question that was asked.
    #[n(2)]
    pub doubtful: BTreeMap<EntityId, u32>,
    /// What arrives before this may have been sent before the promotion.
    #[n(3)]
    pub until: Millis,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    #[n(0)]
    Register {
        #[n(0)]
        name: String,
        #[n(1)]
        skills: Vec<Skill>,
        #[n(2)]
        home: Location,
        #[n(3)]
        capacity: u16,
        #[n(4)]
        shift: Shift,
    },
    /// The certificates of its device were revoked.
    #[n(1)]
    LoseDevice,
    // 2 is retired.
    #[n(3)]
    PublishKeys {
        #[n(0)]
        serial: u64,
        #[cbor(n(1), with = "minicbor::bytes")]
        bundle: Vec<u8>,
    },
    #[n(4)]
    GoOnShift,
    #[n(5)]
    GoOffShift,
    #[n(6)]
    Reserve {
        #[n(0)]
        alert: AlertBody,
    },
    #[n(7)]
    Release {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        offer: OfferId,
    },
    /// The device's response, verified.
    #[n(8)]
    Answer {
        #[cbor(n(0), with = "minicbor::bytes")]
        message_id: [u8; 16],
        #[n(1)]
        body: ResponseBody,
    },
    /// Its device got a certificate.
    #[n(10)]
    FindDevice,
    #[n(9)]
    Timer {
        #[n(0)]
        name: TimerName,
        #[n(1)]
        generation: u32,
    },
    /// The region was promoted: others may be at another point of their history.
    #[n(11)]
    Reconcile {
        /// Which promotion; the same one again changes nothing.
        #[n(0)]
        promotion: u64,
    },
    /// From a ticket that counts on this technician.
    #[n(12)]
    Keep {
        #[n(0)]
        alert: AlertBody,
        /// How far the ticket knows it to be.
        #[n(1)]
        phase: Phase,
        /// The question that this answers; none where the ticket speaks first.
        #[n(2)]
        answers: Option<u32>,
    },
    /// From a ticket that it has by this offer: a message for its device.
    #[n(13)]
    Note {
        #[n(0)]
        offer: OfferId,
        #[n(1)]
        body: NoteBody,
    },
    /// What is said of its shifts, its means and its device.
    #[n(20)]
    Life(#[n(0)] Word),
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    #[n(0)]
    Registered {
        #[n(0)]
        name: String,
        #[n(1)]
        skills: Vec<Skill>,
        #[n(2)]
        home: Location,
        #[n(3)]
        capacity: u16,
        #[n(4)]
        shift: Shift,
    },
    #[n(1)]
    Device(#[n(0)] Change),
    #[n(2)]
    WentOnShift,
    #[n(3)]
    WentOffShift,
    #[n(4)]
    Reserved {
        #[n(0)]
        alert: AlertBody,
    },
    #[n(5)]
    Refused {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        offer: OfferId,
        #[n(2)]
        reason: RefusalReason,
    },
    #[n(6)]
    Released {
        #[n(0)]
        ticket: EntityId,
        /// It was promised to the technician, who must be told.
        #[n(1)]
        was_committed: bool,
        /// The offer was open still: its device shows an alert that nothing comes of.
        #[n(2)]
        is_withdrawn: Option<bool>,
    },
    #[n(7)]
    Accepted {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        offer: OfferId,
        #[n(2)]
        eta_min: u16,
        #[cbor(n(3), with = "minicbor::bytes")]
        message_id: [u8; 16],
    },
    #[n(8)]
    Declined {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        offer: OfferId,
        #[n(2)]
        reason: String,
        #[cbor(n(3), with = "minicbor::bytes")]
        message_id: [u8; 16],
    },
    #[n(9)]
    Progressed {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        offer: OfferId,
        #[n(2)]
        progress: Progress,
        #[cbor(n(3), with = "minicbor::bytes")]
        message_id: [u8; 16],
    },
    /// An answer that changed nothing; the device gets a receipt all the same.
    #[n(10)]
    AnswerNoted {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        status: ReceiptStatus,
        #[cbor(n(2), with = "minicbor::bytes")]
        message_id: [u8; 16],
    },
    #[n(11)]
    Reconciled {
        #[n(0)]
        promotion: u64,
        /// Until then each held ticket must have said that it counts on the technician.
        #[n(1)]
        due: Millis,
    },
    /// The ticket counts on the technician.
    #[n(12)]
    Kept {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        phase: Phase,
        /// It was asked, so that there is no doubt any more.
        #[n(2)]
        sure: bool,
    },
    /// Held again on a ticket's word, which may have changed since.
    #[n(13)]
    Doubted {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        due: Millis,
    },
    /// The ticket is told what is held of it.
    #[n(14)]
    HeldTold {
        #[n(0)]
        ticket: EntityId,
    },
    /// Its device is sent a message about a ticket.
    #[n(15)]
    Noted(#[n(0)] NoteBody),
    /// It writes to a ticket's customer.
    #[n(16)]
    Wrote {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        offer: OfferId,
        #[n(2)]
        text: String,
        #[cbor(n(3), with = "minicbor::bytes")]
        message_id: [u8; 16],
        #[n(4)]
        enclosure: Option<Enclosure>,
    },
    /// It has looked at an alert.
    #[n(17)]
    Saw {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        offer: OfferId,
        #[cbor(n(2), with = "minicbor::bytes")]
        message_id: [u8; 16],
    },
    /// It comes at another time than it said.
    #[n(18)]
    EtaChanged {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        offer: OfferId,
        #[n(2)]
        eta_min: u16,
        #[cbor(n(3), with = "minicbor::bytes")]
        message_id: [u8; 16],
    },
    /// What becomes of its shifts, its means and its device.
    #[n(20)]
    Life(#[n(0)] Step),
}
