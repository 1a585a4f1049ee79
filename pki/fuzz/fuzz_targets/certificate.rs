//! Changed and arbitrary certificates into everything that reads them: none panics, and a trust store
//! believes no more than what an issuing CA signed, of its region and in its time.
//!
//! The first byte chooses what is changed: the signed part of a leaf (and then it is signed again, so that a
//! run gets beyond the signature), a whole leaf, the issuing CA's certificate, the root's. The empty list of
//! changes leaves it valid.

#![no_main]

use std::sync::{Arc, LazyLock};

use fieldmesh_pki::{
    CaCertificate, Identity, KeyMaterial, Kind, RootCa, TrustStore, Usage, is_issued_by,
    is_self_issued, is_self_signed,
    ledger::{HeadKey, Issuance},
    ocsp::IssuerRef,
    profile,
};
use fieldmesh_pki_fuzz::{changed, identity, tlv};
use libfuzzer_sys::fuzz_target;
use rcgen::SigningKey as _;
use x509_parser::parse_x509_certificate;

const NOW: u64 = 1_800_000_000;
/// How far a beginning may be ahead of the clock.
const SKEW_S: u64 = 5 * 60;
/// ecdsa-with-SHA256 as an AlgorithmIdentifier.
const ECDSA_WITH_SHA256: [u8; 12] = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// Each with one use that it is for.
const KINDS: [(Kind, Usage); 4] = [
    (Kind::Node, Usage::ServerAuth),
    (Kind::Customer, Usage::ClientAuth),
    (Kind::Operator, Usage::ClientAuth),
    (Kind::Service, Usage::Signing),
];

struct Chain {
    root: Vec<u8>,
    issuing: Vec<u8>,
    key: Arc<KeyMaterial>,
    /// One of each of [`KINDS`].
    leaves: Vec<Vec<u8>>,
}

static CHAIN: LazyLock<Chain> = LazyLock::new(|| {
    let Identity { cluster, region, .. } = identity(1);
    let root = RootCa::create(&cluster, NOW, [1; 16]).expect("a root");
    let (ca, key) = root.issue_issuing(&region, 1, NOW, [2; 16]).expect("a CA");
    let leaf = |(kind, _): (Kind, Usage)| {
        let holder = Identity { kind, ..identity(1) };
        let spki = KeyMaterial::generate().expect("a key").spki();
        let leaf = ca.issue(&spki, &holder, &[], profile(kind).life(NOW, 0), [3; 16]);
        leaf.expect("its profile's").der
    };
    let leaves = KINDS.into_iter().map(leaf).collect();
    let (root, issuing) = (root.certificate().to_vec(), ca.certificate().to_vec());
    Chain { root, issuing, key, leaves }
});

fuzz_target!(|data: &[u8]| {
    let Chain { root, issuing, leaves, .. } = &*CHAIN;
    let Some((choice, changes)) = data.split_first() else { return };
    let which = usize::from(choice >> 2) % KINDS.len();
    let (leaf, usage) = (&leaves[which], KINDS[which].1);
    let is_changed = changes.len() >= 4;
    let (der, is_believed) = match choice & 3 {
        0 => {
            let der = signed_again(leaf, changes);
            let is_believed = believed(root, issuing, &der, usage);
            assert!(is_believed || is_changed, "a valid certificate");
            (der, is_believed)
        }
        1 => {
            let der = changed(leaf, changes);
            let is_believed = believed(root, issuing, &der, usage);
            assert_eq!(is_believed, der == *leaf);
            (der, is_believed)
        }
        2 => {
            let der = changed(issuing, changes);
            let is_believed = believed(root, &der, leaf, usage);
            assert_eq!(is_believed, der == *issuing);
            (der, is_believed)
        }
        _ => {
            // A root is believed for its name and key, whatever else it says.
            let der = changed(root, changes);
            let is_believed = believed(&der, issuing, leaf, usage);
            assert!(is_believed || is_changed, "a valid root");
            (der, is_believed)
        }
    };
    // Of a root only name and key are read, so that the rest of it need not be well formed.
    let is_root = choice & 3 == 3;
    assert!(!is_believed || is_root || parse_x509_certificate(&der).is_ok());
    read(&der);
    read(changes);
});

/// A leaf whose signed part is changed and signed again by the issuing CA.
fn signed_again(leaf: &[u8], changes: &[u8]) -> Vec<u8> {
    let (_, parsed) = parse_x509_certificate(leaf).expect("a certificate");
    let content = changed(parsed.tbs_certificate.as_ref(), changes);
    let signature = CHAIN.key.sign(&content).expect("it signs");
    let bits = tlv(3, &[&[0], &signature[..]].concat());
    tlv(0x30, &[&content[..], &ECDSA_WITH_SHA256, &bits].concat())
}

fn believed(root: &[u8], issuing: &[u8], leaf: &[u8], usage: Usage) -> bool {
    let _ = (is_issued_by(leaf, issuing), CaCertificate::is_signed_by(issuing, root));
    let Ok(store) = TrustStore::new(vec![root.to_vec()], vec![]) else { return false };
    let told = store.verify(leaf, &[issuing], usage, NOW);
    if let Ok(peer) = &told {
        let Identity { cluster, region, .. } = identity(1);
        let permitted = [format!(".{region}.{cluster}"), ".localhost".to_owned()];
        let name = peer.identity.dns_name();
        assert!(permitted.iter().any(|end| name.ends_with(end)), "{name}");
        assert!(peer.not_before <= NOW + SKEW_S && NOW <= peer.not_after);
        // Seen once, it is believed for the same reasons by what was remembered.
        assert_eq!(store.verify(leaf, &[issuing], usage, NOW), told);
    }
    let lapsed = store.verify_lapsed(leaf, &[issuing], usage, NOW, &|kind| profile(kind).grace_s);
    assert!(lapsed.is_ok() || told.is_err());
    told.is_ok()
}

/// Whatever else is read of a certificate that somebody brings.
fn read(der: &[u8]) {
    if is_self_signed(der) {
        assert!(parse_x509_certificate(der).is_ok_and(|(rest, _)| rest.is_empty()));
    }
    let _ = is_self_issued(der);
    let _ = CaCertificate::read(der).map(|ca| assert!(ca.is_root || !ca.permitted.is_empty()));
    let _ = HeadKey::from_der(der).map(|key| key.id());
    let _ = IssuerRef::new(der);
    if let Ok(issuance) = Issuance::of(der, "node", None) {
        assert!(issuance.is_of(der));
    }
    if let Ok(identity) = String::from_utf8_lossy(der).parse::<Identity>() {
        assert_eq!(identity.to_string().as_bytes(), der);
    }
}
