//! Raft groups on openraft: the only room that knows the crate.
//!
//! A node runs several groups over one log ([`log_store`]) and one state table each ([`machine`]).
//! A group with one voter is the same code as a group with five.
//!
//! **Invariants:** an acknowledged proposal is on a quorum's disk and applied; the term in a
//! committed entry never falls. **Not here:** what a proposal means to entities (`actors`), the
//! sealing of its payloads (`journal`).

mod backlog;
pub mod codec;
pub mod freeze;
pub mod group;
mod handing;
pub mod install;
pub mod left;
pub mod log_store;
pub mod machine;
pub mod network;
pub mod outcome;
pub mod outlive;
pub mod packed;
mod piece;
pub mod positions;
mod quiet;
mod recent;
pub mod replicas;
pub mod rest;
pub mod restore;
mod runtime;
mod search;
pub mod service;
pub mod standby;
pub mod transfer;
pub mod wire;

use std::{fmt, io};

use bytes::Bytes;
use openraft::impls::{EmptyNode, leader_id_std};

pub use group::{Group, ProposeError};
pub use outcome::Outcome;
pub use runtime::Runtime;

openraft::declare_raft_types!(
    /// Fieldmesh's choice of types: one leader per term, so that a term is a fencing token.
    pub Types:
        D = Proposal,
        R = Outcome,
        NodeId = u64,
        Node = EmptyNode,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = Runtime,
);

pub type Entry = openraft::alias::EntryOf<Types>;
pub type LogId = openraft::alias::LogIdOf<Types>;
pub type Vote = openraft::alias::VoteOf<Types>;
pub type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub type Raft = openraft::Raft<Types, machine::Machine>;

/// The encoded proposal of an entry; sealed before it came here.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal(pub Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
