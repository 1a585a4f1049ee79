//! What goes into a session and comes out of it.

use fieldmesh_domain::message::{AlertBody, ConfirmationBody, NoteBody, ReceiptBody};
use fieldmesh_envelope::SignError;
use tokio::time::Instant;

use crate::outbox::OutboxError;

/// What the owner of a device learns.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Connected,
    /// A connection ended, or an attempt at one.
    Disconnected {
        reason: String,
    },
    /// The service will not have this device as it is now: trying again changes nothing before
    /// somebody does something about it.
    Refused {
        reason: &'static str,
    },
    /// The service has, or refuses, the message with this id.
    Receipt {
        message_id: [u8; 16],
        body: ReceiptBody,
    },
    /// For a technician: work is offered.
    Alert {
        message_id: [u8; 16],
        /// Its place in what the service tells the device.
        sequence: u64,
        body: AlertBody,
    },
    Confirmation {
        message_id: [u8; 16],
        request: Option<[u8; 16]>,
        sequence: u64,
        body: ConfirmationBody,
    },
    /// Somebody wrote about a ticket, or changed it. Numbers rise within a ticket; what has one that was
    /// shown is the same again.
    Note {
        message_id: [u8; 16],
        body: NoteBody,
    },
    /// The message was not received in time and is given up.
    Expired {
        message_id: [u8; 16],
    },
    /// A step of the claim was done; for people who watch.
    Step {
        step: Step,
        message_id: [u8; 16],
        /// When it was done.
        at: Instant,
        took_us: u64,
    },
}

impl Event {
    /// A step that began then and is done now.
    pub(crate) fn step(step: Step, message_id: [u8; 16], began: Instant) -> Self {
        let at = Instant::now();
        let took_us = u64::try_from((at - began).as_micros()).unwrap_or(u64::MAX);
        Self::Step { step, message_id, at, took_us }
    }
}

/// What an owner says: a customer makes requests and acts on its tickets, a technician responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Request,
    Act,
    Response,
}

/// What a device does for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Composed,
    Signed,
    Sealed,
    /// Handed to the network.
    Sent,
    Opened,
}

/// Why a message was not composed.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    #[error("the message cannot be signed")]
    Sign(#[from] SignError),
    #[error("the message cannot be kept")]
    Outbox(#[from] OutboxError),
}

/// A frame to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    pub message_id: [u8; 16],
    pub bytes: Vec<u8>,
}

/// What came of a received frame.
#[derive(Debug, Default)]
pub struct Received {
    /// To acknowledge.
    pub acknowledge: Vec<[u8; 16]>,
    pub events: Vec<Event>,
}
