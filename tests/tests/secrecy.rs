//! Neither the wire nor any disk holds a request's text, nor a disk the name of a person.
//!
//! The text travels from a customer's device through a recording forwarder to the server and on to a
//! technician's device, which shows it. **Not here:** memory; what TLS carries on the HTTPS port.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests fail by panicking, and print what they measure"
)]

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use fieldmesh_tests::process::{
    ANY, Launch, PATIENCE,
    contents::{Secret, contents},
    run, text,
};
use tempfile::TempDir;
use tokio::{net::UdpSocket, time::timeout};

/// Datagrams that are kept: a run has some hundred.
const RECORDED_MAX: usize = 50_000;
const DATAGRAM_BYTES_MAX: usize = 1 << 16;

type Recorded = Arc<Mutex<Vec<Vec<u8>>>>;

/// Carries datagrams between devices and the server, and keeps a copy of each.
struct Forwarder {
    address: String,
    recorded: Recorded,
}

impl Forwarder {
    async fn start(server: &str) -> Self {
        let front = Arc::new(UdpSocket::bind(ANY).await.unwrap());
        let address = front.local_addr().unwrap().to_string();
        let recorded = Recorded::default();
        tokio::spawn(forward(front, server.parse().unwrap(), Arc::clone(&recorded)));
        Self { address, recorded }
    }

    fn datagrams(&self) -> Vec<Vec<u8>> {
        self.recorded.lock().unwrap().clone()
    }

    /// The first datagram that gives the secret away, with its form.
    fn leak(&self, secret: &Secret) -> Option<String> {
        let datagrams = self.datagrams();
        let mut found = datagrams.iter().enumerate();
        found.find_map(|(number, bytes)| {
            Some(format!("datagram {number} of {} ({})", datagrams.len(), secret.form_in(bytes)?))
        })
    }
}

fn keep(recorded: &Recorded, bytes: &[u8]) {
    let mut recorded = recorded.lock().unwrap();
    assert!(recorded.len() < RECORDED_MAX, "more datagrams than a run can have");
    recorded.push(bytes.to_vec());
}

async fn forward(front: Arc<UdpSocket>, server: SocketAddr, recorded: Recorded) {
    let mut backs: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // A device that is gone makes its datagrams come back as errors.
        let Ok((length, device)) = front.recv_from(&mut bytes).await else { continue };
        keep(&recorded, &bytes[..length]);
        if let Entry::Vacant(vacant) = backs.entry(device) {
            let back = Arc::new(UdpSocket::bind(ANY).await.unwrap());
            back.connect(server).await.unwrap();
            vacant.insert(Arc::clone(&back));
            tokio::spawn(answer(back, Arc::clone(&front), device, Arc::clone(&recorded)));
        }
        // So does a server that is not running.
        drop(backs[&device].send(&bytes[..length]).await);
    }
}

async fn answer(
    back: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    device: SocketAddr,
    recorded: Recorded,
) {
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let received = back.recv(&mut bytes).await;
        if let Ok(length) = received {
            keep(&recorded, &bytes[..length]);
            drop(front.send_to(&bytes[..length], device).await);
        }
    }
}

/// No file below the directories gives one of the secrets away.
#[track_caller]
fn expect_silence(when: &str, dirs: &[&Path], secrets: &[&Secret]) {
    for dir in dirs {
        let files = contents(dir);
        assert!(files.len() > 1, "{when}: {} is almost empty", dir.display());
        let found: Vec<String> =
            secrets.iter().flat_map(|secret| secret.files_in(&files)).collect();
        assert!(found.is_empty(), "{when}, below {}: {found:?}", dir.display());
    }
}

