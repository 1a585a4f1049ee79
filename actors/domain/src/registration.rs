//! A registration: what the authority knows of one identity, and all that it was given.
//!
//! Each customer's and technician's device, operator, node and gateway has one. Who is registered
//! may get a one-time token; the token, or the token and an operator's approval, becomes a
//! certificate; a certificate becomes the next one. Revoked is not banned: a new token enrolls a
//! revoked identity again, a banned one only after it was re-admitted.
//!
//! **Invariants:** a token is spent in the event that records the certificate; the same proof with
//! the same key leads to the same certificate; nothing is issued to the banned; every certificate
//! that is in force can be revoked by its serial number. **Not here:** what a certificate says
//! (`fieldmesh_pki`), whether a request is well-formed.

mod effects;
mod types;

pub use types::{
    Approval, Command, Decision, Event, Issued, Profile, Proof, Request, Revocation, Standing,
    Token,
};

use minicbor::{Decode, Encode, bytes::ByteArray};

use crate::{
    Aggregate, Ctx, Effect, EntityId, EntityKind, Rejection, RejectionCode, TimerName, time::Millis,
};

/// Certificates kept of one identity. One is in force, and one more while it is being renewed; the
/// rest is room for a device that is enrolled anew again and again.
pub const CERTIFICATES_MAX: usize = 8;
/// Bytes of a label, and of the reason that an operator gives.
pub const TEXT_BYTES_MAX: usize = 256;
/// A request waits this long for an operator, and an approval as long for its request.
pub const REQUEST_LIFE_MS: u64 = 7 * 24 * 3600 * 1000;
/// Certificates in a row for one key: RFC 7030 §3.3.2 allows to keep it, but not for ever.
pub const SAME_KEY_MAX: usize = 3;
/// Presented tokens that are remembered: more than are minted for one identity in a week, after which
/// none of them is good.
const USED_MAX: usize = 32;
/// cessationOfOperation (RFC 5280 §5.3.1).
const CESSATION: u8 = 5;

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Registration {
    #[n(0)]
    pub profile: Option<Profile>,
    #[n(1)]
    pub device: Option<EntityId>,
    #[n(2)]
    pub label: String,
    #[n(3)]
    pub token: Option<Token>,
    /// The last request that had to be approved.
    #[n(4)]
    pub request: Option<Request>,
    /// Oldest first.
    #[n(5)]
    pub issued: Vec<Issued>,
    #[n(6)]
    pub banned: bool,
    /// Counts the requests, so that an old request's timer does not end a new one.
    #[n(7)]
    pub requests: u32,
    /// Hashes of the tokens that were presented last, oldest first: an invitation that comes again
    /// does not make one of them good once more.
    #[n(8)]
    pub used: Vec<ByteArray<32>>,
}

impl Registration {
    pub fn standing(&self) -> Standing {
        if self.profile.is_none() {
            return Standing::Unknown;
        }
        if self.banned {
            return Standing::Banned;
        }
        if self.request.as_ref().is_some_and(|request| request.decision == Decision::Pending) {
            return Standing::Pending;
        }
        match self.issued.as_slice() {
            [] => Standing::Registered,
            issued if issued.iter().all(|issued| issued.revoked.is_some()) => Standing::Revoked,
            _ => Standing::Active,
        }
    }

    /// The certificate issued last, if it was not revoked.
    pub fn newest(&self) -> Option<&Issued> {
        self.issued.last().filter(|issued| issued.revoked.is_none())
    }

    pub fn by_serial(&self, serial: &[u8; 16]) -> Option<&Issued> {
        self.issued.iter().find(|issued| issued.serial == *serial)
    }

    /// The certificate that this proof with this key led to.
    pub fn answer_to(&self, proof: Proof, public_key_hash: &[u8; 32]) -> Option<&Issued> {
        self.issued.iter().rev().find(|issued| {
            issued.revoked.is_none()
                && issued.proof == proof
                && issued.public_key_hash == *public_key_hash
        })
    }

    /// Whether a token was presented before.
    pub fn was_used(&self, token_hash: &[u8; 32]) -> bool {
        self.used.iter().any(|used| **used == *token_hash)
    }

