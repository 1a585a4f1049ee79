//! Customers who ask all the time, whatever happens, and technicians who accept what they are offered; and
//! what became of each request, as their devices saw it.
//!
//! The devices are clients in this process with a real socket each; nodes are real programs. **Invariant:**
//! every request is accounted for: it is receipted, confirmed once, with one technician, or it is counted as
//! broken. **Not here:** what breaks meanwhile (the tests).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use fieldmesh_actors::seams::Entropy as _;
use fieldmesh_device::{
    Client, ClientConfig, Event, Mail, Others, enroll, keys::DeviceKeys, outbox::MemoryOutbox,
    session::SessionParts, spawn_among, wire,
};
use fieldmesh_domain::{
    EntityId, EntityKind,
    message::{Answer, Location, ReceiptStatus, RequestBody, ResponseBody},
};
use fieldmesh_envelope::SoftwareSigner;
use fieldmesh_node::os::SystemEntropy;
use fieldmesh_pki::{
    KeyMaterial, TrustStore,
    tls::{Credentials, client_config},
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep},
};
use zeroize::Zeroizing;

use super::{PATIENCE, Server, handheld::CATEGORY};
use crate::live::{now_ms, now_s, verifier};

/// A customer's pause between two requests.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// Pause between two looks at what became of the requests.
const LOOK: Duration = Duration::from_millis(50);
/// The confirmation that says who comes.
const DISPATCHED: u8 = 2;

/// What became of a request.
#[derive(Debug, Default, Clone)]
struct Request {
    customer: Option<EntityId>,
    asked: Option<Instant>,
    receipt: Option<Instant>,
    refused: Option<String>,
    /// Technicians that the customer was told of, one for each time.
    dispatched: Vec<Option<EntityId>>,
}

impl Request {
    fn technicians(&self) -> usize {
        self.dispatched.iter().flatten().collect::<BTreeSet<_>>().len()
    }

    fn is_done(&self) -> bool {
        self.refused.is_some() || (self.receipt.is_some() && !self.dispatched.is_empty())
    }
}

type Requests = Arc<Mutex<BTreeMap<EntityId, Request>>>;

/// A device with a certificate, before it connects.
struct Holder {
    id: EntityId,
    credentials: Credentials,
    root: Vec<u8>,
}

impl Holder {
    async fn enroll(server: &Server, id: String) -> Self {
        let token = server.ask(&["ca", "token", "--pre-approved", &id]).await;
        let secret = Zeroizing::new(token["secret"].as_str().unwrap().to_owned());
        let key = KeyMaterial::generate().unwrap();
        let clock: fieldmesh_device::Clock = Arc::new(now_ms);
        let enrolled = enroll::enroll(&server.https, &id, &secret, &key, &clock).await.unwrap();
        let pkcs8 = Zeroizing::new(key.pkcs8().to_vec());
        let credentials = Credentials { chain: enrolled.chain, pkcs8 };
        Self { id: id.parse().unwrap(), credentials, root: enrolled.root }
    }

    fn connect(self, addr: SocketAddr, others: Others) -> (Client, mpsc::Receiver<Event>) {
        let Self { id, credentials, root } = self;
        let signer = SoftwareSigner::from_pkcs8(&credentials.pkcs8, &credentials.chain[0]).unwrap();
        let mut keys = DeviceKeys { signer: Arc::new(signer), hpke: Vec::new() };
        keys.rotate(now_s()).unwrap();
        let trust = Arc::new(TrustStore::new(vec![root.clone()], Vec::new()).unwrap());
        let tls = client_config(verifier(&root), Some(&credentials), wire::ALPN).unwrap();
        let session = SessionParts {
            me: id,
            keys,
            trust,
            outbox: Box::new(MemoryOutbox::default()),
            clock: Arc::new(now_ms),
            entropy: Arc::new(|bytes| SystemEntropy::default().fill(bytes)),
        };
        let endpoint = quinn::Endpoint::client("0.0.0.0:0".parse().unwrap()).unwrap();
        let (server_name, tls) = ("localhost".to_owned(), Arc::new(tls));
        let config = ClientConfig { session, endpoint, addr, server_name, tls, symmetric: false };
        spawn_among(config, others, Mail::Take)
    }
}

