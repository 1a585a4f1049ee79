//! A network in memory: datagrams arrive later or never, by a seeded chance, on tokio's clock. With
//! that clock paused, a test sees hours of a bad link in seconds.
//!
//! **Not here:** hosts that crash, and disks ([`crate::world`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use quinn::{
    AsyncUdpSocket, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{sync::mpsc, time::sleep};

use crate::udp::{AlwaysWritable, Arrived, poll_arrived};

/// Datagrams that may wait for an endpoint; more are lost, as in a kernel.
const BACKLOG: usize = 1024;

/// What a datagram meets on its way, each by its own chance.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub delay: Duration,
    /// A datagram is so much sooner or later, at most; it may overtake another.
    pub jitter: Duration,
    pub loss_percent: u32,
}

impl Weather {
    pub const FAIR: Self =
        Self { delay: Duration::from_millis(5), jitter: Duration::ZERO, loss_percent: 0 };
}

type Letterbox = mpsc::Sender<(Vec<u8>, SocketAddr)>;

struct State {
    dice: StdRng,
    boxes: BTreeMap<SocketAddr, Letterbox>,
    dead: BTreeSet<SocketAddr>,
}

/// The network.
pub struct Link {
    weather: Weather,
    state: Mutex<State>,
}

impl Link {
    pub fn new(weather: Weather, seed: u64) -> Arc<Self> {
        let state = State {
            dice: StdRng::seed_from_u64(seed),
            boxes: BTreeMap::new(),
            dead: BTreeSet::new(),
        };
        Arc::new(Self { weather, state: Mutex::new(state) })
    }

    /// An endpoint at an address of this network.
    pub fn endpoint(self: &Arc<Self>, at: SocketAddr, server: Option<ServerConfig>) -> Endpoint {
        let (letterbox, arrived) = mpsc::channel(BACKLOG);
        self.state.lock().unwrap().boxes.insert(at, letterbox);
        let socket = LinkSocket { link: Arc::clone(self), at, arrived: Mutex::new(arrived) };
        let config = EndpointConfig::default();
        let runtime = Arc::new(TokioRuntime);
        Endpoint::new_with_abstract_socket(config, server, Arc::new(socket), runtime).unwrap()
    }

    /// From now on nothing comes from there and nothing arrives: a host that lost its power.
    pub fn cut(&self, at: SocketAddr) {
        self.state.lock().unwrap().dead.insert(at);
    }

    /// It was only its cable.
    pub fn mend(&self, at: SocketAddr) {
        self.state.lock().unwrap().dead.remove(&at);
    }

    fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let Weather { delay, jitter, loss_percent } = self.weather;
        let mut state = self.state.lock().unwrap();
        let late = jitter.mul_f64(state.dice.random_range(0.0..2.0));
        let is_lost = state.dice.random_range(0..100) < loss_percent;
        let Some(letterbox) = state.boxes.get(&to).cloned() else { return };
        if is_lost || state.dead.contains(&from) || state.dead.contains(&to) {
            return;
        }
        let datagram = (bytes.to_vec(), from);
        tokio::spawn(async move {
            sleep(delay + late - jitter).await;
            // A full queue loses the datagram.
            drop(letterbox.try_send(datagram));
        });
    }
}

struct LinkSocket {
    link: Arc<Link>,
    at: SocketAddr,
    arrived: Arrived,
}

impl fmt::Debug for LinkSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkSocket({})", self.at)
    }
}

impl AsyncUdpSocket for LinkSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.link.send(self.at, transmit.destination, transmit.contents);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        poll_arrived(&self.arrived, cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }
}
