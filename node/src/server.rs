//! A whole server on this machine: deployment, engine, sockets, node, HTTPS.
//!
//! **Not here:** what it is used for (`cli`), simulation (which builds a `Node` of other parts).

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use fieldmesh_actors::seams::{Clock, Entropy};
use fieldmesh_pki::{
    TrustStore,
    tls::{Credentials, Now, PeerVerifier, Revoked, device_server_config, https_server_config},
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::Instant;

use crate::{
    audit::Audit,
    config::Config,
    deployment::{Deployment, DeploymentError, DeploymentParts, Keeper},
    edge, files,
    issuer::Issuer,
    node::{Node, NodeError, NodeParts},
    os::{SystemClock, SystemEntropy},
    placement::ShardMap,
    store::rocks::Rocks,
    web::{Shared, Web},
};

/// How often the service's HPKE keys are looked at; they live for days.
const ROTATE_EVERY: Duration = Duration::from_secs(600);
/// How long the HTTPS threads may take to let go of the node, and how often that is looked at.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
const STOP_POLL: Duration = Duration::from_millis(5);
/// Exit code after the log failed: the machine's disk needs a look.
pub const EXIT_STORAGE: i32 = 74;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
    #[error("{path} cannot be made or written")]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{key} = {address} cannot be listened on")]
    Listen {
        key: &'static str,
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the node did not start")]
    Node(#[from] NodeError),
    #[error("TLS cannot be configured: {0}")]
    Tls(String),
    #[error("metrics cannot be recorded")]
    Metrics(#[from] BuildError),
}

/// A running server.
pub struct Server {
    pub node: Arc<Node>,
    pub devices: SocketAddr,
    pub https: SocketAddr,
    web: Web,
    rotation: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts everything and waits until every shard answers.
    ///
    /// # Errors
    /// See [`ServerError`]; nothing stays running.
    pub async fn start(config: &Config, passphrase: &[u8]) -> Result<Self, ServerError> {
        let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) =
            (Arc::new(SystemClock), Arc::new(SystemEntropy::default()));
        let (parts, keeper) = Deployment::open(config, passphrase, &*clock, &*entropy)?.keeper();
        let DeploymentParts { dir, facts, root, trust, node: credentials, issuing, service } =
            parts;
        let db = dir.join("db");
        files::make_private_dir(&db)
            .map_err(|source| ServerError::Directory { path: db.clone(), source })?;
        let audit = Audit::in_dir(&dir)
            .map_err(|source| ServerError::Directory { path: dir.clone(), source })?;
        let metrics = recorder()?;
        let reset_key = service.region_key.derive(b"stateless reset");
        let Sockets { listener, https_tls, endpoint, devices } =
            Sockets::open(config, &credentials, &trust, &clock, &reset_key)?;
        let parts = NodeParts {
            cluster: facts.cluster.clone(),
            region: facts.region.clone(),
            number: facts.number,
            map: ShardMap::new(facts.shards),
            timing: config.raft.timing(),
            awake_max: config.node.entities_awake_max,
            engine: Arc::new(Rocks::new(&db)),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            trust: Arc::clone(&trust),
            endpoint,
            device_rate: config.listen.device_rate(),
            on_fatal: Arc::new(|error| {
                tracing::error!(%error, "the log failed: the node ends, and recovers when it is started again");
                std::process::exit(EXIT_STORAGE);
            }),
            audit,
        };
        let node = Arc::new(Node::start(parts, service).await?);
        // Only now: a start that fails leaves the directory as it was.
        keeper.keep_renewed(&*entropy)?;
        node.ready().await;
        let issuer = Arc::new(Issuer::new(facts.cluster, facts.region, issuing, root, trust));
        let shared = Shared { node: Arc::clone(&node), issuer, metrics, devices };
        let https = config.listen.https;
        let web = Web::start(listener, https_tls, config.listen.https_workers, shared).map_err(
            |source| ServerError::Listen { key: "listen.https", address: https, source },
        )?;
        let rotation = tokio::spawn(rotate(Arc::clone(&node), keeper));
        Ok(Self { https: web.address, devices, node, web, rotation })
    }

    /// Ends in order: requests, devices, shards, log.
    pub async fn stop(self) {
        self.rotation.abort();
        self.web.stop().await;
        // The HTTPS threads drop their handles when they end, which is a moment later.
        let mut shared = self.node;
        let began = Instant::now();
        loop {
            match Arc::try_unwrap(shared) {
                Ok(node) => return node.stop().await,
                Err(_) if began.elapsed() > STOP_PATIENCE => {
                    tracing::warn!("the node is still in use: it ends with the process");
                    return;
                }
                Err(node) => shared = node,
            }
            tokio::time::sleep(STOP_POLL).await;
        }
    }
}

/// The open sockets with their TLS.
struct Sockets {
    listener: TcpListener,
    https_tls: rustls::ServerConfig,
    endpoint: edge::Endpoint,
    devices: SocketAddr,
}

impl Sockets {
    fn open(
        config: &Config,
        credentials: &Credentials,
        trust: &Arc<TrustStore>,
        clock: &Arc<dyn Clock>,
        reset_key: &[u8; 32],
    ) -> Result<Self, ServerError> {
        let seconds = Arc::clone(clock);
        let now: Now = Arc::new(move || seconds.now_ms() / 1000);
        let verifier = |client_may_be_unknown| {
            let (trust, now) = (Arc::clone(trust), Arc::clone(&now));
            let revoked: Revoked = Arc::new(|_, _| false);
            Arc::new(PeerVerifier { trust, now, revoked, client_may_be_unknown })
        };
        let tls = |error: rustls::Error| ServerError::Tls(error.to_string());
        let alpn = fieldmesh_device::wire::ALPN;
        let device_tls = device_server_config(credentials, verifier(false), alpn).map_err(tls)?;
        let https_tls = https_server_config(credentials, verifier(true)).map_err(tls)?;
        let quic =
            edge::server_config(device_tls).map_err(|error| ServerError::Tls(error.to_string()))?;
        let (devices, https) = (config.listen.devices, config.listen.https);
        let listener = TcpListener::bind(https).map_err(|source| ServerError::Listen {
            key: "listen.https",
            address: https,
            source,
        })?;
        let refused =
            |source| ServerError::Listen { key: "listen.devices", address: devices, source };
        let endpoint = edge::bind(devices, quic, reset_key).map_err(refused)?;
        let devices = endpoint.local_addr().map_err(refused)?;
        Ok(Self { listener, https_tls, endpoint, devices })
    }
}

async fn rotate(node: Arc<Node>, mut keeper: Keeper) {
    loop {
        tokio::time::sleep(ROTATE_EVERY).await;
        match node.service.rotate(node.clock.now_ms() / 1000) {
            Ok(None) => {}
            Ok(Some(keys)) => match keeper.keep(&keys, &*node.entropy) {
                Ok(()) => tracing::info!(keys = keys.len(), "the service's HPKE keys were rotated"),
                Err(error) => tracing::error!(%error, "rotated keys could not be stored"),
            },
            Err(error) => tracing::error!(%error, "HPKE keys could not be rotated"),
        }
    }
}

/// The process-wide recorder; installed once.
fn recorder() -> Result<PrometheusHandle, ServerError> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("seconds".into()), &buckets)?;
    let handle = builder.install_recorder()?;
    Ok(HANDLE.get_or_init(|| handle).clone())
}
