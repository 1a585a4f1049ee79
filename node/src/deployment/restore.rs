//! A deployment's secrets for a backup, and a deployment made of one: the first node of what goes on of
//! a region whose nodes are lost.
//!
//! It has the region's keys and an identity of its own, for which it issues itself a certificate when it
//! starts, as a region's first node does. **Invariant:** a directory holds a deployment only once it is
//! whole. **Not here:** the groups' states (`backup`).

use std::path::Path;

use fieldmesh_actors::seams::{Clock, Entropy};
use fieldmesh_domain::{EntityId, placement::Members};
use fieldmesh_pki::{KeyMaterial, Kind};
use zeroize::Zeroizing;

use super::{
    Deployment, DeploymentError, FORMAT, Facts, HandOver, certificates,
    create::{new_dir, write_roots},
    encode_facts, file,
    join::MEMBERS,
    key_error, random, read_facts,
    secrets::{Seal, Secrets},
    service,
};
use crate::{
    config::Config,
    files::{self, Access},
    service::ServiceSecrets,
    store::rows,
};

impl Deployment {
    /// What a backup needs of this machine's node, which may be running.
    ///
    /// # Errors
    /// No deployment, a wrong passphrase, a CA whose key is in a token.
    pub fn for_backup(
        config: &Config,
        passphrase: &[u8],
    ) -> Result<(Facts, HandOver), DeploymentError> {
        let dir = &config.node.data_dir;
        let facts = read_facts(&dir.join("deployment.cbor"), config)?;
        if facts.token.is_some() {
            return Err(DeploymentError::InToken);
        }
        let seal = Seal::of(None, passphrase)?;
        let secrets = seal.read_secrets(&dir.join("secrets.sealed"))?;
        let roots = certificates::roots(&dir.join("root.pem"), &facts)?;
        let given = HandOver::of(&facts, &secrets, &roots, Members::default());
        Ok((facts, given))
    }
}

/// A deployment that is being made of a backup.
pub struct Restoring {
    pub facts: Facts,
    secrets: Secrets,
    seal: Seal,
    roots: Vec<Vec<u8>>,
}

impl Restoring {
    /// Makes everything in memory.
    ///
    /// # Errors
    /// Keys that cannot be used.
    pub fn new(
        names: [&str; 2],
        index: u32,
        number: u64,
        passphrase: &[u8],
        given: &HandOver,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Self, DeploymentError> {
        let [cluster, region] = names.map(str::to_owned);
        let roots = given.roots();
        let facts = Facts {
            format: FORMAT,
            cluster,
            region,
            number,
            shards: given.shards(),
            node_id: random(entropy),
            service_id: given.service_id(),
            token: None,
            roots: certificates::hash_of(&roots),
            next_roots: None,
            joined_as: None,
            index,
        };
        let node_key = KeyMaterial::generate().map_err(key_error)?.pkcs8().to_vec();
        let secrets = given.secrets(node_key, Vec::new());
        let seal = Seal::Passphrase(Zeroizing::new(passphrase.to_vec()));
        let mut restoring = Self { facts, secrets, seal, roots };
        // That the keys fit their certificates is seen now and not at the first start.
        restoring.service(clock)?;
        Ok(restoring)
    }

    /// What opens the entities' records.
    ///
    /// # Errors
    /// Keys that cannot be used.
    pub fn service(&mut self, clock: &dyn Clock) -> Result<ServiceSecrets, DeploymentError> {
        let issuing = self.seal.issuing(&self.secrets)?;
        let hpke = certificates::hpke(&mut self.secrets, clock.now_ms() / 1000)?;
        service(&self.facts, &self.secrets, &issuing, hpke)
    }

    /// The node's registration.
    ///
    /// # Errors
    /// A region that cannot be one.
    pub fn registration(&self) -> Result<EntityId, DeploymentError> {
        self.facts.registration(Kind::Node)
    }

    /// A directory for it, which holds no deployment.
    ///
    /// # Errors
    /// Where it holds one, or cannot be made.
    pub fn dir(config: &Config) -> Result<&Path, DeploymentError> {
        new_dir(config)
    }

    /// Keeps what is known of the cluster's nodes: a node that is told of them is not the cluster's first.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn keep_members(&self, dir: &Path, members: &Members) -> Result<(), DeploymentError> {
        let path = dir.join(MEMBERS);
        files::write(&path, &rows::encode(members), Access::Owner).map_err(file(&path))
    }

    /// The region's groups are elsewhere: none begins on this node.
    ///
    /// # Errors
    /// A region that cannot be one.
    pub fn follow(&mut self) -> Result<(), DeploymentError> {
        self.facts.joined_as = Some(self.registration()?);
        Ok(())
    }

    /// Writes the directory: from now on it holds a deployment.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn end(self, dir: &Path, entropy: &dyn Entropy) -> Result<(), DeploymentError> {
        self.seal.write_secrets(&dir.join("secrets.sealed"), &self.secrets, entropy)?;
        write_roots(dir, &self.roots)?;
        let whole = dir.join("deployment.cbor");
        files::write(&whole, &encode_facts(&self.facts), Access::Owner).map_err(file(&whole))
    }
}
