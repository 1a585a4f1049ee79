//! Heads and proof files.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

#[test]
fn what_a_head_signs_is_frozen() {
    let head = SignedHead {
        cluster: "c".to_owned(),
        region: "eu1".to_owned(),
        size: 3,
        root: [1; 32],
        at_ms: START_MS,
        key_id: [2; 32],
        signature: vec![9],
    };
    let expected = format!(
        "877818{}61636365753103{}{}1b0000019b76daa800{}{}",
        hex(b"fieldmesh ledger head v1"),
        "5820",
        "01".repeat(32),
        "5820",
        "02".repeat(32)
    );
    assert_eq!(hex(&head.to_sign()), expected);
    let stored = minicbor::to_vec(&head).unwrap();
    assert_eq!(minicbor::decode::<SignedHead>(&stored).unwrap(), head);
}

#[test]
fn only_p256_keys_and_certificates_of_them_are_head_keys() {
    let owner = Owner::new();
    let key = HeadKey::from_der(&owner.chain[0]).unwrap();
    assert_eq!(HeadKey::from_point(owner.material.public_point()), Ok(key.clone()));
    let params = rcgen::CertificateParams::default();
    let certificate = params.self_signed(&owner.material).unwrap().der().to_vec();
    assert_eq!(HeadKey::from_der(&certificate).unwrap().id(), key.id());

    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p384 = params.self_signed(&p384).unwrap().der().to_vec();
    let trailing = |der: &[u8]| [der, &[0]].concat();
    let mut compressed = owner.chain[0].clone();
    compressed[26] = 2;
    for bad in [p384, trailing(&certificate), trailing(&owner.chain[0]), compressed, Vec::new()] {
        assert_eq!(HeadKey::from_der(&bad), Err(HeadError::NotAKey));
    }
}

#[test]
fn each_entry_is_proven_to_each_head_that_covers_it_and_to_no_other() {
    let (owner, leaves, hashes) = (Owner::new(), leaves(), hashes());
    for size in 0..=18 {
        let head = owner.head(size, START_MS);
        for (index, leaf) in leaves.iter().enumerate() {
            let proof = EntryProof::new(leaf, &hashes, &head, &owner.chain);
            if index >= size {
                assert_eq!(proof, Err(ProofError::NotCovered));
                continue;
            }
            let file = proof.unwrap().to_json();
            let proof = EntryProof::from_json(file.as_bytes()).unwrap();
            assert_eq!(proof.verify(&owner.trusts()).as_ref(), Ok(&entries()[index]));
            assert_eq!(proof.verify(&|_| false), Err(ProofError::Untrusted));
            assert_eq!(proof.head(), &head);
        }
    }
    let head = owner.head(9, START_MS);
    let forged = Entry { actor: "nobody".to_owned(), ..entries().remove(4) }.to_bytes().unwrap();
    let made = EntryProof::new(&forged, &hashes, &head, &owner.chain);
    assert_eq!(made, Err(ProofError::NotCovered));
    // The forged entry under the path of the true one.
    let path = |leaf: &[u8]| {
        let mut tree = hashes.clone();
        tree[4] = leaf_hash(leaf);
        let frontier: Frontier = tree[..9].iter().copied().collect();
        let head = owner.sign((CLUSTER, REGION), &frontier, START_MS);
        EntryProof::new(leaf, &tree, &head, &owner.chain).unwrap().to_json()
    };
    let mut file: Value = serde_json::from_str(&path(&leaves[4])).unwrap();
    file["entry"] = serde_json::from_str::<Value>(&path(&forged)).unwrap()["entry"].take();
    let proof = EntryProof::from_json(file.to_string().as_bytes()).unwrap();
    assert_eq!(proof.verify(&owner.trusts()), Err(ProofError::NotIncluded));
}

#[test]
fn each_later_head_is_proven_to_continue_each_earlier_one() {
    let (owner, hashes) = (Owner::new(), hashes());
    let heads: Vec<SignedHead> =
        (0..=18).map(|size| owner.head(size, START_MS + size as u64)).collect();
    for later in &heads {
        for earlier in &heads {
            let proof = HeadProof::new(&hashes, earlier, later, &owner.chain);
            if earlier.size > later.size {
                assert!(proof.is_err());
                continue;
            }
            let file = proof.unwrap().to_json();
            let proof = HeadProof::from_json(file.as_bytes()).unwrap();
            assert_eq!(proof.verify(earlier, &owner.trusts()), Ok(later));
            assert_eq!(proof.verify(earlier, &|_| false), Err(ProofError::Untrusted));
            let forked = SignedHead { root: [0; 32], ..earlier.clone() };
            // Of an empty log there is one root, and it is checked as well.
            assert_eq!(proof.verify(&forked, &owner.trusts()), Err(ProofError::NotContinued));
            let foreign = SignedHead { region: "us1".to_owned(), ..earlier.clone() };
            let verified = proof.verify(&foreign, &owner.trusts());
            assert!(matches!(verified, Err(ProofError::OtherLog { .. })));
            let newer = SignedHead { at_ms: later.at_ms + 1, ..earlier.clone() };
            let verified = proof.verify(&newer, &owner.trusts());
            assert!(matches!(verified, Err(ProofError::HeadTime { .. })));
        }
    }
}

#[test]
fn files_that_are_too_long_are_not_read() {
    let long = vec![b' '; PROOF_BYTES_MAX + 1];
    assert_eq!(EntryProof::from_json(&long), Err(ProofError::TooLong(long.len())));
    assert_eq!(HeadProof::from_json(&long), Err(ProofError::TooLong(long.len())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_changed_file_is_refused_or_says_the_same(
        is_entry: bool,
        at: prop::sample::Index,
        byte in prop_oneof![any::<u8>(), prop::sample::select(&b"0123456789abcdef{}[]\":, "[..])],
    ) {
        thread_local! {
            static FILES: (Owner, SignedHead, [String; 2]) = {
                let owner = Owner::new();
                let (earlier, later) = (owner.head(6, START_MS), owner.head(11, START_MS + 1));
                let entry = EntryProof::new(&leaves()[4], &hashes(), &later, &owner.chain).unwrap();
                let head = HeadProof::new(&hashes(), &earlier, &later, &owner.chain).unwrap();
                let files = [entry.to_json(), head.to_json()];
                (owner, earlier, files)
            };
        }
        FILES.with(|(owner, earlier, files)| {
            let good = &files[usize::from(is_entry)];
            let mut bad = good.clone().into_bytes();
            bad[at.index(good.len())] = byte;
            let passes = if is_entry {
                HeadProof::from_json(&bad)
                    .and_then(|proof| proof.verify(earlier, &owner.trusts()).cloned())
                    .is_ok()
            } else {
                EntryProof::from_json(&bad).and_then(|proof| proof.verify(&owner.trusts())).is_ok()
            };
            let says_the_same = serde_json::from_slice::<Value>(&bad).ok()
                == serde_json::from_str::<Value>(good).ok();
            prop_assert_eq!(passes, says_the_same);
            Ok(())
        })?;
    }
}
