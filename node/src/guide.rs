//! What operators' documents add to the commands of this node's entities, as they are decided; and what of their words
//! is said.
//!
//! Whoever leads a shard guides its entities by what is known here. Each kind of document has a file of its
//! own below this one, with one function that takes what it needs of a command and gives what it adds.
//!
//! **Invariants:** what is added is part of the command, so that the events tell of it; without a document
//! that can be used, a command is decided on as it is; nothing is added before every node understands it. **Not
//! here:** which document is in force (`documents`), what an entity makes of it (`domain`).

pub(crate) mod elsewhere;
pub(crate) mod facts;
pub(crate) mod history;
pub mod past;
pub(crate) mod rules;
mod terms;

use std::sync::Arc;

use fieldmesh_actors::seams::Guide;
use fieldmesh_calendar::zone::Zone;
use fieldmesh_domain::{
    Command, EntityId, customer, desk,
    notifier::{self, Notice, Recipient},
    placement::{COUNTS, MARKS, SITES, TRIGGERS},
    ticket,
    time::Millis,
};

pub(crate) use self::terms::silence;
use self::{facts::Opened, history::History, terms::Opening};
use crate::{
    cluster::Cluster,
    courier::NodeCourier,
    documents::{Documents, Known},
};

/// Guides by the documents of this node.
pub struct NodeGuide {
    documents: Arc<Documents>,
    known: Arc<Cluster>,
    /// Of sites whose zone nobody said.
    zone: Zone,
    history: Arc<History>,
    courier: Arc<NodeCourier>,
}

impl NodeGuide {
    pub(crate) fn new(
        documents: Arc<Documents>,
        known: Arc<Cluster>,
        zone: Zone,
        history: Arc<History>,
        courier: Arc<NodeCourier>,
    ) -> Self {
        Self { documents, known, zone, history, courier }
    }

    /// Every node knows what is added.
    fn may_add(&self) -> bool {
        self.known.known().level() >= TRIGGERS
    }

    /// What the rules say of a ticket that is opened. It is counted whether there are any or not, if there is one.
    fn triage(
        &self,
        known: &Known,
        opened: &Opened<'_>,
        counted: ticket::Counted,
        is_real: bool,
    ) -> Option<Box<ticket::Triage>> {
        let before = match is_real {
            true => self.history.count(opened.ticket, counted, opened.now),
            false => self.history.look(opened.ticket, counted, opened.now),
        };
        let rules = known.rules.as_ref().filter(|_| self.may_add())?;
        let facts = facts::gather(opened, &before);
        Some(Box::new(rules::triage(rules, &facts)))
    }

    /// Adds to the command that would open a ticket what documents say of it now.
    pub(crate) fn what_if(&self, to: EntityId, command: &mut ticket::Command, now: Millis) {
        self.ticket(to, command, now, false);
    }

    /// How many offers a technician may have in a minute.
    pub(crate) fn pace(&self) -> Option<u16> {
        terms::pace_of(&self.documents.known()).filter(|_| self.may_add())
    }

    /// Adds to a ticket's command what documents say of it.
    fn ticket(&self, to: EntityId, command: &mut ticket::Command, now: Millis, is_real: bool) {
        let known = self.documents.known();
        match command {
            ticket::Command::Open {
                customer,
                body,
                tier,
                triage,
                terms,
                background,
                counted,
                ..
            } => {
                let (customer, tier, background) = (*customer, *tier, background.as_ref());
                let zone = &self.zone;
                let opened = Opened { ticket: to, customer, body, tier, background, zone, now };
                let by = self.history.counted(body.category, opened.site());
                *counted = (self.known.known().level() >= COUNTS).then_some(by);
                *triage = self.triage(&known, &opened, by, is_real);
                if !self.may_add() {
                    return;
                }
                let said = triage.as_deref();
                let opening = Opening {
                    ticket: to,
                    customer,
                    body,
                    tier,
                    priority: said.and_then(ticket::Triage::valid_priority),
                    policy: said.and_then(|said| said.policy.as_deref()),
                };
                *terms = opening.terms(&known, now).map(Box::new);
            }
            ticket::Command::Reconsider { .. } => terms::reconsider(&known, to, command, now),
            ticket::Command::Timer { marks, .. } | ticket::Command::Order { marks, .. } => {
                *marks = (self.known.known().level() >= MARKS).then_some(true);
            }
            _ => {}
        }
    }
}

impl Guide for NodeGuide {
    fn guide(&self, to: EntityId, mut command: Command, now: Millis) -> Command {
        match &mut command {
            Command::Ticket(command) => self.ticket(to, command, now, true),
            Command::Desk(desk::Command::Claim { priority, held_until, .. }) => {
                let is_known = self.known.known().level() >= MARKS;
                *priority = priority.filter(|_| is_known);
                *held_until = held_until.filter(|_| is_known);
            }
            Command::Desk(command) if self.may_add() => {
                terms::pace(&self.documents.known(), command);
            }
            Command::Customer(customer::Command::Request { is_counted, .. }) => {
                *is_counted = self.may_add().then_some(true);
            }
            _ => {}
        }
        command
    }

    /// A hold, and another place, are told to the desk once every node knows of that. A ticket tells of everything that
    /// happens to it: a row for what nobody subscribed to would only be work, and one that an older node is to read
    /// would stop it.
    fn tells(&self, _to: EntityId, command: &Command) -> bool {
        let command = match command {
            // Without the time it would be a question, and the ticket does not ask.
            Command::Desk(desk::Command::Claim { held_until: Some(_), .. }) => {
                return self.known.known().level() >= MARKS;
            }
            Command::Desk(desk::Command::Moved { .. }) => {
                return self.known.known().level() >= SITES;
            }
            Command::Notifier(command) => command,
            _ => return true,
        };
        if !self.may_add() {
            return false;
        }
        match command {
            notifier::Command::Tell(Notice { to: Recipient::Subscribers, what, .. }) => {
                let kinds = self.documents.known().webhooks.as_ref().map(|all| all.content.kinds());
                kinds.unwrap_or(0) & what.bit() != 0
            }
            _ => true,
        }
    }

    fn spares(&self, device: EntityId) -> bool {
        self.courier.holds_back(device)
    }
}
