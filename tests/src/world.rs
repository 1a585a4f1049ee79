//! One node and its devices under simulated time, network and disk, with faults; and the laws.
//!
//! The node library and the device library run as they are. A run is a function of its seed: the
//! trace of what devices saw, and when, is the same for the same seed.

mod clock;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use fieldmesh_actors::seams::{Clock, Entropy};
use fieldmesh_device::{
    ClientConfig, Event, keys::DeviceKeys, outbox::MemoryOutbox, session::SessionParts, spawn, wire,
};
use fieldmesh_domain::{
    Command, EntityId, EntityKind, customer,
    message::{Answer, Location, RequestBody, ResponseBody},
    placement::{Home, Members},
    technician::{self, Shift, Skill},
};
use fieldmesh_envelope::SoftwareSigner;
use fieldmesh_node::{
    audit::Audit,
    bucket::Rate,
    cluster::Cluster,
    edge,
    journal::ShardJournal,
    node::{Node, NodeParts, Timing},
    store::{health::Limits, simulated::Disk},
    trust::Trust,
};
use fieldmesh_pki::{
    Kind,
    tls::{self, Credentials, LiveCredentials, PeerVerifier, client_config, device_server_config},
};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

use self::clock::WrongClock;
pub use self::clock::{EPOCH_MS, SimClock};
use crate::{
    pki::{Authority, CLUSTER, REGION, ServiceKit},
    udp,
};

const TIMING: Timing = Timing {
    heartbeat: Duration::from_millis(100),
    election_min: Duration::from_millis(300),
    election_max: Duration::from_millis(600),
};
const PORT: u16 = 7443;
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
        }
    }
}

/// What devices saw, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub trace: Vec<String>,
    requested: BTreeSet<EntityId>,
    received: BTreeSet<EntityId>,
    /// How often, and with which technicians, each ticket was confirmed to its customer.
    confirmed: BTreeMap<EntityId, Vec<Option<EntityId>>>,
    /// What is wrong with tickets' histories.
    misdated: Vec<String>,
}

type Shared = Arc<Mutex<Seen>>;

/// The node's host: what outlives its crashes, and the journals of the node that runs now.
#[derive(Clone)]
struct Machine {
    disk: Disk,
    clock: WrongClock,
    journals: Arc<Mutex<Vec<ShardJournal>>>,
}

/// A simulated person with a device.
#[derive(Clone)]
struct Person {
    id: EntityId,
    name: String,
    credentials: Credentials,
}

fn person(authority: &Authority, kind: EntityKind, number: usize) -> Person {
    let id = EntityId::new(kind, REGION.parse().unwrap(), [number as u8 * 3 + 1; 10]);
    let (profile, prefix) = if kind == EntityKind::Customer {
        (Kind::Customer, "customer")
    } else {
        (Kind::Technician, "technician")
    };
    Person { id, name: format!("{prefix}-{number}"), credentials: authority.device(id, profile) }
}

