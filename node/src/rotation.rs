//! Keeps this node's keys and certificates current, and its authority what the bundle says.
//!
//! The placement group says which authorities are believed and which one signs (`domain::placement`).
//! A node makes that true of itself, whatever it missed, and then says so: the cluster waits for each
//! node's word before a new authority signs. **Invariants:** a node acknowledges what it believes
//! already, never what it is about to; the key of a removed authority is destroyed. **Not here:** the
//! order of the steps (`domain::placement`), who believes whom (`trust`), files (`deployment`).

use std::{sync::Arc, time::Duration};

use fieldmesh_domain::{
    Command, EntityId, Region,
    placement::{self, Bundle, Ca, PLACEMENT, Phase, Placement, Role},
    time::Millis,
};
use fieldmesh_pki::{CaCertificate, IssueError, Kind, tls::LiveCredentials};
use tokio::{sync::Mutex, time::timeout};

use crate::{
    deployment::{DeploymentError, Keeper, Own, Renewed},
    issuer::{Issuer, IssuerError, Signing, sha256},
    ledger::HeadSigner,
    node::Node,
    own,
    sealing::Place,
    status::{StatusBoard, StatusError},
};

/// How often keys and certificates are looked at; they live for days.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// A commit or two; what takes longer is begun again, after a pause.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why an authority was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    #[error("the certificate cannot be an authority's: {0}")]
    Certificate(IssueError),
    #[error("the certificate expired or is not valid yet: it is from {from_s} to {until_s}")]
    Life { from_s: u64, until_s: u64 },
    #[error("the certificate is for {found:?}, this authority needs {wanted:?}")]
    Foreign { found: String, wanted: String },
    #[error("region {region} has nodes, and one of them the key: bring the certificate there")]
    Elsewhere { region: Region },
    #[error("no root that is believed has signed the certificate: introduce its root first")]
    Unsigned,
    #[error("the certificate's key is another authority's")]
    Key,
    #[error(transparent)]
    Directory(#[from] DeploymentError),
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    #[error(transparent)]
    Status(#[from] StatusError),
    #[error("the placement group does not answer: {0}")]
    Placement(String),
}

/// What keeps a node's authority current.
pub struct Rotation {
    pub node: Arc<Node>,
    pub issuer: Arc<Issuer>,
    pub status: Arc<StatusBoard>,
    pub head_signer: Arc<HeadSigner>,
    pub live: Arc<LiveCredentials>,
    pub keeper: Mutex<Keeper>,
}

impl Rotation {
    /// Tells the cluster of what the region was made with, where it does not know, and does what was
    /// missed. Whether this is the region's first start.
    ///
    /// # Errors
    /// See [`RotationError`].
    pub async fn begin(&self) -> Result<bool, RotationError> {
        let own = self.authority()?;
        // One that others introduced for a region that there was not yet waits for this.
        let is_known = |ca: &Ca| {
            ca.role == Role::Issuing && ca.authority == own && ca.phase != Phase::Introduced
        };
        let is_first = !self.node.trust.authorities().iter().any(is_known);
        if is_first {
            let founding = self.founding(own, self.keeper.lock().await.roots())?;
            self.tell(placement::Command::Adopt(founding)).await?;
        }
        let cas = self.node.trust.authorities();
        self.fetch(&cas).await?;
        let mut keeper = self.keeper.lock().await;
        self.follow(&mut keeper, &cas)?;
        self.renew(&mut keeper).await?;
        Ok(is_first)
    }

    /// Does so for as long as the node runs.
    pub async fn run(self: Arc<Self>) {
        let mut epoch = self.node.trust.epoch();
        loop {
            let again = match self.settle().await {
                Ok(()) => LOOK_EVERY,
                Err(error) => {
                    tracing::error!(%error, "the authority is not what the cluster wants it to be");
                    RETRY_AFTER
                }
            };
            let left_s = self.issuer.not_after_s().saturating_sub(self.now_s());
            metrics::gauge!("fieldmesh_issuer_seconds_left").set(left_s as f64);
            tokio::select! {
                changed = epoch.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(again) => self.rotate_service_keys().await,
            }
        }
    }

    fn now_s(&self) -> u64 {
        self.node.clock.now_ms() / 1000
    }

    fn authority(&self) -> Result<EntityId, RotationError> {
        let region = self.issuer.region().parse();
        let region =
            region.map_err(|_| RotationError::Placement("the region has no name".into()))?;
        Ok(EntityId::authority(region))
    }

    async fn tell(&self, command: placement::Command) -> Result<(), RotationError> {
        let told = self.node.ask(EntityId::placement(), Command::Placement(command)).await;
        told.map(|_| ()).map_err(|error| RotationError::Placement(error.to_string()))
    }

    /// Roots and issuing CA as the deployment has them; the roots are known where there was a cluster
    /// before.
    fn founding(&self, own: EntityId, roots: &[Vec<u8>]) -> Result<Vec<Ca>, RotationError> {
        let issuing = self.issuer.ca().certificate().to_vec();
        let signer = roots.iter().find(|root| CaCertificate::is_signed_by(&issuing, root));
        let signer = sha256(signer.ok_or(RotationError::Unsigned)?);
        let mut founding = Vec::new();
        let is_first_region = self.node.known.own().index == 0;
        for root in roots.iter().filter(|_| is_first_region) {
            let mut ca = self.read(root, own, sha256(root))?;
            if ca.fingerprint == signer {
                ca.phase = Phase::Active;
            }
            founding.push(ca);
        }
        founding.push(Ca { phase: Phase::Active, ..self.read(&issuing, own, signer)? });
        Ok(founding)
    }

    fn read(&self, der: &[u8], own: EntityId, signer: [u8; 32]) -> Result<Ca, RotationError> {
        let read = CaCertificate::read(der).map_err(RotationError::Certificate)?;
        Ok(Ca {
            fingerprint: read.fingerprint,
            certificate: der.to_vec(),
            role: if read.is_root { Role::Root } else { Role::Issuing },
            authority: own,
            name: read.name_hash,
            signer,
            not_after: read.not_after_s,
            phase: Phase::Introduced,
            since: Millis(self.node.clock.now_ms()),
            epoch: 0,
            compromised: false,
        })
    }

    /// Makes this node what the bundle says, and says so.
    ///
    /// # Errors
    /// See [`RotationError`]; what was done is not undone, and is not acknowledged.
    pub async fn settle(&self) -> Result<(), RotationError> {
        let epoch = *self.node.trust.epoch().borrow();
        let cas = self.node.trust.authorities();
        self.fetch(&cas).await?;
        let mut keeper = self.keeper.lock().await;
        self.follow(&mut keeper, &cas)?;
        self.renew(&mut keeper).await?;
        drop(keeper);
        // Only here: cut short between, a certificate would be stored and never shown.
        let late = |_| RotationError::Placement("no answer in time".into());
        timeout(TOLD_WITHIN, self.status.certify()).await.map_err(late)?;
        let node = self.node.number;
        let told = self.tell(placement::Command::Acknowledge { node, epoch });
        timeout(TOLD_WITHIN, told).await.map_err(late)?
    }

    /// The same to its end, also where whoever asked for it goes away meanwhile.
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub async fn settle_all(self: &Arc<Self>) -> Result<(), RotationError> {
        let rotation = Arc::clone(self);
        let settled = tokio::spawn(async move { rotation.settle().await }).await;
        settled.map_err(|error| RotationError::Placement(error.to_string()))?
    }

    /// Gets keys of this region's issuing CAs that another node made, as soon as the CA is introduced:
    /// whichever node is left then can sign. Nobody waits for this node's keys meanwhile, because the
    /// other one may be asking for them.
    async fn fetch(&self, cas: &[Ca]) -> Result<(), RotationError> {
        let own = self.authority()?;
        let is_ours = |ca: &&Ca| {
            ca.role == Role::Issuing && ca.authority == own && ca.phase != Phase::Removed
        };
        for ca in cas.iter().filter(is_ours) {
            if self.keeper.lock().await.has_issuing(&ca.fingerprint) {
                continue;
            }
            let Some(sealed) = self.node.courier.issuing_key(ca.fingerprint).await else {
                tracing::warn!("no node of the region that answers has an issuing CA's key");
                continue;
            };
            let key = self.node.service.region_key();
            match key.open(Place::IssuingKey, &ca.fingerprint, &sealed) {
                Ok(plain) => {
                    let mut keeper = self.keeper.lock().await;
                    keeper.take_issuing(&ca.fingerprint, &plain, &*self.node.entropy)?;
                    tracing::info!("the key of an issuing CA came from another node");
                }
                Err(error) => tracing::error!(%error, "an issuing CA's key does not open"),
            }
        }
        Ok(())
    }

    /// The key of an issuing CA, by its certificate's SHA-256, under the region's key; none where it is
    /// not here.
    pub async fn sealed_issuing(&self, fingerprint: [u8; 32]) -> Option<Vec<u8>> {
        let plain = self.keeper.lock().await.issuing(&fingerprint)?;
        let (key, entropy) = (self.node.service.region_key(), &*self.node.entropy);
        key.seal(Place::IssuingKey, &fingerprint, &plain, entropy).ok()
    }

    /// Keys, roots and desks as the bundle says.
    fn follow(&self, keeper: &mut Keeper, cas: &[Ca]) -> Result<(), RotationError> {
        let (own, entropy) = (self.authority()?, &*self.node.entropy);
        let believed = |ca: &&Ca| ca.phase != Phase::Removed;
        let is_ours = |ca: &&Ca| ca.role == Role::Issuing && ca.authority == own;
        let active = cas.iter().filter(is_ours).find(|ca| ca.phase == Phase::Active);
        let before = self.issuer.ca();
        let signs = match active.filter(|ca| ca.fingerprint != sha256(before.certificate())) {
            Some(active) => {
                tracing::info!("another issuing CA signs from now on");
                Arc::new(keeper.switch(&active.fingerprint, entropy)?)
            }
            None => before,
        };
        let roots = cas.iter().filter(believed).filter(|ca| ca.role == Role::Root);
        keeper.set_roots(roots.map(|ca| ca.certificate.clone()).collect())?;
        let issuing = cas.iter().filter(believed).filter(is_ours);
        let others = issuing.filter(|ca| ca.certificate != signs.certificate());
        let others: Vec<Vec<u8>> = others.map(|ca| ca.certificate.clone()).collect();
        let mut listed = vec![Arc::clone(&signs)];
        listed.extend(keeper.others(|der| others.iter().any(|other| other == der)));
        self.status.show(&listed)?;
        self.issuer.replace(Signing::new(signs, others, keeper.roots().to_vec())?);
        // Last: nothing signs with it any more.
        let is_removed = |fingerprint: &[u8; 32]| {
            cas.iter().any(|ca| ca.fingerprint == *fingerprint && ca.phase == Phase::Removed)
        };
        Ok(keeper.destroy(is_removed, entropy)?)
    }

    async fn rotate_service_keys(&self) {
        let mut keeper = self.keeper.lock().await;
        match self.node.service.rotate(self.now_s()) {
            Ok(None) => {}
            Ok(Some(keys)) => match keeper.keep(&keys, &*self.node.entropy) {
                Ok(()) => tracing::info!(keys = keys.len(), "the service's HPKE keys were rotated"),
                Err(error) => tracing::error!(%error, "rotated keys could not be stored"),
            },
            Err(error) => tracing::error!(%error, "HPKE keys could not be rotated"),
        }
    }

    /// Renews the node's own certificates that are due, or by an issuing CA that does not sign any more.
    async fn renew(&self, keeper: &mut Keeper) -> Result<(), RotationError> {
        let now_s = self.now_s();
        let renewed = keeper.renew(&self.issuer.ca(), now_s, &*self.node.entropy)?;
        let Renewed { node, service, own } = renewed;
        self.record(&own).await;
        // Only now: whoever takes it from the directory is believed.
        if own.iter().any(|own| own.kind == Kind::Operator) {
            keeper.keep_operator()?;
        }
        if let Some(credentials) = node {
            match self.live.replace(&credentials) {
                Ok(()) => tracing::info!("the node's certificate was renewed"),
                Err(error) => tracing::error!(%error, "the node's new certificate cannot be used"),
            }
        }
        if let Some((signer, chain)) = service {
            self.head_signer.recertify(chain.clone());
            match self.node.service.recertify(signer, chain, now_s) {
                Ok(()) => tracing::info!("the service's certificate was renewed"),
                Err(error) => tracing::error!(%error, "the service's new certificate is unusable"),
            }
        }
        Ok(())
    }

    async fn record(&self, own: &[Own]) {
        if let Err(error) = own::record(&self.node, own).await {
            tracing::error!(error, "the node's own certificates are not in the register");
        }
    }

    /// The bundle with its acknowledgements.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn bundle(&self) -> Result<Bundle, RotationError> {
        let read = |error: &dyn std::fmt::Display| RotationError::Placement(error.to_string());
        let journal = self.node.journal(PLACEMENT);
        let journal = journal.ok_or_else(|| read(&"it does not run here"))?;
        let state: Placement =
            journal.state(EntityId::placement()).map_err(|error| read(&error))?;
        Ok(state.bundle)
    }

    /// A request, DER, for the region's next issuing CA; the same until it was introduced.
    ///
    /// # Errors
    /// Where no key can be made or stored.
    pub async fn request(&self) -> Result<Vec<u8>, RotationError> {
        Ok(self.keeper.lock().await.request(&*self.node.entropy)?)
    }

    /// Reads an authority that an operator brings, and keeps it where its key is here.
    ///
    /// # Errors
    /// What is wrong with the certificate; nothing was changed.
    pub async fn bring(&self, der: &[u8]) -> Result<Ca, RotationError> {
        let read = CaCertificate::read(der).map_err(RotationError::Certificate)?;
        let (from_s, until_s, now_s) = (read.not_before_s, read.not_after_s, self.now_s());
        if !(from_s..until_s).contains(&now_s) {
            return Err(RotationError::Life { from_s, until_s });
        }
        let cluster = self.issuer.cluster();
        let own = self.authority()?;
        let authority = match (read.is_root, issues_for(&read.name, cluster)) {
            (true, _) if read.is_of(cluster) => own,
            (false, Some(region)) if read.is_of(cluster) => EntityId::authority(region),
            (is_root, _) => {
                let wanted = if is_root { "root" } else { "<region> issuing" };
                let wanted = format!("{cluster} {wanted} <generation>");
                return Err(RotationError::Foreign { found: read.name, wanted });
            }
        };
        // A region that is there has the key of each of its authorities.
        if authority != own && self.node.known.known().home(authority.region()).is_some() {
            return Err(RotationError::Elsewhere { region: authority.region() });
        }
        let known = self.node.trust.authorities();
        let has_key = |ca: &Ca| {
            ca.fingerprint != read.fingerprint
                && CaCertificate::read(&ca.certificate)
                    .is_ok_and(|other| other.key_hash == read.key_hash)
        };
        if known.iter().any(has_key) {
            return Err(RotationError::Key);
        }
        if read.is_root {
            return self.read(der, own, read.fingerprint);
        }
        let is_signer = |ca: &&Ca| {
            ca.role == Role::Root
                && ca.phase != Phase::Removed
                && CaCertificate::is_signed_by(der, &ca.certificate)
        };
        let signer = known.iter().find(is_signer).ok_or(RotationError::Unsigned)?.fingerprint;
        if authority == own {
            self.keeper.lock().await.certify(der, &*self.node.entropy)?;
        }
        self.read(der, authority, signer)
    }
}

/// The region that an issuing authority of the cluster is for, by its name.
fn issues_for(name: &str, cluster: &str) -> Option<Region> {
    let (region, _generation) =
        name.strip_prefix(cluster)?.strip_prefix(' ')?.split_once(" issuing ")?;
    region.parse().ok()
}
