//! The closed list of what an event may lead to.

use minicbor::{Decode, Encode};

use crate::{Command, customer, ids::EntityId, technician, ticket, time::Millis};

/// What kind of sealed message a device gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    Receipt,
    Alert,
    Confirmation,
}

/// The timers of an entity: at most one of each name runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum TimerName {
    /// A ticket's deadline in its present state.
    #[n(0)]
    Deadline = 0,
}

impl TimerName {
    pub fn from_u8(name: u8) -> Option<Self> {
        (name == Self::Deadline as u8).then_some(Self::Deadline)
    }
}

/// A row that lists show without opening the entity; no personal data.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum IndexRow {
    #[n(0)]
    Ticket {
        #[n(0)]
        id: EntityId,
        #[n(1)]
        state: ticket::Stage,
        #[n(2)]
        priority: u8,
        #[n(3)]
        opened_at: Millis,
        #[n(4)]
        technician: Option<EntityId>,
    },
    #[n(1)]
    Technician {
        #[n(0)]
        id: EntityId,
        #[n(1)]
        state: technician::Duty,
        #[n(2)]
        load: u16,
    },
    #[n(2)]
    Customer {
        #[n(0)]
        id: EntityId,
        #[n(1)]
        state: customer::Standing,
    },
}

impl IndexRow {
    pub fn id(&self) -> EntityId {
        match self {
            Self::Ticket { id, .. } | Self::Technician { id, .. } | Self::Customer { id, .. } => {
                *id
            }
        }
    }
}

/// One consequence of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A command for another entity, delivered effectively once.
    Tell {
        to: EntityId,
        command: Command,
    },
    /// A sealed message for the device of a customer or technician.
    Message {
        to: EntityId,
        kind: MessageKind,
        correlation: Option<[u8; 16]>,
        body: Vec<u8>,
    },
    SetTimer {
        name: TimerName,
        generation: u32,
        due: Millis,
    },
    CancelTimer {
        name: TimerName,
    },
    Index(IndexRow),
}