/// Registers and enrolls whoever is not yet.
async fn populate(node: &Node, authority: &Authority, people: &[Person]) {
    for person in people {
        let (name, home) =
            (person.name.clone(), Location { lat_e6: 48_000_000, lon_e6: 2_000_000 });
        let owner = match person.id.kind() {
            EntityKind::Customer => vec![Command::Customer(customer::Command::Register {
                name,
                location: home,
                tier: 2,
            })],
            _ => vec![
                Command::Technician(technician::Command::Register {
                    name,
                    skills: vec![Skill { category: 1, level: 3 }],
                    home,
                    capacity: 2,
                    shift: Shift::Always,
                }),
                Command::Technician(technician::Command::GoOnShift),
            ],
        };
        for command in owner {
            // A restarted node finds most of this done; what it refuses was done before.
            drop(node.ask(person.id, command).await);
        }
        let registration = EntityId::registration_of(person.id);
        for command in authority.enrollment(person.id, &person.credentials.chain[0]) {
            drop(node.ask(registration, Command::Registration(command)).await);
        }
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
    let verifier = PeerVerifier {
        trust: tls::fixed(Arc::new(authority.trust())),
        now: Arc::new(|| SimClock.now_ms() / 1000),
        revoked: Arc::new(|_, _| false),
        client_may_be_unknown: false,
        lapsed: None,
    };
    let live = Arc::new(LiveCredentials::new(&credentials).unwrap());
    let tls = device_server_config(live, Arc::new(verifier), wire::ALPN).unwrap();
    let endpoint =
        udp::endpoint(PORT, Some(edge::server_config(tls).unwrap()), [seed as u8; 32]).await;
    let home = Home::new(REGION.parse().unwrap(), 0, 2);
    let parts = NodeParts {
        cluster: CLUSTER.into(),
        number: 1,
        timing: TIMING,
        timing_across: TIMING,
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
        is_first: true,
        endpoint,
        device_rate: Rate { per_second: 50, burst: 200 },
        on_fatal: Arc::new(|error| panic!("the log failed: {error}")),
        audit: Audit::nowhere(),
    };
    let node = Node::start(parts, kit.secrets()).await?;
    node.ready().await?;
    *machine.journals.lock().unwrap() = node.journals();
    populate(&node, &authority, &people).await;
    std::future::pending::<()>().await;
    Ok(())
}

async fn run_device(
    person: Person,
    authority: Arc<Authority>,
    seen: Shared,
    plan: Plan,
    seed: u64,
) -> turmoil::Result {
    let entropy = Arc::new(SimEntropy::new(seed));
    let random = Arc::clone(&entropy);
    let signer =
        SoftwareSigner::from_pkcs8(&person.credentials.pkcs8, &person.credentials.chain[0])
            .unwrap();
    let mut keys = DeviceKeys { signer: Arc::new(signer), hpke: Vec::new() };
    keys.rotate(EPOCH_MS / 1000).unwrap();
    let verifier = PeerVerifier {
        trust: tls::fixed(Arc::new(authority.trust())),
        now: Arc::new(|| SimClock.now_ms() / 1000),
        revoked: Arc::new(|_, _| false),
        client_may_be_unknown: false,
        lapsed: None,
    };
    let tls = client_config(Arc::new(verifier), Some(&person.credentials), wire::ALPN).unwrap();
    let endpoint = udp::endpoint(0, None, [seed as u8; 32]).await;
    let (client, mut events) = spawn(ClientConfig {
        session: SessionParts {
            me: person.id,
            keys,
            trust: Arc::new(authority.trust()),
            outbox: Box::new(MemoryOutbox::default()),
            clock: Arc::new(|| SimClock.now_ms()),
            entropy: Arc::new(move |bytes| random.fill(bytes)),
        },
        endpoint,
        addr: (turmoil::lookup("node"), PORT).into(),
        server_name: "localhost".into(),
        tls: Arc::new(tls),
        symmetric: seed.is_multiple_of(2),
    });
    let mut dice = StdRng::seed_from_u64(seed);
    let asking = client.clone();
    let (id, wishes) = (person.id, Arc::clone(&seen));
    if person.id.kind() == EntityKind::Customer {
        tokio::spawn(async move {
            for number in 0..plan.requests {
                tokio::time::sleep(Duration::from_millis(dice.random_range(0..3000))).await;
                let body = RequestBody {
                    category: 1,
                    subcategory: number as u16,
                    impact: 2,
                    urgency: 2,
                    location: Location { lat_e6: 48_100_000, lon_e6: 2_100_000 },
                    text: "help".into(),
                };
                let message = asking.request(&body).await.unwrap();
                wishes.lock().unwrap().requested.insert(EntityId::ticket_of(id, message));
            }
        });
    }
    let mut dice = StdRng::seed_from_u64(seed + 1);
    while let Some(event) = events.recv().await {
        if let Event::Alert { message_id, body } = &event {
            let declines = dice.random_range(0..4) == 0;
            let answer = if declines {
                Answer::Decline { reason: String::new() }
            } else {
                Answer::Accept { eta_min: 10 }
            };
            client
                .respond(
                    Some(*message_id),
                    &ResponseBody { ticket: body.ticket, offer: body.offer, answer },
                )
                .await
                .unwrap();
        }
        seen.lock().unwrap().note(&person, &event);
    }
    Ok(())
}

impl Seen {
    fn note(&mut self, person: &Person, event: &Event) {
        let what = match event {
            Event::Step { .. } => return,
            Event::Connected => "connected".to_owned(),
            Event::Disconnected { .. } => "disconnected".to_owned(),
            Event::Refused { reason } => format!("refused: {reason}"),
            Event::Receipt { body, .. } => {
                self.received
                    .extend(body.ticket.filter(|_| person.id.kind() == EntityKind::Customer));
                format!("receipt {:?} {:?}", body.status, body.ticket)
            }
            Event::Alert { body, .. } => format!("alert {} {:?}", body.ticket, body.offer),
            Event::Confirmation { body, .. } => {
                if body.number == 2 {
                    self.confirmed.entry(body.ticket).or_default().push(body.technician);
                }
                format!("confirmation {} {} {:?}", body.number, body.ticket, body.technician)
            }
            Event::Expired { .. } => "expired".to_owned(),
        };
        let at = SimClock.now_ms() - EPOCH_MS;
        self.trace.push(format!("{at} {} {what}", person.name));
    }

    fn is_done(&self, plan: &Plan) -> bool {
        let all = plan.customers * plan.requests;
        self.requested.len() == all
            && self.requested.iter().all(|ticket| self.confirmed.contains_key(ticket))
    }

    /// Looks at the history of each ticket: time goes on in it.
    fn read_histories(&mut self, journals: &[ShardJournal]) {
        let found = |ticket| journals.iter().flat_map(move |one| one.history(ticket).unwrap());
        for ticket in &self.requested {
            let times: Vec<u64> = found(*ticket).map(|entry| entry.record.at_ms).collect();
            if !times.is_sorted() {
                self.misdated.push(format!("{ticket} has steps at {times:?}"));
            }
        }
    }

    /// What was promised and is not so.
    pub fn broken_laws(&self) -> Vec<String> {
        let mut broken = self.misdated.clone();
        for ticket in self.received.difference(&self.confirmed.keys().copied().collect()) {
            broken.push(format!("{ticket} was acknowledged and is lost"));
        }
        for ticket in &self.requested {
            if !self.received.contains(ticket) {
                broken.push(format!("{ticket} was never received"));
            }
        }
        for (ticket, technicians) in &self.confirmed {
            if technicians.len() > 1 {
                broken.push(format!("{ticket} was confirmed {} times", technicians.len()));
            }
            if technicians.iter().collect::<BTreeSet<_>>().len() > 1 {
                broken.push(format!("{ticket} has two technicians"));
            }
        }
        broken
    }
}

/// Runs a plan to its end.
pub fn run(plan: Plan) -> Seen {
    let authority = Arc::new(Authority::new(EPOCH_MS / 1000));
    let kit = Arc::new(ServiceKit::new(&authority));
    // From a fast disk to one so slow that much is under way when the power fails.
    let disk = Disk::new(Duration::from_millis([1, 2, 5, 20, 60][plan.seed as usize % 5]));
    let seen = Shared::default();
    let mut people: Vec<Person> = (0..plan.customers)
        .map(|number| person(&authority, EntityKind::Customer, number))
        .collect();
    people.extend(
        (0..plan.technicians).map(|number| person(&authority, EntityKind::Technician, 10 + number)),
    );
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
        sim.host(person.name.clone(), move || {
            run_device(person.clone(), Arc::clone(&authority), Arc::clone(&seen), plan, seed)
        });
    }
    drive(&mut sim, &machine, &plan, &people, &seen);
    seen.lock().unwrap().read_histories(&machine.journals.lock().unwrap());
    drop(sim);
    Arc::into_inner(seen).map_or_else(Seen::default, |seen| seen.into_inner().unwrap())
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
    let mut healing: Vec<(u64, usize)> = Vec::new();
    let mut receipts = 0;
    while sim.elapsed() < PATIENCE {
        let now = sim.elapsed().as_millis() as u64;
        let before = std::mem::replace(&mut receipts, seen.lock().unwrap().received.len());
        let heard = receipts > before;
        if crashes.first().is_some_and(|it| it.from <= now && (heard || !it.on_receipt)) {
            crashes.remove(0);
            sim.crash("node");
            machine.disk.crash();
            sim.bounce("node");
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
        let crashed = crashes.iter().all(|it| it.from <= now);
        let healed = cuts.is_empty() && healing.is_empty() && steps.is_empty();
        if crashed && healed && seen.lock().unwrap().is_done(plan) {
            break;
        }
        sim.step().expect("the simulation steps");
    }
    // Repetitions that are still under way may yet be seen.
    let until = sim.elapsed() + Duration::from_secs(8);
    while sim.elapsed() < until {
        sim.step().expect("the simulation steps");
    }
}
