//! The bodies of sealed messages, as devices and the service exchange them.
//!
//! CBOR with numbered fields that only grow. **Invariant:** bounds are checked by
//! [`RequestBody::check`] before anything else looks at the content.

use minicbor::{Decode, Encode};

use crate::{
    ids::EntityId,
    rejection::{Rejection, RejectionCode},
    time::Millis,
};

/// Bytes of free text in a message: a screenful, and small enough for one padded envelope.
pub const TEXT_BYTES_MAX: usize = 4096;

/// A point on the earth in millionths of a degree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Location {
    #[n(0)]
    pub lat_e6: i32,
    #[n(1)]
    pub lon_e6: i32,
}

impl Location {
    pub(crate) fn is_on_earth(self) -> bool {
        self.lat_e6.unsigned_abs() <= 90_000_000 && self.lon_e6.unsigned_abs() <= 180_000_000
    }
}

/// What a customer asks for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RequestBody {
    #[n(0)]
    pub category: u16,
    #[n(1)]
    pub subcategory: u16,
    /// 1 is the highest, 3 the lowest.
    #[n(2)]
    pub impact: u8,
    /// 1 is the highest, 3 the lowest.
    #[n(3)]
    pub urgency: u8,
    #[n(4)]
    pub location: Location,
    #[n(5)]
    pub text: String,
}

impl RequestBody {
    /// # Errors
    /// The first value that is out of range.
    pub fn check(&self) -> Result<(), Rejection> {
        if !(1..=3).contains(&self.impact) || !(1..=3).contains(&self.urgency) {
            return Rejection::new(RejectionCode::Invalid, "impact and urgency are 1 to 3");
        }
        if !self.location.is_on_earth() {
            return Rejection::new(RejectionCode::Invalid, "the location is not on earth");
        }
        if self.text.len() > TEXT_BYTES_MAX {
            return Rejection::new(RejectionCode::Invalid, "the text has more than 4096 bytes");
        }
        Ok(())
    }
}

/// What became of a device's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ReceiptStatus {
    /// It is committed.
    #[n(0)]
    Received,
    /// It does not fit the state of things.
    #[n(1)]
    Invalid,
    #[n(2)]
    Expired,
    /// Its message id or sequence number was used before.
    #[n(3)]
    Replay,
    /// The offer is somebody else's by now.
    #[n(4)]
    NoLongerYours,
}

/// R1: the service's receipt for one message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReceiptBody {
    #[n(0)]
    pub status: ReceiptStatus,
    #[n(1)]
    pub ticket: Option<EntityId>,
    #[n(2)]
    pub reason: String,
}

/// One proposal of a ticket: epochs never repeat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct OfferId {
    /// Grows with every offer of the ticket.
    #[n(0)]
    pub epoch: u32,
    /// Position among the offers of one epoch; 0 while offers go out one at a time.
    #[n(1)]
    pub seq: u32,
}

/// What a technician is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AlertBody {
    #[n(0)]
    pub ticket: EntityId,
    #[n(1)]
    pub offer: OfferId,
    #[n(2)]
    pub category: u16,
    #[n(3)]
    pub subcategory: u16,
    #[n(4)]
    pub priority: u8,
    #[n(5)]
    pub location: Location,
    /// From the technician's home, great circle.
    #[n(6)]
    pub distance_m: u32,
    #[n(7)]
    pub text: String,
    /// An answer counts until then.
    #[n(8)]
    pub expires: Millis,
}

/// A technician's answer and later progress.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    #[n(0)]
    Accept {
        #[n(0)]
        eta_min: u16,
    },
    #[n(1)]
    Decline {
        #[n(0)]
        reason: String,
    },
    #[n(2)]
    EnRoute,
    #[n(3)]
    OnSite,
    #[n(4)]
    Completed {
        #[n(0)]
        note: String,
    },
    #[n(5)]
    CannotComplete {
        #[n(0)]
        reason: String,
    },
}

/// A technician's response.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ResponseBody {
    #[n(0)]
    pub ticket: EntityId,
    #[n(1)]
    pub offer: OfferId,
    #[n(2)]
    pub answer: Answer,
}

impl ResponseBody {
    /// # Errors
    /// Free text that is too long.
    pub fn check(&self) -> Result<(), Rejection> {
        let text = match &self.answer {
            Answer::Decline { reason: text }
            | Answer::Completed { note: text }
            | Answer::CannotComplete { reason: text } => text,
            Answer::Accept { .. } | Answer::EnRoute | Answer::OnSite => return Ok(()),
        };
        if text.len() > TEXT_BYTES_MAX {
            Rejection::new(RejectionCode::Invalid, "the text has more than 4096 bytes")
        } else {
            Ok(())
        }
    }
}

/// R2 dispatched, R3 changed, R4 completed: what a customer is told of a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ConfirmationBody {
    /// 2, 3 or 4.
    #[n(0)]
    pub number: u8,
    #[n(1)]
    pub ticket: EntityId,
    #[n(2)]
    pub technician: Option<EntityId>,
    #[n(3)]
    pub technician_name: String,
    #[n(4)]
    pub eta_min: Option<u16>,
    #[n(5)]
    pub text: String,
}
