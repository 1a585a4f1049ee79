//! A machine of the simulated cluster, and the node that runs on it: begins or joins as the product does,
//! introduces itself, and takes operators' orders.
//!
//! The machine outlives the node: its disk, its clock, and what the node was told when it joined.
//! **Invariant:** nobody outside holds a node longer than one look at it, so that a crash ends it.
//! **Not here:** who orders what, and when (`growth`, `faults`, `peace`).

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use fieldmesh_actors::{AskError, seams::Clock};
use fieldmesh_device::wire;
use fieldmesh_domain::{
    Command, EntityId,
    placement::{self, Home, Member, Members, Presence},
    time::Millis,
};
use fieldmesh_node::{
    audit::Audit,
    bucket::Rate,
    cluster::Cluster,
    consensus::rest::Resting,
    edge,
    mesh::{self, Mesh, MeshOptions, SentAway},
    node::{Node, NodeParts},
    store::{health::Limits, simulated::Disk, writer::OnFatal},
    trust::Trust,
};
use fieldmesh_pki::tls::{Credentials, LiveCredentials, PeerVerifier, device_server_config};
use quinn::ServerConfig;
use tokio::sync::{mpsc, watch};

use super::{
    Land, authority, host,
    loss::{self, Copies, Given},
    told,
};
use crate::{
    mesh::identity_in,
    pki::{CLUSTER, ServiceKit},
    signature, udp,
    world::{
        SNAPSHOT_EVERY, SimEntropy, TIMING, WrongClock,
        people::{self, Shared},
    },
};

const MESH: u16 = 7444;
/// Nobody listens there: the simulation has no HTTPS.
const HTTPS: u16 = 7445;
/// Orders that wait for a node.
const ORDERS_MAX: usize = 64;
/// As a node looks whether the cluster knows it as it is.
const INTRODUCE_EVERY: Duration = Duration::from_secs(1);
/// Sooner than a node does: quiet moments are short here.
const REST_AFTER: Duration = Duration::from_millis(700);
const RESTING: Resting = Resting { every: TIMING.election_min, after: Some(REST_AFTER) };
/// A sync that takes longer is a stall.
const STALL: Duration = Duration::from_secs(1);
/// A disk that says less is full; others do not say how much they have.
const ROOM_MIN: u64 = 1 << 20;

/// What an operator wants of a node.
#[derive(Clone)]
pub(super) enum Order {
    /// The machine's node is to be a member, and is told of the cluster as it is then.
    Admit(Box<Machine>),
    Say(placement::Command),
    /// Everybody of the node's region is registered and enrolled.
    Populate,
    /// The states that the node has go to its disk, and its logs end there.
    Compact,
    /// The machine takes the place of those that its region has lost.
    Restore(Box<Machine>),
    /// What the node has of a lost region's group is frozen.
    Freeze(u32, Copies),
}

/// A machine of a region.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) number: u64,
    pub(super) land: Arc<Land>,
    pub(super) disk: Disk,
    pub(super) clock: WrongClock,
    sync_takes: Duration,
    credentials: Credentials,
    pub(super) kit: Arc<ServiceKit>,
    /// What the node was told when it joined; nothing before.
    told: Arc<watch::Sender<Option<Members>>>,
    /// What its region begins again with here; nothing of most machines.
    pub(super) begins: Arc<watch::Sender<Option<Given>>>,
    running: Arc<Mutex<Running>>,
    seen: Shared,
}

/// The node that runs, if one does.
#[derive(Default)]
struct Running {
    node: Weak<Node>,
    orders: Option<mpsc::Sender<Order>>,
    is_ready: bool,
    /// Another node told it that it was removed.
    is_removed: bool,
}

