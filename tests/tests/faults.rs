//! The faults that a node does to its own mesh on purpose: that they happen, and that QUIC bears them.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and print what they measure"
)]

use std::{future::poll_fn, sync::Arc, time::Duration};

use fieldmesh_chaos::{Direction, Network};
use fieldmesh_node::{
    chaos::Effect,
    config::chaos::Rule,
    edge,
    mesh::faults::{AsyncUdpSocket, Faults, WAITING_MAX},
    os::SystemEntropy,
};
use fieldmesh_tests::{
    live::now_s,
    mesh::{self, identity},
    pki::Authority,
};
use quinn::{Connection, Endpoint, udp::Transmit};
use serde_json::{Value, json};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout},
};

const ANY: &str = "127.0.0.1:0";
/// Datagrams of one test: a socket's buffer in the kernel holds some 250 that nobody reads yet.
const COUNT: u32 = 200;
/// What has not arrived when nothing came for so long was lost.
const QUIET: Duration = Duration::from_millis(1500);
const BODY_MAX: usize = 1 << 20;

/// Faults for everybody on this machine, by these keys of a rule.
fn faults(keys: &Value) -> Arc<Faults> {
    let mut rule = keys.clone();
    rule["peer"] = json!("127.0.0.0/8");
    let config = serde_json::from_value(json!({ "enabled": true, "rules": [rule] })).unwrap();
    Faults::new(&config, &SystemEntropy::default())
}

