//! The sans-IO core of a device: what to send, what an answer means, what arrived.
//!
//! Messages are signed when composed and sealed when transmitted, so that one that waited for days
//! is sealed for the service's key of today. **Invariants:** a message is transmitted until a
//! verified receipt or its expiry ends it; a received message yields one event, however often it
//! comes, in the order in which it was said; a poison message blocks no other for long. **Not here:** sockets and timers (`client`).

mod kept;
mod order;
mod pace;
mod receive;
mod types;

pub use types::{ComposeError, Event, Received, Said, Step, Transmit};

use std::{collections::BTreeMap, sync::Arc};

use fieldmesh_domain::EntityId;
use fieldmesh_envelope::{
    Claims, Content, Frame, HpkePublicKey, Message, MessageType, SessionOffer, SessionReceiver,
    SessionSender, SignError, Signed, VerifyingKey, seal, sign, verify_bundle,
};
use fieldmesh_pki::{Kind, TrustStore, Usage};
use tokio::time::Instant;
use zeroize::Zeroizing;

use self::{
    kept::Kept,
    order::Order,
    pace::{PAUSE_MAX_MS, Pace},
};
use crate::{
    Clock, Entropy,
    keys::DeviceKeys,
    outbox::{Change, Entry, Outbox},
    wire::{self, Hello, Reply, ServiceKeys, service_audience},
};

/// A message is worth sending for this long.
const MESSAGE_LIFE_S: u64 = 7 * 24 * 3600;
/// First and longest pause between two transmissions of a message.
const RETRY_MIN_MS: u64 = 500;
const RETRY_MAX_MS: u64 = PAUSE_MAX_MS;
/// A durable message is sent again if its receipt does not come by then.
const RECEIPT_WAIT_MS: u64 = 30_000;
/// A session's keys live as long as its connection, and no longer than this.
const SESSION_LIFE_S: u64 = 24 * 3600;

/// Whom the device writes to.
struct Service {
    id: [u8; 16],
    key: HpkePublicKey,
    signer: VerifyingKey,
    x5t: [u8; 32],
}

/// How far a waiting message has come; the rest is in the outbox.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    tries: u32,
    /// Unix milliseconds of the next try; zero is past, so a new message is due at once.
    next_ms: u64,
    in_flight: bool,
}

/// A device.
pub struct Session {
    me: EntityId,
    name: String,
    region: String,
    audience: String,
    keys: DeviceKeys,
    trust: Arc<TrustStore>,
    outbox: Box<dyn Outbox>,
    clock: Clock,
    entropy: Entropy,
    service: Option<Service>,
    progress: BTreeMap<[u8; 16], Progress>,
    kept: Kept,
    pace: Pace,
    /// The second in which the whole outbox was last gone through.
    looked_s: u64,
    symmetric: Option<Symmetric>,
    /// Mail stays with the service.
    receipts_only: bool,
    /// What came before an earlier one.
    order: Order<([u8; 16], Message)>,
}

/// The session keys of this connection.
struct Symmetric {
    offer_id: [u8; 16],
    agreed: bool,
    sender: SessionSender,
    receiver: SessionReceiver,
}

/// What a session is made of.
pub struct SessionParts {
    pub me: EntityId,
    pub keys: DeviceKeys,
    pub trust: Arc<TrustStore>,
    pub outbox: Box<dyn Outbox>,
    pub clock: Clock,
    pub entropy: Entropy,
}

impl Session {
    pub fn new(parts: SessionParts) -> Self {
        let SessionParts { me, keys, trust, outbox, clock, entropy } = parts;
        let region = me.region().to_string();
        let progress =
            outbox.memory().entries.keys().map(|id| (*id, Progress::default())).collect();
        Self {
            me,
            name: me.to_string(),
            audience: service_audience(&region),
            region,
            keys,
            trust,
            outbox,
            clock,
            entropy,
            service: None,
            progress,
            kept: Kept::default(),
            pace: Pace::default(),
            looked_s: 0,
            symmetric: None,
            receipts_only: false,
            order: Order::default(),
        }
    }

