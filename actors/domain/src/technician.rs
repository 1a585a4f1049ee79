//! A technician: on and off shift, holding tickets up to a capacity.
//!
//! The technician alone grants its capacity: a reservation is for exactly one offer, and an answer
//! counts only while that reservation lives. The ticket owns the deadline of each step and releases what
//! it no longer wants; only what a promotion made doubtful, and a roster, have timers here.
//!
//! **Invariants:** holdings never exceed the capacity; an offer that is not newer than the one held
//! changes nothing. **Not here:** what a promotion makes doubtful (`reconcile`), messages about a ticket
//! (`notes`), rosters (`roster`) and swaps (`swap`), what else becomes of one (`life`, `revise`).

pub mod life;
mod notes;
mod reconcile;
pub mod revise;
pub mod roster;
pub mod swap;
mod types;

use roster::Rostered;
use swap::Swaps;
pub use types::{
    Command, Duty, Event, Holding, LEVEL_MAX, Phase, Review, SKILLS_MAX, Shift, Skill,
};

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::{
    Aggregate, Command as AnyCommand, Ctx, Effect, EntityId, EntityKind, IndexRow, MessageKind,
    Rejection, RejectionCode, TimerName,
    customer::NAME_BYTES_MAX,
    desk,
    device::{Change, Device},
    encoded,
    message::{AlertBody, Answer, Location, OfferId, ReceiptBody, ReceiptStatus, ResponseBody},
    mutant::{Mutant, is_planted},
    selection::{Away, Circumstances},
    ticket::{self, Progress, Reach, RefusalReason},
    time::Millis,
};

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Technician {
    #[n(0)]
    pub registered: bool,
    #[n(1)]
    pub name: String,
    #[n(2)]
    pub skills: Vec<Skill>,
    #[n(3)]
    pub home: Location,
    #[n(4)]
    pub capacity: u16,
    #[n(5)]
    pub shift: Shift,
    #[n(6)]
    pub on_shift: bool,
    #[n(7)]
    pub suspended: bool,
    #[n(8)]
    pub device: Device,
    #[n(9)]
    pub holdings: BTreeMap<EntityId, Holding>,
    /// None before the first promotion of its region.
    #[n(10)]
    pub review: Option<Review>,
    /// None for one that goes on and off shift by hand alone.
    #[n(11)]
    pub rostered: Option<Rostered>,
    /// Counts the looks at its rosters, and with them their timers.
    #[n(12)]
    pub looks: Option<u32>,
    /// None before its first swap.
    #[n(13)]
    pub swaps: Option<Swaps>,
    /// Parts on its van by number, with how many, where anybody said.
    #[n(14)]
    pub stock: Option<BTreeMap<String, u16>>,
    /// Its device was not connected since then, where that is long ago.
    #[n(15)]
    pub silent_since: Option<Millis>,
    /// Unix seconds: the end of its device's certificate, as the authority said last.
    #[n(16)]
    pub certified_until: Option<u64>,
}

fn changes(changes: Vec<Change>) -> Vec<Event> {
    changes.into_iter().map(Event::Device).collect()
}

impl Technician {
    /// What a list shows: the furthest of the held tickets.
    pub fn duty(&self) -> Duty {
        if !self.registered {
            return Duty::Unknown;
        }
        if self.suspended {
            return Duty::Suspended;
        }
        match self.holdings.values().map(|holding| holding.phase).max() {
            Some(Phase::OnSite) => Duty::OnSite,
            Some(Phase::EnRoute) => Duty::EnRoute,
            Some(Phase::Committed) => Duty::Committed,
            Some(Phase::Reserved) => Duty::Reserved,
            None if self.on_shift && self.silent_since.is_some() => Duty::Unreachable,
            None if self.on_shift => Duty::Available,
            None if self.is_at_break() => Duty::Break,
            None => Duty::OffShift,
        }
    }

