//! People with devices under simulated time: what they do, what their devices saw, and what must hold of it.
//!
//! Customers ask for help now and then; technicians accept what they are offered, or decline it. The device
//! library runs as it is. **Invariants:** what a device does follows from its seed and from what it is told;
//! what was seen is written down in order. **Not here:** nodes and what befalls them (`world`,
//! `cluster_world`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use fieldmesh_actors::{
    AskError,
    seams::{Clock, Entropy},
};
use fieldmesh_device::{
    Client, ClientConfig, Event, Mail, Others, keys::DeviceKeys, outbox::MemoryOutbox,
    session::SessionParts, spawn_among, wire,
};
use fieldmesh_domain::{
    Command, EntityId, EntityKind, customer,
    message::{Answer, Location, RequestBody, ResponseBody},
    technician::{self, Shift, Skill},
};
use fieldmesh_envelope::SoftwareSigner;
use fieldmesh_node::{journal::ShardJournal, node::Node};
use fieldmesh_pki::{
    Kind,
    tls::{Credentials, client_config},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::mpsc;

use super::{EPOCH_MS, SimClock, SimEntropy, verifier};
use crate::{pki::Authority, signature, udp};

/// Where nodes take devices.
pub(crate) const PORT: u16 = 7443;

/// A simulated person with a device.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) id: EntityId,
    pub(crate) name: String,
    pub(crate) credentials: Credentials,
    /// Tickets that a technician takes at a time.
    capacity: u16,
}

impl Person {
    pub(crate) fn new(
        authority: &Authority,
        kind: EntityKind,
        number: usize,
        capacity: u16,
    ) -> Self {
        let id = EntityId::new(kind, authority.region(), [number as u8 * 3 + 1; 10]);
        let (profile, prefix) = if kind == EntityKind::Customer {
            (Kind::Customer, "customer")
        } else {
            (Kind::Technician, "technician")
        };
        let name = format!("{prefix}-{number}");
        Self { id, name, credentials: authority.device(id, profile), capacity }
    }

    /// What makes the service know the person.
    fn introduction(&self, authority: &Authority) -> Vec<(EntityId, Command)> {
        let home = Location { lat_e6: 48_000_000, lon_e6: 2_000_000 };
        let (name, capacity) = (self.name.clone(), self.capacity);
        let owner = match self.id.kind() {
            EntityKind::Customer => vec![Command::Customer(customer::Command::Register {
                name,
                location: home,
                tier: 2,
                zone: None,
            })],
            _ => vec![
                Command::Technician(technician::Command::Register {
                    name,
                    skills: vec![Skill::new(1, 3)],
                    home,
                    capacity,
                    shift: Shift::Always,
                }),
                Command::Technician(technician::Command::GoOnShift),
            ],
        };
        let owner = owner.into_iter().map(|command| (self.id, command));
        let registration = EntityId::registration_of(self.id);
        let enrollment = authority.enrollment(self.id, &self.credentials.chain[0]).into_iter();
        owner.chain(enrollment.map(|one| (registration, Command::Registration(one)))).collect()
    }
}

/// Registers and enrolls whoever is not yet; what was refused, or could not be asked. A restarted node finds
/// most of this done, and refuses what was done before.
pub(crate) async fn populate(
    node: &Node,
    authority: &Authority,
    people: &[Person],
) -> Vec<(EntityId, AskError)> {
    let mut refused = Vec::new();
    for (entity, command) in people.iter().flat_map(|person| person.introduction(authority)) {
        let asked = node.ask(entity, command).await;
        refused.extend(asked.err().map(|error| (entity, error)));
    }
    refused
}

/// How somebody spends the time.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    /// The nodes that the device knows, by name; the first is tried first.
    pub(crate) nodes: Vec<String>,
    /// What a customer asks for, and how long a pause before each request is at most.
    pub(crate) requests: usize,
    pub(crate) pause_ms: u64,
    pub(crate) seed: u64,
}

/// What devices saw, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub trace: Vec<String>,
    pub(crate) requested: BTreeSet<EntityId>,
    pub(crate) received: BTreeSet<EntityId>,
    /// How often, and with which technicians, each ticket was confirmed to its customer.
    confirmed: BTreeMap<EntityId, Vec<Option<EntityId>>>,
    /// What is wrong beside what follows from the above.
    broken: Vec<String>,
}

pub(crate) type Shared = Arc<Mutex<Seen>>;

/// Somebody's device, for as long as the simulation runs.
pub(crate) async fn live(
    person: Person,
    authority: Arc<Authority>,
    habits: Habits,
    seen: Shared,
) -> turmoil::Result {
    let seed = habits.seed;
    let (client, mut events) = connect(&person, &authority, &habits).await;
    if person.id.kind() == EntityKind::Customer {
        tokio::spawn(ask(person.id, client.clone(), habits, Arc::clone(&seen)));
    }
    let mut dice = StdRng::seed_from_u64(seed + 1);
    while let Some(event) = events.recv().await {
        if let Event::Alert { message_id, body, .. } = &event {
            let declines = dice.random_range(0..4) == 0;
            let answer = if declines {
                Answer::Decline { reason: String::new() }
            } else {
                Answer::Accept { eta_min: 10 }
            };
            let response = ResponseBody { ticket: body.ticket, offer: body.offer, answer };
            client.respond(Some(*message_id), &response).await.unwrap();
        }
        seen.lock().unwrap().note(&person, &event);
    }
    Ok(())
}