/// Of a node whose configuration does not ask for any.
fn no_faults() -> Arc<Faults> {
    let rules = json!([{ "peer": "127.0.0.0/8", "loss_percent": 100 }]);
    let config = serde_json::from_value(json!({ "enabled": false, "rules": rules })).unwrap();
    Faults::new(&config, &SystemEntropy::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_ask_for_faults_has_none() {
    let faults = no_faults();
    let (arrived, _) = sent_by(&faults, COUNT).await;
    assert_eq!(arrived, (0..COUNT).collect::<Vec<_>>());
    let plain = edge::socket(ANY.parse().unwrap()).unwrap();
    let many = plain.max_transmit_segments();
    let socket = faults.on(plain);
    assert_eq!(socket.max_transmit_segments(), many, "as many at once as without");
}

/// For every peer, counted there.
fn ruled(network: &Network, effect: &Effect) -> [(Rule, Effect); 2] {
    Rule::everywhere(network).map(|rule| (rule, effect.clone()))
}

/// Sends numbered datagrams through a socket with faults; those that arrive, and when the first did.
async fn sent(keys: &Value, count: u32) -> (Vec<u32>, Duration) {
    sent_by(&faults(keys), count).await
}

async fn sent_by(faults: &Arc<Faults>, count: u32) -> (Vec<u32>, Duration) {
    let reader = UdpSocket::bind(ANY).await.unwrap();
    let destination = reader.local_addr().unwrap();
    let socket: Arc<dyn AsyncUdpSocket> = edge::socket(ANY.parse().unwrap()).unwrap();
    let socket = faults.on(socket);
    // A socket that is new is not known to be writable, and what is sent at once would be lost.
    let mut poller = Arc::clone(&socket).create_io_poller();
    poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
    let (began, mut first, mut arrived) = (Instant::now(), Duration::ZERO, Vec::new());
    for number in 0..count {
        let contents = &number.to_be_bytes();
        let (ecn, segment_size, src_ip) = (None, None, None);
        // Where the kernel takes no more it is lost.
        drop(socket.try_send(&Transmit { destination, ecn, contents, segment_size, src_ip }));
    }
    let mut bytes = [0; 4];
    while let Ok(read) = timeout(QUIET, reader.recv(&mut bytes)).await {
        assert_eq!(read.unwrap(), 4);
        if arrived.is_empty() {
            first = began.elapsed();
        }
        arrived.push(u32::from_be_bytes(bytes));
    }
    (arrived, first)
}

/// A line to one peer that is full holds up no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_link_has_a_line_of_its_own() {
    let rate = |kbit| Network { rate_kbit: Some(kbit), ..Network::default() };
    let (faults, reader) = (no_faults(), UdpSocket::bind(ANY).await.unwrap());
    let silent = UdpSocket::bind(ANY).await.unwrap();
    let (slow, fast) = (silent.local_addr().unwrap(), reader.local_addr().unwrap());
    let rules = [Rule::at(slow, &rate(8)), Rule::at(fast, &rate(10_000_000))];
    faults.lease(rules.map(|rule| (rule, Effect::default())).into());
    let socket = faults.on(edge::socket(ANY.parse().unwrap()).unwrap());
    let mut poller = Arc::clone(&socket).create_io_poller();
    poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
    let send = |destination, contents: &[u8]| {
        let (ecn, segment_size, src_ip) = (None, None, None);
        socket.try_send(&Transmit { destination, ecn, contents, segment_size, src_ip }).unwrap();
    };
    // A second of the slow line, half of which it takes: on the same one there would be no room for another.
    for _ in 0..100 {
        send(slow, &[0; 10]);
    }
    send(fast, b"at once");
    let mut bytes = [0; 16];
    assert_eq!(timeout(QUIET, reader.recv(&mut bytes)).await.unwrap().unwrap(), 7);
}

/// Nodes of a lab share an address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_peers_at_one_address_one_link_is_cut() {
    let (faults, cut) = (no_faults(), Network { loss_percent: 100, ..Network::default() });
    let (two, three) = (UdpSocket::bind(ANY).await.unwrap(), UdpSocket::bind(ANY).await.unwrap());
    let at = two.local_addr().unwrap();
    let socket = faults.on(edge::socket(ANY.parse().unwrap()).unwrap());
    let mut poller = Arc::clone(&socket).create_io_poller();
    poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
    for (direction, is_heard) in [(Direction::Out, false), (Direction::In, true)] {
        faults.lease(vec![(Rule::at(at, &Network { direction, ..cut }), Effect::default())]);
        for destination in [at, three.local_addr().unwrap()] {
            let (ecn, segment_size, src_ip, contents) = (None, None, None, &b"datagram"[..]);
            let sent = Transmit { destination, ecn, contents, segment_size, src_ip };
            socket.try_send(&sent).unwrap();
        }
        let mut bytes = [0; 16];
        for (peer, hears) in [(&two, is_heard), (&three, true)] {
            let heard = timeout(QUIET, peer.recv(&mut bytes)).await;
            assert_eq!(heard.is_ok(), hears, "{direction:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_delayed_arrives_in_order() {
    let (arrived, first) = sent(&json!({ "delay_ms": 200 }), COUNT).await;
    assert!(first >= Duration::from_millis(200), "{first:?}");
    assert_eq!(arrived, (0..COUNT).collect::<Vec<_>>());
    // The other direction is not meant.
    let (_, first) = sent(&json!({ "delay_ms": 200, "direction": "in" }), 1).await;
    assert!(first < Duration::from_millis(200), "{first:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jitter_and_reordering_let_datagrams_overtake() {
    for keys in [
        json!({ "delay_ms": 50, "jitter_ms": 50 }),
        json!({ "delay_ms": 50, "reorder_percent": 10 }),
    ] {
        let (mut arrived, _) = sent(&keys, COUNT).await;
        assert!(!arrived.is_sorted(), "{keys}");
        arrived.sort_unstable();
        assert_eq!(arrived, (0..COUNT).collect::<Vec<_>>(), "{keys}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_or_doubled_is_so_by_its_chance() {
    let (arrived, _) = sent(&json!({ "loss_percent": 100 }), COUNT).await;
    assert_eq!(arrived, [0; 0]);
    let (arrived, _) = sent(&json!({ "loss_percent": 50 }), COUNT).await;
    // Six standard deviations around the mean.
    assert!((58..=142).contains(&arrived.len()), "{} of {COUNT}", arrived.len());
    let (arrived, _) = sent(&json!({ "duplicate_percent": 100 }), COUNT / 2).await;
    assert_eq!(arrived, (0..COUNT / 2).flat_map(|number| [number, number]).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_corrupted_has_one_other_bit_and_a_slow_line_takes_what_fits() {
    let (arrived, _) = sent(&json!({ "corrupt_percent": 100 }), COUNT).await;
    assert_eq!(arrived.len(), COUNT as usize);
    assert!((0..COUNT).zip(&arrived).all(|(number, other)| (number ^ other).count_ones() == 1));
    // Four milliseconds each, and half a second of them waits.
    let (arrived, _) = sent(&json!({ "rate_kbit": 8 }), COUNT).await;
    assert!((120..180).contains(&arrived.len()), "{} of {COUNT}", arrived.len());
    assert_eq!(arrived, (0..arrived.len() as u32).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_add_up_and_end() {
    let faults = faults(&json!({}));
    let late = Network { delay_ms: 100, ..Network::default() };
    let lossy = Network { loss_percent: 50, ..Network::default() };
    let effects = [Effect::default(), Effect::default()];
    let leased = [late, lossy].into_iter().zip(&effects);
    let leased = leased.flat_map(|(network, effect)| ruled(&network, effect));
    faults.lease(leased.collect());
    let (arrived, first) = sent_by(&faults, COUNT).await;
    assert!(first >= Duration::from_millis(100), "{first:?}");
    assert!((58..=142).contains(&arrived.len()), "{} of {COUNT}", arrived.len());
    faults.lease(Vec::new());
    // Each counts what it did: all are late, and some of them are lost; the kernel may lose some more.
    let [delayed, lost] = effects.map(|effect| effect.count());
    assert_eq!(delayed, u64::from(COUNT));
    assert!((58..=u64::from(COUNT) - arrived.len() as u64).contains(&lost), "{lost}");
    let (arrived, _) = sent_by(&faults, COUNT).await;
    assert_eq!(arrived.len(), COUNT as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_bounded() {
    let bound = u32::try_from(WAITING_MAX).unwrap();
    let (arrived, _) = sent(&json!({ "delay_ms": 1000 }), 2 * bound).await;
    // The first wait; those behind them are lost. The kernel may lose some of the burst too.
    assert!(!arrived.is_empty() && arrived.iter().all(|number| *number < bound));
}

/// A connection to an endpoint whose traffic suffers, and which answers with what comes.
async fn connected(keys: &Value) -> Connection {
    connected_by(&faults(keys)).await
}

async fn connected_by(faults: &Arc<Faults>) -> Connection {
    let authority = Authority::new(now_s());
    let socket = faults.on(edge::socket(ANY.parse().unwrap()).unwrap());
    let server = mesh::listening(&authority, identity(1), socket);
    let address = server.local_addr().unwrap();
    tokio::spawn(echo(server));
    mesh::raw(&authority, identity(2), address).await
}

/// Answers one peer at a time with what comes.
async fn echo(server: Endpoint) {
    while let Some(incoming) = server.accept().await {
        // Whose handshake is lost tries again.
        let Ok(connection) = incoming.await else { continue };
        while let Ok((mut send, mut receive)) = connection.accept_bi().await {
            let body = receive.read_to_end(BODY_MAX).await.unwrap();
            send.write_all(&body).await.unwrap();
            send.finish().unwrap();
        }
    }
}

async fn asked(connection: &Connection, body: &[u8]) -> Vec<u8> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(body).await.unwrap();
    send.finish().unwrap();
    receive.read_to_end(BODY_MAX).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_trip_takes_both_delays() {
    let connection = connected(&json!({ "delay_ms": 100, "jitter_ms": 20 })).await;
    let began = Instant::now();
    assert_eq!(asked(&connection, b"hello").await, b"hello");
    let took = began.elapsed();
    println!("a round trip took {} ms", took.as_millis());
    assert!(took >= Duration::from_millis(160), "{took:?}");
    let rtt = connection.rtt();
    assert!(rtt >= Duration::from_millis(160) && rtt < Duration::from_millis(600), "{rtt:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_bears_loss_doubles_and_disorder() {
    let keys = json!({
        "delay_ms": 10, "jitter_ms": 10,
        "loss_percent": 10, "duplicate_percent": 10, "reorder_percent": 10,
    });
    let connection = connected(&keys).await;
    let body: Vec<u8> = (0..300_000_u32).map(|byte| byte as u8).collect();
    assert_eq!(asked(&connection, &body).await, body);
    let lost = connection.stats().path.lost_packets;
    println!("{lost} of {} packets were lost", connection.stats().path.sent_packets);
    assert!(lost > 0);
}

/// What goes to and from an endpoint while leases come and go, of which nothing is lost but by them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_come_and_go_under_a_connection() {
    let faults = no_faults();
    let connection = connected_by(&faults).await;
    let body: Vec<u8> = (0..300_000_u32).map(|byte| byte as u8).collect();
    let late = Network { delay_ms: 100, ..Network::default() };
    for _ in 0..3 {
        assert_eq!(asked(&connection, &body).await, body);
        // In the middle of one.
        let (answer, ()) = tokio::join!(asked(&connection, &body), async {
            faults.lease(ruled(&late, &Effect::default()).into());
        });
        assert_eq!(answer, body);
        let began = Instant::now();
        assert_eq!(asked(&connection, b"late").await, b"late");
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
        faults.lease(Vec::new());
        assert_eq!(asked(&connection, &body).await, body);
    }
}