impl Machine {
    /// A machine for a region's node; the cluster's first one has nobody to be told by.
    pub(super) fn new(number: u64, land: &Arc<Land>, sync_ms: u64, seen: &Shared) -> Self {
        let is_first = land.index == 0 && land.first == number;
        let sync_takes = Duration::from_millis(sync_ms);
        Self {
            number,
            land: Arc::clone(land),
            disk: Disk::new(sync_takes),
            sync_takes,
            clock: WrongClock::default(),
            credentials: land.node_credentials(number),
            kit: Arc::new(land.kit.of_another_node()),
            told: Arc::new(watch::Sender::new(is_first.then(Members::default))),
            begins: Arc::default(),
            running: Arc::default(),
            seen: Arc::clone(seen),
        }
    }

    pub(super) fn is_told(&self) -> bool {
        self.told.borrow().is_some()
    }

    pub(super) fn be_told(&self, known: Members) {
        self.told.send_replace(Some(known));
    }

    /// The node, for one look.
    pub(super) fn node(&self) -> Option<Arc<Node>> {
        self.running.lock().unwrap().node.upgrade()
    }

    /// The node, if it serves.
    pub(super) fn ready(&self) -> Option<Arc<Node>> {
        let running = self.running.lock().unwrap();
        running.node.upgrade().filter(|_| running.is_ready)
    }

    /// Whether the node knows that it was removed, so that it is to end.
    pub(super) fn is_removed(&self) -> bool {
        self.running.lock().unwrap().is_removed
    }

    /// Gives the node an order; whether there is one that takes it.
    pub(super) fn order(&self, order: Order) -> bool {
        let orders = self.running.lock().unwrap().orders.clone();
        orders.is_some_and(|orders| orders.try_send(order).is_ok())
    }

    /// What the node had in memory is gone.
    pub(super) fn lose_power(&self, kept: impl FnMut(usize) -> usize) {
        *self.running.lock().unwrap() = Running::default();
        self.disk.crash_keeping(kept);
    }

    /// The disk is as fast as it was made.
    pub(super) fn mend_disk(&self) {
        self.disk.set_sync_takes(self.sync_takes);
    }

    pub(super) fn note(&self, what: impl std::fmt::Display) {
        super::note(&self.seen, format_args!("node {} {what}", self.number));
    }

    /// Notes how it went with something that the cluster was asked for; whether it was done. It may refuse,
    /// and nobody may lead; but whoever leads can read and write what is there.
    fn heard<T>(&self, what: impl std::fmt::Display, asked: &Result<T, AskError>) -> bool {
        let outcome = match asked {
            Ok(_) => "done".to_owned(),
            Err(error) => error.to_string(),
        };
        self.note(format_args!("{what}: {outcome}"));
        if let Err(error @ (AskError::Journal(_) | AskError::Parked)) = asked {
            let source = std::error::Error::source(error).map(ToString::to_string);
            let fact = format!("node {} {what}: {error}: {source:?}", self.number);
            self.seen.lock().unwrap().blame(fact);
        }
        asked.is_ok()
    }

    /// What the node says of itself.
    fn member(&self, level: u32) -> Member {
        let ip = turmoil::lookup(host(self.number));
        let at = |port| SocketAddr::new(ip, port).to_string();
        Member {
            number: self.number,
            identity: identity_in(self.land.region(), self.number),
            mesh: at(MESH),
            devices: at(people::PORT),
            https: at(HTTPS),
            presence: Presence::Active,
            since: Millis(0),
            level,
        }
    }

    /// What an operator has the cluster told of a node that is to be let in.
    fn admission(&self) -> placement::Command {
        if self.number != self.land.first {
            return self.joins(0);
        }
        let (member, shards) = (self.member(0), self.land.shards);
        let (issuer, by) = (authority::issuer(&self.land), "operator".to_owned());
        placement::Command::Found { member, shards, issuer, by }
    }

    /// What it is told where the node takes the place of those that its region has lost.
    fn restoration(&self) -> placement::Command {
        let (member, shards, by) = (self.member(0), self.land.shards, "operator".to_owned());
        placement::Command::Restore { member, shards, by }
    }

