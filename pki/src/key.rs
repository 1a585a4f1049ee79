//! P-256 key pairs in memory.

use core::fmt;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("no key could be made")]
    Generate,
    #[error("the bytes are not a P-256 key in PKCS#8")]
    Malformed,
}

/// A key pair; its bytes are wiped when dropped.
pub struct KeyMaterial {
    pkcs8: Zeroizing<Vec<u8>>,
    pub(crate) pair: KeyPair,
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMaterial(..)")
    }
}

impl KeyMaterial {
    /// A new pair.
    ///
    /// # Errors
    /// Where the random generator fails.
    pub fn generate() -> Result<Self, KeyError> {
        let pair =
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| KeyError::Generate)?;
        Ok(Self { pkcs8: Zeroizing::new(pair.serialize_der()), pair })
    }

    /// # Errors
    /// Where the bytes are another kind of key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let key = PrivatePkcs8KeyDer::from(der.to_vec());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_| KeyError::Malformed)?;
        Ok(Self { pkcs8: Zeroizing::new(der.to_vec()), pair })
    }

    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The uncompressed public point.
    pub fn public_point(&self) -> &[u8] {
        self.pair.public_key_raw()
    }
}
