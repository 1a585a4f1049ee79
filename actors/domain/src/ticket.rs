//! A ticket: one request from its receipt to its end, owner of the whole dispatch saga.
//!
//! The ticket opens offers with rising epochs, waits for the technician's word with a deadline in
//! every state, and counts an acceptance only for the present offer. Stages: received and confirmed are left in
//! the very step that enters them, and so is triaged unless rules gave the ticket a key that the desk is asked
//! for; matching waits for the desk; offered for the
//! technician; unfilled for the next try; held for the time that was named; grouped for its parent; accepted, en route, on site
//! and paused for progress; completed for the customer, and closes by itself. Closed and cancelled are
//! final and have no deadline: only a person reopens them.
//!
//! What nobody ordered leads to the same events as it always did, so that nodes of two releases serve one
//! ticket: a ticket that closes by itself is closed and not confirmed.
//!
//! **Invariants:** at most one technician holds the ticket; epochs only rise; a stage that waits has
//! a running [`TimerName::Deadline`]. **Not here:** choosing (`desk`), granting (`technician`), what
//! people order (`orders`) and write (`notes`), how far alerts come (`reached`), tickets of one cause (`group`),
//! what rules said (`ruled`), what operators' documents say besides (`terms`), what follows from an event
//! (`effects`), being asked for again (`again`), agreeing again after a promotion (`reconcile`).

mod again;
mod arrival;
mod effects;
mod escalation;
mod events;
mod group;
mod notes;
mod orders;
mod outside;
mod parallel;
mod promises;
mod reached;
mod reconcile;
mod ruled;
mod terms;
mod types;

pub use escalation::Escalation;
pub use events::Event;
pub(crate) use group::CHILDREN_MAX;
pub use group::{Parent, ParentWord};
pub use notes::{Note, Notes, Reader};
pub use orders::{Obeyed, Order, Party};
pub use parallel::{Invited, Others};
pub use promises::{Clock, Promise, Promises, Target};
pub use reached::Reach;
pub use ruled::{Acted, Failed, Hold, Ruled, Triage};
pub use terms::{Silence, Standing, Subject, Terms};
pub use types::{Background, Command, Counted, Progress, Promoted, RefusalReason, Stage};

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use notes::Said;

use crate::{
    Aggregate, Ctx, Effect, EntityId, EntityKind, Rejection, RejectionCode, TimerName,
    escalation::Position,
    message::{NoteFrom, OfferId, Pause, RequestBody},
    mutant::{Mutant, is_planted},
    selection::Wishes,
    technician::Phase,
    time::Millis,
    triage,
};

/// The desk answers in milliseconds; after this long the question was lost and is asked again.
const MATCH_LIFE_S: u64 = 30;
/// Pause before a ticket that nobody fits is tried again: first, and at most.
const RETRY_MIN_S: u64 = 5;
const RETRY_MAX_S: u64 = 60;
/// Work is noted as overdue this long after the promised arrival, and again after each such span.
const PROGRESS_GRACE_S: u64 = 3600;
/// A completed ticket closes by itself after this, if the customer does not object.
const CONFIRM_LIFE_S: u64 = 24 * 3600;
/// Technicians asked before everybody may be asked again.
const ASKED_MAX: usize = 64;

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Ticket {
    #[n(0)]
    pub stage: Stage,
    #[n(1)]
    pub customer: Option<EntityId>,
    /// The customer's request, which confirmations answer.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub message_id: Option<[u8; 16]>,
    #[n(3)]
    pub body: Option<RequestBody>,
    #[n(4)]
    pub priority: u8,
    #[n(5)]
    pub opened_at: Millis,
    #[n(6)]
    pub epoch: u32,
    /// Who is offered or holds the ticket.
    #[n(7)]
    pub technician: Option<EntityId>,
    #[n(8)]
    pub technician_name: String,
    #[n(9)]
    pub asked: Vec<EntityId>,
    /// Counts deadlines, so that a stale one is known.
    #[n(10)]
    pub generation: u32,
    /// Tries since somebody was last found.
    #[n(11)]
    pub tries: u32,
    #[n(12)]
    pub due: Millis,
    /// Counts what the desk was asked; what was not answered in time is asked again as it was.
    #[cbor(n(13), default)]
    pub question: u32,
    /// None before the first promotion of its region.
    #[n(14)]
    pub promoted: Option<Promoted>,
    /// Nothing but a deadline or an order takes it from its technician.
    #[n(15)]
    pub pinned: Option<bool>,
    /// Why the work stands still, where it does.
    #[n(16)]
    pub pause: Option<Pause>,
    /// None before anybody wrote or changed anything.
    #[n(17)]
    pub notes: Option<Notes>,
    /// Where an order ended it; otherwise its last deadline tells.
    #[n(18)]
    pub ended_at: Option<Millis>,
    /// Whose end it waits for, or waited for when it ended itself.
    #[n(19)]
    pub parent: Option<Parent>,
    /// Who waits for its end.
    #[n(20)]
    pub children: Option<BTreeSet<EntityId>>,
    /// What rules said of it; none where there were no rules.
    #[n(21)]
    pub ruled: Option<Ruled>,
    /// The customer's when it was opened, where it had any.
    #[n(22)]
    pub wishes: Option<Wishes>,
    /// What was ordered lately, the latest last.
    #[n(23)]
    pub obeyed: Option<Vec<Obeyed>>,
    /// The policy that it was opened under.
    #[n(24)]
    pub escalation: Option<Escalation>,
    /// What was promised when it was opened.
    #[n(25)]
    pub promises: Option<Promises>,
    /// What it is held for.
    #[n(26)]
    pub silence: Option<Silence>,
    /// None while nobody was asked beside its technician.
    #[n(27)]
    pub others: Option<Others>,
    /// How far the alerts of the present offers are known to have come; as many as are asked at once.
    #[n(28)]
    pub reached: Option<BTreeMap<EntityId, Reach>>,
    /// What it is counted by, since nodes know of that.
    #[n(29)]
    pub counted: Option<Counted>,
    /// Nothing was heard of promised work when it should have been; none where that is not marked.
    #[n(30)]
    pub overdue_since: Option<Millis>,
    /// An operator wants somebody for it whatever is silenced; none where that is not marked.
    #[n(31)]
    pub is_above: Option<bool>,
}

