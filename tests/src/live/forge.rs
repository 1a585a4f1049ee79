//! Certificates as an attacker, a mistaken operator or a broken clock would have them.

use fieldmesh_node::{
    config::Config,
    deployment::Deployment,
    os::{SystemClock, SystemEntropy},
};
use fieldmesh_pki::{Identity, IssuingCa, KeyMaterial, RootCa, profile, tls::Credentials, vault};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tempfile::TempDir;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{PASSPHRASE, now_s, random};

const DAY_S: u64 = 24 * 3600;

fn pair(key: &KeyMaterial) -> KeyPair {
    KeyPair::try_from(key.pkcs8()).unwrap()
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&random::<15>()));
    params.use_authority_key_identifier_extension = true;
    params
}

fn date(unix_s: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix_s as i64).unwrap()
}

/// An issuing CA, and what it can be made to sign.
pub struct Forge {
    issuing: std::sync::Arc<IssuingCa>,
    key: KeyPair,
    name: String,
}

/// What a forged certificate says.
#[derive(Clone)]
pub struct Leaf {
    pub uris: Vec<String>,
    pub dns: Vec<String>,
    /// Unix seconds.
    pub from_s: u64,
    pub until_s: u64,
    pub usages: Vec<ExtendedKeyUsagePurpose>,
}

impl Leaf {
    /// A device's certificate as it should be.
    pub fn of(identity: &Identity) -> Self {
        Self {
            uris: vec![identity.to_string()],
            dns: vec![identity.dns_name()],
            from_s: now_s() - 60,
            until_s: now_s() + DAY_S,
            usages: vec![ExtendedKeyUsagePurpose::ClientAuth],
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = named("device");
        (params.not_before, params.not_after) = (date(self.from_s), date(self.until_s));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
        params.extended_key_usages.clone_from(&self.usages);
        let uris = self.uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap()));
        let dns = self.dns.iter().map(|dns| SanType::DnsName(dns.as_str().try_into().unwrap()));
        params.subject_alt_names = uris.chain(dns).collect();
        params
    }

    /// Signed by its own key.
    pub fn self_signed(&self) -> Credentials {
        let key = KeyMaterial::generate().unwrap();
        let der = self.params().self_signed(&pair(&key)).unwrap().der().to_vec();
        Credentials { chain: vec![der], pkcs8: Zeroizing::new(key.pkcs8().to_vec()) }
    }
}

impl Forge {
    /// The deployment's own issuing CA.
    pub fn of(config: &Config) -> Self {
        // Its server has the directory for itself: the secrets are read from a copy.
        let copy = TempDir::new().unwrap();
        for name in ["deployment.cbor", "secrets.sealed", "root.pem"] {
            std::fs::copy(config.node.data_dir.join(name), copy.path().join(name)).unwrap();
        }
        let mut config = config.clone();
        config.node.data_dir = copy.path().to_owned();
        let opened = Deployment::open(&config, PASSPHRASE, &SystemClock, &SystemEntropy::default());
        let opened = opened.unwrap();
        let name = format!("{} {} issuing 1", opened.facts.cluster, opened.facts.region);
        let key = KeyPair::try_from(opened.issuing_key()).unwrap();
        Self { issuing: opened.issuing, key, name }
    }

    /// Another root with the same names.
    pub fn stranger(config: &Config) -> Self {
        let (cluster, region) = (&config.cluster.name, &config.cluster.region);
        let root = RootCa::create(cluster, now_s(), random()).unwrap();
        let (issuing, key) = root.issue_issuing(region, 1, now_s(), random()).unwrap();
        let issuing = issuing.into();
        Self { issuing, key: pair(&key), name: format!("{cluster} {region} issuing 1") }
    }

    /// The issuing CA of another region of the cluster, signed by the deployment's root.
    pub fn other_region(config: &Config, region: &str) -> Self {
        let cluster = &config.cluster.name;
        let sealed = std::fs::read(config.node.data_dir.join("root.key.sealed")).unwrap();
        let key = KeyMaterial::from_pkcs8(&vault::open(PASSPHRASE, &sealed).unwrap()).unwrap();
        let pem = std::fs::read(config.node.data_dir.join("root.pem")).unwrap();
        let der = CertificateDer::from_pem_slice(&pem).unwrap().to_vec();
        let root = RootCa::from_parts(key, der).unwrap();
        let (issuing, key) = root.issue_issuing(region, 1, now_s(), random()).unwrap();
        let issuing = issuing.into();
        Self { issuing, key: pair(&key), name: format!("{cluster} {region} issuing 1") }
    }

    /// What the CA itself would issue at some time.
    pub fn issue(&self, identity: &Identity, at_s: u64) -> Credentials {
        let key = KeyMaterial::generate().unwrap();
        let life = profile(identity.kind).life(at_s, 0);
        let leaf = self.issuing.issue(&key.spki(), identity, &[], life, random()).unwrap();
        self.with_chain(leaf.der, &key)
    }

    /// What the CA's key can be made to sign.
    pub fn sign(&self, leaf: &Leaf) -> Credentials {
        let key = KeyMaterial::generate().unwrap();
        let issuer = Issuer::new(named(&self.name), &self.key);
        let der = leaf.params().signed_by(&pair(&key), &issuer).unwrap().der().to_vec();
        self.with_chain(der, &key)
    }

    fn with_chain(&self, leaf: Vec<u8>, key: &KeyMaterial) -> Credentials {
        let chain = vec![leaf, self.issuing.certificate().to_vec()];
        Credentials { chain, pkcs8: Zeroizing::new(key.pkcs8().to_vec()) }
    }
}
