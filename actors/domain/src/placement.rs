//! What every node of the cluster must know, whatever its region: here, who is revoked.
//!
//! The revocations themselves are rows, one for each certificate, because there may be hundreds of
//! thousands; each node keeps them in memory and closes the connections of whoever comes to be in
//! them.
//!
//! **Invariant:** what is revoked stays revoked. **Not here:** why (`registration`).

use minicbor::{Decode, Encode};

use crate::{
    Aggregate, Ctx, Effect, EntityId, EntityKind, IndexRow, Rejection, TimerName,
    registration::Revocation,
};

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Placement {
    /// How many certificates were revoked.
    #[n(0)]
    pub revoked: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// A certificate is not to be believed any more; told once for each.
    #[n(0)]
    Revoke {
        /// SHA-256 of the issuer's name.
        #[cbor(n(0), with = "minicbor::bytes")]
        issuer: [u8; 32],
        #[cbor(n(1), with = "minicbor::bytes")]
        serial: [u8; 16],
        /// Unix seconds; afterwards it is not believed anyway.
        #[n(2)]
        not_after: u64,
        #[n(3)]
        revocation: Revocation,
    },
    #[n(1)]
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
    Revoked {
        #[cbor(n(0), with = "minicbor::bytes")]
        issuer: [u8; 32],
        #[cbor(n(1), with = "minicbor::bytes")]
        serial: [u8; 16],
        #[n(2)]
        not_after: u64,
        #[n(3)]
        revocation: Revocation,
    },
}

impl Aggregate for Placement {
    type Command = Command;
    type Event = Event;
    const KIND: EntityKind = EntityKind::Placement;

    fn decide(&self, command: &Command, _: &Ctx) -> Result<Vec<Event>, Rejection> {
        match *command {
            Command::Revoke { issuer, serial, not_after, revocation } => {
                Ok(vec![Event::Revoked { issuer, serial, not_after, revocation }])
            }
            Command::Timer { .. } => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Revoked { .. } => self.revoked = self.revoked.saturating_add(1),
        }
    }

    fn react(&self, event: &Event, _: EntityId) -> Vec<Effect> {
        match *event {
            Event::Revoked { issuer, serial, not_after, revocation } => {
                let row = IndexRow::Revocation { issuer, serial, not_after, revocation };
                vec![Effect::Index(row)]
            }
        }
    }
}