    fn register(&self, command: &Command) -> Result<Vec<Event>, Rejection> {
        let Command::Register { name, skills, home, capacity, shift } = command else {
            return Ok(vec![]);
        };
        if self.registered {
            let same = self.name == *name
                && self.skills == *skills
                && self.home == *home
                && self.capacity == *capacity;
            return if same {
                Ok(vec![])
            } else {
                Rejection::new(RejectionCode::Exists, "the technician exists with other data")
            };
        }
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Rejection::new(RejectionCode::Invalid, "a name has 1 to 256 bytes");
        }
        if !home.is_on_earth() {
            return Rejection::new(RejectionCode::Invalid, "the home is not on earth");
        }
        revise::check_skills(skills)?;
        if *capacity == 0 {
            return Rejection::new(RejectionCode::Invalid, "the capacity is at least 1");
        }
        Ok(vec![Event::Registered {
            name: name.clone(),
            skills: skills.clone(),
            home: *home,
            capacity: *capacity,
            shift: *shift,
        }])
    }

    fn reserve(&self, alert: &AlertBody, ctx: &Ctx) -> Vec<Event> {
        let (ticket, offer) = (alert.ticket, alert.offer);
        let refuse = |reason| vec![Event::Refused { ticket, offer, reason }];
        match self.holdings.get(&ticket) {
            Some(held) if held.offer >= offer => return self.ask_again(ticket),
            Some(held) if held.phase != Phase::Reserved => return refuse(RefusalReason::Busy),
            _ => {}
        }
        if !self.on_shift {
            return refuse(RefusalReason::OffShift);
        }
        if alert.expires <= ctx.now {
            return refuse(RefusalReason::Late);
        }
        let given_up = match self.obstacle(ticket) {
            None => vec![],
            Some(RefusalReason::Busy) if offer.seq == 0 => match self.least_wanted(ticket, ctx.now)
            {
                Some(given_up) => given_up,
                None => return refuse(RefusalReason::Busy),
            },
            Some(reason) => return refuse(reason),
        };
        let reserved = Event::Reserved { alert: alert.clone() };
        let doubt = self.doubt_of(ticket, ctx.now);
        given_up.into_iter().chain([reserved]).chain(doubt).collect()
    }

    /// An offer that others have too makes way for one that only it has: the desk counts on that.
    fn least_wanted(&self, wanted: EntityId, now: Millis) -> Option<Vec<Event>> {
        let mut held = self.holdings.iter().filter(|(ticket, _)| **ticket != wanted);
        let (ticket, held) =
            held.find(|(_, held)| held.phase == Phase::Reserved && held.offer.seq > 0)?;
        let (ticket, offer, reason) = (*ticket, held.offer, RefusalReason::Busy);
        Some(vec![held.released(ticket, now), Event::Refused { ticket, offer, reason }])
    }

    /// Why it can hold a ticket neither anew nor on.
    fn obstacle(&self, ticket: EntityId) -> Option<RefusalReason> {
        let others = self.holdings.keys().filter(|held| **held != ticket).count();
        if self.suspended {
            Some(RefusalReason::OffShift)
        } else if !self.device.present {
            Some(RefusalReason::NoDevice)
        } else {
            let is_full = others >= usize::from(self.capacity);
            (is_full && !is_planted(Mutant::ReservedTwice)).then_some(RefusalReason::Busy)
        }
    }

    fn answer(
        &self,
        message_id: [u8; 16],
        body: &ResponseBody,
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        body.check()?;
        let (ticket, offer) = (body.ticket, body.offer);
        let note = |status| Ok(vec![Event::AnswerNoted { ticket, status, message_id }]);
        if let &Answer::Accept { eta_min } = &body.answer
            && is_planted(Mutant::LateAcceptTaken)
        {
            return Ok(vec![Event::Accepted { ticket, offer, eta_min, message_id }]);
        }
        let Some(held) = self.holdings.get(&ticket).filter(|held| held.offer == offer) else {
            return note(ReceiptStatus::NoLongerYours);
        };
        if held.answered_by == Some(message_id) {
            return Ok(vec![]);
        }
        let progress =
            |progress| Ok(vec![Event::Progressed { ticket, offer, progress, message_id }]);
        match (&body.answer, held.phase) {
            (Answer::Accept { .. } | Answer::Decline { .. }, Phase::Reserved)
                if held.expires < ctx.now =>
            {
                note(ReceiptStatus::NoLongerYours)
            }
            (Answer::Accept { eta_min }, Phase::Reserved) => {
                Ok(vec![Event::Accepted { ticket, offer, eta_min: *eta_min, message_id }])
            }
            (Answer::Decline { reason }, Phase::Reserved) => {
                Ok(vec![Event::Declined { ticket, offer, reason: reason.clone(), message_id }])
            }
            (Answer::Seen, Phase::Reserved) => Ok(vec![Event::Saw { ticket, offer, message_id }]),
            (Answer::Accept { .. } | Answer::Seen, _) => note(ReceiptStatus::Received),
            (Answer::EnRoute, Phase::Committed) => progress(Progress::EnRoute),
            (Answer::OnSite, Phase::Committed | Phase::EnRoute) => progress(Progress::OnSite),
            (Answer::Completed { note }, Phase::Committed | Phase::EnRoute | Phase::OnSite) => {
                progress(Progress::Completed { note: note.clone() })
            }
            (
                Answer::CannotComplete { reason },
                Phase::Committed | Phase::EnRoute | Phase::OnSite,
            ) => progress(Progress::CannotComplete { reason: reason.clone() }),
            (Answer::Pause(pause), Phase::OnSite) => progress(Progress::Paused(pause.clone())),
            (Answer::Eta { eta_min }, Phase::Committed | Phase::EnRoute) => {
                Ok(vec![Event::EtaChanged { ticket, offer, eta_min: *eta_min, message_id }])
            }
            (Answer::Resume, Phase::OnSite) => progress(Progress::Resumed),
            (
                Answer::Message { text, enclosure },
                Phase::Committed | Phase::EnRoute | Phase::OnSite,
            ) => {
                let (text, enclosure) = (text.clone(), enclosure.clone());
                Ok(vec![Event::Wrote { ticket, offer, text, message_id, enclosure }])
            }
            _ => note(ReceiptStatus::Invalid),
        }
    }

    fn tell_desk(&self, id: EntityId) -> Effect {
        let summary = desk::Summary {
            on_shift: self.on_shift && !self.suspended && self.device.present,
            skills: self.skills.clone(),
            home: self.home,
            capacity: self.capacity,
            circumstances: self.circumstances(),
        };
        let command = desk::Command::Technician { id, summary };
        Effect::Tell { to: EntityId::desk(id.region()), command: AnyCommand::Desk(command) }
    }

    /// What else the desk goes by; none of a technician of which nobody said more than at first.
    fn circumstances(&self) -> Option<Circumstances> {
        let away = match (self.on_shift, self.silent_since) {
            (true, Some(_)) => Some(Away::Unreachable),
            _ => self.is_at_break().then_some(Away::Break),
        };
        let known = Circumstances {
            shift: self.rostered.as_ref().and_then(|known| known.shift.clone()),
            away,
            certified_until: self.certified_until,
            stock: self.stock.clone(),
        };
        (known != Circumstances::default()).then_some(known)
    }

    fn index(&self, id: EntityId) -> Effect {
        let load = u16::try_from(self.holdings.len()).unwrap_or(u16::MAX);
        Effect::Index(IndexRow::Technician { id, state: self.duty(), load })
    }
}

