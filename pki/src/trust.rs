//! Whom to believe: roots, issuing CAs, and what a peer's chain proves.
//!
//! **Invariants:** a chain is believed for one use at one time, and its leaf has one identity, of
//! the region that its issuing CA is constrained to; nothing is signed with other than P-256 with
//! SHA-256, P-384 with SHA-384 or Ed25519. **Not here:** revocation, and when to drop a root: a
//! trust anchor has no end of its own, so that a store must be given only the roots that are meant.

use core::{slice, time::Duration};
use std::sync::{PoisonError, RwLock};

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};
use x509_parser::extensions::GeneralName;

use crate::{CaCertificate, Identity, KeyKind, Kind, Life, sha256, x509};

/// How far a certificate's beginning may be ahead of the clock: clocks differ by minutes, and a
/// certificate just made must be good at once. Its end has no such allowance.
const SKEW_S: u64 = 5 * 60;
/// What certificates may be signed with: the root signs with P-384, issuing CAs with P-256.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::aws_lc_rs::ECDSA_P256_SHA256,
    webpki::aws_lc_rs::ECDSA_P384_SHA384,
    webpki::aws_lc_rs::ED25519,
];

/// id-kp-serverAuth and id-kp-clientAuth.
const SERVER_AUTH: &[u8] = &[43, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[43, 6, 1, 5, 5, 7, 3, 2];
/// id-kp-documentSigning (RFC 9336).
const DOCUMENT_SIGNING: &[u8] = &[43, 6, 1, 5, 5, 7, 3, 36];

/// What a certificate is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    ClientAuth,
    ServerAuth,
    /// Signing messages; such certificates have no extended usage.
    Signing,
}

/// Why a chain is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    #[error("the certificate is not from this cluster's authority")]
    UnknownIssuer,
    #[error("the certificate expired at {not_after}, the clock says {now}")]
    Expired { not_after: u64, now: u64 },
    #[error("the certificate is valid from {not_before}, the clock says {now}")]
    NotYetValid { not_before: u64, now: u64 },
    #[error("the certificate is not for this use")]
    WrongUsage,
    #[error("the certificate names no identity of a cluster")]
    BadIdentity,
    #[error("{name:?} is no authority of the cluster {cluster}")]
    OtherCluster { name: String, cluster: String },
    #[error("the certificate does not parse or verify: {0}")]
    Invalid(String),
}

/// A certificate that was believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    pub identity: Identity,
    pub serial: Vec<u8>,
    /// Unix seconds.
    pub not_before: u64,
    pub not_after: u64,
    /// SHA-256 of the issuer's name, DER: with the serial, what revocation knows.
    pub issuer_hash: [u8; 32],
    /// SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
    pub key_kind: KeyKind,
    /// Uncompressed point of a P-256 key; empty for other kinds.
    pub public_point: Vec<u8>,
    /// SHA-256 of the certificate.
    pub thumbprint: [u8; 32],
}

/// Roots with the issuing CAs that are known without being sent.
#[derive(Debug)]
pub struct TrustStore {
    roots: Vec<TrustAnchor<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
    /// Whose authorities they are, where whoever made the store knows.
    cluster: Option<String>,
    proven: RwLock<Vec<Proven>>,
}

/// An issuing CA that a root was seen to have signed: verifying the root's P-384 signature anew at
/// each handshake is most of what a handshake costs.
#[derive(Debug)]
struct Proven {
    der: CertificateDer<'static>,
    /// It keeps the name constraints, but not the life.
    anchor: TrustAnchor<'static>,
    life: Life,
}

/// Issuing CAs that are remembered as proven: two for each of many regions.
const PROVEN_MAX: usize = 64;

