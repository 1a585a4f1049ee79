//! Abuse of the connection itself: nobody else suffers from it, and it ends.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use fieldmesh_device::{
    transport::{Connection, ask, connect},
    wire::{self, Ack, Reply, STREAM_BYTES_MAX, close},
};
use fieldmesh_domain::{customer::Customer, message::ReceiptStatus};
use fieldmesh_envelope::{SoftwareSigner, sign_bundle};
use fieldmesh_pki::KeyMaterial;
use fieldmesh_tests::{
    deaf::{self, Hears},
    live::{
        Live, now_s, random,
        raw::{Raw, closed, framed, refused},
        until,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    task::JoinSet,
    time::Instant,
};

use super::{REFUSED, alert, application};

const NO_APPLICATION_PROTOCOL: u64 = 120;
/// A device that is not the abuser is answered within this, whatever goes on beside it.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A device that connects, greets and is received, at once.
async fn is_served(live: &Live, device: &Raw) {
    let began = Instant::now();
    let connection = device.connect(live.devices).await;
    let service = device.greet(&connection).await;
    let reply = ask(&connection, &device.sealed(&service, &device.request())).await.unwrap();
    assert_eq!(device.status(&service, &reply), ReceiptStatus::Received);
    assert!(began.elapsed() < AT_ONCE, "served after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_and_other_protocols_are_refused_and_hurt_nobody() {
    let live = Live::start().await;
    let device = live.raw(live.customer().await).await;
    let counted = live.counted(REFUSED).await;
    for alpn in [&b"h3"[..], b"fieldmesh-device/2", b"fieldmesh/1"] {
        assert_eq!(refused(live.devices, device.tls(alpn)).await, alert(NO_APPLICATION_PROTOCOL));
    }
    until("counted", async || (live.counted(REFUSED).await >= counted + 3).then_some(())).await;

    let noise = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in [0, 1, 5, 20, 21, 100, 1199, 1200, 1350, 1472, 9000] {
        for first in [0x00, 0x40, 0x80, 0xc0, 0xc3, 0xff] {
            let mut datagram = vec![0; length];
            for chunk in datagram.chunks_mut(32) {
                chunk.copy_from_slice(&random::<32>()[..chunk.len()]);
            }
            // The form bits decide how a datagram is read; the version may be ours.
            datagram.iter_mut().take(1).for_each(|byte| *byte = first);
            noise.send_to(&datagram, live.devices).await.unwrap();
            if length > 5 {
                datagram[1..5].copy_from_slice(&1_u32.to_be_bytes());
                noise.send_to(&datagram, live.devices).await.unwrap();
            }
        }
    }
    is_served(&live, &device).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_never_finished_is_cut_and_blocks_nobody() {
    let live = Live::start().await;
    let device = live.raw(live.customer().await).await;
    let other = live.raw(live.customer().await).await;
    let dropped = live.counted("fieldmesh_edge_streams_dropped_total").await;
    let connection = device.connect(live.devices).await;
    let service = device.greet(&connection).await;
    let whole = device.sealed(&service, &device.request());
    let began = Instant::now();
    let mut unfinished = Vec::new();
    for length in [0, 1, 40, whole.len()] {
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(&whole[..length]).await.unwrap();
        // A stream without a byte is not announced before it is finished, so it waits at home.
        unfinished.push((send, receive, length));
    }
    // The same connection and others are served meanwhile.
    let reply = ask(&connection, &device.sealed(&service, &device.request())).await.unwrap();
    assert_eq!(device.status(&service, &reply), ReceiptStatus::Received);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    is_served(&live, &other).await;
    for (send, mut receive, length) in unfinished {
        if length > 0 {
            // No answer: the stream just ends.
            let answer = receive.read_to_end(1024).await.unwrap_or_default();
            assert_eq!(answer, b"", "{length} bytes");
            let after = began.elapsed();
            assert!(after > Duration::from_secs(4), "{length} bytes: cut after {after:?}");
            assert!(after < Duration::from_secs(8), "{length} bytes: cut after {after:?}");
        }
        drop(send);
    }
    let cut = async || {
        (live.counted("fieldmesh_edge_streams_dropped_total").await >= dropped + 3).then_some(())
    };
    until("the cut streams are counted", cut).await;
    let reply = ask(&connection, &device.sealed(&service, &device.request())).await.unwrap();
    assert_eq!(device.status(&service, &reply), ReceiptStatus::Received, "the connection goes on");
}

async fn ended(connection: &Connection) -> super::Closed {
    let end = tokio::time::timeout(Duration::from_secs(20), connection.closed()).await;
    closed(&end.expect("the connection is closed"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_connections_of_a_device_the_newest_counts() {
    let live = Live::start().await;
    let device = live.raw(live.customer().await).await;
    let other = live.raw(live.customer().await).await;
    let mut connections = Vec::new();
    for _ in 0..100 {
        let connection = device.connect(live.devices).await;
        let service = device.greet(&connection).await;
        connections.push((connection, service));
    }
    let (newest, service) = connections.pop().unwrap();
    for (connection, _) in &connections {
        assert_eq!(ended(connection).await, application(close::REPLACED));
    }
    let reply = ask(&newest, &device.sealed(&service, &device.request())).await.unwrap();
    assert_eq!(device.status(&service, &reply), ReceiptStatus::Received);
    assert_eq!(live.server().node.courier.connected(), 1);

    // Connections that never greet take nobody's place.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(device.connect(live.devices).await);
    }
    is_served(&live, &other).await;
    let reply = ask(&newest, &device.sealed(&service, &device.request())).await.unwrap();
    assert_eq!(device.status(&service, &reply), ReceiptStatus::Received);
    // Nor are they kept.
    for connection in &silent {
        assert_eq!(ended(connection).await, application(close::SHUTTING_DOWN));
    }
    let reply = ask(&newest, &device.sealed(&service, &device.request())).await.unwrap();
    assert_eq!(device.status(&service, &reply), ReceiptStatus::Received, "who has greeted stays");
    drop((connections, newest));
    let gone = async || (live.counted("fieldmesh_edge_sessions").await == 0).then_some(());
    until("every session ends with its connection", gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_above_the_limit_gets_no_answer() {
    let live = Live::start().await;
    let device = live.raw(live.customer().await).await;
    let connection = device.connect(live.devices).await;
    let service = device.greet(&connection).await;
    let before = live.snapshot().await;
    let sized = |bytes: usize| {
        let head = framed(service.id, random(), wire::SEALED, &[]);
        let payload = vec![0xd0; bytes - head.len()];
        [head, payload].concat()
    };
    let reply = ask(&connection, &sized(STREAM_BYTES_MAX)).await.unwrap();
    assert_eq!(reply, Reply::BadEnvelope, "the largest that is read, and not an envelope");
    for bytes in [STREAM_BYTES_MAX + 1, 2 * STREAM_BYTES_MAX] {
        assert!(ask(&connection, &sized(bytes)).await.is_err(), "{bytes} bytes got an answer");
    }
    assert_eq!(live.snapshot().await, before);
    let reply = ask(&connection, &device.sealed(&service, &device.request())).await.unwrap();
    assert_eq!(device.status(&service, &reply), ReceiptStatus::Received, "the connection goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_counts_with_the_devices_own_and_newest_bundle_only() {
    let live = Live::start().await;
    let device = live.raw(live.customer().await).await;
    let other = live.raw(live.customer().await).await;
    let connection = device.connect(live.devices).await;
    let before = live.snapshot().await;
    let bundle = device.bundle(now_s());
    let signed = |bundle: &_, signer: &SoftwareSigner| sign_bundle(bundle, signer).unwrap();
    let impostor = SoftwareSigner::from_pkcs8(
        KeyMaterial::generate().unwrap().pkcs8(),
        &device.credentials.chain[0],
    );
    let mut foreign = bundle.clone();
    foreign.owner.clone_from(&other.name);
    let mut expired = bundle.clone();
    (expired.not_before, expired.not_after) = (now_s() - 100, now_s() - 1);
    let mut early = bundle.clone();
    early.not_before = now_s() + 3600;
    let mut bent = signed(&bundle, &device.signer);
    *bent.last_mut().unwrap() ^= 1;
    for (what, bytes) in [
        ("another device's", signed(&other.bundle(now_s()), &other.signer)),
        ("another device's name", signed(&foreign, &device.signer)),
        ("another key under the same certificate", signed(&bundle, &impostor.unwrap())),
        ("expired", signed(&expired, &device.signer)),
        ("from tomorrow", signed(&early, &device.signer)),
        ("a changed signature", bent),
        ("nothing", Vec::new()),
        ("too large", vec![0xd2; 8192]),
    ] {
        let reply = ask(&connection, &device.hello_with(bytes)).await.unwrap();
        assert_eq!(reply, Reply::Rejected, "{what}");
    }
    let unreadable = framed([0; 16], random(), wire::HELLO, b"\xff");
    assert_eq!(ask(&connection, &unreadable).await.unwrap(), Reply::BadEnvelope);
    assert_eq!(live.snapshot().await, before, "a refused bundle left a trace");
    assert_eq!(live.server().node.courier.connected(), 0);

    let kept = || {
        let journal = live.server().node.journal_of(device.id).unwrap();
        journal.state::<Customer>(device.id).unwrap().device.bundle_serial
    };
    device.greet(&connection).await;
    let serial = kept();
    assert!(serial > 0, "the bundle is kept");
    device.greet(&connection).await;
    let older = signed(&device.bundle(serial - 1000), &device.signer);
    // Whether the connection survives the attempt is not promised.
    if let Ok(reply) = ask(&connection, &device.hello_with(older)).await {
        assert_eq!(reply, Reply::Rejected, "an older bundle");
    }
    assert!(kept() >= serial, "serials never go back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_hello_nothing_is_taken_from_a_device() {
    let live = Live::start().await;
    let device = live.raw(live.customer().await).await;
    let greeted = device.connect(live.devices).await;
    let service = device.greet(&greeted).await;
    let connection = device.connect(live.devices).await;
    // What cannot be sealed for the device cannot be told to it, so nothing is taken from it yet.
    let request = device.sealed(&service, &device.request());
    let before = live.snapshot().await;
    assert_eq!(ask(&connection, &request).await.unwrap(), Reply::BadEnvelope);
    assert_eq!(live.snapshot().await, before);
    device.greet(&connection).await;
    let reply = ask(&connection, &request).await.unwrap();
    assert_eq!(device.status(&service, &reply), ReceiptStatus::Received);
    until("its ticket", async || (live.tickets().len() == 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_of_what_was_never_sent_change_nothing() {
    let live = Live::start().await;
    let device = live.raw(live.customer().await).await;
    let connection = device.connect(live.devices).await;
    device.greet(&connection).await;
    let before = live.snapshot().await;
    let ack = |count: usize| {
        let message_ids = (0..count).map(|_| random::<16>().into()).collect();
        framed([0; 16], [0; 16], wire::ACK, &minicbor::to_vec(Ack { message_ids }).unwrap())
    };
    for (frame, expected) in [
        (ack(0), Reply::Accepted),
        (ack(wire::ACK_IDS_MAX), Reply::Accepted),
        (ack(wire::ACK_IDS_MAX + 1), Reply::BadEnvelope),
        (framed([0; 16], [0; 16], wire::ACK, b"\x01"), Reply::BadEnvelope),
    ] {
        assert_eq!(ask(&connection, &frame).await.unwrap(), expected);
    }
    assert_eq!(live.snapshot().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_begins_many_connections_from_one_address_keeps_nobody_else_out() {
    const BEGUN: usize = 400;
    let live = Live::start().await;
    let (begins, device) =
        (live.raw(live.customer().await).await, live.raw(live.customer().await).await);
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], 0));
    let (endpoint, came) = deaf::endpoint(elsewhere, Hears::Retry);
    let (tls, address) = (Arc::new(begins.tls(wire::ALPN)), live.devices);
    let mut begun = JoinSet::new();
    for _ in 0..BEGUN {
        let (endpoint, tls) = (endpoint.clone(), Arc::clone(&tls));
        begun.spawn(async move { connect(&endpoint, address, "localhost", tls).await.is_ok() });
    }
    let answered = async || (came.load(Ordering::SeqCst) >= BEGUN).then_some(());
    until("each is answered, or some are often", answered).await;
    is_served(&live, &device).await;
    drop(begun);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_connects_anew_may_send_no_more_than_before() {
    let (per_s, burst) = ("listen.device_messages_per_s", "listen.device_messages_burst");
    let live = Live::start_with(&[(per_s, "1"), (burst, "20")]).await;
    let device = live.raw(live.customer().await).await;
    let throttled = live.counted("fieldmesh_edge_throttled_total").await;
    let mut taken = 0;
    // Over four connections twice as many as it may send at once.
    for _ in 0..4 {
        let connection = device.connect(live.devices).await;
        for _ in 0..10 {
            // Nothing of it is opened: before the hello there is no key.
            let bytes = framed([0; 16], random(), wire::SEALED, b"nothing");
            let reply = ask(&connection, &bytes).await.unwrap();
            taken += usize::from(!matches!(reply, Reply::Busy { .. }));
        }
    }
    assert!((20..30).contains(&taken), "{taken} of 40 were taken");
    assert!(live.counted("fieldmesh_edge_throttled_total").await > throttled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_never_whole_holds_no_connection_for_long() {
    let live = Live::start().await;
    let mut stream = TcpStream::connect(live.server().http).await.unwrap();
    let head = "POST /ocsp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nhalf";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let began = Instant::now();
    // It ends, and says why, though whoever sends it does not.
    tokio::time::timeout(Duration::from_secs(25), stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .ok();
    assert!(began.elapsed() > Duration::from_secs(8), "after {:?}", began.elapsed());
    assert!(answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
}