    fn use_up(&mut self, token_hash: [u8; 32]) {
        if !self.was_used(&token_hash) {
            self.used.push(token_hash.into());
        }
        if self.used.len() > USED_MAX {
            self.used.remove(0);
        }
    }

    /// How many of the newest certificates in a row are for this key.
    pub fn uses_of(&self, public_key_hash: &[u8; 32]) -> usize {
        let uses = self.issued.iter().rev();
        uses.take_while(|issued| issued.public_key_hash == *public_key_hash).count()
    }

    fn register(
        &self,
        profile: Profile,
        device: Option<EntityId>,
        label: &str,
        by: &str,
    ) -> Result<Vec<Event>, Rejection> {
        if let Some(known) = self.profile {
            return if known == profile && self.device == device {
                Ok(vec![])
            } else {
                Rejection::new(RejectionCode::Exists, "the identity is registered for another use")
            };
        }
        let label = checked(label)?;
        Ok(vec![Event::Registered { profile, device, label, by: by.to_owned() }])
    }

    fn invite(&self, token: &Token, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        if self.banned {
            return Rejection::new(
                RejectionCode::Banned,
                "the identity is banned: re-admit it before it gets a token",
            );
        }
        if token.expires <= ctx.now {
            return Rejection::new(RejectionCode::Token, "the token would be expired already");
        }
        // An invitation that comes again must not make its spent token good once more.
        if self.was_used(&token.hash) || self.token.as_ref() == Some(token) {
            return Ok(vec![]);
        }
        Ok(vec![Event::Invited(token.clone())])
    }

    /// The token that may be spent now with this key.
    fn token(&self, hash: &[u8; 32], now: Millis) -> Result<&Token, Rejection> {
        if self.banned {
            return Rejection::new(RejectionCode::Banned, "the identity is banned");
        }
        match &self.token {
            Some(token) if token.hash == *hash && token.expires <= now => {
                Rejection::new(RejectionCode::Token, "the token has expired: ask for a new one")
            }
            Some(token) if token.hash == *hash => Ok(token),
            _ if self.was_used(hash) => Rejection::new(RejectionCode::Token, "the token was spent"),
            _ => Rejection::new(RejectionCode::Token, "the token is not known"),
        }
    }

    fn request(
        &self,
        token_hash: [u8; 32],
        public_key_hash: [u8; 32],
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        if let Some(request) = self.request.as_ref().filter(|last| last.token_hash == token_hash) {
            return match &request.decision {
                _ if request.public_key_hash != public_key_hash => Rejection::new(
                    RejectionCode::Token,
                    "the token was presented with another key before",
                ),
                Decision::Denied { .. } => {
                    Rejection::new(RejectionCode::Denied, "an operator denied the request")
                }
                Decision::Pending | Decision::Approved(_) => Ok(vec![]),
            };
        }
        let token = self.token(&token_hash, ctx.now)?;
        let request = Request {
            token_hash,
            public_key_hash,
            asked_at: ctx.now,
            decision: Decision::Pending,
            minted_by: token.by.clone(),
            approval: token.approval,
        };
        let lapses = Millis(ctx.now.0.saturating_add(REQUEST_LIFE_MS));
        Ok(vec![Event::Requested { request, lapses }])
    }

    fn pending(&self) -> Result<&Request, Rejection> {
        match &self.request {
            Some(request) if request.decision == Decision::Pending => Ok(request),
            _ => Rejection::new(RejectionCode::NotNow, "no request waits for a decision"),
        }
    }

    fn approve(&self, by: &str, key: Option<&[u8; 32]>) -> Result<Vec<Event>, Rejection> {
        self.is_about(key)?;
        let decision = self.request.as_ref().map(|request| &request.decision);
        if matches!(decision, Some(Decision::Approved(before)) if before == by) {
            return Ok(vec![]);
        }
        let request = self.pending()?;
        if request.approval == Approval::SecondPerson && request.minted_by == by {
            return Rejection::new(
                RejectionCode::SecondPerson,
                "whoever minted the token cannot approve its request: ask a second operator",
            );
        }
        Ok(vec![Event::Approved { by: by.to_owned() }])
    }

