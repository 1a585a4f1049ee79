//! A device's enrollment: one-time token, certificate, message keys. Shared by customers and
//! technicians, whose devices they are.
//!
//! **Invariants:** a token is spent in the event that records the issuance; key bundles never go
//! back. **Not here:** what a certificate says (`fieldmesh_pki`).

use minicbor::{Decode, Encode};

use crate::{
    Ctx,
    rejection::{Rejection, RejectionCode},
    time::Millis,
};

/// Bytes of a signed key bundle; one with eight keys has about 1.5 KiB.
const BUNDLE_BYTES_MAX: usize = 4096;

/// What is known of the device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Enrollment {
    /// Hash and expiry of the token that waits to be spent.
    #[n(0)]
    pub token: Option<Token>,
    #[n(1)]
    pub issued: Option<Issued>,
    #[n(2)]
    pub bundle_serial: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Token {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub hash: [u8; 32],
    #[n(1)]
    pub expires: Millis,
}

/// The certificate in force and the token that it was issued for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Issued {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub token_hash: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    pub public_key_hash: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    pub serial: Vec<u8>,
    /// Unix seconds.
    #[n(3)]
    pub not_after: u64,
    /// DER; a device that lost the answer gets the same one again.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub certificate: Vec<u8>,
}

/// What happens to an enrollment.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Change {
    #[n(0)]
    Invited(#[n(0)] Token),
    #[n(1)]
    Enrolled(#[n(0)] Issued),
    #[n(2)]
    KeysPublished {
        #[n(0)]
        serial: u64,
        #[cbor(n(1), with = "minicbor::bytes")]
        bundle: Vec<u8>,
    },
}

impl Enrollment {
    pub(crate) fn invite(&self, token: Token, ctx: &Ctx) -> Result<Vec<Change>, Rejection> {
        if token.expires <= ctx.now {
            return Rejection::new(RejectionCode::Token, "the token would be expired already");
        }
        // An invitation that comes again must not make its spent token good once more.
        let is_spent = self.issued.as_ref().is_some_and(|issued| issued.token_hash == token.hash);
        if is_spent || self.token.as_ref() == Some(&token) {
            return Ok(vec![]);
        }
        Ok(vec![Change::Invited(token)])
    }

    pub(crate) fn enroll(&self, issued: Issued, ctx: &Ctx) -> Result<Vec<Change>, Rejection> {
        if let Some(token) = &self.token
            && token.hash == issued.token_hash
        {
            if token.expires <= ctx.now {
                return Rejection::new(
                    RejectionCode::Token,
                    "the token has expired: ask for a new one",
                );
            }
            return Ok(vec![Change::Enrolled(issued)]);
        }
        match &self.issued {
            Some(old)
                if old.token_hash == issued.token_hash
                    && old.public_key_hash == issued.public_key_hash =>
            {
                Ok(vec![])
            }
            Some(old) if old.token_hash == issued.token_hash => {
                Rejection::new(RejectionCode::Token, "the token was spent with another key")
            }
            _ => Rejection::new(RejectionCode::Token, "the token is not known"),
        }
    }

    pub(crate) fn publish(&self, serial: u64, bundle: &[u8]) -> Result<Vec<Change>, Rejection> {
        if self.issued.is_none() {
            return Rejection::new(RejectionCode::NotNow, "the device is not enrolled");
        }
        if bundle.len() > BUNDLE_BYTES_MAX {
            return Rejection::new(RejectionCode::Invalid, "the key bundle is too large");
        }
        match serial.cmp(&self.bundle_serial) {
            core::cmp::Ordering::Less => Rejection::new(
                RejectionCode::Invalid,
                "the key bundle is older than the one in force",
            ),
            core::cmp::Ordering::Equal => Ok(vec![]),
            core::cmp::Ordering::Greater => {
                Ok(vec![Change::KeysPublished { serial, bundle: bundle.to_vec() }])
            }
        }
    }

    pub(crate) fn evolve(&mut self, change: &Change) {
        match change {
            Change::Invited(token) => self.token = Some(token.clone()),
            Change::Enrolled(issued) => {
                self.token = None;
                self.issued = Some(issued.clone());
            }
            Change::KeysPublished { serial, .. } => self.bundle_serial = *serial,
        }
    }
}
