//! Certificates with one thing wrong each, and the rule that must name it.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::*;
use crate::Kind;

const NOW: u64 = 1_800_000_000;
const CA_KEY_ID: [u8; 20] = [7; 20];

/// Everything that a lint needs, with a certificate that passes.
struct Bench {
    key: KeyPair,
    ca_key: KeyPair,
    identity: Identity,
    extra_names: Vec<String>,
    permitted: Vec<String>,
    urls: Urls,
    life: Life,
    params: CertificateParams,
    ca_name: &'static str,
    ca_key_id: [u8; 20],
}

fn date(unix_s: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix_s as i64).unwrap()
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn access(responder: &str) -> CustomExtension {
    let entry = |method: &[u8], url: &str| {
        let mut der = vec![0x30, 0, 6, 8];
        der.extend_from_slice(&[43, 6, 1, 5, 5, 7, 48]);
        der.extend_from_slice(method);
        der.extend_from_slice(&[0x86, url.len() as u8]);
        der.extend_from_slice(url.as_bytes());
        der[1] = (der.len() - 2) as u8;
        der
    };
    let mut body = entry(&[1], responder);
    body.extend(entry(&[2], "http://ca/issuer"));
    let mut der = vec![0x30, body.len() as u8];
    der.append(&mut body);
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], der)
}

