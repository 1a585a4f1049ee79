//! The second opinion on a certificate before the authority's key signs it.
//!
//! A certificate is first signed with a throw-away key; what came out is parsed and compared here
//! with what profile and identity demand, by code that shares nothing with the code that wrote it.
//!
//! **Invariants:** the extensions are exactly the expected ones, each with exactly the expected
//! value; an unknown extension is an error. **Not here:** signatures and chains ([`crate::TrustStore`]).

#[cfg(test)]
mod tests;

use core::net::IpAddr;

use x509_parser::{
    certificate::X509Certificate,
    extensions::{
        AuthorityInfoAccess, CRLDistributionPoints, DistributionPointName, ExtendedKeyUsage,
        GeneralName, ParsedExtension,
    },
    x509::X509Version,
};

use crate::{
    Identity, Life, Profile,
    ca::Urls,
    profile::{BACKDATE_S, profile},
    sha256,
};

const AUTHORITY_KEY: &str = "2.5.29.35";
const SUBJECT_KEY: &str = "2.5.29.14";
const KEY_USAGE: &str = "2.5.29.15";
const ALTERNATIVE_NAME: &str = "2.5.29.17";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const NAME_CONSTRAINTS: &str = "2.5.29.30";
const CRL_POINTS: &str = "2.5.29.31";
const EXTENDED_USAGE: &str = "2.5.29.37";
const AUTHORITY_ACCESS: &str = "1.3.6.1.5.5.7.1.1";
const OCSP_NO_CHECK: &str = "1.3.6.1.5.5.7.48.1.5";
const ACCESS_OCSP: &str = "1.3.6.1.5.5.7.48.1";
const ACCESS_CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";
/// Bits of x509-parser's KeyUsage: the first bit of the BIT STRING is the lowest.
const DIGITAL_SIGNATURE: u16 = 1;
const CONTENT_COMMITMENT: u16 = 1 << 1;
const KEY_CERT_SIGN: u16 = 1 << 5;
const CRL_SIGN: u16 = 1 << 6;
/// Characters of a common name (RFC 5280 A.1, ub-common-name).
pub(crate) const COMMON_NAME_MAX: usize = 64;

/// A rule that a certificate would have broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the certificate would break a rule, so nothing was signed. {rule}: {fact}")]
pub struct LintError {
    pub rule: &'static str,
    pub fact: String,
}

/// What a certificate must say.
pub(crate) struct Rules<'a> {
    /// The issuer's subject, DER.
    pub(crate) issuer: &'a [u8],
    /// The issuer's subject key identifier.
    pub(crate) authority_key: &'a [u8],
    pub(crate) spki: &'a [u8],
    pub(crate) life: Life,
    /// DNS subtrees that the issuing CA is or will be constrained to.
    pub(crate) permitted: &'a [String],
    pub(crate) subject: Subject<'a>,
}

