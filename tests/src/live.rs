//! A whole server in this process, on ports of this machine that nobody else has, and those who use
//! it: operators, enrolled people, devices down to their last byte.
//!
//! [`forge`] makes certificates, right and wrong ones; [`raw`] is a device that says what it is told
//! to say. **Not here:** simulated time and faults ([`crate::world`]).

pub mod forge;
pub mod raw;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fieldmesh_actors::seams::{Clock, Entropy as _, Journal as _, TimerPlace};
use fieldmesh_device::{
    enroll::{self, EnrollError, Enrolled},
    http::{Request, exchange},
};
use fieldmesh_domain::{EntityId, EntityKind, customer::Customer, technician::Technician};
use fieldmesh_node::{
    config::Config,
    deployment::Deployment,
    journal::ShardJournal,
    os::{SystemClock, SystemEntropy},
    server::Server,
};
use fieldmesh_pki::{
    KeyMaterial, RootCa, TrustStore,
    tls::{self, Credentials, PeerVerifier, client_config},
    vault,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Mutex,
    time::Instant,
};
use zeroize::Zeroizing;

use raw::Raw;

pub const PASSPHRASE: &[u8] = b"a passphrase for one test";
/// A fact that does not come true by then never does.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks at a fact.
const LOOK: Duration = Duration::from_millis(20);

/// Unix milliseconds of this machine.
pub fn now_ms() -> u64 {
    SystemClock.now_ms()
}

pub fn now_s() -> u64 {
    now_ms() / 1000
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemEntropy::default().fill(&mut bytes);
    bytes
}

/// Waits until a fact is there.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look).await
}

