//! An EC key pair in a token.
//!
//! **Invariants:** each session proves that the private key is the public key's before it signs
//! for anybody; signatures leave in DER. **Not here:** sessions and login.

use core::fmt;
use std::sync::Arc;

use aws_lc_rs::{
    digest::{Algorithm, SHA256, SHA384, digest},
    signature::UnparsedPublicKey,
};
use cryptoki::{
    mechanism::{Mechanism, MechanismType},
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
};
use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};
use zeroize::Zeroizing;

use super::{
    TokenAddress, TokenError,
    connection::{Connection, Fault, Found, Live, kept, named},
};
use crate::KeyKind;

/// prime256v1 and secp384r1 as CKA_EC_PARAMS: their object identifiers in DER (RFC 5480 §2.1.1.1).
const P256_PARAMS: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384_PARAMS: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// What is signed to see that a key works; it is no certificate, CRL or OCSP answer.
const PROBE: &[u8] = b"fieldmesh token probe v1";

/// A curve that certification authorities have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
}

impl Curve {
    fn of(params: &[u8]) -> Option<Self> {
        [Self::P256, Self::P384].into_iter().find(|curve| curve.params() == params)
    }

    fn params(self) -> &'static [u8] {
        match self {
            Self::P256 => P256_PARAMS,
            Self::P384 => P384_PARAMS,
        }
    }

    fn kind(self) -> KeyKind {
        match self {
            Self::P256 => KeyKind::P256,
            Self::P384 => KeyKind::P384,
        }
    }

    fn hash(self) -> &'static Algorithm {
        match self {
            Self::P256 => &SHA256,
            Self::P384 => &SHA384,
        }
    }

    /// Bytes of a coordinate, and of each half of a signature.
    fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    /// The uncompressed point in CKA_EC_POINT. PKCS#11 v3.1 §6.3.3 wraps it in an OCTET STRING;
    /// some tokens give it as it is.
    fn point(self, attribute: &[u8]) -> Option<&[u8]> {
        let length = 1 + 2 * self.size();
        let point = match attribute {
            [0x04, stated, point @ ..]
                if usize::from(*stated) == length && point.len() == length =>
            {
                point
            }
            point => point,
        };
        (point.len() == length && point[0] == 4).then_some(point)
    }

    /// ECDSA-Sig-Value (RFC 3279 §2.2.3) of the token's r and s.
    fn signature(self, halves: &[u8]) -> Option<Vec<u8>> {
        let (r, s) =
            halves.split_at_checked(self.size()).filter(|(_, s)| s.len() == self.size())?;
        Some(yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_bigint_bytes(r, true);
                writer.next().write_bigint_bytes(s, true);
            });
        }))
    }
}

/// An EC key pair whose private key never leaves its token. [`SigningKey::sign`] waits while another
/// thread uses the same token.
pub struct TokenKey {
    connection: Arc<Connection>,
    address: TokenAddress,
    curve: Curve,
    point: Vec<u8>,
    private: Found,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({:?}, {}, ..)", self.kind(), self.address)
    }
}

/// Curve and point of the public key that belongs to the private one at the address.
fn read_public(live: &Live, address: &TokenAddress) -> Result<(Curve, Vec<u8>), Fault> {
    let at = || address.to_string();
    let private = live.find(ObjectClass::PRIVATE_KEY, address)?;
    let asked = [AttributeType::KeyType, AttributeType::AlwaysAuthenticate, AttributeType::Id];
    let facts = live.session.get_attributes(private, &asked)?;
    if !facts.contains(&Attribute::KeyType(KeyType::EC)) {
        return Err(TokenError::Kind(at()).into());
    }
    if facts.contains(&Attribute::AlwaysAuthenticate(true)) {
        return Err(TokenError::AlwaysAuthenticate(at()).into());
    }
    // The id is what pairs keys; labels only do where there is none.
    let has_id = |fact: &Attribute| matches!(fact, Attribute::Id(id) if !id.is_empty());
    let label = Attribute::Label(address.key_label.clone().into_bytes());
    let pairing = facts.into_iter().find(has_id).unwrap_or(label);
    let wanted = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Token(true), pairing];
    let public = match *live.session.find_objects(&wanted)? {
        [public] => public,
        [] => return Err(TokenError::NoPublicKey(at()).into()),
        _ => return Err(TokenError::SeveralKeys(at()).into()),
    };
    let asked = [AttributeType::EcParams, AttributeType::EcPoint];
    let facts = live.session.get_attributes(public, &asked)?;
    let [Attribute::EcParams(params), Attribute::EcPoint(point)] = facts.as_slice() else {
        return Err(TokenError::Kind(at()).into());
    };
    let curve = Curve::of(params).ok_or_else(|| TokenError::Kind(at()))?;
    let point = curve.point(point).ok_or_else(|| TokenError::Kind(at()))?;
    Ok((curve, point.to_vec()))
}

