//! Faults on purpose: a UDP socket under the mesh, and one under the edge, that delays, loses, doubles and reorders
//! datagrams.
//!
//! It is what a bad network is, for a cluster under test: QUIC above it and the kernel below it are as
//! ever. Every node has it, because faults may be allowed while it runs.
//!
//! **Invariants:** while there is no rule, datagrams go as if it were not there, as many at once as the kernel takes;
//! each direction is looked at by itself, datagram by datagram; of the configuration's rules
//! the first that is about it decides, of leased ones all have their effect; without jitter none overtakes another; what waits is bounded, and more is lost.
//! **Not here:** which rules there are (`config::chaos`); who asks for them.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
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

use crate::{
    chaos::Effect,
    config::chaos::{ChaosConfig, Peers, Rule, Way},
};

/// Datagrams that may be delayed in one direction; more are lost, as in a router. A stream's window
/// (`windows::STREAM_WINDOW`) in datagrams of the smallest size that QUIC allows: one transfer at full
/// speed fits, and it is 5 MB.
pub const WAITING_MAX: usize = 4096;
/// Datagrams that have arrived and may wait to be read; more are lost, as in a kernel.
const ARRIVED_MAX: usize = 1024;
/// What the kernel gives at once, several datagrams of one peer included.
const RECEIVE_BYTES: usize = 64 << 10;

/// What does not fit through a slow line within this is lost, as in a router's queue.
const LINE_QUEUE: Duration = Duration::from_millis(500);

/// The rules in force, and chance.
pub struct Faults {
    /// Those of the configuration, and those that are leased: the latter first. Each with who counts what it does,
    /// which nobody does for those of the configuration.
    rules: RwLock<[Vec<Ruled>; 2]>,
    /// There are none.
    is_quiet: AtomicBool,
    dice: Mutex<StdRng>,
    /// Until when slow lines are taken, each way: what is between the same peers has one line.
    lines: Mutex<BTreeMap<(Peers, Way), Instant>>,
    begun: Instant,
}

type Ruled = (Rule, Effect);

/// What becomes of one copy of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fate {
    late: Duration,
    /// By which number a bit is chosen to be turned.
    turned: Option<u64>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(fate: &'static str) {
    metrics::counter!("fieldmesh_chaos_datagrams_total", "fate" => fate).increment(1);
}

impl Faults {
    /// With the rules of the configuration, where that asks for faults.
    pub fn new(config: &ChaosConfig, entropy: &dyn Entropy) -> Arc<Self> {
        let faults = Self::none(entropy);
        if config.enabled {
            faults.set(config.rules.clone());
        }
        faults
    }

    /// None but those that are leased.
    pub fn none(entropy: &dyn Entropy) -> Arc<Self> {
        let mut seed = [0; 32];
        entropy.fill(&mut seed);
        let dice = Mutex::new(StdRng::from_seed(seed));
        let (rules, is_quiet) = (RwLock::default(), AtomicBool::new(true));
        Arc::new(Self { rules, is_quiet, dice, lines: Mutex::default(), begun: Instant::now() })
    }

    /// These are the rules from now on; datagrams that wait already keep their time.
    pub fn set(&self, rules: Vec<Rule>) {
        metrics::gauge!("fieldmesh_chaos_rules").set(rules.len() as f64);
        tracing::warn!(
            ?rules,
            "CHAOS IS ON: this node harms the traffic between nodes on purpose, by [chaos] of its \
             configuration"
        );
        let rules = rules.into_iter().map(|rule| (rule, Effect::default())).collect();
        self.change(|[configured, _]| *configured = rules);
    }

    /// These are leased from now on, whatever the configuration says; each counts the datagrams that it touches.
    pub fn lease(&self, rules: Vec<Ruled>) {
        self.change(|[_, leased]| *leased = rules);
    }

