//! One device's connection: its frames in, its mail out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use fieldmesh_actors::{
    Answer, AskError, admission::RETRY_AFTER_MS, commit::Cause, seams::MailItem,
};
use fieldmesh_device::wire::{self, Ack, Hello, Passed, Reply, close};
use fieldmesh_domain::{
    Command, EntityKind, customer,
    mutant::{Mutant, is_planted},
    technician,
};
use fieldmesh_envelope::{Frame, Signed, verify_bundle};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use super::{Admitted, Edge, Refusal};
use crate::{
    audit::Event,
    channel::Channel,
    courier::{SESSION_MAIL_MAX, Session},
    files,
    intake::Peer,
    steps::Act,
    trust,
};

/// A stream must be complete by then.
const STREAM_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection on which nobody says who it is within this time is ended: a device says hello at once, and asks again
/// within a second where the node is busy. Those that have greeted replace each other, and others are not counted.
const GREETS_WITHIN: Duration = Duration::from_secs(10);

/// What the parts of a session share.
struct Open {
    edge: Arc<Edge>,
    connection: Connection,
    peer: Peer,
    channel: Channel,
    /// Which of the service's certificates the device has heard of.
    heard: AtomicU64,
    /// What the device says that it understands; 0 where it says nothing of it.
    understands: AtomicU32,
}

/// Serves a device until its connection ends.
pub(super) async fn run(edge: &Arc<Edge>, connection: Connection, admitted: Admitted, number: u64) {
    let Admitted { peer, not_after_s, listed } = admitted;
    let (mail, queue) = mpsc::channel(SESSION_MAIL_MAX);
    let ends = tokio::spawn(close_in_time(Arc::clone(edge), connection.clone(), not_after_s));
    let device = peer.entity;
    let open = Arc::new(Open {
        edge: Arc::clone(edge),
        connection,
        peer,
        channel: Channel::default(),
        heard: AtomicU64::new(0),
        understands: AtomicU32::new(0),
    });
    let sender = tokio::spawn(send_mail(Arc::clone(&open), queue));
    metrics::gauge!("fieldmesh_edge_sessions").increment(1);
    let (mut mail, greets_by) = (Some(mail), Instant::now() + GREETS_WITHIN);
    loop {
        let accepted = match &mail {
            Some(_) => timeout_at(greets_by, open.connection.accept_bi()).await,
            None => Ok(open.connection.accept_bi().await),
        };
        let Ok(accepted) = accepted else {
            let code = VarInt::from_u32(close::SHUTTING_DOWN);
            open.connection.close(code, b"no hello in time");
            break;
        };
        let (send, receive) = match accepted {
            Ok(stream) => stream,
            Err(reason) => {
                tracing::debug!(%device, %reason, "a device left");
                break;
            }
        };
        let open = Arc::clone(&open);
        if let Some(waiting) = mail.take() {
            // The first frame is the hello: mail flows only to a device whose key is known.
            serve(&open, send, receive).await;
            if open.channel.is_known() {
                let understands = open.understands.load(Ordering::Relaxed);
                let session = Session { number, mail: waiting, understands };
                edge.options.intake.courier.attach(device, session);
            } else {
                mail = Some(waiting);
            }
            continue;
        }
        // quinn bounds the streams of a connection, and so these tasks.
        tokio::spawn(async move { serve(&open, send, receive).await });
    }
    edge.options.intake.courier.detach(device, number);
    sender.abort();
    ends.abort();
    drop(listed);
    metrics::gauge!("fieldmesh_edge_sessions").decrement(1);
}

async fn serve(open: &Open, mut send: SendStream, mut receive: RecvStream) {
    let read = timeout(STREAM_TIMEOUT, receive.read_to_end(wire::STREAM_BYTES_MAX)).await;
    // Too large, reset or too slow: the sender of such a stream gets no answer.
    let Ok(Ok(bytes)) = read else {
        metrics::counter!("fieldmesh_edge_streams_dropped_total").increment(1);
        return;
    };
    let reply = open.reply(&bytes).await;
    if let Reply::Busy { retry_after_ms } = &reply {
        metrics::counter!("fieldmesh_edge_busy_total").increment(1);
        metrics::counter!("fieldmesh_edge_busy_ms_total").increment(u64::from(*retry_after_ms));
    }
    let Ok(reply) = minicbor::to_vec(&reply) else {
        return;
    };
    // A device that left does not want the answer.
    if send.write_all(&reply).await.is_ok() {
        drop(send.finish());
    }
}