impl TokenKey {
    /// The key pair at an address.
    ///
    /// # Errors
    /// See [`TokenError`]; a wrong PIN is tried once.
    pub fn open(address: &TokenAddress, pin: &Zeroizing<String>) -> Result<Self, TokenError> {
        let connection = Connection::open(address, pin)?;
        let (curve, point) = connection.run(|live| {
            connection.require(live, &[MechanismType::ECDSA])?;
            read_public(live, address)
        })?;
        let private = Found::default();
        let key = Self { connection, address: address.clone(), curve, point, private };
        key.connection.run(|live| key.private(live))?;
        Ok(key)
    }

    /// A new P-256 pair in the token: for everything but a root.
    ///
    /// # Errors
    /// [`TokenError::KeyExists`] where a key has the label already, whatever its id; otherwise as
    /// [`Self::open`].
    pub fn generate(address: &TokenAddress, pin: &Zeroizing<String>) -> Result<Self, TokenError> {
        Self::generate_on(Curve::P256, address, pin)
    }

    /// A new P-384 pair in the token: for a root, which signs rarely and lives long.
    ///
    /// # Errors
    /// As [`Self::generate`].
    pub fn generate_p384(
        address: &TokenAddress,
        pin: &Zeroizing<String>,
    ) -> Result<Self, TokenError> {
        Self::generate_on(Curve::P384, address, pin)
    }

    fn generate_on(
        curve: Curve,
        address: &TokenAddress,
        pin: &Zeroizing<String>,
    ) -> Result<Self, TokenError> {
        let mut public = vec![
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(curve.params().to_vec()),
        ];
        public.extend(named(address));
        let mut private = kept(address);
        private.push(Attribute::Derive(false));
        let connection = Connection::open(address, pin)?;
        connection.run(|live| {
            let needed = [MechanismType::ECC_KEY_PAIR_GEN, MechanismType::ECDSA];
            connection.require(live, &needed)?;
            live.refuse_existing(&[ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY], address)?;
            let writer = connection.writer(live)?;
            Ok(writer.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?)
        })?;
        Self::open(address, pin)
    }

