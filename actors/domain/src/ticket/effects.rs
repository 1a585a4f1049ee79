//! What follows from what happens to a ticket: whom it tells, which timer runs, what lists show.
//!
//! **Invariants:** whatever moves a ticket to a stage that waits sets its deadline; the technician it is
//! taken from is released by the offer that it had; the desk hears of each end and each assignment that
//! it did not choose. **Not here:** what happens (`ticket`, `orders`), messages between people (`notes`).

use super::{
    Event, Invited, Order, ParentWord, Party, Progress, Stage, Ticket, group::says, reconcile::GONE,
};
use crate::{
    Command as AnyCommand, Effect, EntityId, IndexRow, MessageKind, TimerName, customer, desk,
    encoded,
    message::{AlertBody, Change, ConfirmationBody, OfferId, ReceiptBody, ReceiptStatus},
    mutant::{Mutant, is_planted},
    selection::{Choice, Need},
    technician,
};

/// What the customer reads when its ticket lives again.
const REOPENED: &str = "the ticket is open again";

/// What it reads when its technician is not there when it said.
const ANOTHER_TIME: &str = "the technician comes at another time";

impl Ticket {
    pub(super) fn effects(&self, event: &Event, id: EntityId) -> Vec<Effect> {
        let deadline = self.deadline();
        match event {
            Event::Opened { .. } | Event::OfferRefused { .. } | Event::AlertReached { .. } => {
                vec![]
            }
            Event::ChildJoined { child } => self.storm_begins(id, *child).into_iter().collect(),
            Event::ChildLeft { child } => self.storm_ebbs(id, *child).into_iter().collect(),
            Event::Triaged { triage, .. } => self.triaged_effects(id, triage.as_deref()),
            Event::Compared { .. } => self.notices(id),
            Event::MatchAsked { .. } => vec![self.ask_desk(id), deadline, self.index(id)],
            Event::Offered { technician, choice, .. } => self.chosen(id, *technician, choice),
            Event::Unfilled { .. } => vec![deadline, self.index(id)],
            Event::OfferExpired => self.offer_expired(id),
            Event::Accepted { eta_min, .. } => self.accepted(id, *eta_min),
            Event::LateAcceptRefused { technician, offer } => {
                vec![self.release(id, *technician, *offer)]
            }
            Event::Progressed { progress, .. } => {
                let mut effects = self.progressed(id, progress);
                effects.extend([deadline, self.index(id)]);
                effects
            }
            Event::Overdue { .. } => self.late(id),
            Event::EtaChanged { eta_min, .. } => self.comes_later(id, *eta_min),
            Event::Cancelled => self.cancelled(id),
            Event::Closed => self.end(id),
            Event::Reconciled { .. } => self.reconciled(id),
            Event::Adopted { technician, .. } => vec![self.given(id, *technician), self.index(id)],
            Event::Kept { answers } => self.kept_told(id, *answers),
            Event::Ordered { order, by, .. } => self.ordered_effects(id, order, by),
            Event::Held { .. } => vec![self.done(id), deadline, self.index(id)],
            Event::TakenBack { technician, was_promised, .. } => {
                self.taken_from(id, *technician, *was_promised)
            }
            Event::Assigned { technician, .. } => vec![
                self.reserve(id, *technician, &Choice::default()),
                self.given(id, *technician),
                deadline,
                self.index(id),
            ],
            Event::Reopened => self.lives_again(id),
            Event::Noted(note) => self.forward(id, note),
            Event::OrderRefused { id: message, why } => self.refuse(id, *message, why),
            Event::Grouped { .. } => {
                let told = [self.done(id), deadline, self.index(id)];
                told.into_iter().chain(self.ask_parent(id)).collect()
            }
            Event::ParentAsked { .. } => {
                self.ask_parent(id).into_iter().chain([deadline]).collect()
            }
            Event::ParentLives { .. } => vec![deadline],
            Event::ChildAnswered { child, word } => vec![says(id, *child, *word)],
            Event::TermsSet(_)
            | Event::Escalated { .. }
            | Event::Answered { .. }
            | Event::Rested
            | Event::Clocked { .. }
            | Event::Broken { .. }
            | Event::Silenced(_)
            | Event::SilenceAsked { .. }
            | Event::Rearmed { .. } => self.effects_of_terms(event, id),
            Event::ParentSought { .. } => self.seek_parent(id),
            Event::AlsoOffered { .. } | Event::Switched { .. } | Event::OthersReleased { .. } => {
                self.effects_of_offers(event, id)
            }
        }
    }

    fn accepted(&self, id: EntityId, eta_min: u16) -> Vec<Effect> {
        let mut effects = self.confirm(id, 2, Some(eta_min), String::new());
        if is_planted(Mutant::ConfirmedTwice) {
            effects.extend(self.confirm(id, 2, Some(eta_min), String::new()));
        }
        effects.extend(self.hand_over(id));
        effects.extend([self.deadline(), self.index(id)]);
        effects
    }

    fn late(&self, id: EntityId) -> Vec<Effect> {
        let told = self.told_overdue(id).into_iter();
        told.chain([self.deadline(), self.index(id)]).collect()
    }

