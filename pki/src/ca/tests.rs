//! What the authorities sign, what they refuse, and what their keys are asked for.

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "tests fail by panicking")]

use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, GeneralSubtree, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData,
    SignatureAlgorithm, SigningKey,
};
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension};

use super::*;
use crate::{
    CaKey, Identity, KeyMaterial, Kind, Life, Profile, TrustStore, Usage, create_csr, profile,
};

const NOW: u64 = 1_800_000_000;
const CLUSTER: &str = "acme.test";
const YEAR_S: u64 = 365 * 24 * 3600;

fn root() -> RootCa {
    RootCa::create(CLUSTER, NOW, [1; 16]).unwrap()
}

fn urls() -> Urls {
    Urls {
        crl: "http://ca.acme.test/eu1.crl".into(),
        ocsp: "http://ca.acme.test/ocsp".into(),
        ca_issuers: "http://ca.acme.test/eu1.cer".into(),
    }
}

fn authority() -> (RootCa, IssuingCa) {
    let root = root();
    let (issuing, _) = root.issue_issuing("eu1", 1, NOW, [2; 16]).unwrap();
    (root, issuing.with_urls(urls()).unwrap())
}

fn identity(kind: Kind) -> Identity {
    Identity { cluster: CLUSTER.into(), region: "eu1".into(), kind, id: [9; 16] }
}

fn key_of(kind: KeyKind) -> Vec<u8> {
    match kind {
        KeyKind::P256 => KeyMaterial::generate().unwrap().spki(),
        KeyKind::P384 => KeyMaterial::generate_p384().unwrap().spki(),
        KeyKind::Ed25519 => KeyPair::generate_for(&PKCS_ED25519).unwrap().subject_public_key_info(),
        KeyKind::Rsa => KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap().subject_public_key_info(),
    }
}

fn parsed(der: &[u8]) -> X509Certificate<'_> {
    let (rest, parsed) = x509_parser::parse_x509_certificate(der).unwrap();
    assert!(rest.is_empty());
    parsed
}

/// Subject and authority key identifiers.
fn key_ids(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut subject, mut authority) = (Vec::new(), Vec::new());
    for extension in parsed(der).extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => subject = id.0.to_vec(),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                authority = id.key_identifier.as_ref().unwrap().0.to_vec();
            }
            _ => {}
        }
    }
    (subject, authority)
}

fn assert_signed_by(der: &[u8], issuer: &[u8]) {
    let (certificate, issuer_parsed) = (parsed(der), parsed(issuer));
    certificate.verify_signature(Some(issuer_parsed.public_key())).unwrap();
    assert_eq!(certificate.issuer().as_raw(), issuer_parsed.subject().as_raw());
    assert_eq!(key_ids(der).1, key_ids(issuer).0);
    assert_eq!(key_ids(der).1.len(), 20);
}

#[test]
fn each_profile_is_issued_for_each_of_its_keys_and_believed() {
    let (root, issuing) = authority();
    let trust =
        TrustStore::new(vec![root.certificate().to_vec()], vec![issuing.certificate().to_vec()]);
    let trust = trust.unwrap();
    for profile in Profile::all() {
        for kind in profile.key_kinds {
            let (spki, who) = (key_of(*kind), identity(profile.kind));
            let life = profile.life(NOW, 7);
            let issued = issuing.issue(&spki, &who, &[], life, [0xff; 16]).unwrap();
            assert_signed_by(&issued.der, issuing.certificate());
            assert_eq!(
                (issued.not_before, issued.not_after),
                (life.not_before_s, life.not_after_s)
            );
            assert_eq!(parsed(&issued.der).raw_serial(), issued.serial);
            for (usage, fits) in [
                (Usage::ClientAuth, profile.client_auth),
                (Usage::ServerAuth, profile.server_auth),
                (Usage::Signing, profile.kind == Kind::Service),
            ] {
                let peer = trust.verify(&issued.der, &[], usage, NOW);
                assert_eq!(peer.is_ok(), fits, "{} {kind:?} {usage:?}: {peer:?}", profile.label);
                let Ok(peer) = peer else { continue };
                assert_eq!((peer.identity, peer.key_kind), (who.clone(), *kind));
                assert_eq!((peer.spki, peer.serial), (spki.clone(), issued.serial.to_vec()));
                assert_eq!(
                    (peer.not_before, peer.not_after),
                    (issued.not_before, issued.not_after)
                );
                assert_eq!(peer.public_point.is_empty(), *kind != KeyKind::P256);
            }
        }
        for kind in [KeyKind::P384, KeyKind::Ed25519, KeyKind::Rsa] {
            if profile.key_kinds.contains(&kind) {
                continue;
            }
            let life = profile.life(NOW, 7);
            let refused = issuing.issue(&key_of(kind), &identity(profile.kind), &[], life, [3; 16]);
            assert!(matches!(refused, Err(IssueError::KeyKind { .. })), "{}", profile.label);
        }
    }
}

