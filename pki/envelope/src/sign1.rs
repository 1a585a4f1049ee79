//! COSE_Sign1 (RFC 9052 §4.2) with ESP256 (RFC 9864), claims in the header (RFC 9597), padded.

use core::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
        UnparsedPublicKey,
    },
};

use crate::{
    Bytes16, ENVELOPE_BYTES_MAX,
    cbor::{ARRAY, DecodeError, MAP, Reader, TAG, Writer},
};

const TAG_SIGN1: u64 = 18;
pub(crate) const ALG_ESP256: i64 = -9;
/// SHA-256 in the COSE registry, for x5t (RFC 9360).
const ALG_SHA256: i64 = -16;
const CONTENT_TYPE: &str = "application/vnd.esd+cbor";
const TYPE: &str = "application/vnd.esd+cose";
const PAYLOAD_VERSION: u64 = 1;
/// A sender's clock may be this far ahead.
const CLOCK_AHEAD_S: u64 = 300;
/// A message lives at most this long.
const LIFE_MAX_S: u64 = 7 * 24 * 3600;
/// Names in claims: far above any identifier.
pub(crate) const NAME_BYTES_MAX: usize = 128;
/// Signed messages have one of these sizes, so that length says little (RFC 9180 §9.7.6).
const SIZES: [usize; 11] = [512, 768, 1024, 1536, 2048, 3072, 4096, 8192, 16_384, 32_768, 64_512];

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageType {
    Request = 1,
    Alert = 2,
    Response = 3,
    Confirmation = 4,
    Receipt = 5,
    Session = 6,
    /// What was written about a ticket, or changed of it.
    Note = 7,
    /// What a customer does with one of its tickets.
    Act = 8,
}

impl MessageType {
    fn from_number(number: u64) -> Option<Self> {
        [
            Self::Request,
            Self::Alert,
            Self::Response,
            Self::Confirmation,
            Self::Receipt,
            Self::Session,
            Self::Note,
            Self::Act,
        ]
        .into_iter()
        .find(|kind| *kind as u64 == number)
    }
}

/// Who says it to whom, and until when: inside the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    /// Unix seconds.
    pub iat: u64,
    /// Unix seconds.
    pub exp: u64,
    /// Unique per sender.
    pub cti: Bytes16,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    pub kind: MessageType,
    /// Rises with each message of the sender to the recipient.
    pub seq: u64,
    /// The message that this one answers.
    pub correlation: Option<Bytes16>,
    pub body: Vec<u8>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({:?}, seq {}, {} bytes)", self.kind, self.seq, self.body.len())
    }
}

/// A message before signing or after verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub claims: Claims,
    pub content: Content,
}

/// Why a message was not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("the signing key is not a P-256 key in PKCS#8")]
    Key,
    #[error("the key store refused to sign")]
    Refused,
    #[error("the message is larger than an envelope may be")]
    TooLarge,
    #[error("a name in the claims has more than 128 bytes")]
    Name,
}

/// Why a signed message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("the message expired at {exp}, the clock says {now}")]
    Expired { exp: u64, now: u64 },
    #[error("the message is from the future, or lives too long")]
    Time,
    #[error("the message is for somebody else")]
    Audience,
    #[error("the message names another certificate")]
    Certificate,
    #[error("the signature is wrong")]
    Signature,
    #[error("the message is not of the expected form")]
    Malformed(#[from] DecodeError),
}

/// A P-256 signing key. Where a hardware key store fits.
pub trait Signer: Send + Sync {
    /// ECDSA over SHA-256 of the message: r and s, 32 bytes each.
    ///
    /// # Errors
    /// Where the key store refuses.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;
    /// SHA-256 of the certificate that holds the key.
    fn certificate_thumbprint(&self) -> [u8; 32];
}

/// A signing key in memory.
pub struct SoftwareSigner {
    key: EcdsaKeyPair,
    public: VerifyingKey,
    thumbprint: [u8; 32],
}

impl fmt::Debug for SoftwareSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SoftwareSigner(..)")
    }
}

impl SoftwareSigner {
    /// # Errors
    /// Where the key is not P-256 in PKCS#8.
    pub fn from_pkcs8(pkcs8_der: &[u8], leaf_certificate_der: &[u8]) -> Result<Self, SignError> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8_der)
            .map_err(|_| SignError::Key)?;
        let public =
            VerifyingKey::from_sec1(key.public_key().as_ref()).map_err(|_| SignError::Key)?;
        Ok(Self { key, public, thumbprint: sha256(leaf_certificate_der) })
    }

    /// What verifies this key's signatures.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }
}

impl Signer for SoftwareSigner {
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let signature =
            self.key.sign(&SystemRandom::new(), message).map_err(|_| SignError::Refused)?;
        signature.as_ref().try_into().map_err(|_| SignError::Refused)
    }

    fn certificate_thumbprint(&self) -> [u8; 32] {
        self.thumbprint
    }
}

/// A P-256 public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey([u8; 65]);

