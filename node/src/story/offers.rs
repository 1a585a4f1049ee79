//! How far each offer of a ticket came, and each confirmation to its customer.
//!
//! What was written down with the ticket is told from its history: made, delivered, seen, answered, ended.
//! Whether an alert was sent is known to whoever leads the technician's shard alone, and only while it waits;
//! whether a confirmation was acknowledged, by its row in the customer's mailbox. **Invariants:** a state is
//! only told where something says so; an offer ends once. **Not here:** asking who knows (`web::delivery`).

use fieldmesh_domain::{
    Aggregate, Effect, EntityId, MessageKind,
    message::{ConfirmationBody, OfferId},
    ticket::{Event, Invited, Reach, RefusalReason, Stage, Ticket},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::service::MESSAGE_LIFE_S;

/// How far an alert has come. Each stands above those before it: who has answered has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// The offer is made. Its alert waits for the technician's device, or nothing is known of it.
    Queued,
    /// The alert was handed to the connection of the technician's device, which has not acknowledged it.
    Sent,
    /// The device has acknowledged it.
    Delivered,
    /// The device says, and has signed, that a person looked at it.
    Seen,
    /// The technician has accepted or declined.
    Answered,
}

impl DeliveryState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Seen => "seen",
            Self::Answered => "answered",
        }
    }
}

/// An offer to a technician.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OfferStory {
    pub technician: String,
    /// The number of the offer; those that are made at once have the same one.
    pub epoch: u32,
    /// Tells those apart, from 0.
    pub position: u32,
    /// Unix milliseconds, as all times here.
    pub made_ms: u64,
    /// An answer counts until then.
    pub until_ms: u64,
    pub state: DeliveryState,
    /// Since when it is in this state.
    pub since_ms: u64,
    /// Why it is not open any more: `accepted`, `declined`, `expired`, `withdrawn`, or why the technician could
    /// not be asked: `busy`, `off_shift`, `no_device`, `late`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
}

impl OfferStory {
    /// Its alert may wait for its device.
    pub(crate) fn waits(&self) -> bool {
        self.state == DeliveryState::Queued && self.ended.is_none()
    }

    /// What is said of an offer that waits for its device.
    pub(crate) fn was_sent(&mut self, at_ms: u64) {
        if self.waits() {
            self.state = DeliveryState::Sent;
            self.since_ms = at_ms.max(self.made_ms);
        }
    }
}

/// A confirmation to the customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfirmationStory {
    /// 2: somebody comes; 3: that changed; 4: the work is done.
    pub number: u8,
    /// When it was written down, Unix milliseconds.
    pub made_ms: u64,
    /// `queued` until the customer's device has acknowledged it, then `delivered`; none where nobody knows any
    /// more: a message is given up after a week.
    pub state: Option<DeliveryState>,
    /// What it says, to find it in the mailbox.
    #[serde(skip)]
    body: Vec<u8>,
}

impl ConfirmationStory {
    /// It is in the mailbox no more.
    pub(crate) fn left_mailbox(&mut self, now_ms: u64) {
        if self.state.is_none() && now_ms < self.made_ms.saturating_add(MESSAGE_LIFE_S * 1000) {
            self.state = Some(DeliveryState::Delivered);
        }
    }
}

/// What a ticket's history says of both, event by event.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    pub(super) offers: Vec<OfferStory>,
    pub(super) confirmations: Vec<ConfirmationStory>,
}

fn refusal(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::Declined => "declined",
        RefusalReason::Busy => "busy",
        RefusalReason::OffShift => "off_shift",
        RefusalReason::NoDevice => "no_device",
        RefusalReason::Late => "late",
    }
}

