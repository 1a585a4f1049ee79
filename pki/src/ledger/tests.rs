//! A small log with everything in it, for the tests of its parts.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::{
    KeyMaterial, hex,
    merkle::{Frontier, Hash, leaf_hash},
};

mod entries;
mod exports;
mod proofs;

const CLUSTER: &str = "acme.example";
const REGION: &str = "eu1";
/// 2026-01-01T00:00:00Z.
const START_MS: u64 = 1_767_225_600_000;

fn issuance() -> Issuance {
    Issuance {
        issuer: [1; 32],
        serial: vec![0x7f, 2, 3],
        profile: "node".to_owned(),
        not_after_s: 1_767_830_400,
        tbs_hash: [4; 32],
        spki_hash: [5; 32],
        request: None,
    }
}

/// One of each kind, in the order of their numbers.
fn actions() -> Vec<Action> {
    let text = str::to_owned;
    vec![
        Action::Issued(issuance()),
        Action::Renewed(Issuance { request: Some(text("r-1")), ..issuance() }),
        Action::Refused {
            code: text("bad-csr"),
            why: text("\"CA:TRUE\" \u{7} \u{e9} <&>"),
            unlisted: 0,
        },
        Action::TokenMinted { token: text("t-1"), profile: text("node"), expires_s: 7 },
        Action::Requested { request: text("r-1"), profile: text("operator"), spki_hash: [6; 32] },
        Action::Approved { request: text("r-1"), approvers: vec![text("ann"), text("bob")] },
        Action::Denied { request: text("r-2"), why: text("unknown person") },
        Action::Revoked { issuer: [1; 32], serial: vec![9], reason: text("keyCompromise") },
        Action::Banned { why: text("stolen") },
        Action::Readmitted { why: text("found") },
        Action::IssuerAdded { issuer: [2; 32], certificate_hash: [3; 32], not_after_s: u64::MAX },
        Action::IssuerRetired { issuer: [2; 32] },
        Action::PhaseChanged { from: text("init"), to: text("trusted") },
        Action::KeyUsed { purpose: text("crl"), count: 24 },
        Action::Unsealed {},
        Action::ClockRefused { clock_ms: 5, least_ms: 9 },
        Action::Registered { profile: text("node") },
        Action::Lapsed {},
    ]
}

fn entries() -> Vec<Entry> {
    let entry = |(number, action)| Entry {
        number,
        at_ms: START_MS + 1001 * number,
        actor: "authority".to_owned(),
        action,
        subject: format!("spiffe://{CLUSTER}/region/{REGION}/node/{number}"),
    };
    (0..).zip(actions()).map(entry).collect()
}

fn leaves() -> Vec<Vec<u8>> {
    entries().iter().map(|entry| entry.to_bytes().unwrap()).collect()
}

fn hashes() -> Vec<Hash> {
    leaves().iter().map(|leaf| leaf_hash(leaf)).collect()
}

/// A ledger key as its owner has it.
struct Owner {
    material: KeyMaterial,
    chain: Vec<Vec<u8>>,
}

impl Owner {
    /// With a bare public key.
    fn new() -> Self {
        let material = KeyMaterial::generate().unwrap();
        let chain = vec![material.spki()];
        Self { material, chain }
    }

    fn head(&self, size: usize, at_ms: u64) -> SignedHead {
        let frontier: Frontier = hashes()[..size].iter().copied().collect();
        self.sign((CLUSTER, REGION), &frontier, at_ms)
    }

    fn sign(&self, log: (&str, &str), frontier: &Frontier, at_ms: u64) -> SignedHead {
        use rcgen::SigningKey as _;
        let key = HeadKey::from_point(self.material.public_point()).unwrap();
        SignedHead::sign(log, frontier, at_ms, &key, |bytes| self.material.sign(bytes)).unwrap()
    }

    fn trusts(&self) -> impl Fn(&Signer<'_>) -> bool {
        |signer| {
            signer.cluster == CLUSTER
                && signer.region == REGION
                && signer.key == self.chain[0]
                && signer.issuers == &self.chain[1..]
        }
    }
}
