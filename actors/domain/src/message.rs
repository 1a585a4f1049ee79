//! The bodies of sealed messages, as devices and the service exchange them.
//!
//! CBOR with numbered fields that only grow. **Invariant:** bounds are checked by
//! [`RequestBody::check`], [`ResponseBody::check`] and [`CustomerActBody::check`] before anything else
//! looks at the content. **Not here:** sealing, and who gets which message when (`ticket`).

use core::fmt;

use minicbor::{Decode, Encode};

use crate::{
    attachment::{ATTACHMENTS_MAX, PIECE_BYTES_MAX, PIECES_MAX},
    ids::EntityId,
    rejection::{Rejection, RejectionCode},
    time::Millis,
};

/// Bytes of free text in a message: a screenful, and small enough for one padded envelope.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Bytes of a message between people: a ticket keeps the last ones.
pub const NOTE_BYTES_MAX: usize = 1024;
/// The latest arrival that a technician says anew: later than in a week is another appointment.
pub const ETA_MIN_MAX: u16 = 7 * 24 * 60;
/// Lowest priority.
pub const PRIORITY_MAX: u8 = 5;

/// A point on the earth in millionths of a degree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Location {
    #[n(0)]
    pub lat_e6: i32,
    #[n(1)]
    pub lon_e6: i32,
}

impl Location {
    /// Whether there is such a place; a distance to one that is none may overflow.
    pub fn is_on_earth(self) -> bool {
        self.lat_e6.unsigned_abs() <= 90_000_000 && self.lon_e6.unsigned_abs() <= 180_000_000
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", Degrees(self.lat_e6), Degrees(self.lon_e6))
    }
}

/// Millionths of a degree, as people write degrees.
#[derive(Debug, Clone, Copy)]
pub struct Degrees(pub i32);

impl fmt::Display for Degrees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, e6) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let text = format!("{sign}{}.{:06}", e6 / 1_000_000, e6 % 1_000_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
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
        check_location(self.location)?;
        check_text(&self.text)
    }
}

fn check_location(location: Location) -> Result<(), Rejection> {
    if location.is_on_earth() {
        Ok(())
    } else {
        Rejection::new(RejectionCode::Invalid, "the location is not on earth")
    }
}

pub(crate) fn check_text(text: &str) -> Result<(), Rejection> {
    if text.len() > TEXT_BYTES_MAX {
        Rejection::new(RejectionCode::Invalid, "the text has more than 4096 bytes")
    } else {
        Ok(())
    }
}

/// What comes with a message: where it is, and what opens it. It is as secret as the message.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Enclosure {
    /// Among the ticket's attachments.
    #[n(0)]
    pub number: u8,
    /// As its file is called.
    #[n(1)]
    pub name: String,
    /// Bytes once it is opened.
    #[n(2)]
    pub bytes: u32,
    /// SHA-256 of those.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub digest: [u8; 32],
    /// Each piece is sealed under it.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub key: [u8; 32],
}

/// Bytes of an enclosure's name.
pub const FILE_NAME_BYTES_MAX: usize = 128;

impl fmt::Debug for Enclosure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, name, bytes, .. } = self;
        write!(f, "Enclosure({number}, {name:?}, {bytes} bytes)")
    }
}

impl Enclosure {
    /// Bytes that the pieces of one attachment open to.
    pub const BYTES_MAX: u32 = (PIECE_BYTES_MAX as u32 - 16) * PIECES_MAX as u32;

    /// # Errors
    /// The first value that is out of range.
    pub fn check(&self) -> Result<(), Rejection> {
        let Self { number, name, bytes, .. } = self;
        let is_name = (1..=FILE_NAME_BYTES_MAX).contains(&name.len())
            && !name.contains(|c: char| c.is_control() || matches!(c, '/' | '\\'))
            && !name.starts_with('.');
        let text = if *number >= ATTACHMENTS_MAX {
            "a ticket has the attachments 0 to 15"
        } else if !is_name {
            "the name of an attachment has 1 to 128 bytes, no slash and no dot at its beginning"
        } else if !(1..=Self::BYTES_MAX).contains(bytes) {
            "an attachment has 1 byte to 8 MiB"
        } else {
            return Ok(());
        };
        Rejection::new(RejectionCode::Invalid, text)
    }
}

/// A message that has something with it may be without words.
pub(crate) fn check_message(text: &str, enclosure: Option<&Enclosure>) -> Result<(), Rejection> {
    match enclosure {
        Some(enclosure) if text.is_empty() => enclosure.check(),
        Some(enclosure) => enclosure.check().and_then(|()| check_note(text)),
        None => check_note(text),
    }
}

pub(crate) fn check_eta(eta_min: u16) -> Result<(), Rejection> {
    if (1..=ETA_MIN_MAX).contains(&eta_min) {
        Ok(())
    } else {
        Rejection::new(RejectionCode::Invalid, "a new arrival is in 1 minute to 7 days")
    }
}

