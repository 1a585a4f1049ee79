//! A cluster of real nodes, each on an address of its own: of loopback, or of a network of namespaces.
//!
//! Loopback addresses follow from this process's number, so that tests that run beside each other do
//! not meet. **Not here:** what is expected of the cluster (the tests), how namespaces are joined
//! (`namespaces`).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::live::until;

use super::{Finished, Launch, Server, fieldmesh, namespaces::Network, run, text};

/// Numbers of a cluster's nodes are below this.
const NODES_MAX: u64 = 16;
/// Clusters whose nodes have addresses of their own.
const CLUSTERS_MAX: u64 = 15;
/// As many as let two nodes out of three lead some each.
pub const SHARDS: u32 = 4;
const PASSPHRASE: &str = "a passphrase for one test";

/// The first three bytes of all addresses of this test, as text with the dot behind them.
pub fn network() -> String {
    let number = process::id();
    format!("127.{}.{}.", 64 + (number >> 8) % 128, number % 256)
}

/// A cluster; its nodes end with it.
pub struct Nodes {
    root: TempDir,
    /// Nodes of clusters that this process made before have lower last bytes in their addresses.
    first: u64,
    running: BTreeMap<u64, Server>,
    /// Where each node has a machine of its own, as far as the network is concerned.
    pub network: Option<Network>,
    /// Lines of nodes' configurations, by key.
    settings: BTreeMap<(u64, String), String>,
    /// Of nodes that run another program than the one that is tested.
    programs: BTreeMap<u64, String>,
    /// Of nodes that are not in the first one.
    regions: BTreeMap<u64, String>,
    /// What each configuration has beside the usual.
    more: Vec<(&'static str, &'static str)>,
    /// Nodes on the address of another one that is gone.
    moved: BTreeMap<u64, u64>,
}

impl Nodes {
    /// A cluster with so many nodes, as it is once it has settled.
    pub async fn start(count: u64) -> Self {
        Self::start_in(None, count, &[]).await
    }

    /// The same in a network of namespaces, or with lines of configuration that all nodes have.
    pub async fn start_in(
        network: Option<Network>,
        count: u64,
        more: &[(&'static str, &'static str)],
    ) -> Self {
        let mut nodes = Self { network, ..Self::prepare(more) };
        nodes.begin(count).await;
        nodes
    }

    /// A cluster without nodes, whose configurations will have these lines beside the usual.
    pub fn prepare(more: &[(&'static str, &'static str)]) -> Self {
        let root = TempDir::new().unwrap();
        std::fs::write(root.path().join("passphrase"), PASSPHRASE).unwrap();
        static CLUSTERS: AtomicU64 = AtomicU64::new(0);
        // In a process with many tests the first are over when their addresses come again.
        let first = NODES_MAX * (CLUSTERS.fetch_add(1, Ordering::Relaxed) % CLUSTERS_MAX);
        let (running, regions, moved) = Default::default();
        let (network, settings, programs, more) =
            (None, BTreeMap::new(), BTreeMap::new(), more.to_vec());
        Self { root, first, running, network, settings, programs, regions, moved, more }
    }

    /// Makes and starts so many nodes, and waits until they have settled.
    pub async fn begin(&mut self, count: u64) {
        self.run(1, "init", &[]).await.expect_code(0);
        self.restart(1).await;
        for number in 2..=count {
            self.join(number).await.expect_code(0);
            self.restart(number).await;
        }
        self.settle().await;
    }

    pub fn dir(&self, number: u64) -> PathBuf {
        self.root.path().join(format!("node-{number}"))
    }

    pub fn passphrase(&self) -> PathBuf {
        self.root.path().join("passphrase")
    }

    /// Where a node is, without a port.
    pub fn address(&self, number: u64) -> String {
        match &self.network {
            Some(network) => network.address(number),
            None => format!("{}{}", network(), self.first + number),
        }
    }

    /// A node is run by a program, from its next start on.
    pub fn set_program(&mut self, number: u64, path: &str) {
        self.programs.insert(number, path.to_owned());
    }

    fn program_of(&self, number: u64) -> &str {
        self.programs.get(&number).map_or("fieldmesh", |path| path)
    }

    /// Writes a line of a node's configuration; a node reads it when it starts.
    pub fn set(&mut self, number: u64, key: &str, value: &str) {
        self.settings.insert((number, key.to_owned()), value.to_owned());
    }