impl TrustStore {
    /// A store of roots, and of issuing CAs that are used where a peer does not send its own; DER.
    ///
    /// # Errors
    /// Where a root or an issuing CA does not parse.
    pub fn new(roots: Vec<Vec<u8>>, intermediates: Vec<Vec<u8>>) -> Result<Self, TrustError> {
        let anchor = |root: Vec<u8>| {
            anchor_from_trusted_cert(&CertificateDer::from(root))
                .map(|anchor| anchor.to_owned())
                .map_err(|error| TrustError::Invalid(error.to_string()))
        };
        let intermediate = |der: Vec<u8>| {
            x509::parse(&der).ok_or_else(|| unreadable("an issuing CA"))?;
            Ok(CertificateDer::from(der))
        };
        Ok(Self {
            roots: roots.into_iter().map(anchor).collect::<Result<_, _>>()?,
            intermediates: intermediates.into_iter().map(intermediate).collect::<Result<_, _>>()?,
            cluster: None,
            proven: RwLock::default(),
        })
    }

    /// The same of one cluster, which says whose its own authorities are: a file or a record with another
    /// one's is not believed, however whole it is.
    ///
    /// # Errors
    /// As [`Self::new`]; [`TrustError::OtherCluster`].
    pub fn for_cluster(
        cluster: &str,
        roots: Vec<Vec<u8>>,
        intermediates: Vec<Vec<u8>>,
    ) -> Result<Self, TrustError> {
        for der in roots.iter().chain(&intermediates) {
            let ca = CaCertificate::read(der);
            let ca = ca.map_err(|error| TrustError::Invalid(error.to_string()))?;
            if !ca.is_of(cluster) {
                return Err(TrustError::OtherCluster { name: ca.name, cluster: cluster.into() });
            }
        }
        Ok(Self { cluster: Some(cluster.into()), ..Self::new(roots, intermediates)? })
    }

    /// The cluster whose store it is, where it is one's.
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// What a chain proves, for a use, at a time.
    ///
    /// # Errors
    /// The first fact that is wrong.
    pub fn verify(
        &self,
        leaf: &[u8],
        intermediates: &[&[u8]],
        usage: Usage,
        now_s: u64,
    ) -> Result<PeerCertificate, TrustError> {
        match self.verify_at(leaf, intermediates, usage, now_s) {
            Err(early @ TrustError::NotYetValid { .. }) => {
                let later_s = now_s.saturating_add(SKEW_S);
                self.verify_at(leaf, intermediates, usage, later_s).map_err(|error| match error {
                    TrustError::NotYetValid { .. } | TrustError::Expired { .. } => early,
                    error => error,
                })
            }
            result => result,
        }
    }

    /// As [`Self::verify`], but a certificate that expired at most its kind's grace ago passes: its
    /// holder was offline, and asks for the next one. The chain is judged as of the leaf's end.
    ///
    /// # Errors
    /// The first fact that is wrong; [`TrustError::Expired`] past the grace.
    pub fn verify_lapsed(
        &self,
        leaf: &[u8],
        intermediates: &[&[u8]],
        usage: Usage,
        now_s: u64,
        grace_s: &dyn Fn(Kind) -> u64,
    ) -> Result<PeerCertificate, TrustError> {
        let expired = match self.verify(leaf, intermediates, usage, now_s) {
            Err(expired @ TrustError::Expired { .. }) => expired,
            result => return result,
        };
        let life = x509::parse(leaf).and_then(|parsed| x509::life(&parsed));
        let end_s = life.ok_or_else(|| unreadable("the leaf"))?.not_after_s;
        if end_s >= now_s {
            // Its issuing CA has expired before it, which none of ours does.
            return Err(expired);
        }
        let peer =
            self.verify_at(leaf, intermediates, usage, end_s).map_err(|error| match error {
                TrustError::Expired { .. } | TrustError::NotYetValid { .. } => expired.clone(),
                error => error,
            })?;
        if now_s - end_s > grace_s(peer.identity.kind) { Err(expired) } else { Ok(peer) }
    }

