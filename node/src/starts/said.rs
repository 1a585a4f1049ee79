//! What a node says of itself to another one: its starts, and how far its log is.
//!
//! **Invariant:** a field's number stays. **Not here:** what follows from it (`starts`), how it is said
//! (`mesh::hello`).

use minicbor::{Decode, Encode};

/// A start of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Start {
    /// How many there were in this directory, with this one.
    #[n(0)]
    pub number: u64,
    /// Drawn by chance: two starts of one directory and its copy have the same number.
    #[n(1)]
    pub run: u64,
    /// Rounds that the log had: where the start before this one ended.
    #[n(2)]
    pub rounds: u64,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Its last starts, the present one at the end.
    #[n(0)]
    pub starts: Vec<Start>,
    /// Rounds that its log has on disk.
    #[n(1)]
    pub rounds: u64,
    /// Somebody refused this start, which was not taken in since: it is not to be remembered. None where nobody did.
    #[n(2)]
    pub is_refused: Option<bool>,
    /// Up to what it reads that the first release did not. None where it does not say: nothing of it.
    #[n(3)]
    pub reads: Option<u32>,
}