    /// A node's configuration, with these lines changed: key in its section, and value.
    pub fn config(&self, number: u64, changes: &[(&str, &str)]) -> PathBuf {
        let place = self.moved.get(&number).copied().unwrap_or(number);
        let (address, dir) = (self.address(place), self.dir(number));
        let quoted = |port: &str| format!("\"{address}:{port}\"");
        let mut values = vec![
            ("node.number", number.to_string()),
            ("node.data_dir", format!("{dir:?}")),
            ("node.shards", SHARDS.to_string()),
            ("cluster.region", format!("{:?}", self.region(number))),
            ("listen.devices", quoted("7443")),
            ("listen.https", quoted("8443")),
            ("listen.mesh", quoted("7445")),
            ("listen.http", quoted("0")),
        ];
        let own = self.settings.iter().filter(|((of, _), _)| *of == number);
        let own = own.map(|((_, key), value)| (key.as_str(), value.as_str()));
        let more = self.more.iter().copied().chain(own);
        for (key, value) in more.chain(changes.iter().copied()) {
            values.retain(|(known, _)| *known != key);
            values.push((key, value.to_owned()));
        }
        // Dotted keys need no sections.
        let lines: String =
            values.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let path = self.root.path().join(format!("node-{number}.toml"));
        std::fs::write(&path, lines).unwrap();
        path
    }

    /// A node is on the address of another one, which must not run any more.
    pub fn take_address(&mut self, number: u64, of: u64) {
        self.moved.insert(number, of);
    }

    /// Backs the region up by a node's machine, into a directory of that name.
    pub async fn back_up(&self, number: u64, name: &str) -> Finished {
        self.run(number, "backup", &["--out", text(&self.root.path().join(name))]).await
    }

    /// A directory beside those of the nodes.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Makes a node's directory of a backup.
    pub async fn restore(&self, number: u64, backup: &Path) -> Finished {
        self.run(number, "restore", &[text(backup)]).await
    }

    /// Makes a node's directory of what other regions hold of a lost one, by an operator of some node's
    /// machine.
    pub async fn promote(
        &mut self,
        number: u64,
        region: &str,
        backup: &Path,
        operator: u64,
        more: &[&str],
    ) -> Finished {
        self.regions.insert(number, region.to_owned());
        let by = self.dir(operator);
        let args = [text(backup), "--operator", text(&by)];
        self.run(number, "promote", &[&args[..], more].concat()).await
    }

    /// Ends all nodes as a power failure does.
    pub async fn kill_all(&mut self) {
        for (_, server) in std::mem::take(&mut self.running) {
            server.kill().await;
        }
    }

    /// Runs a command of a node that needs its passphrase.
    pub async fn run(&self, number: u64, verb: &str, args: &[&str]) -> Finished {
        let config = self.config(number, &[]);
        self.run_by(self.program_of(number), &config, verb, args).await
    }

    pub async fn run_as(&self, config: &Path, verb: &str, args: &[&str]) -> Finished {
        self.run_by("fieldmesh", config, verb, args).await
    }

    async fn run_by(&self, program: &str, config: &Path, verb: &str, args: &[&str]) -> Finished {
        let passphrase = self.passphrase();
        let own =
            [verb, "--json", "--config", text(config), "--passphrase-file", text(&passphrase)];
        run(program, &[&own[..], args].concat()).await
    }

    fn region(&self, number: u64) -> &str {
        self.regions.get(&number).map_or("eu1", |region| region)
    }

    /// A token for an identity of a profile: its user, and a file with its secret.
    pub async fn token(&self, profile: &str) -> (String, PathBuf) {
        self.token_by(self.any(), profile).await
    }

    async fn token_by(&self, server: &Server, profile: &str) -> (String, PathBuf) {
        let token = server.ask(&["ca", "token", "--pre-approved", "--profile", profile]).await;
        let user = token["user"].as_str().unwrap().to_owned();
        let file = self.root.path().join(&user);
        std::fs::write(&file, token["secret"].as_str().unwrap()).unwrap();
        (user, file)
    }

    /// Makes a node's directory by a token of its own.
    pub async fn join(&self, number: u64) -> Finished {
        let (user, secret) = self.token("node").await;
        let server = self.any().https.clone();
        let args = ["--server", &server, "--user", &user, "--token-file", text(&secret)];
        self.run(number, "join", &args).await
    }

