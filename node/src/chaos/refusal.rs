//! Why a node does not do to itself what it is asked for.
//!
//! **Invariant:** each names the fact, and what to do where something can be done. **Not here:** when it is so (`chaos`),
//! how it is told (`web::chaos`).

use super::{LEASES_MAX, ballast::SPARE_MIB};

/// Why a lease is not taken, or nobody sent away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    #[error(
        "chaos is not allowed here: two operators allow it for a while with `fieldmesh chaos allow`; a node of a \
         lab has [chaos] enabled = true"
    )]
    NotAllowed,
    #[error(
        "{0} is for labs, whose nodes have [chaos] enabled = true: what operators allow on a cluster in \
         production leaves clocks right and disks with room"
    )]
    Guarded(&'static str),
    #[error("{0} is not done by a node to itself by a lease")]
    Outside(&'static str),
    #[error("the figures of {0} are out of range: docs/chaos.md")]
    Range(&'static str),
    #[error("chaos was stopped here: for a minute no lease is taken, and no device sent away")]
    Stopped,
    #[error(
        "this node sent its devices away less than a minute ago, and not all of them may be back: ask again in {left_s} s"
    )]
    Herded { left_s: u32 },
    #[error("there is no node of another region that {0} could be about")]
    NoOtherRegion(&'static str),
    #[error("there is no other node by the number that {0} is to have at the other end of a link")]
    NoOtherNode(&'static str),
    #[error(
        "{mib} MiB are asked for, and this machine can give {most_mib}: what is available (MemAvailable), but for \
         {SPARE_MIB} MiB for whatever else runs; lower `mib`"
    )]
    NoMemory { mib: u64, most_mib: u64 },
    #[error("there are {LEASES_MAX} leases already: end some")]
    Many,
}
