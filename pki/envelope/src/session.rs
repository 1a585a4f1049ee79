//! The symmetric mode: A256GCM under keys that a signed session message carried.
//!
//! Each direction has its own key and counter; every 1024 messages the key is replaced by its hash
//! and the old one is gone. The signature inside stays. **Invariant:** a counter is used only after
//! its block was reserved, so a crash skips counters and never repeats one.

use core::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{
    DecodeError, Frame, OpenError, ReplayWindow, SealError, SeqVerdict, Signed,
    cbor::{MAP, Reader, Writer},
    encrypt0::{ALG_A256GCM, Outer, OuterKind, additional, write_outer, write_protected},
};

/// Messages under one key of the ratchet.
const RATCHET_EVERY: u64 = 1024;
/// Steps that a receiver follows at once: bounds the work that one message can cause.
const SKIP_MAX: u64 = 16;
const LABEL_IV: i64 = 5;

type Key = Zeroizing<[u8; 32]>;

/// The content of a signed session message.
pub struct SessionOffer {
    pub sid: [u8; 8],
    /// From the one who offers.
    outbound: Key,
    /// To the one who offers.
    inbound: Key,
    /// Unix seconds.
    pub expires: u64,
}

impl fmt::Debug for SessionOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionOffer({:02x?})", self.sid)
    }
}

impl SessionOffer {
    /// A session from 72 random bytes.
    pub fn new(random: &Zeroizing<[u8; 72]>, expires: u64) -> Self {
        let (mut sid, mut outbound, mut inbound) = ([0; 8], Key::default(), Key::default());
        sid.copy_from_slice(&random[..8]);
        outbound.copy_from_slice(&random[8..40]);
        inbound.copy_from_slice(&random[40..]);
        Self { sid, outbound, inbound, expires }
    }

    pub fn encode_body(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::default();
        writer
            .head(MAP, 5)
            .uint(1)
            .bytes(&self.sid)
            .uint(2)
            .bytes(&*self.outbound)
            .uint(3)
            .bytes(&*self.inbound);
        writer.uint(4).int(ALG_A256GCM).uint(5).uint(self.expires);
        Zeroizing::new(writer.0)
    }

    /// # Errors
    /// Anything but the one encoding.
    pub fn decode_body(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.exactly(MAP, 5)?;
        reader.key(1)?;
        let sid = reader.fixed()?;
        reader.key(2)?;
        let outbound: Key = Zeroizing::new(reader.fixed()?);
        reader.key(3)?;
        let inbound: Key = Zeroizing::new(reader.fixed()?);
        // Both directions count from zero: under one key they would use each nonce twice.
        if bool::from(outbound.ct_eq(&*inbound)) {
            return Err(reader.shape());
        }
        reader.key(4)?;
        if reader.int()? != ALG_A256GCM {
            return Err(DecodeError::Algorithm);
        }
        reader.key(5)?;
        let expires = reader.uint()?;
        reader.end()?;
        Ok(Self { sid, outbound, inbound, expires })
    }

    /// The two ends as the one who offers has them.
    pub fn offering_ends(&self) -> (SessionSender, SessionReceiver) {
        (
            SessionSender::new(self.sid, &self.outbound),
            SessionReceiver::new(self.sid, &self.inbound),
        )
    }

    /// The two ends as the other has them.
    pub fn answering_ends(&self) -> (SessionSender, SessionReceiver) {
        (
            SessionSender::new(self.sid, &self.inbound),
            SessionReceiver::new(self.sid, &self.outbound),
        )
    }
}

struct OkmLength;

impl KeyType for OkmLength {
    fn len(&self) -> usize {
        32
    }
}

fn ratchet(key: &Key) -> Option<Key> {
    let mut next = Key::default();
    let secret = Salt::new(HKDF_SHA256, &[]).extract(&**key);
    secret.expand(&[b"esd ratchet"], OkmLength).ok()?.fill(&mut *next).ok()?;
    Some(next)
}

fn cipher(key: &Key) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, &**key).ok().map(LessSafeKey::new)
}

fn iv(counter: u64) -> [u8; 12] {
    let mut iv = [0; 12];
    iv[4..].copy_from_slice(&counter.to_be_bytes());
    iv
}

/// The sending end of a direction.
pub struct SessionSender {
    sid: [u8; 8],
    key: Key,
    step: u64,
    next: u64,
    reserved: u64,
}

impl fmt::Debug for SessionSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionSender({:02x?}, next {})", self.sid, self.next)
    }
}