impl Ticket {
    fn offer(&self) -> OfferId {
        let seq = self.others.as_ref().map_or(0, |others| others.seq);
        OfferId { epoch: self.epoch, seq }
    }

    /// The offer answers the last question: after "nobody fits" too, if that was asked twice. The
    /// answer to an earlier one would leave the ticket with one technician and the desk with another.
    fn is_wanted(&self, question: u32) -> bool {
        matches!(self.stage, Stage::Matching | Stage::Unfilled) && self.question == question
    }

    fn matching(&self, now: Millis) -> Event {
        Event::MatchAsked { due: now.after_s(MATCH_LIFE_S) }
    }

    fn timer(&self, generation: u32, marks: Option<bool>, now: Millis) -> Vec<Event> {
        if generation != self.generation {
            return vec![];
        }
        match self.stage {
            Stage::Matching | Stage::Unfilled => vec![self.matching(now)],
            Stage::Offered => vec![Event::OfferExpired, self.matching(now)],
            Stage::Accepted | Stage::EnRoute | Stage::OnSite | Stage::Paused
                if self.is_awaiting() =>
            {
                self.gone(now)
            }
            Stage::Accepted | Stage::EnRoute | Stage::OnSite | Stage::Paused => {
                let at = marks.filter(|marks| *marks).map(|_| now);
                vec![Event::Overdue { due: now.after_s(PROGRESS_GRACE_S), at }]
            }
            Stage::Held => self.hold_ended(now),
            Stage::Grouped => self.look_for_parent(now),
            Stage::Completed => vec![Event::Closed],
            Stage::Triaged => self.compare_again(now),
            Stage::Unknown
            | Stage::Received
            | Stage::CannotComplete
            | Stage::Confirmed
            | Stage::Cancelled
            | Stage::Closed => vec![],
        }
    }

    fn refused(
        &self,
        technician: EntityId,
        offer: OfferId,
        reason: RefusalReason,
        now: Millis,
    ) -> Vec<Event> {
        let refused = Event::OfferRefused { technician, reason };
        match self.stage.phase() {
            _ if self.invited(technician, offer).is_some() => vec![refused],
            _ if !self.is_current(technician, offer) => vec![],
            Some(Phase::Reserved) => {
                let next = self.next_invited().unwrap_or_else(|| self.matching(now));
                vec![refused, next]
            }
            Some(_) => self.gone(now),
            None => vec![],
        }
    }

