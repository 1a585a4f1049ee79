//! Changed and arbitrary exports, proofs, entries and frontiers into whoever audits a ledger: none panics,
//! and nothing passes but what its owner signed.
//!
//! The first byte chooses what is changed; the empty list of changes leaves it valid.

#![no_main]

use std::sync::LazyLock;

use fieldmesh_pki::{
    KeyMaterial,
    ledger::{
        Action, Entry, EntryProof, HeadKey, HeadProof, Issuance, SignedHead, Signer, end_line,
        entry_line, head_line, header_line, signer_line, verify_export,
    },
    merkle::{Frontier, Hash, leaf_hash},
};
use fieldmesh_pki_fuzz::changed;
use libfuzzer_sys::fuzz_target;
use rcgen::SigningKey as _;

const CLUSTER: &str = "fieldmesh.internal";
const REGION: &str = "eu1";
/// 2026-01-01T00:00:00Z.
const START_MS: u64 = 1_767_225_600_000;

struct Made {
    /// The only signer that is trusted.
    key: Vec<u8>,
    entries: Vec<Entry>,
    /// Of nothing, of two entries and of all.
    heads: [SignedHead; 3],
    export: String,
    entry_proof: String,
    head_proof: String,
}

static MADE: LazyLock<Made> = LazyLock::new(made);

fn entries() -> Vec<Entry> {
    let issuance = Issuance {
        issuer: [1; 32],
        serial: vec![0x7f, 2, 3],
        profile: "node".into(),
        not_after_s: 1_767_830_400,
        tbs_hash: [4; 32],
        spki_hash: [5; 32],
        request: None,
    };
    let actions = [
        Action::Unsealed {},
        Action::Issued(issuance),
        Action::Revoked { issuer: [1; 32], serial: vec![9], reason: "keyCompromise".into() },
        Action::KeyUsed { purpose: "crl".into(), count: 24 },
        Action::ChaosBegun {
            scenario: "game-day".into(),
            document: [7; 32],
            seed: 42,
            target: "production".into(),
        },
        Action::ChaosEnded { exit: 0 },
    ];
    let entry = |(number, action)| Entry {
        number,
        at_ms: START_MS + number,
        actor: "authority".into(),
        action,
        subject: "ledger".into(),
    };
    (0..).zip(actions).map(entry).collect()
}

fn made() -> Made {
    let key = KeyMaterial::generate().expect("a key");
    let head_key = HeadKey::from_point(key.public_point()).expect("its point");
    let entries = entries();
    let leaves: Vec<Vec<u8>> =
        entries.iter().map(|entry| entry.to_bytes().expect("it is short")).collect();
    let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    let head = |size: usize| {
        let frontier: Frontier = hashes[..size].iter().copied().collect();
        let at_ms = START_MS + size as u64;
        let sign = |bytes: &[u8]| key.sign(bytes);
        SignedHead::sign((CLUSTER, REGION), &frontier, at_ms, &head_key, sign).expect("it signs")
    };
    let heads = [head(0), head(2), head(leaves.len())];
    let chain = [key.spki()];
    let line = |leaf: &Vec<u8>| entry_line(leaf).expect("it is an entry");
    let lines = [
        header_line(CLUSTER, REGION),
        signer_line(&chain),
        head_line(&heads[0]),
        leaves[..2].iter().map(line).collect(),
        head_line(&heads[1]),
        leaves[2..].iter().map(line).collect(),
        head_line(&heads[2]),
        end_line(leaves.len() as u64, 3, 1),
    ];
    let entry_proof = EntryProof::new(&leaves[1], &hashes, &heads[2], &chain).expect("covered");
    let head_proof = HeadProof::new(&hashes, &heads[1], &heads[2], &chain).expect("continued");
    Made {
        key: key.spki(),
        entries,
        export: lines.concat(),
        entry_proof: entry_proof.to_json(),
        head_proof: head_proof.to_json(),
        heads,
    }
}

fuzz_target!(|data: &[u8]| {
    let made = &*MADE;
    let Some((choice, changes)) = data.split_first() else { return };
    let readers: [fn(&[u8]) -> bool; 3] = [exported, entry_proven, head_proven];
    let originals = [&made.export, &made.entry_proof, &made.head_proof];
    let which = usize::from(*choice) % readers.len();
    let is_believed = readers[which](&changed(originals[which].as_bytes(), changes));
    assert!(is_believed || changes.len() >= 4, "a valid file");
    for reader in readers {
        reader(changes);
    }
    if let Ok(entry) = Entry::from_bytes(changes) {
        assert_eq!(entry.to_bytes().as_deref(), Ok(changes));
    }
    if let Ok(frontier) = minicbor::decode::<Frontier>(changes) {
        let bytes = minicbor::to_vec(&frontier).expect("memory takes every byte");
        assert_eq!(minicbor::decode::<Frontier>(&bytes).expect("what was written"), frontier);
        let _ = frontier.root();
    }
});

fn is_trusted(signer: &Signer<'_>) -> bool {
    signer.cluster == CLUSTER && signer.region == REGION && signer.key == MADE.key
}

/// What passes is the log up to one of the heads; against the last head it is all of it.
fn exported(text: &[u8]) -> bool {
    let Ok(verified) = verify_export(text, &is_trusted, None) else { return false };
    assert!(MADE.heads.contains(&verified.last));
    assert_eq!(verified.entries, verified.last.size);
    let [_, _, last] = &MADE.heads;
    let is_all = verify_export(text, &is_trusted, Some(last)).is_ok();
    assert_eq!(is_all, verified.last == *last);
    true
}

fn entry_proven(json: &[u8]) -> bool {
    let Ok(proof) = EntryProof::from_json(json) else { return false };
    assert_eq!(EntryProof::from_json(proof.to_json().as_bytes()).as_ref(), Ok(&proof));
    let Ok(entry) = proof.verify(&is_trusted) else { return false };
    assert!(MADE.entries.contains(&entry) && MADE.heads.contains(proof.head()));
    true
}

fn head_proven(json: &[u8]) -> bool {
    let Ok(proof) = HeadProof::from_json(json) else { return false };
    assert_eq!(HeadProof::from_json(proof.to_json().as_bytes()).as_ref(), Ok(&proof));
    let Ok(later) = proof.verify(&MADE.heads[1], &is_trusted) else { return false };
    assert!(MADE.heads.contains(later));
    true
}
