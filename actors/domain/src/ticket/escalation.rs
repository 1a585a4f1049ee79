//! How a ticket follows the escalation policy that it was opened under.
//!
//! A policy runs while nobody has promised to come: in matching, offered and unfilled. It begins with the
//! first step whenever a search begins, and each step has a timer of its own. A step that asks technicians
//! is over once it has asked as many as it may, or nobody is left within its distance; one that tells
//! somebody is over when nobody answered in time. Technicians are sought all the while.
//!
//! An operator's word is an answer, and so is that of a program that somebody acknowledged the alarm there: for half
//! an hour nobody is told anything. Who answered and forgot is
//! told again. When nobody is sought any more, whoever was told in this search is told that, and why.
//!
//! **Invariants:** while a policy runs its timer does; steps only follow each other as the policy has them,
//! or begin anew; what rests has no timer but that of an answer. **Not here:** policies (`escalation` of the
//! domain), who gets a notice how (`notifier`).

use minicbor::{Decode, Encode};

use super::{Command, Event, MATCH_LIFE_S, Order, Party, Promise, Stage, Ticket, outside::what};
use crate::{
    Ctx, Effect, EntityId, Rejection, RejectionCode, TimerName,
    escalation::{Act, Policy, Position, Role},
    notifier::{Recipient, What},
    selection::Exclusion,
    time::Millis,
    triage,
};

/// Who answered has this long to do something about it.
const ANSWERED_S: u64 = 1800;

/// Whatever is stored of a policy: its steps do not follow each other without end in one moment.
const STEP_MIN_S: u64 = 1;

/// A policy with how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Escalation {
    #[n(0)]
    pub policy: Policy,
    #[n(1)]
    pub at: Position,
    /// Technicians who did not want it since the step began.
    #[n(2)]
    pub asked: u8,
    /// Counts its timers.
    #[n(3)]
    pub generation: u32,
    /// None while it rests.
    #[n(4)]
    pub due: Option<Millis>,
    /// The operator who answered, or the program; then it is due when somebody is told again.
    #[n(5)]
    pub answered_by: Option<String>,
}

/// Where it goes.
enum Next {
    Begin(Position),
    Answered(String),
    Rest,
}

impl Escalation {
    pub(super) fn new(policy: Policy) -> Self {
        let at = Position::default();
        Self { policy, at, asked: 0, generation: 0, due: None, answered_by: None }
    }

    fn act(&self) -> Option<&Act> {
        self.policy.act(self.at)
    }

    /// Somebody was told of this search.
    fn has_told(&self) -> bool {
        self.at.round > 0 || matches!(self.act(), Some(Act::Tell { .. }))
    }

    /// The step has asked whom it may.
    fn is_exhausted(&self, events: &[Event]) -> bool {
        let Some(Act::Offer { technicians, .. }) = self.act() else { return false };
        // Whatever is stored, a step asks somebody: it is not over before it began.
        self.asked >= (*technicians).max(1) || events.iter().any(is_without_anybody)
    }

    /// How long a step takes at most.
    fn limit_s(&self, at: Position, priority: u8) -> u64 {
        let within_s = self.policy.within_s(at.step, priority).unwrap_or(ANSWERED_S);
        let limit_s = match self.policy.act(at) {
            // The desk takes its time too.
            Some(Act::Offer { technicians, .. }) => {
                u64::from(*technicians).saturating_mul(within_s.saturating_add(MATCH_LIFE_S))
            }
            Some(Act::Tell { .. } | Act::Repeat { .. }) | None => within_s,
        };
        limit_s.max(STEP_MIN_S)
    }

    /// The next step has something new to try: where technicians are only asked again, everybody was just now.
    fn is_next_new(&self) -> bool {
        let after = self.policy.after(self.at);
        after.round == self.at.round || matches!(self.policy.act(after), Some(Act::Tell { .. }))
    }

    fn set_due(&mut self, due: Option<Millis>) {
        self.due = due;
        self.generation = self.generation.wrapping_add(1);
    }
}

/// Nobody fits, and waiting does not help. Whoever only had too many offers lately fits in a minute.
fn is_without_anybody(event: &Event) -> bool {
    let Event::Unfilled { choice, .. } = event else { return false };
    !choice.excluded.iter().any(|(_, reason)| *reason == Exclusion::Paced)
}

impl Ticket {
    /// Nobody has promised to come, and somebody is to.
    pub(super) fn is_searching(&self) -> bool {
        matches!(self.stage, Stage::Matching | Stage::Offered | Stage::Unfilled)
    }

