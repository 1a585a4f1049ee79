//! Files that prove one fact of a log without the log: that an entry is in it, and that a later
//! head continues an earlier one.
//!
//! **Invariants:** a file is one JSON object, checked whole before anything of it is returned; the
//! head that is proven from is never taken from the file. **Not here:** making leaf hashes: the
//! caller has them by number.

use serde::{Deserialize, Serialize};

use super::{
    entry::{Entry, EntryError},
    export::{Record, json},
    head::{HeadError, HeadKey, SignedHead, Signer},
    text::{Base64, HexHash, json_fault},
};
use crate::merkle::{
    Hash, consistency_proof, inclusion_proof, leaf_hash, verify_consistency, verify_inclusion,
};

/// Bytes of a proof's file: entry, head and some certificates.
pub const PROOF_BYTES_MAX: usize = 64 * 1024;

/// Why a proof is not made or not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the leaves are not those that the head covers, or the entry is not among them")]
    NotCovered,
    #[error("the proof has {0} bytes: at most {PROOF_BYTES_MAX}")]
    TooLong(usize),
    #[error("the file is not such a proof: {0}")]
    Malformed(String),
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error("the readable fields do not say what the signed bytes say")]
    Differs,
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error("the signer of the head is not trusted as a ledger key of this cluster and region")]
    Untrusted,
    #[error("the entry is not at its number in the log of the head")]
    NotIncluded,
    #[error("the later head is of another log, cluster {cluster:?} region {region:?}")]
    OtherLog { cluster: String, region: String },
    #[error(
        "the later head is of {at_ms}, before the earlier one of {before_ms} (Unix milliseconds)"
    )]
    HeadTime { at_ms: u64, before_ms: u64 },
    #[error("the log of the later head does not contain that of the earlier one: it was rewritten")]
    NotContinued,
}

/// A head with what its signer is judged by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Witness {
    head: SignedHead,
    signer: Vec<Base64>,
}

impl Witness {
    fn new(head: &SignedHead, signer: &[Vec<u8>]) -> Self {
        Self { head: head.clone(), signer: signer.iter().cloned().map(Base64).collect() }
    }

    fn check(&self, trusted: &dyn Fn(&Signer<'_>) -> bool) -> Result<(), ProofError> {
        let chain: Vec<Vec<u8>> = self.signer.iter().map(|der| der.0.clone()).collect();
        let signer = Signer::of(&self.head, &chain).ok_or(HeadError::NotAKey)?;
        self.head.verify(&HeadKey::from_der(signer.key)?)?;
        if trusted(&signer) { Ok(()) } else { Err(ProofError::Untrusted) }
    }
}

/// That an entry is in the log of a head, as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryProof {
    entry: Record,
    /// Sibling hashes from the leaf up.
    path: Vec<HexHash>,
    by: Witness,
}

/// That a later head continues an earlier one, as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadProof {
    path: Vec<HexHash>,
    by: Witness,
}

/// The leaves that a head covers, if its root says so.
fn covered<'a>(leaves: &'a [Hash], head: &SignedHead) -> Result<&'a [Hash], ProofError> {
    let size = usize::try_from(head.size).map_err(|_| ProofError::NotCovered)?;
    leaves.get(..size).ok_or(ProofError::NotCovered)
}

fn from_json<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, ProofError> {
    if json.len() > PROOF_BYTES_MAX {
        return Err(ProofError::TooLong(json.len()));
    }
    serde_json::from_slice(json).map_err(|error| ProofError::Malformed(json_fault(&error)))
}

fn hashes(path: &[HexHash]) -> Vec<Hash> {
    path.iter().map(|hash| hash.0).collect()
}

