//! Objects that are too large for a message: sealed in pieces under a key that goes with a message.
//!
//! AES-256-GCM; the nonce of a piece is its number, which is sound because a key is for one object (RFC 5116
//! §3.2). What is authenticated with each piece says of which object it is and how many there are, so that
//! pieces are not exchanged, left out or cut off without notice (the STREAM construction of Hoang, Reyhanitabar,
//! Rogaway and Vizár, CRYPTO 2015).
//!
//! **Invariants:** a key is used for one object of one place, and the same bytes of it; nothing is given out that was not
//! authenticated. **Not here:** where pieces are kept, random numbers.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac::{self, HMAC_SHA256},
};
use zeroize::Zeroizing;

use crate::sha256;

/// Bytes of a piece before it is sealed; the last one is shorter.
pub const PIECE_BYTES: usize = 32 << 10;
/// Bytes that sealing adds to a piece.
pub const TAG_BYTES: usize = 16;

/// Why an object cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    #[error("an object has at least a byte, and fewer than 65536 pieces")]
    Size,
    #[error("piece {0} is not of this object, or was changed")]
    Piece(u16),
    #[error("the object is not what its message says")]
    Digest,
}

/// Which upload it is, and the key of it: from a secret of whoever uploads and from what it is, so that an
/// upload that was interrupted goes on as the same one.
pub fn upload_of(
    secret: &[u8; 32],
    object: [u8; 16],
    digest: &[u8; 32],
) -> ([u8; 16], Zeroizing<[u8; 32]>) {
    let secret = hmac::Key::new(HMAC_SHA256, secret);
    let derived = |what: &[u8]| {
        let mut context = hmac::Context::with_key(&secret);
        [what, &object, digest].iter().for_each(|part| context.update(part));
        context.sign()
    };
    let (mut upload, mut key) = ([0; 16], Zeroizing::new([0; 32]));
    upload.copy_from_slice(&derived(b"fieldmesh attachment: upload").as_ref()[..16]);
    key.copy_from_slice(derived(b"fieldmesh attachment: key").as_ref());
    (upload, key)
}

/// The key of one object.
pub struct ObjectKey {
    cipher: LessSafeKey,
    /// Which object, in 16 bytes.
    object: [u8; 16],
}

impl ObjectKey {
    /// A key of random bytes for an object.
    ///
    /// # Errors
    /// None that a key of 32 bytes has.
    pub fn new(key: &[u8; 32], object: [u8; 16]) -> Result<Self, ObjectError> {
        let cipher = UnboundKey::new(&AES_256_GCM, key).map_err(|_| ObjectError::Size)?;
        Ok(Self { cipher: LessSafeKey::new(cipher), object })
    }

    fn place(&self, index: u16, of: u16) -> ([u8; 20], Nonce) {
        let mut aad = [0; 20];
        aad[..16].copy_from_slice(&self.object);
        aad[16..18].copy_from_slice(&index.to_be_bytes());
        aad[18..].copy_from_slice(&of.to_be_bytes());
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 2..].copy_from_slice(&index.to_be_bytes());
        (aad, Nonce::assume_unique_for_key(nonce))
    }

    fn seal_piece(&self, plain: &[u8], index: u16, of: u16) -> Result<Vec<u8>, ObjectError> {
        let (aad, nonce) = self.place(index, of);
        let mut sealed = Vec::with_capacity(plain.len() + TAG_BYTES);
        sealed.extend_from_slice(plain);
        let done = self.cipher.seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed);
        done.map_err(|_| ObjectError::Size)?;
        Ok(sealed)
    }

    /// All pieces of an object, in order.
    ///
    /// # Errors
    /// An object that is empty or too large.
    pub fn seal(&self, plain: &[u8]) -> Result<Vec<Vec<u8>>, ObjectError> {
        let of = u16::try_from(plain.len().div_ceil(PIECE_BYTES)).map_err(|_| ObjectError::Size)?;
        if of == 0 {
            return Err(ObjectError::Size);
        }
        let pieces = plain.chunks(PIECE_BYTES).zip(0..of);
        pieces.map(|(piece, index)| self.seal_piece(piece, index, of)).collect()
    }

    /// The object of all its pieces, if it has this SHA-256.
    ///
    /// # Errors
    /// A piece that is missing, of another object or changed.
    pub fn open(
        &self,
        pieces: Vec<Vec<u8>>,
        digest: &[u8; 32],
    ) -> Result<Zeroizing<Vec<u8>>, ObjectError> {
        let of = u16::try_from(pieces.len()).map_err(|_| ObjectError::Size)?;
        let mut plain = Zeroizing::new(Vec::with_capacity(pieces.len() * PIECE_BYTES));
        for (mut piece, index) in pieces.into_iter().zip(0..of) {
            let (aad, nonce) = self.place(index, of);
            let opened = self.cipher.open_in_place(nonce, Aad::from(aad), &mut piece);
            plain.extend_from_slice(opened.map_err(|_| ObjectError::Piece(index))?);
        }
        if sha256(&plain) != *digest { Err(ObjectError::Digest) } else { Ok(plain) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn plain(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else() {
        let key = ObjectKey::new(&[7; 32], [1; 16]).unwrap();
        for length in [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            let plain = plain(length);
            let pieces = key.seal(&plain).unwrap();
            assert_eq!(pieces.len(), length.div_ceil(PIECE_BYTES));
            assert_eq!(*key.open(pieces.clone(), &sha256(&plain)).unwrap(), plain);
            assert_eq!(key.open(pieces, &[0; 32]).unwrap_err(), ObjectError::Digest);
        }
        assert_eq!(key.seal(&[]).unwrap_err(), ObjectError::Size);
    }

    #[test]
    fn pieces_are_not_exchanged_left_out_or_changed() {
        let key = ObjectKey::new(&[7; 32], [1; 16]).unwrap();
        let plain = plain(2 * PIECE_BYTES + 9);
        let (digest, pieces) = (sha256(&plain), key.seal(&plain).unwrap());
        let refused = |pieces: Vec<Vec<u8>>| key.open(pieces, &digest).unwrap_err();
        let mut swapped = pieces.clone();
        swapped.swap(0, 1);
        assert_eq!(refused(swapped), ObjectError::Piece(0));
        assert_eq!(refused(pieces[..2].to_vec()), ObjectError::Piece(0));
        assert_eq!(refused(vec![]), ObjectError::Digest);
        for at in [0, PIECE_BYTES, PIECE_BYTES + TAG_BYTES - 1] {
            let mut changed = pieces.clone();
            changed[1][at] ^= 1;
            assert_eq!(refused(changed), ObjectError::Piece(1));
        }
        for (bytes, object) in [([8; 32], [1; 16]), ([7; 32], [2; 16])] {
            let other = ObjectKey::new(&bytes, object).unwrap();
            assert_eq!(other.open(pieces.clone(), &digest).unwrap_err(), ObjectError::Piece(0));
        }
    }

    /// The bytes of a piece, so that devices and service of different releases understand each other.
    #[test]
    fn a_piece_is_frozen() {
        let key = ObjectKey::new(&[7; 32], [1; 16]).unwrap();
        let pieces = key.seal(b"before and after").unwrap();
        assert_eq!(crate::hex(&pieces[0]), FROZEN);
    }

    /// Sealed by another implementation (AESGCM of Python's cryptography 48).
    const FROZEN: &str = "03bdc2dd89f72b898f63af05a20f2edc1e48fb0d92e94487dab30a242204b8c0";
}
