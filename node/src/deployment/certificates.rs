//! The certificates that a node issues for itself when it starts, and PEM.

use std::{ops::Not, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_actors::seams::Entropy;
use fieldmesh_domain::{EntityId, EntityKind};
use fieldmesh_envelope::HpkePrivateKey;
use fieldmesh_pki::{
    CaCertificate, Identity, IssuingCa, KeyMaterial, Kind, TrustError, TrustStore, Usage,
    is_self_signed, profile, tls::Credentials,
};
use rustls::pki_types::pem::{PemObject, SectionKind};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    DeploymentError, Facts, HpkeRow, Secrets, StoredHpke, file, key_error, random, rotated,
};
use crate::{
    config::Config,
    files::{self, Access},
    issuer::sha256,
};

/// The certificate of this machine's operator lives for half a day; with less than this left there is a
/// new one.
pub(super) const OPERATOR_LEFT_S: u64 = 6 * 3600;
/// A certificate with less than this left is renewed at start.
const RENEW_BEFORE_S: u64 = 2 * 24 * 3600;
/// Characters of a PEM line (RFC 7468 §2).
const PEM_LINE: usize = 64;

impl Facts {
    fn identity(&self, kind: Kind, id: [u8; 16]) -> Identity {
        Identity { cluster: self.cluster.clone(), region: self.region.clone(), kind, id }
    }

    pub(super) fn service_identity(&self) -> Identity {
        self.identity(Kind::Service, self.service_id)
    }

    /// The identity of the node, or of this machine's operator: the same at each start, so that the
    /// authority has one registration of each.
    fn own_identity(&self, kind: Kind) -> Result<Identity, DeploymentError> {
        Ok(self.identity(kind, self.registration(kind)?.to_bytes()))
    }

    /// The registration of the node, or of this machine's operator.
    ///
    /// # Errors
    /// Where the region has no name.
    pub fn registration(&self, kind: Kind) -> Result<EntityId, DeploymentError> {
        if let (Kind::Node, Some(joined_as)) = (kind, self.joined_as) {
            return Ok(joined_as);
        }
        let region = self.region.parse().map_err(key_error)?;
        let seed = sha256(&[kind.name().as_bytes(), &self.node_id].concat());
        let mut random = [0; 10];
        random.copy_from_slice(&seed[..10]);
        Ok(EntityId::new(EntityKind::Registration, region, random))
    }
}

/// A certificate of the node's own, which the authority is to know.
#[derive(Debug, Clone)]
pub struct Own {
    pub kind: Kind,
    pub der: Vec<u8>,
}

/// Signs a certificate for a key of this node's own.
pub(super) fn issue(
    issuing: &IssuingCa,
    key: &KeyMaterial,
    identity: &Identity,
    names: &[String],
    now_s: u64,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, DeploymentError> {
    Ok(issue_until(issuing, key, identity, names, now_s, entropy)?.0)
}

/// The same, with the certificate's end, Unix seconds.
fn issue_until(
    issuing: &IssuingCa,
    key: &KeyMaterial,
    identity: &Identity,
    names: &[String],
    now_s: u64,
    entropy: &dyn Entropy,
) -> Result<(Vec<u8>, u64), DeploymentError> {
    let [jitter] = random(entropy);
    let life = profile(identity.kind).life(now_s, jitter);
    let issued = issuing.issue(&key.spki(), identity, names, life, random(entropy))?;
    Ok((issued.der, issued.not_after))
}

/// Whether the service's certificate has little left, or is not by this issuing CA.
pub(super) fn is_due(
    issuing: &IssuingCa,
    roots: &[Vec<u8>],
    certificate: &[u8],
    now_s: u64,
) -> bool {
    store(issuing, roots)
        .and_then(|trust| trust.verify(certificate, &[], Usage::Signing, now_s))
        .is_ok_and(|certificate| certificate.not_after >= now_s + RENEW_BEFORE_S)
        .not()
}

/// The service's HPKE keys, with those past their life gone and a fresh one where it is time.
pub(super) fn hpke(secrets: &mut Secrets, now_s: u64) -> Result<Vec<StoredHpke>, DeploymentError> {
    let mut keys = Vec::with_capacity(secrets.hpke.len());
    for row in &secrets.hpke {
        let (private, public) = HpkePrivateKey::from_bytes(&row.pair).map_err(key_error)?;
        keys.push(StoredHpke { private: Arc::new(private), public, made_s: row.made_s });
    }
    if let Some(next) = rotated(&keys, now_s).map_err(key_error)? {
        keys = next;
        secrets.hpke = keys
            .iter()
            .map(|key| HpkeRow { pair: key.private.to_bytes().to_vec(), made_s: key.made_s })
            .collect();
    }
    Ok(keys)
}

/// The names that clients reach the node by.
fn names(config: &Config) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    for address in [config.listen.https, config.listen.devices] {
        let text = address.ip().to_string();
        if !address.ip().is_unspecified() && !names.contains(&text) {
            names.push(text);
        }
    }
    names
}

