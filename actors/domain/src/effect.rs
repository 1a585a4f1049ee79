//! The closed list of what an event may lead to.

use minicbor::{Decode, Encode};

use crate::{
    Command, customer,
    ids::{EntityId, EntityKind},
    placement,
    registration::{self, Profile, Revocation},
    technician, ticket,
    time::Millis,
};

/// What kind of sealed message a device gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    Receipt,
    Alert,
    Confirmation,
    Note,
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

/// A row that lists and look-ups read without opening the entity; no personal data.
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
    #[n(3)]
    Registration {
        #[n(0)]
        id: EntityId,
        #[n(1)]
        state: registration::Standing,
        #[n(2)]
        profile: Profile,
        #[n(3)]
        device: Option<EntityId>,
        /// Unix seconds; of the certificate in force.
        #[n(4)]
        not_after: Option<u64>,
        /// Of the last request that an operator had to decide.
        #[n(5)]
        asked_at: Option<Millis>,
    },
    /// Whose a certificate is.
    #[n(4)]
    Certificate {
        /// SHA-256 of the issuer's name.
        #[cbor(n(0), with = "minicbor::bytes")]
        issuer: [u8; 32],
        #[cbor(n(1), with = "minicbor::bytes")]
        serial: [u8; 16],
        #[n(2)]
        registration: EntityId,
        /// Unix seconds.
        #[n(3)]
        not_after: u64,
        #[n(4)]
        revoked: Option<Revocation>,
    },
    /// Whose a public key is: nobody else gets a certificate for it.
    #[n(5)]
    BoundKey {
        #[cbor(n(0), with = "minicbor::bytes")]
        key: [u8; 32],
        #[n(1)]
        registration: EntityId,
    },
    /// What no node believes.
    #[n(6)]
    Revocation {
        #[cbor(n(0), with = "minicbor::bytes")]
        issuer: [u8; 32],
        #[cbor(n(1), with = "minicbor::bytes")]
        serial: [u8; 16],
        #[n(2)]
        not_after: u64,
        #[n(3)]
        revocation: Revocation,
    },
    /// Whom every node believes, or not any more.
    #[n(7)]
    Ca {
        #[n(0)]
        ca: placement::Ca,
        /// The bundle's epoch after the change.
        #[n(1)]
        epoch: u64,
    },
    /// A node of the cluster.
    #[n(8)]
    Member {
        #[n(0)]
        member: placement::Member,
        /// The members' epoch after the change.
        #[n(1)]
        epoch: u64,
    },
    /// A region of the cluster.
    #[n(9)]
    Home {
        #[n(0)]
        home: placement::Home,
        #[n(1)]
        epoch: u64,
    },
    /// Where a group is to live.
    #[n(10)]
    Placed {
        #[n(0)]
        placed: placement::Placed,
        #[n(1)]
        epoch: u64,
    },
}

/// Where a row is found: a number of its own for each kind of row, and what the rows of a kind are
/// told apart and ordered by. Given once, never to another kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowKey {
    pub kind: u8,
    pub name: Vec<u8>,
}

impl RowKey {
    /// Behind the numbers of the entity kinds.
    pub const CERTIFICATE: u8 = 0x20;
    pub const BOUND_KEY: u8 = 0x21;
    pub const REVOCATION: u8 = 0x22;
    pub const CA: u8 = 0x23;
    pub const MEMBER: u8 = 0x24;
    pub const HOME: u8 = 0x25;
    pub const PLACED: u8 = 0x26;

    pub fn entity(kind: EntityKind, id: EntityId) -> Self {
        Self { kind: kind as u8, name: id.to_bytes().to_vec() }
    }

    /// By serial number first: whoever looks one up may not know the issuer.
    pub fn certificate(serial: &[u8; 16], issuer: &[u8; 32]) -> Self {
        Self { kind: Self::CERTIFICATE, name: [&serial[..], issuer].concat() }
    }

    pub fn bound_key(key: &[u8; 32]) -> Self {
        Self { kind: Self::BOUND_KEY, name: key.to_vec() }
    }

    pub fn ca(fingerprint: &[u8; 32]) -> Self {
        Self { kind: Self::CA, name: fingerprint.to_vec() }
    }

    pub fn member(number: u64) -> Self {
        Self { kind: Self::MEMBER, name: number.to_be_bytes().to_vec() }
    }

    pub fn home(index: u32) -> Self {
        Self { kind: Self::HOME, name: index.to_be_bytes().to_vec() }
    }

    pub fn placed(group: u32) -> Self {
        Self { kind: Self::PLACED, name: group.to_be_bytes().to_vec() }
    }

    pub fn revocation(serial: &[u8; 16], issuer: &[u8; 32]) -> Self {
        Self { kind: Self::REVOCATION, name: [&serial[..], issuer].concat() }
    }
}

impl IndexRow {
    /// The entity whose step wrote the row.
    pub fn id(&self) -> EntityId {
        match self {
            Self::Ticket { id, .. }
            | Self::Technician { id, .. }
            | Self::Customer { id, .. }
            | Self::Registration { id, .. }
            | Self::Certificate { registration: id, .. }
            | Self::BoundKey { registration: id, .. } => *id,
            Self::Revocation { .. }
            | Self::Ca { .. }
            | Self::Member { .. }
            | Self::Home { .. }
            | Self::Placed { .. } => EntityId::placement(),
        }
    }

    pub fn key(&self) -> RowKey {
        match self {
            Self::Ticket { id, .. }
            | Self::Technician { id, .. }
            | Self::Customer { id, .. }
            | Self::Registration { id, .. } => RowKey::entity(id.kind(), *id),
            Self::Certificate { issuer, serial, .. } => RowKey::certificate(serial, issuer),
            Self::BoundKey { key, .. } => RowKey::bound_key(key),
            Self::Revocation { issuer, serial, .. } => RowKey::revocation(serial, issuer),
            Self::Ca { ca, .. } => RowKey::ca(&ca.fingerprint),
            Self::Member { member, .. } => RowKey::member(member.number),
            Self::Home { home, .. } => RowKey::home(home.index),
            Self::Placed { placed, .. } => RowKey::placed(placed.group),
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