#[test]
fn a_leaf_never_outlives_its_issuer_nor_precedes_it() {
    let (_, issuing) = authority();
    let (spki, who) = (key_of(KeyKind::P256), identity(Kind::Customer));
    let end_s = NOW + 2 * YEAR_S;
    let issue = |not_before_s, not_after_s| {
        issuing.issue(&spki, &who, &[], Life { not_before_s, not_after_s }, [3; 16])
    };
    assert!(issue(end_s - 1000, end_s).is_ok());
    let error = issue(end_s - 1000, end_s + 1).unwrap_err();
    assert!(matches!(error, IssueError::OutlivesIssuer { wanted, issuer }
        if wanted == end_s + 1 && issuer == end_s));
    let early_s = NOW - 601;
    let life = profile(Kind::Customer).life(early_s, 0);
    let error = issue(life.not_before_s, life.not_after_s).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&early_s.to_string()) && text.contains(&(NOW - 600).to_string()),
        "{text}"
    );
    // A clock that lags behind the one that made the CA is none before its time.
    let life = profile(Kind::Customer).life(NOW - 600, 0);
    assert!(issue(life.not_before_s, life.not_after_s).is_ok());
}

#[test]
fn root_and_issuing_ca_are_what_they_should_be() {
    let (root, issuing) = authority();
    assert_signed_by(root.certificate(), root.certificate());
    assert_signed_by(issuing.certificate(), root.certificate());
    assert_eq!(root.key().kind(), KeyKind::P384);
    let (parsed_root, parsed_issuing) = (parsed(root.certificate()), parsed(issuing.certificate()));
    let length = |found: &X509Certificate<'_>| {
        let (from, until) = (found.validity().not_before, found.validity().not_after);
        (until.timestamp() - from.timestamp()) as u64
    };
    assert_eq!(length(&parsed_root), 20 * YEAR_S + 600);
    assert_eq!(length(&parsed_issuing), 2 * YEAR_S + 600);
    assert_eq!(parsed_issuing.subject().to_string(), "CN=acme.test eu1 issuing 1");
    for (found, path_length) in [(&parsed_root, 1), (&parsed_issuing, 0)] {
        let constraints = found.basic_constraints().unwrap().unwrap();
        let usage = found.key_usage().unwrap().unwrap();
        assert!(constraints.critical && usage.critical);
        assert_eq!(constraints.value.path_len_constraint, Some(path_length));
        assert_eq!(usage.value.flags, 0b110_0000);
    }
    assert!(parsed_root.name_constraints().unwrap().is_none());
    let again = RootCa::from_parts(
        KeyMaterial::from_pkcs8(root.key().pkcs8()).unwrap(),
        root.certificate().to_vec(),
    );
    let (next, _) = again.unwrap().issue_issuing("us1", 42, NOW, [4; 16]).unwrap();
    assert_signed_by(next.certificate(), root.certificate());
    assert_eq!(parsed(next.certificate()).subject().to_string(), "CN=acme.test us1 issuing 42");
}

