//! The terms that a ticket runs under: what operators' documents said when it was opened.
//!
//! Whoever serves the ticket adds them to the command that opens it, and the ticket keeps them: a later
//! document does not change what runs. A ticket without terms does what the built-in rules say.
//!
//! [`Ticket::follow`] adds to what was decided what the terms lead to, so that a decision is the same with
//! and without them but for what is added here.
//!
//! A silence holds a ticket. At its end, and when silences change, the ticket asks whoever serves it
//! whether one applies still, and goes on where none does. One that begins later holds the ticket as long as
//! nobody has promised to come; whoever serves the ticket looks for such.
//!
//! **Invariants:** a ticket that is silenced has a deadline, at which it asks again; an operator's order is
//! above a silence: what one resumed, pinned, assigned, moved, reopened, ungrouped or escalated is not held
//! again. **Not here:** steps (`escalation`), clocks (`promises`), which silence matches.

use minicbor::{Decode, Encode};

use super::{
    Command, Event, Order, Party, Stage, Ticket,
    escalation::Escalation,
    orders::hash,
    promises::{Promises, Target},
};
use crate::{
    Aggregate, Command as AnyCommand, Ctx, Effect, EntityId, escalation::Policy, message::Location,
    time::Millis,
};

/// Whoever serves the ticket answers in milliseconds; after this long it is asked again.
const SILENCE_ANSWER_S: u64 = 30;
/// A silence ends within 90 days, as a hold does.
const SILENCE_MAX_S: u64 = 90 * 24 * 3600;

/// What documents say of a ticket when it is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Terms {
    #[n(0)]
    pub policy: Option<Policy>,
    #[n(1)]
    pub target: Option<Target>,
    #[n(2)]
    pub silence: Option<Silence>,
}

/// Why nobody is sought, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Silence {
    #[n(0)]
    pub name: String,
    /// Of the document that it is from.
    #[n(1)]
    pub version: u32,
    #[n(2)]
    pub until: Millis,
}

/// What lists show of a ticket's terms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Standing {
    /// When the next promise is broken.
    #[n(0)]
    pub due: Option<Millis>,
    #[n(1)]
    pub is_broken: bool,
    /// Of its escalation policy, while that runs.
    #[n(2)]
    pub step: Option<u8>,
    #[n(3)]
    pub is_silenced: bool,
    /// A person has answered, and nobody is told meanwhile.
    #[n(4)]
    pub is_answered: bool,
    /// Nothing is heard of promised work since then.
    #[n(5)]
    pub overdue_since: Option<Millis>,
}

/// What silences look at.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Subject {
    #[n(0)]
    pub customer: Option<EntityId>,
    #[n(1)]
    pub category: u16,
    #[n(2)]
    pub priority: u8,
    #[n(3)]
    pub location: Location,
}

impl Order {
    /// An operator wants somebody for the ticket, and knows what is silenced.
    pub(super) fn is_above_silences(&self, by: &Party) -> bool {
        let wants_somebody = match self {
            Self::Resume
            | Self::Reassign { .. }
            | Self::Move { .. }
            | Self::Reopen { .. }
            | Self::Object { .. }
            | Self::Ungroup
            | Self::Escalate => true,
            Self::Hold { .. }
            | Self::Cancel { .. }
            | Self::Pin
            | Self::Unpin
            | Self::Amend(_)
            | Self::Confirm
            | Self::Message { .. }
            | Self::Group { .. }
            | Self::Acknowledge
            | Self::Eta { .. } => false,
        };
        wants_somebody && matches!(by, Party::Operator(_))
    }
}

impl Ticket {
    /// What the terms lead to, with what was decided.
    pub(super) fn follow(&self, command: &Command, events: Vec<Event>, ctx: &Ctx) -> Vec<Event> {
        let is_set = events.iter().any(|event| matches!(event, Event::TermsSet(_)));
        if !is_set && self.escalation.is_none() && self.promises.is_none() {
            return events;
        }
        let mut after = self.clone();
        events.iter().for_each(|event| after.evolve(event));
        let mut events = after.escalate(command, events, ctx);
        events.extend(after.clocks(command, ctx.now));
        events
    }

    /// The events that a ticket begins with under terms.
    pub(super) fn under(&self, terms: &Terms, first: Event, now: Millis) -> Vec<Event> {
        let kept = Terms { silence: None, ..terms.clone() };
        let set = (kept != Terms::default()).then_some(Event::TermsSet(kept));
        let next = self.silenced(terms.silence.as_ref(), now).unwrap_or(first);
        set.into_iter().chain([next]).collect()
    }

    pub(super) fn terms_set(&mut self, terms: &Terms) {
        self.escalation = terms.policy.clone().map(Escalation::new);
        self.promises = terms.target.clone().map(Promises::new);
    }

    pub(super) fn held_for(&mut self, silence: &Silence) {
        self.held_until(silence.until);
        self.silence = Some(silence.clone());
    }

