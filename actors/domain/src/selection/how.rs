//! How a choice was made, and with whom it competed, so that it can be explained.
//!
//! **Invariant:** field numbers are never used again. **Not here:** the rule that decides how (`desk`).

use minicbor::{Decode, Encode};

use crate::ids::EntityId;

/// How technicians were given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Mode {
    /// The ticket by itself: whoever costs it least.
    #[n(0)]
    AtOnce,
    /// Together with others, so that all of them together cost least.
    #[n(1)]
    Batched,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::AtOnce => "at_once",
            Self::Batched => "batched",
        }
    }
}

/// A ticket that was given a technician in the same batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Rival {
    #[n(0)]
    pub ticket: EntityId,
    #[n(1)]
    pub technician: EntityId,
}

/// What there was besides the candidates when a choice was made.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct How {
    #[n(0)]
    pub mode: Mode,
    /// Technicians that fitted.
    #[n(1)]
    pub eligible: u32,
    /// Tickets that they had room for.
    #[n(2)]
    pub room: u32,
    /// Tickets that wanted some of them: this one, those that waited, as many as came in the last moments.
    #[n(3)]
    pub competing: u32,
    /// Who was given a technician that is among the candidates here.
    #[n(4)]
    pub rivals: Vec<Rival>,
    /// Whose offer was taken back so that there was room.
    #[n(5)]
    pub displaced: Option<EntityId>,
    /// Offers that a technician might have in a minute, where that was bounded.
    #[n(6)]
    pub pace: Option<u16>,
}
