//! A node's directory: who it is, its secrets under a passphrase, its certificates.
//!
//! ```text
//! deployment.cbor   cluster, region, number, shards, token; fixed when it is made
//! secrets.sealed    region key, issuing CA, node and service keys, HPKE keys
//! root.pem          the root certificates; root.key.sealed and root2.key.sealed belong on an offline
//!                   medium
//! members.cbor      the cluster's nodes as they were when this one joined
//! level             up to which level there may be entries in db/
//! operator.*        an operator's certificate and key, for the commands on this machine
//! db/               log and state
//! ```
//!
//! **Invariants:** the service's secrets are on disk only under the passphrase or the token (an operator's key, which
//! lives for hours, and what `dev` makes, are readable by their owner only); a directory that was made for
//! another cluster, region or format, or that a newer release wrote in, is refused and not touched.

mod certificates;
mod create;
mod found;
#[cfg(test)]
mod golden;
mod join;
mod keeper;
mod level;
mod restore;
mod secrets;

pub use certificates::Own;
pub(crate) use certificates::{all_from_pem as pem_objects, armour, pem};
pub use create::Making;
pub use found::Welcome;
pub use join::{Admission, HandOver};
pub use keeper::{Keeper, Renewed};
pub(crate) use level::raise as raise_level;
pub use restore::Restoring;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

use fieldmesh_actors::seams::{Clock, Entropy};
use fieldmesh_domain::{
    EntityId,
    placement::{Home, LEVEL, Members},
};
use fieldmesh_envelope::SoftwareSigner;
use fieldmesh_pki::{
    IssueError, IssuingCa, KeyMaterial, Kind, TrustStore, Urls, ocsp::IssuerRef, tls::Credentials,
    vault,
};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::{
    config::Config,
    files,
    ledger::HeadSigner,
    sealing::Key,
    service::{ServiceSecrets, StoredHpke, rotated},
    store::rows,
    web::public,
};
use secrets::{HpkeRow, Seal, Secrets};

/// Version of the directory's layout.
const FORMAT: u32 = 2;

/// Why a directory cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    #[error("{path} cannot be read or written")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} holds a deployment already: choose another directory")]
    Exists { path: PathBuf },
    #[error("{path} holds no deployment: run `fieldmesh init` first")]
    Missing { path: PathBuf },
    #[error("{path} was made with {key} = {found}, the configuration says {wanted}")]
    Other { path: PathBuf, key: &'static str, found: String, wanted: String },
    #[error("{path} has format {found}, this program knows format {FORMAT}")]
    Format { path: PathBuf, found: u32 },
    #[error(
        "{path} has format {found} of a newer release, this program knows format {FORMAT}: run that release, nothing was changed"
    )]
    NewerFormat { path: PathBuf, found: u32 },
    #[error(
        "{path}: a newer release wrote here at level {found}, this program knows level {LEVEL}: run that release, nothing was changed"
    )]
    NewerLevel { path: PathBuf, found: u64 },
    #[error("{path}: {source}")]
    Vault { path: PathBuf, source: vault::VaultError },
    #[error("{path} is damaged: restore it from a backup")]
    Damaged { path: PathBuf },
    #[error("{path} is in use by another server")]
    InUse { path: PathBuf },
    #[error("the region is not part of its cluster yet: run `fieldmesh join --issuing` again")]
    Unfounded,
    #[error(
        "the region's CA key is in a token: it cannot be handed to another node or a backup, whose software has no place for it"
    )]
    InToken,
    #[error("a certificate cannot be issued")]
    Issue(#[from] IssueError),
    #[error("a key cannot be made or used: {0}")]
    Key(String),
}

