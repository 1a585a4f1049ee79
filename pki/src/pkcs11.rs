//! Keys that live in a PKCS#11 token: a certification authority's private key and the secret that
//! seals a node's other keys.
//!
//! **Invariants:** private bytes never leave the token; a PIN is tried once per opening, wiped when
//! dropped, and in no message; a signature with another key than the certificate's is never given
//! out. Calls block for as long as the token takes. **Not here:** where the PIN comes from, the
//! initialising of tokens, backups of their keys.

mod address;
mod connection;
mod key;
mod secret;

pub use address::{AddressError, TokenAddress};
pub use key::TokenKey;
pub use secret::TokenSecret;

/// Why a token does not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the PKCS#11 module {module} cannot be loaded: {reason}; check module-path")]
    Module { module: String, reason: String },
    #[error("there is no token at {address}; the module has {}", listed(present))]
    NoSuchToken { address: String, present: Vec<String> },
    #[error("several tokens are at {0}: add serial= to the address")]
    SeveralTokens(String),
    #[error("there is no key at {address}; of its kind the token has {}", listed(present))]
    NoSuchKey { address: String, present: Vec<String> },
    #[error("several keys are at {0}: add id= to the address, or delete all but one")]
    SeveralKeys(String),
    #[error("the token has a key at {0} already: choose another label, or open it")]
    KeyExists(String),
    #[error(
        "the PIN of the token {0:?} is wrong: correct it; each try brings the token nearer to locking"
    )]
    WrongPin(String),
    #[error(
        "this process is logged in to the token {0:?} with another PIN: give that one, or restart after a change"
    )]
    OtherPin(String),
    #[error("the PIN of the token {0:?} is locked: unlock it as its security officer")]
    Locked(String),
    #[error(
        "the token {0:?} locks at the next wrong PIN: prove the PIN by one login with its own tool, then come again"
    )]
    LastTry(String),
    #[error("the token does not offer {0}: allow the mechanism, or take another token")]
    MechanismMissing(String),
    #[error("the key at {0} is not of P-256 or P-384: generate one that is")]
    Kind(String),
    #[error(
        "the key at {0} asks for the PIN at each use: generate one without CKA_ALWAYS_AUTHENTICATE"
    )]
    AlwaysAuthenticate(String),
    #[error("the token has no public key for {0}: write it there, with the private key's CKA_ID")]
    NoPublicKey(String),
    #[error(
        "the token's signature at {0} does not verify with the public key: the pair is not one, or was replaced"
    )]
    Mismatch(String),
    #[error("the session with the token was lost, and again when reopened ({0}): check the token")]
    SessionLost(String),
    #[error("the token answered {answer} to {call}: see its documentation")]
    Call { call: String, answer: String },
}

/// Labels, for a message.
fn listed(labels: &[String]) -> String {
    match labels {
        [] => "none".to_owned(),
        labels => format!("{labels:?}"),
    }
}
