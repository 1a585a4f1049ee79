//! Everything an actor reaches outside of itself: clock, chance, log, what operators say, and the ways to
//! others.
//!
//! Each trait has two implementors, the product's and the simulation's, or the node's and a test's.
//! Futures are boxed, because the actors hold the seams as objects.

use std::{future::Future, pin::Pin, sync::Arc};

use fieldmesh_domain::{Command, EntityId, EntityKind, time::Millis};

use crate::{
    commit::{Cause, Draft, Settle, ShardId},
    entity::AskError,
    mail::About,
};

/// A future that owns what it needs.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Wall-clock time.
pub trait Clock: Send + Sync + 'static {
    /// Unix milliseconds.
    fn now_ms(&self) -> u64;
}

/// Random bytes fit for keys and identifiers.
pub trait Entropy: Send + Sync + 'static {
    fn fill(&self, bytes: &mut [u8]);
}

/// An entity as the journal has it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The encoded state at `snapshot_version`.
    pub snapshot: Option<Vec<u8>>,
    /// Encoded events behind the snapshot, in order.
    pub events: Vec<Vec<u8>>,
    /// How many events the entity has in all.
    pub version: u64,
    /// Head of the hash chain.
    pub chain: [u8; 32],
    /// Whose data key covers it; none for an entity that does not exist yet.
    pub owner: Option<EntityId>,
    /// When its last step was, in Unix milliseconds.
    pub at_ms: u64,
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxItem {
    pub shard: ShardId,
    pub number: u64,
    pub from: EntityId,
    pub to: EntityId,
    /// None: it was redirected, and only its number is to be taken.
    pub command: Option<Command>,
}

/// A timer row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerItem {
    pub due_ms: u64,
    pub entity: EntityId,
    pub name: u8,
    pub generation: u32,
}

impl TimerItem {
    pub fn place(&self) -> TimerPlace {
        let Self { due_ms, entity, name, .. } = *self;
        TimerPlace { due_ms, entity: entity.to_bytes(), name }
    }
}

/// Where a timer row stands in its table, maybe one that cannot be read: what is due first comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerPlace {
    pub due_ms: u64,
    pub entity: [u8; 16],
    pub name: u8,
}

/// Timer rows that could be read, in the order of the table.
#[derive(Debug, Clone)]
pub struct TimerRows {
    pub items: Vec<TimerItem>,
    /// Where the next one stands; none where the table holds no more of them.
    pub next: Option<TimerPlace>,
}

/// A row of a mailbox: the signed message, to be sealed when it is transmitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailItem {
    pub to: EntityId,
    pub number: u64,
    pub message_id: [u8; 16],
    pub signed: Arc<[u8]>,
    /// Unix seconds; afterwards its device would refuse it.
    pub expires_s: u64,
    pub about: About,
}

/// Rows of a table that could be read.
#[derive(Debug, Clone)]
pub struct Rows<T> {
    pub items: Vec<T>,
    /// The table holds no more of them.
    pub is_all: bool,
}

/// A step that the log has been handed.
pub struct Queued {
    /// Version and hash chain of the entity once it is applied.
    pub version: u64,
    pub chain: [u8; 32],
    /// It brings the owner's data key: what follows cannot be sealed before it is applied.
    pub is_barrier: bool,
    /// Ends when it is committed on a quorum and applied.
    pub done: Pending<Result<Appended, JournalError>>,
}

/// Whether a shard serves an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// It does. An entity that was in memory when another number was said went meanwhile, and came back as
    /// another one.
    Since(u64),
    /// Another one does, and the cause had its effect here before the entity went.
    Before,
    /// Another one does, and the cause had no effect here and will have none.
    No,
}

/// What an applied step made.
#[derive(Debug, Clone, Default)]
pub struct Appended {
    pub tells: Vec<OutboxItem>,
    pub mail: Vec<MailItem>,
}

/// What replay protection says of a device's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    New,
    /// The very same content was accepted before; this was its receipt.
    Repeated {
        receipt: Vec<u8>,
    },
    /// The message id was used for other content: an attack or a broken client.
    Forged,
    /// The sequence number is behind the window.
    OutOfWindow,
}

