//! Secrets at rest: AES-256-GCM under a passphrase through Argon2id (RFC 9106), or under a key that
//! is kept elsewhere ([`crate::pkcs11::TokenSecret`]).
//!
//! Layout: `FMV1 | memory KiB u32 | passes u32 | salt 16 | nonce 12 | ciphertext and tag` under a
//! passphrase, `FMK1 | nonce 12 | ciphertext and tag` under a key; everything before the nonce is
//! authenticated with it. **Invariants:** the first four bytes say how a file is sealed; wrong
//! passphrase or key and damage look alike.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

const MAGIC: &[u8; 4] = b"FMV1";
const KEY_MAGIC: &[u8; 4] = b"FMK1";
const HEADER_BYTES: usize = 4 + 4 + 4 + 16;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// RFC 9106 §4, second choice: 64 MiB and three passes. No release has written another cost, and a file that
/// asks for one is refused before any work is done for it: it may be anybody's.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;

/// Why a vault is not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    #[error("the file is not a sealed vault of this version")]
    Malformed,
    #[error("the passphrase or key is wrong, or the file is damaged")]
    Refused,
}

/// What opens a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealing {
    Passphrase,
    Key,
}

/// How a file is sealed, by its first bytes; nothing for what is not a vault of this version.
pub fn sealing(sealed: &[u8]) -> Option<Sealing> {
    match sealed.first_chunk() {
        Some(MAGIC) => Some(Sealing::Passphrase),
        Some(KEY_MAGIC) => Some(Sealing::Key),
        _ => None,
    }
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
    key_cipher(&key)
}

fn key_cipher(key: &[u8; 32]) -> Result<LessSafeKey, VaultError> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| VaultError::Malformed)
}

/// `header | nonce | ciphertext and tag`.
fn seal_behind(
    header: Vec<u8>,
    cipher: &LessSafeKey,
    plain: &[u8],
    nonce: [u8; NONCE_BYTES],
) -> Result<Vec<u8>, VaultError> {
    // Room for the tag, so that no copy of the plain bytes is left where it grew from.
    let mut content = Vec::with_capacity(plain.len() + TAG_BYTES);
    content.extend_from_slice(plain);
    let unique = Nonce::assume_unique_for_key(nonce);
    cipher
        .seal_in_place_append_tag(unique, Aad::from(&header), &mut content)
        .map_err(|_| VaultError::Refused)?;
    Ok([&header[..], &nonce, &content].concat())
}

fn open_behind(
    header: &[u8],
    cipher: &LessSafeKey,
    nonce: [u8; NONCE_BYTES],
    content: &[u8],
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let mut plain = Zeroizing::new(content.to_vec());
    let length = cipher
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(header), &mut plain)
        .map_err(|_| VaultError::Refused)?
        .len();
    plain.truncate(length);
    Ok(plain)
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
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&MEMORY_KIB.to_be_bytes());
    header.extend_from_slice(&PASSES.to_be_bytes());
    header.extend_from_slice(&salt);
    seal_behind(header, &cipher(passphrase, MEMORY_KIB, PASSES, &salt)?, plain, nonce)
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
    if header[..4] != *MAGIC || (memory_kib, passes) != (MEMORY_KIB, PASSES) {
        return Err(VaultError::Malformed);
    }
    open_behind(header, &cipher(passphrase, memory_kib, passes, &header[12..])?, *nonce, content)
}

/// Seals secrets under a random key; the nonce must be random.
///
/// # Errors
/// Only where there are more secrets than AES-GCM may seal at once.
pub fn seal_with_key(key: &[u8; 32], plain: &[u8], nonce: [u8; 12]) -> Result<Vec<u8>, VaultError> {
    seal_behind(KEY_MAGIC.to_vec(), &key_cipher(key)?, plain, nonce)
}

