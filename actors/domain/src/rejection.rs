//! Why an entity refuses.

use core::fmt;

/// Stable reasons, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionCode {
    /// The entity does not exist.
    Unknown,
    /// It exists already with other content.
    Exists,
    /// Not in this state.
    NotNow,
    /// A value is out of range.
    Invalid,
    /// The token is unknown, spent or expired.
    Token,
    /// A limit is reached.
    Limit,
    /// An operator said no.
    Denied,
    /// The identity is banned.
    Banned,
    /// The certificate that was shown is revoked.
    Revoked,
    /// Somebody else must agree.
    SecondPerson,
}

/// A refusal: a code for programs, a fact for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub code: RejectionCode,
    pub detail: &'static str,
}

impl Rejection {
    pub(crate) fn new<T>(code: RejectionCode, detail: &'static str) -> Result<T, Self> {
        Err(Self { code, detail })
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail)
    }
}

impl core::error::Error for Rejection {}
