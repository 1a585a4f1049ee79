//! A node's directory: who it is, its secrets under a passphrase, its certificates.
//!
//! ```text
//! deployment.cbor   cluster, region, number, shards; fixed when it is made
//! secrets.sealed    region key, issuing CA, node and service keys, HPKE keys
//! root.pem          the root certificate; root.key.sealed belongs on an offline medium
//! operator.*        an operator's certificate and key, for the commands on this machine
//! db/               log and state
//! ```
//!
//! **Invariants:** the service's secrets are on disk only under the passphrase (an operator's key, which
//! lives for hours, and what `dev` makes, are readable by their owner only); a directory that was made for
//! another cluster, region or format is refused and not touched.

mod certificates;

pub(crate) use certificates::all_from_pem as pem_objects;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use fieldmesh_actors::seams::{Clock, Entropy};
use fieldmesh_envelope::SoftwareSigner;
use fieldmesh_pki::{
    IssueError, IssuingCa, KeyMaterial, RootCa, TrustStore, is_self_signed, tls::Credentials, vault,
};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::{
    config::Config,
    files::{self, Access},
    sealing::Key,
    service::{ServiceSecrets, StoredHpke, rotated},
    store::rows,
};

/// Version of the directory's layout.
const FORMAT: u32 = 1;

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
    #[error("{path}: {source}")]
    Vault { path: PathBuf, source: vault::VaultError },
    #[error("{path} is damaged: restore it from a backup")]
    Damaged { path: PathBuf },
    #[error("{path} is in use by another server")]
    InUse { path: PathBuf },
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
}

/// The secrets as they are sealed.
#[derive(Encode, Decode)]
struct Secrets {
    #[cbor(n(0), with = "minicbor::bytes")]
    region_key: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    issuing_key: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    issuing_certificate: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    node_key: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    service_key: Vec<u8>,
    /// The signer's certificate: messages that wait name it, so it changes only when it must.
    #[cbor(n(5), with = "minicbor::bytes")]
    service_certificate: Vec<u8>,
    #[n(6)]
    hpke: Vec<HpkeRow>,
}

#[derive(Encode, Decode)]
struct HpkeRow {
    #[cbor(n(0), with = "minicbor::bytes")]
    pair: Vec<u8>,
    #[n(1)]
    made_s: u64,
}

impl Drop for Secrets {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.region_key.zeroize();
        self.issuing_key.zeroize();
        self.node_key.zeroize();
        self.service_key.zeroize();
        for row in &mut self.hpke {
            row.pair.zeroize();
        }
    }
}

/// An opened deployment.
pub struct Deployment {
    pub dir: PathBuf,
    pub facts: Facts,
    pub root: Vec<u8>,
    pub trust: Arc<TrustStore>,
    /// For the node's TLS, both QUIC and HTTPS: chain with the root, so that a pin can be checked.
    pub node: Credentials,
    pub issuing: IssuingCa,
    pub service: ServiceSecrets,
    secrets: Secrets,
    passphrase: Zeroizing<Vec<u8>>,
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

fn seal_file(
    path: &Path,
    passphrase: &[u8],
    plain: &[u8],
    entropy: &dyn Entropy,
) -> Result<(), DeploymentError> {
    let sealed = vault::seal(passphrase, plain, random(entropy), random(entropy));
    let sealed =
        sealed.map_err(|source| DeploymentError::Vault { path: path.to_owned(), source })?;
    files::write(path, &sealed, Access::Owner).map_err(file(path))
}

impl Deployment {
    /// Whether the directory holds a deployment.
    pub fn is_there(dir: &Path) -> bool {
        dir.join("deployment.cbor").exists()
    }

