//! One-time enrollment tokens: a secret that also pins the root.
//!
//! Text: `fm1.<secret>.<SHA-256 of the root>`, both base64url. The service keeps only the hash, and
//! compares hashes of 256-bit secrets, so that time says nothing about them.
//!
//! **Invariant:** a secret is wiped when dropped, and not printed. **Not here:** for whom a token is,
//! until when, and that it is used once.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::sha256;

/// A token as its holder gets it; never stored.
#[derive(Clone)]
pub struct Token {
    /// The registered identifier.
    pub user: String,
    pub secret: Zeroizing<String>,
}

impl core::fmt::Debug for Token {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Token({}, ..)", self.user)
    }
}

/// A token from 32 random bytes.
pub fn mint(user: &str, random: [u8; 32], root_pin: [u8; 32]) -> Token {
    let random = Zeroizing::new(random);
    let secret =
        format!("fm1.{}.{}", URL_SAFE_NO_PAD.encode(*random), URL_SAFE_NO_PAD.encode(root_pin));
    Token { user: user.to_owned(), secret: Zeroizing::new(secret) }
}

/// What is stored of a token.
pub fn token_hash(secret: &str) -> [u8; 32] {
    sha256(secret.as_bytes())
}

/// The root's hash inside a token, if it is one.
pub fn token_pin(secret: &str) -> Option<[u8; 32]> {
    let mut parts = secret.split('.');
    let (Some("fm1"), Some(_), Some(pin), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    URL_SAFE_NO_PAD.decode(pin).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_its_pin_and_hides_its_secret() {
        let token = mint("cus_x", [7; 32], [9; 32]);
        assert_eq!(token_pin(&token.secret), Some([9; 32]));
        assert!(!format!("{token:?}").contains(&token.secret[4..20]));
        for bad in ["", "fm1", "fm2.a.b", "fm1.a.!", "fm1.a.AAAA", "fm1.a.b.c"] {
            assert_eq!(token_pin(bad), None, "{bad}");
        }
    }
}
