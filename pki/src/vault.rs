//! Secrets at rest under a passphrase: Argon2id (RFC 9106) and AES-256-GCM.
//!
//! Layout: `FMV1 | memory KiB u32 | passes u32 | salt 16 | nonce 12 | ciphertext and tag`; everything
//! before the nonce is authenticated with it. **Invariant:** wrong passphrase and damage look alike.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

const MAGIC: &[u8; 4] = b"FMV1";
const HEADER_BYTES: usize = 4 + 4 + 4 + 16;
const NONCE_BYTES: usize = 12;
/// RFC 9106 §4, second choice: 64 MiB and three passes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// What a file may ask for, before any work is done for it.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;

/// Why a vault is not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    #[error("the file is not a sealed vault of this version")]
    Malformed,
    #[error("the passphrase is wrong or the file is damaged")]
    Refused,
}

fn cipher(
    passphrase: &[u8],
    memory_kib: u32,
    passes: u32,
    salt: &[u8],
) -> Result<LessSafeKey, VaultError> {
    let params = Params::new(memory_kib, passes, 1, Some(32)).map_err(|_| VaultError::Malformed)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut *key)
        .map_err(|_| VaultError::Malformed)?;
    UnboundKey::new(&AES_256_GCM, &*key).map(LessSafeKey::new).map_err(|_| VaultError::Malformed)
}

/// Seals secrets; salt and nonce must be random.
///
/// # Errors
/// Only where the machine has not the memory for it.
pub fn seal(
    passphrase: &[u8],
    plain: &[u8],
    salt: [u8; 16],
    nonce: [u8; 12],
) -> Result<Vec<u8>, VaultError> {
    let mut sealed = Vec::with_capacity(HEADER_BYTES + NONCE_BYTES + plain.len() + 16);
    sealed.extend_from_slice(MAGIC);
    sealed.extend_from_slice(&MEMORY_KIB.to_be_bytes());
    sealed.extend_from_slice(&PASSES.to_be_bytes());
    sealed.extend_from_slice(&salt);
    let header = sealed.clone();
    sealed.extend_from_slice(&nonce);
    let mut content = plain.to_vec();
    cipher(passphrase, MEMORY_KIB, PASSES, &salt)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(header),
            &mut content,
        )
        .map_err(|_| VaultError::Refused)?;
    sealed.extend_from_slice(&content);
    Ok(sealed)
}

/// Opens what [`seal`] made.
///
/// # Errors
/// See [`VaultError`].
pub fn open(passphrase: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let (header, rest) = sealed.split_at_checked(HEADER_BYTES).ok_or(VaultError::Malformed)?;
    let (nonce, content) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Malformed)?;
    let number = |at: usize| {
        header[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
    };
    let (memory_kib, passes) = (number(4), number(8));
    if header[..4] != *MAGIC || memory_kib > MEMORY_KIB_MAX || passes > PASSES_MAX {
        return Err(VaultError::Malformed);
    }
    let mut plain = Zeroizing::new(content.to_vec());
    let length = cipher(passphrase, memory_kib, passes, &header[12..])?
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(header), &mut plain)
        .map_err(|_| VaultError::Refused)?
        .len();
    plain.truncate(length);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn only_the_passphrase_opens_it_and_any_change_is_noticed() {
        let sealed = seal(b"horse", b"secret", [1; 16], [2; 12]).unwrap();
        assert_eq!(&**open(b"horse", &sealed).unwrap(), b"secret");
        assert_eq!(open(b"house", &sealed), Err(VaultError::Refused));
        for at in [12, 20, 29, HEADER_BYTES + NONCE_BYTES, sealed.len() - 1] {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(open(b"horse", &bad), Err(VaultError::Refused), "byte {at}");
        }
        let mut greedy = sealed.clone();
        greedy[4] = 0xff;
        assert_eq!(open(b"horse", &greedy), Err(VaultError::Malformed));
        assert_eq!(open(b"horse", &sealed[..20]), Err(VaultError::Malformed));
    }
}