pub(crate) enum Subject<'a> {
    Leaf { identity: &'a Identity, extra_names: &'a [String], urls: Option<&'a Urls> },
    Issuing { name: &'a str },
}

fn must(holds: bool, rule: &'static str, fact: impl FnOnce() -> String) -> Result<(), LintError> {
    if holds { Ok(()) } else { Err(LintError { rule, fact: fact() }) }
}

fn differs(rule: &'static str, found: impl core::fmt::Debug) -> LintError {
    LintError { rule, fact: format!("found {found:?}") }
}

/// Checks a certificate, whoever signed it.
///
/// # Errors
/// The first rule that is broken.
pub(crate) fn lint(der: &[u8], rules: &Rules<'_>) -> Result<(), LintError> {
    let (rest, certificate) = x509_parser::parse_x509_certificate(der)
        .map_err(|error| differs("the certificate parses", error))?;
    must(rest.is_empty(), "nothing follows the certificate", || format!("{} bytes", rest.len()))?;
    form(&certificate, rules)?;
    validity(&certificate, rules)?;
    extension_set(&certificate, rules)?;
    for extension in certificate.extensions() {
        let value = extension.value;
        match (extension.parsed_extension(), extension.oid.to_id_string().as_str()) {
            (ParsedExtension::BasicConstraints(_), _) => {
                let (wanted, rule): (&[u8], _) = match rules.subject {
                    Subject::Leaf { .. } => (&[0x30, 0], "cA is absent, which is false in DER"),
                    Subject::Issuing { .. } => {
                        (&[0x30, 6, 1, 1, 0xff, 2, 1, 0], "cA is true with path length 0")
                    }
                };
                must(value == wanted, rule, || format!("{value:02x?}"))?;
            }
            (ParsedExtension::SubjectKeyIdentifier(id), _) => {
                let hash = sha256(&certificate.public_key().subject_public_key.data);
                must(
                    id.0 == &hash[..20],
                    "the subject key identifier is 160 bits of the key's hash (RFC 7093 §2)",
                    || format!("{:02x?}", id.0),
                )?;
            }
            (_, OCSP_NO_CHECK) => {
                must(value == [5, 0], "ocsp-nocheck is NULL (RFC 6960 §4.2.2.2.1)", || {
                    format!("{value:02x?}")
                })?;
            }
            (parsed, _) => extension_value(parsed, rules)?,
        }
    }
    Ok(())
}

fn form(certificate: &X509Certificate<'_>, rules: &Rules<'_>) -> Result<(), LintError> {
    let version = certificate.version();
    must(version == X509Version::V3, "version 3 (RFC 5280 §4.1.2.1)", || version.to_string())?;
    let serial = certificate.raw_serial();
    let bits = serial.len() * 8 - serial.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let is_positive = serial.first().is_some_and(|byte| byte & 0x80 == 0);
    must(
        is_positive && serial.len() <= 20 && (64..=160).contains(&bits),
        "a positive serial of 64 to 160 bits (RFC 5280 §4.1.2.2)",
        || format!("{serial:02x?}"),
    )?;
    must(
        certificate.signature_algorithm == certificate.tbs_certificate.signature,
        "one signature algorithm inside and outside (RFC 5280 §4.1.1.2)",
        || certificate.tbs_certificate.signature.algorithm.to_id_string(),
    )?;
    must(
        certificate.issuer().as_raw() == rules.issuer,
        "the issuer is the CA's subject, byte for byte",
        || certificate.issuer().to_string(),
    )?;
    let subject = certificate.subject();
    let wanted = match &rules.subject {
        Subject::Leaf { identity, .. } => {
            format!("CN={} {}", identity.kind.name(), identity.region)
        }
        Subject::Issuing { name } => format!("CN={name}"),
    };
    let length = wanted.len() - "CN=".len();
    must(
        subject.to_string() == wanted && (1..=COMMON_NAME_MAX).contains(&length),
        "the subject is one common name of at most 64 characters",
        || subject.to_string(),
    )?;
    must(certificate.public_key().raw == rules.spki, "the key is the requested one", || {
        format!("{:02x?}", certificate.public_key().raw)
    })
}

fn validity(certificate: &X509Certificate<'_>, rules: &Rules<'_>) -> Result<(), LintError> {
    let (from, until) = (
        certificate.validity().not_before.timestamp(),
        certificate.validity().not_after.timestamp(),
    );
    let fact = || format!("{from} to {until}");
    must(from < until, "it begins before it ends", fact)?;
    let wanted = (i64::try_from(rules.life.not_before_s), i64::try_from(rules.life.not_after_s));
    must((Ok(from), Ok(until)) == wanted, "the life is the wanted one", fact)?;
    if let Subject::Leaf { identity, .. } = rules.subject {
        let longest = profile(identity.kind).lifetime_s + BACKDATE_S;
        must(
            rules.life.not_after_s - rules.life.not_before_s <= longest,
            "the life is at most the profile's",
            fact,
        )?;
    }
    Ok(())
}

/// Whether a profile's certificates say where their status is found: an OCSP signer's is not looked
/// up, so that nobody asks it about itself.
fn has_status(profile: &Profile) -> bool {
    !profile.ocsp_signing
}

fn extension_set(certificate: &X509Certificate<'_>, rules: &Rules<'_>) -> Result<(), LintError> {
    let mut wanted = vec![(AUTHORITY_KEY, false), (SUBJECT_KEY, false), (KEY_USAGE, true)];
    wanted.push((BASIC_CONSTRAINTS, true));
    match rules.subject {
        Subject::Issuing { .. } => wanted.push((NAME_CONSTRAINTS, true)),
        Subject::Leaf { identity, urls, .. } => {
            let profile = profile(identity.kind);
            wanted.push((ALTERNATIVE_NAME, false));
            if profile.client_auth || profile.server_auth || profile.ocsp_signing {
                wanted.push((EXTENDED_USAGE, false));
            }
            if urls.is_some() && has_status(profile) {
                wanted.extend([(CRL_POINTS, false), (AUTHORITY_ACCESS, false)]);
            }
            if profile.ocsp_signing {
                wanted.push((OCSP_NO_CHECK, false));
            }
        }
    }
    let found = certificate.extensions().iter();
    let mut found: Vec<_> =
        found.map(|extension| (extension.oid.to_id_string(), extension.critical)).collect();
    found.sort();
    wanted.sort_unstable();
    let is_same = found.iter().map(|(oid, critical)| (oid.as_str(), *critical)).eq(wanted);
    must(is_same, "exactly the profile's extensions, critical where they must be", || {
        format!("{found:?}")
    })
}

fn extension_value(found: &ParsedExtension<'_>, rules: &Rules<'_>) -> Result<(), LintError> {
    match (found, &rules.subject) {
        (ParsedExtension::AuthorityKeyIdentifier(id), _) => {
            let key = id.key_identifier.as_ref().map(|id| id.0);
            let is_alone = id.authority_cert_issuer.is_none() && id.authority_cert_serial.is_none();
            must(
                key == Some(rules.authority_key) && is_alone,
                "the authority key identifier is the CA's subject key identifier",
                || format!("{key:02x?}"),
            )
        }
        (ParsedExtension::KeyUsage(usage), subject) => {
            let wanted = match subject {
                Subject::Issuing { .. } => KEY_CERT_SIGN | CRL_SIGN,
                Subject::Leaf { identity, .. } if profile(identity.kind).signs_messages => {
                    DIGITAL_SIGNATURE | CONTENT_COMMITMENT
                }
                Subject::Leaf { .. } => DIGITAL_SIGNATURE,
            };
            must(usage.flags == wanted, "exactly the profile's key usage", || usage.to_string())
        }
        (ParsedExtension::NameConstraints(found), Subject::Issuing { .. }) => {
            let subtrees = found.permitted_subtrees.iter().flatten();
            let names = subtrees.map(|subtree| subtree.base.clone());
            let wanted = rules.permitted.iter().map(|name| GeneralName::DNSName(name));
            must(
                found.excluded_subtrees.is_none() && names.eq(wanted),
                "exactly the region's DNS names are permitted",
                || format!("{found:?}"),
            )
        }
        (
            ParsedExtension::SubjectAlternativeName(found),
            Subject::Leaf { identity, extra_names, .. },
        ) => alternative_names(&found.general_names, identity, extra_names, rules.permitted),
        (ParsedExtension::ExtendedKeyUsage(found), Subject::Leaf { identity, .. }) => {
            extended_usage(found, profile(identity.kind))
        }
        (ParsedExtension::CRLDistributionPoints(found), Subject::Leaf { urls: Some(urls), .. }) => {
            crl_points(found, urls)
        }
        (ParsedExtension::AuthorityInfoAccess(found), Subject::Leaf { urls: Some(urls), .. }) => {
            authority_access(found, urls)
        }
        (found, _) => Err(differs("no unknown extension", found)),
    }
}

fn extended_usage(found: &ExtendedKeyUsage<'_>, profile: &Profile) -> Result<(), LintError> {
    let wanted = ExtendedKeyUsage {
        any: false,
        server_auth: profile.server_auth,
        client_auth: profile.client_auth,
        code_signing: false,
        email_protection: false,
        time_stamping: false,
        ocsp_signing: profile.ocsp_signing,
        other: Vec::new(),
    };
    must(*found == wanted, "exactly the profile's extended key usage", || format!("{found:?}"))
}

fn crl_points(found: &CRLDistributionPoints<'_>, urls: &Urls) -> Result<(), LintError> {
    let rule = "one CRL distribution point, the CA's";
    let [point] = found.points.as_slice() else { return Err(differs(rule, found)) };
    let is_plain = point.reasons.is_none() && point.crl_issuer.is_none();
    let Some(DistributionPointName::FullName(names)) = &point.distribution_point else {
        return Err(differs(rule, point));
    };
    must(is_plain && **names == [GeneralName::URI(&urls.crl)], rule, || format!("{point:?}"))
}

fn authority_access(found: &AuthorityInfoAccess<'_>, urls: &Urls) -> Result<(), LintError> {
    let wanted = [(ACCESS_OCSP, &urls.ocsp), (ACCESS_CA_ISSUERS, &urls.ca_issuers)];
    let is_same = found.accessdescs.len() == wanted.len()
        && found.iter().zip(wanted).all(|(found, (method, url))| {
            found.access_method.to_id_string() == method
                && found.access_location == GeneralName::URI(url)
        });
    must(is_same, "the OCSP responder and the CA's certificate are where the CA says", || {
        format!("{found:?}")
    })
}

/// Exactly the identity's names and the extra ones, each within what the CA may sign.
fn alternative_names(
    found: &[GeneralName<'_>],
    identity: &Identity,
    extra_names: &[String],
    permitted: &[String],
) -> Result<(), LintError> {
    let (uri, dns) = (identity.to_string(), identity.dns_name());
    must(uri.parse().as_ref() == Ok(identity), "the identity parses", || uri.clone())?;
    let domain = format!("{}.{}", identity.region, identity.cluster);
    must(permitted.contains(&domain), "the identity is of the CA's region", || domain.clone())?;
    must(
        extra_names.is_empty() || profile(identity.kind).server_auth,
        "only servers have further names",
        || format!("{extra_names:?}"),
    )?;
    let mut addresses = Vec::new();
    let mut names = vec![dns.as_str()];
    for text in extra_names {
        match text.parse() {
            Ok(IpAddr::V4(address)) => addresses.push(address.octets().to_vec()),
            Ok(IpAddr::V6(address)) => addresses.push(address.octets().to_vec()),
            Err(_) => names.push(text),
        }
    }
    for name in &names {
        must(is_dns_name(name), "DNS names are well-formed (RFC 1034 §3.5)", || (*name).into())?;
        let is_within = permitted.iter().any(|tree| {
            name.strip_suffix(tree.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        });
        must(is_within, "DNS names are within the CA's constraint", || (*name).into())?;
    }
    let mut wanted = vec![GeneralName::URI(&uri)];
    wanted.extend(names.into_iter().map(GeneralName::DNSName));
    wanted.extend(addresses.iter().map(|address| GeneralName::IPAddress(address)));
    must(
        found.len() == wanted.len() && wanted.iter().all(|name| found.contains(name)),
        "one URI, the identity's, its DNS name, and the extra names",
        || format!("{found:?}"),
    )
}

/// Whether a text is a host name: labels of 1 to 63 letters, digits and inner hyphens.
pub(crate) fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}
