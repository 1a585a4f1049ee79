//! What a ticket does when its region was promoted from replicas that were not at the same point: it
//! says to its technician and to the desk how it stands, and answers a technician that holds it.
//!
//! The ticket's history counts, and within it what is further: a technician who has gone on keeps what
//! it did. Offers and questions that are lost may be on some device or with the desk still, so the
//! next ones have numbers above them.
//!
//! **Invariants:** a technician who holds the ticket is always answered, by `Keep` or by `Release`; while a
//! technician at work has not said that it knows of it, the deadline is near. **Not here:** whether a
//! technician can hold it (`technician`), when one holds what is not there any more (`technician`).

use super::{Command, Event, Progress, Promoted, Stage, Ticket, progressed, promised};
use crate::{
    Command as AnyCommand, Effect, EntityId, desk,
    technician::{self, Phase},
    time::Millis,
};

/// Offers, and questions to the desk, that one ticket may have made in the history that is lost: each
/// takes messages to and fro, and replicas are seconds apart, hours at worst.
const LOST_MAX: u32 = 1 << 16;
/// A technician that exists answers as soon as its shard has a leader.
const AWAITED_S: u64 = 600;
/// What the customer reads when the technician is lost.
pub(super) const GONE: &str = "another technician is being sought";

impl Ticket {
    pub(super) fn reconcile(&self, promotion: u64, now: Millis) -> Vec<Event> {
        let is_known = self.promoted.as_ref().is_some_and(|known| known.promotion >= promotion);
        if is_known || self.stage == Stage::Completed || self.stage.is_final() {
            return vec![];
        }
        let at_work = self.stage.is_promised();
        vec![Event::Reconciled {
            promotion,
            floor: self.next_epoch().saturating_add(LOST_MAX),
            question: self.question.saturating_add(LOST_MAX),
            due: at_work.then(|| now.after_s(AWAITED_S)),
        }]
    }

    /// The epoch of the next offer.
    pub(super) fn next_epoch(&self) -> u32 {
        let floor = self.promoted.as_ref().map_or(0, |promoted| promoted.floor);
        self.epoch.max(floor).saturating_add(1)
    }

    /// A ticket that has ended is not asked at a promotion, and may have been reopened in the history that
    /// is lost: what it asks and offers from here on has numbers above all of that.
    pub(super) fn skip_lost(&mut self) {
        self.epoch = self.epoch.saturating_add(LOST_MAX);
        self.question = self.question.saturating_add(LOST_MAX);
    }

    /// A technician says what it holds; none where the ticket does not count on it.
    pub(super) fn held(&self, command: &Command, now: Millis) -> Option<Vec<Event>> {
        let Command::Held { technician, offer, phase, name, eta_min, question } = command else {
            return None;
        };
        let is_lost = *offer > self.offer();
        // What it did by an offer that was taken back does not count for the present one.
        let phase = if *offer < self.offer() { &Phase::Reserved } else { phase };
        let mut events = Vec::new();
        let invited = self.invited(*technician, *offer).filter(|_| *phase > Phase::Reserved);
        if let Some(invited) = invited {
            events.push(self.switched_to(invited));
        }
        let known = match self.stage.phase() {
            Some(known) if self.technician == Some(*technician) || invited.is_some() => known,
            // It accepted what the ticket does not know to have offered.
            None if is_lost && *phase > Phase::Reserved && self.is_free() => Phase::Reserved,
            _ => return None,
        };
        if is_lost && invited.is_none() {
            let (technician, epoch) = (*technician, offer.epoch);
            let seq = (offer.seq > 0).then_some(offer.seq);
            events.push(Event::Adopted { technician, epoch, seq });
        }
        if known == Phase::Reserved && *phase > known {
            let due = promised(*eta_min, now);
            let (technician, name, eta_min) = (*technician, name.clone(), *eta_min);
            events.push(Event::Accepted { technician, name, eta_min, due });
        }
        let progress = match phase {
            Phase::EnRoute => Some(Progress::EnRoute),
            Phase::OnSite => Some(Progress::OnSite),
            Phase::Reserved | Phase::Committed => None,
        };
        if let Some(progress) = progress.filter(|_| *phase > known) {
            events.push(progressed(progress, now));
        }
        events.push(Event::Kept { answers: *question });
        Some(events)
    }

    /// Nobody has it, and somebody may.
    fn is_free(&self) -> bool {
        matches!(self.stage, Stage::Matching | Stage::Unfilled)
    }

    pub(super) fn is_awaiting(&self) -> bool {
        self.promoted.as_ref().is_some_and(|promoted| promoted.awaited.is_some())
    }

    /// The technician at work does not go on with it: the customer hears so, and another one is sought.
    pub(super) fn gone(&self, now: Millis) -> Vec<Event> {
        let reason = GONE.to_owned();
        vec![progressed(Progress::CannotComplete { reason }, now), self.matching(now)]
    }

    pub(super) fn promoted(
        &mut self,
        promotion: u64,
        floor: u32,
        question: u32,
        due: Option<Millis>,
    ) {
        let before = self.promoted.take().and_then(|promoted| promoted.awaited);
        let awaited = due.map(|_| before.unwrap_or(self.due));
        self.question = question;
        if let Some(due) = due {
            self.set_due(due);
        }
        self.promoted = Some(Promoted { promotion, floor, awaited });
    }

    /// What was awaited has come.
    pub(super) fn kept(&mut self) {
        if let Some(due) = self.promoted.as_mut().and_then(|promoted| promoted.awaited.take()) {
            self.set_due(due);
        }
    }

    pub(super) fn reconciled(&self, id: EntityId) -> Vec<Effect> {
        match self.technician.filter(|_| self.stage.phase().is_some()) {
            Some(technician) => {
                vec![self.keep(id, None), self.given(id, technician), self.deadline()]
            }
            None if self.stage == Stage::Matching => vec![self.ask_desk(id)],
            // What it asked before may reach the desk only now.
            None => vec![self.tell_desk(id, desk::Command::Done { ticket: id })],
        }
    }

    /// Says to its technician that it counts on it.
    pub(super) fn keep(&self, id: EntityId, answers: Option<u32>) -> Effect {
        let command = technician::Command::Keep {
            alert: self.alert(id, 0),
            phase: self.stage.phase().unwrap_or(Phase::Reserved),
            answers,
        };
        let to = self.technician.unwrap_or(id);
        Effect::Tell { to, command: AnyCommand::Technician(command) }
    }

    /// What was awaited has come. The desk may have answered a question that is lost, or not heard of the answer.
    pub(super) fn kept_told(&self, id: EntityId, answers: u32) -> Vec<Effect> {
        let technician = self.technician.unwrap_or(id);
        vec![self.keep(id, Some(answers)), self.given(id, technician), self.deadline()]
    }

    pub(super) fn given(&self, id: EntityId, technician: EntityId) -> Effect {
        let question = self.question;
        let place = self.body.as_ref().map(|body| body.location);
        self.tell_desk(id, desk::Command::Given { ticket: id, technician, question, place })
    }
}
