//! One node and its devices under simulated time, network and disk, with faults; and the laws.
//!
//! The node library and the device library run as they are. A run is a function of its seed: the
//! trace of what devices saw, and when, to the millisecond, is the same for the same seed.

mod clock;
mod hands;
mod histories;
pub(crate) mod people;
mod recorded;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fieldmesh_actors::seams::{Clock, Entropy};
use fieldmesh_device::wire;
use fieldmesh_domain::{
    EntityKind,
    placement::{Home, Members},
};
use fieldmesh_node::{
    audit::Audit,
    bucket::Rate,
    cluster::Cluster,
    consensus::rest::Resting,
    edge,
    journal::ShardJournal,
    node::{Node, NodeParts, Timing},
    store::{health::Limits, simulated::Disk},
    trust::Trust,
};
use fieldmesh_pki::{
    Kind,
    tls::{self, Credentials, PeerVerifier, device_server_config},
};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

pub(crate) use self::clock::WrongClock;
use self::people::{Habits, PORT, Person, Shared, live, populate};
pub use self::{
    clock::{EPOCH_MS, SimClock},
    people::Seen,
};
use crate::{
    pki::{Authority, CLUSTER, REGION, ServiceKit},
    signature, udp,
};

/// So few that logs begin anew several times in a run.
pub(crate) const SNAPSHOT_EVERY: u64 = 100;
pub(crate) const TIMING: Timing = Timing {
    heartbeat: Duration::from_millis(100),
    election_min: Duration::from_millis(300),
    election_max: Duration::from_millis(600),
};
/// Tickets that a technician takes at a time: all of them together take just as many as there are. Where an answer comes
/// late it is one more, so that another one can have the ticket by then.
const CAPACITY: u16 = 2;
/// Of so many seeds, one has a technician whose first acceptance comes too late: the offer lasts a minute.
const LATE_EVERY: u64 = 8;
/// The longest pause before a customer's request.
const PAUSE_MS: u64 = 3000;
/// A run that takes longer than this, simulated, has lost something.
const PATIENCE: Duration = Duration::from_secs(240);

/// Random bytes that follow from a seed.
pub struct SimEntropy(Mutex<StdRng>);

impl SimEntropy {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap().fill_bytes(bytes);
    }
}

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Believes whom an authority believes, in simulated time.
pub(crate) fn verifier(authority: &Authority) -> Arc<PeerVerifier> {
    Arc::new(PeerVerifier {
        trust: tls::fixed(authority.trust()),
        now: Arc::new(|| SimClock.now_ms() / 1000),
        revoked: Arc::new(|_, _| false),
        client_may_be_unknown: false,
        lapsed: None,
    })
}

/// What a run is like.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub customers: usize,
    pub technicians: usize,
    pub requests: usize,
    pub crashes: usize,
    pub cuts: usize,
    /// How often the clock of the node's machine is set wrong, and right again.
    pub clock_steps: usize,
    /// Whether the first technician accepts its first offer when that is over.
    pub late: bool,
}

impl Plan {
    /// The plan of the sweep.
    pub fn of(seed: u64) -> Self {
        Self {
            seed,
            customers: 2,
            technicians: 3,
            requests: 3,
            crashes: 3,
            cuts: 2,
            clock_steps: 2,
            late: seed % LATE_EVERY == 3,
        }
    }
}

/// The node's host: what outlives its crashes, and the journals of the node that runs now.
#[derive(Clone)]
struct Machine {
    disk: Disk,
    clock: WrongClock,
    journals: Arc<Mutex<Vec<ShardJournal>>>,
}

impl Machine {
    fn lose_power(&self, sim: &mut turmoil::Sim<'_>) {
        sim.crash("node");
        self.disk.crash();
        sim.bounce("node");
    }

    /// Whether a request is recorded of which no device has the receipt yet.
    fn is_ahead(&self, people: &[Person], seen: &Shared) -> bool {
        let journals = self.journals.lock().unwrap();
        recorded::is_unheard(&seen.lock().unwrap(), people, &journals)
    }
}

