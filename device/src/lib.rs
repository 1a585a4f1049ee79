//! The client of customers' and technicians' devices: signs, keeps, seals, sends; receives, verifies,
//! acknowledges.
//!
//! [`session`] is the sans-IO core; [`client`] drives it over QUIC; [`outbox`] keeps what is not yet
//! acknowledged, encrypted on disk; [`keys`] is where a hardware key store fits; [`enroll`] gets the
//! certificate; [`attach`] brings and fetches what is too large for a message. [`wire`] is shared with the service.
//!
//! **Invariants:** a message leaves the outbox only on a verified answer to it; a received message
//! is acknowledged only after it was noted; clock, chance and network come from the caller.

pub mod attach;
pub mod client;
pub mod enroll;
pub mod files;
pub mod http;
pub mod keys;
pub mod outbox;
pub mod session;
pub mod transport;
pub mod wire;

pub use client::{
    Client, ClientConfig, ClientError, Mail, Nodes, Others, spawn, spawn_among, spawn_sender,
};
pub use session::Event;

use std::sync::Arc;

/// Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;
/// Fills with random bytes.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;
