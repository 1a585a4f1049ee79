//! What a device does when its node dies, falls silent, goes or has no room: it goes to another one,
//! and what it sent is receipted once.
//!
//! The client and QUIC are as they are; nodes are stand-ins. Time is simulated, so that a bound is a
//! fact of the code and not of the machine; one test has real sockets and real time.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use fieldmesh_device::{
    Client, ClientConfig, Event, Mail, Others, outbox::ENTRIES_MAX, spawn, spawn_among, transport,
    wire::close,
};
use fieldmesh_tests::{
    link::{Link, Weather},
    live::raw::request_body,
    reception::{Manners, Reception},
};
use quinn::{Endpoint, EndpointConfig, TokioRuntime, VarInt};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

/// A fact that is not there by then, on a clock that costs nothing, never comes.
const PATIENCE: Duration = Duration::from_secs(3600);

fn node(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 7443))
}

fn phone(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 1, 0, number], 5000))
}

/// Some nodes and one network.
struct Scene {
    link: Arc<Link>,
    reception: Arc<Reception>,
}

impl Scene {
    fn new(weather: Weather) -> Self {
        Self { link: Link::new(weather, 1), reception: Reception::new() }
    }

    fn node(&self, number: u8, manners: Manners) -> Endpoint {
        let endpoint = self.link.endpoint(node(number), Some(self.reception.server_config()));
        self.reception.stand(endpoint.clone(), manners);
        endpoint
    }

    /// A device that was told of these nodes by its owner.
    fn device(&self, named: &[u8]) -> Device {
        let endpoint = self.link.endpoint(phone(1), None);
        let config = self.reception.device(endpoint, node(named[0]));
        let named = named[1..].iter().copied().map(node).collect();
        let others = Others { named, told: Vec::new() };
        let (client, events) = spawn_among(config, others, Mail::Take);
        Device { client, events }
    }
}

struct Device {
    client: Client,
    events: mpsc::Receiver<Event>,
}

impl Device {
    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) {
        let found = async { while !wanted(&self.events.recv().await.expect("it runs")) {} };
        timeout(PATIENCE, found).await.expect("the event comes");
    }

    async fn connected(&mut self) {
        self.until(|event| matches!(event, Event::Connected)).await;
    }

    async fn request(&self) -> [u8; 16] {
        self.client.request(&request_body()).await.unwrap()
    }

    async fn receipted(&mut self, id: [u8; 16]) {
        self.receipted_each(vec![id]).await;
    }

    /// In this order.
    async fn receipted_each(&mut self, sent: Vec<[u8; 16]>) {
        for id in sent {
            let is_it = |event: &Event| matches!(event, Event::Receipt { message_id, .. } if *message_id == id);
            self.until(is_it).await;
        }
        assert_eq!(self.client.waiting().await.unwrap(), 0);
    }

    /// Nothing more of a message comes in a long while.
    async fn hears_no_more_of(&mut self, id: [u8; 16]) {
        let again = async {
            loop {
                let event = self.events.recv().await.expect("it runs");
                if matches!(event, Event::Receipt { message_id, .. } if message_id == id) {
                    return;
                }
            }
        };
        assert!(timeout(Duration::from_secs(120), again).await.is_err(), "receipted twice");
    }
}