impl Open {
    async fn reply(&self, bytes: &[u8]) -> Reply {
        let Ok((frame, header)) = Frame::decode(bytes) else {
            return Reply::BadEnvelope;
        };
        let payload = &bytes[header..];
        if matches!(frame.class, wire::HELLO | wire::SEALED)
            && let Err(retry_after_ms) = self.may_ask()
        {
            metrics::counter!("fieldmesh_edge_throttled_total").increment(1);
            return Reply::Busy { retry_after_ms };
        }
        match frame.class {
            wire::HELLO => self.hello(payload).await,
            // Nothing can be sealed for a device that has not said hello.
            wire::SEALED if !self.channel.is_known() => Reply::BadEnvelope,
            wire::SEALED => {
                leak();
                self.edge.options.intake.take(&self.peer, &frame, payload, &self.channel).await
            }
            wire::ACK => self.acknowledge(payload),
            _ => Reply::BadEnvelope,
        }
    }

    /// Whoever connects anew may ask for no more than before.
    fn may_ask(&self) -> Result<(), u32> {
        let now_ms = self.edge.options.intake.clock.now_ms();
        self.edge.rates.take_ms(self.peer.entity, now_ms)
    }

    async fn hello(&self, payload: &[u8]) -> Reply {
        let Ok(hello) = minicbor::decode::<Hello>(payload) else {
            return Reply::BadEnvelope;
        };
        let intake = &self.edge.options.intake;
        let now_s = intake.clock.now_ms() / 1000;
        let Peer { entity, name, key, x5t } = &self.peer;
        let Some(credit) = intake.courier.admit(*entity) else {
            return Reply::Busy { retry_after_ms: RETRY_AFTER_MS };
        };
        let bundle = match verify_bundle(&hello.bundle, key, x5t, name, now_s) {
            Ok(bundle) => bundle,
            Err(error) => {
                tracing::warn!(%entity, %error, "a key bundle was refused");
                let why = error.to_string();
                intake.audit.note(
                    intake.clock.now_ms(),
                    Event::BundleRefused { device: *entity, why: &why },
                );
                return Reply::Rejected;
            }
        };
        let Some(best) = bundle.best(now_s).cloned() else {
            return Reply::Rejected;
        };
        let serial = bundle.serial;
        let command = match entity.kind() {
            EntityKind::Customer => {
                Command::Customer(customer::Command::PublishKeys { serial, bundle: hello.bundle })
            }
            EntityKind::Technician => Command::Technician(technician::Command::PublishKeys {
                serial,
                bundle: hello.bundle,
            }),
            _ => return Reply::Rejected,
        };
        let mut command_id = [0; 16];
        intake.entropy.fill(&mut command_id);
        match intake.courier.ask(*entity, command, Cause::Operator { command_id }, credit).await {
            Ok(Answer::Done { .. } | Answer::AlreadyDone { .. }) => {}
            Err(AskError::Rejected(rejection)) => {
                tracing::info!(%entity, %rejection, "a hello was refused");
                let detail = "the entity does not exist or may not connect";
                self.edge.refused(self.connection.remote_address(), "unknown_entity", detail);
                self.connection.close(VarInt::from_u32(close::UNKNOWN_ENTITY), b"unknown entity");
                return Reply::Rejected;
            }
            Err(error) => {
                tracing::warn!(%entity, %error, "a hello waits");
                return Reply::Unavailable { retry_after_ms: RETRY_AFTER_MS };
            }
        }
        self.understands.store(hello.understands.unwrap_or(0), Ordering::Relaxed);
        self.channel.learn(best);
        self.heard.store(intake.service.generation(), Ordering::Relaxed);
        let now_ms = intake.clock.now_ms();
        Reply::Hello {
            service: intake.service.public_keys(),
            now_ms,
            nodes: self.edge.options.known.device_addresses(self.edge.options.number),
        }
    }

    fn acknowledge(&self, payload: &[u8]) -> Reply {
        let Ok(ack) = minicbor::decode::<Ack>(payload) else {
            return Reply::BadEnvelope;
        };
        if ack.message_ids.len() > wire::ACK_IDS_MAX {
            return Reply::BadEnvelope;
        }
        let ids = ack.message_ids.into_iter().map(Into::into).collect();
        self.edge.options.intake.courier.acknowledged(self.peer.entity, ids);
        Reply::Accepted
    }