    fn verify_at(
        &self,
        leaf: &[u8],
        intermediates: &[&[u8]],
        usage: Usage,
        at_s: u64,
    ) -> Result<PeerCertificate, TrustError> {
        let leaf_der = CertificateDer::from(leaf);
        let end_entity = EndEntityCert::try_from(&leaf_der)
            .map_err(|error| TrustError::Invalid(error.to_string()))?;
        let mut chain: Vec<CertificateDer<'_>> =
            intermediates.iter().map(|der| CertificateDer::from(*der)).collect();
        chain.extend(self.intermediates.iter().cloned());
        let usage_check = match usage {
            // Issuing CAs have no extended usage, so the leaf's is demanded below.
            Usage::ClientAuth => KeyUsage::required_if_present(CLIENT_AUTH),
            Usage::ServerAuth => KeyUsage::required_if_present(SERVER_AUTH),
            // A TLS certificate must not pass for a signer's: this use is in no profile.
            Usage::Signing => KeyUsage::required_if_present(DOCUMENT_SIGNING),
        };
        let time = UnixTime::since_unix_epoch(Duration::from_secs(at_s));
        if self.is_proven(&end_entity, time, usage_check) {
            return parse_leaf(leaf, usage);
        }
        let by = |roots: &[TrustAnchor<'_>]| {
            end_entity
                .verify_for_usage(ALGORITHMS, roots, &chain, time, usage_check, None, None)
                .map(|path| self.remember(&path))
                .map_err(|error| explain(&error, at_s))
        };
        if let Err(error) = by(&self.roots) {
            // With several roots the last word is "not by this one": what is wrong below the right one
            // says more.
            let each = self.roots.iter().filter_map(|root| by(slice::from_ref(root)).err());
            let telling = each.into_iter().find(|told| *told != TrustError::UnknownIssuer);
            return Err(telling.unwrap_or(error));
        }
        parse_leaf(leaf, usage)
    }

    /// Whether an issuing CA signed the leaf that a root was seen to have signed before. What is wrong
    /// with a leaf is said by the whole chain.
    fn is_proven(&self, leaf: &EndEntityCert<'_>, time: UnixTime, usage: KeyUsage) -> bool {
        let at_s = time.as_secs();
        let proven = self.proven.read().unwrap_or_else(PoisonError::into_inner);
        proven
            .iter()
            .filter(|issuing| issuing.life.not_before_s <= at_s && at_s <= issuing.life.not_after_s)
            .any(|issuing| {
                let anchor = slice::from_ref(&issuing.anchor);
                leaf.verify_for_usage(ALGORITHMS, anchor, &[], time, usage, None, None).is_ok()
            })
    }

    /// An anchor keeps no extended usage, and nothing of what its own root is constrained to: whatever
    /// has either is verified anew each time.
    fn remember(&self, path: &VerifiedPath<'_>) {
        let mut between = path.intermediate_certificates();
        let (Some(issuing), None) = (between.next(), between.next()) else { return };
        let der = issuing.der().into_owned();
        let parsed = x509::parse(&der);
        let is_limited = path.anchor().name_constraints.is_some()
            || parsed.as_ref().is_none_or(|parsed| parsed.extended_key_usage() != Ok(None));
        if is_limited {
            return;
        }
        let life = parsed.and_then(|parsed| x509::life(&parsed));
        let anchor = anchor_from_trusted_cert(&der).map(|anchor| anchor.to_owned());
        let (Some(life), Ok(anchor)) = (life, anchor) else { return };
        let mut proven = self.proven.write().unwrap_or_else(PoisonError::into_inner);
        if proven.iter().any(|known| known.der == der) {
            return;
        }
        if proven.len() >= PROVEN_MAX {
            proven.remove(0);
        }
        proven.push(Proven { der, anchor, life });
    }
}

fn unreadable(what: &str) -> TrustError {
    TrustError::Invalid(format!("{what} does not parse"))
}

/// Whether a certificate is whole and signed by its own key, as a root is.
pub fn is_self_signed(der: &[u8]) -> bool {
    x509::parse(der).is_some_and(|parsed| parsed.verify_signature(None).is_ok())
}

