//! What the built-in authority costs: enrollments, revocations, handshakes, many identities.
//!
//! Enrollments are durable ones over HTTPS with fresh keys, as a part of what the same machine does
//! in the same run when it only parses, verifies and signs, and makes two TLS handshakes.
#![expect(clippy::disallowed_methods, reason = "measurements use the machine as it is")]

use std::{sync::Arc, time::Duration};

use fieldmesh_device::{
    enroll::enroll,
    transport::{self, Endpoint},
    wire,
};
use fieldmesh_domain::{
    Command, EntityId, EntityKind, IndexRow, Region, customer,
    message::Location,
    registration::{self, Approval, Profile, Revocation, Token},
    time::Millis,
};
use fieldmesh_node::{edge, node::Node, server::Server};
use fieldmesh_pki::{
    Identity, IssuingCa, KeyMaterial, Kind, RootCa, TrustStore, check_csr, create_csr, profile,
    tls::{
        self, Credentials, LiveCredentials, PeerVerifier, PinnedRoot, client_config,
        https_server_config,
    },
};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use zeroize::Zeroizing;

use crate::{Failed, start};

/// Enrollments under way.
const UNDER_WAY: usize = 32;
/// Devices whose connection is measured from revocation to its end.
const REVOKED: usize = 100;
/// Handshakes at each number of revocations, in turns, so that the machine's moods hit all alike.
const HANDSHAKES: usize = 400;
const TURNS: usize = 8;
const REVOCATIONS: [u32; 3] = [0, 10_000, 100_000];
/// What takes longer does not work.
const PATIENCE: Duration = Duration::from_secs(10);

fn now_ms() -> u64 {
    use fieldmesh_actors::seams::Clock as _;
    fieldmesh_node::os::SystemClock.now_ms()
}

fn clock() -> fieldmesh_device::Clock {
    Arc::new(now_ms)
}

fn id(region: Region, number: usize) -> EntityId {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&(number as u64).to_be_bytes());
    EntityId::new(EntityKind::Customer, region, random)
}

/// A device that is registered and has a token, and its key.
struct Invited {
    id: EntityId,
    secret: Zeroizing<String>,
    key: KeyMaterial,
}

async fn register(node: &Node, device: EntityId) -> Result<EntityId, Failed> {
    let (label, by) = (String::new(), "measurement".to_owned());
    let registration = EntityId::registration_of(device);
    let command = registration::Command::Register {
        profile: Profile::Customer,
        device: Some(device),
        label,
        by,
    };
    node.ask(registration, Command::Registration(command)).await?;
    Ok(registration)
}

async fn invite(node: &Node, number: usize, pin: [u8; 32]) -> Result<Invited, Failed> {
    let id = id(node.region.parse()?, number);
    let (name, location, tier) = ("bench".to_owned(), Location::default(), 2);
    let owner = customer::Command::Register { name, location, tier, zone: None };
    node.ask(id, Command::Customer(owner)).await?;
    let registration = register(node, id).await?;
    let mut random = [0; 32];
    node.entropy.fill(&mut random);
    let token = fieldmesh_pki::mint(&id.to_string(), random, pin);
    let invited = Token {
        hash: fieldmesh_pki::token_hash(&token.secret),
        expires: Millis(u64::MAX),
        by: String::new(),
        approval: Approval::None,
    };
    node.ask(registration, Command::Registration(registration::Command::Invite(invited))).await?;
    Ok(Invited { id, secret: token.secret, key: KeyMaterial::generate()? })
}

/// Enrolls all, so many at a time; how long it takes, and the credentials.
async fn enroll_all(
    server: &Server,
    invited: Vec<Invited>,
) -> Result<(Duration, Vec<(EntityId, Credentials)>), Failed> {
    let address = server.https.to_string();
    let began = Instant::now();
    let (mut under_way, mut enrolled) = (JoinSet::new(), Vec::new());
    let mut waiting = invited.into_iter();
    loop {
        while under_way.len() < UNDER_WAY
            && let Some(Invited { id, secret, key }) = waiting.next()
        {
            let address = address.clone();
            under_way.spawn(async move {
                let user = id.to_string();
                let enrolled = enroll(&address, &user, &secret, &key, &clock()).await?;
                let pkcs8 = Zeroizing::new(key.pkcs8().to_vec());
                let credentials = Credentials { chain: enrolled.chain, pkcs8 };
                Ok::<_, fieldmesh_device::enroll::EnrollError>((id, credentials))
            });
        }
        match under_way.join_next().await {
            Some(done) => enrolled.push(done??),
            None => return Ok((began.elapsed(), enrolled)),
        }
    }
}

