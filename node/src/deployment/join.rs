//! A node that joins a cluster: what it is handed, and the directory that it makes of it.
//!
//! The certificate comes first, by a one-time token (EST). Its key is kept, sealed, before anybody is asked: a token
//! that was spent gives the same key its certificate again. Both are kept until the rest has come, so that a join that
//! was cut short anywhere goes on with the same identity when it is repeated, as long as its certificate lasts.
//!
//! **Invariants:** a directory holds a deployment only once it is whole; what is handed over is wiped when
//! it is dropped and never printed. **Not here:** who may join (`web::cluster`), the way there
//! (`cli::join`).

use std::path::Path;

use fieldmesh_actors::seams::{Clock, Entropy};
use fieldmesh_domain::{EntityId, placement::Members};
use fieldmesh_pki::{KeyMaterial, TrustError, TrustStore, Usage, vault};
use minicbor::{Decode, Encode, bytes::ByteVec};
use zeroize::{Zeroize, Zeroizing};

use super::{
    Deployment, DeploymentError, FORMAT, Facts, certificates,
    create::{new_dir, write_roots},
    encode_facts, file, key_error, random,
    secrets::{IssuingRow, Seal, Secrets},
};
use crate::{
    config::Config,
    files::{self, Access},
    store::rows,
};

/// The certificate of a node that is not yet whole.
const ADMISSION: &str = "admission.sealed";
pub(super) const MEMBERS: &str = "members.cbor";

/// What a region's node has that another one needs.
#[derive(Encode, Decode)]
pub struct HandOver {
    #[cbor(n(0), with = "minicbor::bytes")]
    service_id: [u8; 16],
    #[n(1)]
    shards: u32,
    #[cbor(n(2), with = "minicbor::bytes")]
    region_key: [u8; 32],
    #[cbor(n(3), with = "minicbor::bytes")]
    service_key: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    service_certificate: Vec<u8>,
    #[cbor(n(5), with = "minicbor::bytes")]
    issuing_key: Vec<u8>,
    #[cbor(n(6), with = "minicbor::bytes")]
    issuing_certificate: Vec<u8>,
    #[n(7)]
    others: Vec<IssuingRow>,
    #[n(8)]
    roots: Vec<ByteVec>,
    /// The cluster's nodes, the new one among them.
    #[n(9)]
    members: Members,
}

impl Drop for HandOver {
    fn drop(&mut self) {
        self.region_key.zeroize();
        self.service_key.zeroize();
        self.issuing_key.zeroize();
    }
}

impl HandOver {
    /// What this node has, whose CA's key is not in a token.
    pub(super) fn of(
        facts: &Facts,
        secrets: &Secrets,
        roots: &[Vec<u8>],
        members: Members,
    ) -> Self {
        let rows = secrets.others.iter().filter(|row| !row.certificate.is_empty());
        Self {
            service_id: facts.service_id,
            shards: facts.shards,
            region_key: secrets.region_key,
            service_key: secrets.service_key.clone(),
            service_certificate: secrets.service_certificate.clone(),
            issuing_key: secrets.issuing_key.clone(),
            issuing_certificate: secrets.issuing_certificate.clone(),
            others: rows
                .map(|row| IssuingRow {
                    key: row.key.clone(),
                    certificate: row.certificate.clone(),
                    label: None,
                })
                .collect(),
            roots: roots.iter().cloned().map(ByteVec::from).collect(),
            members,
        }
    }

    /// Roots, the issuing CA and the service's certificate, DER.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        let Self { roots, issuing_certificate, service_certificate, .. } = self;
        let roots = roots.iter().map(|root| &root[..]);
        roots.chain([&issuing_certificate[..], &service_certificate[..]])
    }

    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// The bytes that travel.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(rows::encode(self))
    }

    /// # Errors
    /// Bytes that are something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, minicbor::decode::Error> {
        rows::whole(bytes)
    }
}

