//! What certificates say, in rcgen's terms, and how they come to be signed.
//!
//! **Invariant:** [`sign_checked`] is the only way to a signature of a CA's key on a certificate.

use core::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName,
    DnType, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, NameConstraints, SanType,
    SerialNumber, string::Ia5String,
};
use time::OffsetDateTime;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName};
use yasna::{Tag, models::ObjectIdentifier};

use super::{IssueError, Urls};
use crate::{
    CaKey, Identity, KeyMaterial, Life, Profile,
    der::{DerError, Element, SEQUENCE},
    key::{SubjectKey, key_identifier},
    lint::{Rules, lint},
    signed::{frame, moment},
    x509,
};

/// id-pe-authorityInfoAccess with id-ad-ocsp and id-ad-caIssuers (RFC 5280 §4.2.2.1).
const AUTHORITY_ACCESS: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
const ACCESS_OCSP: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1];
const ACCESS_CA_ISSUERS: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 2];
/// id-pkix-ocsp-nocheck (RFC 6960 §4.2.2.2.1).
const OCSP_NO_CHECK: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 5];

fn date(unix_s: u64) -> Result<OffsetDateTime, IssueError> {
    moment(unix_s).ok_or(IssueError::Time)
}

/// 16 random bytes as a positive, non-zero serial (RFC 5280 §4.1.2.2).
pub(super) fn serial_number(mut serial: [u8; 16]) -> [u8; 16] {
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn base(name: &str, serial: [u8; 16], life: Life) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.not_before = date(life.not_before_s)?;
    params.not_after = date(life.not_after_s)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = named(name);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A CA's certificate; `permitted` are the DNS subtrees of one that signs leaves.
pub(super) fn ca_params(
    name: &str,
    path_length: u8,
    permitted: &[String],
    serial: [u8; 16],
    life: Life,
) -> Result<CertificateParams, IssueError> {
    let mut params = base(name, serial, life)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted.iter().cloned().map(GeneralSubtree::DnsName).collect(),
        excluded_subtrees: Vec::new(),
    });
    Ok(params)
}

/// A leaf's certificate.
pub(super) fn leaf_params(
    profile: &Profile,
    identity: &Identity,
    extra_names: &[String],
    urls: Option<&Urls>,
    serial: [u8; 16],
    life: Life,
) -> Result<CertificateParams, IssueError> {
    // Common names end at 64 characters (RFC 5280 A.1); the names that count are the SANs.
    let name = format!("{} {}", identity.kind.name(), identity.region);
    let mut params = base(&name, serial, life)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = profile.key_usages();
    params.extended_key_usages = profile.extended_key_usages();
    params.subject_alt_names = vec![
        SanType::URI(ia5(&identity.to_string())?),
        SanType::DnsName(ia5(&identity.dns_name())?),
    ];
    for text in extra_names {
        params.subject_alt_names.push(match text.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(ia5(text)?),
        });
    }
    if profile.ocsp_signing {
        let null = yasna::construct_der(|writer| writer.write_null());
        params.custom_extensions.push(CustomExtension::from_oid_content(OCSP_NO_CHECK, null));
    } else if let Some(urls) = urls {
        params.crl_distribution_points =
            vec![CrlDistributionPoint { uris: vec![urls.crl.clone()] }];
        params.custom_extensions.push(authority_access(urls));
    }
    Ok(params)
}

fn ia5(text: &str) -> Result<Ia5String, IssueError> {
    text.try_into().map_err(|_| IssueError::Name(text.to_owned()))
}

fn authority_access(urls: &Urls) -> CustomExtension {
    let content = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            for (method, url) in [(ACCESS_OCSP, &urls.ocsp), (ACCESS_CA_ISSUERS, &urls.ca_issuers)]
            {
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&ObjectIdentifier::from_slice(method));
                    writer.next().write_tagged_implicit(Tag::context(6), |writer| {
                        writer.write_ia5_string(url)
                    });
                });
            }
        });
    });
    CustomExtension::from_oid_content(AUTHORITY_ACCESS, content)
}

/// What a CA's certificate says about it.
#[derive(Debug)]
pub(super) struct CaFacts {
    /// Its subject, DER.
    pub(super) subject: Vec<u8>,
    pub(super) name: String,
    /// Its subject key identifier.
    pub(super) key_id: Vec<u8>,
    pub(super) life: Life,
    /// The DNS subtrees that it may sign, where it is constrained.
    pub(super) permitted: Vec<String>,
}