/// The cryptography of an enrollment and nothing else, by all cores.
fn limit(count: usize) -> Result<Duration, Failed> {
    let now_s = now_ms() / 1000;
    let root = RootCa::create("bench", now_s, [1; 16])?;
    let (issuing, _) = root.issue_issuing("eu1", 1, now_s, [2; 16])?;
    let identity =
        |kind| Identity { cluster: "bench".into(), region: "eu1".into(), kind, id: [3; 16] };
    let key = KeyMaterial::generate()?;
    let life = profile(Kind::Node).life(now_s, 0);
    let names = ["localhost".to_owned()];
    let node = issuing.issue(&key.spki(), &identity(Kind::Node), &names, life, [4; 16])?;
    let chain = vec![node.der, issuing.certificate().to_vec(), root.certificate().to_vec()];
    let credentials = Credentials { chain, pkcs8: Zeroizing::new(key.pkcs8().to_vec()) };
    let store = Arc::new(TrustStore::new(
        vec![root.certificate().to_vec()],
        vec![issuing.certificate().to_vec()],
    )?);
    let verifier = PeerVerifier {
        trust: tls::fixed(Arc::clone(&store)),
        now: Arc::new(move || now_s),
        revoked: Arc::new(|_, _| false),
        client_may_be_unknown: true,
        lapsed: None,
    };
    let live = Arc::new(LiveCredentials::new(&credentials)?);
    let server = Arc::new(https_server_config(live, Arc::new(verifier))?);
    let pin = fieldmesh_node::issuer::sha256(root.certificate());
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let requests: Vec<Vec<u8>> = (0..count)
        .map(|_| KeyMaterial::generate().and_then(|key| create_csr(&key)))
        .collect::<Result<_, _>>()?;
    let began = Instant::now();
    std::thread::scope(|scope| {
        let parts: Vec<_> = requests.chunks(count.div_ceil(cores)).collect();
        let issuing: &IssuingCa = &issuing;
        let threads: Vec<_> = parts
            .into_iter()
            .map(|part| {
                let server = Arc::clone(&server);
                let who = identity(Kind::Customer);
                scope.spawn(move || {
                    for csr in part {
                        one(csr, issuing, &who, now_s, &server, pin)?;
                    }
                    Ok::<_, String>(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread of the limit failed".to_owned())??;
        }
        Ok::<_, String>(())
    })?;
    Ok(began.elapsed())
}

fn one(
    csr: &[u8],
    issuing: &IssuingCa,
    identity: &Identity,
    now_s: u64,
    server: &Arc<rustls::ServerConfig>,
    pin: [u8; 32],
) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let checked = check_csr(csr).map_err(|error| failed(&error))?;
    let life = profile(identity.kind).life(now_s, 0);
    let issued = issuing.issue(checked.spki(), identity, &[], life, [9; 16]);
    issued.map_err(|error| failed(&error))?;
    // Each is another device: it verifies the issuing CA once.
    let pinned = PinnedRoot::new(pin, Arc::new(move || now_s));
    let client = client_config(Arc::new(pinned), None, b"http/1.1");
    let client = Arc::new(client.map_err(|error| failed(&error))?);
    for _ in 0..2 {
        handshake(server, &client)?;
    }
    Ok(())
}

/// A TLS handshake in memory, both sides.
fn handshake(
    server: &Arc<rustls::ServerConfig>,
    client: &Arc<rustls::ClientConfig>,
) -> Result<(), String> {
    let failed = |error: rustls::Error| error.to_string();
    let name = "localhost".try_into().map_err(|_| "a name".to_owned())?;
    let mut client = rustls::ClientConnection::new(Arc::clone(client), name).map_err(failed)?;
    let mut server = rustls::ServerConnection::new(Arc::clone(server)).map_err(failed)?;
    let mut wire = Vec::new();
    while client.is_handshaking() || server.is_handshaking() {
        wire.clear();
        client.write_tls(&mut wire).map_err(|error| error.to_string())?;
        server.read_tls(&mut wire.as_slice()).map_err(|error| error.to_string())?;
        server.process_new_packets().map_err(failed)?;
        wire.clear();
        server.write_tls(&mut wire).map_err(|error| error.to_string())?;
        client.read_tls(&mut wire.as_slice()).map_err(|error| error.to_string())?;
        client.process_new_packets().map_err(failed)?;
    }
    Ok(())
}

/// A device's TLS towards a server that it knows by its root.
fn device_tls(credentials: &Credentials, root: &[u8]) -> Result<Arc<rustls::ClientConfig>, Failed> {
    let store = Arc::new(TrustStore::new(vec![root.to_vec()], Vec::new())?);
    let verifier = PeerVerifier {
        trust: tls::fixed(store),
        now: Arc::new(|| now_ms() / 1000),
        revoked: Arc::new(|_, _| false),
        client_may_be_unknown: false,
        lapsed: None,
    };
    Ok(Arc::new(client_config(Arc::new(verifier), Some(credentials), wire::ALPN)?))
}

fn endpoint() -> Result<Endpoint, Failed> {
    Ok(edge::client(([127, 0, 0, 1], 0).into())?)
}

/// Milliseconds from the operator's word until the connection has ended, sorted.
async fn revocations(
    server: &Server,
    devices: &[(EntityId, Credentials)],
    root: &[u8],
) -> Result<Vec<f64>, Failed> {
    let endpoint = endpoint()?;
    let mut taken = Vec::with_capacity(devices.len());
    for (id, credentials) in devices {
        let tls = device_tls(credentials, root)?;
        // One after the other: who does not say hello is sent away by itself after a while.
        let connection = transport::connect(&endpoint, server.devices, "localhost", tls).await?;
        let began = Instant::now();
        let by = "measurement".to_owned();
        let command = registration::Command::Revoke { serial: None, reason: 1, by };
        let registration = EntityId::registration_of(*id);
        server.node.ask(registration, Command::Registration(command)).await?;
        timeout(PATIENCE, connection.closed()).await?;
        taken.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    taken.sort_by(f64::total_cmp);
    Ok(taken)
}

/// Microseconds of a device's handshake at each number of revocations, by turns.
async fn handshakes(
    server: &Server,
    device: &(EntityId, Credentials),
    root: &[u8],
) -> Result<Vec<f64>, Failed> {
    let endpoint = endpoint()?;
    let tls = device_tls(&device.1, root)?;
    let mut micros = Vec::new();
    let mut listed = 0;
    for wanted in REVOCATIONS {
        let rows: Vec<IndexRow> = (listed..wanted).map(strange).collect();
        server.node.trust.applied(&rows);
        listed = wanted;
        // The fastest turn says what the work takes; the others what else the machine did.
        let mut best = f64::MAX;
        for _ in 0..TURNS {
            let began = Instant::now();
            for _ in 0..HANDSHAKES / TURNS {
                let tls = Arc::clone(&tls);
                let connection = transport::connect(&endpoint, server.devices, "localhost", tls);
                transport::close(&connection.await?);
            }
            let each = began.elapsed().as_secs_f64() * 1e6 / (HANDSHAKES / TURNS) as f64;
            best = best.min(each);
        }
        micros.push(best);
    }
    Ok(micros)
}

/// A revocation of somebody else's certificate.
fn strange(number: u32) -> IndexRow {
    let mut serial = [0xee; 16];
    serial[..4].copy_from_slice(&number.to_be_bytes());
    let revocation = Revocation { at: Millis(0), reason: 0, banned: false };
    IndexRow::Revocation { issuer: [7; 32], serial, not_after: u64::MAX, revocation }
}

/// Registers so many identities; how long a start and a first page of the list take then.
async fn identities(dir: &std::path::Path, count: usize) -> Result<(f64, f64), Failed> {
    let server = start(dir).await?;
    let region: Region = server.node.region.parse()?;
    let mut under_way = JoinSet::new();
    for number in 0..count {
        let (node, device) = (Arc::clone(&server.node), id(region, 1_000_000 + number));
        under_way.spawn(async move {
            register(&node, device).await.map(|_| ()).map_err(|e| e.to_string())
        });
        while under_way.len() >= UNDER_WAY
            && let Some(done) = under_way.join_next().await
        {
            done??;
        }
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    server.stop().await;
    let began = Instant::now();
    let server = start(dir).await?;
    let ready_s = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let journal = server.node.authority();
    let journal = journal.ok_or("the authority does not run")?;
    let rows = journal.index(EntityKind::Registration, None, 100)?;
    let page_ms = began.elapsed().as_secs_f64() * 1000.0;
    if rows.len() != 100 {
        return Err("the list is too short".into());
    }
    server.stop().await;
    Ok((ready_s, page_ms))
}

pub(crate) async fn run(enrollments: usize, registrations: usize) -> Result<Value, Failed> {
    let dir = tempfile::tempdir()?;
    let server = start(dir.path()).await?;
    let pem = std::fs::read(dir.path().join("root.pem"))?;
    let root = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(&pem)?
        .to_vec();
    let pin = fieldmesh_node::issuer::sha256(&root);
    let mut invited = Vec::with_capacity(enrollments);
    for number in 0..enrollments {
        invited.push(invite(&server.node, number, pin).await?);
    }
    let (took, devices) = enroll_all(&server, invited).await?;
    let least = limit(enrollments)?;
    let handshake_us = handshakes(&server, devices.last().ok_or("nobody enrolled")?, &root).await?;
    let revoked = revocations(&server, &devices[..REVOKED.min(devices.len())], &root).await?;
    server.stop().await;
    let many = tempfile::tempdir()?;
    let (ready_s, page_ms) = identities(many.path(), registrations).await?;
    let percentile = |part: f64| revoked[((revoked.len() - 1) as f64 * part) as usize];
    Ok(json!({
        "enrollments": enrollments,
        "enrollments_per_s": enrollments as f64 / took.as_secs_f64(),
        "limit_per_s": enrollments as f64 / least.as_secs_f64(),
        "of_limit": least.as_secs_f64() / took.as_secs_f64(),
        "revoke_to_closed_ms": { "p50": percentile(0.5), "p99": percentile(0.99) },
        "revocations": REVOCATIONS,
        "handshake_us": handshake_us,
        "registrations": registrations,
        "ready_s": ready_s,
        "first_page_ms": page_ms,
    }))
}
