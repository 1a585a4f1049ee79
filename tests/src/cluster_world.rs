//! A whole cluster under simulated time, network and disks, with faults; and the laws.
//!
//! Nodes and devices run as they are: nodes with mesh, groups and placement, devices that know several
//! nodes. Node 1 begins and lets the others in (`growth`), who take their places as the product has it; then
//! faults come one after the other, and operators' commands go on meanwhile (`faults`), by which in some runs a
//! machine joins and another one leaves (`moves`), or a region is lost and begins again (`loss`); then all is mended and must come to be what is wanted, with
//! everything served (`peace`).
//!
//! Laws: what was acknowledged is confirmed to its customer, once, with one technician (`world::people`), who is the only
//! one by what technicians were told (`world::hands`) and by the ticket's history (`world::histories`); a term of a group
//! has one leader (`sight`); whoever leads can read what its group stored (`node`); in the end all replicas of a group
//! have the same log and the same state, an entity is in its slot's shard and nowhere else, and its history is whole
//! (`laws`).

mod authority;
mod faults;
mod growth;
mod handed;
mod laws;
mod loss;
mod moves;
mod node;
mod peace;
mod plan;
mod sight;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::Duration,
};

use fieldmesh_actors::seams::Clock;
use fieldmesh_domain::{
    EntityKind, Region,
    placement::{self, GROUPS_PER_REGION},
};
use fieldmesh_pki::{Kind, tls::Credentials};
use tokio::sync::watch;
use turmoil::Sim;

pub use self::plan::Plan;
use self::{loss::Loss, moves::Moves, node::Machine, sight::Sight};
use crate::{
    mesh::identity_in,
    pki::{Authority, ServiceKit},
    world::{
        EPOCH_MS, SimClock,
        people::{Person, Shared},
        with_causes,
    },
};

/// How often it is looked whether all is well, where it is not looked in each step.
const SEEN_MS: u64 = 50;
/// How long faults go on.
const FAULTS: Duration = Duration::from_secs(20);
/// A run that takes longer than this, simulated, never ends.
const SIMULATED_MAX: Duration = Duration::from_secs(600);
/// The names of regions, in the order in which they begin.
const REGIONS: [&str; 2] = ["eu1", "us1"];
/// Which of them may be lost.
const LOST: usize = 1;
/// Numbers of nodes that each region has for itself.
const NUMBERS: u64 = 10;
/// Tickets that a technician takes at a time: nobody waits because all hands are full.
const CAPACITY: u16 = 40;

/// What happened in a run.
#[derive(Debug, Default)]
pub struct Seen {
    pub trace: Vec<String>,
    pub broken: Vec<String>,
    pub requests: usize,
    pub confirmed: usize,
    pub crashes: usize,
    /// Crashes of a node that led a group.
    pub leader_crashes: usize,
    pub cuts: usize,
    pub drains: usize,
    /// Commands that say who votes in a group.
    pub assignments: usize,
    /// Commands that say where a region's data are besides.
    pub policies: usize,
    pub slots_moved: usize,
    /// Regions that were lost while faults went on, and began again.
    pub promotions: usize,
    /// Machines that were there to join while faults went on, and that were removed.
    pub joins: usize,
    pub leaves: usize,
    pub full_disks: usize,
    /// Disks that were slow for logs alone, and for states alone while those were written down.
    pub slow_logs: usize,
    pub slow_states: usize,
    /// Replicas whose state came from a snapshot in the end; none where a region was lost, which begins again with states
    /// that nobody can tell from those.
    pub installed: usize,
    /// Terms of groups that had a leader.
    pub terms: usize,
    pub simulated: Duration,
}

/// A region: its authority, its service and who lives there.
struct Land {
    index: u32,
    /// The number of its first node.
    first: u64,
    nodes: u64,
    /// The node that begins again with it, where it is to be lost.
    successor: Option<u64>,
    shards: u32,
    authority: Arc<Authority>,
    kit: ServiceKit,
    people: Vec<Person>,
    lines: Option<usize>,
    packs: bool,
    /// Whether everybody was taken in.
    is_open: watch::Sender<bool>,
}

