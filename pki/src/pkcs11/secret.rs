//! A secret in a token from which keys for sealing are derived, where there is no passphrase.
//!
//! **Invariant:** the same secret and label always give the same key. **Not here:** sealing
//! ([`crate::vault::seal_with_key`]).

use core::fmt;
use std::sync::Arc;

use cryptoki::{
    mechanism::{Mechanism, MechanismType},
    object::{Attribute, KeyType, ObjectClass},
};
use zeroize::Zeroizing;

use super::{
    TokenAddress, TokenError,
    connection::{Connection, Fault, Found, Live, kept},
};

const SECRET_BYTES: u8 = 32;
/// What is derived to see that a secret works, and thrown away.
const PROBE: &[u8] = b"fieldmesh token probe v1";

/// 256 random bits that never leave their token.
pub struct TokenSecret {
    connection: Arc<Connection>,
    address: TokenAddress,
    secret: Found,
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSecret({}, ..)", self.address)
    }
}

impl TokenSecret {
    /// The secret at an address: a CKO_SECRET_KEY that may compute CKM_SHA256_HMAC.
    ///
    /// # Errors
    /// See [`TokenError`]; a wrong PIN is tried once.
    pub fn open(address: &TokenAddress, pin: &Zeroizing<String>) -> Result<Self, TokenError> {
        let connection = Connection::open(address, pin)?;
        connection.run(|live| connection.require(live, &[MechanismType::SHA256_HMAC]))?;
        let secret = Self { connection, address: address.clone(), secret: Found::default() };
        secret.derive(PROBE)?;
        Ok(secret)
    }

    /// A new secret in the token.
    ///
    /// # Errors
    /// [`TokenError::KeyExists`] where a secret has the label already, whatever its id; otherwise
    /// as [`Self::open`].
    pub fn generate(address: &TokenAddress, pin: &Zeroizing<String>) -> Result<Self, TokenError> {
        let mut template = kept(address);
        template.push(Attribute::KeyType(KeyType::GENERIC_SECRET));
        template.push(Attribute::ValueLen(u64::from(SECRET_BYTES).into()));
        let connection = Connection::open(address, pin)?;
        connection.run(|live| {
            let needed = [MechanismType::GENERIC_SECRET_KEY_GEN, MechanismType::SHA256_HMAC];
            connection.require(live, &needed)?;
            live.refuse_existing(&[ObjectClass::SECRET_KEY], address)?;
            let writer = connection.writer(live)?;
            Ok(writer.generate_key(&Mechanism::GenericSecretKeyGen, &template)?)
        })?;
        Self::open(address, pin)
    }

    /// A key for one use: HMAC-SHA-256 (RFC 2104) of the label, which names the use.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn derive(&self, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, TokenError> {
        self.connection.run(|live| self.derive_with(live, label))
    }

    fn derive_with(&self, live: &Live, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, Fault> {
        let find = || live.find(ObjectClass::SECRET_KEY, &self.address);
        let secret = self.secret.get(live, find)?;
        let code = Zeroizing::new(live.session.sign(&Mechanism::Sha256Hmac, secret, label)?);
        let mut key = Zeroizing::new([0; 32]);
        if code.len() != key.len() {
            let answer = format!("a code of {} bytes", code.len());
            return Err(TokenError::Call { call: "CKM_SHA256_HMAC".to_owned(), answer }.into());
        }
        key.copy_from_slice(&code);
        Ok(key)
    }
}
