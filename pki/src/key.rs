//! Keys: the kinds that certificates may hold, pairs in memory, and the seam behind which a
//! certification authority's private key lives.
//!
//! **Invariants:** private bytes are wiped when dropped and never printed; a public key is taken
//! only in its one DER form, with a point that is on its curve. **Not here:** which kind a profile
//! allows ([`crate::Profile`]), tokens that keep keys (they implement [`CaKey`] elsewhere).

use core::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    PublicKeyData, SignatureAlgorithm, SigningKey,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use x509_parser::{asn1_rs::Tag, prelude::FromDer, x509::SubjectPublicKeyInfo};
use zeroize::Zeroizing;

use crate::sha256;

/// id-ecPublicKey, prime256v1, secp384r1 (RFC 5480 §2.1.1).
pub(crate) const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
/// id-Ed25519 (RFC 8410 §3).
const ED25519_KEY: &str = "1.3.101.112";
/// rsaEncryption (RFC 3279 §2.3.1).
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("no key could be made")]
    Generate,
    #[error("the key does not sign")]
    Sign,
    #[error("the bytes are not a P-256 or P-384 key in PKCS#8")]
    Malformed,
    #[error("the public key is not a SubjectPublicKeyInfo of P-256, P-384, Ed25519 or RSA in DER")]
    PublicKey,
}

/// A kind of public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    P256,
    P384,
    Ed25519,
    Rsa,
}

impl KeyKind {
    /// The name that people know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Ed25519 => "Ed25519",
            Self::Rsa => "RSA",
        }
    }

    /// The kind that a key says it is; whether the key is one is not looked at.
    pub(crate) fn of(key: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        match key.algorithm.algorithm.to_id_string().as_str() {
            EC_PUBLIC_KEY => match curve(key)?.as_str() {
                P256 => Some(Self::P256),
                P384 => Some(Self::P384),
                _ => None,
            },
            ED25519_KEY => Some(Self::Ed25519),
            RSA_ENCRYPTION => Some(Self::Rsa),
            _ => None,
        }
    }

    /// Whether the content of subjectPublicKey has the length and, where it is a point of an
    /// elliptic curve, the uncompressed form that is taken. RSA keys have no form of one length.
    pub(crate) fn has_form(self, public_key: &[u8]) -> bool {
        match self {
            Self::P256 => matches!(public_key, [4, xy @ ..] if xy.len() == 2 * 32),
            Self::P384 => matches!(public_key, [4, xy @ ..] if xy.len() == 2 * 48),
            Self::Ed25519 => public_key.len() == 32,
            Self::Rsa => true,
        }
    }

    /// Whether the library takes these bytes for a public key: a point is on its curve.
    pub(crate) fn takes(self, public_key: &[u8]) -> bool {
        ParsedPublicKey::new(self.verification(), public_key).is_ok()
    }

    pub(crate) fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::P256 => &PKCS_ECDSA_P256_SHA256,
            Self::P384 => &PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &PKCS_ED25519,
            Self::Rsa => &PKCS_RSA_SHA256,
        }
    }

    pub(crate) fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1,
            Self::P384 => &ECDSA_P384_SHA384_ASN1,
            Self::Ed25519 => &ED25519,
            Self::Rsa => &RSA_PKCS1_2048_8192_SHA256,
        }
    }
}

/// The OBJECT IDENTIFIER of a key's curve, if it is named.
pub(crate) fn curve(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    // `as_oid` does not look at the tag.
    let named = key.algorithm.parameters.as_ref().filter(|any| any.tag() == Tag::Oid)?;
    named.as_oid().ok().map(|oid| oid.to_id_string())
}

/// The key that a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubjectKey {
    pub(crate) kind: KeyKind,
    bytes: Vec<u8>,
}

impl SubjectKey {
    /// From a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), DER.
    ///
    /// # Errors
    /// [`KeyError::PublicKey`] for an unknown kind, another encoding than DER, a compressed point or
    /// one that is not on its curve.
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let (_, parsed) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::PublicKey)?;
        let kind = KeyKind::of(&parsed).ok_or(KeyError::PublicKey)?;
        let bytes = parsed.subject_public_key.data.to_vec();
        let key = Self { kind, bytes };
        let is_der = key.subject_public_key_info() == der;
        if is_der && kind.has_form(&key.bytes) && kind.takes(&key.bytes) {
            Ok(key)
        } else {
            Err(KeyError::PublicKey)
        }
    }
}

impl PublicKeyData for SubjectKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.kind.algorithm()
    }
}

/// The leftmost 160 bits of SHA-256 of a public key without its algorithm (RFC 7093 §2, method 1).
pub(crate) fn key_identifier(key: &impl PublicKeyData) -> Vec<u8> {
    sha256(key.der_bytes())[..20].to_vec()
}

