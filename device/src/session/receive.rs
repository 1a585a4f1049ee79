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

impl Session {
    /// A frame from the service: verified, noted, then told.
    pub fn receive(&mut self, bytes: &[u8]) -> Received {
        let began = Instant::now();
        if self.takes_keys(bytes) {
            return Received::default();
        }
        if let Some((frame, number)) = self.passed_over(bytes) {
            return self.pass_over(&frame, number);
        }
        let Some((frame, message)) = self.open(bytes) else {
            // No acknowledgement and no word: a forger learns nothing.
            tracing::debug!("a frame was dropped");
            return Received::default();
        };
        // A receipt that is mail is for whoever comes to read, as alerts are.
        let answers =
            message.content.kind == MessageType::Receipt && message.content.seq == UNORDERED;
        if self.receipts_only && !answers {
            return Received::default();
        }
        let (message_id, number) = (frame.message_id, message.content.seq);
        let is_seen = self.outbox.memory().seen.contains_key(&message_id);
        if is_seen && !is_planted(Mutant::DeviceDedupOff) {
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

    /// A number that does not come. Whoever says this is the node at the other end: it could as well say nothing,
    /// and the messages wait.
    fn passed_over(&self, bytes: &[u8]) -> Option<(Frame, u64)> {
        let (frame, header) = Frame::decode(bytes).ok()?;
        if frame.to != self.me.to_bytes() || frame.class != wire::PASSED {
            return None;
        }
        let passed = minicbor::decode::<wire::Passed>(bytes.get(header..)?).ok()?;
        Some((frame, passed.number))
    }

    /// What waited for a message that does not come. The service says it until it is acknowledged; that goes with
    /// the mail to whoever comes to read.
    fn pass_over(&mut self, frame: &Frame, number: u64) -> Received {
        if self.receipts_only {
            return Received::default();
        }
        let mut received = Received { acknowledge: vec![frame.message_id], ..Received::default() };
        let told = self.order.passed(number);
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
            MessageType::Alert => Some(Event::Alert {
                message_id,
                sequence: *seq,
                body: minicbor::decode(body).ok()?,
            }),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::sync::Arc;

    use fieldmesh_domain::{EntityId, EntityKind, message::ReceiptStatus};
    use fieldmesh_envelope::{Claims, Signer, SoftwareSigner, seal, sign};
    use fieldmesh_pki::{KeyMaterial, TrustStore};

    use super::*;
    use crate::{
        keys::DeviceKeys,
        outbox::MemoryOutbox,
        session::{Service, SessionParts, framed},
    };

    const NOW_S: u64 = 1_800_000_000;

    fn technician(number: u8) -> EntityId {
        EntityId::new(EntityKind::Technician, "eu1".parse().unwrap(), [number; 10])
    }

    fn id_of(number: u64) -> [u8; 16] {
        u128::from(number).to_be_bytes()
    }

    /// A device that has said hello, and what its service signs with.
    struct Heard {
        session: Session,
        signer: SoftwareSigner,
    }

    impl Heard {
        fn new() -> Self {
            let material = KeyMaterial::generate().unwrap();
            let signer = |of: &[u8]| SoftwareSigner::from_pkcs8(material.pkcs8(), of);
            let of_device = Arc::new(signer(b"device").unwrap());
            let mut keys = DeviceKeys { signer: of_device, hpke: Vec::new() };
            keys.rotate(NOW_S).unwrap();
            let (signer, key) = (signer(b"service").unwrap(), keys.hpke[0].public.clone());
            let mut session = Session::new(SessionParts {
                me: technician(7),
                keys,
                trust: Arc::new(TrustStore::new(Vec::new(), Vec::new()).unwrap()),
                outbox: Box::new(MemoryOutbox::default()),
                clock: Arc::new(|| NOW_S * 1000),
                entropy: Arc::new(|bytes| bytes.fill(7)),
            });
            let (verifying, x5t) =
                (signer.verifying_key().clone(), signer.certificate_thumbprint());
            session.service = Some(Service { id: [9; 16], key, signer: verifying, x5t });
            Self { session, signer }
        }

        /// Hears a receipt with that number; what it acknowledges.
        fn hears(&mut self, number: u64) -> Vec<[u8; 16]> {
            let Session { me, audience, name, keys, .. } = &self.session;
            let (status, reason) = (ReceiptStatus::NoLongerYours, String::new());
            let body = minicbor::to_vec(ReceiptBody { status, ticket: None, reason }).unwrap();
            let kind = MessageType::Receipt;
            let content = Content { kind, seq: number, correlation: None, body };
            let (iss, aud, cti) = (audience.clone(), name.clone(), id_of(number));
            let claims = Claims { iss, aud, iat: NOW_S, exp: NOW_S + 60, cti };
            let signed = sign(&Message { claims, content }, &self.signer).unwrap();
            let frame = Frame { to: me.to_bytes(), message_id: cti, class: wire::SEALED };
            let outer = seal(&signed, &frame, &keys.hpke[0].public).unwrap();
            let bytes = framed(frame.to, cti, wire::SEALED, &outer);
            self.session.receive(&bytes).acknowledge
        }

        /// Hears that a number does not come to somebody.
        fn hears_no_more_of(&mut self, number: u64, to: EntityId) -> Vec<[u8; 16]> {
            let passed = minicbor::to_vec(wire::Passed { number }).unwrap();
            let bytes = framed(to.to_bytes(), id_of(number), wire::PASSED, &passed);
            self.session.receive(&bytes).acknowledge
        }
    }

    #[test]
    fn what_does_not_come_is_heard_by_whom_it_is_said_to_and_acknowledged() {
        let mut device = Heard::new();
        assert_eq!(device.hears(1), [id_of(1)]);
        assert!(device.hears_no_more_of(2, technician(8)).is_empty());
        assert!(device.hears(3).is_empty(), "2 may come");
        assert_eq!(device.hears_no_more_of(2, technician(7)), [id_of(2), id_of(3)]);
        // It is acknowledged however often and whatever is said, and the order stays.
        for number in [2, u64::MAX] {
            assert_eq!(device.hears_no_more_of(number, technician(7)), [id_of(number)]);
        }
        assert!(device.session.overdue().acknowledge.is_empty());
        assert!(device.hears(5).is_empty(), "4 may come");
        // What was said before the connection ended is not said again.
        assert_eq!(device.hears_no_more_of(6, technician(7)), [id_of(6)]);
        device.session.disconnected();
        assert!(device.hears(7).is_empty());
        assert_eq!(device.hears(4), [id_of(4)]);
        assert_eq!(device.hears(5), [id_of(5), id_of(7)]);
    }

    #[test]
    fn a_device_that_only_sends_leaves_all_mail_with_the_service() {
        let mut device = Heard::new();
        device.session.leave_mail();
        assert!(device.hears(1).is_empty(), "a receipt that is mail");
        assert!(device.hears_no_more_of(2, technician(7)).is_empty());
        assert_eq!(device.hears(UNORDERED), [id_of(UNORDERED)], "an answer on its own stream");
    }
}