    /// What it was made of; what waits is in the outbox.
    pub fn into_parts(self) -> SessionParts {
        let Self { me, keys, trust, outbox, clock, entropy, .. } = self;
        SessionParts { me, keys, trust, outbox, clock, entropy }
    }

    /// From now on mail is neither noted nor acknowledged, so that the service keeps it for whoever comes to read
    /// it: only answers to what this device sends are taken.
    pub fn leave_mail(&mut self) {
        self.receipts_only = true;
    }

    fn now_s(&self) -> u64 {
        (self.clock)() / 1000
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.entropy)(&mut bytes);
        bytes
    }

    /// Messages that wait for their receipt.
    pub fn waiting(&self) -> usize {
        self.outbox.memory().entries.len()
    }

    fn compose_signed(
        &self,
        kind: MessageType,
        correlation: Option<[u8; 16]>,
        body: Vec<u8>,
        sequence: u64,
    ) -> Result<([u8; 16], Signed), SignError> {
        let now_s = self.now_s();
        let message_id = self.random();
        let claims = Claims {
            iss: self.name.clone(),
            aud: self.audience.clone(),
            iat: now_s,
            exp: now_s + MESSAGE_LIFE_S,
            cti: message_id,
        };
        let content = Content { kind, seq: sequence, correlation, body };
        Ok((message_id, sign(&Message { claims, content }, &*self.keys.signer)?))
    }

    /// Signs a message and keeps it; it is durable on return.
    ///
    /// # Errors
    /// Where the key store or the outbox refuses.
    pub fn compose(
        &mut self,
        said: Said,
        correlation: Option<[u8; 16]>,
        body: Vec<u8>,
    ) -> Result<[u8; 16], ComposeError> {
        let kind = match said {
            Said::Request => MessageType::Request,
            Said::Act => MessageType::Act,
            Said::Response => MessageType::Response,
        };
        // An outbox that begins anew goes on behind whatever this identity's earlier devices sent.
        let sequence = match self.outbox.memory().last_sequence {
            0 => (self.clock)(),
            last => last + 1,
        };
        let (message_id, signed) = self.compose_signed(kind, correlation, body, sequence)?;
        let expires_s = signed.unverified_claims().exp;
        let entry = Entry { message_id, signed: signed.as_bytes().to_vec(), expires_s, sequence };
        self.outbox.record(Change::Added(entry))?;
        self.progress.insert(message_id, Progress::default());
        Ok(message_id)
    }

    /// The first frame of a connection.
    ///
    /// # Errors
    /// Where the key store refuses.
    pub fn hello(&self, service_id: [u8; 16]) -> Result<Vec<u8>, SignError> {
        let bundle = self.keys.bundle(&self.name)?;
        let hello = Hello { bundle, understands: Some(wire::UNDERSTANDS) };
        Ok(framed(service_id, self.random(), wire::HELLO, &encoded(&hello)))
    }

    /// The service's keys: believed only with its chain and signature.
    pub fn welcome(&mut self, keys: &ServiceKeys) -> bool {
        let believed = self.believe(keys);
        let is_known = believed.is_some();
        if is_known {
            self.service = believed;
        }
        is_known
    }

    fn believe(&self, keys: &ServiceKeys) -> Option<Service> {
        let (leaf, rest) = keys.chain.split_first()?;
        let rest: Vec<&[u8]> = rest.iter().map(|der| der.as_slice()).collect();
        let now_s = self.now_s();
        let certificate = self.trust.verify(leaf, &rest, Usage::Signing, now_s).ok()?;
        if certificate.identity.kind != Kind::Service
            || certificate.identity.region != self.region
            || certificate.identity.id != keys.id
        {
            return None;
        }
        let signer = VerifyingKey::from_sec1(&certificate.public_point).ok()?;
        let x5t = certificate.thumbprint;
        let bundle = verify_bundle(&keys.bundle, &signer, &x5t, &self.audience, now_s).ok()?;
        Some(Service { id: keys.id, key: bundle.best(now_s)?.clone(), signer, x5t })
    }

    /// A connection is gone: what was under way is sent again on the next one.
    pub fn disconnected(&mut self) {
        self.symmetric = None;
        self.order.forget();
        self.pace.reconnected();
        for progress in self.progress.values_mut() {
            progress.in_flight = false;
            progress.next_ms = 0;
        }
    }

    /// Offers session keys for this connection; messages are sealed with them once the service
    /// agrees.
    pub fn offer_symmetric(&mut self) -> Option<Transmit> {
        let service = self.service.as_ref()?;
        let offer =
            SessionOffer::new(&Zeroizing::new(self.random()), self.now_s() + SESSION_LIFE_S);
        // Sequence 0 stands outside the window: the offer is not in the outbox.
        let (message_id, signed) = self
            .compose_signed(MessageType::Session, None, offer.encode_body().to_vec(), 0)
            .ok()?;
        let frame = Frame { to: service.id, message_id, class: wire::SEALED };
        let outer = seal(&signed, &frame, &service.key).ok()?;
        let (mut sender, receiver) = offer.offering_ends();
        // The keys end with the connection, so no counter can come back.
        sender.reserve(u64::MAX);
        self.symmetric = Some(Symmetric { offer_id: message_id, agreed: false, sender, receiver });
        Some(Transmit { message_id, bytes: framed(service.id, message_id, wire::SEALED, &outer) })
    }

    /// Messages to send now, sealed; and events for those that are given up.
    pub fn due(&mut self) -> (Vec<Transmit>, Vec<Event>) {
        let (now, mut transmits, mut events) = ((self.clock)(), Vec::new(), Vec::new());
        let (mut in_flight, window) = (self.in_flight(), self.pace.window(now));
        // A long outbox is gone through where something may be sent, and once a second for what expires.
        let is_looked = std::mem::replace(&mut self.looked_s, now / 1000) == now / 1000;
        let may_go = self.next_ms().is_some_and(|next| next <= now);
        if is_looked && !may_go {
            return (transmits, events);
        }
        let mut order: Vec<(u64, [u8; 16])> = self
            .outbox
            .memory()
            .entries
            .values()
            .map(|entry| (entry.sequence, entry.message_id))
            .collect();
        order.sort_unstable();
        for (_, id) in order {
            let progress = self.progress.get(&id).copied().unwrap_or_default();
            let Some(entry) = self.outbox.memory().entries.get(&id) else {
                continue;
            };
            if entry.expires_s <= now / 1000 {
                self.finish(id);
                events.push(Event::Expired { message_id: id });
                continue;
            }
            if progress.in_flight || progress.next_ms > now || in_flight >= window {
                continue;
            }
            let began = Instant::now();
            let Some(transmit) = self.sealed(id) else {
                continue;
            };
            in_flight += 1;
            self.progress
                .insert(id, Progress { in_flight: true, tries: progress.tries + 1, next_ms: 0 });
            events.push(Event::step(Step::Sealed, id, began));
            transmits.push(transmit);
        }
        (transmits, events)
    }

    fn sealed(&mut self, id: [u8; 16]) -> Option<Transmit> {
        let service = self.service.as_ref()?;
        let signed =
            Signed::from_bytes(self.outbox.memory().entries.get(&id)?.signed.clone()).ok()?;
        let frame = Frame { to: service.id, message_id: id, class: wire::SEALED };
        let outer = match self.symmetric.as_mut().filter(|symmetric| symmetric.agreed) {
            Some(symmetric) => symmetric.sender.seal(&signed, &frame).ok()?,
            None => match self.kept.get(&id, service.key.kid()) {
                Some(sealed) => sealed,
                None => {
                    let sealed = seal(&signed, &frame, &service.key).ok()?;
                    self.kept.keep(id, service.key.kid(), &sealed);
                    sealed
                }
            },
        };
        Some(Transmit { message_id: id, bytes: framed(service.id, id, wire::SEALED, &outer) })
    }

    fn in_flight(&self) -> usize {
        self.progress.values().filter(|progress| progress.in_flight).count()
    }

    /// When [`Self::due`] has something to do next, in Unix milliseconds; never before an answer comes where as much
    /// is under way as may be.
    pub fn next_ms(&self) -> Option<u64> {
        let waiting = self.progress.values().filter(|progress| !progress.in_flight);
        let next_ms = waiting.map(|progress| progress.next_ms).min()?;
        (self.in_flight() < self.pace.size()).then_some(next_ms.max(self.pace.until_ms()))
    }

    /// When [`Self::overdue`] has something to tell, in Unix milliseconds.
    pub fn overdue_ms(&self) -> Option<u64> {
        self.order.due_ms()
    }

    /// The answer to a transmitted message.
    pub fn replied(&mut self, id: [u8; 16], reply: Reply) -> Vec<Event> {
        if let Some(symmetric) =
            self.symmetric.as_mut().filter(|symmetric| symmetric.offer_id == id)
        {
            symmetric.agreed = reply == Reply::Accepted;
            return Vec::new();
        }
        let now = (self.clock)();
        // Acknowledgements and probes are always answered, and say nothing of how much is taken.
        if matches!(reply, Reply::Accepted | Reply::Receipt { .. })
            && self.progress.contains_key(&id)
        {
            self.pace.taken(now);
        }
        match reply {
            Reply::Accepted => {
                self.again_at(id, now + RECEIPT_WAIT_MS);
            }
            Reply::Busy { retry_after_ms } => {
                let [jitter] = self.random();
                self.pace.busy(now, retry_after_ms, jitter);
                // It has its turn again when the pause is over: before whatever was said after it.
                self.again_at(id, now);
            }
            // That may be because of this one message, so others do not wait for it.
            Reply::Unavailable { retry_after_ms } => {
                let said = u64::from(retry_after_ms).min(RETRY_MAX_MS);
                let pause = self.pause(id).max(said);
                self.again_at(id, now + pause);
            }
            Reply::StaleKey { service } => {
                self.symmetric = None;
                self.welcome(&service);
                let pause = if self.tries(id) <= 2 { 0 } else { self.pause(id) };
                self.again_at(id, now + pause);
            }
            Reply::Receipt { sealed } => {
                let received = self.receive(&sealed);
                let pause = self.pause(id);
                self.again_at(id, now + pause);
                return received.events;
            }
            Reply::Rejected | Reply::BadEnvelope | Reply::Hello { .. } => {
                let pause = self.pause(id);
                self.again_at(id, now + pause);
            }
        }
        Vec::new()
    }

    /// No answer came: the message may or may not have arrived.
    pub fn unanswered(&mut self, id: [u8; 16]) {
        let pause = self.pause(id);
        self.again_at(id, (self.clock)() + pause);
    }

    fn tries(&self, id: [u8; 16]) -> u32 {
        self.progress.get(&id).map_or(0, |progress| progress.tries)
    }

    /// Doubles with each try, and differs between devices.
    fn pause(&self, id: [u8; 16]) -> u64 {
        let longest = RETRY_MIN_MS.saturating_mul(1 << self.tries(id).min(7)).min(RETRY_MAX_MS);
        let [jitter] = self.random::<1>();
        longest / 2 + longest * u64::from(jitter) / 512
    }

    fn again_at(&mut self, id: [u8; 16], next_ms: u64) {
        if let Some(progress) = self.progress.get_mut(&id) {
            progress.in_flight = false;
            progress.next_ms = next_ms;
        }
    }

    fn finish(&mut self, id: [u8; 16]) {
        if let Err(error) = self.outbox.record(Change::Answered(id)) {
            // It stays and is sent again; the service knows it.
            tracing::error!(%error, "an answered message cannot be removed");
            return;
        }
        self.kept.forget(&id);
        self.progress.remove(&id);
    }
}

fn encoded<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    // Encoding into memory takes every byte.
    minicbor::to_vec(value).unwrap_or_default()
}

/// A frame header with its payload.
pub(crate) fn framed(to: [u8; 16], message_id: [u8; 16], class: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Frame { to, message_id, class }.encode();
    bytes.extend_from_slice(payload);
    bytes
}
