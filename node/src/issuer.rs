//! The region's issuing CA on this node: checks a request, issues by profile.
//!
//! **Invariant:** a certificate that leaves has been committed by the entity it is for; this only
//! signs. **Not here:** tokens (`domain`), transport (`web::est`).

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use fieldmesh_actors::seams::Entropy;
use fieldmesh_domain::{EntityId, EntityKind};
use fieldmesh_pki::{
    Certificate, CsrError, Identity, IssueError, IssuingCa, Kind, TrustStore, check_csr,
};

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    #[error("only customers and technicians have devices")]
    NotDevice,
    #[error("the request is refused: {0}")]
    Request(CsrError),
    #[error("the certificate could not be issued")]
    Issue(#[source] IssueError),
}

/// Signs device certificates.
pub struct Issuer {
    cluster: String,
    region: String,
    ca: IssuingCa,
    /// The root's certificate, DER.
    root: Vec<u8>,
    trust: Arc<TrustStore>,
}

/// A signed certificate that nobody has yet.
pub struct Issued {
    pub certificate: Certificate,
    pub public_key_hash: [u8; 32],
}

impl Issuer {
    pub fn new(
        cluster: String,
        region: String,
        ca: IssuingCa,
        root: Vec<u8>,
        trust: Arc<TrustStore>,
    ) -> Self {
        Self { cluster, region, ca, root, trust }
    }

    pub fn trust(&self) -> &TrustStore {
        &self.trust
    }

    /// SHA-256 of the root certificate: what a token pins.
    pub fn root_pin(&self) -> [u8; 32] {
        sha256(&self.root)
    }

    /// Issuing CA and root, DER.
    pub fn ca_certificates(&self) -> Vec<Vec<u8>> {
        vec![self.ca.certificate().to_vec(), self.root.clone()]
    }

    /// The identity that a device of this entity has.
    pub fn identity(&self, entity: EntityId) -> Option<Identity> {
        let kind = match entity.kind() {
            EntityKind::Customer => Kind::Customer,
            EntityKind::Technician => Kind::Technician,
            EntityKind::Ticket | EntityKind::Desk => return None,
        };
        Some(Identity {
            cluster: self.cluster.clone(),
            region: self.region.clone(),
            kind,
            id: entity.to_bytes(),
        })
    }

    /// Checks the request and signs what the profile says.
    ///
    /// # Errors
    /// A request that is malformed, or asks for what the entity is not.
    pub fn issue(
        &self,
        csr: &[u8],
        entity: EntityId,
        entropy: &dyn Entropy,
        now_s: u64,
    ) -> Result<Issued, IssuerError> {
        let identity = self.identity(entity).ok_or(IssuerError::NotDevice)?;
        let checked = check_csr(csr).map_err(IssuerError::Request)?;
        checked.check_identity(&identity).map_err(IssuerError::Request)?;
        let mut serial = [0; 16];
        entropy.fill(&mut serial);
        let certificate =
            self.ca.issue(&checked, &identity, &[], now_s, serial).map_err(IssuerError::Issue)?;
        Ok(Issued { certificate, public_key_hash: sha256(checked.spki()) })
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}