#[tokio::test]
async fn a_request_is_readable_only_where_it_belongs() {
    let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let words =
        ["the vault door jams at 4a7c19", "its hinge screams like 93be02", "waiting since 51d0f8"];
    let names = ["Orsolya Quirke 6b2d", "Thaddeus Umber 0e8f"];
    let secrets = words.iter().chain(&names).map(|word| Secret::new(word)).collect::<Vec<_>>();
    let secrets: Vec<&Secret> = secrets.iter().collect();
    // The most talkative server.
    let server = Launch::dev(data.path()).env("FIELDMESH__LOG__FILTER", "trace").ready().await;
    let forwarder = Forwarder::start(&server.devices).await;
    let (customer, technician) = server.pair(devices.path(), names, &forwarder.address).await;
    let dirs = [data.path(), &customer.dir, &technician.dir];

    let ticket = customer.request(words[0]).await;
    let alert = technician.alert(&ticket).await;
    assert_eq!(alert["text"], words[0], "the text travelled from device to device");
    technician.accept(&alert).await;
    let mut listening = customer.start(&["listen", "--seconds", "60"]);
    let confirmation = listening.until(|line| line["confirmation"] == ticket).await;
    assert_eq!(confirmation["name"], names[1], "{confirmation}");
    listening.end_with("TERM").await;
    expect_silence("while the server runs", &dirs, &secrets);

    let again = server.again();
    let ended = server.terminate().await.expect_code(0);
    expect_silence("after SIGTERM", &dirs, &secrets);
    let leak = |said: &str| {
        secrets.iter().find_map(|secret| secret.form_in(said.as_bytes()).map(str::to_owned))
    };
    assert!(ended.stderr.len() > 1000, "the server traced nothing");
    assert_eq!(leak(&ended.stderr), None, "on standard error");

    // Without a server the text waits in the device.
    customer.try_request(words[2], "1").await.expect_code(75);
    let status = customer.run(&["status"]).await.expect_code(0).json();
    assert_eq!(status["waiting"], 1, "{status}");
    expect_silence("while a request waits", &dirs, &secrets);

    let server = again.env("FIELDMESH__LOG__FILTER", "trace").ready().await;
    customer.request(words[1]).await;
    let killed = server.kill().await;
    assert_eq!(leak(&killed.stderr), None, "on standard error");
    expect_silence("after SIGKILL", &dirs, &secrets);

    assert!(forwarder.datagrams().len() > 20);
    println!("recorded {} datagrams", forwarder.datagrams().len());
    for secret in secrets {
        assert_eq!(forwarder.leak(secret), None, "on the wire");
    }
}

#[tokio::test]
async fn the_search_finds_what_is_there() {
    let word = "the vault door jams at 4a7c19";
    let secret = Secret::new(word);
    let dir = TempDir::new().unwrap();
    let below = dir.path().join("db/state-0");
    std::fs::create_dir_all(&below).unwrap();
    std::fs::write(below.join("000012.sst"), format!("\0\0{word}\0")).unwrap();
    std::fs::write(below.join("000013.sst"), "nothing").unwrap();
    let found = secret.files_in(&contents(dir.path()));
    assert_eq!(found, ["db/state-0/000012.sst (plain)"]);

    let server = UdpSocket::bind(ANY).await.unwrap();
    let forwarder = Forwarder::start(&server.local_addr().unwrap().to_string()).await;
    let device = UdpSocket::bind(ANY).await.unwrap();
    device.send_to(format!("to {word}").as_bytes(), &forwarder.address).await.unwrap();
    let mut bytes = [0; 128];
    let (length, from) = timeout(PATIENCE, server.recv_from(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(&bytes[..length], format!("to {word}").as_bytes());
    assert_eq!(forwarder.leak(&secret).unwrap(), "datagram 0 of 1 (plain)");
    server.send_to(b"back", from).await.unwrap();
    let received = timeout(PATIENCE, device.recv_from(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(&bytes[..received.0], b"back");
    assert_eq!(forwarder.datagrams().len(), 2);
}

#[tokio::test]
async fn the_demonstration_leaves_no_text_behind() {
    let (dir, word) = (TempDir::new().unwrap(), "the lift hums in B flat 77ac31");
    let args = ["demo", "--once", "--json", "--body", word, "--data-dir", text(dir.path())];
    let shown = run("fieldmesh", &args).await.expect_code(0);
    let (body, name) = (Secret::new(word), Secret::new("Technician 1"));
    expect_silence("after the demonstration", &[dir.path()], &[&body, &name]);
    assert_eq!(body.form_in(shown.stderr.as_bytes()), None);
}
