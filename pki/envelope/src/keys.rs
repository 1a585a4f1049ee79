//! HPKE keys: P-256 pairs with the algorithm HPKE-7 as their record.

use core::fmt;
use std::sync::Arc;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use rustls::crypto::{aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256, hpke};
use zeroize::Zeroizing;

use crate::{
    cbor::{DecodeError, MAP, Reader, Writer},
    sign1::sha256,
};

/// HPKE-7 in the COSE registry (assumed by draft-ietf-cose-hpke): the algorithm of every key here.
pub(crate) const ALG_HPKE7: i64 = 45;
/// Keys of one recipient at a time: a week of daily ones and the newest.
const RING_KEYS_MAX: usize = 8;

/// Why a key was not made or taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("no key could be made")]
    Generate,
    #[error("the bytes are not a P-256 key pair")]
    Malformed,
    #[error("the key ring holds 8 keys already")]
    Full,
}

/// A recipient's public key.
#[derive(Clone, PartialEq, Eq)]
pub struct HpkePublicKey {
    point: [u8; 65],
    kid: [u8; 8],
}

impl fmt::Debug for HpkePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HpkePublicKey({:02x?})", self.kid)
    }
}

impl HpkePublicKey {
    /// # Errors
    /// Where the point is not uncompressed; a point off the curve fails when it is used.
    pub fn from_sec1(point: &[u8]) -> Result<Self, DecodeError> {
        let point: [u8; 65] = point.try_into().map_err(|_| DecodeError::Key)?;
        if point[0] != 4 {
            return Err(DecodeError::Key);
        }
        // RFC 9679 §4: the thumbprint covers the required members only.
        let mut key = Writer::default();
        key.head(MAP, 4)
            .uint(1)
            .uint(2)
            .int(-1)
            .uint(1)
            .int(-2)
            .bytes(&point[1..33])
            .int(-3)
            .bytes(&point[33..]);
        let mut kid = [0; 8];
        kid.copy_from_slice(&sha256(&key.0)[..8]);
        Ok(Self { point, kid })
    }

    pub fn as_sec1(&self) -> &[u8; 65] {
        &self.point
    }

    /// The first 8 bytes of the key's COSE thumbprint: a hint, never proof.
    pub fn kid(&self) -> [u8; 8] {
        self.kid
    }

    /// COSE_Key with its algorithm (RFC 9052 §7).
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.head(MAP, 5).uint(1).uint(2).uint(3).int(ALG_HPKE7).int(-1).uint(1);
        writer.int(-2).bytes(&self.point[1..33]).int(-3).bytes(&self.point[33..]);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.exactly(MAP, 5)?;
        reader.key(1)?;
        reader.key(2)?;
        reader.key(3)?;
        if reader.int()? != ALG_HPKE7 {
            return Err(DecodeError::Algorithm);
        }
        reader.key(-1)?;
        reader.key(1)?;
        reader.key(-2)?;
        let x: [u8; 32] = reader.fixed()?;
        reader.key(-3)?;
        let y: [u8; 32] = reader.fixed()?;
        let mut point = [4; 65];
        point[1..33].copy_from_slice(&x);
        point[33..].copy_from_slice(&y);
        Self::from_sec1(&point)
    }

    pub(crate) fn for_hpke(&self) -> hpke::HpkePublicKey {
        hpke::HpkePublicKey(self.point.to_vec())
    }
}

/// A recipient's private key; wiped when dropped.
pub struct HpkePrivateKey {
    secret: hpke::HpkePrivateKey,
    public: HpkePublicKey,
}

impl fmt::Debug for HpkePrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HpkePrivateKey({:02x?})", self.public.kid)
    }
}

impl HpkePrivateKey {
    /// A new pair.
    ///
    /// # Errors
    /// Where the random generator fails.
    pub fn generate() -> Result<(Self, HpkePublicKey), KeyError> {
        let suite: &dyn hpke::Hpke = DH_KEM_P256_HKDF_SHA256_AES_256;
        let (public, secret) = suite.generate_key_pair().map_err(|_| KeyError::Generate)?;
        let public = HpkePublicKey::from_sec1(&public.0).map_err(|_| KeyError::Generate)?;
        Ok((Self { secret, public: public.clone() }, public))
    }

    /// The pair as bytes for sealing at rest: public point, then secret.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(self.public.point.to_vec());
        bytes.extend_from_slice(self.secret.secret_bytes());
        bytes
    }

    /// # Errors
    /// Where the bytes are not from [`Self::to_bytes`], or the two halves are no pair.
    pub fn from_bytes(bytes: &[u8]) -> Result<(Self, HpkePublicKey), KeyError> {
        let (point, secret) = bytes.split_at_checked(65).ok_or(KeyError::Malformed)?;
        if secret.len() != 32 {
            return Err(KeyError::Malformed);
        }
        let public = HpkePublicKey::from_sec1(point).map_err(|_| KeyError::Malformed)?;
        // A secret under another's point would be noticed only by the messages that never open.
        let pair = PrivateKey::from_private_key(&ECDH_P256, secret);
        let computed = pair.map_err(|_| KeyError::Malformed)?.compute_public_key();
        if computed.map_err(|_| KeyError::Malformed)?.as_ref() != point {
            return Err(KeyError::Malformed);
        }
        let key =
            Self { secret: hpke::HpkePrivateKey::from(secret.to_vec()), public: public.clone() };
        Ok((key, public))
    }

    pub(crate) fn for_hpke(&self) -> &hpke::HpkePrivateKey {
        &self.secret
    }
}

/// The keys that open a recipient's messages, with their lives.
#[derive(Debug, Clone, Default)]
pub struct KeyRing {
    keys: Vec<Held>,
}

#[derive(Debug, Clone)]
struct Held {
    key: Arc<HpkePrivateKey>,
    not_before: u64,
    not_after: u64,
}

impl KeyRing {
    /// Adds a key for a span of Unix seconds.
    ///
    /// # Errors
    /// Where the ring is full.
    pub fn insert(
        &mut self,
        key: Arc<HpkePrivateKey>,
        not_before: u64,
        not_after: u64,
    ) -> Result<(), KeyError> {
        if self.keys.len() >= RING_KEYS_MAX {
            return Err(KeyError::Full);
        }
        self.keys.push(Held { key, not_before, not_after });
        Ok(())
    }

    /// Drops keys whose life has ended; the last owner wipes them.
    pub fn retain(&mut self, now_s: u64) {
        self.keys.retain(|held| held.not_after > now_s);
    }

    pub(crate) fn find(&self, kid: [u8; 8], now_s: u64) -> Option<&HpkePrivateKey> {
        let alive = |held: &&Held| {
            held.key.public.kid == kid
                && held.not_before <= now_s.saturating_add(300)
                && now_s < held.not_after
        };
        self.keys.iter().find(alive).map(|held| &*held.key)
    }
}
