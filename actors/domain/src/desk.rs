//! The desk of a region: knows its technicians' summaries and who works on what, and chooses.
//!
//! A ticket asks with `Match`; the answer is an offer to make, or that nobody fits. The desk counts
//! what it gave out itself, so no technician needs to report its load.
//!
//! **Invariant:** a ticket is given to at most one technician here; a new question takes it back
//! first, and the same question again changes nothing. After a promotion it knows only what it is told anew. **Not here:** granting (`technician`), deadlines and retries (`ticket`).

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::{
    Aggregate, Command as AnyCommand, Ctx, Effect, EntityId, EntityKind, Rejection, RejectionCode,
    TimerName,
    message::Location,
    selection::{self, Choice, Fit, Need},
    technician::Skill,
    ticket,
};

/// Technicians of one region; beyond this the region is two.
pub const TECHNICIANS_MAX: usize = 100_000;

/// What the desk knows of a technician.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Summary {
    /// On shift, not suspended, and with a device.
    #[n(0)]
    pub on_shift: bool,
    #[n(1)]
    pub skills: Vec<Skill>,
    #[n(2)]
    pub home: Location,
    #[n(3)]
    pub capacity: u16,
}

/// A technician with what the desk gave it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Known {
    #[n(0)]
    pub summary: Summary,
    #[n(1)]
    pub load: u16,
    /// Tickets given so far, for fairness.
    #[n(2)]
    pub assigned: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Desk {
    #[n(0)]
    pub technicians: BTreeMap<EntityId, Known>,
    /// Who works on, or is offered, which ticket.
    #[n(1)]
    pub given: BTreeMap<EntityId, EntityId>,
    /// The question that gave it.
    #[cbor(n(2), default)]
    pub answered: BTreeMap<EntityId, u32>,
    /// The last promotion of its region that it heard of.
    #[n(3)]
    pub promotion: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    #[n(0)]
    Technician {
        #[n(0)]
        id: EntityId,
        #[n(1)]
        summary: Summary,
    },
    #[n(1)]
    Match {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        need: Need,
        /// The ticket counts them; the same one again needs no second answer.
        #[cbor(n(2), default)]
        question: u32,
    },
    /// The ticket needs nobody any more.
    #[n(2)]
    Done {
        #[n(0)]
        ticket: EntityId,
    },
    #[n(3)]
    Timer {
        #[n(0)]
        name: TimerName,
        #[n(1)]
        generation: u32,
    },
    /// The region was promoted: what is known here may not be so. Technicians and tickets say it anew,
    /// once they were asked the same after this.
    #[n(4)]
    Reconcile {
        /// Which promotion; the same one again changes nothing.
        #[n(0)]
        promotion: u64,
    },
    /// From a ticket that a technician has, whatever was chosen here.
    #[n(5)]
    Given {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        technician: EntityId,
        /// The ticket's last question.
        #[n(2)]
        question: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    #[n(0)]
    TechnicianChanged {
        #[n(0)]
        id: EntityId,
        #[n(1)]
        summary: Summary,
    },
    #[n(1)]
    Chosen {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        technician: EntityId,
        #[n(2)]
        choice: Choice,
        #[cbor(n(3), default)]
        question: u32,
    },
    #[n(2)]
    NobodyFits {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        choice: Choice,
        #[cbor(n(2), default)]
        question: u32,
    },
    #[n(3)]
    TakenBack {
        #[n(0)]
        ticket: EntityId,
    },
    #[n(4)]
    Reconciled {
        #[n(0)]
        promotion: u64,
    },
    #[n(5)]
    Given {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        technician: EntityId,
        #[n(2)]
        question: u32,
    },
}

impl Desk {
    fn choose(
        &self,
        ticket: EntityId,
        need: &Need,
        question: u32,
        rule_version: u32,
    ) -> Vec<Event> {
        let held_by = self.given.get(&ticket);
        let options = self.technicians.iter().map(|(id, known)| Fit {
            id: *id,
            on_shift: known.summary.on_shift,
            skills: &known.summary.skills,
            home: known.summary.home,
            capacity: known.summary.capacity,
            load: known.load.saturating_sub(u16::from(held_by == Some(id))),
            assigned: known.assigned,
        });
        let choice = selection::choose(need, options, rule_version);
        let mut events: Vec<Event> =
            held_by.map(|_| Event::TakenBack { ticket }).into_iter().collect();
        events.push(match choice.candidates.first() {
            Some(best) => Event::Chosen { ticket, technician: best.technician, choice, question },
            None => Event::NobodyFits { ticket, choice, question },
        });
        events
    }

    /// The offer is on its way or made: another one would leave the ticket with one technician and
    /// the desk with another.
    fn is_answered(&self, ticket: EntityId, question: u32) -> bool {
        self.answered.get(&ticket).is_some_and(|answered| *answered >= question)
    }

    /// What a ticket says of itself; whatever else was given to somebody is taken back.
    fn give(&self, ticket: EntityId, technician: EntityId, question: u32) -> Vec<Event> {
        let held_by = self.given.get(&ticket);
        if held_by == Some(&technician) && self.answered.get(&ticket) == Some(&question) {
            return vec![];
        }
        let before = held_by.map(|_| Event::TakenBack { ticket });
        before.into_iter().chain([Event::Given { ticket, technician, question }]).collect()
    }

    fn given(&mut self, ticket: EntityId, technician: EntityId, question: u32) -> &mut Known {
        self.given.insert(ticket, technician);
        self.answered.insert(ticket, question);
        let known = self.technicians.entry(technician).or_default();
        known.load = known.load.saturating_add(1);
        known
    }

    fn take_back(&mut self, ticket: EntityId) {
        self.answered.remove(&ticket);
        if let Some(technician) = self.given.remove(&ticket)
            && let Some(known) = self.technicians.get_mut(&technician)
        {
            known.load = known.load.saturating_sub(1);
        }
    }
}

impl Aggregate for Desk {
    type Command = Command;
    type Event = Event;
    const KIND: EntityKind = EntityKind::Desk;

    fn decide(&self, command: &Command, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Technician { id, summary } => match self.technicians.get(id) {
                Some(known) if known.summary == *summary => Ok(vec![]),
                None if self.technicians.len() >= TECHNICIANS_MAX => {
                    Rejection::new(RejectionCode::Limit, "the desk knows 100,000 technicians")
                }
                _ => Ok(vec![Event::TechnicianChanged { id: *id, summary: summary.clone() }]),
            },
            Command::Match { ticket, question, .. } if self.is_answered(*ticket, *question) => {
                Ok(vec![])
            }
            Command::Match { ticket, need, question } => {
                Ok(self.choose(*ticket, need, *question, ctx.rule_version))
            }
            Command::Done { ticket } => Ok(if self.given.contains_key(ticket) {
                vec![Event::TakenBack { ticket: *ticket }]
            } else {
                vec![]
            }),
            Command::Reconcile { promotion } => Ok(if self.promotion >= Some(*promotion) {
                vec![]
            } else {
                vec![Event::Reconciled { promotion: *promotion }]
            }),
            Command::Given { ticket, technician, question } => {
                Ok(self.give(*ticket, *technician, *question))
            }
            Command::Timer { .. } => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::TechnicianChanged { id, summary } => {
                self.technicians.entry(*id).or_default().summary.clone_from(summary);
            }
            Event::Chosen { ticket, technician, question, .. } => {
                let known = self.given(*ticket, *technician, *question);
                known.assigned = known.assigned.saturating_add(1);
            }
            Event::Given { ticket, technician, question } => {
                self.given(*ticket, *technician, *question);
            }
            // Nobody tells it of technicians and tickets that are lost: it begins anew.
            Event::Reconciled { promotion } => {
                *self = Self { promotion: Some(*promotion), ..Self::default() };
            }
            Event::TakenBack { ticket } => self.take_back(*ticket),
            Event::NobodyFits { .. } => {}
        }
    }

    fn react(&self, event: &Event, _id: EntityId) -> Vec<Effect> {
        let tell = |ticket: &EntityId, command| {
            vec![Effect::Tell { to: *ticket, command: AnyCommand::Ticket(command) }]
        };
        match event {
            Event::Chosen { ticket, technician, choice, question } => {
                let (technician, choice) = (*technician, choice.clone());
                let question = *question;
                tell(ticket, ticket::Command::Offer { technician, choice, question })
            }
            Event::NobodyFits { ticket, choice, question } => {
                let (choice, question) = (choice.clone(), *question);
                tell(ticket, ticket::Command::NobodyFits { choice, question })
            }
            Event::TechnicianChanged { .. }
            | Event::TakenBack { .. }
            | Event::Given { .. }
            | Event::Reconciled { .. } => vec![],
        }
    }
}
