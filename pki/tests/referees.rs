//! What others say about our chains: webpki, as devices and nodes use it, and OpenSSL, as everybody
//! else does.
//!
//! **Not here:** what is in the certificates (unit tests of `ca`).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "OpenSSL reads files")]

use std::{path::PathBuf, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_pki::{
    Identity, IssuingCa, KeyMaterial, Kind, Profile, RootCa, TrustError, TrustStore, Urls, Usage,
    profile,
};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyUsagePurpose, SanType, SerialNumber,
};
use tempfile::TempDir;
use time::OffsetDateTime;

const NOW: u64 = 1_800_000_000;
const CLUSTER: &str = "acme.test";

fn identity(kind: Kind, region: &str) -> Identity {
    Identity { cluster: CLUSTER.into(), region: region.into(), kind, id: [9; 16] }
}

fn urls() -> Urls {
    Urls {
        crl: "http://ca.acme.test/eu1.crl".into(),
        ocsp: "http://ca.acme.test/ocsp".into(),
        ca_issuers: "http://ca.acme.test/eu1.cer".into(),
    }
}

fn authority() -> (RootCa, IssuingCa) {
    let root = RootCa::create(CLUSTER, NOW, [1; 16]).unwrap();
    let (issuing, _) = root.issue_issuing("eu1", 1, NOW, [2; 16]).unwrap();
    (root, issuing.with_urls(urls()).unwrap())
}

fn leaf(issuing: &IssuingCa, profile: &Profile) -> Vec<u8> {
    let names: &[String] = match profile.server_auth {
        true => &["localhost".into(), "127.0.0.1".into(), "::1".into()],
        false => &[],
    };
    let spki = KeyMaterial::generate().unwrap().spki();
    let who = identity(profile.kind, "eu1");
    issuing.issue(&spki, &who, names, profile.life(NOW, 99), [3; 16]).unwrap().der
}

/// What the CA's key can be made to sign when nobody lints: another region's name.
fn foreign(issuing: &IssuingCa) -> Vec<u8> {
    let who = identity(Kind::Customer, "us1");
    let named = |name: &str| {
        let mut distinguished = DistinguishedName::new();
        distinguished.push(DnType::CommonName, name);
        distinguished
    };
    let date = |unix_s: u64| OffsetDateTime::from_unix_timestamp(unix_s as i64).unwrap();
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date(NOW - 600), date(NOW + 3600));
    params.serial_number = Some(SerialNumber::from_slice(&[0x41; 16]));
    params.distinguished_name = named("customer us1");
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![
        SanType::URI(who.to_string().try_into().unwrap()),
        SanType::DnsName(who.dns_name().try_into().unwrap()),
    ];
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = named("acme.test eu1 issuing 1");
    issuer.key_identifier_method = KeyIdMethod::PreSpecified(issuing.key_identifier().to_vec());
    let issuer = Issuer::new(issuer, issuing.key());
    params.signed_by(&KeyMaterial::generate().unwrap(), &issuer).unwrap().der().to_vec()
}

/// A directory with roots and issuing CA, as OpenSSL wants them.
struct OpenSsl {
    dir: TempDir,
}

impl OpenSsl {
    fn new(roots: &[&RootCa], issuing: &IssuingCa) -> Self {
        let openssl = Self { dir: TempDir::new().unwrap() };
        let roots: Vec<&[u8]> = roots.iter().map(|root| root.certificate()).collect();
        openssl.write("roots.pem", &roots);
        openssl.write("issuing.pem", &[issuing.certificate()]);
        openssl
    }

    fn write(&self, name: &str, certificates: &[&[u8]]) -> PathBuf {
        let mut pem = String::new();
        for der in certificates {
            let text = STANDARD.encode(der);
            pem.push_str("-----BEGIN CERTIFICATE-----\n");
            for at in (0..text.len()).step_by(64) {
                pem.push_str(&text[at..text.len().min(at + 64)]);
                pem.push('\n');
            }
            pem.push_str("-----END CERTIFICATE-----\n");
        }
        let path = self.dir.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    }

    /// What it says when it refuses; nothing when it accepts.
    fn verify(&self, der: &[u8], purpose: &str) -> Option<String> {
        let leaf = self.write("leaf.pem", &[der]);
        let output = Command::new("openssl")
            .args(["verify", "-x509_strict", "-check_ss_sig", "-policy_check"])
            .args(["-attime", &NOW.to_string(), "-purpose", purpose, "-CAfile"])
            .arg(self.dir.path().join("roots.pem"))
            .arg("-untrusted")
            .arg(self.dir.path().join("issuing.pem"))
            .arg(leaf)
            .output()
            .unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (!output.status.success()).then(|| said(&output.stdout) + &said(&output.stderr))
    }
}

/// OpenSSL's names of what a profile is for.
fn purposes(profile: &Profile) -> Vec<&'static str> {
    let mut purposes = vec!["any"];
    purposes.extend(profile.client_auth.then_some("sslclient"));
    purposes.extend(profile.server_auth.then_some("sslserver"));
    purposes.extend(profile.ocsp_signing.then_some("ocsphelper"));
    purposes
}

#[test]
fn openssl_accepts_each_profile_strictly_and_for_its_uses_only() {
    let (root, issuing) = authority();
    let openssl = OpenSsl::new(&[&root], &issuing);
    for profile in Profile::all() {
        let der = leaf(&issuing, profile);
        for purpose in purposes(profile) {
            assert_eq!(openssl.verify(&der, purpose), None, "{} for {purpose}", profile.label);
        }
    }
    let operator = leaf(&issuing, profile(Kind::Operator));
    let refused = openssl.verify(&operator, "sslserver").unwrap();
    assert!(refused.contains("unsuitable certificate purpose"), "{refused}");
    // The issuing CA itself, under the root alone.
    assert_eq!(openssl.verify(issuing.certificate(), "any"), None);
    let (stranger, _) = authority();
    assert!(OpenSsl::new(&[&stranger], &issuing).verify(&operator, "sslclient").is_some());
}

#[test]
fn another_regions_name_is_refused_by_name_constraints() {
    let (root, issuing) = authority();
    let der = foreign(&issuing);
    let refused = OpenSsl::new(&[&root], &issuing).verify(&der, "sslclient").unwrap();
    assert!(refused.contains("permitted subtree violation"), "{refused}");
    let trust =
        TrustStore::new(vec![root.certificate().to_vec()], vec![issuing.certificate().to_vec()]);
    let refused = trust.unwrap().verify(&der, &[], Usage::ClientAuth, NOW).unwrap_err();
    let TrustError::Invalid(text) = refused else { panic!("{refused}") };
    assert_eq!(text, webpki::Error::NameConstraintViolation.to_string());
}

#[test]
fn either_of_two_roots_with_one_name_serves() {
    let first = RootCa::create(CLUSTER, NOW, [1; 16]).unwrap();
    let second = RootCa::create(CLUSTER, NOW, [2; 16]).unwrap();
    let roots = vec![first.certificate().to_vec(), second.certificate().to_vec()];
    let trust = TrustStore::new(roots, Vec::new()).unwrap();
    for root in [&first, &second] {
        let (issuing, _) = root.issue_issuing("eu1", 7, NOW, [3; 16]).unwrap();
        let der = leaf(&issuing, profile(Kind::Customer));
        let chain = [issuing.certificate()];
        assert!(trust.verify(&der, &chain, Usage::ClientAuth, NOW).is_ok());
        let openssl = OpenSsl::new(&[&first, &second], &issuing);
        assert_eq!(openssl.verify(&der, "sslclient"), None);
    }
}