/// Everybody, with their requests.
pub struct Crowd {
    requests: Requests,
    customers: BTreeSet<EntityId>,
    technicians: BTreeSet<EntityId>,
    tasks: Vec<JoinHandle<()>>,
    asking: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// So many customers and technicians, whose devices begin with one node after the other and know
    /// all; the customers begin to ask.
    pub async fn gather(
        server: &Server,
        devices: &[SocketAddr],
        customers: usize,
        technicians: usize,
    ) -> Self {
        let rows = |count: usize, end: &str| -> String {
            (0..count).map(|number| format!("person {number},48.8{number},2.35,{end}\n")).collect()
        };
        let asks = format!("name,lat,lon,tier\n{}", rows(customers, "2"));
        let skilled = rows(technicians, &format!("60000,{CATEGORY}:3"));
        let skilled = format!("name,lat,lon,capacity,skills\n{skilled}");
        let customers = server.register("customer", &asks).await;
        let technicians = server.register("tech", &skilled).await;
        let mut crowd = Self {
            requests: Requests::default(),
            customers: customers.iter().map(|id| id.parse().unwrap()).collect(),
            technicians: technicians.iter().map(|id| id.parse().unwrap()).collect(),
            tasks: Vec::new(),
            asking: Vec::new(),
        };
        for (number, id) in technicians.into_iter().chain(customers).enumerate() {
            let holder = Holder::enroll(server, id).await;
            let mut named = devices.to_vec();
            named.rotate_left(number % devices.len());
            crowd.join(holder, &named);
        }
        crowd
    }

    /// All customers and technicians.
    pub fn people(&self) -> impl Iterator<Item = EntityId> {
        self.customers.iter().chain(&self.technicians).copied()
    }

    fn join(&mut self, holder: Holder, named: &[SocketAddr]) {
        let (id, requests) = (holder.id, Arc::clone(&self.requests));
        let others = Others { named: named[1..].to_vec(), told: Vec::new() };
        let (client, events) = holder.connect(named[0], others);
        if self.customers.contains(&id) {
            let asking = ask(id, client.clone(), Arc::clone(&requests));
            self.asking.push(tokio::spawn(asking));
        }
        self.tasks.push(tokio::spawn(live(id, client, events, requests)));
    }

    fn look<T>(&self, at: impl FnOnce(&BTreeMap<EntityId, Request>) -> T) -> T {
        at(&self.requests.lock().unwrap())
    }

    /// Waits until each customer has a receipt for a request that it made after a moment; how long after
    /// it the last of them had it.
    pub async fn served_since(&self, since: Instant) -> Duration {
        loop {
            let served = self.look(|requests| {
                let after = |request: &&Request| request.asked.is_some_and(|at| at >= since);
                let mut first: BTreeMap<EntityId, Instant> = BTreeMap::new();
                for request in requests.values().filter(after) {
                    let (Some(customer), Some(at)) = (request.customer, request.receipt) else {
                        continue;
                    };
                    first.entry(customer).and_modify(|known| *known = at.min(*known)).or_insert(at);
                }
                first
            });
            if served.len() == self.customers.len() {
                return served.into_values().max().map_or(Duration::ZERO, |last| last - since);
            }
            let unserved = self.customers.iter().filter(|id| !served.contains_key(id));
            assert!(
                since.elapsed() < PATIENCE,
                "not served any more: {:?}\n{}",
                unserved.collect::<Vec<_>>(),
                self.tally()
            );
            sleep(LOOK).await;
        }
    }

    /// A ticket of a request that was made after a moment, and receipted.
    pub fn receipted_since(&self, since: Instant) -> EntityId {
        let is_it = |request: &Request| {
            request.receipt.is_some() && request.asked.is_some_and(|at| at >= since)
        };
        let found = self.look(|requests| {
            requests.iter().find(|(_, request)| is_it(request)).map(|(ticket, _)| *ticket)
        });
        found.expect("something was receipted")
    }

    /// No more requests; waits for what is under way and says what became of all.
    pub async fn disperse(self) -> Tally {
        self.asking.iter().for_each(JoinHandle::abort);
        let began = Instant::now();
        while began.elapsed() < PATIENCE
            && !self.look(|requests| requests.values().all(Request::is_done))
        {
            sleep(LOOK).await;
        }
        let tally = self.tally();
        self.tasks.iter().for_each(JoinHandle::abort);
        tally
    }

