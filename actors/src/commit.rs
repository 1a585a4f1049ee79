//! What one step of an entity asks of the log, and what the log holds of it.
//!
//! A [`Draft`] is plain: the entity's events and all that follows from them. The journal seals it
//! into a [`Commit`], whose payloads are ciphertext, and proposes that. Applying a commit checks the
//! version and the cause, and writes everything in one batch, identically on each replica.
//!
//! **Invariants:** field numbers are never reused (a log outlives a release); a commit without a
//! cause row to consume, or with another version, changes nothing. **Not here:** cryptography and
//! storage (`node`).

use fieldmesh_domain::{Command, EntityId, IndexRow, MessageKind, Region};
use minicbor::{
    Decode, Encode,
    bytes::{ByteArray, ByteVec},
};

/// A shard's number in the cluster.
pub type ShardId = u32;

/// Why an entity was asked to do something; consumed by the commit that answers it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Cause {
    /// A verified message of a device: remembered until it expires, so that it counts once.
    #[n(0)]
    Device {
        #[n(0)]
        device: EntityId,
        #[cbor(n(1), with = "minicbor::bytes")]
        message_id: [u8; 16],
        /// SHA-256 of what was signed.
        #[cbor(n(2), with = "minicbor::bytes")]
        content: [u8; 32],
        #[n(3)]
        sequence: u64,
        /// Unix seconds.
        #[n(4)]
        expires_s: u64,
    },
    /// A row of a shard's outbox.
    #[n(1)]
    Outbox {
        #[n(0)]
        from: ShardId,
        #[n(1)]
        number: u64,
    },
    /// A timer that fell due.
    #[n(2)]
    Timer {
        #[n(0)]
        name: u8,
        #[n(1)]
        generation: u32,
    },
    /// An operator's command, made idempotent by the aggregate itself.
    #[n(3)]
    Operator {
        #[cbor(n(0), with = "minicbor::bytes")]
        command_id: [u8; 16],
    },
}

impl Cause {
    /// Whether it comes from within the cluster: another entity, or a timer.
    pub fn is_internal(&self) -> bool {
        match self {
            Self::Outbox { .. } | Self::Timer { .. } => true,
            Self::Device { .. } | Self::Operator { .. } => false,
        }
    }
}

/// A message for a device that follows from a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftMessage {
    pub to: EntityId,
    pub kind: MessageKind,
    pub correlation: Option<[u8; 16]>,
    pub body: Vec<u8>,
}

/// A timer set or cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TimerChange {
    #[n(0)]
    pub name: u8,
    #[n(1)]
    pub generation: u32,
    /// Unix milliseconds; absent to cancel.
    #[n(2)]
    pub due_ms: Option<u64>,
}

/// One step of an entity before it is sealed.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    pub entity: EntityId,
    /// Whose data key covers the payloads: a ticket's customer, otherwise the entity itself.
    pub owner: EntityId,
    pub expected_version: u64,
    /// Head of the entity's hash chain before this step.
    pub previous: [u8; 32],
    pub cause: Cause,
    /// Unix milliseconds by the leader's clock.
    pub at_ms: u64,
    pub rule_version: u32,
    /// Encoded events, in order.
    pub events: Vec<Vec<u8>>,
    /// The encoded state after the events, where it is time for a snapshot.
    pub snapshot: Option<Vec<u8>>,
    pub tells: Vec<(EntityId, Command)>,
    pub messages: Vec<DraftMessage>,
    /// The body of the receipt for the device's message that caused the step: the answer to that
    /// message, kept to answer repetitions with, and not mail.
    pub receipt: Option<Vec<u8>>,
    pub timers: Vec<TimerChange>,
    pub index: Vec<IndexRow>,
}

/// A row for another entity.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Tell {
    #[n(0)]
    pub to: EntityId,
    #[n(1)]
    pub shard: ShardId,
    /// The encoded command under the owner's data key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
    /// Who says it: what one entity says to another keeps its order.
    #[n(3)]
    pub from: EntityId,
}

/// A row of a device's mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Mail {
    #[n(0)]
    pub to: EntityId,
    /// Position in the recipient's mailbox and sequence number in the signed message.
    #[n(1)]
    pub number: u64,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub message_id: [u8; 16],
    /// The signed message under the recipient's data key.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

/// What replay protection keeps of a device's message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Seen {
    /// The device's receive window after this message, encoded.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub window: Vec<u8>,
    /// The receipt's body under the device's data key, to answer a repetition with.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub receipt: Vec<u8>,
}

