//! Who is let into the mesh, and what a stream that is not understood does to the others.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

#[path = "mesh/away.rs"]
mod away;
#[path = "mesh/flood.rs"]
mod flood;
#[path = "mesh/older.rs"]
mod older;
#[path = "mesh/strangers.rs"]
mod strangers;

use std::{
    collections::BTreeSet,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use fieldmesh_actors::seams::Pending;
use fieldmesh_chaos::Network;
use fieldmesh_domain::{IndexRow, registration::Revocation, time::Millis};
use fieldmesh_node::{
    chaos::Effect,
    config::chaos::Rule,
    edge,
    mesh::{Class, Member, Mesh, MeshError, Receiving, Sending, Serve, faults::Faults},
    os::SystemEntropy,
    register,
    trust::Trust,
};
use fieldmesh_pki::{Kind, Usage};
use fieldmesh_tests::{
    live::{now_s, until},
    mesh::{self, identity, meshed, meshed_as, meshed_over},
    pki::Authority,
};
use quinn::{
    AsyncUdpSocket, RecvStream, SendStream, UdpPoller,
    udp::{RecvMeta, Transmit},
};

const ANY: &str = "127.0.0.1:0";
const FRAME_MAX: usize = 1 << 20;

fn any() -> SocketAddr {
    ANY.parse().unwrap()
}

/// Gives back what comes, with the number of whoever sent it.
#[derive(Default)]
struct Echo {
    served: AtomicU64,
}

impl Serve for Echo {
    fn serve(
        self: Arc<Self>,
        from: u64,
        _class: Class,
        mut send: Sending,
        mut receive: Receiving,
    ) -> Pending<()> {
        Box::pin(async move {
            while let Ok(Some(body)) = receive.frame(FRAME_MAX).await {
                self.served.fetch_add(1, Ordering::SeqCst);
                let answer = [&from.to_be_bytes(), &body[..]].concat();
                send.frame(&answer).await.ok();
            }
            send.finish();
        })
    }
}

/// A node that answers.
struct Server {
    mesh: Arc<Mesh>,
    trust: Arc<Trust>,
    address: SocketAddr,
    echo: Arc<Echo>,
}

fn server(authority: &Authority, number: u64) -> Server {
    server_over(authority, number, edge::socket(any()).unwrap())
}

fn server_over(authority: &Authority, number: u64, socket: Arc<dyn AsyncUdpSocket>) -> Server {
    let credentials = authority.credentials(Kind::Node, identity(number).to_bytes());
    let (mesh, address, trust) = meshed_over(authority, number, &credentials, socket);
    let echo = Arc::new(Echo::default());
    tokio::spawn(Arc::clone(&mesh).run(Arc::clone(&echo) as _));
    Server { mesh, trust, address, echo }
}

fn member(number: u64, address: SocketAddr) -> Member {
    Member { number, identity: identity(number), address }
}

/// Asks a node, and reads who it thinks asked; the reason where nothing comes back.
async fn asked(mesh: &Arc<Mesh>, number: u64) -> Result<u64, String> {
    let (mut send, mut receive) =
        mesh.open(number, Class::Consensus).await.map_err(|error| error.to_string())?;
    send.frame(b"hello").await.map_err(|error| error.to_string())?;
    let answer = receive.frame(1024).await.map_err(|error| error.to_string())?;
    let answer = answer.ok_or("no answer")?;
    assert_eq!(&answer[8..], b"hello");
    Ok(u64::from_be_bytes(answer[..8].try_into().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_know_each_other_by_certificate() {
    let authority = Authority::new(now_s());
    let (one, two) = (server(&authority, 1), server(&authority, 2));
    let members = [member(1, one.address), member(2, two.address)];
    one.mesh.set_members(&members);
    two.mesh.set_members(&members);
    assert_eq!(asked(&one.mesh, 2).await, Ok(1));
    assert_eq!(asked(&two.mesh, 1).await, Ok(2));
    assert!(matches!(one.mesh.open(3, Class::Snapshot).await, Err(MeshError::NoMember(3))));
    // Who is no member any more is not served, and not asked.
    one.mesh.set_members(&members[..1]);
    assert!(matches!(one.mesh.open(2, Class::Snapshot).await, Err(MeshError::NoMember(2))));
    let (three, _, _) = meshed(&authority, 2, Kind::Node, identity(2).to_bytes(), any());
    three.set_members(&members);
    let refused = asked(&three, 1).await.unwrap_err();
    assert!(refused.contains("not a member"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_removed_is_cut_off_in_both_directions() {
    let authority = Authority::new(now_s());
    let (one, two) = (server(&authority, 1), server(&authority, 2));
    let members = [member(1, one.address), member(2, two.address)];
    one.mesh.set_members(&members);
    two.mesh.set_members(&members);
    let (_from_one, mut to_one) = one.mesh.open(2, Class::Application).await.unwrap();
    let (_from_two, mut to_two) = two.mesh.open(1, Class::Application).await.unwrap();
    assert_eq!(asked(&two.mesh, 1).await, Ok(2));
    one.mesh.set_members(&members[..1]);
    for (answers, why) in [(&mut to_one, "closed"), (&mut to_two, "not a member")] {
        let cut = tokio::time::timeout(Duration::from_secs(5), answers.frame(64));
        let error = cut.await.expect("the stream ends").unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_does_not_dial_again_at_once() {
    let authority = Authority::new(now_s());
    let one = server(&authority, 1);
    one.mesh.set_members(&[member(1, one.address)]);
    let (two, _, _) = meshed(&authority, 2, Kind::Node, identity(2).to_bytes(), any());
    two.set_members(&[member(1, one.address)]);
    assert!(asked(&two, 1).await.is_err());
    // The handshake succeeds each time, as far as the client can see: it is not repeated for each question.
    let refused = async || two.open(1, Class::Consensus).await.err();
    let refused = until("the refusal counts", refused).await.to_string();
    assert!(refused.contains("not a member"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_read_holds_up_no_other() {
    let authority = Authority::new(now_s());
    let (one, two) = (server(&authority, 1), server(&authority, 2));
    let members = [member(1, one.address), member(2, two.address)];
    one.mesh.set_members(&members);
    two.mesh.set_members(&members);
    // Nobody reads the answers, so the other side takes no more questions either. All together would
    // fill what a connection once had room for.
    let mut unread = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let mesh = Arc::clone(&one.mesh);
        unread.spawn(async move {
            let (mut send, receive) = mesh.open(2, Class::Snapshot).await.unwrap();
            let full = async { while send.frame(&[7; 1000]).await.is_ok() {} };
            assert!(tokio::time::timeout(Duration::from_secs(3), full).await.is_err());
            (send, receive)
        });
    }
    let unread = unread.join_all().await;
    let answer = tokio::time::timeout(Duration::from_secs(5), asked(&one.mesh, 2));
    assert_eq!(answer.await.expect("it is answered"), Ok(1));
    drop(unread);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_answer_holds_up_no_other() {
    let authority = Authority::new(now_s());
    let (one, two) = (server(&authority, 1), server(&authority, 2));
    // It takes datagrams, and says nothing.
    let silent = std::net::UdpSocket::bind(ANY).unwrap();
    let members =
        [member(1, one.address), member(2, two.address), member(3, silent.local_addr().unwrap())];
    one.mesh.set_members(&members);
    two.mesh.set_members(&members);
    let mut waiting = tokio::task::JoinSet::new();
    for class in [Class::Consensus, Class::Replication, Class::Snapshot, Class::Application] {
        let mesh = Arc::clone(&one.mesh);
        waiting.spawn(async move { mesh.open(3, class).await.is_ok() });
    }
    // While all of those wait for the dial, which takes two seconds to fail.
    for _ in 0..20 {
        let answer = tokio::time::timeout(Duration::from_secs(1), asked(&one.mesh, 2)).await;
        assert_eq!(answer.expect("it is answered"), Ok(1));
    }
    assert!(waiting.try_join_next().is_none(), "it was asked meanwhile");
    assert_eq!(waiting.join_all().await, [false; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_at_a_members_address_is_not_taken_for_it() {
    let authority = Authority::new(now_s());
    let (one, two) = (server(&authority, 1), server(&authority, 2));
    let members = [member(1, one.address), member(2, two.address)];
    two.mesh.set_members(&members);
    // Node 3 is said to be where node 2 is.
    one.mesh.set_members(&[member(2, any()), member(3, two.address)]);
    let refused = asked(&one.mesh, 3).await.unwrap_err();
    assert!(refused.contains("node 2 is at"), "{refused}");
    assert_eq!(two.echo.served.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_node_is_cut_off_and_stays_out() {
    let authority = Authority::new(now_s());
    let one = server(&authority, 1);
    let id = identity(2).to_bytes();
    let credentials = authority.credentials(Kind::Node, id);
    let (two, _, _) = meshed_as(&authority, 2, &credentials, any());
    one.mesh.set_members(&[member(1, one.address), member(2, any())]);
    two.set_members(&[member(1, one.address)]);
    assert_eq!(asked(&two, 1).await, Ok(2));
    let (mut open, mut answers) = two.open(1, Class::Application).await.unwrap();
    let store = one.trust.store();
    let peer = store.verify(&credentials.chain[0], &[], Usage::ClientAuth, now_s()).unwrap();
    one.trust.applied(&[IndexRow::Revocation {
        issuer: peer.issuer_hash,
        serial: register::serial(&peer.serial).unwrap(),
        not_after: peer.not_after,
        revocation: Revocation { at: Millis(0), reason: 1, banned: false },
    }]);
    open.frame(b"hello").await.ok();
    let cut = tokio::time::timeout(Duration::from_secs(5), answers.frame(64));
    let cut = cut.await.expect("the stream ends").unwrap_err().to_string();
    assert!(cut.contains("revoked"), "{cut}");
    let refused = until("it stays out", async || asked(&two, 1).await.err()).await;
    assert!(refused.contains("revoked"), "{refused}");
}

/// Node 3 says something on an open stream of its own, and hears it back.
async fn goes_on(send: &mut SendStream, receive: &mut RecvStream) {
    send.write_all(b"\0\0\0\x04live").await.unwrap();
    let mut answer = [0; 16];
    let heard = tokio::time::timeout(Duration::from_secs(8), receive.read_exact(&mut answer));
    heard.await.expect("it is answered").unwrap();
    assert_eq!(&answer, b"\0\0\0\x0c\0\0\0\0\0\0\0\x03live");
}

/// Neither others' streams end with it, nor others of the same connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_understood_ends_its_stream_alone() {
    let authority = Authority::new(now_s());
    // Which understands what is said of starts.
    let two = older::started(&authority, 2, &older::disk()).await;
    let one = server(&authority, 1);
    let members = [member(1, one.address), member(2, two.address), member(3, any())];
    one.mesh.set_members(&members);
    two.mesh.set_members(&members);
    let (mut good, mut answers) = one.mesh.open(2, Class::Application).await.unwrap();
    let raw = mesh::raw(&authority, identity(3), two.address).await;
    let class = Class::Application as u8;
    let (mut beside, mut heard) = raw.open_bi().await.unwrap();
    beside.write_all(&[class]).await.unwrap();
    for bad in [
        &[][..],
        &[0],
        &[0xff, 0, 0, 0, 0],
        &[class, 0xff, 0xff, 0xff, 0xff],
        &[class, 0, 0, 4, 1],
        &[class, 0, 0, 0, 9, 1, 2],
        &[class, 0, 0],
        // Hellos: too long, of something else, cut.
        &[7, 0, 0, 0x10, 1],
        &[7, 0, 0, 0, 2, 0xff, 0xff],
        &[7, 0, 0, 0, 9, 0x82],
        // For another node: cut, for nobody, of no class; and from another node.
        &[5, 0, 0],
        &[5, 0, 0, 0, 0, 0, 0, 0, 9, class],
        &[5, 0, 0, 0, 0, 0, 0, 0, 1, 9],
        &[6, 0, 0, 0, 0, 0, 0, 0, 9, class],
        &[6, 0, 0, 0, 0, 0, 0, 0, 1, 0],
    ] {
        let (mut send, mut receive) = raw.open_bi().await.unwrap();
        send.write_all(bad).await.unwrap();
        send.finish().unwrap();
        let end = tokio::time::timeout(Duration::from_secs(8), receive.read_to_end(64));
        assert!(!end.await.expect("it ends").is_ok_and(|bytes| !bytes.is_empty()), "{bad:?}");
        good.frame(b"still here").await.unwrap();
        assert_eq!(&answers.frame(64).await.unwrap().unwrap()[8..], b"still here");
        goes_on(&mut beside, &mut heard).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_is_found_again() {
    let authority = Authority::new(now_s());
    let one = server(&authority, 1);
    let gone = std::net::UdpSocket::bind(ANY).unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    one.mesh.set_members(&[member(1, one.address), member(2, address)]);
    let silent = asked(&one.mesh, 2).await.unwrap_err();
    assert!(silent.contains("node 2 cannot be reached"), "{silent}");
    let (two, _, _) = meshed(&authority, 2, Kind::Node, identity(2).to_bytes(), address);
    two.set_members(&[member(1, one.address), member(2, address)]);
    tokio::spawn(Arc::clone(&two).run(Arc::new(Echo::default()) as _));
    until("node 2 answers", async || asked(&one.mesh, 2).await.ok()).await;
    two.shut();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_do_not_reach_each_other_speak_by_way_of_a_third() {
    let authority = Authority::new(now_s());
    let [one, two, three] = [1, 2, 3].map(|number| server(&authority, number));
    // Nobody answers there.
    let silent = std::net::UdpSocket::bind(any()).unwrap();
    let lost = silent.local_addr().unwrap();
    let members = |first, second| [member(1, first), member(2, second), member(3, three.address)];
    one.mesh.set_members(&members(one.address, lost));
    two.mesh.set_members(&members(lost, two.address));
    three.mesh.set_members(&members(one.address, two.address));
    assert_eq!(asked(&one.mesh, 2).await, Ok(1));
    assert_eq!(asked(&two.mesh, 1).await, Ok(2));
    assert_eq!(three.echo.served.load(Ordering::SeqCst), 0, "the relay does not listen");
    // Without the relay they do not.
    three.mesh.shut();
    assert!(asked(&one.mesh, 2).await.is_err());
}

/// All of them at one address: a link is cut by where its other end is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_whose_link_is_cut_the_third_hears_both() {
    let (authority, faults) = (Authority::new(now_s()), Faults::none(&SystemEntropy::default()));
    let one = server_over(&authority, 1, faults.on(edge::socket(any()).unwrap()));
    let [two, three] = [2, 3].map(|number| server(&authority, number));
    // Before they hear of each other: nothing is said on a connection that was there already.
    let cut = Network { loss_percent: 100, ..Network::default() };
    faults.lease(vec![(Rule::at(two.address, &cut), Effect::default())]);
    let members = [member(1, one.address), member(2, two.address), member(3, three.address)];
    for node in [&one, &two, &three] {
        node.mesh.set_members(&members);
    }
    assert_eq!(one.mesh.whereabouts(2), BTreeSet::from([two.address]));
    for (asks, asked_one, number) in [(&one, 3, 1), (&three, 1, 3), (&three, 2, 3), (&two, 3, 2)] {
        assert_eq!(asked(&asks.mesh, asked_one).await, Ok(number));
    }
    // The two reach each other by way of the third, and by no other.
    assert_eq!(asked(&one.mesh, 2).await, Ok(1));
    assert_eq!(asked(&two.mesh, 1).await, Ok(2));
    three.mesh.shut();
    assert!(asked(&one.mesh, 2).await.is_err());
    assert!(asked(&two.mesh, 1).await.is_err());
    faults.lease(Vec::new());
    until("they hear each other again", async || asked(&one.mesh, 2).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_where_it_says_and_from_where_it_proved_who_it_is() {
    let authority = Authority::new(now_s());
    let one = server(&authority, 1);
    let silent = std::net::UdpSocket::bind(any()).unwrap();
    let said = silent.local_addr().unwrap();
    one.mesh.set_members(&[member(1, one.address), member(2, said)]);
    assert_eq!(one.mesh.whereabouts(2), BTreeSet::from([said]));
    // From a port that it does not listen on.
    let connection = mesh::raw(&authority, identity(2), one.address).await;
    until("it is known from where it came", async || {
        let whereabouts = one.mesh.whereabouts(2);
        (whereabouts.len() == 2 && whereabouts.contains(&said)).then_some(())
    })
    .await;
    for nobody in [1, 7] {
        assert_eq!(one.mesh.whereabouts(nobody), BTreeSet::new());
    }
    connection.close(0_u32.into(), b"enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_relayed_is_from_and_for_members() {
    let authority = Authority::new(now_s());
    let (one, two) = (server(&authority, 1), server(&authority, 2));
    let silent = std::net::UdpSocket::bind(any()).unwrap();
    let members =
        [member(1, one.address), member(2, two.address), member(3, silent.local_addr().unwrap())];
    one.mesh.set_members(&members);
    two.mesh.set_members(&members);
    let connection = mesh::raw(&authority, identity(3), one.address).await;
    let answered = async |header: &[u8]| {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&[header, b"\0\0\0\x05hello"].concat()).await.unwrap();
        send.finish().unwrap();
        receive.read_to_end(64).await.ok()
    };
    let header =
        |kind: u8, node: u64, class: u8| [&[kind], &node.to_be_bytes()[..], &[class]].concat();
    // To be carried to 2, and brought from 2.
    assert_eq!(answered(&header(5, 2, 1)).await.unwrap().first(), Some(&1));
    assert!(answered(&header(6, 2, 1)).await.unwrap().ends_with(b"hello"));
    for (kind, node, class) in [(5, 9, 1), (6, 9, 1), (5, 2, 5), (6, 2, 6), (5, 2, 0)] {
        let answer = answered(&header(kind, node, class)).await.unwrap_or_default();
        assert_eq!(answer, b"", "{kind} {node} {class}");
    }
    assert_eq!(answered(b"\x05\0\0").await.unwrap_or_default(), b"");
    // The others go on.
    assert!(answered(b"\x01").await.unwrap().ends_with(b"hello"));
}

/// A socket that loses one of the datagrams that it sends.
#[derive(Debug)]
struct Loses {
    socket: Arc<dyn AsyncUdpSocket>,
    sent: AtomicU64,
    lost: u64,
}

impl AsyncUdpSocket for Loses {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.sent.fetch_add(1, Ordering::SeqCst) == self.lost {
            return Ok(());
        }
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Whichever datagram of the handshake is lost: one with more to say than a congestion window must not be
/// stuck with it, until the connection ends for being idle. That it may take a second dial where the machine is
/// slow is no fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_datagram_of_the_handshake_holds_up_nobody() {
    const DATAGRAMS: u64 = 12;
    let authority = Authority::new(now_s());
    let server = server(&authority, 1);
    let credentials = authority.credentials(Kind::Node, identity(2).to_bytes());
    let members = [member(1, server.address), member(2, any())];
    server.mesh.set_members(&members);
    for lost in 0..DATAGRAMS {
        let socket = edge::socket(any()).unwrap();
        let socket = Arc::new(Loses { socket, sent: AtomicU64::new(0), lost });
        let (client, _, _) = meshed_over(&authority, 2, &credentials, socket);
        client.set_members(&members);
        let body = vec![7; FRAME_MAX / 4];
        let open = async || client.open(1, Class::Replication).await.ok();
        let (mut send, mut receive) = until("there is a connection", open).await;
        let exchange = async {
            send.frame(&body).await?;
            receive.frame(FRAME_MAX).await
        };
        let answer = exchange.await.unwrap_or_else(|error| {
            panic!("the connection without datagram {lost} was stuck: {error}")
        });
        assert!(answer.unwrap()[8..] == body);
        client.shut();
    }
}