impl Land {
    fn new(plan: &Plan, index: usize) -> Arc<Self> {
        let authority = Arc::clone(&authorities()[index]);
        let somebody = |kind, number| {
            Person::new(&authority, kind, number + index * NUMBERS as usize, CAPACITY)
        };
        let customers = (0..plan.customers).map(|one| somebody(EntityKind::Customer, one));
        let technicians =
            (0..plan.technicians).map(|one| somebody(EntityKind::Technician, one + 40));
        let people = customers.chain(technicians).collect();
        let (first, nodes) = (index as u64 * NUMBERS + 1, plan.nodes[index]);
        Arc::new(Self {
            index: index as u32,
            first,
            nodes,
            successor: (plan.loses && index == LOST).then_some(first + nodes),
            shards: plan.shards,
            kit: ServiceKit::new(&authority),
            people,
            lines: plan.lines,
            packs: plan.packs,
            is_open: watch::Sender::new(false),
            authority,
        })
    }

    fn region(&self) -> Region {
        self.authority.region()
    }

    fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        self.first..self.first + self.nodes
    }

    /// The hosts that devices are on, with their owners.
    fn lines(&self) -> Vec<(String, Vec<&Person>)> {
        let Some(lines) = self.lines else {
            return self.people.iter().map(|one| (one.name.clone(), vec![one])).collect();
        };
        let behind = |line| self.people.iter().skip(line).step_by(lines).collect();
        (0..lines).map(|line| (format!("line-{}-{line}", self.region()), behind(line))).collect()
    }

    /// The number of a shard's group.
    fn group(&self, shard: u32) -> u32 {
        self.index * GROUPS_PER_REGION + shard
    }

    fn node_credentials(&self, number: u64) -> Credentials {
        self.authority.credentials(Kind::Node, identity_in(self.region(), number).to_bytes())
    }
}

/// The same for all runs: what is signed has no part in them.
fn authorities() -> &'static [Arc<Authority>] {
    static AUTHORITIES: OnceLock<Vec<Arc<Authority>>> = OnceLock::new();
    AUTHORITIES.get_or_init(|| {
        let all = Authority::of_regions(&REGIONS, EPOCH_MS / 1000);
        all.into_iter().map(Arc::new).collect()
    })
}

fn host(number: u64) -> String {
    format!("n{number}")
}

/// A command, as the trace has it.
fn told(command: &placement::Command) -> String {
    match command {
        // It holds a certificate, which is another one in each process.
        placement::Command::Introduce { ca, .. } => format!("Introduce {}", ca.authority.region()),
        command => format!("{command:?}"),
    }
}

/// Adds to the trace what happens on a host.
fn note(seen: &Shared, what: impl std::fmt::Display) {
    seen.lock().unwrap().tell(SimClock.now_ms() - EPOCH_MS, what);
}

/// The cluster from outside.
struct World<'a, 'sim> {
    sim: &'a mut Sim<'sim>,
    plan: Plan,
    lands: Vec<Arc<Land>>,
    /// By the order in which they came.
    machines: Vec<Machine>,
    /// Those that were removed, or lost.
    departed: Vec<Machine>,
    moves: Option<Moves>,
    loss: Option<Loss>,
    /// What devices and nodes say.
    told: Shared,
    sight: Sight,
    seen: Seen,
}

impl World<'_, '_> {
    fn now(&self) -> u64 {
        self.sim.elapsed().as_millis() as u64
    }

    fn machine(&self, number: u64) -> &Machine {
        let mut all = self.machines.iter().chain(&self.departed);
        all.find(|machine| machine.number == number).unwrap()
    }

    /// The nodes of a region, without those that were removed.
    fn numbers_of(&self, land: &Land) -> Vec<u64> {
        let own = self.machines.iter().filter(|machine| machine.land.index == land.index);
        own.map(|machine| machine.number).collect()
    }

    fn note(&self, what: impl std::fmt::Display) {
        self.told.lock().unwrap().tell(self.now(), what);
    }

