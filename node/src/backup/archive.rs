//! A backup's directory.
//!
//! ```text
//! backup.sealed   FMBK | format u32 | a vault under the passphrase: what is in the backup, the key of the
//!                 other files, the region's secrets; written last, so that without it there is no backup
//! group-N.rows    FMBG | pieces: length u32 | nonce, ciphertext and tag
//! ```
//!
//! A piece is sealed together with its group, its number and whether it is the last, so none can be left
//! out, moved or added; the head has the SHA-256 of each file besides. The directory is called
//! `….unfinished` until it is whole.
//!
//! **Invariants:** nothing but sizes can be read without the passphrase; what is read was checked, piece
//! by piece. **Not here:** what rows mean (`store`), where they come from and go to (`cli`, `trial`).

mod read;
mod write;

use std::{io, path::PathBuf};

use fieldmesh_domain::placement::{GROUPS_PER_REGION, Home};
use fieldmesh_pki::vault;
use minicbor::{Decode, Encode};
use zeroize::Zeroize;

pub use read::Archive;
pub use write::{GroupWriting, Writing};

/// Version of the directory's layout.
pub const FORMAT: u32 = 1;
const HEAD: &str = "backup.sealed";
const HEAD_MAGIC: &[u8; 4] = b"FMBK";
const ROWS_MAGIC: &[u8; 4] = b"FMBG";
/// What a directory's name ends with until it is whole.
const UNFINISHED: &str = "unfinished";

/// Why a backup cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{path} cannot be read or written")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is there already: choose another directory")]
    Exists { path: PathBuf },
    #[error(
        "{path} holds no whole backup: it was cut short, or is another directory; take it again"
    )]
    Unfinished { path: PathBuf },
    #[error("{path} has format {found}, this program knows format {FORMAT}: use a newer program")]
    Format { path: PathBuf, found: u32 },
    #[error("{path}: {source}")]
    Vault { path: PathBuf, source: vault::VaultError },
    #[error("{path} is damaged: {fact}; use another backup")]
    Damaged { path: PathBuf, fact: String },
    #[error("{path} was not encrypted: it is too large")]
    TooLarge { path: PathBuf },
}

/// A group in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct GroupPart {
    #[n(0)]
    pub group: u32,
    /// The last entry that the state has.
    #[n(1)]
    pub term: u64,
    #[n(2)]
    pub index: u64,
    #[n(3)]
    pub rows: u64,
    #[n(4)]
    pub pieces: u64,
    /// Of its file.
    #[n(5)]
    pub bytes: u64,
    #[cbor(n(6), with = "minicbor::bytes")]
    pub sha256: [u8; 32],
}

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Manifest {
    #[n(0)]
    pub format: u32,
    #[n(1)]
    pub cluster: String,
    #[n(2)]
    pub region: String,
    #[n(3)]
    pub shards: u32,
    /// Unix milliseconds, at which no group was beyond its state here.
    #[n(4)]
    pub taken_at_ms: u64,
    #[n(5)]
    pub groups: Vec<GroupPart>,
    /// SHA-256 of the roots, the issuing CA and the service's certificate.
    #[n(6)]
    pub certificates: Vec<minicbor::bytes::ByteArray<32>>,
}

impl Manifest {
    /// The region's number in its cluster, by which its groups are numbered.
    pub fn index(&self) -> u32 {
        let numbers = self.groups.iter().map(|part| part.group / GROUPS_PER_REGION);
        numbers.max().unwrap_or(0)
    }

    /// The region, by its name and groups; none where it has no name that could be one.
    pub fn home(&self) -> Option<Home> {
        let region = self.region.parse().ok()?;
        Some(Home::new(region, self.index(), self.shards))
    }
}

/// The content of the head.
#[derive(Encode, Decode)]
struct Head {
    #[n(0)]
    manifest: Manifest,
    /// Of the other files.
    #[cbor(n(1), with = "minicbor::bytes")]
    key: [u8; 32],
    /// What a node of the region needs, as it is handed over.
    #[cbor(n(2), with = "minicbor::bytes")]
    secrets: Vec<u8>,
}

impl Drop for Head {
    fn drop(&mut self) {
        self.key.zeroize();
        self.secrets.zeroize();
    }
}

fn rows_file(group: u32) -> String {
    format!("group-{group}.rows")
}

/// What a piece is sealed together with.
fn place(group: u32, number: u64, is_last: bool) -> Vec<u8> {
    let mut place = group.to_be_bytes().to_vec();
    place.extend_from_slice(&number.to_be_bytes());
    place.push(u8::from(is_last));
    place
}

#[cfg(test)]
mod tests;
