//! A customer: invited, enrolled, active, suspended; makes requests, and acts on its tickets.
//!
//! None of these states has a deadline: they last until somebody acts. **Invariant:** a request, and what a customer
//! does with a ticket, is one event with the ticket's name in it. **Not here:** whether the ticket lets it (`ticket`).

mod acts;
mod cases;
mod profile;
mod site;
mod submitted;
mod wishes;

pub use cases::{Cases, Spokesman};
pub use profile::{Revision, TIER_MAX};
pub use submitted::Submission;
pub use wishes::WISHES_MAX;

use std::collections::BTreeSet;

use fieldmesh_calendar::zone::Zone;
use minicbor::{Decode, Encode};

use crate::{
    Aggregate, Command as AnyCommand, Ctx, Effect, EntityId, EntityKind, IndexRow, MessageKind,
    Rejection, RejectionCode, TimerName,
    device::{Change, Device},
    encoded,
    integration::Reported,
    message::{CustomerActBody, Location, ReceiptBody, ReceiptStatus, RequestBody},
    selection::Wishes,
    ticket::{self, Party},
    time::Millis,
};

/// Tickets that a customer may have open: bounds the state (64 KiB) and what one stolen device can
/// do; the account of a monitoring system opens more than a thousand a year.
pub const OPEN_TICKETS_MAX: usize = 4096;
pub const NAME_BYTES_MAX: usize = 256;
/// Requests of the last week that are counted one by one: one every twenty minutes, in 4 KiB of the state.
/// Whoever asks for more is counted as if it asked for as many.
pub const RECENT_MAX: usize = 512;
/// The windows in which a customer's requests are counted, in seconds, the longest last.
const WINDOWS_S: [u64; 4] = [600, 3600, 24 * 3600, 7 * 24 * 3600];

/// Where a customer stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Standing {
    /// Not registered.
    #[default]
    #[n(0)]
    Unknown,
    #[n(1)]
    Invited,
    #[n(2)]
    Enrolled,
    #[n(3)]
    Active,
    #[n(4)]
    Suspended,
}

