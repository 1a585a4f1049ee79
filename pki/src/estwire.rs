//! The base64 bodies of EST (RFC 8951 §3): written unwrapped, read either way.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Bytes of an encoded body.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body has more than 64 KiB")]
    TooLarge,
    #[error("the body is not base64")]
    NotBase64,
}

pub fn encode(der: &[u8]) -> String {
    STANDARD.encode(der)
}

/// # Errors
/// See [`BodyError`].
pub fn decode(body: &[u8]) -> Result<Vec<u8>, BodyError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(BodyError::TooLarge);
    }
    let unwrapped: Vec<u8> =
        body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(unwrapped).map_err(|_| BodyError::NotBase64)
}
