//! What operators write about tickets that nobody takes: escalation policies, promises, silences.
//!
//! Three documents in TOML. [`read_policies`] says who is asked and told in which order, and
//! [`simulate`] tries a policy on a situation. [`read_targets`] says by when somebody has to respond and to
//! finish, in which opening hours. [`read_silences`] says for which tickets nobody is sought for a while.
//! Each refuses a document with everything that is wrong with it, at line and column.
//!
//! **Invariants:** pure: no clock, no chance, no input or output; the same text gives the same result on
//! every machine. A policy that was read ends in a repetition that reaches a person; a silence that was
//! read ends. **Not here:** storing the documents, what a ticket does with them (the domain).

mod applies;
mod duration;
mod endings;
mod policies;
mod silences;
mod simulate;
mod steps;
mod targets;

pub use applies::{Applies, LIST_MAX, Ticket};
pub use fieldmesh_rules::reading::{Read, Refused};
pub use policies::{Entry, POLICIES_MAX, Policies, Recipients, read_policies};
pub use silences::{
    Area, LENGTH_DAYS_MAX, NewSilence, SILENCES_MAX, SilenceKind, Silences, WrittenSilence,
    read_silences,
};
pub use simulate::{Answer, MOMENTS_MAX, Moment, Person, Responder, Situation, What, simulate};
pub use targets::{CALENDARS_MAX, Promise, TARGETS_MAX, Targets, read_targets};

/// Bytes of a document: as much as one entry of the log takes with room to spare.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
