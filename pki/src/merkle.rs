//! The Merkle tree of an append-only log: RFC 9162 §2.1 (the same tree as RFC 6962) over SHA-256.
//!
//! A writer keeps a [`Frontier`] alone; proofs are made from a slice of leaf hashes and checked
//! without any of them.
//!
//! **Invariants:** leaf and node hashes never collide, by their prefixes; a frontier holds one hash
//! per set bit of its size, so that equal logs have equal frontiers. A proof binds a root to a size
//! only as far as the root's owner does: sizes come from a signed head, never from the proof.
//! **Not here:** what a leaf says and who signs the root: [`crate::ledger`].

use aws_lc_rs::digest;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::sha256;

#[cfg(test)]
mod tests;

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// Sizes that a stored frontier may claim: beyond it, counting leaves could overflow.
const SIZE_MAX: u64 = u64::MAX >> 1;

/// The hash of a leaf's bytes (RFC 9162 §2.1.1).
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[0]);
    context.update(leaf);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The hash of two subtrees (RFC 9162 §2.1.1).
fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    sha256(&bytes)
}

/// All that appending needs: the roots of the complete subtrees, at most 64, and the size.
///
/// Stored as `[size, hashes in one byte string, largest subtree first]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf_hash: Hash) {
        let mut hash = leaf_hash;
        // Subtrees of equal size merge as bits carry.
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.subtrees.pop() else { break };
            hash = node_hash(&left, &hash);
        }
        self.subtrees.push(hash);
        self.size += 1;
    }

    /// The tree's root; of no leaves, the hash of nothing.
    pub fn root(&self) -> Hash {
        let joined = self.subtrees.iter().rev().copied().reduce(|right, left| {
            // Smaller subtrees stand on the right.
            node_hash(&left, &right)
        });
        joined.unwrap_or_else(|| sha256(&[]))
    }
}

impl FromIterator<Hash> for Frontier {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut frontier = Self::default();
        leaves.into_iter().for_each(|leaf| frontier.push(leaf));
        frontier
    }
}

impl<C> Encode<C> for Frontier {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(2)?.u64(self.size)?.bytes(self.subtrees.as_flattened())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Frontier {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        if d.array()? != Some(2) {
            return Err(decode::Error::message("a frontier is a size and its hashes"));
        }
        let (size, bytes) = (d.u64()?, d.bytes()?);
        let (subtrees, rest) = bytes.as_chunks::<32>();
        let fits = rest.is_empty() && u32::try_from(subtrees.len()) == Ok(size.count_ones());
        if !fits || size > SIZE_MAX {
            return Err(decode::Error::message("a frontier has not the hashes of its size"));
        }
        Ok(Self { size, subtrees: subtrees.to_vec() })
    }
}

/// Leaves in the left subtree of `size > 1` leaves: the largest power of two below it.
fn left_size(size: usize) -> usize {
    1 << (size - 1).ilog2()
}

fn root_of(leaves: &[Hash]) -> Hash {
    leaves.iter().copied().collect::<Frontier>().root()
}

/// The path from a leaf to the root of all `leaves` (RFC 9162 §2.1.3.1), lowest first.
///
/// Hashes each leaf once. None where there is no such leaf.
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut rest, mut index) = (leaves, index);
    let mut path = Vec::new();
    while rest.len() > 1 {
        let (left, right) = rest.split_at(left_size(rest.len()));
        if index < left.len() {
            path.push(root_of(right));
            rest = left;
        } else {
            path.push(root_of(left));
            index -= left.len();
            rest = right;
        }
    }
    path.reverse();
    Some(path)
}

/// Whether a leaf is at `index` among the `size` leaves of a root (RFC 9162 §2.1.3.2).
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            skip_missing_levels(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// The last node of an uneven level has no sibling there: it moves up unchanged.
fn skip_missing_levels(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}

/// What shows that the first `old_size` of `leaves` have not changed (RFC 9162 §2.1.4.1).
///
/// Empty where the sizes are equal or the old one is 0. None where there were more leaves than now.
pub fn consistency_proof(leaves: &[Hash], old_size: usize) -> Option<Vec<Hash>> {
    if old_size > leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    if old_size == 0 {
        return Some(path);
    }
    let (mut rest, mut old) = (leaves, old_size);
    // The verifier knows the old root already where it is a subtree of the new tree.
    let mut known = true;
    while old < rest.len() {
        let (left, right) = rest.split_at(left_size(rest.len()));
        if old <= left.len() {
            path.push(root_of(right));
            rest = left;
        } else {
            path.push(root_of(left));
            old -= left.len();
            rest = right;
            known = false;
        }
    }
    if !known {
        path.push(root_of(rest));
    }
    path.reverse();
    Some(path)
}

/// Whether the tree of `new_root` starts with that of `old_root` (RFC 9162 §2.1.4.2). Any tree
/// starts with the empty one.
#[must_use]
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> bool {
    if old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    if old_size == 0 {
        return proof.is_empty() && *old_root == sha256(&[]);
    }
    let (first, rest) = match proof.split_first() {
        None => return false,
        Some(_) if old_size.is_power_of_two() => (old_root, proof),
        Some((first, rest)) => (first, rest),
    };
    let shift = (old_size - 1).trailing_ones();
    let (mut node, mut last) = ((old_size - 1) >> shift, (new_size - 1) >> shift);
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            skip_missing_levels(&mut node, &mut last);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}