#[test]
fn of_an_issuing_request_only_a_proven_p256_key_is_taken() {
    let (root, key) = (root(), KeyMaterial::generate().unwrap());
    // What it asks for does not matter.
    let mut greedy = CertificateParams::new(vec!["evil.test".to_owned()]).unwrap();
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.distinguished_name.push(DnType::CommonName, "another root");
    let csr = greedy.serialize_request(&key).unwrap().der().to_vec();
    let sign = |csr: &[u8], region| root.sign_issuing(csr, region, 3, NOW, [5; 16]);
    let signed = sign(&csr, "eu1").unwrap();
    let found = parsed(&signed.der);
    assert_eq!(found.subject().to_string(), "CN=acme.test eu1 issuing 3");
    assert!(found.subject_alternative_name().unwrap().is_none());
    let issuing = IssuingCa::from_software(key, signed.der.clone()).unwrap();
    assert_eq!(issuing.key_identifier(), key_ids(&signed.der).0);
    let life = profile(Kind::Node).life(NOW, 0);
    let leaf = issuing.issue(&key_of(KeyKind::P256), &identity(Kind::Node), &[], life, [6; 16]);
    assert_signed_by(&leaf.unwrap().der, issuing.certificate());

    let mut forged = csr.clone();
    *forged.last_mut().unwrap() ^= 1;
    let mut longer = csr.clone();
    longer.push(0);
    let p384 = create_csr(&KeyMaterial::generate_p384().unwrap()).unwrap();
    for bad in [&forged, &longer, &csr[..40].to_vec(), &vec![0x30; 9000]] {
        assert!(matches!(sign(bad, "eu1"), Err(IssueError::Request(_))));
    }
    let refused = sign(&p384, "eu1").unwrap_err().to_string();
    assert_eq!(refused, "a P-384 key is not allowed for issuing CA: use P-256");
    for region in ["", "EU1", "europe", "e.1"] {
        assert!(matches!(sign(&csr, region), Err(IssueError::Name(_))), "{region}");
    }
    let late_s = NOW + 19 * YEAR_S;
    let late = root.sign_issuing(&csr, "eu1", 3, late_s, [5; 16]);
    assert!(matches!(late, Err(IssueError::OutlivesIssuer { .. })));
}

#[test]
fn names_that_do_not_fit_are_refused() {
    for cluster in ["", "Acme", "a..b", "-a", "a_b", &"a".repeat(60)] {
        let refused = RootCa::create(cluster, NOW, [1; 16]).unwrap_err();
        assert!(matches!(refused, IssueError::Name(_)), "{cluster}");
    }
    let root = RootCa::create(&"a".repeat(51), NOW, [1; 16]).unwrap();
    assert!(root.issue_issuing("e", 1, NOW, [1; 16]).is_ok());
    assert!(matches!(root.issue_issuing("eu1", 1, NOW, [1; 16]), Err(IssueError::Name(_))));
    for bad in ["https://ca/crl", "http://", "http://ca/ä", "http://ca/a b", "ca"] {
        let (issuing, _) = root.issue_issuing("e", 1, NOW, [1; 16]).unwrap();
        let refused = issuing.with_urls(Urls { ocsp: bad.into(), ..urls() });
        assert!(matches!(refused, Err(IssueError::Name(_))), "{bad}");
    }
}

/// A key in a token: it keeps what it signed, and may be out of order.
struct Token {
    key: Arc<KeyMaterial>,
    signed: Mutex<Vec<Vec<u8>>>,
    works: bool,
}

impl PublicKeyData for Token {
    fn der_bytes(&self) -> &[u8] {
        self.key.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        PublicKeyData::algorithm(&*self.key)
    }
}

impl SigningKey for Token {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signed.lock().unwrap().push(message.to_vec());
        if self.works { self.key.sign(message) } else { Err(rcgen::Error::RemoteKeyError) }
    }
}

