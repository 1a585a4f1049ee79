//! The tamper-evident log of a certification authority: entries, signed heads, export, proofs.
//!
//! Each entry's bytes are a leaf of the tree in [`crate::merkle`]; a [`SignedHead`] signs the root
//! of all entries up to a number. Whoever holds one head can tell whether a later log still
//! contains everything before it. Reading order: [`Entry`], [`SignedHead`], [`header_line`],
//! [`verify_export`], [`EntryProof`], [`HeadProof`].
//!
//! An export is UTF-8, one JSON object a line, each with one of these keys:
//!
//! | line | content | where |
//! |---|---|---|
//! | `header` | format, cluster, region | first |
//! | `signer` | certificate or public key of the heads that follow, then its issuers; base64 DER | right before the first head, and before the first head after a change of key or certificate |
//! | `entry` | the entry as fields, its time also as text in `at`, its leaf bytes in base64 in `leaf` | by number from 0 |
//! | `head` | a signed head | right after the entry that completes its size |
//! | `end` | how many entries, heads and signers there were | last |
//!
//! **Invariants:** an entry has one encoding, and its hash is over exactly those bytes; a reader
//! takes nothing that it cannot read whole, so that nothing unread is ever vouched for; each limit
//! is checked before the work it bounds. **Not here:** storing and appending, when to sign, whom to
//! trust.

mod entry;
mod export;
mod head;
mod proof;
mod text;
mod verify;

#[cfg(test)]
mod tests;

pub use entry::{Action, ENTRY_BYTES_MAX, Entry, EntryError, Issuance};
pub use export::{
    EXPORT_FORMAT, LINE_BYTES_MAX, end_line, entry_line, head_line, header_line, signer_line,
};
pub use head::{HeadError, HeadKey, SignedHead, Signer};
pub use proof::{EntryProof, HeadProof, PROOF_BYTES_MAX, ProofError};
pub use verify::{LedgerError, LedgerFault, Verified, verify_export};