async fn connect(
    person: &Person,
    authority: &Authority,
    habits: &Habits,
) -> (Client, mpsc::Receiver<Event>) {
    let random = Arc::new(SimEntropy::new(habits.seed));
    let signer =
        SoftwareSigner::from_pkcs8(&person.credentials.pkcs8, &person.credentials.chain[0])
            .unwrap();
    let mut keys = DeviceKeys { signer: Arc::new(signer), hpke: Vec::new() };
    keys.rotate(EPOCH_MS / 1000).unwrap();
    let mut tls =
        client_config(verifier(authority), Some(&person.credentials), wire::ALPN).unwrap();
    tls.client_auth_cert_resolver = signature::live(&person.credentials);
    let endpoint = udp::endpoint(0, None, [habits.seed as u8; 32]).await;
    let at = |node: &String| SocketAddr::new(turmoil::lookup(node.as_str()), PORT);
    let mut nodes = habits.nodes.iter().map(at);
    let config = ClientConfig {
        session: SessionParts {
            me: person.id,
            keys,
            trust: authority.trust(),
            outbox: Box::new(MemoryOutbox::default()),
            clock: Arc::new(|| SimClock.now_ms()),
            entropy: Arc::new(move |bytes| random.fill(bytes)),
        },
        endpoint,
        addr: nodes.next().unwrap(),
        server_name: "localhost".into(),
        tls: Arc::new(tls),
        symmetric: habits.seed.is_multiple_of(2),
    };
    let others = Others { named: nodes.collect(), told: Vec::new() };
    spawn_among(config, others, Mail::Take)
}

/// Asks for what a customer asks for.
async fn ask(customer: EntityId, client: Client, habits: Habits, seen: Shared) {
    let mut dice = StdRng::seed_from_u64(habits.seed);
    for number in 0..habits.requests {
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..habits.pause_ms))).await;
        let body = RequestBody {
            category: 1,
            subcategory: number as u16,
            impact: 2,
            urgency: 2,
            location: Location { lat_e6: 48_100_000, lon_e6: 2_100_000 },
            text: "help".into(),
        };
        let message = client.request(&body).await.unwrap();
        seen.lock().unwrap().requested.insert(EntityId::ticket_of(customer, message));
    }
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
            Event::Note { body, .. } => format!("note {} {}", body.ticket, body.number),
            Event::Expired { .. } => "expired".to_owned(),
        };
        self.tell(SimClock.now_ms() - EPOCH_MS, format_args!("{} {what}", person.name));
    }

    /// Adds to the trace.
    pub(crate) fn tell(&mut self, at_ms: u64, what: impl std::fmt::Display) {
        self.trace.push(format!("{at_ms} {what}"));
    }

    /// Something is wrong that no device can see.
    pub(crate) fn blame(&mut self, what: String) {
        self.broken.push(what);
    }

    /// Whether so many requests were made, and all of them were confirmed.
    pub(crate) fn is_done(&self, requests: usize) -> bool {
        self.requested.len() == requests && self.open().next().is_none()
    }

    /// What was asked for and not confirmed yet.
    pub(crate) fn open(&self) -> impl Iterator<Item = EntityId> {
        self.requested.iter().copied().filter(|ticket| !self.confirmed.contains_key(ticket))
    }

    pub fn requested(&self) -> usize {
        self.requested.len()
    }

    pub fn confirmed(&self) -> usize {
        self.confirmed.len()
    }

    /// Looks at the history of each ticket in each journal that has it: time goes on in it, and no step is
    /// missing. That each step names the one before is seen to while it is read.
    pub(crate) fn read_histories(&mut self, of: &str, journals: &[ShardJournal]) {
        let mut broken = Vec::new();
        for ticket in &self.requested {
            for journal in journals {
                match journal.history(*ticket) {
                    Ok(steps) => {
                        let times: Vec<u64> = steps.iter().map(|step| step.record.at_ms).collect();
                        if !times.is_sorted() {
                            broken.push(format!("{of}: {ticket} has steps at {times:?}"));
                        }
                        let mut next = 0;
                        for step in &steps {
                            if step.version != next {
                                broken.push(format!("{of}: {ticket} has no version {next}"));
                            }
                            next = step.version + step.record.events.len() as u64;
                        }
                    }
                    Err(error) => broken.push(format!("{of}: {ticket} cannot be read: {error}")),
                }
            }
        }
        self.broken.extend(broken);
    }

    /// What was promised and is not so.
    pub fn broken_laws(&self) -> Vec<String> {
        let mut broken = self.broken.clone();
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
