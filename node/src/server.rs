//! A whole server on this machine: deployment, engine, sockets, node, HTTPS.
//!
//! **Not here:** what it is used for (`cli`), simulation (which builds a `Node` of other parts).

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use fieldmesh_actors::seams::{Clock, Entropy};
use fieldmesh_domain::placement;
use fieldmesh_pki::{
    IssuingCa, Kind, is_issued_by, profile,
    tls::{
        Credentials, LiveCredentials, Now, PeerVerifier, device_server_config, https_server_config,
    },
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{sync::Mutex, task::JoinHandle, time::Instant};

use crate::{
    agreement::Agreement,
    audit::Audit,
    bucket::{PEOPLE_MAX, Rates},
    chaos::Chaos,
    cluster::Cluster,
    config::{AdvertiseConfig, Config, PkiConfig},
    deployment::{Deployment, DeploymentError, DeploymentParts, Facts, Keeper, Own, raise_level},
    edge, files,
    introduction::{introduce, introduction, keep_introduced, moved},
    issuer::{Issuer, Signing},
    ledger::{self, HeadSigner},
    mesh::{self, Mesh, MeshOptions, SentAway, faults::Faults},
    node::{Node, NodeError, NodeParts},
    notices::{self, heartbeat},
    os::{SystemClock, SystemEntropy, steady_clock},
    own,
    rotation::Rotation,
    sealing::Key,
    service::ServiceSecrets,
    status::StatusBoard,
    store::{StoreError, faulty::FaultyEngine, rocks::Rocks},
    trust::Trust,
    web::{
        Shared, Web,
        attachments::{FETCHES, UPLOADS},
        est::KeysUnderWay,
        intake::REPORTS,
    },
};

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
    #[error("the authority cannot be used: {0}")]
    Issuer(String),
    #[error("TLS cannot be configured: {0}")]
    Tls(String),
    #[error(transparent)]
    SentAway(#[from] SentAway),
    #[error("metrics cannot be recorded")]
    Metrics(#[from] BuildError),
}

/// A running server.
pub struct Server {
    pub node: Arc<Node>,
    pub devices: SocketAddr,
    pub https: SocketAddr,
    pub http: SocketAddr,
    mesh: Arc<Mesh>,
    web: Web,
    public: Web,
    tasks: Vec<JoinHandle<()>>,
    /// Where the configuration asks for them.
    pub faults: Option<Arc<Faults>>,
}

impl Server {
    /// Starts everything and waits until every shard answers.
    ///
    /// # Errors
    /// See [`ServerError`]; nothing stays running.
    pub async fn start(config: &Config, secret: &[u8]) -> Result<Self, ServerError> {
        let chaos = Chaos::new(config.chaos.enabled, Arc::new(SystemClock));
        let clock: Arc<dyn Clock> = Arc::new(steady_clock(chaos.on_clock(SystemClock)));
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::default());
        let (parts, keeper) =
            Deployment::open(config, secret, &*clock, &*entropy)?.keeper(config.clone());
        let DeploymentParts {
            dir,
            facts,
            roots,
            trust,
            node: credentials,
            issuing,
            service,
            head_signer,
            members,
            own,
        } = parts;
        let rocks = Rocks::new(database(&dir)?).may_lose_power(config.chaos.enabled);
        let (metrics, trust) = (recorder()?, Trust::new(trust));
        let reset_key = service.region_key.derive(b"stateless reset");
        let Sockets { listener, public, https_tls, live, endpoint, devices, at_edge } =
            Sockets::open(config, &credentials, &trust, &clock, &*entropy, &reset_key)?;
        let (mesh, at, faults) =
            meshed(config, &facts, &live, &trust, &clock, &*entropy, &service.region_key)?;
        let (chaos, agreement, audit) = guarded(chaos, (&mesh, &faults), &at_edge, &dir)?;
        let parts = NodeParts {
            cluster: facts.cluster.clone(),
            number: facts.number,
            cut_off_after: Duration::from_secs(config.cluster.cut_off_after_s),
            away_after: config.cluster.away_after(),
            unheard_after: config.cluster.unheard_after(),
            zone: Some(config.cluster.zone()),
            timing: config.raft.timing(),
            timing_across: config.raft.timing_across(),
            resting: config.raft.resting(),
            snapshot_every: config.raft.snapshot_every,
            awake_max: config.node.entities_awake_max,
            disk: config.disk.limits(),
            engine: Arc::new(FaultyEngine::new(Arc::new(rocks), chaos.disk())),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            trust: Arc::clone(&trust),
            known: Cluster::new(members, facts.home()?),
            mesh: Some(Arc::clone(&mesh)),
            is_first: facts.joined_as.is_none(),
            endpoint,
            device_rate: config.listen.device_rate(),
            dismissed: chaos.dismissed(),
            actor_faults: chaos.actors(),
            agreement,
            on_fatal: Arc::new(end_process),
            audit,
        };
        let at = [at, devices, listener.local_addr().unwrap_or(config.listen.https)];
        let introduction = introduction(&facts, advertised(config, at), parts.known.own().shards)?;
        let node = Arc::new(started(parts, service, &mesh, &introduction).await?);
        // Only now: a start that fails leaves the directory as it was.
        keep(&keeper, &node.known, &dir, &*entropy)?;
        introduce(&node, &introduction).await;
        let desk = Desk { facts, roots, issuing, head_signer, dir, live, keeper, own };
        let authority = desk.open(&node, &chaos).await?;
        let shared = authority.share(&node, &chaos, metrics, devices, &config.pki);
        let (public, web) = listen(config, public, listener, https_tls, shared)?;
        let mut tasks = authority.tend(&node);
        tasks.extend(beside(config, &node, introduction, chaos));
        let (https, http) = (web.address, public.address);
        let faults = config.chaos.enabled.then_some(faults);
        Ok(Self { https, http, devices, node, mesh, web, public, tasks, faults })
    }

    /// Waits until another node wants this one to end; why.
    pub async fn sent_away(&self) -> ServerError {
        self.mesh.sent_away().await.into()
    }

    /// Ends in order: requests, devices, shards, log.
    pub async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        self.web.stop().await;
        self.public.stop().await;
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

/// Writes what was renewed, and, now and whenever it rises, up to which level there may be entries here.
fn keep(
    keeper: &Keeper,
    known: &Cluster,
    dir: &Path,
    entropy: &dyn Entropy,
) -> Result<(), DeploymentError> {
    keeper.keep_renewed(entropy)?;
    let of = dir.to_owned();
    known.on_rise(move |level| {
        if let Err(error) = raise_level(&of, level) {
            // An earlier program would not be refused, and would stop at the first entry of this level.
            tracing::error!(level, %error, "the level is not noted");
        }
    });
    raise_level(dir, known.known().level())
}

/// What goes on beside the node: what is told to the cluster and to those outside, and the end of leases.
fn beside(
    config: &Config,
    node: &Arc<Node>,
    introduction: placement::Command,
    chaos: Arc<Chaos>,
) -> Vec<JoinHandle<()>> {
    let (known, region) = (Arc::clone(&node.known), node.known.own().region);
    chaos.knows_abroad(move || known.abroad(region));
    let introduced = tokio::spawn(keep_introduced(Arc::clone(node), introduction));
    let patience = config.notices.delivering().patience;
    // Whoever read the configuration was told what is wrong with it.
    let heartbeat = config.heartbeat.heartbeat(patience).ok().flatten();
    let beats = heartbeat.map(|one| tokio::spawn(heartbeat::beat(Arc::clone(node), one)));
    let tells = tokio::spawn(notices::keep(Arc::clone(node), config.notices.delivering()));
    [introduced, tells, tokio::spawn(chaos.keep())].into_iter().chain(beats).collect()
}

/// What breaks this node on purpose, with what operators agree of it on record.
fn guarded(
    chaos: Chaos,
    (mesh, faults): (&Arc<Mesh>, &Arc<Faults>),
    at_edge: &Arc<Faults>,
    dir: &Path,
) -> Result<(Arc<Chaos>, Arc<Agreement>, Audit), ServerError> {
    let audit = Audit::in_dir(dir).map_err(directory(dir))?;
    let agreement = Agreement::new(audit.clone());
    let chaos = chaos.on_network(faults).on_devices(at_edge);
    let chaos = chaos.by_agreement(&agreement).recorded_in(&audit);
    // It ends when the server says so, whoever holds this for a moment longer.
    let mesh = Arc::downgrade(mesh);
    chaos.knows_peers(move |number| {
        mesh.upgrade().map(|mesh| mesh.whereabouts(number)).unwrap_or_default()
    });
    Ok((Arc::new(chaos), agreement, audit))
}

/// Where the log and the states are.
fn database(dir: &Path) -> Result<PathBuf, ServerError> {
    let db = dir.join("db");
    files::make_private_dir(&db).map_err(directory(&db))?;
    Ok(db)
}

fn directory(path: &Path) -> impl FnOnce(io::Error) -> ServerError {
    let path = path.to_owned();
    |source| ServerError::Directory { path, source }
}

/// Where others reach a node that listens at these addresses: for other nodes, devices and HTTPS.
pub(crate) fn advertised(config: &Config, listening: [SocketAddr; 3]) -> [String; 3] {
    let AdvertiseConfig { mesh, devices, https } = &config.advertise;
    let [for_mesh, for_devices, for_https] = listening;
    let or = |said: &String, at: SocketAddr| {
        if said.is_empty() { at.to_string() } else { said.clone() }
    };
    [or(mesh, for_mesh), or(devices, for_devices), or(https, for_https)]
}

/// The log is in doubt: only a start from what is on disk tells what holds.
pub fn end_process(error: &StoreError) {
    tracing::error!(%error, "the log failed: the node ends, and recovers when it is started again");
    end_of_storage()
}

/// Ends the process with [`EXIT_STORAGE`], in the middle of whatever it does.
///
/// No destructor runs: those of the C++ runtime take away the locks that RocksDB's threads still wait for, of
/// which the process dies by SIGABRT, and who restarts it does not learn why.
pub fn end_of_storage() -> ! {
    signal_hook::low_level::exit(EXIT_STORAGE)
}

/// The way to other nodes, where it listens, and what is done to it on purpose.
type Meshed = (Arc<Mesh>, SocketAddr, Arc<Faults>);

/// Opens the way to other nodes.
fn meshed(
    config: &Config,
    facts: &Facts,
    live: &Arc<LiveCredentials>,
    trust: &Arc<Trust>,
    clock: &Arc<dyn Clock>,
    entropy: &dyn Entropy,
    region_key: &Key,
) -> Result<Meshed, ServerError> {
    let reset_key = region_key.derive(b"stateless reset between nodes");
    let address = config.listen.mesh;
    let quic = mesh::server_config(Arc::clone(live), trust, clock).map_err(ServerError::Tls)?;
    let refused = |source| ServerError::Listen { key: "listen.mesh", address, source };
    let socket = edge::socket(address).map_err(refused)?;
    let faults = Faults::new(&config.chaos, entropy);
    let endpoint = edge::listen(faults.on(socket), quic, &reset_key).map_err(refused)?;
    let at = endpoint.local_addr().map_err(refused)?;
    let options = MeshOptions {
        endpoint,
        number: facts.number,
        region: facts.home()?.region,
        cluster: facts.cluster.clone(),
        trust: Arc::clone(trust),
        credentials: Arc::clone(live),
        clock: Arc::clone(clock),
        packs: true,
    };
    Ok((Mesh::new(options).map_err(ServerError::Tls)?, at, faults))
}

/// A node of which every shard answers.
async fn started(
    parts: NodeParts,
    service: ServiceSecrets,
    mesh: &Mesh,
    introduction: &placement::Command,
) -> Result<Node, ServerError> {
    let node = Node::start(parts, service).await?;
    let ready = tokio::select! {
        ready = node.ready() => ready.map_err(ServerError::from),
        why = mesh.sent_away() => Err(why.into()),
        never = moved(&node, introduction) => match never {},
    };
    // Both may have come at once.
    let ready = ready.and_then(|()| match mesh.is_sent_away() {
        Some(why) => Err(why.into()),
        None => Ok(()),
    });
    match ready {
        Ok(()) => {
            mesh.taken_in().await;
            Ok(node)
        }
        Err(error) => {
            node.stop().await;
            Err(error)
        }
    }
}

/// What the authority's desk is opened from.
struct Desk {
    facts: Facts,
    roots: Vec<Vec<u8>>,
    issuing: Arc<IssuingCa>,
    head_signer: HeadSigner,
    dir: PathBuf,
    live: Arc<LiveCredentials>,
    keeper: Keeper,
    own: Vec<Own>,
}

/// The authority as the node uses it.
struct Open {
    issuer: Arc<Issuer>,
    head_signer: Arc<HeadSigner>,
    status: Arc<StatusBoard>,
    rotation: Arc<Rotation>,
}

impl Desk {
    async fn open(self, node: &Arc<Node>, chaos: &Chaos) -> Result<Open, ServerError> {
        let Self { facts, roots, issuing, head_signer, dir, live, keeper, own } = self;
        let failed = |error: &dyn std::fmt::Display| ServerError::Issuer(error.to_string());
        let signing = Signing::new(issuing, vec![], roots).map_err(|error| failed(&error))?;
        let issuer = Issuer::new(facts.cluster, facts.region, signing).under(chaos.lives());
        let issuer = Arc::new(issuer);
        issuer.seen(node.authority_high_water().map_err(ServerError::Issuer)?);
        let status = StatusBoard::new(Arc::clone(node), &issuer, dir);
        let status = Arc::new(status.map_err(|error| failed(&error))?);
        let head_signer = Arc::new(head_signer);
        let service = keeper.service();
        let rotation = Arc::new(Rotation {
            node: Arc::clone(node),
            issuer: Arc::clone(&issuer),
            status: Arc::clone(&status),
            head_signer: Arc::clone(&head_signer),
            live,
            keeper: Mutex::new(keeper),
        });
        // It is set here and nowhere else.
        drop(node.key_holder.set(Arc::downgrade(&rotation)));
        // Before anybody is served: the bundle may have changed while this node was away. What it made
        // for itself under an authority of before is replaced then, and of no interest.
        let is_first = rotation.begin().await.map_err(|error| failed(&error))?;
        let signs = issuer.ca();
        let is_current = |own: &Own| is_issued_by(&own.der, signs.certificate());
        let mut own: Vec<Own> = own.into_iter().filter(is_current).collect();
        // Made with the region, when there was no ledger yet.
        if is_first && own.iter().all(|own| own.kind != Kind::Service) {
            own.push(service);
        }
        own::record(node, &own).await.map_err(ServerError::Issuer)?;
        Ok(Open { issuer, head_signer, status, rotation })
    }
}

impl Open {
    /// What the web's handlers may use.
    fn share(
        &self,
        node: &Arc<Node>,
        chaos: &Arc<Chaos>,
        metrics: PrometheusHandle,
        devices: SocketAddr,
        config: &PkiConfig,
    ) -> Shared {
        Shared {
            node: Arc::clone(node),
            chaos: Arc::clone(chaos),
            issuer: Arc::clone(&self.issuer),
            metrics,
            devices,
            head_signer: Arc::clone(&self.head_signer),
            status: Arc::clone(&self.status),
            rotation: Arc::clone(&self.rotation),
            holder: Arc::default(),
            throttle: Arc::default(),
            senders: Arc::new(Rates::new(REPORTS, PEOPLE_MAX)),
            uploads: Arc::new(Rates::new(UPLOADS, PEOPLE_MAX)),
            fetches: Arc::new(Rates::new(FETCHES, PEOPLE_MAX)),
            keys_under_way: KeysUnderWay::default(),
            planner: Arc::default(),
            waypoints: Arc::default(),
            wrap_base64: config.wrap_base64,
            server_keygen: config.server_keygen,
        }
    }

    /// Starts what must be done again and again.
    fn tend(self, node: &Arc<Node>) -> Vec<JoinHandle<()>> {
        vec![
            tokio::spawn(self.rotation.run()),
            tokio::spawn(ledger::keep_signing(Arc::clone(node), self.head_signer)),
            tokio::spawn(self.status.keep_listing()),
        ]
    }
}

/// Starts both web servers.
fn listen(
    config: &Config,
    public: TcpListener,
    listener: TcpListener,
    https_tls: rustls::ServerConfig,
    shared: Shared,
) -> Result<(Web, Web), ServerError> {
    let refused = |key, address| move |source| ServerError::Listen { key, address, source };
    let public = Web::start_public(public, shared.clone())
        .map_err(refused("listen.http", config.listen.http))?;
    let web = Web::start(listener, https_tls, config.listen.https_workers, shared)
        .map_err(refused("listen.https", config.listen.https))?;
    Ok((public, web))
}

/// The open sockets with their TLS.
struct Sockets {
    listener: TcpListener,
    /// For what needs no TLS.
    public: TcpListener,
    https_tls: rustls::ServerConfig,
    /// What both show.
    live: Arc<LiveCredentials>,
    endpoint: edge::Endpoint,
    devices: SocketAddr,
    /// What is done to devices' datagrams on purpose.
    at_edge: Arc<Faults>,
}

impl Sockets {
    fn open(
        config: &Config,
        credentials: &Credentials,
        trust: &Arc<Trust>,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
        reset_key: &[u8; 32],
    ) -> Result<Self, ServerError> {
        let seconds = Arc::clone(clock);
        let now: Now = Arc::new(move || seconds.now_ms() / 1000);
        let device_verifier = PeerVerifier {
            trust: trust.live_store(),
            now: Arc::clone(&now),
            revoked: trust.revoked(),
            client_may_be_unknown: false,
            lapsed: None,
        };
        // The door for whoever has no certificate yet, or none any more: what is shown here is looked
        // at again by each handler, which can say in words what is wrong with it.
        let https_verifier = PeerVerifier {
            trust: trust.live_store(),
            now,
            revoked: Arc::new(|_, _| false),
            client_may_be_unknown: true,
            lapsed: Some(Arc::new(|kind| profile(kind).grace_s)),
        };
        let tls = |error: rustls::Error| ServerError::Tls(error.to_string());
        let alpn = fieldmesh_device::wire::ALPN;
        let live = Arc::new(LiveCredentials::new(credentials).map_err(tls)?);
        let device_tls = device_server_config(Arc::clone(&live), Arc::new(device_verifier), alpn)
            .map_err(tls)?;
        let https_tls =
            https_server_config(Arc::clone(&live), Arc::new(https_verifier)).map_err(tls)?;
        let quic =
            edge::server_config(device_tls).map_err(|error| ServerError::Tls(error.to_string()))?;
        let (devices, https) = (config.listen.devices, config.listen.https);
        let listener = TcpListener::bind(https).map_err(|source| ServerError::Listen {
            key: "listen.https",
            address: https,
            source,
        })?;
        let http = config.listen.http;
        let public = TcpListener::bind(http).map_err(|source| ServerError::Listen {
            key: "listen.http",
            address: http,
            source,
        })?;
        let refused =
            |source| ServerError::Listen { key: "listen.devices", address: devices, source };
        let (socket, at_edge) = (edge::socket(devices).map_err(refused)?, Faults::none(entropy));
        let endpoint = edge::listen(at_edge.on(socket), quic, reset_key).map_err(refused)?;
        let devices = endpoint.local_addr().map_err(refused)?;
        Ok(Self { listener, public, https_tls, live, endpoint, devices, at_edge })
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