    /// Makes a request for the authority of a new region on its first node, and has the first node's root
    /// sign it; the certificate.
    pub async fn prepare_region(&mut self, number: u64, region: &str) -> PathBuf {
        self.regions.insert(number, region.to_owned());
        let roots = self.dir(1).join("root.pem");
        let made = self.run(number, "init", &["--roots", text(&roots)]).await.expect_code(0);
        let request = made.json()["request"].as_str().unwrap().to_owned();
        let signed = self.root.path().join(format!("{region}-{number}.pem"));
        let (root, passphrase) = (self.dir(1), self.passphrase());
        let sign = ["ca", "root", "sign", "--root", text(&root), "--csr", &request];
        let of = ["--region", region, "--generation", "1", "--out", text(&signed)];
        let by = ["--passphrase-file", text(&passphrase)];
        run("fieldmesh", &[&sign[..], &of, &by].concat()).await.expect_code(0);
        signed
    }

    /// Makes a node's directory as the first one of a region whose authority was introduced.
    pub async fn found(&self, number: u64, issuing: &Path) -> Finished {
        let server = self.any().https.clone();
        self.run(number, "join", &["--issuing", text(issuing), "--server", &server]).await
    }

    /// Makes a region of one node, of which nodes 1 and 2 each have an operator.
    pub async fn add_region(&mut self, number: u64, region: &str) {
        let issuing = self.prepare_region(number, region).await;
        self.let_in(number, &issuing).await;
        self.restart(number).await;
    }

    /// Both operators introduce a region's authority, and its first node makes its directory.
    pub async fn let_in(&self, number: u64, issuing: &Path) {
        let introduce = ["ca", "rotate", "introduce", text(issuing)];
        let first = self.node(1).ask(&introduce).await;
        let proposal = first["proposal"].as_object();
        assert!(proposal.is_some(), "one operator alone lets no region in: {first}");
        self.node(2).ask(&introduce).await;
        until("every node knows the new authority", async || {
            (self.found(number, issuing).await.code == Some(0)).then_some(())
        })
        .await;
    }

    /// Makes a node's directory in the region of another one, by way of that.
    pub async fn join_beside(&mut self, number: u64, beside: u64) -> Finished {
        self.regions.insert(number, self.region(beside).to_owned());
        let (user, secret) = self.token_by(self.node(beside), "node").await;
        let server = self.node(beside).https.clone();
        let args = ["--server", &server, "--user", &user, "--token-file", text(&secret)];
        self.run(number, "join", &args).await
    }

    pub async fn join_as(&self, config: &Path, user: &str, secret: &Path) -> Finished {
        let server = self.any().https.clone();
        let args = ["--server", &server, "--user", user, "--token-file", text(secret)];
        self.run_as(config, "join", &args).await
    }

    /// Starts a node, again or for the first time.
    pub async fn restart(&mut self, number: u64) {
        let server = self.launch(number).ready().await;
        self.running.insert(number, server);
    }

    pub fn launch(&self, number: u64) -> Launch {
        let config = self.config(number, &[]);
        let launch = Launch::member(&self.dir(number), &config, &self.passphrase());
        let launch = launch.program(self.program_of(number));
        match &self.network {
            Some(network) => launch.under(&network.machine(number)),
            None => launch,
        }
    }

    pub async fn kill(&mut self, number: u64) {
        self.running.remove(&number).unwrap().kill().await;
    }

    pub async fn terminate(&mut self, number: u64) {
        self.running.remove(&number).unwrap().terminate().await.expect_code(0);
    }

    /// How a node ended that ends by itself.
    pub async fn ended(&mut self, number: u64) -> Finished {
        self.running.remove(&number).unwrap().running.finish().await
    }

    pub fn node(&self, number: u64) -> &Server {
        &self.running[&number]
    }

    /// Sends a running node a signal by name.
    pub async fn signal(&self, number: u64, name: &str) {
        self.running[&number].running.signal(name).await;
    }

    /// Any node that runs.
    pub fn any(&self) -> &Server {
        self.running.values().next().unwrap()
    }

    /// Where devices reach the nodes that run.
    pub fn devices(&self) -> Vec<SocketAddr> {
        self.running.values().map(|server| server.devices.parse().unwrap()).collect()
    }

    /// Waits until every group has the members and the leader that it is to have.
    pub async fn settle(&self) -> Value {
        self.any().ask(&["cluster", "rebalance"]).await
    }

    /// A command of an operator on some node that runs.
    pub async fn cluster(&self, args: &[&str]) -> Finished {
        fieldmesh(&self.any().dir, &[&["cluster"], args].concat()).await
    }
}