/// The certificate of a node that is joining.
#[derive(Encode, Decode)]
pub struct Admission {
    /// PKCS#8.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    /// The node's certificate, then its issuer's, DER; none while it is only asked for.
    #[n(1)]
    pub chain: Vec<ByteVec>,
    /// Roots, DER; none while the certificate is only asked for.
    #[n(2)]
    pub roots: Vec<ByteVec>,
    /// The node's registration, as the token or the certificate names it.
    #[n(3)]
    pub registration: EntityId,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Admission {
    /// What is kept before the certificate is asked for.
    pub fn asked_for(registration: EntityId, key: &KeyMaterial) -> Self {
        let (chain, roots) = (Vec::new(), Vec::new());
        Self { key: key.pkcs8().to_vec(), chain, roots, registration }
    }

    /// Whether the certificate has come.
    pub fn has_come(&self) -> bool {
        !self.chain.is_empty()
    }

    /// Whether the certificate has come and has run out by then, Unix seconds.
    pub fn has_expired(&self, now_s: u64) -> bool {
        let ders = |all: &[ByteVec]| all.iter().map(|der| der.to_vec()).collect::<Vec<_>>();
        let Some((leaf, issuers)) = self.chain.split_first() else { return false };
        let verified = TrustStore::new(ders(&self.roots), ders(issuers))
            .and_then(|trust| trust.verify(leaf, &[], Usage::ClientAuth, now_s));
        matches!(verified, Err(TrustError::Expired { .. }))
    }

    /// The one that an earlier attempt got; none where there was none.
    ///
    /// # Errors
    /// A directory that holds a deployment; a passphrase that does not open what is there.
    pub fn kept(config: &Config, passphrase: &[u8]) -> Result<Option<Self>, DeploymentError> {
        let dir = &config.node.data_dir;
        if Deployment::is_there(dir) {
            return Err(DeploymentError::Exists { path: dir.clone() });
        }
        let path = dir.join(ADMISSION);
        if !path.exists() {
            return Ok(None);
        }
        let sealed = files::read(&path).map_err(file(&path))?;
        let plain = vault::open(passphrase, &sealed)
            .map_err(|source| DeploymentError::Vault { path: path.clone(), source })?;
        let kept = rows::whole(&plain);
        kept.map(Some).map_err(|_| DeploymentError::Damaged { path })
    }

    /// Keeps it until the deployment is whole.
    ///
    /// # Errors
    /// A directory that holds a deployment or cannot be written.
    pub fn keep(
        &self,
        config: &Config,
        passphrase: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<(), DeploymentError> {
        let dir = new_dir(config)?;
        let seal = Seal::Passphrase(Zeroizing::new(passphrase.to_vec()));
        seal.write(&dir.join(ADMISSION), &Zeroizing::new(rows::encode(self)), entropy)
    }
}

impl Deployment {
    /// Makes a deployment of what a node of the cluster handed over.
    ///
    /// # Errors
    /// Where there is one already, the keys cannot be used, or files cannot be written.
    pub fn join(
        config: &Config,
        passphrase: &[u8],
        admission: &Admission,
        given: &HandOver,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<(), DeploymentError> {
        let dir = new_dir(config)?;
        let roots = given.roots();
        let region = config.cluster.region.parse().map_err(key_error)?;
        let home = given.members.home(region);
        let home = home.ok_or_else(|| key_error("the cluster does not know this region"))?;
        let facts = Facts {
            format: FORMAT,
            cluster: config.cluster.name.clone(),
            region: config.cluster.region.clone(),
            number: config.node.number,
            shards: given.shards,
            node_id: random(entropy),
            service_id: given.service_id,
            token: None,
            roots: certificates::hash_of(&roots),
            next_roots: None,
            joined_as: Some(admission.registration),
            index: home.index,
        };
        let leaf = admission.chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default();
        let mut secrets = given.secrets(admission.key.clone(), leaf);
        certificates::hpke(&mut secrets, clock.now_ms() / 1000)?;
        let seal = Seal::Passphrase(Zeroizing::new(passphrase.to_vec()));
        // That the keys fit their certificates is seen now and not at the first start.
        seal.issuing(&secrets)?;
        KeyMaterial::from_pkcs8(&secrets.service_key).map_err(key_error)?;
        seal.write_secrets(&dir.join("secrets.sealed"), &secrets, entropy)?;
        write_roots(dir, &roots)?;
        let members = rows::encode(&given.members);
        files::write(&dir.join(MEMBERS), &members, Access::Owner).map_err(file(dir))?;
        let whole = dir.join("deployment.cbor");
        files::write(&whole, &encode_facts(&facts), Access::Owner).map_err(file(&whole))?;
        files::remove(&dir.join(ADMISSION)).map_err(file(dir))
    }
}

impl HandOver {
    /// The secrets of a node that has a key of its own, and a certificate for it or none yet.
    pub(super) fn secrets(&self, node_key: Vec<u8>, node_certificate: Vec<u8>) -> Secrets {
        let others = self.others.iter().map(|row| IssuingRow {
            key: row.key.clone(),
            certificate: row.certificate.clone(),
            label: None,
        });
        Secrets {
            region_key: self.region_key,
            issuing_key: self.issuing_key.clone(),
            issuing_certificate: self.issuing_certificate.clone(),
            node_key,
            service_key: self.service_key.clone(),
            service_certificate: self.service_certificate.clone(),
            // A node's own: whoever seals for another node's is told of these.
            hpke: Vec::new(),
            node_certificate,
            node_names: Vec::new(),
            issuing_label: None,
            others: others.collect(),
        }
    }

    pub(super) fn service_id(&self) -> [u8; 16] {
        self.service_id
    }

    pub(super) fn roots(&self) -> Vec<Vec<u8>> {
        self.roots.iter().map(|root| root.to_vec()).collect()
    }
}

/// The cluster's nodes as they were when this one joined; nobody for a cluster's first node.
pub(super) fn members(dir: &Path) -> Result<Members, DeploymentError> {
    let path = dir.join(MEMBERS);
    if !path.exists() {
        return Ok(Members::default());
    }
    let bytes = files::read(&path).map_err(file(&path))?;
    rows::whole(&bytes).map_err(|_| DeploymentError::Damaged { path })
}
