//! How a connection seals: under the device's HPKE key, or under session keys once both agreed.
//!
//! **Invariants:** a connection agrees on session keys at most once, and they end with it, so that
//! no counter is ever used twice under one key; what comes under any other session is answered
//! "unknown key", and the device seals it anew. **Not here:** the format (`fieldmesh_envelope`), who
//! may send (`intake`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use fieldmesh_envelope::{
    Frame, HpkePublicKey, OpenError, SealError, SessionOffer, SessionReceiver, SessionSender,
    Signed, seal,
};

/// Session keys live at most this long, whatever the device offers.
const LIFE_MAX_S: u64 = 24 * 3600;
/// An offer is for this connection, so it was signed just now: an old one is a replay.
const OFFER_AGE_MAX_S: u64 = 300;

/// Why an offer of session keys is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    #[error("the connection has session keys already")]
    Agreed,
    #[error("the offer is too old, or its keys would live too long or not at all")]
    Time,
}

/// The sealing state of one connection.
#[derive(Default)]
pub struct Channel {
    /// The device's newest HPKE key, once it said hello.
    hpke: Mutex<Option<HpkePublicKey>>,
    session: Mutex<Option<Session>>,
}

struct Session {
    sender: SessionSender,
    receiver: SessionReceiver,
    expires_s: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under these locks is one assignment or one message: a panic leaves them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channel {
    /// The device said hello with this key.
    pub fn learn(&self, key: HpkePublicKey) {
        *lock(&self.hpke) = Some(key);
    }

    /// Whether the device's key is known, so that something can be sealed for it.
    pub fn is_known(&self) -> bool {
        lock(&self.hpke).is_some()
    }

    /// Takes the device's offer, signed at `signed_s`.
    ///
    /// # Errors
    /// See [`OfferError`]; the connection goes on as before.
    pub fn agree(&self, offer: &SessionOffer, signed_s: u64, now_s: u64) -> Result<(), OfferError> {
        let mut session = lock(&self.session);
        if session.is_some() {
            return Err(OfferError::Agreed);
        }
        let lives = offer.expires > now_s && offer.expires - now_s <= LIFE_MAX_S + OFFER_AGE_MAX_S;
        if !lives || signed_s + OFFER_AGE_MAX_S < now_s {
            return Err(OfferError::Time);
        }
        let (mut sender, receiver) = offer.answering_ends();
        // The keys end with the connection, so no counter can come back after a crash.
        sender.reserve(u64::MAX);
        *session = Some(Session { sender, receiver, expires_s: offer.expires });
        Ok(())
    }

    /// Opens what came under session keys.
    ///
    /// # Errors
    /// [`OpenError::UnknownKey`] where there are none such now; the other kinds as the format has
    /// them.
    pub fn open(
        &self,
        sid: [u8; 8],
        outer: &[u8],
        frame: &Frame,
        now_s: u64,
    ) -> Result<Signed, OpenError> {
        match lock(&self.session).as_mut().filter(|session| session.expires_s > now_s) {
            Some(session) => session.receiver.open(outer, frame),
            None => Err(OpenError::UnknownKey { kid: sid }),
        }
    }

    /// Seals for the device; none where its key is not known.
    ///
    /// # Errors
    /// Where sealing fails.
    pub fn seal(
        &self,
        signed: &Signed,
        frame: &Frame,
        now_s: u64,
    ) -> Option<Result<Vec<u8>, SealError>> {
        if let Some(session) = lock(&self.session).as_mut().filter(|s| s.expires_s > now_s) {
            return Some(session.sender.seal(signed, frame));
        }
        let key = lock(&self.hpke).clone()?;
        Some(seal(signed, frame, &key))
    }
}
