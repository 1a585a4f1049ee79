//! The harness that all integration tests share; [`unchecked`] says what a machine cannot do for them.
//!
//! [`pki`] makes a cluster's certificates; [`live`] runs a server in this process; [`person`] asks it
//! with curl and openssl; [`process`] runs the real programs; [`document`] runs what the documentation
//! says; [`udp`] puts QUIC on the simulated network; [`world`] runs node and devices under simulated time,
//! disk and network, with faults, and checks the laws, [`group_world`] one replicated group,
//! [`cluster_world`] a whole cluster with its devices. [`reception`] stands for nodes that come and go,
//! [`link`] for the bad network before them. [`crash`] is a group in a process that dies. [`seeds`] says which seeds
//! simulations have.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking"
)]

pub mod cluster_world;
pub mod crash;
pub mod deaf;
pub mod document;
pub mod group_world;
pub mod link;
pub mod live;
pub mod mesh;
pub mod person;
pub mod pki;
pub mod process;
pub mod reception;
pub mod seeds;
mod signature;
pub mod udp;
pub mod unchecked;
pub mod world;
