//! How nodes read what other nodes say, without the node: its own files are compiled here once more, because the node
//! links its storage engine, which a sanitizer would compile for a quarter of an hour.
//!
//! **Invariant:** whatever reads bytes is a file of `node/src`, or a type that `build.rs` takes out of one; written here
//! are only the types that those files name and do nothing with, and what must hold of what they read.

#![allow(dead_code, reason = "the node's files have more than reads bytes")]

mod consensus;
mod courier;
mod mesh;
pub mod rest;
mod starts;
mod store;

/// What `build.rs` takes.
mod taken {
    include!(concat!(env!("OUT_DIR"), "/taken.rs"));
}

use core::fmt::Debug;

use minicbor::{Decode, Encode, bytes::ByteVec};

use courier::wire;

/// What is written of a value may have fields that an earlier release left out, and no more.
const GROWTH: usize = 16;
/// Its place is its number in committed inputs: more come at the end.
const READERS: &[fn(&[u8])] = &[
    mesh::stream,
    consensus::request,
    consensus::answer,
    consensus::head,
    consensus::piece,
    value::<starts::Hello>,
    value::<wire::Opening>,
    value::<wire::Notice>,
    value::<wire::Said>,
    value::<wire::Seen>,
    value::<wire::Audited>,
    value::<Vec<wire::SentAlert>>,
    value::<Vec<wire::Opened>>,
    value::<wire::SlotRows>,
    value::<bool>,
    value::<ByteVec>,
    kept::<taken::archive::Manifest>,
    kept::<taken::cut::Edges>,
    value::<Vec<u32>>,
    consensus::list,
];

/// Why nobody is sought, where a body does not say it.
enum SilenceKind {
    Silence,
}

impl SilenceKind {
    fn name(self) -> &'static str {
        match self {
            Self::Silence => "silence",
        }
    }
}

/// Reads an input, whose first byte chooses what the others are.
pub fn read(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    READERS[usize::from(*choice) % READERS.len()](bytes);
}

/// What a backup holds beside what groups say of themselves.
fn kept<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) {
    let _ = again::<T, _>(bytes, wire::decode, store::rows::encode);
}

/// What a frame of the application is, where it is that.
fn value<T>(bytes: &[u8])
where
    T: Debug + PartialEq + Encode<()> + for<'b> Decode<'b, ()>,
{
    let _ = valued::<T>(bytes);
}

fn valued<T>(bytes: &[u8]) -> Option<T>
where
    T: Debug + PartialEq + Encode<()> + for<'b> Decode<'b, ()>,
{
    let value = again(bytes, wire::decode, store::rows::encode)?;
    let written = store::rows::encode(&value);
    assert_eq!(wire::decode::<T>(&written).as_ref().ok(), Some(&value));
    Some(value)
}

/// A value that is written and read again as the same, and is not much longer than it was.
fn again<T, E: Debug>(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T, E>,
    write: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    let value = read(bytes).ok()?;
    let written = write(&value);
    assert!(written.len() <= GROWTH * bytes.len(), "{} bytes of {}", written.len(), bytes.len());
    assert_eq!(write(&read(&written).expect("what was just written")), written);
    Some(value)
}
