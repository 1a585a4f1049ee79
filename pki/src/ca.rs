//! The two certification authorities: root and issuing.

use core::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, GeneralSubtree, IsCa, Issuer,
    KeyUsagePurpose, NameConstraints, PublicKeyData, SanType, SerialNumber,
};
use time::OffsetDateTime;

use crate::{
    CheckedCsr, Identity, KeyMaterial,
    profile::{BACKDATE_S, profile},
};

const YEAR_S: u64 = 365 * 24 * 3600;
const ROOT_LIFE_S: u64 = 10 * YEAR_S;
const ISSUING_LIFE_S: u64 = YEAR_S;

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error(
        "the lifetime would end at {wanted}, after the issuer's at {issuer}: renew the issuing CA first"
    )]
    OutlivesIssuer { wanted: u64, issuer: u64 },
    #[error("the name {0:?} cannot be in a certificate")]
    Name(String),
    #[error("the time is out of range")]
    Time,
    #[error("signing failed")]
    Sign(#[source] rcgen::Error),
    #[error("the stored certificate does not parse")]
    Parse,
}

/// A certificate as issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub der: Vec<u8>,
    pub serial: [u8; 16],
    /// Unix seconds.
    pub not_before: u64,
    pub not_after: u64,
}

/// The offline root: signs issuing CAs only.
pub struct RootCa {
    key: KeyMaterial,
    der: Vec<u8>,
    cluster: String,
    not_after: u64,
}

/// A region's issuing CA: signs leaves only.
pub struct IssuingCa {
    key: KeyMaterial,
    der: Vec<u8>,
    name: String,
    not_after: u64,
}

fn date(unix_s: u64) -> Result<OffsetDateTime, IssueError> {
    let seconds = i64::try_from(unix_s).map_err(|_| IssueError::Time)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| IssueError::Time)
}

/// 16 random bytes as a positive, non-zero serial (RFC 5280 §4.1.2.2).
fn serial_number(mut serial: [u8; 16]) -> [u8; 16] {
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

fn base(
    name: &str,
    serial: [u8; 16],
    from: u64,
    until: u64,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.not_before = date(from)?;
    params.not_after = date(until)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn ca_params(
    name: &str,
    path_length: u8,
    serial: [u8; 16],
    from: u64,
    until: u64,
) -> Result<CertificateParams, IssueError> {
    let mut params = base(name, serial, from, until)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn root_name(cluster: &str) -> String {
    format!("{cluster} root")
}

impl RootCa {
    /// A new root for a cluster.
    ///
    /// # Errors
    /// Where no key or certificate can be made.
    pub fn create(cluster: &str, now_s: u64, serial: [u8; 16]) -> Result<Self, IssueError> {
        let key =
            KeyMaterial::generate().map_err(|_| IssueError::Sign(rcgen::Error::RingUnspecified))?;
        let not_after = now_s + ROOT_LIFE_S;
        let params = ca_params(
            &root_name(cluster),
            1,
            serial_number(serial),
            now_s.saturating_sub(BACKDATE_S),
            not_after,
        )?;
        let der = params.self_signed(&key.pair).map_err(IssueError::Sign)?.der().to_vec();
        Ok(Self { key, der, cluster: cluster.to_owned(), not_after })
    }

    pub fn certificate(&self) -> &[u8] {
        &self.der
    }

    pub fn key(&self) -> &KeyMaterial {
        &self.key
    }

    /// An issuing CA for a region: no CA below it, DNS names of its region only.
    ///
    /// # Errors
    /// Where no key or certificate can be made, or it would outlive the root.
    pub fn issue_issuing(
        &self,
        region: &str,
        now_s: u64,
        serial: [u8; 16],
    ) -> Result<IssuingCa, IssueError> {
        let key =
            KeyMaterial::generate().map_err(|_| IssueError::Sign(rcgen::Error::RingUnspecified))?;
        let not_after = now_s + ISSUING_LIFE_S;
        if not_after > self.not_after {
            return Err(IssueError::OutlivesIssuer { wanted: not_after, issuer: self.not_after });
        }
        let name = format!("{} {region} issuing", self.cluster);
        let mut params = ca_params(
            &name,
            0,
            serial_number(serial),
            now_s.saturating_sub(BACKDATE_S),
            not_after,
        )?;
        let permitted = [format!("{region}.{}", self.cluster), "localhost".to_owned()];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: permitted.into_iter().map(GeneralSubtree::DnsName).collect(),
            excluded_subtrees: Vec::new(),
        });
        let root = ca_params(&root_name(&self.cluster), 1, [1; 16], 0, self.not_after)?;
        let issuer = Issuer::new(root, &self.key.pair);
        let der = params.signed_by(&key.pair, &issuer).map_err(IssueError::Sign)?.der().to_vec();
        Ok(IssuingCa { key, der, name, not_after })
    }
}

impl IssuingCa {
    /// The CA from its stored key and certificate.
    ///
    /// # Errors
    /// Where the certificate does not parse or is another key's.
    pub fn from_parts(key: KeyMaterial, der: Vec<u8>) -> Result<Self, IssueError> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&der).map_err(|_| IssueError::Parse)?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_point() {
            return Err(IssueError::Parse);
        }
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let name = name.ok_or(IssueError::Parse)?.to_owned();
        let not_after =
            u64::try_from(parsed.validity().not_after.timestamp()).map_err(|_| IssueError::Time)?;
        Ok(Self { key, der, name, not_after })
    }

    pub fn certificate(&self) -> &[u8] {
        &self.der
    }

    pub fn key(&self) -> &KeyMaterial {
        &self.key
    }

    /// A certificate for a checked request.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn issue(
        &self,
        request: &CheckedCsr,
        identity: &Identity,
        names: &[String],
        now_s: u64,
        serial: [u8; 16],
    ) -> Result<Certificate, IssueError> {
        self.issue_for(request.public_point(), identity, names, now_s, serial)
    }

    /// A certificate for a key that is known to be the holder's.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn issue_for(
        &self,
        point: &[u8],
        identity: &Identity,
        names: &[String],
        now_s: u64,
        serial: [u8; 16],
    ) -> Result<Certificate, IssueError> {
        let profile = profile(identity.kind);
        let (not_before, not_after) =
            (now_s.saturating_sub(BACKDATE_S), now_s + profile.lifetime_s);
        if not_after > self.not_after {
            return Err(IssueError::OutlivesIssuer { wanted: not_after, issuer: self.not_after });
        }
        let serial = serial_number(serial);
        let mut params = base(&identity.dns_name(), serial, not_before, not_after)?;
        // Common names end at 64 characters (RFC 5280 A.1); the names that count are the SANs.
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{} {}", identity.kind.name(), identity.region));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = profile.key_usages();
        params.extended_key_usages = profile.extended_key_usages();
        let name =
            |text: String| text.as_str().try_into().map_err(|_| IssueError::Name(text.clone()));
        params.subject_alt_names = vec![
            SanType::URI(name(identity.to_string())?),
            SanType::DnsName(name(identity.dns_name())?),
        ];
        for text in names {
            params.subject_alt_names.push(match text.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name(text.clone())?),
            });
        }
        let issuer =
            Issuer::new(ca_params(&self.name, 0, [1; 16], 0, self.not_after)?, &self.key.pair);
        let der =
            params.signed_by(&Point(point), &issuer).map_err(IssueError::Sign)?.der().to_vec();
        Ok(Certificate { der, serial, not_before, not_after })
    }
}

/// A P-256 public point for rcgen.
struct Point<'a>(&'a [u8]);

impl PublicKeyData for Point<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}