/// Whether a certificate names itself as its issuer (RFC 5280 §3.2): of an authority's certificates,
/// which are its roots. It proves nothing.
pub fn is_self_issued(der: &[u8]) -> bool {
    x509::parse(der).is_some_and(|parsed| parsed.subject().as_raw() == parsed.issuer().as_raw())
}

/// Whether a certificate names another one's subject as its issuer (RFC 5280 §4.1.2.4). It proves
/// nothing.
pub fn is_issued_by(der: &[u8], issuer: &[u8]) -> bool {
    let (certificate, issuer) = (x509::parse(der), x509::parse(issuer));
    certificate.zip(issuer).is_some_and(|(certificate, issuer)| {
        certificate.issuer().as_raw() == issuer.subject().as_raw()
    })
}

fn explain(error: &webpki::Error, now: u64) -> TrustError {
    match error {
        webpki::Error::CertExpired { not_after, .. } => {
            TrustError::Expired { not_after: not_after.as_secs(), now }
        }
        webpki::Error::CertNotValidYet { not_before, .. } => {
            TrustError::NotYetValid { not_before: not_before.as_secs(), now }
        }
        webpki::Error::UnknownIssuer => TrustError::UnknownIssuer,
        webpki::Error::RequiredEkuNotFoundContext(_) => TrustError::WrongUsage,
        // A foreign root with our names fails here, by its key or by the kind of its key.
        webpki::Error::InvalidSignatureForPublicKey
        | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            TrustError::UnknownIssuer
        }
        error => TrustError::Invalid(error.to_string()),
    }
}

fn parse_leaf(leaf: &[u8], usage: Usage) -> Result<PeerCertificate, TrustError> {
    let parsed = x509::parse(leaf).ok_or_else(|| unreadable("the leaf"))?;
    let life = x509::life(&parsed).ok_or_else(|| unreadable("the leaf's validity"))?;
    let extended = parsed.extended_key_usage().map_err(|_| TrustError::WrongUsage)?;
    let fits = match (usage, extended) {
        (Usage::ClientAuth, Some(extended)) => extended.value.client_auth,
        (Usage::ServerAuth, Some(extended)) => extended.value.server_auth,
        (Usage::Signing, None) => true,
        (Usage::ClientAuth | Usage::ServerAuth, None) | (Usage::Signing, Some(_)) => false,
    };
    // webpki does not look at the key usage of a leaf.
    let signs = parsed
        .key_usage()
        .ok()
        .flatten()
        .is_some_and(|usage| usage.value.digital_signature() && !usage.value.key_cert_sign());
    if !fits || !signs {
        return Err(TrustError::WrongUsage);
    }
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| TrustError::BadIdentity)?
        .ok_or(TrustError::BadIdentity)?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (Some(uri), None) = (uris.next(), uris.next()) else {
        return Err(TrustError::BadIdentity);
    };
    let identity: Identity = uri.parse().map_err(|_| TrustError::BadIdentity)?;
    // The issuing CA is constrained to DNS names of its region: without this one, a region could
    // speak for another.
    let dns_name = identity.dns_name();
    let is_named = names
        .value
        .general_names
        .iter()
        .any(|name| matches!(name, GeneralName::DNSName(dns) if *dns == dns_name));
    if !is_named {
        return Err(TrustError::BadIdentity);
    }
    let key = parsed.public_key();
    let key_kind = KeyKind::of(key)
        .ok_or_else(|| TrustError::Invalid("the leaf's key is of an unknown kind".into()))?;
    let point = &key.subject_public_key.data;
    Ok(PeerCertificate {
        identity,
        serial: parsed.raw_serial().to_vec(),
        not_before: life.not_before_s,
        not_after: life.not_after_s,
        issuer_hash: sha256(parsed.issuer().as_raw()),
        spki: key.raw.to_vec(),
        key_kind,
        public_point: if key_kind == KeyKind::P256 { point.to_vec() } else { Vec::new() },
        thumbprint: sha256(leaf),
    })
}