    fn change(&self, change: impl FnOnce(&mut [Vec<Ruled>; 2])) {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut rules);
        locked(&self.lines)
            .retain(|(peers, _), _| rules.iter().flatten().any(|(rule, _)| rule.peers == *peers));
        self.is_quiet.store(rules.iter().all(Vec::is_empty), Ordering::Relaxed);
    }

    fn is_quiet(&self) -> bool {
        self.is_quiet.load(Ordering::Relaxed)
    }

    /// A socket to which all this happens. Within a runtime.
    pub fn on(self: &Arc<Self>, socket: Arc<dyn AsyncUdpSocket>) -> Arc<dyn AsyncUdpSocket> {
        FaultySocket::new(socket, Arc::clone(self))
    }

    /// What becomes of each copy of a datagram; none where it is lost. All leases have their effect, and only
    /// where none is about it the configuration's first rule.
    fn fate(&self, peer: SocketAddr, way: Way, length: usize) -> Vec<Fate> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let [configured, leased] = &*rules;
        let is_about = |(rule, _): &&Ruled| rule.is_about(peer, way) && self.is_on(rule);
        let mut fates = vec![Fate { late: Duration::ZERO, turned: None }];
        let mut leased = leased.iter().filter(is_about).peekable();
        if leased.peek().is_none() {
            if let Some((rule, _)) = configured.iter().find(is_about) {
                fates = self.harmed(rule, way, length, fates);
            }
            return fates;
        }
        for (rule, effect) in leased {
            let before = fates.clone();
            fates = self.harmed(rule, way, length, fates);
            if fates != before {
                effect.happened();
            }
        }
        fates
    }

    /// What a rule makes of copies.
    fn harmed(&self, rule: &Rule, way: Way, length: usize, before: Vec<Fate>) -> Vec<Fate> {
        let mut dice = locked(&self.dice);
        let mut after = Vec::with_capacity(before.len());
        for copy in before {
            let mut happens = |percent: u64| dice.random_range(0..100) < percent;
            if happens(rule.loss_percent) {
                count("lost");
                continue;
            }
            let is_doubled = happens(rule.duplicate_percent);
            if is_doubled {
                count("doubled");
            }
            let Some(queued) = self.queued(rule, way, length) else {
                count("overflowed");
                continue;
            };
            for _ in 0..if is_doubled { 2 } else { 1 } {
                let overtakes = dice.random_range(0..100) < rule.reorder_percent;
                let jitter = dice.random_range(0..=2000 * rule.jitter_ms);
                let micros = 1000 * (rule.delay_ms - rule.jitter_ms) + jitter;
                let delay = Duration::from_micros(if overtakes { 0 } else { micros });
                let turned = dice.random_range(0..100) < rule.corrupt_percent;
                if turned {
                    count("corrupted");
                }
                let turned = turned.then(|| dice.random()).or(copy.turned);
                after.push(Fate { late: copy.late + delay + queued, turned });
            }
        }
        after
    }

    fn is_on(&self, rule: &Rule) -> bool {
        let passed = self.begun.elapsed().as_millis();
        rule.flap_ms == 0 || (passed / u128::from(rule.flap_ms)).is_multiple_of(2)
    }

    /// How long a datagram waits for a slow line; none where the line's queue is full.
    fn queued(&self, rule: &Rule, way: Way, length: usize) -> Option<Duration> {
        if rule.rate_kbit == 0 {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let mut lines = locked(&self.lines);
        let taken = lines.entry((rule.peers, way)).or_insert(now);
        let free = now.max(*taken);
        if free - now > LINE_QUEUE {
            return None;
        }
        // Bits by kilobits a second are milliseconds.
        let takes = Duration::from_micros(length as u64 * 8 * 1000 / rule.rate_kbit);
        *taken = free + takes;
        Some(free + takes - now)
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

/// A socket with faults.
struct FaultySocket {
    inner: Arc<dyn AsyncUdpSocket>,
    faults: Arc<Faults>,
    out: Arc<Lane>,
    into: Arc<Lane>,
    /// What is not late, or not any more.
    tell: mpsc::Sender<Datagram>,
    arrived: Mutex<mpsc::Receiver<Datagram>>,
    /// Where the kernel puts what is looked at; empty before the first.
    buffer: Mutex<Vec<u8>>,
    tasks: [AbortHandle; 2],
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
        let (coming, told) = (Arc::clone(&into), tell.clone());
        let comes = tokio::spawn(async move {
            coming.run(|datagram| drop(told.try_send(datagram))).await;
        });
        let tasks = [leaves, comes].map(|task| task.abort_handle());
        let (arrived, buffer) = (Mutex::new(arrived), Mutex::default());
        Arc::new(Self { inner, faults, out, into, tell, arrived, buffer, tasks })
    }

    /// Takes in what the kernel has, and decides what becomes of it.
    fn receive(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffer = locked(&self.buffer);
        buffer.resize(RECEIVE_BYTES, 0);
        let mut meta = [RecvMeta::default()];
        let many = {
            let bufs = &mut [IoSliceMut::new(&mut buffer)];
            ready!(self.inner.poll_recv(cx, bufs, &mut meta))?
        };
        let [RecvMeta { addr: peer, len, stride, ecn, dst_ip: own }] = meta;
        let len = if many == 0 { 0 } else { len };
        for bytes in buffer[..len].chunks(stride.max(1)) {
            for Fate { late, turned } in self.faults.fate(peer, Way::In, bytes.len()) {
                let datagram = Datagram { peer, bytes: with_turned(bytes, turned), ecn, own };
                if late.is_zero() {
                    drop(self.tell.try_send(datagram));
                } else {
                    self.into.put(late, datagram);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends one datagram, or what becomes of it.
    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let (peer, length) = (transmit.destination, transmit.contents.len());
        let mut sent = Ok(());
        for Fate { late, turned } in self.faults.fate(peer, Way::Out, length) {
            if late.is_zero() && turned.is_none() {
                sent = self.inner.try_send(transmit);
            } else {
                let (bytes, own) = (with_turned(transmit.contents, turned), transmit.src_ip);
                self.out.put(late, Datagram { peer, bytes, ecn: transmit.ecn, own });
            }
        }
        sent
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

/// A copy of a datagram, with one bit turned where that is wanted.
fn with_turned(bytes: &[u8], turned: Option<u64>) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    if let Some(number) = turned
        && !copy.is_empty()
    {
        let bit = usize::try_from(number % (copy.len() as u64 * 8)).unwrap_or(0);
        copy[bit / 8] ^= 1 << (bit % 8);
    }
    copy
}

impl AsyncUdpSocket for FaultySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.faults.is_quiet() {
            return self.inner.try_send(transmit);
        }
        let Transmit { destination, ecn, contents, segment_size, src_ip } = *transmit;
        // Several at once were made up before the first rule was there.
        let each = segment_size.unwrap_or(contents.len()).max(1);
        contents.chunks(each).try_for_each(|contents| {
            self.send(&Transmit { destination, ecn, contents, segment_size: None, src_ip })
        })
    }

    /// What was taken in under rules goes first. The runtime bounds how often a task looks before others do.
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            // It does not end: this has a sender.
            if let Poll::Ready(Some(datagram)) = locked(&self.arrived).poll_recv(cx) {
                let Datagram { peer: addr, bytes, ecn, own: dst_ip } = datagram;
                // What is longer than the reader's limit is cut, as a kernel cuts it.
                let len = bytes.len().min(bufs[0].len());
                bufs[0][..len].copy_from_slice(&bytes[..len]);
                meta[0] = RecvMeta { addr, len, stride: len, ecn, dst_ip };
                return Poll::Ready(Ok(1));
            }
            if self.faults.is_quiet() {
                return self.inner.poll_recv(cx, bufs, meta);
            }
            ready!(self.receive(cx))?;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        if self.faults.is_quiet() { self.inner.max_transmit_segments() } else { 1 }
    }

    /// Asked for once, when the reader makes its buffers.
    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