    /// Whether the request is the one that the operator looked at.
    fn is_about(&self, key: Option<&[u8; 32]>) -> Result<(), Rejection> {
        let own = self.request.as_ref().map(|request| &request.public_key_hash);
        match (own, key) {
            (Some(own), Some(key)) if own != key => Rejection::new(
                RejectionCode::NotNow,
                "another request, for another key, waits now: look at it first",
            ),
            _ => Ok(()),
        }
    }

    fn deny(&self, by: &str, why: &str, key: Option<&[u8; 32]>) -> Result<Vec<Event>, Rejection> {
        self.is_about(key)?;
        let decision = self.request.as_ref().map(|request| &request.decision);
        if matches!(decision, Some(Decision::Denied { by: before, .. }) if before == by) {
            return Ok(vec![]);
        }
        self.pending()?;
        Ok(vec![Event::Denied { by: by.to_owned(), why: checked(why)? }])
    }

    /// Whether a certificate may be recorded for this proof; who approved it.
    fn grant(&self, issued: &Issued, ctx: &Ctx) -> Result<Option<String>, Rejection> {
        let hash = match issued.proof {
            Proof::Token(hash) => hash,
            Proof::Certificate(serial) => {
                if self.banned {
                    return Rejection::new(RejectionCode::Banned, "the identity is banned");
                }
                return match self.by_serial(&serial) {
                    Some(before) if before.revoked.is_none() => Ok(None),
                    Some(_) => {
                        Rejection::new(RejectionCode::Revoked, "the certificate was revoked")
                    }
                    None => Rejection::new(RejectionCode::Unknown, "the certificate is not known"),
                };
            }
        };
        let request = self.request.as_ref().filter(|request| request.token_hash == hash);
        if let Some(request) = request {
            return match &request.decision {
                _ if request.public_key_hash != issued.public_key_hash => Rejection::new(
                    RejectionCode::Token,
                    "the token was presented with another key before",
                ),
                _ if self.banned => Rejection::new(RejectionCode::Banned, "the identity is banned"),
                Decision::Approved(by) => Ok(Some(by.clone())),
                Decision::Pending => {
                    Rejection::new(RejectionCode::NotNow, "the request waits for an operator")
                }
                Decision::Denied { .. } => {
                    Rejection::new(RejectionCode::Denied, "an operator denied the request")
                }
            };
        }
        let token = self.token(&hash, ctx.now)?;
        if token.approval == Approval::None {
            Ok(None)
        } else {
            Rejection::new(RejectionCode::NotNow, "the request waits for an operator")
        }
    }

    fn enroll(&self, issued: &Issued, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        if self.answer_to(issued.proof, &issued.public_key_hash).is_some() && !self.banned {
            return Ok(vec![]);
        }
        if self.by_serial(&issued.serial).is_some() {
            return Rejection::new(
                RejectionCode::Exists,
                "the identity had a certificate with this serial number before",
            );
        }
        let approved_by = self.grant(issued, ctx)?;
        if self.uses_of(&issued.public_key_hash) >= SAME_KEY_MAX {
            return Rejection::new(RejectionCode::Limit, "the key was certified often enough");
        }
        let now_s = ctx.now.0 / 1000;
        let expired = self.issued.iter().take_while(|old| old.not_after < now_s).count();
        if self.issued.len() - expired >= CERTIFICATES_MAX {
            return Rejection::new(
                RejectionCode::Limit,
                "the identity has 8 certificates that have not expired",
            );
        }
        let forgotten = u8::try_from(expired).unwrap_or(u8::MAX);
        Ok(vec![Event::Enrolled { issued: issued.clone(), forgotten, approved_by }])
    }

    fn revoke(
        &self,
        serial: Option<&[u8; 16]>,
        revocation: Revocation,
        by: &str,
    ) -> Result<Vec<Event>, Rejection> {
        if let Some(serial) = serial
            && self.by_serial(serial).is_none()
        {
            return Rejection::new(RejectionCode::Unknown, "the certificate is not known");
        }
        let serials: Vec<_> = self
            .issued
            .iter()
            .filter(|issued| issued.revoked.is_none())
            .filter(|issued| serial.is_none_or(|serial| issued.serial == *serial))
            .map(|issued| issued.serial.into())
            .collect();
        if serials.is_empty() {
            return Ok(vec![]);
        }
        Ok(vec![Event::Revoked { serials, revocation, by: by.to_owned() }])
    }

