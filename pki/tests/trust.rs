//! What a trust store believes: times, graces, uses, algorithms.

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "tests fail by panicking")]

use fieldmesh_pki::{
    Identity, IssuingCa, KeyMaterial, Kind, Life, RootCa, TrustError, TrustStore, Usage,
    ocsp::IssuerRef, profile,
};
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, SanType, SigningKey,
};
use time::OffsetDateTime;

const NOW: u64 = 1_800_000_000;
const DAY_S: u64 = 24 * 3600;
const YEAR_S: u64 = 365 * DAY_S;

fn identity(kind: Kind) -> Identity {
    Identity { cluster: "acme.test".into(), region: "eu1".into(), kind, id: [9; 16] }
}

struct Authority {
    root: RootCa,
    issuing: IssuingCa,
    trust: TrustStore,
}

impl Authority {
    fn new() -> Self {
        let root = RootCa::create("acme.test", NOW, [1; 16]).unwrap();
        let (issuing, _) = root.issue_issuing("eu1", 1, NOW, [2; 16]).unwrap();
        let roots = vec![root.certificate().to_vec()];
        let trust = TrustStore::new(roots, vec![issuing.certificate().to_vec()]).unwrap();
        Self { root, issuing, trust }
    }

    fn leaf(&self, kind: Kind, life: Life) -> Vec<u8> {
        let spki = KeyMaterial::generate().unwrap().spki();
        self.issuing.issue(&spki, &identity(kind), &[], life, [3; 16]).unwrap().der
    }

    fn made_at(&self, kind: Kind, at_s: u64) -> Vec<u8> {
        self.leaf(kind, profile(kind).life(at_s, 0))
    }
}

fn grace(kind: Kind) -> u64 {
    profile(kind).grace_s
}

#[test]
fn an_expired_certificate_passes_within_its_grace_and_says_both_clocks_after_it() {
    let authority = Authority::new();
    let trust = &authority.trust;
    let node = authority.made_at(Kind::Node, NOW);
    let end_s = NOW + 7 * DAY_S;
    let lapsed = |now_s| trust.verify_lapsed(&node, &[], Usage::ClientAuth, now_s, &grace);
    assert!(trust.verify(&node, &[], Usage::ClientAuth, end_s).is_ok());
    let expired = TrustError::Expired { not_after: end_s, now: end_s + 1 };
    assert_eq!(trust.verify(&node, &[], Usage::ClientAuth, end_s + 1), Err(expired));
    for fine_s in [NOW, end_s, end_s + 1, end_s + 30 * DAY_S] {
        assert_eq!(lapsed(fine_s).unwrap().not_after, end_s);
    }
    let late_s = end_s + 30 * DAY_S + 1;
    let error = lapsed(late_s).unwrap_err();
    assert_eq!(error, TrustError::Expired { not_after: end_s, now: late_s });
    let text = error.to_string();
    assert!(text.contains(&end_s.to_string()) && text.contains(&late_s.to_string()), "{text}");
    let operator = authority.made_at(Kind::Operator, NOW);
    let refused =
        trust.verify_lapsed(&operator, &[], Usage::ClientAuth, NOW + DAY_S / 2 + 1, &grace);
    assert!(matches!(refused, Err(TrustError::Expired { .. })));
}

#[test]
fn a_grace_excuses_the_time_and_nothing_else() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let later_s = NOW + 10 * DAY_S;
    let lapsed = |der: &[u8], chain: &[&[u8]], usage| {
        authority.trust.verify_lapsed(der, chain, usage, later_s, &grace)
    };
    let foreign = stranger.made_at(Kind::Node, NOW);
    let chain = [stranger.issuing.certificate()];
    assert_eq!(lapsed(&foreign, &chain, Usage::ClientAuth), Err(TrustError::UnknownIssuer));
    let service = authority.made_at(Kind::Service, NOW);
    assert_eq!(lapsed(&service, &[], Usage::ClientAuth), Err(TrustError::WrongUsage));
    let mut bent = authority.made_at(Kind::Node, NOW);
    *bent.last_mut().unwrap() ^= 1;
    assert!(lapsed(&bent, &[], Usage::ClientAuth).is_err());
}

#[test]
fn no_bent_certificate_is_believed() {
    let authority = Authority::new();
    let node = authority.made_at(Kind::Node, NOW);
    for at in 0..node.len() {
        let mut bent = node.clone();
        bent[at] ^= 1;
        for now_s in [NOW, NOW + 8 * DAY_S] {
            let verify = |usage| authority.trust.verify_lapsed(&bent, &[], usage, now_s, &grace);
            assert!(verify(Usage::ClientAuth).is_err(), "byte {at}");
        }
    }
}