impl VerifyingKey {
    /// # Errors
    /// Where the point is not uncompressed. A point off the curve fails to verify.
    pub fn from_sec1(uncompressed_point: &[u8]) -> Result<Self, DecodeError> {
        let point: [u8; 65] = uncompressed_point.try_into().map_err(|_| DecodeError::Key)?;
        if point[0] == 4 { Ok(Self(point)) } else { Err(DecodeError::Key) }
    }

    pub(crate) fn check(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), VerifyError> {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0[..])
            .verify(message, signature)
            .map_err(|_| VerifyError::Signature)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// A COSE_Sign1 taken apart; nothing in it is believed yet.
pub(crate) struct Sign1<'a> {
    pub(crate) protected: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) signature: [u8; 64],
}

impl<'a> Sign1<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(DecodeError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        reader.exactly(TAG, TAG_SIGN1)?;
        reader.exactly(ARRAY, 4)?;
        let protected = reader.bytes()?;
        reader.exactly(MAP, 0)?;
        let payload = reader.bytes()?;
        let signature = reader.fixed()?;
        reader.end()?;
        Ok(Self { protected, payload, signature })
    }

    pub(crate) fn to_be_signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.head(ARRAY, 4).text("Signature1").bytes(protected).bytes(&[]).bytes(payload);
        writer.0
    }

    pub(crate) fn write(protected: &[u8], payload: &[u8], signature: &[u8; 64]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer
            .head(TAG, TAG_SIGN1)
            .head(ARRAY, 4)
            .bytes(protected)
            .head(MAP, 0)
            .bytes(payload)
            .bytes(signature);
        writer.0
    }
}

pub(crate) fn write_x5t(writer: &mut Writer, thumbprint: &[u8; 32]) {
    writer.uint(34).head(ARRAY, 2).int(ALG_SHA256).bytes(thumbprint);
}

pub(crate) fn read_x5t(reader: &mut Reader<'_>) -> Result<[u8; 32], DecodeError> {
    reader.key(34)?;
    reader.exactly(ARRAY, 2)?;
    reader.key(ALG_SHA256)?;
    reader.fixed()
}

pub(crate) fn read_alg(reader: &mut Reader<'_>, alg: i64) -> Result<(), DecodeError> {
    reader.key(1)?;
    if reader.int()? == alg { Ok(()) } else { Err(DecodeError::Algorithm) }
}

/// A signed message as bytes, of the right shape.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed {
    bytes: Vec<u8>,
    claims: Claims,
    x5t: [u8; 32],
    content_hash: [u8; 32],
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} bytes)", self.bytes.len())
    }
}

impl Signed {
    /// # Errors
    /// Anything that is not a signed message of the profile; the signature is not checked.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        let parts = Sign1::read(&bytes)?;
        let (claims, x5t) = read_protected(parts.protected)?;
        read_payload(parts.payload)?;
        let content_hash = sha256(&Sign1::to_be_signed(parts.protected, parts.payload));
        Ok(Self { bytes, claims, x5t, content_hash })
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The claims as the sender wrote them: for finding the key, not for believing.
    pub fn unverified_claims(&self) -> &Claims {
        &self.claims
    }

    /// What the sender wrote: for whoever verified it before, or wrote it.
    ///
    /// # Errors
    /// None: its shape was checked when it was read or made.
    pub fn unverified_content(&self) -> Result<Content, DecodeError> {
        read_payload(Sign1::read(&self.bytes)?.payload)
    }

    /// SHA-256 of the certificate that the message says it was signed with.
    pub fn x5t(&self) -> &[u8; 32] {
        &self.x5t
    }

    /// SHA-256 of what was signed: the same for two signatures over the same content.
    pub fn content_hash(&self) -> [u8; 32] {
        self.content_hash
    }
}

fn write_protected(claims: &Claims, thumbprint: &[u8; 32]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.head(MAP, 5).uint(1).int(ALG_ESP256).uint(3).text(CONTENT_TYPE);
    writer.uint(15).head(MAP, 5).uint(1).text(&claims.iss).uint(3).text(&claims.aud);
    writer.uint(4).uint(claims.exp).uint(6).uint(claims.iat).uint(7).bytes(&claims.cti);
    writer.uint(16).text(TYPE);
    write_x5t(&mut writer, thumbprint);
    writer.0
}

fn read_protected(bytes: &[u8]) -> Result<(Claims, [u8; 32]), DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.exactly(MAP, 5)?;
    read_alg(&mut reader, ALG_ESP256)?;
    reader.key(3)?;
    read_constant(&mut reader, CONTENT_TYPE)?;
    reader.key(15)?;
    reader.exactly(MAP, 5)?;
    reader.key(1)?;
    let iss = read_name(&mut reader)?;
    reader.key(3)?;
    let aud = read_name(&mut reader)?;
    reader.key(4)?;
    let exp = reader.uint()?;
    reader.key(6)?;
    let iat = reader.uint()?;
    reader.key(7)?;
    let cti = reader.fixed()?;
    reader.key(16)?;
    read_constant(&mut reader, TYPE)?;
    let x5t = read_x5t(&mut reader)?;
    reader.end()?;
    Ok((Claims { iss, aud, iat, exp, cti }, x5t))
}

