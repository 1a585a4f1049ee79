//! An attachment of a ticket: an object that is too large for a message, in pieces.
//!
//! Whoever attaches it seals each piece under a key of the object's own and sends the key in a message
//! ([`crate::message::Enclosure`]); here are only sealed pieces. A ticket has room for a number of them, and each
//! number is one entity in the ticket's slot, so that nobody can fill a shard with what no ticket knows of.
//!
//! A piece is in an event of its own; the state only counts.
//!
//! **Invariants:** pieces come in order and none changes; what another upload has begun is not gone on with, and
//! is begun anew only where it was given up.
//! **Not here:** who may attach to a ticket and read it (`node`), sealing (`fieldmesh_pki::object`).

use minicbor::{
    Decode, Encode,
    bytes::{ByteArray, ByteVec},
};

use crate::{
    Aggregate, Ctx, Effect, EntityId, EntityKind, Rejection, RejectionCode, TimerName,
    customer::NAME_BYTES_MAX, time::Millis,
};

/// Attachments of a ticket: photographs from before and after, a plan, a form.
pub const ATTACHMENTS_MAX: u8 = 16;
/// Bytes of a sealed piece: with what surrounds it, far below what a log entry holds.
pub const PIECE_BYTES_MAX: usize = (32 << 10) + 16;
/// Pieces of an attachment: eight mebibytes, a photograph as a telephone takes it.
pub const PIECES_MAX: u16 = 256;
/// Whoever has brought no piece for an hour leaves the number to others.
const GIVEN_UP_S: u64 = 3600;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    #[n(0)]
    Store {
        /// Whoever uploads, by name or identifier.
        #[n(0)]
        by: String,
        /// Tells this upload from others under the same number.
        #[cbor(n(1), with = "minicbor::bytes")]
        upload: [u8; 16],
        #[n(2)]
        index: u16,
        #[n(3)]
        of: u16,
        #[n(4)]
        piece: ByteVec,
        /// The ticket's: erasing it erases what was attached.
        #[n(5)]
        customer: EntityId,
    },
    #[n(1)]
    Timer {
        #[n(0)]
        name: TimerName,
        #[n(1)]
        generation: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    /// The next piece; who began the upload and how long it is are in each, so that each is one event.
    #[n(0)]
    Stored {
        #[n(0)]
        by: String,
        #[n(1)]
        upload: ByteArray<16>,
        #[n(2)]
        of: u16,
        #[n(3)]
        piece: ByteVec,
        #[n(4)]
        at: Millis,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Attachment {
    #[n(0)]
    pub by: String,
    #[n(1)]
    pub upload: Option<ByteArray<16>>,
    /// Pieces in all.
    #[n(2)]
    pub of: u16,
    /// Those that are here.
    #[n(3)]
    pub count: u16,
    /// Bytes of those.
    #[n(4)]
    pub bytes: u32,
    /// Events before the first of them: those of uploads that were given up.
    #[n(5)]
    pub before: u64,
    /// When the last one came.
    #[n(6)]
    pub at: Millis,
}

impl Attachment {
    /// The version of the event that has a piece.
    pub fn version_of(&self, index: u16) -> Option<u64> {
        (index < self.count).then(|| self.before.saturating_add(u64::from(index)))
    }

    pub fn is_complete(&self) -> bool {
        self.count > 0 && self.count == self.of
    }

    fn store(
        &self,
        by: &str,
        upload: [u8; 16],
        (index, of): (u16, u16),
        piece: &ByteVec,
        now: Millis,
    ) -> Result<Vec<Event>, Rejection> {
        let invalid = |text: &'static str| Rejection::new(RejectionCode::Invalid, text);
        if by.is_empty() || by.len() > NAME_BYTES_MAX {
            return invalid("a name has 1 to 256 bytes");
        }
        if piece.is_empty() || piece.len() > PIECE_BYTES_MAX {
            return invalid("a sealed piece has 1 to 32784 bytes");
        }
        if !(1..=PIECES_MAX).contains(&of) || index >= of {
            return invalid("an attachment has 1 to 256 pieces, counted from 0");
        }
        let is_own = |own: ByteArray<16>| *own == upload && self.by == by && self.of == of;
        let is_other = self.upload.is_some_and(|own| !is_own(own));
        let is_given_up = !self.is_complete() && now > self.at.after_s(GIVEN_UP_S);
        if is_other && !is_given_up {
            let text = "another attachment has this number: take the next one";
            return Rejection::new(RejectionCode::Exists, text);
        }
        let count = if is_other { 0 } else { self.count };
        if index < count {
            return Ok(vec![]);
        }
        if index > count {
            return Rejection::new(RejectionCode::NotNow, "a piece before this one is missing");
        }
        let (by, upload, piece) = (by.to_owned(), upload.into(), piece.clone());
        Ok(vec![Event::Stored { by, upload, of, piece, at: now }])
    }
}

impl Aggregate for Attachment {
    type Command = Command;
    type Event = Event;
    const KIND: EntityKind = EntityKind::Attachment;

    fn decide(&self, command: &Command, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Store { by, upload, index, of, piece, .. } => {
                self.store(by, *upload, (*index, *of), piece, ctx.now)
            }
            Command::Timer { .. } => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        let Event::Stored { by, upload, of, piece, at } = event;
        if self.upload != Some(*upload) {
            self.before = self.before.saturating_add(u64::from(self.count));
            (self.count, self.bytes) = (0, 0);
        }
        self.by.clone_from(by);
        (self.upload, self.of, self.at) = (Some(*upload), *of, *at);
        self.count = self.count.saturating_add(1);
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        self.bytes = self.bytes.saturating_add(length);
    }

    fn react(&self, _: &Event, _: EntityId) -> Vec<Effect> {
        vec![]
    }
}
