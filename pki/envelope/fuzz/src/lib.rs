//! What both targets begin with: one of everything that travels, made with fresh keys; and changes.
//!
//! An input is a choice of an original and a list of changes to it, so that each run starts behind
//! the headers, and an input means the same whatever the keys are.

use std::sync::Arc;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use fieldmesh_envelope::{
    Claims, Content, Frame, HpkePrivateKey, KeyBundle, KeyRing, Message, MessageType, SessionOffer,
    Signed, Signer as _, SoftwareSigner, VerifyingKey, seal, sign, sign_bundle,
};
use zeroize::Zeroizing;

pub const NOW: u64 = 1_800_000_000;
pub const OWNER: &str = "alice";
/// Beyond the first key of the ratchet.
const COUNTER: u64 = 1500;

/// One of everything.
pub struct Made {
    pub ring: KeyRing,
    pub offer: SessionOffer,
    pub signed: Signed,
    pub bundle: Vec<u8>,
    pub signer: VerifyingKey,
    pub thumbprint: [u8; 32],
    /// Bytes of the frame before each sealed message.
    pub frame: usize,
    /// Frame and message, under the recipient's public key.
    pub sealed: Vec<u8>,
    /// Frame and message, under the session's key.
    pub session: Vec<u8>,
}

impl Made {
    pub fn new() -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).expect("a key");
        let signer = SoftwareSigner::from_pkcs8(key.as_ref(), b"certificate").expect("a signer");
        let (private, public) = HpkePrivateKey::generate().expect("a key");
        let mut ring = KeyRing::default();
        ring.insert(Arc::new(private), NOW, NOW + 1).expect("room");
        let frame = Frame { to: [0x11; 16], message_id: [0x22; 16], class: 1 };
        let claims = Claims {
            iss: OWNER.into(),
            aud: "bob".into(),
            iat: NOW,
            exp: NOW + 1,
            cti: frame.message_id,
        };
        let content =
            Content { kind: MessageType::Request, seq: 7, correlation: None, body: vec![1; 40] };
        let signed = sign(&Message { claims, content }, &signer).expect("it fits");
        let offer =
            SessionOffer::new(&Zeroizing::new(core::array::from_fn(|at| at as u8)), NOW + 1);
        let (mut sender, _) = offer.offering_ends();
        sender.resume_at(COUNTER).expect("the ratchet turns");
        sender.reserve(COUNTER + 1);
        let session = sender.seal(&signed, &frame).expect("a counter is left");
        let sealed = seal(&signed, &frame, &public).expect("the key is good");
        let bundle = KeyBundle {
            owner: OWNER.into(),
            serial: 1,
            not_before: NOW,
            not_after: NOW + 1,
            keys: vec![public],
        };
        let head = frame.encode();
        Self {
            ring,
            offer,
            bundle: sign_bundle(&bundle, &signer).expect("it fits"),
            signer: signer.verifying_key().clone(),
            thumbprint: signer.certificate_thumbprint(),
            frame: head.len(),
            sealed: [&head[..], &sealed].concat(),
            session: [&head[..], &session].concat(),
            signed,
        }
    }
}

impl Default for Made {
    fn default() -> Self {
        Self::new()
    }
}

/// Applies changes of four bytes each: what, where (two bytes), with what.
pub fn changed(original: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for change in changes.chunks_exact(4).take(16) {
        let at = (usize::from(change[1]) << 8 | usize::from(change[2])) % (bytes.len() + 1);
        let (what, value) = (change[0], change[3]);
        let until = (at + usize::from(value)).min(bytes.len());
        match what % 6 {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= value),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value),
            2 => bytes.insert(at, value),
            3 => drop(bytes.drain(at..until)),
            4 => bytes.truncate(at),
            _ => {
                let again: Vec<u8> = original.iter().copied().take(usize::from(value)).collect();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}
