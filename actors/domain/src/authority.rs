//! A region's authority: the ledger of everything that its certification authority did.
//!
//! Each entry is an event here, in order and numbered. A signed head names how many there were at a
//! time and the root of the Merkle tree over them; whoever keeps a head can tell later whether the
//! entries before it were changed.
//!
//! **Invariants:** numbers have no gaps; heads only grow. **Not here:** hashing and signing, which
//! follow from the entries (`node::ledger`); who may do what (`registration`).

use minicbor::{Decode, Encode, bytes::ByteArray};

use crate::{
    Aggregate, Ctx, Effect, EntityId, EntityKind, Rejection, RejectionCode, TimerName,
    placement::Phase,
    registration::{self, Issued, Profile, Proof, Registration},
    time::Millis,
};

/// Bytes of a signed head with its signer's chain and the frontier of its tree, which has 64 hashes at
/// most.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The last signed head.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Head {
    /// Entries that it covers.
    #[n(0)]
    pub size: u64,
    #[n(1)]
    pub at: Millis,
    /// The signed head, as exports show it.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signed: Vec<u8>,
    /// What the tree goes on from.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub frontier: Vec<u8>,
    /// The authority's version behind the last entry that it covers.
    #[n(4)]
    pub version: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Authority {
    /// Entries in the ledger.
    #[n(0)]
    pub size: u64,
    #[n(1)]
    pub head: Option<Head>,
    /// The latest time of an entry: no certificate is issued by a clock that is behind it.
    #[n(2)]
    pub high_water: Millis,
}

/// What was done, by whom, to whom. No secrets, and nobody's name but operators' identities.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Note {
    #[n(0)]
    pub registration: Option<EntityId>,
    /// An operator, or who asked.
    #[n(1)]
    pub by: String,
    #[n(2)]
    pub deed: Deed,
}

