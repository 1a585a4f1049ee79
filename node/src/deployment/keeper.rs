//! Keeps the directory of a running node: renews its own certificates, and writes the HPKE keys that
//! rotate.

use std::{fs::File, path::PathBuf};

use fieldmesh_actors::seams::Entropy;
use fieldmesh_envelope::SoftwareSigner;
use fieldmesh_pki::{IssuingCa, KeyMaterial, Kind, tls::Credentials};

use super::{
    DeploymentError, Facts,
    certificates::{self, OPERATOR_LEFT_S, Own},
    key_error,
    secrets::{HpkeRow, Seal, Secrets},
};
use crate::{config::Config, service::StoredHpke};

/// Keeps the sealed file up to date; destroyed keys leave the disk with the next write.
pub struct Keeper {
    pub(super) dir: PathBuf,
    pub(super) secrets: Secrets,
    pub(super) seal: Seal,
    pub(super) operator: certificates::Operator,
    pub(super) facts: Facts,
    pub(super) roots: Vec<Vec<u8>>,
    /// The end of the node's own certificate, Unix seconds.
    pub(super) node_until_s: u64,
    pub(super) _lock: File,
}

/// What was renewed, for those who use it.
#[derive(Default)]
pub struct Renewed {
    /// For the node's TLS.
    pub node: Option<Credentials>,
    /// The service's signer, with its certificate and that one's issuer's.
    pub service: Option<(SoftwareSigner, Vec<Vec<u8>>)>,
    /// All of it, for the authority.
    pub own: Vec<Own>,
}

impl Keeper {
    /// Writes what was renewed when the deployment was opened, and an operator's certificate.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn keep_renewed(&self, entropy: &dyn Entropy) -> Result<(), DeploymentError> {
        self.operator.write(&self.dir)?;
        self.seal(entropy)
    }

    fn seal(&self, entropy: &dyn Entropy) -> Result<(), DeploymentError> {
        self.seal.write_secrets(&self.dir.join("secrets.sealed"), &self.secrets, entropy)
    }

    /// Renews the node's own certificates that are due.
    ///
    /// # Errors
    /// Where a certificate cannot be issued or a file not be written; the old ones stay.
    pub fn renew(
        &mut self,
        issuing: &IssuingCa,
        config: &Config,
        now_s: u64,
        entropy: &dyn Entropy,
    ) -> Result<Renewed, DeploymentError> {
        let mut renewed = Renewed::default();
        let Self { facts, secrets, roots, .. } = self;
        let (node, until_s) =
            certificates::node(facts, secrets, issuing, roots, config, now_s, entropy)?;
        if until_s != self.node_until_s {
            self.node_until_s = until_s;
            let der = self.secrets.node_certificate.clone();
            renewed.own.push(Own { kind: Kind::Node, der });
            renewed.node = Some(node);
        }
        if self.operator.until_s < now_s + OPERATOR_LEFT_S {
            self.operator = certificates::operator(&self.facts, issuing, now_s, entropy)?;
            self.operator.write(&self.dir)?;
            renewed.own.push(Own { kind: Kind::Operator, der: self.operator.leaf.clone() });
        }
        if certificates::is_due(issuing, &self.roots, &self.secrets.service_certificate, now_s) {
            let key = KeyMaterial::from_pkcs8(&self.secrets.service_key).map_err(key_error)?;
            let identity = self.facts.service_identity();
            let leaf = certificates::issue(issuing, &key, &identity, &[], now_s, entropy)?;
            self.secrets.service_certificate.clone_from(&leaf);
            renewed.own.push(Own { kind: Kind::Service, der: leaf.clone() });
            let signer = SoftwareSigner::from_pkcs8(key.pkcs8(), &leaf).map_err(key_error)?;
            renewed.service = Some((signer, vec![leaf, issuing.certificate().to_vec()]));
        }
        if !renewed.own.is_empty() {
            self.seal(entropy)?;
        }
        Ok(renewed)
    }

    /// # Errors
    /// Where the file cannot be written.
    pub fn keep(
        &mut self,
        keys: &[StoredHpke],
        entropy: &dyn Entropy,
    ) -> Result<(), DeploymentError> {
        self.secrets.hpke = keys
            .iter()
            .map(|key| HpkeRow { pair: key.private.to_bytes().to_vec(), made_s: key.made_s })
            .collect();
        self.seal(entropy)
    }
}