impl Aggregate for Technician {
    type Command = Command;
    type Event = Event;
    const KIND: EntityKind = EntityKind::Technician;

    fn decide(&self, command: &Command, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        if !self.registered && !matches!(command, Command::Register { .. }) {
            return Rejection::new(RejectionCode::Unknown, "there is no such technician");
        }
        match command {
            Command::Register { .. } => self.register(command),
            Command::PublishKeys { serial, bundle } => {
                let published = self.device.publish(*serial, bundle).map(changes)?;
                Ok(published.into_iter().chain(self.heard()).collect())
            }
            Command::FindDevice => {
                let found = changes(self.device.find()).into_iter();
                Ok(found.chain(self.certified_anew()).collect())
            }
            Command::LoseDevice => Ok(changes(self.device.lose())),
            Command::GoOnShift => Ok(self.go(true, ctx.now)),
            Command::GoOffShift => Ok(self.go(false, ctx.now)),
            Command::Reserve { alert } => Ok(self.reserve(alert, ctx)),
            Command::Release { ticket, offer } => {
                let held = self.holdings.get(ticket).filter(|held| held.offer <= *offer);
                Ok(held.map(|held| held.released(*ticket, ctx.now)).into_iter().collect())
            }
            Command::Answer { message_id, body } => self.answer(*message_id, body, ctx),
            Command::Timer { name: TimerName::Shift, generation } => {
                Ok(self.shift_due(*generation, ctx.now))
            }
            Command::Timer { generation, .. } => Ok(self.give_up(*generation)),
            Command::Reconcile { promotion } => Ok(self.reconcile(*promotion, ctx.now)),
            Command::Keep { alert, phase, answers } => Ok(self.keep(alert, *phase, *answers, ctx)),
            Command::Note { offer, body } => Ok(self.note(*offer, body)),
            Command::Life(word) => self.decide_life(word, ctx),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Registered { name, skills, home, capacity, shift } => {
                self.registered = true;
                self.name.clone_from(name);
                self.skills.clone_from(skills);
                self.home = *home;
                self.capacity = *capacity;
                self.shift = *shift;
            }
            Event::Device(change) => self.device.evolve(change),
            Event::WentOnShift => self.on_shift = true,
            Event::WentOffShift => self.on_shift = false,
            Event::Reserved { alert } => {
                let holding = Holding {
                    offer: alert.offer,
                    phase: Phase::Reserved,
                    expires: alert.expires,
                    answered_by: None,
                    eta_min: None,
                    noted: None,
                };
                self.holdings.insert(alert.ticket, holding);
            }
            Event::Released { ticket, .. } | Event::Declined { ticket, .. } => self.forget(*ticket),
            Event::Accepted { ticket, message_id, eta_min, .. } => {
                self.advance(*ticket, Phase::Committed, *message_id);
                self.holdings.entry(*ticket).and_modify(|held| held.eta_min = Some(*eta_min));
            }
            Event::Progressed { ticket, progress, message_id, .. } => match progress {
                Progress::EnRoute => self.advance(*ticket, Phase::EnRoute, *message_id),
                Progress::OnSite | Progress::Paused(_) | Progress::Resumed => {
                    self.advance(*ticket, Phase::OnSite, *message_id);
                }
                Progress::Completed { .. } | Progress::CannotComplete { .. } => {
                    self.forget(*ticket);
                }
            },
            Event::EtaChanged { ticket, message_id, eta_min, .. } => {
                self.wrote(*ticket, *message_id);
                self.holdings.entry(*ticket).and_modify(|held| held.eta_min = Some(*eta_min));
            }
            Event::Reconciled { promotion, due } => self.doubt_all(*promotion, *due),
            Event::Kept { ticket, phase, sure } => self.kept(*ticket, *phase, *sure),
            Event::Doubted { ticket, .. } => self.doubt(*ticket),
            Event::Noted(body) => self.noted(body),
            Event::Wrote { ticket, message_id, .. } | Event::Saw { ticket, message_id, .. } => {
                self.wrote(*ticket, *message_id);
            }
            Event::Life(step) => self.evolve_life(step),
            Event::Refused { .. } | Event::AnswerNoted { .. } | Event::HeldTold { .. } => {}
        }
    }