/// The same for what comes at a time of its own.
pub async fn until_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(fact) = look().await {
            return fact;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A verifier that believes this cluster's nodes.
pub fn verifier(root: &[u8]) -> Arc<PeerVerifier> {
    Arc::new(PeerVerifier {
        trust: tls::fixed(Arc::new(TrustStore::new(vec![root.to_vec()], Vec::new()).unwrap())),
        now: Arc::new(now_s),
        revoked: Arc::new(|_, _| false),
        client_may_be_unknown: false,
        lapsed: None,
    })
}

/// Who has a history that a refusal must not touch. The authority's own is where refusals are listed.
const KINDS: [EntityKind; 4] =
    [EntityKind::Customer, EntityKind::Technician, EntityKind::Ticket, EntityKind::Registration];

/// Everything that the service keeps, by what it is about.
pub type Snapshot = BTreeMap<String, String>;

/// A clock that stands still.
struct Then(u64);

impl Clock for Then {
    fn now_ms(&self) -> u64 {
        self.0
    }
}

/// A running server with its directory.
pub struct Live {
    server: Option<Server>,
    pub config: Config,
    pub root: Vec<u8>,
    operator: Arc<rustls::ClientConfig>,
    pub devices: SocketAddr,
    pub https: SocketAddr,
    _dir: TempDir,
}

/// The recorder of metrics is one per process, and servers that start together would race for it.
static STARTING: Mutex<()> = Mutex::const_new(());

impl Drop for Live {
    /// The store's threads must not outlive it: a process that exits under them aborts.
    fn drop(&mut self) {
        let Some(server) = self.server.take() else { return };
        let runtime = Handle::current();
        if runtime.runtime_flavor() == RuntimeFlavor::MultiThread {
            tokio::task::block_in_place(|| runtime.block_on(server.stop()));
        }
    }
}

impl Live {
    pub async fn start() -> Self {
        Self::start_as(0, &[]).await
    }

    /// With keys of the configuration beside the tests' own.
    pub async fn start_with(keys: &[(&str, &str)]) -> Self {
        Self::start_as(0, keys).await
    }

    /// With an authority that was made so many days ago.
    pub async fn start_made(days_ago: u64) -> Self {
        Self::start_as(days_ago, &[]).await
    }

    async fn start_as(days_ago: u64, keys: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("node");
        let flag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut flags = vec![
            flag("node.data_dir", data.to_str().unwrap()),
            flag("listen.devices", "127.0.0.1:0"),
            flag("listen.https", "127.0.0.1:0"),
            // Tests send in a second what a device sends in a day.
            flag("listen.device_messages_per_s", "100000"),
            flag("listen.device_messages_burst", "100000"),
        ];
        flags.extend(keys.iter().map(|(key, value)| flag(key, value)));
        let mut config = Config::load(None, &flags).unwrap();
        let then = Then(now_ms() - days_ago * 24 * 3_600_000);
        Deployment::create(&config, PASSPHRASE, &then, &SystemEntropy::default()).unwrap();
        let server = started(&config).await;
        // A server that is started again is found where it was.
        (config.listen.devices, config.listen.https) = (server.devices, server.https);
        let (root, operator) = operator(&data);
        Self {
            devices: server.devices,
            https: server.https,
            server: Some(server),
            config,
            root,
            operator,
            _dir: dir,
        }
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs")
    }

    pub async fn stop(&mut self) {
        self.server.take().expect("the server runs").stop().await;
    }

    /// Starts the server again, on the same ports and the same data.
    pub async fn start_again(&mut self) {
        self.server = Some(started(&self.config).await);
    }

    /// Takes what the directory has for this machine's operator now, and the root that it believes
    /// first.
    pub fn operator_again(&mut self) {
        (self.root, self.operator) = operator(&self.config.node.data_dir);
    }

    /// The roots that were made with the deployment, with their keys.
    pub fn roots(&self) -> [RootCa; 2] {
        let dir = &self.config.node.data_dir;
        let pem = std::fs::read(dir.join("root.pem")).unwrap();
        ["root.key.sealed", "root2.key.sealed"].map(|name| {
            let sealed = std::fs::read(dir.join(name)).unwrap();
            let pkcs8 = vault::open(PASSPHRASE, &sealed).unwrap();
            let root = |der: CertificateDer<'_>| {
                let key = KeyMaterial::from_pkcs8(&pkcs8).unwrap();
                RootCa::from_parts(key, der.to_vec()).ok()
            };
            let mut all = CertificateDer::pem_slice_iter(&pem).map(Result::unwrap);
            all.find_map(root).expect("the root's certificate is there")
        })
    }

    pub fn root_pem(&self) -> PathBuf {
        self.config.node.data_dir.join("root.pem")
    }

    /// One HTTPS request by an operator, or by nobody.
    pub async fn http(
        &self,
        as_operator: bool,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> (u16, Vec<u8>) {
        let tls = if as_operator {
            Arc::clone(&self.operator)
        } else {
            Arc::new(client_config(verifier(&self.root), None, b"http/1.1").unwrap())
        };
        let server = self.https.to_string();
        let request = Request { server: &server, method, path, headers, body };
        exchange(&request, &tls).await.unwrap()
    }

    /// Posts as an operator; status and answer.
    pub async fn try_post(&self, path: &str, body: &Value) -> (u16, Value) {
        let headers = "Content-Type: application/json\r\n";
        let body = body.to_string();
        let (status, answer) = self.http(true, "POST", path, headers, body.as_bytes()).await;
        (status, serde_json::from_slice(&answer).unwrap())
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.try_post(path, body).await;
        assert_eq!(status, 201, "{path}: {answer}");
        answer
    }

    pub async fn customer(&self) -> EntityId {
        let location = json!({ "lat_e6": 48_100_000, "lon_e6": 2_100_000 });
        let body = json!({ "name": "A customer", "location": location, "tier": 2 });
        self.post("/v1/customers", &body).await["id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn technician(&self, category: u16) -> EntityId {
        let home = json!({ "lat_e6": 48_000_000, "lon_e6": 2_000_000 });
        let skills = json!([{ "category": category, "level": 3 }]);
        let body = json!({ "name": "Ada", "home": home, "skills": skills, "capacity": 8 });
        let created = self.post("/v1/technicians", &body).await;
        self.at_rest().await;
        created["id"].as_str().unwrap().parse().unwrap()
    }

    /// Waits until everybody has heard what was said to them, as the desk has of a new technician.
    pub async fn at_rest(&self) {
        let all_is_heard = async || {
            let journals = self.server().node.journals();
            let waits = |journal: &ShardJournal| !journal.outbox(1).unwrap().items.is_empty();
            (!journals.iter().any(waits)).then_some(())
        };
        until("everybody has heard all", all_is_heard).await;
    }

    /// A one-time token for somebody's device.
    pub async fn token(&self, id: EntityId) -> Zeroizing<String> {
        let minted = self
            .post("/v1/ca/tokens", &json!({ "id": id.to_string(), "pre_approved": true }))
            .await;
        assert_eq!(minted["user"], id.to_string());
        Zeroizing::new(minted["secret"].as_str().unwrap().to_owned())
    }

    /// Enrolls as devices do.
    pub async fn enroll(
        &self,
        id: EntityId,
        secret: &Zeroizing<String>,
        key: &KeyMaterial,
    ) -> Result<Enrolled, EnrollError> {
        let clock: fieldmesh_device::Clock = Arc::new(now_ms);
        enroll::enroll(&self.https.to_string(), &id.to_string(), secret, key, &clock).await
    }

    /// An enrolled device under the test's full control.
    pub async fn raw(&self, id: EntityId) -> Raw {
        let key = KeyMaterial::generate().unwrap();
        let enrolled = self.enroll(id, &self.token(id).await, &key).await.unwrap();
        // The owner hears of it a moment later.
        until("the owner knows of its device", async || self.has_device(id).then_some(())).await;
        let pkcs8 = Zeroizing::new(key.pkcs8().to_vec());
        Raw::new(id, Credentials { chain: enrolled.chain, pkcs8 }, &self.root)
    }

    fn has_device(&self, id: EntityId) -> bool {
        let journal = self.server().node.journal_of(id).unwrap();
        match id.kind() {
            EntityKind::Customer => journal.state::<Customer>(id).unwrap().device.present,
            _ => journal.state::<Technician>(id).unwrap().device.present,
        }
    }

    /// A counter's value, summed over its labels.
    pub async fn counted(&self, name: &str) -> u64 {
        let (status, text) = self.http(false, "GET", "/metrics", "", &[]).await;
        assert_eq!(status, 200);
        let text = String::from_utf8(text).unwrap();
        let values = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        values.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
    }

    /// Everything that is kept: who there is, each history's length and hash, mail, timers. It waits for
    /// what a new node tells its desk by itself.
    pub async fn snapshot(&self) -> Snapshot {
        let mut kept = Snapshot::new();
        let node = &self.server().node;
        let desk = EntityId::desk(node.region.parse().unwrap());
        let is_told = async || {
            let history = node.journal_of(desk).unwrap().history(desk).unwrap();
            (!history.is_empty()).then_some(())
        };
        until("the desk is told what every node knows of", is_told).await;
        let mut ids = vec![desk];
        for journal in node.journals() {
            for kind in KINDS {
                for row in journal.index(kind, None, 10_000).unwrap() {
                    ids.push(row.id());
                    kept.insert(format!("{} row", row.id()), format!("{row:?}"));
                }
            }
        }
        for journal in node.journals() {
            for timer in journal.timers(TimerPlace::default(), 10_000).unwrap().items {
                kept.insert(format!("{} timer", timer.entity), format!("{}", timer.due_ms));
            }
        }
        for id in ids {
            let journal = node.journal_of(id).unwrap();
            let history = journal.history(id).unwrap();
            let last = history.last().map(|entry| (entry.version, entry.chain));
            kept.insert(format!("{id} history"), format!("{last:?}"));
            if matches!(id.kind(), EntityKind::Customer | EntityKind::Technician) {
                let mail: Vec<u64> =
                    journal.mail(id, 1000).unwrap().items.iter().map(|item| item.number).collect();
                kept.insert(format!("{id} mail"), format!("{mail:?}"));
            }
        }
        kept
    }

    /// The tickets there are, with their states.
    pub fn tickets(&self) -> BTreeMap<EntityId, String> {
        let mut found = BTreeMap::new();
        for journal in self.server().node.journals() {
            for row in journal.index(EntityKind::Ticket, None, 10_000).unwrap() {
                if let fieldmesh_domain::IndexRow::Ticket { id, state, .. } = row {
                    found.insert(id, state.name().to_owned());
                }
            }
        }
        found
    }
}

/// The first root of a node's directory, and TLS as its operator.
fn operator(data: &Path) -> (Vec<u8>, Arc<rustls::ClientConfig>) {
    let read = |name: &str| std::fs::read(data.join(name)).unwrap();
    let chain: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(&read("operator.pem"))
        .map(|der| der.unwrap().to_vec())
        .collect();
    let key = PrivateKeyDer::from_pem_slice(&read("operator.key")).unwrap();
    let operator = Credentials { chain, pkcs8: Zeroizing::new(key.secret_der().to_vec()) };
    let root = CertificateDer::from_pem_slice(&read("root.pem")).unwrap().to_vec();
    let tls = client_config(verifier(&root), Some(&operator), b"http/1.1").unwrap();
    (root, Arc::new(tls))
}

async fn started(config: &Config) -> Server {
    let _turn = STARTING.lock().await;
    Server::start(config, PASSPHRASE).await.unwrap()
}
