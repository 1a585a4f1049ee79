//! What nodes say to each other about entities and devices, as bytes: one CBOR value in a frame.
//!
//! The first frame of a stream is an [`Opening`]: a question, which has one answer, or the beginning of
//! notices, which have none and keep their order. **Invariants:** numbers once given stay; a frame
//! decodes whole or ends its stream. **Not here:** streams (`ways`), whom to ask (`courier`).

use fieldmesh_actors::{
    Answer, AskError,
    commit::{Cause, SlotMove},
    mail::About,
    mailroom::Sent,
    seams::{JournalError, MailItem},
};
use fieldmesh_domain::{
    Command, EntityId, Rejection, RejectionCode, message::OfferId, ticket::Counted, time::Millis,
};
use minicbor::{
    Decode, Encode,
    bytes::{ByteArray, ByteVec},
};

/// A value in a frame's bytes, whole.
pub use crate::store::rows::whole as decode;

/// The largest command: what it becomes must fit a log entry, and room for its address.
pub const FRAME_BYTES_MAX: usize = crate::consensus::group::ENTRY_BYTES_MAX + (64 << 10);

/// First frame of a stream.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Opening {
    /// An entity is asked on behalf of a device, an operator or another entity.
    #[n(0)]
    Ask(#[n(0)] Box<Question>),
    /// [`Notice`]s follow.
    #[n(1)]
    Notices,
    /// How a group is, by whoever leads it; answered by [`Seen`], or nothing.
    #[n(2)]
    Look(#[n(0)] u32),
    /// A node of the same region needs the key of an issuing CA, by its certificate's SHA-256; answered
    /// by the key under the region's, or nothing.
    #[n(3)]
    IssuingKey(#[n(0)] ByteArray<32>),
    /// Rows that lists show, from a replica; answered by them in order.
    #[n(4)]
    Rows(#[n(0)] Wanted),
    /// Whether a certificate is on record, by a replica of its region's authority that has all there is;
    /// answered by yes or no, or nothing.
    #[n(5)]
    Recorded(#[n(0)] Recorded),
    /// Whether the node may lead a group, or, where none is named, any: answered by yes or no. Nodes of before look at
    /// no group.
    #[n(6)]
    MayLead(#[n(0)] Option<u32>),
    /// The number of a row that was redirected is to be taken; answered by whether it is.
    #[n(7)]
    TakeVoid(#[n(0)] Void),
    /// A slot is to be served no more by a shard; answered by whether all that it said was heard.
    #[n(8)]
    GiveSlot(#[n(0)] Gift),
    /// A page of the rows of a slot that was given away; answered by [`SlotRows`].
    #[n(9)]
    SlotRows(#[n(0)] SlotWanted),
    /// What the auditor found in a shard, by whoever leads it; answered by [`Audited`], or nothing before its
    /// first pass.
    #[n(10)]
    Audited(#[n(0)] u32),
    /// Which alerts a device was sent and has not acknowledged, by whoever leads its shard; answered by
    /// [`SentAlert`]s.
    #[n(11)]
    Sent(#[n(0)] EntityId),
    /// What was opened lately in a shard, by a node of the same region whose replica has all there is; answered
    /// by [`Opened`]s in the order of time, or nothing.
    #[n(12)]
    Opened(#[n(0)] OpenedWanted),
    /// The groups of which the node has a log, also where they do not run; answered by their numbers. Nodes of before
    /// answer nothing.
    #[n(13)]
    Held,
}

/// A page of what was opened in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct OpenedWanted {
    #[n(0)]
    pub shard: u32,
    /// The first is at or behind this time,
    #[n(1)]
    pub since: Millis,
    /// and behind the ticket with these bytes, where that was opened at the very time.
    #[n(2)]
    pub behind: ByteArray<16>,
}

/// Tickets of such a page at most: at some 45 bytes each far below a frame.
pub const OPENED_MAX: usize = 1000;

/// A ticket with what it is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Opened {
    #[n(0)]
    pub ticket: EntityId,
    #[n(1)]
    pub at: Millis,
    #[n(2)]
    pub counted: Counted,
}

/// An alert that was sent to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SentAlert {
    #[n(0)]
    pub ticket: EntityId,
    #[n(1)]
    pub offer: OfferId,
    /// Unix milliseconds by the clock of whoever leads.
    #[n(2)]
    pub at_ms: u64,
}

impl From<Sent> for SentAlert {
    fn from(Sent { ticket, offer, at_ms }: Sent) -> Self {
        Self { ticket, offer, at_ms }
    }
}

/// The auditor's last whole pass of a shard. Ages instead of times: clocks of two nodes differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Audited {
    /// Milliseconds since it ended.
    #[n(0)]
    pub age_ms: u64,
    /// Milliseconds that it took.
    #[n(1)]
    pub took_ms: u64,
    /// Open tickets without a timer.
    #[n(2)]
    pub missing: u64,
    /// Open tickets whose timer was due long ago.
    #[n(3)]
    #[cbor(default)]
    pub overdue: u64,
}

/// A number in a shard's outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Void {
    /// The shard that waits for it.
    #[n(0)]
    pub shard: u32,
    #[n(1)]
    pub from: u32,
    #[n(2)]
    pub number: u64,
}

/// A slot that goes from one shard to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Gift {
    #[n(0)]
    pub slot: SlotMove,
    #[n(1)]
    pub from: u32,
    #[n(2)]
    pub to: u32,
}

/// Where a page of a slot's rows begins.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SlotWanted {
    #[n(0)]
    pub gift: Gift,
    /// The first is at or behind this key.
    #[n(1)]
    pub at: Option<ByteVec>,
}

/// A page of a slot's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct SlotRows {
    #[n(0)]
    pub rows: Vec<(ByteVec, ByteVec)>,
    /// Where the next page begins; none where this is the last.
    #[n(1)]
    pub next: Option<ByteVec>,
}

/// A certificate, and whose it is to be.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Recorded {
    #[n(0)]
    pub registration: EntityId,
    #[n(1)]
    pub serial: ByteArray<16>,
    /// SHA-256 of the issuer's name.
    #[n(2)]
    pub issuer: ByteArray<32>,
}

/// A page of a list: the rows of one kind of entity in one shard, from one of them on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Wanted {
    #[n(0)]
    pub shard: u32,
    /// The number of the entity's kind.
    #[n(1)]
    pub kind: u8,
    /// The first is at or behind this one.
    #[n(2)]
    pub from: Option<EntityId>,
    #[n(3)]
    pub limit: u32,
}

/// Rows of a page at most: at some 60 bytes a row far below a frame.
pub const WANTED_MAX: u32 = 1000;

/// What an entity is asked.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Question {
    #[n(0)]
    pub to: EntityId,
    #[n(1)]
    pub command: Command,
    #[n(2)]
    pub cause: Cause,
    /// The shard that is asked, where the cause is a row for it; otherwise the one that serves the entity.
    #[n(3)]
    pub shard: Option<u32>,
}