/// The closed list of what the ledger tells.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Deed {
    #[n(0)]
    Registered(#[n(0)] Profile),
    #[n(1)]
    TokenMinted {
        #[n(0)]
        expires: Millis,
        #[n(1)]
        approval: registration::Approval,
        /// SHA-256 of its secret.
        #[cbor(n(2), with = "minicbor::bytes")]
        token: [u8; 32],
        #[n(3)]
        profile: Profile,
    },
    #[n(2)]
    Requested {
        #[cbor(n(0), with = "minicbor::bytes")]
        key: [u8; 32],
        #[cbor(n(1), with = "minicbor::bytes")]
        token: [u8; 32],
        #[n(2)]
        profile: Profile,
    },
    #[n(3)]
    Approved,
    #[n(4)]
    Denied {
        #[n(0)]
        why: String,
    },
    #[n(5)]
    Lapsed,
    #[n(6)]
    Issued {
        #[n(0)]
        profile: Profile,
        #[cbor(n(1), with = "minicbor::bytes")]
        issuer: [u8; 32],
        #[cbor(n(2), with = "minicbor::bytes")]
        serial: [u8; 16],
        /// Unix seconds.
        #[n(3)]
        not_after: u64,
        #[cbor(n(4), with = "minicbor::bytes")]
        key: [u8; 32],
        /// SHA-256 of the certificate's signed part: its signature could be another one.
        #[cbor(n(5), with = "minicbor::bytes")]
        signed_part: [u8; 32],
        #[n(6)]
        approved_by: Option<String>,
        /// The certificate that it renews.
        #[n(7)]
        renews: Option<ByteArray<16>>,
    },
    #[n(7)]
    Revoked {
        #[cbor(n(0), with = "minicbor::bytes")]
        issuer: [u8; 32],
        #[cbor(n(1), with = "minicbor::bytes")]
        serial: [u8; 16],
        #[n(2)]
        reason: u8,
    },
    #[n(8)]
    Banned {
        #[n(0)]
        why: String,
    },
    #[n(9)]
    Readmitted,
    #[n(10)]
    Refused {
        /// The HTTP status that was answered.
        #[n(0)]
        code: u16,
        #[n(1)]
        why: String,
        /// Refusals before this one for which there was no room.
        #[n(2)]
        unlisted: u32,
    },
    /// The issuing key signed something that is not listed by itself.
    #[n(11)]
    KeyUsed {
        #[n(0)]
        purpose: String,
    },
    /// An authority is believed from now on.
    #[n(12)]
    CaIntroduced {
        /// SHA-256 of its name.
        #[cbor(n(0), with = "minicbor::bytes")]
        issuer: [u8; 32],
        /// SHA-256 of its certificate.
        #[cbor(n(1), with = "minicbor::bytes")]
        certificate: [u8; 32],
        /// Unix seconds.
        #[n(2)]
        not_after: u64,
    },
    /// A rotation went on, or back.
    #[n(13)]
    CaMoved {
        #[cbor(n(0), with = "minicbor::bytes")]
        certificate: [u8; 32],
        #[n(1)]
        from: Phase,
        #[n(2)]
        to: Phase,
        /// The operator who had asked for it before.
        #[n(3)]
        proposed_by: Option<String>,
        /// Others may have its key.
        #[n(4)]
        compromised: bool,
    },
    /// The region's nodes are broken on purpose from now on.
    #[n(14)]
    ChaosBegun {
        #[n(0)]
        run: String,
        #[n(1)]
        scenario: String,
        /// SHA-256 of its document.
        #[cbor(n(2), with = "minicbor::bytes")]
        document: [u8; 32],
        #[n(3)]
        seed: u64,
        #[n(4)]
        target: String,
    },
    /// They are not any more.
    #[n(15)]
    ChaosEnded {
        #[n(0)]
        run: String,
        /// 0 passed, 1 a promise was broken, 2 given up, 3 it says nothing.
        #[n(1)]
        exit: u8,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    #[n(0)]
    Note(#[n(0)] Note),
    #[n(1)]
    SignHead(#[n(0)] Head),
    #[n(2)]
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
    Noted {
        #[n(0)]
        number: u64,
        #[n(1)]
        at: Millis,
        #[n(2)]
        note: Note,
    },
    #[n(1)]
    HeadSigned(#[n(0)] Head),
}

impl Note {
    /// What the ledger says of an event of a registration; `after` is the state after it. One entry
    /// for each certificate that is revoked, otherwise one for each event.
    pub(crate) fn of(event: &registration::Event, id: EntityId, after: &Registration) -> Vec<Self> {
        use registration::Event;
        // Whatever happens to it, it was registered before.
        let profile = after.profile.unwrap_or(Profile::Customer);
        let said = |by: &str, deed| Self { registration: Some(id), by: by.to_owned(), deed };
        vec![match event {
            Event::Registered { profile, by, .. } => said(by, Deed::Registered(*profile)),
            Event::Invited(token) => {
                let (expires, approval, token_hash) = (token.expires, token.approval, token.hash);
                said(&token.by, Deed::TokenMinted { expires, approval, token: token_hash, profile })
            }
            Event::Requested { request, .. } => {
                let (key, token) = (request.public_key_hash, request.token_hash);
                said("", Deed::Requested { key, token, profile })
            }
            Event::Approved { by } => said(by, Deed::Approved),
            Event::Denied { by, why } => said(by, Deed::Denied { why: why.clone() }),
            Event::Lapsed => said("", Deed::Lapsed),
            Event::Enrolled { issued, approved_by, .. } => {
                said("", Self::issued(issued, approved_by.clone(), profile))
            }
            Event::Revoked { serials, revocation, by } => {
                let of = |issued: &Issued| Deed::Revoked {
                    issuer: issued.issuer,
                    serial: issued.serial,
                    reason: revocation.reason,
                };
                let known = serials.iter().filter_map(|serial| after.by_serial(serial));
                return known.map(|issued| said(by, of(issued))).collect();
            }
            Event::Banned { why, by } => said(by, Deed::Banned { why: why.clone() }),
            Event::Readmitted { by } => said(by, Deed::Readmitted),
        }]
    }

    fn issued(issued: &Issued, approved_by: Option<String>, profile: Profile) -> Deed {
        let renews = match issued.proof {
            Proof::Token(_) => None,
            Proof::Certificate(serial) => Some(serial.into()),
        };
        Deed::Issued {
            profile,
            issuer: issued.issuer,
            serial: issued.serial,
            not_after: issued.not_after,
            key: issued.public_key_hash,
            signed_part: issued.signed_part,
            approved_by,
            renews,
        }
    }
}

impl Aggregate for Authority {
    type Command = Command;
    type Event = Event;
    const KIND: EntityKind = EntityKind::Authority;

    fn decide(&self, command: &Command, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Note(note) => {
                Ok(vec![Event::Noted { number: self.size, at: ctx.now, note: note.clone() }])
            }
            Command::SignHead(head) => {
                if head.signed.len() + head.frontier.len() > HEAD_BYTES_MAX {
                    return Rejection::new(RejectionCode::Invalid, "the head is too large");
                }
                if head.size > self.size {
                    return Rejection::new(RejectionCode::Invalid, "the head is ahead of its log");
                }
                let is_old = self.head.as_ref().is_some_and(|last| last.size >= head.size);
                Ok(if is_old { vec![] } else { vec![Event::HeadSigned(head.clone())] })
            }
            Command::Timer { .. } => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Noted { number, at, .. } => {
                self.size = number.saturating_add(1);
                self.high_water = self.high_water.max(*at);
            }
            Event::HeadSigned(head) => self.head = Some(head.clone()),
        }
    }

    fn react(&self, _: &Event, _: EntityId) -> Vec<Effect> {
        vec![]
    }
}
