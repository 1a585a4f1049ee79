//! What a technician does when its region was promoted from replicas that were not at the same point:
//! it asks each ticket that it holds, and holds again what a ticket counts on.
//!
//! A ticket that counts on it answers `Keep`, one that does not answers `Release`. One that does not
//! exist answers nothing: what is still doubtful at the deadline is released.
//!
//! **Invariants:** a holding that is made on a ticket's word, or by an offer that may be older than the
//! promotion, is doubtful until the ticket has answered for it, because the ticket may have changed while
//! its word was on the way; only the answer to the question that was asked last ends a doubt. **Not
//! here:** which of two histories counts (`ticket`).

use super::{Event, Phase, Review, Technician};
use crate::{
    Command as AnyCommand, Ctx, Effect, EntityId, TimerName,
    message::AlertBody,
    ticket::{self, RefusalReason},
    time::Millis,
};

/// A ticket that exists answers as soon as its shard has a leader; one that does not keeps the capacity
/// of the technician for so long.
const DOUBT_LIFE_S: u64 = 600;

impl Technician {
    pub(super) fn reconcile(&self, promotion: u64, now: Millis) -> Vec<Event> {
        if self.review.as_ref().is_some_and(|review| review.promotion >= promotion) {
            return vec![];
        }
        vec![Event::Reconciled { promotion, due: now.after_s(DOUBT_LIFE_S) }]
    }

    /// A ticket counts on it for this offer.
    pub(super) fn keep(
        &self,
        alert: &AlertBody,
        phase: Phase,
        answers: Option<u32>,
        ctx: &Ctx,
    ) -> Vec<Event> {
        let (ticket, offer) = (alert.ticket, alert.offer);
        let told = Event::HeldTold { ticket };
        let held = match self.holdings.get(&ticket) {
            Some(held) if held.offer == offer => held,
            // The ticket is behind, or was when it said so.
            Some(held) if held.offer > offer => return vec![told],
            _ => return self.hold_again(alert, phase, ctx),
        };
        let sure = answers.is_some() && self.question(ticket) == answers;
        let mut events = Vec::new();
        if sure || held.phase < phase {
            events.push(Event::Kept { ticket, phase, sure });
        }
        if answers.is_none() || held.phase > phase {
            events.push(told);
        }
        events
    }

    /// What it does not know of, or not any more, it holds on the ticket's word, and asks again.
    fn hold_again(&self, alert: &AlertBody, phase: Phase, ctx: &Ctx) -> Vec<Event> {
        let ticket = alert.ticket;
        let is_late = phase == Phase::Reserved && alert.expires <= ctx.now;
        let reason = if is_late { Some(RefusalReason::Late) } else { self.obstacle(ticket) };
        if let Some(reason) = reason {
            return vec![Event::Refused { ticket, offer: alert.offer, reason }];
        }
        vec![
            Event::Reserved { alert: alert.clone() },
            Event::Kept { ticket, phase, sure: false },
            Event::Doubted { ticket, due: ctx.now.after_s(DOUBT_LIFE_S) },
        ]
    }

    /// The deadline of the last doubt has come.
    pub(super) fn give_up(&self, generation: u32) -> Vec<Event> {
        let review = self.review.as_ref().filter(|review| review.generation == generation);
        let doubtful = review.into_iter().flat_map(|review| review.doubtful.keys());
        let released = doubtful.filter_map(|ticket| {
            let was_committed = self.holdings.get(ticket)?.phase != Phase::Reserved;
            Some(Event::Released { ticket: *ticket, was_committed, is_withdrawn: None })
        });
        released.collect()
    }

    /// What was asked last of a ticket that is in doubt.
    fn question(&self, ticket: EntityId) -> Option<u32> {
        self.review.as_ref()?.doubtful.get(&ticket).copied()
    }

    /// An offer that arrives soon after a promotion may be one that was answered before it.
    pub(super) fn doubt_of(&self, ticket: EntityId, now: Millis) -> Option<Event> {
        let is_soon = self.review.as_ref().is_some_and(|review| now < review.until);
        is_soon.then(|| Event::Doubted { ticket, due: now.after_s(DOUBT_LIFE_S) })
    }

    /// A ticket offers what is held of it already. Where that is in doubt, the ticket was opened anew since it was
    /// asked: only now can it answer.
    pub(super) fn ask_again(&self, ticket: EntityId) -> Vec<Event> {
        self.question(ticket).map(|_| Event::HeldTold { ticket }).into_iter().collect()
    }

    pub(super) fn doubt_all(&mut self, promotion: u64, until: Millis) {
        let review = self.review.get_or_insert_default();
        (review.promotion, review.until) = (promotion, until);
        for ticket in Vec::from_iter(self.holdings.keys().copied()) {
            self.doubt(ticket);
        }
    }

    pub(super) fn doubt(&mut self, ticket: EntityId) {
        let Review { generation, doubtful, .. } = self.review.get_or_insert_default();
        *generation = generation.wrapping_add(1);
        doubtful.insert(ticket, *generation);
    }

    pub(super) fn kept(&mut self, ticket: EntityId, phase: Phase, sure: bool) {
        if let Some(held) = self.holdings.get_mut(&ticket) {
            held.phase = held.phase.max(phase);
        }
        if let Some(review) = self.review.as_mut().filter(|_| sure) {
            review.doubtful.remove(&ticket);
        }
    }

    pub(super) fn forget(&mut self, ticket: EntityId) {
        self.holdings.remove(&ticket);
        if let Some(review) = &mut self.review {
            review.doubtful.remove(&ticket);
        }
    }

    /// What follows from a promotion: the desk and the tickets hear how it stands.
    pub(super) fn reconciled(&self, id: EntityId, due: Millis) -> Vec<Effect> {
        let mut effects = vec![self.tell_desk(id), self.index(id)];
        effects.extend(self.holdings.keys().map(|ticket| self.held(id, *ticket)));
        if !self.holdings.is_empty() {
            effects.push(self.timer(due));
        }
        effects
    }

    pub(super) fn timer(&self, due: Millis) -> Effect {
        let generation = self.review.as_ref().map_or(0, |review| review.generation);
        Effect::SetTimer { name: TimerName::Deadline, generation, due }
    }

    /// Says to a ticket what is held of it.
    pub(super) fn held(&self, id: EntityId, ticket: EntityId) -> Effect {
        let held = self.holdings.get(&ticket);
        let command = ticket::Command::Held {
            technician: id,
            offer: held.map(|held| held.offer).unwrap_or_default(),
            phase: held.map_or(Phase::Reserved, |held| held.phase),
            name: self.name.clone(),
            eta_min: held.and_then(|held| held.eta_min).unwrap_or_default(),
            question: self.question(ticket).unwrap_or_default(),
        };
        Effect::Tell { to: ticket, command: AnyCommand::Ticket(command) }
    }
}