    /// Makes a new deployment: root, issuing CA, keys.
    ///
    /// # Errors
    /// Where there is one already, or files cannot be written.
    pub fn create(
        config: &Config,
        passphrase: &[u8],
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<(), DeploymentError> {
        let dir = &config.node.data_dir;
        if Self::is_there(dir) {
            return Err(DeploymentError::Exists { path: dir.clone() });
        }
        files::make_private_dir(dir).map_err(file(dir))?;
        let now_s = clock.now_ms() / 1000;
        let facts = Facts {
            format: FORMAT,
            cluster: config.cluster.name.clone(),
            region: config.cluster.region.clone(),
            number: config.node.number,
            shards: config.node.shards,
            node_id: random(entropy),
            service_id: random(entropy),
        };
        let root = RootCa::create(&facts.cluster, now_s, random(entropy))?;
        let issuing = root.issue_issuing(&facts.region, now_s, random(entropy))?;
        let service_key = KeyMaterial::generate().map_err(key_error)?;
        let service_certificate = issuing.issue_for(
            service_key.public_point(),
            &facts.service_identity(),
            &[],
            now_s,
            random(entropy),
        )?;
        let secrets = Secrets {
            region_key: *Key::generate(entropy).expose(),
            issuing_key: issuing.key().pkcs8().to_vec(),
            issuing_certificate: issuing.certificate().to_vec(),
            node_key: KeyMaterial::generate().map_err(key_error)?.pkcs8().to_vec(),
            service_key: service_key.pkcs8().to_vec(),
            service_certificate: service_certificate.der,
            hpke: Vec::new(),
        };
        seal_file(&dir.join("root.key.sealed"), passphrase, root.key().pkcs8(), entropy)?;
        seal_file(
            &dir.join("secrets.sealed"),
            passphrase,
            &Zeroizing::new(rows::encode(&secrets)),
            entropy,
        )?;
        let pem = certificates::pem(root.certificate());
        files::write(&dir.join("root.pem"), pem.as_bytes(), Access::Everybody)
            .map_err(file(dir))?;
        // Last, so that a directory with this file is whole.
        files::write(&dir.join("deployment.cbor"), &encode_facts(&facts), Access::Owner)
            .map_err(file(dir))
    }

    /// Opens a deployment for this process alone, and renews what is due: in memory, until
    /// [`Keeper::keep_renewed`].
    ///
    /// # Errors
    /// Every fact that does not fit, by name; nothing was changed.
    pub fn open(
        config: &Config,
        passphrase: &[u8],
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Self, DeploymentError> {
        let dir = config.node.data_dir.clone();
        let facts = read_facts(&dir, config)?;
        let lock = files::lock_dir(&dir).map_err(|source| match source.kind() {
            io::ErrorKind::ResourceBusy => DeploymentError::InUse { path: dir.clone() },
            _ => DeploymentError::File { path: dir.clone(), source },
        })?;
        let path = dir.join("secrets.sealed");
        let sealed = files::read(&path).map_err(file(&path))?;
        let plain = vault::open(passphrase, &sealed)
            .map_err(|source| DeploymentError::Vault { path: path.clone(), source })?;
        let mut secrets: Secrets =
            minicbor::decode(&plain).map_err(|_| DeploymentError::Damaged { path })?;
        let root_path = dir.join("root.pem");
        let root = certificates::from_pem(&files::read(&root_path).map_err(file(&root_path))?)
            .filter(|root| is_self_signed(root))
            .ok_or(DeploymentError::Damaged { path: root_path })?;
        let now_s = clock.now_ms() / 1000;
        let issuing_key = KeyMaterial::from_pkcs8(&secrets.issuing_key).map_err(key_error)?;
        let issuing = IssuingCa::from_parts(issuing_key, secrets.issuing_certificate.clone())?;
        let trust = TrustStore::new(vec![root.clone()], vec![issuing.certificate().to_vec()])
            .map_err(key_error)?;
        let trust = Arc::new(trust);
        let service_key = KeyMaterial::from_pkcs8(&secrets.service_key).map_err(key_error)?;
        if certificates::is_due(&trust, &secrets.service_certificate, now_s) {
            let identity = facts.service_identity();
            secrets.service_certificate = issuing
                .issue_for(service_key.public_point(), &identity, &[], now_s, random(entropy))?
                .der;
        }
        let hpke = certificates::hpke(&mut secrets, now_s)?;
        let node = certificates::node(&facts, &secrets, &issuing, &root, config, now_s, entropy)?;
        let operator = certificates::operator(&facts, &issuing, now_s, entropy)?;
        let service = service(&facts, &secrets, &issuing, hpke)?;
        let passphrase = Zeroizing::new(passphrase.to_vec());
        Ok(Self {
            dir,
            facts,
            root,
            trust,
            node,
            issuing,
            service,
            secrets,
            passphrase,
            operator,
            lock,
        })
    }

    /// What writes the directory: once the node runs, and when the service's HPKE keys rotate.
    pub fn keeper(self) -> (DeploymentParts, Keeper) {
        let Self { dir, facts, root, trust, node, issuing, service, .. } = self;
        let Self { secrets, passphrase, operator, lock, .. } = self;
        let keeper = Keeper { dir: dir.clone(), secrets, passphrase, operator, _lock: lock };
        (DeploymentParts { dir, facts, root, trust, node, issuing, service }, keeper)
    }
}

/// A deployment in parts, for the node to be built of.
pub struct DeploymentParts {
    pub dir: PathBuf,
    pub facts: Facts,
    pub root: Vec<u8>,
    pub trust: Arc<TrustStore>,
    pub node: Credentials,
    pub issuing: IssuingCa,
    pub service: ServiceSecrets,
}

/// Keeps the sealed file up to date; destroyed keys leave the disk with the next write.
pub struct Keeper {
    dir: PathBuf,
    secrets: Secrets,
    passphrase: Zeroizing<Vec<u8>>,
    operator: certificates::Operator,
    _lock: File,
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
        let plain = Zeroizing::new(rows::encode(&self.secrets));
        seal_file(&self.dir.join("secrets.sealed"), &self.passphrase, &plain, entropy)
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

/// Facts with a checksum, so that a changed bit is not another node.
fn encode_facts(facts: &Facts) -> Vec<u8> {
    let mut bytes = rows::encode(facts);
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

fn decode_facts(bytes: &[u8]) -> Option<Facts> {
    let (facts, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(facts).to_be_bytes() != *checksum {
        return None;
    }
    minicbor::decode(facts).ok()
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

fn read_facts(dir: &Path, config: &Config) -> Result<Facts, DeploymentError> {
    let path = dir.join("deployment.cbor");
    if !path.exists() {
        return Err(DeploymentError::Missing { path: dir.to_owned() });
    }
    let bytes = files::read(&path).map_err(file(&path))?;
    let facts =
        decode_facts(&bytes).ok_or_else(|| DeploymentError::Damaged { path: path.clone() })?;
    if facts.format != FORMAT {
        return Err(DeploymentError::Format { path, found: facts.format });
    }
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
