//! Messages about a held ticket: those for the technician's device, and those that it sends.
//!
//! **Invariants:** a message is for whoever holds the ticket by the offer it names; the same number is
//! sent to the device once while the ticket is held. **Not here:** what the ticket keeps of them
//! (`ticket`).

use super::{Event, Technician};
use crate::{
    EntityId,
    message::{NoteBody, OfferId},
};

/// Numbers that are known of a held ticket: more than it hands over to whoever accepts.
const NOTED_MAX: usize = 32;

impl Technician {
    pub(super) fn note(&self, offer: OfferId, body: &NoteBody) -> Vec<Event> {
        let held = self.holdings.get(&body.ticket).filter(|held| held.offer == offer);
        let is_news = held.is_some_and(|held| {
            held.noted.as_ref().is_none_or(|noted| !noted.contains(&body.number))
        });
        if is_news { vec![Event::Noted(body.clone())] } else { vec![] }
    }

    pub(super) fn noted(&mut self, body: &NoteBody) {
        let Some(held) = self.holdings.get_mut(&body.ticket) else { return };
        let noted = held.noted.get_or_insert_default();
        if noted.len() >= NOTED_MAX {
            noted.pop_first();
        }
        noted.insert(body.number);
    }

    pub(super) fn wrote(&mut self, ticket: EntityId, message_id: [u8; 16]) {
        if let Some(held) = self.holdings.get_mut(&ticket) {
            held.answered_by = Some(message_id);
        }
    }
}
