//! How a document in TOML is read so that everything wrong with it is found at its line and column.
//!
//! Other documents that operators write are read by the same means, so that their findings look alike.
//!
//! **Invariants:** what is here is what the rules are read by. **Not here:** which fields there are.

pub use crate::{
    document::Fields,
    finding::Findings,
    nearest::{meant, nearest},
    refused::{Read, Refused, read},
    rule::is_name,
};
