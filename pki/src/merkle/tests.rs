//! The tree against its definition (RFC 9162 §2.1.1–2.1.4), written down without any shortcut, and
//! against the published roots of RFC 6962 implementations.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use minicbor::to_vec;
use proptest::prelude::*;

use super::*;
use crate::hex;

/// MTH(D[n]).
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(b""),
        [leaf] => *leaf,
        _ => {
            let k = split(leaves.len());
            sha256(&[&[1][..], &mth(&leaves[..k]), &mth(&leaves[k..])].concat())
        }
    }
}

/// The largest power of two smaller than `n`, by counting.
fn split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// PATH(m, D[n]).
fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    if m < left.len() {
        [path(m, left), vec![mth(right)]].concat()
    } else {
        [path(m - left.len(), right), vec![mth(left)]].concat()
    }
}

/// SUBPROOF(m, D[n], b).
fn subproof(m: usize, leaves: &[Hash], b: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if b { Vec::new() } else { vec![mth(leaves)] };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    if m <= left.len() {
        [subproof(m, left, b), vec![mth(right)]].concat()
    } else {
        [subproof(m - left.len(), right, false), vec![mth(left)]].concat()
    }
}

fn leaves(size: usize) -> Vec<Hash> {
    (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

fn flips(proof: &[Hash]) -> impl Iterator<Item = Vec<Hash>> + '_ {
    (0..proof.len() * 256).map(|bit| {
        let mut bad = proof.to_vec();
        bad[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
        bad
    })
}

/// Paths with an element less, an element more, or two elements in the other order.
fn reshaped(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut shapes = vec![[proof, &[[7; 32]]].concat(), [&[[7; 32]], proof].concat()];
    for at in 0..proof.len() {
        let mut shorter = proof.to_vec();
        let removed = shorter.remove(at);
        shapes.push(shorter);
        let mut longer = proof.to_vec();
        longer.insert(at, removed);
        shapes.push(longer);
        if at > 0 {
            let mut swapped = proof.to_vec();
            swapped.swap(at - 1, at);
            shapes.push(swapped);
        }
    }
    shapes
}

const INPUTS: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];

const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn the_published_roots_come_out() {
    let mut frontier = Frontier::default();
    assert_eq!(hex(&frontier.root()), ROOTS[0]);
    for (input, root) in INPUTS.iter().zip(&ROOTS[1..]) {
        frontier.push(leaf_hash(input));
        assert_eq!(hex(&frontier.root()), **root);
    }
}

#[test]
fn each_size_has_the_root_of_the_definition() {
    let leaves = leaves(260);
    let mut frontier = Frontier::default();
    for (size, leaf) in leaves.iter().enumerate() {
        assert_eq!(frontier.root(), mth(&leaves[..size]), "{size}");
        frontier.push(*leaf);
        assert_eq!(frontier.size(), size as u64 + 1);
    }
}

#[test]
fn each_leaf_of_each_size_has_the_path_of_the_definition() {
    let leaves = leaves(131);
    for size in 1..=131 {
        let (tree, root) = (&leaves[..size], mth(&leaves[..size]));
        for index in 0..size {
            let proof = inclusion_proof(tree, index).unwrap();
            assert_eq!(proof, path(index, tree), "{index} of {size}");
            let verify = |index: usize, size: usize, proof: &[Hash]| {
                verify_inclusion(&tree[index], index as u64, size as u64, proof, &root)
            };
            assert!(verify(index, size, &proof), "{index} of {size}");
            assert!(!verify_inclusion(&[0; 32], index as u64, size as u64, &proof, &root));
            assert!(!verify_inclusion(&tree[index], size as u64, size as u64, &proof, &root));
            for other in (0..size).filter(|other| *other != index) {
                assert!(
                    !verify_inclusion(&tree[index], other as u64, size as u64, &proof, &root),
                    "{index} passes for {other} of {size}"
                );
            }
        }
        assert_eq!(inclusion_proof(tree, size), None);
    }
    assert_eq!(inclusion_proof(&[], 0), None);
    assert!(!verify_inclusion(&leaves[0], 0, 0, &[], &sha256(&[])));
}

#[test]
fn each_pair_of_sizes_has_the_proof_of_the_definition() {
    let leaves = leaves(131);
    let roots: Vec<Hash> = (0..=131).map(|size| mth(&leaves[..size])).collect();
    for new in 0..=131_usize {
        for old in 0..=new {
            let proof = consistency_proof(&leaves[..new], old).unwrap();
            if old > 0 {
                assert_eq!(proof, subproof(old, &leaves[..new], true), "{old} to {new}");
            }
            let verify = |old_root: &Hash, new_root: &Hash| {
                verify_consistency(old as u64, old_root, new as u64, new_root, &proof)
            };
            assert!(verify(&roots[old], &roots[new]), "{old} to {new}");
            assert!(!verify(&[0; 32], &roots[new]), "{old} to {new}");
            // A path is too short for a tree of another height.
            let higher = 2 * new.next_power_of_two() as u64 + 1;
            let (old_root, new_root) = (&roots[old], &roots[new]);
            let passes = verify_consistency(old as u64, old_root, higher, new_root, &proof);
            assert!(old == 0 || !passes, "{old} to {new} as {higher}");
            // Nothing follows from an empty tree but that it was empty.
            assert!(old == 0 || !verify(&roots[old], &[0; 32]), "{old} to {new}");
        }
        assert_eq!(consistency_proof(&leaves[..new], new + 1), None);
        assert!(!verify_consistency(new as u64 + 1, &roots[new], new as u64, &roots[new], &[]));
    }
}

#[test]
fn each_changed_bit_of_a_proof_is_noticed() {
    let leaves = leaves(23);
    for size in [1, 2, 3, 7, 8, 9, 16, 22, 23] {
        let (tree, root) = (&leaves[..size], mth(&leaves[..size]));
        for index in [0, size / 2, size - 1] {
            let proof = inclusion_proof(tree, index).unwrap();
            let verify = |proof: &[Hash]| {
                verify_inclusion(&tree[index], index as u64, size as u64, proof, &root)
            };
            assert!(flips(&proof).all(|bad| !verify(&bad)), "{index} of {size}");
            for bad in reshaped(&proof).iter().filter(|bad| **bad != proof) {
                assert!(!verify(bad), "{index} of {size}");
            }
            let old = index + 1;
            let old_root = mth(&leaves[..old]);
            let proof = consistency_proof(tree, old).unwrap();
            let verify = |proof: &[Hash]| {
                verify_consistency(old as u64, &old_root, size as u64, &root, proof)
            };
            assert!(flips(&proof).all(|bad| !verify(&bad)), "{old} to {size}");
            for bad in reshaped(&proof).iter().filter(|bad| **bad != proof) {
                assert!(!verify(bad), "{old} to {size}");
            }
        }
    }
}

#[test]
fn a_rewritten_log_is_not_consistent() {
    let leaves = leaves(40);
    for old in 1..40 {
        let mut rewritten = leaves.clone();
        rewritten[old / 2] = [9; 32];
        let proof = consistency_proof(&rewritten, old).unwrap();
        let (old_root, new_root) = (mth(&leaves[..old]), mth(&rewritten));
        assert!(!verify_consistency(old as u64, &old_root, 40, &new_root, &proof), "{old}");
    }
}

#[test]
fn a_stored_frontier_that_does_not_fit_its_size_is_refused() {
    let frontier: Frontier = leaves(11).into_iter().collect();
    let stored = to_vec(&frontier).unwrap();
    assert_eq!(&stored[..5], [0x82, 11, 0x58, 96, frontier.subtrees[0][0]]);
    let mut wrong_size = stored.clone();
    wrong_size[1] = 12;
    assert!(decode::<Frontier>(&wrong_size).is_err());
    assert!(decode::<Frontier>(&stored[..stored.len() - 1]).is_err());
    let endless = (u64::MAX, minicbor::bytes::ByteVec::from(vec![0; 64 * 32]));
    assert!(decode::<Frontier>(&to_vec(endless).unwrap()).is_err());
}

proptest! {
    #[test]
    fn trees_of_any_size_follow_the_definition(
        leaves in prop::collection::vec(any::<Hash>(), 1..2000),
        index: prop::sample::Index,
        old: prop::sample::Index,
    ) {
        let (index, old) = (index.index(leaves.len()), old.index(leaves.len()) + 1);
        let (size, root) = (leaves.len() as u64, mth(&leaves));
        let frontier: Frontier = leaves.iter().copied().collect();
        prop_assert_eq!(frontier.root(), root);
        let stored = to_vec(&frontier).unwrap();
        prop_assert_eq!(decode::<Frontier>(&stored).unwrap(), frontier);
        let proof = inclusion_proof(&leaves, index).unwrap();
        prop_assert!(verify_inclusion(&leaves[index], index as u64, size, &proof, &root));
        let old_root = mth(&leaves[..old]);
        let proof = consistency_proof(&leaves, old).unwrap();
        prop_assert!(verify_consistency(old as u64, &old_root, size, &root, &proof));
    }

    #[test]
    fn no_numbers_or_paths_panic(
        numbers: [u64; 2],
        proof in prop::collection::vec(any::<Hash>(), 0..70),
        root: Hash,
    ) {
        let [a, b] = numbers;
        prop_assert!(!verify_inclusion(&root, a, b, &proof, &root) || b == 1);
        prop_assert!(!verify_consistency(a, &root, b, &root, &proof) || a == b);
    }
}
