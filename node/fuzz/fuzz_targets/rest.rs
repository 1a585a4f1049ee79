//! Arbitrary bodies of requests that operators send: no type of them panics, and what is taken is written and read again
//! as the same.
//!
//! The first byte chooses the type. Not here: what the node makes of a body.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fieldmesh_node_fuzz::rest::read(data));
