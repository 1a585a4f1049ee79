//! Arbitrary streams between nodes, and everything that is said on them or answered: no reader panics or reserves
//! memory for a length that is only stated, and what one of them takes is written and read again as the same.
//!
//! The first byte chooses: a whole stream, or one of what its frames hold. Not here: what is the domain's own, which
//! has a target there.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fieldmesh_node_fuzz::read(data));