    fn joins(&self, level: u32) -> placement::Command {
        let (member, shards) = (self.member(level), self.land.shards);
        placement::Command::Join { member, shards, by: format!("node {}", self.number) }
    }
}

/// Runs the machine's node until its host crashes.
pub(super) async fn run(machine: Machine, seed: u64) -> turmoil::Result {
    if machine.land.successor == Some(machine.number) && !machine.is_told() {
        let mut begins = machine.begins.subscribe();
        let given = begins.wait_for(Option::is_some).await?.clone();
        loss::promote(&machine, given.ok_or("nothing is given")?, seed).await?;
    }
    let mut told = machine.told.subscribe();
    let told = told.wait_for(Option::is_some).await?.clone().unwrap_or_default();
    machine.note("starts");
    let parts = parts(&machine, told, seed).await?;
    let mesh = parts.mesh.clone();
    let node = Arc::new(Node::start(parts, machine.kit.secrets()).await?);
    if let Some(mesh) = mesh.clone() {
        tokio::spawn(watch_refusals(machine.clone(), mesh));
    }
    let (orders, mut inbox) = mpsc::channel(ORDERS_MAX);
    let (here, orders) = (Arc::downgrade(&node), Some(orders));
    *machine.running.lock().unwrap() = Running { node: here, orders, ..Running::default() };
    node.ready().await?;
    if let Some(mesh) = mesh {
        mesh.taken_in().await;
    }
    machine.running.lock().unwrap().is_ready = true;
    machine.note("serves");
    tokio::spawn(introduce(machine.clone(), Arc::clone(&node)));
    tokio::spawn(authority::tend(Arc::clone(&machine.land), Arc::clone(&node)));
    while let Some(order) = inbox.recv().await {
        // One that waits for a leader holds up no other.
        tokio::spawn(obey(machine.clone(), Arc::clone(&node), order));
    }
    Ok(())
}

async fn parts(machine: &Machine, told: Members, seed: u64) -> Result<NodeParts, String> {
    let Machine { number, land, credentials, .. } = machine;
    let clock: Arc<dyn Clock> = Arc::new(machine.clock.steady());
    let trust = Trust::new(land.authority.trust());
    let live = signature::live(credentials);
    let mut chance = [0; 32];
    chance[..8].copy_from_slice(&seed.to_be_bytes());
    let lasting = |port, config| udp::lasting(port, config, [*number as u8; 32], chance);
    let config = mesh::server_config(Arc::clone(&live), &trust, &clock)?;
    let mesh = Mesh::new(MeshOptions {
        endpoint: lasting(MESH, config).await,
        number: *number,
        region: land.region(),
        cluster: CLUSTER.into(),
        trust: Arc::clone(&trust),
        credentials: Arc::clone(&live),
        clock: Arc::clone(&clock),
        packs: land.packs,
    })?;
    let config = for_devices(live, &trust, &clock)?;
    let (failed, number) = (machine.clone(), *number);
    let on_fatal: OnFatal = Arc::new(move |error| {
        failed.seen.lock().unwrap().blame(format!("node {number} failed: {error}"));
    });
    Ok(NodeParts {
        cluster: CLUSTER.into(),
        number,
        timing: TIMING,
        timing_across: TIMING,
        resting: RESTING,
        snapshot_every: SNAPSHOT_EVERY,
        awake_max: 1000,
        disk: Limits { stall: STALL, room_min: ROOM_MIN },
        engine: Arc::new(machine.disk.clone()),
        clock,
        entropy: Arc::new(SimEntropy::new(seed)),
        trust,
        known: Cluster::new(told, Home::new(land.region(), land.index, land.shards)),
        mesh: Some(mesh),
        cut_off_after: Duration::from_secs(10),
        away_after: Some(Duration::from_secs(3)),
        unheard_after: None,
        zone: None,
        is_first: number == land.first,
        endpoint: lasting(people::PORT, config).await,
        device_rate: Rate { per_second: 50, burst: 200 },
        dismissed: watch::channel(0).1,
        actor_faults: Arc::default(),
        agreement: Arc::default(),
        on_fatal,
        audit: Audit::nowhere(),
    })
}

