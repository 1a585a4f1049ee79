//! Making a deployment: with roots of its own, or below roots that are kept elsewhere.
//!
//! With roots elsewhere it takes two steps: the first makes the keys and a request for the issuing
//! CA, which travels to the roots' machine; the second brings the certificate back. **Invariant:** a
//! directory holds a deployment only once it is whole.

use std::path::Path;

use fieldmesh_actors::seams::{Clock, Entropy};
use fieldmesh_pki::{
    CaKey, IssuingCa, KeyMaterial, RootCa, TrustStore, Usage, pkcs11::TokenAddress,
};
use rcgen::{CertificateParams, DistinguishedName};
use zeroize::Zeroizing;

use super::{
    DeploymentError, FORMAT, Facts, certificates, encode_facts, file, key_error, random,
    read_facts,
    secrets::{Seal, Secrets},
};
use crate::{
    config::Config,
    files::{self, Access},
    sealing::Key,
};

/// The number of a region's first issuing CA.
const FIRST_ISSUER: u32 = 1;
/// The facts of a deployment that waits for its issuing certificate.
pub(super) const PENDING: &str = "pending.cbor";
const REQUEST: &str = "issuing.csr";

/// What a deployment is made with.
#[derive(Debug, Default)]
pub struct Making {
    /// Where the issuing CA's key and the seal are, if not under a passphrase.
    pub token: Option<TokenAddress>,
    /// Root certificates that are kept elsewhere, DER.
    pub roots: Option<Vec<Vec<u8>>>,
}

fn facts(config: &Config, making: &Making, roots: &[Vec<u8>], entropy: &dyn Entropy) -> Facts {
    Facts {
        format: FORMAT,
        cluster: config.cluster.name.clone(),
        region: config.cluster.region.clone(),
        number: config.node.number,
        shards: config.node.shards,
        node_id: random(entropy),
        service_id: random(entropy),
        token: making.token.as_ref().map(ToString::to_string),
        roots: certificates::hash_of(roots),
        next_roots: None,
        joined_as: None,
        index: 0,
    }
}

pub(super) fn new_dir(config: &Config) -> Result<&Path, DeploymentError> {
    let dir = &config.node.data_dir;
    if super::Deployment::is_there(dir) || dir.join(PENDING).exists() {
        return Err(DeploymentError::Exists { path: dir.clone() });
    }
    files::make_private_dir(dir).map_err(file(dir))?;
    Ok(dir)
}

/// Secrets without an issuing certificate, and what seals them.
fn secrets(
    making: &Making,
    secret: &[u8],
    entropy: &dyn Entropy,
) -> Result<(Seal, Secrets), DeploymentError> {
    let new_key = || KeyMaterial::generate().map_err(key_error);
    let (seal, issuing_key) = match &making.token {
        Some(address) => (Seal::in_token(address, secret)?, Vec::new()),
        None => {
            let seal = Seal::Passphrase(Zeroizing::new(secret.to_vec()));
            (seal, new_key()?.pkcs8().to_vec())
        }
    };
    let secrets = Secrets {
        region_key: *Key::generate(entropy).expose(),
        issuing_key,
        issuing_certificate: Vec::new(),
        node_key: new_key()?.pkcs8().to_vec(),
        service_key: new_key()?.pkcs8().to_vec(),
        service_certificate: Vec::new(),
        hpke: Vec::new(),
        node_certificate: Vec::new(),
        node_names: Vec::new(),
        issuing_label: None,
        others: Vec::new(),
    };
    Ok((seal, secrets))
}

/// A request for a key of this node's, to be signed by a root.
pub(super) fn request(key: &dyn CaKey) -> Result<Vec<u8>, DeploymentError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&Borrowed(key)).map_err(key_error)?;
    Ok(request.der().to_vec())
}

/// rcgen takes a sized key.
struct Borrowed<'a>(&'a dyn CaKey);

impl rcgen::PublicKeyData for Borrowed<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl rcgen::SigningKey for Borrowed<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

/// Gives the secrets their issuing certificate, and the service its own.
fn certify(
    facts: &Facts,
    seal: &Seal,
    secrets: &mut Secrets,
    certificate: Vec<u8>,
    now_s: u64,
    entropy: &dyn Entropy,
) -> Result<(), DeploymentError> {
    let issuing = IssuingCa::from_parts(seal.issuing_key(secrets)?, certificate.clone())?;
    let service_key = KeyMaterial::from_pkcs8(&secrets.service_key).map_err(key_error)?;
    let identity = facts.service_identity();
    secrets.service_certificate =
        certificates::issue(&issuing, &service_key, &identity, &[], now_s, entropy)?;
    secrets.issuing_certificate = certificate;
    Ok(())
}