pub(crate) fn read_constant(reader: &mut Reader<'_>, expected: &str) -> Result<(), DecodeError> {
    let at = reader.position();
    if reader.text()? == expected { Ok(()) } else { Err(DecodeError::Shape(at)) }
}

pub(crate) fn read_name(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let name = reader.text()?;
    if name.len() > NAME_BYTES_MAX { Err(DecodeError::TooLarge) } else { Ok(name.to_owned()) }
}

fn write_payload(content: &Content, padding: usize) -> Vec<u8> {
    let mut writer = Writer::default();
    let fields = 5 + u64::from(content.correlation.is_some());
    writer
        .head(MAP, fields)
        .uint(1)
        .uint(PAYLOAD_VERSION)
        .uint(2)
        .uint(content.kind as u64)
        .uint(3)
        .uint(content.seq);
    if let Some(correlation) = &content.correlation {
        writer.uint(4).bytes(correlation);
    }
    writer.uint(6).bytes(&content.body).uint(7).bytes(&vec![0; padding]);
    writer.0
}

fn read_payload(bytes: &[u8]) -> Result<Content, DecodeError> {
    let mut reader = Reader::new(bytes);
    let fields = reader.count(MAP, 6)?;
    reader.key(1)?;
    let at = reader.position();
    if reader.uint()? != PAYLOAD_VERSION {
        return Err(DecodeError::Shape(at));
    }
    reader.key(2)?;
    let at = reader.position();
    let kind = MessageType::from_number(reader.uint()?).ok_or(DecodeError::Shape(at))?;
    reader.key(3)?;
    let seq = reader.uint()?;
    let correlation = if fields == 6 {
        reader.key(4)?;
        Some(reader.fixed()?)
    } else {
        None
    };
    if fields < 5 {
        return Err(DecodeError::Shape(0));
    }
    reader.key(6)?;
    let body = reader.bytes()?.to_vec();
    reader.key(7)?;
    let at = reader.position();
    if reader.bytes()?.iter().any(|byte| *byte != 0) {
        return Err(DecodeError::Shape(at));
    }
    reader.end()?;
    Ok(Content { kind, seq, correlation, body })
}

/// The payload, padded so that the signed message has the next size of the list.
fn pad(protected: &[u8], content: &Content) -> Result<Vec<u8>, SignError> {
    let size = |padding: usize| {
        let payload = write_payload(content, padding);
        (Sign1::write(protected, &payload, &[0; 64]).len(), payload)
    };
    let (least, _) = size(0);
    for target in SIZES.into_iter().filter(|target| *target >= least) {
        // Length heads grow by steps, so the exact padding is a few bytes below the difference.
        for slack in 0..=8 {
            let Some(padding) = (target - least).checked_sub(slack) else {
                break;
            };
            let (found, payload) = size(padding);
            if found == target {
                return Ok(payload);
            }
        }
    }
    Err(SignError::TooLarge)
}

/// Signs a message.
///
/// # Errors
/// Where it is too large, a name is too long, or the key store refuses.
pub fn sign(message: &Message, signer: &dyn Signer) -> Result<Signed, SignError> {
    let Message { claims, content } = message;
    if claims.iss.len() > NAME_BYTES_MAX || claims.aud.len() > NAME_BYTES_MAX {
        return Err(SignError::Name);
    }
    let x5t = signer.certificate_thumbprint();
    let protected = write_protected(claims, &x5t);
    let payload = pad(&protected, content)?;
    let to_be_signed = Sign1::to_be_signed(&protected, &payload);
    let signature = signer.sign(&to_be_signed)?;
    let bytes = Sign1::write(&protected, &payload, &signature);
    Ok(Signed { bytes, claims: claims.clone(), x5t, content_hash: sha256(&to_be_signed) })
}

/// The message, if it is signed by this key under this certificate, for this audience, now.
///
/// # Errors
/// The first fact that is wrong. Only [`VerifyError::Expired`] is for the sender to know, and only
/// after the signature was right.
pub fn verify(
    signed: &Signed,
    key: &VerifyingKey,
    x5t: &[u8; 32],
    audience: &str,
    now_s: u64,
) -> Result<Message, VerifyError> {
    let parts = Sign1::read(&signed.bytes)?;
    if signed.x5t != *x5t {
        return Err(VerifyError::Certificate);
    }
    key.check(&Sign1::to_be_signed(parts.protected, parts.payload), &parts.signature)?;
    let claims = &signed.claims;
    if claims.aud != audience {
        return Err(VerifyError::Audience);
    }
    if claims.iat > now_s.saturating_add(CLOCK_AHEAD_S)
        || claims.exp < claims.iat
        || claims.exp - claims.iat > LIFE_MAX_S
    {
        return Err(VerifyError::Time);
    }
    if claims.exp <= now_s {
        return Err(VerifyError::Expired { exp: claims.exp, now: now_s });
    }
    Ok(Message { claims: claims.clone(), content: read_payload(parts.payload)? })
}