/// How long something took, on tokio's clock.
async fn took(what: impl Future<Output = ()>) -> Duration {
    let began = Instant::now();
    what.await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn an_address_where_nothing_listens_is_skipped() {
    let scene = Scene::new(Weather::FAIR);
    scene.node(3, Manners::Serves);
    let mut device = scene.device(&[1, 2, 3]);
    let id = device.request().await;
    let waited = took(device.receipted(id)).await;
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    assert_eq!(scene.reception.taken(), [(node(3), id)]);
}

#[tokio::test(start_paused = true)]
async fn a_request_to_a_node_that_died_is_receipted_by_another_and_once() {
    let scene = Scene::new(Weather::FAIR);
    scene.node(1, Manners::Serves);
    scene.node(2, Manners::Serves);
    let mut device = scene.device(&[1, 2]);
    device.connected().await;
    scene.link.cut(node(1));
    let id = device.request().await;
    let waited = took(device.receipted(id)).await;
    println!("sent to a dead node: receipted after {waited:?}");
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    assert_eq!(scene.reception.taken(), [(node(2), id)]);
    device.hears_no_more_of(id).await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_was_ended_goes_on_with_what_it_remembers() {
    let scene = Scene::new(Weather::FAIR);
    scene.node(1, Manners::Unavailable);
    scene.node(2, Manners::Serves);
    let config = scene.reception.device(scene.link.endpoint(phone(1), None), node(1));
    let (endpoint, tls) = (config.endpoint.clone(), Arc::clone(&config.tls));
    let (before, _events) = spawn(config);
    let id = before.request(&request_body()).await.unwrap();
    let session = before.end().await.unwrap();
    assert!(before.request(&request_body()).await.is_err(), "one of the two has the outbox");
    let server_name = "localhost".into();
    let addr = node(2);
    let (client, events) =
        spawn(ClientConfig { session, endpoint, addr, server_name, tls, symmetric: false });
    let mut device = Device { client, events };
    device.receipted(id).await;
    assert_eq!(scene.reception.taken(), [(node(2), id)]);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_die_one_after_the_other_are_noticed_in_the_same_time() {
    let scene = Scene::new(Weather::FAIR);
    for number in 1..=3 {
        scene.node(number, Manners::Serves);
    }
    let mut device = scene.device(&[1, 2, 3]);
    device.connected().await;
    for number in [1, 2] {
        scene.link.cut(node(number));
        let id = device.request().await;
        let waited = took(device.receipted(id)).await;
        println!("death {number}: receipted after {waited:?}");
        assert!(waited < Duration::from_millis(1500), "{waited:?}");
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// Over a way on which silence is no death, connecting anew makes it worse.
#[tokio::test(start_paused = true)]
async fn a_false_alarm_makes_a_device_patient() {
    let scene = Scene::new(Weather::FAIR);
    scene.node(1, Manners::Serves);
    scene.node(2, Manners::Serves);
    let mut device = scene.device(&[1, 2]);
    device.connected().await;
    scene.link.cut(node(1));
    scene.link.cut(node(2));
    let id = device.request().await;
    device.until(|event| matches!(event, Event::Disconnected { .. })).await;
    // The one that was given up is heard again while the other one is called in vain.
    scene.link.mend(node(1));
    device.receipted(id).await;
    assert_eq!(device.client.nodes().last, Some(node(1)));
    scene.link.mend(node(2));
    scene.link.cut(node(1));
    let id = device.request().await;
    let waited = took(device.receipted(id)).await;
    println!("after a false alarm: receipted after {waited:?}");
    assert!((Duration::from_secs(2)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
}

/// Whoever answers alerts where it reads the events must not wait for itself.
#[tokio::test(start_paused = true)]
async fn a_device_whose_events_nobody_reads_takes_commands_all_the_same() {
    let scene = Scene::new(Weather::FAIR);
    scene.node(1, Manners::Serves);
    let mut device = scene.device(&[1]);
    let mut sent = Vec::new();
    for _ in 0..500 {
        sent.push(timeout(PATIENCE, device.request()).await.expect("a command is taken"));
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    // It goes on where it stopped once they are read, and has forgotten no receipt.
    device.receipted_each(sent).await;
}

/// Nor for room: what is answered makes room, whether or not somebody reads that it was.
#[tokio::test(start_paused = true)]
async fn a_device_whose_events_nobody_reads_has_room_again_once_it_is_answered() {
    let scene = Scene::new(Weather::FAIR);
    scene.node(1, Manners::Serves);
    let mut device = scene.device(&[1]);
    device.connected().await;
    scene.link.cut(node(1));
    let mut sent = Vec::new();
    for _ in 0..ENTRIES_MAX {
        sent.push(device.request().await);
    }
    scene.link.mend(node(1));
    tokio::time::sleep(Duration::from_secs(60)).await;
    sent.push(timeout(PATIENCE, device.request()).await.expect("there is room"));
    device.receipted_each(sent).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_with_a_request_in_its_hands_is_noticed() {
    let scene = Scene::new(Weather::FAIR);
    scene.node(1, Manners::Dawdles);
    scene.node(2, Manners::Serves);
    let mut device = scene.device(&[1, 2]);
    device.connected().await;
    let id = device.request().await;
    device.until(|event| matches!(event, Event::Step { .. })).await;
    // It is there, and acknowledged as far as QUIC goes.
    while scene.reception.taken().is_empty() {
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    scene.link.cut(node(1));
    let waited = took(device.receipted(id)).await;
    println!("died with a request: receipted after {waited:?}");
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    device.hears_no_more_of(id).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_slow_and_lives_is_not_left() {
    let scene = Scene::new(Weather::FAIR);
    scene.node(1, Manners::Dawdles);
    scene.node(2, Manners::Serves);
    let mut device = scene.device(&[1, 2]);
    device.connected().await;
    device.request().await;
    let left = device.until(|event| matches!(event, Event::Disconnected { .. }));
    assert!(timeout(Duration::from_secs(9), left).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_device_that_says_nothing_is_at_another_node_within_seconds() {
    let scene = Scene::new(Weather::FAIR);
    for number in 1..=3 {
        scene.node(number, Manners::Serves);
    }
    scene.reception.tell(&[node(1), node(2), node(3)]);
    // It knows one node, and is told of the others.
    let mut device = scene.device(&[1]);
    device.connected().await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    scene.link.cut(node(1));
    let waited = took(device.connected()).await;
    println!("idle at a dead node: connected to another after {waited:?}");
    assert!(waited < Duration::from_secs(8), "{waited:?}");
    let nodes = device.client.nodes();
    assert!(nodes.last == Some(node(2)) || nodes.last == Some(node(3)), "{nodes:?}");
    assert_eq!(nodes.told.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_is_left_at_once() {
    let scene = Scene::new(Weather::FAIR);
    let first = scene.node(1, Manners::Serves);
    scene.node(2, Manners::Serves);
    let mut device = scene.device(&[1, 2]);
    device.connected().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    first.close(VarInt::from_u32(close::SHUTTING_DOWN), b"shutting down");
    let waited = took(device.connected()).await;
    println!("left a node that goes: connected to another after {waited:?}");
    assert!(waited < Duration::from_millis(100), "no pause: {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_without_room_is_left_at_once() {
    let scene = Scene::new(Weather::FAIR);
    scene.node(1, Manners::Unavailable);
    scene.node(2, Manners::Serves);
    let mut device = scene.device(&[1, 2]);
    let waited = took(device.connected()).await;
    assert!(waited < Duration::from_millis(100), "no pause: {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_where_no_node_has_room() {
    let scene = Scene::new(Weather::FAIR);
    scene.node(1, Manners::Unavailable);
    scene.node(2, Manners::Unavailable);
    let mut device = scene.device(&[1, 2]);
    let mut attempts = 0;
    let count = async {
        loop {
            device.until(|event| matches!(event, Event::Disconnected { .. })).await;
            attempts += 1;
        }
    };
    drop(timeout(Duration::from_secs(600), count).await);
    // Ten seconds, less the jitter, is the longest pause; two attempts follow each.
    assert!((100..300).contains(&attempts), "{attempts} attempts in ten minutes");
}

/// Hours that devices spend on a bad link, and how often they leave a node that lives.
async fn alarms(weather: Weather, devices: u8, hours: u64, between_requests: Duration) -> u32 {
    let scene = Scene::new(weather);
    scene.node(1, Manners::Serves);
    let mut running = tokio::task::JoinSet::new();
    for number in 0..devices {
        let endpoint = scene.link.endpoint(phone(number), None);
        let (client, mut events) = spawn(scene.reception.device(endpoint, node(1)));
        running.spawn(async move {
            let (until, mut left) = (Instant::now() + Duration::from_secs(hours * 3600), 0);
            let mut asks = tokio::time::interval(between_requests);
            loop {
                tokio::select! {
                    event = events.recv() => {
                        left += u32::from(matches!(event, Some(Event::Disconnected { .. })));
                    }
                    _ = asks.tick() => drop(client.request(&request_body()).await.unwrap()),
                    () = tokio::time::sleep_until(until) => return left,
                }
            }
        });
    }
    running.join_all().await.into_iter().sum()
}

#[tokio::test(start_paused = true)]
async fn a_bad_link_gives_no_alarm_but_seldom() {
    let millis = Duration::from_millis;
    // A way of 200 ms there and back, give or take 50.
    let weather = Weather { delay: millis(100), jitter: millis(25), loss_percent: 5 };
    let idle = alarms(weather, 10, 6, PATIENCE).await;
    let busy = alarms(weather, 10, 1, Duration::from_secs(5)).await;
    println!("false alarms: {idle} in 60 idle hours, {busy} in 10 busy hours");
    assert!(idle <= 12 && busy <= 10, "{idle} idle, {busy} busy");
}

/// Real time is slower than the code by whatever else the machine does.
const REAL_PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_real_sockets_a_killed_nodes_request_is_receipted_by_another_and_once() {
    let reception = Reception::new();
    let bound = || UdpSocket::bind("127.0.0.1:0").unwrap();
    let standing = |socket: UdpSocket| {
        let config = Some(reception.server_config());
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), config, socket, runtime).unwrap();
        let at = endpoint.local_addr().unwrap();
        reception.stand(endpoint, Manners::Serves);
        at
    };
    // The first node has a runtime of its own, which can be ended without a word. Its port stays
    // bound, so that nobody says that there is nothing either.
    let doomed =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let socket = bound();
    let unread = socket.try_clone().unwrap();
    let first = {
        let _inside = doomed.enter();
        standing(socket)
    };
    let second = standing(bound());
    reception.tell(&[first, second]);
    let config = reception.device(transport::endpoint(first).unwrap(), first);
    let (client, events) = spawn(config);
    let mut device = Device { client, events };
    device.connected().await;
    let ended = tokio::task::spawn_blocking(move || doomed.shutdown_timeout(REAL_PATIENCE));
    ended.await.unwrap();
    let id = device.request().await;
    let waited = timeout(REAL_PATIENCE, took(device.receipted(id))).await.expect("a receipt");
    println!("on real sockets: receipted after {waited:?}");
    assert_eq!(reception.taken(), [(second, id)]);
    assert_eq!(device.client.nodes().last, Some(second));
    drop(unread);
}