pub(super) fn write_roots(dir: &Path, roots: &[Vec<u8>]) -> Result<(), DeploymentError> {
    let pem: String = roots.iter().map(|root| certificates::pem(root)).collect();
    files::write(&dir.join("root.pem"), pem.as_bytes(), Access::Everybody).map_err(file(dir))
}

/// Makes a deployment with two roots of its own: the second one is believed from the first day, so
/// that it can take over.
pub(super) fn whole(
    config: &Config,
    secret: &[u8],
    making: &Making,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<(), DeploymentError> {
    let dir = new_dir(config)?;
    let now_s = clock.now_ms() / 1000;
    let (seal, mut secrets) = secrets(making, secret, entropy)?;
    let mut roots = Vec::new();
    for name in ["root.key.sealed", "root2.key.sealed"] {
        let root = RootCa::create(&config.cluster.name, now_s, random(entropy))?;
        seal.write(&dir.join(name), root.key().pkcs8(), entropy)?;
        roots.push(root);
    }
    let root_ders: Vec<Vec<u8>> = roots.iter().map(|root| root.certificate().to_vec()).collect();
    let facts = facts(config, making, &root_ders, entropy);
    let csr = request(&*seal.issuing_key(&secrets)?)?;
    let serial = random(entropy);
    let signed = roots[0].sign_issuing(&csr, &facts.region, FIRST_ISSUER, now_s, serial)?;
    certify(&facts, &seal, &mut secrets, signed.der, now_s, entropy)?;
    seal.write_secrets(&dir.join("secrets.sealed"), &secrets, entropy)?;
    write_roots(dir, &root_ders)?;
    // Last, so that a directory with this file is whole.
    let path = dir.join("deployment.cbor");
    files::write(&path, &encode_facts(&facts), Access::Owner).map_err(file(&path))
}

/// The first step below roots that are kept elsewhere; returns the path of the request to be signed.
pub(super) fn prepare(
    config: &Config,
    secret: &[u8],
    making: &Making,
    roots: &[Vec<u8>],
    entropy: &dyn Entropy,
) -> Result<std::path::PathBuf, DeploymentError> {
    TrustStore::new(roots.to_vec(), Vec::new()).map_err(key_error)?;
    let dir = new_dir(config)?;
    let facts = facts(config, making, roots, entropy);
    let (seal, secrets) = secrets(making, secret, entropy)?;
    let csr = request(&*seal.issuing_key(&secrets)?)?;
    seal.write_secrets(&dir.join("secrets.sealed"), &secrets, entropy)?;
    write_roots(dir, roots)?;
    let path = dir.join(REQUEST);
    let pem = certificates::armour("CERTIFICATE REQUEST", &csr);
    files::write(&path, pem.as_bytes(), Access::Everybody).map_err(file(&path))?;
    let pending = dir.join(PENDING);
    files::write(&pending, &encode_facts(&facts), Access::Owner).map_err(file(&pending))?;
    Ok(path)
}

/// The second step: the issuing CA's certificate, DER. `index` is the region's number in its cluster.
pub(super) fn complete(
    config: &Config,
    secret: &[u8],
    certificate: Vec<u8>,
    index: u32,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<(), DeploymentError> {
    let dir = &config.node.data_dir;
    let pending = dir.join(PENDING);
    let facts = Facts { index, ..read_facts(&pending, config)? };
    let seal = Seal::of(facts.token.as_deref(), secret)?;
    let path = dir.join("secrets.sealed");
    let mut secrets = seal.read_secrets(&path)?;
    let now_s = clock.now_ms() / 1000;
    certify(&facts, &seal, &mut secrets, certificate, now_s, entropy)?;
    let roots = certificates::roots(&dir.join("root.pem"), &facts)?;
    let trust = TrustStore::new(roots, vec![secrets.issuing_certificate.clone()]);
    trust
        .and_then(|trust| trust.verify(&secrets.service_certificate, &[], Usage::Signing, now_s))
        .map_err(|error| {
            key_error(format!("the certificate is not by one of the roots: {error}"))
        })?;
    seal.write_secrets(&path, &secrets, entropy)?;
    let whole = dir.join("deployment.cbor");
    files::write(&whole, &encode_facts(&facts), Access::Owner).map_err(file(&whole))?;
    files::remove(&pending).and_then(|()| files::remove(&dir.join(REQUEST))).map_err(file(dir))
}