#[test]
fn a_lapsed_certificate_is_judged_under_the_issuing_ca_of_its_time() {
    let old = Authority::new();
    let made_s = NOW + 2 * YEAR_S - 91 * DAY_S;
    let device = old.made_at(Kind::Customer, made_s);
    // The CA has ended and its successor serves; the store still knows both.
    let now_s = NOW + 2 * YEAR_S + 30 * DAY_S;
    let (next, _) = old.root.issue_issuing("eu1", 2, made_s, [4; 16]).unwrap();
    let trust = TrustStore::new(
        vec![old.root.certificate().to_vec()],
        vec![next.certificate().to_vec(), old.issuing.certificate().to_vec()],
    )
    .unwrap();
    let peer = trust.verify_lapsed(&device, &[], Usage::ClientAuth, now_s, &grace).unwrap();
    let issuer = IssuerRef::new(old.issuing.certificate()).unwrap();
    assert_eq!(peer.issuer_hash, *issuer.issuer_hash());
    assert!(trust.verify(&device, &[], Usage::ClientAuth, now_s).is_err());
    assert!(TrustStore::new(Vec::new(), vec![vec![1, 2, 3]]).is_err());
}

#[test]
fn a_clusters_store_holds_that_clusters_authorities_only() {
    let own = Authority::new();
    let root = RootCa::create("acme.test.example", NOW, [1; 16]).unwrap();
    let (issuing, _) = root.issue_issuing("eu1", 1, NOW, [2; 16]).unwrap();
    let ders = |one: &[u8]| vec![one.to_vec()];
    let made = |cluster: &str, root: &RootCa, issuing: &IssuingCa| {
        TrustStore::for_cluster(cluster, ders(root.certificate()), ders(issuing.certificate()))
    };
    let store = made("acme.test", &own.root, &own.issuing).unwrap();
    assert_eq!(store.cluster(), Some("acme.test"));
    let node = own.made_at(Kind::Node, NOW);
    assert!(store.verify(&node, &[], Usage::ClientAuth, NOW).is_ok());
    for (root, issuing) in [(&root, &issuing), (&root, &own.issuing), (&own.root, &issuing)] {
        let refused = made("acme.test", root, issuing);
        assert!(matches!(refused, Err(TrustError::OtherCluster { .. })), "{refused:?}");
    }
    // A name that begins or ends like it is another one's.
    for other in ["acme.tes", "test", "acme", "acme.test.example.x", ""] {
        assert!(made(other, &own.root, &own.issuing).is_err(), "{other}");
    }
    assert!(made("acme.test.example", &root, &issuing).is_ok());
}

#[test]
fn a_beginning_may_be_five_minutes_ahead_and_no_more() {
    let authority = Authority::new();
    let node = authority.made_at(Kind::Node, NOW + 1000);
    let begins_s = NOW + 400;
    let verify = |now_s| authority.trust.verify(&node, &[], Usage::ServerAuth, now_s);
    assert!(verify(begins_s - 300).is_ok());
    let early = TrustError::NotYetValid { not_before: begins_s, now: begins_s - 301 };
    assert_eq!(verify(begins_s - 301), Err(early));
    // An allowance at the beginning is none at the end.
    let life = Life { not_before_s: begins_s, not_after_s: begins_s + 10 };
    let brief = authority.leaf(Kind::Node, life);
    let early = authority.trust.verify(&brief, &[], Usage::ServerAuth, begins_s - 280);
    assert!(matches!(early, Err(TrustError::NotYetValid { .. })));
}

fn params(usages: Vec<KeyUsagePurpose>) -> CertificateParams {
    let who = identity(Kind::Customer);
    let date = |unix_s: u64| OffsetDateTime::from_unix_timestamp(unix_s as i64).unwrap();
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date(NOW - 600), date(NOW + 3600));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = usages;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![
        SanType::URI(who.to_string().try_into().unwrap()),
        SanType::DnsName(who.dns_name().try_into().unwrap()),
    ];
    params
}

/// Signed by a root of this kind of key.
fn under(root_key: &impl SigningKey, params: &CertificateParams) -> Result<(), TrustError> {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_der = root.self_signed(root_key).unwrap().der().to_vec();
    let issuer = Issuer::new(root, root_key);
    let leaf = params.signed_by(&KeyMaterial::generate().unwrap(), &issuer).unwrap();
    let trust = TrustStore::new(vec![root_der], Vec::new()).unwrap();
    trust.verify(leaf.der(), &[], Usage::ClientAuth, NOW).map(|_| ())
}

#[test]
fn only_the_listed_algorithms_are_believed() {
    let signs = params(vec![KeyUsagePurpose::DigitalSignature]);
    for key in
        [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519]
    {
        assert_eq!(under(&KeyPair::generate_for(key).unwrap(), &signs), Ok(()));
    }
    for key in [&PKCS_RSA_SHA256, &rcgen::PKCS_ECDSA_P521_SHA512] {
        assert!(under(&KeyPair::generate_for(key).unwrap(), &signs).is_err(), "{key:?}");
    }
}

#[test]
fn a_leaf_must_be_for_signing() {
    let root = KeyMaterial::generate_p384().unwrap();
    for usages in [vec![], vec![KeyUsagePurpose::KeyAgreement]] {
        assert_eq!(under(&root, &params(usages)), Err(TrustError::WrongUsage));
    }
}
