//! What arrives: opened, verified, noted, then told.
//!
//! **Invariants:** what does not verify leaves no trace and gets no answer; a message is noted before
//! it is told or acknowledged, so that its repetition is known after a restart; what waits for an earlier one
//! is neither.

use fieldmesh_domain::{
    message::ReceiptBody,
    mutant::{Mutant, is_planted},
};
use fieldmesh_envelope::{
    Content, Frame, Message, MessageType, OuterKind, open, outer_algorithm, verify,
};
use tokio::time::Instant;

use super::{Event, Received, Session, Step};
use crate::{outbox::Change, wire};

/// The number of what answers a message of this device on the stream that brought it: mail is numbered from 1.
const UNORDERED: u64 = 0;

/// Whoever says this is the node at the other end: it could as well say nothing, and the messages wait.
fn passed_over(bytes: &[u8]) -> Option<u64> {
    let (frame, header) = Frame::decode(bytes).ok()?;
    if frame.class != wire::PASSED {
        return None;
    }
    minicbor::decode::<wire::Passed>(bytes.get(header..)?).ok().map(|passed| passed.number)
}

impl Session {
    /// A frame from the service: verified, noted, then told.
    pub fn receive(&mut self, bytes: &[u8]) -> Received {
        let began = Instant::now();
        if self.takes_keys(bytes) {
            return Received::default();
        }
        if let Some(passed) = passed_over(bytes) {
            return self.pass_over(passed);
        }
        let Some((frame, message)) = self.open(bytes) else {
            // No acknowledgement and no word: a forger learns nothing.
            tracing::debug!("a frame was dropped");
            return Received::default();
        };
        if self.receipts_only && message.content.kind != MessageType::Receipt {
            return Received::default();
        }
        let (message_id, number) = (frame.message_id, message.content.seq);
        let is_seen = self.outbox.memory().seen.contains_key(&message_id);
        if is_seen && !is_planted(Mutant::DedupOff) {
            let mut received = Received { acknowledge: vec![message_id], events: Vec::new() };
            if number != UNORDERED {
                let behind = self.order.told(number);
                self.tell(behind, &mut received);
            }
            return received;
        }
        let mut received = Received::default();
        received.events.push(Event::step(Step::Opened, message_id, began));
        let told = match number {
            UNORDERED => vec![(message_id, message)],
            _ => self.order.arrived(number, (message_id, message), (self.clock)()),
        };
        self.tell(told, &mut received);
        received
    }

    /// What waited for a message that does not come.
    fn pass_over(&mut self, number: u64) -> Received {
        let mut received = Received::default();
        let told = self.order.passed(number, (self.clock)());
        self.tell(told, &mut received);
        received
    }

    /// What waited for an earlier message that does not come.
    pub fn overdue(&mut self) -> Received {
        let (mut received, overdue) = (Received::default(), self.order.overdue((self.clock)()));
        self.tell(overdue, &mut received);
        received
    }

    /// Notes each, and then tells it.
    fn tell(&mut self, messages: Vec<([u8; 16], Message)>, received: &mut Received) {
        for (message_id, message) in messages {
            let change = Change::Received { message_id, expires_s: message.claims.exp };
            if let Err(error) = self.outbox.record(change) {
                tracing::error!(%error, "a received message cannot be noted, so it is not acknowledged");
                continue;
            }
            received.acknowledge.push(message_id);
            received.events.extend(self.event(message_id, &message));
        }
    }

    /// The service's keys, where it sent them: believed as at the hello, or not at all.
    fn takes_keys(&mut self, bytes: &[u8]) -> bool {
        let Ok((frame, header)) = Frame::decode(bytes) else { return false };
        if frame.class != wire::SERVICE {
            return false;
        }
        let keys = bytes.get(header..).map(minicbor::decode::<wire::ServiceKeys>);
        if let Some(Ok(keys)) = keys
            && !self.welcome(&keys)
        {
            tracing::warn!("keys of the service are not believed");
        }
        true
    }

    fn open(&mut self, bytes: &[u8]) -> Option<(Frame, Message)> {
        let (frame, header) = Frame::decode(bytes).ok()?;
        if frame.to != self.me.to_bytes() || frame.class != wire::SEALED {
            return None;
        }
        let outer = bytes.get(header..)?;
        let now_s = self.now_s();
        let signed = match outer_algorithm(outer).ok()? {
            OuterKind::Hpke { .. } => open(outer, &frame, &self.keys.ring(), now_s).ok()?,
            OuterKind::Session { .. } => {
                self.symmetric.as_mut()?.receiver.open(outer, &frame).ok()?
            }
        };
        let service = self.service.as_ref()?;
        let message = verify(&signed, &service.signer, &service.x5t, &self.name, now_s).ok()?;
        let is_from_service =
            message.claims.iss == self.audience && message.claims.cti == frame.message_id;
        is_from_service.then_some((frame, message))
    }

    fn event(&mut self, message_id: [u8; 16], message: &Message) -> Option<Event> {
        let Content { kind, correlation, body, seq } = &message.content;
        match kind {
            MessageType::Receipt => {
                let body: ReceiptBody = minicbor::decode(body).ok()?;
                let answered = correlation.unwrap_or(message_id);
                if self.outbox.memory().entries.contains_key(&answered) {
                    self.finish(answered);
                }
                Some(Event::Receipt { message_id: answered, body })
            }
            MessageType::Alert => {
                Some(Event::Alert { message_id, body: minicbor::decode(body).ok()? })
            }
            MessageType::Confirmation => {
                let body = minicbor::decode(body).ok()?;
                Some(Event::Confirmation {
                    message_id,
                    request: *correlation,
                    sequence: *seq,
                    body,
                })
            }
            MessageType::Note => {
                Some(Event::Note { message_id, body: minicbor::decode(body).ok()? })
            }
            MessageType::Request
            | MessageType::Response
            | MessageType::Session
            | MessageType::Act => None,
        }
    }
}