/// A group as its leader sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Seen {
    #[n(0)]
    pub voters: Vec<u64>,
    #[n(1)]
    pub learners: Vec<u64>,
    /// No change of its configuration is under way.
    #[n(2)]
    pub is_settled: bool,
    /// The last entry that is committed.
    #[n(3)]
    pub committed: u64,
    /// Entries that others are behind, by node.
    #[n(4)]
    pub behind: Vec<(u64, u64)>,
    /// Nodes that its next change waits for; none where it waits for nobody, or the leader does not say.
    #[n(5)]
    pub awaited: Option<Vec<u64>>,
}

/// What follows [`Opening::Notices`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Notice {
    /// A device's session is on the node that says so.
    #[n(0)]
    Attached {
        #[n(0)]
        device: EntityId,
        /// Tells this session from others of the same device on the same node.
        #[n(1)]
        session: u64,
        /// What the device and the node understand, as the device says it at its hello; none where one of them
        /// knows nothing of it.
        #[n(2)]
        understands: Option<u32>,
    },
    #[n(1)]
    Detached {
        #[n(0)]
        device: EntityId,
        #[n(1)]
        session: u64,
    },
    /// A device has these messages.
    #[n(2)]
    Acknowledged {
        #[n(0)]
        device: EntityId,
        #[n(1)]
        message_ids: Vec<ByteArray<16>>,
    },
    /// Mail for a device whose session is on the node that is told.
    #[n(3)]
    Mail(#[n(0)] Post),
    /// The device has a newer session elsewhere: this one is to end.
    #[n(4)]
    Replaced {
        #[n(0)]
        device: EntityId,
        #[n(1)]
        session: u64,
    },
    /// The node that was sent mail has no session of the device.
    #[n(5)]
    Absent(#[n(0)] EntityId),
    /// What the node that says so has of each shard's devices.
    #[n(6)]
    Tallies(#[n(0)] Vec<Tally>),
    /// The node that says so leads these shards, and was told something else of their devices: it has
    /// forgotten that, and is to be told again.
    #[n(7)]
    Again(#[n(0)] Vec<u32>),
}

/// The sessions of a shard's devices on a node, as one number: two that are equal are of the same sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Tally {
    #[n(0)]
    pub shard: u32,
    #[n(1)]
    pub sessions: u64,
    /// The sum of their digests, modulo 2^64.
    #[n(2)]
    pub sum: u64,
}

impl Tally {
    /// Of a shard none of whose devices are there.
    pub fn none(shard: u32) -> Self {
        Self { shard, sessions: 0, sum: 0 }
    }
}

/// A row of a mailbox on its way to the node that the device is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Post {
    #[n(0)]
    pub to: EntityId,
    #[n(1)]
    pub number: u64,
    #[n(2)]
    pub message_id: ByteArray<16>,
    #[n(3)]
    pub signed: ByteVec,
    #[n(4)]
    pub expires_s: u64,
}

impl From<&MailItem> for Post {
    fn from(mail: &MailItem) -> Self {
        Self {
            to: mail.to,
            number: mail.number,
            message_id: mail.message_id.into(),
            signed: mail.signed.to_vec().into(),
            expires_s: mail.expires_s,
        }
    }
}

impl From<Post> for MailItem {
    fn from(post: Post) -> Self {
        Self {
            to: post.to,
            number: post.number,
            message_id: post.message_id.into(),
            signed: Vec::from(post.signed).into(),
            expires_s: post.expires_s,
            // Whoever hands it to its session need not know.
            about: About::Other,
        }
    }
}

/// The answer to [`Opening::Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Said {
    #[n(0)]
    Done {
        #[n(0)]
        version: u64,
        #[n(1)]
        receipt: Option<ByteVec>,
        /// What the asked node had applied: whoever reads afterwards waits for it.
        #[n(2)]
        applied: u64,
    },
    #[n(1)]
    AlreadyDone {
        #[n(0)]
        receipt: Option<ByteVec>,
        #[n(1)]
        applied: u64,
    },
    #[n(2)]
    Rejected {
        #[n(0)]
        code: RejectionCode,
        #[n(1)]
        detail: String,
    },
    #[n(3)]
    Busy {
        #[n(0)]
        retry_after_ms: u32,
    },
    /// Nothing was written there.
    #[n(4)]
    NotLeader {
        /// Who may lead.
        #[n(0)]
        hint: Option<u64>,
    },
    #[n(5)]
    Unknown,
    #[n(6)]
    Forged,
    #[n(7)]
    OutOfWindow,
    #[n(8)]
    Parked,
    #[n(9)]
    Failed(#[n(0)] String),
    /// Nothing was written there, for want of room.
    #[n(10)]
    Full,
    /// Nothing was written there, and nothing will be: another shard serves the entity.
    #[n(11)]
    Moved,
}

impl Said {
    /// What a shard said, by a node that has applied so much.
    pub fn new(result: Result<Answer, AskError>, applied: u64, hint: Option<u64>) -> Self {
        match result {
            Ok(Answer::Done { version, receipt }) => {
                Self::Done { version, receipt: receipt.map(ByteVec::from), applied }
            }
            Ok(Answer::AlreadyDone { receipt }) => {
                Self::AlreadyDone { receipt: receipt.map(ByteVec::from), applied }
            }
            Err(AskError::Rejected(Rejection { code, detail })) => {
                Self::Rejected { code, detail: detail.into_owned() }
            }
            Err(AskError::Busy { retry_after_ms }) => Self::Busy { retry_after_ms },
            Err(AskError::NotLeader) => Self::NotLeader { hint },
            Err(AskError::Moved) => Self::Moved,
            Err(AskError::Unknown) => Self::Unknown,
            Err(AskError::Forged) => Self::Forged,
            Err(AskError::OutOfWindow) => Self::OutOfWindow,
            Err(AskError::Parked) => Self::Parked,
            Err(AskError::Full) => Self::Full,
            Err(AskError::Journal(error)) => Self::Failed(error.to_string()),
        }
    }

    /// The same as if the shard ran here.
    pub fn result(self) -> Result<Answer, AskError> {
        Err(match self {
            Self::Done { version, receipt, .. } => {
                return Ok(Answer::Done { version, receipt: receipt.map(Vec::from) });
            }
            Self::AlreadyDone { receipt, .. } => {
                return Ok(Answer::AlreadyDone { receipt: receipt.map(Vec::from) });
            }
            Self::Rejected { code, detail } => {
                AskError::Rejected(Rejection { code, detail: detail.into() })
            }
            Self::Busy { retry_after_ms } => AskError::Busy { retry_after_ms },
            Self::NotLeader { .. } => AskError::NotLeader,
            Self::Moved => AskError::Moved,
            Self::Unknown => AskError::Unknown,
            Self::Forged => AskError::Forged,
            Self::OutOfWindow => AskError::OutOfWindow,
            Self::Parked => AskError::Parked,
            Self::Full => AskError::Full,
            Self::Failed(why) => AskError::Journal(JournalError::Failed(why)),
        })
    }
}
