//! The sealed message format: sign, then encrypt, as COSE documents in a closed profile ("ESD1").
//!
//! A message is a COSE_Sign1 (RFC 9052 §4.2, ESP256 of RFC 9864) inside a COSE_Encrypt0 (§5.2),
//! sealed with HPKE-7 (draft-ietf-cose-hpke: P-256, HKDF-SHA256, AES-256-GCM) or with the keys of a
//! session. Sender and recipient are inside the signature; the routing frame is bound as additional
//! data. The codec accepts the deterministic encoding only.
//!
//! **Invariants:** limits and shape are checked before any public-key operation; the algorithm is
//! the key's, a header that names another is malformed; nothing panics on outside bytes; secrets are
//! wiped and never printed. **Not here:** who may send (`node::intake`), certificates
//! (`fieldmesh_pki`), clocks and storage.

mod bundle;
mod cbor;
mod encrypt0;
mod frame;
mod keys;
mod replay;
mod session;
mod sign1;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;

pub use bundle::{KeyBundle, sign_bundle, verify_bundle};
pub use cbor::DecodeError;
pub use encrypt0::{OpenError, OuterKind, SealError, open, outer_algorithm, seal};
pub use frame::Frame;
pub use keys::{HpkePrivateKey, HpkePublicKey, KeyError, KeyRing};
pub use replay::{ReplayWindow, SeqVerdict};
pub use session::{SessionOffer, SessionReceiver, SessionSender};
pub use sign1::{
    Claims, Content, Message, MessageType, SignError, Signed, Signer, SoftwareSigner, VerifyError,
    VerifyingKey, sign, verify,
};

/// Message and recipient identifiers.
pub type Bytes16 = [u8; 16];

/// Largest sealed message: attachments travel as objects of their own.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;