/// The node's certificate: the one it has while half of its life is left, or a new one.
pub(super) fn node(
    facts: &Facts,
    secrets: &mut Secrets,
    issuing: &IssuingCa,
    roots: &[Vec<u8>],
    config: &Config,
    now_s: u64,
    entropy: &dyn Entropy,
) -> Result<Credentials, DeploymentError> {
    let (names, identity) = (names(config), facts.own_identity(Kind::Node)?);
    let half_s = profile(Kind::Node).lifetime_s / 2;
    let kept = store(issuing, roots)
        .and_then(|trust| trust.verify(&secrets.node_certificate, &[], Usage::ServerAuth, now_s))
        .ok()
        .filter(|kept| kept.not_after > now_s + half_s && secrets.node_names == names);
    if kept.is_none() {
        // A new key each time, as the authority demands of everybody.
        let key = KeyMaterial::generate().map_err(key_error)?;
        secrets.node_certificate = issue(issuing, &key, &identity, &names, now_s, entropy)?;
        secrets.node_key.zeroize();
        secrets.node_key = key.pkcs8().to_vec();
        secrets.node_names = names;
    }
    // With the root, so that whoever has only a pin can check it.
    let root = signer(roots, issuing.certificate()).cloned().unwrap_or_default();
    let chain = vec![secrets.node_certificate.clone(), issuing.certificate().to_vec(), root];
    Ok(Credentials { chain, pkcs8: Zeroizing::new(secrets.node_key.clone()) })
}

/// The root that signed an issuing CA.
pub(super) fn signer<'a>(roots: &'a [Vec<u8>], issuing: &[u8]) -> Option<&'a Vec<u8>> {
    roots.iter().find(|root| CaCertificate::is_signed_by(issuing, root))
}

fn store(issuing: &IssuingCa, roots: &[Vec<u8>]) -> Result<TrustStore, TrustError> {
    TrustStore::new(roots.to_vec(), vec![issuing.certificate().to_vec()])
}

/// A certificate for whoever may read this directory, good for a working day.
pub(super) struct Operator {
    pub(super) leaf: Vec<u8>,
    chain: String,
    key: Zeroizing<String>,
    /// Unix seconds.
    pub(super) until_s: u64,
    /// The certificate of the issuing CA, DER.
    pub(super) issuer: Vec<u8>,
}

/// The operator's certificate that the directory has, while enough is left of it.
pub(super) fn kept_operator(
    dir: &Path,
    facts: &Facts,
    issuing: &IssuingCa,
    roots: &[Vec<u8>],
    now_s: u64,
) -> Option<Operator> {
    let pem_chain = String::from_utf8(files::read(&dir.join("operator.pem")).ok()?).ok()?;
    let key = String::from_utf8(files::read(&dir.join("operator.key")).ok()?).ok()?;
    let key = Zeroizing::new(key);
    let leaf = all_from_pem(pem_chain.as_bytes()).into_iter().next()?;
    let trust = store(issuing, roots).ok()?;
    let peer = trust.verify(&leaf, &[], Usage::ClientAuth, now_s).ok()?;
    // A start that ended between the two files leaves them of different pairs.
    let pkcs8 = all_from_pem(key.as_bytes()).pop().map(Zeroizing::new)?;
    let is_pair = KeyMaterial::from_pkcs8(&pkcs8).ok()?.public_point() == peer.public_point;
    let is_own = is_pair && peer.identity == facts.own_identity(Kind::Operator).ok()?;
    let until_s = peer.not_after;
    let issuer = issuing.certificate().to_vec();
    let operator = Operator { leaf, chain: pem_chain, key, until_s, issuer };
    (is_own && until_s > now_s + OPERATOR_LEFT_S).then_some(operator)
}

pub(super) fn operator(
    facts: &Facts,
    issuing: &IssuingCa,
    now_s: u64,
    entropy: &dyn Entropy,
) -> Result<Operator, DeploymentError> {
    let key = KeyMaterial::generate().map_err(key_error)?;
    let identity = facts.own_identity(Kind::Operator)?;
    let (leaf, until_s) = issue_until(issuing, &key, &identity, &[], now_s, entropy)?;
    let chain = pem(&leaf) + &pem(issuing.certificate());
    let key = Zeroizing::new(armour("PRIVATE KEY", key.pkcs8()));
    let issuer = issuing.certificate().to_vec();
    Ok(Operator { leaf, chain, key, until_s, issuer })
}

impl Operator {
    pub(super) fn write(&self, dir: &Path) -> Result<(), DeploymentError> {
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            files::write(&path, text.as_bytes(), Access::Owner).map_err(file(&path))
        };
        write("operator.pem", &self.chain)?;
        write("operator.key", &self.key)
    }
}

pub(crate) fn armour(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(PEM_LINE) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}

/// A certificate as PEM.
pub(crate) fn pem(der: &[u8]) -> String {
    armour("CERTIFICATE", der)
}

/// What the facts say of the roots.
pub(super) fn hash_of(roots: &[Vec<u8>]) -> [u8; 32] {
    sha256(&roots.concat())
}

/// The root certificates of a file.
pub(super) fn roots(path: &Path, facts: &Facts) -> Result<Vec<Vec<u8>>, DeploymentError> {
    let roots = all_from_pem(&files::read(path).map_err(file(path))?);
    let are_whole = roots.iter().all(|root| is_self_signed(root));
    let hash = hash_of(&roots);
    let is_told = hash == facts.roots || facts.next_roots == Some(hash);
    if roots.is_empty() || !are_whole || !is_told {
        return Err(DeploymentError::Damaged { path: path.to_owned() });
    }
    Ok(roots)
}

/// All objects of a PEM text, in order; none where one of them is damaged.
pub(crate) fn all_from_pem(bytes: &[u8]) -> Vec<Vec<u8>> {
    let objects = <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes);
    let objects: Result<Vec<_>, _> = objects.map(|object| object.map(|(_, der)| der)).collect();
    objects.unwrap_or_default()
}
