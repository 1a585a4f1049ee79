//! Why an entity refuses.

use core::fmt;
use std::borrow::Cow;

use minicbor::{Decode, Encode};

/// Stable reasons, for programs; the numbers travel between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RejectionCode {
    /// The entity does not exist.
    #[n(0)]
    Unknown,
    /// It exists already with other content.
    #[n(1)]
    Exists,
    /// Not in this state.
    #[n(2)]
    NotNow,
    /// A value is out of range.
    #[n(3)]
    Invalid,
    /// The token is unknown, spent or expired.
    #[n(4)]
    Token,
    /// A limit is reached.
    #[n(5)]
    Limit,
    /// An operator said no.
    #[n(6)]
    Denied,
    /// The identity is banned.
    #[n(7)]
    Banned,
    /// The certificate that was shown is revoked.
    #[n(8)]
    Revoked,
    /// Somebody else must agree.
    #[n(9)]
    SecondPerson,
}

/// A refusal: a code for programs, a fact for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub code: RejectionCode,
    pub detail: Cow<'static, str>,
}

impl Rejection {
    pub(crate) fn new<T>(
        code: RejectionCode,
        detail: impl Into<Cow<'static, str>>,
    ) -> Result<T, Self> {
        Err(Self { code, detail: detail.into() })
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl core::error::Error for Rejection {}