impl SessionSender {
    fn new(sid: [u8; 8], key: &Key) -> Self {
        Self { sid, key: key.clone(), step: 0, next: 0, reserved: 0 }
    }

    /// Allows counters below `until`; the caller has made durable that they may be used.
    pub fn reserve(&mut self, until: u64) {
        self.reserved = self.reserved.max(until);
    }

    /// The first counter that was never allowed: where a restarted sender goes on.
    pub fn reserved_until(&self) -> u64 {
        self.reserved
    }

    /// Goes on at a counter, after a restart.
    ///
    /// # Errors
    /// Where the ratchet fails.
    pub fn resume_at(&mut self, counter: u64) -> Result<(), SealError> {
        self.next = self.next.max(counter);
        self.reserved = self.reserved.max(counter);
        self.turn()
    }

    fn turn(&mut self) -> Result<(), SealError> {
        while self.step < self.next / RATCHET_EVERY {
            self.key = ratchet(&self.key).ok_or(SealError::Key)?;
            self.step += 1;
        }
        Ok(())
    }

    /// Seals a signed message, bound to its frame.
    ///
    /// # Errors
    /// [`SealError::Counter`] where no counter is reserved.
    pub fn seal(&mut self, signed: &Signed, frame: &Frame) -> Result<Vec<u8>, SealError> {
        if self.next >= self.reserved {
            return Err(SealError::Counter);
        }
        self.turn()?;
        let iv = iv(self.next);
        let protected = write_protected(ALG_A256GCM, &self.sid);
        let aad = Aad::from(additional(&protected, frame));
        let mut sealed = signed.as_bytes().to_vec();
        let cipher = cipher(&self.key).ok_or(SealError::Key)?;
        cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(iv), aad, &mut sealed)
            .map_err(|_| SealError::Key)?;
        self.next += 1;
        Ok(write_outer(&protected, LABEL_IV, &iv, &sealed))
    }
}

/// The receiving end of a direction.
pub struct SessionReceiver {
    sid: [u8; 8],
    key: Key,
    step: u64,
    window: ReplayWindow,
}

impl fmt::Debug for SessionReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionReceiver({:02x?})", self.sid)
    }
}

impl SessionReceiver {
    fn new(sid: [u8; 8], key: &Key) -> Self {
        Self { sid, key: key.clone(), step: 0, window: ReplayWindow::default() }
    }

    /// Opens a sealed message. Messages of an earlier ratchet step no longer open: the sender seals
    /// them anew.
    ///
    /// # Errors
    /// See [`OpenError`]; the state moves only when the message opened.
    pub fn open(&mut self, outer: &[u8], frame: &Frame) -> Result<Signed, OpenError> {
        let outer = Outer::read(outer).map_err(OpenError::Malformed)?;
        match outer.kind {
            OuterKind::Session { sid } if sid == self.sid => {}
            OuterKind::Session { sid } => return Err(OpenError::UnknownKey { kid: sid }),
            OuterKind::Hpke { kid } => return Err(OpenError::UnknownKey { kid }),
        }
        let nonce: [u8; 12] = outer.unprotected.try_into().map_err(|_| OpenError::Failed)?;
        let counter =
            nonce[4..].iter().fold(0_u64, |counter, byte| counter << 8 | u64::from(*byte));
        if nonce[..4] != [0; 4] || counter == u64::MAX {
            return Err(OpenError::Failed);
        }
        // The window counts from 1.
        if self.window.check(counter + 1) != SeqVerdict::Fresh {
            return Err(OpenError::Counter);
        }
        let step = counter / RATCHET_EVERY;
        let ahead = step
            .checked_sub(self.step)
            .filter(|ahead| *ahead <= SKIP_MAX)
            .ok_or(OpenError::Counter)?;
        let mut key = self.key.clone();
        for _ in 0..ahead {
            key = ratchet(&key).ok_or(OpenError::Failed)?;
        }
        let mut plain = outer.ciphertext.to_vec();
        let aad = Aad::from(additional(outer.protected, frame));
        let cipher = cipher(&key).ok_or(OpenError::Failed)?;
        let length = cipher
            .open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut plain)
            .map_err(|_| OpenError::Failed)?
            .len();
        plain.truncate(length);
        let signed = Signed::from_bytes(plain).map_err(|_| OpenError::Failed)?;
        (self.key, self.step) = (key, step);
        self.window.accept(counter + 1);
        Ok(signed)
    }
}
