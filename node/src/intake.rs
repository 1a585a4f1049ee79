//! A device's sealed message on its way in: limits, open, verify, ask the entity.
//!
//! Any node of the region does so, whoever leads the shard: what costs most is spread with the devices.
//!
//! **Invariants:** a credit is taken before any public-key operation; every cryptographic or
//! identity fault looks the same to the sender; nothing is accepted before it is durable.
//! **Not here:** sockets (`edge`), what the message does (`domain`).

use std::sync::Arc;

use fieldmesh_actors::{
    Answer, AskError,
    admission::RETRY_AFTER_MS,
    commit::{Cause, DraftMessage},
    seams::{Clock, Entropy},
};
use fieldmesh_device::wire::Reply;
use fieldmesh_domain::{
    Command, EntityId, EntityKind, MessageKind, customer,
    message::{
        Answer as Said, CustomerActBody, ReceiptBody, ReceiptStatus, RequestBody, ResponseBody,
    },
    placement::{ARRIVALS, DELIVERIES, ORDERS},
    technician,
    time::Millis,
};
use fieldmesh_envelope::{
    Frame, Message, MessageType, OpenError, OuterKind, SessionOffer, Signed, VerifyError,
    VerifyingKey, open, outer_algorithm, verify,
};
use tokio::time::Instant;

use crate::{
    audit::{Audit, Event},
    channel::Channel,
    courier::NodeCourier,
    register::Register,
    service::Service,
    steps::{Act, Steps},
};

/// A connected device as its certificate says it is.
#[derive(Debug, Clone)]
pub struct Peer {
    pub entity: EntityId,
    /// The text that its messages must name as sender.
    pub name: String,
    pub key: VerifyingKey,
    /// SHA-256 of its certificate.
    pub x5t: [u8; 32],
}

/// Opens what devices send and takes it to their entities.
pub struct Intake {
    pub service: Arc<Service>,
    pub courier: Arc<NodeCourier>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub steps: Steps,
    pub audit: Audit,
    pub register: Register,
}

/// Why a message goes no further, for counters and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Malformed,
    UnknownKey,
    Undecryptable,
    Unverified,
    Misaddressed,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Undecryptable => "undecryptable",
            Self::Unverified => "unverified",
            Self::Misaddressed => "misaddressed",
        }
    }
}

impl Intake {
    /// What the device is told; `channel` is how its connection seals.
    pub async fn take(&self, peer: &Peer, frame: &Frame, outer: &[u8], channel: &Channel) -> Reply {
        let Some(credit) = self.courier.admit_from(peer.entity) else {
            metrics::counter!("fieldmesh_intake_busy_total").increment(1);
            return Reply::Busy { retry_after_ms: RETRY_AFTER_MS };
        };
        let (message, content) = match self.open(peer, frame, outer, channel) {
            Ok(opened) => opened,
            Err(Ended::Fault(fault)) => return self.fault(peer, fault),
            Err(Ended::Expired) => {
                return self.receipt(peer, frame.message_id, ReceiptStatus::Expired, channel);
            }
        };
        if message.content.kind == MessageType::Session {
            return self.agree(peer, &message, channel);
        }
        let id = message.claims.cti;
        let cause = Cause::Device {
            device: peer.entity,
            message_id: id,
            content,
            sequence: message.content.seq,
            expires_s: message.claims.exp,
        };
        let Some(command) = self.command(peer, &message, content) else {
            return self.receipt(peer, id, ReceiptStatus::Invalid, channel);
        };
        if self.courier.known().known().level() < level(&command) {
            return Reply::Unavailable { retry_after_ms: RETRY_AFTER_MS };
        }
        match self.courier.ask(peer.entity, command, cause, credit).await {
            Ok(
                Answer::Done { receipt: Some(body), .. }
                | Answer::AlreadyDone { receipt: Some(body) },
            ) => self.sealed_receipt(peer, id, body, channel),
            Ok(Answer::Done { .. } | Answer::AlreadyDone { .. }) => Reply::Accepted,
            Err(AskError::Rejected(rejection)) => {
                tracing::info!(entity = %peer.entity, %rejection, "a message was refused");
                self.receipt(peer, id, ReceiptStatus::Invalid, channel)
            }
            Err(AskError::Forged) => {
                tracing::error!(entity = %peer.entity, "a message id was used again with other content");
                metrics::counter!("fieldmesh_intake_forged_total").increment(1);
                self.audit.note(
                    self.clock.now_ms(),
                    Event::MessageRefused { device: peer.entity, why: "message_id_reused" },
                );
                self.receipt(peer, id, ReceiptStatus::Replay, channel)
            }
            Err(AskError::OutOfWindow) => self.receipt(peer, id, ReceiptStatus::Replay, channel),
            Err(AskError::Busy { retry_after_ms }) => {
                metrics::counter!("fieldmesh_intake_busy_total").increment(1);
                Reply::Busy { retry_after_ms }
            }
            Err(
                error @ (AskError::NotLeader
                | AskError::Moved
                | AskError::Unknown
                | AskError::Parked
                | AskError::Full
                | AskError::Journal(_)),
            ) => {
                tracing::warn!(entity = %peer.entity, %error, "a message waits");
                Reply::Unavailable { retry_after_ms: RETRY_AFTER_MS }
            }
        }
    }

