//! The workload of a run: customers that ask, operators that read and write, beside technicians that answer.
//!
//! Each customer's device is a real one: what it sent is sent again until it has a receipt. **Invariants:**
//! everything that is asked is noted before, and its outcome after; what is asked does not depend on what is
//! broken. **Not here:** technicians (`technicians`), what came of it (`fieldmesh_chaos`).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fieldmesh_chaos::{
    Workload,
    history::{Operation, Prefix, What},
};
use fieldmesh_device::{Client, Event};
use fieldmesh_domain::{
    EntityId, EntityKind,
    message::{Location, ReceiptStatus, RequestBody},
    placement::Home,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{
    endings::{self, Ending},
    ground::Ground,
    interrupt::Interrupt,
    keys::Chooser,
    nodes::Nodes,
    recorder::Recorder,
    spread::Spread,
    technicians, tickets,
    told::Told,
};
use crate::{
    cli::{
        CliError, Output,
        api::Api,
        import::progress,
        population::{Enrolled, Population, Work, live, place},
        tally::Sighting,
    },
    web::{
        est::hex,
        orders::{NewOrder, ReaderName, keyed},
        people::NewRevision,
        rest::{NewCustomer, NewSkill, NewTechnician, Point},
    },
};

/// What the technicians can do, and the customers ask for: nobody else's, so that no technician of a cluster in
/// use is asked for it, and no technician of a run for anything else.
const CATEGORY: u16 = 65_534;
/// Tickets that operators read and write: the newest ones, as in a control room.
const LOOKED_AT: usize = 64;
/// How often a device asks for its next certificate where it gets none, and when: elections may go on.
const RENEWALS_MAX: u32 = 10;
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// Whom a request's ticket belongs to, and the operation that it is.
type Asked = BTreeMap<[u8; 16], u64>;

/// The load as it goes on.
pub(super) struct Load {
    tasks: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    population: Population,
    seen: mpsc::Sender<Sighting>,
    /// Customers, without those whose certificates end.
    pub(super) customers: Vec<String>,
    /// These, in the order in which they do.
    pub(super) endings: VecDeque<Ending>,
    /// Everybody whom the run registered.
    people: Vec<EntityId>,
    /// Their renewals and revocations that were answered: the ledger has each.
    pub(super) recorded: u64,
}

/// What the tasks of a load have in common.
struct Shared {
    recorder: Arc<Recorder>,
    nodes: Nodes,
    /// Customers with their devices as they are now.
    clients: Mutex<Vec<(EntityId, Client)>>,
    /// Where they all are, where it matters.
    home: Option<Point>,
    /// The region's position among the regions, and its shards.
    shards: (u32, u32),
    /// Requests without a receipt.
    asked: tokio::sync::Mutex<Asked>,
    /// All tickets that were asked for.
    tickets: Mutex<Vec<EntityId>>,
    told: Arc<Told>,
    /// Reads and writes, and what technicians said, without an outcome.
    under_way: Arc<AtomicUsize>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each change is one insertion or removal.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    /// A load of nobody.
    pub(super) fn new(
        ground: &Ground<'_>,
        recorder: &Arc<Recorder>,
        nodes: &Nodes,
    ) -> Result<Self, CliError> {
        let population = Population::among(ground.api()?, ground.devices(), false)?;
        let (home, shards) = (ground.home(), ground.shards());
        let shared = Arc::new(Shared {
            recorder: Arc::clone(recorder),
            nodes: nodes.clone(),
            clients: Mutex::default(),
            home,
            shards,
            asked: tokio::sync::Mutex::default(),
            tickets: Mutex::default(),
            told: Arc::default(),
            under_way: Arc::default(),
        });
        let (seen, sightings) = mpsc::channel(4096);
        let tasks = vec![tokio::spawn(Arc::clone(&shared).see(sightings))];
        let (customers, endings, people) = (Vec::new(), VecDeque::new(), Vec::new());
        let recorded = 0;
        Ok(Self { tasks, shared, population, seen, customers, endings, people, recorded })
    }

    /// Registers, enrolls and connects everybody, unless somebody interrupts that; nobody asks yet. Of the last
    /// customers the certificates end, at these moments of the run.
    ///
    /// # Errors
    /// A cluster that refuses one; those before are of the load all the same.
    pub(super) async fn prepare(
        &mut self,
        workload: &Workload,
        moments: &[u64],
        interrupt: &Interrupt,
    ) -> Result<(), CliError> {
        let shared = Arc::clone(&self.shared);
        let at = |number: u32| shared.home.unwrap_or_else(|| place(number as usize));
        for number in 0..workload.technicians {
            if interrupt.why().is_some() {
                return Ok(());
            }
            let skills = vec![NewSkill { category: CATEGORY, level: 3, expires_ms: None }];
            let (name, capacity) = (format!("technician {number}"), u16::MAX);
            let technician = NewTechnician { name, home: at(number), skills, capacity };
            let enrolled = self.enrolled("/v1/technicians", &technician).await?;
            let device = self.population.connect(enrolled)?;
            let (recorder, told) = (Arc::clone(&shared.recorder), Arc::clone(&shared.told));
            let work =
                technicians::work(number, device, recorder, told, Arc::clone(&shared.under_way));
            self.tasks.push(tokio::spawn(work));
        }
        let region = self.people.first().map(|technician| technician.region());
        let region = region.ok_or_else(|| CliError::failed("there are no technicians"))?;
        let spread = Spread::over(region, shared.shards);
        let lasting =
            workload.customers.saturating_sub(u32::try_from(moments.len()).unwrap_or(u32::MAX));
        for number in 0..workload.customers {
            if interrupt.why().is_some() {
                break;
            }
            let (name, location) = (format!("customer {number}"), at(number));
            let customer = NewCustomer { name, location, tier: 2, zone: None };
            let moment = number.checked_sub(lasting).and_then(|at| moments.get(at as usize));
            if let Some(at_ms) = moment {
                endings::shorten(&shared.nodes, *at_ms).await?;
            }
            let path = format!("/v1/customers?key={}", spread.key(number));
            let enrolled = self.enrolled(&path, &customer).await?;
            let device = self.population.connect(enrolled.clone())?;
            lock(&shared.clients).push((device.id, device.client.clone()));
            match moment {
                None => self.customers.push(device.id.to_string()),
                Some(_) => self.endings.push_back(Ending::of(device.id, enrolled)?),
            }
            self.tasks.push(tokio::spawn(live(device, Work::Accepts, self.seen.clone())));
        }
        if !self.endings.is_empty() {
            endings::lengthen(&shared.nodes).await?;
        }
        Ok(())
    }

    /// Whoever is registered is of the load, also where the rest fails.
    async fn enrolled(
        &mut self,
        path: &str,
        person: &impl Serialize,
    ) -> Result<Enrolled, CliError> {
        let id = self.population.registered(path, person).await?;
        self.people.push(id);
        self.population.enroll(id).await
    }

    /// A device goes on with its next certificate, which it gets by the one that has ended, and with what it
    /// remembers: mail whose acknowledgement did not arrive comes again, and is taken once.
    pub(super) async fn renew(&mut self, ending: &Ending) -> Result<(), CliError> {
        let mut tries = 0;
        let renewed = loop {
            match self.population.renew(&ending.enrolled).await {
                Ok(renewed) => break renewed,
                Err(error) if tries >= RENEWALS_MAX => return Err(error),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(RENEW_EVERY).await;
        };
        self.recorded += 1;
        let of = |(id, _): &&(EntityId, Client)| *id == ending.device;
        let before = lock(&self.shared.clients).iter().find(of).map(|(_, client)| client.clone());
        let Some(before) = before else { return Ok(()) };
        let outbox = before.end().await.map_err(CliError::failed)?.outbox;
        // Between the two: what it hears from then on is right.
        self.shared.recorder.note(What::Renewed { device: ending.device.to_string() });
        let device = self.population.connect_with(renewed, outbox)?;
        for (id, client) in lock(&self.shared.clients).iter_mut() {
            if *id == ending.device {
                *client = device.client.clone();
            }
        }
        self.tasks.push(tokio::spawn(live(device, Work::Accepts, self.seen.clone())));
        Ok(())
    }

    /// From now on customers ask, and operators read and write.
    pub(super) fn start(&mut self, workload: &Workload, seed: u64) -> Vec<JoinHandle<()>> {
        let shared = || Arc::clone(&self.shared);
        let mut asking = vec![tokio::spawn(shared().ask(*workload, seed))];
        if workload.reads > 0 {
            asking.push(tokio::spawn(shared().look_at((workload.reads, seed ^ 1), Shared::read)));
        }
        if workload.writes > 0 {
            asking.push(tokio::spawn(shared().look_at((workload.writes, seed ^ 2), Shared::write)));
        }
        asking
    }

    /// One customer of each shard asks, however seldom it would otherwise. They are the first ones: of the last ones
    /// devices are revoked, and certificates end.
    pub(super) async fn ask_each(&self) {
        let clients = lock(&self.shared.clients).clone();
        let mut asked = BTreeSet::new();
        for (customer, client) in clients {
            if asked.insert(self.shared.shard_of(customer)) {
                self.shared.ask_as(customer, &client).await;
            }
        }
    }

    /// Nobody waits until this customer is served.
    pub(super) fn leave_out(&self, customer: EntityId) {
        self.shared.told.leave_out(customer);
    }

    /// Tickets of which their customer is to hear more than it did.
    pub(super) fn open(&self) -> usize {
        self.shared.told.open()
    }

    /// Reads and writes of operators, and answers of technicians, that are not over.
    pub(super) fn under_way(&self) -> usize {
        self.shared.under_way.load(Ordering::Relaxed)
    }

    pub(super) fn tickets(&self) -> Vec<EntityId> {
        lock(&self.shared.tickets).clone()
    }

    pub(super) fn people(&self) -> &[EntityId] {
        &self.people
    }

    /// Takes away what the run put into a cluster that others use: nobody of it can ask or be asked any more, and
    /// its open tickets are cancelled. What cannot be taken away is said.
    pub(super) async fn leave(&self, api: &Api, output: &Output) {
        let tickets = self.tickets();
        let bar = progress((self.people.len() + tickets.len()) as u64, output);
        bar.set_message("taken away again");
        let mut left = 0;
        for person in &self.people {
            left += usize::from(retire(api, *person).await.is_err());
            bar.inc(1);
        }
        for ticket in &tickets {
            let reason = "its customer was one of a chaos run".to_owned();
            let path = format!("/v1/tickets/{ticket}/orders");
            // One that is over, or was never acknowledged, is refused.
            let status = api.post_status(&path, &NewOrder::Cancel { reason }).await;
            left += usize::from(!status.is_ok_and(|status| status < 500));
            bar.inc(1);
        }
        bar.finish_and_clear();
        if left > 0 {
            output.say(format_args!(
                "of {} people and {} tickets of the run, {left} could not be taken away",
                self.people.len(),
                tickets.len()
            ));
        }
    }

    pub(super) fn end(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}

/// A technician keeps no skill, and nobody a certificate.
async fn retire(api: &Api, person: EntityId) -> Result<(), CliError> {
    if person.kind() == EntityKind::Technician {
        let nothing = NewRevision { skills: Some(Vec::new()), ..NewRevision::default() };
        let path = format!("/v1/technicians/{person}/revision");
        let _: Value = api.post(&path, &nothing).await?;
    }
    let registration = EntityId::registration_of(person);
    let path = format!("/v1/ca/registrations/{registration}/revoke");
    match api.post_status(&path, &json!({ "reason": "cessationOfOperation" })).await? {
        // It never had one.
        200..300 | 404 => Ok(()),
        status => Err(CliError::failed(format!("its certificate is not revoked: {status}"))),
    }
}

/// Ticks so many times a second; those that were missed are made up for.
fn ticks(rate: u32) -> tokio::time::Interval {
    let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}

impl Shared {
    /// Takes in what the devices see.
    async fn see(self: Arc<Self>, mut sightings: mpsc::Receiver<Sighting>) {
        while let Some(Sighting { who, event, .. }) = sightings.recv().await {
            match event {
                Event::Receipt { message_id, body } => {
                    let what = match body.status {
                        ReceiptStatus::Received => |op| What::Ok { op, read: None, at: None },
                        ReceiptStatus::Invalid => {
                            |op| What::Refused { op, why: "invalid".to_owned() }
                        }
                        _ => continue,
                    };
                    let op = self.asked.lock().await.remove(&message_id);
                    if let Some(op) = op {
                        self.recorder.note(what(op));
                    }
                }
                Event::Confirmation { body, sequence, .. } => {
                    let (by, ticket) = (who.to_string(), body.ticket.to_string());
                    let technician = body.technician.map(|technician| technician.to_string());
                    let (number, position) = (body.number, Some(sequence));
                    let told = What::Confirmed { by, ticket, number, technician, position };
                    self.recorder.note(told);
                    self.told.heard(body.ticket, number);
                }
                Event::Refused { .. } => {
                    self.recorder.note(What::TurnedAway { device: who.to_string() });
                }
                _ => {}
            }
        }
    }

    async fn ask(self: Arc<Self>, workload: Workload, seed: u64) {
        let (mut dice, mut ticks) = (StdRng::seed_from_u64(seed), ticks(workload.rate));
        let chooser = Chooser::new(workload.keys, lock(&self.clients).len());
        loop {
            ticks.tick().await;
            let chosen = lock(&self.clients).get(chooser.choose(&mut dice)).cloned();
            let Some((customer, client)) = chosen else { return };
            self.ask_as(customer, &client).await;
        }
    }

    async fn ask_as(&self, customer: EntityId, client: &Client) {
        let Point { lat_e6, lon_e6 } = self.home.unwrap_or_else(|| place(0));
        let body = RequestBody {
            category: CATEGORY,
            subcategory: 0,
            impact: 2,
            urgency: 2,
            location: Location { lat_e6, lon_e6 },
            text: "a request while things break".into(),
        };
        // Held from before it is sent: its receipt may come before it is noted.
        let mut asked = self.asked.lock().await;
        let Ok(id) = client.request(&body).await else { return };
        let ticket = EntityId::ticket_of(customer, id);
        self.told.asked(ticket, customer);
        let (ticket_text, shard) = (ticket.to_string(), self.shard_of(customer));
        let operation = Operation::Request { ticket: ticket_text, shard };
        let op = self.recorder.invoke(&customer.to_string(), operation);
        asked.insert(id, op);
        drop(asked);
        self.recorder.is_known_by(op, id);
        lock(&self.tickets).push(ticket);
    }

    fn shard_of(&self, customer: EntityId) -> u32 {
        let (index, shards) = self.shards;
        Home::new(customer.region(), index, shards).group_of(customer)
    }

    /// One of the newest tickets.
    fn looked_at(&self, dice: &mut StdRng) -> Option<EntityId> {
        let tickets = lock(&self.tickets);
        let newest = tickets.len().saturating_sub(LOOKED_AT)..tickets.len();
        let at = (!newest.is_empty()).then(|| dice.random_range(newest))?;
        tickets.get(at).copied()
    }

    /// Does something with one of the newest tickets, so many times a second, on a node by chance. One that is slow
    /// keeps no other waiting; each has the client's own time limit.
    async fn look_at<F: Future<Output = ()> + Send + 'static>(
        self: Arc<Self>,
        (rate, seed): (u32, u64),
        work: fn(Arc<Self>, EntityId, Api) -> F,
    ) {
        let (mut dice, mut ticks) = (StdRng::seed_from_u64(seed), ticks(rate));
        loop {
            ticks.tick().await;
            let Some(ticket) = self.looked_at(&mut dice) else { continue };
            let Some(api) = self.nodes.any(dice.random()) else { continue };
            let shared = Arc::clone(&self);
            tokio::spawn(async move {
                shared.under_way.fetch_add(1, Ordering::Relaxed);
                work(Arc::clone(&shared), ticket, api).await;
                shared.under_way.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    async fn read(self: Arc<Self>, ticket: EntityId, api: Api) {
        let op = self.recorder.invoke("operator", Operation::Read { ticket: ticket.to_string() });
        self.recorder.note(match tickets::story(&api, ticket).await {
            // Where it is not there yet: an empty beginning.
            Ok(story) => {
                let happened = story.as_ref().map(tickets::happened).unwrap_or_default();
                let digest = happened.last().map(|one| one.digest.clone()).unwrap_or_default();
                let at = story.as_ref().and_then(tickets::position);
                let read = Some(Prefix { events: happened.len() as u64, digest });
                What::Ok { op, read, at }
            }
            Err(error) => What::Unknown { op, why: error.to_string() },
        });
    }

    async fn write(self: Arc<Self>, ticket: EntityId, api: Api) {
        // By its key the ticket's history tells it from others.
        let key = |op: u64| format!("chaos-{op}");
        let operator = api.operator;
        let op = self.recorder.invoke_as("operator", |op| {
            let message = operator.map(|operator| hex(&keyed(operator, key(op).as_bytes())));
            Operation::Write { ticket: ticket.to_string(), message }
        });
        if let Some(operator) = operator {
            self.recorder.is_known_by(op, keyed(operator, key(op).as_bytes()));
        }
        let path = format!("/v1/tickets/{ticket}/orders");
        let text = format!("are you well? ({op})");
        let order = NewOrder::Message { to: ReaderName::Customer, text, enclosure: None };
        self.recorder.note(match api.post_status_once(&path, &order, &key(op)).await {
            Ok(200..=299) => What::Ok { op, read: None, at: None },
            // It was looked at and not done; a fault of the service may have done it.
            Ok(status @ 400..=499) => What::Refused { op, why: status.to_string() },
            Ok(status) => What::Unknown { op, why: status.to_string() },
            Err(error) => What::Unknown { op, why: error.to_string() },
        });
    }
}