impl CaFacts {
    /// Reads a CA certificate that must be for this key.
    ///
    /// # Errors
    /// [`IssueError::CaCertificate`] where it is not a CA of this crate's making.
    pub(super) fn read(der: &[u8], key: &dyn CaKey, path_length: u32) -> Result<Self, IssueError> {
        let refuse = IssueError::CaCertificate;
        let parsed = x509::parse(der).ok_or_else(|| refuse("it does not parse"))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(refuse("it is for another key"));
        }
        Self::of(&parsed, path_length)
    }

    /// Reads a CA certificate.
    ///
    /// # Errors
    /// [`IssueError::CaCertificate`] where it is not a CA of this crate's making.
    pub(super) fn of(parsed: &X509Certificate<'_>, path_length: u32) -> Result<Self, IssueError> {
        let refuse = IssueError::CaCertificate;
        let constraints = parsed.basic_constraints().ok().flatten();
        let is_ca = constraints.is_some_and(|found| {
            found.value.ca && found.value.path_len_constraint == Some(path_length)
        });
        let usage = parsed.key_usage().ok().flatten();
        let signs =
            usage.is_some_and(|found| found.value.key_cert_sign() && found.value.crl_sign());
        if !is_ca || !signs {
            return Err(refuse("it is not for a CA of this level"));
        }
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let name = name.ok_or_else(|| refuse("it has no common name"))?.to_owned();
        // Issued certificates must name this issuer byte for byte, and rcgen writes one form only.
        if distinguished_name(&name) != parsed.subject().as_raw() {
            return Err(refuse("its subject is not one common name in UTF-8"));
        }
        let key_id =
            x509::subject_key_id(parsed).ok_or_else(|| refuse("it has no key identifier"))?;
        Ok(Self {
            subject: parsed.subject().as_raw().to_vec(),
            name,
            key_id: key_id.to_vec(),
            life: x509::life(parsed).ok_or(IssueError::Time)?,
            permitted: permitted_names(parsed),
        })
    }

    /// Whether a certificate with this life may be signed `now_s`.
    pub(super) fn check_life(&self, life: Life, now_s: u64) -> Result<(), IssueError> {
        if life.not_after_s > self.life.not_after_s {
            let (wanted, issuer) = (life.not_after_s, self.life.not_after_s);
            return Err(IssueError::OutlivesIssuer { wanted, issuer });
        }
        if now_s < self.life.not_before_s {
            let issuer_from = self.life.not_before_s;
            return Err(IssueError::IssuerNotYetValid { issuer_from, now: now_s });
        }
        Ok(())
    }
}

fn permitted_names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let found = parsed.name_constraints().ok().flatten();
    let trees = found.and_then(|found| found.value.permitted_subtrees.as_ref());
    trees
        .into_iter()
        .flatten()
        .filter_map(|tree| match tree.base {
            GeneralName::DNSName(name) => Some(name.to_owned()),
            _ => None,
        })
        .collect()
}

/// The DER of a name that is one common name in UTF-8 (RFC 5280 §4.1.2.4).
fn distinguished_name(name: &str) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_set(|writer| {
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&ObjectIdentifier::from_slice(&[2, 5, 4, 3]));
                    writer.next().write_utf8_string(name);
                });
            });
        });
    })
}

/// rcgen's view of an issuer.
pub(super) fn issuer<'k>(ca: &CaFacts, key: &'k dyn CaKey) -> Issuer<'static, &'k dyn CaKey> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&ca.name);
    params.key_identifier_method = KeyIdMethod::PreSpecified(ca.key_id.clone());
    Issuer::new(params, key)
}

/// Signs with a throw-away key of the same kind, has the result linted, and only then has the CA's
/// key sign: not a second encoding, but the very bytes that were linted.
///
/// # Errors
/// [`IssueError::Lint`], or where a key cannot sign.
pub(super) fn sign_checked(
    mut params: CertificateParams,
    subject: &SubjectKey,
    ca: &CaFacts,
    draft_key: &KeyMaterial,
    key: &dyn CaKey,
    rules: &Rules<'_>,
) -> Result<Vec<u8>, IssueError> {
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_identifier(subject));
    let draft = params.signed_by(subject, &issuer(ca, draft_key)).map_err(IssueError::Sign)?;
    lint(draft.der(), rules)?;
    let (content, algorithm) = signed_parts(draft.der())
        .map_err(|DerError| IssueError::Sign(rcgen::Error::CouldNotParseCertificate))?;
    let signature = key.sign(content).map_err(IssueError::Sign)?;
    Ok(frame(content, algorithm, &signature, &[]))
}

/// What a certificate's signature is over, and its algorithm.
fn signed_parts(certificate: &[u8]) -> Result<(&[u8], &[u8]), DerError> {
    let mut parts = Element::only(certificate)?.inside(SEQUENCE)?;
    Ok((parts.read(SEQUENCE)?.raw, parts.read(SEQUENCE)?.raw))
}