    fn accept(
        &self,
        technician: EntityId,
        offer: OfferId,
        name: &str,
        eta_min: u16,
        now: Millis,
    ) -> Vec<Event> {
        let current = self.is_current(technician, offer) || is_planted(Mutant::LateAcceptTaken);
        let invited = self.invited(technician, offer);
        match self.stage {
            Stage::Offered if current || invited.is_some() => {
                let (name, due) = (name.to_owned(), promised(eta_min, now));
                let accepted = Event::Accepted { technician, name, eta_min, due };
                let switched = invited.map(|invited| self.switched_to(invited));
                switched.into_iter().chain([accepted]).collect()
            }
            Stage::Accepted | Stage::EnRoute | Stage::OnSite | Stage::Paused if current => vec![],
            _ => vec![Event::LateAcceptRefused { technician, offer }],
        }
    }

    fn progress(
        &self,
        technician: EntityId,
        offer: OfferId,
        progress: &Progress,
        now: Millis,
    ) -> Vec<Event> {
        // The technician reports in order: what comes again would only move the ticket back.
        let is_news = match progress {
            Progress::EnRoute => self.stage == Stage::Accepted,
            Progress::OnSite => matches!(self.stage, Stage::Accepted | Stage::EnRoute),
            Progress::Paused(pause) => match self.stage {
                Stage::Paused => self.pause.as_ref() != Some(pause),
                stage => stage == Stage::OnSite,
            },
            Progress::Resumed => self.stage == Stage::Paused,
            Progress::Completed { .. } | Progress::CannotComplete { .. } => true,
        };
        if !self.stage.is_promised() || !is_news || !self.is_current(technician, offer) {
            return vec![];
        }
        let mut events = vec![progressed(progress.clone(), now)];
        if matches!(progress, Progress::CannotComplete { .. }) {
            events.push(self.matching(now));
        }
        events
    }

    /// Its technician writes to the customer.
    fn written(
        &self,
        technician: EntityId,
        offer: OfferId,
        said: Said<'_>,
    ) -> Result<Vec<Event>, Rejection> {
        if !self.stage.is_promised() || !self.is_current(technician, offer) {
            return Ok(vec![]);
        }
        said.check()?;
        self.note(NoteFrom::Technician, Reader::Customer, said)
    }

    fn cancel(&self) -> Vec<Event> {
        match self.stage {
            Stage::Completed | Stage::Closed | Stage::Cancelled => vec![],
            _ => vec![Event::Cancelled],
        }
    }

    fn set_due(&mut self, due: Millis) {
        self.due = due;
        self.generation = self.generation.wrapping_add(1);
        // Whatever sets another deadline shows that somebody goes on.
        if let Some(promoted) = &mut self.promoted {
            promoted.awaited = None;
        }
    }

    fn was_asked(&mut self, technician: EntityId) {
        if self.asked.len() >= ASKED_MAX {
            self.asked.clear();
        }
        self.asked.push(technician);
        self.count_asked();
    }

    fn ask_again(&mut self, technician: EntityId) {
        self.was_asked(technician);
        self.technician = None;
        self.pinned = None;
        self.pause = None;
    }

    fn opened(&mut self, customer: EntityId, message_id: [u8; 16], body: &RequestBody, at: Millis) {
        self.stage = Stage::Received;
        self.customer = Some(customer);
        self.message_id = Some(message_id);
        self.body = Some(body.clone());
        self.opened_at = at;
    }

    fn match_asked(&mut self, due: Millis) {
        if self.stage != Stage::Matching {
            self.question = self.question.wrapping_add(1);
        }
        self.stage = Stage::Matching;
        self.technician = None;
        self.parent = None;
        self.silence = None;
        self.set_due(due);
    }

    fn unfilled(&mut self, due: Millis) {
        self.stage = Stage::Unfilled;
        self.tries = self.tries.saturating_add(1);
        // Whoever refused before may be asked again: better twice than nobody.
        if !self.asks_others() {
            self.asked.clear();
        }
        self.set_due(due);
    }

    fn offered(&mut self, technician: EntityId, epoch: u32, due: Millis) {
        self.stage = Stage::Offered;
        self.technician = Some(technician);
        self.epoch = epoch;
        self.others = None;
        self.reached = None;
        self.set_due(due);
    }

    /// It is marked as late from the first time on.
    fn overdue(&mut self, due: Millis, at: Option<Millis>) {
        self.overdue_since = self.overdue_since.or(at);
        self.set_due(due);
    }

    fn moved(&mut self, progress: &Progress, due: Millis) {
        self.stage = progress.stage();
        self.overdue_since = None;
        self.pause = match progress {
            Progress::Paused(pause) => Some(pause.clone()),
            _ => None,
        };
        if let (Stage::CannotComplete, Some(technician)) = (self.stage, self.technician) {
            self.ask_again(technician);
        }
        self.set_due(due);
    }

