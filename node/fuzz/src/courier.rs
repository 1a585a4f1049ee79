//! What nodes say to each other about entities and devices.

#[path = "../../src/courier/wire.rs"]
pub(crate) mod wire;
