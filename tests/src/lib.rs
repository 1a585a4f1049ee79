//! The harness that all integration tests share.
//!
//! [`pki`] makes a cluster's certificates; [`udp`] puts QUIC on the simulated network; [`world`] runs
//! node and devices under simulated time, disk and network, with faults, and checks the laws.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking"
)]

pub mod pki;
pub mod udp;
pub mod world;
