//! An identity with a fresh key, and a message to sign.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use fieldmesh_envelope::{
    Claims, Content, Frame, Message, MessageType, SoftwareSigner, VerifyingKey,
};

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const FRAME: Frame = Frame { to: [0x11; 16], message_id: [0x22; 16], class: 3 };

pub(crate) struct Identity {
    pub(crate) signer: SoftwareSigner,
    pub(crate) point: Vec<u8>,
    pub(crate) key: VerifyingKey,
    pub(crate) x5t: [u8; 32],
}

/// A new key; the certificate is any bytes, since only its hash counts here.
pub(crate) fn identity(certificate: &[u8]) -> Identity {
    let pkcs8 =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let point = pair.public_key().as_ref().to_vec();
    Identity {
        signer: SoftwareSigner::from_pkcs8(pkcs8.as_ref(), certificate).unwrap(),
        key: VerifyingKey::from_sec1(&point).unwrap(),
        point,
        x5t: digest(&SHA256, certificate).as_ref().try_into().unwrap(),
    }
}

pub(crate) fn message(body: &[u8]) -> Message {
    Message {
        claims: Claims {
            iss: "alice".into(),
            aud: "bob".into(),
            iat: NOW,
            exp: NOW + 3600,
            cti: FRAME.message_id,
        },
        content: Content {
            kind: MessageType::Request,
            seq: 7,
            correlation: Some([0x33; 16]),
            body: body.to_vec(),
        },
    }
}
