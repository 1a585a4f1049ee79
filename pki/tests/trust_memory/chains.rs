//! Chains put together freely, so that any part of one can be wrong.

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "tests fail by panicking")]

use fieldmesh_pki::{Identity, Kind, PeerCertificate, TrustError, TrustStore, Usage};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SanType, SignatureAlgorithm,
};
use time::OffsetDateTime;

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DAY_S: u64 = 24 * 3600;
/// From when everything is valid that is not changed.
pub(crate) const BEGIN_S: u64 = NOW - 600;
/// Until when leaves are.
pub(crate) const LEAF_END_S: u64 = NOW + 7 * DAY_S;
/// Until when authorities are.
pub(crate) const CA_END_S: u64 = NOW + 100 * DAY_S;

pub(crate) fn identity(region: &str, kind: Kind) -> Identity {
    Identity { cluster: "acme.test".into(), region: region.into(), kind, id: [9; 16] }
}

pub(crate) fn date(unix_s: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix_s as i64).unwrap()
}

/// DNS subtrees as name constraints.
pub(crate) fn names(permitted: &[&str], excluded: &[&str]) -> Option<NameConstraints> {
    let trees = |names: &[&str]| {
        names.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned())).collect()
    };
    let (permitted_subtrees, excluded_subtrees) = (trees(permitted), trees(excluded));
    Some(NameConstraints { permitted_subtrees, excluded_subtrees })
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub(crate) fn uri(who: &Identity) -> SanType {
    SanType::URI(who.to_string().try_into().unwrap())
}

fn base(name: &str, end_s: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date(BEGIN_S), date(end_s));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}

fn ca_params(name: &str, path_length: u8) -> CertificateParams {
    let mut params = base(name, CA_END_S);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// For both ends of TLS, with the names of the identity.
fn leaf_params(who: &Identity) -> CertificateParams {
    let mut params = base("leaf", LEAF_END_S);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![uri(who), dns(&who.dns_name())];
    params
}

/// A key with a certificate: a root, an issuing CA, or a leaf that takes itself for one.
pub(crate) struct Ca {
    key: KeyPair,
    params: CertificateParams,
    pub(crate) der: Vec<u8>,
}

impl Ca {
    /// A root with a key of its own, P-384; the name may be another one's.
    pub(crate) fn root(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let mut params = ca_params("acme.test root", 1);
        change(&mut params);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { key, params, der }
    }

    /// An issuing CA of a region below this one.
    pub(crate) fn issuing(
        &self,
        region: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        self.issuing_by(&PKCS_ECDSA_P256_SHA256, region, change)
    }

    /// The same with another kind of key.
    pub(crate) fn issuing_by(
        &self,
        kind: &'static SignatureAlgorithm,
        region: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let mut params = ca_params(&format!("acme.test {region} issuing 1"), 0);
        params.name_constraints = names(&[&format!("{region}.acme.test"), "localhost"], &[]);
        change(&mut params);
        self.sign(KeyPair::generate_for(kind).unwrap(), params)
    }

    /// Another certificate for the key of an issuing CA, under the same name.
    pub(crate) fn again(&self, ca: &Self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca.params.clone();
        change(&mut params);
        self.sign(KeyPair::from_pem(&ca.key.serialize_pem()).unwrap(), params)
    }

    /// A leaf that has kept its key, to sign with it.
    pub(crate) fn holder(&self, who: &Identity) -> Self {
        self.sign(KeyPair::generate().unwrap(), leaf_params(who))
    }

    fn sign(&self, key: KeyPair, params: CertificateParams) -> Self {
        let issuer = Issuer::from_params(&self.params, &self.key);
        let der = params.signed_by(&key, &issuer).unwrap().der().to_vec();
        Self { key, params, der }
    }

    /// Somebody with this name and certificate, but another key.
    pub(crate) fn impostor(&self) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { key, params: self.params.clone(), der: self.der.clone() }
    }

    /// A leaf, after a change to what it should be.
    pub(crate) fn leaf(
        &self,
        who: &Identity,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Vec<u8> {
        let mut params = leaf_params(who);
        change(&mut params);
        self.sign(KeyPair::generate().unwrap(), params).der
    }

    /// A node's certificate in a region.
    pub(crate) fn node(&self, region: &str) -> Vec<u8> {
        self.leaf(&identity(region, Kind::Node), |_| {})
    }
}

/// How many issuing CAs a store remembers.
pub(crate) fn remembered(trust: &TrustStore) -> usize {
    format!("{trust:?}").matches("Proven {").count()
}

/// A store that remembers an issuing CA of `eu1`.
pub(crate) struct Filled {
    pub(crate) root: Ca,
    pub(crate) issuing: Ca,
    pub(crate) trust: TrustStore,
}

impl Filled {
    pub(crate) fn new() -> Self {
        let root = Ca::root(|_| {});
        let issuing = root.issuing("eu1", |_| {});
        let filled = Self::of(root, issuing);
        assert_eq!(remembered(&filled.trust), 1);
        filled
    }

    /// After a good verification, whether the CA is remembered or not.
    pub(crate) fn of(root: Ca, issuing: Ca) -> Self {
        let trust = TrustStore::new(vec![root.der.clone()], Vec::new()).unwrap();
        let filled = Self { root, issuing, trust };
        let node = filled.issuing.node("eu1");
        assert!(filled.verify(&node, &[&filled.issuing.der], Usage::ClientAuth, NOW).is_ok());
        filled
    }

    /// The same store before its first verification.
    pub(crate) fn fresh(&self) -> TrustStore {
        TrustStore::new(vec![self.root.der.clone()], Vec::new()).unwrap()
    }

    /// What the store says, which is what it would have said without a memory.
    pub(crate) fn verify(
        &self,
        leaf: &[u8],
        chain: &[&[u8]],
        usage: Usage,
        now_s: u64,
    ) -> Result<PeerCertificate, TrustError> {
        let result = self.trust.verify(leaf, chain, usage, now_s);
        assert_eq!(result, self.fresh().verify(leaf, chain, usage, now_s), "fresh on the right");
        result
    }

    /// A leaf of the remembered CA, sent with it, for a client's use now.
    pub(crate) fn client(&self, leaf: &[u8]) -> Result<PeerCertificate, TrustError> {
        self.verify(leaf, &[&self.issuing.der], Usage::ClientAuth, NOW)
    }
}
