//! The certificates that a node issues for itself when it starts, and PEM.

use std::{path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_actors::seams::Entropy;
use fieldmesh_envelope::HpkePrivateKey;
use fieldmesh_pki::{Identity, IssuingCa, KeyMaterial, Kind, TrustStore, Usage, tls::Credentials};
use rustls::pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

use super::{
    DeploymentError, Facts, HpkeRow, Secrets, StoredHpke, file, key_error, random, rotated,
};
use crate::{
    config::Config,
    files::{self, Access},
};

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
}

pub(super) fn is_due(trust: &Arc<TrustStore>, certificate: &[u8], now_s: u64) -> bool {
    match trust.verify(certificate, &[], Usage::Signing, now_s) {
        Ok(certificate) => certificate.not_after < now_s + RENEW_BEFORE_S,
        Err(_) => true,
    }
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

/// The node's certificate, for the names that clients reach it by.
pub(super) fn node(
    facts: &Facts,
    secrets: &Secrets,
    issuing: &IssuingCa,
    root: &[u8],
    config: &Config,
    now_s: u64,
    entropy: &dyn Entropy,
) -> Result<Credentials, DeploymentError> {
    let key = KeyMaterial::from_pkcs8(&secrets.node_key).map_err(key_error)?;
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    for address in [config.listen.https, config.listen.devices] {
        let text = address.ip().to_string();
        if !address.ip().is_unspecified() && !names.contains(&text) {
            names.push(text);
        }
    }
    let identity = facts.identity(Kind::Node, facts.node_id);
    let leaf = issuing.issue_for(key.public_point(), &identity, &names, now_s, random(entropy))?;
    let chain = vec![leaf.der, issuing.certificate().to_vec(), root.to_vec()];
    Ok(Credentials { chain, pkcs8: Zeroizing::new(key.pkcs8().to_vec()) })
}

/// A certificate for whoever may read this directory, good for a working day.
pub(super) struct Operator {
    chain: String,
    key: Zeroizing<String>,
}

pub(super) fn operator(
    facts: &Facts,
    issuing: &IssuingCa,
    now_s: u64,
    entropy: &dyn Entropy,
) -> Result<Operator, DeploymentError> {
    let key = KeyMaterial::generate().map_err(key_error)?;
    let identity = facts.identity(Kind::Operator, random(entropy));
    let leaf = issuing.issue_for(key.public_point(), &identity, &[], now_s, random(entropy))?;
    let chain = pem(&leaf.der) + &pem(issuing.certificate());
    Ok(Operator { chain, key: Zeroizing::new(armour("PRIVATE KEY", key.pkcs8())) })
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

fn armour(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(PEM_LINE) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}

/// A certificate as PEM.
pub(super) fn pem(der: &[u8]) -> String {
    armour("CERTIFICATE", der)
}

/// The first object of a PEM text.
pub(super) fn from_pem(bytes: &[u8]) -> Option<Vec<u8>> {
    all_from_pem(bytes).into_iter().next()
}

/// All objects of a PEM text, in order; none where one of them is damaged.
pub(crate) fn all_from_pem(bytes: &[u8]) -> Vec<Vec<u8>> {
    let objects = <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes);
    let objects: Result<Vec<_>, _> = objects.map(|object| object.map(|(_, der)| der)).collect();
    objects.unwrap_or_default()
}
