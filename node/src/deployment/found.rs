//! A new region's first node: `init` made its keys below the cluster's roots, the cluster says which
//! number the region has.
//!
//! **Invariant:** a directory that waits for the cluster's word is no cluster of its own: no server starts
//! from it. **Not here:** who may found a region (`domain::placement`), the way there (`cli::found`).

use fieldmesh_actors::seams::{Clock, Entropy};
use fieldmesh_domain::placement::Members;
use minicbor::{Decode, Encode, bytes::ByteVec};

use super::{Deployment, DeploymentError, Keeper, create, file, join::MEMBERS, key_error};
use crate::{
    config::Config,
    files::{self, Access},
    store::rows,
};

/// The number of a region that the cluster has not given one yet.
pub(super) const NO_NUMBER: u32 = u32::MAX;

/// What a cluster tells the first node of a new region; nothing of it is secret.
#[derive(Debug, Encode, Decode)]
pub struct Welcome {
    /// The roots that the cluster believes, DER.
    #[n(0)]
    pub roots: Vec<ByteVec>,
    /// Its nodes and regions, the new ones among them.
    #[n(1)]
    pub members: Members,
}

impl Deployment {
    /// Brings the issuing CA's certificate, DER, to a deployment that waits for it and is to be a region
    /// of a cluster that is there.
    ///
    /// # Errors
    /// Where none waits, or the certificate is for another key or by another root.
    pub fn complete_region(
        config: &Config,
        secret: &[u8],
        certificate: Vec<u8>,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<(), DeploymentError> {
        create::complete(config, secret, certificate, NO_NUMBER, clock, entropy)
    }

    /// Whether a deployment waits for its issuing CA's certificate.
    pub fn waits(config: &Config) -> bool {
        config.node.data_dir.join(create::PENDING).exists()
    }
}

impl Keeper {
    /// Whether the region waits for its number.
    pub fn waits_for_cluster(&self) -> bool {
        self.facts.index == NO_NUMBER
    }

    /// The region is one of the cluster's from now on.
    ///
    /// # Errors
    /// A word that does not name the region; a directory that cannot be written.
    pub fn welcome(&mut self, welcome: &Welcome) -> Result<(), DeploymentError> {
        let region = self.facts.region.parse().map_err(key_error)?;
        let home = welcome.members.home(region);
        let index = home.ok_or_else(|| key_error("the cluster does not know the region"))?.index;
        self.set_roots(welcome.roots.iter().map(|root| root.to_vec()).collect())?;
        let members = rows::encode(&welcome.members);
        files::write(&self.dir.join(MEMBERS), &members, Access::Owner).map_err(file(&self.dir))?;
        // Last: from now on a server starts.
        self.facts.index = index;
        self.write_facts()
    }
}
