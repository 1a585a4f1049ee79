//! The words of a registration: commands, events, and what they are made of.

use minicbor::{Decode, Encode, bytes::ByteArray};

use crate::{EntityId, TimerName, time::Millis};

/// What the holder of a certificate is, which decides the certificate's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Profile {
    #[n(0)]
    Customer,
    #[n(1)]
    Technician,
    #[n(2)]
    Operator,
    #[n(3)]
    Node,
    #[n(4)]
    Gateway,
    /// The service's signer: listed, and never registered.
    #[n(5)]
    Service,
    /// The OCSP signer: listed, and never registered.
    #[n(6)]
    OcspSigner,
}

/// Where an identity stands with the authority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Standing {
    /// Not registered.
    #[default]
    #[n(0)]
    Unknown,
    /// Registered, and never had a certificate.
    #[n(1)]
    Registered,
    /// A request waits for an operator.
    #[n(2)]
    Pending,
    /// It has a certificate.
    #[n(3)]
    Active,
    /// Every certificate was revoked; a new token enrolls it again.
    #[n(4)]
    Revoked,
    /// No token and no renewal until an operator re-admits it.
    #[n(5)]
    Banned,
}

impl Standing {
    pub const ALL: [Self; 6] =
        [Self::Unknown, Self::Registered, Self::Pending, Self::Active, Self::Revoked, Self::Banned];

    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Registered => "registered",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Revoked => "revoked",
            Self::Banned => "banned",
        }
    }
}

/// A one-time token that waits to be spent.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Token {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub hash: [u8; 32],
    #[n(1)]
    pub expires: Millis,
    /// The operator who minted it.
    #[n(2)]
    pub by: String,
    /// How a request with it is granted.
    #[n(3)]
    pub approval: Approval,
}

/// Who must agree before a certificate is issued for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Approval {
    /// The token is enough.
    #[n(0)]
    None,
    /// Any operator.
    #[n(1)]
    One,
    /// An operator other than the one who minted the token.
    #[n(2)]
    SecondPerson,
}

/// A request that waits, or waited, for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub token_hash: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    pub public_key_hash: [u8; 32],
    #[n(2)]
    pub asked_at: Millis,
    #[n(3)]
    pub decision: Decision,
    /// The operator who minted the token.
    #[n(4)]
    pub minted_by: String,
    #[n(5)]
    pub approval: Approval,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Decision {
    #[n(0)]
    Pending,
    #[n(1)]
    Approved(#[n(0)] String),
    #[n(2)]
    Denied {
        #[n(0)]
        by: String,
        #[n(1)]
        why: String,
    },
}

/// A certificate as issued.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Issued {
    #[n(0)]
    pub proof: Proof,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub public_key_hash: [u8; 32],
    /// SHA-256 of the issuer's name.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub issuer: [u8; 32],
    #[cbor(n(3), with = "minicbor::bytes")]
    pub serial: [u8; 16],
    /// Unix seconds.
    #[n(4)]
    pub not_before: u64,
    #[n(5)]
    pub not_after: u64,
    /// DER; a holder that lost the answer gets the same one again.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub certificate: Vec<u8>,
    #[n(7)]
    pub revoked: Option<Revocation>,
    /// SHA-256 of the certificate.
    #[cbor(n(8), with = "minicbor::bytes")]
    pub fingerprint: [u8; 32],
    /// SHA-256 of its signed part.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub signed_part: [u8; 32],
}

/// What the holder showed for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Proof {
    #[n(0)]
    Token(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]),
    /// The serial number of a certificate before it.
    #[n(1)]
    Certificate(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16]),
}

/// When and why a certificate was revoked; reasons are those of RFC 5280 §5.3.1 by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Revocation {
    #[n(0)]
    pub at: Millis,
    #[n(1)]
    pub reason: u8,
    /// The holder is banned, and need not try for another one.
    #[n(2)]
    pub banned: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    #[n(0)]
    Register {
        #[n(0)]
        profile: Profile,
        /// The customer or technician whose device it is.
        #[n(1)]
        device: Option<EntityId>,
        #[n(2)]
        label: String,
        #[n(3)]
        by: String,
    },
    #[n(1)]
    Invite(#[n(0)] Token),
    /// A request whose token needs an operator's approval.
    #[n(2)]
    Request {
        #[cbor(n(0), with = "minicbor::bytes")]
        token_hash: [u8; 32],
        #[cbor(n(1), with = "minicbor::bytes")]
        public_key_hash: [u8; 32],
    },
    #[n(3)]
    Approve {
        #[n(0)]
        by: String,
        /// SHA-256 of the key that the operator agrees to; any that waits unless given.
        #[n(1)]
        key: Option<ByteArray<32>>,
    },
    #[n(4)]
    Deny {
        #[n(0)]
        by: String,
        #[n(1)]
        why: String,
        #[n(2)]
        key: Option<ByteArray<32>>,
    },
    /// Records a certificate, and spends the token if one is the proof.
    #[n(5)]
    Enroll(#[n(0)] Issued),
    /// One certificate, or all that are in force.
    #[n(6)]
    Revoke {
        #[cbor(n(0), with = "minicbor::bytes")]
        serial: Option<[u8; 16]>,
        #[n(1)]
        reason: u8,
        #[n(2)]
        by: String,
    },
    #[n(7)]
    Ban {
        #[n(0)]
        why: String,
        #[n(1)]
        by: String,
    },
    #[n(8)]
    Readmit {
        #[n(0)]
        by: String,
    },
    #[n(9)]
    Timer {
        #[n(0)]
        name: TimerName,
        #[n(1)]
        generation: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    #[n(0)]
    Registered {
        #[n(0)]
        profile: Profile,
        #[n(1)]
        device: Option<EntityId>,
        #[n(2)]
        label: String,
        #[n(3)]
        by: String,
    },
    #[n(1)]
    Invited(#[n(0)] Token),
    #[n(2)]
    Requested {
        #[n(0)]
        request: Request,
        /// The request lapses then, approved or not.
        #[n(1)]
        lapses: Millis,
    },
    #[n(3)]
    Approved {
        #[n(0)]
        by: String,
    },
    #[n(4)]
    Denied {
        #[n(0)]
        by: String,
        #[n(1)]
        why: String,
    },
    #[n(5)]
    Lapsed,
    #[n(6)]
    Enrolled {
        #[n(0)]
        issued: Issued,
        /// Expired certificates that are no longer kept.
        #[n(1)]
        forgotten: u8,
        /// The operator who approved it, if one had to.
        #[n(2)]
        approved_by: Option<String>,
    },
    #[n(7)]
    Revoked {
        #[n(0)]
        serials: Vec<ByteArray<16>>,
        #[n(1)]
        revocation: Revocation,
        #[n(2)]
        by: String,
    },
    #[n(8)]
    Banned {
        #[n(0)]
        why: String,
        #[n(1)]
        by: String,
    },
    #[n(9)]
    Readmitted {
        #[n(0)]
        by: String,
    },
}