impl Bench {
    fn new(kind: Kind) -> Self {
        let identity =
            Identity { cluster: "acme.test".into(), region: "eu1".into(), kind, id: [9; 16] };
        let profile = profile(kind);
        let life = profile.life(NOW, 0);
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (date(life.not_before_s), date(life.not_after_s));
        params.serial_number = Some(SerialNumber::from_slice(&[0x41; 16]));
        params.distinguished_name = named(&format!("{} eu1", kind.name()));
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let key_id = sha256(key.der_bytes())[..20].to_vec();
        params.key_identifier_method = KeyIdMethod::PreSpecified(key_id);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = profile.key_usages();
        params.extended_key_usages = profile.extended_key_usages();
        params.subject_alt_names = vec![
            SanType::URI(identity.to_string().try_into().unwrap()),
            SanType::DnsName(identity.dns_name().try_into().unwrap()),
        ];
        if kind == Kind::OcspSigner {
            let null =
                CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 48, 1, 5], vec![5, 0]);
            params.custom_extensions = vec![null];
        } else {
            params.custom_extensions = vec![access("http://ca/ocsp")];
            params.crl_distribution_points =
                vec![CrlDistributionPoint { uris: vec!["http://ca/crl".into()] }];
        }
        Self {
            key,
            ca_key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
            identity,
            extra_names: Vec::new(),
            permitted: vec!["eu1.acme.test".into(), "localhost".into()],
            urls: Urls {
                crl: "http://ca/crl".into(),
                ocsp: "http://ca/ocsp".into(),
                ca_issuers: "http://ca/issuer".into(),
            },
            life,
            params,
            ca_name: "acme.test eu1 issuing 1",
            ca_key_id: CA_KEY_ID,
        }
    }

    fn names(&mut self, more: Vec<SanType>) {
        self.params.subject_alt_names.extend(more);
    }

    fn der(&self) -> Vec<u8> {
        let mut issuer = CertificateParams::default();
        issuer.distinguished_name = named(self.ca_name);
        issuer.key_identifier_method = KeyIdMethod::PreSpecified(self.ca_key_id.to_vec());
        let issuer = Issuer::new(issuer, &self.ca_key);
        self.params.signed_by(&self.key, &issuer).unwrap().der().to_vec()
    }

    fn lint_der(&self, der: &[u8]) -> Result<(), LintError> {
        let issuer = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_set(|writer| {
                    writer.next().write_sequence(|writer| {
                        let common_name =
                            yasna::models::ObjectIdentifier::from_slice(&[2, 5, 4, 3]);
                        writer.next().write_oid(&common_name);
                        writer.next().write_utf8_string("acme.test eu1 issuing 1");
                    });
                });
            });
        });
        let rules = Rules {
            issuer: &issuer,
            authority_key: &CA_KEY_ID,
            spki: &self.key.subject_public_key_info(),
            life: self.life,
            permitted: &self.permitted,
            subject: Subject::Leaf {
                identity: &self.identity,
                extra_names: &self.extra_names,
                urls: Some(&self.urls),
            },
        };
        lint(der, &rules)
    }

    fn lint(&self) -> Result<(), LintError> {
        self.lint_der(&self.der())
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

#[test]
fn each_profile_passes_as_it_should_be() {
    for profile in Profile::all() {
        assert_eq!(Bench::new(profile.kind).lint(), Ok(()), "{}", profile.label);
    }
    let mut node = Bench::new(Kind::Node);
    node.extra_names = vec!["localhost".into(), "127.0.0.1".into(), "::1".into()];
    let address = |text: &str| SanType::IpAddress(text.parse().unwrap());
    node.names(vec![dns("localhost"), address("127.0.0.1"), address("::1")]);
    assert_eq!(node.lint(), Ok(()));
}

/// What is changed, the rule that must be named, and the change.
type Case = (&'static str, &'static str, fn(&mut Bench));

const FORM: &[Case] = &[
    ("a short serial", "serial", |b| {
        b.params.serial_number = Some(SerialNumber::from_slice(&[0x41; 7]));
    }),
    ("a zero serial", "serial", |b| {
        b.params.serial_number = Some(SerialNumber::from_slice(&[0; 16]));
    }),
    ("a long serial", "serial", |b| {
        b.params.serial_number = Some(SerialNumber::from_slice(&[0x41; 21]));
    }),
    ("another issuer", "issuer is the CA's", |b| b.ca_name = "acme.test eu1 issuing 2"),
    ("another common name", "one common name", |b| b.params.distinguished_name = named("x")),
    ("a second attribute", "one common name", |b| {
        b.params.distinguished_name.push(DnType::OrganizationName, "x");
    }),
    ("it ends before it begins", "begins before", |b| {
        std::mem::swap(&mut b.params.not_before, &mut b.params.not_after);
    }),
    ("it ends a second late", "the wanted one", |b| {
        b.params.not_after = date(b.life.not_after_s + 1);
    }),
    ("a life longer than the profile's", "at most the profile's", |b| {
        b.life.not_after_s += 1;
        b.params.not_after = date(b.life.not_after_s);
    }),
];

const EXTENSIONS: &[Case] = &[
    ("a CA", "cA is absent", |b| b.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
    ("no basic constraints", "exactly the profile's extensions", |b| {
        b.params.is_ca = IsCa::NoCa;
    }),
    ("no authority key", "exactly the profile's extensions", |b| {
        b.params.use_authority_key_identifier_extension = false;
    }),
    ("another authority key", "authority key identifier", |b| b.ca_key_id = [8; 20]),
    ("another subject key identifier", "subject key identifier", |b| {
        b.params.key_identifier_method = KeyIdMethod::Sha256;
    }),
    ("a further key usage", "exactly the profile's key usage", |b| {
        b.params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    }),
    ("a missing key usage", "exactly the profile's key usage", |b| {
        b.params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    }),
    ("a further extended usage", "exactly the profile's extended", |b| {
        b.params.extended_key_usages.push(ExtendedKeyUsagePurpose::CodeSigning);
    }),
    ("an unlisted extended usage", "exactly the profile's extended", |b| {
        b.params.extended_key_usages.push(ExtendedKeyUsagePurpose::Other(vec![1, 2, 3]));
    }),
    ("any extended usage", "exactly the profile's extended", |b| {
        b.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    }),
    ("no extended usage", "exactly the profile's extensions", |b| {
        b.params.extended_key_usages.clear();
    }),
    ("an unknown extension", "exactly the profile's extensions", |b| {
        let unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 1], vec![5, 0]);
        b.params.custom_extensions.push(unknown);
    }),
    ("name constraints", "exactly the profile's extensions", |b| {
        b.params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("x".into())],
            excluded_subtrees: Vec::new(),
        });
    }),
    ("no CRL", "exactly the profile's extensions", |b| b.params.crl_distribution_points.clear()),
    ("another CRL", "one CRL distribution point", |b| {
        b.params.crl_distribution_points[0].uris[0] = "http://ca/other".into();
    }),
    ("another responder", "OCSP responder", |b| {
        b.params.custom_extensions = vec![access("http://ca/other")];
    }),
];

