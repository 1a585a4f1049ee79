//! Customers and technicians with real devices: registered, invited, enrolled over HTTPS, connected
//! over QUIC. What the demonstration and the replay work with.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use fieldmesh_actors::seams::{Clock as _, Entropy as _};
use fieldmesh_device::{
    Client, ClientConfig, ClientError, Event, enroll,
    keys::DeviceKeys,
    outbox::{MemoryOutbox, Outbox},
    session::SessionParts,
    spawn, wire,
};
use fieldmesh_domain::{
    EntityId,
    message::{AlertBody, Answer, ResponseBody},
};
use fieldmesh_envelope::SoftwareSigner;
use fieldmesh_pki::{
    KeyMaterial, TrustStore, Usage,
    tls::{self, Credentials, PeerVerifier, client_config},
};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, sleep},
};
use zeroize::Zeroizing;

use super::{CliError, api::Api, tally::Sighting};
use crate::{
    edge::{self, Endpoint},
    os::{SystemClock, SystemEntropy},
    web::{
        ca::{MintedToken, NewToken},
        rest::{Created, NewCustomer, NewTechnician, Point},
    },
};

/// A device with its own keys and its own mind.
pub struct Device {
    pub id: EntityId,
    pub client: Client,
    pub events: mpsc::Receiver<Event>,
}

/// A certificate with its key, before the device connects.
#[derive(Clone)]
pub struct Enrolled {
    pub id: EntityId,
    credentials: Credentials,
    root: Vec<u8>,
}

impl Enrolled {
    /// When its certificate ends; Unix seconds.
    pub(super) fn not_after_s(&self) -> Result<u64, CliError> {
        let trust = TrustStore::new(vec![self.root.clone()], Vec::new()).map_err(device_failed)?;
        let chain = self.credentials.chain.split_first();
        let (leaf, rest) = chain.ok_or_else(|| device_failed("no certificate"))?;
        let rest: Vec<&[u8]> = rest.iter().map(Vec::as_slice).collect();
        let now_s = SystemClock.now_ms() / 1000;
        let peer = trust.verify(leaf, &rest, Usage::ClientAuth, now_s).map_err(device_failed)?;
        Ok(peer.not_after)
    }
}

/// Registers and enrolls, then connects.
#[derive(Clone)]
pub struct Population {
    api: Api,
    /// One UDP socket, or some: its buffer is what the system gives it, however many share it.
    endpoints: Vec<Endpoint>,
    /// Where devices connect first, one after the other.
    devices: Arc<Vec<SocketAddr>>,
    connected: Arc<AtomicUsize>,
    symmetric: bool,
}

/// Where one of many is: a hundred places some hundred metres apart.
pub(super) fn place(number: usize) -> Point {
    let offset = i32::try_from(number % 100).unwrap_or(0) * 1000;
    Point { lat_e6: 48_800_000 + offset, lon_e6: 2_300_000 + offset }
}

/// A socket of this machine.
fn here(address: SocketAddr) -> Result<Endpoint, CliError> {
    edge::client(address).map_err(device_failed)
}

fn clock() -> fieldmesh_device::Clock {
    Arc::new(|| SystemClock.now_ms())
}

fn device_failed(error: impl std::fmt::Display) -> CliError {
    CliError::failed(format!("a device failed: {error}"))
}

impl Population {
    /// Devices share one UDP socket; each has its own keys and connection.
    pub fn new(api: Api, symmetric: bool) -> Result<Self, CliError> {
        let endpoints = vec![here(SocketAddr::from(([127, 0, 0, 1], 0)))?];
        let devices = Arc::new(vec![api.devices.parse().map_err(device_failed)?]);
        Ok(Self { api, endpoints, devices, connected: Arc::default(), symmetric })
    }

    /// The same, with devices spread over so many sockets of this machine.
    pub fn over(mut self, sockets: usize) -> Result<Self, CliError> {
        while self.endpoints.len() < sockets {
            self.endpoints.push(here(SocketAddr::from(([127, 0, 0, 1], 0)))?);
        }
        Ok(self)
    }