    fn react(&self, event: &Event, id: EntityId) -> Vec<Effect> {
        match event {
            Event::Registered { .. }
            | Event::WentOnShift
            | Event::WentOffShift
            | Event::Device(Change::Found | Change::Lost) => {
                vec![self.tell_desk(id), self.index(id)]
            }
            Event::Life(step) => self.react_life(step, id),
            Event::Device(Change::KeysPublished { .. }) => vec![],
            Event::Reserved { alert } => {
                let (kind, body) = (MessageKind::Alert, encoded(alert));
                vec![Effect::Message { to: id, kind, correlation: None, body }, self.index(id)]
            }
            Event::Refused { ticket, offer, reason } => {
                vec![refused(id, *ticket, *offer, *reason)]
            }
            Event::Released { ticket, was_committed, is_withdrawn } => {
                let is_told = *was_committed || *is_withdrawn == Some(true);
                let told =
                    is_told.then(|| receipt(id, *ticket, ReceiptStatus::NoLongerYours, None));
                told.into_iter().chain([self.index(id)]).collect()
            }
            Event::Accepted { ticket, offer, eta_min, message_id } => {
                let accept = ticket::Command::Accept {
                    technician: id,
                    offer: *offer,
                    name: self.name.clone(),
                    eta_min: *eta_min,
                };
                self.answered(id, *ticket, *message_id, tell(*ticket, accept))
            }
            Event::Declined { ticket, offer, message_id, .. } => {
                let declined = refused(id, *ticket, *offer, RefusalReason::Declined);
                self.answered(id, *ticket, *message_id, declined)
            }
            Event::Progressed { ticket, offer, progress, message_id } => {
                let (technician, progress) = (id, progress.clone());
                let told = ticket::Command::Progress { technician, offer: *offer, progress };
                self.answered(id, *ticket, *message_id, tell(*ticket, told))
            }
            Event::EtaChanged { ticket, offer, eta_min, message_id } => {
                let (technician, offer, eta_min) = (id, *offer, *eta_min);
                let told = ticket::Command::Eta { technician, offer, eta_min };
                self.answered(id, *ticket, *message_id, tell(*ticket, told))
            }
            Event::AnswerNoted { ticket, status, message_id } => {
                vec![receipt(id, *ticket, *status, Some(*message_id))]
            }
            Event::Saw { ticket, offer, message_id } => saw(id, *ticket, *offer, *message_id),
            Event::Reconciled { due, .. } => self.reconciled(id, *due),
            Event::Kept { .. } => vec![self.index(id)],
            Event::Doubted { ticket, due } => vec![self.held(id, *ticket), self.timer(*due)],
            Event::HeldTold { ticket } => vec![self.held(id, *ticket)],
            Event::Noted(body) => {
                let (kind, body) = (MessageKind::Note, encoded(body));
                vec![Effect::Message { to: id, kind, correlation: None, body }]
            }
            Event::Wrote { ticket, offer, text, message_id, enclosure } => {
                let (technician, offer, id) = (id, *offer, *message_id);
                let (text, enclosure) = (text.clone(), enclosure.clone());
                let write = ticket::Command::Write { technician, offer, id, text, enclosure };
                vec![
                    receipt(technician, *ticket, ReceiptStatus::Received, Some(*message_id)),
                    tell(*ticket, write),
                ]
            }
        }
    }

