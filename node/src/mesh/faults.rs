//! Faults on purpose: a UDP socket under the mesh that delays, loses, doubles and reorders datagrams.
//!
//! It is what a bad network is, for a cluster under test: QUIC above it and the kernel below it are as
//! ever. A node whose configuration does not ask for it has none of it on the way of its datagrams.
//!
//! **Invariants:** each direction is looked at by itself, datagram by datagram, and the first rule that is
//! about it decides; without jitter none overtakes another; what waits is bounded, and more is lost.
//! **Not here:** which rules there are (`config::chaos`); who asks for them.

use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    task::{Context, Poll},
    time::Duration,
};

use fieldmesh_actors::seams::Entropy;
pub use quinn::AsyncUdpSocket;
use quinn::{
    UdpPoller,
    udp::{EcnCodepoint, RecvMeta, Transmit},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::config::chaos::{ChaosConfig, Rule, Way};

/// Datagrams that may be delayed in one direction; more are lost, as in a router. A stream's window
/// (`STREAM_WINDOW`) in datagrams of the smallest size that QUIC allows: one transfer at full
/// speed fits, and it is 5 MB.
pub const WAITING_MAX: usize = 4096;
/// Datagrams that have arrived and may wait to be read; more are lost, as in a kernel.
const ARRIVED_MAX: usize = 1024;
/// What the kernel gives at once, several datagrams of one peer included.
const RECEIVE_BYTES: usize = 64 << 10;

/// The rules in force, and chance.
pub struct Faults {
    rules: RwLock<Vec<Rule>>,
    dice: Mutex<StdRng>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(fate: &'static str) {
    metrics::counter!("fieldmesh_chaos_datagrams_total", "fate" => fate).increment(1);
}

impl Faults {
    /// None where the configuration does not ask for any.
    pub fn wanted(config: &ChaosConfig, entropy: &dyn Entropy) -> Option<Arc<Self>> {
        if !config.enabled {
            return None;
        }
        let mut seed = [0; 32];
        entropy.fill(&mut seed);
        let dice = Mutex::new(StdRng::from_seed(seed));
        let faults = Self { rules: RwLock::default(), dice };
        faults.set(config.rules.clone());
        Some(Arc::new(faults))
    }

    /// These are the rules from now on; datagrams that wait already keep their time.
    pub fn set(&self, rules: Vec<Rule>) {
        metrics::gauge!("fieldmesh_chaos_rules").set(rules.len() as f64);
        tracing::warn!(
            ?rules,
            "CHAOS IS ON: this node harms the traffic between nodes on purpose, by [chaos] of its \
             configuration"
        );
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// A socket to which all this happens. Within a runtime.
    pub fn on(self: &Arc<Self>, socket: Arc<dyn AsyncUdpSocket>) -> Arc<dyn AsyncUdpSocket> {
        FaultySocket::new(socket, Arc::clone(self))
    }

    /// How late each copy of a datagram is; none where it is lost.
    fn fate(&self, peer: IpAddr, way: Way) -> Vec<Duration> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let Some(rule) = rules.iter().find(|rule| rule.is_about(peer, way)) else {
            return vec![Duration::ZERO];
        };
        let mut dice = locked(&self.dice);
        let mut happens = |percent: u64| dice.random_range(0..100) < percent;
        if happens(rule.loss_percent) {
            count("lost");
            return Vec::new();
        }
        let is_doubled = happens(rule.duplicate_percent);
        if is_doubled {
            count("doubled");
        }
        let copies = if is_doubled { 2 } else { 1 };
        let mut late = Vec::with_capacity(copies);
        for _ in 0..copies {
            let overtakes = dice.random_range(0..100) < rule.reorder_percent;
            let jitter = dice.random_range(0..=2000 * rule.jitter_ms);
            let micros = 1000 * (rule.delay_ms - rule.jitter_ms) + jitter;
            late.push(Duration::from_micros(if overtakes { 0 } else { micros }));
        }
        late
    }
}

/// A datagram of its own.
struct Datagram {
    /// Where it goes to or came from.
    peer: SocketAddr,
    bytes: Vec<u8>,
    ecn: Option<EcnCodepoint>,
    /// This node's address, where it is known.
    own: Option<IpAddr>,
}

/// Datagrams that are late, in the order of their time.
#[derive(Default)]
struct Lane {
    waiting: Mutex<Waiting>,
    added: Notify,
}

#[derive(Default)]
struct Waiting {
    datagrams: BTreeMap<(Instant, u64), Datagram>,
    /// Datagrams so far: of two with one time the earlier goes first.
    count: u64,
}

impl Lane {
    fn put(&self, late: Duration, datagram: Datagram) {
        let mut waiting = locked(&self.waiting);
        if waiting.datagrams.len() >= WAITING_MAX {
            return count("overflowed");
        }
        count("delayed");
        waiting.count += 1;
        let place = (Instant::now() + late, waiting.count);
        waiting.datagrams.insert(place, datagram);
        self.added.notify_one();
    }

    /// Hands out each datagram at its time, for ever.
    async fn run(&self, deliver: impl Fn(Datagram)) {
        loop {
            let next = locked(&self.waiting).datagrams.keys().next().map(|(due, _)| *due);
            tokio::select! {
                // One that is to go sooner may have come.
                () = self.added.notified() => continue,
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            while let Some(datagram) = self.due() {
                deliver(datagram);
            }
        }
    }

    fn due(&self) -> Option<Datagram> {
        let mut waiting = locked(&self.waiting);
        let first = waiting.datagrams.first_entry()?;
        (first.key().0 <= Instant::now()).then(|| first.remove())
    }
}

type Arrived = io::Result<Datagram>;

/// A socket with faults.
struct FaultySocket {
    inner: Arc<dyn AsyncUdpSocket>,
    faults: Arc<Faults>,
    out: Arc<Lane>,
    arrived: Mutex<mpsc::Receiver<Arrived>>,
    tasks: [AbortHandle; 3],
}

impl fmt::Debug for FaultySocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultySocket({:?})", self.inner)
    }
}

impl Drop for FaultySocket {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl FaultySocket {
    fn new(inner: Arc<dyn AsyncUdpSocket>, faults: Arc<Faults>) -> Arc<Self> {
        let (out, into) = (Arc::new(Lane::default()), Arc::new(Lane::default()));
        let (tell, arrived) = mpsc::channel(ARRIVED_MAX);
        let (sending, leaving) = (Arc::clone(&inner), Arc::clone(&out));
        let leaves = tokio::spawn(async move {
            // A kernel that takes no more loses it, as a network does.
            leaving.run(|datagram| drop(sending.try_send(&datagram.transmit()))).await;
        });
        let (reading, told) = (Arc::clone(&into), tell.clone());
        let comes = tokio::spawn(async move {
            reading.run(|datagram| drop(told.try_send(Ok(datagram)))).await;
        });
        let receiving = receive(Arc::clone(&inner), Arc::clone(&faults), into, tell);
        let receives = tokio::spawn(receiving);
        let tasks = [leaves, comes, receives].map(|task| task.abort_handle());
        Arc::new(Self { inner, faults, out, arrived: Mutex::new(arrived), tasks })
    }
}

impl Datagram {
    fn transmit(&self) -> Transmit<'_> {
        Transmit {
            destination: self.peer,
            ecn: self.ecn,
            contents: &self.bytes,
            segment_size: None,
            src_ip: self.own,
        }
    }
}

/// Takes in what the kernel has, until the socket fails.
async fn receive(
    socket: Arc<dyn AsyncUdpSocket>,
    faults: Arc<Faults>,
    late_ones: Arc<Lane>,
    tell: mpsc::Sender<Arrived>,
) {
    let mut buffer = vec![0; RECEIVE_BYTES];
    loop {
        let mut meta = [RecvMeta::default()];
        let received =
            poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta));
        match received.await {
            Ok(0) => continue,
            Ok(_) => {}
            // A peer that is not there says nothing of the socket.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => continue,
            Err(error) => {
                drop(tell.send(Err(error)).await);
                return;
            }
        }
        let [RecvMeta { addr: peer, len, stride, ecn, dst_ip: own }] = meta;
        for bytes in buffer[..len].chunks(stride.max(1)) {
            for late in faults.fate(peer.ip(), Way::In) {
                let datagram = Datagram { peer, bytes: bytes.to_vec(), ecn, own };
                if late.is_zero() {
                    drop(tell.try_send(Ok(datagram)));
                } else {
                    late_ones.put(late, datagram);
                }
            }
        }
    }
}

impl AsyncUdpSocket for FaultySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let peer = transmit.destination;
        let mut sent = Ok(());
        for late in self.faults.fate(peer.ip(), Way::Out) {
            if late.is_zero() {
                sent = self.inner.try_send(transmit);
            } else {
                let (bytes, own) = (transmit.contents.to_vec(), transmit.src_ip);
                self.out.put(late, Datagram { peer, bytes, ecn: transmit.ecn, own });
            }
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let arrived = match locked(&self.arrived).poll_recv(cx) {
            Poll::Ready(arrived) => arrived,
            Poll::Pending => return Poll::Pending,
        };
        let closed = || Err(io::ErrorKind::NotConnected.into());
        let Datagram { peer: addr, bytes, ecn, own: dst_ip } = arrived.unwrap_or_else(closed)?;
        // What is longer than the reader's limit is cut, as a kernel cuts it.
        let len = bytes.len().min(bufs[0].len());
        bufs[0][..len].copy_from_slice(&bytes[..len]);
        meta[0] = RecvMeta { addr, len, stride: len, ecn, dst_ip };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