/// Runs the node on a disk until its host crashes.
async fn run_node(
    kit: Arc<ServiceKit>,
    authority: Arc<Authority>,
    credentials: Credentials,
    machine: Machine,
    people: Vec<Person>,
    seed: u64,
) -> turmoil::Result {
    let clock: Arc<dyn Clock> = Arc::new(machine.clock.steady());
    let live = signature::live(&credentials);
    let tls = device_server_config(live, verifier(&authority), wire::ALPN).unwrap();
    let endpoint =
        udp::endpoint(PORT, Some(edge::server_config(tls).unwrap()), [seed as u8; 32]).await;
    let home = Home::new(REGION.parse().unwrap(), 0, 2);
    let parts = NodeParts {
        cluster: CLUSTER.into(),
        number: 1,
        timing: TIMING,
        timing_across: TIMING,
        resting: Resting { every: TIMING.election_min, after: None },
        snapshot_every: SNAPSHOT_EVERY,
        awake_max: 1000,
        disk: Limits { stall: Duration::from_secs(2), room_min: 0 },
        engine: Arc::new(machine.disk),
        clock,
        entropy: Arc::new(SimEntropy::new(seed)),
        trust: Trust::new(authority.trust()),
        known: Cluster::new(Members::default(), home),
        mesh: None,
        cut_off_after: Duration::from_secs(10),
        away_after: None,
        unheard_after: None,
        zone: None,
        is_first: true,
        endpoint,
        device_rate: Rate { per_second: 50, burst: 200 },
        dismissed: tokio::sync::watch::channel(0).1,
        actor_faults: Arc::default(),
        agreement: Arc::default(),
        on_fatal: Arc::new(|error| panic!("the log failed: {error}")),
        audit: Audit::nowhere(),
    };
    let node = Node::start(parts, kit.secrets()).await?;
    node.ready().await?;
    *machine.journals.lock().unwrap() = node.journals();
    drop(populate(&node, &authority, &people).await);
    std::future::pending::<()>().await;
    Ok(())
}

/// Runs a plan to its end.
pub fn run(plan: Plan) -> Seen {
    let authority = Arc::new(Authority::new(EPOCH_MS / 1000));
    let kit = Arc::new(ServiceKit::new(&authority));
    // From a fast disk to one so slow that much is under way when the power fails.
    let disk = Disk::new(Duration::from_millis([1, 2, 5, 20, 60][plan.seed as usize % 5]));
    let seen = Shared::default();
    let capacity = CAPACITY + u16::from(plan.late);
    let somebody = |kind, number| Person::new(&authority, kind, number, capacity);
    let mut people: Vec<Person> =
        (0..plan.customers).map(|number| somebody(EntityKind::Customer, number)).collect();
    people
        .extend((0..plan.technicians).map(|number| somebody(EntityKind::Technician, 10 + number)));
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed)
        .simulation_duration(PATIENCE * 2)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(20))
        .udp_capacity(4096)
        .build();
    let credentials = authority.credentials(Kind::Node, [8; 16]);
    let incarnations = Arc::new(Mutex::new(plan.seed * 1000));
    let machine = Machine { disk, clock: WrongClock::default(), journals: Arc::default() };
    {
        let (authority, machine, people) =
            (Arc::clone(&authority), machine.clone(), people.clone());
        sim.host("node", move || {
            let seed = {
                let mut next = incarnations.lock().unwrap();
                *next += 1;
                *next
            };
            run_node(
                Arc::clone(&kit),
                Arc::clone(&authority),
                credentials.clone(),
                machine.clone(),
                people.clone(),
                seed,
            )
        });
    }
    for (index, person) in people.iter().enumerate() {
        let (person, authority, seen) = (person.clone(), Arc::clone(&authority), Arc::clone(&seen));
        let seed = plan.seed * 100 + index as u64 + 7;
        let (nodes, pause_ms) = (vec!["node".to_owned()], PAUSE_MS);
        let late = plan.late && index <= plan.customers;
        let habits = Habits { nodes, requests: plan.requests, pause_ms, seed, late };
        sim.host(person.name.clone(), move || {
            live(person.clone(), Arc::clone(&authority), habits.clone(), Arc::clone(&seen))
        });
    }
    drive(&mut sim, &machine, &plan, &people, &seen);
    let journals = machine.journals.lock().unwrap().clone();
    seen.lock().unwrap().read_histories("the node", &journals);
    for what in recorded::repeated(&people, &journals) {
        seen.lock().unwrap().blame(what);
    }
    seen.lock().unwrap().simulated = sim.elapsed();
    drop(sim);
    std::mem::take(&mut *seen.lock().unwrap())
}