const NAMES: &[Case] = &[
    ("no names", "exactly the profile's extensions", |b| b.params.subject_alt_names.clear()),
    ("no URI", "one URI", |b| drop(b.params.subject_alt_names.remove(0))),
    ("no DNS name", "one URI", |b| drop(b.params.subject_alt_names.remove(1))),
    ("two URIs", "one URI", |b| {
        let uri = "spiffe://acme.test/region/eu1/node/00000000-0000-0000-0000-000000000000";
        b.names(vec![SanType::URI(uri.try_into().unwrap())]);
    }),
    ("a name that was not asked for", "one URI", |b| b.names(vec![dns("localhost")])),
    ("a name outside the constraint", "within the CA's constraint", |b| {
        b.extra_names = vec!["x.us1.acme.test".into()];
        b.names(vec![dns("x.us1.acme.test")]);
    }),
    ("a name that only ends alike", "within the CA's constraint", |b| {
        b.extra_names = vec!["xeu1.acme.test".into()];
        b.names(vec![dns("xeu1.acme.test")]);
    }),
    ("a malformed name", "well-formed", |b| {
        b.extra_names = vec!["x_y.eu1.acme.test".into()];
        b.names(vec![dns("x_y.eu1.acme.test")]);
    }),
    ("an identity of another region", "of the CA's region", |b| {
        b.permitted[0] = "us1.acme.test".into();
    }),
    ("an identity that cannot be written", "the identity parses", |b| {
        b.identity.cluster = "ACME".into();
    }),
];

#[test]
fn one_thing_wrong_is_named() {
    for (what, rule, change) in FORM.iter().chain(EXTENSIONS).chain(NAMES) {
        let mut bench = Bench::new(Kind::Node);
        change(&mut bench);
        let error = bench.lint().unwrap_err();
        assert!(error.rule.contains(rule), "{what}: {error}");
    }
}

#[test]
fn further_names_are_for_servers() {
    let mut device = Bench::new(Kind::Customer);
    device.extra_names = vec!["localhost".into()];
    device.names(vec![dns("localhost")]);
    assert_eq!(device.lint().unwrap_err().rule, "only servers have further names");
}

/// Replaces bytes that occur once.
fn patched(der: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let found: Vec<usize> =
        (0..=der.len() - from.len()).filter(|at| der[*at..].starts_with(from)).collect();
    let mut der = der.to_vec();
    let [at] = found[..] else { panic!("found at {found:?}") };
    der.splice(at..at + from.len(), to.iter().copied());
    der
}

#[test]
fn what_rcgen_would_not_write_is_named_too() {
    let bench = Bench::new(Kind::Node);
    let der = bench.der();
    // Version 2 instead of 3.
    let bad = patched(&der, &[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 1]);
    assert!(bench.lint_der(&bad).is_err());
    // A serial below zero.
    let bad = patched(&der, &[2, 16, 0x41], &[2, 16, 0xc1]);
    assert!(bench.lint_der(&bad).unwrap_err().rule.contains("positive serial"));
    // Key usage that is not critical: FALSE, written out.
    let bad = patched(&der, &[0x55, 0x1d, 0x0f, 1, 1, 0xff], &[0x55, 0x1d, 0x0f, 1, 1, 0]);
    assert!(bench.lint_der(&bad).is_err());
    // ecdsa-with-SHA384 outside only: the last one.
    let sha256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let at = der.windows(8).rposition(|window| window == sha256).unwrap();
    let mut bad = der.clone();
    bad[at + 7] = 3;
    assert!(bench.lint_der(&bad).unwrap_err().rule.contains("one signature algorithm"));
    let other = Bench::new(Kind::Node).der();
    assert!(bench.lint_der(&other).unwrap_err().rule.contains("key is the requested one"));
    let mut bad = der.clone();
    bad.push(0);
    assert!(bench.lint_der(&bad).unwrap_err().rule.contains("nothing follows"));
    for cut in 0..der.len() {
        assert!(bench.lint_der(&der[..cut]).is_err(), "cut at {cut}");
    }
}