pub(crate) fn check_note(text: &str) -> Result<(), Rejection> {
    if (1..=NOTE_BYTES_MAX).contains(&text.len()) {
        Ok(())
    } else {
        Rejection::new(RejectionCode::Invalid, "a message has 1 to 1024 bytes")
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
    /// The work stands still; said again, it replaces what was said.
    #[n(6)]
    Pause(#[n(0)] Pause),
    #[n(7)]
    Resume,
    /// For the customer.
    #[n(8)]
    Message {
        #[n(0)]
        text: String,
        #[n(1)]
        enclosure: Option<Enclosure>,
    },
    /// A person has looked at the alert, and has not answered yet.
    #[n(9)]
    Seen,
    /// It comes at another time than it said, from when this is said.
    #[n(10)]
    Eta {
        #[n(0)]
        eta_min: u16,
    },
}

/// What work waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum PauseReason {
    #[n(0)]
    Parts,
    #[n(1)]
    Customer,
    #[n(2)]
    Safety,
    #[n(3)]
    Other,
}

impl PauseReason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Parts => "parts",
            Self::Customer => "customer",
            Self::Safety => "safety",
            Self::Other => "other",
        }
    }
}

/// Why work stands still, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Pause {
    #[n(0)]
    pub reason: PauseReason,
    #[n(1)]
    pub text: String,
    /// From when it is said; the clock of a device may be wrong.
    #[n(2)]
    pub minutes: u16,
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
    /// Free text that is too long, a message that is empty, a pause of no length, or an arrival that is not to
    /// come or not within a week.
    pub fn check(&self) -> Result<(), Rejection> {
        match &self.answer {
            Answer::Decline { reason: text }
            | Answer::Completed { note: text }
            | Answer::CannotComplete { reason: text } => check_text(text),
            Answer::Pause(Pause { minutes: 0, .. }) => {
                Rejection::new(RejectionCode::Invalid, "a pause has at least a minute")
            }
            Answer::Pause(Pause { text, .. }) => check_text(text),
            Answer::Message { text, enclosure } => check_message(text, enclosure.as_ref()),
            Answer::Eta { eta_min } => check_eta(*eta_min),
            Answer::Accept { eta_min } if *eta_min > ETA_MIN_MAX => {
                Rejection::new(RejectionCode::Invalid, "who accepts comes within 7 days")
            }
            Answer::Accept { .. }
            | Answer::EnRoute
            | Answer::OnSite
            | Answer::Resume
            | Answer::Seen => Ok(()),
        }
    }
}

/// What of a request is to be otherwise; what is none stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Amendment {
    #[n(0)]
    pub text: Option<String>,
    /// 1 is the highest, 5 the lowest.
    #[n(1)]
    pub priority: Option<u8>,
    #[n(2)]
    pub location: Option<Location>,
}

impl Amendment {
    /// # Errors
    /// The first value that is out of range.
    pub fn check(&self) -> Result<(), Rejection> {
        if self.priority.is_some_and(|priority| !(1..=PRIORITY_MAX).contains(&priority)) {
            return Rejection::new(RejectionCode::Invalid, "a priority is 1 to 5");
        }
        self.location.map_or(Ok(()), check_location)?;
        self.text.as_deref().map_or(Ok(()), check_text)
    }
}

/// What a customer may do with a ticket by its device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Act {
    #[n(0)]
    Cancel {
        #[n(0)]
        reason: String,
    },
    /// The work is done.
    #[n(1)]
    Confirm,
    /// The work is not done, although the technician says so.
    #[n(2)]
    Object {
        #[n(0)]
        reason: String,
    },
    #[n(3)]
    Amend {
        #[n(0)]
        text: Option<String>,
        #[n(1)]
        location: Option<Location>,
    },
    /// For the technician.
    #[n(4)]
    Message {
        #[n(0)]
        text: String,
        #[n(1)]
        enclosure: Option<Enclosure>,
    },
    #[n(5)]
    Reopen {
        #[n(0)]
        reason: String,
    },
}

/// What a customer does with one of its tickets.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CustomerActBody {
    #[n(0)]
    pub ticket: EntityId,
    #[n(1)]
    pub act: Act,
}

impl CustomerActBody {
    /// # Errors
    /// The first value that is out of range.
    pub fn check(&self) -> Result<(), Rejection> {
        match &self.act {
            Act::Cancel { reason } | Act::Object { reason } | Act::Reopen { reason } => {
                check_text(reason)
            }
            Act::Amend { text, location } => {
                Amendment { text: text.clone(), priority: None, location: *location }.check()
            }
            Act::Message { text, enclosure } => check_message(text, enclosure.as_ref()),
            Act::Confirm => Ok(()),
        }
    }
}

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum NoteFrom {
    #[n(0)]
    Customer,
    #[n(1)]
    Technician,
    #[n(2)]
    Operator(#[n(0)] String),
}

/// What is otherwise since the last message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Change {
    #[n(0)]
    Amended(#[n(0)] Amendment),
    /// Nobody comes before that.
    #[n(1)]
    Held {
        #[n(0)]
        until: Millis,
    },
    #[n(2)]
    Cancelled,
}

/// A message about a ticket between customer, technician and operators.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NoteBody {
    #[n(0)]
    pub ticket: EntityId,
    #[n(1)]
    pub from: NoteFrom,
    /// Rises within the ticket; the same number again is the same message.
    #[n(2)]
    pub number: u32,
    #[n(3)]
    pub text: String,
    #[n(4)]
    pub change: Option<Change>,
    #[n(5)]
    pub enclosure: Option<Enclosure>,
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