    /// Removes the pair at an address from its token; nothing where it is gone already.
    ///
    /// # Errors
    /// [`TokenError::SeveralKeys`] where the address is not one pair's; otherwise as [`Self::open`].
    pub fn destroy(address: &TokenAddress, pin: &Zeroizing<String>) -> Result<(), TokenError> {
        let connection = Connection::open(address, pin)?;
        connection.run(|live| {
            let writer = connection.writer(live)?;
            for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
                match live.find(class, address) {
                    Ok(key) => writer.destroy_object(key)?,
                    Err(Fault::Told(TokenError::NoSuchKey { .. })) => {}
                    Err(fault) => return Err(fault),
                }
            }
            Ok(())
        })
    }

    pub fn kind(&self) -> KeyKind {
        self.curve.kind()
    }

    pub fn address(&self) -> &TokenAddress {
        &self.address
    }

    /// Signs a probe and verifies it: says whether the token serves, and why not, which
    /// [`SigningKey::sign`] cannot.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn check(&self) -> Result<(), TokenError> {
        self.connection.run(|live| self.probe(live, self.private(live)?))
    }

    /// The private key's handle in this session.
    fn private(&self, live: &Live) -> Result<ObjectHandle, Fault> {
        self.private.get(live, || {
            let private = live.find(ObjectClass::PRIVATE_KEY, &self.address)?;
            self.probe(live, private)?;
            Ok(private)
        })
    }

    fn probe(&self, live: &Live, private: ObjectHandle) -> Result<(), Fault> {
        let signature = self.sign_with(live, private, PROBE)?;
        let public = UnparsedPublicKey::new(self.kind().verification(), &self.point);
        let verified = public.verify(PROBE, &signature);
        verified.map_err(|_| TokenError::Mismatch(self.address.to_string()).into())
    }

    fn sign_with(
        &self,
        live: &Live,
        private: ObjectHandle,
        message: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        // Hashed here: not every token has a mechanism that hashes as well.
        let hash = digest(self.curve.hash(), message);
        let halves = live.session.sign(&Mechanism::Ecdsa, private, hash.as_ref())?;
        let signature = self.curve.signature(&halves);
        signature.ok_or_else(|| TokenError::Mismatch(self.address.to_string()).into())
    }
}

impl PublicKeyData for TokenKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.kind().algorithm()
    }
}

impl SigningKey for TokenKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signed = self.connection.run(|live| self.sign_with(live, self.private(live)?, message));
        signed.map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;
    use crate::KeyMaterial;

    #[test]
    fn a_point_is_taken_wrapped_and_as_it_is() {
        let p256 = KeyMaterial::generate().unwrap();
        let p384 = KeyMaterial::generate_p384().unwrap();
        for (curve, other, key) in
            [(Curve::P256, Curve::P384, p256), (Curve::P384, Curve::P256, p384)]
        {
            let raw = key.public_point();
            let wrapped = yasna::construct_der(|writer| writer.write_bytes(raw));
            for form in [raw, &wrapped] {
                assert_eq!(curve.point(form), Some(raw));
                assert_eq!(other.point(form), None);
                let longer = [form, &[0]].concat();
                assert_eq!(curve.point(&longer), None);
                // A wrapped point cut to a bare one's length is not on its curve.
                for cut in (0..form.len()).filter(|cut| *cut != raw.len()) {
                    assert_eq!(curve.point(&form[..cut]), None, "cut at {cut}");
                }
            }
            let mut compressed = raw.to_vec();
            compressed[0] = 2;
            assert_eq!(curve.point(&compressed), None);
        }
    }

    #[test]
    fn halves_of_another_length_are_no_signature() {
        for (curve, size) in [(Curve::P256, 64), (Curve::P384, 96)] {
            assert!(curve.signature(&vec![1; size]).is_some());
            for wrong in [0, size / 2, size - 1, size + 1, size * 2] {
                assert_eq!(curve.signature(&vec![1; wrong]), None);
            }
        }
    }

    /// A half as OpenSSL would print it: the integer's bytes without leading zeros.
    fn stripped(half: &[u8]) -> &[u8] {
        &half[half.iter().take_while(|byte| **byte == 0).count()..]
    }

    proptest! {
        #[test]
        fn a_signature_holds_both_halves_as_positive_integers(
            mut halves in proptest::collection::vec(any::<u8>(), 64),
            zeros in 0..32usize,
        ) {
            halves[..zeros].fill(0);
            halves[63] |= 1;
            halves[31] |= 1;
            let der = Curve::P256.signature(&halves).unwrap();
            let (r, s) = yasna::parse_der(&der, |reader| {
                reader.read_sequence(|reader| {
                    Ok((reader.next().read_bigint_bytes()?, reader.next().read_bigint_bytes()?))
                })
            }).unwrap();
            prop_assert!(r.1 && s.1);
            prop_assert_eq!(stripped(&r.0), stripped(&halves[..32]));
            prop_assert_eq!(stripped(&s.0), stripped(&halves[32..]));
        }
    }
}