    fn open(
        &self,
        peer: &Peer,
        frame: &Frame,
        outer: &[u8],
        channel: &Channel,
    ) -> Result<(Message, [u8; 32]), Ended> {
        let began = Instant::now();
        let now_s = self.clock.now_ms() / 1000;
        if frame.to != self.service.id() {
            return Err(Ended::Fault(Fault::Misaddressed));
        }
        let opened = match outer_algorithm(outer) {
            Ok(OuterKind::Hpke { .. }) => open(outer, frame, &self.service.ring(), now_s),
            Ok(OuterKind::Session { sid }) => channel.open(sid, outer, frame, now_s),
            Err(error) => Err(OpenError::Malformed(error)),
        };
        let signed = opened.map_err(|error| {
            Ended::Fault(match error {
                OpenError::Malformed(_) => Fault::Malformed,
                OpenError::UnknownKey { .. } => Fault::UnknownKey,
                OpenError::Failed | OpenError::Counter => Fault::Undecryptable,
            })
        })?;
        self.steps.done(Act::Decrypted, peer.entity, began);
        let began = Instant::now();
        let message = self.verify(peer, &signed, now_s)?;
        if message.claims.cti != frame.message_id {
            return Err(Ended::Fault(Fault::Misaddressed));
        }
        self.steps.done(Act::Validated, peer.entity, began);
        Ok((message, signed.content_hash()))
    }

    fn verify(&self, peer: &Peer, signed: &Signed, now_s: u64) -> Result<Message, Ended> {
        let own = *signed.x5t() == peer.x5t;
        let claims = signed.unverified_claims();
        let earlier =
            if own { None } else { self.register.signer(peer.entity, signed.x5t(), claims.iat) };
        let key = earlier.as_ref().unwrap_or(&peer.key);
        let x5t = if earlier.is_some() { signed.x5t() } else { &peer.x5t };
        let message = verify(signed, key, x5t, self.service.audience(), now_s).map_err(
            |error| match error {
                VerifyError::Expired { .. } => Ended::Expired,
                error => {
                    tracing::debug!(entity = %peer.entity, %error, "a message does not verify");
                    Ended::Fault(Fault::Unverified)
                }
            },
        )?;
        if message.claims.iss != peer.name {
            return Err(Ended::Fault(Fault::Misaddressed));
        }
        Ok(message)
    }

    /// What the message asks of the device's own entity; none where it makes no sense from it.
    fn command(&self, peer: &Peer, message: &Message, content_hash: [u8; 32]) -> Option<Command> {
        let message_id = message.claims.cti;
        match (peer.entity.kind(), message.content.kind) {
            (EntityKind::Customer, MessageType::Request) => {
                let body: RequestBody = whole(&message.content.body)?;
                let received_at = Millis(self.clock.now_ms());
                Some(Command::Customer(customer::Command::Request {
                    message_id,
                    content_hash,
                    body,
                    received_at,
                    is_counted: None,
                }))
            }
            (EntityKind::Customer, MessageType::Act) => {
                let body: CustomerActBody = whole(&message.content.body)?;
                let command = customer::Command::Act { message_id, content_hash, body };
                Some(Command::Customer(command))
            }
            (EntityKind::Technician, MessageType::Response) => {
                let body: ResponseBody = whole(&message.content.body)?;
                Some(Command::Technician(technician::Command::Answer { message_id, body }))
            }
            _ => None,
        }
    }