fn for_devices(
    live: Arc<LiveCredentials>,
    trust: &Arc<Trust>,
    clock: &Arc<dyn Clock>,
) -> Result<ServerConfig, String> {
    let clock = Arc::clone(clock);
    let verifier = PeerVerifier {
        trust: trust.live_store(),
        now: Arc::new(move || clock.now_ms() / 1000),
        revoked: trust.revoked(),
        client_may_be_unknown: false,
        lapsed: None,
    };
    let tls = device_server_config(live, Arc::new(verifier), wire::ALPN);
    let tls = tls.map_err(|error| error.to_string())?;
    edge::server_config(tls).map_err(|error| error.to_string())
}

/// Looks whether others refuse the node. No directory here is ever older than what was heard of it, whatever a crash
/// took: whoever finds so is wrong.
async fn watch_refusals(machine: Machine, mesh: Arc<Mesh>) {
    let mut looks = tokio::time::interval(INTRODUCE_EVERY);
    loop {
        looks.tick().await;
        let (others, why) = (mesh.found_older(), mesh.is_sent_away());
        if matches!(why, Some(SentAway::Removed(_))) {
            machine.note("is told that it was removed");
            machine.running.lock().unwrap().is_removed = true;
            return;
        }
        let why = why.filter(|why| matches!(why, SentAway::Older(_)));
        if why.is_none() && others.is_empty() {
            continue;
        }
        let fact =
            format!("node {} and {others:?}: one finds another older: {why:?}", machine.number);
        return machine.seen.lock().unwrap().blame(fact);
    }
}

/// Says who it is until the cluster knows it as it is.
async fn introduce(machine: Machine, node: Arc<Node>) {
    let mut looks = tokio::time::interval(INTRODUCE_EVERY);
    loop {
        looks.tick().await;
        let known = node.known.known();
        if known.member(node.number).is_some_and(|own| own.level == placement::LEVEL) {
            continue;
        }
        let command = Command::Placement(machine.joins(placement::LEVEL));
        machine.heard("introduces itself", &node.ask(EntityId::placement(), command).await);
    }
}

async fn obey(machine: Machine, node: Arc<Node>, order: Order) {
    match order {
        Order::Admit(other) => {
            let joins = Command::Placement(other.admission());
            let asked = node.ask(EntityId::placement(), joins).await;
            if machine.heard(format_args!("lets node {} in", other.number), &asked) {
                other.be_told((*node.known.known()).clone());
            }
        }
        Order::Say(command) => {
            let said = told(&command);
            let asked = node.ask(EntityId::placement(), Command::Placement(command)).await;
            machine.heard(format_args!("is told {said}"), &asked);
        }
        Order::Populate => {
            let land = &machine.land;
            let refused = people::populate(&node, &land.authority, &land.people).await;
            for (id, error) in refused {
                let what = format!("{id} is not taken in: {error}");
                machine.seen.lock().unwrap().blame(what);
            }
            machine.note("took everybody in");
            land.is_open.send_replace(true);
        }
        Order::Restore(other) => {
            let restore = Command::Placement(other.restoration());
            let asked = node.ask(EntityId::placement(), restore).await;
            machine.heard(format_args!("has node {} begin again", other.number), &asked);
        }
        Order::Freeze(group, copies) => {
            let done = loss::freeze(&node, group, &copies).await;
            machine.note(format_args!("freezes group {group}: {done}"));
        }
        Order::Compact => {
            for group in node.groups() {
                // One that leads no more, or has nothing new, is told so.
                let done = group.compact().await.is_ok();
                machine.note(format_args!("compacts group {}: {done}", group.group));
            }
        }
    }
}
