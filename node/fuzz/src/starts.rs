//! What a node says of itself.

#[path = "../../src/starts/said.rs"]
mod said;

pub(crate) use said::Hello;