    /// Session keys for this connection: nothing is written, so nothing needs to be consumed.
    fn agree(&self, peer: &Peer, message: &Message, channel: &Channel) -> Reply {
        let now_s = self.clock.now_ms() / 1000;
        let Ok(offer) = SessionOffer::decode_body(&message.content.body) else {
            return self.fault(peer, Fault::Malformed);
        };
        match channel.agree(&offer, message.claims.iat, now_s) {
            Ok(()) => Reply::Accepted,
            Err(error) => {
                tracing::info!(entity = %peer.entity, %error, "session keys were refused");
                Reply::Rejected
            }
        }
    }

    fn fault(&self, peer: &Peer, fault: Fault) -> Reply {
        self.audit.note(
            self.clock.now_ms(),
            Event::MessageRefused { device: peer.entity, why: fault.name() },
        );
        metrics::counter!("fieldmesh_intake_faults_total", "fault" => fault.name()).increment(1);
        tracing::warn!(entity = %peer.entity, fault = fault.name(), "a message was dropped");
        match fault {
            Fault::Malformed => Reply::BadEnvelope,
            Fault::UnknownKey => Reply::StaleKey { service: self.service.public_keys() },
            Fault::Undecryptable | Fault::Unverified | Fault::Misaddressed => Reply::Rejected,
        }
    }

    /// A signed, sealed receipt that is not stored: a refusal that the device can prove.
    fn receipt(
        &self,
        peer: &Peer,
        message_id: [u8; 16],
        status: ReceiptStatus,
        channel: &Channel,
    ) -> Reply {
        let body = ReceiptBody { status, ticket: None, reason: String::new() };
        match minicbor::to_vec(&body) {
            Ok(body) => self.sealed_receipt(peer, message_id, body, channel),
            Err(_) => Reply::Rejected,
        }
    }

    fn sealed_receipt(
        &self,
        peer: &Peer,
        message_id: [u8; 16],
        body: Vec<u8>,
        channel: &Channel,
    ) -> Reply {
        let mut own_id = [0; 16];
        self.entropy.fill(&mut own_id);
        let message = DraftMessage {
            to: peer.entity,
            kind: MessageKind::Receipt,
            correlation: Some(message_id),
            body,
        };
        // Sequence 0 stands outside the mailbox: the device tells it by its correlation alone.
        let frame = Frame {
            to: peer.entity.to_bytes(),
            message_id: own_id,
            class: fieldmesh_device::wire::SEALED,
        };
        let now_s = self.clock.now_ms() / 1000;
        let sealed = self
            .service
            .compose(message, own_id, 0, now_s)
            .ok()
            .and_then(|signed| Signed::from_bytes(signed).ok())
            .and_then(|signed| channel.seal(&signed, &frame, now_s)?.ok());
        match sealed {
            Some(outer) => {
                let mut sealed = frame.encode();
                sealed.extend_from_slice(&outer);
                Reply::Receipt { sealed }
            }
            None => Reply::Rejected,
        }
    }
}

/// Why opening ended early.
enum Ended {
    Fault(Fault),
    Expired,
}

/// The level that all nodes have that know what to do.
fn level(command: &Command) -> u32 {
    match command {
        Command::Customer(customer::Command::Act { .. }) => ORDERS,
        Command::Technician(technician::Command::Answer { body, .. }) => match body.answer {
            Said::Pause(_) | Said::Resume | Said::Message { .. } => ORDERS,
            Said::Seen => DELIVERIES,
            Said::Eta { .. } => ARRIVALS,
            Said::Accept { .. }
            | Said::Decline { .. }
            | Said::EnRoute
            | Said::OnSite
            | Said::Completed { .. }
            | Said::CannotComplete { .. } => 0,
        },
        _ => 0,
    }
}

/// Decodes all of the bytes, or nothing.
fn whole<T: for<'b> minicbor::Decode<'b, ()>>(bytes: &[u8]) -> Option<T> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode().ok()?;
    (decoder.position() == bytes.len()).then_some(value)
}