/// Why the journal did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// This node does not lead the shard; nothing was written.
    #[error("this node does not lead the shard")]
    NotLeader,
    /// The outcome is open: it may be written or not.
    #[error("leadership changed under the write, its outcome is unknown")]
    Unknown,
    /// The entity is at another version than expected; nothing was written.
    #[error("the entity is at version {found}")]
    Conflict { found: u64 },
    /// The cause was consumed by an earlier write; nothing was written.
    #[error("the cause was consumed before")]
    Consumed,
    /// Too many causes before this one are missing; nothing was written.
    #[error("the cause is too far ahead of those that are missing")]
    TooFar,
    /// Another shard serves the entity; nothing was written.
    #[error("the entity is served by another shard")]
    Moved,
    /// The data key of the owner was destroyed: the data is erased.
    #[error("the data key of {owner} is gone")]
    Erased { owner: EntityId },
    /// There is no room on this node's disk; nothing was written.
    #[error("the disk of the node that leads is full")]
    Full,
    /// Storage or sealing failed.
    #[error("the journal failed: {0}")]
    Failed(String),
}

/// The shard's log and applied state, with sealing.
pub trait Journal: Send + Sync + 'static {
    /// The entity with all its events.
    ///
    /// # Errors
    /// Damaged or erased data.
    fn load(&self, entity: EntityId) -> Result<Loaded, JournalError>;

    /// Whether anything can be written at all.
    fn has_room(&self) -> bool;

    /// Whether an entity is served here.
    ///
    /// # Errors
    /// A failed read.
    fn serves(&self, entity: EntityId, cause: &Cause) -> Result<Serves, JournalError>;

    /// Has outbox rows told to another shard, in this order.
    fn redirect(&self, rows: Vec<(ShardId, u64)>, to: ShardId)
    -> Pending<Result<(), JournalError>>;

    /// Seals a step and hands it to the log, in the order of the calls.
    fn submit(&self, draft: Draft) -> Pending<Result<Queued, JournalError>>;

    /// What replay protection says; only [`Cause::Device`] can be anything but new.
    ///
    /// # Errors
    /// A failed read.
    fn replay(&self, cause: &Cause) -> Result<Replay, JournalError>;

    /// Deletes rows that have done their work.
    fn settle(&self, settle: Settle) -> Pending<Result<(), JournalError>>;

    /// The oldest outbox rows.
    ///
    /// # Errors
    /// A failed read.
    fn outbox(&self, limit: usize) -> Result<Rows<OutboxItem>, JournalError>;

    /// The timers that fall due first, from a place in their table on.
    ///
    /// # Errors
    /// A failed read.
    fn timers(&self, from: TimerPlace, limit: usize) -> Result<TimerRows, JournalError>;

    /// The oldest mail of a device.
    ///
    /// # Errors
    /// A failed read.
    fn mail(&self, to: EntityId, limit: usize) -> Result<Rows<MailItem>, JournalError>;
}

/// What operators' documents add to a command before its entity decides.
///
/// What is added is part of the command, so that the events tell what the decision rested on; an entity that
/// is loaded again needs no document.
pub trait Guide: Send + Sync + 'static {
    /// The command as it is decided on; asked again for a command that comes again. It fails nothing: without
    /// a document that helps, the command is as it was.
    fn guide(&self, to: EntityId, command: Command, now: Millis) -> Command;

    /// Whether what an entity has to say is said at all: nobody may want to hear it, or understand it yet.
    fn tells(&self, to: EntityId, command: &Command) -> bool;

    /// Whether a device is not told what it can do without: it is connected, and would wait before it showed what
    /// comes next.
    fn spares(&self, device: EntityId) -> bool;
}

/// Nobody wrote a document.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unguided;

impl Guide for Unguided {
    fn guide(&self, _: EntityId, command: Command, _: Millis) -> Command {
        command
    }

    /// Without a document nobody outside wants to hear anything.
    fn tells(&self, to: EntityId, _: &Command) -> bool {
        to.kind() != EntityKind::Notifier
    }

    fn spares(&self, _: EntityId) -> bool {
        false
    }
}

/// The ways to other shards and to devices.
pub trait Courier: Send + Sync + 'static {
    /// Takes an outbox row to the shard that owns its entity; ends when it is committed there.
    fn tell(&self, from: ShardId, item: OutboxItem) -> Pending<Result<(), AskError>>;

    /// Ends when somebody else leads a shard than did when this was called; not before whoever waits gives up, where
    /// nothing is heard of that here.
    fn led_anew(&self, shard: ShardId) -> Pending<()>;

    /// The shard that serves an entity, as far as is known here.
    fn serving(&self, entity: EntityId) -> Option<ShardId>;

    /// Hands mail to the device's session, if it has one here; false where it has none.
    fn push(&self, mail: &MailItem) -> bool;

    /// Whether the device may be told that a row does not come: it knows what that means and acknowledges it, and
    /// so does the node that has its session.
    fn passes(&self, device: EntityId) -> bool;

    /// A device has acknowledged this mail: whoever waits for that is told; true once that is committed there,
    /// or is of no use to anybody any more. None where nobody waits for it.
    fn delivered(&self, mail: &MailItem) -> Option<Pending<bool>>;
}