    /// Adds what the policy leads to; `self` is the ticket after the events.
    pub(super) fn escalate(&self, command: &Command, events: Vec<Event>, ctx: &Ctx) -> Vec<Event> {
        let next = self.escalation.as_ref().and_then(|one| self.next(one, command, &events));
        let (Some(next), Some(escalation)) = (next, &self.escalation) else { return events };
        let now = ctx.now;
        let event = match next {
            Next::Begin(Position { step, round }) => {
                let limit_s = escalation.limit_s(Position { step, round }, self.priority);
                Event::Escalated { step, round, due: now.after_s(limit_s), at: now }
            }
            Next::Answered(by) => Event::Answered { by, until: now.after_s(ANSWERED_S) },
            Next::Rest => Event::Rested,
        };
        self.arranged(event, events, now)
    }

    /// The desk is asked with what the new step says.
    fn arranged(&self, event: Event, mut events: Vec<Event>, now: Millis) -> Vec<Event> {
        let asks = matches!(events.last(), Some(Event::MatchAsked { .. }));
        let offers = match (&event, &self.escalation) {
            (Event::Escalated { step, round, .. }, Some(escalation)) => {
                let at = Position { step: *step, round: *round };
                matches!(escalation.policy.act(at), Some(Act::Offer { .. }))
            }
            _ => false,
        };
        if asks {
            events.insert(events.len() - 1, event);
        } else {
            events.push(event);
            let waits = matches!(self.stage, Stage::Matching | Stage::Unfilled);
            events.extend((offers && waits).then(|| self.matching(now)));
        }
        events
    }

    fn next(&self, escalation: &Escalation, command: &Command, events: &[Event]) -> Option<Next> {
        let runs = escalation.due.is_some();
        if !self.is_searching() {
            return runs.then_some(Next::Rest);
        }
        let onward = Next::Begin(escalation.policy.after(escalation.at));
        match command {
            _ if !runs => return Some(Next::Begin(Position::default())),
            Command::Timer { name: TimerName::Escalation, generation, .. } => {
                return (*generation == escalation.generation).then_some(onward);
            }
            Command::Order { order: Order::Escalate, by: Party::Operator(_), .. }
                if !events.is_empty() =>
            {
                return Some(onward);
            }
            Command::Order { order: Order::Acknowledge, by: Party::Integration(name), .. }
                if !events.is_empty() =>
            {
                return Some(Next::Answered(name.clone()));
            }
            Command::Order { order, by: Party::Operator(name), .. } => {
                let is_answer = matches!(order, Order::Acknowledge) || escalation.has_told();
                if is_answer && !events.is_empty() {
                    return Some(Next::Answered(name.clone()));
                }
            }
            _ => {}
        }
        let goes_on = escalation.answered_by.is_none()
            && escalation.is_next_new()
            && escalation.is_exhausted(events);
        goes_on.then_some(onward)
    }

    pub(super) fn acknowledge(&self, by: &Party) -> Result<Option<Vec<Event>>, Rejection> {
        let (Some(escalation), Party::Operator(name) | Party::Integration(name)) =
            (&self.escalation, by)
        else {
            return Rejection::new(RejectionCode::NotNow, NO_POLICY);
        };
        let known = escalation.answered_by.as_ref() == Some(name);
        Ok((self.is_searching() && !known).then(Vec::new))
    }

    pub(super) fn escalate_ordered(&self) -> Result<Option<Vec<Event>>, Rejection> {
        let refuse = |why| Rejection::new(RejectionCode::NotNow, why);
        match &self.escalation {
            None => refuse(NO_POLICY),
            Some(_) if !self.is_searching() => {
                refuse("nobody is sought for the ticket: reassign it, or resume it first")
            }
            Some(_) => Ok(Some(vec![])),
        }
    }

    /// Seconds that an offer made now waits for an answer.
    pub(super) fn offer_life_s(&self) -> u64 {
        self.policys_life_s().unwrap_or_else(|| triage::offer_life_s(self.priority))
    }

    /// The same, where its policy says so.
    pub(super) fn policys_life_s(&self) -> Option<u64> {
        let own = self.escalation.as_ref()?;
        own.policy.offer_life_s(own.at, self.priority)
    }

    pub(super) fn radius_m(&self) -> Option<u32> {
        self.escalation.as_ref().and_then(|one| one.policy.radius_m(one.at))
    }

    /// Technicians that an offer made now asks, and no more than its step has left.
    pub(super) fn at_once(&self) -> u8 {
        let Some(escalation) = &self.escalation else { return 1 };
        let at_once = escalation.policy.at_once(escalation.at);
        match escalation.act() {
            Some(Act::Offer { technicians, .. }) => {
                at_once.min(technicians.saturating_sub(escalation.asked))
            }
            _ => at_once,
        }
    }

    /// Whoever did not want it is not asked again in this search: the next step has others.
    pub(super) fn asks_others(&self) -> bool {
        self.escalation.as_ref().is_some_and(|one| {
            one.due.is_some()
                && matches!(one.act(), Some(Act::Offer { .. }))
                && one.policy.goes_on_offering(one.at)
        })
    }

    pub(super) fn count_asked(&mut self) {
        if let Some(escalation) = &mut self.escalation {
            escalation.asked = escalation.asked.saturating_add(1);
        }
    }

