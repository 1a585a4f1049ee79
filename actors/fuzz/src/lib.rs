//! What the targets of the domain share: a value is what its bytes say, and bytes as a text.
//!
//! An input begins with a byte that chooses what the others are read as. **Not here:** what is read.

use core::fmt::Debug;

use minicbor::{Decode, Encode};

/// A value goes through bytes unchanged: what one release wrote another one reads.
///
/// Bytes are not compared with the input: an earlier release wrote fewer fields, and numbers may be
/// written longer than they need be.
pub fn through_bytes<T>(value: &T)
where
    T: Debug + PartialEq + Encode<()> + for<'b> Decode<'b, ()>,
{
    let bytes = minicbor::to_vec(value).expect("memory takes every byte");
    let again: T = minicbor::decode(&bytes).expect("what was just written");
    assert_eq!(&again, value);
    assert_eq!(minicbor::to_vec(&again).expect("memory takes every byte"), bytes);
}

/// As a file is read: what is no UTF-8 is none of ours, and not looked at.
pub fn text(data: &[u8]) -> &str {
    core::str::from_utf8(data).unwrap_or_default()
}