impl EntryProof {
    /// For the entry of these stored bytes. `leaves` are the log's leaf hashes, at least as many as
    /// the head covers; `signer` is as in [`super::signer_line`].
    ///
    /// # Errors
    /// Where the entry is not at its number or the head does not cover it.
    pub fn new(
        leaf: &[u8],
        leaves: &[Hash],
        head: &SignedHead,
        signer: &[Vec<u8>],
    ) -> Result<Self, ProofError> {
        let entry = Entry::from_bytes(leaf)?;
        let index = usize::try_from(entry.number).map_err(|_| ProofError::NotCovered)?;
        let path = inclusion_proof(covered(leaves, head)?, index).ok_or(ProofError::NotCovered)?;
        if !verify_inclusion(&leaf_hash(leaf), entry.number, head.size, &path, &head.root) {
            return Err(ProofError::NotCovered);
        }
        let path = path.into_iter().map(HexHash).collect();
        Ok(Self { entry: Record::of(leaf)?, path, by: Witness::new(head, signer) })
    }

    /// The file.
    pub fn to_json(&self) -> String {
        json(self)
    }

    /// Reads the file; nothing of it is believed yet.
    ///
    /// # Errors
    /// Where it is too long or not such a proof.
    pub fn from_json(json: &[u8]) -> Result<Self, ProofError> {
        from_json(json)
    }

    /// The head that the entry is proven by: who holds a later one asks for a [`HeadProof`] from
    /// here to there.
    pub fn head(&self) -> &SignedHead {
        &self.by.head
    }

    /// The entry, proven. Compare a certificate with [`super::Issuance::is_of`].
    ///
    /// # Errors
    /// The first fact that is wrong.
    pub fn verify(&self, trusted: &dyn Fn(&Signer<'_>) -> bool) -> Result<Entry, ProofError> {
        let entry = self.entry.clone().checked()?.ok_or(ProofError::Differs)?;
        self.by.check(trusted)?;
        let (leaf, head) = (leaf_hash(&self.entry.leaf), &self.by.head);
        if verify_inclusion(&leaf, entry.number, head.size, &hashes(&self.path), &head.root) {
            Ok(entry)
        } else {
            Err(ProofError::NotIncluded)
        }
    }
}

impl HeadProof {
    /// From the log's leaf hashes, at least as many as the later head covers.
    ///
    /// # Errors
    /// Where the leaves do not lead from the one to the other.
    pub fn new(
        leaves: &[Hash],
        earlier: &SignedHead,
        later: &SignedHead,
        signer: &[Vec<u8>],
    ) -> Result<Self, ProofError> {
        let size = usize::try_from(earlier.size).map_err(|_| ProofError::NotCovered)?;
        let path =
            consistency_proof(covered(leaves, later)?, size).ok_or(ProofError::NotCovered)?;
        let path = path.into_iter().map(HexHash).collect();
        let proof = Self { path, by: Witness::new(later, signer) };
        proof.continues(earlier)?;
        Ok(proof)
    }

    /// The file.
    pub fn to_json(&self) -> String {
        json(self)
    }

    /// Reads the file; nothing of it is believed yet.
    ///
    /// # Errors
    /// Where it is too long or not such a proof.
    pub fn from_json(json: &[u8]) -> Result<Self, ProofError> {
        from_json(json)
    }

    /// The later head, proven to continue `earlier`, which the caller believes already.
    ///
    /// # Errors
    /// The first fact that is wrong. [`ProofError::NotContinued`] with two heads whose signatures
    /// verify is evidence against the log's owner.
    pub fn verify(
        &self,
        earlier: &SignedHead,
        trusted: &dyn Fn(&Signer<'_>) -> bool,
    ) -> Result<&SignedHead, ProofError> {
        self.by.check(trusted)?;
        self.continues(earlier)?;
        Ok(&self.by.head)
    }

    fn continues(&self, earlier: &SignedHead) -> Result<(), ProofError> {
        let later = &self.by.head;
        if !later.is_of(&earlier.cluster, &earlier.region) {
            let (cluster, region) = (later.cluster.clone(), later.region.clone());
            return Err(ProofError::OtherLog { cluster, region });
        }
        if later.at_ms < earlier.at_ms {
            return Err(ProofError::HeadTime { at_ms: later.at_ms, before_ms: earlier.at_ms });
        }
        let path = hashes(&self.path);
        if verify_consistency(earlier.size, &earlier.root, later.size, &later.root, &path) {
            Ok(())
        } else {
            Err(ProofError::NotContinued)
        }
    }
}
