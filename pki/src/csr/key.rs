//! Which public keys are taken (RFC 5480, RFC 8410, RFC 3279), and which are refused by name.
//!
//! **Invariants:** a key that is taken is a point on its curve, or an RSA modulus within limits
//! and without a known weakness; its private part is not published. **Not here:** which of the
//! kinds a profile allows.

use x509_parser::{
    asn1_rs::{Any, Tag},
    x509::SubjectPublicKeyInfo,
};

use super::{CsrError, known, rsa};
use crate::{
    KeyKind,
    key::{EC_PUBLIC_KEY, curve},
};

/// A key that is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) kind: KeyKind,
    /// The content of subjectPublicKey: a point, or an RSAPublicKey.
    pub(super) bytes: &'a [u8],
}

/// What kind of key it is.
///
/// # Errors
/// The first fact for which it is refused.
pub(super) fn classify<'a>(spki: &'a SubjectPublicKeyInfo<'_>) -> Result<Key<'a>, CsrError> {
    let kind = KeyKind::of(spki).ok_or_else(|| refusal(spki))?;
    // RFC 5480 §2.1.1, RFC 8410 §3, RFC 3279 §2.3.1.
    let parameters = match kind {
        KeyKind::P256 | KeyKind::P384 => Some(Tag::Oid),
        KeyKind::Ed25519 => None,
        KeyKind::Rsa => Some(Tag::Null),
    };
    if spki.algorithm.parameters.as_ref().map(Any::tag) != parameters
        || spki.subject_public_key.unused_bits != 0
    {
        return Err(CsrError::MalformedKey);
    }
    let bytes = spki.subject_public_key.data.as_ref();
    let name = match kind {
        KeyKind::P256 | KeyKind::P384 | KeyKind::Ed25519 => check_point(kind, bytes)?,
        KeyKind::Rsa => rsa::check(bytes)?,
    };
    if known::is_published(name) { Err(CsrError::KnownKey) } else { Ok(Key { kind, bytes }) }
}

/// Gives back a point that is whole and on its curve.
fn check_point(kind: KeyKind, point: &[u8]) -> Result<&[u8], CsrError> {
    let is_compressed = match kind {
        KeyKind::P256 => matches!(point, [2 | 3, x @ ..] if x.len() == 32),
        KeyKind::P384 => matches!(point, [2 | 3, x @ ..] if x.len() == 48),
        KeyKind::Ed25519 | KeyKind::Rsa => false,
    };
    if is_compressed {
        Err(CsrError::CompressedPoint)
    } else if !kind.has_form(point) {
        Err(CsrError::MalformedKey)
    } else if kind == KeyKind::Ed25519 && known::is_small_order(point) {
        Err(CsrError::SmallOrder)
    } else if !kind.takes(point) {
        Err(CsrError::NotOnCurve)
    } else {
        Ok(point)
    }
}

/// Why a key is of none of our kinds.
fn refusal(spki: &SubjectPublicKeyInfo<'_>) -> CsrError {
    let algorithm = spki.algorithm.algorithm.to_id_string();
    if algorithm != EC_PUBLIC_KEY {
        return CsrError::KeyKind(refused_algorithm(&algorithm));
    }
    match (curve(spki), spki.algorithm.parameters.as_ref().map(Any::tag)) {
        (Some(curve), _) => CsrError::KeyKind(refused_curve(&curve)),
        (None, Some(Tag::Sequence)) => CsrError::ExplicitCurve,
        (None, _) => CsrError::MalformedKey,
    }
}

fn refused_curve(oid: &str) -> &'static str {
    match oid {
        "1.2.840.10045.3.1.1" => "P-192",
        "1.3.132.0.33" => "P-224",
        "1.3.132.0.35" => "P-521",
        "1.3.132.0.10" => "secp256k1",
        "1.3.36.3.3.2.8.1.1.7" => "brainpoolP256r1",
        "1.3.36.3.3.2.8.1.1.11" => "brainpoolP384r1",
        "1.3.36.3.3.2.8.1.1.13" => "brainpoolP512r1",
        _ => "on an unknown curve",
    }
}

fn refused_algorithm(oid: &str) -> &'static str {
    match oid {
        "1.2.840.10040.4.1" => "DSA",
        "1.2.840.113549.1.1.10" => "RSA for RSASSA-PSS only",
        "1.2.840.113549.1.1.7" => "RSA for RSAES-OAEP only",
        "1.3.101.110" => "X25519",
        "1.3.101.111" => "X448",
        "1.3.101.113" => "Ed448",
        "2.16.840.1.101.3.4.3.17" | "2.16.840.1.101.3.4.3.18" | "2.16.840.1.101.3.4.3.19" => {
            "ML-DSA"
        }
        _ => "of an unknown algorithm",
    }
}