    fn comes_later(&self, id: EntityId, eta_min: u16) -> Vec<Effect> {
        let mut effects = self.confirm(id, 3, Some(eta_min), ANOTHER_TIME.to_owned());
        effects.extend([self.deadline(), self.index(id)]);
        effects
    }

    fn cancelled(&self, id: EntityId) -> Vec<Effect> {
        let release = self.technician.map(|technician| self.release(id, technician, self.offer()));
        let told = [self.done(id)].into_iter().chain(release);
        told.chain(self.end(id)).collect()
    }

    /// The technician is read from the end of the list of those asked.
    fn offer_expired(&self, id: EntityId) -> Vec<Effect> {
        let technician = self.asked.last();
        let release = technician.map(|technician| self.release(id, *technician, self.offer()));
        release.into_iter().collect()
    }

    /// Its technician goes, and the customer who was told of it hears that.
    fn taken_from(&self, id: EntityId, technician: EntityId, was_promised: bool) -> Vec<Effect> {
        let mut effects = vec![self.release(id, technician, self.offer())];
        if was_promised {
            effects.extend(self.confirm(id, 3, None, GONE.to_owned()));
        }
        effects
    }

    fn lives_again(&self, id: EntityId) -> Vec<Effect> {
        let mut effects = self.confirm(id, 3, None, REOPENED.to_owned());
        effects.extend(self.tell_customer(customer::Command::TicketReopened { ticket: id }));
        // Its keys are its own again, unless another ticket has them by now.
        effects.extend(self.claim(id, None));
        effects
    }

    fn progressed(&self, id: EntityId, progress: &Progress) -> Vec<Effect> {
        match progress {
            Progress::EnRoute | Progress::OnSite | Progress::Paused(_) | Progress::Resumed => {
                vec![]
            }
            Progress::Completed { note } => {
                let mut effects = self.confirm(id, 4, None, note.clone());
                effects.push(self.done(id));
                // What comes with the same key from now on is another fault.
                effects.extend(self.unclaim(id));
                effects
            }
            Progress::CannotComplete { reason } => self.confirm(id, 3, None, reason.clone()),
        }
    }

    /// What an order leads to beyond the events that follow it: those concerned hear of the change.
    fn ordered_effects(&self, id: EntityId, order: &Order, by: &Party) -> Vec<Effect> {
        let change = match order {
            Order::Hold { until, .. } => Change::Held { until: *until },
            Order::Cancel { .. } => Change::Cancelled,
            Order::Amend(amendment) => Change::Amended(amendment.clone()),
            Order::Reassign { .. }
            | Order::Pin
            | Order::Unpin
            | Order::Reopen { .. }
            | Order::Confirm
            | Order::Object { .. }
            | Order::Acknowledge
            | Order::Escalate
            | Order::Eta { .. }
            | Order::Move { .. }
            | Order::Message { .. } => return vec![],
            Order::Ungroup => return self.leave_parent(id).into_iter().collect(),
            Order::Group { .. } => return self.unclaim_joint(id).into_iter().collect(),
            // Its keys are no longer those of a ticket that is held.
            Order::Resume => return self.claim(id, None).into_iter().collect(),
        };
        let body = self.change(id, by.as_writer(), change);
        let told = by.is_operator().then(|| self.write_customer(&body)).flatten();
        let mut effects = Vec::from_iter(told);
        match order {
            Order::Cancel { .. } => effects.extend(self.leave_parent(id)),
            Order::Hold { until, .. } => effects.extend(self.claim(id, Some(*until))),
            _ => {}
        }
        if let Order::Amend(amendment) = order {
            // The desk reckons from there how far whoever has it is from the next one.
            let place = amendment.location.filter(|_| self.stage.phase().is_some());
            let moved = place.map(|place| desk::Command::Moved { ticket: id, place });
            effects.extend(moved.map(|moved| self.tell_desk(id, moved)));
            let beside = self.others().iter().map(|one| self.write_invited(one, body.clone()));
            effects.extend(beside);
            effects.extend(self.write_technician(body));
            effects.push(self.index(id));
        }
        effects
    }

    /// The customer's device has the receipt of its message already; this one says what came of it. What was asked for
    /// again it may not have sent: that is between its customer and the ticket.
    fn refuse(&self, id: EntityId, message: [u8; 16], why: &str) -> Vec<Effect> {
        if self.is_ended_request(message) {
            return Vec::from_iter(
                self.tell_customer(customer::Command::TicketClosed { ticket: id }),
            );
        }
        let (status, ticket) = (ReceiptStatus::Invalid, Some(id));
        let body = encoded(&ReceiptBody { status, ticket, reason: why.to_owned() });
        let (kind, correlation) = (MessageKind::Receipt, Some(message));
        let refused = |to| Effect::Message { to, kind, correlation, body };
        self.customer.map(refused).into_iter().collect()
    }

    pub(super) fn deadline(&self) -> Effect {
        let (generation, due) = (self.generation, self.due);
        Effect::SetTimer { name: TimerName::Deadline, generation, due }
    }