    /// Tells the device of the service's new certificate. Mail may overtake it; the device then does
    /// not take that mail, and it comes again.
    async fn introduce(&self) {
        let intake = &self.edge.options.intake;
        let generation = intake.service.generation();
        if self.heard.swap(generation, Ordering::Relaxed) == generation {
            return;
        }
        let Ok(keys) = minicbor::to_vec(intake.service.public_keys()) else { return };
        let mut message_id = [0; 16];
        intake.entropy.fill(&mut message_id);
        let to = self.peer.entity.to_bytes();
        let mut bytes = Frame { to, message_id, class: wire::SERVICE }.encode();
        bytes.extend_from_slice(&keys);
        // A device that left hears it at its next hello.
        if let Ok(mut stream) = self.connection.open_uni().await
            && stream.write_all(&bytes).await.is_ok()
        {
            drop(stream.finish());
        }
    }

    /// A number that does not come: the device tells what it has behind it.
    async fn pass_over(&self, mail: &MailItem) {
        let passed = Passed { number: mail.number };
        let Ok(passed) = minicbor::to_vec(passed) else { return };
        let (to, message_id) = (mail.to.to_bytes(), mail.message_id);
        let mut bytes = Frame { to, message_id, class: wire::PASSED }.encode();
        bytes.extend_from_slice(&passed);
        // A device that does not hear it does not acknowledge it, and is told again.
        if let Ok(mut stream) = self.connection.open_uni().await
            && stream.write_all(&bytes).await.is_ok()
        {
            drop(stream.finish());
        }
    }

    /// Seals a message for this device and sends it on a stream of its own.
    async fn transmit(&self, mail: MailItem) {
        let intake = &self.edge.options.intake;
        let (steps, now_s) = (&intake.steps, intake.clock.now_ms() / 1000);
        // Whoever keeps it says what is over, by its own clock, and says it until that is acknowledged.
        if mail.is_passed_over() {
            return self.pass_over(&mail).await;
        }
        self.introduce().await;
        let began = Instant::now();
        let frame =
            Frame { to: mail.to.to_bytes(), message_id: mail.message_id, class: wire::SEALED };
        let sealed = Signed::from_bytes(mail.signed.to_vec())
            .ok()
            .and_then(|signed| intake.service.renewed(signed).ok())
            .and_then(|signed| self.channel.seal(&signed, &frame, now_s)?.ok());
        let Some(outer) = sealed else {
            tracing::error!(to = %mail.to, "stored mail cannot be sealed");
            return;
        };
        steps.done(Act::Encrypted, mail.to, began);
        let began = Instant::now();
        let mut bytes = frame.encode();
        bytes.extend_from_slice(&outer);
        let Ok(mut stream) = self.connection.open_uni().await else {
            return;
        };
        if stream.write_all(&bytes).await.is_ok() {
            // The device's acknowledgement says what arrived, not this.
            drop(stream.finish());
            steps.done(Act::Transmitted, mail.to, began);
        }
    }
}

/// The deliberate bug of descriptors that stay open.
fn leak() {
    if is_planted(Mutant::DescriptorsLeaked) {
        std::mem::forget(files::open("/dev/null".as_ref()));
    }
}

/// Closes a connection whose certificate has expired, or whose node does not hear its region any more.
async fn close_in_time(edge: Arc<Edge>, connection: Connection, not_after_s: u64) {
    let mut contact = edge.options.contact.clone();
    let mut dismissed = edge.options.dismissed.clone();
    dismissed.mark_unchanged();
    let (code, reason) = tokio::select! {
        () = trust::expired(&*edge.options.intake.clock, not_after_s) => {
            (close::EXPIRED, close::reason(close::EXPIRED))
        }
        Ok(_) = contact.wait_for(|is_in| !is_in) => {
            (Refusal::CUT_OFF.code, Refusal::CUT_OFF.detail.as_bytes())
        }
        // Never where nobody can.
        Ok(()) = dismissed.changed() => (close::SHUTTING_DOWN, &b"sent away: come again"[..]),
    };
    connection.close(VarInt::from_u32(code), reason);
}

/// Sends mail as it comes; ends, and with it the connection, when a newer session takes over.
async fn send_mail(open: Arc<Open>, mut queue: mpsc::Receiver<MailItem>) {
    while let Some(mail) = queue.recv().await {
        open.transmit(mail).await;
    }
    open.connection.close(VarInt::from_u32(close::REPLACED), b"replaced by a newer connection");
}
