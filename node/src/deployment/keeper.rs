//! Keeps the directory of a running node: renews its own certificates, changes its issuing CA and its
//! roots, and writes the HPKE keys that rotate.

use std::{fs::File, path::PathBuf, sync::Arc};

use fieldmesh_actors::seams::Entropy;
use fieldmesh_domain::placement::Members;
use fieldmesh_envelope::SoftwareSigner;
use fieldmesh_pki::{IssuingCa, KeyMaterial, Kind, tls::Credentials};
use zeroize::Zeroizing;

use super::{
    DeploymentError, Facts, HandOver,
    certificates::{self, OPERATOR_LEFT_S, Own},
    create, encode_facts, file, key_error,
    secrets::{HpkeRow, IssuingRow, Seal, Secrets},
    with_urls,
};
use crate::{
    config::Config,
    files::{self, Access},
    issuer::sha256,
    service::StoredHpke,
    store::rows,
};

/// Keeps the sealed file up to date; destroyed keys leave the disk with the next write.
pub struct Keeper {
    pub(super) dir: PathBuf,
    pub(super) secrets: Secrets,
    pub(super) seal: Seal,
    pub(super) operator: certificates::Operator,
    pub(super) facts: Facts,
    pub(super) roots: Vec<Vec<u8>>,
    /// Other issuing CAs whose keys were used already: a token is asked once.
    pub(super) open: Vec<Arc<IssuingCa>>,
    pub(super) config: Config,
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