    /// The same, with devices spread over these nodes.
    pub fn spread(self, nodes: Vec<SocketAddr>) -> Self {
        Self { devices: Arc::new(nodes), ..self }
    }

    /// With devices spread over these nodes, which may be on other machines.
    pub fn among(api: Api, nodes: Vec<SocketAddr>, symmetric: bool) -> Result<Self, CliError> {
        let address = match nodes.iter().find(|node| !node.ip().is_loopback()) {
            None => SocketAddr::from(([127, 0, 0, 1], 0)),
            Some(SocketAddr::V4(_)) => SocketAddr::from(([0; 4], 0)),
            Some(SocketAddr::V6(_)) => SocketAddr::from(([0; 16], 0)),
        };
        let (endpoints, devices) = (vec![here(address)?], Arc::new(nodes));
        Ok(Self { api, endpoints, devices, connected: Arc::default(), symmetric })
    }

    pub async fn customer(&self, customer: &NewCustomer) -> Result<Enrolled, CliError> {
        self.enroll(self.registered("/v1/customers", customer).await?).await
    }

    pub async fn technician(&self, technician: &NewTechnician) -> Result<Enrolled, CliError> {
        self.enroll(self.registered("/v1/technicians", technician).await?).await
    }

    /// Who was registered, and has no certificate yet.
    pub(super) async fn registered(
        &self,
        path: &str,
        person: &impl Serialize,
    ) -> Result<EntityId, CliError> {
        let created: Created = self.api.post(path, person).await?;
        created.id.parse().map_err(device_failed)
    }

    pub(super) async fn enroll(&self, id: EntityId) -> Result<Enrolled, CliError> {
        let id = Some(id.to_string());
        let wanted = NewToken { id, pre_approved: true, ..NewToken::default() };
        let token: MintedToken = self.api.post("/v1/ca/tokens", &wanted).await?;
        let key = KeyMaterial::generate().map_err(device_failed)?;
        let secret = Zeroizing::new(token.secret);
        let enrolled = enroll::enroll(&self.api.server, &token.user, &secret, &key, &clock())
            .await
            .map_err(device_failed)?;
        let id = token.user.parse().map_err(device_failed)?;
        let credentials =
            Credentials { chain: enrolled.chain, pkcs8: Zeroizing::new(key.pkcs8().to_vec()) };
        Ok(Enrolled { id, credentials, root: enrolled.root })
    }

    /// The next certificate of a device, by the one that it has, which may have ended lately.
    pub(super) async fn renew(&self, enrolled: &Enrolled) -> Result<Enrolled, CliError> {
        let Enrolled { id, credentials, root } = enrolled;
        let key = KeyMaterial::generate().map_err(device_failed)?;
        let (server, roots) = (&self.api.server, [root.clone()]);
        let renewed = enroll::renew(server, &roots, credentials, &key, &clock()).await;
        let renewed = renewed.map_err(device_failed)?;
        let credentials =
            Credentials { chain: renewed.chain, pkcs8: Zeroizing::new(key.pkcs8().to_vec()) };
        Ok(Enrolled { id: *id, credentials, root: renewed.root })
    }

    /// Starts the device's client, which remembers nothing.
    pub fn connect(&self, enrolled: Enrolled) -> Result<Device, CliError> {
        self.connect_with(enrolled, Box::new(MemoryOutbox::default()))
    }