    /// What it did not accept its device shows until the offer ends, as each did before it was told.
    fn is_courtesy(event: &Event) -> bool {
        matches!(event, Event::Released { was_committed: false, .. })
    }
}

impl Holding {
    /// Its ticket does not want the technician.
    fn released(&self, ticket: EntityId, now: Millis) -> Event {
        let was_committed = self.phase != Phase::Reserved;
        // Of an offer that is over its device knows.
        let is_withdrawn = (!was_committed && self.expires > now).then_some(true);
        Event::Released { ticket, was_committed, is_withdrawn }
    }
}

fn tell(ticket: EntityId, command: ticket::Command) -> Effect {
    Effect::Tell { to: ticket, command: AnyCommand::Ticket(command) }
}

fn refused(id: EntityId, ticket: EntityId, offer: OfferId, reason: RefusalReason) -> Effect {
    tell(ticket, ticket::Command::Refused { technician: id, offer, reason })
}

fn saw(id: EntityId, ticket: EntityId, offer: OfferId, message_id: [u8; 16]) -> Vec<Effect> {
    let (technician, reach) = (id, Reach::Seen);
    let reached = ticket::Command::AlertReached { technician, offer, reach };
    vec![receipt(id, ticket, ReceiptStatus::Received, Some(message_id)), tell(ticket, reached)]
}

impl Technician {
    /// What follows from an answer that counts: its receipt, the ticket's news, the list's row.
    fn answered(
        &self,
        id: EntityId,
        ticket: EntityId,
        message_id: [u8; 16],
        told: Effect,
    ) -> Vec<Effect> {
        vec![receipt(id, ticket, ReceiptStatus::Received, Some(message_id)), told, self.index(id)]
    }

    fn advance(&mut self, ticket: EntityId, phase: Phase, message_id: [u8; 16]) {
        if let Some(held) = self.holdings.get_mut(&ticket) {
            held.phase = phase;
            held.answered_by = Some(message_id);
        }
    }
}

fn receipt(
    id: EntityId,
    ticket: EntityId,
    status: ReceiptStatus,
    correlation: Option<[u8; 16]>,
) -> Effect {
    let body = ReceiptBody { status, ticket: Some(ticket), reason: String::new() };
    Effect::Message { to: id, kind: MessageKind::Receipt, correlation, body: encoded(&body) }
}