    /// Writes the certificate of this machine's operator, which the authority has a record of by now.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn keep_operator(&self) -> Result<(), DeploymentError> {
        self.operator.write(&self.dir)
    }

    fn seal(&self, entropy: &dyn Entropy) -> Result<(), DeploymentError> {
        self.seal.write_secrets(&self.dir.join("secrets.sealed"), &self.secrets, entropy)
    }

    /// Renews the node's own certificates that are due, or by another issuing CA than this one; its
    /// operator's is written by [`Self::keep_operator`].
    ///
    /// # Errors
    /// Where a certificate cannot be issued or a file not be written; the old ones stay.
    pub fn renew(
        &mut self,
        issuing: &IssuingCa,
        now_s: u64,
        entropy: &dyn Entropy,
    ) -> Result<Renewed, DeploymentError> {
        let mut renewed = Renewed::default();
        let Self { facts, secrets, roots, config, .. } = self;
        let before = secrets.node_certificate.clone();
        let node = certificates::node(facts, secrets, issuing, roots, config, now_s, entropy)?;
        if secrets.node_certificate != before {
            let der = secrets.node_certificate.clone();
            renewed.own.push(Own { kind: Kind::Node, der });
            renewed.node = Some(node);
        }
        if self.operator.until_s < now_s + OPERATOR_LEFT_S
            || self.operator.issuer != issuing.certificate()
        {
            self.operator = certificates::operator(&self.facts, issuing, now_s, entropy)?;
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

    /// Whether another node of the region can be given what it needs.
    ///
    /// # Errors
    /// Where the CA's key is in a token.
    pub fn can_hand_over(&self) -> Result<(), DeploymentError> {
        if self.facts.token.is_some() { Err(DeploymentError::InToken) } else { Ok(()) }
    }

    /// What another node of the region needs.
    ///
    /// # Errors
    /// Where the CA's key is in a token.
    pub fn hand_over(&self, members: Members) -> Result<HandOver, DeploymentError> {
        self.can_hand_over()?;
        Ok(HandOver::of(&self.facts, &self.secrets, &self.roots, members))
    }

    /// Whether the key of an issuing CA is here, by its certificate's SHA-256.
    pub fn has_issuing(&self, fingerprint: &[u8; 32]) -> bool {
        sha256(&self.secrets.issuing_certificate) == *fingerprint
            || self.secrets.others.iter().any(|row| sha256(&row.certificate) == *fingerprint)
    }

    /// An issuing CA's key with its certificate, encoded, for another node of the region; none where it
    /// is not here, or in a token.
    pub fn issuing(&self, fingerprint: &[u8; 32]) -> Option<Zeroizing<Vec<u8>>> {
        if self.facts.token.is_some() {
            return None;
        }
        let Secrets { issuing_key, issuing_certificate, others, .. } = &self.secrets;
        let row = if sha256(issuing_certificate) == *fingerprint {
            let (key, certificate) = (issuing_key.clone(), issuing_certificate.clone());
            &IssuingRow { key, certificate, label: None }
        } else {
            others.iter().find(|row| sha256(&row.certificate) == *fingerprint)?
        };
        Some(Zeroizing::new(rows::encode(row)))
    }

    /// Keeps the key of an issuing CA that another node of the region gave.
    ///
    /// # Errors
    /// Where it is another one's or not a key, or cannot be stored.
    pub fn take_issuing(
        &mut self,
        fingerprint: &[u8; 32],
        encoded: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<(), DeploymentError> {
        let row: IssuingRow = rows::whole(encoded).map_err(key_error)?;
        if sha256(&row.certificate) != *fingerprint {
            return Err(key_error("it is another authority's"));
        }
        let key = KeyMaterial::from_pkcs8(&row.key).map_err(key_error)?;
        IssuingCa::from_parts(Arc::new(key), row.certificate.clone())?;
        if self.has_issuing(fingerprint) {
            return Ok(());
        }
        self.secrets.others.push(row);
        self.seal(entropy)
    }

    /// The certificate of the service's signer.
    pub fn service(&self) -> Own {
        Own { kind: Kind::Service, der: self.secrets.service_certificate.clone() }
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

    /// A request, DER, for the issuing CA that is to come; the same until a root has signed it.
    ///
    /// # Errors
    /// Where no key can be made or stored.
    pub fn request(&mut self, entropy: &dyn Entropy) -> Result<Vec<u8>, DeploymentError> {
        let waits = self.secrets.others.iter().find(|row| row.certificate.is_empty());
        if let Some(row) = waits {
            return create::request(&*self.seal.row_key(row)?);
        }
        let row = self.seal.new_issuing(self.seal.other_label(entropy))?;
        let request = create::request(&*self.seal.row_key(&row)?)?;
        self.secrets.others.push(row);
        self.seal(entropy)?;
        Ok(request)
    }

    /// Takes the certificate of the issuing CA that is to come.
    ///
    /// # Errors
    /// Where it is for no key of this node's, or cannot be stored.
    pub fn certify(&mut self, der: &[u8], entropy: &dyn Entropy) -> Result<(), DeploymentError> {
        if self.secrets.others.iter().any(|row| row.certificate == der) {
            return Ok(());
        }
        let mut waiting = self.secrets.others.iter().position(|row| row.certificate.is_empty());
        if let Some(at) = waiting {
            let key = self.seal.row_key(&self.secrets.others[at])?;
            waiting = IssuingCa::from_parts(key, der.to_vec()).ok().map(|_| at);
        }
        let at = waiting.ok_or_else(|| {
            key_error("the certificate is not for the key of the request that this node made")
        })?;
        self.secrets.others[at].certificate = der.to_vec();
        self.seal(entropy)
    }

    /// The issuing CA with this certificate's SHA-256, which is the one that signs from now on.
    ///
    /// # Errors
    /// Where its key is not here, or the change cannot be stored; the one before stays.
    pub fn switch(
        &mut self,
        fingerprint: &[u8; 32],
        entropy: &dyn Entropy,
    ) -> Result<IssuingCa, DeploymentError> {
        if sha256(&self.secrets.issuing_certificate) != *fingerprint {
            let mut others = self.secrets.others.iter();
            let at = others.position(|row| sha256(&row.certificate) == *fingerprint);
            let at = at.ok_or_else(|| key_error("the key of the active issuing CA is not here"))?;
            self.secrets.swap_issuing(at);
            if let Err(error) = self.seal(entropy) {
                self.secrets.swap_issuing(at);
                return Err(error);
            }
        }
        with_urls(self.seal.issuing(&self.secrets)?, &self.config)
    }

    /// The other issuing CAs that are still wanted and whose keys are here: they sign lists of what
    /// they issued. One whose key cannot be used is told of and left out; the node needs it for
    /// nothing else.
    pub fn others(&mut self, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<Arc<IssuingCa>> {
        let mut open = Vec::new();
        for row in self.secrets.others.iter().filter(|row| is_wanted(&row.certificate)) {
            let known = self.open.iter().find(|ca| ca.certificate() == row.certificate);
            match known.map_or_else(|| self.opened(row), |ca| Ok(Arc::clone(ca))) {
                Ok(ca) => open.push(ca),
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the key of an issuing CA of before cannot be used: no list of what it revoked is signed"
                ),
            }
        }
        self.open.clone_from(&open);
        open
    }

    fn opened(&self, row: &IssuingRow) -> Result<Arc<IssuingCa>, DeploymentError> {
        let ca = IssuingCa::from_parts(self.seal.row_key(row)?, row.certificate.clone())?;
        with_urls(ca, &self.config).map(Arc::new)
    }

    /// Destroys the keys of issuing CAs that are not believed any more, by their certificates' SHA-256.
    /// One that a token does not give up is told of, and tried again the next time.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn destroy(
        &mut self,
        is_removed: impl Fn(&[u8; 32]) -> bool,
        entropy: &dyn Entropy,
    ) -> Result<(), DeploymentError> {
        let Self { secrets, seal, .. } = self;
        let before = secrets.others.len();
        // The token first: a key that no row names would stay there for good.
        secrets.others.retain(|row| {
            if row.certificate.is_empty() || !is_removed(&sha256(&row.certificate)) {
                return true;
            }
            let destroyed = seal.destroy(row);
            if let Err(error) = &destroyed {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "the key of a removed issuing CA is still in the token"
                );
            }
            destroyed.is_err()
        });
        if self.secrets.others.len() == before { Ok(()) } else { self.seal(entropy) }
    }

    /// The roots that are believed, the one that signed the issuing CA first, are the directory's.
    ///
    /// # Errors
    /// Where a file cannot be written; what is there is then still whole.
    pub fn set_roots(&mut self, mut roots: Vec<Vec<u8>>) -> Result<(), DeploymentError> {
        let first = certificates::signer(&roots, &self.secrets.issuing_certificate).cloned();
        roots.sort_by_key(|root| Some(root) != first.as_ref());
        if roots == self.roots || first.is_none() {
            return Ok(());
        }
        // The facts name both files while one replaces the other: a crash between leaves either.
        let hash = certificates::hash_of(&roots);
        self.facts.next_roots = Some(hash);
        self.write_facts()?;
        create::write_roots(&self.dir, &roots)?;
        (self.facts.roots, self.facts.next_roots) = (hash, None);
        self.write_facts()?;
        self.roots = roots;
        Ok(())
    }

    /// The roots, the one that signed the issuing CA first.
    pub fn roots(&self) -> &[Vec<u8>] {
        &self.roots
    }

    pub(super) fn write_facts(&self) -> Result<(), DeploymentError> {
        let path = self.dir.join("deployment.cbor");
        files::write(&path, &encode_facts(&self.facts), Access::Owner).map_err(file(&path))
    }
}
