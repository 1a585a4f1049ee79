//! The actors of a node: ractor lives here and nowhere else.
//!
//! ```text
//! Shard (per group and term, while leading) ─ Entity … (customers, technicians, tickets, the desk)
//!                                           ├ Outbox    rows for other entities
//!                                           ├ Timers    durable deadlines
//!                                           └ Mailroom  messages for devices
//! ```
//!
//! One generic entity actor hosts every aggregate of `fieldmesh_domain`: it loads, decides, submits,
//! evolves and answers. All it reaches outside goes through [`seams`].
//!
//! **Invariants:** only [`entity`] calls `Journal::submit`; nothing is answered before its step is
//! applied; no actor is named and no process group is used, because ractor keeps those tables per
//! process and not per node. **Not here:** rules (`domain`), bytes on disk and wire (`node`).

pub mod admission;
pub mod commit;
pub mod entity;
pub mod mail;
pub mod mailroom;
pub mod outbox;
pub mod queues;
pub mod seams;
pub mod shard;
pub mod supervisor;
pub mod timers;

pub use entity::{Answer, AskError, RULE_VERSION};
pub use shard::{Shard, ShardHandle, ShardOptions};
pub use supervisor::Supervisor;
