//! The closed list of what an event may lead to.

use minicbor::{Decode, Encode};

use crate::{
    Command, customer,
    ids::{EntityId, EntityKind},
    integration, notifier,
    placement::{self, DocumentKind, VERSIONS_KEPT},
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
    /// The end of the step of its escalation policy.
    #[n(2)]
    Escalation = 2,
    /// When something that was promised is broken.
    #[n(3)]
    Promise = 3,
    /// When a technician's roster is looked at again.
    #[n(4)]
    Shift = 4,
    /// When the desk answers the tickets that wait for each other.
    #[n(8)]
    Batch = 8,
}

impl TimerName {
    pub fn from_u8(name: u8) -> Option<Self> {
        [Self::Deadline, Self::Escalation, Self::Promise, Self::Shift, Self::Batch]
            .into_iter()
            .find(|known| *known as u8 == name)
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
        /// None for a ticket that was opened under no terms.
        #[n(8)]
        standing: Option<ticket::Standing>,
        /// None for a ticket that is not counted: it was opened before every node knew of it.
        #[n(9)]
        counted: Option<ticket::Counted>,
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
    /// A version of what operators write for dispatch.
    #[n(11)]
    Document(#[n(0)] placement::Document),
    /// Whether chaos is allowed, and who wants it to be; there is one such row.
    #[n(20)]
    Allowances(#[n(0)] placement::Allowances),
    /// Something that somebody outside is to hear of.
    #[n(16)]
    Notice {
        #[n(0)]
        id: EntityId,
        #[n(1)]
        number: u64,
        #[n(2)]
        to: notifier::Recipient,
        #[n(3)]
        notice: notifier::Notice,
    },
    /// How far it has come.
    #[n(17)]
    Delivery {
        #[n(0)]
        id: EntityId,
        #[n(1)]
        number: u64,
        #[n(2)]
        state: notifier::Delivery,
        #[n(3)]
        attempts: u8,
        /// When it came there.
        #[n(4)]
        at: Millis,
        /// When it is tried, where it is pending.
        #[n(5)]
        next: Millis,
        #[n(6)]
        reason: String,
    },
    #[n(19)]
    Integration {
        #[n(0)]
        id: EntityId,
        #[n(1)]
        name: String,
        #[n(2)]
        kind: integration::Kind,
        #[n(3)]
        customer: EntityId,
        #[n(4)]
        created_at: Millis,
        #[n(5)]
        is_revoked: bool,
    },
    /// The row that is found there is removed.
    #[n(18)]
    Gone {
        #[n(0)]
        id: EntityId,
        #[n(1)]
        kind: u8,
        #[cbor(n(2), with = "minicbor::bytes")]
        name: Vec<u8>,
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
    pub const DOCUMENT: u8 = 0x27;
    pub const ALLOWANCES: u8 = 0x28;

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

    /// A notice and its delivery have the notifier's name first, so that they go where its slot goes.
    pub fn notice(notifier: EntityId, number: u64) -> Self {
        Self::numbered(notifier, number, 0)
    }

    /// Right behind its notice.
    pub fn delivery(notifier: EntityId, number: u64) -> Self {
        Self::numbered(notifier, number, 1)
    }

    fn numbered(entity: EntityId, number: u64, part: u8) -> Self {
        let name = [&entity.to_bytes()[..], &number.to_be_bytes(), &[part]].concat();
        Self { kind: entity.kind() as u8, name }
    }

    /// A version takes the place of the one that is not kept any more.
    pub fn document(kind: DocumentKind, version: u32) -> Self {
        let place = (version % VERSIONS_KEPT) as u8;
        Self { kind: Self::DOCUMENT, name: vec![kind as u8, place] }
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
            | Self::Notice { id, .. }
            | Self::Delivery { id, .. }
            | Self::Gone { id, .. }
            | Self::Integration { id, .. }
            | Self::Certificate { registration: id, .. }
            | Self::BoundKey { registration: id, .. } => *id,
            Self::Revocation { .. }
            | Self::Ca { .. }
            | Self::Member { .. }
            | Self::Home { .. }
            | Self::Placed { .. }
            | Self::Document(_)
            | Self::Allowances(_) => EntityId::placement(),
        }
    }

    pub fn key(&self) -> RowKey {
        match self {
            Self::Ticket { id, .. }
            | Self::Technician { id, .. }
            | Self::Customer { id, .. }
            | Self::Registration { id, .. }
            | Self::Integration { id, .. } => RowKey::entity(id.kind(), *id),
            Self::Certificate { issuer, serial, .. } => RowKey::certificate(serial, issuer),
            Self::BoundKey { key, .. } => RowKey::bound_key(key),
            Self::Revocation { issuer, serial, .. } => RowKey::revocation(serial, issuer),
            Self::Ca { ca, .. } => RowKey::ca(&ca.fingerprint),
            Self::Member { member, .. } => RowKey::member(member.number),
            Self::Home { home, .. } => RowKey::home(home.index),
            Self::Placed { placed, .. } => RowKey::placed(placed.group),
            Self::Notice { id, number, .. } => RowKey::notice(*id, *number),
            Self::Delivery { id, number, .. } => RowKey::delivery(*id, *number),
            Self::Gone { kind, name, .. } => RowKey { kind: *kind, name: name.clone() },
            Self::Document(document) => RowKey::document(document.kind, document.version),
            Self::Allowances(_) => RowKey { kind: RowKey::ALLOWANCES, name: Vec::new() },
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