    /// Starts the device's client with what it remembers.
    pub(super) fn connect_with(
        &self,
        enrolled: Enrolled,
        outbox: Box<dyn Outbox>,
    ) -> Result<Device, CliError> {
        let Enrolled { id, credentials, root } = enrolled;
        let leaf = credentials.chain.first().ok_or_else(|| device_failed("no certificate"))?;
        let signer = SoftwareSigner::from_pkcs8(&credentials.pkcs8, leaf).map_err(device_failed)?;
        let mut keys = DeviceKeys { signer: Arc::new(signer), hpke: Vec::new() };
        keys.rotate(SystemClock.now_ms() / 1000).map_err(device_failed)?;
        let trust = Arc::new(TrustStore::new(vec![root], Vec::new()).map_err(device_failed)?);
        let verifier = PeerVerifier {
            trust: tls::fixed(Arc::clone(&trust)),
            now: Arc::new(|| SystemClock.now_ms() / 1000),
            revoked: Arc::new(|_, _| false),
            client_may_be_unknown: false,
            lapsed: None,
        };
        let tls = client_config(Arc::new(verifier), Some(&credentials), wire::ALPN)
            .map_err(device_failed)?;
        let session = SessionParts {
            me: id,
            keys,
            trust,
            outbox,
            clock: clock(),
            entropy: Arc::new(|bytes| SystemEntropy::default().fill(bytes)),
        };
        let next = self.connected.fetch_add(1, Ordering::Relaxed);
        let addr = self.devices.get(next % self.devices.len().max(1));
        let addr = *addr.ok_or_else(|| device_failed("there is no node"))?;
        let endpoint = self.endpoints.get(next % self.endpoints.len().max(1));
        let endpoint = endpoint.ok_or_else(|| device_failed("there is no socket"))?.clone();
        let (client, events) = spawn(ClientConfig {
            session,
            endpoint,
            addr,
            server_name: "localhost".into(),
            tls: Arc::new(tls),
            symmetric: self.symmetric,
        });
        Ok(Device { id, client, events })
    }
}

/// Between two attempts to answer, and attempts: a minute in all.
const ANSWER_AGAIN: Duration = Duration::from_millis(100);
const ANSWER_TRIES_MAX: u32 = 600;

/// What a technician does with what it is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Accepts,
    /// It is done as soon as it is accepted: nobody comes to hold more than a few.
    Completes,
    /// Whoever sees it answers.
    Shows,
}

/// A device: tells what it sees; a technician's answers what it is offered.
pub(super) async fn live(mut device: Device, work: Work, seen: mpsc::Sender<Sighting>) {
    let mut accepted: BTreeMap<[u8; 16], ResponseBody> = BTreeMap::new();
    let who = device.id;
    while let Some(event) = device.events.recv().await {
        let at = Instant::now();
        match &event {
            Event::Alert { message_id, body: AlertBody { ticket, offer, .. }, .. }
                if work != Work::Shows =>
            {
                let (ticket, offer) = (*ticket, *offer);
                let accept = ResponseBody { ticket, offer, answer: Answer::Accept { eta_min: 30 } };
                let sent = respond(&device.client, Some(*message_id), &accept).await;
                if work == Work::Completes
                    && let Some(id) = sent
                {
                    let answer = Answer::Completed { note: "done".into() };
                    accepted.insert(id, ResponseBody { ticket, offer, answer });
                }
            }
            Event::Receipt { message_id, .. } => {
                if let Some(complete) = accepted.remove(message_id) {
                    respond(&device.client, None, &complete).await;
                }
            }
            _ => {}
        }
        let is_told = !matches!(event, Event::Step { .. } | Event::Disconnected { .. });
        if is_told && seen.send(Sighting { who, event, at }).await.is_err() {
            return;
        }
    }
}

/// Whoever answers faster than its device can send waits for it.
pub(super) async fn respond(
    client: &Client,
    alert: Option<[u8; 16]>,
    response: &ResponseBody,
) -> Option<[u8; 16]> {
    for _ in 0..ANSWER_TRIES_MAX {
        match client.respond(alert, response).await {
            Ok(id) => return Some(id),
            Err(ClientError::Ended) => return None,
            Err(error) => {
                tracing::warn!(%error, "a technician's device cannot answer yet");
                sleep(ANSWER_AGAIN).await;
            }
        }
    }
    None
}