    /// The step that opens it.
    fn opens(&self, command: &Command, now: Millis) -> Vec<Event> {
        let Command::Open {
            customer, message_id, body, tier, triage, terms, wishes, counted, ..
        } = command
        else {
            return vec![];
        };
        let opened = Event::Opened {
            customer: *customer,
            message_id: *message_id,
            body: body.clone(),
            at: now,
            wishes: wishes.clone(),
            counted: *counted,
        };
        let triage = triage.as_deref();
        let priority = triage.and_then(Triage::valid_priority);
        let priority = priority.unwrap_or_else(|| triage::priority(body, *tier));
        let triaged = Event::Triaged { priority, triage: triage.cloned().map(Box::new) };
        let first = self.first(triage, now);
        let next = self.under(terms.as_deref().unwrap_or(&Terms::default()), first, now);
        [opened, triaged].into_iter().chain(next).collect()
    }

    /// What is decided but for what the terms add.
    fn decided(&self, command: &Command, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        Ok(match command {
            Command::Open { .. } if self.stage != Stage::Unknown => self.opened_again(command),
            Command::Open { .. } => self.opens(command, ctx.now),
            Command::Offer { technician, choice, question } if self.is_wanted(*question) => {
                let offered = Event::Offered {
                    technician: *technician,
                    epoch: self.next_epoch(),
                    due: ctx.now.after_s(self.offer_life_s()),
                    choice: choice.clone(),
                };
                [offered].into_iter().chain(self.also_offered(*technician, choice)).collect()
            }
            Command::NobodyFits { choice, question }
                if self.stage == Stage::Matching && self.question == *question =>
            {
                let pause = RETRY_MIN_S.saturating_mul(1 << self.tries.min(4)).min(RETRY_MAX_S);
                vec![Event::Unfilled { due: ctx.now.after_s(pause), choice: choice.clone() }]
            }
            Command::Offer { .. } | Command::NobodyFits { .. } => vec![],
            Command::Refused { technician, offer, reason } => {
                self.refused(*technician, *offer, *reason, ctx.now)
            }
            Command::Accept { technician, offer, name, eta_min } => {
                self.accept(*technician, *offer, name, *eta_min, ctx.now)
            }
            Command::Progress { technician, offer, progress } => {
                self.progress(*technician, *offer, progress, ctx.now)
            }
            Command::Cancel => self.cancel(),
            Command::Confirm if self.stage == Stage::Completed => vec![Event::Closed],
            Command::Confirm => vec![],
            Command::Timer { name: TimerName::Deadline, generation, marks } => {
                self.timer(*generation, *marks, ctx.now)
            }
            Command::Timer { .. } => vec![],
            Command::Reconcile { promotion } => {
                let mut events = self.reconcile(*promotion, ctx.now);
                // They are told so whatever they hold; the one that the ticket counts on says what it does.
                events.extend(self.released_beside().filter(|_| !events.is_empty()));
                events
            }
            Command::Held { technician, offer, .. } => match self.held(command, ctx.now) {
                Some(events) => events,
                None => vec![Event::LateAcceptRefused { technician: *technician, offer: *offer }],
            },
            Command::Order { order, by, id, marks } => {
                return self.order((order, *marks), by, *id, ctx);
            }
            Command::Displace { by_ticket: by, question } => self.displace(*by, *question, ctx.now),
            Command::Write { technician, offer, id, text, enclosure } => {
                let said = Said { id: *id, text, enclosure: enclosure.as_ref() };
                return self.written(*technician, *offer, said);
            }
            Command::ChildAsks { child } => self.child_asks(*child),
            Command::ChildLeaves { child } => self.child_leaves(*child),
            Command::ParentSays { parent, word } => self.parent_says(*parent, *word, ctx.now),
            Command::Compared { like, is_silent } => self.compared(*like, *is_silent, ctx.now),
            Command::Reconsider { silence, .. } => self.reconsider(silence.as_ref(), ctx.now),
            Command::SilencesChanged => self.silences_changed(ctx.now),
            Command::Rearm => self.rearm(ctx.now),
            Command::AlertReached { technician, offer, reach } => {
                self.alert_reached(*technician, *offer, *reach)
            }
            Command::Eta { technician, offer, eta_min } => {
                self.eta_told(*technician, *offer, *eta_min, ctx.now)
            }
        })
    }
}

/// Work is overdue some time after the promised arrival.
fn promised(eta_min: u16, now: Millis) -> Millis {
    now.after_s(u64::from(eta_min) * 60 + PROGRESS_GRACE_S)
}

