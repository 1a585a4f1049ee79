//! The cryptography that one loop cannot do without, measured on this machine, now.
//!
//! Two messages in (open, verify) and two out (sign, seal), of the size that ours have. A figure per
//! loop is only worth something as a ratio to this.

use std::{hint::black_box, sync::Arc};

use fieldmesh_envelope::{
    Claims, Content, Frame, HpkePrivateKey, KeyRing, Message, MessageType, SoftwareSigner,
    VerifyingKey, open, seal, sign, verify,
};
use fieldmesh_pki::KeyMaterial;
use tokio::time::Instant;

/// Rounds of the measurement: a fifth of a second.
const ROUNDS: u32 = 400;
const NOW_S: u64 = 1_700_000_000;

/// Microseconds of two opens, verifies, signs and seals.
///
/// # Errors
/// Where a key cannot be made.
pub fn crypto_floor_us() -> Result<u64, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let key = KeyMaterial::generate().map_err(|error| text(&error))?;
    let signer =
        SoftwareSigner::from_pkcs8(key.pkcs8(), b"certificate").map_err(|error| text(&error))?;
    let verifying = VerifyingKey::from_sec1(key.public_point()).map_err(|error| text(&error))?;
    let (private, public) = HpkePrivateKey::generate().map_err(|error| text(&error))?;
    let mut ring = KeyRing::default();
    ring.insert(Arc::new(private), NOW_S - 1, NOW_S + 1000).map_err(|error| text(&error))?;
    let claims =
        Claims { iss: "a".into(), aud: "b".into(), iat: NOW_S, exp: NOW_S + 100, cti: [1; 16] };
    let content = Content {
        kind: MessageType::Request,
        seq: 1,
        correlation: Some([2; 16]),
        body: vec![0; 100],
    };
    let message = Message { claims, content };
    let frame = Frame { to: [3; 16], message_id: [1; 16], class: 1 };
    let began = Instant::now();
    for _ in 0..ROUNDS {
        let signed = sign(&message, &signer).map_err(|error| text(&error))?;
        let x5t = *signed.x5t();
        let sealed = seal(&signed, &frame, &public).map_err(|error| text(&error))?;
        let opened = open(&sealed, &frame, &ring, NOW_S).map_err(|error| text(&error))?;
        black_box(verify(&opened, &verifying, &x5t, "b", NOW_S).map_err(|error| text(&error))?);
    }
    let micros = began.elapsed().as_micros() / u128::from(ROUNDS) * 2;
    Ok(u64::try_from(micros).unwrap_or(u64::MAX))
}
