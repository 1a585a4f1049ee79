//! What people write to each other about a ticket, and how it reaches them.
//!
//! A message for the technician goes to whoever has accepted, and is kept for whoever accepts next:
//! the one who comes knows what was said. A change of the ticket is told as a message too, but is not
//! kept, because the next alert has it.
//!
//! **Invariants:** numbers rise by one within a ticket; the ticket keeps the last 16 messages; a
//! message with the id of one that is kept is that message. **Not here:** who may order what
//! (`orders`), what the technician's device was shown already (`technician`).

use minicbor::{Decode, Encode};

use super::{Event, Invited, Ticket};
use crate::{
    Command as AnyCommand, Effect, EntityId, MessageKind, Rejection, RejectionCode, encoded,
    message::{Change, Enclosure, NoteBody, NoteFrom, check_message},
    technician,
};

/// Messages that a ticket keeps: what a person reads before it sets out.
const NOTES_MAX: usize = 16;

/// Whom a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Reader {
    #[n(0)]
    Customer,
    #[n(1)]
    Technician,
    #[n(2)]
    Both,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Note {
    #[n(0)]
    pub number: u32,
    #[n(1)]
    pub from: NoteFrom,
    #[n(2)]
    pub to: Reader,
    /// Of the device's message or the operator's request that brought it.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub id: [u8; 16],
    #[n(4)]
    pub text: String,
    #[n(5)]
    pub enclosure: Option<Enclosure>,
}

/// What somebody writes.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    /// Of the message or request that brought it.
    pub(super) id: [u8; 16],
    pub(super) text: &'a str,
    pub(super) enclosure: Option<&'a Enclosure>,
}

impl Said<'_> {
    /// # Errors
    /// The first value that is out of range.
    pub(super) fn check(&self) -> Result<(), Rejection> {
        check_message(self.text, self.enclosure)
    }
}

/// What a ticket keeps of its messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Notes {
    /// The last number.
    #[n(0)]
    pub count: u32,
    /// Oldest first.
    #[n(1)]
    pub last: Vec<Note>,
}

impl Ticket {
    /// Somebody writes.
    ///
    /// # Errors
    /// The ticket has ended: nobody would read it.
    pub(super) fn note(
        &self,
        from: NoteFrom,
        to: Reader,
        said: Said<'_>,
    ) -> Result<Vec<Event>, Rejection> {
        let Said { id, text, enclosure } = said;
        let notes = self.notes.as_ref();
        if notes.is_some_and(|notes| notes.last.iter().any(|note| note.id == id)) {
            return Ok(vec![]);
        }
        if self.stage.is_final() {
            return Rejection::new(
                RejectionCode::NotNow,
                "the ticket has ended and nobody reads its messages: reopen it first",
            );
        }
        let number = notes.map_or(0, |notes| notes.count).wrapping_add(1);
        let (text, enclosure) = (text.to_owned(), enclosure.cloned());
        Ok(vec![Event::Noted(Note { number, from, to, id, text, enclosure })])
    }

    pub(super) fn noted(&mut self, note: &Note) {
        let notes = self.notes.get_or_insert_default();
        notes.count = note.number;
        if notes.last.len() >= NOTES_MAX {
            notes.last.remove(0);
        }
        notes.last.push(note.clone());
    }

    /// A change is told under a number of its own.
    pub(super) fn count_note(&mut self) {
        let notes = self.notes.get_or_insert_default();
        notes.count = notes.count.wrapping_add(1);
    }

    /// What follows from a message.
    pub(super) fn forward(&self, id: EntityId, note: &Note) -> Vec<Effect> {
        let body = body(id, note);
        let to_technician = note.to != Reader::Customer && self.stage.is_promised();
        let mut effects = Vec::new();
        if note.to != Reader::Technician {
            effects.extend(self.write_customer(&body));
        }
        if to_technician {
            effects.extend(self.write_technician(body));
        }
        effects
    }

    /// Whoever has just accepted reads what was written before.
    pub(super) fn hand_over(&self, id: EntityId) -> Vec<Effect> {
        let kept = self.notes.iter().flat_map(|notes| &notes.last);
        kept.filter(|note| note.to != Reader::Customer)
            .filter_map(|note| self.write_technician(body(id, note)))
            .collect()
    }

    /// What a change of the ticket is told as.
    pub(super) fn change(&self, id: EntityId, from: NoteFrom, change: Change) -> NoteBody {
        let number = self.notes.as_ref().map_or(0, |notes| notes.count);
        NoteBody {
            ticket: id,
            from,
            number,
            text: String::new(),
            change: Some(change),
            enclosure: None,
        }
    }

    pub(super) fn write_customer(&self, body: &NoteBody) -> Option<Effect> {
        let (kind, correlation) = (MessageKind::Note, self.message_id);
        let body = encoded(body);
        self.customer.map(|to| Effect::Message { to, kind, correlation, body })
    }

    /// One of those who are asked beside the technician.
    pub(super) fn write_invited(&self, invited: &Invited, body: NoteBody) -> Effect {
        let command = technician::Command::Note { offer: self.offer_of(invited), body };
        Effect::Tell { to: invited.technician, command: AnyCommand::Technician(command) }
    }

    pub(super) fn write_technician(&self, body: NoteBody) -> Option<Effect> {
        let to = self.technician.filter(|_| self.stage.phase().is_some())?;
        let command = technician::Command::Note { offer: self.offer(), body };
        Some(Effect::Tell { to, command: AnyCommand::Technician(command) })
    }
}

fn body(ticket: EntityId, note: &Note) -> NoteBody {
    let Note { number, from, text, enclosure, .. } = note.clone();
    NoteBody { ticket, from, number, text, change: None, enclosure }
}