/// What the directory was made for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Facts {
    #[n(0)]
    pub format: u32,
    #[n(1)]
    pub cluster: String,
    #[n(2)]
    pub region: String,
    #[n(3)]
    pub number: u64,
    #[n(4)]
    pub shards: u32,
    #[cbor(n(5), with = "minicbor::bytes")]
    pub node_id: [u8; 16],
    #[cbor(n(6), with = "minicbor::bytes")]
    pub service_id: [u8; 16],
    /// The address of the token that holds the issuing key and the seal.
    #[n(7)]
    pub token: Option<String>,
    /// SHA-256 of the root certificates, one behind the other: a file that lost one is damaged.
    #[cbor(n(8), with = "minicbor::bytes")]
    pub roots: [u8; 32],
    /// The same of the file that is about to replace it.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub next_roots: Option<[u8; 32]>,
    /// The node's registration, where the cluster was there before it.
    #[n(10)]
    pub joined_as: Option<EntityId>,
    /// The region's number in the cluster, by which its groups are numbered.
    #[cbor(n(11), default)]
    pub index: u32,
}

impl Facts {
    /// The region with its groups.
    ///
    /// # Errors
    /// Where the region has no name, or waits for the cluster to take it in.
    pub fn home(&self) -> Result<Home, DeploymentError> {
        if self.index == found::NO_NUMBER {
            return Err(DeploymentError::Unfounded);
        }
        let region = self.region.parse().map_err(key_error)?;
        Ok(Home::new(region, self.index, self.shards))
    }
}

/// An opened deployment.
pub struct Deployment {
    pub dir: PathBuf,
    pub facts: Facts,
    pub roots: Vec<Vec<u8>>,
    pub trust: TrustStore,
    /// For the node's TLS, both QUIC and HTTPS: chain with the root, so that a pin can be checked.
    pub node: Credentials,
    pub issuing: Arc<IssuingCa>,
    pub service: ServiceSecrets,
    pub head_signer: HeadSigner,
    /// The cluster's nodes as they were when this one joined.
    pub members: Members,
    /// What the authority is to know.
    own: Vec<Own>,
    secrets: Secrets,
    seal: Seal,
    operator: certificates::Operator,
    /// Keeps other processes out.
    lock: File,
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> DeploymentError {
    let path = path.to_owned();
    |source| DeploymentError::File { path, source }
}

fn key_error(error: impl std::fmt::Display) -> DeploymentError {
    DeploymentError::Key(error.to_string())
}

fn random<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

impl Deployment {
    /// The address of the token that holds a deployment's seal, if one does: what opens it is then a
    /// PIN.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn token(config: &Config) -> Result<Option<String>, DeploymentError> {
        let dir = &config.node.data_dir;
        let whole = dir.join("deployment.cbor");
        let path = if whole.exists() { whole } else { dir.join("pending.cbor") };
        read_facts(&path, config).map(|facts| facts.token)
    }

    /// Whether the directory holds a deployment.
    pub fn is_there(dir: &Path) -> bool {
        dir.join("deployment.cbor").exists()
    }