/// Opens what [`seal_with_key`] made.
///
/// # Errors
/// See [`VaultError`].
pub fn open_with_key(key: &[u8; 32], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let (header, rest) = sealed.split_first_chunk::<4>().ok_or(VaultError::Malformed)?;
    let (nonce, content) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Malformed)?;
    if header != KEY_MAGIC {
        return Err(VaultError::Malformed);
    }
    open_behind(header, &key_cipher(key)?, *nonce, content)
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
        assert_eq!(open(b"horse", &sealed[..20]), Err(VaultError::Malformed));
    }

    /// The last would need four times the memory and five times the passes.
    #[test]
    fn a_file_that_asks_for_another_cost_is_refused_before_any_work() {
        let sealed = seal(b"horse", b"secret", [1; 16], [2; 12]).unwrap();
        let asked = |memory_kib: u32, passes: u32| {
            let mut asking = sealed.clone();
            asking[4..8].copy_from_slice(&memory_kib.to_be_bytes());
            asking[8..12].copy_from_slice(&passes.to_be_bytes());
            open(b"horse", &asking)
        };
        assert_eq!(asked(MEMORY_KIB, PASSES).as_deref().map(Vec::as_slice), Ok(&b"secret"[..]));
        let others = [
            (u32::MAX, PASSES),
            (MEMORY_KIB, u32::MAX),
            (MEMORY_KIB + 1, PASSES),
            (MEMORY_KIB, PASSES + 1),
            (8, 1),
            (256 * 1024, 16),
        ];
        for (memory_kib, passes) in others {
            let refused = Err(VaultError::Malformed);
            assert_eq!(asked(memory_kib, passes), refused, "{memory_kib} KiB, {passes} passes");
        }
    }

    #[test]
    fn only_the_key_opens_it_and_any_change_is_noticed() {
        let sealed = seal_with_key(&[7; 32], b"secret", [2; 12]).unwrap();
        assert_eq!(sealed.len(), 4 + 12 + 6 + 16);
        assert_eq!(&**open_with_key(&[7; 32], &sealed).unwrap(), b"secret");
        assert_eq!(open_with_key(&[8; 32], &sealed), Err(VaultError::Refused));
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            let expected = if at < 4 { VaultError::Malformed } else { VaultError::Refused };
            assert_eq!(open_with_key(&[7; 32], &bad), Err(expected), "byte {at}");
            assert!(open_with_key(&[7; 32], &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_vault_says_how_it_is_sealed() {
        let by_key = seal_with_key(&[7; 32], b"secret", [2; 12]).unwrap();
        let by_passphrase = seal(b"horse", b"secret", [1; 16], [2; 12]).unwrap();
        assert_eq!(sealing(&by_key), Some(Sealing::Key));
        assert_eq!(sealing(&by_passphrase), Some(Sealing::Passphrase));
        for other in [&b""[..], b"FMK", b"FMV2..", b"-----BEGIN"] {
            assert_eq!(sealing(other), None);
        }
        assert_eq!(open(b"horse", &by_key), Err(VaultError::Malformed));
        assert_eq!(open_with_key(&[7; 32], &by_passphrase), Err(VaultError::Malformed));
    }

    /// As OpenSSL computes it, with the magic as additional data.
    #[test]
    fn a_file_of_another_implementation_is_the_same() {
        let sealed = seal_with_key(&[7; 32], b"secret", [2; 12]).unwrap();
        let expected = [
            0x69, 0xd1, 0x8a, 0x75, 0x3e, 0x9f, 0xa2, 0x08, 0x32, 0x1c, 0x13, 0xe5, 0x69, 0xc5,
            0xe3, 0xd9, 0x24, 0x97, 0x9a, 0x1a, 0x3e, 0xff,
        ];
        assert_eq!(sealed[..4], *b"FMK1");
        assert_eq!(sealed[4..16], [2; 12]);
        assert_eq!(sealed[16..], expected);
    }

    /// As OpenSSL computes Argon2id and the rest, with everything before the nonce as additional data.
    #[test]
    fn a_file_of_another_implementation_under_a_passphrase_is_the_same() {
        let sealed = seal(b"horse", b"secret", [1; 16], [2; 12]).unwrap();
        let expected = [
            0x17, 0x35, 0x51, 0x98, 0xaa, 0xb6, 0x39, 0x7d, 0x20, 0xdc, 0xa8, 0x28, 0x61, 0xe5,
            0x38, 0xfd, 0xcc, 0xe6, 0x7a, 0x56, 0xf2, 0x7f,
        ];
        assert_eq!(sealed[..12], *b"FMV1\x00\x01\x00\x00\x00\x00\x00\x03");
        assert_eq!((&sealed[12..28], &sealed[28..40]), (&[1; 16][..], &[2; 12][..]));
        assert_eq!(sealed[40..], expected);
    }
}
