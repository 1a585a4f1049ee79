//! People with devices under simulated time: what they do, what their devices saw, and what must hold of it.
//!
//! Customers ask for help now and then; technicians accept what they are offered, or decline it, and in some runs
//! one of them accepts its first offer when that is over. The device library runs as it is. **Invariants:** what a
//! device does follows from its seed and from what it is told; what was seen is written down in order. **Not here:**
//! nodes and what befalls them (`world`, `cluster_world`), who has a ticket by what technicians were told (`hands`) and
//! by its history (`histories`).

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
    message::{AlertBody, Answer, Location, RequestBody, ResponseBody},
    technician::{self, Shift, Skill},
    triage,
};
use fieldmesh_envelope::SoftwareSigner;
use fieldmesh_node::{journal::ShardJournal, node::Node};
use fieldmesh_pki::{
    Kind,
    tls::{Credentials, client_config},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::mpsc;

use super::{EPOCH_MS, SimClock, SimEntropy, hands::Hands, histories::Histories, verifier};
use crate::{pki::Authority, signature, udp};

/// Where nodes take devices.
pub(crate) const PORT: u16 = 7443;
/// Who answers too late does so within this after the end.
const LATE_MS: u64 = 2000;

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
    /// A technician accepts its first offer when that is over; a customer asks for what is most urgent, whose offers
    /// are over soonest.
    pub(crate) late: bool,
}

/// What devices saw, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub trace: Vec<String>,
    /// How long the run was, by its own clocks.
    pub simulated: Duration,
    pub(crate) requested: BTreeSet<EntityId>,
    pub(crate) received: BTreeSet<EntityId>,
    /// How often, and with which technicians, each ticket was confirmed to its customer.
    confirmed: BTreeMap<EntityId, Vec<Option<EntityId>>>,
    hands: Hands,
    histories: Histories,
    /// Answers that are still to be given.
    owed: usize,
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
    let Habits { seed, late, .. } = habits;
    let (client, mut events) = connect(&person, &authority, &habits).await;
    if person.id.kind() == EntityKind::Customer {
        tokio::spawn(ask(person.id, client.clone(), habits, Arc::clone(&seen)));
    }
    let mut owes_late = late;
    let mut dice = StdRng::seed_from_u64(seed + 1);
    while let Some(event) = events.recv().await {
        seen.lock().unwrap().note(&person, &event);
        let Event::Alert { message_id, body, .. } = event else { continue };
        let declines = dice.random_range(0..4) == 0;
        let is_late = std::mem::take(&mut owes_late);
        let answer = if declines && !is_late {
            Answer::Decline { reason: String::new() }
        } else {
            Answer::Accept { eta_min: 10 }
        };
        let response = ResponseBody { ticket: body.ticket, offer: body.offer, answer };
        let device = (person.id, client.clone());
        if is_late {
            let after = until_late(&body, &mut dice);
            tokio::spawn(respond_late(device, message_id, response, after, Arc::clone(&seen)));
        } else {
            respond(device, message_id, &response, &seen).await;
        }
    }
    Ok(())
}

async fn respond(
    (technician, client): (EntityId, Client),
    alert: [u8; 16],
    response: &ResponseBody,
    seen: &Shared,
) {
    let message = client.respond(Some(alert), response).await.unwrap();
    seen.lock().unwrap().hands.said(technician, message, response);
}

/// The time until an offer is over, whatever its node's clock says, and some more.
fn until_late(offer: &AlertBody, dice: &mut StdRng) -> Duration {
    let left_ms = offer.expires.0.saturating_sub(SimClock.now_ms());
    let life_ms = triage::offer_life_s(offer.priority) * 1000;
    Duration::from_millis(left_ms.max(life_ms) + dice.random_range(0..LATE_MS))
}

async fn respond_late(
    (technician, client): (EntityId, Client),
    alert: [u8; 16],
    response: ResponseBody,
    after: Duration,
    seen: Shared,
) {
    seen.lock().unwrap().owed += 1;
    tokio::time::sleep(after).await;
    let what = format!("{technician} accepts {} late", response.ticket);
    seen.lock().unwrap().tell(SimClock.now_ms() - EPOCH_MS, what);
    respond((technician, client), alert, &response, &seen).await;
    seen.lock().unwrap().owed -= 1;
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
    let step = if habits.late { 1 } else { 2 };
    for number in 0..habits.requests {
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..habits.pause_ms))).await;
        let body = RequestBody {
            category: 1,
            subcategory: number as u16,
            impact: step,
            urgency: step,
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
            Event::Receipt { message_id, body } => {
                if person.id.kind() == EntityKind::Customer {
                    self.received.extend(body.ticket);
                } else {
                    self.hands.told(person.id, *message_id, body);
                }
                format!("receipt {:?} {:?}", body.status, body.ticket)
            }
            Event::Alert { body, .. } => {
                self.hands.alerted(person.id, person.capacity, body);
                format!("alert {} {:?}", body.ticket, body.offer)
            }
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
        tracing::info!(at_ms, "{what}");
        self.trace.push(format!("{at_ms} {what}"));
    }

    /// Something is wrong that no device can see.
    pub(crate) fn blame(&mut self, what: String) {
        self.broken.push(what);
    }

    /// Whether so many requests were made, all of them were confirmed, and whoever has to answer has done so.
    pub(crate) fn is_done(&self, requests: usize) -> bool {
        self.requested.len() == requests && self.open().next().is_none() && self.owed == 0
    }

    /// Whether two technicians have a ticket by what they were told so far.
    pub(crate) fn is_contested(&self) -> bool {
        self.hands.is_contested()
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

    /// Looks at the history of each ticket and technician in each journal that has it.
    pub(crate) fn read_histories(&mut self, of: &str, journals: &[ShardJournal]) {
        for id in self.requested.iter().copied().chain(self.hands.technicians()) {
            self.broken.extend(self.histories.read(of, id, journals));
        }
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
        }
        if self.histories.is_read() {
            broken.extend(self.hands.broken_laws(&self.histories));
            broken.extend(self.told_of_nobody());
        }
        broken
    }

    /// Customers who were told of somebody who never had their ticket.
    fn told_of_nobody(&self) -> Vec<String> {
        let told = self
            .confirmed
            .iter()
            .flat_map(|(ticket, all)| all.iter().map(move |one| (ticket, one)));
        let had = |ticket, one: &Option<EntityId>| {
            one.is_some_and(|one| self.histories.took(ticket, one))
        };
        let wrong = told.filter(|(ticket, one)| !had(**ticket, one));
        wrong
            .map(|(ticket, one)| {
                format!("{ticket}: its customer was told of {one:?}, who never had it")
            })
            .collect()
    }
}