    fn blame(&self, what: String) {
        self.told.lock().unwrap().blame(what);
    }

    /// One step; whether the simulation goes on.
    fn step(&mut self) -> bool {
        if let Err(error) = self.sim.step() {
            let why = with_causes(&*error);
            self.blame(format!("a node ended: {why}"));
            return false;
        }
        self.end_removed();
        let now = self.now();
        self.sight.look(&self.machines, &mut self.told.lock().unwrap(), now);
        true
    }

    /// Whether this is the first step of a period.
    fn is_due(&self, every_ms: u64) -> bool {
        self.now() % every_ms < self.plan.step_ms
    }

    /// Steps until something is so, as is looked every so many milliseconds, and in the end; what is missing where
    /// it does not come about in time.
    fn until(
        &mut self,
        within: Duration,
        every_ms: u64,
        mut missing: impl FnMut(&mut Self) -> Option<String>,
    ) -> Result<(), String> {
        let end = self.sim.elapsed() + within;
        loop {
            let is_late = self.sim.elapsed() >= end;
            if is_late || self.is_due(every_ms) {
                match missing(self) {
                    None => return Ok(()),
                    Some(what) if is_late => return Err(what),
                    Some(_) => {}
                }
            }
            if !self.step() {
                return Err("the simulation does not go on".into());
            }
        }
    }
}

/// Runs a plan to its end.
pub fn run(plan: Plan) -> Seen {
    run_as(plan, |world| world.live())
}

/// Runs a plan in which a group's only voter fails while the group is given to a node that is away.
pub fn run_handed(plan: Plan) -> Seen {
    run_as(plan, |world| world.live_handed())
}

fn run_as(plan: Plan, live: impl FnOnce(&mut World<'_, '_>) -> Result<(), String>) -> Seen {
    let told = Shared::default();
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed)
        .tick_duration(Duration::from_millis(plan.step_ms))
        .simulation_duration(SIMULATED_MAX)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(20))
        .udp_capacity(4096)
        .build();
    let lands: Vec<Arc<Land>> = (0..plan.nodes.len()).map(|at| Land::new(&plan, at)).collect();
    let numbered = lands.iter().flat_map(|land| land.numbers().map(move |number| (number, land)));
    let machines: Vec<Machine> = numbered
        .zip(plan.sync_ms)
        .map(|((number, land), sync_ms)| Machine::new(number, land, sync_ms, &told))
        .collect();
    let succeeds =
        |land: &Arc<Land>| Some(Machine::new(land.successor?, land, plan.sync_ms[LOST], &told));
    let successor = lands.iter().find_map(succeeds);
    growth::host_nodes(&mut sim, &plan, &machines);
    growth::host_nodes(&mut sim, &plan, successor.as_slice());
    if plan.eager {
        growth::host_devices(&mut sim, &plan, &lands, &told);
    }
    let mut world = World {
        sim: &mut sim,
        plan,
        lands,
        machines,
        departed: Vec::new(),
        moves: None,
        loss: successor.map(|machine| Loss::new(plan.seed, machine)),
        told: Arc::clone(&told),
        sight: Sight::default(),
        seen: Seen::default(),
    };
    // A node that panics ends its host's runtime, and with it the run; what was seen until then is told.
    let lived = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    if let Err(panic) = &lived {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        world.blame(format!("a node panicked: {}", said.unwrap_or_default()));
    }
    match lived {
        Ok(Ok(())) => world.judge(),
        Ok(Err(why)) => world.blame(format!("at {} ms: {why}", world.now())),
        Err(_) => {}
    }
    let World { sight, mut seen, .. } = world;
    seen.simulated = sim.elapsed();
    let told = std::mem::take(&mut *told.lock().unwrap());
    (seen.requests, seen.confirmed) = (told.requested(), told.confirmed());
    (seen.slots_moved, seen.terms) = (sight.slots_moved(), sight.terms());
    seen.broken = told.broken_laws();
    seen.trace = told.trace;
    seen
}