    fn tally(&self) -> Tally {
        self.look(|requests| {
            let mut receipts: Vec<Instant> = requests.values().filter_map(|r| r.receipt).collect();
            receipts.sort_unstable();
            let silence = receipts.windows(2).map(|pair| pair[1] - pair[0]).max();
            let count = |is_so: &dyn Fn(&Request) -> bool| {
                requests.values().filter(|request| is_so(request)).count()
            };
            Tally {
                requests: requests.len(),
                unreceipted: count(&|request| request.receipt.is_none()),
                refused: requests.values().filter_map(|request| request.refused.clone()).collect(),
                unconfirmed: requests
                    .iter()
                    .filter(|(_, request)| request.dispatched.is_empty())
                    .map(|(ticket, _)| *ticket)
                    .collect(),
                duplicates: count(&|request| request.dispatched.len() > 1),
                double_assignments: count(&|request| request.technicians() > 1),
                tickets: requests.keys().copied().collect(),
                longest_silence: silence.unwrap_or_default(),
            }
        })
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.asking.iter().chain(&self.tasks).for_each(JoinHandle::abort);
    }
}

/// What became of all requests.
pub struct Tally {
    pub requests: usize,
    pub unreceipted: usize,
    /// Why, for each request that was not taken.
    pub refused: Vec<String>,
    /// Tickets of which their customers never heard who comes.
    pub unconfirmed: Vec<EntityId>,
    pub duplicates: usize,
    pub double_assignments: usize,
    pub tickets: BTreeSet<EntityId>,
    /// The longest time in which nobody had a receipt.
    pub longest_silence: Duration,
}

impl Tally {
    #[track_caller]
    pub fn expect_whole(&self) {
        let is_whole = self.unreceipted == 0
            && self.refused.is_empty()
            && self.unconfirmed.is_empty()
            && self.duplicates == 0
            && self.double_assignments == 0;
        assert!(self.requests > 0 && is_whole, "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, unreceipted, refused, unconfirmed, duplicates, .. } = self;
        let lost = unconfirmed.len();
        write!(
            f,
            "{requests} requests, {unreceipted} without a receipt, {lost} not confirmed, \
             {} refused, {duplicates} confirmed more than once, {} with two technicians, longest \
             silence {} ms",
            refused.len(),
            self.double_assignments,
            self.longest_silence.as_millis()
        )?;
        for (what, some) in [
            ("refused", format!("{:?}", &refused[..refused.len().min(3)])),
            ("not confirmed", format!("{:?}", &unconfirmed[..lost.min(3)])),
        ] {
            if some != "[]" {
                write!(f, "\n{what}: {some} …")?;
            }
        }
        Ok(())
    }
}

async fn ask(customer: EntityId, client: Client, requests: Requests) {
    let body = RequestBody {
        category: CATEGORY.parse().unwrap(),
        subcategory: 0,
        impact: 2,
        urgency: 2,
        location: Location { lat_e6: 48_850_000, lon_e6: 2_350_000 },
        text: "a request on a bad network".into(),
    };
    loop {
        let asked = Instant::now();
        // A device with a full outbox takes no more until some of it is answered.
        if let Ok(message_id) = client.request(&body).await {
            let ticket = EntityId::ticket_of(customer, message_id);
            // The receipt may have come first.
            let mut requests = requests.lock().unwrap();
            let request = requests.entry(ticket).or_default();
            (request.customer, request.asked) = (Some(customer), Some(asked));
        }
        sleep(ASK_EVERY).await;
    }
}

/// A device: notes what it sees; a technician's accepts what it is offered.
async fn live(id: EntityId, client: Client, mut events: mpsc::Receiver<Event>, requests: Requests) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Receipt { message_id, body } if id.kind() == EntityKind::Customer => {
                let ticket = EntityId::ticket_of(id, message_id);
                let mut requests = requests.lock().unwrap();
                let request = requests.entry(ticket).or_default();
                if body.status == ReceiptStatus::Received {
                    request.receipt.get_or_insert(Instant::now());
                } else {
                    request.refused = Some(format!("{:?}: {}", body.status, body.reason));
                }
            }
            Event::Confirmation { body, .. } if body.number == DISPATCHED => {
                let mut requests = requests.lock().unwrap();
                requests.entry(body.ticket).or_default().dispatched.push(body.technician);
            }
            Event::Alert { message_id, body, .. } => {
                let answer = Answer::Accept { eta_min: 30 };
                let response = ResponseBody { ticket: body.ticket, offer: body.offer, answer };
                client.respond(Some(message_id), &response).await.unwrap();
            }
            _ => {}
        }
    }
}