    /// A ticket whose timer is lost: what was due is due now.
    pub(super) fn rearm(&self, now: Millis) -> Vec<Event> {
        let waits = self.stage != Stage::Unknown && !self.stage.is_final();
        waits.then_some(Event::Rearmed { due: self.due.max(now) }).into_iter().collect()
    }

    /// What follows from an event that only a ticket under terms has.
    pub(super) fn effects_of_terms(&self, event: &Event, id: EntityId) -> Vec<Effect> {
        match event {
            Event::Escalated { at, .. } => {
                let told = self.told(id, *at).into_iter();
                told.chain([self.escalation_timer(), self.index(id)]).collect()
            }
            Event::Answered { .. } | Event::Rested => {
                vec![self.escalation_timer(), self.index(id)]
            }
            Event::Clocked { .. } => vec![self.promise_timer(), self.index(id)],
            Event::Broken { promise, at } => {
                let told = self.told_broken(id, *promise, *at).into_iter();
                told.chain([self.promise_timer(), self.index(id)]).collect()
            }
            Event::Silenced(silence) => {
                let told = self.claim_silenced(id, silence.until).into_iter();
                told.chain([self.done(id), self.deadline(), self.index(id)]).collect()
            }
            Event::SilenceAsked { .. } => vec![self.ask_whether_silenced(id), self.deadline()],
            Event::Rearmed { .. } => self.all_timers(),
            _ => vec![],
        }
    }

    fn all_timers(&self) -> Vec<Effect> {
        let escalation = self.escalation.as_ref().map(|_| self.escalation_timer());
        let promises = self.promises.as_ref().map(|_| self.promise_timer());
        [self.deadline()].into_iter().chain(escalation).chain(promises).collect()
    }

    /// What lists show of its terms.
    pub(super) fn standing(&self) -> Option<Standing> {
        let promises = self.promises.as_ref();
        let running = self.escalation.as_ref().filter(|one| one.due.is_some());
        let standing = Standing {
            due: promises.and_then(Promises::next_due),
            is_broken: promises.is_some_and(Promises::is_broken),
            step: running.map(|one| one.at.step),
            is_silenced: self.is_silenced(),
            is_answered: running.is_some_and(|one| one.answered_by.is_some()),
            overdue_since: self.overdue_since.filter(|_| self.stage.is_promised()),
        };
        (standing != Standing::default()).then_some(standing)
    }

    /// The silence, where it lasts.
    fn silenced(&self, silence: Option<&Silence>, now: Millis) -> Option<Event> {
        let silence = silence.filter(|silence| silence.until > now)?;
        let until = silence.until.min(now.after_s(SILENCE_MAX_S));
        Some(Event::Silenced(Silence { until, ..silence.clone() }))
    }

    fn is_silenced(&self) -> bool {
        self.stage == Stage::Held && self.silence.is_some()
    }

    /// The time that was named has come.
    pub(super) fn hold_ended(&self, now: Millis) -> Vec<Event> {
        if self.is_silenced() { self.silences_changed(now) } else { vec![self.matching(now)] }
    }

    pub(super) fn silences_changed(&self, now: Millis) -> Vec<Event> {
        let asked = Event::SilenceAsked { due: now.after_s(SILENCE_ANSWER_S) };
        self.is_silenced().then_some(asked).into_iter().collect()
    }

    pub(super) fn reconsider(&self, silence: Option<&Silence>, now: Millis) -> Vec<Event> {
        let silenced = self.silenced(silence, now);
        if self.is_silenced() {
            return vec![silenced.unwrap_or_else(|| self.first_by_rules(now))];
        }
        let taken_back = self.take_back(false, None).into_iter();
        match silenced.filter(|_| self.may_be_silenced()) {
            Some(silenced) => taken_back.chain([silenced]).collect(),
            None => vec![],
        }
    }

    /// Nobody has promised to come, and no operator wants somebody to all the same.
    pub fn may_be_silenced(&self) -> bool {
        let is_sought = self.stage == Stage::Triaged || self.is_searching();
        is_sought && !self.is_pinned() && !self.is_above_silences()
    }

    /// What was resumed before that was marked is known for as long as its orders are.
    fn is_above_silences(&self) -> bool {
        let resume = hash(&Order::Resume);
        let mut obeyed = self.obeyed.iter().flatten();
        self.is_above == Some(true) || obeyed.any(|obeyed| obeyed.hash == resume)
    }

    /// What silences look at.
    pub fn subject(&self) -> Subject {
        let body = self.body.as_ref();
        Subject {
            customer: self.customer,
            category: body.map_or(0, |body| body.category),
            priority: self.priority,
            location: body.map(|body| body.location).unwrap_or_default(),
        }
    }

    pub(super) fn ask_whether_silenced(&self, id: EntityId) -> Effect {
        let command = Command::Reconsider { subject: self.subject(), silence: None };
        Effect::Tell { to: id, command: AnyCommand::Ticket(command) }
    }
}
