//! Encryption at rest: payloads under data keys, data keys under the region's key.
//!
//! AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce; the additional data names the
//! kind of row and its record, so that a row moved to another place does not open. A data key seals far fewer than
//! 2^30 records, the bound for random nonces.
//!
//! The placement group spans regions, and whoever comes to lead it must read what others wrote: its data keys
//! are under [`Key::shared`], which is no secret. What it says is on each node in plain anyway, as rows.
//!
//! **Invariants:** keys are wiped when dropped and never printed; the region key is only in memory
//! here; nothing of a person's is under the shared key. **Not here:** sealing for devices (`fieldmesh_envelope`), passphrases (`fieldmesh_pki`).

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{SHA256, digest},
    hmac,
};
use fieldmesh_actors::seams::Entropy;
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// Why sealed bytes did not open: wrong key, moved or damaged record. The causes are one on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed record does not open: it is damaged or under another key")]
pub struct SealError;

/// A symmetric key.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What kind of row a sealed payload is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Events = 1,
    Snapshot = 2,
    Tell = 3,
    Mail = 4,
    Receipt = 5,
    DataKey = 6,
    /// An issuing CA's key on its way to another node of the region.
    IssuingKey = 7,
    /// A piece of a group's state in a backup.
    Backup = 8,
}

impl Key {
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        entropy.fill(&mut *bytes);
        Self(bytes)
    }

    /// What wraps the data keys of a group that all regions take part in. Every node can compute it, and so
    /// can anybody: what it protects is against damage and exchanged rows, not against being read.
    pub fn shared() -> Self {
        let digest = digest(&SHA256, b"fieldmesh: what every node of a cluster knows");
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// The key in these bytes.
    pub fn from_bytes(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self(bytes)
    }

    /// A key for another purpose that follows from this one and says nothing about it.
    pub fn derive(&self, purpose: &[u8]) -> [u8; KEY_BYTES] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*self.0), purpose);
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(tag.as_ref());
        key
    }

    /// For sealing the key under another one.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Nonce, ciphertext and tag of `plain`.
    ///
    /// # Errors
    /// Only where the plaintext is larger than the cipher allows (64 GiB).
    pub fn seal(
        &self,
        place: Place,
        record: &[u8],
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = self.cipher()?.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(additional(place, record)),
            &mut sealed[NONCE_LEN..],
        );
        sealed.extend_from_slice(tag.map_err(|_| SealError)?.as_ref());
        Ok(sealed)
    }

    /// What was sealed at this very place.
    ///
    /// # Errors
    /// [`SealError`] for anything else.
    pub fn open(
        &self,
        place: Place,
        record: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError)?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let opened = self.cipher()?.open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(additional(place, record)),
            &mut plain,
        );
        let length = opened.map_err(|_| SealError)?.len();
        plain.truncate(length);
        Ok(plain)
    }

    /// This key under `wrapping`, for `owner`.
    ///
    /// # Errors
    /// As [`Key::seal`].
    pub fn wrap(
        &self,
        wrapping: &Self,
        owner: &[u8; 16],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealError> {
        wrapping.seal(Place::DataKey, owner, self.expose(), entropy)
    }

    /// The key that was wrapped for `owner`.
    ///
    /// # Errors
    /// [`SealError`] for anything else.
    pub fn unwrap(wrapping: &Self, owner: &[u8; 16], wrapped: &[u8]) -> Result<Self, SealError> {
        let plain = wrapping.open(Place::DataKey, owner, wrapped)?;
        let bytes: [u8; KEY_BYTES] = plain.as_slice().try_into().map_err(|_| SealError)?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    fn cipher(&self) -> Result<LessSafeKey, SealError> {
        UnboundKey::new(&AES_256_GCM, &*self.0).map(LessSafeKey::new).map_err(|_| SealError)
    }
}

fn additional(place: Place, record: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(record.len() + 5);
    bytes.extend_from_slice(b"FMR1");
    bytes.push(place as u8);
    bytes.extend_from_slice(record);
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::store::rows::name;

    struct Counter(std::sync::atomic::AtomicU8);
    impl Entropy for Counter {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
    }

    #[test]
    fn a_record_opens_only_at_its_place_and_whole() {
        let entropy = Counter(0.into());
        let key = Key::generate(&entropy);
        let sealed = key.seal(Place::Events, b"one", b"secret", &entropy).unwrap();
        assert_eq!(&**key.open(Place::Events, b"one", &sealed).unwrap(), b"secret");
        assert!(key.open(Place::Events, b"two", &sealed).is_err());
        assert!(key.open(Place::Mail, b"one", &sealed).is_err());
        assert!(Key::generate(&entropy).open(Place::Events, b"one", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(key.open(Place::Events, b"one", &bad).is_err(), "byte {at}");
            assert!(key.open(Place::Events, b"one", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_wrapped_key_is_its_owners() {
        let entropy = Counter(7.into());
        let (region, data) = (Key::generate(&entropy), Key::generate(&entropy));
        let wrapped = data.wrap(&region, &[1; 16], &entropy).unwrap();
        assert_eq!(Key::unwrap(&region, &[1; 16], &wrapped).unwrap().expose(), data.expose());
        assert!(Key::unwrap(&region, &[2; 16], &wrapped).is_err());
    }

    /// As OpenSSL seals them: what is on disk is opened by every later release.
    #[test]
    fn what_is_sealed_has_the_bytes_that_it_always_had() {
        let ones = Counter(1.into());
        let eights = Key::from_bytes(Zeroizing::new([8; KEY_BYTES]));
        let sealed = eights.seal(Place::Events, b"one", b"secret", &ones).unwrap();
        assert_eq!(
            name(&sealed),
            "010101010101010101010101aa796ddabad3e64036b8eb6be9fd992fcb37b21f0f84"
        );
        assert_eq!(
            name(Key::shared().expose()),
            "3e146f5fc4a0863d313602f8944813931c0cf5f72afc97b0b53117fb9423bcba"
        );
        let ones = Counter(1.into());
        let wrapped = eights.wrap(&Key::shared(), &[5; 16], &ones).unwrap();
        let bytes = "010101010101010101010101654ada06dbb73b5feb76aab77da88bd1\
                     0190d7db575022498630d441ebb1eea7a20d753b99392769f6be11adc2808f08";
        assert_eq!(name(&wrapped), bytes);
    }
}