fn token(works: bool) -> (IssuingCa, Arc<Token>) {
    let (issuing, key) = root().issue_issuing("eu1", 1, NOW, [2; 16]).unwrap();
    let token = Arc::new(Token { key, signed: Mutex::default(), works });
    let held: Arc<dyn CaKey> = Arc::<Token>::clone(&token);
    (IssuingCa::from_parts(held, issuing.certificate().to_vec()).unwrap(), token)
}

#[test]
fn a_token_signs_what_was_linted_and_nothing_else() {
    let (issuing, token) = token(true);
    let (spki, node) = (key_of(KeyKind::P256), identity(Kind::Node));
    let life = profile(Kind::Node).life(NOW, 0);
    let issue = |who: &Identity, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        issuing.issue(&spki, who, &names, life, [3; 16])
    };
    for (who, names) in [
        (Identity { region: "us1".into(), ..node.clone() }, &[][..]),
        (Identity { cluster: "eu1.acme.test".into(), ..node.clone() }, &[]),
        (Identity { region: "EU1".into(), ..node.clone() }, &[]),
        (node.clone(), &["x.us1.acme.test"]),
        (node.clone(), &["acme.test"]),
        (identity(Kind::Operator), &["localhost"]),
    ] {
        let refused = issue(&who, names);
        assert!(matches!(refused, Err(IssueError::Lint(_))), "{who} {names:?}: {refused:?}");
    }
    assert!(token.signed.lock().unwrap().is_empty());
    let issued = issue(&node, &["localhost", "127.0.0.1", "::1"]).unwrap();
    assert_signed_by(&issued.der, issuing.certificate());
    let found = parsed(&issued.der);
    assert_eq!(*token.signed.lock().unwrap(), [found.tbs_certificate.as_ref().to_vec()]);
}

#[test]
fn a_token_that_is_out_of_order_is_an_error() {
    let (issuing, _) = token(false);
    let life = profile(Kind::Node).life(NOW, 0);
    let refused = issuing.issue(&key_of(KeyKind::P256), &identity(Kind::Node), &[], life, [3; 16]);
    assert!(matches!(refused, Err(IssueError::Sign(rcgen::Error::RemoteKeyError))));
}

#[test]
fn a_ca_is_not_put_together_from_parts_of_others() {
    let (root, issuing) = authority();
    let (root_der, issuing_der) = (root.certificate().to_vec(), issuing.certificate().to_vec());
    let refused = |made: Result<IssuingCa, IssueError>| {
        assert!(matches!(made, Err(IssueError::CaCertificate(_))), "{made:?}");
    };
    refused(IssuingCa::from_software(KeyMaterial::generate().unwrap(), issuing_der));
    let root_key = KeyMaterial::from_pkcs8(root.key().pkcs8()).unwrap();
    refused(IssuingCa::from_software(root_key, root_der.clone()));
    let other = RootCa::from_parts(KeyMaterial::generate_p384().unwrap(), root_der);
    assert!(matches!(other, Err(IssueError::CaCertificate(_))));

    // Signed by the root, but not as this crate would.
    let key = Arc::new(KeyMaterial::generate().unwrap());
    let made = |change: fn(&mut CertificateParams)| {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "acme.test eu1 issuing 1");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("eu1.acme.test".into())],
            excluded_subtrees: Vec::new(),
        });
        change(&mut params);
        let issuer = Issuer::new(CertificateParams::default(), root.key());
        let der = params.signed_by(&*key, &issuer).unwrap().der().to_vec();
        IssuingCa::from_parts(key.clone(), der)
    };
    assert!(made(|_| {}).is_ok());
    refused(made(|params| params.name_constraints = None));
    refused(made(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)));
    refused(made(|params| params.is_ca = IsCa::ExplicitNoCa));
    refused(made(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]));
    refused(made(|params| params.distinguished_name.push(DnType::OrganizationName, "acme")));
}