    pub(super) fn escalated(&mut self, at: Position, due: Millis) {
        let Some(escalation) = &mut self.escalation else { return };
        let is_again = escalation.at.round != at.round;
        escalation.at = at;
        escalation.asked = 0;
        escalation.answered_by = None;
        escalation.set_due(Some(due));
        if is_again {
            self.asked.clear();
        }
    }

    pub(super) fn answered(&mut self, by: &str, until: Millis) {
        if let Some(escalation) = &mut self.escalation {
            escalation.answered_by = Some(by.to_owned());
            escalation.set_due(Some(until));
        }
    }

    pub(super) fn rested(&mut self) {
        if let Some(escalation) = &mut self.escalation {
            escalation.answered_by = None;
            escalation.set_due(None);
        }
    }

    /// Tells whom the step that begins tells.
    pub(super) fn told(&self, id: EntityId, at: Millis) -> Option<Effect> {
        let escalation = self.escalation.as_ref()?;
        let Some(Act::Tell { role, name }) = escalation.act() else { return None };
        let Position { step, round } = escalation.at;
        let (step, policy) = (u32::from(step) + 1, &escalation.policy.name);
        let again =
            if round > 0 { format!(", time {}", round.saturating_add(1)) } else { String::new() };
        let detail = format!(
            "nobody has accepted the ticket: {} is told by step {step} of policy {policy}{again}",
            role.name()
        );
        let number = u64::from(escalation.generation);
        Some(self.notice(id, recipient(*role, name), What::Escalated, number, at, detail))
    }

    /// Whoever was told that nobody has accepted hears of what ends the search: they need not act any more. It is
    /// the notice that subscribers get, with a detail.
    pub(super) fn told_over(&self, event: &Event, id: EntityId) -> Vec<Effect> {
        // It runs until the search has ended, and rests then.
        let running = self.escalation.as_ref().filter(|one| one.due.is_some());
        let ended = self.over().filter(|over| what(event) == Some(*over));
        let (Some(escalation), Some(what)) = (running, ended) else { return vec![] };
        let detail = match self.technician.filter(|_| what == What::Accepted) {
            Some(technician) => {
                format!("{technician} has accepted the ticket: nobody else is needed")
            }
            None => format!("nobody is sought any more: the ticket is {}", self.stage.name()),
        };
        let number = self.told_as();
        let mut told: Vec<Recipient> = Vec::new();
        for (role, name) in escalation.policy.told(escalation.at) {
            let to = recipient(role, name);
            if !told.contains(&to) {
                told.push(to);
            }
        }
        let notice = |to| self.notice(id, to, what, number, Millis(0), detail.clone());
        told.into_iter().map(notice).collect()
    }

    /// What ended the search.
    fn over(&self) -> Option<What> {
        match self.stage {
            stage if stage.is_promised() => Some(What::Accepted),
            Stage::Held => Some(What::Held),
            Stage::Grouped => Some(What::Grouped),
            Stage::Cancelled => Some(What::Cancelled),
            Stage::Completed | Stage::Confirmed | Stage::Closed => Some(What::Closed),
            _ => None,
        }
    }

    /// Tells subscribers, and the first person of the policy, that a promise is broken.
    pub(super) fn told_broken(&self, id: EntityId, promise: Promise, at: Millis) -> Vec<Effect> {
        let notice = |to| {
            let detail = format!("the time to {} is over", promise.name());
            self.notice(id, to, What::Breached, promise as u64, at, detail)
        };
        [Recipient::Subscribers].into_iter().chain(self.person()).map(notice).collect()
    }

    /// Tells the first person of the policy that nothing is heard of promised work: the policy itself rests since
    /// somebody accepted.
    pub(super) fn told_overdue(&self, id: EntityId) -> Option<Effect> {
        let (to, technician) = (self.person()?, self.technician?);
        let detail = format!(
            "{technician} has the ticket, and nothing is heard of the work: ask, or reassign it"
        );
        Some(self.notice(id, to, What::Overdue, self.told_as(), Millis(0), detail))
    }

    fn person(&self) -> Option<Recipient> {
        let (role, name) = self.escalation.as_ref()?.policy.person()?;
        Some(recipient(role, name))
    }

    pub(super) fn escalation_timer(&self) -> Effect {
        let name = TimerName::Escalation;
        let running = self.escalation.as_ref().and_then(|one| Some((one.generation, one.due?)));
        match running {
            Some((generation, due)) => Effect::SetTimer { name, generation, due },
            None => Effect::CancelTimer { name },
        }
    }
}

fn recipient(role: Role, name: &str) -> Recipient {
    let name = name.to_owned();
    if role.is_person() { Recipient::Person(name) } else { Recipient::Webhook(name) }
}

const NO_POLICY: &str = "the ticket was opened under no escalation policy: reassign it instead";
