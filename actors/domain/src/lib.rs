//! The domain: customers, technicians, tickets, the desk, the notifier and the authority's records as
//! pure state machines.
//!
//! Each aggregate decides, evolves and reacts: [`Aggregate::decide`] turns a command into events or
//! a refusal, [`Aggregate::evolve`] moves the state by an event, [`Aggregate::react`] says what
//! follows from it. Time comes in with the command, identifiers are derived from it.
//!
//! **Invariants:** no clock, no randomness, no input or output, no floats; `evolve` is total; a
//! command that is already true yields no event. **Not here:** tokio, actors, storage, sealing.

pub mod assignment;
pub mod attachment;
pub mod authority;
pub mod customer;
pub mod desk;
pub mod device;
pub mod effect;
pub mod escalation;
pub mod ids;
pub mod integration;
pub mod message;
pub mod mutant;
pub mod notifier;
pub mod placement;
pub mod registration;
pub mod rejection;
pub mod selection;
pub mod technician;
pub mod ticket;
pub mod time;
pub mod triage;

pub use effect::{Effect, IndexRow, MessageKind, TimerName};
pub use ids::{EntityId, EntityKind, Region};
pub use rejection::{Rejection, RejectionCode};
use time::Millis;

/// What a decision may know besides state and command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ctx {
    /// The leader's wall clock.
    pub now: Millis,
    /// The entity that decides.
    pub id: EntityId,
    /// The version of the rules in force.
    pub rule_version: u32,
}

/// A pure state machine with its own commands and events.
pub trait Aggregate:
    Default
    + Clone
    + core::fmt::Debug
    + PartialEq
    + Send
    + Sync
    + 'static
    + minicbor::Encode<()>
    + for<'b> minicbor::Decode<'b, ()>
{
    type Command: Clone
        + core::fmt::Debug
        + Send
        + minicbor::Encode<()>
        + for<'b> minicbor::Decode<'b, ()>;
    type Event: Clone
        + core::fmt::Debug
        + PartialEq
        + Send
        + Sync
        + minicbor::Encode<()>
        + for<'b> minicbor::Decode<'b, ()>;
    const KIND: EntityKind;

    /// The events that the command leads to; none where it is already true.
    ///
    /// # Errors
    /// Where the command is not allowed now; nothing changes.
    fn decide(&self, command: &Self::Command, ctx: &Ctx) -> Result<Vec<Self::Event>, Rejection>;

    /// Moves the state.
    fn evolve(&mut self, event: &Self::Event);

    /// What follows from the event; `self` is the state after it.
    fn react(&self, event: &Self::Event, id: EntityId) -> Vec<Effect>;

    /// Whether a device can do without what it is told of the event: it is not told where that would hold back
    /// what it needs.
    fn is_courtesy(_event: &Self::Event) -> bool {
        false
    }
}

/// A command for some entity, as entities tell each other.
#[derive(Debug, Clone, PartialEq, minicbor::Encode, minicbor::Decode)]
pub enum Command {
    #[n(0)]
    Customer(#[n(0)] customer::Command),
    #[n(1)]
    Technician(#[n(0)] technician::Command),
    #[n(2)]
    Ticket(#[n(0)] ticket::Command),
    #[n(3)]
    Desk(#[n(0)] desk::Command),
    #[n(4)]
    Registration(#[n(0)] registration::Command),
    #[n(5)]
    Authority(#[n(0)] authority::Command),
    #[n(6)]
    Placement(#[n(0)] placement::Command),
    #[n(7)]
    Notifier(#[n(0)] notifier::Command),
    #[n(8)]
    Integration(#[n(0)] integration::Command),
    #[n(9)]
    Attachment(#[n(0)] attachment::Command),
}

/// Encodes into memory, which takes every byte.
pub(crate) fn encoded<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).unwrap_or_default()
}