    pub(super) fn index(&self, id: EntityId) -> Effect {
        let Self { stage, priority, opened_at, technician, counted, .. } = self;
        Effect::Index(IndexRow::Ticket {
            id,
            state: *stage,
            priority: *priority,
            opened_at: *opened_at,
            technician: *technician,
            standing: self.standing(),
            counted: *counted,
        })
    }

    /// The desk need not think of it any more.
    pub(super) fn done(&self, id: EntityId) -> Effect {
        self.tell_desk(id, desk::Command::Done { ticket: id })
    }

    pub(super) fn tell_desk(&self, id: EntityId, command: desk::Command) -> Effect {
        Effect::Tell { to: EntityId::desk(id.region()), command: AnyCommand::Desk(command) }
    }

    /// What it asks the desk for.
    pub fn need(&self) -> Need {
        let body = self.body.as_ref();
        Need {
            category: body.map_or(0, |body| body.category),
            priority: self.priority,
            location: body.map(|body| body.location).unwrap_or_default(),
            asked: self.asked.clone(),
            skills: self.required_skills(),
            wishes: self.wishes.clone(),
            radius_m: self.radius_m(),
            finish_by: self.finish_by(),
            parts: self.required_parts(),
            life_s: self.policys_life_s().and_then(|life_s| u32::try_from(life_s).ok()),
            opened_at: Some(self.opened_at),
        }
    }

    pub(super) fn ask_desk(&self, id: EntityId) -> Effect {
        let (need, question) = (self.need(), self.question);
        self.tell_desk(id, desk::Command::Match { ticket: id, need, question, pace: None })
    }

    fn chosen(&self, id: EntityId, technician: EntityId, choice: &Choice) -> Vec<Effect> {
        let reserved = self.reserve(id, technician, choice);
        let mut effects = vec![reserved, self.deadline(), self.index(id)];
        if is_planted(Mutant::OfferedTwice) {
            let mut others = choice.candidates.iter().map(|one| one.technician);
            let second = others.find(|other| *other != technician);
            effects.extend(second.map(|second| self.reserve(id, second, choice)));
        }
        effects
    }

    fn reserve(&self, id: EntityId, technician: EntityId, choice: &Choice) -> Effect {
        let chosen = choice.candidates.iter().find(|candidate| candidate.technician == technician);
        let alert = self.alert(id, chosen.map_or(0, |candidate| candidate.distance_m));
        Effect::Tell {
            to: technician,
            command: AnyCommand::Technician(technician::Command::Reserve { alert }),
        }
    }

    pub(super) fn invite(&self, id: EntityId, invited: &Invited) -> Effect {
        let alert =
            AlertBody { offer: self.offer_of(invited), ..self.alert(id, invited.distance_m) };
        let command = AnyCommand::Technician(technician::Command::Reserve { alert });
        Effect::Tell { to: invited.technician, command }
    }

    /// What the technician is told of the present offer.
    pub(super) fn alert(&self, id: EntityId, distance_m: u32) -> AlertBody {
        let body = self.body.as_ref();
        AlertBody {
            ticket: id,
            offer: self.offer(),
            category: body.map_or(0, |body| body.category),
            subcategory: body.map_or(0, |body| body.subcategory),
            priority: self.priority,
            location: body.map(|body| body.location).unwrap_or_default(),
            distance_m,
            text: body.map(|body| body.text.clone()).unwrap_or_default(),
            expires: self.due,
        }
    }

    pub(super) fn release(&self, id: EntityId, technician: EntityId, offer: OfferId) -> Effect {
        let command = technician::Command::Release { ticket: id, offer };
        Effect::Tell { to: technician, command: AnyCommand::Technician(command) }
    }

    fn confirm(&self, id: EntityId, number: u8, eta_min: Option<u16>, text: String) -> Vec<Effect> {
        let Some(customer) = self.customer else {
            return vec![];
        };
        let body = ConfirmationBody {
            number,
            ticket: id,
            technician: self.technician,
            technician_name: self.technician_name.clone(),
            eta_min,
            text,
        };
        let kind = MessageKind::Confirmation;
        vec![Effect::Message {
            to: customer,
            kind,
            correlation: self.message_id,
            body: encoded(&body),
        }]
    }

    fn tell_customer(&self, command: customer::Command) -> Option<Effect> {
        let command = AnyCommand::Customer(command);
        self.customer.map(|to| Effect::Tell { to, command })
    }

    fn end(&self, id: EntityId) -> Vec<Effect> {
        let mut effects = vec![Effect::CancelTimer { name: TimerName::Deadline }, self.index(id)];
        effects.extend(self.tell_customer(customer::Command::TicketClosed { ticket: id }));
        let is_done = self.stage == Stage::Closed;
        let word = if is_done { ParentWord::Done } else { ParentWord::Gone };
        // Before its children ask for the next one.
        effects.extend(self.unclaim(id));
        effects.extend(self.tell_children(id, word));
        effects.extend(self.storm_ends(id));
        effects
    }
}