    fn ban(&self, why: &str, by: &str, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        if self.banned {
            return Ok(vec![]);
        }
        let why = checked(why)?;
        let revocation = Revocation { at: ctx.now, reason: CESSATION, banned: true };
        let mut events = self.revoke(None, revocation, by)?;
        events.push(Event::Banned { why, by: by.to_owned() });
        Ok(events)
    }
}

/// A text that an operator gave, within bounds.
fn checked(text: &str) -> Result<String, Rejection> {
    if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        return Rejection::new(
            RejectionCode::Invalid,
            "a label or reason has at most 256 bytes and no control characters",
        );
    }
    Ok(text.to_owned())
}

impl Aggregate for Registration {
    type Command = Command;
    type Event = Event;
    const KIND: EntityKind = EntityKind::Registration;

    fn decide(&self, command: &Command, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        if self.profile.is_none() && !matches!(command, Command::Register { .. }) {
            return Rejection::new(RejectionCode::Unknown, "there is no such identity");
        }
        match command {
            Command::Register { profile, device, label, by } => {
                self.register(*profile, *device, label, by)
            }
            Command::Invite(token) => self.invite(token, ctx),
            Command::Request { token_hash, public_key_hash } => {
                self.request(*token_hash, *public_key_hash, ctx)
            }
            Command::Approve { by, key } => self.approve(by, key.as_deref()),
            Command::Deny { by, why, key } => self.deny(by, why, key.as_deref()),
            Command::Enroll(issued) => self.enroll(issued, ctx),
            Command::Revoke { serial, reason, by } => {
                let revocation = Revocation { at: ctx.now, reason: *reason, banned: false };
                self.revoke(serial.as_ref(), revocation, by)
            }
            Command::Ban { why, by } => self.ban(why, by, ctx),
            Command::Readmit { by } if self.banned => {
                Ok(vec![Event::Readmitted { by: by.clone() }])
            }
            Command::Readmit { .. } => Ok(vec![]),
            Command::Timer { name: TimerName::Deadline, generation } => {
                let waits = self.request.as_ref().is_some_and(|request| {
                    matches!(request.decision, Decision::Pending | Decision::Approved(_))
                });
                let is_due = waits && *generation == self.requests;
                Ok(if is_due { vec![Event::Lapsed] } else { vec![] })
            }
            Command::Timer { .. } => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Registered { profile, device, label, .. } => {
                self.profile = Some(*profile);
                self.device = *device;
                self.label.clone_from(label);
            }
            Event::Invited(token) => self.token = Some(token.clone()),
            Event::Requested { request, .. } => {
                self.token = None;
                self.use_up(request.token_hash);
                self.request = Some(request.clone());
                self.requests = self.requests.wrapping_add(1);
            }
            Event::Approved { by } => self.decided(Decision::Approved(by.clone())),
            Event::Denied { by, why } => {
                self.decided(Decision::Denied { by: by.clone(), why: why.clone() });
            }
            Event::Lapsed => self.request = None,
            Event::Enrolled { issued, forgotten, .. } => {
                let forgotten = usize::from(*forgotten).min(self.issued.len());
                self.issued.drain(..forgotten);
                self.issued.push(issued.clone());
                let Proof::Token(hash) = issued.proof else { return };
                self.use_up(hash);
                self.token.take_if(|token| token.hash == hash);
                self.request.take_if(|request| request.token_hash == hash);
            }
            Event::Revoked { serials, revocation, .. } => {
                for issued in &mut self.issued {
                    if serials.iter().any(|serial| **serial == issued.serial) {
                        issued.revoked = Some(*revocation);
                    }
                }
            }
            Event::Banned { .. } => {
                self.banned = true;
                (self.token, self.request) = (None, None);
            }
            Event::Readmitted { .. } => self.banned = false,
        }
    }

    fn react(&self, event: &Event, id: EntityId) -> Vec<Effect> {
        self.effects(event, id)
    }
}

impl Registration {
    fn decided(&mut self, decision: Decision) {
        if let Some(request) = &mut self.request {
            request.decision = decision;
        }
    }
}