fn progressed(progress: Progress, now: Millis) -> Event {
    let due = match progress {
        Progress::Completed { .. } => now.after_s(CONFIRM_LIFE_S),
        Progress::Paused(Pause { minutes, .. }) => now.after_s(u64::from(minutes) * 60),
        Progress::EnRoute
        | Progress::OnSite
        | Progress::Resumed
        | Progress::CannotComplete { .. } => now.after_s(PROGRESS_GRACE_S),
    };
    Event::Progressed { progress, due }
}

impl Aggregate for Ticket {
    type Command = Command;
    type Event = Event;
    const KIND: EntityKind = EntityKind::Ticket;

    fn decide(&self, command: &Command, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        if self.stage == Stage::Unknown && !matches!(command, Command::Open { .. }) {
            return Rejection::new(RejectionCode::Unknown, "there is no such ticket");
        }
        let events = self.with_released(self.decided(command, ctx)?);
        Ok(self.follow(command, events, ctx))
    }

    fn evolve(&mut self, event: &Event) {
        self.evolve_to(event);
    }

    fn react(&self, event: &Event, id: EntityId) -> Vec<Effect> {
        // Whoever subscribes and is named by the policy keeps the first of the two, which says more.
        let told = self.told_over(event, id).into_iter().chain(self.told_outside(event, id));
        self.effects(event, id).into_iter().chain(told).collect()
    }
}

impl Ticket {
    fn evolve_to(&mut self, event: &Event) {
        match event {
            Event::Opened { customer, message_id, body, at, wishes, counted } => {
                self.opened(*customer, *message_id, body, *at);
                self.wishes.clone_from(wishes);
                self.counted = *counted;
            }
            Event::Triaged { priority, triage } => self.triaged(*priority, triage.as_deref()),
            Event::MatchAsked { due } => self.match_asked(*due),
            Event::Offered { technician, epoch, due, .. }
            | Event::Assigned { technician, epoch, due } => {
                self.offered(*technician, *epoch, *due);
            }
            Event::Unfilled { due, .. } => self.unfilled(*due),
            Event::Accepted { name, due, .. } => {
                self.stage = Stage::Accepted;
                self.technician_name.clone_from(name);
                self.tries = 0;
                self.overdue_since = None;
                self.set_due(*due);
            }
            Event::LateAcceptRefused { .. }
            | Event::OrderRefused { .. }
            | Event::ChildAnswered { .. } => {}
            Event::Progressed { progress, due } => self.moved(progress, *due),
            Event::Overdue { due, at } => self.overdue(*due, *at),
            Event::Cancelled => self.stage = Stage::Cancelled,
            Event::Closed => self.stage = Stage::Closed,
            Event::Reconciled { promotion, floor, question, due } => {
                self.promoted(*promotion, *floor, *question, *due);
            }
            Event::OfferExpired
            | Event::OfferRefused { .. }
            | Event::Adopted { .. }
            | Event::AlsoOffered { .. }
            | Event::Switched { .. }
            | Event::OthersReleased { .. } => self.evolve_offers(event),
            Event::Kept { .. } => self.kept(),
            Event::Ordered { order, at, id, is_above, .. } => {
                self.ordered(order, *at);
                self.obeyed(order, *id, *is_above);
            }
            Event::Held { until } => self.held_until(*until),
            Event::TakenBack { technician, is_excluded, .. } => {
                self.taken_back(*technician, *is_excluded);
            }
            Event::Reopened => self.reopened(),
            Event::Noted(note) => self.noted(note),
            Event::Grouped { parent, due } => self.grouped(*parent, *due),
            Event::ParentAsked { due } => self.parent_answered(false, *due),
            Event::ParentLives { due } => self.parent_answered(true, *due),
            Event::ChildJoined { child } => self.child_joined(*child),
            Event::ChildLeft { child } => self.child_left(*child),
            Event::TermsSet(terms) => self.terms_set(terms),
            Event::Escalated { step, round, due, .. } => {
                self.escalated(Position { step: *step, round: *round }, *due);
            }
            Event::Answered { by, until } => self.answered(by, *until),
            Event::Rested => self.rested(),
            Event::Clocked { respond, finish } => self.clocked(*respond, *finish),
            Event::Broken { promise, at } => self.broken(*promise, *at),
            Event::Silenced(silence) => self.held_for(silence),
            Event::SilenceAsked { due } | Event::Rearmed { due } => self.set_due(*due),
            Event::EtaChanged { due, .. } => self.expected_by(*due),
            Event::ParentSought { due } => self.parent_sought(*due),
            Event::Compared { is_silent, .. } => self.was_compared(*is_silent),
            Event::AlertReached { technician, reach, .. } => self.reached(*technician, *reach),
        }
    }
}