/// A certification authority's private key, in memory or in a token that never gives it out.
///
/// `der_bytes` is the uncompressed point, `algorithm` one of rcgen's, and `sign` hashes the message
/// and returns an ECDSA signature in DER; a token that fails returns `rcgen::Error::RemoteKeyError`.
pub trait CaKey: SigningKey + Send + Sync {}

impl<K: SigningKey + Send + Sync> CaKey for K {}

/// A P-256 or P-384 key pair; its bytes are wiped when dropped.
pub struct KeyMaterial {
    pkcs8: Zeroizing<Vec<u8>>,
    kind: KeyKind,
    pair: KeyPair,
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyMaterial({:?}, ..)", self.kind)
    }
}

impl KeyMaterial {
    /// A new P-256 pair: for everything but a root.
    ///
    /// # Errors
    /// Where the random generator fails.
    pub fn generate() -> Result<Self, KeyError> {
        Self::generate_kind(KeyKind::P256)
    }

    /// A new P-384 pair: for a root, which signs rarely and lives long.
    ///
    /// # Errors
    /// Where the random generator fails.
    pub fn generate_p384() -> Result<Self, KeyError> {
        Self::generate_kind(KeyKind::P384)
    }

    fn generate_kind(kind: KeyKind) -> Result<Self, KeyError> {
        let pair = KeyPair::generate_for(kind.algorithm()).map_err(|_| KeyError::Generate)?;
        Ok(Self { pkcs8: Zeroizing::new(pair.serialize_der()), kind, pair })
    }

    /// A throw-away pair that signs as `key` does, where `key` is of a kind that CAs have.
    pub(crate) fn generate_like(key: &dyn CaKey) -> Result<Self, KeyError> {
        let kind = [KeyKind::P256, KeyKind::P384]
            .into_iter()
            .find(|kind| kind.algorithm() == key.algorithm());
        Self::generate_kind(kind.ok_or(KeyError::Generate)?)
    }

    /// The pair from PKCS#8 (RFC 5958); [`Self::kind`] says which it is.
    ///
    /// # Errors
    /// Where the bytes are another kind of key than P-256 or P-384.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let key = PrivatePkcs8KeyDer::from(der);
        let read = |kind: KeyKind| {
            let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key, kind.algorithm()).ok()?;
            Some(Self { pkcs8: Zeroizing::new(der.to_vec()), kind, pair })
        };
        read(KeyKind::P256).or_else(|| read(KeyKind::P384)).ok_or(KeyError::Malformed)
    }

    /// The pair in PKCS#8, DER: to be sealed before it is kept.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// P-256 or P-384.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The uncompressed public point.
    pub fn public_point(&self) -> &[u8] {
        self.pair.public_key_raw()
    }

    /// SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), DER.
    pub fn spki(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }
}

impl PublicKeyData for KeyMaterial {
    fn der_bytes(&self) -> &[u8] {
        self.pair.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.kind.algorithm()
    }
}

impl SigningKey for KeyMaterial {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.pair.sign(message)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn a_pair_comes_back_as_its_own_kind_and_is_not_printed() {
        let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_der();
        assert!(KeyMaterial::from_pkcs8(&ed25519).is_err());
        for key in [KeyMaterial::generate().unwrap(), KeyMaterial::generate_p384().unwrap()] {
            let again = KeyMaterial::from_pkcs8(key.pkcs8()).unwrap();
            assert_eq!((again.kind(), again.spki()), (key.kind(), key.spki()));
            assert_eq!(format!("{key:?}"), format!("KeyMaterial({:?}, ..)", key.kind()));
            assert!(KeyMaterial::from_pkcs8(&key.pkcs8()[1..]).is_err());
        }
    }

    #[test]
    fn each_kind_of_public_key_is_taken_in_its_one_form() {
        for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Ed25519, KeyKind::Rsa] {
            let pair = KeyPair::generate_for(kind.algorithm()).unwrap();
            let spki = pair.subject_public_key_info();
            let key = SubjectKey::from_spki(&spki).unwrap();
            assert_eq!((key.kind, key.der_bytes()), (kind, pair.der_bytes()));
            assert_eq!(key.subject_public_key_info(), spki);
            let mut longer = spki.clone();
            longer.push(0);
            assert!(SubjectKey::from_spki(&longer).is_err(), "{kind:?}: bytes after the end");
            for cut in 0..spki.len() {
                assert!(SubjectKey::from_spki(&spki[..cut]).is_err(), "{kind:?} cut at {cut}");
            }
        }
        let p521 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
        assert!(SubjectKey::from_spki(&p521.subject_public_key_info()).is_err());
    }

    #[test]
    fn a_point_beside_its_curve_is_refused() {
        for key in [KeyMaterial::generate().unwrap(), KeyMaterial::generate_p384().unwrap()] {
            let mut spki = key.spki();
            *spki.last_mut().unwrap() ^= 1;
            assert_eq!(SubjectKey::from_spki(&spki), Err(KeyError::PublicKey));
        }
    }
}