impl Standing {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Invited => "invited",
            Self::Enrolled => "enrolled",
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Customer {
    #[n(0)]
    pub standing: Standing,
    #[n(1)]
    pub name: String,
    #[n(2)]
    pub location: Location,
    #[n(3)]
    pub tier: u8,
    #[n(4)]
    pub device: Device,
    #[n(5)]
    pub open: BTreeSet<EntityId>,
    /// The last message that acted on a ticket, so that its repetition is known.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub acted_by: Option<[u8; 16]>,
    /// None where it has none.
    #[n(7)]
    pub wishes: Option<Wishes>,
    /// What integrations reported; none before the first.
    #[n(9)]
    pub cases: Option<Cases>,
    /// When it asked for something within the last week, oldest first.
    #[n(8)]
    pub recent: Option<Vec<Millis>>,
    /// The time that its clocks show; none where nobody said.
    #[n(10)]
    pub zone: Option<Zone>,
    /// What operators asked for in its name, oldest first; none before the first.
    #[n(11)]
    pub submitted: Option<Vec<Submission>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    #[n(0)]
    Register {
        #[n(0)]
        name: String,
        #[n(1)]
        location: Location,
        /// 1 is the best.
        #[n(2)]
        tier: u8,
        /// Which time its clocks show, and the operator who says so; one that is there keeps its own.
        #[n(3)]
        zone: Option<(Zone, String)>,
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
    Request {
        #[cbor(n(0), with = "minicbor::bytes")]
        message_id: [u8; 16],
        #[cbor(n(1), with = "minicbor::bytes")]
        content_hash: [u8; 32],
        #[n(2)]
        body: RequestBody,
        #[n(3)]
        received_at: Millis,
        /// Added by whoever serves the customer, once every node knows what is counted.
        #[n(4)]
        is_counted: Option<bool>,
    },
    /// From a ticket that has ended.
    #[n(5)]
    TicketClosed {
        #[n(0)]
        ticket: EntityId,
    },
    #[n(6)]
    Suspend {
        /// The operator.
        #[n(0)]
        by: Option<String>,
    },
    #[n(7)]
    Resume {
        #[n(0)]
        by: Option<String>,
    },
    /// Its device got a certificate.
    #[n(9)]
    FindDevice,
    #[n(8)]
    Timer {
        #[n(0)]
        name: TimerName,
        #[n(1)]
        generation: u32,
    },
    /// Its device does something with one of its tickets, verified.
    #[n(10)]
    Act {
        #[cbor(n(0), with = "minicbor::bytes")]
        message_id: [u8; 16],
        #[cbor(n(1), with = "minicbor::bytes")]
        content_hash: [u8; 32],
        #[n(2)]
        body: CustomerActBody,
    },
    /// From a ticket that had ended.
    #[n(11)]
    TicketReopened {
        #[n(0)]
        ticket: EntityId,
    },
    /// Which technicians it would like to see, and which not.
    #[n(20)]
    SetPreferences {
        #[n(0)]
        wishes: Wishes,
        /// The operator.
        #[n(1)]
        by: String,
    },
    /// Which time its clocks show; none takes back what was said.
    #[n(21)]
    SetZone {
        #[n(0)]
        zone: Option<Zone>,
        /// The operator.
        #[n(1)]
        by: String,
    },
    /// What is otherwise of who and where it is.
    #[n(22)]
    Revise {
        #[n(0)]
        revision: Revision,
        /// The operator.
        #[n(1)]
        by: String,
    },
    /// An integration reports something for it.
    #[n(30)]
    Report {
        #[n(0)]
        by: Spokesman,
        #[cbor(n(1), with = "minicbor::bytes")]
        case: [u8; 32],
        #[n(2)]
        reported: Reported,
    },
    /// It says that it is over.
    #[n(31)]
    Resolve {
        #[n(0)]
        by: Spokesman,
        #[cbor(n(1), with = "minicbor::bytes")]
        case: [u8; 32],
    },
    /// An operator asks for something in its name.
    #[n(32)]
    Submit {
        /// The same for what is asked again.
        #[cbor(n(0), with = "minicbor::bytes")]
        id: [u8; 16],
        #[n(1)]
        asked: Reported,
        /// The operator.
        #[n(2)]
        by: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    #[n(0)]
    Registered {
        #[n(0)]
        name: String,
        #[n(1)]
        location: Location,
        #[n(2)]
        tier: u8,
    },
    #[n(1)]
    Device(#[n(0)] Change),
    #[n(2)]
    Requested {
        #[cbor(n(0), with = "minicbor::bytes")]
        message_id: [u8; 16],
        #[cbor(n(1), with = "minicbor::bytes")]
        content_hash: [u8; 32],
        #[n(2)]
        ticket: EntityId,
        #[n(3)]
        body: RequestBody,
        #[n(4)]
        received_at: Millis,
        /// It is one of the customer's requests of the last week.
        #[n(5)]
        is_counted: Option<bool>,
    },
    #[n(3)]
    TicketClosed {
        #[n(0)]
        ticket: EntityId,
    },
    #[n(4)]
    Suspended {
        /// The operator.
        #[n(0)]
        by: Option<String>,
    },
    #[n(5)]
    Resumed {
        #[n(0)]
        by: Option<String>,
    },
    #[n(6)]
    Acted {
        #[cbor(n(0), with = "minicbor::bytes")]
        message_id: [u8; 16],
        #[cbor(n(1), with = "minicbor::bytes")]
        content_hash: [u8; 32],
        #[n(2)]
        body: CustomerActBody,
    },
    #[n(7)]
    TicketReopened {
        #[n(0)]
        ticket: EntityId,
    },
    #[n(20)]
    PreferencesSet {
        #[n(0)]
        wishes: Wishes,
        #[n(1)]
        by: String,
    },
    #[n(21)]
    ZoneSet {
        #[n(0)]
        zone: Option<Zone>,
        #[n(1)]
        by: String,
    },
    #[n(22)]
    Revised {
        #[n(0)]
        revision: Revision,
        #[n(1)]
        by: String,
    },
    /// By an integration, and so without a message.
    #[n(30)]
    Reported {
        #[n(0)]
        by: Spokesman,
        #[cbor(n(1), with = "minicbor::bytes")]
        case: [u8; 32],
        /// Which the ticket's name follows from.
        #[cbor(n(2), with = "minicbor::bytes")]
        message_id: [u8; 16],
        #[n(3)]
        ticket: EntityId,
        #[n(4)]
        body: RequestBody,
        #[n(5)]
        at: Millis,
    },
    #[n(31)]
    Resolved {
        #[n(0)]
        by: Spokesman,
        #[cbor(n(1), with = "minicbor::bytes")]
        case: [u8; 32],
        #[n(2)]
        ticket: EntityId,
        #[n(3)]
        at: Millis,
    },
    /// By an operator.
    #[n(32)]
    Submitted {
        /// Which the ticket's name follows from.
        #[cbor(n(0), with = "minicbor::bytes")]
        message_id: [u8; 16],
        #[n(1)]
        ticket: EntityId,
        #[n(2)]
        body: RequestBody,
        #[n(3)]
        at: Millis,
        #[n(4)]
        by: String,
        /// Of what was asked for: where the customer is may change until the same comes again.
        #[n(5)]
        hash: Option<u64>,
    },
}

fn changes(changes: Vec<Change>) -> Vec<Event> {
    changes.into_iter().map(Event::Device).collect()
}

impl Customer {
    fn request(
        &self,
        message_id: [u8; 16],
        content_hash: [u8; 32],
        body: &RequestBody,
        (received_at, is_counted): (Millis, Option<bool>),
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        self.check_served()?;
        let ticket = EntityId::ticket_of(ctx.id, message_id);
        if self.open.contains(&ticket) {
            return Ok(vec![]);
        }
        body.check()?;
        if self.open.len() >= OPEN_TICKETS_MAX {
            return Rejection::new(RejectionCode::Limit, "the customer has 4096 open tickets");
        }
        Ok(vec![Event::Requested {
            message_id,
            content_hash,
            ticket,
            body: body.clone(),
            received_at,
            is_counted,
        }])
    }

    fn check_served(&self) -> Result<(), Rejection> {
        match self.standing {
            Standing::Enrolled | Standing::Active => Ok(()),
            Standing::Unknown | Standing::Invited => {
                Rejection::new(RejectionCode::NotNow, "the device is not enrolled")
            }
            Standing::Suspended => {
                Rejection::new(RejectionCode::NotNow, "the customer is suspended")
            }
        }
    }

    /// What its ticket is told at first.
    fn open(
        &self,
        id: EntityId,
        message_id: [u8; 16],
        body: &RequestBody,
        background: Option<ticket::Background>,
    ) -> ticket::Command {
        ticket::Command::Open {
            customer: id,
            message_id,
            body: body.clone(),
            tier: self.tier,
            triage: None,
            wishes: self.wishes.clone(),
            terms: None,
            background,
            counted: None,
        }
    }
}

/// The receipt of a message about a ticket.
fn receipt(id: EntityId, message_id: [u8; 16], ticket: EntityId) -> Effect {
    let (status, ticket, reason) = (ReceiptStatus::Received, Some(ticket), String::new());
    Effect::Message {
        to: id,
        kind: MessageKind::Receipt,
        correlation: Some(message_id),
        body: encoded(&ReceiptBody { status, ticket, reason }),
    }
}

impl Aggregate for Customer {
    type Command = Command;
    type Event = Event;
    const KIND: EntityKind = EntityKind::Customer;

    fn decide(&self, command: &Command, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        if self.standing == Standing::Unknown && !matches!(command, Command::Register { .. }) {
            return Rejection::new(RejectionCode::Unknown, "there is no such customer");
        }
        match command {
            Command::Register { name, location, tier, zone } => {
                self.register(name, *location, *tier, zone.as_ref())
            }
            Command::PublishKeys { serial, bundle } => {
                self.device.publish(*serial, bundle).map(changes)
            }
            Command::FindDevice => Ok(changes(self.device.find())),
            Command::LoseDevice => Ok(changes(self.device.lose())),
            Command::Request { message_id, content_hash, body, received_at, is_counted } => {
                let when = (*received_at, *is_counted);
                self.request(*message_id, *content_hash, body, when, ctx)
            }
            Command::TicketClosed { ticket } => {
                let open = self.open.contains(ticket);
                Ok(if open { vec![Event::TicketClosed { ticket: *ticket }] } else { vec![] })
            }
            Command::Suspend { .. } if self.standing == Standing::Suspended => Ok(vec![]),
            Command::Suspend { by } => Ok(vec![Event::Suspended { by: by.clone() }]),
            Command::Resume { by } if self.standing == Standing::Suspended => {
                Ok(vec![Event::Resumed { by: by.clone() }])
            }
            Command::Resume { .. } | Command::Timer { .. } => Ok(vec![]),
            Command::Act { message_id, content_hash, body } => {
                self.act(*message_id, *content_hash, body, ctx)
            }
            Command::Report { by, case, reported } => self.report(by, *case, reported, ctx),
            Command::Resolve { by, case } => Ok(self.resolve(by, *case, ctx)),
            Command::TicketReopened { ticket } => {
                let open = self.open.contains(ticket);
                Ok(if open { vec![] } else { vec![Event::TicketReopened { ticket: *ticket }] })
            }
            Command::SetPreferences { wishes, by } => self.set_wishes(wishes, by, ctx.id),
            Command::SetZone { zone, by } => self.set_zone(zone.as_ref(), by),
            Command::Revise { revision, by } => self.revise(revision, by),
            Command::Submit { id, asked, by } => self.submit(*id, asked, by, ctx),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Registered { name, location, tier } => {
                self.standing = Standing::Invited;
                self.name.clone_from(name);
                self.location = *location;
                self.tier = *tier;
            }
            Event::Device(change) => {
                self.device.evolve(change);
                self.standing = match (self.standing, self.device.present) {
                    (Standing::Invited, true) if self.open.is_empty() => Standing::Enrolled,
                    (Standing::Invited, true) => Standing::Active,
                    (Standing::Enrolled | Standing::Active, false) => Standing::Invited,
                    (standing, _) => standing,
                };
            }
            Event::Requested { ticket, received_at, is_counted, .. } => {
                self.standing = Standing::Active;
                self.open.insert(*ticket);
                if *is_counted == Some(true) {
                    self.asked_at(*received_at);
                }
            }
            Event::TicketClosed { ticket } => {
                self.open.remove(ticket);
                self.case_ended(*ticket);
            }
            Event::Reported { case, ticket, .. } => self.reported(*case, *ticket),
            Event::Resolved { by, case, .. } => self.resolved(by, *case),
            Event::TicketReopened { ticket } => {
                self.open.insert(*ticket);
            }
            Event::Acted { message_id, .. } => self.acted_by = Some(*message_id),
            Event::PreferencesSet { wishes, .. } => self.wishes_set(wishes),
            Event::ZoneSet { zone, .. } => self.zone.clone_from(zone),
            Event::Revised { revision, .. } => self.revised(revision),
            Event::Submitted { .. } => self.submitted(event),
            Event::Suspended { .. } => self.standing = Standing::Suspended,
            Event::Resumed { .. } => {
                let enrolled = self.device.present;
                self.standing = if enrolled { Standing::Active } else { Standing::Invited };
            }
        }
    }

    fn react(&self, event: &Event, id: EntityId) -> Vec<Effect> {
        match event {
            Event::Requested { message_id, ticket, body, received_at, is_counted, .. } => {
                let background = is_counted.map(|_| self.background(*received_at));
                let open = self.open(id, *message_id, body, background);
                vec![
                    receipt(id, *message_id, *ticket),
                    Effect::Tell { to: *ticket, command: AnyCommand::Ticket(open) },
                    Effect::Index(IndexRow::Customer { id, state: self.standing }),
                ]
            }
            Event::Reported { message_id, ticket, body, at, .. }
            | Event::Submitted { message_id, ticket, body, at, .. } => {
                let open = self.open(id, *message_id, body, Some(self.background(*at)));
                vec![
                    Effect::Tell { to: *ticket, command: AnyCommand::Ticket(open) },
                    Effect::Index(IndexRow::Customer { id, state: self.standing }),
                ]
            }
            Event::Resolved { by, case, ticket, at } => cases::end(by, *case, *ticket, *at),
            Event::Registered { .. }
            | Event::Suspended { .. }
            | Event::Resumed { .. }
            | Event::Device(Change::Found | Change::Lost) => {
                vec![Effect::Index(IndexRow::Customer { id, state: self.standing })]
            }
            Event::Acted { message_id, body, .. } => {
                let order = ticket::Command::Order {
                    order: acts::order(&body.act),
                    by: Party::Customer(id),
                    id: *message_id,
                    marks: None,
                };
                vec![
                    receipt(id, *message_id, body.ticket),
                    Effect::Tell { to: body.ticket, command: AnyCommand::Ticket(order) },
                ]
            }
            Event::Device(Change::KeysPublished { .. })
            | Event::TicketClosed { .. }
            | Event::TicketReopened { .. }
            | Event::PreferencesSet { .. }
            | Event::ZoneSet { .. }
            | Event::Revised { .. } => vec![],
        }
    }
}