/// The step as the log holds it.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Commit {
    #[n(0)]
    pub entity: EntityId,
    #[n(1)]
    pub owner: EntityId,
    #[n(2)]
    pub expected_version: u64,
    #[n(3)]
    pub cause: Cause,
    #[n(4)]
    pub at_ms: u64,
    #[n(5)]
    pub event_count: u32,
    /// The record of the events under the owner's data key; empty where there are none.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub record: Vec<u8>,
    /// Head of the hash chain after this step.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub chain: [u8; 32],
    #[cbor(n(8), with = "minicbor::bytes")]
    pub snapshot: Option<Vec<u8>>,
    /// The owner's data key, wrapped, where this commit is the first to need it.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub new_key: Option<Vec<u8>>,
    #[n(10)]
    pub tells: Vec<Tell>,
    #[n(11)]
    pub mail: Vec<Mail>,
    #[n(12)]
    pub timers: Vec<TimerChange>,
    #[n(13)]
    pub index: Vec<IndexRow>,
    #[n(14)]
    pub seen: Option<Seen>,
    /// Head of the hash chain that it was decided on; none from nodes that do not know it. A version says
    /// how many events there were, and not which.
    #[n(15)]
    pub previous: Option<ByteArray<32>>,
}

/// Rows that have done their work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Settle {
    /// Mail that its recipient acknowledged.
    #[n(0)]
    pub mail: Vec<(EntityId, u64)>,
    /// Outbox rows that another shard took.
    #[n(1)]
    pub outbox: Vec<(ShardId, u64)>,
    /// Replay rows that expired before this second are forgotten.
    #[n(2)]
    pub forget_before_s: Option<u64>,
}

/// A piece of an entity's state that is too large for one log entry.
///
/// The pieces of a state are proposed one after the other, and the last one puts it in force.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotPart {
    #[n(0)]
    pub entity: EntityId,
    /// The entity's version that the state is of.
    #[n(1)]
    pub version: u64,
    #[n(2)]
    pub part: u32,
    #[n(3)]
    pub parts: u32,
    /// A piece of the state under the owner's data key.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

/// A slot of a region on its way from one shard to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SlotMove {
    #[n(0)]
    pub region: Region,
    #[n(1)]
    pub slot: u16,
    /// When it set out: what belongs to an earlier move has no effect.
    #[n(2)]
    pub sent: u64,
}

/// Rows of a slot that another shard had: all of them come in pages, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SlotPage {
    #[n(0)]
    pub slot: SlotMove,
    /// What was there of the slot before is removed.
    #[n(1)]
    pub is_first: bool,
    /// The slot is served here from now on.
    #[n(2)]
    pub is_last: bool,
    /// Keys and values, as they are stored.
    #[n(3)]
    pub rows: Vec<(ByteVec, ByteVec)>,
}

/// The content of a log entry.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Proposal {
    #[n(0)]
    Commit(#[n(0)] Box<Commit>),
    #[n(1)]
    Settle(#[n(0)] Settle),
    #[n(2)]
    SnapshotPart(#[n(0)] SnapshotPart),
    /// A slot is not served here any more: nothing of it changes from here on.
    #[n(3)]
    GiveSlot {
        #[n(0)]
        slot: SlotMove,
        #[n(1)]
        to: ShardId,
    },
    #[n(4)]
    TakeSlot(#[n(0)] SlotPage),
    /// What is left of a slot that was given away is removed.
    #[n(5)]
    ClearSlot(#[n(0)] SlotMove),
    /// Outbox rows whose entity is served by another shard by now are to be told to that one, in this order.
    /// Their old numbers are told to the shard that they were for as void.
    #[n(6)]
    Redirect {
        #[n(0)]
        rows: Vec<(ShardId, u64)>,
        #[n(1)]
        to: ShardId,
    },
    /// A row of a shard's outbox was redirected: its number is taken without effect.
    #[n(7)]
    TakeVoid {
        #[n(0)]
        from: ShardId,
        #[n(1)]
        number: u64,
    },
}

/// What a group answers to a proposal, decided alike on each replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Applied; the outbox rows' numbers in the order of the commit's tells.
    Applied { tells: Vec<u64> },
    /// The entity is at another version: somebody else wrote, nothing was changed.
    Conflict { found: u64 },
    /// The cause was consumed before: nothing was changed.
    Consumed,
    /// Too many causes before this one are missing: nothing was changed, tell it again later.
    TooFar,
    /// The entity is served by another shard: nothing was changed, and nothing will be here.
    Moved,
}
