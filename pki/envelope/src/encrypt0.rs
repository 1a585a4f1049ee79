//! COSE_Encrypt0 (RFC 9052 §5.2) around a signed message, with HPKE-7 in its integrated mode.

use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256,
    hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey},
};

use crate::{
    ENVELOPE_BYTES_MAX, Frame, Signed,
    cbor::{ARRAY, DecodeError, MAP, Reader, TAG, Writer},
    keys::{ALG_HPKE7, HpkePublicKey, KeyRing},
    sign1::read_alg,
};

const TAG_ENCRYPT0: u64 = 16;
/// A256GCM.
pub(crate) const ALG_A256GCM: i64 = 3;
/// CoAP content format of a COSE_Sign1.
const CONTENT_FORMAT: u64 = 18;
/// The encapsulated key (draft-ietf-cose-hpke).
const LABEL_EK: i64 = -4;
const LABEL_IV: i64 = 5;
const POINT_BYTES: usize = 65;

/// Why a message was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the recipient's key is not usable")]
    Key,
    #[error("the session's reserved counters are used up: reserve more, or begin a new session")]
    Counter,
}

/// Why a sealed message does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Refused before any public-key operation.
    #[error("the sealed message is malformed")]
    Malformed(#[source] DecodeError),
    #[error("no key {kid:02x?} is held now")]
    UnknownKey { kid: [u8; 8] },
    /// Wrong key, wrong frame or changed bytes: not told apart.
    #[error("the sealed message does not open")]
    Failed,
    #[error("the counter was used before, or is too far away")]
    Counter,
}

/// How a message is sealed, and under which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OuterKind {
    Hpke { kid: [u8; 8] },
    Session { sid: [u8; 8] },
}

/// A COSE_Encrypt0 taken apart.
pub(crate) struct Outer<'a> {
    pub(crate) kind: OuterKind,
    pub(crate) protected: &'a [u8],
    /// Encapsulated key or initialisation vector.
    pub(crate) unprotected: &'a [u8],
    pub(crate) ciphertext: &'a [u8],
}

impl<'a> Outer<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(DecodeError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        reader.exactly(TAG, TAG_ENCRYPT0)?;
        reader.exactly(ARRAY, 3)?;
        let protected = reader.bytes()?;
        let kind = read_protected(protected)?;
        reader.exactly(MAP, 1)?;
        let (label, length) = match kind {
            OuterKind::Hpke { .. } => (LABEL_EK, POINT_BYTES),
            OuterKind::Session { .. } => (LABEL_IV, 12),
        };
        reader.key(label)?;
        let at = reader.position();
        let unprotected = reader.bytes()?;
        if unprotected.len() != length {
            return Err(DecodeError::Shape(at));
        }
        let ciphertext = reader.bytes()?;
        reader.end()?;
        Ok(Self { kind, protected, unprotected, ciphertext })
    }
}

fn read_protected(bytes: &[u8]) -> Result<OuterKind, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.exactly(MAP, 3)?;
    let is_session = read_alg(&mut reader.clone(), ALG_A256GCM).is_ok();
    read_alg(&mut reader, if is_session { ALG_A256GCM } else { ALG_HPKE7 })?;
    reader.key(3)?;
    reader.key(CONTENT_FORMAT as i64)?;
    reader.key(4)?;
    let kid = reader.fixed()?;
    reader.end()?;
    Ok(if is_session { OuterKind::Session { sid: kid } } else { OuterKind::Hpke { kid } })
}

pub(crate) fn write_protected(alg: i64, kid: &[u8; 8]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.head(MAP, 3).uint(1).int(alg).uint(3).uint(CONTENT_FORMAT).uint(4).bytes(kid);
    writer.0
}

pub(crate) fn write_outer(
    protected: &[u8],
    label: i64,
    unprotected: &[u8],
    ciphertext: &[u8],
) -> Vec<u8> {
    let mut writer = Writer::default();
    writer
        .head(TAG, TAG_ENCRYPT0)
        .head(ARRAY, 3)
        .bytes(protected)
        .head(MAP, 1)
        .int(label)
        .bytes(unprotected)
        .bytes(ciphertext);
    writer.0
}

/// Enc_structure (RFC 9052 §5.3).
pub(crate) fn additional(protected: &[u8], frame: &Frame) -> Vec<u8> {
    enc_structure(protected, &frame.external_aad())
}

fn enc_structure(protected: &[u8], external: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.head(ARRAY, 3).text("Encrypt0").bytes(protected).bytes(external);
    writer.0
}

/// How the message is sealed, without any public-key operation.
///
/// # Errors
/// Anything that is not of the profile.
pub fn outer_algorithm(outer: &[u8]) -> Result<OuterKind, DecodeError> {
    Outer::read(outer).map(|outer| outer.kind)
}

/// Seals a signed message for a recipient, bound to its frame.
///
/// # Errors
/// Where the recipient's key is not a point of the curve.
pub fn seal(
    signed: &Signed,
    frame: &Frame,
    recipient: &HpkePublicKey,
) -> Result<Vec<u8>, SealError> {
    let protected = write_protected(ALG_HPKE7, &recipient.kid());
    let aad = additional(&protected, frame);
    let suite: &dyn Hpke = DH_KEM_P256_HKDF_SHA256_AES_256;
    let (ek, ciphertext) = suite
        .seal(&[], &aad, signed.as_bytes(), &recipient.for_hpke())
        .map_err(|_| SealError::Key)?;
    Ok(write_outer(&protected, LABEL_EK, &ek.0, &ciphertext))
}

/// Opens a sealed message with one of the recipient's keys.
///
/// # Errors
/// See [`OpenError`].
pub fn open(outer: &[u8], frame: &Frame, keys: &KeyRing, now_s: u64) -> Result<Signed, OpenError> {
    let outer = Outer::read(outer).map_err(OpenError::Malformed)?;
    let OuterKind::Hpke { kid } = outer.kind else {
        return Err(OpenError::Malformed(DecodeError::Algorithm));
    };
    let key = keys.find(kid, now_s).ok_or(OpenError::UnknownKey { kid })?;
    let plain =
        open_parts(&outer, &frame.external_aad(), key.for_hpke()).ok_or(OpenError::Failed)?;
    Signed::from_bytes(plain).map_err(|_| OpenError::Failed)
}

pub(crate) fn open_parts(
    outer: &Outer<'_>,
    external: &[u8],
    key: &HpkePrivateKey,
) -> Option<Vec<u8>> {
    let aad = enc_structure(outer.protected, external);
    let suite: &dyn Hpke = DH_KEM_P256_HKDF_SHA256_AES_256;
    suite
        .open(&EncapsulatedSecret(outer.unprotected.to_vec()), &[], &aad, outer.ciphertext, key)
        .ok()
}