    /// Makes a new deployment with roots of its own, under a passphrase.
    ///
    /// # Errors
    /// Where there is one already, or files cannot be written.
    pub fn create(
        config: &Config,
        passphrase: &[u8],
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<(), DeploymentError> {
        Self::make(config, passphrase, &Making::default(), clock, entropy).map(|_| ())
    }

    /// Makes a new deployment; `secret` is the passphrase, or the PIN of the token. Where the roots
    /// are kept elsewhere it waits for [`Self::complete`], and the path of the request that is to be
    /// signed there is returned.
    ///
    /// # Errors
    /// Where there is one already, or files or keys cannot be made.
    pub fn make(
        config: &Config,
        secret: &[u8],
        making: &Making,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Option<PathBuf>, DeploymentError> {
        match &making.roots {
            None => create::whole(config, secret, making, clock, entropy).map(|()| None),
            Some(roots) => create::prepare(config, secret, making, roots, entropy).map(Some),
        }
    }

    /// Brings the issuing CA's certificate, DER, to a deployment that waits for it.
    ///
    /// # Errors
    /// Where none waits, or the certificate is for another key or by another root.
    pub fn complete(
        config: &Config,
        secret: &[u8],
        certificate: Vec<u8>,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<(), DeploymentError> {
        create::complete(config, secret, certificate, 0, clock, entropy)
    }

    /// Opens a deployment for this process alone, and renews what is due: in memory, until
    /// [`Keeper::keep_renewed`].
    ///
    /// # Errors
    /// Every fact that does not fit, by name; nothing was changed.
    pub fn open(
        config: &Config,
        secret: &[u8],
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Self, DeploymentError> {
        let dir = config.node.data_dir.clone();
        let facts = read_facts(&dir.join("deployment.cbor"), config)?;
        level::check(&dir)?;
        let lock = files::lock_dir(&dir).map_err(|source| match source.kind() {
            io::ErrorKind::ResourceBusy => DeploymentError::InUse { path: dir.clone() },
            _ => DeploymentError::File { path: dir.clone(), source },
        })?;
        let seal = Seal::of(facts.token.as_deref(), secret)?;
        let members = join::members(&dir)?;
        let mut secrets = seal.read_secrets(&dir.join("secrets.sealed"))?;
        let roots = certificates::roots(&dir.join("root.pem"), &facts)?;
        let now_s = clock.now_ms() / 1000;
        let issuing = Arc::new(with_urls(seal.issuing(&secrets)?, config)?);
        let known = vec![issuing.certificate().to_vec()];
        let trust = TrustStore::for_cluster(&facts.cluster, roots.clone(), known);
        let trust = trust.map_err(key_error)?;
        let service_key = KeyMaterial::from_pkcs8(&secrets.service_key).map_err(key_error)?;
        let mut own = Vec::new();
        if certificates::is_due(&issuing, &roots, &secrets.service_certificate, now_s) {
            let identity = facts.service_identity();
            secrets.service_certificate =
                certificates::issue(&issuing, &service_key, &identity, &[], now_s, entropy)?;
            own.push(Own { kind: Kind::Service, der: secrets.service_certificate.clone() });
        }
        let hpke = certificates::hpke(&mut secrets, now_s)?;
        let node =
            certificates::node(&facts, &mut secrets, &issuing, &roots, config, now_s, entropy)?;
        let operator = match certificates::kept_operator(&dir, &facts, &issuing, &roots, now_s) {
            Some(kept) => kept,
            None => certificates::operator(&facts, &issuing, now_s, entropy)?,
        };
        own.push(Own { kind: Kind::Node, der: secrets.node_certificate.clone() });
        own.push(Own { kind: Kind::Operator, der: operator.leaf.clone() });
        let service = service(&facts, &secrets, &issuing, hpke)?;
        let head_signer = HeadSigner {
            cluster: facts.cluster.clone(),
            region: facts.region.clone(),
            key: service_key,
            chain: RwLock::new(service.chain.clone()),
        };
        Ok(Self {
            dir,
            facts,
            roots,
            trust,
            node,
            issuing,
            service,
            head_signer,
            members,
            own,
            secrets,
            seal,
            operator,
            lock,
        })
    }

    /// The issuing CA's key, PKCS#8.
    pub fn issuing_key(&self) -> &[u8] {
        &self.secrets.issuing_key
    }

    /// What writes the directory: once the node runs, and when the service's HPKE keys rotate.
    pub fn keeper(self, config: Config) -> (DeploymentParts, Keeper) {
        let Self { dir, facts, roots, trust, node, issuing, service, head_signer, own, .. } = self;
        let Self { members, secrets, seal, operator, lock, .. } = self;
        let keeper = Keeper {
            dir: dir.clone(),
            secrets,
            seal,
            operator,
            facts: facts.clone(),
            roots: roots.clone(),
            config,
            open: Vec::new(),
            _lock: lock,
        };
        let parts = DeploymentParts {
            dir,
            facts,
            roots,
            trust,
            node,
            issuing,
            service,
            head_signer,
            members,
            own,
        };
        (parts, keeper)
    }
}

/// A deployment in parts, for the node to be built of.
pub struct DeploymentParts {
    pub dir: PathBuf,
    pub facts: Facts,
    pub roots: Vec<Vec<u8>>,
    pub trust: TrustStore,
    pub node: Credentials,
    pub issuing: Arc<IssuingCa>,
    pub service: ServiceSecrets,
    pub head_signer: HeadSigner,
    pub members: Members,
    pub own: Vec<Own>,
}

/// Facts with a checksum, so that a changed bit is not another node.
fn encode_facts(facts: &Facts) -> Vec<u8> {
    let mut bytes = rows::encode(facts);
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

fn decode_facts(bytes: &[u8]) -> Option<Facts> {
    rows::whole(checked(bytes)?).ok()
}

/// The number of the format. Whatever else a later one changes, this is the first field of an array, and the checksum
/// is behind it: what is newer is told from what is damaged.
fn format_of(bytes: &[u8]) -> Option<u32> {
    let mut decoder = minicbor::Decoder::new(checked(bytes)?);
    decoder.array().ok()?;
    decoder.u32().ok()
}

/// What is in front of the checksum, where that is right.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (facts, checksum) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(facts).to_be_bytes() == *checksum).then_some(facts)
}

/// An issuing CA that says in what it signs where outsiders find more.
fn with_urls(issuing: IssuingCa, config: &Config) -> Result<IssuingCa, DeploymentError> {
    let urls = urls(config, issuing.certificate())?;
    Ok(issuing.with_urls(urls)?)
}

/// Where outsiders find what is said of certificates.
fn urls(config: &Config, issuing: &[u8]) -> Result<Urls, DeploymentError> {
    let base = match config.pki.public_url.as_str() {
        "" => format!("http://pki.{}", config.cluster.name),
        url => url.trim_end_matches('/').to_owned(),
    };
    let issuer = IssuerRef::new(issuing).map_err(key_error)?;
    let issuer = public::issuer_name(issuer.issuer_hash());
    Ok(Urls {
        crl: format!("{base}/crl/{issuer}.crl"),
        ocsp: format!("{base}/ocsp"),
        ca_issuers: format!("{base}/ca/{issuer}.cer"),
    })
}

fn service(
    facts: &Facts,
    secrets: &Secrets,
    issuing: &IssuingCa,
    hpke: Vec<StoredHpke>,
) -> Result<ServiceSecrets, DeploymentError> {
    let signer = SoftwareSigner::from_pkcs8(&secrets.service_key, &secrets.service_certificate)
        .map_err(key_error)?;
    Ok(ServiceSecrets {
        id: facts.service_id,
        region: facts.region.clone(),
        region_key: Key::from_bytes(Zeroizing::new(secrets.region_key)),
        signer,
        chain: vec![secrets.service_certificate.clone(), issuing.certificate().to_vec()],
        hpke,
    })
}

fn read_facts(path: &Path, config: &Config) -> Result<Facts, DeploymentError> {
    let path = path.to_owned();
    if !path.exists() {
        return Err(DeploymentError::Missing { path: config.node.data_dir.clone() });
    }
    let bytes = files::read(&path).map_err(file(&path))?;
    let damaged = || DeploymentError::Damaged { path: path.clone() };
    match format_of(&bytes).ok_or_else(damaged)? {
        FORMAT => {}
        found if found > FORMAT => return Err(DeploymentError::NewerFormat { path, found }),
        found => return Err(DeploymentError::Format { path, found }),
    }
    let facts = decode_facts(&bytes).ok_or_else(damaged)?;
    let same = [
        ("cluster.name", facts.cluster.clone(), config.cluster.name.clone()),
        ("cluster.region", facts.region.clone(), config.cluster.region.clone()),
        ("node.number", facts.number.to_string(), config.node.number.to_string()),
        ("node.shards", facts.shards.to_string(), config.node.shards.to_string()),
    ];
    for (key, found, wanted) in same {
        if found != wanted {
            return Err(DeploymentError::Other { path, key, found, wanted });
        }
    }
    Ok(facts)
}