/// The node's host loses its power.
struct Crash {
    /// Not before this simulated millisecond.
    from: u64,
    /// At the moment when a device has a receipt: what it acknowledges must be durable by then.
    on_receipt: bool,
}

/// Steps the simulation with its faults, then without, until all is done or patience ends.
fn drive(
    sim: &mut turmoil::Sim<'_>,
    machine: &Machine,
    plan: &Plan,
    people: &[Person],
    seen: &Shared,
) {
    let mut dice = StdRng::seed_from_u64(plan.seed ^ 0xfa17);
    let mut crashes: Vec<Crash> = (0..plan.crashes)
        .map(|_| Crash { from: dice.random_range(300..6000), on_receipt: dice.random() })
        .collect();
    let mut cuts: Vec<(u64, u64, usize)> = (0..plan.cuts)
        .map(|_| {
            (
                dice.random_range(300..6000),
                dice.random_range(50..2500),
                dice.random_range(0..people.len()),
            )
        })
        .collect();
    crashes.sort_unstable_by_key(|crash| crash.from);
    cuts.sort_unstable();
    let mut steps = clock::steps(plan.clock_steps, &mut dice);
    // One crash more, when a request is recorded and its device does not know: it asks again.
    let mut unheard: Option<u64> =
        Some(StdRng::seed_from_u64(plan.seed ^ 0x0dd5).random_range(300..6000));
    let mut healing: Vec<(u64, usize)> = Vec::new();
    let mut receipts = 0;
    while sim.elapsed() < PATIENCE {
        let now = sim.elapsed().as_millis() as u64;
        let before = std::mem::replace(&mut receipts, seen.lock().unwrap().received.len());
        let heard = receipts > before;
        if crashes.first().is_some_and(|it| it.from <= now && (heard || !it.on_receipt)) {
            crashes.remove(0);
            machine.lose_power(sim);
        } else if unheard.is_some_and(|from| from <= now) && machine.is_ahead(people, seen) {
            unheard = None;
            machine.lose_power(sim);
            // Nor does what it had sent arrive; where a line is cut, nothing is on its way.
            let is_cut = |who: &usize| healing.iter().any(|(_, cut)| cut == who);
            for who in (0..people.len()).filter(|who| !is_cut(who)) {
                sim.partition_oneway("node", people[who].name.as_str());
                sim.repair_oneway("node", people[who].name.as_str());
            }
        }
        if let Some((_, off)) = steps.first().copied().filter(|(at, _)| *at <= now) {
            steps.remove(0);
            machine.clock.set(off);
        }
        if let Some((_, length, who)) = cuts.first().copied().filter(|(at, ..)| *at <= now) {
            cuts.remove(0);
            sim.partition("node", people[who].name.as_str());
            healing.push((now + length, who));
        }
        healing.retain(|(at, who)| {
            let healed = *at <= now;
            if healed {
                sim.repair("node", people[*who].name.as_str());
            }
            !healed
        });
        // A crash that waits for a receipt waits in vain once all is done.
        let crashed =
            crashes.iter().all(|it| it.from <= now) && unheard.is_none_or(|from| from <= now);
        let healed = cuts.is_empty() && healing.is_empty() && steps.is_empty();
        if crashed && healed && seen.lock().unwrap().is_done(plan.customers * plan.requests) {
            break;
        }
        sim.step().expect("the simulation steps");
    }
    // Repetitions that are still under way may yet be seen, and the word to one of two who have a ticket.
    let until = sim.elapsed() + Duration::from_secs(8);
    let is_contested = || seen.lock().unwrap().is_contested();
    while sim.elapsed() < until || (sim.elapsed() < PATIENCE && is_contested()) {
        sim.step().expect("the simulation steps");
    }
}