impl Deliveries {
    /// `ticket` is as it is after the event, `had` is whom it was with before.
    pub(super) fn take(
        &mut self,
        id: EntityId,
        (ticket, had): (&Ticket, Option<EntityId>),
        event: &Event,
        at_ms: u64,
    ) {
        self.confirmed(id, ticket, event, at_ms);
        match event {
            Event::Offered { technician, epoch, due, .. }
            | Event::Assigned { technician, epoch, due } => {
                self.made(*technician, OfferId { epoch: *epoch, seq: 0 }, (at_ms, due.0));
            }
            Event::AlsoOffered { invited } => {
                for Invited { technician, seq, .. } in invited {
                    let offer = OfferId { epoch: ticket.epoch, seq: *seq };
                    self.made(*technician, offer, (at_ms, ticket.due.0));
                }
            }
            Event::AlertReached { technician, offer, reach } => {
                let state = match reach {
                    Reach::Delivered => DeliveryState::Delivered,
                    Reach::Seen => DeliveryState::Seen,
                };
                self.reached(*technician, Some(*offer), state, at_ms);
            }
            Event::OfferRefused { technician, reason } => {
                if *reason == RefusalReason::Declined {
                    self.reached(*technician, None, DeliveryState::Answered, at_ms);
                }
                self.end(*technician, refusal(*reason), at_ms);
            }
            Event::Accepted { technician, .. } => {
                self.reached(*technician, None, DeliveryState::Answered, at_ms);
                self.end(*technician, "accepted", at_ms);
            }
            Event::OfferExpired => {
                if let Some(technician) = had {
                    self.end(technician, "expired", at_ms);
                }
            }
            Event::OthersReleased { invited, were_asked, .. } => {
                let how = if *were_asked { "expired" } else { "withdrawn" };
                invited.iter().for_each(|one| self.end(one.technician, how, at_ms));
            }
            Event::TakenBack { technician, .. } => self.end(*technician, "withdrawn", at_ms),
            // Whatever it was: nobody is asked any more.
            _ if ticket.stage != Stage::Offered => {
                let open = self.offers.iter().filter(|offer| offer.ended.is_none());
                let open: Vec<String> = open.map(|offer| offer.technician.clone()).collect();
                open.iter().for_each(|technician| self.ended(technician, "withdrawn", at_ms));
            }
            _ => {}
        }
    }

    fn confirmed(&mut self, id: EntityId, ticket: &Ticket, event: &Event, made_ms: u64) {
        for effect in ticket.react(event, id) {
            let Effect::Message { kind: MessageKind::Confirmation, body, .. } = effect else {
                continue;
            };
            if let Ok(ConfirmationBody { number, .. }) = minicbor::decode(&body) {
                self.confirmations.push(ConfirmationStory { number, made_ms, state: None, body });
            }
        }
    }

    fn made(&mut self, technician: EntityId, offer: OfferId, (made_ms, until_ms): (u64, u64)) {
        self.offers.push(OfferStory {
            technician: technician.to_string(),
            epoch: offer.epoch,
            position: offer.seq,
            made_ms,
            until_ms,
            state: DeliveryState::Queued,
            since_ms: made_ms,
            ended: None,
            ended_ms: None,
        });
    }

    /// The last open offer of a technician, by its number where that is told.
    fn open(&mut self, technician: &str, offer: Option<OfferId>) -> Option<&mut OfferStory> {
        self.offers.iter_mut().rev().find(|one| {
            let is_it = |offer: OfferId| (offer.epoch, offer.seq) == (one.epoch, one.position);
            one.technician == technician && one.ended.is_none() && offer.is_none_or(is_it)
        })
    }

    fn reached(&mut self, who: EntityId, offer: Option<OfferId>, state: DeliveryState, at_ms: u64) {
        if let Some(one) = self.open(&who.to_string(), offer).filter(|one| one.state < state) {
            one.state = state;
            one.since_ms = at_ms;
        }
    }

    fn end(&mut self, technician: EntityId, how: &str, at_ms: u64) {
        self.ended(&technician.to_string(), how, at_ms);
    }

    fn ended(&mut self, technician: &str, how: &str, at_ms: u64) {
        if let Some(one) = self.open(technician, None) {
            one.ended = Some(how.to_owned());
            one.ended_ms = Some(at_ms);
        }
    }
}

/// Those that say what is in the customer's mailbox wait for its device: the last ones, where the same was said
/// before.
pub(crate) fn mark_waiting(confirmations: &mut [ConfirmationStory], waiting: &[Vec<u8>]) {
    for body in waiting.iter().rev() {
        let mut latest = confirmations.iter_mut().rev();
        if let Some(one) = latest.find(|one| one.state.is_none() && one.body == *body) {
            one.state = Some(DeliveryState::Queued);
        }
    }
}

#[cfg(test)]
mod tests;
